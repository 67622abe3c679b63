use proptest::prelude::*;

use super::{CAPTURE, NAME, open, packet::caps, recognise, samples::*};
use crate::{
    model::{
        exchange::{Exchange, Operation, Outcome},
        net::Role,
    },
    protocols::{
        End, Interest, Recognition,
        conformance::Sender,
        testing::{Random, Wire},
    },
};

const CAPS: u32 = caps::WITH_DB | caps::PROTOCOL_41 | caps::SECURE | 1 << 16 | 1 << 17 | 1 << 19;

struct Conversation {
    wire: Wire,
}

impl Conversation {
    fn bare() -> Self {
        Self { wire: Wire::new(open(Role::Server)) }
    }

    fn new(caps: u32) -> Self {
        let mut it = Self::bare();
        for (sender, bytes) in begins(caps) {
            it.piece(sender, &bytes, 0, &[], false);
        }
        it
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, tail: &[u8], lost: bool) -> Interest {
        self.wire.piece(by, data, skipped, tail, lost)
    }

    fn ask(&mut self, packets: &[Vec<u8>]) -> Interest {
        self.piece(Sender::Client, &packets.concat(), 0, &[], false)
    }

    fn answer(&mut self, packets: &[Vec<u8>]) -> Interest {
        self.piece(Sender::Server, &packets.concat(), 0, &[], false)
    }

    fn end(mut self) -> Vec<String> {
        self.wire.end(End::Closed).iter().map(short).collect()
    }
}

/// Summary, or that it is not known; rows; code; outcome; database.
fn short(exchange: &Exchange) -> String {
    let Operation::Db(db) = &exchange.operation else { panic!("{exchange:?}") };
    assert_eq!(exchange.protocol, NAME);
    let mut told = if db.text_unknown { "?".to_owned() } else { db.summary.clone().unwrap_or_default().to_string() };
    if let Some(rows) = db.returned_rows {
        told.push_str(&format!(" {rows} rows"));
    }
    if db.failed {
        told.push_str(&format!(" failed {}", db.status.as_deref().unwrap_or("?")));
    }
    if exchange.outcome != Outcome::Complete {
        told.push_str(&format!(" {:?}", exchange.outcome));
    }
    format!("{told} @{}", db.namespace.as_deref().unwrap_or("?"))
}

/// A result as servers send it that end columns with an `EOF`.
fn older_result(rows: &[&str]) -> Vec<u8> {
    let mut bytes = [packet(1, &[1]), column(2), packet(3, &[0xfe, 0, 0, 2, 0])].concat();
    for (row, sequence) in rows.iter().zip(4..) {
        bytes.extend(packet(sequence, &[&[row.len() as u8][..], row.as_bytes()].concat()));
    }
    bytes.extend(packet(4 + rows.len() as u8, &[0xfe, 0, 0, 2, 0]));
    bytes
}

#[test]
fn results_with_and_without_an_eof_behind_columns() {
    for (caps, result) in [(CAPS, older_result(&["a", "b"])), (CAPS | caps::DEPRECATE_EOF, result(1, &["a", "b"], 0))] {
        let mut it = Conversation::new(caps);
        it.ask(&[query("SELECT a FROM t")]);
        it.answer(std::slice::from_ref(&result));
        it.ask(&[query("COMMIT")]);
        it.answer(&[ok(1, 0)]);
        assert_eq!(it.end(), ["SELECT t 2 rows @shop", "COMMIT @shop"]);
        // The same on a connection older than the agent, behind what cannot be known.
        let mut it = Conversation::bare();
        it.wire.session.begin_in_use(false);
        for _ in 0..2 {
            it.ask(&[query("SELECT a FROM t")]);
            it.answer(std::slice::from_ref(&result));
        }
        it.ask(&[execute(1)]);
        it.answer(&[result]);
        assert_eq!(it.end(), ["SELECT t Unseen @?", "SELECT t 2 rows @?", "? 2 rows @?"]);
    }
}

#[test]
fn a_connection_that_was_quiet_when_it_was_met_is_known_from_its_first_statement_on() {
    let mut it = Conversation::bare();
    it.ask(&[query("SELECT a FROM t")]);
    it.answer(&[older_result(&["a"])]);
    it.ask(&[execute(3)]);
    it.answer(&[ok(1, 0)]);
    assert_eq!(it.end(), ["SELECT t 1 rows @?", "? @?"]);
}

