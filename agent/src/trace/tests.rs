mod ends;
mod handled;
mod late;
mod messages;
mod polls;
mod pools;
mod runtimes;
mod sdks;
mod workers;

use super::*;
use crate::model::{
    exchange::{Inside, Keys, Operation, Outcome, Pattern, Place},
    ids::{ConnectionId, ProcessId, ThreadId},
    net::{Endpoint, Origin, Thread},
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A request that is open.
#[derive(Clone, Copy)]
struct Request {
    key: Key,
    role: Role,
    thread: Thread,
    start_ns: u64,
    carried: Option<TraceParent>,
}

/// Drives the stage as connections do.
struct Bed {
    tracer: Tracer,
    keys: Keys,
    conns: u64,
    is_health_check: bool,
    environment: Option<TraceParent>,
}

impl Bed {
    fn new() -> Self {
        let mut tracer = Tracer::new(Ids::from_seed([1; 32]), Sampler::default());
        tracer.set_runtime(ProcessId(1), Runtime::Other);
        Self { tracer, keys: Keys::default(), conns: 0, is_health_check: false, environment: None }
    }

    /// A connection of its own.
    fn conn(&mut self, is_blocking: bool) -> ConnectionInfo {
        self.conns += 1;
        let id = self.conns;
        let endpoint = |ip: &str| Endpoint::Inet(ip.parse().unwrap());
        ConnectionInfo {
            id: ConnectionId(id),
            local: endpoint("10.0.0.1:80"),
            remote: endpoint("10.0.0.2:4000"),
            netns: 1,
            tls: false,
            tls_version: None,
            asked: None,
            client: None,
            link: ConnectionId(id),
            is_paired: false,
            origin: Origin { is_beginning: true, sequence: Some([100, 200]) },
            is_blocking,
            met_ns: 0,
            requests: 0,
            connect_ns: None,
        }
    }

    /// Both ends of a connection on this host.
    fn pair(&mut self) -> (ConnectionInfo, ConnectionInfo) {
        let (mut client, mut server) = (self.conn(false), self.conn(false));
        server.link = client.id;
        (client.is_paired, server.is_paired) = (true, true);
        (client.origin, server.origin) = (
            Origin { is_beginning: true, sequence: Some([7, 9]) },
            Origin { is_beginning: true, sequence: Some([9, 7]) },
        );
        server.remote = Endpoint::Inet("127.0.0.1:4000".parse().unwrap());
        (client, server)
    }

    fn open(&mut self, conn: &ConnectionInfo, role: Role, thread: Thread, start_ns: u64) -> Request {
        self.open_at(conn, role, thread, start_ns, 0, None)
    }

    fn open_at(
        &mut self,
        conn: &ConnectionInfo,
        role: Role,
        thread: Thread,
        start_ns: u64,
        position: u64,
        carried: Option<TraceParent>,
    ) -> Request {
        let key = self.keys.take();
        let place = Place::Position(position);
        self.tracer.on_opened(
            conn,
            &Opened {
                key,
                role,
                thread,
                start_ns,
                parent: carried,
                is_health_check: self.is_health_check,
                is_message: false,
                place,
            },
            || self.environment,
        );
        Request { key, role, thread, start_ns, carried }
    }

    fn finish(&mut self, request: Request, end_ns: u64) -> Context {
        self.finish_by(request, request.thread.tid, end_ns)
    }

    fn finish_by(&mut self, request: Request, response_tid: ThreadId, end_ns: u64) -> Context {
        self.keys.give_back(request.key);
        let exchange = Exchange {
            role: request.role,
            thread: request.thread,
            start_ns: request.start_ns,
            first_byte_ns: None,
            response_tid,
            end_ns,
            outcome: Outcome::Complete,
            parent: request.carried,
            protocol: "http1",
            pattern: Pattern::RequestResponse,
            operation: Operation::Http(Box::default()),
            inside: Inside::default(),
        };
        self.tracer.on_finished(request.key, &exchange)
    }
}

const fn thread(tid: u32) -> Thread {
    Thread { tgid: ProcessId(1), tid: ThreadId(tid), work: 0, begun_ns: 0 }
}

const fn work(work: u64) -> Thread {
    Thread { tgid: ProcessId(1), tid: ThreadId(1), work, begun_ns: 0 }
}

fn carried() -> Option<TraceParent> {
    TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
}

fn is_child(child: Context, parent: Context, evidence: Evidence) -> bool {
    child.trace_id == parent.trace_id && child.parent == Some((parent.span_id, evidence))
}

#[test]
fn a_request_has_the_ids_that_it_was_given_when_it_began() {
    let mut bed = Bed::new();
    let conn = bed.conn(false);
    let first = bed.open(&conn, Role::Server, thread(1), 1);
    let second = bed.open_at(&conn, Role::Server, thread(1), 1, 9, carried());
    let given: Vec<Open> = bed.tracer.open.iter().flatten().copied().collect();
    assert_eq!(bed.tracer.open(), 2);
    let context = bed.finish(second, 2);
    assert_eq!((context.trace_id, context.span_id), (carried().unwrap().trace_id, given[1].span_id));
    assert_eq!(context.parent, Some((carried().unwrap().span_id, Evidence::Header)));
    let context = bed.finish(first, 2);
    assert_eq!((context.trace_id, context.span_id, context.parent), (given[0].trace_id, given[0].span_id, None));
    assert_eq!((bed.tracer.open(), context.evidence()), (0, "none"));
}

#[test]
fn an_older_key_of_the_same_slot_does_not_get_the_ids_of_the_younger() {
    let mut bed = Bed::new();
    let conn = bed.conn(false);
    let older = bed.open(&conn, Role::Server, thread(1), 1);
    bed.finish(older, 2);
    let younger = bed.open(&conn, Role::Server, thread(1), 3);
    assert_eq!(older.key.slot(), younger.key.slot());
    bed.finish(older, 4);
    assert_eq!(bed.tracer.open(), 1);
}

#[test]
fn a_context_that_is_found_late_counts() {
    let mut bed = Bed::new();
    let conn = bed.conn(false);
    let request = bed.open(&conn, Role::Server, thread(1), 1);
    assert_eq!(bed.finish(Request { carried: carried(), ..request }, 2).trace_id, carried().unwrap().trace_id);
}

#[test]
fn a_context_that_is_found_behind_calls_does_not_part_them_from_their_request() {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(true), bed.conn(true));
    let request = bed.open(&conn, Role::Server, thread(1), 1);
    let call = bed.open(&back, Role::Client, thread(1), 2);
    let call = bed.finish(call, 3);
    let request = bed.finish(Request { carried: carried(), ..request }, 4);
    assert!(is_child(call, request, Evidence::Thread) && request.parent.is_none(), "{call:?}");
}

