//! Every protocol of the registry, from its sample conversations to spans and metrics.

use super::*;
use crate::{
    capture::{
        event::{Data, MetAt, Open, TcpState},
        testing,
    },
    conn::{Connections, Limits},
    model::{exchange::Event, ids::ConnectionId, net::Direction, span::Kind},
    protocols::{
        Entry, REGISTRY,
        conformance::{Sample, Sender},
    },
};

const CONN: ConnectionId = ConnectionId(5);
const AT_NS: u64 = 1_000_000_000;

/// Exchanges of a conversation that a watched client has, with their connection.
fn told(sample: &Sample) -> Vec<(ConnectionInfo, Exchange)> {
    let mut connections = Connections::new(Limits::default(), 0);
    let mut told = Vec::new();
    let mut take = |connection: &ConnectionInfo, event: Event| {
        told.extend(event.finished().map(|exchange| (connection.clone(), exchange)));
    };
    let ends = testing::tcp([192, 0, 2, 9], 6000);
    let open = Open { ends, met_at: MetAt::Beginning, ..testing::open(CONN, AT_NS) };
    connections.on_open(&open, |_| None, &mut take);
    let mut moved = [0_u64; 2];
    for (nth, (sender, bytes)) in sample.pieces.iter().enumerate() {
        let direction = if *sender == Sender::Client { Direction::Sent } else { Direction::Received };
        let (position, other_position) = (moved[direction.index()], moved[direction.other().index()]);
        let data = testing::data(CONN, AT_NS + 1_000_000 * (1 + nth as u64), direction, bytes);
        moved[direction.index()] += bytes.len() as u64;
        connections.on_data(&Data { position, other_position, ..data }, &mut take);
    }
    let mut state = testing::state(CONN, 2 * AT_NS, TcpState::Close);
    [state.received, state.sent] = moved;
    connections.on_state(&state, &mut take);
    told
}

fn each(mut check: impl FnMut(&'static Entry, &Sample)) {
    for entry in REGISTRY {
        for sample in &(entry.samples)() {
            println!("{}, {}", entry.name, sample.name);
            check(entry, sample);
        }
    }
}

#[test]
fn each_exchange_of_a_sample_becomes_a_span_and_is_counted_once() {
    each(|_, sample| {
        let mut stage = stage(Config::default());
        let told = told(sample);
        assert_eq!(told.len(), sample.exchanges);
        for (connection, exchange) in told {
            let protocol = exchange.protocol;
            let span = stage.on_exchange(exchange, &connection, &resource(), None).unwrap();
            assert!(matches!(span.kind, Kind::Client | Kind::Producer | Kind::Consumer), "{span:?}");
            assert!(!span.name.is_empty() && span.start_unix_ns <= span.end_unix_ns, "{span:?}");
            assert!(attribute(&span, "server.address").is_some(), "{protocol}: {span:?}");
        }
        let counted: u64 = stage
            .counts()
            .exchanges
            .iter()
            .map(|(_, outcome, count)| {
                assert_eq!(*outcome, "complete");
                count
            })
            .sum();
        assert_eq!(counted, sample.exchanges as u64);
        let metrics = stage.collect(9);
        let durations = metrics.iter().filter(|metric| metric.name.ends_with(".duration"));
        let count: u64 = durations.flat_map(|metric| points(&metrics, metric.name)).map(|point| point.count).sum();
        assert_eq!(count, sample.exchanges as u64, "{metrics:?}");
    });
}

#[test]
fn each_protocol_has_seeds_for_fuzzing() {
    for entry in REGISTRY {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(entry.name);
        let seeds = std::fs::read_dir(&folder).map(Iterator::count).unwrap_or_default();
        assert!(seeds > 0, "{} has none", folder.display());
    }
}
