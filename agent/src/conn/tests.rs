//! Connections of every kind, from records to exchanges.

use std::collections::HashSet;

use ebpf_common::{
    capture::{Capture, MODE_HTTP2_FRAMES, MODE_TURNS, RESPONSES_SHIFT},
    events::PLAINTEXT,
};

use super::{Connections, Limits, Wanted};
use crate::{
    capture::{
        event::{Data, DataFlags, MetAt, Open, State, TcpState},
        testing,
    },
    model::{
        exchange::{Event, Exchange, Key, Operation, Outcome},
        ids::ConnectionId,
        net::{ConnectionInfo, Direction, Role},
    },
};

const CONN: ConnectionId = ConnectionId(5);
const RECEIVED: Direction = Direction::Received;
const SENT: Direction = Direction::Sent;
const MS: u64 = 1_000_000;
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// How a connection is met.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Met {
    /// With the first byte that moves over it.
    AtBeginning,
    /// It is older than the agent, or may be.
    InMidst,
    /// A unix socket.
    Unix,
}

const ALL: [Met; 3] = [Met::AtBeginning, Met::InMidst, Met::Unix];

/// What was told: each request first opened, then finished, once.
#[derive(Default)]
struct Told {
    open: HashSet<Key>,
    finished: Vec<(ConnectionInfo, Exchange)>,
}

impl Told {
    fn take(&mut self, connection: &ConnectionInfo, event: Event) {
        match event {
            Event::Carried(..) => {}
            Event::Opened(opened) => assert!(self.open.insert(opened.key), "opened twice: {opened:?}"),
            Event::Polled(_) => {}
            Event::Answered(key, _) => assert!(self.open.contains(&key), "answered, but not open: {key:?}"),
            Event::Finished(key, exchange) => {
                assert!(self.open.remove(&key), "never opened, or over already: {exchange:?}");
                self.finished.push((connection.clone(), *exchange));
            }
        }
    }
}

/// A connection that is watched.
struct Wire {
    connections: Connections,
    id: ConnectionId,
    told: Told,
    wanted: Wanted,
    moved: [u64; 2],
    now: u64,
}

impl Wire {
    fn new(met: Met) -> Self {
        let mut connections = Connections::new(Limits::default(), 0);
        let ends = if met == Met::Unix { testing::unix() } else { testing::tcp([192, 0, 2, 9], 0) };
        let met_at = if met == Met::AtBeginning { MetAt::Beginning } else { MetAt::Unknown };
        let open = Open { ends, met_at, ..testing::open(CONN, 1_000 * MS) };
        connections.on_open(&open, |_| None, &mut |_: &ConnectionInfo, _: Event| {});
        Self { connections, id: CONN, told: Told::default(), wanted: Wanted::Pieces, moved: [0; 2], now: 1_000 * MS }
    }

    /// Plaintext of TLS that is met right behind bytes which are not told.
    fn in_use() -> Self {
        let mut wire = Self::new(Met::Unix);
        wire.id = ConnectionId(PLAINTEXT | 6);
        let open = Open { met_at: MetAt::MidStream, ..testing::open(wire.id, wire.now) };
        wire.connections.on_open(&open, |_| None, &mut |_: &ConnectionInfo, _: Event| {});
        wire
    }

    fn moves(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        self.moves_more(direction, bytes, 0)
    }

    /// So many bytes behind these are not captured.
    fn moves_more(&mut self, direction: Direction, bytes: &[u8], left_out: u32) -> &mut Self {
        self.now += MS;
        let (position, other_position) = (self.moved[direction.index()], self.moved[direction.other().index()]);
        let data = testing::data(self.id, self.now, direction, bytes);
        let data = Data { position, other_position, len: data.len + left_out, ..data };
        self.moved[direction.index()] += u64::from(data.len);
        let told = &mut self.told;
        let wanted = self.connections.on_data(&data, &mut |info: &ConnectionInfo, event: Event| told.take(info, event));
        if self.wanted != Wanted::Nothing {
            self.wanted = wanted;
        }
        self
    }

    fn receives(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.moves(RECEIVED, bytes.as_ref())
    }

    fn sends(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.moves(SENT, bytes.as_ref())
    }

    /// A read gives nothing: the other side has finished.
    fn reads_the_end(&mut self) -> &mut Self {
        let [position, other_position] = self.moved;
        let data = testing::data(CONN, self.now, RECEIVED, &[]);
        let end = Data { flags: DataFlags::END, position, other_position, ..data };
        let told = &mut self.told;
        let sink = &mut |info: &ConnectionInfo, event: Event| told.take(info, event);
        self.connections.on_data(&end, sink);
        self.connections.on_tick(self.now + 1_000_000_000, sink);
        self
    }