#[test]
fn the_caller_decides_unless_the_service_has_a_sampler_of_its_own() {
    let mut bed = Bed::new();
    let conn = bed.conn(true);
    let unsampled = Some(TraceParent { flags: 2, ..carried().unwrap() });
    let request = bed.open_at(&conn, Role::Server, thread(1), 1, 0, unsampled);
    let call = bed.open(&conn, Role::Client, thread(1), 2);
    for (request, end_ns) in [(call, 3), (request, 4)] {
        let mut context = bed.finish(request, end_ns);
        bed.tracer.sample(&mut context, None, "", 1);
        assert!(!context.is_sampled(), "what is done for a request is sampled as it is");
        bed.tracer.sample(&mut context, Some(&Sampler::AlwaysOn), "", 1);
        assert_eq!(context.flags, 3);
    }
}

#[test]
fn a_thread_that_waits_in_its_calls_serves_one_request() {
    let mut bed = Bed::new();
    let (blocking, client) = (bed.conn(true), bed.conn(true));
    let requests = [1, 2].map(|tid| bed.open(&blocking, Role::Server, thread(tid), 1));
    let calls = [2, 1].map(|tid| bed.open(&client, Role::Client, thread(tid), 2));
    let elsewhere = bed.open(&client, Role::Client, thread(3), 2);
    let calls = calls.map(|call| bed.finish(call, 3));
    assert_eq!(bed.finish(elsewhere, 3).parent, None, "two requests are open");
    let requests = requests.map(|request| bed.finish(request, 4));
    assert!(is_child(calls[0], requests[1], Evidence::Thread) && is_child(calls[1], requests[0], Evidence::Thread));
    let next = bed.open(&client, Role::Client, thread(1), 5);
    assert_eq!(bed.finish(next, 6).parent, None, "the request is over");
}

