use super::{
    Recognition, Role, open, recognise,
    samples::{CONNECT, INFO, with, with_headers},
};
use crate::{
    model::{
        exchange::{Exchange, Messaging, MessagingStep, Outcome, Pattern},
        trace_context::TraceParent,
    },
    protocols::{
        End, Interest,
        conformance::Sender,
        testing::{Random, Wire},
    },
};

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A client's connection.
struct Client {
    wire: Wire,
}

impl Client {
    fn new() -> Self {
        let mut client = Self { wire: Wire::new(open(Role::Client)) };
        client.hears(INFO).asks(CONNECT).hears("PONG\r\n");
        client
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, lost: bool) {
        self.wire.piece(by, data, skipped, &[], lost);
    }

    fn asks(&mut self, text: &str) -> &mut Self {
        self.piece(Sender::Client, text.as_bytes(), 0, false);
        self
    }

    fn hears(&mut self, text: &str) -> &mut Self {
        self.piece(Sender::Server, text.as_bytes(), 0, false);
        self
    }

    fn end(&mut self) -> Vec<(Exchange, Messaging)> {
        self.wire.end_of_messages(End::Closed)
    }
}

#[test]
fn publishing_is_one_way_unless_an_answer_is_asked_for() {
    let mut client = Client::new();
    client.asks(&with("PUB news", "secret")).asks(&with("PUB news elsewhere", "secret"));
    client.asks("SUB mine.* 4\r\n").asks(&with("PUB questions mine.1", "secret"));
    client.asks(&with("PUB orders.4711 _INBOX.x", "secret"));
    client.hears(&with("MSG mine.1 4", "secret"));
    let told = client.end();
    let seen: Vec<_> = told
        .iter()
        .map(|(it, messaging)| (messaging.destination.as_deref().unwrap(), it.pattern, it.outcome))
        .collect();
    assert_eq!(
        seen,
        [
            ("news", Pattern::OneWay, Outcome::Complete),
            ("news", Pattern::OneWay, Outcome::Complete),
            ("questions", Pattern::RequestResponse, Outcome::Complete),
            ("orders.4711", Pattern::RequestResponse, Outcome::NoResponse),
        ]
    );
    assert!(told[3].1.varies && !told[2].1.varies);
    assert_eq!(told[0].1.body_bytes, Some(6));
    assert!(!format!("{told:?}").contains("secret"));
}

#[test]
fn what_is_delivered_has_its_group_and_what_was_subscribed_to() {
    let mut client = Client::new();
    client.asks("SUB sensors.*.heat readers 9\r\n");
    client.hears(&with_headers("HMSG sensors.17.heat 9", &format!("\r\nTraceparent: {CONTEXT}"), "secret"));
    client.hears(&with("MSG unknown 3 someone", "secret"));
    let told = client.end();
    let [(_, one), (_, other)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((one.step, one.template.as_deref()), (MessagingStep::Receive, Some("sensors.*.heat")));
    assert_eq!((one.consumer_group.as_deref(), one.messages, one.body_bytes), (Some("readers"), Some(1), Some(6)));
    assert_eq!(one.links, [TraceParent::parse(CONTEXT.as_bytes()).unwrap()]);
    assert_eq!((other.destination.as_deref(), &other.template), (Some("unknown"), &None));
}

#[test]
fn the_context_of_a_message_is_the_parent_of_publishing_it() {
    let mut client = Client::new();
    client.asks(&with_headers("HPUB news", &format!("\r\ntraceparent:{CONTEXT}\r\nx:y"), "secret"));
    let told = client.end();
    assert_eq!(told[0].0.parent, TraceParent::parse(CONTEXT.as_bytes()));
    assert!(told[0].1.carries_context && told[0].1.links.is_empty());
}

#[test]
fn questions_to_the_server_and_their_answers_are_no_messages() {
    let mut client = Client::new();
    client.asks(&with("PUB $JS.API.STREAM.INFO.S _INBOX.q.1", "")).hears(&with("MSG _INBOX.q.1 1", "{\"type\":\"x\"}"));
    client.asks(&with("PUB $JS.API.CONSUMER.MSG.NEXT.S.C _INBOX.q.2", "{}"));
    client.hears(&with("MSG orders 1 $JS.ACK.S.C.1.1.1.1.0", "secret"));
    client.hears(&with_headers("HMSG _INBOX.q.2 1", " 408 Request Timeout", ""));
    client.asks(&with("PUB $JS.ACK.S.C.1.1.1.1.0 _INBOX.q.3", "+ACK"));
    let told = client.end();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].1.step, told[0].0.outcome), (MessagingStep::Process, Outcome::Complete));
}

#[test]
fn large_payloads_are_passed_over() {
    let mut client = Client::new();
    let large = with("PUB news", &"secret".repeat(100_000)).into_bytes();
    client.piece(Sender::Client, &large[..64], large.len() as u64 - 64, false);
    client.asks(&with("PUB bills", ""));
    let told: Vec<_> = client.end().into_iter().map(|(_, it)| it.body_bytes).collect();
    assert_eq!(told, [Some(600_000), Some(0)]);
}

#[test]
fn other_lines_are_no_commands() {
    for text in [
        "PUBLISH x 1\r\n",
        "PUB a b c 5\r\nhello\r\n",
        "PUB a 5\r\nhello!!",
        "GET / HTTP/1.1\r\n",
        "PUB a\r\n",
        "SUB /a HTTP/1.1\r\n",
    ] {
        assert_eq!(recognise(text.as_bytes()), Recognition::No, "{text}");
    }
    assert_eq!(recognise(with("PUB a", "hello").as_bytes()), Recognition::Request);
    assert_eq!(recognise(with("MSG a 1", "hello").as_bytes()), Recognition::Response);
    assert_eq!(recognise(b"PING\r\nSUB a 1\r\n"), Recognition::Request, "the first says nothing");
    assert_eq!(recognise((with("PONG\r\nMSG a 1", "hello") + "MSG").as_bytes()), Recognition::Response);
    assert_eq!(recognise(b"PING\r\nPONG\r\nPU"), Recognition::Maybe);
    assert_eq!(recognise(b"PING\r\nPOST / HTTP/1.1\r\n"), Recognition::No);
    assert_eq!(recognise(INFO.as_bytes()), Recognition::Maybe, "a server speaks first, and a client answers");
    let mut random = Random(0xaffe);
    for _ in 0..1_000_000 {
        let head: [u8; 24] = std::array::from_fn(|_| random.next() as u8);
        assert!(matches!(recognise(&head), Recognition::No | Recognition::Maybe));
    }
}

#[test]
fn what_could_not_be_read_is_counted_until_a_piece_begins_with_a_message() {
    let mut client = Client::new();
    let two = with("PUB news", "secret").repeat(2);
    client.piece(Sender::Client, two.as_bytes(), 500, false);
    client.piece(Sender::Client, b"rest of something", 83, false);
    client.asks(&with("PUB news", "secret")).hears(&with("MSG news 1", "secret"));
    assert_eq!(client.wire.session.take_anomalies().unread, [600, 0]);
    client.piece(Sender::Server, b"", 70, true);
    assert_eq!(client.wire.session.take_anomalies().unread, [0, 70]);
    assert_eq!(client.end().len(), 4);
}

#[test]
fn nothing_is_wanted_of_what_is_encrypted() {
    let mut client = Wire::new(open(Role::Client));
    client.whole(Sender::Server, INFO.as_bytes());
    assert_eq!(client.whole(Sender::Client, &[0x16, 3, 1, 2, 0, 1]), Interest::Nothing);
    assert_eq!(client.end(End::Closed), []);
}
