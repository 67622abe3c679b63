//! RED histograms of one service instance: requests counted and timed by a few attributes; and by the same means its edges in the
//! service graph, and its spans by name.
//!
//! Series are bounded per metric, and over all instances; what would exceed the bound goes to one series marked
//! `otel.metric.overflow`, so that the sum over all series is always exact. A value whose series exists allocates nothing.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use super::{
    graph,
    histogram::{self, Histogram, Point},
    instruments::{self, Measure},
    select::{MEASURES, Select, Selected},
    semconv,
    tail_decisions::TailDecisions,
};
use crate::{
    config::{Features, Protocols},
    model::{
        exchange::Group,
        metric::{Bounds, Exemplar, Metric, NumberPoint, Points},
        net::Role,
        span::{Attribute, Resource, Value},
    },
};

/// Settings of the aggregation.
#[derive(Clone, Debug)]
pub struct Config {
    /// How values are kept.
    pub histograms: histogram::Config,
    /// Which attributes metrics and spans have.
    pub select: Select,
    /// Series per service instance and metric, the overflow's included; at least 1.
    pub max_series: usize,
    /// A series without new values for so long ends.
    pub idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            histograms: histogram::Config::default(),
            select: Select::default(),
            max_series: 2_000,
            idle: Duration::from_secs(600),
        }
    }
}

/// A metric attribute's value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Label<'a> {
    Str(&'a str),
    Int(i64),
    /// A string of decimal digits.
    Digits(u32),
}

#[derive(Debug, PartialEq)]
pub(super) enum OwnedLabel {
    Str(CompactString),
    Int(i64),
    Digits(u32),
}

/// The same, kept.
pub(super) struct OwnedLabels([Option<(&'static str, OwnedLabel)>; MAX_LABELS]);

impl OwnedLabels {
    pub(super) fn of(labels: &Labels<'_>) -> Self {
        Self(labels.map(|label| label.map(|(key, label)| (key, label.own()))))
    }

    pub(super) fn borrow(&self) -> Labels<'_> {
        self.0.each_ref().map(|label| label.as_ref().map(|(key, label)| (*key, label.borrow())))
    }
}

impl Label<'_> {
    pub(super) fn own(self) -> OwnedLabel {
        match self {
            Self::Str(text) => OwnedLabel::Str(CompactString::new(text)),
            Self::Int(value) => OwnedLabel::Int(value),
            Self::Digits(value) => OwnedLabel::Digits(value),
        }
    }
}

impl OwnedLabel {
    fn borrow(&self) -> Label<'_> {
        match self {
            Self::Str(text) => Label::Str(text),
            Self::Int(value) => Label::Int(*value),
            Self::Digits(value) => Label::Digits(*value),
        }
    }

    fn is(&self, label: &Label<'_>) -> bool {
        match (self, label) {
            (Self::Str(a), Label::Str(b)) => a == b,
            (Self::Int(a), Label::Int(b)) => a == b,
            (Self::Digits(a), Label::Digits(b)) => a == b,
            _ => false,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Str(text) => Value::Str(text.clone()),
            Self::Int(value) => Value::Int(*value),
            Self::Digits(value) => Value::Str(compact_str::format_compact!("{value}")),
        }
    }
}

/// The attributes of one value, each in its place (places are fixed per metric), `None` where absent.
pub(super) const MAX_LABELS: usize = 9;
pub(super) type Labels<'a> = [Option<(&'static str, Label<'a>)>; MAX_LABELS];

/// One exchange's values.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) duration_s: f64,
    /// Bytes of the bodies of request and response.
    pub(super) body_bytes: [Option<u64>; 2],
    /// Messages that were sent, and that were received.
    pub(super) messages: [u64; 2],
    /// When the exchange began, and when it ended.
    pub(super) start_unix_ns: u64,
    pub(super) end_unix_ns: u64,
    /// Its span, if that is exported; the value is set by the histogram.
    pub(super) exemplar: Option<Exemplar>,
    /// It is counted here, and not at its other end.
    pub(super) is_call: bool,
    /// It failed.
    pub(super) is_failed: bool,
}

