use proptest::prelude::*;

use super::{
    NAME, open, recognise,
    samples::{Bson, document, message, msg, query, reply, section},
};
use crate::{
    model::{
        exchange::{Db, Exchange, Operation, Outcome, Pattern},
        net::Role,
    },
    protocols::{
        End, REGISTRY, Recognition,
        conformance::Sender::{self, Client, Server},
        testing::{Random, Wire},
    },
};

use Bson::{Array, Double, Int, Text};

struct Conversation {
    wire: Wire,
}

impl Conversation {
    fn new() -> Self {
        Self { wire: Wire::new(open(Role::Client)) }
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, lost: bool) {
        self.wire.piece(by, data, skipped, &[], lost);
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) {
        self.piece(Client, bytes.as_ref(), 0, false);
    }

    fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        self.piece(Server, bytes.as_ref(), 0, false);
    }

    fn end(mut self) -> Vec<String> {
        self.wire.end(End::Closed).iter().map(short).collect()
    }
}

fn db(exchange: &Exchange) -> &Db {
    let Operation::Db(db) = &exchange.operation else { panic!("{exchange:?}") };
    assert_eq!((exchange.protocol, db.system), (NAME, NAME));
    db
}

/// What was asked of which collection, how much of it, what came back, outcome.
fn short(exchange: &Exchange) -> String {
    let db = db(exchange);
    let text = |text: &Option<compact_str::CompactString>| text.as_deref().unwrap_or("?").to_owned();
    let batch = db.batch_size.map(|size| format!(" x{size}")).unwrap_or_default();
    let rows = db.returned_rows.map(|rows| format!(" = {rows}")).unwrap_or_default();
    let failed = if db.failed { format!(" failed {}", text(&db.status)) } else { String::new() };
    let outcome = match exchange.outcome {
        Outcome::Complete if exchange.pattern == Pattern::OneWay => " unanswered".to_owned(),
        Outcome::Complete => String::new(),
        other => format!(" {other:?}"),
    };
    format!("{} {}.{}{batch}{rows}{failed}{outcome}", text(&db.operation), text(&db.namespace), text(&db.collection))
}

fn ok() -> Vec<(&'static str, Bson)> {
    vec![("ok", Double(1.0))]
}

#[test]
fn commands_are_told_with_collection_database_and_what_failed() {
    let mut it = Conversation::new();
    it.ask(query(1, vec![("isMaster", Int(1))]));
    it.answer(reply(50, 1, 0, ok()));
    it.ask(msg(2, 0, 0, vec![("find", Text("orders")), ("filter", Bson::Document(vec![])), ("$db", Text("shop"))]));
    let batch = vec![Bson::Document(vec![("_id", Int(1))]), Bson::Document(vec![("_id", Int(2))])];
    let cursor = Bson::Document(vec![("firstBatch", Array(batch)), ("id", Bson::Long(9))]);
    it.answer(msg(51, 2, 0, vec![("cursor", cursor), ("ok", Double(1.0))]));
    it.ask(msg(3, 0, 0, vec![("getMore", Bson::Long(9)), ("collection", Text("orders")), ("$db", Text("shop"))]));
    it.answer(msg(52, 3, 0, vec![("ok", Double(0.0)), ("errmsg", Text("no cursor")), ("code", Int(43))]));
    it.ask(msg(4, 0, 0, vec![("ping", Int(1)), ("$db", Text("admin"))]));
    it.answer(msg(53, 4, 0, ok()));
    let error = Bson::Document(vec![("index", Int(0)), ("code", Int(11000)), ("errmsg", Text("secret"))]);
    it.ask(msg(
        5,
        0,
        0,
        vec![("insert", Text("orders")), ("documents", Array(vec![Bson::Document(vec![]), Bson::Document(vec![])]))],
    ));
    it.answer(msg(54, 5, 0, vec![("n", Int(0)), ("writeErrors", Array(vec![error])), ("ok", Double(1.0))]));
    it.ask(msg(6, 0, 2, vec![("delete", Text("orders")), ("$db", Text("shop"))]));
    assert_eq!(
        it.end(),
        [
            "isMaster admin.?",
            "find shop.orders = 2",
            "getMore shop.orders failed 43",
            "ping admin.?",
            "insert ?.orders x2 failed 11000",
            "delete shop.orders unanswered",
        ]
    );
}

