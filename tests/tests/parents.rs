//! The fast part of the bed of parents (`cargo xtask parents` has all of it): services whose true trees are known.

use tests::{
    agent::Backend,
    need, on_both_backends,
    parents::{Bed, Cell, Pattern, RUNTIMES},
};

on_both_backends!(contexts_that_are_passed_on);

/// Rows that start at once.
const FAST: &[&str] = &["c-threads", "c-fork", "python-threads", "nginx", "asyncio", "node-22", "go"];

/// Asks each of them, and gives what is under a bar.
fn faults(backend: Backend, cell: Cell) -> Vec<String> {
    need::root();
    let mut faults = Vec::new();
    for name in FAST {
        let runtime = RUNTIMES.iter().find(|runtime| runtime.name == *name).expect("a runtime of the table");
        let mut bed = Bed::start(runtime, backend, true);
        for pattern in runtime.patterns {
            let verdict = bed.ask(&Cell { pattern: *pattern, ..cell }).verdict;
            let under = verdict.faults(runtime);
            if !under.is_empty() {
                faults.push(format!("{name}, {}: {under:?}, {:?}", pattern.name(), verdict.cases));
            }
        }
        bed.stop();
    }
    faults
}

/// Each service passes the `traceparent` of its request on: whoever reads it finds each span's trace.
fn contexts_that_are_passed_on(backend: Backend) {
    let cell = Cell { pattern: Pattern::Sequential, concurrency: 16, requests: 100, headers: true };
    let faults = faults(backend, cell);
    assert!(faults.is_empty(), "{faults:#?}");
}
