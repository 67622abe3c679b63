//! What the agent says of itself: everything it lost, skipped or could not see (`beyla_rs.*`).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use compact_str::CompactString;
use ebpf_common::policy::Counter;

use super::limits::{Level, Used};
use crate::{
    capture,
    conn::Totals,
    export::MetricSource,
    kube,
    model::{
        metric::Metric,
        self_metric::{self as list, Reporter},
        span::{Resource, Value},
    },
    telemetry::{ByEvidence, Counts, RedMetrics, clock::unix_ns},
    trace::Evidence,
};

/// What is known of the cluster, as of now.
pub(crate) type KubernetesCounts = Box<dyn Fn() -> kube::Counts + Send + Sync>;

/// What the pipeline counts, and publishes once a second.
#[derive(Clone, Copy, Default)]
pub(super) struct Snapshot {
    pub(super) kernel: capture::Counts,
    pub(super) table: Totals,
    pub(super) connections: usize,
    pub(super) processes: usize,
    /// Files that were not read, since their file system does not answer.
    pub(super) unanswered: u64,
    /// Processes of which nothing was known when they were to be evaluated.
    pub(super) unknown: u64,
    /// Spans that tail rules did not keep.
    pub(super) tail_dropped: u64,
    /// The reader's longest pause in the last minute.
    pub(super) pause: Duration,
    /// Share of the traces that the reader keeps, once it reads.
    pub(super) kept_share: Option<f64>,
    /// How near the agent is to its own bounds; `None`: it has none.
    pub(super) own: Option<(Level, Used)>,
}

/// The pipeline's figures, as of at most a second ago; the number of events is up to date.
pub(crate) struct Gauges {
    events: AtomicU64,
    snapshot: Mutex<Snapshot>,
    /// By service.
    shed: Mutex<Vec<(CompactString, u64)>>,
    /// Spans by runtime and evidence.
    parents: Mutex<Vec<(CompactString, ByEvidence)>>,
    red: RedMetrics,
    kubernetes: Option<KubernetesCounts>,
    reporter: Reporter,
    backend: &'static str,
}

impl Gauges {
    /// Figures about `agent`, which captures by `backend`; all zero. `kubernetes`: where the API server is asked.
    #[must_use]
    pub(crate) fn new(
        red: RedMetrics,
        agent: Arc<Resource>,
        backend: &'static str,
        kubernetes: Option<KubernetesCounts>,
    ) -> Self {
        Self {
            events: AtomicU64::new(0),
            snapshot: Mutex::default(),
            shed: Mutex::default(),
            parents: Mutex::default(),
            red,
            kubernetes,
            reporter: Reporter::new(agent, unix_ns()),
            backend,
        }
    }

    pub(super) fn add_events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    pub(super) fn publish_shed<'a>(&self, by_service: impl Iterator<Item = (&'a CompactString, u64)>) {
        let by_service = by_service.map(|(name, count)| (name.clone(), count)).collect();
        *self.shed.lock().unwrap_or_else(PoisonError::into_inner) = by_service;
    }

    pub(super) fn publish_parents(&self, parents: &[(CompactString, ByEvidence)]) {
        *self.parents.lock().unwrap_or_else(PoisonError::into_inner) = parents.to_vec();
    }

    fn parents(&self) -> Metric {
        let parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        let points = parents.iter().flat_map(|(runtime, by_evidence)| {
            let seen = Evidence::WORDS.into_iter().zip(by_evidence).filter(|(_, count)| **count > 0);
            seen.map(|(word, count)| ([Value::Static(word), Value::Str(runtime.clone())], *count as f64))
        });
        self.reporter.by(&list::SPANS_PARENTS, points)
    }

    fn shed(&self) -> Metric {
        let shed = self.shed.lock().unwrap_or_else(PoisonError::into_inner);
        let point = |(name, count): &(CompactString, u64)| ([Value::Str(name.clone())], *count as f64);
        self.reporter.by(&list::CAPTURE_SHED, shed.iter().map(point))
    }
}

