//! What is kept per service instance: its routes and series.
//!
//! One that was said to have ended, or that nobody else holds any more, is shown to all readers for as long as a series without new
//! values is, unless the room is needed: each reads at its own time, and what one has read the others have not.

use std::sync::Arc;

use hashbrown::{HashMap, hash_map::Entry};

use super::{
    Scheme, graph, histogram,
    red::{self, Common, Red, Shown},
    select::{Select, Selected},
    semconv,
    tail_decisions::TailDecisions,
    wanted::{Reader, Readers, Wanted},
};
use crate::{
    config::Features,
    model::{
        ids::ProcessId,
        metric::{Metric, NumberPoint, Points},
        span::{Attribute, Resource, Value},
    },
};

#[derive(Debug)]
pub(super) struct Instance {
    /// Held, so that its address stays its own.
    resource: Arc<Resource>,
    /// It stands for several.
    pub(super) is_rest: bool,
    pub(super) red: Red,
    /// Groups of metrics that the rule wants which it is watched by.
    pub(super) of_rule: Option<Features>,
    since_unix_ns: Option<u64>,
    /// When it was found to have ended.
    ended_unix_ns: Option<u64>,
    /// Open requests by scheme and method, of those that were ever reported.
    active: Vec<(Scheme, Option<Value>, u64)>,
    active_since_unix_ns: Option<u64>,
}

impl Instance {
    fn new(resource: Arc<Resource>, is_rest: bool, config: red::Config) -> Self {
        let (of_rule, since_unix_ns) = (None, None);
        Self {
            resource,
            is_rest,
            red: Red::new(config),
            of_rule,
            since_unix_ns,
            ended_unix_ns: None,
            active: Vec::new(),
            active_since_unix_ns: None,
        }
    }

    pub(super) fn set_active(&mut self, scheme: Scheme, method: Option<Value>, open: u64) {
        let is_it = |of: &Option<Value>| of.as_ref().map(text) == method.as_ref().map(text);
        match self.active.iter_mut().find(|(its, of, _)| *its == scheme && is_it(of)) {
            Some((_, _, count)) => *count = open,
            None => self.active.push((scheme, method, open)),
        }
    }

    /// Of what was answered between two looks, none is open.
    fn add_answered(&mut self) {
        for (scheme, method) in self.red.answered() {
            let scheme = match scheme {
                "https" => Scheme::Https,
                _ => Scheme::Http,
            };
            let is_known = self.active.iter().any(|(its, of, _)| *its == scheme && of.as_ref().map(text) == method);
            if !is_known {
                self.active.push((scheme, method.map(|method| Value::Str(method.into())), 0));
            }
        }
    }

    fn collect(&mut self, shown: Shown<'_>, now_unix_ns: u64, out: &mut Vec<Metric>) {
        self.red.collect(&self.resource, shown, now_unix_ns, out);
        if shown.features.has(Features::RED) && self.ended_unix_ns.is_none() {
            self.add_answered();
            self.collect_active(now_unix_ns, out);
        }
        self.collect_info(shown, now_unix_ns, out);
    }

    /// What says of whom metrics of spans and edges are.
    fn collect_info(&mut self, shown: Shown<'_>, now_unix_ns: u64, out: &mut Vec<Metric>) {
        let start_unix_ns = (*self.since_unix_ns.get_or_insert(now_unix_ns)).min(now_unix_ns);
        let mut info = |name, description, attributes| {
            let points = Points::Gauge(vec![NumberPoint { attributes, start_unix_ns, value: 1.0 }]);
            out.push(Metric { name, unit: "", description, resource: Arc::clone(&self.resource), points });
        };
        if shown.features.has(Features::ANY_SPAN.with(Features::SERVICE_GRAPH)) {
            info("traces_target_info", "The resource of a service.", graph::target_attributes(&self.resource));
        }
        if shown.features.has(Features::HOST)
            && let Some(id) = graph::find(&self.resource, "host.id")
        {
            let host = |key| Attribute { key, value: Value::Str(id.into()) };
            let attributes = vec![host("cloud.host.id"), host("grafana.host.id")];
            info("traces_host_info", "A host that services run on.", attributes);
        }
    }

