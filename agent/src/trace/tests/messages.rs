//! What is called while a message is dealt with.

use super::*;

fn deliver(bed: &mut Bed, conn: &ConnectionInfo, tid: u32, start_ns: u64) -> Request {
    let (key, role, thread) = (bed.keys.take(), Role::Client, thread(tid));
    let place = Place::Id(start_ns);
    let opened = Opened { key, role, thread, start_ns, parent: None, is_health_check: false, is_message: true, place };
    bed.tracer.on_opened(conn, &opened, || None);
    Request { key, role, thread, start_ns, carried: None }
}

#[test]
fn a_thread_calls_for_the_one_message_that_it_deals_with() {
    let mut bed = Bed::new();
    let (broker, back) = (bed.conn(false), bed.conn(true));
    for at_ns in [10, 20] {
        let message = deliver(&mut bed, &broker, 1, at_ns);
        let call = bed.open(&back, Role::Client, thread(1), at_ns + 1);
        let elsewhere = bed.open(&back, Role::Client, thread(2), at_ns + 1);
        let [call, elsewhere] = [call, elsewhere].map(|call| bed.finish(call, at_ns + 2));
        let message = bed.finish(message, at_ns + 3);
        assert_eq!((message.parent, elsewhere.parent), (None, None));
        assert!(is_child(call, message, Evidence::Thread), "{call:?}");
    }
}

#[test]
fn what_goes_on_behind_its_message_is_linked() {
    let mut bed = Bed::new();
    let (broker, back) = (bed.conn(false), bed.conn(true));
    let message = deliver(&mut bed, &broker, 1, 1);
    let call = bed.open(&back, Role::Client, thread(1), 2);
    let message = bed.finish(message, 3);
    let call = bed.finish(call, 4);
    assert_eq!((call.parent, call.link), (None, Some(message.span_id)));
}

#[test]
fn who_says_first_that_it_was_dealt_with_proves_nothing() {
    let mut bed = Bed::new();
    let (broker, back) = (bed.conn(false), bed.conn(true));
    let first = deliver(&mut bed, &broker, 1, 1);
    bed.finish(first, 2);
    // It may still be at work for the first.
    let second = deliver(&mut bed, &broker, 1, 3);
    let call = bed.open(&back, Role::Client, thread(1), 4);
    assert_eq!(bed.finish(call, 5).parent, None);
    bed.finish(second, 6);
    // Once it has waited for one it does not.
    let third = deliver(&mut bed, &broker, 1, 2 * SECOND);
    let call = bed.open(&back, Role::Client, thread(1), 2 * SECOND + 1);
    let call = bed.finish(call, 2 * SECOND + 2);
    assert!(is_child(call, bed.finish(third, 2 * SECOND + 3), Evidence::Thread));
}

#[test]
fn of_several_messages_at_a_time_or_where_something_else_is_called_none_is_meant() {
    let mut bed = Bed::new();
    let (broker, back) = (bed.conn(false), bed.conn(true));
    let both = [1, 2].map(|at_ns| deliver(&mut bed, &broker, 1, at_ns));
    let call = bed.open(&back, Role::Client, thread(1), 3);
    assert_eq!(bed.finish(call, 4).parent, None);
    bed.finish(both[0], 5);
    let call = bed.open(&back, Role::Client, thread(1), 6);
    assert_eq!(bed.finish(call, 7).parent, None, "it may be with the first");
    bed.finish(both[1], 8);
    let own = bed.open(&back, Role::Client, thread(1), 9);
    assert_eq!(bed.finish(own, 10).parent, None);
    let message = deliver(&mut bed, &broker, 1, 5 * SECOND);
    let call = bed.open(&back, Role::Client, thread(1), 5 * SECOND + 1);
    assert_eq!(bed.finish(call, 5 * SECOND + 2).parent, None, "it calls for itself, too");
    bed.finish(message, 5 * SECOND + 3);
}

#[test]
fn loops_that_do_not_wait_for_what_they_call_and_runtimes_that_are_not_known_prove_nothing() {
    let mut bed = Bed::new();
    let (broker, back, other) = (bed.conn(false), bed.conn(true), bed.conn(false));
    let message = deliver(&mut bed, &broker, 1, 1);
    let call = bed.open(&other, Role::Client, thread(1), 2);
    assert_eq!(bed.finish(call, 3).parent, None);
    for runtime in [Runtime::NotRead, Runtime::Tasks] {
        bed.tracer.set_runtime(ProcessId(1), runtime);
        let call = bed.open(&back, Role::Client, thread(1), 4);
        assert_eq!(bed.finish(call, 5).parent, None, "{runtime:?}");
    }
    bed.finish(message, 6);
}

#[test]
fn a_connection_that_is_older_than_the_agent_may_have_had_another_message_before() {
    let mut bed = Bed::new();
    let mut broker = bed.conn(false);
    let back = bed.conn(true);
    (broker.origin.is_beginning, broker.met_ns) = (false, 10);
    for (at_ns, is_certain) in [(20, false), (3 * SECOND, true)] {
        let message = deliver(&mut bed, &broker, 1, at_ns);
        let call = bed.open(&back, Role::Client, thread(1), at_ns + 1);
        let call = bed.finish(call, at_ns + 2);
        let message = bed.finish(message, at_ns + 3);
        assert_eq!(is_child(call, message, Evidence::Thread), is_certain);
    }
}
