//! The fast part of the bed of parents (`cargo xtask parents` has all of it): services whose true trees are known.

use std::process::Command;

use tests::{
    agent::{Backend, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    parents::{Bed, Cell, Pattern, RUNTIMES},
    program::Program,
    receiver::Receiver,
    seen::path,
};

on_both_backends!(
    contexts_that_are_passed_on,
    parents_that_nothing_is_passed_for,
    parents_by_task,
    no_parent_is_wrong,
    a_timer_is_not_taken_for_the_first_request,
);

/// Rows that start at once.
const FAST: &[&str] = &[
    "c-threads",
    "c-fork",
    "python-threads",
    "nginx",
    "nginx-to-tls",
    "asyncio",
    "asyncio-threads",
    "node-22",
    "go",
    "go-grpc",
    "axum",
    "axum-asked-http2",
    "axum-http2",
];

/// Those of which each parent is found without a header.
const FOUND: &[&str] = &["c-threads", "c-fork", "python-threads", "nginx"];

/// The same, where a request's calls are made side by side, too, by tasks that it has begun.
const FOUND_BY_TASK: &[&str] =
    &["asyncio", "asyncio-threads", "axum", "axum-current-thread", "go", "go-asked-http2", "go-grpc"];

/// It takes no more rounds until a service's tasks are told apart on its connections.
const ROUNDS: usize = 50;

/// Asks some of them, and gives what is under a bar.
fn faults(backend: Backend, names: &[&str], patterns: &[Pattern], cell: Cell) -> Vec<String> {
    need::root();
    let mut faults = Vec::new();
    for name in names {
        let runtime = RUNTIMES.iter().find(|runtime| runtime.name == *name).expect("a runtime of the table");
        let mut bed = Bed::start(runtime, backend, true);
        if FOUND_BY_TASK.contains(name) && !cell.headers {
            until_tasks_are_told_apart(&mut bed, cell.concurrency);
        }
        for pattern in runtime.patterns.iter().filter(|pattern| patterns.contains(pattern)) {
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

/// The agent looks at a process when it is watched already: what it does at first is not told apart.
fn until_tasks_are_told_apart(bed: &mut Bed, concurrency: usize) {
    for _ in 0..ROUNDS {
        let cell = Cell { pattern: Pattern::Sequential, concurrency, requests: 4 * concurrency, headers: false };
        if bed.ask(&cell).verdict.within.missing == 0 {
            return;
        }
    }
    panic!("the tasks of {} are not told apart after {ROUNDS} rounds", bed.runtime.name);
}

/// Each service passes the `traceparent` of its request on: whoever reads it finds each span's trace.
fn contexts_that_are_passed_on(backend: Backend) {
    let cell = Cell { pattern: Pattern::Sequential, concurrency: 16, requests: 100, headers: true };
    let faults = faults(backend, FAST, Pattern::ALL, cell);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Nothing is passed on, and calls are made by who serves the request: what the kernel side sees of threads and event loops says whose calls they are.
fn parents_that_nothing_is_passed_for(backend: Backend) {
    let cell = Cell { pattern: Pattern::Sequential, concurrency: 16, requests: 100, headers: false };
    let faults = faults(backend, FOUND, &[Pattern::Sequential, Pattern::Pause], cell);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The loop reads for all tasks, and calls share connections, fewer than there are requests.
fn parents_by_task(backend: Backend) {
    let cell = Cell { pattern: Pattern::Sequential, concurrency: 16, requests: 200, headers: false };
    let faults = faults(backend, FOUND_BY_TASK, Pattern::ALL, cell);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Where nothing tells whose a call is, it is nobody's.
fn no_parent_is_wrong(backend: Backend) {
    need::root();
    for name in FAST {
        let runtime = RUNTIMES.iter().find(|runtime| runtime.name == *name).expect("a runtime of the table");
        let mut bed = Bed::start(runtime, backend, true);
        for pattern in runtime.patterns {
            let cell = Cell { pattern: *pattern, concurrency: 4, requests: 60, headers: false };
            let verdict = bed.ask(&cell).verdict;
            let wrong = verdict.within.wrong + verdict.across.wrong;
            assert_eq!(wrong, 0, "{name}, {}: {:?}", pattern.name(), verdict.cases);
        }
        bed.stop();
    }
}

/// The agent looks at a program when it is watched: its first request is there before it is known that it runs tasks.
fn a_timer_is_not_taken_for_the_first_request(backend: Backend) {
    need::root();
    let python = |source: &str, arguments: &[String]| {
        Program::start(Command::new(need::python()).arg("-u").arg(need::source(source)).args(arguments))
    };
    let back_end = python("sdk/relay.py", &[]);
    for is_met_by_request in [true, false] {
        let service = python("timer.py", &[back_end.port().to_string()]);
        let chosen = if is_met_by_request {
            ["--port".to_owned(), service.port().to_string()]
        } else {
            ["--pid".to_owned(), service.pid().to_string()]
        };
        let receiver = Receiver::start();
        let agent = Setup::with(chosen).backend(backend).to(&receiver).start();
        let watch = Watch { agent, receiver };
        assert_eq!(Connection::to(service.port()).get("/first").status, 200);
        let seen = watch.stop_when(|state| state.spans.len() >= 2);
        let of = |kind: &str| {
            seen.spans.iter().find(|span| span.kind == kind).unwrap_or_else(|| panic!("{}", seen.summary()))
        };
        let (request, tick) = (of("SERVER"), of("CLIENT"));
        assert_eq!((path(request), path(tick)), (Some("/first"), Some("/tick")));
        assert_eq!(tick.parent_span_id, "", "{is_met_by_request}: {tick:?}");
        assert_eq!(tick.attributes["beyla.parent.evidence"], "none");
    }
}