    fn collect_active(&mut self, now_unix_ns: u64, out: &mut Vec<Metric>) {
        let start_unix_ns = (*self.active_since_unix_ns.get_or_insert(now_unix_ns)).min(now_unix_ns);
        let points: Vec<NumberPoint> = self
            .active
            .iter()
            .map(|(scheme, method, open)| {
                let scheme = match scheme {
                    Scheme::Http => "http",
                    Scheme::Https => "https",
                };
                let method = method.clone().map(|value| Attribute { key: semconv::HTTP_REQUEST_METHOD, value });
                let scheme = Attribute { key: semconv::URL_SCHEME, value: Value::Static(scheme) };
                let attributes = method.into_iter().chain([scheme]).collect();
                NumberPoint { attributes, start_unix_ns, value: *open as f64 }
            })
            .collect();
        if !points.is_empty() {
            out.push(Metric {
                name: semconv::HTTP_SERVER_ACTIVE_REQUESTS,
                unit: "{request}",
                description: "Number of active HTTP server requests.",
                resource: Arc::clone(&self.resource),
                points: Points::UpDownCounter(points),
            });
        }
    }
}

/// What an attribute's text is.
fn text(value: &Value) -> &str {
    match value {
        Value::Static(text) => text,
        Value::Str(text) => text,
        _ => "",
    }
}

/// Most instances that have series of their own; those beyond share one without a name, in which all is overflow.
const INSTANCES_MAX: usize = 1000;
/// Where room is needed, what has ended is kept for so long still: most readers have read it by then.
const ENDED_KEPT_NS: u64 = 60_000_000_000;
/// Most series of all instances and families; beyond, each instance counts what is new as overflow.
const SERIES_MAX: usize = 10_000;

/// All instances, by their resource's address.
#[derive(Debug)]
pub(super) struct Instances {
    config: red::Config,
    /// How native histograms are kept once somebody asks for them: they cost more than all other buckets.
    native: Option<histogram::Native>,
    by_address: HashMap<usize, Instance>,
    rest: Option<Box<Instance>>,
    common: Common,
    /// Who is shown what.
    pub(super) readers: Readers,
}

impl Instances {
    pub(super) fn new(mut config: red::Config, readers: Readers) -> Self {
        let native = config.histograms.native.take();
        let selected = Selected::new(config.select.clone());
        let common = Common { room: SERIES_MAX, tail_decisions: TailDecisions::default(), selected };
        Self { config, native, by_address: HashMap::new(), rest: None, common, readers }
    }

