//! Tail sampling: which traces are kept, once what of them happens on this host is over. One decision for all of a trace's spans.
//!
//! Rules are asked in turn; what any of them wants is kept for certain, and of the rest a share by the trace's randomness, so that
//! other agents with that share keep the same traces. Memory is bounded: so many routes are remembered, each with a histogram of a
//! kilobyte.

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::{
    config::{Glob, Tail},
    model::{
        probability::{Threshold, randomness},
        trace_context::TraceId,
    },
};

/// Routes of which durations are remembered.
const ROUTES_MAX: usize = 1024;
/// A route's durations say something once there were so many.
const ENOUGH: u32 = 100;
/// Beyond so many the older half counts half.
const REMEMBERED: u32 = 8192;
/// Buckets of a doubling: each is 9 % wide.
const PER_DOUBLING: u32 = 8;
/// Shorter durations are one.
const SHORTEST: u32 = 12;
/// Doublings from there on, to more than two hours.
const DOUBLINGS: u32 = 32;
const BUCKETS: usize = (DOUBLINGS * PER_DOUBLING) as usize;

/// What is asked about one span of a trace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts<'a> {
    /// `service.name`.
    pub service: &'a str,
    /// `http.route`, `rpc.method` or what else is of low cardinality; empty where there is none.
    pub route: &'a str,
    /// What it was asked for, without the query: patterns of routes match this, too. Empty where there is none.
    pub path: &'a str,
    /// Start to end.
    pub duration_ns: u64,
    /// Its status is ERROR.
    pub is_error: bool,
    /// It is that of a request served: by those the routes' durations are known.
    pub is_server: bool,
    /// It is kept for another reason.
    pub is_wanted: bool,
}

/// What becomes of all spans of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailDecision {
    /// They are kept; of traces like this one that share is that the threshold says.
    Keep(Threshold),
    /// They are not.
    Drop,
}

/// Tail rules, and what they have learnt of routes.
#[derive(Debug)]
pub(crate) struct TailSampler {
    keeps_errors: bool,
    slower_than_ns: Option<u64>,
    slow_quantile: Option<f64>,
    routes: Vec<Glob>,
    services: Vec<Glob>,
    rest: Threshold,
    durations: HashMap<(CompactString, CompactString), Durations>,
}

impl TailSampler {
    /// By the configuration; `None`: everything is kept, so that nothing need be held back.
    #[must_use]
    pub(crate) fn new(tail: &Tail) -> Option<Self> {
        let Tail { errors, slower_than, slow_quantile, routes, services, share_of_rest, wait: _ } = tail;
        let rest = Threshold::of_share(*share_of_rest);
        (rest != Threshold::ALWAYS).then(|| Self {
            keeps_errors: *errors,
            slower_than_ns: slower_than.map(|period| u64::try_from(period.0.as_nanos()).unwrap_or(u64::MAX)),
            slow_quantile: *slow_quantile,
            routes: routes.clone(),
            services: services.clone(),
            rest,
            durations: HashMap::new(),
        })
    }

    /// Decides about a trace whose spans, as far as they are of this host, are these. `head`: by what threshold it was kept before;
    /// `given`: its randomness, where it is not that of its id.
    pub(crate) fn decide(
        &mut self,
        trace_id: TraceId,
        given: Option<u64>,
        head: Option<Threshold>,
        spans: &[Facts<'_>],
    ) -> TailDecision {
        // Each is learnt from, whatever is wanted already.
        let mut is_slow = false;
        if let Some(quantile) = self.slow_quantile {
            for span in spans.iter().filter(|span| span.is_server) {
                is_slow |= self.learn(span, quantile);
            }
        }
        let is_wanted = |span: &Facts<'_>| {
            span.is_wanted
                || self.keeps_errors && span.is_error
                || self.slower_than_ns.is_some_and(|bound_ns| span.duration_ns > bound_ns)
                || self.services.iter().any(|glob| glob.is_match(span.service))
                || self
                    .routes
                    .iter()
                    .any(|glob| [span.route, span.path].iter().any(|text| !text.is_empty() && glob.is_match(text)))
        };
        if is_slow || spans.iter().any(is_wanted) {
            return TailDecision::Keep(head.unwrap_or(Threshold::ALWAYS));
        }
        let threshold = head.map_or(self.rest, |head| head.max(self.rest));
        if threshold.keeps(given.unwrap_or_else(|| randomness(trace_id))) {
            TailDecision::Keep(threshold)
        } else {
            TailDecision::Drop
        }
    }

