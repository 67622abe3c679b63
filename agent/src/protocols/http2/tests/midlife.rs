//! Sessions that begin anywhere in a connection: what they tell is right, or they tell nothing.

use std::collections::HashMap;

use httlib_hpack::Encoder;

use super::{super::*, wire::*};
use crate::model::exchange::{Http, Operation, Outcome};

/// What really happened on a stream, by when it began.
#[derive(Debug, Default)]
struct Truth {
    id: u32,
    method: String,
    path: String,
    status: u16,
    first_byte_ns: u64,
    end_ns: u64,
    is_grpc: bool,
}

/// How a connection's ends write header blocks.
struct Habits {
    table_size: u32,
    resizes: bool,
    index_paths: bool,
    authorities: usize,
    is_grpc: bool,
    /// Fields are sought in the table before they are written.
    seeks: bool,
    pseudo_order: [usize; 4],
}

struct Connection {
    pieces: Vec<Moved>,
    truth: HashMap<u64, Truth>,
    habits: Habits,
}

const METHODS: [&str; 6] = ["GET", "POST", "POST", "GET", "PUT", "DELETE"];
const STATUSES: [&str; 8] = ["200", "200", "204", "404", "500", "201", "302", "503"];
/// Statuses of the static table, which nobody has to remember.
const STATIC_STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

fn habits(random: &mut Random) -> Habits {
    let orders = [[0, 1, 2, 3], [0, 1, 3, 2], [3, 2, 0, 1], [2, 3, 0, 1]];
    Habits {
        table_size: *random.pick(&[0, 64, 200, 1000, 4096, 4096, 65536]),
        resizes: random.one_in(3),
        index_paths: !random.one_in(4),
        authorities: if random.one_in(4) { 3 } else { 1 },
        is_grpc: random.one_in(2),
        seeks: !random.one_in(4),
        pseudo_order: *random.pick(&orders),
    }
}

impl Habits {
    fn flags(&self, random: &mut Random, name: &str) -> u8 {
        let huffman = *random.pick(&[0, Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE, Encoder::HUFFMAN_VALUE]);
        let indexing = match name {
            ":path" if !self.index_paths => 0,
            "x-secret" => Encoder::NEVER_INDEXED,
            _ => Encoder::WITH_INDEXING,
        };
        let seek = if self.seeks || !random.one_in(3) { Encoder::BEST_FORMAT } else { 0 };
        huffman | indexing | seek
    }

    fn block(&self, random: &mut Random, encoder: &mut Encoder<'_>, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        if self.resizes && random.one_in(12) {
            let size = *random.pick(&[0, 100, 500, self.table_size, self.table_size]);
            if random.one_in(2) {
                encoder.update_max_dynamic_size(0, &mut block).unwrap();
            }
            encoder.update_max_dynamic_size(size, &mut block).unwrap();
        }
        for (name, value) in fields {
            let flags = self.flags(random, name);
            encoder.encode((name.as_bytes().to_vec(), value.as_bytes().to_vec(), flags), &mut block).unwrap();
        }
        block
    }

    fn request(&self, random: &mut Random, encoder: &mut Encoder<'_>, id: u32) -> (Vec<u8>, Truth) {
        let method = if self.is_grpc { "POST" } else { random.pick(&METHODS) };
        let path = match random.below(12) {
            0 => format!("/pkg.Svc/Once{}", random.next() % 1000),
            nth => format!("/pkg.Svc/Method{}", nth % 4),
        };
        let authority = format!("host{}", random.below(self.authorities));
        let pseudo = [(":method", method), (":scheme", "http"), (":path", &path), (":authority", &authority)];
        let mut fields: Vec<(&str, &str)> = self.pseudo_order.iter().map(|&at| pseudo[at]).collect();
        let request_id = format!("id-{id}");
        if self.is_grpc {
            fields.extend([("content-type", "application/grpc"), ("user-agent", "grpc-go/1.7"), ("te", "trailers")]);
            if random.one_in(2) {
                fields.push(("grpc-timeout", "1000m"));
            }
        } else {
            fields.extend([("accept", "*/*"), ("user-agent", "curl/8"), ("x-secret", "s")]);
        }
        if random.one_in(3) {
            fields.push(("x-request-id", &request_id));
        }
        let traceparent = format!("00-{:032x}-{:016x}-01", u32::MAX, id);
        if random.one_in(2) {
            fields.push(("traceparent", &traceparent));
        }
        let block = self.block(random, encoder, &fields);
        let truth =
            Truth { id, method: method.to_owned(), path: path.clone(), is_grpc: self.is_grpc, ..Truth::default() };
        (block, truth)
    }
}