#[test]
fn a_mariadb_says_so_and_databases_are_followed() {
    let mut it = Conversation::bare();
    it.answer(&[greeting("5.5.5-10.11.6-MariaDB", CAPS)]);
    it.ask(&[login(CAPS, "one")]);
    // It is asked for more.
    it.answer(&[packet(2, b"\xfemysql_native_password\0xxxx")]);
    it.ask(&[packet(3, b"s3cr3t")]);
    it.answer(&[ok(4, 0)]);
    for (asked, answered) in [
        (query("SELECT 1"), older_result(&["1"])),
        (packet(0, b"\x02two"), ok(1, 0)),
        (query("USE three"), ok(1, 0)),
        (query("USE four"), error(1, 1049)),
        (packet(0, b"\x11shop\0\x03s3cfive\0"), ok(1, 0)),
        (packet(0, &[0x0e]), ok(1, 0)),
        (query("COMMIT"), ok(1, 0)),
    ] {
        it.ask(&[asked]);
        it.answer(&[answered]);
    }
    let Operation::Db(db) = &it.wire.told[0].operation else { panic!() };
    assert_eq!(db.system, "mariadb");
    assert_eq!(
        it.end(),
        ["SELECT 1 rows @one", "USE @two", "USE @three", "USE failed 1049 @three", "CHANGE USER @five", "COMMIT @five"]
    );
}

#[test]
fn a_procedure_gives_several_results() {
    let mut it = Conversation::new(CAPS | caps::DEPRECATE_EOF);
    it.ask(&[query("CALL p(1); SELECT 2")]);
    it.answer(&[result(1, &["a"], 8), result(5, &["b", "c"], 8), ok(10, 8), result(11, &[], 0)]);
    assert_eq!(it.end(), ["CALL p 3 rows @shop", "SELECT 0 rows @shop"]);
}

