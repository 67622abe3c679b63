//! Spans that a process exports.

use super::{super::*, wire::*};
use crate::{
    model::exchange::ExportedKinds,
    protocols::http::{export, message},
};

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_OK: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];
const GRPC_END: [(&str, &str); 2] = [("grpc-status", "0"), ("grpc-message", "")];

fn kinds(kinds: &[u64]) -> ExportedKinds {
    let mut all = ExportedKinds::default();
    kinds.iter().for_each(|kind| all.add(*kind));
    all
}

/// A call with that message, behind its head.
fn call(wire: &mut Wire, stream: u32, path: &str, content: &[u8]) {
    wire.call(stream, path);
    wire.request(data(END_STREAM, stream, content));
    wire.answer(stream, 0, &GRPC_OK);
    wire.answer(stream, END_STREAM, &GRPC_END);
}

fn exported(role: Role, wire: &Wire) -> (Vec<ExportedKinds>, Vec<u32>) {
    let mut reader = Reader::new(role);
    reader.feed_all(&wire.pieces);
    let content = reader.content.clone();
    (reader.close().iter().map(|exchange| exchange.operation.exported_kinds()).collect(), content)
}

#[test]
fn what_a_client_exports_is_looked_into_until_all_is_known() {
    let mut wire = Wire::new();
    call(&mut wire, 1, "/p.S/Export", &message(0, &export(&[2])));
    call(&mut wire, 3, PATH, &message(0, &export(&[2])));
    call(&mut wire, 5, PATH, &message(0, &export(&[1, 3])));
    // Another batch has other kinds in it, and is not looked into any more.
    call(&mut wire, 7, PATH, &message(0, &export(&[1])));
    let told = [kinds(&[]), kinds(&[2]), kinds(&[1, 2, 3]), kinds(&[1, 2, 3])];
    assert_eq!(exported(Role::Client, &wire), (told.to_vec(), vec![CONTENT, 0]));
    // What comes in is another's.
    assert_eq!(exported(Role::Server, &wire), (vec![kinds(&[]); 4], vec![]));
}

#[test]
fn what_was_not_captured_ends_what_is_known_of_a_message() {
    let sent = message(0, &export(&[2, 3]));
    for (captured, expected) in [(sent.len() / 4, kinds(&[2])), (3, kinds(&[]))] {
        let mut wire = Wire::new();
        wire.call(1, PATH);
        let mut reader = Reader::new(Role::Client);
        reader.feed_all(&wire.pieces);
        let bytes = data(END_STREAM, 1, &sent);
        let captured = 9 + captured;
        let tail = &bytes[bytes.len() - 32..];
        let skipped = (bytes.len() - captured) as u64;
        reader.feed(Side::Requests, &Chunk { skipped, tail, ..whole(9000, &bytes[..captured]) });
        wire.pieces.clear();
        wire.answer(1, 0, &GRPC_OK);
        wire.answer(1, END_STREAM, &GRPC_END);
        reader.feed_all(&wire.pieces);
        let exchanges = reader.close();
        assert_eq!(exchanges.iter().map(|it| it.operation.exported_kinds()).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn a_message_goes_on_in_further_frames_and_padding_is_not_read() {
    let sent = message(0, &export(&[2, 3]));
    let mut wire = Wire::new();
    wire.call(1, PATH);
    for (at, part) in sent.chunks(50).enumerate() {
        let flags = if (at + 1) * 50 >= sent.len() { END_STREAM } else { 0 };
        wire.request(data(flags, 1, part));
    }
    wire.answer(1, 0, &GRPC_OK);
    wire.answer(1, END_STREAM, &GRPC_END);
    assert_eq!(exported(Role::Client, &wire).0, [kinds(&[2, 3])]);
    let mut wire = Wire::new();
    wire.call(1, PATH);
    wire.request(data(END_STREAM | PADDED, 1, &[&[0][..], &sent].concat()));
    wire.answer(1, 0, &GRPC_OK);
    wire.answer(1, END_STREAM, &GRPC_END);
    assert_eq!(exported(Role::Client, &wire).0, [kinds(&[])]);
}

#[test]
fn of_a_connection_that_is_older_a_call_without_a_name_shows_by_its_content() {
    let attached = |paths: &dyn Fn(u32) -> (&'static str, Vec<u8>)| {
        let mut wire = Wire::new();
        let (path, content) = paths(0);
        call(&mut wire, 1, path, &content);
        let before = wire.pieces.len();
        for number in 1..40 {
            let (path, content) = paths(number);
            call(&mut wire, 2 * number + 1, path, &content);
        }
        let mut reader = Reader::at_rest(Role::Client);
        reader.feed_all(&wire.pieces[before..]);
        let content = reader.content.clone();
        let exchanges = reader.close();
        assert!(exchanges.iter().all(|it| match &it.operation {
            Operation::Rpc(rpc) => rpc.method.is_none(),
            Operation::Http(http) => http.target.is_none(),
            _ => false,
        }));
        (exchanges.iter().map(|it| it.operation.exported_kinds()).collect::<Vec<_>>(), content)
    };
    let (kinds_of, content) = attached(&|number| (PATH, message(0, &export(&[if number % 2 == 0 { 2 } else { 3 }]))));
    assert_eq!(kinds_of.len(), 39);
    let expected = |at: usize| kinds(&[if at % 2 == 0 { 3 } else { 2 }]);
    assert!(kinds_of.iter().enumerate().all(|(at, it)| *it == expected(at)), "{kinds_of:?}");
    assert_eq!(content, [CONTENT], "each of them is to be known");
    // Any other is looked into for a while.
    let (kinds_of, content) = attached(&|_| ("/p.S/Export", message(0, b"\x0a\x03abc")));
    assert!(kinds_of.iter().all(|it| it.is_empty()));
    assert_eq!(content, [CONTENT, 0]);
}