    /// The instance of a resource, or what stands for all that there is no room for; and what it shares with others.
    pub(super) fn get_or_insert(&mut self, resource: &Arc<Resource>) -> (&mut Instance, &mut Common) {
        let is_full = self.by_address.len() >= INSTANCES_MAX;
        let instance = match self.by_address.entry(address(resource)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) if !is_full => {
                place.insert(Instance::new(Arc::clone(resource), false, self.config.clone()))
            }
            Entry::Vacant(_) => &mut **self.rest.get_or_insert_with(|| {
                let config = red::Config { max_series: 1, ..self.config.clone() };
                let unknown = "unknown_service";
                let attributes = vec![("service.name".into(), Value::Static(unknown))];
                let resource = Resource { attributes, service_name: unknown.into(), pid: ProcessId::NONE };
                Box::new(Instance::new(Arc::new(resource), true, config))
            }),
        };
        (instance, &mut self.common)
    }

    /// Keeps native histograms from now on, if they are wanted at all.
    pub(super) fn keep_native(&mut self, now_unix_ns: u64) {
        let Some(native) = self.native.take() else { return };
        self.config.histograms.native = Some(native);
        for instance in self.by_address.values_mut().chain(self.rest.as_deref_mut()) {
            instance.red.keep_native(native, now_unix_ns);
        }
    }

    /// Metrics have other attributes from now on. Series that are there stay as they are until they end.
    pub(super) fn set_select(&mut self, select: Select) {
        self.common.selected = Selected::new(select.clone());
        self.config.select = select;
    }

    /// What tail rules say.
    pub(super) const fn tail_decisions(&mut self) -> &mut TailDecisions {
        &mut self.common.tail_decisions
    }

    pub(super) fn collect(&mut self, reader: Reader, now_unix_ns: u64) -> Vec<Metric> {
        let mut metrics = Vec::new();
        let readers = self.readers;
        let Wanted { self_references, protocols, of_resource, own: _ } = readers.wanted(reader);
        let is_tight = self.by_address.len() >= INSTANCES_MAX || self.common.room < SERIES_MAX / 2;
        let idle_ns = u64::try_from(self.config.idle.as_nanos()).unwrap_or(u64::MAX);
        let kept_ns = if is_tight { idle_ns.min(ENDED_KEPT_NS) } else { idle_ns };
        let (tail_decisions, select) = (&self.common.tail_decisions, self.common.selected.select());
        self.by_address.retain(|_, instance| {
            // Before the metrics refer to it.
            if Arc::strong_count(&instance.resource) == 1 {
                instance.ended_unix_ns.get_or_insert(now_unix_ns);
            }
            let is_over = |ended: u64| now_unix_ns > ended && now_unix_ns - ended >= kept_ns;
            let is_kept = !instance.ended_unix_ns.is_some_and(is_over);
            let features = readers.shown(reader, instance.of_rule);
            let shown = Shown { features, protocols, of_resource, select, self_references, tail_decisions };
            instance.collect(shown, now_unix_ns, &mut metrics);
            is_kept
        });
        if let Some(rest) = &mut self.rest {
            let features = readers.shown(reader, None);
            let shown = Shown { features, protocols, of_resource, select, self_references, tail_decisions };
            rest.red.collect(&rest.resource, shown, now_unix_ns, &mut metrics);
        }
        let series: usize = self.by_address.values().map(|instance| instance.red.len()).sum();
        self.common.room = SERIES_MAX.saturating_sub(series);
        metrics
    }
}

