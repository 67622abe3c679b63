use proptest::prelude::*;

use super::{CAPTURE, NAME, open, recognise, samples::message, session::MAX_SHOWN};
use crate::{
    model::{
        exchange::{Exchange, Operation, Outcome, Pattern},
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
        Self { wire: Wire::new(open(Role::Server)) }
    }

    fn in_midst() -> Self {
        let mut conversation = Self::new();
        conversation.wire.session.begin_in_use(false);
        conversation
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, tail: &[u8], lost: bool) -> Interest {
        self.wire.piece(by, data, skipped, tail, lost)
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Interest {
        self.piece(Client, bytes.as_ref(), 0, &[], false)
    }

    fn answer(&mut self, bytes: impl AsRef<[u8]>) -> Interest {
        self.piece(Server, bytes.as_ref(), 0, &[], false)
    }

    fn end(mut self) -> Vec<String> {
        self.wire.end(End::Closed).iter().map(short).collect()
    }
}

/// What was asked, values that came back, failure, outcome.
fn short(exchange: &Exchange) -> String {
    let Operation::Db(db) = &exchange.operation else { panic!("{exchange:?}") };
    assert_eq!((exchange.protocol, db.system), (NAME, NAME));
    let name = db.text.as_deref().unwrap_or("-");
    let values = db.returned_rows.map(|rows| format!(" = {rows}")).unwrap_or_default();
    let failed = if db.failed { format!(" failed {}", db.status.as_deref().unwrap_or("?")) } else { String::new() };
    let outcome = match exchange.outcome {
        Outcome::Complete if exchange.pattern == Pattern::OneWay => " unanswered".to_owned(),
        Outcome::Complete if exchange.first_byte_ns.is_none() => " silent".to_owned(),
        Outcome::Complete => String::new(),
        other => format!(" {other:?}"),
    };
    format!("{name}{values}{failed}{outcome}")
}

#[test]
fn commands_of_the_text_protocol_are_told_with_their_answers() {
    let mut it = Conversation::new();
    for (asked, answered) in [
        ("set secret 0 60 6\r\nsecret\r\n", "STORED\r\n"),
        ("get secret\r\n", "VALUE secret 0 6\r\nsecret\r\nEND\r\n"),
        ("get secret b c\r\n", "VALUE secret 0 6\r\nsecret\r\nVALUE c 0 0\r\n\r\nEND\r\n"),
        ("get none\r\n", "END\r\n"),
        ("cas secret 0 0 1 99\r\nx\r\n", "EXISTS\r\n"),
        ("append none 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
        ("incr n 5\r\n", "15\r\n"),
        ("decr n 10\r\n", "5 \r\n"),
        ("incr secret 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        ("delete secret\r\n", "DELETED\r\n"),
        ("touch none 5\r\n", "NOT_FOUND\r\n"),
        ("gat 5 a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ("stats\r\n", "STAT pid 1\r\nSTAT version 1.6\r\nEND\r\n"),
        ("stats reset\r\n", "RESET\r\n"),
        ("version\r\n", "VERSION 1.6.18\r\n"),
        ("flush_all\r\n", "OK\r\n"),
        ("lru_crawler metadump all\r\n", "key=a exp=-1 la=1\r\nkey=b exp=-1 la=1\r\nEND\r\n"),
        ("password secret\r\n", "ERROR\r\n"),
    ] {
        it.ask(asked);
        it.answer(answered);
    }
    it.ask("quit\r\n");
    assert_eq!(
        it.end(),
        [
            "set ?",
            "get ? = 1",
            "get ? ? ? = 2",
            "get ? = 0",
            "cas ?",
            "append ?",
            "incr ?",
            "decr ?",
            "incr ? failed CLIENT_ERROR",
            "delete ?",
            "touch ?",
            "gat ? = 1",
            "stats",
            "stats",
            "version",
            "flush_all",
            "lru_crawler",
            "- failed ERROR",
            "quit unanswered",
        ]
    );
}

#[test]
fn a_pipeline_is_told_command_by_command() {
    let mut it = Conversation::new();
    it.ask("get a\r\nset b 0 0 1\r\nx\r\nget c d\r\ndelete a\r\n");
    it.answer("END\r\nSERVER_ERROR out of memory\r\nVALUE d 0 2\r\nhi\r\n");
    it.answer("END\r\nNOT_FOUND\r\n");
    assert_eq!(it.end(), ["get ? = 0", "set ? failed SERVER_ERROR", "get ? ? = 1", "delete ?"]);
}

#[test]
fn what_nobody_answers_is_one_way_and_a_failure_of_it_is_nobody_elses() {
    let mut it = Conversation::new();
    it.ask("set a 0 0 1 noreply\r\nx\r\ndelete b noreply\r\nget a\r\n");
    it.answer("VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(it.end(), ["set ? unanswered", "delete ? unanswered", "get ? = 1"]);
    let mut it = Conversation::new();
    it.ask("incr a x noreply\r\nget a\r\n");
    it.answer("CLIENT_ERROR invalid numeric delta argument\r\nEND\r\n");
    it.ask("get b\r\n");
    it.answer("END\r\n");
    it.ask("get c d\r\n");
    it.answer("END\r\n");
    assert_eq!(it.end(), ["incr ? unanswered", "get ? Unseen", "get ? ? = 0"]);
}

#[test]
fn quiet_meta_commands_are_over_when_a_later_one_is_answered() {
    let mut it = Conversation::new();
    it.ask("mg a v q k\r\nmg b v q k\r\nmg c v q k\r\nms d 1 q\r\nx\r\nmn\r\n");
    it.answer("VA 1 kb\r\nx\r\nNS\r\nMN\r\n");
    assert_eq!(it.end(), ["mg ? = 0 silent", "mg ? = 1", "mg ? = 0 silent", "ms ?", "mn"]);
    // Which of them was answered cannot be told, and so is not.
    let mut it = Conversation::new();
    it.ask("mg a v q\r\nmg b v q\r\nmn\r\n");
    it.answer("VA 1\r\nx\r\nMN\r\n");
    assert_eq!(it.end(), ["mg ? silent", "mg ? silent", "mn"]);
    let mut it = Conversation::new();
    it.ask("mg a v q\r\nmg b v\r\n");
    it.answer("VA 1\r\nx\r\n");
    assert_eq!(it.end(), ["mg ? Unseen", "mg ? Unseen"]);
    // Opaque values say it.
    let mut it = Conversation::new();
    it.ask("ms a 1 O1 q\r\nx\r\nms b 1 O2 q\r\nx\r\nmg c O3 s\r\n");
    it.answer("NS O2\r\nEN\r\n");
    assert_eq!(it.end(), ["ms ? silent", "ms ?", "mg ? = 0"]);
}

#[test]
fn quiet_commands_of_the_binary_protocol_are_over_when_a_later_one_is_answered() {
    let request = |code, opaque, key: &str| {
        let extras: &[u8] = if matches!(code, 0x01 | 0x11) { &[0; 8] } else { b"" };
        message(0x80, code, 0, opaque, [extras, key.as_bytes(), b""])
    };
    let mut it = Conversation::new();
    // As libmemcached gets several values: all opaque values are 0.
    it.ask([request(0x0d, 0, "a"), request(0x0d, 0, "b"), request(0x0d, 0, "c"), request(0x0a, 0, "")].concat());
    it.answer(
        [message(0x81, 0x0d, 0, 0, [&[0; 4], b"b", b"value"]), message(0x81, 0x0a, 0, 0, [b"", b"", b""])].concat(),
    );
    it.ask([request(0x11, 7, "a"), request(0x11, 8, "b"), request(0x00, 9, "a")].concat());
    it.answer(
        [
            message(0x81, 0x11, 0x03, 8, [b"", b"", b"Too large."]),
            message(0x81, 0x00, 0x01, 9, [b"", b"", b"Not found"]),
        ]
        .concat(),
    );
    it.ask(request(0x10, 1, ""));
    it.answer([message(0x81, 0x10, 0, 1, [b"", b"pid", b"1"]), message(0x81, 0x10, 0, 1, [b"", b"", b""])].concat());
    it.ask(message(0x80, 0x21, 0, 2, [b"", b"PLAIN", b"\0user\0secret"]));
    it.answer(message(0x81, 0x21, 0x20, 2, [b"", b"", b"Auth failure"]));
    it.ask(request(0x17, 0, ""));
    assert_eq!(
        it.end(),
        [
            "getkq ? = 0 silent",
            "getkq ? = 1",
            "getkq ? = 0 silent",
            "noop",
            "setq ? silent",
            "setq ? failed 0x0003",
            "get ? = 0",
            "stats",
            "sasl_auth failed 0x0020",
            "quitq unanswered",
        ]
    );
}

#[test]
fn quiet_commands_that_nothing_follows_are_one_way() {
    let mut it = Conversation::new();
    for number in 0..10_000 {
        it.ask(message(0x80, 0x11, 0, number, [&[0; 8], b"a", b"x"]));
    }
    let told = it.end();
    assert_eq!(told.len(), 10_000);
    assert!(told.iter().all(|told| told == "setq ? unanswered"));
}

#[test]
fn a_large_value_is_passed_over_and_what_stands_behind_it_is_seen() {
    let mut it = Conversation::new();
    it.piece(Client, b"set a 0 0 1000000\r\nxxxx", 1_000_002 - 4, b"x\r\n", false);
    it.answer("STORED\r\n");
    it.ask("get a\r\n");
    it.piece(Server, b"VALUE a 0 1000000\r\nxxxx", 1_000_002 - 4 + 5, b"x\r\nEND\r\n", false);
    it.ask("delete a\r\n");
    it.answer("SERVER_ERROR no\r\n");
    it.piece(Client, &message(0x80, 1, 0, 1, [&[0; 8], b"k", b"x"])[..30], 3, b"x", false);
    assert_eq!(it.end()[..3], ["set ?", "get ? = 1", "delete ? failed SERVER_ERROR"]);
}

#[test]
fn pieces_of_large_values_that_are_told_together_change_nothing() {
    let value = "x".repeat(700_000);
    let set = format!("set a 0 0 {}\r\n{value}\r\n", value.len()).into_bytes();
    let answer = format!("VALUE a 0 {}\r\n{value}\r\nEND\r\n", value.len()).into_bytes();
    for seed in 1..=20 {
        let told = |endings: bool| {
            let (mut it, mut random, mut records) = (Conversation::new(), Random(seed), 0);
            let (most, is_even) = (*random.pick(&[600, 4096, 16_384]), random.one_in(2));
            let [asks, answers] =
                [CAPTURE.endings.requests, CAPTURE.endings.answers].map(|it| if endings { it } else { &[] });
            records += it.wire.turn(Client, &random.pieces(&set, most, is_even), 1000, asks);
            it.answer("STORED\r\n");
            it.ask("get a\r\n");
            records += it.wire.turn(Server, &random.pieces(&answer, most, is_even), 1000, answers);
            it.ask("delete a\r\n");
            it.answer("NOT_FOUND\r\n");
            assert!(it.wire.session.knows_ends());
            let told = it.wire.end(End::Closed);
            (told.iter().map(|it| (short(it), it.first_byte_ns, it.end_ns)).collect::<Vec<_>>(), records, most, is_even)
        };
        let (each, many, most, is_even) = told(false);
        let (together, few, ..) = told(true);
        assert_eq!(each, together, "{seed} {most} {is_even}");
        assert!(few < 20 || !is_even && few < many, "{few} of {many}: {most} {is_even}");
    }
}

#[test]
fn a_command_that_is_cut_is_told_by_its_beginning() {
    let mut it = Conversation::new();
    let keys = "secret ".repeat(600);
    let answer = "VALUE secret 0 1\r\nx\r\nEND\r\n";
    for _ in 0..2 {
        it.piece(Client, format!("get {keys}").as_bytes(), 5000, b"", false);
        // It is not known whether others stand behind it: as many answers as commands prove that none did.
        it.answer(answer);
        it.ask("get a\r\n");
        it.answer("END\r\n");
    }
    it.piece(Client, format!("get {keys}").as_bytes(), 5000, b"", false);
    it.answer(format!("{answer}{answer}STORED\r\n"));
    it.ask("get a\r\n");
    it.answer("END\r\n");
    it.ask("get b\r\n");
    it.answer("END\r\n");
    // Of what has a length nothing is known.
    it.piece(Client, b"mg secr", 10, b"", false);
    let long = format!("get{} ... = 1", " ?".repeat(MAX_SHOWN as usize));
    let expected = [&long, "get ? = 0", &long, "get ? = 0", &long, "get ? = 0"];
    assert_eq!(it.end(), expected);
}

#[test]
fn after_a_loss_nothing_is_told_to_be_answered_until_an_exchange_was_seen_whole() {
    let mut it = Conversation::new();
    it.ask("get a\r\n");
    it.piece(Server, &[], 10, &[], true);
    it.ask("incr n 1\r\n");
    it.answer("1\r\n");
    it.ask("touch n 1\r\n");
    it.answer("SERVER_ERROR x\r\n");
    it.ask("delete n\r\n");
    assert_eq!(it.end(), ["get ? Unseen", "touch ? failed SERVER_ERROR", "delete ? NoResponse"]);
}

#[test]
fn what_was_open_when_it_was_met_is_not_answered_by_the_next() {
    // Two were open: a client that pipelines.
    let mut it = Conversation::in_midst();
    it.ask("get a\r\n");
    it.answer("END\r\nSTORED\r\n");
    it.ask("incr a 1\r\n");
    it.answer("5\r\n");
    it.ask("decr a 1\r\n");
    it.answer("SERVER_ERROR x\r\n");
    assert_eq!(it.end(), ["decr ? failed SERVER_ERROR"]);
    // Nothing had moved for a while behind an answer.
    let mut it = Conversation::in_midst();
    it.answer("STORED\r\n");
    it.wire.now += crate::protocols::in_use::QUIET_NS;
    it.ask("get a\r\n");
    it.answer("SERVER_ERROR y\r\n");
    assert_eq!(it.end(), ["get ? failed SERVER_ERROR"]);
}

#[test]
fn nothing_is_wanted_of_a_connection_that_streams() {
    let mut it = Conversation::new();
    assert_eq!(it.ask("watch fetchers\r\n"), Interest::Parse);
    assert_eq!(it.answer("OK\r\n"), Interest::Nothing);
    assert_eq!(it.end(), ["watch"]);
}

#[test]
fn what_is_recognised() {
    for request in [
        "get a\r\n",
        "gets a b\r\n",
        "set a 0 -1 5\r\nhello\r\n",
        "add a 0 0 1 noreply\r\n",
        "cas a 0 0 1 77\r\n",
        "incr a 1\r\n",
        "delete a\r\n",
        "delete a noreply\r\n",
        "mg a v t\r\n",
        "ms a 5 T0\r\n",
        "mn\r\n",
        "version\r\n",
        "stats\r\n",
        "stats slabs\r\n",
        "gat 10 a\r\n",
        "get schl\u{fc}ssel\r\n",
    ] {
        assert_eq!(recognise(request.as_bytes()), Recognition::Request, "{request:?}");
        for len in 1..request.find('\n').unwrap() {
            assert_eq!(recognise(&request.as_bytes()[..len]), Recognition::Maybe, "{:?}", request.get(..len));
        }
    }
    let many = format!("get {}\r\n", ["key"; 4000].join(" "));
    assert_eq!(recognise(many.as_bytes()), Recognition::Request);
    for response in [
        "VALUE a 0 5\r\nhello\r\nEND\r\n",
        "END\r\n",
        "STORED\r\n",
        "15\r\n",
        "HD\r\n",
        "HD t5 s6\r\n",
        "VA 5 s5\r\nhello\r\n",
        "STAT pid 1\r\n",
        "CLIENT_ERROR bad\r\n",
        "ERROR\r\n",
        "OK\r\n",
    ] {
        assert_eq!(recognise(response.as_bytes()), Recognition::Response, "{response:?}");
        for len in 1..response.find('\n').unwrap() {
            assert_eq!(recognise(&response.as_bytes()[..len]), Recognition::Maybe, "{:?}", response.get(..len));
        }
    }
    for other in [
        "get / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\n",
        "get\r\n",
        "set a\r\n",
        "delete 5\r\n",
        "use tube\r\n",
        "reserve\r\n",
        "watch tube\r\n",
        "quit\r\n",
        "set a 0 0 5",
        "stats x\r\n",
        "ruok\n",
        "\x16\x03\x01",
        "OK 923\r\n",
        "HELO mail\r\n",
        "mg\r\n",
        "get a\n",
        "get \x01\r\n",
    ] {
        let taken = recognise(other.as_bytes());
        assert!(matches!(taken, Recognition::No | Recognition::Maybe), "{other:?}: {taken:?}");
    }
    for (whole, bytes) in [
        (Recognition::Request, message(0x80, 0x00, 0, 7, [b"", b"key", b""])),
        (Recognition::Request, message(0x80, 0x01, 0, 7, [&[0; 8], b"key", b"value"])),
        (Recognition::Response, message(0x81, 0x00, 0, 7, [&[0; 4], b"", b"value"])),
        (Recognition::Response, message(0x81, 0x01, 5, 7, [b"", b"", b"Not stored."])),
    ] {
        for len in 1..=bytes.len() {
            let part = if len < 24 { Recognition::Maybe } else { whole };
            assert_eq!(recognise(&bytes[..len]), part, "{}", bytes[..len].escape_ascii());
        }
    }
    for other in [
        message(0x80, 0x00, 1, 7, [b"", b"key", b""]),
        message(0x80, 0x00, 0, 7, [b"", b"", b""]),
        message(0x80, 0x01, 0, 7, [&[0; 4], b"key", b""]),
        message(0x80, 0x77, 0, 7, [b"", b"key", b""]),
        message(0x81, 0x01, 0x99, 7, [b"", b"", b""]),
    ] {
        assert_eq!(recognise(&other), Recognition::No, "{}", other.escape_ascii());
    }
}

#[test]
fn random_heads_are_no_messages() {
    let mut random = Random(0x6d63);
    for _ in 0..1_000_000 {
        let mut head = [0; 32];
        head.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
        // Half of them begin as the binary protocol does.
        if random.one_in(2) {
            head[0] = 0x80 | random.next() as u8 & 1;
        }
        let taken = recognise(&head);
        assert!(matches!(taken, Recognition::No), "{taken:?}: {}", head.escape_ascii());
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

proptest! {
    #[test]
    fn lines_of_words_neither_panic_nor_leave_anything_open(lines in proptest::collection::vec("(get|set|mg|ms|mn|VALUE|VA|END|STORED|HD|EN|5|a|0|q|noreply|\r\n| ){1,12}", 1..20)) {
        let mut it = Conversation::new();
        for (at, line) in lines.iter().enumerate() {
            let line = format!("{line}\r\n");
            if at % 2 == 0 { it.ask(line) } else { it.answer(line) };
        }
        it.end();
    }
}