/// Metrics that have the same attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Those of one kind of exchange: whose conventions describe it, and which side is measured.
    Exchange(Group, Role),
    /// Those of messages that are dealt with.
    Process,
    /// Edges of the service graph, by what the service is there.
    Edge(Role),
    /// Spans.
    Span,
}

impl Family {
    const COUNT: usize = 2 * Group::ALL.len() + 4;

    pub(super) fn all() -> impl Iterator<Item = Self> {
        const ROLES: [Role; 2] = [Role::Server, Role::Client];
        let exchanges = Group::ALL.into_iter().flat_map(|group| ROLES.map(|role| Self::Exchange(group, role)));
        exchanges.chain(ROLES.map(Self::Edge)).chain([Self::Span, Self::Process])
    }

    /// Its place in [`Family::all`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Exchange(group, role) => 2 * group as usize + role as usize,
            Self::Edge(role) => 2 * Group::ALL.len() + role as usize,
            Self::Span => 2 * Group::ALL.len() + 2,
            Self::Process => 2 * Group::ALL.len() + 3,
        }
    }

    fn histogram(self, measure: Measure, config: &histogram::Config) -> Option<Histogram> {
        let given = config.bounds.get(measure as usize).cloned().flatten().map(Bounds::Shared);
        let instrument = instruments::find(self, measure)?;
        Some(Histogram::new(config, given.unwrap_or(Bounds::Static(instrument.bounds))))
    }
}

/// What whoever reads the metrics of a service is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    /// Groups of metrics.
    pub(super) features: Features,
    /// Protocols whose requests are.
    pub(super) protocols: Protocols,
    /// What metrics of spans have of their resource besides.
    pub(super) of_resource: &'static [&'static str],
    /// Which attributes metrics have.
    pub(super) select: &'a Select,
    /// Edges from the service to itself.
    pub(super) self_references: bool,
    /// Which traces were kept.
    pub(super) tail_decisions: &'a TailDecisions,
}

