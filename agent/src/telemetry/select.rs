//! Which attributes metrics and spans have, of those that there are: `attributes.select`, as OBI reads it.
//!
//! Names are compared as Prometheus writes them, so that `http.route` and `http_route` are one. Of a metric the lists of all patterns
//! that match its name count, those of broader ones (`*`) first: each adds what it includes and removes what it excludes. What is not
//! among a metric's attributes cannot be added: it would be without bound.

use std::sync::{Arc, PoisonError, RwLock};

use smallvec::SmallVec;

use super::{
    instruments, process,
    red::{Family, Labels},
};
use crate::{
    config::{Glob, GlobError, InclusionLists},
    model::{metric::NumberPoint, span::Attribute},
};

/// Suffixes that Prometheus's names have and OpenTelemetry's have not, in the order in which they are taken off.
const SUFFIXES: [&str; 6] = ["_bucket", "_count", "_sum", "_total", "_seconds", "_bytes"];
/// Measures of a family that have histograms.
pub(super) const MEASURES: usize = 3;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// By pattern of names, the broader first.
    metrics: Vec<(Glob, Lists)>,
    /// Attributes that no span has.
    no_span_has: Vec<Glob>,
}

/// The same for who reads metrics on other threads: what it says may change.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedSelect(Arc<RwLock<Arc<Select>>>);

impl SharedSelect {
    pub(crate) fn new(select: Select) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(select))))
    }

    /// As of now.
    pub(crate) fn get(&self) -> Arc<Select> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on.
    pub(crate) fn set(&self, select: Select) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(select);
    }
}

#[derive(Clone, Debug, Default)]
struct Lists {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

impl Select {
    /// By the configuration.
    ///
    /// # Errors
    /// The name of a metric that is no pattern.
    pub(crate) fn new<'a>(lists: impl Iterator<Item = (&'a str, &'a InclusionLists)>) -> Result<Self, GlobError> {
        let mut new = Self::default();
        let patterns = |globs: &[Glob]| -> Result<Vec<Glob>, GlobError> {
            globs.iter().map(|glob| as_prometheus(glob.as_str()).parse()).collect()
        };
        let mut by_name = Vec::new();
        for (name, InclusionLists { include, exclude }) in lists {
            let lists = Lists { include: patterns(include)?, exclude: patterns(exclude)? };
            if name == "traces" {
                new.no_span_has = lists.exclude;
                continue;
            }
            by_name.push((plain(name), lists));
        }
        by_name.sort_by(|(a, _), (b, _)| a.cmp(b));
        new.metrics = by_name.into_iter().map(|(name, lists)| Ok((name.parse()?, lists))).collect::<Result<_, _>>()?;
        Ok(new)
    }

    /// Whether anything is said of a metric.
    pub(crate) fn is_of(&self, metric: &str) -> bool {
        !self.metrics.is_empty() && {
            let metric = plain(metric);
            self.metrics.iter().any(|(glob, _)| glob.is_match(&metric))
        }
    }

    /// Takes out of attributes that all of a metric's points have alike what that has not.
    pub(super) fn leave_out(&self, metric: &str, attributes: &mut Vec<Attribute>, is_alike: impl Fn(&str) -> bool) {
        if self.is_of(metric) {
            attributes.retain(|attribute| !is_alike(attribute.key) || self.keeps(metric, attribute.key));
        }
    }

    /// Takes out of numbers what their metric has not, and adds up what does not differ any more.
    pub(super) fn leave_out_of_numbers(&self, metric: &str, points: Vec<NumberPoint>) -> Vec<NumberPoint> {
        if !self.is_of(metric) {
            return points;
        }
        let mut out: Vec<NumberPoint> = Vec::with_capacity(points.len());
        for mut point in points {
            point.attributes.retain(|attribute| self.keeps(metric, attribute.key));
            match out.iter_mut().find(|other| other.attributes == point.attributes) {
                Some(other) => {
                    other.value += point.value;
                    other.start_unix_ns = other.start_unix_ns.min(point.start_unix_ns);
                }
                None => out.push(point),
            }
        }
        out
    }