/// Streams that overlap, every frame a piece.
fn connection(random: &mut Random, streams: u32) -> Connection {
    let habits = habits(random);
    let mut wire = Wire::new();
    wire.client = Encoder::with_dynamic_size(4096);
    wire.server = Encoder::with_dynamic_size(4096);
    let mut truth: HashMap<u64, Truth> = HashMap::new();
    let mut open: Vec<(u32, u64, u8)> = Vec::new();
    let mut next = 1;
    if habits.table_size != 4096 {
        // The first block of each side says so.
        for side in [Side::Requests, Side::Responses] {
            let encoder = if side == Side::Requests { &mut wire.client } else { &mut wire.server };
            let mut block = Vec::new();
            encoder.update_max_dynamic_size(habits.table_size, &mut block).unwrap();
            encoder.encode(if side == Side::Requests { 2 } else { 8 }, &mut block).unwrap();
            if side == Side::Requests {
                encoder.encode(6, &mut block).unwrap();
                encoder.encode(4, &mut block).unwrap();
            }
            let at_ns = wire.write(side, frame(1, END_HEADERS | END_STREAM, 1, &block));
            if side == Side::Requests {
                truth.insert(at_ns, Truth { method: "GET".into(), path: "/".into(), status: 200, ..Truth::default() });
            } else {
                let first = truth.values_mut().next().unwrap();
                (first.first_byte_ns, first.end_ns) = (at_ns, at_ns);
            }
        }
        next = 3;
    }
    while next < 2 * streams || !open.is_empty() {
        if next < 2 * streams && (open.len() < 2 || random.one_in(2) && open.len() < 10) {
            let (block, told) = habits.request(random, &mut wire.client, next);
            let flags = if told.is_grpc { END_HEADERS } else { END_HEADERS | END_STREAM };
            let at_ns = wire.request(frame(1, flags, next, &block));
            if told.is_grpc {
                wire.request(data(END_STREAM, next, &[0, 0, 0, 0, 1, 7]));
            }
            truth.insert(at_ns, told);
            open.push((next, at_ns, 0));
            next += 2;
            continue;
        }
        let at = random.below(open.len());
        let (id, began_ns, step) = open[at];
        let truth = truth.get_mut(&began_ns).unwrap();
        open[at].2 += 1;
        match step {
            0 => {
                let status = if truth.is_grpc { "200" } else { random.pick(&STATUSES) };
                truth.status = status.parse().unwrap();
                let fields = [(":status", status), ("content-type", "text/plain"), ("date", "today")];
                let block = habits.block(random, &mut wire.server, &fields);
                let is_all = !truth.is_grpc && random.one_in(4);
                let flags = if is_all { END_HEADERS | END_STREAM } else { END_HEADERS };
                let at_ns = wire.response(frame(1, flags, id, &block));
                truth.first_byte_ns = at_ns;
                if is_all {
                    truth.end_ns = at_ns;
                    open.swap_remove(at);
                }
            }
            1 => {
                let is_end = !truth.is_grpc;
                let at_ns = wire.response(data(u8::from(is_end), id, &[0, 0, 0, 0, 1, 7]));
                if is_end {
                    truth.end_ns = at_ns;
                    open.swap_remove(at);
                }
            }
            _ => {
                let block = habits.block(random, &mut wire.server, &[("grpc-status", "0"), ("grpc-message", "")]);
                truth.end_ns = wire.response(frame(1, END_HEADERS | END_STREAM, id, &block));
                open.swap_remove(at);
            }
        }
    }
    Connection { pieces: wire.pieces, truth, habits }
}

#[derive(Debug, Default)]
struct Tally {
    attachments: u64,
    exchanges: u64,
    named: u64,
    unnamed: u64,
}

