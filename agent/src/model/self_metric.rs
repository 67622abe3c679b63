//! What the agent says of itself: the one list of its metrics (`beyla_rs.*`), and how points of them are made. Stages only
//! give the values. `docs/metrics.md` shows the same list.

use std::sync::Arc;

use super::{
    metric::{Metric, NumberPoint, Points},
    span::{Attribute, Resource, Value},
};

/// A metric of the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SelfMetric {
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    attributes: &'static [&'static str],
    description: &'static str,
}

/// How a metric's values belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A sum that only grows.
    Counter,
    /// A value that goes up and down, summed over instances.
    UpDownCounter,
    /// The present value.
    Gauge,
}

macro_rules! list {
    ($($id:ident $kind:ident $name:literal $unit:literal [$($attribute:literal),*] $description:literal;)*) => {
        $(
            #[doc = $description]
            pub(crate) static $id: SelfMetric = SelfMetric {
                name: $name,
                unit: $unit,
                kind: Kind::$kind,
                attributes: &[$($attribute),*],
                description: $description,
            };
        )*
        /// All of them.
        #[cfg(test)]
        pub(crate) static ALL: &[&SelfMetric] = &[$(&$id),*];
    };
}

list! {
    BUILD_INFO Gauge "beyla_rs.build_info" "" ["version", "backend", "arch"]
        "Version and capture backend of the running agent.";
    CAPTURE_EVENTS Counter "beyla_rs.capture.events" "{event}" []
        "Records taken from the kernel side.";
    CAPTURE_LOST Counter "beyla_rs.capture.lost" "{event}" ["reason"]
        "Records that the kernel side could not hand over, or not whole.";
    CAPTURE_SHED Counter "beyla_rs.capture.shed" "{event}" ["service"]
        "Records that were shed because their service had taken more than its share of the ring, by service.";
    CAPTURE_UNREAD Counter "beyla_rs.capture.unread" "{event}" ["reason"]
        "Pieces of traffic whose length is known and whose bytes cannot be read.";
    CAPTURE_LEFT_OUT Counter "beyla_rs.capture.left_out" "{call}" []
        "Times that the kernel did not run a program of ours, since it was being run on that processor already.";
    CAPTURE_LOST_BYTES Counter "beyla_rs.capture.lost_bytes" "By" []
        "Bytes that moved unseen over connections of a known protocol.";
    READER_PAUSE Gauge "beyla_rs.reader.pause" "s" []
        "Longest time in the last minute for which nothing was taken from the ring although the reader was not waiting.";
    READER_KEPT_SHARE Gauge "beyla_rs.reader.kept_share" "1" []
        "Share of the traces that is kept of services whose records fill the ring: less than 1 while requests come faster than spans can be made of them. Requests are counted all the same.";
    LIMITS_LEVEL Gauge "beyla_rs.limits.level" "" []
        "How much the agent sheds near its own bounds: 0 nothing, 1 payload, from 2 on spans too; only where `limits` is set, as is the next.";
    LIMITS_USED Gauge "beyla_rs.limits.used" "1" ["resource"]
        "Part of `limits.memory` and `limits.cpu` that the agent uses.";
    REQUESTS_LOST Counter "beyla_rs.requests.lost" "{request}" []
        "Requests that are not told, and messages that are not counted, since their bytes were lost or not captured, or it is not known what answers them: at most so many, but for several in one turn of HTTP/1, or of a connection whose beginning was lost, and for messages that are shorter than those seen before.";
    EXCHANGES Counter "beyla_rs.exchanges" "{exchange}" ["protocol", "outcome"]
        "Requests with what became of them.";
    ANOMALIES Counter "beyla_rs.anomalies" "{anomaly}" ["kind"]
        "What could not be made sense of, or exceeded a limit.";
    CONNECTIONS UpDownCounter "beyla_rs.connections" "{connection}" []
        "Connections followed.";
    PROCESSES UpDownCounter "beyla_rs.processes" "{process}" []
        "Processes watched.";
    PROCESSES_UNEVALUATED Counter "beyla_rs.processes.unjudged" "{process}" []
        "Processes of which nothing was known any more when they were to be evaluated: what they moved is not seen.";
    PROCESSES_UNANSWERED Counter "beyla_rs.processes.unanswered" "{read}" []
        "Times that files of a process were not read, since their file system does not answer.";
    KUBERNETES_PODS UpDownCounter "beyla_rs.kubernetes.pods" "{pod}" []
        "Pods that are known; only where the API server is asked, as are the next two.";
    KUBERNETES_DROPPED Counter "beyla_rs.kubernetes.dropped" "{object}" []
        "Pods and addresses that are not kept because there are too many.";
    KUBERNETES_FAILURES Counter "beyla_rs.kubernetes.failures" "{attempt}" []
        "Attempts to list or watch objects that the API server did not answer, or refused.";
    SPANS_UNSAMPLED Counter "beyla_rs.spans.unsampled" "{span}" []
        "Spans that the sampler left out, and those of health checks; their requests are in the metrics.";
    SPANS_TAIL_DROPPED Counter "beyla_rs.spans.tail_dropped" "{span}" []
        "Spans that tail rules (`sampling.tail`) did not keep, once their trace was over; their requests are in the metrics.";
    SPANS_PARENTS Counter "beyla_rs.spans.parents" "{span}" ["evidence", "runtime"]
        "Spans by what says whose child they are, and by their service's runtime.";
    METRICS_OVERFLOWED Counter "beyla_rs.metrics.overflowed" "{exchange}" []
        "Requests that were counted in a metric's overflow series, since it had as many series as it may have.";
    GRAPH_LEFT Counter "beyla_rs.service_graph.left" "{request}" []
        "Requests whose edge in the service graph is left to the agent of the client's host.";
    EXPORT_SPANS Counter "beyla_rs.export.spans" "{span}" ["outcome", "endpoint"]
        "Spans given to the OTLP exporter, by what became of them; by the receiver too, here and below, where there are several.";
    EXPORT_QUEUE_BYTES UpDownCounter "beyla_rs.export.queue.bytes" "By" ["endpoint"]
        "Bytes of spans that wait for the OTLP receiver or are under way.";
    EXPORT_QUEUE_LIMIT Gauge "beyla_rs.export.queue.limit" "By" ["consumer"]
        "Most bytes of spans that may wait for a consumer: `otlp`, `console`, `store`.";
    EXPORT_SPOOL_SPANS UpDownCounter "beyla_rs.export.spool.spans" "{span}" ["endpoint"]
        "Spans that wait on disk for the OTLP receiver; only where `export.spool.dir` is set, as is the next.";
    EXPORT_SPOOL_BYTES UpDownCounter "beyla_rs.export.spool.bytes" "By" ["endpoint"]
        "Bytes of the spool's files.";
    EXPORT_METRIC_POINTS Counter "beyla_rs.export.metric_points" "{data_point}" ["outcome", "endpoint"]
        "Metric points given to the OTLP exporter, by what became of them.";
    PRINT_SPANS Counter "beyla_rs.print.spans" "{span}" ["outcome"]
        "Spans to be printed, by what became of them.";
    PRINT_QUEUE_BYTES UpDownCounter "beyla_rs.print.queue.bytes" "By" []
        "Bytes of spans that wait to be printed.";
    STORE_SPANS Counter "beyla_rs.store.spans" "{span}" ["outcome"]
        "Spans given to the agent's own store, by what became of them: `sent` are those that it took.";
    STORE_BYTES UpDownCounter "beyla_rs.store.bytes" "By" []
        "Bytes that the store takes, series too; at most `store.memory`.";
    STORE_DISK_SPANS Counter "beyla_rs.store.disk.spans" "{span}" ["outcome"]
        "Spans that were written to `store.dir`, that were not since the disk is full, fails or is too slow (`dropped`), and that earlier runs left unreadable (`torn`); only where it is set, as is the next.";
    STORE_DISK_BYTES UpDownCounter "beyla_rs.store.disk.bytes" "By" []
        "Bytes of the files in `store.dir`; at most `store.max_bytes`.";
}

