//! Requests of one connection that others than its reader answer: goroutines, each of which is begun for one stream.

use super::*;

fn asked(bed: &mut Bed, conn: &ConnectionInfo, stream: u64, start_ns: u64) -> Request {
    let (key, role, thread) = (bed.keys.take(), Role::Server, work(4));
    let place = Place::Id(stream);
    let opened = Opened { key, role, thread, start_ns, parent: None, is_health_check: false, is_message: false, place };
    bed.tracer.on_opened(conn, &opened, || None);
    Request { key, role, thread, start_ns, carried: None }
}

/// What a unit does for a request that it answers since then.
const fn for_it(unit: u64, begun_ns: u64) -> Thread {
    Thread { begun_ns, ..work(unit) }
}

#[test]
fn calls_are_of_the_stream_that_their_unit_of_work_answers() {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(false), bed.conn(false));
    let requests = [1, 3].map(|stream| asked(&mut bed, &conn, stream, stream));
    // Before it is known who answers which, nobody's.
    let early = bed.open(&back, Role::Client, Thread { begun_ns: 4, ..work(4) }, 5);
    // Another process and a stream that there is not change nothing.
    bed.tracer.on_handled(ProcessId(2), conn.id, 1, (9, 4));
    bed.tracer.on_handled(ProcessId(1), conn.id, 5, (9, 4));
    for (stream, unit) in [(1, 8), (3, 12)] {
        bed.tracer.on_handled(ProcessId(1), conn.id, stream, (unit, 5));
    }
    let calls = [8, 12, 9].map(|unit| bed.open(&back, Role::Client, for_it(unit, 5), 6));
    // By one that each has begun.
    let below = [8, 12].map(|unit| bed.open(&back, Role::Client, for_it(unit, 5), 7));
    let [early] = [early].map(|call| bed.finish(call, 8));
    let calls = calls.map(|call| bed.finish(call, 8));
    let below = below.map(|call| bed.finish(call, 8));
    let requests = requests.map(|request| bed.finish(request, 9));
    assert_eq!((early.parent, calls[2].parent), (None, None));
    for (calls, request) in [([calls[0], below[0]], requests[0]), ([calls[1], below[1]], requests[1])] {
        assert!(calls.iter().all(|call| is_child(*call, request, Evidence::Task)));
    }
    // The number is free again.
    bed.tracer.on_handled(ProcessId(1), conn.id, 1, (16, 10));
    let late = bed.open(&back, Role::Client, for_it(16, 10), 10);
    assert_eq!(bed.finish(late, 11).parent, None);
}

#[test]
fn who_answers_may_be_told_before_the_request_is() {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(false), bed.conn(false));
    bed.tracer.on_handled(ProcessId(1), conn.id, 7, (8, 2));
    let call = bed.open(&back, Role::Client, for_it(8, 2), 3);
    let requests = [5, 7].map(|stream| asked(&mut bed, &conn, stream, 2));
    let later = bed.open(&back, Role::Client, for_it(8, 2), 4);
    let mut calls = [call, later].map(|call| bed.finish(call, 5));
    let requests = requests.map(|request| bed.finish(request, 6));
    for joined in bed.tracer.take_joined() {
        calls.iter_mut().for_each(|call| joined.correct(call));
    }
    assert!(calls.iter().all(|call| is_child(*call, requests[1], Evidence::Task)));
}

#[test]
fn a_worker_that_answers_one_stream_after_the_other_works_for_the_last_one() {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(false), bed.conn(false));
    let requests = [1, 3].map(|stream| asked(&mut bed, &conn, stream, stream));
    bed.tracer.on_handled(ProcessId(1), conn.id, 1, (8, 4));
    // That it has begun to answer the second was not told yet, and that it has answered the first never is.
    let early = bed.open(&back, Role::Client, for_it(8, 6), 7);
    let early = bed.finish(early, 8);
    bed.tracer.on_handled(ProcessId(1), conn.id, 3, (8, 6));
    let call = bed.open(&back, Role::Client, for_it(8, 6), 9);
    let call = bed.finish(call, 10);
    let requests = requests.map(|request| bed.finish(request, 11));
    assert_eq!(early.parent, None);
    assert!(is_child(call, requests[1], Evidence::Task));
}

/// grpc-go: one goroutine writes the calls of all.
#[test]
fn who_has_a_call_sent_may_be_told_behind_it() {
    for is_over in [false, true] {
        let mut bed = Bed::new();
        bed.tracer.set_runtime(ProcessId(1), Runtime::Goroutines);
        let (conn, back) = (bed.conn(false), bed.conn(false));
        let requests = [1, 3].map(|stream| asked(&mut bed, &conn, stream, stream));
        for (stream, unit) in [(1, 8), (3, 12)] {
            bed.tracer.on_handled(ProcessId(1), conn.id, stream, (unit, 5));
        }
        let mut ask = |stream| {
            let (key, role, thread) = (bed.keys.take(), Role::Client, work(20));
            let (parent, place) = (None, Place::Id(stream));
            let opened =
                Opened { key, role, thread, start_ns: 6, parent, is_health_check: false, is_message: false, place };
            bed.tracer.on_opened(&back, &opened, || None);
            Request { key, role, thread, start_ns: 6, carried: None }
        };
        let calls = [1, 3, 5].map(&mut ask);
        let mut finished: Vec<Context> = Vec::new();
        if is_over {
            finished.extend(calls.map(|call| bed.finish(call, 7)));
        }
        // Another process's, and another connection's, are others.
        bed.tracer.on_asked(ProcessId(2), back.id, 1, (12, 5));
        bed.tracer.on_asked(ProcessId(1), conn.id, 1, (12, 5));
        for (stream, unit) in [(1, 12), (3, 8)] {
            bed.tracer.on_asked(ProcessId(1), back.id, stream, (unit, 5));
        }
        // It is not told twice.
        bed.tracer.on_asked(ProcessId(1), back.id, 1, (8, 5));
        if !is_over {
            finished.extend(calls.map(|call| bed.finish(call, 7)));
        }
        for joined in bed.tracer.take_joined() {
            finished.iter_mut().for_each(|call| joined.correct(call));
        }
        let requests = requests.map(|request| bed.finish(request, 9));
        assert!(is_child(finished[0], requests[1], Evidence::Task), "{is_over}");
        assert!(is_child(finished[1], requests[0], Evidence::Task), "{is_over}");
        assert_eq!(finished[2].parent, None, "{is_over}");
        bed.tracer.on_time(SECOND * 2);
        assert_eq!(bed.tracer.orphans.len(), 0);
    }
}
