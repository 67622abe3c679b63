use proptest::prelude::*;

use super::{
    CAPTURE, NAME, open, recognise,
    samples::{bind, columns, describe, error, execute, parse, query, ready, row, startup, sync, tag, welcome},
};
use crate::{
    model::{
        exchange::{Exchange, Operation, Outcome},
        net::Role,
    },
    protocols::{
        End, Interest, Recognition,
        conformance::Sender::{self, Client, Server},
        testing::{Random, Wire},
    },
};

struct Conversation {
    wire: Wire,
}

impl Conversation {
    fn new() -> Self {
        let mut it = Self { wire: Wire::new(open(Role::Server)) };
        it.ask(&[startup("shop", Some("orders"))]);
        it.answer(&[welcome()]);
        it
    }

    fn in_midst() -> Self {
        let mut it = Self { wire: Wire::new(open(Role::Server)) };
        it.wire.session.begin_in_use(false);
        it
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, tail: &[u8], lost: bool) -> Interest {
        self.wire.piece(by, data, skipped, tail, lost)
    }

    fn ask(&mut self, messages: &[Vec<u8>]) -> Interest {
        self.piece(Client, &messages.concat(), 0, &[], false)
    }

    fn answer(&mut self, messages: &[Vec<u8>]) -> Interest {
        self.piece(Server, &messages.concat(), 0, &[], false)
    }

    /// Only the beginning and the last 32 bytes of it are captured.
    fn answer_large(&mut self, messages: &[Vec<u8>], captured: usize) {
        let bytes = messages.concat();
        let (head, rest) = bytes.split_at(captured);
        self.piece(Server, head, rest.len() as u64, &rest[rest.len() - rest.len().min(32)..], false);
    }

    fn end(mut self) -> Vec<String> {
        self.wire.end(End::Closed).iter().map(short).collect()
    }
}

/// Summary, or what is known instead; rows; code; outcome.
fn short(exchange: &Exchange) -> String {
    let Operation::Db(db) = &exchange.operation else { panic!("{exchange:?}") };
    assert_eq!((exchange.protocol, db.system), (NAME, NAME));
    assert!(exchange.start_ns <= exchange.end_ns);
    let mut told = db.summary.clone().unwrap_or_default().to_string();
    if db.text_unknown {
        told = format!("{}?", db.operation.as_deref().unwrap_or_default());
    }
    if let Some(rows) = db.returned_rows {
        told.push_str(&format!(" {rows} rows"));
    }
    if db.failed {
        told.push_str(&format!(" failed {}", db.status.as_deref().unwrap_or("?")));
    }
    if exchange.outcome != Outcome::Complete {
        told.push_str(&format!(" {:?}", exchange.outcome));
    }
    told
}

#[test]
fn an_error_at_the_end_of_an_implicit_transaction_is_that_of_its_last_statement() {
    let mut it = Conversation::new();
    let insert = [parse("", "INSERT INTO c VALUES (1)"), bind("", "", &[]), execute("", 0)].concat();
    let done = [message(b'1'), message(b'2'), tag("INSERT 0 1")].concat();
    for end in [vec![error("23503"), ready()], vec![ready()]] {
        it.ask(&[insert.clone(), insert.clone(), sync()]);
        it.answer(std::slice::from_ref(&done));
        it.answer(std::slice::from_ref(&done));
        it.answer(&end);
    }
    // Without a Sync nothing ends yet; the server's own end is not the statement's.
    it.ask(&[insert.clone(), message(b'H')]);
    it.answer(std::slice::from_ref(&done));
    it.answer(&[error("57P01")]);
    assert_eq!(it.end(), ["INSERT c", "INSERT c failed 23503", "INSERT c", "INSERT c", "INSERT c"]);
}