impl SelfMetric {
    /// Its name.
    #[must_use]
    #[cfg(test)]
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }
}

/// Makes points about one agent.
#[derive(Debug)]
pub(crate) struct Reporter {
    agent: Arc<Resource>,
    since_unix_ns: u64,
}

impl Reporter {
    /// About `agent`, which counts since `since_unix_ns`.
    #[must_use]
    pub(crate) const fn new(agent: Arc<Resource>, since_unix_ns: u64) -> Self {
        Self { agent, since_unix_ns }
    }

    /// A metric without attributes.
    #[must_use]
    pub(crate) fn one(&self, metric: &SelfMetric, value: f64) -> Metric {
        self.by(metric, [([], value)])
    }

    /// The same of a count.
    #[must_use]
    pub(crate) fn count(&self, metric: &SelfMetric, value: u64) -> Metric {
        self.one(metric, value as f64)
    }

    /// A metric with a point for each of these values of its attributes, in the list's order.
    #[must_use]
    pub(crate) fn by<const N: usize>(
        &self,
        metric: &SelfMetric,
        points: impl IntoIterator<Item = ([Value; N], f64)>,
    ) -> Metric {
        debug_assert_eq!(metric.attributes.len(), N, "{}", metric.name);
        let point = |(values, value): ([Value; N], f64)| NumberPoint {
            attributes: metric.attributes.iter().zip(values).map(|(&key, value)| Attribute { key, value }).collect(),
            start_unix_ns: self.since_unix_ns,
            value,
        };
        let points = points.into_iter().map(point).collect();
        Metric {
            name: metric.name,
            unit: metric.unit,
            description: metric.description,
            resource: Arc::clone(&self.agent),
            points: match metric.kind {
                Kind::Counter => Points::Counter(points),
                Kind::UpDownCounter => Points::UpDownCounter(points),
                Kind::Gauge => Points::Gauge(points),
            },
        }
    }

