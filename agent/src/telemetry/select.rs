//! Which attributes metrics and spans have, of those that there are: `attributes.select`, as OBI reads it.
//!
//! Names are compared as Prometheus writes them, so that `http.route` and `http_route` are one. Of a metric the lists of all patterns
//! that match its name count, those of broader ones (`*`) first: each adds what it includes and removes what it excludes. What is not
//! among a metric's attributes cannot be added: it would be without bound.

use smallvec::SmallVec;

use super::{
    instruments,
    red::{Family, Labels},
};
use crate::config::{Glob, GlobError, InclusionLists};

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
            let mut name = as_prometheus(name);
            for suffix in SUFFIXES {
                if let Some(rest) = name.strip_suffix(suffix) {
                    name.truncate(rest.len());
                }
            }
            by_name.push((name, lists));
        }
        by_name.sort_by(|(a, _), (b, _)| a.cmp(b));
        new.metrics = by_name.into_iter().map(|(name, lists)| Ok((name.parse()?, lists))).collect::<Result<_, _>>()?;
        Ok(new)
    }

    /// Whether a metric has an attribute.
    fn keeps(&self, metric: &str, key: &str) -> bool {
        let (metric, key) = (as_prometheus(metric), as_prometheus(key));
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
            let names = instruments::names(family);
            names.iter().any(|name| select.metrics.iter().any(|(glob, _)| glob.is_match(&as_prometheus(name))))
        };
        let families = Family::all().map(|family| is_matched(family).then(Vec::new)).collect();
        Self { select, families }
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
                    let keeps = instruments::names(family).map(|name| name.is_empty() || select.keeps(name, key));
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