#[test]
fn a_thread_that_does_other_things_too_proves_nothing() {
    // A loop over several sockets that block, which polls somebody between two requests.
    let mut bed = Bed::new();
    let (blocking, client) = (bed.conn(true), bed.conn(true));
    let first = bed.open(&blocking, Role::Server, thread(1), 1);
    bed.finish(first, 2);
    let own = bed.open(&client, Role::Client, thread(1), 3);
    bed.finish(own, 4);
    bed.tracer.on_time(2 * SECOND);
    let second = bed.open(&blocking, Role::Server, thread(1), 3 * SECOND);
    let polls = bed.open(&client, Role::Client, thread(1), 3 * SECOND + 1);
    assert_eq!(bed.finish(polls, 3 * SECOND + 2).parent, None);
    bed.finish(second, 3 * SECOND + 3);
    // One that hands what it has read to another thread.
    let mut bed = Bed::new();
    let (blocking, client) = (bed.conn(true), bed.conn(true));
    let handed_on = bed.open(&blocking, Role::Server, thread(1), 1);
    bed.finish_by(handed_on, ThreadId(2), 2);
    let _next = bed.open(&blocking, Role::Server, thread(1), 3);
    let own = bed.open(&client, Role::Client, thread(1), 4);
    assert_ne!(bed.finish(own, 5).parent.map(|(_, evidence)| evidence), Some(Evidence::Thread));
}

#[test]
fn a_thread_with_two_requests_is_nobodys() {
    let mut bed = Bed::new();
    let (blocking, client) = (bed.conn(true), bed.conn(true));
    let _requests = [1, 1].map(|tid| bed.open(&blocking, Role::Server, thread(tid), 1));
    let call = bed.open(&client, Role::Client, thread(1), 2);
    assert_eq!(bed.finish(call, 3).parent, None);
}

#[test]
fn pools_of_threads_are_found_by_how_they_work() {
    let serve_together = |bed: &mut Bed, responders: [u32; 2], at_ns: u64| {
        let (conn, back) = (bed.conn(false), bed.conn(true));
        let requests = [1, 2].map(|tid| bed.open(&conn, Role::Server, thread(tid), at_ns));
        let call = bed.open(&back, Role::Client, thread(1), at_ns + 1);
        let call = bed.finish(call, at_ns + 2);
        let [first, _] = [0, 1].map(|i| bed.finish_by(requests[i], ThreadId(responders[i]), at_ns + 3));
        is_child(call, first, Evidence::Thread)
    };
    let mut bed = Bed::new();
    let found: Vec<bool> = (0..20).map(|round| serve_together(&mut bed, [1, 2], round * 10)).collect();
    assert!(!found[0] && found[19], "{found:?}");
    // A runtime that carries work on elsewhere.
    let mut bed = Bed::new();
    assert!(!(0..20).any(|round| serve_together(&mut bed, [2, 1], round * 10)));
}

#[test]
fn what_was_begun_before_a_request_is_not_for_it() {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(false), bed.conn(false));
    let earlier = bed.open(&conn, Role::Server, work(7), 1);
    bed.finish(earlier, 3);
    let request = bed.open(&conn, Role::Server, work(7), 5);
    // By the same task: given to a connection's task before, begun before; given or begun since.
    let calls = [2, 4, 5, 6].map(|begun_ns| bed.open(&back, Role::Client, Thread { begun_ns, ..work(7) }, 8));
    let parents = calls.map(|call| bed.finish(call, 9).parent);
    let request = bed.finish(request, 10);
    let of_it = Some((request.span_id, Evidence::Task));
    assert_eq!(parents, [None, None, of_it, of_it]);
}

#[test]
fn what_was_begun_while_a_task_had_two_requests_is_for_neither_also_when_one_is_left() {
    let mut bed = Bed::new();
    let (conn, back) = (bed.conn(false), bed.conn(false));
    let requests = [1, 2].map(|start_ns| bed.open(&conn, Role::Server, work(7), start_ns));
    bed.finish(requests[0], 4);
    let call = bed.open(&back, Role::Client, Thread { begun_ns: 3, ..work(7) }, 5);
    assert_eq!(bed.finish(call, 6).parent, None);
    bed.finish(requests[1], 7);
}