    /// The same of counts with one attribute of fixed words.
    #[must_use]
    pub(crate) fn by_word(&self, metric: &SelfMetric, counts: &[(&'static str, u64)]) -> Metric {
        self.by(metric, counts.iter().map(|&(word, count)| ([Value::Static(word)], count as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list as the page has it, in its order.
    fn rows() -> String {
        let row = |metric: &&SelfMetric| {
            let SelfMetric { name, unit, kind, attributes, description } = metric;
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::UpDownCounter => "up-down counter",
                Kind::Gauge => "gauge",
            };
            let attributes: Vec<String> = attributes.iter().map(|key| format!("`{key}`")).collect();
            let unit = if unit.is_empty() { String::new() } else { format!("`{unit}`") };
            format!("| `{name}` | {kind} | {unit} | {} | {description} |\n", attributes.join(", "))
        };
        ALL.iter().map(row).collect()
    }

    #[test]
    fn the_page_shows_each_metric_of_the_list_and_no_other() {
        let page = include_str!("../../../docs/metrics.md");
        let shown: String =
            page.lines().filter(|line| line.starts_with("| `beyla_rs.")).map(|it| format!("{it}\n")).collect();
        assert_eq!(shown, rows());
    }

    #[test]
    fn each_metric_is_in_the_list_once() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn what_pages_and_deployments_speak_of_is_in_the_list() {
        let pages = [
            include_str!("../../../README.md"),
            include_str!("../../../docs/costs.md"),
            include_str!("../../../docs/supported.md"),
            include_str!("../../../docs/architecture.md"),
            include_str!("../../../docs/limitations.md"),
            include_str!("../../../docs/kernel-support.md"),
            include_str!("../../../docs/half-done.md"),
        ];
        let in_prometheus = [
            include_str!("../../../deploy/prometheus/alerts.yaml"),
            include_str!("../../../deploy/grafana/dashboard.json"),
        ];
        for name in pages.iter().flat_map(|page| names(page, "beyla_rs.")) {
            assert!(ALL.iter().any(|metric| metric.name == name), "{name}");
        }
        for name in in_prometheus.iter().flat_map(|page| names(page, "beyla_rs_")) {
            // What Prometheus adds: that it only grows, and the unit.
            let name = name.strip_suffix("_total").or(name.strip_suffix("_seconds")).unwrap_or(name);
            assert!(ALL.iter().any(|metric| metric.name.replace('.', "_") == name), "{name}");
        }
    }

    /// Names that begin with `prefix` and go on.
    fn names<'a>(page: &'a str, prefix: &str) -> Vec<&'a str> {
        let is_of_name = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '.');
        let starts = page.match_indices(prefix).map(|(at, _)| at);
        let name = |at: usize| page[at..].split(|c| !is_of_name(c)).next().unwrap_or_default().trim_end_matches('.');
        starts.map(name).filter(|name| name.len() > prefix.len()).collect()
    }
}
