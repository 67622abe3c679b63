use super::{
    BODY, HEADER, METHOD, Recognition, Role, open, recognise,
    samples::{
        ack, channel_open, channel_open_ok, consume, deliver, frame, get, get_ok, greeting, method, publish, text,
    },
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
        let [preamble, start] = greeting();
        client.asks(&preamble).hears(&start).asks(&channel_open()).hears(&channel_open_ok());
        client
    }

    /// One that is older than the agent.
    fn older() -> Self {
        Self { wire: Wire::in_midst(open(Role::Client)) }
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

    fn end(&mut self) -> Vec<(Exchange, Messaging)> {
        self.wire.end_of_messages(End::Closed)
    }

    /// Name, destination, error, pattern and outcome of each.
    fn said(&mut self) -> Vec<String> {
        let said = |(exchange, it): (Exchange, Messaging)| {
            let destination = it.destination.unwrap_or_default();
            let error = it.error.map(|error| format!(" {error}")).unwrap_or_default();
            format!("{} {destination}{error} {:?} {:?}", it.operation, exchange.pattern, exchange.outcome)
        };
        self.end().into_iter().map(said).collect()
    }
}

#[test]
fn without_confirms_publishing_is_one_way() {
    let mut client = Client::new();
    client.asks(&publish("", "orders", b"secret", &[]));
    client.asks(&publish("shop", "", b"", &[])).asks(&publish("", "", b"1", &[]));
    client.hears(&method(20, 40, &[&404_u16.to_be_bytes(), &text("no"), &[0; 4]]));
    assert_eq!(
        client.said(),
        ["publish orders OneWay Complete", "publish shop OneWay Complete", "publish amq.default OneWay Complete"]
    );
}

#[test]
fn confirms_are_for_one_or_for_all_up_to_it() {
    let mut client = Client::new();
    client.asks(&method(85, 10, &[&[0]])).hears(&method(85, 11, &[]));
    for key in ["a", "b", "c", "d", "e"] {
        client.asks(&publish("", key, b"secret", &[]));
    }
    client.hears(&ack(120, 3, false)).hears(&ack(80, 2, true));
    client.hears(&method(20, 40, &[&403_u16.to_be_bytes(), &text("no"), &[0; 4]]));
    assert_eq!(
        client.said(),
        [
            "publish c nack RequestResponse Complete",
            "publish a RequestResponse Complete",
            "publish b RequestResponse Complete",
            "publish d 403 RequestResponse Complete",
            "publish e 403 RequestResponse Complete",
        ]
    );
}

#[test]
fn a_delivery_is_dealt_with_until_it_is_acknowledged() {
    let mut client = Client::new();
    client.asks(&consume("parcels", "", false)).hears(&method(60, 21, &[&text("amq.ctag-1")]));
    client.asks(&consume("news", "two", true)).hears(&method(60, 21, &[&text("two")]));
    client.hears(&deliver("amq.ctag-1", 1, "parcels", b"secret", &[("x", "y"), ("traceparent", CONTEXT)]));
    client.hears(&deliver("two", 2, "all", b"secret", &[])).hears(&deliver("three", 3, "all", b"secret", &[]));
    client.hears(&deliver("amq.ctag-1", 4, "late", b"secret", &[]));
    client.asks(&ack(80, 1, false));
    let told = client.end();
    let [(_, news), (_, unknown), (done, parcel), (left, _)] = &told[..] else { panic!("{told:#?}") };
    let link = TraceParent::parse(CONTEXT.as_bytes()).unwrap();
    assert_eq!((parcel.step, &parcel.links[..], done.parent), (MessagingStep::Process, &[link][..], None));
    assert_eq!((parcel.destination.as_deref(), parcel.body_bytes), (Some("parcels"), Some(6)));
    assert_eq!((done.start_ns, done.first_byte_ns), (9000, Some(13_000)));
    assert_eq!((news.step, news.destination.as_deref()), (MessagingStep::Receive, Some("all:news")));
    assert_eq!((unknown.step, unknown.destination.as_deref()), (MessagingStep::Receive, Some("all")));
    assert_eq!(left.outcome, Outcome::NoResponse);
    assert!(!format!("{told:?}").contains("secret"));
}