#[test]
fn prepared_statements_of_both_kinds_of_ends() {
    let mut it = Conversation::new(CAPS);
    it.ask(&[prepare("INSERT INTO t VALUES (?)")]);
    it.answer(&[packet(1, &[0, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), column(2), packet(3, &[0xfe, 0, 0, 2, 0])]);
    it.ask(&[execute(7)]);
    it.answer(&[ok(1, 0)]);
    it.ask(&[execute(8)]);
    it.answer(&[error(1, 1243)]);
    assert_eq!(it.end(), ["INSERT t @shop", "? failed 1243 @shop"]);
}

#[test]
fn a_file_is_passed_over() {
    let mut it = Conversation::new(CAPS);
    it.ask(&[query("LOAD DATA LOCAL INFILE 's3cr3t' INTO TABLE t")]);
    it.answer(&[packet(1, b"\xfbs3cr3t")]);
    it.piece(Sender::Client, b"\0\0\x10\x02xx", 3_000_000, b"yy", false);
    it.ask(&[packet(9, b"")]);
    it.answer(&[ok(10, 0)]);
    it.ask(&[query("COMMIT")]);
    it.answer(&[ok(1, 0)]);
    assert_eq!(it.end(), ["LOAD t @shop", "COMMIT @shop"]);
}

#[test]
fn of_a_large_result_the_end_is_seen() {
    for (caps, end) in [
        (CAPS, &[5, 0, 0, 9, 0xfe, 0, 0, 2, 0][..]),
        (CAPS | caps::DEPRECATE_EOF, &[7, 0, 0, 9, 0xfe, 0, 0, 2, 0, 0, 0]),
    ] {
        let mut it = Conversation::new(caps);
        it.ask(&[query("SELECT a FROM large")]);
        it.answer(&[[packet(1, &[1]), column(2)].concat()]);
        it.piece(Sender::Server, b"\x20\0\0\x04xxxx", 1_000_000, b"yyyy", false);
        it.piece(Sender::Server, b"zzzz", 1_000_000, end, false);
        assert_eq!(it.wire.told.len(), 1, "it is told at once");
        it.ask(&[query("COMMIT")]);
        it.answer(&[ok(1, 0)]);
        assert_eq!(it.end(), ["SELECT large @shop", "COMMIT @shop"]);
    }
}

#[test]
fn pieces_of_large_results_that_are_told_together_change_nothing() {
    for (caps, seed) in
        [CAPS, CAPS | caps::DEPRECATE_EOF].into_iter().flat_map(|caps| (1..=10).map(move |it| (caps, it)))
    {
        let ends = caps & caps::DEPRECATE_EOF != 0;
        let row = [&[150][..], &[b'x'; 150]].concat();
        let rows = (0..5000).flat_map(|n| packet((n % 256) as u8, &row)).collect::<Vec<u8>>();
        let [columns, end] = if ends {
            [Vec::new(), packet(9, &[0xfe, 0, 0, 2, 0, 0, 0])]
        } else {
            [3, 9].map(|sequence| packet(sequence, &[0xfe, 0, 0, 2, 0]))
        };
        let large = [packet(1, &[1]), column(2), columns, rows, end].concat();
        // A statement that fails within its rows.
        let failed = [&large[..large.len() - 100], &error(9, 1317)].concat();
        let told = |endings| {
            let (mut it, mut random, mut records) = (Conversation::new(caps), Random(seed), 0);
            let (most, is_even) = (*random.pick(&[600, 4096, 16_384]), random.one_in(2));
            for (text, answer) in
                [("SELECT a FROM one", &large), ("SELECT a FROM two", &failed), ("SELECT a FROM six", &large)]
            {
                it.ask(&[query(text)]);
                records += it.wire.turn(Sender::Server, &random.pieces(answer, most, is_even), 1000, endings);
            }
            it.ask(&[query("COMMIT")]);
            it.answer(&[ok(1, 0)]);
            let told = it.wire.end(End::Closed);
            (told.iter().map(|it| (short(it), it.first_byte_ns, it.end_ns)).collect::<Vec<_>>(), records, most, is_even)
        };
        let (each, many, most, is_even) = told(&[]);
        let (together, few, ..) = told(CAPTURE.endings.answers);
        assert_eq!(each, together, "{seed} {most} {is_even}");
        assert!(few < 20 || !is_even && few < many, "{few} of {many}: {most} {is_even}");
        assert!(Conversation::new(caps).wire.session.knows_ends() && !Conversation::bare().wire.session.knows_ends());
        assert!(together[0].0.starts_with("SELECT one @shop") && together.len() == 4, "{together:?}");
    }
}

#[test]
fn encryption_begins_anew() {
    let mut it = Conversation::bare();
    it.answer(&[greeting("8.0.36", CAPS | caps::SSL)]);
    let mut asks = (CAPS | caps::SSL).to_le_bytes().to_vec();
    asks.extend([0; 28]);
    assert_eq!(it.ask(&[packet(1, &asks)]), Interest::Anew);
}

/// Of a large result only the beginnings of compressed packets are captured, by which they are followed.
#[test]
fn what_is_compressed_is_told_and_of_what_is_left_out_only_the_end_is_unseen() {
    for how in ["zlib", "zstd", ""] {
        let mut it = Conversation::new(CAPS | caps::COMPRESS | caps::DEPRECATE_EOF);
        let row = "s3cr3t".repeat(30);
        let rows = result(1, &[row.as_str(); 20], 0);
        for text in ["SELECT a FROM one", "SELECT a FROM two"] {
            // Who reads a packet's head by itself reads the rest next.
            let asked = packed(&query(text), how);
            it.piece(Sender::Client, &asked[..7], 0, &[], false);
            it.piece(Sender::Client, &asked[7..], 0, &[], false);
            it.answer(&[packed(&rows[..500], how), packed(&rows[500..], how)]);
        }
        assert!(!it.wire.session.knows_ends(), "the kernel side is to tell each piece");
        it.ask(&[packed(&query("SELECT a FROM large"), how)]);
        it.answer(&[packed(&rows[..500], how)]);
        let rest = packed(&rows[500..], how);
        it.piece(Sender::Server, &rest[..12], rest.len() as u64 - 12, &[], false);
        it.ask(&[packed(&query("UPDATE t SET a = 's3cr3t'"), how)]);
        it.answer(&[packed(&error(1, 1146), how)]);
        // Where a piece is lost it is found again behind an exchange that was seen whole.
        it.ask(&[packed(&query("SELECT a FROM lost"), how)]);
        it.piece(Sender::Server, &[], 300, &[], true);
        for text in ["COMMIT", "ROLLBACK"] {
            it.ask(&[packed(&query(text), how)]);
            it.answer(&[packed(&ok(1, 0), how)]);
        }
        // Or behind a quiet time, whatever the rest of the answer was taken for.
        it.ask(&[packed(&query("SELECT a FROM lost"), how)]);
        it.piece(Sender::Server, &[], 300, &[], true);
        it.piece(Sender::Server, &[7; 60], 0, &[], false);
        it.wire.now += 20_000_000;
        it.ask(&[packed(&query("COMMIT"), how)]);
        it.answer(&[packed(&ok(1, 0), how)]);
        let told = it.end();
        let expected = [
            "SELECT one 20 rows @shop",
            "SELECT two 20 rows @shop",
            "SELECT large Unseen @shop",
            "UPDATE t failed 1146 @shop",
            "SELECT lost Unseen @shop",
            "COMMIT Unseen @?",
            "ROLLBACK @?",
            "SELECT lost Unseen @?",
            "COMMIT @?",
        ];
        assert_eq!(told, expected, "{how}");
    }
}

#[test]
fn what_is_recognised() {
    assert_eq!(recognise(&greeting("5.5.5-10.11.6-MariaDB", CAPS)), Recognition::Greeting);
    for request in [query("SELECT 1"), prepare("/*!40101 set @a = 1 */"), execute(3), login(CAPS, "d")] {
        assert_eq!(recognise(&request), Recognition::Request, "{}", request.escape_ascii());
        for len in 1..request.len() {
            let part = recognise(&request[..len]);
            assert!(matches!(part, Recognition::Maybe | Recognition::Request), "{len} of {}", request.escape_ascii());
        }
    }
    for response in [
        ok(3, 0),
        packet(3, b"\xfemysql_native_password\0xxxx"),
        ok(1, 0),
        error(1, 1146),
        result(1, &["a"], 0),
        prepared(1),
    ] {
        assert_eq!(recognise(&response), Recognition::Response, "{}", response.escape_ascii());
    }
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x05\0\0\0\x03hell",
        b"\x16\x03\x01\0\xff\x01",
        b"*1\r\n$4\r\nPING\r\n",
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