    fn closes(&mut self) -> &mut Self {
        let [received, sent] = self.moved;
        let state = State { received, sent, ..testing::state(CONN, self.now, TcpState::Close) };
        let told = &mut self.told;
        let sink = &mut |info: &ConnectionInfo, event: Event| told.take(info, event);
        self.connections.on_state(&state, sink);
        // What was lost is waited for no longer.
        self.connections.on_tick(self.now + 1_000_000_000, sink);
        // The end of a stream of plaintext is that of its carrier, which is not told here.
        assert!(self.id != CONN || self.told.open.is_empty(), "opened, and never finished: {:?}", self.told.open);
        self
    }

    fn told(&self) -> Vec<String> {
        let tell = |(_, exchange): &(ConnectionInfo, Exchange)| {
            let Operation::Http(http) = &exchange.operation else { panic!("{exchange:?}") };
            let [method, target] = [&http.method, &http.target].map(|text| text.as_deref().unwrap_or("?"));
            let outcome = match exchange.outcome {
                Outcome::Complete => String::new(),
                other => format!(" {other:?}"),
            };
            format!("{:?} {method} {target} {}{outcome}", exchange.role, http.status.unwrap_or_default())
        };
        self.told.finished.iter().map(tell).collect()
    }

    /// What could not be made sense of.
    fn anomalies(&mut self) -> u64 {
        self.connections.gather();
        let totals = self.connections.totals();
        totals.resyncs + totals.unmatched_responses + totals.over_limit
    }
}

#[test]
fn a_connection_speaks_http_however_it_was_met() {
    for met in ALL {
        let mut wire = Wire::new(met);
        wire.receives(GET).sends(OK).receives(&GET[..3]).receives(&GET[3..]).sends(&OK[..7]).sends(&OK[7..]).closes();
        assert_eq!(wire.told(), ["Server GET /a 200", "Server GET /a 200"], "{met:?}");
        let mut wire = Wire::new(met);
        wire.sends(GET).receives(OK).closes();
        assert_eq!((wire.told(), wire.anomalies()), (vec!["Client GET /a 200".to_owned()], 0), "{met:?}");
    }
}

/// A server that ended the connection before it answered.
const SERVER_LEFT: &str = "ServerLeft { is_answered: false }";

/// How a request ends that this end has not seen answered before it closed the connection.
const fn without_answer(is_client: bool, is_lost: bool) -> &'static str {
    match (is_lost, is_client) {
        (true, _) => "Unseen",
        (false, true) => "NoResponse",
        (false, false) => SERVER_LEFT,
    }
}

#[test]
fn a_first_request_without_an_answer_is_told() {
    for met in ALL {
        let mut wire = Wire::new(met);
        wire.receives(GET).closes();
        assert_eq!(wire.told(), [format!("Server GET /a 0 {SERVER_LEFT}")], "{met:?}");
    }
}

#[test]
fn what_another_protocol_carries_never_becomes_a_request() {
    for met in ALL {
        // A job for beanstalkd, and the same taken out of it.
        let mut wire = Wire::new(met);
        for _ in 0..20 {
            wire.receives("put 0 0 60 28\r\n").receives(GET).receives("\r\n").sends("INSERTED 1\r\n");
            wire.receives("reserve\r\n").sends("RESERVED 1 28\r\n").sends(GET).sends("\r\n");
        }
        assert_eq!((wire.closes().told().len(), wire.anomalies()), (0, 0), "{met:?}");
        assert_eq!(wire.wanted, Wanted::Nothing);
        // The payload is a response, or the client waits before it sends it.
        let mut wire = Wire::new(met);
        for _ in 0..20 {
            wire.receives("keep k 44\r\n").receives(OK).sends("KEPT\r\n").receives("show k\r\n").sends(OK);
            wire.receives("DATA\r\n").sends("354 go on\r\n").receives(GET).sends("250 taken\r\n");
        }
        assert_eq!((wire.closes().told().len(), wire.anomalies()), (0, 0), "{met:?}");
    }
}

