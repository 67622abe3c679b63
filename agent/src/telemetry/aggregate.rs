//! RED of all service instances: the thread that reads the ring writes it, exporters and scrapes read it. That thread never
//! waits for them: what it has to record while the metrics are collected is kept until they are.

use std::sync::Arc;

use parking_lot::{ArcMutexGuard, RawFairMutex};

use super::{
    instances::Instances,
    outcome,
    red::{self, Family, Labels, OwnedLabels, Sample},
    select::Select,
    wanted::{Reader, Readers},
};
use crate::{
    config::Features,
    model::{
        exchange::Outcome,
        metric::Metric,
        span::{Resource, Value},
        trace_context::TraceId,
    },
};

/// Most exchanges that wait while the metrics are collected, some 600 bytes each. With more the reader waits after all: what is
/// counted stays exact.
const WAITING_MAX: usize = 16_384;
/// Room for so many is kept.
const WAITING_KEPT: usize = 256;

/// A mutex that is handed to who waits. A plain one is taken by who comes first, and that is who has just given it up:
/// under load, exporters would wait for seconds for the thread that drains the ring.
type Shared<T> = parking_lot::FairMutex<T>;

/// What was done; all counts only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// `beyla_rs.exchanges`: protocol (`http1`, `http2`, `grpc`, `connectrpc`), outcome (`complete`, `no_response`,
    /// `cut`, `cancelled`, `reset`, `unseen`), number.
    pub exchanges: Vec<(&'static str, &'static str, u64)>,
    /// Spans left out by the sampler.
    pub unsampled: u64,
    /// Exchanges that went to a metric's overflow series.
    pub overflowed: u64,
    /// Requests whose edge in the service graph is left to the agent of the client's host.
    pub left_edges: u64,
}

#[derive(Debug)]
struct State {
    instances: Instances,
    counts: Counts,
}

/// An exchange as the metrics know it.
pub(super) struct Entry<'a> {
    pub(super) resource: &'a Arc<Resource>,
    pub(super) protocol: &'static str,
    pub(super) outcome: Outcome,
    /// Its span was left out by the sampler.
    pub(super) is_unsampled: bool,
    /// Groups of metrics that the rule wants which its service is watched by.
    pub(super) of_rule: Option<Features>,
    /// Where it counts, unless it is in no histogram.
    pub(super) measured: Option<(Family, Labels<'a>, Sample)>,
    /// The same as an edge and as a span, where these are counted.
    pub(super) others: Vec<(Family, Labels<'a>, Sample)>,
    /// Its edge is left to the agent of the client's host.
    pub(super) is_left_edge: bool,
}

/// The same, kept.
struct Waiting {
    resource: Arc<Resource>,
    protocol: &'static str,
    outcome: Outcome,
    is_unsampled: bool,
    of_rule: Option<Features>,
    measured: Option<(Family, OwnedLabels, Sample)>,
    others: Vec<(Family, OwnedLabels, Sample)>,
    is_left_edge: bool,
}

impl State {
    fn record(&mut self, entry: &Entry<'_>) {
        let Entry { resource, protocol, outcome, is_unsampled, of_rule, measured, others, is_left_edge } = entry;
        let word = outcome::word(*outcome);
        match self.counts.exchanges.iter_mut().find(|(its, of, _)| its == protocol && *of == word) {
            Some((_, _, count)) => *count += 1,
            None => self.counts.exchanges.push((protocol, word, 1)),
        }
        self.counts.unsampled += u64::from(*is_unsampled);
        self.counts.left_edges += u64::from(*is_left_edge);
        if measured.is_none() && others.is_empty() {
            return;
        }
        let (instance, common) = self.instances.get_or_insert(resource);
        instance.of_rule = *of_rule;
        let overflows = measured.iter().chain(others);
        let is_overflow = overflows.fold(false, |is_any, (family, labels, sample)| {
            instance.red.record(*family, labels, sample, common) || is_any
        });
        self.counts.overflowed += u64::from(is_overflow);
    }
}

/// The readers' side.
#[derive(Clone, Debug)]
pub(crate) struct RedMetrics(Arc<Shared<State>>);

impl RedMetrics {
    /// All metrics as of now that a reader is shown. Instances that nobody else refers to any more are collected for the last time.
    #[must_use]
    pub(crate) fn collect(&self, reader: Reader, now_unix_ns: u64) -> Vec<Metric> {
        self.0.lock().instances.collect(reader, now_unix_ns)
    }

    /// Somebody reads native histograms: they are kept from now on.
    pub(crate) fn keep_native(&self, now_unix_ns: u64) {
        self.0.lock().instances.keep_native(now_unix_ns);
    }

    /// What was done so far.
    #[must_use]
    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().counts.clone()
    }
}

