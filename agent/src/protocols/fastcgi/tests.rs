use super::{
    NAME, is_certain, open, recognise,
    record::BEGINNING,
    samples::{end, record, request},
};
use crate::{
    model::{
        exchange::{Exchange, Operation, Outcome},
        net::Role,
        propagation::{Format, Propagation},
    },
    protocols::{
        End, REGISTRY, Recognition,
        conformance::Sender::{self, Client, Server},
        testing::{Random, Wire},
    },
};

struct Conversation {
    wire: Wire,
}

impl Conversation {
    fn new() -> Self {
        let mut wire = Wire::new(open(Role::Server));
        let propagation = Propagation { formats: vec![Format::TraceContext], ..Propagation::default() };
        wire.told.of(|out| out.set_propagation(propagation));
        Self { wire }
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, tail: &[u8], lost: bool) {
        self.wire.piece(by, data, skipped, tail, lost);
    }

    /// As it is captured: the first 2 KiB, and the last bytes.
    fn captured(&mut self, by: Sender, data: &[u8]) {
        let head = data.len().min(2048);
        self.piece(
            by,
            &data[..head],
            (data.len() - head) as u64,
            &data[data.len().saturating_sub(32).max(head)..],
            false,
        );
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) {
        self.piece(Client, bytes.as_ref(), 0, &[], false);
    }

    fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        self.piece(Server, bytes.as_ref(), 0, &[], false);
    }

    fn exchanges(mut self) -> Vec<Exchange> {
        self.wire.end(End::Closed)
    }

    fn end(self) -> Vec<String> {
        self.exchanges().iter().map(short).collect()
    }
}

/// Method, target, status, lengths, outcome.
fn short(exchange: &Exchange) -> String {
    let Operation::Http(http) = &exchange.operation else { panic!("{exchange:?}") };
    assert_eq!(exchange.protocol, NAME);
    let text = |text: &Option<compact_str::CompactString>| text.as_deref().unwrap_or("?").to_owned();
    let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    let status = number(http.status.map(u64::from));
    let outcome =
        if exchange.outcome == Outcome::Complete { String::new() } else { format!(" {:?}", exchange.outcome) };
    format!("{} {} {status} {}{outcome}", text(&http.method), text(&http.target), number(http.response_body_bytes))
}

fn get(id: u16, target: &str) -> Vec<u8> {
    request(id, &[("REQUEST_METHOD", "GET"), ("REQUEST_URI", target)], b"")
}