#[test]
fn a_protocol_that_is_answered_in_http_is_none_of_ours() {
    // uwsgi, at the web server and at the application.
    let asked = b"\x00\x1b\x01\x00\x0e\x00REQUEST_METHOD\x03\x00GET";
    for met in ALL {
        for to_peer in [SENT, RECEIVED] {
            let mut wire = Wire::new(met);
            for _ in 0..20 {
                wire.moves(to_peer, asked).moves(to_peer.other(), OK);
            }
            assert_eq!((wire.closes().told().len(), wire.anomalies()), (0, 0), "{met:?}");
            assert_eq!(wire.wanted, Wanted::Nothing);
        }
    }
}

#[test]
fn a_connection_met_in_its_midst_is_followed_from_its_next_request() {
    let mut wire = Wire::new(Met::InMidst);
    wire.receives("rest of a body").sends(OK).receives(GET).sends(OK);
    assert_eq!(wire.told(), ["Server GET /a 200"]);
    let mut wire = Wire::new(Met::InMidst);
    wire.sends(OK).receives(GET).sends(OK);
    assert_eq!((wire.told(), wire.anomalies()), (vec!["Server GET /a 200".to_owned()], 0));
}

#[test]
fn a_stream_that_is_met_in_use_gives_no_pair_that_is_not_proved() {
    let respond = |status: u16| format!("HTTP/1.1 {status} Why\r\nContent-Length: 0\r\n\r\n");
    // The rest of a body stands before the first request, and responses come one behind.
    let mut wire = Wire::in_use();
    wire.receives([b"qqqq", GET].concat()).sends(respond(200)).receives([GET, GET].concat());
    for status in 201..210 {
        wire.sends(respond(status)).receives(GET);
    }
    wire.closes();
    assert!(
        wire.told.finished.len() > 9 && wire.told.finished.iter().all(|(_, told)| told.outcome == Outcome::Unseen),
        "{:?}",
        wire.told()
    );
    // Who does not pipeline is followed from the second exchange on.
    let mut wire = Wire::in_use();
    for status in 200..204 {
        wire.receives(GET).sends(respond(status));
    }
    let expected =
        ["Server GET /a 0 Unseen", "Server GET /a 201", "Server GET /a 202", "Server GET /a 203"].map(str::to_owned);
    assert_eq!(wire.told(), expected);
}

/// Behind the head of a frame that does not end its stream, a message of gRPC which is text looks like a client that produces to Kafka; what comes back
/// does not have its number.
#[test]
fn messages_of_text_on_a_connection_of_grpc_that_is_older_are_no_requests_of_kafka() {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let text = [&[0, 0, 0, 0, 30][..], &[b'a'; 30]].concat();
    let mut wire = Wire::in_use();
    for stream in (301..341).step_by(2) {
        if stream > 301 {
            wire.receives(frame(1, 4, stream, &[0x83, 0x86, 0x84]));
        }
        wire.receives(frame(0, 0, stream, &text)).receives(frame(0, 1, stream, b""));
        wire.sends(frame(1, 5, stream, &[0x88]));
    }
    let protocols: Vec<_> = wire.told.finished.iter().map(|(_, told)| told.protocol).collect();
    assert!(protocols.len() > 10 && protocols.iter().all(|protocol| *protocol == "http2"), "{protocols:?}");
}

#[test]
fn a_connection_that_is_in_use_when_it_is_met_gives_its_first_pair_to_nobody() {
    let reopened = |at_ns: u64| {
        let mut wire = Wire::new(Met::Unix);
        let open = Open { ends: testing::tcp([0; 4], 0), ..testing::open(CONN, at_ns) };
        wire.connections.on_open(&open, |_| None, &mut |_: &ConnectionInfo, _: Event| {});
        wire.now = at_ns;
        wire.receives(GET).sends(OK).receives(GET).sends(OK);
        wire.told()
    };
    assert_eq!(reopened(5 * MS), ["Server GET /a 0 Unseen", "Server GET /a 200"]);
    assert_eq!(reopened(25 * MS), ["Server GET /a 200", "Server GET /a 200"], "nothing had moved for a while");
}

#[test]
fn a_request_whose_answer_is_lost_before_it_is_believed_is_counted() {
    for met in ALL {
        let mut wire = Wire::new(met);
        wire.receives(GET);
        wire.moved[SENT.index()] += OK.len() as u64;
        wire.receives(GET).sends(OK).receives(GET).sends(OK);
        wire.connections.gather();
        let (told, lost) = (wire.told(), wire.connections.totals().requests_lost);
        assert_eq!(told.len() as u64 + lost, 3, "{met:?} {told:?}");
        assert_eq!(told.last().map(String::as_str), Some("Server GET /a 200"));
    }
}

