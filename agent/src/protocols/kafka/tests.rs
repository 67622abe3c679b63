use std::io::Write as _;

use super::{samples::*, *};
use crate::{
    model::{
        exchange::{Exchange, Messaging, Outcome, Pattern},
        ids::ProcessId,
        trace_context::TraceParent,
    },
    protocols::{
        End, Interest,
        conformance::Sender,
        testing::{Random, Wire},
    },
};

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01";

/// A client's connection.
struct Client {
    wire: Wire,
}

impl Client {
    fn new() -> Self {
        let mut wire = Wire::new(open(Role::Client));
        wire.thread.tgid = ProcessId(7);
        Self { wire }
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, lost: bool) {
        assert_eq!(self.wire.piece(by, data, skipped, &[], lost), Interest::Parse);
    }

    fn asks(&mut self, data: &[u8]) -> &mut Self {
        self.piece(Sender::Client, data, 0, false);
        self
    }

    fn hears(&mut self, data: &[u8]) -> &mut Self {
        self.piece(Sender::Server, data, 0, false);
        self
    }

    fn end(&mut self, end: End) -> Vec<(Exchange, Messaging)> {
        self.wire.end_of_messages(end)
    }
}

fn context(text: &str) -> TraceParent {
    TraceParent::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_batch_has_its_partition_and_a_message_its_offset_and_size() {
    let mut client = Client::new();
    client.asks(&produce(9, 1, -1, "orders", &[(3, plain(0, &[b"secret"])), (4, plain(0, &[b"secret", b"secret"]))]));
    client.hears(&produced(9, 1, "orders", &[(3, 0, 41), (4, 0, 17)]));
    let told = client.end(End::Closed);
    let [(one, first), (_, second)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((one.outcome, one.pattern), (Outcome::Complete, Pattern::RequestResponse));
    assert_eq!((first.destination.as_deref(), first.partition.as_deref()), (Some("orders"), Some("3")));
    assert_eq!((first.messages, first.body_bytes, first.offset), (Some(1), Some(6), Some(41)));
    assert_eq!((second.messages, second.body_bytes, second.offset), (Some(2), None, None));
    assert_eq!(first.client_id.as_deref(), Some("shop"));
    assert!(!format!("{told:?}").contains("secret"));
}

#[test]
fn without_acknowledgements_sending_is_one_way() {
    let mut client = Client::new();
    client.asks(&produce(9, 1, 0, "orders", &[(0, plain(0, &[b"1"]))]));
    client.asks(&produce(9, 2, 1, "orders", &[(0, plain(0, &[b"2", b"3"]))]));
    client.hears(&produced(9, 2, "orders", &[(0, 0, 1)]));
    let told: Vec<_> = client.end(End::Closed).into_iter().map(|(it, _)| (it.pattern, it.outcome)).collect();
    assert_eq!(told, [(Pattern::OneWay, Outcome::Complete), (Pattern::RequestResponse, Outcome::Complete)]);
}

#[test]
fn a_fetch_that_waits_in_vain_is_not_told_and_a_session_goes_on() {
    let mut client = Client::new();
    client.asks(&fetch(1, (0, 0), &[("orders", 0, 5), ("orders", 1, 0)])).hears(&fetched(1, 9, 0, &[]));
    // Batches come whole, also where a part was asked for.
    let given =
        fetched(2, 9, 0, &[("orders", 0, 0, [plain(3, &[b"a", b"b", b"c", b"d"]), plain(7, &[b"e"])].concat())]);
    client.asks(&fetch(2, (9, 1), &[])).hears(&given);
    client.asks(&fetch(3, (9, 2), &[("orders", 0, 8)])).hears(&fetched(3, 9, 0, &[("orders", 1, 1, Vec::new())]));
    client.asks(&fetch(4, (9, 3), &[])).hears(&fetched(4, 0, 70, &[]));
    client.asks(&fetch(5, (0, 0), &[("orders", 0, 8)]));
    let told: Vec<_> = client
        .end(End::Closed)
        .into_iter()
        .map(|(_, it)| (it.partition.unwrap_or_default(), it.messages, it.offset, it.error.unwrap_or_default()))
        .collect();
    let expected: [(&str, Option<u64>, Option<i64>, &str); 3] = [
        ("0", Some(3), None, ""),
        ("1", Some(0), None, "OFFSET_OUT_OF_RANGE"),
        ("", None, None, "FETCH_SESSION_ID_NOT_FOUND"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!((&*told.0, told.1, told.2, &*told.3), expected);
    }
}

#[test]
fn the_context_of_a_message_is_the_parent_of_sending_it_and_linked_to_where_it_is_fetched() {
    let headers = [("other", "x"), ("traceparent", CONTEXT)];
    let one = records(&[Message(b"v", &headers)]);
    let two = records(&[Message(b"v", &headers), Message(b"w", &[("traceparent", OTHER)]), Message(b"x", &headers)]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&two).unwrap();
    let packed = packed.finish().unwrap();
    let mut client = Client::new();
    client.asks(&produce(9, 1, 1, "orders", &[(0, batch(0, 0, 1, &one)), (1, batch(0, 1, 3, &packed))]));
    client.hears(&produced(9, 1, "orders", &[(0, 0, 0), (1, 0, 0)]));
    client.asks(&fetch(2, (0, -1), &[("orders", 0, 0)]));
    client.hears(&fetched(2, 0, 0, &[("orders", 0, 0, batch(0, 0, 1, &one))]));
    let told = client.end(End::Closed);
    let [(send, sent), (sends, sent_many), (poll, polled)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((send.parent, sent.links.len(), sent.carries_context), (Some(context(CONTEXT)), 0, true));
    assert_eq!((sends.parent, sent_many.messages), (None, Some(3)));
    assert_eq!(sent_many.links, [context(CONTEXT), context(OTHER)]);
    assert_eq!((poll.parent, &polled.links[..]), (None, &[context(CONTEXT)][..]));
}

#[test]
fn messages_that_could_not_be_counted_are_counted_as_lost_by_what_is_asked_for_next() {
    let lost = |client: &mut Client| client.wire.session.take_anomalies().requests_lost;
    let mut client = Client::new();
    let given = fetched(1, 0, 0, &[("orders", 0, 0, [plain(5, &[b"a"]), plain(6, &[&[b'v'; 9000]])].concat())]);
    client.asks(&fetch(1, (0, -1), &[("orders", 0, 5), ("orders", 1, 40)]));
    let (head, rest) = given.split_at(given.len() - 9000);
    // All of the first batch, and not the head of the second.
    let head = &head[..head.len() - 60];
    client.wire.piece(Sender::Server, head, rest.len() as u64 + 60, &[], false);
    assert_eq!(lost(&mut client), 0);
    // And what stood behind that was of the other partition.
    client.asks(&fetch(2, (0, -1), &[("orders", 0, 7), ("orders", 1, 44)])).hears(&fetched(2, 0, 0, &[]));
    assert_eq!(lost(&mut client), 2 + 4);
    let told: Vec<_> = client.end(End::Closed).into_iter().map(|(_, it)| it.messages).collect();
    assert_eq!(told, [None]);
}

#[test]
fn ends_of_transactions_are_no_messages() {
    let mark = batch(3, 1 << 5, 1, &records(&[Message(b"", &[])]));
    let mut client = Client::new();
    client.asks(&fetch(1, (0, -1), &[("orders", 0, 0)]));
    client.hears(&fetched(1, 0, 0, &[("orders", 0, 0, [plain(0, &[b"a", b"b"]), mark.clone()].concat())]));
    client.asks(&fetch(2, (0, -1), &[("orders", 0, 3)]));
    client.hears(&fetched(2, 0, 0, &[("orders", 0, 0, mark)]));
    let told: Vec<_> = client.end(End::Closed).into_iter().map(|(_, it)| it.messages).collect();
    assert_eq!(told, [Some(2)]);
}

#[test]
fn a_topic_by_its_number_has_the_name_that_the_process_was_told() {
    let id = [7; 16];
    let asks = |correlation: i32, version: i16| {
        let body =
            [head(0, version, correlation), vec![0, 0, 1, 0, 0, 0, 9, 2], id.to_vec(), vec![2, 0, 0, 0, 0]].concat();
        let records = plain(0, &[b"v"]);
        framed(&[&body, &varint(records.len() as u64 + 1), &records, &[0, 0, 0]])
    };
    let answers = |correlation: i32| {
        let body =
            [&correlation.to_be_bytes()[..], &[0, 2], &id, &[2, 0, 0, 0, 0, 0, 0], &[0; 24], &[1, 0, 0, 0]].concat();
        framed(&[&body, &[0; 4], &[0]])
    };
    let mut client = Client::new();
    client.asks(&asks(1, 13)).hears(&answers(1));
    let metadata = [head(3, 12, 2), vec![0, 1, 0, 0]].concat();
    let broker = [&[0, 0, 0, 1][..], &compact("host"), &[0, 0, 1, 1, 0, 0]].concat();
    let partition = [&[0; 10][..], &[0; 4], &[2, 0, 0, 0, 1], &[1], &[1], &[0]].concat();
    let topic = [&[0, 0][..], &compact("orders"), &id, &[0, 2], &partition, &[0; 4], &[0]].concat();
    let told =
        [&[0, 0, 0, 2, 0][..], &[0; 4], &[2], &broker, &compact("cluster"), &[0, 0, 0, 1], &[2], &topic, &[0]].concat();
    client.asks(&framed(&[&metadata])).hears(&framed(&[&told]));
    client.asks(&asks(3, 13)).hears(&answers(3));
    let told: Vec<_> = client.end(End::Closed).into_iter().map(|(_, it)| (it.destination, it.messages)).collect();
    assert_eq!(told, [(None, Some(1)), (Some("orders".into()), Some(1))]);
}

#[test]
fn what_is_left_out_of_a_batch_is_passed_over() {
    let mut client = Client::new();
    let large = produce(9, 1, 1, "orders", &[(0, plain(0, &[&[b'v'; 50_000]])), (1, plain(0, &[b"1", b"2"]))]);
    client.piece(Sender::Client, &large[..300], 40_000, false);
    client.asks(&large[40_300..]).hears(&produced(9, 1, "orders", &[(0, 0, 5), (1, 6, -1)]));
    let told: Vec<_> = client.end(End::Closed).into_iter().map(|(_, it)| (it.messages, it.error.is_some())).collect();
    assert_eq!(told, [(Some(1), false), (Some(2), true)]);
    let mut client = Client::new();
    client.piece(Sender::Client, &large[..30], large.len() as u64 - 30, false);
    client.hears(&produced(9, 1, "orders", &[(0, 0, 5), (1, 6, -1)]));
    let told = client.end(End::Closed);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.outcome, told[0].1.destination.as_deref()), (Outcome::Complete, Some("orders")), "{told:?}");
    assert_eq!(
        (told[0].1.partition.as_deref(), &*told[0].1.error.clone().unwrap()),
        (None, "NOT_LEADER_OR_FOLLOWER"),
        "{told:?}"
    );
}

#[test]
fn it_goes_on_behind_what_was_lost() {
    let mut client = Client::new();
    client.asks(&produce(9, 1, 1, "a", &[(0, plain(0, &[b"1"]))]));
    client.piece(Sender::Client, &[], 500, true);
    client.asks(&[9; 20]);
    client.asks(&produce(9, 8, 1, "b", &[(0, plain(0, &[b"1"]))]));
    client.hears(&produced(9, 1, "a", &[(0, 0, 0)])).hears(&produced(9, 7, "lost", &[(0, 0, 0)]));
    client.hears(&produced(9, 8, "b", &[(0, 0, 0)]));
    let told: Vec<_> = client.end(End::Closed).into_iter().map(|(it, _)| it.outcome).collect();
    assert_eq!(told, [Outcome::Complete; 2]);
}

#[test]
fn random_bytes_are_no_request() {
    let mut random = Random(0xaffe);
    let mut taken = 0;
    for _ in 0..3_000_000 {
        let head: [u8; 24] = std::array::from_fn(|_| random.next() as u8);
        taken += u32::from(recognise(&head) == Recognition::Request);
    }
    assert_eq!(taken, 0);
}

#[test]
fn junk_in_records_neither_panics_nor_counts_more_than_there_is() {
    let mut random = Random(0xbad);
    let clean = plain(5, &[b"one", b"two", b"three"]);
    for _ in 0..20_000 {
        let mut bytes = clean.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let from = random.one_in(2).then(|| random.next().cast_signed());
        let read = batch::read(crate::protocols::sized::Cursor::of(&bytes), from);
        assert!(read.messages.is_none_or(|messages| messages <= 1 << 32), "{read:?}");
    }
}

#[test]
fn who_fetches_again_is_done_with_what_came_before_and_one_message_is_told_from_several() {
    let mut client = Client::new();
    let message = |offset: i64| fetched(1, 9, 0, &[("orders", 0, 0, plain(offset, &[b"a"]))]);
    client.asks(&fetch(1, (0, 0), &[("orders", 0, 5)])).hears(&message(5));
    client.asks(&fetch(1, (9, 1), &[("orders", 0, 6)])).hears(&fetched(1, 9, 0, &[]));
    client.asks(&fetch(1, (9, 2), &[])).hears(&fetched(1, 9, 0, &[("orders", 0, 0, plain(6, &[b"a", b"b"]))]));
    // What stands before may still be handed out.
    client.asks(&fetch(1, (9, 3), &[])).hears(&fetched(1, 9, 0, &[("orders", 1, 0, plain(0, &[b"a"]))]));
    client.asks(&fetch(1, (9, 4), &[("orders", 0, 8), ("orders", 1, 1)]));
    client.hears(&fetched(1, 9, 0, &[("orders", 0, 0, plain(8, &[b"a"])), ("orders", 1, 0, plain(1, &[b"a"]))]));
    client.asks(&fetch(1, (9, 5), &[("orders", 0, 9), ("orders", 1, 2)])).hears(&fetched(1, 0, 70, &[]));
    let [first, polled @ ..] = &client.wire.told.polled[..] else { panic!() };
    assert!(first.is_first && polled.iter().all(|it| !it.is_first));
    let polled: Vec<_> = polled.iter().map(|it| (it.brought.is_some(), it.is_batch, it.is_unclear)).collect();
    let (nothing, one, several, unclear) =
        ((false, false, false), (true, false, false), (true, true, false), (false, false, true));
    assert_eq!(polled, [one, nothing, several, unclear, unclear, nothing]);
    client.end(End::Closed);
}

#[test]
fn a_partition_that_stands_in_what_was_not_captured_is_named_by_the_response() {
    let large = produce(9, 1, 1, "orders", &[(0, plain(0, &[&[b'v'; 50_000]])), (7, plain(0, &[&[b'v'; 50_000]]))]);
    for (lost, expected) in
        [(false, (Outcome::Complete, Some("orders"), Some("7"))), (true, (Outcome::Unseen, None, None))]
    {
        let mut client = Client::new();
        client.piece(Sender::Client, &large[..300], large.len() as u64 - 300, lost);
        client.hears(&produced(9, 1, "orders", &[(0, 0, 5), (7, 0, 9)]));
        let told = client.end(End::Closed);
        let [_, (exchange, cut)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((exchange.outcome, cut.destination.as_deref(), cut.partition.as_deref()), expected, "{told:?}");
        assert_eq!((cut.messages, cut.offset), (None, None), "how many there were is not known");
    }
}
