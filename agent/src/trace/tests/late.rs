//! Units of work that are known from a response on: tasks of an event loop, which reads for all of them.

use super::*;

/// A service whose tasks answer.
struct Service {
    bed: Bed,
    back: ConnectionInfo,
}

impl Service {
    fn new() -> Self {
        let mut bed = Bed::new();
        let back = bed.conn(false);
        Self { bed, back }
    }

    /// A request is read by the loop.
    fn asked(&mut self, conn: &ConnectionInfo, start_ns: u64) -> Request {
        self.bed.open(conn, Role::Server, thread(1), start_ns)
    }

    fn calls(&mut self, unit: u64, begun_ns: u64, start_ns: u64) -> Request {
        let back = self.back.clone();
        self.bed.open(&back, Role::Client, Thread { begun_ns, ..work(unit) }, start_ns)
    }

    /// A call that takes a nanosecond.
    fn call(&mut self, unit: u64, begun_ns: u64, start_ns: u64) -> Context {
        let call = self.calls(unit, begun_ns, start_ns);
        self.bed.finish(call, start_ns + 1)
    }

    fn answers(&mut self, request: Request, unit: u64, end_ns: u64) -> Context {
        self.bed.tracer.on_answered(request.key, work(unit));
        self.bed.finish(request, end_ns)
    }

    /// What has become of them by now.
    fn corrected<const N: usize>(&mut self, mut contexts: [Context; N]) -> [Context; N] {
        for joined in self.bed.tracer.take_joined() {
            contexts.iter_mut().for_each(|context| joined.correct(context));
        }
        contexts
    }

    /// Requests that overlap, each answered by a task of its connection.
    fn prove(&mut self) {
        self.overlap(9);
    }

    fn overlap(&mut self, rounds: u64) {
        for round in 0..rounds {
            let conns = [self.bed.conn(false), self.bed.conn(false)];
            let requests = conns.map(|conn| self.asked(&conn, round));
            for (at, request) in requests.into_iter().enumerate() {
                self.answers(request, 1000 + 2 * round + at as u64, round + 1);
            }
        }
    }
}

#[test]
fn a_call_finds_its_request_when_the_same_task_answers_it() {
    let mut it = Service::new();
    let (first, second) = (it.bed.conn(false), it.bed.conn(false));
    let requests = [it.asked(&first, 1), it.asked(&second, 2)];
    // By the tasks themselves, by one that the second has begun, and by one of nobody's.
    let calls = [it.call(11, 0, 3), it.call(12, 0, 4), it.call(12, 4, 5), it.call(13, 0, 6)];
    assert!(calls.iter().all(|call| call.parent.is_none() && it.bed.tracer.settles_ns(call).is_some()));
    let first = it.answers(requests[0], 11, 10);
    // Not before it is known that the same task does not answer the other, too.
    assert!(it.bed.tracer.joined.is_empty());
    let second = it.answers(requests[1], 12, 12);
    let calls = it.corrected(calls);
    for (call, parent) in [(calls[0], first), (calls[1], second), (calls[2], second)] {
        assert!(is_child(call, parent, Evidence::Task) && it.bed.tracer.settles_ns(&call).is_none(), "{call:?}");
    }
    assert!(calls[3].parent.is_none());
    it.bed.tracer.on_time(13);
    assert_eq!(it.bed.tracer.take_settled(), [calls[3].trace_id], "nothing is left that it waits for");
    assert_eq!((it.bed.tracer.orphans.len(), it.bed.tracer.unsettled.len()), (0, 0));
}

#[test]
fn once_tasks_are_known_to_be_of_one_connection_others_are_not_waited_for() {
    let mut it = Service::new();
    it.prove();
    let (first, second) = (it.bed.conn(false), it.bed.conn(false));
    let requests = [it.asked(&first, 101), it.asked(&second, 102)];
    let calls = [it.call(11, 0, 103), it.call(12, 0, 104)];
    it.bed.tracer.on_answered(requests[0].key, work(11));
    // Behind the beginning of the response it is known at once; what goes on behind its end is linked.
    let (during, beyond) = (it.call(11, 0, 105), it.calls(11, 0, 106));
    let first = it.bed.finish(requests[0], 110);
    let calls = it.corrected(calls);
    assert!(is_child(calls[0], first, Evidence::Task) && is_child(during, first, Evidence::Task));
    assert_eq!(calls[1].parent, None);
    let beyond = it.bed.finish(beyond, 111);
    assert_eq!((beyond.parent, beyond.link, beyond.trace_id), (None, Some(first.span_id), first.trace_id));
    let second = it.answers(requests[1], 12, 112);
    assert!(is_child(it.corrected(calls)[1], second, Evidence::Task));
}