#[test]
fn what_is_never_answered_is_told_while_the_connection_goes_on() {
    for (met, at_least) in [(Met::AtBeginning, 1), (Met::InMidst, 9), (Met::Unix, 9)] {
        let mut wire = Wire::new(met);
        for _ in 1..at_least {
            wire.receives(GET);
        }
        assert_eq!(wire.told.open.len(), 0, "{met:?}");
        wire.receives(GET);
        assert_eq!(wire.told.open.len(), at_least, "{met:?}");
    }
}

#[test]
fn what_cannot_be_read_counts_as_so_many_of_the_shortest_messages_seen() {
    let publish = "PUB news 6\r\nsecret\r\n".repeat(10);
    let mut wire = Wire::new(Met::AtBeginning);
    wire.sends("INFO {\"server_id\":\"N\"}\r\n").receives("CONNECT {}\r\n").receives(&publish);
    wire.moves_more(RECEIVED, publish.as_bytes(), 101);
    wire.connections.gather();
    assert_eq!(wire.told.finished.len(), 20);
    assert_eq!(wire.connections.totals().requests_lost, 6);
}

#[test]
fn http_behind_a_socks_proxy_is_seen() {
    for met in ALL {
        let mut wire = Wire::new(met);
        wire.sends([5, 1, 0]).receives([5, 0]).sends([5, 1, 0, 1, 127, 0, 0, 1, 0, 80]);
        wire.receives([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).sends(GET).receives(OK);
        assert_eq!((wire.told(), wire.anomalies()), (vec!["Client GET /a 200".to_owned()], 0), "{met:?}");
        // A proxy that reads field by field.
        let mut wire = Wire::new(met);
        wire.receives([5, 2]).receives([0, 1]).sends([5, 0]).receives([5, 1, 0, 3]).receives([9]).receives("localhost");
        wire.receives([0x70, 0x22]).sends([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).receives(GET).sends(OK);
        assert_eq!((wire.told(), wire.anomalies()), (vec!["Server GET /a 200".to_owned()], 0), "{met:?}");
    }
}

#[test]
fn a_proxy_may_name_the_client_before_anything_else() {
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n".as_slice();
    let block =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[203, 0, 113, 7, 192, 0, 2, 1, 0xdc, 4, 1, 187]].concat();
    for (met, header) in ALL.into_iter().flat_map(|met| [(met, line), (met, &block[..])]) {
        for behind in 0..header.len() + GET.len() {
            let stream = [header, GET].concat();
            let mut wire = Wire::new(met);
            wire.receives(&stream[..behind]).receives(&stream[behind..]).sends(OK).receives(GET).sends(OK);
            assert_eq!(wire.told(), ["Server GET /a 200", "Server GET /a 200"], "{met:?} {behind}");
            let client = wire.told.finished[1].0.client.map(|client| client.to_string());
            assert_eq!(client.as_deref(), Some("203.0.113.7:56324"));
            assert_eq!(wire.anomalies(), 0);
        }
    }
}

#[test]
fn http2_behind_what_a_proxy_says_is_seen_from_its_beginning() {
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // HEADERS of stream 1: GET, http, /; and 200.
    let (asked, answered) = ([0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x86], [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]);
    let mut wire = Wire::new(Met::AtBeginning);
    wire.receives(line).receives(preface);
    let Wanted::Captured(needed) = wire.wanted else { panic!("{:?}", wire.wanted) };
    assert_eq!(
        needed.mode & 0xff,
        MODE_HTTP2_FRAMES,
        "the kernel side knows frames only where a connection begins with them"
    );
    wire.sends([0, 0, 0, 4, 0, 0, 0, 0, 0]).receives(asked).sends(answered);
    assert_eq!(wire.told(), ["Server GET / 200"]);
}

#[test]
fn what_a_protocol_needs_is_told_once_it_is_recognised_where_its_first_bytes_do_not_tell() {
    let needed = |client: bool| {
        let mut wire = Wire::new(Met::AtBeginning);
        let wire = if client { wire.sends("TOY GET a 0\n") } else { wire.receives("TOY GET a 0\n") };
        let needed = wire.wanted;
        // Said once.
        assert_eq!(if client { wire.receives("+OK 0\n") } else { wire.sends("+OK 0\n") }.wanted, Wanted::Pieces);
        needed
    };
    let told = |head, answers: u32| {
        Wanted::Captured(Capture {
            mode: MODE_TURNS | 1 << (RESPONSES_SHIFT + answers),
            head,
            grown: [0; 2],
            tail: 0,
            endings: 0,
        })
    };
    assert_eq!((needed(false), needed(true)), (told([512, 64], 1), told([64, 512], 0)));
    let mut wire = Wire::new(Met::AtBeginning);
    assert_eq!(wire.receives(GET).wanted, Wanted::Pieces, "the kernel side knows those");
}

#[test]
fn http2_that_is_met_within_a_long_response_is_seen_when_that_is_over() {
    // HEADERS of a GET of http, /a; and 200.
    let asked = |stream: u8| [0, 0, 6, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x04, 0x02, b'/', b'a'];
    let answered = |stream: u8| [0, 0, 1, 1, 5, 0, 0, 0, stream, 0x88];
    let window_update = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0x40, 0];
    for (client, server) in [(RECEIVED, SENT), (SENT, RECEIVED)] {
        let mut wire = Wire::new(Met::InMidst);
        for turn in 0..2_000 {
            let part = [&[0, 0x40, 0, 0, 0, 0, 0, 0, 1][..], &[b'a'; 100]].concat();
            if turn % 2 == 0 {
                wire.moves(server, &part)
            } else {
                wire.moves(client, &window_update)
            };
        }
        for stream in [3, 5, 7, 9, 11, 13] {
            wire.now += 100 * MS;
            wire.moves(client, &asked(stream)).moves(server, &answered(stream));
        }
        assert_ne!(wire.wanted, Wanted::Nothing);
        assert!(wire.told().iter().filter(|told| told.ends_with("GET /a 200")).count() >= 4, "{:?}", wire.told());
    }
}

