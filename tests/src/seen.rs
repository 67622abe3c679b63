//! What the agent told, with words to assert about it.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use serde_json::Value;

use crate::receiver::{ReceivedMetric, ReceivedPoint, ReceivedSpan};

/// Everything that an agent sent in its life.
pub struct Seen {
    /// Spans, in the order of arrival.
    pub spans: Vec<ReceivedSpan>,
    /// Metrics, in the order of arrival.
    pub metrics: Vec<ReceivedMetric>,
    /// The agent's log.
    pub log: Vec<String>,
}

impl Seen {
    /// The one span whose path (or that of its URL) is this.
    ///
    /// # Panics
    /// If there is none, or several.
    #[must_use]
    pub fn at(&self, path: &str) -> &ReceivedSpan {
        match self.all_at(path).as_slice() {
            [one] => one,
            several => panic!("{} spans have the path {path}: {}", several.len(), self.summary()),
        }
    }

    /// All spans of a path.
    #[must_use]
    pub fn all_at(&self, path: &str) -> Vec<&ReceivedSpan> {
        self.spans.iter().filter(|span| self::path(span) == Some(path)).collect()
    }

    /// Those of a kind.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Vec<&ReceivedSpan> {
        self.spans.iter().filter(|span| span.kind == kind).collect()
    }

    /// The last word on each series of a histogram, or of a counter.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Vec<ReceivedPoint> {
        let mut last = BTreeMap::new();
        for metric in self.metrics.iter().filter(|metric| metric.name == name) {
            for point in &metric.points {
                let series =
                    serde_json::to_string(&(&metric.resource, &point.attributes)).expect("attributes are JSON");
                last.insert(series, point.clone());
            }
        }
        last.into_values().collect()
    }

    /// Values in all series of a histogram.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.histogram(name).iter().map(|point| point.count).sum()
    }

    /// The last word on all series of a counter that have these attributes, summed up.
    #[must_use]
    pub fn counted(&self, name: &str, attributes: &[(&str, &str)]) -> f64 {
        let is_it = |point: &ReceivedPoint| {
            attributes.iter().all(|(key, value)| point.attributes.get(*key).is_some_and(|it| it == value))
        };
        self.histogram(name).iter().filter(|point| is_it(point)).map(|point| point.value).sum()
    }

    /// Each call of `client`, by its spans, is an edge to `server` of this kind, counted once; and failed where its span has.
    ///
    /// # Panics
    /// If they are not.
    pub fn assert_edges(&self, client: &str, server: &str, kind: &str, calls: &[&ReceivedSpan]) {
        let calls: Vec<_> =
            calls.iter().filter(|span| span.attributes.get("beyla.outcome").is_none_or(|it| it != "unseen")).collect();
        let failed = calls.iter().filter(|span| span.status == "ERROR").count();
        let edge = [("client", client), ("server", server), ("connection_type", kind)];
        let counted = |name: &str| self.counted(&format!("traces_service_graph_request_{name}"), &edge) as usize;
        let found = (counted("total"), counted("failed_total"));
        assert_eq!(found, (calls.len(), failed), "edges and failures: {}", self.summary());
    }

    /// The sum of all series of a histogram.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.histogram(name).iter().filter_map(|point| point.sum).sum()
    }

    /// The histograms agree with the spans: a value per request that was seen to its end, and the same total.
    ///
    /// # Panics
    /// If they do not.
    pub fn assert_histograms_agree(&self) {
        for (kind, is_call, name) in [
            ("SERVER", false, "http.server.request.duration"),
            ("CLIENT", false, "http.client.request.duration"),
            ("SERVER", true, "rpc.server.call.duration"),
            ("CLIENT", true, "rpc.client.call.duration"),
        ] {
            let counts = |span: &&&ReceivedSpan| {
                span.attributes.contains_key("rpc.system.name") == is_call
                    && span.attributes.get("beyla.outcome").is_none_or(|it| it != "unseen")
            };
            let spans = self.of_kind(kind);
            let spans: Vec<_> = spans.iter().filter(counts).collect();
            assert_eq!(self.count(name), spans.len() as u64, "{name} against {kind} spans: {}", self.summary());
            let total: f64 = spans.iter().map(|span| span.duration_ns() as f64 / 1e9).sum();
            let sum = self.sum(name);
            assert!((sum - total).abs() < 1e-6 + total / 1e6, "{name}: sum {sum} s, spans {total} s");
        }
    }

    /// A line per span and the log, for messages.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let mut counts = BTreeMap::<_, usize>::new();
        for span in &self.spans {
            let outcome = span.attributes.get("beyla.outcome").and_then(Value::as_str).unwrap_or_default();
            *counts.entry((&span.kind, &span.name, outcome)).or_default() += 1;
        }
        for ((kind, name, outcome), count) in counts.iter().take(60) {
            let _infallible = write!(text, "\n  {count} x {kind} {name} {outcome}");
        }
        // What went wrong first.
        let mut spans: Vec<_> = self.spans.iter().collect();
        spans.sort_by_key(|span| !span.attributes.contains_key("beyla.outcome"));
        for span in spans.into_iter().take(40) {
            let _infallible = writeln!(
                text,
                "\n  {} {} {:?} {} us {}",
                span.kind,
                span.name,
                path(span).unwrap_or_default(),
                span.duration_ns() / 1000,
                serde_json::to_string(&span.attributes).unwrap_or_default()
            );
        }
        let _infallible = write!(text, "\nlog: {:#?}", self.log);
        text
    }
}

/// `url.path`, or the path of `url.full`.
#[must_use]
pub fn path(span: &ReceivedSpan) -> Option<&str> {
    let path = span.attributes.get("url.path").and_then(Value::as_str);
    path.or_else(|| {
        let (_, rest) = span.attributes.get("url.full")?.as_str()?.split_once("://")?;
        let rest = &rest[rest.find('/')?..];
        rest.split('?').next()
    })
}

/// Asserts that a span has these attributes; a `null` means that it must not have it.
///
/// # Panics
/// If it does not; the message names all that differ.
#[track_caller]
pub fn assert_attributes(span: &ReceivedSpan, expected: &Value) {
    let expected = expected.as_object().expect("an object of attributes");
    let mut wrong = String::new();
    for (key, value) in expected {
        let found = span.attributes.get(key).unwrap_or(&Value::Null);
        if found != value {
            let _infallible = write!(wrong, "\n  {key}: expected {value}, found {found}");
        }
    }
    assert!(wrong.is_empty(), "span {:?}:{wrong}\nall: {:#?}", span.name, span.attributes);
}

/// Asserts that a span lasted at least so long, and not much longer than whoever measured it from outside.
///
/// # Panics
/// If it did not.
#[track_caller]
pub fn assert_lasted(span: &ReceivedSpan, at_least: Duration, outside: Duration) {
    // A thread can be held up between its last system call and what records it.
    let slack = Duration::from_millis(50);
    let lasted = Duration::from_nanos(span.duration_ns());
    assert!(
        lasted >= at_least && lasted <= outside + slack,
        "span {:?} lasted {lasted:?}; expected from {at_least:?} to {outside:?}",
        span.name
    );
}