#[test]
fn those_that_prove_it_have_their_calls_too() {
    let mut it = Service::new();
    it.overlap(7);
    let (first, second, third) = (it.bed.conn(false), it.bed.conn(false), it.bed.conn(false));
    let requests = [it.asked(&first, 101), it.asked(&second, 102)];
    let _open = it.asked(&third, 100);
    let calls = [it.call(11, 0, 103), it.call(12, 0, 104)];
    let first = it.answers(requests[0], 11, 110);
    assert!(it.bed.tracer.joined.is_empty());
    let second = it.answers(requests[1], 12, 112);
    let calls = it.corrected(calls);
    assert!(is_child(calls[0], first, Evidence::Task) && is_child(calls[1], second, Evidence::Task));
    assert!(it.bed.tracer.over.is_empty());
}

#[test]
fn a_task_that_answers_several_connections_proves_nothing() {
    let mut it = Service::new();
    let (first, second) = (it.bed.conn(false), it.bed.conn(false));
    let requests = [it.asked(&first, 1), it.asked(&second, 2)];
    let calls = [it.call(11, 0, 3), it.call(11, 0, 4)];
    it.answers(requests[0], 11, 10);
    it.answers(requests[1], 11, 11);
    assert!(it.corrected(calls).iter().all(|call| call.parent.is_none()));
    let alone = it.asked(&first, 20);
    let call = it.call(11, 0, 21);
    it.answers(alone, 11, 22);
    assert_eq!(it.corrected([call])[0].parent, None);
}

#[test]
fn of_two_requests_that_are_open_on_a_connection_neither_is_meant() {
    let mut it = Service::new();
    it.prove();
    let conn = it.bed.conn(false);
    let requests = [it.asked(&conn, 101), it.bed.open_at(&conn, Role::Server, thread(1), 102, 9, None)];
    let call = it.call(11, 0, 103);
    it.answers(requests[0], 11, 110);
    it.answers(requests[1], 11, 111);
    assert_eq!(it.corrected([call])[0].parent, None);
}

#[test]
fn a_connection_that_is_kept_carries_nothing_over_to_the_next_request() {
    let mut it = Service::new();
    it.prove();
    let conn = it.bed.conn(false);
    let first = it.asked(&conn, 101);
    it.answers(first, 11, 110);
    let second = it.asked(&conn, 120);
    // By a task that was begun for the first, and by one that was for this one.
    let calls = [it.call(11, 105, 121), it.call(11, 121, 122), it.call(11, 0, 123)];
    let second = it.answers(second, 11, 130);
    let calls = it.corrected(calls);
    assert_eq!(calls[0].parent, None);
    assert!(is_child(calls[1], second, Evidence::Task) && is_child(calls[2], second, Evidence::Task));
    // It calls by itself after its answer: what it does next may be that still.
    assert_eq!(it.call(11, 0, 131).parent, None);
    let third = it.asked(&conn, 140);
    let call = it.call(11, 0, 141);
    it.answers(third, 11, 150);
    assert_eq!(it.corrected([call])[0].parent, None);
}

#[test]
fn a_request_without_an_answer_is_not_waited_for_for_ever() {
    let mut it = Service::new();
    let conn = it.bed.conn(false);
    let request = it.asked(&conn, 1);
    let call = it.call(11, 0, 2);
    it.bed.tracer.on_time(5 * SECOND);
    assert!(it.bed.tracer.settles_ns(&call).is_some());
    it.bed.tracer.on_time(11 * SECOND);
    assert_eq!((it.bed.tracer.settles_ns(&call), it.bed.tracer.orphans.len()), (None, 0));
    it.answers(request, 11, 12 * SECOND);
    assert!(it.bed.tracer.joined.is_empty());
}

#[test]
fn who_answers_a_call_goes_with_it_when_that_finds_its_request() {
    let mut it = Service::new();
    let (front, other) = (it.bed.conn(false), it.bed.conn(false));
    let requests = [it.asked(&front, 1), it.asked(&other, 2)];
    // The database is told of what it was asked, and is done with it, before the call is told that asked.
    let (client, server) = it.bed.pair();
    let database = Thread { tgid: ProcessId(2), tid: ThreadId(2), work: 0, begun_ns: 0 };
    let served = it.bed.open(&server, Role::Server, database, 3);
    let served = it.bed.finish(served, 4);
    let call = it.bed.open(&client, Role::Client, work(11), 3);
    let call = it.bed.finish(call, 5);
    let joined = it.bed.tracer.take_joined();
    assert!(joined.iter().all(|joined| joined.settles_ns > 5), "it waits as long as the call does: {joined:?}");
    let mut served = [served];
    joined.iter().for_each(|joined| joined.correct(&mut served[0]));
    let first = it.answers(requests[0], 11, 10);
    it.answers(requests[1], 12, 12);
    let [call, served] = it.corrected([call, served[0]]);
    assert!(is_child(call, first, Evidence::Task), "{call:?}");
    assert!(is_child(served, call, Evidence::Connection), "{served:?}");
}