/// The writer's side.
pub(super) struct Writer {
    shared: Arc<Shared<State>>,
    /// Held for a round at most.
    state: Option<ArcMutexGuard<RawFairMutex, State>>,
    waiting: Vec<Waiting>,
    /// What tail rules have said since somebody read: of which traces, or whether there are any rules.
    said: Vec<Said>,
}

/// See [`Writer::said`].
enum Said {
    InForce(bool),
    Of(TraceId, bool),
}

impl Writer {
    pub(super) fn new(config: red::Config, readers: Readers) -> Self {
        let state = State { instances: Instances::new(config, readers), counts: Counts::default() };
        Self { shared: Arc::new(Shared::new(state)), state: None, waiting: Vec::new(), said: Vec::new() }
    }

    pub(super) fn reader(&self) -> RedMetrics {
        RedMetrics(Arc::clone(&self.shared))
    }

    /// Takes the metrics, unless somebody reads them just now.
    pub(super) fn begin(&mut self) {
        if self.state.is_none() {
            self.state = self.shared.try_lock_arc();
            self.catch_up();
        }
    }

    /// Lets readers in.
    pub(super) fn end(&mut self) {
        self.state = None;
    }

    /// Readers are shown something else from now on.
    pub(super) fn set_readers(&mut self, readers: Readers) {
        let state = self.state.take().unwrap_or_else(|| self.shared.lock_arc());
        self.state.insert(state).instances.readers = readers;
    }

    /// Metrics have other attributes from now on.
    pub(super) fn set_select(&mut self, select: Select) {
        let state = self.state.take().unwrap_or_else(|| self.shared.lock_arc());
        self.state.insert(state).instances.set_select(select);
    }