/// The map holds the resource, so that no other comes to lie at its address.
fn address(resource: &Arc<Resource>) -> usize {
    Arc::as_ptr(resource).addr()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{exchange::Group, net::Role},
        telemetry::red::{Family, Label, Labels, Sample},
    };

    fn resource() -> Arc<Resource> {
        Arc::new(Resource { attributes: Vec::new(), service_name: "shop".into(), pid: ProcessId(1) })
    }

    fn record(instances: &mut Instances, resource: &Arc<Resource>, status: i64) -> bool {
        let mut labels = Labels::default();
        labels[0] = Some((semconv::HTTP_RESPONSE_STATUS_CODE, Label::Int(status)));
        let sample = Sample {
            duration_s: 0.1,
            body_bytes: [None; 2],
            messages: [0; 2],
            start_unix_ns: 1,
            end_unix_ns: 1,
            exemplar: None,
            is_call: true,
            is_failed: false,
        };
        let (instance, common) = instances.get_or_insert(resource);
        instance.red.record(Family::Exchange(Group::Http, Role::Server), &labels, &sample, common)
    }

    fn counted(metrics: &[Metric]) -> u64 {
        let count = |metric: &Metric| match &metric.points {
            Points::Histogram(points) => points.iter().map(|point| point.count).sum::<u64>(),
            other => panic!("{other:?}"),
        };
        metrics.iter().map(count).sum()
    }

    #[test]
    fn native_histograms_are_kept_from_when_somebody_asks_for_them() {
        let native =
            histogram::Native { size: crate::telemetry::exponential::Size::default(), min_reset: Duration::ZERO };
        let histograms = histogram::Config { native: Some(native), ..histogram::Config::default() };
        let mut instances = Instances::new(red::Config { histograms, ..red::Config::default() }, Readers::default());
        let shop = resource();
        let of = |metrics: &[Metric]| {
            let points: Vec<_> = metrics
                .iter()
                .flat_map(|metric| match &metric.points {
                    Points::Histogram(points) => points.clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            let native = |point: &crate::model::metric::HistogramPoint| {
                point
                    .native
                    .as_ref()
                    .map(|native| (native.start_unix_ns, native.count, native.before.iter().sum::<u64>()))
            };
            points.iter().map(|point| (point.count, native(point))).collect::<Vec<_>>()
        };
        assert!(!record(&mut instances, &shop, 200));
        assert_eq!(of(&instances.collect(Reader::Prometheus, 2)), [(1, None)]);
        instances.keep_native(3);
        assert_eq!(of(&instances.collect(Reader::Prometheus, 4)), [(1, Some((3, 0, 1)))]);
        assert!(!record(&mut instances, &shop, 200) && !record(&mut instances, &shop, 500));
        instances.keep_native(5);
        let mut found = of(&instances.collect(Reader::Prometheus, 6));
        found.sort_unstable();
        assert_eq!(found.first(), Some(&(1, Some((1, 1, 0)))), "a series that is new has all of its values");
        assert_eq!(found.last(), Some(&(2, Some((3, 1, 1)))));
    }

    #[test]
    fn instances_beyond_the_bound_share_one_and_all_is_counted() {
        let mut instances = Instances::new(red::Config::default(), Readers::default());
        let resources: Vec<_> = (0..INSTANCES_MAX + 100).map(|_| resource()).collect();
        let overflowed = resources.iter().filter(|resource| record(&mut instances, resource, 200)).count();
        assert_eq!(overflowed, 100);
        let metrics = instances.collect(Reader::Otlp, 2);
        assert_eq!((metrics.len(), counted(&metrics)), (INSTANCES_MAX + 1, INSTANCES_MAX as u64 + 100));
        // There is room again some time after instances have ended.
        drop((resources, metrics));
        let _ended = instances.collect(Reader::Otlp, 3);
        assert!(record(&mut instances, &resource(), 200));
        let _last = instances.collect(Reader::Otlp, 3 + ENDED_KEPT_NS);
        assert!(!record(&mut instances, &resource(), 200));
    }

    #[test]
    fn what_has_ended_is_shown_to_each_reader_and_for_as_long_as_an_idle_series() {
        let config = red::Config::default();
        let idle_ns = config.idle.as_nanos() as u64;
        let mut instances = Instances::new(config, Readers::default());
        assert!(!record(&mut instances, &resource(), 200), "its process has ended already");
        for (reader, at_unix_ns) in [(Reader::Prometheus, 2), (Reader::Prometheus, 3), (Reader::Otlp, 60_000_000_000)] {
            assert_eq!(counted(&instances.collect(reader, at_unix_ns)), 1, "{reader:?} {at_unix_ns}");
        }
        let _last = instances.collect(Reader::Prometheus, 2 + idle_ns);
        assert_eq!(instances.by_address.len(), 0);
    }

    #[test]
    fn series_are_bounded_over_all_instances() {
        let mut instances = Instances::new(red::Config::default(), Readers::default());
        let resources: Vec<_> = (0..100).map(|_| resource()).collect();
        let statuses = 2 * SERIES_MAX as i64 / 100;
        let mut overflowed = 0;
        for status in 0..statuses {
            overflowed += resources.iter().filter(|resource| record(&mut instances, resource, status)).count();
        }
        assert_eq!(overflowed, SERIES_MAX);
        assert_eq!(counted(&instances.collect(Reader::Otlp, 2)), 2 * SERIES_MAX as u64);
        assert_eq!(instances.common.room, 0);
    }
}
