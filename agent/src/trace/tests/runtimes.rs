//! What threads prove depends on what runs on them, and on whether that is known.

use super::*;

/// What says that a call is for the only request, which a process of this runtime has read on the same thread.
fn says(runtime: Runtime, is_blocking: bool) -> Option<Evidence> {
    let mut bed = Bed::new();
    bed.tracer.set_runtime(ProcessId(1), runtime);
    evidence_of_call(&mut bed, is_blocking, SECOND)
}

fn evidence_of_call(bed: &mut Bed, is_blocking: bool, at_ns: u64) -> Option<Evidence> {
    let (conn, back) = (bed.conn(is_blocking), bed.conn(false));
    let request = bed.open(&conn, Role::Server, thread(1), at_ns);
    let call = bed.open(&back, Role::Client, thread(1), at_ns + 1);
    let call = bed.finish(call, at_ns + 2);
    bed.finish(request, at_ns + 3);
    call.parent.map(|(_, evidence)| evidence)
}

#[test]
fn a_timer_of_a_process_that_may_have_tasks_is_not_taken_for_its_only_request() {
    let unproven = [Runtime::NotRead, Runtime::MayHaveTasks, Runtime::Tasks].map(|runtime| says(runtime, false));
    assert_eq!(unproven, [None; 3]);
    assert_eq!(says(Runtime::Other, false), Some(Evidence::SoleRequest));
    for runtime in [Runtime::NotRead, Runtime::MayHaveTasks, Runtime::Tasks, Runtime::Other] {
        assert_eq!(says(runtime, true), Some(Evidence::Thread), "its thread waits for that socket alone: {runtime:?}");
    }
}

#[test]
fn a_call_that_was_made_before_the_runtime_was_read_proves_no_work_of_its_own() {
    for (runtime, expected) in [(Runtime::NotRead, Some(Evidence::SoleRequest)), (Runtime::Tasks, None)] {
        let mut bed = Bed::new();
        bed.tracer.set_runtime(ProcessId(1), runtime);
        assert_eq!(evidence_of_call(&mut bed, false, SECOND), None);
        bed.tracer.on_time(5 * SECOND);
        bed.tracer.set_runtime(ProcessId(1), Runtime::Other);
        assert_eq!(evidence_of_call(&mut bed, false, 6 * SECOND), expected, "{runtime:?}");
    }
}

#[test]
fn what_was_forked_runs_what_its_parent_runs_until_it_ends() {
    let mut bed = Bed::new();
    bed.tracer.set_runtime(ProcessId(1), Runtime::NotRead);
    bed.tracer.set_runtime(ProcessId(9), Runtime::Other);
    bed.tracer.on_fork(ProcessId(9), ProcessId(1));
    assert_eq!(evidence_of_call(&mut bed, false, SECOND), Some(Evidence::SoleRequest));
    bed.tracer.on_exit(ProcessId(1));
    assert_eq!(evidence_of_call(&mut bed, false, 5 * SECOND), None);
}

#[test]
fn a_pool_whose_calls_were_nobodys_before_it_was_proven_is_believed_then() {
    assert_eq!(found_by_a_pool(true), [None, Some(Evidence::Thread)]);
    // By an event loop, which may write what another asks for.
    assert_eq!(found_by_a_pool(false), [None; 2]);
}

/// What says of the first and the last call, over sockets that block or not, that it is for the request of its thread.
fn found_by_a_pool(waits: bool) -> [Option<Evidence>; 2] {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(false), bed.conn(waits));
    let mut found = Vec::new();
    for round in 0..20 {
        let at_ns = (1 + round) * 10 * SECOND;
        let requests = [1, 2].map(|tid| bed.open(&conn, Role::Server, thread(tid), at_ns));
        let call = bed.open(&back, Role::Client, thread(1), at_ns + 1);
        found.push(bed.finish(call, at_ns + 2).parent.map(|(_, evidence)| evidence));
        for request in requests {
            bed.finish(request, at_ns + 3);
        }
        // It is given up.
        bed.tracer.on_time(at_ns + 5 * SECOND);
    }
    [found[0], found[19]]
}

