//! Threads that do one request after the other, whoever has read it: known from the response on.

use super::*;

/// A service whose threads answer what another one has read.
fn service() -> (Bed, ConnectionInfo) {
    let mut bed = Bed::new();
    bed.tracer.set_runtime(ProcessId(1), Runtime::Workers);
    let back = bed.conn(false);
    (bed, back)
}

fn call(bed: &mut Bed, back: &ConnectionInfo, worker: u64, start_ns: u64) -> Context {
    let call = bed.open(back, Role::Client, work(worker), start_ns);
    bed.finish(call, start_ns + 1)
}

fn answer(bed: &mut Bed, request: Request, worker: u64, end_ns: u64) -> Context {
    bed.tracer.on_answered(request.key, work(worker));
    bed.finish(request, end_ns)
}

fn corrected(bed: &mut Bed, mut context: Context) -> Context {
    bed.tracer.take_joined().iter().for_each(|joined| joined.correct(&mut context));
    context
}

#[test]
fn a_worker_calls_for_the_request_that_it_answers_next() {
    let (mut bed, back) = service();
    for round in 0..3 {
        let at = round * 100;
        let requests =
            [1, 2].map(|of| (bed.conn(false), of)).map(|(conn, of)| bed.open(&conn, Role::Server, thread(1), at + of));
        // The second waits until a worker is free: the first does both.
        let first_call = call(&mut bed, &back, 7, at + 10);
        let first = answer(&mut bed, requests[0], 7, at + 20);
        let first_call = corrected(&mut bed, first_call);
        let second_call = call(&mut bed, &back, 7, at + 30);
        let second = answer(&mut bed, requests[1], 7, at + 40);
        let second_call = corrected(&mut bed, second_call);
        assert!(is_child(first_call, first, Evidence::Thread), "{round}: {first_call:?}");
        assert!(is_child(second_call, second, Evidence::Thread), "{round}: {second_call:?}");
    }
}

#[test]
fn a_call_while_the_answer_goes_on_is_for_it() {
    let (mut bed, back) = service();
    let conn = bed.conn(false);
    let request = bed.open(&conn, Role::Server, thread(1), 1);
    bed.tracer.on_answered(request.key, work(7));
    let call = call(&mut bed, &back, 7, 10);
    let request = bed.finish(request, 20);
    assert!(is_child(call, request, Evidence::Thread), "{call:?}");
}

#[test]
fn another_thread_s_call_is_nobody_s() {
    let (mut bed, back) = service();
    let conn = bed.conn(false);
    let request = bed.open(&conn, Role::Server, thread(1), 1);
    let calls = [call(&mut bed, &back, 8, 10), call(&mut bed, &back, 0, 11)];
    answer(&mut bed, request, 7, 20);
    assert!(calls.map(|call| corrected(&mut bed, call).parent.is_none()).iter().all(|is_none| *is_none));
}

#[test]
fn what_a_worker_does_for_nobody_takes_its_proof_away() {
    let (mut bed, back) = service();
    let asked = |bed: &mut Bed, at: u64| {
        let conn = bed.conn(false);
        let request = bed.open(&conn, Role::Server, thread(1), at);
        let call = call(bed, &back, 7, at + 1);
        let request = answer(bed, request, 7, at + 5);
        is_child(corrected(bed, call), request, Evidence::Thread)
    };
    assert!(asked(&mut bed, 10));
    let back_end = bed.conn(false);
    call(&mut bed, &back_end, 7, 100);
    assert!(!asked(&mut bed, 200));
    assert!(asked(&mut bed, parents::BACKGROUND_NS + 200));
    // Unless a request turns out to have been open, on a connection that was met in its midst.
    let call = call(&mut bed, &back_end, 7, parents::BACKGROUND_NS + 300);
    let conn = bed.conn(false);
    let request = bed.open(&conn, Role::Server, thread(1), parents::BACKGROUND_NS + 290);
    answer(&mut bed, request, 7, parents::BACKGROUND_NS + 310);
    let _told = corrected(&mut bed, call);
    assert!(asked(&mut bed, parents::BACKGROUND_NS + 400));
}

#[test]
fn who_has_read_a_request_may_do_another() {
    let (mut bed, back) = service();
    let conns = [bed.conn(false), bed.conn(false)];
    // Its body is still to come, and another worker goes on with it.
    let first = bed.open(&conns[0], Role::Server, work(7), 1);
    let second = bed.open(&conns[1], Role::Server, thread(1), 2);
    let call = call(&mut bed, &back, 7, 10);
    assert!(call.parent.is_none(), "{call:?}");
    let second = answer(&mut bed, second, 7, 20);
    let call = corrected(&mut bed, call);
    assert!(is_child(call, second, Evidence::Thread), "{call:?}");
    answer(&mut bed, first, 8, 30);
}