impl Tally {
    /// Asserts that what was told is true.
    fn check(&mut self, connection: &Connection, exchanges: &[Exchange], may_be_unseen: bool, cut: &str) {
        self.attachments += 1;
        let mut by_number: HashMap<u64, &str> = HashMap::new();
        let mut by_path: HashMap<&str, u64> = HashMap::new();
        for exchange in exchanges {
            self.exchanges += 1;
            let truth = connection.truth.get(&exchange.start_ns).expect("a request began then");
            let (method, path, number) = match &exchange.operation {
                Operation::Http(http) => (http.method.clone(), http.target.clone(), http.unknown_name),
                Operation::Rpc(rpc) => {
                    assert!(truth.is_grpc, "{cut}");
                    assert!(matches!(rpc.status, None | Some(0)), "{cut}");
                    (
                        Some("POST".into()),
                        rpc.method.as_ref().map(|method| format!("/{method}").into()),
                        rpc.unknown_name,
                    )
                }
                other => panic!("{other:?}"),
            };
            assert!(method.as_ref().is_none_or(|method| *method == truth.method), "{cut}: {exchange:?} {truth:?}");
            assert!(path.as_ref().is_none_or(|path| *path == truth.path), "{cut}: {exchange:?} {truth:?}");
            let is_known = method.is_some() && path.is_some();
            assert_eq!(number.is_none(), is_known, "{cut}: {exchange:?}");
            *(if is_known { &mut self.named } else { &mut self.unnamed }) += 1;
            if let Some(number) = number {
                let name = by_number.entry(number).or_insert(&truth.path);
                assert_eq!(*name, truth.path, "{cut}: one number for two names");
                let is_one_entry = connection.habits.seeks && connection.habits.authorities == 1;
                if method.is_some() && is_one_entry && !connection.habits.resizes {
                    let first = by_path.entry(&truth.path).or_insert(number);
                    assert_eq!(*first, number, "{cut}: two numbers for {}", truth.path);
                }
            }
            if exchange.outcome == Outcome::Unseen && may_be_unseen {
                continue;
            }
            if let Operation::Http(http) = &exchange.operation {
                match http.status {
                    Some(status) => assert_eq!(status, truth.status, "{cut}"),
                    // What may be a call goes without a method and a status.
                    None if http.method.is_none() => {}
                    None => assert!(!STATIC_STATUSES.contains(&truth.status), "{cut}: {exchange:?} {truth:?}"),
                }
            }
            assert_eq!(exchange.outcome, Outcome::Complete, "{cut}: {exchange:?}");
            assert_eq!(exchange.first_byte_ns, Some(truth.first_byte_ns), "{cut}: {exchange:?} {truth:?}");
            assert_eq!(exchange.end_ns, truth.end_ns, "{cut}: {exchange:?} {truth:?}");
        }
    }
}

#[test]
fn ten_thousand_attachments_at_frame_boundaries_tell_no_wrong_name() {
    let mut random = Random(0x5eed);
    let mut tally = Tally::default();
    while tally.attachments < 10_000 {
        let connection = connection(&mut random, 20);
        for cut in 0..connection.pieces.len() {
            let pieces = &connection.pieces[cut..];
            let mut reader = Reader::at_rest(Role::Server);
            reader.feed_all(pieces);
            let exchanges = reader.close();
            tally.check(&connection, &exchanges, false, &format!("cut at {cut}"));
            let sent = pieces.iter().filter(|piece| connection.truth.contains_key(&piece.at_ns)).count();
            assert_eq!(exchanges.len(), sent, "every request from the first frame on is told");
        }
    }
    assert!(tally.named > tally.unnamed && tally.unnamed > 10_000, "both are frequent: {tally:?}");
}

#[test]
fn attachments_at_any_byte_tell_no_wrong_name() {
    let mut random = Random(0xb17e);
    let mut tally = Tally::default();
    while tally.attachments < 3000 {
        let connection = connection(&mut random, 20);
        for _ in 0..30 {
            let cut = random.below(connection.pieces.len());
            let mut pieces = connection.pieces[cut..].to_vec();
            let first = &mut pieces[0].bytes;
            let byte = 1 + random.below(first.len() - 1);
            first.drain(..byte);
            let mut reader = Reader::new(if random.one_in(2) { Role::Server } else { Role::Client });
            reader.feed_all(&pieces);
            let exchanges = reader.close();
            tally.check(&connection, &exchanges, true, &format!("cut at {cut}, byte {byte}"));
        }
    }
    assert!(tally.named > 9_000 && tally.unnamed > 1000, "both are frequent: {tally:?}");
}

