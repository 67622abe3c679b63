//! Conversations of which records are lost (ring full): never a wrong pair, and right again soon.

use proptest::prelude::*;

use super::*;
use crate::protocols::testing::Told;

/// A record as the kernel side makes it.
#[derive(Clone, Debug)]
struct Record {
    is_request: bool,
    at_ns: u64,
    bytes: Vec<u8>,
    position: u64,
    other_position: u64,
    lost: bool,
}

/// One exchange, as a test says it: how it is asked and answered, and how long before it nothing happens.
#[derive(Clone, Debug)]
struct Turn {
    upload: usize,
    chunked: bool,
    answer: usize,
    /// Pieces that the request and the response are moved in.
    pieces: (usize, usize),
    quiet_ns: u64,
    /// The next is asked before this is answered.
    pipelined: bool,
}

const MS: u64 = 1_000_000;

fn turn(pipelines: bool) -> impl Strategy<Value = Turn> {
    let quiet_ns = prop_oneof![3 => 0..2 * MS, 1 => 21 * MS..90 * MS];
    let pipelined = if pipelines { prop::bool::weighted(0.5).boxed() } else { Just(false).boxed() };
    (
        prop_oneof![Just(0_usize), 1..300_usize],
        any::<bool>(),
        0..300_usize,
        (1..4_usize, 1..4_usize),
        quiet_ns,
        pipelined,
    )
        .prop_map(|(upload, chunked, answer, pieces, quiet_ns, pipelined)| Turn {
            upload,
            chunked,
            answer,
            pieces,
            quiet_ns,
            pipelined,
        })
}

/// The status that answers exchange `nth`.
fn status(nth: usize) -> u16 {
    200 + u16::try_from(nth % 97).unwrap_or_default()
}

/// What the kernel side records of a conversation.
fn records(turns: &[Turn]) -> Vec<Record> {
    let (mut records, mut moved, mut now) = (Vec::new(), [0_u64; 2], 1_000 * MS);
    let mut record = |is_request: bool, text: String, count: usize, now: &mut u64| {
        for piece in text.as_bytes().chunks(text.len().div_ceil(count)) {
            *now += 10_000;
            let (side, other) = (usize::from(is_request), usize::from(!is_request));
            let (position, other_position) = (moved[side], moved[other]);
            moved[side] += piece.len() as u64;
            records.push(Record {
                is_request,
                at_ns: *now,
                bytes: piece.to_vec(),
                position,
                other_position,
                lost: false,
            });
        }
    };
    let mut nth = 0;
    for run in turns.chunk_by(|before, _| before.pipelined) {
        for (at, turn) in (nth..).zip(run) {
            now += turn.quiet_ns;
            let text =
                format!("POST /{at} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}", turn.upload, "u".repeat(turn.upload));
            record(true, text, turn.pieces.0, &mut now);
        }
        for (at, turn) in (nth..).zip(run) {
            let body = "d".repeat(turn.answer);
            let body = match turn.chunked {
                true if turn.answer == 0 => "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
                true => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", turn.answer),
                false => format!("Content-Length: {}\r\n\r\n{body}", turn.answer),
            };
            let status = if status(at) == 204 { 200 } else { status(at) };
            record(false, format!("HTTP/1.1 {status} Why\r\n{body}"), turn.pieces.1, &mut now);
        }
        nth += run.len();
    }
    records
}