#[test]
fn overlapping_requests_that_stayed_on_their_threads_prove_it_only_of_a_runtime_without_tasks() {
    for (runtime, expected) in [(Runtime::Tasks, None), (Runtime::MayHaveTasks, Some(Evidence::Thread))] {
        let mut bed = Bed::new();
        bed.tracer.set_runtime(ProcessId(1), runtime);
        let (conn, back) = (bed.conn(false), bed.conn(true));
        for round in 0..20 {
            let requests = [1, 2].map(|tid| bed.open(&conn, Role::Server, thread(tid), round * 10));
            for request in requests {
                bed.finish(request, round * 10 + 5);
            }
        }
        let _request = bed.open(&conn, Role::Server, thread(1), 1000);
        let call = bed.open(&back, Role::Client, thread(1), 1001);
        assert_eq!(bed.finish(call, 1002).parent.map(|(_, evidence)| evidence), expected, "{runtime:?}");
    }
}

/// What says that a call, begun then, is for one of these requests, whose unit says that they came then; and which.
fn called(runtime: Runtime, came: &[u64], begun_ns: u64) -> Option<(usize, Evidence)> {
    let mut bed = Bed::new();
    bed.tracer.set_runtime(ProcessId(1), runtime);
    let (conn, back) = (bed.conn(false), bed.conn(false));
    let open = |bed: &mut Bed, (at, came_ns): (usize, &u64)| {
        bed.open(&conn, Role::Server, Thread { begun_ns: *came_ns, ..work(8) }, 1 + at as u64)
    };
    let requests: Vec<_> = came.iter().enumerate().map(|came| open(&mut bed, came)).collect();
    let call = bed.open(&back, Role::Client, Thread { begun_ns, ..work(8) }, 100);
    let (parent, evidence) = bed.finish(call, 101).parent?;
    let spans: Vec<_> = requests.iter().map(|request| bed.finish(*request, 102).span_id).collect();
    Some((spans.iter().position(|span| *span == parent)?, evidence))
}

#[test]
fn a_goroutine_works_for_the_request_that_came_then_though_the_answer_to_another_was_lost() {
    let found = |which| Some((which, Evidence::Task));
    assert_eq!(called(Runtime::Goroutines, &[10], 10), found(0));
    // What came then was lost, as was what answered the one before.
    assert_eq!(called(Runtime::Goroutines, &[10], 20), None);
    // Others seem to be open.
    assert_eq!(called(Runtime::Goroutines, &[10, 20, 30], 20), found(1));
    // Two that came at a time; begun before any; nothing is said of it.
    assert_eq!(called(Runtime::Goroutines, &[10, 10], 10), None);
    assert_eq!(called(Runtime::Goroutines, &[10], 1), None);
    assert_eq!(called(Runtime::Goroutines, &[10], 0), None);
    // However many there are.
    assert_eq!(called(Runtime::Goroutines, &(10..40).collect::<Vec<_>>(), 20), None);
    // Of a task it says when it was begun.
    assert_eq!(called(Runtime::Tasks, &[10], 20), found(0));
}

#[test]
fn what_a_goroutine_does_behind_its_answer_is_linked() {
    let mut bed = Bed::new();
    bed.tracer.set_runtime(ProcessId(1), Runtime::Goroutines);
    let (conn, back) = (bed.conn(false), bed.conn(false));
    let since = |begun_ns| Thread { begun_ns, ..work(8) };
    let request = bed.open(&conn, Role::Server, since(10), 9);
    let request = bed.finish(request, 20);
    let call = bed.open(&back, Role::Client, since(10), 21);
    let call = bed.finish(call, 22);
    assert_eq!((call.parent, call.link, call.trace_id), (None, Some(request.span_id), request.trace_id));
    // Also while the next one is answered; what is done for another is neither.
    let next = bed.open(&conn, Role::Server, since(30), 29);
    let calls = [10, 30, 40].map(|begun_ns| bed.open(&back, Role::Client, since(begun_ns), 41));
    let calls = calls.map(|call| bed.finish(call, 42));
    let next = bed.finish(next, 43);
    assert_eq!(calls.map(|call| call.link), [Some(request.span_id), None, None]);
    assert_eq!(calls.map(|call| call.trace_id == request.trace_id), [true, false, false]);
    assert!(is_child(calls[1], next, Evidence::Task));
    assert_eq!(calls[2].parent, None);
}