#[test]
fn losses_in_the_middle_of_joined_pieces_tell_no_wrong_name() {
    let mut random = Random(0x1055);
    let mut told = 0;
    for _ in 0..1000 {
        let connection = connection(&mut random, 20);
        // Pieces are joined as a busy reader would; some are lost, wholly or from some byte on.
        let mut reader = Reader::new(Role::Server);
        let mut pieces = connection.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            let mut bytes = piece.bytes.clone();
            while let Some(next) = pieces.next_if(|next| next.side == piece.side && random.one_in(2)) {
                bytes.extend(&next.bytes);
            }
            let mut chunk = whole(piece.at_ns, &bytes);
            if random.one_in(10) {
                let kept = random.below(bytes.len());
                (chunk.data, chunk.skipped, chunk.lost) = (&bytes[..kept], (bytes.len() - kept) as u64, true);
                chunk.tail = &bytes[bytes.len() - random.below(bytes.len() - kept + 1).min(32)..];
            }
            reader.feed(piece.side, &chunk);
        }
        for exchange in reader.close() {
            // Joined pieces begin together, so it is the trace context that tells which request it is.
            let Some(parent) = exchange.parent else { continue };
            let id = u64::from_be_bytes(parent.span_id.0);
            let truth = connection.truth.values().find(|truth| u64::from(truth.id) == id).unwrap();
            match &exchange.operation {
                Operation::Http(http) => {
                    assert!(http.method.as_ref().is_none_or(|method| *method == truth.method), "{exchange:?}");
                    assert!(http.target.as_ref().is_none_or(|path| *path == truth.path), "{exchange:?}");
                    assert!(http.status.is_none_or(|status| status == truth.status), "{exchange:?}");
                }
                Operation::Rpc(rpc) => {
                    assert!(rpc.method.as_ref().is_none_or(|method| truth.path[1..] == *method), "{exchange:?}");
                }
                other => panic!("{other:?}"),
            }
            told += 1;
        }
    }
    assert!(told > 3000, "{told}");
}

/// The bytes of one side of a connection, from some byte on: what somebody recorded, and sends or gets as a body.
fn recording(random: &mut Random) -> Vec<u8> {
    let connection = connection(random, 40);
    let side = *random.pick(&[Side::Requests, Side::Requests, Side::Responses]);
    let pieces = connection.pieces.iter().filter(|piece| piece.side == side);
    let from = random.below(4) * random.below(20);
    pieces.skip(from).flat_map(|piece| piece.bytes.iter().copied()).collect()
}

/// Stream, when it began, what is left of the request's and the response's body, and whether the response began.
type Transfer = (u32, u64, Vec<u8>, Vec<u8>, bool);

/// Overlapping streams whose bodies are recordings of other connections, written as busy endpoints do: DATA frames of
/// up to 16 KiB, whole or in several writes, with other frames in the same write or not.
fn carrying_recordings(random: &mut Random) -> Connection {
    let mut habits = habits(random);
    (habits.is_grpc, habits.table_size) = (false, 4096);
    let mut wire = Wire::new();
    let mut truth: HashMap<u64, Truth> = HashMap::new();
    let mut open: Vec<Transfer> = Vec::new();
    let mut next = 1;
    let longest = *random.pick(&[300, 1000, 4000, 16_384]);
    let split = *random.pick(&[usize::MAX, usize::MAX, 4096, 1000, 64]);
    while next < 60 || !open.is_empty() {
        if next < 60 && (open.is_empty() || random.one_in(3) && open.len() < 6) {
            let (block, told) = habits.request(random, &mut wire.client, next);
            let body = if random.one_in(2) { recording(random) } else { Vec::new() };
            let flags = if body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
            let at_ns = wire.request(frame(1, flags, next, &block));
            truth.insert(at_ns, told);
            let answer = if random.one_in(3) { recording(random) } else { vec![7; 40] };
            open.push((next, at_ns, body, answer, false));
            next += 2;
            continue;
        }
        let at = random.below(open.len());
        let (id, began_ns, body, answer, has_begun) = &mut open[at];
        let (side, left) = if body.is_empty() { (Side::Responses, answer) } else { (Side::Requests, body) };
        if side == Side::Responses && !*has_begun {
            *has_begun = true;
            let status = random.pick(&STATUSES);
            let truth = truth.get_mut(began_ns).unwrap();
            truth.status = status.parse().unwrap();
            let block = habits.block(random, &mut wire.server, &[(":status", status), ("content-type", "text/plain")]);
            truth.first_byte_ns = wire.response(frame(1, END_HEADERS, *id, &block));
            continue;
        }
        let len = (1 + random.below(longest)).min(left.len());
        let part: Vec<u8> = left.drain(..len).collect();
        let is_end = left.is_empty();
        let (id, began_ns) = (*id, *began_ns);
        let bytes = data(u8::from(is_end), id, &part);
        let mut at_ns = 0;
        for write in bytes.chunks(split.min(bytes.len())) {
            at_ns = wire.write(side, write.to_vec());
        }
        if is_end && side == Side::Responses {
            truth.get_mut(&began_ns).unwrap().end_ns = at_ns;
            open.swap_remove(at);
        }
    }
    Connection { pieces: wire.pieces, truth, habits }
}