#[test]
fn a_task_that_reads_from_several_connections_proves_nothing() {
    let mut bed = Bed::new();
    let (first, second, back) = (bed.conn(false), bed.conn(false), bed.conn(false));
    let of_first = bed.open(&first, Role::Server, work(7), 1);
    let call = bed.open(&back, Role::Client, work(7), 2);
    assert!(bed.finish(call, 3).parent.is_some());
    let of_second = bed.open(&second, Role::Server, work(7), 4);
    bed.finish(of_first, 5);
    let call = bed.open(&back, Role::Client, work(7), 6);
    assert_eq!(bed.finish(call, 7).parent, None);
    bed.finish(of_second, 8);
}

#[test]
fn a_sole_request_is_meant_unless_another_may_have_left_something_behind() {
    let mut bed = Bed::new();
    let conn = bed.conn(false);
    let request = bed.open(&conn, Role::Server, thread(1), SECOND);
    let call = bed.open(&conn, Role::Client, thread(1), SECOND + 1);
    let call = bed.finish(call, SECOND + 2);
    let elsewhere = bed.open(&conn, Role::Client, thread(2), SECOND + 1);
    assert_eq!(bed.finish(elsewhere, SECOND + 2).parent, None, "another thread may be at work of its own");
    let request = bed.finish(request, SECOND + 3);
    assert!(is_child(call, request, Evidence::SoleRequest));
    for (after_ns, is_meant) in [(10 * MS, false), (1_500 * MS, true)] {
        let start_ns = 10 * SECOND + after_ns;
        let before = bed.open(&conn, Role::Server, thread(1), 10 * SECOND - 1);
        bed.finish(before, 10 * SECOND);
        let request = bed.open(&conn, Role::Server, thread(1), start_ns);
        let call = bed.open(&conn, Role::Client, thread(1), start_ns + 1);
        let call = bed.finish(call, start_ns + 2);
        assert_eq!(is_child(call, bed.finish(request, start_ns + 3), Evidence::SoleRequest), is_meant);
    }
}

#[test]
fn a_process_that_calls_for_nobody_may_do_so_at_any_moment() {
    let mut bed = Bed::new();
    let conn = bed.conn(false);
    let call = bed.open(&conn, Role::Client, thread(1), SECOND);
    assert_eq!(bed.finish(call, SECOND + 1).parent, None);
    bed.tracer.on_time(2 * SECOND);
    let request = bed.open(&conn, Role::Server, thread(1), 5 * SECOND);
    let call = bed.open(&conn, Role::Client, thread(1), 5 * SECOND + 1);
    assert_eq!(bed.finish(call, 5 * SECOND + 2).parent, None);
    bed.finish(request, 5 * SECOND + 3);
}

#[test]
fn a_unit_of_work_is_surer_than_all_else() {
    let mut bed = Bed::new();
    let conn = bed.conn(false);
    let requests = [7, 8].map(|unit| bed.open(&conn, Role::Server, work(unit), 1));
    let calls = [8, 9, 7].map(|unit| bed.open(&conn, Role::Client, work(unit), 2));
    let [of_second, of_nobody, of_first] = calls.map(|call| bed.finish(call, 3));
    let [first, second] = requests.map(|request| bed.finish(request, 4));
    assert!(is_child(of_second, second, Evidence::Task) && is_child(of_first, first, Evidence::Task));
    assert_eq!(of_nobody.parent, None);
}

#[test]
fn what_goes_on_behind_its_request_is_linked() {
    let mut bed = Bed::new();
    let conn = bed.conn(true);
    let request = bed.open(&conn, Role::Server, thread(1), 1);
    let call = bed.open(&conn, Role::Client, thread(1), 2);
    let request = bed.finish(request, 3);
    let call = bed.finish(call, 4);
    assert_eq!((call.parent, call.link, call.trace_id), (None, Some(request.span_id), request.trace_id));
}

