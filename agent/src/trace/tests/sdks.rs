//! Processes that describe themselves.

use super::{super::sdks::Facts, *};
use crate::config::Sdk;

/// A process with an SDK.
fn sdk(is_automatic: bool, policy: Sdk) -> Facts {
    Facts { has_sdk: true, is_automatic, describes_all: false, policy }
}

/// A context of the same trace, of a span of the process.
fn own(span: u8) -> Option<TraceParent> {
    carried().map(|carried| TraceParent { span_id: SpanId([span; 8]), ..carried })
}

/// Of a trace that begins in the process.
fn begun(trace: u8, span: u8) -> Option<TraceParent> {
    own(span).map(|own| TraceParent { trace_id: TraceId([trace; 16]), ..own })
}

#[test]
fn what_an_sdk_describes_is_known_by_the_context_that_goes_on() {
    let mut bed = Bed::new();
    bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(true, Sdk::Pair));
    let conn = bed.conn(true);
    let request = bed.open_at(&conn, Role::Server, thread(1), 1, 0, carried());
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1)), Paired::Undecided);
    // A call that nobody describes is below what the request is below.
    let bare = bed.open_at(&conn, Role::Client, thread(1), 2, 10, None);
    let call = bed.open_at(&conn, Role::Client, thread(1), 3, 20, own(7));
    let [bare, call] = [bare, call].map(|call| bed.finish(call, 4));
    assert_eq!((bare.paired, bare.parent), (Paired::Alone, Some((carried().unwrap().span_id, Evidence::Sdk))));
    assert_eq!((call.paired, call.trace_id), (Paired::Described, carried().unwrap().trace_id));
    assert_eq!(bed.finish(request, 5).paired, Paired::Undecided);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1)), Paired::Described);
}

#[test]
fn a_server_answers_the_sdks_span_where_the_agents_is_not_told() {
    let mut bed = Bed::new();
    bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(true, Sdk::Pair));
    let (client, server) = bed.pair();
    let call = bed.open_at(&client, Role::Client, thread(1), 1, 0, own(7));
    let elsewhere = Thread { tgid: ProcessId(2), ..thread(9) };
    let request = bed.open_at(&server, Role::Server, elsewhere, 2, 0, own(7));
    let [request, call] = [request, call].map(|request| bed.finish(request, 3));
    assert_eq!(call.paired, Paired::Described);
    assert_eq!((request.paired, request.parent), (Paired::Alone, Some((SpanId([7; 8]), Evidence::Header))));
}

#[test]
fn a_server_that_does_not_take_up_what_comes_is_told() {
    let mut bed = Bed::new();
    bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(true, Sdk::Pair));
    let conn = bed.conn(true);
    let request = bed.open_at(&conn, Role::Server, thread(1), 1, 0, carried());
    let call = bed.open_at(&conn, Role::Client, thread(1), 2, 10, begun(3, 4));
    assert_eq!(bed.finish(call, 3).paired, Paired::Described);
    bed.tracer.sdks.on_export(ProcessId(1), Role::Client);
    bed.finish(request, 4);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1)), Paired::Alone);
}

#[test]
fn an_sdk_that_only_some_code_uses_describes_what_it_is_seen_to() {
    let mut bed = Bed::new();
    bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(false, Sdk::Pair));
    bed.tracer.sdks.on_export(ProcessId(1), Role::Client);
    let conn = bed.conn(true);
    let mut paired = |at: u64, carried| {
        let call = bed.open_at(&conn, Role::Client, thread(1), at, at, carried);
        bed.finish(call, at + 1).paired
    };
    // One span that calls are made under, whose context they all carry: they have none of their own.
    assert_eq!([paired(1, begun(3, 4)), paired(3, begun(3, 4))], [Paired::Alone; 2]);
    assert_eq!([paired(5, begun(4, 5)), paired(7, begun(4, 6))], [Paired::Alone, Paired::Described]);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1)), Paired::Alone);
}

#[test]
fn what_others_than_an_sdk_carry_on_is_told() {
    let mut bed = Bed::new();
    bed.tracer.sdks.set(ProcessId(1), 1, 0, Facts::default());
    let conn = bed.conn(true);
    let request = bed.open_at(&conn, Role::Server, thread(1), 1, 0, carried());
    let call = bed.open_at(&conn, Role::Client, thread(1), 3, 20, own(7));
    assert_eq!([call, request].map(|it| bed.finish(it, 4).paired), [Paired::Alone; 2]);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1)), Paired::Alone);
}

#[test]
fn a_process_is_asked_about_when_something_changed_and_not_all_the_time() {
    let mut bed = Bed::new();
    let asks = |bed: &Bed, changes, now_ns| bed.tracer.sdks.asks(ProcessId(1), changes, now_ns);
    assert!(asks(&bed, 1, 0));
    bed.tracer.sdks.set(ProcessId(1), 1, SECOND, sdk(true, Sdk::Pair));
    assert_eq!(
        [(1, 9 * SECOND), (2, SECOND + 1), (2, 2 * SECOND)].map(|(it, at)| asks(&bed, it, at)),
        [false, false, true]
    );
    bed.tracer.sdks.ask_again();
    assert!(asks(&bed, 1, SECOND));
}

#[test]
fn what_is_to_be_done_about_sdks_is_done() {
    for (policy, expected) in [(Sdk::Ignore, Paired::Alone), (Sdk::Exclude, Paired::Excluded)] {
        let mut bed = Bed::new();
        bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(true, policy));
        let conn = bed.conn(true);
        let request = bed.open_at(&conn, Role::Server, thread(1), 1, 0, carried());
        let calls = [None, own(7)].map(|carried| bed.open_at(&conn, Role::Client, thread(1), 2, 10, carried));
        assert_eq!(calls.map(|call| bed.finish(call, 3).paired), [expected; 2]);
        assert_eq!(bed.finish(request, 4).paired, expected);
    }
}
