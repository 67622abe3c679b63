//! What the agent says of itself: everything it lost, skipped or could not see (`beyla_rs.*`).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use compact_str::CompactString;
use ebpf_common::policy::Counter;

use crate::{
    capture::Counts,
    conn::Totals,
    export::MetricSource,
    model::{
        metric::{Metric, NumberPoint, Points},
        span::{Attribute, Resource, Value},
    },
    telemetry::{RedMetrics, clock::unix_ns},
};

#[derive(Clone, Copy, Default)]
struct Snapshot {
    kernel: Counts,
    table: Totals,
    connections: usize,
    processes: usize,
    unanswered: u64,
    unknown: u64,
}

/// The pipeline's figures, as of at most a second ago; the number of events is up to date.
pub struct Gauges {
    events: AtomicU64,
    snapshot: Mutex<Snapshot>,
    /// By service.
    shed: Mutex<Vec<(CompactString, u64)>>,
    red: RedMetrics,
    agent: Arc<Resource>,
    since_unix_ns: u64,
    backend: &'static str,
}

impl Gauges {
    /// Figures about `agent`, which captures by `backend`; all zero.
    #[must_use]
    pub fn new(red: RedMetrics, agent: Arc<Resource>, backend: &'static str) -> Self {
        Self {
            events: AtomicU64::new(0),
            snapshot: Mutex::default(),
            shed: Mutex::default(),
            red,
            agent,
            since_unix_ns: unix_ns(),
            backend,
        }
    }

    pub(super) fn add_events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn publish(
        &self,
        kernel: Counts,
        table: Totals,
        connections: usize,
        processes: usize,
        [unanswered, unknown]: [u64; 2],
    ) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) =
            Snapshot { kernel, table, connections, processes, unanswered, unknown };
    }

    pub(super) fn publish_shed<'a>(&self, by_service: impl Iterator<Item = (&'a CompactString, u64)>) {
        let by_service = by_service.map(|(name, count)| (name.clone(), count)).collect();
        *self.shed.lock().unwrap_or_else(PoisonError::into_inner) = by_service;
    }

    fn shed(&self) -> Vec<NumberPoint> {
        let shed = self.shed.lock().unwrap_or_else(PoisonError::into_inner);
        let point = |(name, count): &(CompactString, u64)| NumberPoint {
            attributes: [Attribute { key: "service", value: Value::Str(name.clone()) }].into_iter().collect(),
            start_unix_ns: self.since_unix_ns,
            value: *count as f64,
        };
        shed.iter().map(point).collect()
    }

    fn metric(&self, name: &'static str, unit: &'static str, description: &'static str, points: Points) -> Metric {
        Metric { name, unit, description, resource: Arc::clone(&self.agent), points }
    }

    fn point(&self, value: u64, labels: &[(&'static str, &'static str)]) -> NumberPoint {
        NumberPoint {
            attributes: labels.iter().map(|&(key, value)| Attribute { key, value: Value::Static(value) }).collect(),
            start_unix_ns: self.since_unix_ns,
            value: value as f64,
        }
    }

    fn by(&self, key: &'static str, values: &[(&'static str, u64)]) -> Points {
        Points::Counter(values.iter().map(|&(label, value)| self.point(value, &[(key, label)])).collect())
    }
}