#[test]
fn a_context_that_is_handed_on_names_the_request_it_came_with() {
    let mut bed = Bed::new();
    let conn = bed.conn(false);
    let other = TraceParent::parse(b"00-aaf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01");
    let requests = [carried(), other].map(|carried| bed.open_at(&conn, Role::Server, thread(1), 1, 0, carried));
    let calls = [other, carried()].map(|carried| bed.open_at(&conn, Role::Client, thread(1), 2, 0, carried));
    let own = Some(TraceParent { span_id: SpanId([3; 8]), ..carried().unwrap() });
    let by_sdk = bed.open_at(&conn, Role::Client, thread(1), 2, 0, own);
    let [second, first] = calls.map(|call| bed.finish(call, 3));
    let by_sdk = bed.finish(by_sdk, 3);
    let requests = requests.map(|request| bed.finish(request, 4));
    assert!(is_child(first, requests[0], Evidence::Header) && is_child(second, requests[1], Evidence::Header));
    assert_eq!(by_sdk.parent, Some((SpanId([3; 8]), Evidence::Header)), "a span of its SDK stands in between");
}

#[test]
fn both_ends_of_a_request_are_client_and_server_of_one_trace_in_whatever_order_they_are_told() {
    for server_first in [false, true] {
        let mut bed = Bed::new();
        let (client, server) = bed.pair();
        let asks = |bed: &mut Bed, n: u64| bed.open_at(&client, Role::Client, thread(1), 10 + n, n, None);
        let serves = |bed: &mut Bed, n: u64| {
            bed.open_at(
                &server,
                Role::Server,
                Thread { tgid: ProcessId(2), tid: ThreadId(2), work: 0, begun_ns: 0 },
                10 + n,
                n,
                None,
            )
        };
        let [first, second] = [0, 100].map(|n| {
            if server_first {
                let served = serves(&mut bed, n);
                (asks(&mut bed, n), served)
            } else {
                (asks(&mut bed, n), serves(&mut bed, n))
            }
        });
        let contexts = [first, second].map(|(asked, served)| (bed.finish(asked, 200), bed.finish(served, 190)));
        for (asked, served) in contexts {
            assert!(is_child(served, asked, Evidence::Connection), "{server_first}");
        }
        assert_ne!(contexts[0].0.trace_id, contexts[1].0.trace_id);
        bed.tracer.on_time(SECOND);
        assert_eq!(bed.tracer.joins.len() + bed.tracer.served.len() + bed.tracer.unsettled.len(), 0);
    }
}

#[test]
fn a_server_that_is_done_before_its_client_is_told_waits_and_so_does_what_it_has_called() {
    let mut bed = Bed::new();
    let (client, mut server) = bed.pair();
    server.is_blocking = true;
    let other = bed.conn(true);
    let serving = Thread { tgid: ProcessId(2), tid: ThreadId(2), work: 0, begun_ns: 0 };
    let served = bed.open(&server, Role::Server, serving, 10);
    let below = bed.open(&other, Role::Client, serving, 11);
    let (mut below, mut served) = (bed.finish(below, 12), bed.finish(served, 13));
    assert!(bed.tracer.settles_ns(&below).is_some() && bed.tracer.settles_ns(&served).is_some());
    let asked = bed.open(&client, Role::Client, thread(1), 9);
    for joined in bed.tracer.take_joined() {
        joined.correct(&mut below);
        joined.correct(&mut served);
    }
    let asked = bed.finish(asked, 14);
    assert!(is_child(served, asked, Evidence::Connection) && is_child(below, served, Evidence::Thread));
    bed.tracer.on_time(SECOND);
    assert_eq!(bed.tracer.settles_ns(&served), None);
}

#[test]
fn the_other_end_is_not_waited_for_where_the_connection_is_old_or_has_carried_many_requests() {
    // Who watches the client would have been told of by then.
    for (age_ns, requests, is_waited_for) in [(0, 1, true), (0, 64, true), (0, 65, false), (SECOND, 1, false)] {
        for is_paired in [false, true] {
            let mut bed = Bed::new();
            let (_, mut server) = bed.pair();
            (server.is_paired, server.requests) = (is_paired, requests);
            let served = bed.open(&server, Role::Server, thread(1), 10 + age_ns);
            let served = bed.finish(served, 20 + age_ns);
            let waits = bed.tracer.settles_ns(&served).is_some();
            assert_eq!(waits, is_waited_for || is_paired, "{age_ns} {requests} {is_paired}");
        }
    }
}

