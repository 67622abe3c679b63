use std::net::{Ipv4Addr, SocketAddr};

use ebpf_common::events::PLAINTEXT;

use super::*;
use crate::{
    capture::testing,
    model::{
        exchange::{Exchange, Operation, Outcome},
        net::Direction::{Received, Sent},
    },
};

const CONN: ConnectionId = ConnectionId(5);
/// HEADERS of stream 1: GET, http, /.
const REQUEST: &[u8] = &[0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x86];
/// HEADERS of stream 1: 200.
const RESPONSE: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];

fn open(connections: &mut Connections, at_ns: u64) {
    open_as(connections, at_ns, CONN, MetAt::Unknown);
}

fn open_as(connections: &mut Connections, at_ns: u64, id: ConnectionId, met_at: MetAt) {
    let ends = if is_plaintext(id) { Ends::Unknown } else { testing::tcp([0; 4], 0) };
    let open = Open { ends, met_at, ..testing::open(id, at_ns) };
    connections.on_open(&open, |_| None, &mut |_: &ConnectionInfo, _: Event| {});
}

/// Moves pieces of a connection, each after the other, and gives what is told of it.
fn told_of(connections: &mut Connections, at_ns: u64, pieces: &[(Direction, &[u8])]) -> Vec<Exchange> {
    told_on(connections, at_ns, CONN, pieces)
}

fn told_on(
    connections: &mut Connections,
    at_ns: u64,
    id: ConnectionId,
    pieces: &[(Direction, &[u8])],
) -> Vec<Exchange> {
    let mut told = Vec::new();
    let mut positions = [0; 2];
    for &(direction, bytes) in pieces {
        let (position, other_position) = (positions[direction.index()], positions[direction.other().index()]);
        let data = Data { position, other_position, ..testing::data(id, at_ns, direction, bytes) };
        positions[direction.index()] += bytes.len() as u64;
        connections.on_data(&data, &mut |_: &ConnectionInfo, event: Event| told.extend(event.finished()));
    }
    told
}

fn data(direction: Direction, bytes: &[u8], position: u64) -> Data<'_> {
    Data { position, ..testing::data(CONN, 1, direction, bytes) }
}

/// How many requests are told of an HTTP/2 connection met in mid-life at `at_ns`, with one request and its response.
fn told(connections: &mut Connections, at_ns: u64) -> usize {
    open(connections, at_ns);
    told_of(connections, at_ns, &[(Received, REQUEST), (Sent, RESPONSE)]).len()
}