    /// What is said of metrics that there are not, and of attributes that no metric has.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut out = Vec::new();
        let known: Vec<String> = known_metrics().map(plain).collect();
        for (pattern, Lists { include, exclude }) in &self.metrics {
            let of_it: Vec<&String> = known.iter().filter(|name| pattern.is_match(name)).collect();
            if of_it.is_empty() {
                out.push(format!("attributes.select: there is no metric `{}` here", pattern.as_str()));
                continue;
            }
            for glob in include.iter().chain(exclude) {
                let is_known = KNOWN_ATTRIBUTES.iter().any(|key| glob.is_match(&as_prometheus(key)));
                if !is_known {
                    let (metric, attribute) = (pattern.as_str(), glob.as_str());
                    out.push(format!("attributes.select.{metric}: no metric here has the attribute `{attribute}`"));
                }
            }
        }
        out
    }

    /// Whether a metric has an attribute.
    pub(super) fn keeps(&self, metric: &str, key: &str) -> bool {
        let (metric, key) = (plain(metric), as_prometheus(key));
        let mut is_kept = true;
        let lists = self.metrics.iter().filter(|(pattern, _)| pattern.is_match(&metric));
        for (place, (_, Lists { include, exclude })) in lists.enumerate() {
            let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.is_match(&key));
            // Without a list of what is included it is what there is.
            is_kept = if place == 0 { include.is_empty() || matches(include) } else { is_kept || matches(include) };
            is_kept &= !matches(exclude);
        }
        is_kept
    }

    /// Whether spans have an attribute.
    pub(super) fn spans_keep(&self, key: &str) -> bool {
        self.no_span_has.is_empty() || {
            let key = as_prometheus(key);
            !self.no_span_has.iter().any(|glob| glob.is_match(&key))
        }
    }

    /// Whether all spans have all of their attributes.
    pub(super) fn keeps_all_of_spans(&self) -> bool {
        self.no_span_has.is_empty()
    }
}

/// Names of all metrics of what is watched.
fn known_metrics() -> impl Iterator<Item = &'static str> {
    let of_requests = instruments::INSTRUMENTS.iter().map(|instrument| instrument.name);
    of_requests.chain(process::NAMES).chain(["traces_target_info", "traces_host_info"])
}

/// Attributes that metrics can have.
const KNOWN_ATTRIBUTES: &[&str] = &[
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "url.scheme",
    "network.protocol.version",
    "server.address",
    "server.port",
    "error.type",
    "rpc.system.name",
    "rpc.system",
    "rpc.method",
    "rpc.status_code",
    "rpc.grpc.status_code",
    "db.system.name",
    "db.namespace",
    "db.collection.name",
    "db.operation.name",
    "db.query.summary",
    "db.response.status_code",
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.consumer.group.name",
    "span.name",
    "span.kind",
    "status.code",
    "source",
    "client",
    "server",
    "client_service_namespace",
    "server_service_namespace",
    "client_k8s_namespace_name",
    "server_k8s_namespace_name",
    "client_k8s_cluster_name",
    "server_k8s_cluster_name",
    "connection_type",
    "cpu.mode",
    "disk.io.direction",
    "network.io.direction",
    "process.pid",
    "service.name",
    "service.namespace",
    "service.version",
    "telemetry.sdk.language",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.pod.start_time",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.job.name",
    "k8s.cronjob.name",
    "k8s.owner.name",
    "k8s.kind",
];

/// A metric's name as Prometheus writes it, without what that adds.
fn plain(name: &str) -> String {
    let mut name = as_prometheus(name);
    for suffix in SUFFIXES {
        if let Some(rest) = name.strip_suffix(suffix) {
            name.truncate(rest.len());
        }
    }
    name
}

fn as_prometheus(name: &str) -> String {
    name.replace('.', "_")
}

/// Which measures of a family have something.
type Measures = [bool; MEASURES];

/// What a family's metrics have, learnt as attributes come: there are few.
#[derive(Debug, Default)]
pub(super) struct Selected {
    select: Select,
    families: Vec<Option<Vec<(&'static str, Measures)>>>,
}

impl Selected {
    pub(super) fn new(select: Select) -> Self {
        let is_matched = |family: Family| {
            let mut names = (0..MEASURES).flat_map(|place| instruments::names(family, place));
            names.any(|name| select.is_of(name))
        };
        let families = Family::all().map(|family| is_matched(family).then(Vec::new)).collect();
        Self { select, families }
    }

    /// Which attributes metrics have.
    pub(super) fn select(&self) -> &Select {
        &self.select
    }

