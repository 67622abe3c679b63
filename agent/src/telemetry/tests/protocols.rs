//! Every protocol of the registry, from its sample conversations to spans and metrics.

use ebpf_common::events::{AF_INET, Data, EventKind, MET_AT_BEGINNING, Open, RECEIVED, SENT, State, TCP_CLOSE};
use zerocopy::FromZeros as _;

use super::*;
use crate::{
    conn::{Connections, Limits},
    model::{exchange::Event, span::Kind},
    protocols::{
        Entry, REGISTRY,
        conformance::{Sample, Sender},
    },
};

const CONN: u64 = 5;
const AT_NS: u64 = 1_000_000_000;

/// Exchanges of a conversation that a watched client has, with their connection.
fn told(sample: &Sample) -> Vec<(ConnectionInfo, Exchange)> {
    let mut connections = Connections::new(Limits::default(), 0);
    let mut told = Vec::new();
    let mut take = |connection: &ConnectionInfo, event: Event| {
        told.extend(event.finished().map(|exchange| (connection.clone(), exchange)));
    };
    let mut open = Open::new_zeroed();
    (open.kind, open.conn, open.tgid, open.at_ns) = (EventKind::Open as u32, CONN, 7, AT_NS);
    (open.family, open.state, open.remote_port) = (AF_INET, 1 | MET_AT_BEGINNING, 6000);
    open.remote_addr[..4].copy_from_slice(&[192, 0, 2, 9]);
    connections.on_open(&open, |_| None, &mut take);
    let mut moved = [0_u64; 2];
    for (nth, (sender, bytes)) in sample.pieces.iter().enumerate() {
        let direction = if *sender == Sender::Client { SENT } else { RECEIVED };
        let mut header = Data::new_zeroed();
        (header.kind, header.direction, header.tgid, header.conn) = (EventKind::Data as u32, direction, 7, CONN);
        header.at_ns = AT_NS + 1_000_000 * (1 + nth as u64);
        (header.len, header.head_len) = (bytes.len() as u32, u16::try_from(bytes.len()).unwrap());
        header.position = moved[direction as usize];
        header.other_position = moved[1 - direction as usize];
        moved[direction as usize] += bytes.len() as u64;
        connections.on_data(&header, bytes, &[], &mut take);
    }
    let mut state = State::new_zeroed();
    (state.kind, state.state, state.conn, state.at_ns) = (EventKind::State as u32, TCP_CLOSE, CONN, 2 * AT_NS);
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
            assert_eq!(span.kind, Kind::Client);
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