    /// Takes a duration. Whether it is above the quantile of those before it on its route.
    fn learn(&mut self, span: &Facts<'_>, quantile: f64) -> bool {
        let key = Key(span.service, span.route);
        if let Some(durations) = self.durations.get_mut(&key) {
            let is_slow = durations.is_above(quantile, span.duration_ns);
            durations.add(span.duration_ns);
            return is_slow;
        }
        if self.durations.len() >= ROUTES_MAX {
            // Those that are asked for least.
            self.durations.retain(|_, durations| durations.is_alive());
        }
        if self.durations.len() < ROUTES_MAX {
            let mut durations = Durations::default();
            durations.add(span.duration_ns);
            self.durations.insert((span.service.into(), span.route.into()), durations);
        }
        false
    }
}

/// Service and route, borrowed.
#[derive(Hash)]
struct Key<'a>(&'a str, &'a str);

impl hashbrown::Equivalent<(CompactString, CompactString)> for Key<'_> {
    fn equivalent(&self, (service, route): &(CompactString, CompactString)) -> bool {
        self.0 == service && self.1 == route
    }
}

/// Durations of a route: a histogram of exponential buckets, in which what is old counts for less.
#[derive(Debug)]
struct Durations {
    counts: Box<[u16; BUCKETS]>,
    total: u32,
    /// Since others were last forgotten.
    recent: u32,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0, recent: 0 }
    }
}

impl Durations {
    fn add(&mut self, duration_ns: u64) {
        if self.total >= REMEMBERED {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        if let Some(count) = self.counts.get_mut(bucket(duration_ns)) {
            *count += 1;
            self.total += 1;
        }
        self.recent = self.recent.saturating_add(1);
    }

    /// Whether it lies in a bucket above that of the quantile.
    fn is_above(&self, quantile: f64, duration_ns: u64) -> bool {
        if self.total < ENOUGH {
            return false;
        }
        // How many lie above a quantile is what is known of it.
        let most = (f64::from(self.total) * (1.0 - quantile)) as u32;
        let own = bucket(duration_ns);
        let from_own_on: u32 = self.counts.get(own..).unwrap_or_default().iter().map(|count| u32::from(*count)).sum();
        from_own_on <= most
    }

    /// Whether it was asked for since the last time.
    fn is_alive(&mut self) -> bool {
        std::mem::take(&mut self.recent) > 1
    }
}

fn bucket(duration_ns: u64) -> usize {
    let value = duration_ns.max(1 << SHORTEST);
    let doubling = 63 - value.leading_zeros();
    let within = (value >> (doubling - PER_DOUBLING.ilog2())) & u64::from(PER_DOUBLING - 1);
    let bucket = (doubling - SHORTEST) * PER_DOUBLING + within as u32;
    (bucket as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Period, trace::ids::Ids};

    fn sampler(change: impl FnOnce(&mut Tail)) -> TailSampler {
        let mut tail = Tail { share_of_rest: 0.0, ..Tail::default() };
        change(&mut tail);
        TailSampler::new(&tail).unwrap()
    }

    fn glob(text: &str) -> Vec<Glob> {
        vec![text.parse().unwrap()]
    }

    const FAST: Facts<'static> = Facts {
        service: "shop",
        route: "/a/{id}",
        path: "/a/1",
        duration_ns: 1_000_000,
        is_error: false,
        is_server: true,
        is_wanted: false,
    };
    const ID: TraceId = TraceId([0x55; 16]);
    const ALL: TailDecision = TailDecision::Keep(Threshold::ALWAYS);

    #[test]
    fn where_everything_is_kept_there_is_nothing_to_decide() {
        assert!(TailSampler::new(&Tail::default()).is_none());
    }

    #[test]
    fn one_span_that_is_wanted_keeps_its_trace() {
        let client = Facts { is_server: false, ..FAST };
        for (mut sampler, wanted) in [
            (sampler(|_| {}), Facts { is_error: true, ..client }),
            (sampler(|tail| tail.slower_than = Some(Period::millis(1))), Facts { duration_ns: 1_000_001, ..client }),
            (sampler(|tail| tail.routes = glob("/pay/*")), Facts { route: "/pay/{id}", ..client }),
            (sampler(|tail| tail.routes = glob("/pay/*")), Facts { route: "", path: "/pay/7", ..client }),
            (sampler(|tail| tail.services = glob("pay*")), Facts { service: "payments", ..client }),
        ] {
            assert_eq!(sampler.decide(ID, None, None, &[FAST, client]), TailDecision::Drop, "{wanted:?}");
            assert_eq!(sampler.decide(ID, None, None, &[FAST, wanted]), ALL, "{wanted:?}");
        }
        let mut none = sampler(|tail| tail.errors = false);
        assert_eq!(none.decide(ID, None, None, &[Facts { is_error: true, ..FAST }]), TailDecision::Drop);
    }