#[test]
fn a_list_of_documents_is_a_batch_if_all_of_it_was_seen() {
    let documents: Vec<_> =
        (0..40).map(|number| document(vec![("_id", Int(number)), ("value", Bson::Binary(1000))])).collect();
    let insert = |id, count: usize| {
        let body = [
            &1_u32.to_le_bytes()[..],
            &[0],
            &document(vec![("insert", Text("orders")), ("$db", Text("shop"))]),
            &section("documents", &documents[..count]),
            // Its checksum.
            &[1; 4],
        ];
        message(id, 0, 2013, &body.concat())
    };
    let mut it = Conversation::new();
    it.ask(insert(1, 5));
    it.ask(insert(2, 1));
    let long = insert(3, 40);
    it.piece(Client, &long[..8192], long.len() as u64 - 8192, false);
    it.ask(insert(4, 2));
    (1..5).for_each(|id| it.answer(msg(50 + id, id, 0, ok())));
    assert_eq!(
        it.end(),
        ["insert shop.orders x5", "insert shop.orders", "insert shop.orders", "insert shop.orders x2"]
    );
}

#[test]
fn answers_that_follow_without_being_asked_for_belong_to_who_allowed_it() {
    let batch = |count: usize| {
        let batch = Array((0..count).map(|_| Bson::Document(vec![])).collect());
        vec![("cursor", Bson::Document(vec![("nextBatch", batch)])), ("ok", Double(1.0))]
    };
    let mut it = Conversation::new();
    it.ask(msg(1, 0, 1 << 16, vec![("getMore", Bson::Long(1)), ("collection", Text("a")), ("$db", Text("d"))]));
    it.answer(msg(50, 1, 2, batch(3)));
    it.answer(msg(51, 50, 2, batch(4)));
    it.answer(msg(52, 51, 0, batch(2)));
    // A server says how it is for as long as somebody listens.
    it.ask(msg(2, 0, 1 << 16, vec![("hello", Int(1)), ("$db", Text("admin"))]));
    it.answer(msg(60, 2, 2, ok()));
    it.answer(msg(61, 60, 2, ok()));
    it.answer(msg(62, 61, 2, ok()));
    assert_eq!(it.wire.session.take_anomalies().unmatched_responses, 0);
    assert_eq!(it.end(), ["getMore d.a = 9", "hello admin.?"]);
}

#[test]
fn compressed_messages_are_unpacked_or_named() {
    use std::io::Write as _;
    let plain =
        [&0_u32.to_le_bytes()[..], &[0], &document(vec![("find", Text("orders")), ("$db", Text("shop"))])].concat();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&plain).unwrap();
    let packed = |id, answers, by: u8, data: &[u8]| {
        let head = [&2013_i32.to_le_bytes()[..], &(plain.len() as i32).to_le_bytes(), &[by]].concat();
        message(id, answers, 2012, &[&head[..], data].concat())
    };
    let mut it = Conversation::new();
    it.ask(packed(1, 0, 2, &zlib.finish().unwrap()));
    it.answer(packed(50, 1, 1, b"snappy"));
    it.ask(packed(2, 0, 3, b"zstd"));
    it.answer(packed(51, 2, 3, b"zstd"));
    it.ask(packed(3, 0, 2, b"no zlib"));
    it.answer(packed(
        52,
        3,
        0,
        &[&0_u32.to_le_bytes()[..], &[0], &document(vec![("ok", Double(0.0)), ("code", Int(5))])].concat(),
    ));
    let mut told = std::mem::take(&mut it.wire.told).finished();
    let texts: Vec<_> =
        told.iter().map(|exchange| db(exchange).text.as_deref().unwrap_or_default().to_owned()).collect();
    let size = plain.len();
    assert_eq!(
        texts[1..],
        [format!("compressed with zstd, {size} bytes"), format!("compressed with zlib, {size} bytes")]
    );
    assert_eq!(short(&told.remove(0)), "find shop.orders");
    assert_eq!(short(&told.remove(1)), "? ?.? failed 5");
}

#[test]
fn values_are_not_told() {
    let told = |elements| {
        let mut it = Conversation::new();
        it.ask(msg(1, 0, 0, elements));
        it.answer(msg(2, 1, 0, ok()));
        db(&std::mem::take(&mut it.wire.told).finished()[0]).text.as_deref().unwrap_or("-").to_owned()
    };
    let within = || Array(vec![Text("secret"), Text("secret"), Int(7)]);
    let filter = Bson::Document(vec![("name", Text("secret")), ("age", Bson::Document(vec![("$in", within())]))]);
    assert_eq!(
        told(vec![
            ("find", Text("people")),
            ("filter", filter),
            ("limit", Int(5)),
            ("lsid", Bson::Document(vec![("id", Text("secret"))])),
            ("comment", Text("secret")),
            ("$db", Text("shop")),
        ]),
        r#"{"find": "people", "filter": {"name": ?, "age": {"$in": [?]}}, "limit": ?}"#
    );
    let stage = Bson::Document(vec![("$match", Bson::Document(vec![("a", Text("secret"))]))]);
    assert_eq!(
        told(vec![("aggregate", Text("people")), ("pipeline", Array(vec![stage]))]),
        r#"{"aggregate": "people", "pipeline": [{"$match": {"a": ?}}]}"#
    );
    assert_eq!(
        told(vec![("insert", Text("people")), ("documents", Array(vec![Bson::Document(vec![("secret", Int(1))])]))]),
        r#"{"insert": "people"}"#
    );
    assert_eq!(told(vec![("saslStart", Int(1)), ("payload", Text("secret"))]), "-");
    assert_eq!(told(vec![("createUser", Text("secret")), ("pwd", Text("secret"))]), "-");
    assert_eq!(told(vec![("bad name", Text("secret"))]), "-");
    let deep = |depth| {
        (0..depth)
            .fold(Bson::Document(vec![]), |within, _| Bson::Document(vec![("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", within)]))
    };
    assert!(told(vec![("find", Text("people")), ("filter", deep(100))]).len() < 400);
    let wide = Array((0..500).map(|_| deep(6)).collect());
    assert!(told(vec![("aggregate", Text("people")), ("pipeline", wide)]).len() < 1500);
}