#[test]
fn of_many_requests_at_once_each_is_forgotten_and_the_last_is_the_only_one() {
    let mut bed = Bed::new();
    let conns: Vec<_> = (0..200).map(|_| bed.conn(false)).collect();
    let mut open: Vec<_> = conns.iter().map(|conn| bed.open(conn, Role::Server, thread(1), 10)).collect();
    // In an order of no use to anybody.
    while open.len() > 1 {
        let request = open.swap_remove(open.len() * 7 % 11 % open.len());
        bed.finish(request, 20);
    }
    let (other, last) = (bed.conn(false), open.remove(0));
    // The thread has shared its time before, so that only being alone tells; and it is quiet for a while.
    let start_ns = 20 + 2 * SECOND;
    let call = bed.open(&other, Role::Client, thread(1), start_ns);
    let call = bed.finish(call, start_ns + 1);
    let last = bed.finish(last, start_ns + 2);
    assert!(is_child(call, last, Evidence::SoleRequest), "{call:?}");
}

#[test]
fn nobody_waits_for_long() {
    for (is_paired, patience_ns) in [(false, joins::PATIENCE_NS), (true, joins::PAIRED_PATIENCE_NS)] {
        let mut bed = Bed::new();
        let (_, mut server) = bed.pair();
        server.is_paired = is_paired;
        let served = bed.open(&server, Role::Server, thread(1), 10);
        let served = bed.finish(served, 20);
        bed.tracer.on_time(10 + patience_ns - 20_000_000);
        assert!(bed.tracer.settles_ns(&served).is_some());
        bed.tracer.on_time(10 + patience_ns);
        assert_eq!(bed.tracer.settles_ns(&served), None);
        assert_eq!(bed.tracer.joins.len() + bed.tracer.served.len(), 0);
    }
}

/// As of a client that opens and resets HTTP/2 streams: a round can bring millions.
#[test]
fn of_too_many_at_once_not_all_wait() {
    let mut bed = Bed::new();
    let (_, server) = bed.pair();
    for number in 0..2 * WAITING_MAX as u64 {
        let request = bed.open_at(&server, Role::Server, thread(1), 10, number, None);
        bed.finish(request, 20);
    }
    let Tracer { served, unsettled, joins, .. } = &bed.tracer;
    for waiting in [served.len(), unsettled.len(), joins.len()] {
        assert!(waiting <= WAITING_MAX, "{waiting}");
    }
    bed.tracer.on_time(10 + joins::PAIRED_PATIENCE_NS);
    let Tracer { served, unsettled, joins, .. } = &bed.tracer;
    assert_eq!((served.len(), unsettled.len(), joins.len()), (0, 0, 0));
}

#[test]
fn the_other_end_of_an_earlier_request_at_the_same_place_is_none() {
    let mut bed = Bed::new();
    let (client, server) = bed.pair();
    let asked = bed.open(&client, Role::Client, thread(1), 10);
    bed.finish(asked, 20);
    let served = bed.open(&server, Role::Server, thread(2), 30);
    assert_eq!(bed.finish(served, 40).parent, None);
}

#[test]
fn a_request_that_is_told_behind_its_calls_takes_them_up() {
    let mut bed = Bed::new();
    let (client, server) = bed.pair();
    let conn = bed.conn(true);
    let elsewhere = Thread { tgid: ProcessId(2), tid: ThreadId(2), work: 0, begun_ns: 0 };
    // A call of another thread, one that was made before, and the one in question, with what it causes.
    let other = bed.open(&conn, Role::Client, thread(9), 12);
    let before = bed.open(&conn, Role::Client, thread(1), 5);
    let before = bed.finish(before, 6);
    let call = bed.open(&client, Role::Client, thread(1), 12);
    let served = bed.open(&server, Role::Server, elsewhere, 13);
    let (mut served, mut call) = (bed.finish(served, 14), bed.finish(call, 15));
    assert!(is_child(served, call, Evidence::Connection));
    assert!([served, call].iter().all(|context| bed.tracer.settles_ns(context).is_some()));
    let request = bed.open(&conn, Role::Server, thread(1), 10);
    for joined in bed.tracer.take_joined() {
        joined.correct(&mut call);
        joined.correct(&mut served);
    }
    let (other, request) = (bed.finish(other, 15), bed.finish(request, 20));
    assert!(is_child(call, request, Evidence::Thread) && is_child(served, call, Evidence::Connection));
    assert!(other.parent.is_none() && before.parent.is_none() && before.trace_id != request.trace_id);
    bed.tracer.on_time(SECOND);
    assert_eq!((bed.tracer.orphans.len(), bed.tracer.unsettled.len()), (0, 0));
}