#[test]
fn memory_is_bounded_over_all_connections_and_small_ones_are_kept() {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let mut connections = Connections::new(limits, 0);
    let small = ConnectionId(1);
    open_as(&mut connections, 0, small, MetAt::Unknown);
    told_on(&mut connections, 0, small, &[(Received, b"GET /small HTTP/1.1\r\n\r\n")]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut unseen = 0;
    for conn in 2..200 {
        open_as(&mut connections, conn, ConnectionId(conn), MetAt::Unknown);
        let streams = (0..300_u32).flat_map(|stream| {
            let mut frame = REQUEST.to_vec();
            frame[5..9].copy_from_slice(&(2 * stream + 1).to_be_bytes());
            frame
        });
        let bytes: Vec<u8> = preface.iter().copied().chain(streams).collect();
        // Long after it was met: nothing is in doubt.
        let told = told_on(&mut connections, 1_000_000_000 + conn, ConnectionId(conn), &[(Received, &bytes)]);
        unseen += told.iter().filter(|exchange| exchange.outcome == Outcome::Unseen).count();
        assert!(connections.memory() <= limits.bytes, "{}", connections.memory());
    }
    let evicted = connections.totals().evicted;
    assert!(evicted > 100, "{evicted}");
    assert!(unseen > 0, "what is given up is told");
    assert!(connections.by_id.contains_key(&small), "longest idle, but of no weight");
    let gone = usize::try_from(evicted).unwrap();
    assert!(
        (2..200).skip(gone).all(|id| connections.by_id.contains_key(&ConnectionId(id))),
        "the longest idle go first"
    );
    connections.on_stop(1000, &mut |_: &ConnectionInfo, _: Event| {});
    assert_eq!(connections.memory(), 0, "what was added is taken away again");
}

#[test]
fn memory_is_bounded_when_what_has_waited_goes_ahead_all_at_once() {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let mut connections = Connections::new(limits, 0);
    let frames: Vec<u8> = (0..300_u32)
        .flat_map(|stream| {
            let mut frame = REQUEST.to_vec();
            frame[5..9].copy_from_slice(&(2 * stream + 1).to_be_bytes());
            frame
        })
        .collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for id in (1..100).map(ConnectionId) {
        open_as(&mut connections, 1, id, MetAt::Unknown);
        told_on(&mut connections, 1, id, &[(Received, preface)]);
        // It is ahead of what was told of the other direction.
        let (position, other_position) = (preface.len() as u64, 1);
        let data = Data { position, other_position, ..testing::data(id, 2, Received, &frames) };
        connections.on_data(&data, &mut |_: &ConnectionInfo, _: Event| {});
    }
    assert_eq!(connections.waiting.len(), 99);
    connections.on_tick(u64::MAX / 2, &mut |_: &ConnectionInfo, _: Event| {});
    let (bytes, evicted) = (connections.memory(), connections.totals().evicted);
    assert!(evicted > 0 && bytes <= limits.bytes, "{evicted} evicted, {bytes} bytes");
}

#[test]
fn what_stands_behind_an_upgrade_in_its_piece_is_of_the_new_protocol() {
    let asked = b"GET /first HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let answered = [&switched[..], &settings, RESPONSE].concat();
    for (requests, responses) in [(Received, Sent), (Sent, Received)] {
        let mut connections = Connections::new(Limits::default(), 0);
        open(&mut connections, 1);
        let told = told_of(&mut connections, 1, &[(requests, asked), (responses, &answered)]);
        let [exchange] = &told[..] else { panic!("one exchange expected: {told:?}") };
        let Operation::Http(http) = &exchange.operation else { panic!("{exchange:?}") };
        assert_eq!((http.version, http.target.as_deref(), http.status), ("2", Some("/first"), Some(200)));
    }
}

fn state(connections: &mut Connections, state: TcpState, error: u32, moved: [u64; 2]) -> Vec<Exchange> {
    let mut told = Vec::new();
    let [received, sent] = moved;
    let event = State { error, received, sent, ..testing::state(CONN, 2, state) };
    connections.on_state(&event, &mut |_: &ConnectionInfo, event: Event| told.extend(event.finished()));
    told
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn statuses(told: &[Exchange]) -> Vec<Option<u16>> {
    let status = |exchange: &Exchange| match &exchange.operation {
        Operation::Http(http) => http.status,
        _ => None,
    };
    told.iter().map(status).collect()
}

#[test]
fn an_end_that_overtakes_the_last_answer_waits_for_it() {
    let mut connections = Connections::new(Limits::default(), 0);
    open_as(&mut connections, 1, CONN, MetAt::Beginning);
    let all = [GET.len() as u64, OK.len() as u64];
    assert!(told_of(&mut connections, 1, &[(Received, GET)]).is_empty());
    assert!(state(&mut connections, TcpState::FinWait1, 0, all).is_empty());
    assert!(state(&mut connections, TcpState::Close, ECONNRESET, all).is_empty());
    let mut told = Vec::new();
    let answer = Data { other_position: all[0], ..data(Sent, OK, 0) };
    connections.on_data(&answer, &mut |_: &ConnectionInfo, event: Event| told.extend(event.finished()));
    assert_eq!(statuses(&told), [Some(200)]);
    assert!(connections.is_empty(), "its end was told");
}

#[test]
fn an_end_does_not_wait_for_ever() {
    let mut connections = Connections::new(Limits::default(), 0);
    open_as(&mut connections, 1, CONN, MetAt::Beginning);
    told_of(&mut connections, 1, &[(Received, GET)]);
    assert!(state(&mut connections, TcpState::Close, ECONNRESET, [1000, 1000]).is_empty());
    let mut told = Vec::new();
    connections.on_tick(1_000_000_000, &mut |_: &ConnectionInfo, event: Event| told.extend(event.finished()));
    assert_eq!((statuses(&told), connections.is_empty()), (vec![None], true));
}

#[test]
fn a_server_that_was_the_first_to_go_is_at_fault_for_a_missing_response() {
    const CUT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    use TcpState::{Close, CloseWait, FinWait1, LastAck};
    let outcome_of = |[asks, answers]: [Direction; 2], answer: &[u8], states: &[(TcpState, u32)]| {
        let mut connections = Connections::new(Limits::default(), 0);
        open_as(&mut connections, 1, CONN, MetAt::Beginning);
        let pieces = [(asks, GET), (answers, answer)];
        let mut told = told_of(&mut connections, 1, if answer.is_empty() { &pieces[..1] } else { &pieces });
        let [received, sent] = if asks == Received { [GET.len(), answer.len()] } else { [answer.len(), GET.len()] };
        for (its, error) in states {
            told.extend(state(&mut connections, *its, *error, [received as u64, sent as u64]));
        }
        let [exchange] = &told[..] else { panic!("one exchange expected: {told:?}") };
        exchange.outcome
    };
    let served = |answer: &[u8], states: &[(TcpState, u32)]| outcome_of([Received, Sent], answer, states);
    for (states, is_server) in [
        (&[(CloseWait, 0), (LastAck, 0), (Close, 0)][..], false),
        (&[(Close, ECONNRESET)], false),
        (&[(CloseWait, 0), (Close, EPIPE)], false),
        (&[(FinWait1, 0), (Close, 0)], true),
        // What comes behind its own end is an answer to that.
        (&[(FinWait1, 0), (Close, ECONNRESET)], true),
        // A close with bytes unread.
        (&[(Close, 0)], true),
        // A time that ran out, a network that is down: nobody ended it.
        (&[(Close, 110)], false),
        (&[(Close, 100)], false),
    ] {
        let expected = if is_server { Outcome::ServerLeft { is_answered: true } } else { Outcome::Cut };
        assert_eq!(served(CUT, states), expected, "{states:?}");
        let expected = if is_server { Outcome::ServerLeft { is_answered: false } } else { Outcome::NoResponse };
        assert_eq!(served(b"", states), expected, "{states:?}");
        // To a client, the server's going away is what it is.
        assert_eq!(outcome_of([Sent, Received], CUT, states), Outcome::Cut, "{states:?}");
        assert_eq!(served(OK, states), Outcome::Complete);
    }
}

#[test]
fn what_is_told_of_a_connection_after_its_end_takes_up_nothing() {
    let mut connections = Connections::new(Limits::default(), 0);
    open(&mut connections, 1);
    told_of(&mut connections, 1, &[(Received, GET), (Sent, OK)]);
    state(&mut connections, TcpState::Close, 0, [GET.len() as u64, OK.len() as u64]);
    assert!(connections.is_empty());
    let end = Data { flags: DataFlags::END, ..data(Received, &[], GET.len() as u64) };
    let nobody = &mut |_: &ConnectionInfo, _: Event| {};
    connections.on_data(&end, nobody);
    connections.on_data(&data(Received, GET, GET.len() as u64), nobody);
    assert!(connections.is_empty());
}

#[test]
fn tls_within_tls_has_the_ends_of_the_connection_that_carries_both() {
    let (outer, inner) = (ConnectionId(PLAINTEXT | 5), ConnectionId(PLAINTEXT | 6));
    let mut connections = Connections::new(Limits::default(), 0);
    for id in [CONN, outer, inner] {
        open_as(&mut connections, 1, id, MetAt::Unknown);
    }
    for (stream, carrier) in [(outer, Carrier::Connection(CONN)), (inner, Carrier::Stream(outer))] {
        connections.on_bind(&Bind { stream, carrier, at_ns: 1 });
    }
    let ends = |id: ConnectionId| {
        let info = &connections.by_id[&id].info;
        (info.id, info.remote.clone(), info.tls)
    };
    assert!(ends(outer).1 != Endpoint::Unknown);
    assert_eq!(ends(inner), (inner, ends(outer).1, true));
}

#[test]
fn a_carrier_that_is_met_behind_its_stream_gives_it_its_ends() {
    let stream = ConnectionId(PLAINTEXT | 5);
    let mut connections = Connections::new(Limits::default(), 0);
    open_as(&mut connections, 1, stream, MetAt::Unknown);
    connections.on_bind(&Bind { stream, carrier: Carrier::Connection(CONN), at_ns: 1 });
    assert_eq!(connections.by_id[&stream].info.remote, Endpoint::Unknown);
    open_as(&mut connections, 1, CONN, MetAt::Unknown);
    let info = &connections.by_id[&stream].info;
    assert!(info.id == stream && info.tls && info.remote != Endpoint::Unknown);
    assert!(!connections.by_id.contains_key(&CONN));
}

#[test]
fn a_time_that_nobody_watched_is_no_quiet_time() {
    const SECOND: u64 = 1_000_000_000;
    assert_eq!(told(&mut Connections::new(Limits::default(), 0), SECOND), 1, "nothing moved for a second");
    let mut connections = Connections::new(Limits::default(), 0);
    connections.on_resumed(testing::PROCESS, SECOND - 1);
    assert_eq!(told(&mut connections, SECOND), 0, "what moved before may have ended within a frame");
}
#[test]
fn plaintext_was_not_seen_before_the_probes() {
    const SECOND: u64 = 1_000_000_000;
    const STREAM: ConnectionId = ConnectionId(PLAINTEXT | 5);
    let told = |probed_ns: Option<u64>, met_ns: u64, met_at: MetAt| {
        let mut connections = Connections::new(Limits::default(), 0);
        probed_ns.into_iter().for_each(|at_ns| connections.on_tls_probed(at_ns));
        open_as(&mut connections, met_ns, STREAM, met_at);
        told_on(&mut connections, SECOND, STREAM, &[(Received, REQUEST), (Sent, RESPONSE)]).len()
    };
    assert_eq!(told(None, SECOND, MetAt::Unknown), 1);
    assert_eq!(told(Some(SECOND / 2), SECOND, MetAt::Unknown), 1, "nothing moved for half a second");
    assert_eq!(told(Some(SECOND - 1), SECOND, MetAt::Unknown), 0, "the probes came in its midst, maybe");
    assert_eq!(told(None, SECOND - 1, MetAt::MidStream), 0, "bytes moved just before");
    assert_eq!(told(None, SECOND / 2, MetAt::MidStream), 1);
}

#[test]
fn a_request_that_plaintext_begins_with_is_told_before_its_answer_where_its_handshake_was_seen() {
    const ASKS: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let stream = ConnectionId(PLAINTEXT | 5);
    let opened = |met_ns: u64, position: u64, pieces: &[&[u8]]| {
        let mut connections = Connections::new(Limits::default(), 0);
        connections.on_tls_probed(10);
        open_as(&mut connections, met_ns, CONN, MetAt::Beginning);
        open_as(&mut connections, 20, stream, MetAt::Unknown);
        connections.on_bind(&Bind { stream, carrier: Carrier::Connection(CONN), at_ns: 20 });
        let (mut opened, mut position) = (0, position);
        for (at_ns, bytes) in (30..).zip(pieces) {
            let data = Data { position, ..testing::data(stream, at_ns, Received, bytes) };
            connections.on_data(&data, &mut |_: &ConnectionInfo, event: Event| {
                opened += u32::from(matches!(event, Event::Opened(_)));
            });
            position += bytes.len() as u64;
        }
        opened
    };
    let (start, end) = ASKS.split_at(7);
    assert_eq!(opened(10, 0, &[ASKS]), 1);
    assert_eq!(opened(10, 0, &[start, end]), 1);
    assert_eq!(opened(9, 0, &[ASKS]), 0, "it may be within what another one carries");
    assert_eq!(opened(10, 5, &[ASKS]), 0, "something was lost before");
    assert_eq!(opened(10, 0, &[b"put 0 0 60 37\r\n", ASKS]), 0, "it begins as something else");
}

#[test]
fn what_a_forked_process_may_have_answered_is_not_said_to_have_no_response() {
    const ASKS: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let stream = ConnectionId(PLAINTEXT | 5);
    let outcome = |forked_ns: u64, by: Option<u32>| {
        let mut connections = Connections::new(Limits::default(), 0);
        open_as(&mut connections, 10, CONN, MetAt::Beginning);
        open_as(&mut connections, 10, stream, MetAt::Unknown);
        connections.on_bind(&Bind { stream, carrier: Carrier::Connection(CONN), at_ns: 10 });
        let asks = testing::data(stream, 20, Received, ASKS);
        let mut told = Vec::new();
        let mut sink = |_: &ConnectionInfo, event: Event| told.extend(event.finished());
        connections.on_data(&asks, &mut sink);
        if let Some(by) = by {
            connections.on_fork(ProcessId(by), forked_ns);
        }
        connections.on_exit(asks.thread.tgid, 40, &mut sink);
        connections.on_tick(10_000_000_000, &mut sink);
        told.pop().map(|exchange| exchange.outcome)
    };
    let tgid = testing::data(stream, 20, Received, ASKS).thread.tgid.0;
    let without = outcome(0, None);
    assert!(without.is_some_and(|outcome| outcome != Outcome::Unseen), "{without:?}");
    assert_eq!(outcome(30, Some(tgid)), Some(Outcome::Unseen));
    assert_eq!(outcome(15, Some(tgid)), without, "what was begun before has heard nothing of it");
    assert_eq!(outcome(30, Some(tgid + 1)), without, "another process");
}

#[test]
fn plaintext_is_not_counted_from_its_beginning_where_its_connection_is_older_than_the_probes() {
    let stream = ConnectionId(PLAINTEXT | 5);
    let is_beginning = |carrier_first: bool, met_ns: u64| {
        let mut connections = Connections::new(Limits::default(), 0);
        connections.on_tls_probed(10);
        let ids = if carrier_first { [CONN, stream] } else { [stream, CONN] };
        open_as(&mut connections, if carrier_first { met_ns } else { 20 }, ids[0], MetAt::Beginning);
        let bind = Bind { stream, carrier: Carrier::Connection(CONN), at_ns: 20 };
        if carrier_first {
            open_as(&mut connections, 20, ids[1], MetAt::Beginning);
            connections.on_bind(&bind);
        } else {
            connections.on_bind(&bind);
            open_as(&mut connections, met_ns, ids[1], MetAt::Beginning);
        }
        connections.by_id[&stream].info.origin.is_beginning
    };
    for carrier_first in [true, false] {
        assert_eq!([9, 10].map(|met_ns| is_beginning(carrier_first, met_ns)), [false, true]);
    }
}

#[test]
fn both_ends_know_that_the_other_was_met() {
    let mut connections = Connections::new(Limits::default(), 0);
    let [a, b] = [1, 2].map(|host| SocketAddr::new(Ipv4Addr::new(10, 0, 0, host).into(), 80));
    for (id, local, remote) in [(1, a, b), (2, b, a), (3, a, SocketAddr::new(b.ip(), 81))] {
        let ends = Ends::Tcp { local, remote, state: Some(TcpState::Established), sequence: None };
        let open = Open { ends, ..testing::open(ConnectionId(id), 1) };
        connections.on_open(&open, |_| None, &mut |_: &ConnectionInfo, _: Event| {});
    }
    let link = |id: u64| {
        let info = &connections.by_id[&ConnectionId(id)].info;
        (info.link.0, info.is_paired)
    };
    assert_eq!([1, 2, 3].map(link), [(1, true), (1, true), (3, false)]);
}