impl MetricSource for Gauges {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        let Snapshot { kernel, table, connections, processes, unanswered, unknown } =
            *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let exchanges = self.red.counts().exchanges.into_iter();
        let exchanges = exchanges
            .map(|(protocol, outcome, count)| self.point(count, &[("protocol", protocol), ("outcome", outcome)]))
            .collect();
        vec![
            self.metric(
                "beyla_rs.build_info",
                "",
                "Version and capture backend of the running agent.",
                Points::Gauge(vec![self.point(
                    1,
                    &[
                        ("version", env!("CARGO_PKG_VERSION")),
                        ("backend", self.backend),
                        ("arch", std::env::consts::ARCH),
                    ],
                )]),
            ),
            self.metric(
                "beyla_rs.capture.events",
                "{event}",
                "Records taken from the kernel side.",
                Points::Counter(vec![self.point(self.events.load(Ordering::Relaxed), &[])]),
            ),
            self.metric(
                "beyla_rs.capture.lost",
                "{event}",
                "Records that the kernel side could not hand over, or not whole.",
                self.by(
                    "reason",
                    &[
                        ("ring_full", kernel.get(Counter::LostRingFull)),
                        ("undecided", kernel.get(Counter::ShedUndecided)),
                        ("share", kernel.get(Counter::ShedShare)),
                        ("map_full", kernel.get(Counter::LostMapFull)),
                        ("read_fault", kernel.get(Counter::LostReadFault)),
                        ("tls_record", kernel.get(Counter::LostTlsRecord)),
                        ("process_map_full", kernel.get(Counter::ProcessMapFull)),
                        ("preempted", kernel.get(Counter::LostPreempted)),
                    ],
                ),
            ),
            self.metric(
                "beyla_rs.requests.lost",
                "{request}",
                "Requests that are not told since their bytes were lost: at most so many, but for several in one turn.",
                Points::Counter(vec![self.point(kernel.get(Counter::LostRequests) + table.requests_lost, &[])]),
            ),
            self.metric(
                "beyla_rs.capture.shed",
                "{event}",
                "Records that were shed because their service had taken more than its share of the ring, by service.",
                Points::Counter(self.shed()),
            ),
            self.metric(
                "beyla_rs.processes.unjudged",
                "{process}",
                "Processes of which nothing was known any more when they were to be judged: what they moved is not seen.",
                Points::Counter(vec![self.point(unknown, &[])]),
            ),
            self.metric(
                "beyla_rs.capture.unread",
                "{event}",
                "Pieces of traffic whose length is known and whose bytes cannot be read.",
                self.by(
                    "reason",
                    &[
                        ("no_buffer", kernel.get(Counter::Unreadable)),
                        ("compat", kernel.get(Counter::Compat)),
                        ("dns_answers", kernel.get(Counter::AnswersSkipped)),
                    ],
                ),
            ),
            self.metric(
                "beyla_rs.capture.left_out",
                "{call}",
                "Times that the kernel did not run a program of ours, since it was being run on that processor already.",
                Points::Counter(vec![self.point(kernel.left_out(), &[])]),
            ),
            self.metric(
                "beyla_rs.exchanges",
                "{exchange}",
                "Requests with what became of them.",
                Points::Counter(exchanges),
            ),
            self.metric(
                "beyla_rs.anomalies",
                "{anomaly}",
                "What could not be made sense of, or exceeded a limit.",
                self.by(
                    "kind",
                    &[
                        ("resync", table.resyncs),
                        ("unmatched_response", table.unmatched_responses),
                        ("over_limit", table.over_limit),
                        ("parser_panic", table.panics),
                        ("evicted_connection", table.evicted),
                        ("unbound_plaintext", table.unbound),
                    ],
                ),
            ),
            self.metric(
                "beyla_rs.capture.lost_bytes",
                "By",
                "Bytes that moved unseen over connections of a known protocol.",
                Points::Counter(vec![self.point(table.bytes_lost, &[])]),
            ),
            self.metric(
                "beyla_rs.connections",
                "{connection}",
                "Connections followed.",
                Points::UpDownCounter(vec![self.point(connections as u64, &[])]),
            ),
            self.metric(
                "beyla_rs.processes",
                "{process}",
                "Processes watched.",
                Points::UpDownCounter(vec![self.point(processes as u64, &[])]),
            ),
            self.metric(
                "beyla_rs.processes.unanswered",
                "{read}",
                "Times that files of a process were not read, since their file system does not answer.",
                Points::Counter(vec![self.point(unanswered, &[])]),
            ),
        ]
    }
}