/// Asserts that each exchange is one of the connection's requests, named right.
fn assert_true(connection: &Connection, exchanges: &[Exchange], cut: &str) {
    for exchange in exchanges {
        let truth = connection.truth.get(&exchange.start_ns);
        let truth = truth.unwrap_or_else(|| panic!("{cut}: invented: {exchange:?}"));
        let http = http(exchange);
        assert!(http.method.as_ref().is_none_or(|method| *method == truth.method), "{cut}: {exchange:?} {truth:?}");
        assert!(http.target.as_ref().is_none_or(|path| *path == truth.path), "{cut}: {exchange:?} {truth:?}");
        assert!(http.status.is_none_or(|status| status == truth.status), "{cut}: {exchange:?} {truth:?}");
    }
}

#[test]
fn bodies_full_of_frames_invent_no_request_wherever_one_attaches() {
    let mut random = Random(0xbad_f00d);
    let (mut attachments, mut told) = (0, 0);
    while attachments < 10_000 {
        let connection = carrying_recordings(&mut random);
        for _ in 0..50 {
            let cut = random.below(connection.pieces.len());
            let mut pieces = connection.pieces[cut..].to_vec();
            let byte = random.below(pieces[0].bytes.len());
            pieces[0].bytes.drain(..byte);
            let mut reader = Reader::new(if random.one_in(2) { Role::Server } else { Role::Client });
            reader.feed_all(&pieces);
            let exchanges = reader.close();
            assert_true(&connection, &exchanges, &format!("cut at {cut}, byte {byte}"));
            (attachments, told) = (attachments + 1, told + exchanges.len());
        }
    }
    assert!(told > 20_000, "{told}");
}

#[test]
fn bodies_full_of_frames_invent_no_request_after_a_loss() {
    let mut random = Random(0x1057);
    let (mut losses, mut told) = (0, 0);
    while losses < 10_000 {
        let connection = carrying_recordings(&mut random);
        let mut reader = Reader::new(Role::Server);
        for piece in &connection.pieces {
            let mut chunk = whole(piece.at_ns, &piece.bytes);
            if random.one_in(20) {
                let kept = random.below(piece.bytes.len());
                // What is left of a piece is its end as often as its beginning.
                if random.one_in(2) {
                    (chunk.data, chunk.skipped, chunk.lost) =
                        (&piece.bytes[..kept], (piece.bytes.len() - kept) as u64, true);
                } else {
                    reader.feed(piece.side, &Chunk { data: &[], skipped: kept as u64, lost: true, ..chunk });
                    chunk.data = &piece.bytes[kept..];
                }
                losses += 1;
            }
            reader.feed(piece.side, &chunk);
        }
        let exchanges = reader.close();
        assert_true(&connection, &exchanges, "lost");
        told += exchanges.len();
    }
    assert!(told > 1000, "{told}");
}

/// Frames that are all of one length, in writes that are a multiple of it: every write begins with a frame.
#[test]
fn a_body_of_aligned_frames_invents_no_request() {
    let mut wire = Wire::new();
    wire.ask(1, 0, &[(":method", "POST"), (":scheme", "http"), (":path", "/upload")]);
    wire.ask(3, END_STREAM, &get("/a"));
    let inner: Vec<u8> = (0..256_u32)
        .flat_map(|nth| {
            let block = [&[0x82, 0x86, 0x44, 9][..], b"/invented"].concat();
            let ask = frame(1, END_HEADERS | END_STREAM, 1 + 2 * (nth % 8), &block);
            [ask, frame(8, 0, 0, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0][..4])].concat()
        })
        .collect();
    let body = data(END_STREAM, 1, &inner);
    let begins = wire.pieces.len();
    wire.request(body[..9].to_vec());
    for (nth, write) in body[9..].chunks(35 * 8).enumerate() {
        wire.request(write.to_vec());
        if nth == 2 {
            wire.answer(3, END_STREAM, &OK);
        }
    }
    wire.answer(1, END_STREAM, &OK);
    for attached in begins + 1..wire.pieces.len() {
        let mut reader = Reader::new(Role::Server);
        reader.feed_all(&wire.pieces[attached..]);
        let exchanges = reader.close();
        assert!(exchanges.is_empty(), "from {attached}: {exchanges:?}");
    }
}