#[test]
fn a_connection_says_its_database_and_each_statement_is_told_once() {
    let mut it = Conversation::new();
    it.ask(&[query("SELECT 1; ; INSERT INTO a.b VALUES (1, 'secret'); -- nothing")]);
    it.answer(&[columns(), row("1"), tag("SELECT 1"), tag("INSERT 0 1"), ready()]);
    it.ask(&[query("")]);
    it.answer(&[message(b'I'), ready()]);
    it.ask(&[query("SELEC 1")]);
    it.answer(&[error("42601"), ready()]);
    it.ask(&[query("INSERT INTO c VALUES (1) RETURNING id")]);
    it.answer(&[columns(), row("1"), tag("INSERT 0 1"), ready()]);
    let told = it.wire.told.iter().map(|exchange| match &exchange.operation {
        Operation::Db(db) => (db.namespace.clone().unwrap(), db.text.clone().unwrap_or_default()),
        other => panic!("{other:?}"),
    });
    let texts: Vec<_> = told.map(|(namespace, text)| format!("{namespace}: {text}")).collect();
    assert_eq!(
        texts,
        [
            "orders: SELECT ?",
            "orders: INSERT INTO a.b VALUES (?)",
            "orders: ",
            "orders: SELEC ?",
            "orders: INSERT INTO c VALUES (?) RETURNING id",
        ]
    );
    assert_eq!(it.end(), ["SELECT 1 rows", "INSERT a.b", "", " failed 42601", "INSERT c 1 rows"]);
}

fn message(kind: u8) -> Vec<u8> {
    super::samples::message(kind, &[])
}

#[test]
fn without_a_database_it_is_called_as_the_user() {
    let mut it = Conversation { wire: Wire::new(open(Role::Server)) };
    it.ask(&[startup("shop", None)]);
    it.answer(&[welcome()]);
    it.ask(&[query("COMMIT")]);
    it.answer(&[tag("COMMIT"), ready()]);
    let Operation::Db(db) = &it.wire.told[0].operation else { panic!() };
    assert_eq!(db.namespace.as_deref(), Some("shop"));
}

#[test]
fn prepared_statements_are_known_by_their_names_until_they_are_closed() {
    let mut it = Conversation::new();
    it.ask(&[parse("s", "SELECT * FROM t WHERE a = $1"), describe("Ss"), message(b'H')]);
    it.answer(&[message(b'1'), super::samples::message(b't', b"\0\0"), message(b'n')]);
    assert_eq!(it.wire.told.len(), 0, "it is not executed");
    for _ in 0..2 {
        it.ask(&[bind("", "s", &["secret"]), execute("", 0), sync()]);
        it.answer(&[message(b'2'), tag("SELECT 0"), ready()]);
    }
    it.ask(&[super::samples::message(b'C', b"Ss\0"), sync()]);
    it.answer(&[message(b'3'), ready()]);
    it.ask(&[bind("", "s", &[]), execute("", 0), sync()]);
    it.answer(&[error("26000"), ready()]);
    assert_eq!(it.end(), ["SELECT t 0 rows", "SELECT t 0 rows", "? failed 26000"]);
}

#[test]
fn what_fails_before_it_is_executed_is_told_once() {
    let mut it = Conversation::new();
    // Of a pipeline the rest is passed over.
    let one = |text| [parse("", text), bind("", "", &[]), describe("P"), execute("", 0)].concat();
    it.ask(&[one("UPDATE a SET b = 1"), one("UPDATE c SET d = 1"), one("UPDATE e SET f = 1"), sync()]);
    let well = [message(b'1'), message(b'2'), message(b'n'), tag("UPDATE 1")].concat();
    it.answer(&[well, error("42P01"), ready()]);
    // A driver that waits for the statement's description.
    it.ask(&[parse("x", "SELECT nothing"), describe("Sx"), message(b'H')]);
    it.answer(&[error("42703")]);
    it.ask(&[sync()]);
    it.answer(&[ready()]);
    it.ask(&[query("SELECT 1")]);
    it.answer(&[tag("SELECT 1"), ready()]);
    assert_eq!(
        it.end(),
        ["UPDATE a", "UPDATE c failed 42P01", "UPDATE e failed ?", "SELECT failed 42703", "SELECT 1 rows"]
    );
}

#[test]
fn a_statement_whose_name_was_taken_keeps_its_text() {
    let mut it = Conversation::new();
    it.ask(&[parse("s", "SELECT 1 FROM a"), sync()]);
    it.answer(&[message(b'1'), ready()]);
    it.ask(&[parse("s", "SELECT 1 FROM b"), sync()]);
    it.answer(&[error("42P05"), ready()]);
    it.ask(&[bind("", "s", &[]), execute("", 0), sync()]);
    it.answer(&[message(b'2'), tag("SELECT 1"), ready()]);
    assert_eq!(it.end(), ["SELECT b failed 42P05", "SELECT a 1 rows"]);
}

