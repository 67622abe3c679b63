//! What is called between two fetches of messages.

use super::*;
use crate::model::exchange::Polled;

/// A consumer on a thread.
struct Consumer {
    bed: Bed,
    broker: ConnectionInfo,
    back: ConnectionInfo,
}

impl Consumer {
    fn new() -> Self {
        let mut bed = Bed::new();
        let (broker, back) = (bed.conn(false), bed.conn(true));
        Self { bed, broker, back }
    }

    /// Fetches in vain, and calls nothing.
    fn proven() -> Self {
        let mut it = Self::new();
        it.fetches(1, 1, None);
        it.fetches(1, 2, None);
        it
    }

    /// A fetch is answered; with messages that are told, several perhaps.
    fn fetches(&mut self, tid: u32, at_ns: u64, is_batch: Option<bool>) -> Option<Context> {
        let (broker, thread) = (self.broker.clone(), thread(tid));
        let poll = is_batch.map(|_| self.bed.open(&broker, Role::Client, thread, at_ns));
        let (brought, is_batch) = (poll.map(|poll| poll.key), is_batch == Some(true));
        let polled = Polled { thread, at_ns, brought, is_batch, is_unclear: false, is_first: false };
        self.bed.tracer.on_polled(broker.id, &polled);
        poll.map(|poll| self.bed.finish(poll, at_ns))
    }

    fn calls(&mut self, tid: u32, at_ns: u64) -> Context {
        let back = self.back.clone();
        let call = self.bed.open(&back, Role::Client, thread(tid), at_ns);
        self.bed.finish(call, at_ns + 1)
    }
}

fn follows(call: Context, poll: Context) -> bool {
    (call.parent, call.link, call.trace_id, call.poll) == (None, Some(poll.span_id), poll.trace_id, None)
}

fn is_alone(call: Context) -> bool {
    (call.parent, call.link, call.poll) == (None, None, None)
}

#[test]
fn what_a_thread_calls_follows_from_the_message_that_it_has_fetched() {
    let mut it = Consumer::proven();
    for at_ns in [10, 20] {
        let poll = it.fetches(1, at_ns, Some(false)).unwrap();
        let calls = [it.calls(1, at_ns + 1), it.calls(1, at_ns + 3)];
        assert!(calls.iter().all(|call| follows(*call, poll)), "{calls:?}");
        assert!(is_alone(it.calls(2, at_ns + 5)), "of another thread");
    }
    let batch = it.fetches(1, 30, Some(true)).unwrap();
    let call = it.calls(1, 31);
    assert_eq!((call.parent, call.link, call.poll), (None, None, Some((batch.trace_id, batch.span_id))));
    assert_ne!(call.trace_id, batch.trace_id, "a batch is no trace");
}

#[test]
fn a_thread_is_believed_once_it_was_seen_to_fetch_in_vain_and_not_where_it_calls_for_itself() {
    let mut it = Consumer::new();
    it.fetches(1, 1, Some(false));
    assert!(is_alone(it.calls(1, 2)));
    it.fetches(1, 3, None);
    it.fetches(1, 4, Some(false));
    let poll = it.fetches(1, 5, Some(false)).unwrap();
    assert!(follows(it.calls(1, 6), poll));
    it.fetches(1, 7, None);
    assert!(is_alone(it.calls(1, 8)));
    it.fetches(1, 9, None);
    it.fetches(1, 10, None);
    it.fetches(1, 11, Some(false));
    assert!(is_alone(it.calls(1, 12)), "it calls for itself, too");
}

#[test]
fn where_threads_share_a_connection_or_a_thread_has_several_nothing_is_meant() {
    let mut it = Consumer::proven();
    it.fetches(1, 10, Some(false));
    it.fetches(2, 11, Some(false));
    assert!(is_alone(it.calls(1, 12)));
    assert!(is_alone(it.calls(2, 13)), "it was not seen to fetch in vain");
    let poll = it.fetches(1, 14, Some(false)).unwrap();
    assert!(follows(it.calls(1, 15), poll), "it fetches again itself");
    let first = it.broker.clone();
    it.broker = it.bed.conn(false);
    it.fetches(1, 20, Some(false));
    assert!(is_alone(it.calls(1, 21)));
    it.broker = first;
    it.fetches(1, 22, Some(false));
    assert!(is_alone(it.calls(1, 23)));
}

#[test]
fn what_is_unclear_and_who_does_not_wait_prove_nothing() {
    let mut it = Consumer::proven();
    let (thread, broker) = (thread(1), it.broker.clone());
    let polled = Polled { thread, at_ns: 10, brought: None, is_batch: false, is_unclear: true, is_first: false };
    it.bed.tracer.on_polled(broker.id, &polled);
    assert!(is_alone(it.calls(1, 11)));
    let poll = it.fetches(1, 12, Some(false)).unwrap();
    let commit = it.bed.open(&broker, Role::Client, thread, 13);
    assert!(is_alone(it.bed.finish(commit, 14)), "what it asks its broker is no call for a message");
    let coordinator = it.bed.conn(false);
    it.bed.tracer.on_polled(coordinator.id, &Polled { is_unclear: false, is_first: true, ..polled });
    let commit = it.bed.open(&coordinator, Role::Client, thread, 14);
    assert!(is_alone(it.bed.finish(commit, 14)), "nor is what it asks another");
    it.back = it.bed.conn(false);
    assert!(is_alone(it.calls(1, 15)));
    it.back = it.bed.conn(true);
    it.bed.tracer.set_runtime(ProcessId(1), Runtime::NotRead);
    assert!(is_alone(it.calls(1, 16)));
    it.bed.tracer.set_runtime(ProcessId(1), Runtime::Other);
    assert!(follows(it.calls(1, 17), poll));
    it.bed.tracer.on_exit(ProcessId(1));
    it.bed.tracer.set_runtime(ProcessId(1), Runtime::Other);
    assert!(is_alone(it.calls(1, 18)));
}