#[test]
fn within_a_tunnel_the_client_is_seen_to_ask_and_the_proxy_is_not() {
    let asked = "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n";
    let opened = b"HTTP/1.1 200 Connection established\r\n\r\n".as_slice();
    let mut wire = Wire::new(Met::AtBeginning);
    wire.sends(asked).receives(opened).sends(GET).receives(OK).sends(GET).receives(OK).closes();
    assert_eq!(wire.told(), ["Client CONNECT h:80 200", "Client GET /a 200", "Client GET /a 200"]);
    assert_eq!(wire.anomalies(), 0);
    let mut wire = Wire::new(Met::AtBeginning);
    wire.receives(asked).sends(opened).receives(GET).sends(OK);
    assert_eq!(wire.told(), ["Server CONNECT h:80 200"]);
    // What is no HTTP there is left alone, wherever its first bytes stand.
    for other in [b"SSH-2.0-x\r\n".as_slice(), b"\x16\x03\x01\x02\x00\x01"] {
        for first in [[opened, other].concat(), opened.to_vec()] {
            let mut wire = Wire::new(Met::AtBeginning);
            wire.sends(asked).receives(first).receives(other).sends(GET).receives(OK);
            assert_eq!(wire.told(), ["Client CONNECT h:80 200"]);
            assert_eq!(wire.wanted, Wanted::Nothing);
        }
    }
}

#[test]
fn an_answer_that_was_lost_at_the_end_is_unseen_and_not_missing() {
    for (lost, outcome) in [(OK.len(), "Unseen"), (0, SERVER_LEFT)] {
        let mut wire = Wire::new(Met::AtBeginning);
        wire.receives(GET).sends(OK).receives(GET);
        wire.moved[SENT.index()] += lost as u64;
        wire.closes();
        assert_eq!(wire.told(), ["Server GET /a 200".to_owned(), format!("Server GET /a 0 {outcome}")]);
    }
}

#[test]
fn an_answer_that_was_lost_before_its_end_was_read_is_unseen_and_not_missing() {
    for (lost, outcome) in [(OK.len(), "Unseen"), (0, "NoResponse")] {
        let mut wire = Wire::new(Met::AtBeginning);
        wire.sends(GET);
        wire.moved[RECEIVED.index()] += lost as u64;
        wire.reads_the_end();
        assert_eq!(wire.told(), [format!("Client GET /a 0 {outcome}")]);
    }
}

#[test]
fn a_body_that_goes_on_to_the_end_is_as_long_as_what_came() {
    for lost in [50, 0] {
        let mut wire = Wire::new(Met::AtBeginning);
        wire.sends(GET).receives("HTTP/1.1 200 OK\r\n\r\nhi");
        wire.moved[RECEIVED.index()] += lost;
        wire.reads_the_end();
        let [(_, Exchange { operation: Operation::Http(http), .. })] = &wire.told.finished[..] else {
            panic!("{:?}", wire.told.finished)
        };
        assert_eq!((http.status, http.response_body_bytes), (Some(200), Some(2 + lost)));
    }
}

