//! Which traces are begun to be kept (head sampling). Metrics count every request all the same.

use compact_str::CompactString;
use rustc_hash::{FxHashMap, FxHashSet};

use super::decided::Decided;
use crate::{
    config::{self, SamplerName},
    model::{
        probability::{Sampled, Threshold, randomness},
        trace_context::{TraceId, TraceParent},
    },
};

/// A rate is reckoned over about so long: what came before counts for less and less.
const MEMORY_S: f64 = 1.0;
/// Services whose rates are known; all others together are one more.
const SERVICES_MAX: usize = 1024;

/// A sampler, as `OTEL_TRACES_SAMPLER` names them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sampler {
    /// `always_on`.
    AlwaysOn,
    /// `always_off`.
    AlwaysOff,
    /// `traceidratio`: this share of all traces, chosen by their randomness, so that who takes fewer takes part of these.
    TraceIdRatio(f64),
    /// `parentbased_*`: what the caller decided; for a root, what this sampler says.
    ParentBased(Box<Sampler>),
    /// Of what the sampler keeps about so many traces in a second.
    Limited(Box<Sampler>, f64),
}

impl Default for Sampler {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self::ParentBased(Box::new(Self::AlwaysOn))
    }
}

impl From<&config::Sampler> for Sampler {
    fn from(sampler: &config::Sampler) -> Self {
        let (root, is_parent_based) = match sampler.name {
            SamplerName::AlwaysOn => (Self::AlwaysOn, false),
            SamplerName::AlwaysOff => (Self::AlwaysOff, false),
            SamplerName::TraceIdRatio => (Self::TraceIdRatio(sampler.ratio()), false),
            SamplerName::ParentBasedAlwaysOn => (Self::AlwaysOn, true),
            SamplerName::ParentBasedAlwaysOff => (Self::AlwaysOff, true),
            SamplerName::ParentBasedTraceIdRatio => (Self::TraceIdRatio(sampler.ratio()), true),
        };
        let root = match sampler.traces_per_second {
            Some(rate) => Self::Limited(Box::new(root), rate),
            None => root,
        };
        if is_parent_based { Self::ParentBased(Box::new(root)) } else { root }
    }
}

/// What a sampler has decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Spans are exported.
    pub is_kept: bool,
    /// What they say of that; without a threshold it is not known how many traces each of them stands for.
    pub sampled: Sampled,
}

impl Sampler {
    /// Decides about a trace. `remote`: with what its part here began. `share_for`: what share of the traces that ask for it keeps to a
    /// rate.
    fn decide(
        &self,
        remote: Option<&TraceParent>,
        trace_id: TraceId,
        share_for: &mut dyn FnMut(f64) -> f64,
    ) -> Decision {
        let given = remote.and_then(|remote| remote.sampled.randomness);
        let randomness = given.unwrap_or_else(|| randomness(trace_id));
        if let (Self::ParentBased(_), Some(remote)) = (self, followed(remote)) {
            // One that contradicts what was decided is wrong.
            let threshold = remote.sampled.threshold.filter(|threshold| threshold.keeps(randomness));
            return Decision { is_kept: remote.is_sampled(), sampled: Sampled { threshold, randomness: given } };
        }
        let threshold = self.threshold(randomness, share_for);
        let sampled = Sampled { threshold: Some(threshold), randomness: given };
        Decision { is_kept: threshold.keeps(randomness), sampled }
    }

    fn threshold(&self, randomness: u64, share_for: &mut dyn FnMut(f64) -> f64) -> Threshold {
        match self {
            Self::AlwaysOn => Threshold::ALWAYS,
            Self::AlwaysOff => Threshold::NEVER,
            Self::TraceIdRatio(ratio) => Threshold::of_share(*ratio),
            Self::ParentBased(root) => root.threshold(randomness, share_for),
            Self::Limited(inner, rate) => {
                let inner = inner.threshold(randomness, share_for);
                // What is left out anyway takes nothing of the rate.
                if !inner.keeps(randomness) {
                    return inner;
                }
                Threshold::of_share(inner.share() * share_for(*rate)).max(inner)
            }
        }
    }

    /// Whether what it says depends on what it was asked before.
    const fn is_limited(&self) -> bool {
        match self {
            Self::Limited(..) => true,
            Self::ParentBased(root) => matches!(**root, Self::Limited(..)),
            _ => false,
        }
    }
}

fn bound_of(share: f64) -> Threshold {
    if share >= 1.0 { Threshold::ALWAYS } else { Threshold::of_share(share) }
}

/// The caller whose decision counts; one that has left it open has made none.
fn followed(remote: Option<&TraceParent>) -> Option<&TraceParent> {
    remote.filter(|remote| !remote.is_deferred)
}