#[test]
fn what_is_lost_is_found_again_at_the_next_message() {
    let find = |id, collection| msg(id, 0, 0, vec![("find", Text(collection)), ("$db", Text("d"))]);
    let mut it = Conversation::new();
    it.ask(find(1, "a"));
    it.piece(Server, &[], 40, true);
    it.answer(b"the rest of something");
    it.ask(find(2, "b"));
    it.answer(msg(50, 2, 0, ok()));
    it.piece(Client, &find(3, "c")[..10], 500, true);
    it.ask(find(4, "d"));
    it.answer([msg(51, 3, 0, ok()), msg(52, 4, 0, ok())].concat());
    assert_eq!(it.end(), ["find d.a Unseen", "find d.b", "find d.d"]);
    let mut it = Conversation::new();
    it.wire.session.begin_in_use(false);
    it.answer(&msg(49, 7, 0, ok())[3..]);
    it.ask(find(1, "a"));
    it.answer([msg(50, 77, 0, ok()), msg(51, 1, 0, ok())].concat());
    assert_eq!(it.end(), ["find d.a"]);
}

#[test]
fn what_is_recognised() {
    let find = msg(1, 0, 0, vec![("find", Text("a")), ("$db", Text("d"))]);
    let answered = msg(9, 1, 0, ok());
    let hello = query(1, vec![("isMaster", Int(1))]);
    let replied = reply(9, 1, 8, ok());
    for (bytes, whole, least) in [
        (&find, Recognition::Request, 31),
        (&answered, Recognition::Response, 29),
        (&hello, Recognition::Request, 31),
        (&replied, Recognition::Response, 44),
    ] {
        for len in 1..=bytes.len() {
            let part = recognise(&bytes[..len]);
            assert_eq!(part, if len < least { Recognition::Maybe } else { whole }, "{len} of {}", bytes.escape_ascii());
        }
    }
    let mut with_unknown_flags = find.clone();
    with_unknown_flags[16] = 8;
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"*1\r\n$4\r\nPING\r\n", &[0; 32], &with_unknown_flags] {
        assert_eq!(recognise(other), Recognition::No, "{}", other.escape_ascii());
    }
}

#[test]
fn random_heads_are_no_messages() {
    let mut random = Random(0x6d6f);
    for _ in 0..1_000_000 {
        let mut head = [0; 40];
        head.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
        // Some have a header.
        if random.one_in(2) {
            head[..16].copy_from_slice(&message(1, 0, *random.pick(&[2013, 2004, 2012, 1]), &[0; 200])[..16]);
        }
        let taken = recognise(&head);
        assert_eq!(taken, Recognition::No, "{}", head.escape_ascii());
    }
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for entry in REGISTRY.iter().filter(|entry| entry.name != NAME) {
        for (_, piece) in (entry.samples)().into_iter().flat_map(|sample| sample.pieces) {
            let taken = recognise(&piece);
            assert!(matches!(taken, Recognition::No | Recognition::Maybe), "{}: {}", entry.name, piece.escape_ascii());
        }
    }
}

proptest! {
    #[test]
    fn any_document_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
        let mut document = document(vec![("find", Text("a")), ("filter", Bson::Document(vec![("a", Array(vec![Int(1)]))]))]);
        for (at, byte) in bytes.iter().enumerate() {
            let len = document.len();
            if at % 7 == 0 {
                document[(at * 31 + usize::from(*byte)) % len] = *byte;
            }
        }
        let whole = message(1, 0, 2013, &[&[0; 5][..], &document].concat());
        super::message::command(&whole[..cut.min(whole.len())], true);
        super::message::answer(&whole[..cut.min(whole.len())], false);
    }
}