    /// The labels that a family's measures have, and which measures have these; `None`: all have all.
    pub(super) fn apply<'a>(
        &mut self,
        family: Family,
        labels: &Labels<'a>,
    ) -> Option<SmallVec<[(Labels<'a>, Measures); 1]>> {
        let Self { select, families } = self;
        let known = families.get_mut(family.index())?.as_mut()?;
        let mut by_measure = [*labels; MEASURES];
        for (place, label) in labels.iter().enumerate() {
            let Some((key, _)) = label else { continue };
            let keeps = match known.iter().find(|(its, _)| its == key) {
                Some((_, keeps)) => *keeps,
                None => {
                    // What is counted in one series has what any of it keeps.
                    let keeps = std::array::from_fn(|place| {
                        let mut names = instruments::names(family, place).peekable();
                        names.peek().is_none() || names.any(|name| select.keeps(name, key))
                    });
                    known.push((key, keeps));
                    keeps
                }
            };
            for (labels, keeps) in by_measure.iter_mut().zip(keeps) {
                if let Some(label) = labels.get_mut(place).filter(|_| !keeps) {
                    *label = None;
                }
            }
        }
        let mut out: SmallVec<[(Labels<'a>, Measures); 1]> = SmallVec::new();
        for (measure, labels) in by_measure.into_iter().enumerate() {
            let place = out.iter().position(|(its, _)| *its == labels).unwrap_or_else(|| {
                out.push((labels, [false; MEASURES]));
                out.len() - 1
            });
            if let Some(has) = out.get_mut(place).and_then(|(_, measures)| measures.get_mut(measure)) {
                *has = true;
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::span::Value;

    fn select(lists: &[(&str, &[&str], &[&str])]) -> Select {
        let globs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let lists: Vec<_> = lists
            .iter()
            .map(|(name, include, exclude)| {
                (*name, InclusionLists { include: globs(include), exclude: globs(exclude) })
            })
            .collect();
        Select::new(lists.iter().map(|(name, lists)| (*name, lists))).unwrap()
    }

    #[test]
    fn names_are_the_same_in_either_form() {
        for name in ["http.server.request.duration", "http_server_request_duration_seconds", "http_server_request_*"] {
            let select = select(&[(name, &[], &["http_response.*"])]);
            assert!(!select.keeps("http.server.request.duration", "http.response.status_code"), "{name}");
            assert!(select.keeps("http.server.request.duration", "http.route"));
            assert!(select.keeps("http.client.request.duration", "http.response.status_code"));
        }
        assert!(
            !select(&[("http_server_request_body_size_bytes_sum", &[], &["*"])])
                .keeps("http.server.request.body.size", "http.route")
        );
    }

    #[test]
    fn broader_patterns_come_first() {
        let select = select(&[
            ("http.server.request.duration", &["http.route"], &[]),
            ("*", &["http.request.method", "url.*"], &["url.scheme"]),
        ]);
        let keeps = |metric: &str| -> Vec<&str> {
            let keys = ["http.request.method", "http.route", "url.scheme", "error.type"];
            keys.into_iter().filter(|key| select.keeps(metric, key)).collect()
        };
        assert_eq!(keeps("http.server.request.duration"), ["http.request.method", "http.route"]);
        assert_eq!(keeps("rpc.server.call.duration"), ["http.request.method"]);
    }

    #[test]
    fn what_does_not_differ_any_more_is_added_up_and_what_there_is_not_is_told() {
        let select = select(&[
            ("process_*", &[], &["cpu.mode"]),
            ("http_sever_*", &[], &["x"]),
            ("rpc_*", &["rpc.method", "x.y"], &[]),
        ]);
        let point = |mode: &'static str, value| NumberPoint {
            attributes: vec![
                Attribute { key: "cpu.mode", value: Value::Static(mode) },
                Attribute { key: "process.pid", value: Value::Int(1) },
            ],
            start_unix_ns: 5,
            value,
        };
        let points = select.leave_out_of_numbers("process.cpu.time", vec![point("user", 2.0), point("system", 1.0)]);
        let shown: Vec<_> = points.iter().map(|point| (point.attributes.len(), point.value)).collect();
        assert_eq!(shown, [(1, 3.0)]);
        assert_eq!(select.leave_out_of_numbers("db.x", vec![point("user", 2.0)]).len(), 1);
        assert_eq!(
            select.doubts(),
            [
                "attributes.select: there is no metric `http_sever_*` here",
                "attributes.select.rpc_*: no metric here has the attribute `x_y`"
            ]
        );
        for name in [
            "traces_service_graph_request_total",
            "traces_spanmetrics_latency",
            "process_cpu_time_seconds_total",
            "http.*",
        ] {
            let lists = InclusionLists { exclude: vec!["server.*".parse().unwrap()], ..InclusionLists::default() };
            let select = Select::new([(name, &lists)].into_iter()).unwrap();
            assert_eq!(select.doubts(), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_pattern_says_nothing_of_other_metrics() {
        let select = select(&[("rpc_*", &[], &["error.type"])]);
        assert!(select.keeps("http.server.request.duration", "error.type"));
        assert!(!select.keeps("rpc.server.call.duration", "error.type"));
    }

    #[test]
    fn spans_lose_what_traces_exclude() {
        let select = select(&[("traces", &["db.query.text"], &["url_query", "user_agent.*"])]);
        let kept = ["url.query", "user_agent.original", "url.path"].map(|key| select.spans_keep(key));
        assert_eq!(kept, [false, false, true]);
        assert!(!select.keeps_all_of_spans() && Select::default().keeps_all_of_spans());
    }
}