#[test]
fn what_a_request_takes_up_waits_for_its_client_as_it_does_itself() {
    let mut bed = Bed::new();
    let (client, mut server) = bed.pair();
    server.is_blocking = true;
    let back = bed.conn(true);
    let elsewhere = Thread { tgid: ProcessId(2), ..thread(2) };
    let call = bed.open(&back, Role::Client, elsewhere, 12);
    let mut call = bed.finish(call, 13);
    // Told behind its call, and its client behind both.
    let request = bed.open(&server, Role::Server, elsewhere, 11);
    let joined = bed.tracer.take_joined();
    assert!(matches!(joined[..], [Joined { settles_ns: 1.., .. }]), "{joined:?}");
    joined[0].correct(&mut call);
    let asked = bed.open(&client, Role::Client, thread(1), 10);
    let mut request = bed.finish(request, 14);
    for joined in bed.tracer.take_joined() {
        [&mut call, &mut request].into_iter().for_each(|context| joined.correct(context));
    }
    let asked = bed.finish(asked, 15);
    assert!(is_child(request, asked, Evidence::Connection) && is_child(call, request, Evidence::Thread));
}

#[test]
fn ends_that_have_been_connected_for_long_are_found_too() {
    let mut bed = Bed::new();
    let (client, server) = bed.pair();
    let elsewhere = Thread { tgid: ProcessId(2), ..thread(2) };
    let asked = bed.open_at(&client, Role::Client, thread(1), 100 * SECOND, 7, None);
    let served = bed.open_at(&server, Role::Server, elsewhere, 100 * SECOND + 1, 7, None);
    let (served, asked) = (bed.finish(served, 100 * SECOND + 2), bed.finish(asked, 100 * SECOND + 3));
    assert!(is_child(served, asked, Evidence::Connection));
    // Of one whose other end nobody has met, none is waited for.
    let alone = bed.conn(false);
    let asked = bed.open(&alone, Role::Client, thread(1), 100 * SECOND);
    bed.finish(asked, 100 * SECOND + 1);
    assert_eq!(bed.tracer.joins.len(), 0);
}

#[test]
fn what_is_done_for_a_health_check_is_in_no_trace_and_the_next_request_is() {
    let mut bed = Bed::new();
    let conn = bed.conn(true);
    let (client, server) = bed.pair();
    bed.is_health_check = true;
    let check = bed.open(&conn, Role::Server, thread(1), 1);
    bed.is_health_check = false;
    let call = bed.open(&client, Role::Client, thread(1), 2);
    let elsewhere = bed.open(&server, Role::Server, Thread { tgid: ProcessId(2), ..thread(2) }, 3);
    let contexts = [bed.finish(elsewhere, 4), bed.finish(call, 5), bed.finish(check, 6)];
    let next = bed.open(&conn, Role::Server, thread(1), 7);
    for (mut context, is_kept) in
        contexts.map(|context| (context, false)).into_iter().chain([(bed.finish(next, 8), true)])
    {
        bed.tracer.sample(&mut context, Some(&Sampler::AlwaysOn), "", 1);
        assert_eq!((context.is_sampled(), context.is_health_check), (is_kept, !is_kept), "{context:?}");
    }
}