#[derive(Debug)]
struct Series {
    hash: u64,
    /// Empty for the overflow series.
    labels: Box<[(&'static str, OwnedLabel)]>,
    overflow: bool,
    /// Of which measures it is.
    measures: [bool; MEASURES],
    start_unix_ns: u64,
    /// When its last exchange ended.
    updated_unix_ns: u64,
    duration: Histogram,
    /// Of the bodies of request and response.
    sizes: [Option<Box<Histogram>>; 2],
    /// In the order of [`Measure::COUNTERS`].
    counts: [u64; 6],
}

impl Series {
    fn new(hash: u64, labels: Option<&Labels<'_>>, start_unix_ns: u64, duration: Histogram) -> Self {
        let owned = labels.into_iter().flatten().flatten().map(|(key, label)| (*key, label.own())).collect();
        let (overflow, sizes, counts, measures) = (labels.is_none(), [None, None], [0; 6], [false; MEASURES]);
        Self {
            hash,
            labels: owned,
            overflow,
            measures,
            start_unix_ns,
            updated_unix_ns: start_unix_ns,
            duration,
            sizes,
            counts,
        }
    }

    fn is(&self, labels: &Labels<'_>) -> bool {
        let mut mine = self.labels.iter();
        labels.iter().flatten().all(|(key, label)| mine.next().is_some_and(|(k, l)| is_same(k, key) && l.is(label)))
            && mine.next().is_none()
    }

    fn record(
        &mut self,
        family: Family,
        sample: &Sample,
        measures: [bool; MEASURES],
        config: &histogram::Config,
        tail_decisions: &TailDecisions,
    ) {
        let (exemplar, at_unix_ns) = (sample.exemplar.as_ref(), sample.end_unix_ns);
        let [duration, sizes @ ..] = measures;
        self.measures.iter_mut().zip(measures).for_each(|(of_it, is)| *of_it |= is);
        self.updated_unix_ns = self.updated_unix_ns.max(at_unix_ns);
        if duration {
            self.duration.record(sample.duration_s, at_unix_ns, exemplar, tail_decisions);
        }
        let bytes = sample.body_bytes.map(Option::unwrap_or_default);
        let is_failure = sample.is_call && sample.is_failed;
        let of = |is: bool, more: u64| if is { more } else { 0 };
        let [sent, received] = sample.messages;
        let more = [
            of(duration, u64::from(sample.is_call)),
            of(duration, u64::from(is_failure)),
            of(sizes[0], bytes[0]),
            of(sizes[1], bytes[1]),
            of(duration, sent),
            of(duration, received),
        ];
        self.counts.iter_mut().zip(more).for_each(|(count, more)| *count = count.saturating_add(more));
        let measures = [Measure::RequestSize, Measure::ResponseSize];
        let body_bytes = sample.body_bytes.into_iter().zip(sizes);
        for ((histogram, (bytes, is)), measure) in self.sizes.iter_mut().zip(body_bytes).zip(measures) {
            let Some(bytes) = bytes.filter(|_| is) else { continue };
            if histogram.is_none() {
                *histogram = family.histogram(measure, config).map(Box::new);
            }
            if let Some(histogram) = histogram {
                histogram.record(bytes as f64, at_unix_ns, exemplar, tail_decisions);
            }
        }
    }

    /// With those that all series of its family have.
    fn attributes(&self, common: &[Attribute]) -> Vec<Attribute> {
        let mut attributes = common.to_vec();
        if self.overflow {
            attributes.push(Attribute { key: semconv::OTEL_METRIC_OVERFLOW, value: Value::Bool(true) });
        }
        attributes.extend(self.labels.iter().map(|(key, label)| Attribute { key, value: label.to_value() }));
        attributes
    }

    /// Whether the other end of an edge is the service itself.
    fn is_self_reference(&self, family: Family, resource: &Resource) -> bool {
        let Family::Edge(role) = family else { return false };
        let of = |key: &str| self.labels.iter().find(|(its, _)| *its == key).map(|(_, label)| label.borrow());
        let other = graph::keys(role.other());
        let namespace = graph::find(resource, semconv::SERVICE_NAMESPACE);
        of(other.name) == Some(Label::Str(&resource.service_name)) && of(other.namespace) == namespace.map(Label::Str)
    }

    /// The protocol of an exchange; edges and spans are of all.
    fn protocol(&self, family: Family) -> Protocols {
        let system = |key: &str| {
            let found = self.labels.iter().find(|(its, _)| *its == key);
            match found.map(|(_, label)| label.borrow()) {
                Some(Label::Str(system)) => Protocols::of_system(system),
                // What is in the overflow is of all systems.
                _ => Protocols::ALL,
            }
        };
        match family {
            Family::Exchange(Group::Http, _) => Protocols::HTTP,
            Family::Exchange(Group::Rpc, _) => Protocols::CALLS,
            Family::Exchange(Group::Dns, _) => Protocols::DNS,
            Family::Exchange(Group::Db, _) => system(semconv::DB_SYSTEM_NAME),
            Family::Exchange(Group::Messaging, _) | Family::Process => system(semconv::MESSAGING_SYSTEM),
            Family::Edge(_) | Family::Span => Protocols::ALL,
        }
    }

    /// In the order of [`Measure::HISTOGRAMS`].
    fn histograms(&mut self) -> [Option<&mut Histogram>; 3] {
        let [requests, responses] = &mut self.sizes;
        [Some(&mut self.duration), requests.as_deref_mut(), responses.as_deref_mut()]
    }
}

/// A family's series, the overflow's apart.
#[derive(Debug, Default)]
struct Table {
    series: HashTable<Series>,
    overflow: Option<Box<Series>>,
}

/// What all instances have in common.
#[derive(Debug)]
pub(super) struct Common {
    /// Series that there is room for.
    pub(super) room: usize,
    /// Of which spans exemplars may be.
    pub(super) tail_decisions: TailDecisions,
    /// Which attributes metrics have.
    pub(super) selected: Selected,
}

/// All series of one service instance.
#[derive(Debug)]
pub(super) struct Red {
    config: Config,
    hasher: DefaultHashBuilder,
    tables: [Table; Family::COUNT],
}

impl Red {
    pub(super) fn new(config: Config) -> Self {
        Self { config, hasher: DefaultHashBuilder::default(), tables: Default::default() }
    }

    /// Series of all families, those of the overflow apart.
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(|table| table.series.len()).sum()
    }

    /// Keeps native histograms too from now on.
    pub(super) fn keep_native(&mut self, native: histogram::Native, now_unix_ns: u64) {
        self.config.histograms.native = Some(native);
        for table in &mut self.tables {
            for series in table.series.iter_mut().chain(table.overflow.as_deref_mut()) {
                let histograms = series.histograms().into_iter().flatten();
                histograms.for_each(|histogram| histogram.keep_native(native, now_unix_ns));
            }
        }
    }

    /// Schemes and methods of the HTTP requests that were answered, as series have them.
    pub(super) fn answered(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let table = self.tables.get(Family::Exchange(Group::Http, Role::Server).index());
        table.into_iter().flat_map(|table| &table.series).filter_map(|series| {
            let of = |key| {
                series.labels.iter().find(|(its, _)| *its == key).and_then(|(_, label)| match label {
                    OwnedLabel::Str(text) => Some(text.as_str()),
                    _ => None,
                })
            };
            Some((of(semconv::URL_SCHEME)?, of(semconv::HTTP_REQUEST_METHOD)))
        })
    }

    /// Adds an exchange, to a new series only while there is room for one more. Returns whether it went to the overflow
    /// series.
    pub(super) fn record(&mut self, family: Family, labels: &Labels<'_>, sample: &Sample, common: &mut Common) -> bool {
        let Some(selected) = common.selected.apply(family, labels) else {
            return self.record_of(family, labels, sample, [true; MEASURES], common);
        };
        // Attributes that a metric has not are gone before its values are counted, so that these are added up.
        let mut is_overflow = false;
        for (labels, measures) in selected {
            is_overflow |= self.record_of(family, &labels, sample, measures, common);
        }
        is_overflow
    }

    /// The same of some measures.
    fn record_of(
        &mut self,
        family: Family,
        labels: &Labels<'_>,
        sample: &Sample,
        measures: [bool; MEASURES],
        common: &mut Common,
    ) -> bool {
        let [duration, sizes @ ..] = measures;
        let has_value = duration || sample.body_bytes.iter().zip(sizes).any(|(bytes, is)| is && bytes.is_some());
        if !has_value {
            return false;
        }
        let Config { histograms, max_series, .. } = &self.config;
        let Common { room, tail_decisions, selected: _ } = common;
        let hash = hash(&self.hasher, labels);
        let Some(table) = self.tables.get_mut(family.index()) else { return false };
        let full = table.series.len() + 1 >= *max_series || *room == 0;
        let new = |hash, labels| {
            // Without an instrument of its own an exchange is in none.
            let duration = family.histogram(Measure::Duration, histograms)?;
            Some(Series::new(hash, labels, sample.start_unix_ns, duration))
        };
        match table.series.entry(hash, |series| series.hash == hash && series.is(labels), |series| series.hash) {
            Entry::Occupied(mut series) => {
                series.get_mut().record(family, sample, measures, histograms, tail_decisions)
            }
            Entry::Vacant(place) if !full => {
                let Some(mut series) = new(hash, Some(labels)) else { return false };
                series.record(family, sample, measures, histograms, tail_decisions);
                place.insert(series);
                *room -= 1;
            }
            Entry::Vacant(_) => {
                if table.overflow.is_none() {
                    table.overflow = new(0, None).map(Box::new);
                }
                let Some(series) = &mut table.overflow else { return false };
                series.record(family, sample, measures, histograms, tail_decisions);
                return true;
            }
        }
        false
    }

    /// All metrics as of now that are shown.
    pub(super) fn collect(
        &mut self,
        resource: &Arc<Resource>,
        shown: Shown<'_>,
        now_unix_ns: u64,
        out: &mut Vec<Metric>,
    ) {
        for (family, table) in Family::all().zip(&mut self.tables) {
            let mut points = <[Collected; 3]>::default();
            let mut counters = <[Vec<NumberPoint>; 6]>::default();
            let is_used = !table.series.is_empty() || table.overflow.is_some();
            let common =
                if is_used { graph::common_attributes(family, resource, shown.of_resource) } else { Vec::new() };
            let overflow = table.overflow.iter_mut().map(|series| &mut **series);
            for series in table.series.iter_mut().chain(overflow) {
                if !shown.self_references && series.is_self_reference(family, resource) {
                    continue;
                }
                if !shown.protocols.is_all() && !shown.protocols.has(series.protocol(family)) {
                    continue;
                }
                let start_unix_ns = series.start_unix_ns.min(now_unix_ns);
                let (attributes, updated_unix_ns) = (series.attributes(&common), series.updated_unix_ns);
                let has_messages = matches!(family, Family::Exchange(..) | Family::Process);
                // An edge is counted at one of its ends.
                let [duration, requests, responses] = series.measures;
                let is_call = series.counts[0] > 0 || !duration;
                let of = [duration, duration, requests, responses, duration, duration];
                let all = counters.iter_mut().zip(series.counts).zip(Measure::COUNTERS).zip(of);
                for (((points, count), measure), is_of_it) in all {
                    let is_there = is_of_it && if has_messages { count > 0 } else { is_call };
                    if is_there && has_messages == measure.is_of_messages() {
                        let attributes = attributes.clone();
                        points.push(NumberPoint { attributes, start_unix_ns, value: count as f64 });
                    }
                }
                for (histogram, points) in series.histograms().into_iter().zip(&mut points) {
                    let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) else { continue };
                    // The wall clock may have been set back since.
                    let point = histogram.point(start_unix_ns, updated_unix_ns, now_unix_ns, shown.tail_decisions);
                    points.push(point, attributes.clone());
                }
            }
            let idle_since = now_unix_ns.saturating_sub(u64::try_from(self.config.idle.as_nanos()).unwrap_or(u64::MAX));
            // Shown a last time: who reads more often than that has seen all of it.
            table.series.retain(|series| series.updated_unix_ns >= idle_since);
            let histograms = points.into_iter().map(Collected::into_points);
            let counters = counters.into_iter().map(|points| (!points.is_empty()).then_some(Points::Counter(points)));
            let measures = Measure::HISTOGRAMS.into_iter().chain(Measure::COUNTERS);
            for (measure, points) in measures.zip(histograms.chain(counters)) {
                let mut wanted =
                    instruments::all(family, measure).filter(|it| shown.features.has(it.features)).peekable();
                let mut points = points;
                while let Some(it) = wanted.next() {
                    let its_own = if wanted.peek().is_some() { points.clone() } else { points.take() };
                    let Some(mut points) = its_own else { break };
                    if !common.is_empty() && shown.select.is_of(it.name) {
                        // All have these alike.
                        let is_common = |key: &str| common.iter().any(|attribute| attribute.key == key);
                        for attributes in points.attributes_mut() {
                            shown.select.leave_out(it.name, attributes, is_common);
                        }
                    }
                    let (name, unit, description) = (it.name, it.unit, it.description);
                    out.push(Metric { name, unit, description, resource: Arc::clone(resource), points });
                }
            }
        }
    }
}