/// Samplers at work: rates, and what was decided.
#[derive(Debug)]
pub(crate) struct HeadSampling {
    sampler: Sampler,
    /// Services have samplers of their own: what is decided where a trace begins holds for the others too.
    has_several: bool,
    rates: FxHashMap<CompactString, Rate>,
    decided: Decided,
    /// Of what samplers keep, this is kept: the agent is near its bounds where it is not all.
    bound: Threshold,
    /// The same of services that send more than can be read, where there are any.
    heavy_bound: Threshold,
    heavy: FxHashSet<CompactString>,
}

impl HeadSampling {
    pub(super) fn new(sampler: Sampler) -> Self {
        Self {
            sampler,
            has_several: false,
            rates: FxHashMap::default(),
            decided: Decided::default(),
            bound: Threshold::ALWAYS,
            heavy_bound: Threshold::ALWAYS,
            heavy: FxHashSet::default(),
        }
    }

    /// Of what samplers keep, this share is kept from now on. What was decided about traces before holds.
    pub(crate) fn set_bound(&mut self, share: f64) {
        self.bound = bound_of(share);
    }

    /// The same of traces that begin at these services, beside that.
    pub(crate) fn set_heavy(&mut self, share: f64, services: &FxHashSet<CompactString>) {
        self.heavy_bound = bound_of(share);
        self.heavy.clone_from(services);
    }

    /// Takes up another sampler. What was decided about traces holds.
    pub(super) fn set(&mut self, sampler: Sampler, has_several: bool) {
        (self.sampler, self.has_several) = (sampler, has_several);
    }

    /// Whether a decision must be made where the trace begins: later, or of another service's sampler, it would be another.
    pub(super) fn is_early(&self) -> bool {
        self.has_several || self.sampler.is_limited() || self.is_uneven()
    }

    /// Whether more is left out of some services than of others.
    pub(super) fn is_uneven(&self) -> bool {
        !self.heavy.is_empty()
    }

    /// Decides about a trace at a service, whose own sampler `own` is if it has one; at that moment, in ns.
    pub(super) fn decide(
        &mut self,
        trace_id: TraceId,
        remote: Option<&TraceParent>,
        own: Option<&Sampler>,
        service: &str,
        at_ns: u64,
    ) -> Decision {
        let (is_early, is_uneven) = (self.is_early(), self.is_uneven());
        let sampler = own.unwrap_or(&self.sampler);
        // Who follows its caller follows who began the trace on this host. What a remote caller has decided all are told; what was left
        // out of it here they are not.
        let is_shared =
            is_early && matches!(sampler, Sampler::ParentBased(_)) && (is_uneven || followed(remote).is_none());
        if is_shared && let Some(decision) = self.decided.get(trace_id) {
            return decision;
        }
        let decision = self.decide_anew(trace_id, remote, own, service, at_ns);
        if is_shared {
            self.decided.insert(trace_id, decision);
        }
        decision
    }

    /// The same about a trace that has just begun here, of which nobody has heard. It is to be [remembered](Self::remember) where something
    /// else belongs to it; `None`: each span is decided about by itself.
    pub(super) fn decide_first(
        &mut self,
        trace_id: TraceId,
        own: Option<&Sampler>,
        service: &str,
        at_ns: u64,
    ) -> Option<Decision> {
        let is_shared = self.is_early() && matches!(own.unwrap_or(&self.sampler), Sampler::ParentBased(_));
        is_shared.then(|| self.decide_anew(trace_id, None, own, service, at_ns))
    }

    /// What was decided about a trace holds for all that belongs to it.
    pub(super) fn remember(&mut self, trace_id: TraceId, decision: Decision) {
        self.decided.insert(trace_id, decision);
    }

    fn decide_anew(
        &mut self,
        trace_id: TraceId,
        remote: Option<&TraceParent>,
        own: Option<&Sampler>,
        service: &str,
        at_ns: u64,
    ) -> Decision {
        let Self { sampler, rates, .. } = self;
        let sampler = own.unwrap_or(sampler);
        let bound = if self.heavy.contains(service) { self.bound.max(self.heavy_bound) } else { self.bound };
        let mut decision = sampler.decide(remote, trace_id, &mut |rate| {
            let service = if rates.len() < SERVICES_MAX || rates.contains_key(service) { service } else { "" };
            match rates.get_mut(service) {
                Some(known) => known.share_for(rate, at_ns),
                None => rates.entry(service.into()).or_insert(Rate::new(at_ns)).share_for(rate, at_ns),
            }
        });
        if bound != Threshold::ALWAYS {
            let randomness =
                remote.and_then(|remote| remote.sampled.randomness).unwrap_or_else(|| randomness(trace_id));
            decision.is_kept &= bound.keeps(randomness);
            decision.sampled.threshold = decision.sampled.threshold.map(|threshold| threshold.max(bound));
        }
        decision
    }
}