/// Feeds the records that are not lost to a session as `conn` does: what is missing is told before what was recorded after it.
fn feed(role: Role, records: &[Record]) -> Vec<Exchange> {
    let mut session = open(role);
    let (mut out, mut told, mut last_ns) = (Told::default(), [0_u64; 2], [0_u64; 2]);
    let mut tell = |is_request: bool, from: &Record, data: &[u8], missing: u64, position: u64, out: &mut Told| {
        let direction = if is_request { role.requests() } else { role.requests().other() };
        let side = usize::from(is_request);
        let is_due = position == told[side];
        let quiet_ns = if is_due && missing == 0 { from.at_ns - last_ns[side] } else { 0 };
        last_ns[side] = from.at_ns;
        told[side] = position + data.len() as u64 + missing;
        let other_position = if is_request == from.is_request { from.other_position } else { from.position };
        let chunk = Chunk {
            at_ns: from.at_ns,
            thread: Thread::default(),
            data,
            skipped: missing,
            tail: &[],
            lost: missing > 0,
            frames: None,
            quiet_ns,
            position,
            other_position,
        };
        out.of(|out| session.on_data(direction, &chunk, out));
    };
    let mut arrived = [0_u64; 2];
    for record in records.iter().filter(|record| !record.lost) {
        let (side, other) = (usize::from(record.is_request), usize::from(!record.is_request));
        if record.other_position > arrived[other] {
            tell(!record.is_request, record, &[], record.other_position - arrived[other], arrived[other], &mut out);
            arrived[other] = record.other_position;
        }
        if record.position > arrived[side] {
            tell(record.is_request, record, &[], record.position - arrived[side], arrived[side], &mut out);
        }
        arrived[side] = record.position + record.bytes.len() as u64;
        tell(record.is_request, record, &record.bytes, 0, record.position, &mut out);
    }
    out.of(|out| session.on_end(End::Forgotten, u64::MAX, out));
    out.finished()
}

/// The exchanges told with a status, by their number. Panics if one is wrong.
fn right(out: &[Exchange]) -> Vec<usize> {
    let mut right = Vec::new();
    for exchange in out {
        let http = http(exchange);
        let Some(status_told) = http.status else {
            assert_ne!(exchange.outcome, Outcome::Complete, "{exchange:?}");
            continue;
        };
        let nth: usize = http.target.as_ref().unwrap()[1..].parse().unwrap();
        let expected = if status(nth) == 204 { 200 } else { status(nth) };
        assert_eq!(status_told, expected, "{}", tell(exchange));
        if exchange.outcome == Outcome::Complete {
            right.push(nth);
        }
    }
    right
}

/// The records of these turns, of which some are lost, and the numbers of the exchanges that are told right.
fn told_after_losses(turns: &[Turn], lost: &[prop::sample::Index], client: bool) -> (Vec<Record>, Vec<usize>) {
    let mut records = records(turns);
    let count = records.len();
    for at in lost {
        records[at.index(count)].lost = true;
    }
    let role = if client { Role::Client } else { Role::Server };
    let right = right(&feed(role, &records));
    (records, right)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses_never_give_a_wrong_pair_and_cost_two_exchanges_more(
        turns in prop::collection::vec(turn(false), 1..14),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        client in any::<bool>(),
    ) {
        let (records, right) = told_after_losses(&turns, &lost, client);
        // The number of the exchange that the last lost record is of, counted by the requests before it.
        let of = |at: usize| {
            let begun = records[..=at].iter().filter(|record| record.is_request && record.bytes.starts_with(b"POST")).count();
            begun.saturating_sub(1)
        };
        let after = records.iter().rposition(|record| record.lost).map_or(0, |at| of(at) + 3);
        for nth in after..turns.len() {
            prop_assert!(right.contains(&nth), "{nth} is not told: {right:?}");
        }
        if !records.iter().any(|record| record.lost) {
            prop_assert_eq!(right.len(), turns.len());
        }
    }

    #[test]
    fn losses_never_give_a_pipelining_client_a_wrong_pair(
        turns in prop::collection::vec(turn(true), 1..20),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        client in any::<bool>(),
    ) {
        let (_, right) = told_after_losses(&turns, &lost, client);
        if lost.is_empty() {
            prop_assert_eq!(right.len(), turns.len());
        }
    }
}

/// A conversation of `turns` simple exchanges, in which records are lost.
fn simple(turns: usize, lost: &[usize]) -> Vec<String> {
    let turn = Turn { upload: 0, chunked: false, answer: 3, pieces: (1, 1), quiet_ns: 0, pipelined: false };
    let mut records = records(&vec![turn; turns]);
    lost.iter().for_each(|&at| records[at].lost = true);
    feed(Role::Server, &records).iter().map(tell).collect()
}

