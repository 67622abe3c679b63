//! Who asks whom. Edges are the calls that clients count by the address that they ask; which service that is, is learnt from traces: the
//! service of a span whose parent is the call. What else a service is asked comes from outside of what is watched.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use compact_str::CompactString;
use hashbrown::HashMap;

use super::{
    block::{Block, Whose, text_of},
    series::{Key, Red, Side},
};
use crate::model::{span::Kind, trace_context::SpanId};

/// Spans that are looked at, at most.
pub(super) const LOOKED_AT: u64 = 4000;
/// Of those that were looked at before, so many are once more: both ends of a call are not told at the same moment.
const LOOKED_AT_AGAIN: u64 = 500;
/// What a span of a client says of the service that it asks, where who asks is told by the service itself.
const PEER: &str = "service.peer.name";
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

impl Name {
    fn of(whose: &Whose) -> Self {
        Self { service: whose.service.clone(), namespace: whose.namespace.clone() }
    }
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
    /// From which span on it is to learn, where `next` is the number of the one that comes next; `None`: there is nothing new.
    pub(super) fn wants_from(&mut self, next: u64) -> Option<u64> {
        let newest = next.saturating_sub(1);
        // Numbers begin anew with each run of the agent.
        let new = newest.checked_sub(self.looked_until).unwrap_or(LOOKED_AT);
        self.looked_until = newest;
        (new > 0).then(|| next.saturating_sub(new.saturating_add(LOOKED_AT_AGAIN).min(LOOKED_AT)))
    }

    /// Learns from the spans from a number on in blocks, the earliest first. Only those of them are read that tell something.
    pub(super) fn learn(&mut self, blocks: &[impl Deref<Target = Block>], from: u64) {
        let spans = || {
            blocks.iter().flat_map(move |block| {
                let heads = block.heads.iter().enumerate();
                heads
                    .filter(move |(index, _)| block.number(*index) >= from)
                    .map(move |(index, head)| (block, index, head))
            })
        };
        let mut servers: HashMap<SpanId, &Arc<Whose>> = HashMap::new();
        for (block, _, head) in spans().filter(|(.., head)| matches!(head.kind(), Kind::Server | Kind::Consumer)) {
            if let Some((_, Some(parent))) = block.ids(head)
                && let Some(whose) = block.whose(head)
            {
                servers.insert(parent, whose);
            }
        }
        let tell_peers = blocks.iter().any(|block| block.may_have(PEER));
        if servers.is_empty() && !tell_peers {
            return;
        }
        // The latest last: another service may have come to an address, or been known by another name at first.
        for (block, index, head) in spans().filter(|(.., head)| matches!(head.kind(), Kind::Client | Kind::Producer)) {
            let server = block.ids(head).and_then(|(id, _)| servers.get(&id));
            if server.is_none() && !tell_peers {
                continue;
            }
            let Some(span) = block.read(index) else { continue };
            let peer = || {
                Some(Name {
                    service: text_of(span.get(PEER)?),
                    namespace: span.text("service.peer.namespace").unwrap_or_default(),
                })
            };
            let Some(server) = server.map(|whose| Name::of(whose)).or_else(peer) else { continue };
            let Some(address) = span.text("server.address") else { continue };
            let target = match span.text("server.port") {
                Some(port) if address.contains(':') => compact_str::format_compact!("[{address}]:{port}"),
                Some(port) => compact_str::format_compact!("{address}:{port}"),
                None => address,
            };
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert((Name::of(&span.whose), target), server);
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