    fn catch_up(&mut self) {
        let Some(state) = &mut self.state else { return };
        for said in self.said.drain(..) {
            match said {
                Said::InForce(is_in_force) => state.instances.tail_decisions().set_in_force(is_in_force),
                Said::Of(trace_id, is_kept) => state.instances.tail_decisions().add(trace_id, is_kept),
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        for waiting in self.waiting.drain(..) {
            let Waiting { resource, protocol, outcome, is_unsampled, of_rule, measured, others, is_left_edge } =
                waiting;
            let measured = measured.as_ref().map(|(family, labels, sample)| (*family, labels.borrow(), sample.clone()));
            let others = others.iter().map(|(family, labels, sample)| (*family, labels.borrow(), sample.clone()));
            let (resource, others) = (&resource, others.collect());
            state.record(&Entry { resource, protocol, outcome, is_unsampled, of_rule, measured, others, is_left_edge });
        }
        // One long collection is no reason to keep the room for it.
        self.waiting.shrink_to(WAITING_KEPT);
    }

    /// Whether there are tail rules from now on.
    pub(super) fn set_tail_rules(&mut self, is_in_force: bool) {
        self.said.push(Said::InForce(is_in_force));
        self.catch_up();
    }

    /// What tail rules say of traces.
    pub(super) fn decided(&mut self, traces: impl IntoIterator<Item = (TraceId, bool)>) {
        let room = WAITING_MAX.saturating_sub(self.said.len());
        // Of one that finds no room nothing is known: its exemplars are given up.
        self.said.extend(traces.into_iter().take(room).map(|(trace_id, is_kept)| Said::Of(trace_id, is_kept)));
        self.catch_up();
    }

    pub(super) fn record(&mut self, entry: Entry<'_>) {
        if let Some(state) = &mut self.state {
            return state.record(&entry);
        }
        let Entry { resource, protocol, outcome, is_unsampled, of_rule, measured, others, is_left_edge } = entry;
        let owned = |(family, labels, sample): (Family, Labels<'_>, Sample)| (family, OwnedLabels::of(&labels), sample);
        let (measured, others) = (measured.map(owned), others.into_iter().map(owned).collect());
        let resource = Arc::clone(resource);
        self.waiting.push(Waiting {
            resource,
            protocol,
            outcome,
            is_unsampled,
            of_rule,
            measured,
            others,
            is_left_edge,
        });
        if self.waiting.len() >= WAITING_MAX {
            self.state = Some(self.shared.lock_arc());
            self.catch_up();
        }
    }

    /// Sets how many requests of a kind a service instance is answering, as of now.
    pub(super) fn set_active(
        &mut self,
        resource: &Arc<Resource>,
        scheme: super::Scheme,
        method: Option<Value>,
        open: u64,
    ) {
        // Said again a second later, if nobody lets it in now.
        if let Some(state) = &mut self.state {
            let (instance, _) = state.instances.get_or_insert(resource);
            if !instance.is_rest {
                instance.set_active(scheme, method, open);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{exchange::Group, metric::Points, net::Role};

    fn entry(resource: &Arc<Resource>) -> Entry<'_> {
        let family = Family::Exchange(Group::Http, Role::Server);
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
        let mut labels = Labels::default();
        labels[2] = Some(("http.route", red::Label::Str("/a")));
        let measured = Some((family, labels, sample));
        let (protocol, outcome, others) = ("http1", Outcome::Complete, Vec::new());
        let (is_unsampled, of_rule, is_left_edge) = (false, None, false);
        Entry { resource, protocol, outcome, is_unsampled, of_rule, measured, others, is_left_edge }
    }

    fn counted(metrics: &[Metric]) -> (usize, u64) {
        let [Metric { points: Points::Histogram(points), .. }] = metrics else { panic!("{metrics:?}") };
        (points.len(), points.iter().map(|point| point.count).sum())
    }

    #[test]
    fn what_is_recorded_while_somebody_reads_is_not_lost_and_does_not_wait() {
        let mut writer = Writer::new(red::Config::default(), Readers::default());
        let resource = Arc::new(Resource::default());
        writer.begin();
        writer.record(entry(&resource));
        writer.end();
        let reading = writer.shared.lock_arc();
        writer.begin();
        for _ in 0..100 {
            // It would wait for ever here.
            writer.record(entry(&resource));
        }
        assert_eq!(writer.waiting.len(), 100);
        drop(reading);
        writer.begin();
        assert!(writer.waiting.is_empty());
        writer.end();
        let reader = writer.reader();
        assert_eq!(counted(&reader.collect(Reader::Otlp, 9)), (1, 101));
        assert_eq!(reader.counts().exchanges, [("http1", "complete", 101)]);
    }

    #[test]
    fn more_than_can_wait_is_waited_with_and_counted_all_the_same() {
        let mut writer = Writer::new(red::Config::default(), Readers::default());
        let resource = Arc::new(Resource::default());
        for _ in 0..WAITING_MAX + 1 {
            writer.record(entry(&resource));
        }
        assert!(writer.waiting.is_empty() && writer.state.is_some());
        writer.end();
        assert_eq!(counted(&writer.reader().collect(Reader::Otlp, 9)), (1, WAITING_MAX as u64 + 1));
    }
}