#[test]
fn rows_that_are_fetched_in_parts() {
    let mut it = Conversation::new();
    it.ask(&[parse("", "SELECT a FROM t"), bind("c", "", &[]), execute("c", 2), sync()]);
    it.answer(&[message(b'1'), message(b'2'), row("1"), row("2"), message(b's'), ready()]);
    it.ask(&[execute("c", 2), sync()]);
    it.answer(&[row("3"), tag("SELECT 1"), ready()]);
    assert_eq!(it.end(), ["SELECT t 2 rows", "FETCH t 1 rows"]);
}

#[test]
fn copy_in_both_directions_and_what_comes_unasked() {
    let mut it = Conversation::new();
    it.ask(&[query("COPY t FROM STDIN")]);
    it.answer(&[super::samples::message(b'G', b"\0\0\x01\0\0")]);
    it.ask(&[super::samples::message(b'd', b"secret\n"), super::samples::message(b'c', &[])]);
    it.answer(&[super::samples::message(b'N', b"SNOTICE\0\0"), tag("COPY 1"), ready()]);
    // Data of which not all is captured.
    it.ask(&[query("COPY u FROM STDIN")]);
    it.answer(&[super::samples::message(b'G', b"\0\0\x01\0\0")]);
    it.piece(Client, b"d\0\0\x20\0xxxx", 100_000, b"yyyy", false);
    it.piece(Client, b"zz", 100_000, b"c\0\0\0\x04", false);
    it.answer(&[tag("COPY 9"), ready()]);
    it.ask(&[query("COPY t TO STDOUT")]);
    it.answer(&[super::samples::message(b'H', b"\0\0\x01\0\0"), super::samples::message(b'd', b"x\n")]);
    it.answer(&[message(b'c'), tag("COPY 1"), ready()]);
    it.answer(&[super::samples::message(b'A', b"\0\0\0\x01channel\0\0")]);
    it.ask(&[query("LISTEN c")]);
    it.answer(&[tag("LISTEN"), ready()]);
    assert_eq!(it.end(), ["COPY t", "COPY u", "COPY t 1 rows", "LISTEN"]);
}

#[test]
fn copy_by_the_extended_protocol_takes_two_syncs() {
    let mut it = Conversation::new();
    it.ask(&[parse("", "COPY t FROM STDIN"), bind("", "", &[]), execute("", 0), sync()]);
    it.answer(&[message(b'1'), message(b'2'), super::samples::message(b'G', b"\0\0\x01\0\0")]);
    it.ask(&[super::samples::message(b'd', b"1\n"), message(b'c'), sync()]);
    it.answer(&[tag("COPY 1"), ready()]);
    it.ask(&[query("SELECT 1")]);
    it.answer(&[tag("SELECT 1"), ready()]);
    assert_eq!(it.end(), ["COPY t", "SELECT 1 rows"]);
}

#[test]
fn of_a_large_result_the_end_is_seen() {
    let mut it = Conversation::new();
    it.ask(&[query("SELECT * FROM large")]);
    let rows: Vec<_> = (0..1000).map(|n| row(&"x".repeat(n % 100))).collect();
    it.answer_large(&rows, 1000);
    it.answer_large(&rows, 64);
    it.answer(&[row("short")]);
    it.answer_large(&[rows.concat(), tag("SELECT 2001"), ready()], 64);
    assert_eq!(it.wire.told.len(), 1, "it is told at once");
    it.ask(&[query("SELECT 1")]);
    it.answer(&[tag("SELECT 1"), ready()]);
    // More can be fetched.
    it.ask(&[parse("", "SELECT 1 FROM u"), bind("c", "", &[]), execute("c", 1000), sync()]);
    it.answer_large(&[message(b'1'), message(b'2'), rows.concat(), message(b's'), ready()], 1000);
    it.ask(&[execute("c", 1000), sync()]);
    it.answer(&[tag("SELECT 0"), ready()]);
    // The end in two pieces.
    it.ask(&[query("SELECT 2 FROM t")]);
    it.answer_large(&rows, 1000);
    it.answer_large(&[rows.concat(), tag("SELECT 1000")], 64);
    it.answer(&[ready()]);
    // An error within the rows.
    it.ask(&[query("SELECT 3 FROM t")]);
    it.answer_large(&rows, 1000);
    it.answer_large(&[rows.concat(), error("57014"), ready()], 64);
    it.ask(&[query("SELECT 4 FROM t")]);
    it.answer(&[tag("SELECT 4"), ready()]);
    assert_eq!(
        it.end(),
        [
            "SELECT large 2001 rows",
            "SELECT 1 rows",
            "SELECT u",
            "FETCH u 0 rows",
            "SELECT t 1000 rows",
            "SELECT t Unseen",
            "SELECT t 4 rows"
        ]
    );
}