const OK: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/plain")];

/// What is told of a request by POST on an older connection, on which the content types are in the tables already.
fn of_unknown_type(path: &str, answer: impl Fn(&mut Wire)) -> Http {
    let mut wire = Wire::new();
    let asked =
        |path| [(":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc")];
    let typed = [(":status", "200"), ("content-type", "application/grpc")];
    wire.ask(1, END_STREAM, &asked("/before"));
    wire.answer(1, 0, &typed);
    wire.answer(1, END_STREAM, &[("grpc-status", "0")]);
    let met = wire.pieces.len();
    wire.ask(3, END_STREAM, &asked(path));
    answer(&mut wire);
    let mut reader = Reader::at_rest(Role::Server);
    reader.feed_all(&wire.pieces[met..]);
    match &reader.close()[..] {
        [Exchange { operation: Operation::Http(http), .. }] => (**http).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_may_be_a_call_has_no_status_that_the_call_may_contradict() {
    let typed = [(":status", "200"), ("content-type", "application/grpc")];
    let http = of_unknown_type("/shop.Cart/Add", |wire| {
        wire.answer(3, 0, &typed);
        // Its status is in the table as well: it may be any.
        wire.answer(3, END_STREAM, &[("grpc-status", "0")]);
    });
    assert_eq!((http.method, http.status, http.unknown_name.is_some()), (None, None, true));
    // These are none: by their path, by how they end, by their status.
    let http = of_unknown_type("/upload", |wire| {
        wire.answer(3, END_STREAM, &typed);
    });
    assert_eq!((http.method.as_deref(), http.status), (Some("POST"), Some(200)));
    let http = of_unknown_type("/shop.Cart/Add", |wire| {
        wire.answer(3, 0, &typed);
        wire.response(frame(0, END_STREAM, 3, b"hello"));
    });
    assert_eq!((http.method.as_deref(), http.status), (Some("POST"), Some(200)));
    let http = of_unknown_type("/shop.Cart/Add", |wire| {
        wire.answer(3, END_STREAM, &[(":status", "404"), ("content-type", "application/grpc")]);
    });
    assert_eq!((http.method.as_deref(), http.status), (Some("POST"), Some(404)));
}

/// Its pieces never come after a quiet time, each response is longer than what is captured of it, and no status stands in the
/// table that everyone has.
#[test]
fn a_busy_connection_with_long_responses_is_found() {
    let mut wire = Wire::new();
    for id in (1..81).step_by(2) {
        wire.get(id, "/long");
        let block = encode(&mut wire.server, &[(":status", "418"), ("content-length", "30000")]);
        let frames = [frame(1, END_HEADERS, id, &block), data(0, id, &[b'a'; 16_384]), data(0, id, &[b'a'; 13_616])];
        wire.response(frames.concat());
        wire.response(data(END_STREAM, id, b""));
    }
    for begin in [43, 44, 45, 46, 47, 48] {
        let mut reader = Reader::new(Role::Server);
        for Moved { side, at_ns, bytes } in &wire.pieces[begin..] {
            let (data, rest) = bytes.split_at(bytes.len().min(8192));
            let (skipped, tail) = (rest.len() as u64, &rest[rest.len().saturating_sub(32)..]);
            reader.feed(*side, &Chunk { skipped, tail, ..whole(*at_ns, data) });
        }
        assert_eq!(reader.session.take_anomalies(), Anomalies::default(), "nothing is wrong");
        let found = reader.close().len();
        let all = wire.pieces[begin..].iter().filter(|piece| piece.side == Side::Requests).count();
        // Two that were answered prove what is told from then on.
        assert!(found + 4 >= all, "{found} of {all} from {begin} on");
    }
}
