use super::*;
use crate::model::{
    exchange::{Db, Messaging, MessagingStep},
    span::{Kind, Status},
    trace_context::TraceParent,
};

fn query(change: impl FnOnce(&mut Db)) -> Exchange {
    let mut db = Db {
        system: "postgresql",
        namespace: Some("shop".into()),
        collection: Some("orders".into()),
        operation: Some("SELECT".into()),
        ..Db::default()
    };
    change(&mut db);
    exchange(Role::Client, Operation::Db(Box::new(db)))
}

fn message(step: MessagingStep, role: Role) -> Exchange {
    let messaging = Messaging {
        system: "kafka",
        operation: "send".into(),
        step,
        destination: Some("orders".into()),
        partition: Some("3".into()),
        messages: Some(2),
        ..Messaging::default()
    };
    exchange(role, Operation::Messaging(Box::new(messaging)))
}

#[test]
fn a_query_has_what_the_conventions_name() {
    let span = span(query(|db| db.returned_rows = Some(2)));
    assert_eq!((span.kind, span.status, span.name.as_str()), (Kind::Client, Status::Unset, "SELECT orders"));
    assert_eq!(
        shown(&span.attributes),
        [
            "db.system.name=postgresql",
            "db.namespace=shop",
            "db.collection.name=orders",
            "db.operation.name=SELECT",
            "db.response.returned_rows=2",
            "server.address=10.0.0.2",
            "server.port=51234",
            "network.peer.address=10.0.0.2",
            "network.peer.port=51234",
            "beyla.parent.evidence=none",
        ]
    );
}

#[test]
fn a_query_is_named_by_what_is_known_of_it() {
    let name = |change: fn(&mut Db)| span(query(change)).name.to_string();
    assert_eq!(name(|db| db.summary = Some("SELECT orders items".into())), "SELECT orders items");
    assert_eq!(name(|db| db.collection = None), "SELECT shop");
    assert_eq!(name(|db| (db.collection, db.namespace) = (None, None)), "SELECT");
    assert_eq!(name(|db| (db.collection, db.namespace, db.operation) = (None, None, None)), "postgresql");
}

#[test]
fn a_query_that_failed_tells_the_databases_own_code() {
    let failed = |status: Option<&str>| {
        let span = span(query(|db| (db.failed, db.status) = (true, status.map(Into::into))));
        (span.status, attribute(&span, "db.response.status_code"), attribute(&span, "error.type"))
    };
    assert_eq!(failed(Some("42P01")), (Status::Error, Some("42P01".to_owned()), Some("42P01".to_owned())));
    assert_eq!(failed(None), (Status::Error, None, Some("_OTHER".to_owned())));
}

#[test]
fn the_end_of_a_query_counts_where_there_is_no_code() {
    let cut = span(ended(Outcome::NoResponse, query(|_| {})));
    assert_eq!((cut.status, attribute(&cut, "error.type").as_deref()), (Status::Error, Some("no_response")));
}

#[test]
fn queries_are_measured_in_the_buckets_of_their_own() {
    let mut stage = stage(Config::default());
    let resource = resource();
    stage.on_exchange(query(|_| {}), &connection(), &resource, None);
    let metrics = stage.collect(9);
    let points = points(&metrics, "db.client.operation.duration");
    assert_eq!(points[0].bounds[..], [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
    assert_eq!(metrics.len(), 1);
}

#[test]
fn what_is_done_with_a_message_says_its_kind() {
    for (step, role, kind, word) in [
        (MessagingStep::Send, Role::Client, Kind::Producer, "send"),
        (MessagingStep::Receive, Role::Client, Kind::Client, "receive"),
        (MessagingStep::Process, Role::Client, Kind::Consumer, "process"),
        (MessagingStep::Settle, Role::Client, Kind::Client, "settle"),
        (MessagingStep::Send, Role::Server, Kind::Server, "send"),
    ] {
        let span = span(message(step, role));
        assert_eq!((span.kind, span.name.as_str()), (kind, "send orders"));
        assert_eq!(attribute(&span, "messaging.operation.type").as_deref(), Some(word));
        assert_eq!(attribute(&span, "messaging.batch.message_count").as_deref(), Some("2"));
    }
    let mut stage = stage(Config::default());
    let resource = resource();
    stage.on_exchange(message(MessagingStep::Send, Role::Client), &connection(), &resource, None);
    // Brokers have no instrument: they are in none.
    stage.on_exchange(message(MessagingStep::Send, Role::Server), &connection(), &resource, None);
    let metrics = stage.collect(9);
    assert_eq!(points(&metrics, "messaging.client.operation.duration")[0].count, 1);
    assert_eq!(counted(&metrics, "messaging.client.sent.messages"), [2.0]);
    assert_eq!(metrics.len(), 2);
}

/// The values of a counter.
fn counted(metrics: &[Metric], name: &str) -> Vec<f64> {
    let metric = metrics.iter().find(|metric| metric.name == name);
    match metric.map(|metric| &metric.points) {
        Some(Points::Counter(points)) => points.iter().map(|point| point.value).collect(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn dealing_with_messages_is_measured_by_itself() {
    let mut stage = stage(Config::default());
    let resource = resource();
    stage.on_exchange(message(MessagingStep::Process, Role::Client), &connection(), &resource, None);
    let metrics = stage.collect(9);
    assert_eq!(points(&metrics, "messaging.process.duration")[0].count, 1);
    assert_eq!(counted(&metrics, "messaging.client.consumed.messages"), [2.0]);
    assert_eq!(metrics.len(), 2);
}

/// Name, attribute of the metrics, and of the span.
fn destination(change: impl Fn(&mut Messaging)) -> (String, Option<String>, Option<String>) {
    let mut stage = stage(Config::default());
    let resource = resource();
    let mut exchange = message(MessagingStep::Send, Role::Client);
    if let Operation::Messaging(messaging) = &mut exchange.operation {
        change(messaging);
    }
    let span = stage.on_exchange(exchange, &connection(), &resource, None).unwrap();
    let metrics = stage.collect(9);
    let labels = shown(&points(&metrics, "messaging.client.operation.duration")[0].attributes);
    let label = labels.iter().find_map(|label| label.strip_prefix("messaging.destination.").map(str::to_owned));
    (
        span.name.to_string(),
        label.filter(|it| !it.starts_with("partition")),
        attribute(&span, "messaging.destination.name"),
    )
}

#[test]
fn a_destination_that_is_one_of_many_is_on_the_span_alone() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(destination(|_| {}), ("send orders".to_owned(), some("name=orders"), some("orders")));
    assert_eq!(destination(|it| it.varies = true), ("send".to_owned(), None, some("orders")));
    assert_eq!(destination(|it| it.is_temporary = true), ("send (temporary)".to_owned(), None, some("orders")));
    let of_pattern = destination(|it| (it.varies, it.template) = (true, Some("o.*".into())));
    assert_eq!(of_pattern, ("send o.*".to_owned(), some("template=o.*"), some("orders")));
}

#[test]
fn who_has_made_a_message_is_its_producer_and_contexts_of_others_are_linked() {
    let mut exchange = message(MessagingStep::Send, Role::Client);
    let context = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    if let Operation::Messaging(messaging) = &mut exchange.operation {
        (messaging.carries_context, messaging.links) = (true, vec![context]);
    }
    let span = span(exchange);
    assert_eq!(span.kind, Kind::Client);
    assert_eq!((span.links[0].trace_id, span.links[0].span_id), (context.trace_id, context.span_id));
}
