use proptest::prelude::*;

use super::{CAPTURE, NAME, open, recognise, samples::command};
use crate::{
    model::{
        exchange::{Exchange, Operation, Outcome, Pattern},
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

    fn ask(&mut self, words: &[&str]) -> Interest {
        self.piece(Client, &command(words), 0, &[], false)
    }

    fn answer(&mut self, reply: &str) -> Interest {
        self.piece(Server, reply.as_bytes(), 0, &[], false)
    }

    fn end(mut self) -> Vec<String> {
        self.wire.end(End::Closed).iter().map(short).collect()
    }
}

/// Operation, outcome, status of failure, database.
fn short(exchange: &Exchange) -> String {
    let Operation::Db(db) = &exchange.operation else { panic!("{exchange:?}") };
    assert_eq!((exchange.protocol, db.system), (NAME, NAME));
    let name = db.operation.as_deref().unwrap_or("?");
    let failed = if db.failed { format!(" failed {}", db.status.as_deref().unwrap_or("?")) } else { String::new() };
    let outcome = match exchange.outcome {
        Outcome::Complete if exchange.pattern == Pattern::OneWay => " unanswered".to_owned(),
        Outcome::Complete => String::new(),
        other => format!(" {other:?}"),
    };
    format!("{name}{failed}{outcome} @{}", db.namespace.as_deref().unwrap_or("?"))
}

#[test]
fn commands_are_told_with_their_replies_and_the_database_that_was_selected() {
    let mut it = Conversation::new();
    it.ask(&["get", "a"]);
    it.answer("$1\r\nx\r\n");
    it.ask(&["SELECT", "3"]);
    it.answer("+OK\r\n");
    it.ask(&["SELECT", "99"]);
    it.answer("-ERR DB index is out of range\r\n");
    it.ask(&["LPUSH", "a", "x"]);
    it.answer("-WRONGTYPE Operation against a key\r\n");
    it.ask(&["config", "get", "requirepass"]);
    it.answer("%1\r\n$11\r\nrequirepass\r\n$6\r\nsecret\r\n");
    it.piece(Client, b"PING\r\n", 0, &[], false);
    it.answer("+PONG\r\n");
    assert_eq!(
        it.end(),
        ["GET @0", "SELECT @3", "SELECT failed ERR @3", "LPUSH failed WRONGTYPE @3", "CONFIG GET @3", "PING @3"]
    );
}

#[test]
fn the_database_of_an_older_connection_is_not_known_until_one_is_selected() {
    let mut it = Conversation::new();
    it.wire.session.begin_older();
    it.ask(&["GET", "a"]);
    it.answer("$-1\r\n");
    it.ask(&["SELECT", "3"]);
    it.answer("+OK\r\n");
    it.ask(&["GET", "a"]);
    it.answer("$-1\r\n");
    assert_eq!(it.end(), ["GET @?", "SELECT @3", "GET @3"]);
}

#[test]
fn a_database_that_is_selected_within_a_transaction_is_not_known_to_be() {
    let mut it = Conversation::new();
    for (words, reply) in [
        (&["MULTI"][..], "+OK\r\n"),
        (&["SELECT", "5"], "+QUEUED\r\n"),
        (&["EXEC"], "*1\r\n+OK\r\n"),
        (&["GET", "a"], "$-1\r\n"),
    ] {
        it.ask(words);
        it.answer(reply);
    }
    assert_eq!(it.end(), ["MULTI @0", "SELECT @?", "EXEC @?", "GET @?"]);
}

#[test]
fn what_nobody_asked_for_answers_nothing() {
    // RESP 2.
    let mut it = Conversation::new();
    it.ask(&["SUBSCRIBE", "a", "b"]);
    it.answer("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
    assert_eq!(it.wire.told.len(), 0, "one is not confirmed");
    it.answer("*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
    assert_eq!(it.wire.told.len(), 1);
    it.ask(&["PING"]);
    it.answer("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    it.ask(&["UNSUBSCRIBE"]);
    it.answer("*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n");
    it.ask(&["GET", "a"]);
    it.answer("-ERR no\r\n");
    assert_eq!(it.end(), ["SUBSCRIBE @0", "PING @0", "UNSUBSCRIBE @0", "GET failed ERR @0"]);
    // RESP 3: pushes come at any time.
    let mut it = Conversation::new();
    it.ask(&["CLIENT", "TRACKING", "ON"]);
    it.answer(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nb\r\n");
    it.ask(&["GET", "a"]);
    it.answer("|1\r\n+ttl\r\n:3600\r\n-MOVED 3999 127.0.0.1:6381\r\n");
    assert_eq!(it.end(), ["CLIENT TRACKING @0", "GET failed MOVED @0"]);
}

#[test]
fn commands_that_nobody_answers_are_one_way() {
    let mut it = Conversation::new();
    it.ask(&["CLIENT", "REPLY", "SKIP"]);
    it.ask(&["SET", "a", "b"]);
    it.ask(&["GET", "a"]);
    it.answer("-FIRST x\r\n");
    it.ask(&["CLIENT", "REPLY", "OFF"]);
    it.ask(&["DEL", "a"]);
    it.ask(&["CLIENT", "REPLY", "ON"]);
    it.answer("+OK\r\n");
    it.ask(&["TTL", "a"]);
    it.answer(":-2\r\n");
    assert_eq!(
        it.end(),
        [
            "CLIENT REPLY unanswered @0",
            "SET unanswered @0",
            "GET failed FIRST @0",
            "CLIENT REPLY unanswered @0",
            "DEL unanswered @0",
            "CLIENT REPLY @0",
            "TTL @0"
        ]
    );
}

#[test]
fn nothing_is_wanted_of_a_connection_that_streams() {
    let mut it = Conversation::new();
    assert_eq!(it.ask(&["MONITOR"]), Interest::Parse);
    assert_eq!(it.answer("+OK\r\n"), Interest::Nothing);
    assert_eq!(it.end(), ["MONITOR @0"]);
    let mut it = Conversation::new();
    it.ask(&["PSYNC", "?", "-1"]);
    assert_eq!(it.answer("-NOAUTH Authentication required.\r\n"), Interest::Parse);
    assert_eq!(it.end(), ["PSYNC failed NOAUTH @0"]);
}

#[test]
fn a_large_value_is_passed_over_and_what_stands_behind_it_is_seen() {
    let mut it = Conversation::new();
    let head = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\nxxxx";
    it.piece(Client, head, 1_000_002 - 4, b"x\r\n", false);
    it.answer("+OK\r\n");
    it.ask(&["GET", "a"]);
    it.piece(Server, b"$1000000\r\nxxxx", 1_000_002 - 4, b"", false);
    it.ask(&["DEL", "a"]);
    it.answer("-ERR no\r\n");
    assert_eq!(it.end(), ["SET @0", "GET @0", "DEL failed ERR @0"]);
}

#[test]
fn pieces_of_large_values_that_are_told_together_change_nothing() {
    let value = "x".repeat(700_000);
    let sets = command(&["SET", "a", &value]);
    let reply = format!("${}\r\n{value}\r\n", value.len()).into_bytes();
    let several = format!("*3\r\n$1\r\na\r\n${}\r\n{value}\r\n$-1\r\n", value.len()).into_bytes();
    for seed in 1..=20 {
        let told = |endings: bool| {
            let (mut it, mut random, mut records) = (Conversation::new(), Random(seed), 0);
            let (most, is_even) = (*random.pick(&[600, 4096, 16_384]), random.one_in(2));
            let [asks, answers] =
                [CAPTURE.endings.requests, CAPTURE.endings.answers].map(|it| if endings { it } else { &[] });
            records += it.wire.turn(Client, &random.pieces(&sets, most, is_even), 1000, asks);
            it.answer("+OK\r\n");
            for (name, answer) in [("GET", &reply), ("MGET", &several)] {
                it.ask(&[name, "a"]);
                records += it.wire.turn(Server, &random.pieces(answer, most, is_even), 1000, answers);
            }
            it.ask(&["DEL", "a"]);
            it.answer("-ERR no\r\n");
            let told = it.wire.end(End::Closed);
            (told.iter().map(|it| (short(it), it.first_byte_ns, it.end_ns)).collect::<Vec<_>>(), records, most, is_even)
        };
        let (each, many, most, is_even) = told(false);
        let (together, few, ..) = told(true);
        assert_eq!(each, together, "{seed} {most} {is_even}");
        assert!(few < 20 || !is_even && few < many, "{few} of {many}: {most} {is_even}");
    }
}

/// What users store may look like commands.
const LIKE_COMMANDS: &[u8] = b"*2\r\n$3\r\nGET\r\n$6\r\nSECRET\r\nSECRET x\r\nSECRET\r\n";

#[test]
fn of_a_command_whose_rest_was_not_seen_no_value_is_taken_for_a_command() {
    for replies_between in [false, true] {
        let mut it = Conversation::new();
        it.ask(&["GET", "a"]);
        if !replies_between {
            it.answer("$-1\r\n");
        }
        let head = [b"*2001\r\n$4\r\nMSET\r\n$3\r\nkey\r\n$500\r\n", LIKE_COMMANDS].concat();
        it.piece(Client, &head, 5000, b"$3\r\n", false);
        for _ in 0..3 {
            it.piece(Client, LIKE_COMMANDS, 3000, b"", false);
            it.piece(Client, b"SECRET\r\n", 0, b"", false);
        }
        if replies_between {
            // To what was asked before, while the rest of it is still on its way.
            it.answer("$-1\r\n");
            it.piece(Client, LIKE_COMMANDS, 0, b"", false);
            it.piece(Client, LIKE_COMMANDS, 3000, b"", false);
        }
        it.answer("-OOM no\r\n");
        it.ask(&["INCR", "n"]);
        it.answer(":1\r\n");
        it.ask(&["DECR", "n"]);
        it.answer("-ERR x\r\n");
        let told = it.end();
        assert_eq!(told[..2], ["GET @0", "MSET failed OOM @0"], "{replies_between}");
        assert_eq!(told.last().map(String::as_str), Some("DECR failed ERR @0"), "{replies_between}");
        assert_eq!(told.contains(&"INCR @0".to_owned()), !replies_between);
        assert!(told.len() <= 4 && !format!("{told:?}").contains("SECRET"), "{told:?}");
    }
}

#[test]
fn replies_behind_a_command_that_was_cut_are_those_of_commands_that_were_not_seen() {
    let mut it = Conversation::new();
    it.piece(Client, b"*2001\r\n$4\r\nMSET\r\n$3\r\nkey\r\n", 9000, b"", false);
    it.answer("+OK\r\n$5\r\nother\r\n");
    it.ask(&["INCR", "n"]);
    it.answer("+OK\r\n");
    it.ask(&["DECR", "n"]);
    it.answer("-ERR x\r\n");
    assert_eq!(it.end(), ["MSET @0", "DECR failed ERR @0"]);
}

#[test]
fn after_a_loss_nothing_is_told_to_be_answered_until_an_exchange_was_seen_whole() {
    let mut it = Conversation::new();
    it.ask(&["GET", "a"]);
    it.piece(Server, &[], 10, &[], true);
    it.ask(&["INCR", "n"]);
    it.answer(":1\r\n");
    it.ask(&["DECR", "n"]);
    it.answer("-ERR x\r\n");
    it.ask(&["TTL", "n"]);
    assert_eq!(it.end(), ["GET Unseen @0", "DECR failed ERR @?", "TTL NoResponse @?"]);
}

#[test]
fn commands_that_are_not_told_are_counted_by_themselves_or_by_their_replies() {
    let lost = |it: &mut Conversation| it.wire.session.take_anomalies().requests_lost;
    // Of a turn the end of which was not seen.
    let mut it = Conversation::new();
    let cut = [&command(&["SET", "a", "1"]).repeat(3)[..], b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$50\r\n"].concat();
    it.piece(Client, &cut, 500, b"", false);
    it.answer(&"+OK\r\n".repeat(10));
    it.ask(&["GET", "a"]);
    assert_eq!(lost(&mut it), 6);
    it.answer("$-1\r\n");
    assert_eq!(it.end(), ["SET @0"; 4]);
    // Those that were open then are told, and no others until it is known again what answers what.
    let mut it = Conversation::new();
    it.piece(Client, &command(&["SET", "a", "1"]).repeat(3), 0, b"", false);
    it.piece(Server, &[], 10, &[], true);
    it.answer("+OK\r\n");
    it.piece(Client, &command(&["GET", "a"]).repeat(5), 0, b"", false);
    it.answer(&"$-1\r\n".repeat(5));
    it.ask(&["INCR", "n"]);
    assert_eq!(lost(&mut it), 5);
    it.answer(":1\r\n");
    assert_eq!(it.end(), ["SET Unseen @0", "SET Unseen @0", "SET Unseen @0", "INCR @?"]);
}

#[test]
fn what_was_open_when_it_was_met_is_not_answered_by_the_next() {
    // Two were open: a client that pipelines.
    let mut it = Conversation::in_midst();
    it.ask(&["GET", "a"]);
    it.answer(":1\r\n:2\r\n");
    it.ask(&["INCR", "a"]);
    it.answer(":3\r\n");
    it.ask(&["DECR", "a"]);
    it.answer("-ERR x\r\n");
    assert_eq!(it.end(), ["DECR failed ERR @?"]);
    // Nothing had moved for a while behind a reply.
    let mut it = Conversation::in_midst();
    it.answer(":1\r\n");
    it.wire.now += crate::protocols::in_use::QUIET_NS;
    it.ask(&["GET", "a"]);
    it.answer("-ERR y\r\n");
    assert_eq!(it.end(), ["GET failed ERR @?"]);
}

#[test]
fn what_is_recognised() {
    let known = |bytes: &[u8]| recognise(bytes);
    for request in [
        &command(&["GET", "a"])[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"PING\r\n",
        b"*3\r\n$8\r\nJSON.SET\r\n$1",
        &command(&["subscribe", "a", "b"]),
    ] {
        assert_eq!(known(request), Recognition::Request, "{}", request.escape_ascii());
        let end = request.iter().filter(|byte| **byte == b'\n').count().min(3);
        let whole = request.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(end - 1).unwrap().0;
        for len in 1..whole.min(request.len() - 1) {
            assert_eq!(known(&request[..len]), Recognition::Maybe, "{}", request[..len].escape_ascii());
        }
    }
    for response in [
        &b"+OK\r\n"[..],
        b"-ERR unknown command\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"$3\r\nabc\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$200\r\nxx",
        b"*1\r\n$3\r\n1ab\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n",
        b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
        b"*3\r\n$7\r\nmessage\r\n$1",
        b"_\r\n",
        b"#t\r\n",
        b">2\r\n",
    ] {
        assert_eq!(known(response), Recognition::Response, "{}", response.escape_ascii());
        assert_eq!(known(&response[..1]), Recognition::Maybe, "{}", response.escape_ascii());
    }
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"* OK IMAP4rev1\r\n",
        b"PONG\r\n",
        b"POST / HTTP/1.1",
        b"*01\r\n",
        b"*1\n$4\nPING\n",
        b"+ OK\r\n",
        b"\x16\x03\x01",
        b":x\r\n",
        b"$\r\n",
        b"*99999999\r\n",
        b"#x\r\n",
    ] {
        assert_eq!(known(other), Recognition::No, "{}", other.escape_ascii());
    }
}

proptest! {
    #[test]
    fn random_bytes_are_no_commands(bytes in proptest::collection::vec(any::<u8>(), 12..64)) {
        prop_assert_ne!(recognise(&bytes), Recognition::Request);
    }
}