impl MetricSource for Gauges {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        let Snapshot {
            kernel,
            table,
            connections,
            processes,
            unanswered,
            unknown,
            tail_dropped,
            pause,
            kept_share,
            own,
        } = *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let Totals { resyncs, unmatched_responses, bytes_lost, requests_lost, over_limit, panics, evicted, unbound } =
            table;
        let Counts { exchanges, unsampled, overflowed, left_edges } = self.red.counts();
        let it = &self.reporter;
        let about = [env!("CARGO_PKG_VERSION"), self.backend, std::env::consts::ARCH].map(Value::Static);
        let exchanges = exchanges.into_iter();
        let mut metrics = vec![
            it.by(&list::BUILD_INFO, [(about, 1.0)]),
            it.count(&list::CAPTURE_EVENTS, self.events.load(Ordering::Relaxed)),
            it.by_word(
                &list::CAPTURE_LOST,
                &[
                    ("ring_full", kernel.get(Counter::LostRingFull)),
                    ("undecided", kernel.get(Counter::ShedUnattributed)),
                    ("share", kernel.get(Counter::ShedShare)),
                    ("map_full", kernel.get(Counter::LostMapFull)),
                    ("read_fault", kernel.get(Counter::LostReadFault)),
                    ("tls_record", kernel.get(Counter::LostTlsRecord)),
                    ("process_map_full", kernel.get(Counter::ProcessMapFull)),
                    ("preempted", kernel.get(Counter::LostPreempted)),
                ],
            ),
            self.shed(),
            it.by_word(
                &list::CAPTURE_UNREAD,
                &[
                    ("no_buffer", kernel.get(Counter::Unreadable)),
                    ("compat", kernel.get(Counter::Compat)),
                    ("dns_answers", kernel.get(Counter::AnswersSkipped)),
                ],
            ),
            it.count(&list::CAPTURE_LEFT_OUT, kernel.missed_runs()),
            it.count(&list::CAPTURE_LOST_BYTES, bytes_lost),
            it.one(&list::READER_PAUSE, pause.as_secs_f64()),
            it.one(&list::READER_KEPT_SHARE, kept_share.unwrap_or(1.0)),
            it.count(&list::REQUESTS_LOST, kernel.get(Counter::LostRequests) + requests_lost),
            it.by(
                &list::EXCHANGES,
                exchanges.map(|(protocol, outcome, count)| ([protocol, outcome].map(Value::Static), count as f64)),
            ),
            it.by_word(
                &list::ANOMALIES,
                &[
                    ("resync", resyncs),
                    ("unmatched_response", unmatched_responses),
                    ("over_limit", over_limit),
                    ("parser_panic", panics),
                    ("evicted_connection", evicted),
                    ("unbound_plaintext", unbound),
                ],
            ),
            it.count(&list::CONNECTIONS, connections as u64),
            it.count(&list::PROCESSES, processes as u64),
            it.count(&list::PROCESSES_UNEVALUATED, unknown),
            it.count(&list::PROCESSES_UNANSWERED, unanswered),
            it.count(&list::SPANS_UNSAMPLED, unsampled),
            self.parents(),
            it.count(&list::SPANS_TAIL_DROPPED, tail_dropped),
            it.count(&list::METRICS_OVERFLOWED, overflowed),
            it.count(&list::GRAPH_LEFT, left_edges),
        ];
        if let Some((level, Used { memory, cpu })) = own {
            metrics.push(it.one(&list::LIMITS_LEVEL, level.number().into()));
            let used = [("memory", memory), ("cpu", cpu)];
            let used = used.into_iter().filter_map(|(name, part)| Some(([Value::Static(name)], part?)));
            metrics.push(it.by(&list::LIMITS_USED, used));
        }
        if let Some(kubernetes) = &self.kubernetes {
            let kube::Counts { pods, dropped, failures } = kubernetes();
            metrics.push(it.count(&list::KUBERNETES_PODS, pods as u64));
            metrics.push(it.count(&list::KUBERNETES_DROPPED, dropped));
            metrics.push(it.count(&list::KUBERNETES_FAILURES, failures));
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Print, Protocol},
        export::{
            ExportConfig, Exporters,
            config::{OtlpConfig, ReceiverUrl, SpoolConfig},
        },
        store::DiskConfig,
        telemetry::{
            Config, Telemetry,
            clock::{Clock, Offset},
        },
    };

    #[tokio::test]
    async fn each_metric_of_the_list_is_told_by_some_stage() {
        let agent = Arc::new(Resource::default());
        let red = Telemetry::new(Config::default(), Clock::new(Offset::sample())).metrics();
        let kubernetes = || kube::Counts { pods: 1, dropped: 2, failures: 3 };
        let gauges = Gauges::new(red, Arc::clone(&agent), "sock", Some(Box::new(kubernetes)));
        let to = OtlpConfig::new(ReceiverUrl::parse("endpoint", "http://127.0.0.1:1").unwrap(), Protocol::HttpProtobuf);
        let everything = ExportConfig {
            traces: vec![to.clone()],
            metrics: vec![to],
            spool: Some(SpoolConfig { dir: tempfile::tempdir().unwrap().path().to_owned(), max_bytes: 1 << 20 }),
            print: Print::Json,
            listen: Vec::new(),
            ..ExportConfig::default()
        };
        let store = Arc::new(crate::store::Store::new(1 << 20, None));
        let on_disk = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(86_400);
        let disk = DiskConfig { dir: on_disk.path().to_owned(), max_bytes: 16 << 20, max_age: day };
        store.keep_on_disk(disk, 1).unwrap();
        let remembered = crate::export::Remembered { store, pages: Box::new(|_| Vec::new()) };
        let runtime = tokio::runtime::Handle::current();
        let exporters = Exporters::start(&everything, &runtime, Vec::new(), agent, Some(remembered)).unwrap();
        let used = Used { memory: Some(0.5), cpu: None };
        gauges.publish(Snapshot { own: Some((Level::default(), used)), ..Snapshot::default() });
        let mut told = gauges.collect(0);
        told.extend(exporters.counters().collect(0));
        let mut told: Vec<&str> = told.iter().map(|metric| metric.name).collect();
        let mut listed: Vec<&str> = list::ALL.iter().map(|metric| metric.name()).collect();
        told.sort_unstable();
        listed.sort_unstable();
        assert_eq!(told, listed);
    }
}
