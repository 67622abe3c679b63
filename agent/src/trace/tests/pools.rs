//! Pools of threads, and what they have called before it was known that they are pools.

use super::*;

/// One of two requests that are answered at a time calls somebody. Gives both as they are told.
fn call_of_two(bed: &mut Bed, responders: [u32; 2], at_ns: u64) -> (Context, Context) {
    let (conn, back) = (bed.conn(false), bed.conn(true));
    let requests = [1, 2].map(|tid| bed.open(&conn, Role::Server, thread(tid), at_ns));
    let call = bed.open(&back, Role::Client, thread(1), at_ns + 1);
    let call = bed.finish(call, at_ns + 2);
    let [first, _] = [0, 1].map(|at| bed.finish_by(requests[at], ThreadId(responders[at]), at_ns + 3));
    (call, first)
}

fn joined(bed: &mut Bed) -> Vec<(SpanId, (SpanId, Evidence), TraceId)> {
    bed.tracer.take_joined().iter().map(|joined| (joined.span_id, joined.parent, joined.trace_id)).collect()
}

#[test]
fn what_was_called_before_threads_were_known_not_to_be_shared_is_taken_up_then() {
    let mut bed = Bed::new();
    let rounds: Vec<_> = (0..8).map(|round| call_of_two(&mut bed, [1, 2], round * 10)).collect();
    assert!(rounds.iter().all(|(call, _)| call.parent.is_none()));
    let mut expected: Vec<_> = rounds
        .iter()
        .map(|(call, request)| (call.span_id, (request.span_id, Evidence::Thread), request.trace_id))
        .collect();
    let mut joined = joined(&mut bed);
    joined.sort_unstable_by_key(|(span_id, ..)| span_id.0);
    expected.sort_unstable_by_key(|(span_id, ..)| span_id.0);
    assert_eq!(joined, expected);
    assert_eq!(bed.tracer.orphans.len(), 0);
}

#[test]
fn where_threads_turn_out_to_be_shared_nothing_is_taken_up() {
    let mut bed = Bed::new();
    for round in 0..5 {
        call_of_two(&mut bed, [1, 2], round * 10);
    }
    call_of_two(&mut bed, [2, 1], 60);
    for round in 0..10 {
        call_of_two(&mut bed, [1, 2], 100 + round * 10);
    }
    assert_eq!(joined(&mut bed), []);
    bed.tracer.on_time(SECOND);
    assert_eq!(bed.tracer.orphans.len(), 0, "they wait no longer than others");
}

#[test]
fn what_goes_on_behind_its_request_or_is_made_by_a_thread_that_calls_for_nobody_is_not_taken_up() {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(false), bed.conn(true));
    let requests = [1, 3].map(|tid| bed.open(&conn, Role::Server, thread(tid), 1));
    let behind = bed.open(&back, Role::Client, thread(1), 2);
    let [_, _] = requests.map(|request| bed.finish_by(request, request.thread.tid, 3));
    bed.finish(behind, 4);
    // A thread that has a loop of its own.
    let own = bed.open(&back, Role::Client, thread(2), 5);
    bed.finish(own, 6);
    let requests = [2, 3].map(|tid| bed.open(&conn, Role::Server, thread(tid), 7));
    let call = bed.open(&back, Role::Client, thread(2), 8);
    bed.finish(call, 9);
    let [_, _] = requests.map(|request| bed.finish_by(request, request.thread.tid, 10));
    let rounds: Vec<_> = (2..9).map(|round| call_of_two(&mut bed, [1, 2], round * 10)).collect();
    let expected: Vec<_> = rounds[..6].iter().map(|(call, _)| call.span_id).collect();
    let mut joined: Vec<_> = joined(&mut bed).iter().map(|(span_id, ..)| *span_id).collect();
    joined.sort_unstable_by_key(|span_id| span_id.0);
    let mut sorted = expected.clone();
    sorted.sort_unstable_by_key(|span_id| span_id.0);
    assert_eq!(joined, sorted);
}

#[test]
fn of_a_runtime_with_tasks_threads_are_not_waited_for() {
    let mut bed = Bed::new();
    bed.tracer.set_runtime(ProcessId(1), Runtime::Tasks);
    for round in 0..8 {
        call_of_two(&mut bed, [1, 2], round * 10);
    }
    assert_eq!(joined(&mut bed), []);
    assert!(!bed.tracer.orphans.has_meant(ProcessId(1)));
}