#[test]
fn behind_a_lost_exchange_the_second_request_is_right_again() {
    // Records 2 and 3 are the second request and its response.
    assert_eq!(simple(5, &[2, 3]), ["POST /0 200 0→3", "POST /2 - 0→? Unseen", "POST /3 203 0→3", "POST /4 200 0→3"],);
}

#[test]
fn a_lost_response_leaves_its_request_unseen() {
    assert_eq!(simple(4, &[3]), ["POST /0 200 0→3", "POST /1 - 0→? Unseen", "POST /2 - 0→? Unseen", "POST /3 203 0→3"]);
}

#[test]
fn a_request_that_comes_after_a_quiet_time_is_believed_at_once() {
    let turn = Turn { upload: 0, chunked: false, answer: 3, pieces: (1, 1), quiet_ns: 25 * MS, pipelined: false };
    let mut records = records(&vec![turn; 4]);
    records[2].lost = true;
    records[3].lost = true;
    let told: Vec<_> = feed(Role::Server, &records).iter().map(tell).collect();
    assert_eq!(told, ["POST /0 200 0→3", "POST /2 - 0→? Unseen", "POST /3 203 0→3"]);
}

#[test]
fn a_client_that_pipelines_is_followed_again_after_a_second_of_quiet() {
    let turn = |pipelined, quiet_ns| Turn { upload: 0, chunked: false, answer: 3, pieces: (1, 1), quiet_ns, pipelined };
    let batch = |quiet_ns| [turn(true, quiet_ns), turn(true, 0), turn(false, 0)];
    let mut records = records(&[batch(0), batch(0), batch(0), batch(1001 * MS)].concat());
    records[7].lost = true;
    let told: Vec<_> = feed(Role::Server, &records).iter().map(tell).collect();
    let unseen = told.iter().filter(|told| told.contains("Unseen")).count();
    assert_eq!((told.len(), unseen), (11, 5), "{told:?}");
    assert_eq!(told[8..], ["POST /9 209 0→3", "POST /10 210 0→3", "POST /11 211 0→3"]);
}

#[test]
fn the_rest_of_a_head_is_no_request() {
    for quiet_ns in [0, 25 * MS] {
        let mut session = open(Role::Server);
        let (mut out, mut position) = (Told::default(), 0);
        let mut told = |data: &[u8], skipped: u64, quiet_ns: u64, direction: Direction, other_position: u64| {
            let chunk = Chunk {
                at_ns: 1_000 * MS,
                thread: Thread::default(),
                data,
                skipped,
                tail: &[],
                lost: skipped > 0,
                frames: None,
                quiet_ns,
                position,
                other_position,
            };
            position += chunk.len();
            out.of(|out| session.on_data(direction, &chunk, out));
        };
        told(b"", 2, 0, Direction::Received, 0);
        // Of a head nobody writes the rest after a while: it is a method of their own.
        told(b"ST /a HTTP/1.1\r\n\r\n", 0, quiet_ns, Direction::Received, 0);
        out.of(|out| session.on_end(End::Forgotten, 0, out));
        assert_eq!(out.len(), usize::from(quiet_ns > 0), "{quiet_ns}");
    }
}

#[test]
fn a_client_that_asks_twice_in_succession_pipelines_though_what_it_asked_is_not_open_any_more() {
    // The response to the first request is lost; the second is asked before it, and the third behind it.
    let (ask, answer) = (Direction::Received, Direction::Sent);
    let mut session = open(Role::Server);
    let (mut out, mut moved) = (Told::default(), [0_u64; 2]);
    let mut tell = |direction: Direction, data: &[u8], lost: u64| {
        let [position, other_position] = [direction, direction.other()].map(|direction| moved[direction.index()]);
        let chunk = Chunk {
            at_ns: 1_000 * MS,
            thread: Thread::default(),
            data,
            skipped: lost,
            tail: &[],
            lost: lost > 0,
            frames: None,
            quiet_ns: 0,
            position,
            other_position,
        };
        moved[direction.index()] += chunk.len();
        out.of(|out| session.on_data(direction, &chunk, out));
    };
    let respond = |status| format!("HTTP/1.1 {status} Why\r\nContent-Length: 0\r\n\r\n");
    let request = |nth: u16| format!("GET /{nth} HTTP/1.1\r\n\r\n");
    tell(ask, request(200).as_bytes(), 0);
    // Something that is not known was asked, so what is open ends.
    tell(ask, b"", 30);
    tell(ask, request(202).as_bytes(), 0);
    tell(answer, respond(200).as_bytes(), 0);
    for status in 203..220 {
        tell(ask, request(status).as_bytes(), 0);
        tell(answer, respond(status - 2).as_bytes(), 0);
    }
    out.of(|out| session.on_end(End::Forgotten, 0, out));
    assert_eq!(out.len(), 19);
    assert!(
        out.iter().all(|exchange| exchange.outcome == Outcome::Unseen),
        "{:?}",
        out.iter().map(super::tell).collect::<Vec<_>>()
    );
}