/// How often something happens, of late.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// How often it happened, and in what time, each with what is old counting for less.
    count: f64,
    seconds: f64,
    last_ns: u64,
}

impl Rate {
    /// Nothing has happened before.
    const fn new(now_ns: u64) -> Self {
        Self { count: 0.0, seconds: MEMORY_S, last_ns: now_ns }
    }

    /// It happens once more: what share of it keeps to a rate, as far as can be told. Of a sudden burst more is kept than that: the
    /// probability is to be right for each, whatever comes next.
    fn share_for(&mut self, rate: f64, now_ns: u64) -> f64 {
        let passed_s = now_ns.saturating_sub(self.last_ns) as f64 / 1e9;
        self.last_ns = self.last_ns.max(now_ns);
        let fades = (-passed_s / MEMORY_S).exp();
        self.count = self.count * fades + 1.0;
        self.seconds = (self.seconds * fades + MEMORY_S * (1.0 - fades)).max(f64::MIN_POSITIVE);
        (rate * self.seconds / self.count).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::trace_context::SpanId, trace::ids::Ids};

    fn parent(flags: u8) -> TraceParent {
        TraceParent {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            flags,
            is_deferred: false,
            sampled: Sampled::NOTHING,
        }
    }

    fn configured(name: SamplerName, arg: Option<f64>, traces_per_second: Option<f64>) -> Sampler {
        Sampler::from(&config::Sampler { name, arg, traces_per_second })
    }

    fn decision(sampler: &Sampler, remote: Option<&TraceParent>, trace_id: TraceId) -> Decision {
        sampler.decide(remote, trace_id, &mut |_| unreachable!("no rate is asked for"))
    }

    #[test]
    fn the_caller_decides_for_parent_based_samplers_only() {
        let keeps =
            |sampler: &Sampler, remote: Option<&TraceParent>| decision(sampler, remote, TraceId([1; 16])).is_kept;
        let (sampled, unsampled) = (parent(1), parent(0));
        let off = configured(SamplerName::ParentBasedAlwaysOff, None, None);
        assert!(keeps(&off, Some(&sampled)) && !keeps(&off, None));
        assert!(!keeps(&Sampler::default(), Some(&unsampled)));
        assert!(keeps(&Sampler::default(), None));
        let deferred = TraceParent { is_deferred: true, ..unsampled };
        assert!(keeps(&Sampler::default(), Some(&deferred)), "B3 leaves it to who is called");
        assert!(!keeps(&off, Some(&deferred)));
        assert!(keeps(&Sampler::AlwaysOn, Some(&unsampled)));
        assert!(!keeps(&Sampler::AlwaysOff, Some(&sampled)));
    }

    #[test]
    fn a_ratio_takes_about_that_share_and_says_so() {
        let mut ids = Ids::from_seed([3; 32]);
        let traces: Vec<_> = (0..10_000).map(|_| ids.trace_id()).collect();
        let taken = |ratio| {
            let sampler = configured(SamplerName::ParentBasedTraceIdRatio, Some(ratio), None);
            let decisions = traces.iter().map(|id| decision(&sampler, None, *id));
            let told: f64 = decisions
                .filter(|decision| decision.is_kept)
                .map(|decision| 1.0 / decision.sampled.threshold.unwrap().share())
                .sum();
            told
        };
        assert_eq!(taken(0.0), 0.0);
        assert_eq!(taken(1.0), 10_000.0);
        assert!((9_000.0..11_000.0).contains(&taken(0.25)), "each stands for four: {}", taken(0.25));
    }

    #[test]
    fn a_randomness_that_is_given_counts_instead_of_the_ids() {
        let half = Sampler::TraceIdRatio(0.5);
        let given = |randomness| {
            let sampled = Sampled { threshold: None, randomness: Some(randomness) };
            decision(&half, Some(&TraceParent { sampled, ..parent(0) }), TraceId([1; 16]))
        };
        assert!(!given((1 << 55) - 1).is_kept && given(1 << 55).is_kept);
        assert_eq!(
            given(1 << 55).sampled,
            Sampled { threshold: Some(Threshold::of_share(0.5)), randomness: Some(1 << 55) }
        );
    }

    #[test]
    fn what_a_caller_says_of_its_decision_is_passed_on_unless_it_cannot_be() {
        let said = |flags, share| {
            let sampled = Sampled { threshold: Some(Threshold::of_share(share)), randomness: Some(1 << 55) };
            decision(&Sampler::default(), Some(&TraceParent { sampled, ..parent(flags) }), TraceId([1; 16]))
                .sampled
                .threshold
        };
        assert_eq!(said(1, 0.5), Some(Threshold::of_share(0.5)));
        assert_eq!(said(1, 0.25), None, "it would not have been kept");
        assert_eq!(decision(&Sampler::default(), Some(&parent(1)), TraceId([1; 16])).sampled, Sampled::NOTHING);
    }