/// Points of one metric; all are of the same kind.
#[derive(Default)]
struct Collected {
    explicit: Vec<crate::model::metric::HistogramPoint>,
    exponential: Vec<crate::model::metric::ExponentialPoint>,
}

impl Collected {
    fn push(&mut self, point: Point, attributes: Vec<Attribute>) {
        match point {
            Point::Explicit(mut point) => {
                point.attributes = attributes;
                self.explicit.push(point);
            }
            Point::Exponential(mut point) => {
                point.attributes = attributes;
                self.exponential.push(point);
            }
        }
    }

    fn into_points(self) -> Option<Points> {
        if !self.explicit.is_empty() {
            Some(Points::Histogram(self.explicit))
        } else if !self.exponential.is_empty() {
            Some(Points::ExponentialHistogram(self.exponential))
        } else {
            None
        }
    }
}

/// Seeded per process, as labels come from hostile input.
/// Whether two names are equal: mostly they are the same one.
fn is_same(one: &'static str, other: &'static str) -> bool {
    std::ptr::eq(one, other) || one == other
}

fn hash(hasher: &DefaultHashBuilder, labels: &Labels<'_>) -> u64 {
    let mut state = hasher.build_hasher();
    for (place, label) in labels.iter().enumerate() {
        match label {
            // The place and the length keep ("ab", "c") apart from ("a", "bc").
            Some((_, Label::Str(text))) => {
                state.write_u64((place as u64) << 32 | text.len() as u64);
                state.write(text.as_bytes());
            }
            Some((_, Label::Int(value))) => state.write_u64((place as u64) << 32 ^ *value as u64),
            Some((_, Label::Digits(value))) => state.write_u64((place as u64) << 32 | u64::from(*value)),
            None => {}
        }
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{HistogramAggregation, InclusionLists},
        model::ids::ProcessId,
    };

    const HTTP_SERVER: Family = Family::Exchange(Group::Http, Role::Server);
    const HTTP_CLIENT: Family = Family::Exchange(Group::Http, Role::Client);
    const RPC_CLIENT: Family = Family::Exchange(Group::Rpc, Role::Client);

    fn shown(tail_decisions: &TailDecisions) -> Shown<'_> {
        static ALL: std::sync::LazyLock<Select> = std::sync::LazyLock::new(Select::default);
        let (features, protocols) = (Features::RED.with(Features::SIZES), Protocols::ALL);
        Shown { features, protocols, of_resource: &[], select: &ALL, self_references: false, tail_decisions }
    }

    fn resource() -> Arc<Resource> {
        Arc::new(Resource { attributes: Vec::new(), service_name: "shop".into(), pid: ProcessId(1) })
    }

    fn common() -> Common {
        Common { room: 100, tail_decisions: TailDecisions::default(), selected: Selected::default() }
    }

    fn labels<'a>(route: &'a str, status: i64) -> Labels<'a> {
        let mut labels = Labels::default();
        labels[0] = Some((semconv::HTTP_ROUTE, Label::Str(route)));
        labels[1] = Some((semconv::HTTP_RESPONSE_STATUS_CODE, Label::Int(status)));
        labels
    }

    fn sample(duration_s: f64) -> Sample {
        let (start_unix_ns, end_unix_ns, exemplar) = (100, 150, None);
        let (body_bytes, messages, is_call, is_failed) = ([Some(0), None], [0; 2], true, false);
        Sample { duration_s, body_bytes, messages, start_unix_ns, end_unix_ns, exemplar, is_call, is_failed }
    }

    /// (attributes, start, count) of the durations.
    fn durations(red: &mut Red, now_unix_ns: u64) -> Vec<(Vec<Attribute>, u64, u64)> {
        let mut metrics = Vec::new();
        red.collect(&resource(), shown(&TailDecisions::default()), now_unix_ns, &mut metrics);
        let metric = metrics.into_iter().find(|metric| metric.name == semconv::HTTP_SERVER_REQUEST_DURATION);
        match metric.map(|metric| metric.points) {
            Some(Points::Histogram(points)) => {
                points.into_iter().map(|p| (p.attributes, p.start_unix_ns, p.count)).collect()
            }
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn equal_attributes_share_a_series_and_others_do_not() {
        let mut red = Red::new(Config::default());
        for (route, status) in [("/a", 200), ("/a", 200), ("/a", 500), ("/b", 200)] {
            red.record(HTTP_SERVER, &labels(route, status), &sample(0.1), &mut common());
        }
        let mut counts: Vec<_> = durations(&mut red, 200).into_iter().map(|point| point.2).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 2]);
    }

    #[test]
    fn an_absent_attribute_is_another_series() {
        let mut red = Red::new(Config::default());
        let mut without = labels("/a", 200);
        without[1] = None;
        red.record(HTTP_SERVER, &labels("/a", 200), &sample(0.1), &mut common());
        red.record(HTTP_SERVER, &without, &sample(0.1), &mut common());
        let mut sizes: Vec<_> = durations(&mut red, 200).into_iter().map(|point| point.0.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn what_exceeds_the_bound_goes_to_the_overflow_and_the_count_stays_exact() {
        let mut red = Red::new(Config { max_series: 3, ..Config::default() });
        let mut overflowed = 0;
        for route in ["/a", "/b", "/c", "/d", "/a", "/c"] {
            overflowed += usize::from(red.record(HTTP_SERVER, &labels(route, 200), &sample(0.1), &mut common()));
        }
        let points = durations(&mut red, 200);
        assert_eq!((points.len(), overflowed), (3, 3));
        assert_eq!(points.iter().map(|point| point.2).sum::<u64>(), 6);
        let marked = vec![Attribute { key: "otel.metric.overflow", value: Value::Bool(true) }];
        assert_eq!(points.iter().find(|point| point.0 == marked).map(|point| point.2), Some(3));
    }

    #[test]
    fn cumulative_points_count_since_the_series_began() {
        let mut red = Red::new(Config::default());
        red.record(HTTP_SERVER, &labels("/a", 200), &sample(0.1), &mut common());
        assert_eq!(durations(&mut red, 200)[0].2, 1);
        red.record(HTTP_SERVER, &labels("/a", 200), &sample(0.1), &mut common());
        let points = durations(&mut red, 300);
        assert_eq!((points[0].1, points[0].2), (100, 2));
        assert_eq!(durations(&mut red, 400)[0].2, 2);
        assert_eq!(durations(&mut red, 50)[0].1, 50, "a clock set back does not make a point end before it starts");
    }

    #[test]
    fn a_series_without_new_values_ends() {
        let mut red = Red::new(Config { idle: Duration::from_nanos(1_000), ..Config::default() });
        red.record(HTTP_SERVER, &labels("/a", 200), &sample(0.1), &mut common());
        assert_eq!(durations(&mut red, 1_100).len(), 1);
        // It is shown once more by whoever asks first.
        assert_eq!(durations(&mut red, 1_151).len(), 1);
        assert_eq!(durations(&mut red, 1_152), []);
    }

    #[test]
    fn sizes_are_metrics_of_their_own_where_they_are_known() {
        let mut red = Red::new(Config::default());
        red.record(HTTP_SERVER, &labels("/a", 200), &sample(0.1), &mut common());
        red.record(RPC_CLIENT, &labels("/a", 200), &Sample { body_bytes: [None; 2], ..sample(0.1) }, &mut common());
        let mut metrics = Vec::new();
        red.collect(&resource(), shown(&TailDecisions::default()), 200, &mut metrics);
        let names: Vec<_> = metrics.iter().map(|metric| (metric.name, metric.unit)).collect();
        assert_eq!(
            names,
            [
                ("http.server.request.duration", "s"),
                ("http.server.request.body.size", "By"),
                ("rpc.client.call.duration", "s")
            ]
        );
    }

    #[test]
    fn a_series_that_goes_on_after_it_ended_starts_with_what_it_is_told_of_then() {
        let mut red = Red::new(Config { idle: Duration::from_nanos(1_000), ..Config::default() });
        red.record(HTTP_SERVER, &labels("/a", 200), &sample(0.1), &mut common());
        assert_eq!(durations(&mut red, 1_151).len(), 1);
        let later = Sample { start_unix_ns: 2_000, end_unix_ns: 2_050, ..sample(0.1) };
        red.record(HTTP_SERVER, &labels("/a", 200), &later, &mut common());
        let points = durations(&mut red, 2_100);
        assert_eq!((points.len(), points[0].1, points[0].2), (1, 2_000, 1));
    }

    #[test]
    fn buckets_are_those_that_were_asked_for() {
        let bounds = [Some(Arc::from([0.2, 0.3])), None, None];
        let histograms = histogram::Config { bounds, ..histogram::Config::default() };
        let mut red = Red::new(Config { histograms, ..Config::default() });
        red.record(HTTP_SERVER, &labels("/a", 200), &sample(0.25), &mut common());
        let mut metrics = Vec::new();
        red.collect(&resource(), shown(&TailDecisions::default()), 200, &mut metrics);
        let Points::Histogram(durations) = &metrics[0].points else { panic!("{metrics:?}") };
        assert_eq!((&durations[0].bounds[..], &durations[0].buckets[..]), (&[0.2, 0.3][..], &[0, 1, 0][..]));
        let Points::Histogram(sizes) = &metrics[1].points else { panic!("{metrics:?}") };
        assert_eq!(&sizes[0].bounds[..], instruments::SIZE_BOUNDS_BYTES);
    }

    #[test]
    fn what_differs_in_attributes_that_a_metric_has_not_is_added_up() {
        let lists = InclusionLists { exclude: vec!["http.route".parse().unwrap()], ..InclusionLists::default() };
        let select = Select::new([("http.server.request.duration", &lists)].into_iter()).unwrap();
        let mut common = Common { selected: Selected::new(select), ..common() };
        let mut red = Red::new(Config::default());
        for route in ["/a", "/b", "/a"] {
            red.record(HTTP_SERVER, &labels(route, 200), &sample(0.1), &mut common);
        }
        red.record(HTTP_CLIENT, &labels("/a", 200), &sample(0.1), &mut common);
        let mut metrics = Vec::new();
        red.collect(&resource(), shown(&TailDecisions::default()), 200, &mut metrics);
        let counted: Vec<_> = metrics
            .iter()
            .map(|metric| {
                let Points::Histogram(points) = &metric.points else { panic!("{metric:?}") };
                let mut counts: Vec<_> = points.iter().map(|point| (point.attributes.len(), point.count)).collect();
                counts.sort_unstable();
                (metric.name, counts)
            })
            .collect();
        assert_eq!(
            counted,
            [
                ("http.server.request.duration", vec![(1, 3)]),
                ("http.server.request.body.size", vec![(2, 1), (2, 2)]),
                ("http.client.request.duration", vec![(2, 1)]),
                ("http.client.request.body.size", vec![(2, 1)]),
            ]
        );
    }

    #[test]
    fn exponential_histograms_if_asked() {
        let mut red = Red::new(Config {
            histograms: histogram::Config {
                aggregation: HistogramAggregation::Base2ExponentialBucketHistogram,
                ..histogram::Config::default()
            },
            ..Config::default()
        });
        red.record(HTTP_CLIENT, &labels("/a", 200), &sample(0.1), &mut common());
        let mut metrics = Vec::new();
        red.collect(&resource(), shown(&TailDecisions::default()), 200, &mut metrics);
        assert!(matches!(&metrics[0].points, Points::ExponentialHistogram(points) if points[0].count == 1));
    }
}