    #[test]
    fn of_the_rest_a_share_is_kept_and_says_so() {
        let mut sampler = sampler(|tail| tail.share_of_rest = 0.25);
        let (quarter, mut ids) = (Threshold::of_share(0.25), Ids::from_seed([4; 32]));
        let decisions: Vec<_> = (0..10_000).map(|_| sampler.decide(ids.trace_id(), None, None, &[FAST])).collect();
        let kept = decisions.iter().filter(|decision| **decision == TailDecision::Keep(quarter)).count();
        assert!((2_300..2_700).contains(&kept), "{kept}");
        assert_eq!(decisions.iter().filter(|decision| **decision == TailDecision::Drop).count(), 10_000 - kept);
        // By the randomness that the trace says it has.
        assert_eq!(sampler.decide(ID, Some((1 << 56) - 1), None, &[FAST]), TailDecision::Keep(quarter));
        assert_eq!(sampler.decide(ID, Some(0), None, &[FAST]), TailDecision::Drop);
    }

    #[test]
    fn what_was_chosen_before_counts_too() {
        let mut sampler = sampler(|tail| tail.share_of_rest = 0.25);
        let (tenth, half) = (Threshold::of_share(0.1), Threshold::of_share(0.5));
        let most = Some((1 << 56) - 1);
        let failed = [Facts { is_error: true, ..FAST }];
        assert_eq!(sampler.decide(ID, most, Some(half), &failed), TailDecision::Keep(half));
        assert_eq!(sampler.decide(ID, most, Some(half), &[FAST]), TailDecision::Keep(Threshold::of_share(0.25)));
        assert_eq!(sampler.decide(ID, most, Some(tenth), &[FAST]), TailDecision::Keep(tenth));
    }

    #[test]
    fn the_slow_of_each_route_are_kept_once_it_is_known() {
        let mut sampler = sampler(|tail| tail.slow_quantile = Some(0.99));
        let at = |route: &'static str, duration_ns| Facts { route, duration_ns, ..FAST };
        let mut kept = 0;
        for at_ms in 0..10_000_u64 {
            // From 10 to 20 ms, each as often, and on another route a hundred times that.
            let duration_ns = 10_000_000 + (at_ms * 7919 % 1000) * 10_000;
            kept += usize::from(sampler.decide(ID, None, None, &[at("/a", duration_ns)]) == ALL);
            sampler.decide(ID, None, None, &[at("/b", 100 * duration_ns)]);
        }
        // The buckets are 9 % wide: what is in the quantile's own is not slow.
        assert!(kept <= 150, "{kept}");
        assert_eq!(sampler.decide(ID, None, None, &[at("/a", 30_000_000)]), ALL);
        assert_eq!(sampler.decide(ID, None, None, &[at("/b", 30_000_000)]), TailDecision::Drop, "fast for that route");
        assert_eq!(
            sampler.decide(ID, None, None, &[at("/new", 30_000_000)]),
            TailDecision::Drop,
            "nothing is known yet"
        );
        // What was slow becomes usual.
        for _ in 0..20_000 {
            sampler.decide(ID, None, None, &[at("/a", 30_000_000)]);
        }
        assert_eq!(sampler.decide(ID, None, None, &[at("/a", 30_000_000)]), TailDecision::Drop);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_new_routes_find_room() {
        let mut sampler = sampler(|tail| tail.slow_quantile = Some(0.99));
        for number in 0..5 * ROUTES_MAX {
            let route = format!("/{number}");
            sampler.decide(ID, None, None, &[Facts { route: &route, ..FAST }, Facts { route: "/often", ..FAST }]);
        }
        assert!(sampler.durations.len() <= ROUTES_MAX);
        assert!(sampler.durations.contains_key(&Key("shop", "/often")));
        assert!(sampler.durations.contains_key(&Key("shop", &format!("/{}", 5 * ROUTES_MAX - 1))));
    }

    #[test]
    fn buckets_grow_with_durations_and_end() {
        let buckets: Vec<usize> = (0..64).map(|bit| bucket(1 << bit)).collect();
        assert!(buckets.is_sorted());
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
        assert!(bucket(3_600_000_000_000) < BUCKETS - 1, "an hour");
    }
}