    #[test]
    fn a_rate_is_kept_to_per_service_and_each_stands_for_what_was_left_out() {
        let mut heads = HeadSampling::new(configured(SamplerName::ParentBasedAlwaysOn, None, Some(10.0)));
        assert!(heads.is_early());
        let mut ids = Ids::from_seed([5; 32]);
        let (mut kept, mut told, mut others) = (0, 0.0, 0);
        // 200 in a second for 100 s, and of another service 5.
        for at in 0..20_000_u64 {
            let at_ns = at * 5_000_000;
            let decision = heads.decide(ids.trace_id(), None, None, "busy", at_ns);
            kept += u32::from(decision.is_kept);
            told += if decision.is_kept { 1.0 / decision.sampled.threshold.unwrap().share() } else { 0.0 };
            others += u32::from(at % 40 == 0 && heads.decide(ids.trace_id(), None, None, "calm", at_ns).is_kept);
        }
        assert!((900..1100).contains(&kept), "{kept}");
        assert!((18_000.0..22_000.0).contains(&told), "{told}");
        assert_eq!(others, 500);
    }

    #[test]
    fn a_ratio_with_a_rate_keeps_to_both() {
        let mut heads = HeadSampling::new(configured(SamplerName::TraceIdRatio, Some(0.1), Some(1000.0)));
        let mut ids = Ids::from_seed([6; 32]);
        let kept =
            (0..10_000_u64).filter(|at| heads.decide(ids.trace_id(), None, None, "", at * 5_000_000).is_kept).count();
        assert!((900..1100).contains(&kept), "{kept}");
    }

    #[test]
    fn who_began_a_trace_decides_for_all_services_that_follow_their_callers() {
        let mut heads = HeadSampling::new(Sampler::default());
        heads.set(Sampler::default(), true);
        let none = configured(SamplerName::ParentBasedAlwaysOff, None, None);
        let trace = TraceId([7; 16]);
        assert!(!heads.decide(trace, None, Some(&none), "front", 1).is_kept);
        assert!(!heads.decide(trace, None, None, "back", 2).is_kept);
        assert!(heads.decide(trace, None, Some(&Sampler::AlwaysOn), "always", 2).is_kept, "which follows nobody");
        assert!(heads.decide(trace, Some(&parent(1)), None, "back", 2).is_kept, "which has another caller");
        assert!(heads.decide(TraceId([8; 16]), None, None, "back", 2).is_kept);
    }

    #[test]
    fn of_traces_that_begin_at_services_that_flood_fewer_are_kept_and_all_of_each_or_none() {
        let mut heads = HeadSampling::new(Sampler::default());
        heads.set_heavy(0.25, &FxHashSet::from_iter(["flood".into()]));
        assert!(heads.is_early());
        let mut ids = Ids::from_seed([9; 32]);
        let (mut kept, mut remote_kept) = (0, 0);
        for at_ns in 0..4000 {
            assert!(heads.decide(ids.trace_id(), None, None, "calm", at_ns).is_kept);
            let (trace, remote_trace) = (ids.trace_id(), ids.trace_id());
            let decision = heads.decide(trace, None, None, "flood", at_ns);
            assert_eq!(decision.sampled.threshold, Some(Threshold::of_share(0.25)));
            assert_eq!(heads.decide(trace, None, None, "calm", at_ns), decision, "which it has called");
            kept += u32::from(decision.is_kept);
            let remote = TraceParent { trace_id: remote_trace, ..parent(1) };
            let decision = heads.decide(remote_trace, Some(&remote), None, "flood", at_ns);
            assert_eq!(heads.decide(remote_trace, Some(&remote), None, "calm", at_ns), decision);
            remote_kept += u32::from(decision.is_kept);
        }
        assert!([kept, remote_kept].into_iter().all(|kept| (900..1100).contains(&kept)), "{kept} {remote_kept}");
        heads.set_heavy(1.0, &FxHashSet::default());
        assert!(!heads.is_early() && heads.decide(ids.trace_id(), None, None, "flood", 1).is_kept);
    }

    #[test]
    fn rates_are_bounded_in_number() {
        let mut heads = HeadSampling::new(Sampler::Limited(Box::new(Sampler::AlwaysOn), 1.0));
        for number in 0..3 * SERVICES_MAX {
            heads.decide(TraceId([7; 16]), None, None, &number.to_string(), 1);
        }
        assert!(heads.rates.len() <= SERVICES_MAX + 1);
    }
}
