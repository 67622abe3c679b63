use super::{
    NAME, open, recognise,
    samples::{error, framed, message, query, rows, startup, string},
    statement,
};
use crate::{
    model::{
        exchange::{Exchange, Operation, Outcome},
        net::Role,
    },
    protocols::{
        End, Interest, REGISTRY, Recognition,
        conformance::Sender::{self, Client, Server},
        testing::{Random, Wire},
    },
};

struct Conversation {
    wire: Wire,
}

impl Conversation {
    fn new() -> Self {
        Self { wire: Wire::new(open(Role::Client)) }
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, lost: bool) -> Interest {
        self.wire.piece(by, data, skipped, &[], lost)
    }

    /// As it is captured.
    fn captured(&mut self, by: Sender, data: &[u8]) {
        let head = data.len().min(4096);
        self.piece(by, &data[..head], (data.len() - head) as u64, false);
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Interest {
        self.piece(Client, bytes.as_ref(), 0, false)
    }

    fn answer(&mut self, bytes: impl AsRef<[u8]>) -> Interest {
        self.piece(Server, bytes.as_ref(), 0, false)
    }

    fn end(mut self) -> Vec<String> {
        self.wire.end(End::Closed).iter().map(short).collect()
    }
}

/// What was asked of what, how much of it, what came back, outcome.
fn short(exchange: &Exchange) -> String {
    let Operation::Db(db) = &exchange.operation else { panic!("{exchange:?}") };
    assert_eq!((exchange.protocol, db.system), (NAME, NAME));
    let text = |text: &Option<compact_str::CompactString>| text.as_deref().unwrap_or("?").to_owned();
    let batch = db.batch_size.map(|size| format!(" x{size}")).unwrap_or_default();
    let rows = db.returned_rows.map(|rows| format!(" = {rows}")).unwrap_or_default();
    let failed = if db.failed { format!(" failed {}", text(&db.status)) } else { String::new() };
    let outcome =
        if exchange.outcome == Outcome::Complete { String::new() } else { format!(" {:?}", exchange.outcome) };
    format!("{} {}.{}{batch}{rows}{failed}{outcome}", text(&db.operation), text(&db.namespace), text(&db.collection))
}

const READY: u8 = 2;
const RESULT: u8 = 8;

fn begins(it: &mut Conversation, version: u8) {
    it.ask(message(version, 0, 1, &startup(&[("CQL_VERSION", "3.0.0")])));
    it.answer(message(version | 0x80, 0, READY, b""));
}

fn keyspace(name: &str) -> Vec<u8> {
    [&3_i32.to_be_bytes()[..], &string(name)].concat()
}

fn prepared(id: u8) -> Vec<u8> {
    [&4_i32.to_be_bytes()[..], &[0, 16], &[id; 16], &[0; 30]].concat()
}

fn execute(id: u8) -> Vec<u8> {
    [&[0, 16][..], &[id; 16], &[0, 1, 0]].concat()
}

const VOID: [u8; 4] = [0, 0, 0, 1];

#[test]
fn statements_are_told_with_keyspace_table_rows_and_what_failed() {
    let mut it = Conversation::new();
    it.ask(message(4, 0, 5, b""));
    it.answer(message(0x84, 0, 6, &[0, 0]));
    begins(&mut it, 4);
    it.ask(message(4, 1, 7, &query("USE shop", false)));
    it.answer(message(0x84, 1, RESULT, &keyspace("shop")));
    it.ask(
        [
            message(4, 2, 7, &query("SELECT * FROM orders", false)),
            message(4, 3, 7, &query("SELECT * FROM other.people", false)),
        ]
        .concat(),
    );
    it.answer([message(0x84, -1, 0x0c, &string("SCHEMA_CHANGE")), message(0x84, 3, RESULT, &rows(2, b"x"))].concat());
    it.answer(message(0x84, 2, 0, &error(0x1200)));
    it.ask(message(4, 4, 7, &query("gibberish '", false)));
    it.answer(message(0x84, 4, 0, &error(0x2000)));
    assert_eq!(
        it.end(),
        [
            "OPTIONS ?.?",
            "STARTUP ?.?",
            "USE ?.?",
            "SELECT other.people = 2",
            "SELECT shop.orders failed 0x1200",
            "GIBBERISH shop.? failed 0x2000",
        ]
    );
}

#[test]
fn prepared_statements_are_known_when_they_are_executed() {
    let mut it = Conversation::new();
    begins(&mut it, 4);
    it.ask(message(4, 1, 9, &query("SELECT a FROM t WHERE b = ?", false)[..31]));
    it.answer(message(0x84, 1, RESULT, &prepared(7)));
    it.ask([message(4, 1, 0x0a, &execute(7)), message(4, 2, 0x0a, &execute(8))].concat());
    it.answer([message(0x84, 2, RESULT, &VOID), message(0x84, 1, RESULT, &rows(4, b""))].concat());
    assert_eq!(it.end()[1..], ["PREPARE ?.t", "EXECUTE ?.?", "SELECT ?.t = 4"]);
}

#[test]
fn a_batch_is_one_exchange() {
    let insert = |value: i32| {
        let text = format!("INSERT INTO t (a) VALUES ({value})");
        [&[0][..], &(text.len() as u32).to_be_bytes(), text.as_bytes(), &[0, 1], &4_i32.to_be_bytes(), &[1; 4]].concat()
    };
    let known = [&[1, 0, 16][..], &[9; 16], &[0, 0]].concat();
    let mut it = Conversation::new();
    begins(&mut it, 4);
    it.ask(message(4, 1, 0x0d, &[&[0, 0, 3][..], &insert(1), &insert(2), &insert(3), &[0, 1, 0]].concat()));
    it.answer(message(0x84, 1, RESULT, &VOID));
    it.ask(message(4, 1, 0x0d, &[&[0, 0, 2][..], &insert(1), &known, &[0, 1, 0]].concat()));
    it.answer(message(0x84, 1, RESULT, &VOID));
    assert_eq!(it.end()[1..], ["BATCH INSERT ?.t x3", "BATCH ?.? x2"]);
}

#[test]
fn a_batch_of_prepared_statements_is_called_by_what_they_do() {
    let prepares = |it: &mut Conversation, id: u8, text: &str| {
        it.ask(message(4, 1, 9, &query(text, false)[..4 + text.len()]));
        it.answer(message(0x84, 1, RESULT, &prepared(id)));
    };
    let of = |ids: &[u8]| {
        let known = |id: &u8| [&[1, 0, 16][..], &[*id; 16], &[0, 1], &4_i32.to_be_bytes(), &[1; 4]].concat();
        let all: Vec<u8> = ids.iter().flat_map(known).collect();
        [&[1, 0, ids.len() as u8][..], &all, &[0, 1, 0]].concat()
    };
    let mut it = Conversation::new();
    begins(&mut it, 4);
    prepares(&mut it, 7, "INSERT INTO shop.orders (a) VALUES (?)");
    prepares(&mut it, 8, "UPDATE shop.orders SET a = ?");
    for ids in [&[7, 7, 7][..], &[7, 8], &[7, 9]] {
        it.ask(message(4, 1, 0x0d, &of(ids)));
        it.answer(message(0x84, 1, RESULT, &VOID));
    }
    assert_eq!(it.end()[3..], ["BATCH INSERT shop.orders x3", "BATCH ?.? x2", "BATCH ?.? x2"]);
}

#[test]
fn a_batch_that_is_written_as_text_is_called_by_what_its_statements_do() {
    let told = |text: &str| {
        let it = statement::read(text.as_bytes(), true).unwrap();
        (
            it.operation.to_string(),
            it.keyspace.zip(it.table).map(|(keyspace, table)| format!("{keyspace}.{table}")),
            it.batch,
        )
    };
    let orders = || Some("shop.orders".to_owned());
    assert_eq!(
        told(
            "BEGIN UNLOGGED BATCH USING TIMESTAMP 5 INSERT INTO shop.orders (a) VALUES (1); INSERT INTO shop.orders (\"update\") VALUES ('DELETE') APPLY BATCH;"
        ),
        ("BATCH INSERT".to_owned(), orders(), Some(2))
    );
    assert_eq!(
        told("begin batch delete a from shop.orders where b = 1; update shop.orders set a = 2 apply batch"),
        ("BATCH".to_owned(), None, Some(2))
    );
    assert_eq!(told("BEGIN BATCH INSERT INTO shop.orders (a) VALUES (1);"), ("BATCH".to_owned(), None, None));
    assert_eq!(told("BEGIN TRANSACTION").0, "BEGIN");
    let it = statement::read(b"BEGIN BATCH INSERT INTO t (a) VALUES ('s3cret') APPLY BATCH", true).unwrap();
    assert_eq!(it.text, "BEGIN BATCH INSERT INTO t(a) VALUES(?) APPLY BATCH");
}

#[test]
fn frames_of_version_five_are_followed_and_long_messages_passed_over() {
    let mut it = Conversation::new();
    begins(&mut it, 5);
    it.ask(framed(&message(5, 1, 7, &query("SELECT a FROM one", true))));
    it.captured(Server, &framed(&message(0x85, 1, RESULT, &rows(400, &[b'v'; 1000]))));
    let long = format!("INSERT INTO two (a) VALUES ('{}')", "x".repeat(300_000));
    it.captured(
        Client,
        &[framed(&message(5, 2, 7, &query(&long, true))), framed(&message(5, 3, 5, b""))].concat()[..300_050],
    );
    it.captured(
        Client,
        &[framed(&message(5, 2, 7, &query(&long, true))), framed(&message(5, 3, 5, b""))].concat()[300_050..],
    );
    it.answer(framed(&[message(0x85, 2, 0, &error(0x1100)), message(0x85, 3, 6, &[0, 0])].concat()));
    assert_eq!(it.end(), ["STARTUP ?.?", "SELECT ?.one = 400", "INSERT ?.two failed 0x1100", "OPTIONS ?.?"]);
    // What is compressed there is not opened.
    let mut it = Conversation::new();
    it.ask(message(5, 0, 1, &startup(&[("COMPRESSION", "lz4")])));
    assert_eq!(it.answer(message(0x85, 0, READY, b"")), Interest::Nothing);
    assert_eq!(it.end(), ["STARTUP ?.?"]);
}

#[test]
fn compressed_messages_are_named() {
    let packed = |bytes: Vec<u8>| [&bytes[..1], &[1], &bytes[2..]].concat();
    let mut it = Conversation::new();
    begins(&mut it, 4);
    it.ask(packed(message(4, 1, 7, b"packed")));
    it.answer(packed(message(0x84, 1, RESULT, b"packed")));
    it.ask(packed(message(4, 2, 0x0a, b"packed")));
    it.answer(packed(message(0x84, 2, 0, b"packed")));
    assert_eq!(it.end()[1..], ["QUERY ?.?", "EXECUTE ?.? failed ?"]);
}

#[test]
fn what_is_lost_is_found_again_at_the_next_message() {
    for version in [4, 5] {
        let frame = |bytes: Vec<u8>| if version == 5 { framed(&bytes) } else { bytes };
        let asks =
            |stream, table| frame(message(version, stream, 7, &query(&format!("SELECT a FROM {table}"), version == 5)));
        let fails = |stream| frame(message(0x80 | version, stream, 0, &error(0x1100)));
        let mut it = Conversation::new();
        begins(&mut it, version);
        it.ask(asks(1, "a"));
        it.piece(Server, &[], 40, true);
        it.answer(b"the rest of something");
        it.ask(asks(2, "b"));
        it.answer(fails(2));
        assert_eq!(it.end()[1..], ["SELECT ?.a Unseen", "SELECT ?.b failed 0x1100"], "{version}");
        let mut it = Conversation::new();
        it.wire.session.begin_in_use(false);
        it.answer(&fails(7)[3..]);
        it.ask(asks(1, "a"));
        it.answer([fails(9), fails(1)].concat());
        assert_eq!(it.end(), ["SELECT ?.a failed 0x1100"], "{version}");
    }
}

#[test]
fn literals_are_not_told() {
    let told = |text: &str| statement::read(text.as_bytes(), true).map(|it| it.text.to_string()).unwrap_or_default();
    for (text, expected) in [
        ("SELECT a, b FROM t WHERE c = 'it''s secret' AND d = 5", "SELECT a, b FROM t WHERE c = ? AND d = ?"),
        ("select count(*) from ks.\"T\" limit 10", "select count(*) from ks.\"T\" limit ?"),
        ("INSERT INTO t (a) VALUES (0xcafe, -1.5e+10, true, $$secret$$)", "INSERT INTO t(a) VALUES(?, - ?, ?, ?)"),
        (
            "SELECT a /* secret */ FROM t -- secret\nWHERE id = cfd66ccc-d857-4e90-b1e5-df98a3d40cd6",
            "SELECT a FROM t WHERE id = ?",
        ),
        ("UPDATE t SET m = {'secret': 'x'}, l = [1, 2]", "UPDATE t SET m = {? : ?}, l = [?, ?]"),
        ("CREATE ROLE r WITH PASSWORD = 'secret", "CREATE ROLE r WITH PASSWORD = ?"),
        ("SELECT a FROM t WHERE b = ? AND c = :name", "SELECT a FROM t WHERE b = ? AND c = : name"),
    ] {
        assert_eq!(told(text), expected);
    }
    assert_eq!(told("'secret'"), "");
    assert!(told(&format!("SELECT {}", "a, ".repeat(5000))).len() < 1100);
    let mut random = Random(0x6371);
    let parts = [
        "'marked'",
        "'mar''ked'",
        "$$marked$$",
        "/*marked*/",
        "--marked\n",
        "//marked\n",
        "SELECT",
        "a",
        "\"b\"",
        "(",
        ",",
        "5",
        "0x1f",
        "'é marked'",
    ];
    for _ in 0..10_000 {
        let text: Vec<&str> = (0..random.below(12)).map(|_| *random.pick(&parts)).collect();
        let text = format!("SELECT {}", text.join(*random.pick(&[" ", "\n"])));
        let cut = random.below(text.len() + 1);
        for part in [text.as_bytes(), &text.as_bytes()[..cut]] {
            let told = statement::read(part, part.len() == text.len());
            assert!(!told.iter().any(|told| told.text.contains("marked")), "{text:?}: {told:?}");
        }
    }
}

#[test]
fn what_is_recognised() {
    let select = message(4, 1, 7, &query("SELECT a FROM t", false));
    let begins = message(5, 0, 1, &startup(&[("CQL_VERSION", "3.0.0")]));
    let failed = message(0x83, 1, 0, &error(0x1100));
    let modern = framed(&message(5, 1, 7, &query("SELECT a FROM t", true)));
    let answered = framed(&message(0x85, 1, RESULT, &rows(1, b"x")));
    for (bytes, whole, least) in [
        (&select, Recognition::Request, 14),
        (&begins, Recognition::Request, 24),
        (&failed, Recognition::Response, 9),
        (&modern, Recognition::Request, 20),
        (&answered, Recognition::Response, 15),
        (&message(4, 0, 5, b""), Recognition::Request, 9),
        (&message(4, 0, 0x0a, &execute(1)), Recognition::Request, 11),
    ] {
        for len in 1..=bytes.len() {
            let part = recognise(&bytes[..len]);
            assert_eq!(part, if len < least { Recognition::Maybe } else { whole }, "{len} of {}", bytes.escape_ascii());
        }
    }
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00",
        &message(4, 1, 7, b"\0\0\0\x02ab\0\x01\0"),
        &message(6, 0, 5, b""),
    ] {
        assert_eq!(recognise(other), Recognition::No, "{}", other.escape_ascii());
    }
}

#[test]
fn random_heads_are_no_messages() {
    let mut random = Random(0x6371);
    for _ in 0..1_000_000 {
        let mut head = [0; 32];
        head.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
        if random.one_in(2) {
            head[0] = *random.pick(&[3, 4, 5]);
        }
        assert_ne!(recognise(&head), Recognition::Request, "{}", head.escape_ascii());
    }
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for entry in REGISTRY.iter().filter(|entry| entry.name != NAME) {
        for (_, piece) in (entry.samples)().into_iter().flat_map(|sample| sample.pieces) {
            assert_ne!(recognise(&piece), Recognition::Request, "{}: {}", entry.name, piece.escape_ascii());
        }
    }
}