/// A client that has two requests open all the time, met between them: a HEAD, which is answered without a length, and others.
fn with_two_open(role: Role, asked: &[&str]) -> Vec<String> {
    let mut wire = Wire::new(role);
    wire.session.begin_in_use(false);
    let answer = |method: &str| match method {
        "HEAD" => "HTTP/1.1 299 Of HEAD\r\n\r\n",
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    };
    // That to the first one.
    let mut due = "GET";
    for (nth, method) in asked.iter().enumerate() {
        wire.ask(format!("{method} /{nth} HTTP/1.1\r\n\r\n")).answer(answer(due));
        due = method;
    }
    wire.answer(answer(due)).end(End::Closed);
    wire.told()
}

#[test]
fn a_response_that_cannot_be_that_of_its_request_shows_that_others_are_open() {
    for role in [Role::Client, Role::Server] {
        // The response to the HEAD seems to be the next one's, and to go on to the end; or it is taken for one with a body.
        for at in 2..6 {
            let mut asked = vec!["GET"; 12];
            asked[at] = "HEAD";
            let told = with_two_open(role, &asked);
            assert_eq!(told.len(), 12, "{told:?}");
            let of_head: Vec<_> = told.iter().filter(|told| told.contains(" 299 ")).collect();
            assert!(of_head.is_empty(), "{told:?}");
            assert!(told.iter().all(|told| !told.contains("NoResponse") && !told.contains("Cut")), "{told:?}");
            assert!(told[at + 2..].iter().all(|told| told.contains("Unseen")), "{told:?}");
        }
    }
}

#[test]
fn what_was_concluded_of_a_client_that_turns_out_to_pipeline_is_void() {
    let answer = |status: u16| format!("HTTP/1.1 {status} Why\r\nContent-Length: 3\r\n\r\nabc");
    for role in [Role::Client, Role::Server] {
        // Others are open when it is met: a request and the next answer, which is not its own, look like an exchange of their own.
        let met = || {
            let mut wire = Wire::new(role);
            wire.session.begin_in_use(false);
            wire.ask("GET /2 HTTP/1.1\r\n\r\n").answer(answer(200));
            wire
        };
        let mut wire = met();
        wire.ask("GET /3 HTTP/1.1\r\n\r\nGET /4 HTTP/1.1\r\n\r\n");
        for status in 201..205 {
            wire.answer(answer(status));
        }
        wire.ask("GET /5 HTTP/1.1\r\n\r\n").answer(answer(205)).end(End::Closed);
        let told = wire.told();
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|told| told.contains("Unseen")), "{told:?}");
        // While a response is on its way.
        let mut wire = met();
        wire.ask("GET /3 HTTP/1.1\r\n\r\n").answer("HTTP/1.1 201 Why\r\nContent-Length: 3\r\n\r\na");
        wire.ask("GET /4 HTTP/1.1\r\n\r\nGET /5 HTTP/1.1\r\n\r\n").answer("bc").answer(answer(202)).end(End::Closed);
        let told = wire.told();
        assert!(told.len() == 4 && told.iter().all(|told| told.contains("Unseen")), "{told:?}");
        // One that asks in turn is believed.
        let mut wire = met();
        wire.ask("GET /3 HTTP/1.1\r\n\r\n").answer(answer(203)).end(End::Closed);
        assert!(wire.told().last().is_some_and(|told| told.starts_with("GET /3 203")), "{:?}", wire.told());
    }
}
