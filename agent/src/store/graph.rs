//! Who asks whom. Edges are the calls that clients count by the address that they ask; which service that is, is learnt from traces: the
//! service of a span whose parent is the call. What else a service is asked comes from outside of what is watched.

use std::collections::BTreeMap;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::{
    block::text_of,
    series::{Key, Red, Side},
    spans::{Filter, Snapshot},
};
use crate::model::{span::Kind, trace_context::SpanId};

/// Spans that are looked at, at most.
const LOOKED_AT: usize = 4000;
/// Of those that were looked at before, so many are once more: both ends of a call are not told at the same moment.
const LOOKED_AT_AGAIN: usize = 500;
/// Most addresses that are known.
const KNOWN_MAX: usize = 10_000;
/// Share of a service's requests that may be of nobody without that being told: who asks and who answers are not counted at
/// the very same moment.
const NOBODYS: f64 = 0.05;

/// A service, by name and namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) service: CompactString,
    pub(crate) namespace: CompactString,
}

/// What is at an end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    /// A service that is watched.
    Service(Name),
    /// Whoever asks from outside.
    Users,
    /// An address that is asked, and by what group of protocols.
    Outside(CompactString, &'static str),
}

/// Requests from one to another.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) from: Node,
    pub(crate) to: Node,
    pub(crate) red: Red,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// With what each was asked; those outside with nothing.
    pub(crate) nodes: BTreeMap<Node, Red>,
    pub(crate) edges: Vec<Edge>,
}

/// Which service is at an address, as who asks calls it.
#[derive(Default)]
pub(super) struct Resolved {
    known: HashMap<(Name, CompactString), Name>,
    looked_until: u64,
}

impl Resolved {
    /// Learns from spans.
    pub(super) fn learn(&mut self, spans: &Snapshot) {
        let newest = spans.find(&Filter::default(), 1).0.first().map_or(0, |span| span.number);
        // Numbers begin anew with each run of the agent.
        let new =
            newest.checked_sub(self.looked_until).map_or(LOOKED_AT, |new| usize::try_from(new).unwrap_or(LOOKED_AT));
        if new == 0 {
            return;
        }
        self.looked_until = newest;
        let (kept, _) = spans.find(&Filter::default(), new.saturating_add(LOOKED_AT_AGAIN).min(LOOKED_AT));
        let mut servers: HashMap<SpanId, Name> = HashMap::new();
        for span in kept.iter().filter(|span| matches!(span.kind, Kind::Server | Kind::Consumer)) {
            if let Some(parent) = span.parent {
                let of = &span.whose;
                servers.insert(parent, Name { service: of.service.clone(), namespace: of.namespace.clone() });
            }
        }
        // The latest last: another service may have come to an address, or been known by another name at first.
        for span in kept.iter().rev().filter(|span| matches!(span.kind, Kind::Client | Kind::Producer)) {
            let peer = || {
                Some(Name {
                    service: text_of(span.get("service.peer.name")?),
                    namespace: span.text("service.peer.namespace").unwrap_or_default(),
                })
            };
            let Some(server) = servers.get(&span.span_id).cloned().or_else(peer) else { continue };
            let Some(address) = span.text("server.address") else { continue };
            let target = match span.text("server.port") {
                Some(port) if address.contains(':') => compact_str::format_compact!("[{address}]:{port}"),
                Some(port) => compact_str::format_compact!("{address}:{port}"),
                None => address,
            };
            let of = &span.whose;
            let client = Name { service: of.service.clone(), namespace: of.namespace.clone() };
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert((client, target), server);
        }
    }

    pub(super) fn graph(&self, sums: &[(Key, Red)]) -> Graph {
        let mut nodes: BTreeMap<Node, Red> = BTreeMap::new();
        let mut edges: BTreeMap<(Node, Node), Red> = BTreeMap::new();
        for (key, red) in sums {
            let name = Name { service: key.service.clone(), namespace: key.namespace.clone() };
            let own = nodes.entry(Node::Service(name.clone())).or_default();
            match key.side {
                Side::Server => own.add(red),
                Side::Client => {
                    let known = self.known.get(&(name.clone(), key.target.clone()));
                    let to = match known {
                        Some(server) => Node::Service(server.clone()),
                        None => Node::Outside(key.target.clone(), key.group),
                    };
                    edges.entry((Node::Service(name), to)).or_default().add(red);
                }
            }
        }
        for (_, to) in edges.keys() {
            nodes.entry(to.clone()).or_default();
        }
        let mut asked: HashMap<Node, u64> = HashMap::new();
        for ((_, to), red) in &edges {
            *asked.entry(to.clone()).or_default() += red.count;
        }
        let mut from_outside = Vec::new();
        for (node, red) in nodes.iter().filter(|(node, _)| matches!(node, Node::Service(_))) {
            let by_known = asked.get(node).copied().unwrap_or(0);
            let rest = red.count.saturating_sub(by_known);
            if rest > 0 && (by_known == 0 || rest as f64 > NOBODYS * red.count as f64) {
                // Of the durations nothing tells whose they were: they are all requests'.
                let share = rest as f64 / red.count as f64;
                let errors = (red.errors as f64 * share).round() as u64;
                let mut of_others = red.clone();
                (of_others.count, of_others.errors) = (rest, errors);
                from_outside.push((node.clone(), of_others));
            }
        }
        if !from_outside.is_empty() {
            nodes.entry(Node::Users).or_default();
        }
        edges.extend(from_outside.into_iter().map(|(to, red)| ((Node::Users, to), red)));
        let edges = edges.into_iter().map(|((from, to), red)| Edge { from, to, red }).collect();
        Graph { nodes, edges }
    }
}