#[test]
fn a_trace_is_decided_about_where_it_begins() {
    let mut bed = Bed::new();
    bed.tracer.set_sampler(Sampler::default(), true);
    let conn = bed.conn(true);
    let none = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
    let opened = |request: &Request| Opened {
        key: request.key,
        role: request.role,
        thread: request.thread,
        start_ns: request.start_ns,
        parent: request.carried,
        is_health_check: false,
        is_message: false,
        place: Place::Position(0),
    };
    let request = bed.open(&conn, Role::Server, thread(1), 1);
    assert!(bed.tracer.decides_at_beginning(&opened(&request)));
    bed.tracer.on_beginning(&opened(&request), Some(&none), "front");
    let call = bed.open(&conn, Role::Client, thread(1), 2);
    assert!(!bed.tracer.decides_at_beginning(&opened(&call)));
    // As if it were another service's, without a sampler of its own.
    let mut context = bed.finish(call, 3);
    bed.tracer.sample(&mut context, None, "back", 2);
    assert!(!context.is_sampled(), "it follows its caller");
    let of_request = bed.finish(request, 4);
    assert!(of_request.is_decided && !of_request.is_sampled());
    // One to which nothing else belongs is decided about, and not remembered.
    let alone = bed.open(&conn, Role::Server, Thread { tgid: ProcessId(9), ..thread(9) }, 5);
    bed.tracer.on_beginning(&opened(&alone), Some(&none), "front");
    let mut alone = bed.finish(alone, 6);
    assert!(bed.tracer.sampling.decide(alone.trace_id, None, None, "back", 6).is_kept);
    bed.tracer.sample(&mut alone, None, "front", 6);
    assert!(!alone.is_sampled());
}

#[test]
fn a_trace_is_open_while_a_request_of_it_is_whatever_it_turned_out_to_be_part_of() {
    let mut bed = Bed::new();
    let (client, server) = bed.pair();
    let other = bed.conn(false);
    let before = bed.open(&other, Role::Server, thread(9), 1);
    bed.tracer.count_open(true);
    let answer = bed.open(&server, Role::Server, thread(2), 2);
    let call = bed.open(&client, Role::Client, Thread { tgid: ProcessId(2), ..thread(1) }, 1);
    let traces: Vec<TraceId> = bed.tracer.open.iter().flatten().map(|open| open.trace_id).collect();
    assert_eq!(traces[1], traces[2], "they are joined");
    let call = bed.finish(call, 3);
    assert!(bed.tracer.is_open(call.trace_id), "the answer is");
    bed.finish(answer, 4);
    assert!(!bed.tracer.is_open(call.trace_id));
    let before = bed.finish(before, 5);
    assert!(!bed.tracer.is_open(before.trace_id));
    assert!(bed.tracer.open_of.as_ref().unwrap().is_empty());
}

#[test]
fn a_process_that_was_started_with_a_context_makes_its_calls_for_that_until_it_serves() {
    let mut bed = Bed::new();
    bed.environment = carried();
    let (first, conn) = (bed.conn(false), bed.conn(false));
    let unsampled = TraceParent { flags: 0, span_id: SpanId([7; 8]), ..carried().unwrap() };
    let call = bed.open(&first, Role::Client, thread(1), 1);
    let with_own = bed.open_at(&first, Role::Client, thread(1), 1, 9, Some(unsampled));
    let of_another = bed.open(&conn, Role::Client, Thread { tgid: ProcessId(2), ..thread(1) }, 1);
    let request = bed.open(&conn, Role::Server, thread(1), 2);
    let later = bed.open(&first, Role::Client, thread(2), 3);
    let contexts = [call, with_own, of_another, request].map(|request| bed.finish(request, 4));
    let header = |span_id| Some((span_id, Evidence::Header));
    assert_eq!(contexts[0].parent, header(carried().unwrap().span_id));
    assert_eq!((contexts[0].trace_id, contexts[0].remote), (carried().unwrap().trace_id, carried()));
    assert_eq!(contexts[1].parent, header(unsampled.span_id), "what the request carries counts");
    assert_eq!(contexts[2].parent, header(carried().unwrap().span_id));
    assert_eq!(contexts[3].parent, None, "what it serves is others'");
    let later = bed.finish(later, 5);
    assert!(later.trace_id != carried().unwrap().trace_id, "it serves, and not only who started it");
    let after = bed.open(&first, Role::Client, thread(1), 3_600 * SECOND);
    assert_eq!(bed.finish(after, 3_601 * SECOND).parent, None);
    // Another process with its id.
    bed.tracer.on_exit(ProcessId(1));
    let next = bed.open(&first, Role::Client, thread(1), 3_602 * SECOND);
    assert_eq!(bed.finish(next, 3_603 * SECOND).parent, header(carried().unwrap().span_id));
}