#[test]
fn what_may_have_been_answered_by_a_record_that_was_lost_is_not_told_to_have_no_response() {
    // How much moved over a unix socket nobody tells, so that a loss shows by nothing else.
    for (is_lost, expected) in [(false, "Server GET /a 0 NoResponse"), (true, "Server GET /a 0 Unseen")] {
        let mut wire = Wire::new(Met::Unix);
        wire.connections.on_losses(wire.now);
        wire.receives(GET);
        if is_lost {
            wire.connections.on_losses(wire.now + MS);
        }
        let told = &mut wire.told;
        let sink = &mut |info: &ConnectionInfo, event: Event| told.take(info, event);
        wire.connections.on_exit(testing::PROCESS, wire.now + 2 * MS, sink);
        wire.connections.on_tick(wire.now + 1_000 * MS, sink);
        assert_eq!(wire.told(), [expected]);
    }
}

#[test]
fn plaintext_whose_end_comes_behind_a_loss_is_unseen_and_else_without_response() {
    // Its carrier tells of the end: how much plaintext had moved it does not know.
    for (client, is_lost) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut wire = Wire::in_use();
        wire.now += 2_000 * MS;
        if client {
            wire.sends(GET).receives(OK).sends(GET);
        } else {
            wire.receives(GET).sends(OK).receives(GET);
        }
        wire.now += MS;
        let id = wire.id;
        let told = &mut wire.told;
        let sink = &mut |info: &ConnectionInfo, event: Event| told.take(info, event);
        if client {
            let end = Data { flags: DataFlags::END, ..testing::data(id, wire.now, RECEIVED, &[]) };
            wire.connections.on_data(&end, sink);
        } else {
            wire.connections.on_state(&testing::state(id, wire.now, TcpState::LastAck), sink);
        }
        // That is found out a moment later.
        if is_lost {
            wire.connections.on_losses(wire.now + MS);
        }
        wire.connections.on_tick(wire.now + 1_000 * MS, sink);
        wire.connections.on_state(&testing::state(id, wire.now, TcpState::Close), sink);
        wire.connections.on_tick(wire.now + 2_000 * MS, sink);
        let role = if client { "Client" } else { "Server" };
        let expected = without_answer(client, is_lost);
        assert_eq!(wire.told().last().unwrap(), &format!("{role} GET /a 0 {expected}"), "{client} {is_lost}");
    }
}

#[test]
fn a_first_request_whose_answer_may_be_lost_is_not_told_to_have_none() {
    // That it is a request its answer would have shown, and the loss is found out a moment after the end.
    for (client, is_lost) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut wire = Wire::new(Met::Unix);
        wire.id = ConnectionId(PLAINTEXT | 6);
        let told = &mut wire.told;
        let sink = &mut |info: &ConnectionInfo, event: Event| told.take(info, event);
        wire.connections.on_open(&testing::open(wire.id, wire.now), |_| None, sink);
        wire.moves(if client { SENT } else { RECEIVED }, GET);
        wire.now += MS;
        let (id, told) = (wire.id, &mut wire.told);
        let sink = &mut |info: &ConnectionInfo, event: Event| told.take(info, event);
        wire.connections.on_state(&testing::state(id, wire.now, TcpState::Close), sink);
        if is_lost {
            wire.connections.on_losses(wire.now + MS);
        }
        wire.connections.on_tick(wire.now + 1_000 * MS, sink);
        let role = if client { "Client" } else { "Server" };
        assert_eq!(wire.told(), [format!("{role} GET /a 0 {}", without_answer(client, is_lost))]);
    }
}

#[test]
fn a_request_whose_first_byte_was_read_ahead_has_its_own_method() {
    // Go tries to read while it answers. What was asked before is lost, or was before the agent.
    for lost in [0, GET.len() as u64] {
        let mut wire = Wire::new(Met::InMidst);
        wire.moved[RECEIVED.index()] += lost;
        wire.receives(&GET[..1]).sends(OK).receives(&GET[1..]).sends(OK).receives(GET).sends(OK).closes();
        let first = if lost > 0 { "Server GET /a 0 Unseen" } else { "Server GET /a 200" };
        assert_eq!(wire.told(), [first, "Server GET /a 200"], "{lost}");
        // Of which it is not known what stands before it.
        let mut wire = Wire::new(Met::InMidst);
        wire.moved[RECEIVED.index()] += lost;
        wire.receives("x").sends(OK).receives("OST /a HTTP/1.1\r\n\r\n").sends(OK).receives(GET).sends(OK).closes();
        assert!(wire.told().iter().all(|told| told.starts_with("Server GET")), "{:?}", wire.told());
    }
}

