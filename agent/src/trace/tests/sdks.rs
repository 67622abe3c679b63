//! Processes that describe themselves.

use super::{super::sdks::Facts, *};
use crate::{config::Sdk, model::exchange::ExportedKinds};

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
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1), 10), Paired::Undecided);
    // A call that nobody describes is below what the request is below.
    let bare = bed.open_at(&conn, Role::Client, thread(1), 2, 10, None);
    let call = bed.open_at(&conn, Role::Client, thread(1), 3, 20, own(7));
    let [bare, call] = [bare, call].map(|call| bed.finish(call, 4));
    assert_eq!((bare.paired, bare.parent), (Paired::Alone, Some((carried().unwrap().span_id, Evidence::Sdk))));
    assert_eq!((call.paired, call.trace_id), (Paired::Described, carried().unwrap().trace_id));
    assert_eq!(bed.finish(request, 5).paired, Paired::Undecided);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1), 10), Paired::Described);
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
    bed.tracer.sdks.on_export(ProcessId(1), Role::Client, ExportedKinds::default());
    bed.finish(request, 4);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1), 10), Paired::Alone);
}

#[test]
fn an_sdk_that_only_some_code_uses_describes_what_it_is_seen_to() {
    let mut bed = Bed::new();
    // Known by what it exports alone.
    bed.tracer.sdks.set(ProcessId(1), 1, 0, Facts::default());
    bed.tracer.sdks.on_export(ProcessId(1), Role::Client, ExportedKinds::default());
    let conn = bed.conn(true);
    let mut paired = |at: u64, carried| {
        let call = bed.open_at(&conn, Role::Client, thread(1), at, at, carried);
        bed.finish(call, at + 1).paired
    };
    // One span that calls are made under, whose context they all carry: they have none of their own.
    assert_eq!([paired(1, begun(3, 4)), paired(3, begun(3, 4))], [Paired::Alone; 2]);
    assert_eq!([paired(5, begun(4, 5)), paired(7, begun(4, 6))], [Paired::Alone, Paired::Described]);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1), 10), Paired::Alone);
}

fn kinds(kinds: &[u64]) -> ExportedKinds {
    let mut all = ExportedKinds::default();
    kinds.iter().for_each(|kind| all.add(*kind));
    all
}

#[test]
fn of_an_sdk_that_is_part_of_a_program_it_is_waited_for_what_it_exports() {
    let (server, client) = (ExportedKinds::SERVER, ExportedKinds::CLIENT);
    for (exported, request, call) in [
        (&[server, client][..], Paired::Described, Paired::Described),
        (&[server], Paired::Described, Paired::Undecided),
        (&[client], Paired::Undecided, Paired::Described),
        (&[1], Paired::Undecided, Paired::Undecided),
    ] {
        let mut bed = Bed::new();
        bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(false, Sdk::Pair));
        let conn = bed.conn(true);
        let asked = bed.open_at(&conn, Role::Server, thread(1), 1, 0, None);
        let asks = bed.open_at(&conn, Role::Client, thread(1), 2, 10, begun(3, 4));
        assert_eq!([asks, asked].map(|it| bed.finish(it, 3).paired), [Paired::Undecided; 2]);
        let paired = |bed: &Bed| {
            let sdks = &bed.tracer.sdks;
            (sdks.of_request(ProcessId(1), 10), sdks.of_own_call(ProcessId(1), 10))
        };
        bed.tracer.sdks.on_export(ProcessId(1), Role::Client, kinds(exported));
        assert_eq!(paired(&bed), (request, call), "{exported:?}");
        // What is never among it is told at once.
        let told = |paired| if paired == Paired::Undecided { Paired::Alone } else { paired };
        (0..3).for_each(|_| bed.tracer.sdks.on_export(ProcessId(1), Role::Client, kinds(exported)));
        assert_eq!(paired(&bed), (told(request), told(call)), "{exported:?}");
    }
}

#[test]
fn of_code_that_uses_an_sdk_it_is_waited_for_what_is_exported_from_the_start() {
    let mut bed = Bed::new();
    let paired = |bed: &Bed| bed.tracer.sdks.of_request(ProcessId(1), 10);
    bed.tracer.sdks.set(ProcessId(1), 1, 0, Facts::default());
    assert_eq!(paired(&bed), Paired::Alone);
    bed.tracer.sdks.on_used(ProcessId(1));
    assert!(bed.tracer.sdks.asks(ProcessId(1), 1, SECOND));
    bed.tracer.sdks.set(ProcessId(1), 1, SECOND, Facts::default());
    assert_eq!(paired(&bed), Paired::Undecided);
    bed.tracer.sdks.on_other_program(ProcessId(1));
    bed.tracer.sdks.set(ProcessId(1), 2, 2 * SECOND, Facts::default());
    assert_eq!(paired(&bed), Paired::Alone);
    bed.tracer.sdks.on_used(ProcessId(1));
    bed.tracer.on_exit(ProcessId(1));
    bed.tracer.sdks.set(ProcessId(1), 3, 3 * SECOND, Facts::default());
    assert_eq!(paired(&bed), Paired::Alone, "another of that number");
}

