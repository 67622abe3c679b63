//! However a connection falls into pieces, the same is told.

use proptest::prelude::*;

use super::{super::*, wire::*};

/// A connection of every kind of frame, in the two directions' bytes and the order of writes.
fn conversation() -> Wire {
    let mut wire = Wire::new();
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/up"), ("content-length", "3000")];
    wire.ask(1, 0, &post);
    wire.request(data(0, 1, &[1; 2000]));
    wire.call(3, "/pkg.Svc/Do");
    wire.request([data(0, 1, &[1; 1000]), data(END_STREAM, 1, &[])].concat());
    wire.request(data(END_STREAM, 3, &[0, 0, 0, 0, 1, 7]));
    wire.response(frame(8, 0, 0, &[0, 0, 16, 0]));
    wire.answer(3, 0, &[(":status", "200"), ("content-type", "application/grpc")]);
    wire.answer(1, 0, &[(":status", "100")]);
    let block = encode(&mut wire.client, &get("/in-continuations"));
    wire.request([frame(1, END_STREAM, 5, &block[..3]), frame(9, END_HEADERS, 5, &block[3..])].concat());
    wire.answer(1, 0, &[(":status", "201"), ("content-type", "text/plain")]);
    wire.response([data(0, 3, &[0; 700]), data(0, 1, &[7; 300])].concat());
    wire.response(frame(6, 0, 0, &[9; 8]));
    wire.answer(3, END_STREAM, &[("grpc-status", "4"), ("grpc-message", "late")]);
    wire.response(data(END_STREAM, 1, &[7; 16_000]));
    wire.get(7, "/cancelled");
    wire.request(rst(7, 8));
    wire.answer(5, END_STREAM, &[(":status", "404")]);
    let promise = [&[0, 0, 0, 2][..], &encode(&mut wire.server, &[(":method", "GET"), (":path", "/p")])].concat();
    wire.get(9, "/page");
    wire.response(frame(5, END_HEADERS, 9, &promise));
    wire.get(11, "/never");
    wire.answer(9, END_STREAM, &[(":status", "200"), ("x-new", "1")]);
    wire.response(frame(7, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 0]));
    wire
}

/// Exchanges without their times, which depend on the pieces.
fn timeless(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
    for exchange in &mut exchanges {
        exchange.start_ns = 0;
        exchange.first_byte_ns = exchange.first_byte_ns.map(|_| 0);
        exchange.end_ns = 0;
    }
    exchanges
}

/// Cuts each piece into pieces of the given lengths, which are used round and round, at the same moment.
fn split(pieces: &[Moved], lengths: &[usize], same_time: bool) -> Vec<Moved> {
    let mut lengths = lengths.iter().cycle();
    let mut split = Vec::new();
    for piece in pieces {
        let mut rest = &piece.bytes[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at((*lengths.next().unwrap()).clamp(1, rest.len()));
            let at_ns = if same_time { piece.at_ns } else { 1000 + split.len() as u64 };
            split.push(Moved { side: piece.side, at_ns, bytes: part.to_vec() });
            rest = after;
        }
    }
    split
}

fn exchanges(pieces: &[Moved]) -> Vec<Exchange> {
    let mut reader = Reader::new(Role::Server);
    reader.feed_all(pieces);
    reader.close()
}

#[test]
fn single_bytes_tell_the_same_as_whole_writes() {
    let wire = conversation();
    let expected = wire.exchanges();
    assert_eq!(expected.len(), 6);
    assert_eq!(exchanges(&split(&wire.pieces, &[1], true)), expected);
}

#[test]
fn one_piece_per_direction_tells_the_same_apart_from_times() {
    let mut wire = Wire::new();
    wire.pieces.clear();
    let mut all = [Vec::new(), Vec::new()];
    for piece in conversation().pieces {
        all[usize::from(piece.side == Side::Responses)].extend(piece.bytes);
    }
    let [requests, responses] = all;
    wire.request(requests);
    wire.response(responses);
    let mut expected = timeless(conversation().exchanges());
    let mut told = timeless(wire.exchanges());
    // Those that the client ended come first now.
    let key = |exchange: &Exchange| format!("{:?}", exchange.operation);
    expected.sort_by_key(key);
    told.sort_by_key(key);
    assert_eq!(told, expected);
}

proptest! {
    #[test]
    fn any_split_tells_the_same(lengths in prop::collection::vec(1_usize..3000, 1..30)) {
        let wire = conversation();
        let expected = wire.exchanges();
        prop_assert_eq!(exchanges(&split(&wire.pieces, &lengths, true)), &expected[..]);
    }

    #[test]
    fn payload_that_was_not_captured_is_not_missed(captured in 9_usize..200, tail in 0_usize..60, lost: bool) {
        let wire = conversation();
        let mut reader = Reader::new(Role::Server);
        for piece in &wire.pieces {
            let mut chunk = whole(piece.at_ns, &piece.bytes);
            // Only pieces of one DATA frame: what else is cut loses headers.
            if piece.bytes[3] == 0 && piece.bytes.len() == 9 + u32::from_be_bytes([0, piece.bytes[0], piece.bytes[1], piece.bytes[2]]) as usize {
                let captured = captured.min(piece.bytes.len());
                let tail = tail.min(piece.bytes.len() - captured);
                chunk.data = &piece.bytes[..captured];
                chunk.skipped = (piece.bytes.len() - captured) as u64;
                chunk.tail = &piece.bytes[piece.bytes.len() - tail..];
                chunk.lost = lost;
            }
            reader.feed(piece.side, &chunk);
        }
        prop_assert_eq!(reader.close(), wire.exchanges());
    }

    #[test]
    fn mutations_neither_panic_nor_grow(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..20),
        skips in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..5000, any::<bool>()), 0..5),
        lengths in prop::collection::vec(1_usize..3000, 1..30),
    ) {
        let mut pieces = split(&conversation().pieces, &lengths, false);
        for (piece, byte, value) in mutations {
            let piece = piece.get_mut(&mut pieces[..]);
            *byte.get_mut(&mut piece.bytes[..]) = value;
        }
        let mut reader = Reader::new(Role::Client);
        for (nth, piece) in pieces.iter().enumerate() {
            let mut chunk = whole(piece.at_ns, &piece.bytes);
            for (at, skipped, lost) in &skips {
                if at.index(pieces.len()) == nth {
                    (chunk.skipped, chunk.lost) = (*skipped, *lost);
                }
            }
            reader.feed(piece.side, &chunk);
            prop_assert!(reader.session.memory() < 1024 * 1024);
        }
        reader.close();
    }

    #[test]
    fn random_pieces_neither_panic_nor_grow(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..100), 0_u64..100, any::<bool>()), 0..50),
        preface: bool,
    ) {
        let mut reader = Reader::new(Role::Server);
        if preface {
            reader.feed(Side::Requests, &whole(1, PREFACE));
        }
        for (nth, (is_request, bytes, skipped, lost)) in pieces.iter().enumerate() {
            let side = if *is_request { Side::Requests } else { Side::Responses };
            let chunk = Chunk { skipped: *skipped, lost: *lost, ..whole(nth as u64, bytes) };
            reader.feed(side, &chunk);
            prop_assert!(reader.session.memory() < 256 * 1024);
        }
        reader.close();
    }
}