#[test]
fn a_request_whose_first_byte_was_read_before_its_connection_was_met_is_not_told_by_another_method() {
    for met in [Met::InMidst, Met::Unix] {
        for position in [0, 1, 1 + GET.len() as u64] {
            let mut wire = Wire::new(met);
            wire.moved[RECEIVED.index()] += position;
            wire.receives(&GET[1..]).sends(OK).receives(GET).sends(OK).closes();
            // A byte that nothing was sent after looks like a request ahead of its answer.
            let second = if position == 0 { "Server GET /a 200" } else { "Server GET /a 0 Unseen" };
            assert_eq!(wire.told(), [second], "{met:?} {position}");
        }
        // In what was lost.
        let mut wire = Wire::new(met);
        wire.receives("x").sends("y");
        wire.moved[RECEIVED.index()] += 1;
        wire.receives(&GET[1..]).sends(OK).receives(GET).sends(OK).closes();
        assert!(wire.told().iter().all(|told| told.starts_with("Server GET /a")), "{:?}", wire.told());
        // What is the rest of none is a method of its own.
        let mut wire = Wire::new(met);
        wire.receives("PURGE /a HTTP/1.1\r\n\r\n").sends(OK).receives("ET /a HTTP/1.1\r\n\r\n").sends(OK).closes();
        assert_eq!(wire.told(), ["Server PURGE /a 200", "Server ET /a 200"], "{met:?}");
    }
    let mut wire = Wire::new(Met::AtBeginning);
    wire.receives(&GET[1..]).sends(OK).closes();
    assert_eq!(wire.told(), ["Server ET /a 200"]);
}

#[test]
fn a_request_that_is_one_beyond_doubt_is_told_before_it_is_answered() {
    // FastCGI, as php-fpm reads it: record by record, heads by themselves.
    let begins = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    let parameters = b"\x01\x04\x00\x01\x00\x22\x06\x00\x0e\x03REQUEST_METHODGET\x0b\x02REQUEST_URI/a\0\0\0\0\0\0";
    let ends = b"\x01\x04\x00\x01\x00\x00\x00\x00\x01\x05\x00\x01\x00\x00\x00\x00";
    let asked = [&begins[..], parameters, ends].concat();
    let answered =
        b"\x01\x06\x00\x01\x00\x0f\x01\x00Status: 202\r\n\r\n\0\x01\x03\x00\x01\x00\x08\x00\x00\0\0\0\0\0\0\0\0";
    for met in ALL {
        let mut wire = Wire::new(met);
        for part in [&asked[..8], &asked[8..16], &asked[16..24], &asked[24..]] {
            assert_eq!(wire.told.open.len(), 0, "{met:?}");
            wire.receives(part);
        }
        assert_eq!(wire.told.open.len(), 1, "{met:?}");
        wire.sends(answered).closes();
        assert_eq!(wire.told(), ["Server GET /a 202"], "{met:?}");
    }
}