#[test]
fn a_message_that_is_there_is_got_and_settled() {
    let mut client = Client::new();
    client.asks(&get("orders")).hears(&method(60, 72, &[&text("")]));
    client.asks(&get("orders")).hears(&get_ok(1, "orders", b"secret")).asks(&ack(80, 1, false));
    client.asks(&get("none")).hears(&method(20, 40, &[&404_u16.to_be_bytes(), &text("no"), &[0; 4]]));
    assert_eq!(
        client.said(),
        ["get orders RequestResponse Complete", "ack orders OneWay Complete", "get none 404 RequestResponse Complete"]
    );
}

#[test]
fn a_message_may_have_a_body_of_several_frames_of_which_some_is_left_out() {
    let mut client = Client::new();
    let header = [&60_u16.to_be_bytes()[..], &[0, 0], &9000_u64.to_be_bytes(), &[0, 0]].concat();
    let bodies = [frame(BODY, 1, &[b'x'; 8000]), frame(BODY, 1, &[b'y'; 1000])];
    client.asks(&method(60, 40, &[&[0, 0], &text("shop"), &text("a"), &[0]])).asks(&frame(HEADER, 1, &header));
    client.piece(Sender::Client, &bodies[0][..64], bodies[0].len() as u64 - 64, false);
    client.asks(&bodies[1]).asks(&publish("shop", "b", b"1", &[("traceparent", CONTEXT)]));
    let told = client.end();
    let seen: Vec<_> = told.iter().map(|(it, messaging)| (it.outcome, it.pattern, messaging.body_bytes)).collect();
    let one_way = |bytes| (Outcome::Complete, Pattern::OneWay, Some(bytes));
    assert_eq!(seen, [one_way(9000), one_way(1)]);
    assert_eq!(told[1].0.parent, TraceParent::parse(CONTEXT.as_bytes()));
    assert!(told[1].1.carries_context && told[1].1.links.is_empty());
}

#[test]
fn a_second_header_ends_what_the_first_began() {
    let mut client = Client::new();
    let header = [&60_u16.to_be_bytes()[..], &[0, 0], &9000_u64.to_be_bytes(), &[0, 0]].concat();
    let publish = method(60, 40, &[&[0, 0], &text("shop"), &text("a"), &[0]]);
    client.asks(&publish).asks(&frame(HEADER, 1, &header)).asks(&frame(HEADER, 1, &header));
    client.asks(&frame(BODY, 1, b"x"));
    assert_eq!(client.wire.session.open_requests(), 0);
    assert_eq!(client.said(), ["publish shop:a RequestResponse Unseen"]);
}

#[test]
fn on_an_older_connection_nothing_is_taken_for_a_confirm() {
    let mut client = Client::older();
    client.asks(b"body of a message").asks(&publish("", "a", b"1", &[])).hears(&ack(80, 7, false));
    client.hears(&deliver("one", 3, "b", b"2", &[])).asks(&ack(80, 3, false));
    client.piece(Sender::Client, &[], 100, true);
    client.asks(b"the rest").asks(&publish("", "c", b"1", &[]));
    assert_eq!(client.said(), ["publish a OneWay Complete", "deliver b OneWay Complete", "publish c OneWay Complete"]);
}

#[test]
fn behind_frames_of_either_end_the_next_tells() {
    let idle = [8, 0, 0, 0, 0, 0, 0, 0xce];
    let behind = |bytes: &[u8]| recognise(&[&idle[..], &ack(80, 1, false), &idle, bytes].concat());
    assert_eq!(behind(&publish("", "a", b"1", &[])), Recognition::Request);
    assert_eq!(behind(&deliver("one", 3, "a", b"1", &[])), Recognition::Response);
    for nothing in [&[][..], &idle[..3], b"GET / HTTP/1.1"] {
        assert_eq!(behind(nothing), Recognition::Either);
    }
}

#[test]
fn random_bytes_are_no_request() {
    let mut random = Random(0xaffe);
    let mut taken = 0;
    for nth in 0..3_000_000 {
        let mut head: [u8; 24] = std::array::from_fn(|_| random.next() as u8);
        if nth % 2 == 0 {
            head[..6].copy_from_slice(&[METHOD, 0, 1, 0, 0, 0]);
        }
        taken += u32::from(!matches!(recognise(&head), Recognition::No | Recognition::Maybe));
    }
    assert_eq!(taken, 0);
}