#[test]
fn what_a_request_says_is_told() {
    let mut it = Conversation::new();
    let long = format!("/{}", "x".repeat(300));
    it.ask(request(
        1,
        &[
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", &long),
            ("SCRIPT_NAME", "/index.php"),
            ("HTTP_HOST", "shop.example"),
            ("HTTP_USER_AGENT", "curl"),
            ("HTTP_TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("HTTP_AUTHORIZATION", "secret"),
            ("HTTPS", "on"),
            ("CONTENT_LENGTH", "5"),
        ],
        b"hello",
    ));
    it.answer([record(6, 1, b"Content-type: text/html\n\nhello"), end(1, 0)].concat());
    it.ask(request(1, &[("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/index.php")], b""));
    it.answer([record(6, 1, b"status: 418\r\n\r\n"), end(1, 0)].concat());
    let told = it.exchanges();
    assert_eq!(
        told.iter().map(short).collect::<Vec<_>>(),
        [format!("POST {long} 200 5"), "GET /index.php 418 0".to_owned()]
    );
    let Operation::Http(http) = &told[0].operation else { panic!("{told:?}") };
    assert_eq!((http.host.as_deref(), http.user_agent.as_deref()), (Some("shop.example"), Some("curl")));
    assert_eq!((http.scheme.as_deref(), http.request_body_bytes), (Some("https"), Some(5)));
    assert_eq!(told[0].parent.unwrap().trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
}

#[test]
fn fields_may_come_in_several_records_and_be_longer_than_what_is_kept() {
    let mut it = Conversation::new();
    it.ask(get(1, "/a"));
    it.answer(record(6, 1, b"Stat"));
    it.answer(record(6, 1, b"us: 404 no\r\n\r"));
    it.answer([record(6, 1, b"\nbody"), end(1, 0)].concat());
    it.ask(get(1, "/b"));
    let long = format!("Status: 503 x\r\nX: {}\r\n\r\nbody", "y".repeat(5000));
    it.answer([record(6, 1, long.as_bytes()), end(1, 0)].concat());
    it.ask(get(1, "/c"));
    it.answer(end(1, 2));
    assert_eq!(it.end(), ["GET /a 404 4", "GET /b 503 ?", "GET /c ? ? NoResponse"]);
}

#[test]
fn a_large_response_is_over_with_the_record_that_says_so() {
    let body = "x".repeat(30_000);
    let mut it = Conversation::new();
    it.ask(get(1, "/one-record"));
    it.captured(Server, &[record(6, 1, format!("A: b\r\n\r\n{body}").as_bytes()), end(1, 0)].concat());
    it.ask(get(1, "/several"));
    let first = record(6, 1, format!("A: b\r\n\r\n{body}").as_bytes());
    it.captured(Server, &[first, record(6, 1, body.as_bytes()), record(6, 1, body.as_bytes())].concat());
    it.captured(Server, &record(6, 1, body.as_bytes())[100..]);
    it.captured(Server, &[&body.as_bytes()[..7000], &end(1, 0)].concat());
    it.ask(get(1, "/next"));
    it.answer([record(6, 1, b"Status: 202\r\n\r\n"), end(1, 0)].concat());
    assert_eq!(it.end(), ["GET /one-record 200 30000", "GET /several 200 ?", "GET /next 202 0"]);
}

#[test]
fn a_large_request_is_passed_over() {
    let parameters = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/up"), ("CONTENT_LENGTH", "90000")];
    let asked = request(1, &parameters, &[b'x'; 20_000]);
    let mut it = Conversation::new();
    it.captured(
        Client,
        &[asked[..asked.len() - 8].to_vec(), record(5, 1, &[b'x'; 30_000]), record(5, 1, &[b'x'; 30_000])].concat(),
    );
    it.captured(Client, &[record(5, 1, &[b'x'; 10_000]), record(5, 1, b"")].concat());
    it.answer([record(6, 1, b"Status: 201\r\n\r\nok"), end(1, 0)].concat());
    it.ask(get(1, "/next"));
    it.answer([record(6, 1, b"Status: 202\r\n\r\n"), end(1, 0)].concat());
    assert_eq!(it.end(), ["POST /up 201 2", "GET /next 202 0"]);
}

#[test]
fn what_was_lost_is_not_told_to_be_answered() {
    let mut it = Conversation::new();
    it.ask(get(1, "/a"));
    it.piece(Server, &[], 40, &[], true);
    it.ask(get(1, "/b"));
    it.answer([record(6, 1, b"Status: 202\r\n\r\n"), end(1, 0)].concat());
    assert_eq!(it.end(), ["GET /a ? ? Unseen", "GET /b 202 0"]);
    let mut it = Conversation::new();
    it.wire.session.begin_in_use(false);
    it.answer(&record(6, 1, b"the rest of something")[3..]);
    it.ask(get(1, "/a"));
    it.answer([record(6, 1, b"Status: 202\r\n\r\n"), end(1, 0)].concat());
    it.ask(get(1, "/b"));
    assert_eq!(it.end(), ["GET /a 202 0", "GET /b ? ? NoResponse"]);
}

#[test]
fn what_is_recognised() {
    let asked = get(1, "/a");
    for len in 1..asked.len() {
        let part = if len < BEGINNING { Recognition::Maybe } else { Recognition::Request };
        assert_eq!(recognise(&asked[..len]), part, "{len}");
        assert_eq!(is_certain(&asked[..len]), len >= BEGINNING);
    }
    for answered in [record(6, 7, b"Status: 200\r\n\r\n"), record(7, 1, b"PHP message: x"), end(1, 0)] {
        let least = if answered[1] == 3 { 13 } else { 8 };
        for len in 1..answered.len() {
            let part = if len < least { Recognition::Maybe } else { Recognition::Response };
            assert_eq!(recognise(&answered[..len]), part, "{len} of {}", answered.escape_ascii());
        }
    }
    for other in [
        &b"\x01\x01\x00\x00\x00\x08\x00\x00"[..],
        b"\x02\x01\x00\x01\x00\x08\x00\x00",
        b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x07",
        b"\x01\x04\x00\x01\x00\x08\x00\x00",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
    ] {
        assert_eq!(recognise(other), Recognition::No, "{}", other.escape_ascii());
    }
}

#[test]
fn random_heads_are_no_requests() {
    let mut random = Random(0x6663);
    for _ in 0..1_000_000 {
        let mut head = [0; 24];
        head.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
        if random.one_in(2) {
            head[..4].copy_from_slice(&[1, 1, 0, 1]);
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