/// However the rows fall into pieces, and whatever is told of those in their midst.
#[test]
fn pieces_of_large_results_that_are_told_together_change_nothing() {
    let rows: Vec<_> = (0..5000).map(|n| row(&"x".repeat(n % 200))).collect();
    let values = "z".repeat(700_000);
    let answers = [
        ("SELECT 1 FROM t", [rows.concat(), tag("SELECT 5000"), ready()].concat(), "SELECT t 5000 rows"),
        ("SELECT 2 FROM t", [rows.concat(), error("57014"), ready()].concat(), "SELECT t Unseen"),
        ("SELECT 3 FROM t", [row(&values), tag("SELECT 1"), ready()].concat(), "SELECT t 1 rows"),
        ("SELECT 4 FROM t", [tag("SELECT 0"), ready()].concat(), "SELECT t 0 rows"),
    ];
    for seed in 1..=20 {
        let told = |endings| {
            let (mut it, mut random, mut records) = (Conversation::new(), Random(seed), 0);
            let (most, is_even) = (*random.pick(&[600, 4096, 8192, 16_384]), random.one_in(2));
            for (text, answer, _) in &answers {
                it.ask(&[query(text)]);
                records += it.wire.turn(Server, &random.pieces(answer, most, is_even), 1000, endings);
            }
            let told = it.wire.end(End::Closed);
            (told.iter().map(|it| (short(it), it.first_byte_ns, it.end_ns)).collect::<Vec<_>>(), records, most, is_even)
        };
        let (each, many, most, is_even) = told(&[]);
        let (together, few, ..) = told(CAPTURE.endings.answers);
        assert_eq!(each, together, "{seed} {most} {is_even}");
        // Small ones are told by themselves, and interrupt the others.
        assert!(few < 30 || !is_even && few < many, "{few} of {many}: {most} {is_even}");
        assert!(many > 100, "{many}");
        for ((told, ..), (_, _, expected)) in together.iter().zip(&answers) {
            // Where the error lies within what is captured of the last piece, it is seen.
            assert!(told == expected || *expected == "SELECT t Unseen" && told.contains("57014"), "{told} {expected}");
        }
    }
}

#[test]
fn large_results_of_a_pipeline_are_not_taken_for_each_other() {
    let mut it = Conversation::new();
    it.ask(&[query("SELECT 1 FROM a"), query("SELECT 2 FROM b")]);
    let rows: Vec<_> = (0..1000).map(|_| row("x")).collect();
    it.answer_large(&[rows.concat(), tag("SELECT 1000"), ready(), rows.concat(), tag("SELECT 1000"), ready()], 1000);
    it.ask(&[query("SELECT 3 FROM c")]);
    it.answer(&[tag("SELECT 3"), ready()]);
    it.ask(&[query("SELECT 4 FROM d")]);
    it.answer(&[tag("SELECT 4"), ready()]);
    assert_eq!(it.end(), ["SELECT a Unseen", "SELECT b Unseen", "SELECT c Unseen", "SELECT d 4 rows"]);
}

#[test]
fn after_a_loss_nothing_is_told_to_be_answered_until_an_exchange_was_seen_whole() {
    let mut it = Conversation::new();
    it.ask(&[query("SELECT 1 FROM a")]);
    it.piece(Server, &[], 10, &[], true);
    it.ask(&[query("SELECT 2 FROM b")]);
    it.answer(&[tag("SELECT 2"), ready()]);
    it.ask(&[query("SELECT 3 FROM c")]);
    it.answer(&[tag("SELECT 3"), ready()]);
    assert_eq!(it.end(), ["SELECT a Unseen", "SELECT b Unseen", "SELECT c 3 rows"]);
}

#[test]
fn on_a_connection_met_in_its_midst_statements_prepared_before_are_unknown() {
    let mut it = Conversation::in_midst();
    it.ask(&[bind("", "s1", &["5"]), execute("", 0), sync()]);
    it.answer(&[message(b'2'), tag("SELECT 1"), ready()]);
    it.ask(&[bind("", "s1", &["5"]), execute("", 0), sync()]);
    it.answer(&[message(b'2'), tag("UPDATE 1"), ready()]);
    it.ask(&[query("SELECT 1 FROM t")]);
    it.answer(&[tag("SELECT 1"), ready()]);
    assert_eq!(it.end(), ["? Unseen", "UPDATE?", "SELECT t 1 rows"]);
}

