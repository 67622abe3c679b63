//! Both ends of a request know each other's process, in whatever order they are told.

use super::*;

const CLIENT: Thread = Thread { tgid: ProcessId(1), tid: ThreadId(1), work: 0, begun_ns: 0 };
const SERVER: Thread = Thread { tgid: ProcessId(2), tid: ThreadId(2), work: 0, begun_ns: 0 };

#[test]
fn of_what_is_open_at_the_same_time() {
    for server_first in [true, false] {
        let mut bed = Bed::new();
        let (client, server) = bed.pair();
        let (asked, served) = if server_first {
            let served = bed.open(&server, Role::Server, SERVER, 11);
            (bed.open(&client, Role::Client, CLIENT, 10), served)
        } else {
            let asked = bed.open(&client, Role::Client, CLIENT, 10);
            (asked, bed.open(&server, Role::Server, SERVER, 11))
        };
        let served = bed.finish(served, 20);
        let asked = bed.finish(asked, 21);
        assert_eq!((asked.other_end, served.other_end), (Some(SERVER.tgid), Some(CLIENT.tgid)), "{server_first}");
        assert_eq!((asked.read_ns, served.read_ns), (Some(11), None), "a call has begun by then");
    }
}

#[test]
fn of_a_server_that_was_done_before_its_client_was_told() {
    let mut bed = Bed::new();
    let (client, mut server) = bed.pair();
    // Neither of loopback nor of this host by its address: the connection says it.
    server.remote = Endpoint::Inet("10.0.0.9:4000".parse().unwrap());
    let served = bed.open(&server, Role::Server, SERVER, 11);
    let mut served = bed.finish(served, 20);
    assert_eq!(served.other_end, None);
    assert!(bed.tracer.settles_ns(&served).is_some());
    bed.open(&client, Role::Client, CLIENT, 10);
    bed.tracer.take_joined().iter().for_each(|joined| joined.correct(&mut served));
    assert_eq!(served.other_end, Some(CLIENT.tgid));
}

#[test]
fn of_a_client_that_was_done_before_its_server_was_told() {
    let mut bed = Bed::new();
    let (client, server) = bed.pair();
    let asked = bed.open(&client, Role::Client, CLIENT, 10);
    let asked = bed.finish(asked, 20);
    assert_eq!(asked.other_end, None);
    let served = bed.open(&server, Role::Server, SERVER, 11);
    assert_eq!(bed.finish(served, 19).other_end, Some(CLIENT.tgid));
    let met = Met { trace_id: asked.trace_id, span_id: asked.span_id, other_end: SERVER.tgid, read_ns: 11 };
    assert_eq!(bed.tracer.take_met(), [met]);
}

#[test]
fn none_of_another_connection() {
    let mut bed = Bed::new();
    let (one, other) = (bed.conn(false), bed.conn(false));
    let asked = bed.open(&one, Role::Client, CLIENT, 10);
    let served = bed.open(&other, Role::Server, SERVER, 11);
    assert_eq!((bed.finish(served, 20).other_end, bed.finish(asked, 21).other_end), (None, None));
}

#[test]
fn a_client_that_is_told_too_late_leaves_its_server_where_it_was_told() {
    for has_call in [true, false] {
        let mut bed = Bed::new();
        // It waits for longer, so that nobody looks whether the other has waited long enough.
        let (_, other) = bed.pair();
        bed.open(&other, Role::Server, Thread { tgid: ProcessId(3), ..SERVER }, 10);
        let (client, mut server) = bed.pair();
        (server.is_paired, server.is_blocking) = (false, true);
        bed.tracer.set_runtime(SERVER.tgid, Runtime::Other);
        let served = bed.open(&server, Role::Server, SERVER, 11);
        let back = bed.conn(true);
        if has_call {
            let call = bed.open(&back, Role::Client, SERVER, 12);
            bed.finish(call, 13);
        }
        bed.tracer.on_time(SECOND / 2);
        bed.open(&client, Role::Client, CLIENT, 10);
        let joined = bed.tracer.take_joined();
        assert_eq!(joined.is_empty(), has_call, "what it has asked may have been let go");
        let served = bed.finish(served, SECOND);
        assert_eq!(served.parent.is_none(), has_call);
    }
}

#[test]
fn one_that_had_no_room_to_wait_stays_what_it_was_told_to_be() {
    let mut bed = Bed::new();
    let (client, server) = bed.pair();
    let served = bed.open(&server, Role::Server, SERVER, 11);
    let served = bed.finish(served, 20);
    bed.tracer.let_go(&served);
    bed.open(&client, Role::Client, CLIENT, 10);
    assert!(bed.tracer.take_joined().is_empty());
}