#[test]
fn what_a_gateway_exports_is_not_its_own() {
    let exported = kinds(&[ExportedKinds::SERVER, ExportedKinds::CLIENT]);
    for order in [[Role::Server, Role::Client], [Role::Client, Role::Server]] {
        let mut bed = Bed::new();
        bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(false, Sdk::Pair));
        order.iter().for_each(|role| bed.tracer.sdks.on_export(ProcessId(1), *role, exported));
        let sdks = &bed.tracer.sdks;
        assert_eq!(
            (sdks.of_request(ProcessId(1), 10), sdks.of_own_call(ProcessId(1), 10)),
            (Paired::Alone, Paired::Alone)
        );
    }
}

#[test]
fn of_an_sdk_that_exports_nothing_spans_are_not_held_for_ever() {
    for is_automatic in [false, true] {
        let mut bed = Bed::new();
        bed.tracer.sdks.set(ProcessId(1), 1, SECOND, sdk(is_automatic, Sdk::Pair));
        let after = [2 * SECOND, 100 * SECOND].map(|now_ns| bed.tracer.sdks.of_request(ProcessId(1), now_ns));
        assert_eq!(after, [Paired::Undecided, Paired::Alone]);
    }
}

#[test]
fn a_server_is_below_no_span_that_may_not_be_told() {
    for facts in [sdk(false, Sdk::Pair), sdk(true, Sdk::Exclude)] {
        let mut bed = Bed::new();
        bed.tracer.sdks.set(ProcessId(1), 1, 0, facts);
        let (client, server) = bed.pair();
        let call = bed.open_at(&client, Role::Client, thread(1), 1, 0, own(7));
        let elsewhere = Thread { tgid: ProcessId(2), ..thread(9) };
        let request = bed.open_at(&server, Role::Server, elsewhere, 2, 0, own(7));
        assert_ne!(bed.finish(call, 3).paired, Paired::Alone);
        assert_eq!(bed.finish(request, 3).parent, Some((SpanId([7; 8]), Evidence::Header)), "{facts:?}");
    }
}

#[test]
fn what_others_than_an_sdk_carry_on_is_told() {
    let mut bed = Bed::new();
    bed.tracer.sdks.set(ProcessId(1), 1, 0, Facts::default());
    let conn = bed.conn(true);
    let request = bed.open_at(&conn, Role::Server, thread(1), 1, 0, carried());
    let call = bed.open_at(&conn, Role::Client, thread(1), 3, 20, own(7));
    assert_eq!([call, request].map(|it| bed.finish(it, 4).paired), [Paired::Alone; 2]);
    assert_eq!(bed.tracer.sdks.of_request(ProcessId(1), 10), Paired::Alone);
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

#[test]
fn what_is_called_while_a_span_of_the_sdk_is_active_is_below_that() {
    let call = |policy: Sdk, number: u64, carries: Option<TraceParent>| {
        let mut bed = Bed::new();
        bed.tracer.sdks.set(ProcessId(1), 1, 0, sdk(false, policy));
        let (served, back) = (bed.conn(true), bed.conn(true));
        let request = bed.open(&served, Role::Server, thread(1), 1);
        bed.tracer.on_active(ProcessId(1), ThreadId(1), 8, own(7).unwrap());
        let by = Thread { begun_ns: number, ..thread(1) };
        let call = bed.open_at(&back, Role::Client, by, 2, 0, carries);
        let call = bed.finish(call, 3);
        bed.finish(request, 4);
        (call.trace_id == own(7).unwrap().trace_id, call.parent)
    };
    let of_active = Some((SpanId([7; 8]), Evidence::Sdk));
    assert_eq!(call(Sdk::Pair, 8, None), (true, of_active));
    // What it carries goes before.
    assert_eq!(call(Sdk::Pair, 8, own(9)), (true, Some((SpanId([9; 8]), Evidence::Header))));
    // Of another moment: below the request of the same thread, whose span is the SDK's, or may be, and is not known.
    assert_eq!([16, 0].map(|number| call(Sdk::Pair, number, None)), [(false, None); 2]);
    let (is_of_it, parent) = call(Sdk::Ignore, 8, None);
    assert!(!is_of_it && parent.is_some_and(|(_, evidence)| evidence == Evidence::Thread), "{parent:?}");
}
