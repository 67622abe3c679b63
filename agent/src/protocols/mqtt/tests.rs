use super::{
    Recognition, Role, open, recognise,
    samples::{PINGREQ, PINGRESP, ack, connack, connect, packet, publish, publish5, subscribe, text},
};
use crate::{
    model::{
        exchange::{Exchange, Messaging, MessagingStep, Outcome, Pattern},
        trace_context::TraceParent,
    },
    protocols::{
        End,
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
    fn new(version: u8) -> Self {
        let mut client = Self { wire: Wire::new(open(Role::Client)) };
        client.asks(&connect(version)).hears(&connack(version));
        client
    }

    /// One that is older than the agent.
    fn older() -> Self {
        Self { wire: Wire::in_midst(open(Role::Client)) }
    }

    fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, lost: bool) {
        self.wire.piece(by, data, skipped, &[], lost);
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

    /// Topic, error, pattern and outcome of each.
    fn said(&mut self) -> Vec<String> {
        let said = |(exchange, it): (Exchange, Messaging)| {
            let error = it.error.map(|error| format!(" {error}")).unwrap_or_default();
            let topic = it.destination.unwrap_or_default();
            format!("{} {topic}{error} {:?} {:?}", it.operation, exchange.pattern, exchange.outcome)
        };
        self.end().into_iter().map(said).collect()
    }
}

#[test]
fn each_quality_of_service_ends_as_it_does() {
    let mut client = Client::new(5);
    client.asks(&publish5(0, "a", 0, &[], b"secret")).asks(&publish5(1, "b", 7, &[], b"secret"));
    client.asks(&publish5(2, "c", 8, &[], b"secret")).asks(&publish5(1, "d", 9, &[], b"secret"));
    client.hears(&ack(0x50, 8, &[0x10])).asks(&ack(0x62, 8, &[])).hears(&ack(0x70, 8, &[]));
    client.hears(&ack(0x40, 7, &[0x10, 0]));
    assert_eq!(
        client.said(),
        [
            "publish a OneWay Complete",
            "publish c RequestResponse Complete",
            "publish b RequestResponse Complete",
            "publish d RequestResponse NoResponse",
        ]
    );
}

#[test]
fn what_is_sent_again_is_the_same_message() {
    let mut client = Client::new(4);
    let mut again = publish(1, "a", 7, b"secret");
    client.asks(&again);
    again[0] |= 8;
    client.asks(&again).hears(&ack(0x40, 7, &[]));
    client.asks(&publish(1, "b", 7, b"secret")).hears(&ack(0x40, 7, &[]));
    assert_eq!(client.said(), ["publish a RequestResponse Complete", "publish b RequestResponse Complete"]);
}

#[test]
fn a_delivery_is_dealt_with_until_the_client_has_acknowledged_it() {
    let mut client = Client::new(5);
    client.asks(&subscribe(5, &["$share/readers/sensors/+", "news"]));
    let properties = [&[0x26][..], &text("traceparent"), &text(CONTEXT), &[0x23, 0, 4]].concat();
    client.hears(&publish5(1, "sensors/17", 1, &properties, b"secret")).asks(&ack(0x40, 1, &[]));
    client.hears(&publish5(2, "", 2, &[0x23, 0, 4], b"")).asks(&ack(0x50, 2, &[]));
    client.hears(&ack(0x62, 2, &[])).asks(&ack(0x70, 2, &[]));
    client.hears(&publish5(0, "news", 0, &[], b"secret"));
    let told = client.end();
    let [(one, first), (two, second), (three, third)] = &told[..] else { panic!("{told:#?}") };
    assert_eq!((first.template.as_deref(), first.consumer_group.as_deref()), (Some("sensors/+"), Some("readers")));
    assert_eq!((first.step, first.varies, first.body_bytes), (MessagingStep::Process, true, Some(6)));
    assert_eq!((one.parent, &first.links[..]), (None, &[TraceParent::parse(CONTEXT.as_bytes()).unwrap()][..]));
    assert_eq!((second.destination.as_deref(), two.outcome), (Some("sensors/17"), Outcome::Complete));
    assert_eq!((third.step, three.pattern, third.varies), (MessagingStep::Receive, Pattern::OneWay, false));
    assert_eq!(first.client_id.as_deref(), Some("sensor"));
    assert!(!format!("{told:?}").contains("secret"));
}

#[test]
fn the_context_of_a_message_is_the_parent_of_publishing_it() {
    let mut client = Client::new(5);
    let properties = [&[0x26][..], &text("x"), &text("y"), &[0x26], &text("traceparent"), &text(CONTEXT)].concat();
    client.asks(&publish5(0, "a", 0, &properties, b"secret"));
    let told = client.end();
    assert_eq!(told[0].0.parent, TraceParent::parse(CONTEXT.as_bytes()));
    assert!(told[0].1.carries_context && told[0].1.links.is_empty());
}

#[test]
fn large_payloads_are_passed_over_and_a_closed_connection_says_why() {
    let mut client = Client::new(5);
    let large = publish5(1, "a", 1, &[], &[b'v'; 200_000]);
    client.piece(Sender::Client, &large[..64], large.len() as u64 - 64, false);
    client.hears(&packet(0xe0, &[&[0x95, 0]]));
    let told = client.end();
    assert_eq!((told[0].1.body_bytes, told[0].1.error.as_deref()), (Some(200_000), Some("0x95")));
}

#[test]
fn an_older_connection_is_known_from_a_ping_on_and_its_version_is_not() {
    let mut client = Client::older();
    client.asks(b"the rest of something").asks(PINGREQ).hears(PINGRESP);
    client.asks(&publish(1, "a", 1, b"secret")).hears(&ack(0x40, 1, &[]));
    client.piece(Sender::Client, &[], 100, true);
    client.asks(b"the rest of something").asks(&publish(1, "b", 1, b"secret")).hears(&ack(0x40, 1, &[]));
    let told = client.end();
    let seen: Vec<_> = told.iter().map(|(it, messaging)| (it.outcome, messaging.body_bytes)).collect();
    assert_eq!(seen, [(Outcome::Complete, None); 2]);
}

#[test]
fn only_what_one_end_alone_sends_says_who_is_who() {
    assert_eq!(recognise(&connect(4)), Recognition::Request);
    assert_eq!(recognise(&connack(5)), Recognition::Response);
    assert_eq!(recognise(&subscribe(5, &["a/#"])), Recognition::Request);
    assert_eq!(recognise(PINGREQ), Recognition::Request);
    assert_eq!(recognise(PINGRESP), Recognition::Response);
    assert_eq!(recognise(&publish(1, "a", 1, b"")), Recognition::No);
    assert_eq!(recognise(b"\x10\x10\x00\x04MQTX\x04"), Recognition::No);
    let mut random = Random(0xaffe);
    let mut taken = 0;
    for _ in 0..3_000_000 {
        let head: [u8; 24] = std::array::from_fn(|_| random.next() as u8);
        taken += u32::from(!matches!(recognise(&head), Recognition::No | Recognition::Maybe));
    }
    assert_eq!(taken, 0);
}