#[test]
fn a_request_right_behind_a_response_does_not_come_after_a_quiet_time() {
    // Of a client that keeps requests open: nothing was asked for long, and what is answered was asked before what is lost.
    let mut wire = Wire::new(Met::InMidst);
    wire.moved[RECEIVED.index()] += 2 * GET.len() as u64;
    wire.receives("rest of a body");
    wire.now += 60 * MS;
    wire.sends(OK).receives(GET).sends("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    wire.closes();
    assert_eq!(wire.told(), ["Server GET /a 0 Unseen"]);
}

#[test]
fn a_client_that_was_seen_to_pipeline_does_so_behind_a_loss() {
    // It keeps as many requests open all the time; what it asked at first is told, and what came back is lost.
    for (position, ahead) in [(0, 3), (0, 2), (GET.len() as u64, 1)] {
        let mut wire = Wire::new(Met::InMidst);
        wire.moved[RECEIVED.index()] += position;
        for _ in 0..ahead {
            wire.receives(GET);
        }
        wire.moved[SENT.index()] += OK.len() as u64;
        wire.moved[RECEIVED.index()] += GET.len() as u64;
        for _ in 0..8 {
            wire.sends(OK).receives(GET);
        }
        wire.connections.on_stop(wire.now, &mut |info: &ConnectionInfo, event: Event| wire.told.take(info, event));
        let told = wire.told();
        assert!(told.len() > 5 && told.iter().all(|told| told.contains("Unseen")), "{position} {ahead} {told:?}");
    }
}

#[test]
fn what_one_protocol_asks_with_another_may_begin_with() {
    // To Redis the first line is a command.
    for answer in [&["PONG\r\n", "MSG a 1 1\r\nx\r\n"][..], &["PONG\r\nMSG a 1 1\r\nx\r\n"]] {
        let mut wire = Wire::new(Met::InMidst);
        wire.sends("PING\r\n").sends("SUB a 1\r\nPUB a 1\r\nx\r\n");
        for piece in answer {
            wire.receives(piece);
        }
        let told: Vec<_> = wire.told.finished.iter().map(|(_, exchange)| exchange.protocol).collect();
        assert_eq!(told, ["nats"; 2], "{answer:?}");
    }
    // Nor is it one of anybody's where nothing fits.
    let mut wire = Wire::new(Met::InMidst);
    wire.sends("PING\r\n").sends("PING\r\n").receives("PONG\r\n").receives("PONG\r\n");
    assert!(wire.told.finished.is_empty());
}

#[test]
fn an_answer_that_looks_like_a_request_is_known_by_what_was_asked() {
    let framed = |parts: &[&[u8]]| {
        let body = parts.concat();
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    };
    // Produce, version 7, of a client; and what is said to it: a topic whose name stands where a client's would.
    let asks = |number: u8| {
        let batch = [&[0; 16][..], &[2], &[0; 40], &[0, 0, 0, 0]].concat();
        let partition = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, batch.len() as u8][..], &batch].concat();
        let head = [&[0, 0, 0, 7, 0, 0, 0, number, 0, 4][..], b"bill", &[0xff; 4], &[0, 0, 0x75, 0x30]].concat();
        framed(&[&head, &[0, 0, 0, 1, 0, 4], b"node", &partition])
    };
    let says = |number: u8| {
        let taken = [&[0; 9][..], &[1], &[0xff; 8], &[0; 8], &[0; 4]].concat();
        framed(&[&[0, 0, 0, number, 0, 0, 0, 1, 0, 4], b"node", &[0, 0, 0, 1, 0, 0, 0, 0], &taken])
    };
    for is_met_by_answer in [false, true] {
        let mut wire = Wire::new(Met::InMidst);
        if is_met_by_answer {
            wire.receives(says(4));
        }
        wire.sends(asks(5)).receives(says(5)).sends(asks(6)).receives(says(6));
        let told: Vec<_> = wire.told.finished.iter().map(|(_, it)| (it.protocol, it.role)).collect();
        assert!(!told.is_empty() && told.iter().all(|it| *it == ("kafka", Role::Client)), "{told:?}");
    }
    // A broker reads the length by itself.
    let mut wire = Wire::new(Met::InMidst);
    for number in [5, 6] {
        wire.receives(&asks(number)[..4]).receives(&asks(number)[4..]).sends(says(number));
    }
    let told: Vec<_> = wire.told.finished.iter().map(|(_, it)| (it.protocol, it.role)).collect();
    assert_eq!(told, [("kafka", Role::Server); 2]);
}

#[test]
fn a_server_that_reads_heads_by_themselves_is_known_again_on_a_connection_that_was_in_use() {
    let mut wire = Wire::in_use();
    for _ in 0..4 {
        wire.receives(b"\x10\0\0\0").receives(b"\x03SELECT 1 FROM t").sends(b"\x07\0\0\x01\0\0\0\x02\0\0\0");
    }
    let told: Vec<_> = wire.told.finished.iter().map(|(_, it)| (it.protocol, it.outcome)).collect();
    assert_eq!(told[told.len() - 2..], [("mysql", Outcome::Complete); 2], "{told:?}");
}

/// What was held back of a unix socket is told when its place is needed, which may be long after the socket has gone.
#[test]
fn pieces_that_are_told_together_make_no_connection_known() {
    let mut connections = Connections::new(Limits::default(), 0);
    let piece = testing::data(CONN, 5, SENT, &[]);
    for (head, tail, is_known) in [(&b""[..], &[b's'; 32][..], false), (b"", b"", true)] {
        let data = Data { len: 100_000, head, tail, ..piece };
        connections.on_data(&data, &mut |_: &ConnectionInfo, event: Event| panic!("{event:?}"));
        assert_eq!(connections.follows(CONN), is_known);
    }
}