#[test]
fn a_connection_that_was_quiet_when_it_was_met_is_known_from_its_first_statement_on() {
    let mut it = Conversation { wire: Wire::new(open(Role::Server)) };
    it.ask(&[bind("", "s1", &["5"]), execute("", 0), sync()]);
    it.answer(&[message(b'2'), tag("SELECT 1"), ready()]);
    it.ask(&[query("SELECT 1 FROM t")]);
    it.answer(&[tag("SELECT 1"), ready()]);
    assert_eq!(it.end(), ["SELECT? 1 rows", "SELECT t 1 rows"]);
}

#[test]
fn encryption_is_asked_for_and_refused_or_begins() {
    let asks = || [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
    let mut it = Conversation { wire: Wire::new(open(Role::Server)) };
    it.ask(&[asks()]);
    it.answer(&[b"N".to_vec()]);
    it.ask(&[startup("u", Some("d"))]);
    it.answer(&[welcome()]);
    it.ask(&[query("SELECT 1")]);
    it.answer(&[tag("SELECT 1"), ready()]);
    assert_eq!(it.end(), ["SELECT 1 rows"]);
    let mut it = Conversation { wire: Wire::new(open(Role::Server)) };
    it.ask(&[asks()]);
    assert_eq!(it.answer(&[b"S".to_vec()]), Interest::Anew);
    let mut it = Conversation { wire: Wire::new(open(Role::Server)) };
    let cancel = [16_u32.to_be_bytes(), 80_877_102_u32.to_be_bytes(), [0; 4], [1; 4]].concat();
    assert_eq!(it.ask(&[cancel]), Interest::Nothing);
}

#[test]
fn the_parent_that_a_comment_names_is_that_of_the_first_execution() {
    let mut it = Conversation::new();
    let text = "SELECT 1 /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/";
    it.ask(&[parse("s", text), bind("", "s", &[]), execute("", 0), sync()]);
    it.answer(&[message(b'1'), message(b'2'), tag("SELECT 1"), ready()]);
    it.ask(&[bind("", "s", &[]), execute("", 0), sync()]);
    it.answer(&[message(b'2'), tag("SELECT 1"), ready()]);
    it.ask(&[query(text)]);
    it.answer(&[tag("SELECT 1"), ready()]);
    let parents: Vec<_> = it.wire.told.iter().map(|exchange| exchange.parent.is_some()).collect();
    assert_eq!(parents, [true, false, true]);
}

#[test]
fn what_is_recognised() {
    for request in [
        startup("u", None),
        [8_u32.to_be_bytes(), 80_877_104_u32.to_be_bytes()].concat(),
        query("select 1"),
        query("/* app */ SHOW ALL"),
        query("COMMIT"),
        [bind("", "s", &["1"]), execute("", 0), sync()].concat(),
        [parse("", "SELECT $1"), describe("S"), sync()].concat(),
        [execute("c", 5), sync(), query("COMMIT")].concat(),
    ] {
        assert_eq!(recognise(&request), Recognition::Request, "{}", request.escape_ascii());
        for len in 1..request.len() {
            let part = recognise(&request[..len]);
            assert!(matches!(part, Recognition::Maybe | Recognition::Request), "{len} of {}", request.escape_ascii());
        }
    }
    for response in [
        [columns(), row("1"), tag("SELECT 1"), ready()].concat(),
        welcome(),
        error("42601"),
        [message(b'2'), tag("SELECT 1"), ready()].concat(),
        tag("BEGIN"),
        [message(b'I'), ready()].concat(),
    ] {
        assert_eq!(recognise(&response), Recognition::Response, "{}", response.escape_ascii());
    }
    for other in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\n",
        b"PUT / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"EHLO example.org\r\n",
        b"QUIT\r\n",
        b"\0\0\0\x10\0\x03\0\x04\0\0\0\0",
        b"Q\0\0\0\x0bnonsense",
        b"S\0\0\0\x04X\0\0\0\x09",
    ] {
        let known = recognise(other);
        assert!(matches!(known, Recognition::No | Recognition::Maybe), "{known:?} {}", other.escape_ascii());
    }
}

proptest! {
    #[test]
    fn random_bytes_are_neither_asked_nor_answered(bytes in proptest::collection::vec(any::<u8>(), 12..64)) {
        prop_assert!(matches!(recognise(&bytes), Recognition::No | Recognition::Maybe));
    }
}
