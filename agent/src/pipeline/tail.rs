//! Spans that are held back until what of their trace happens on this host is over: tail rules decide about all of them at once.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use rustc_hash::FxHashMap;

use crate::{
    config::Tail,
    model::{
        probability::Sampled,
        span::{Kind, Span, Value},
        trace_context::TraceId,
    },
    telemetry::semconv,
    trace::tail::{Facts, TailDecision, TailSampler},
};

/// After the last span of a trace is over so long is waited for one that is told late.
const GRACE_NS: u64 = 150_000_000;
/// Most spans held, a kilobyte each; beyond, the traces that wait longest are decided about with what is there.
const HELD_MAX: usize = 20_000;
/// Traces of which the decision is remembered, for spans that come later.
const DECIDED_MAX: usize = 32_768;

/// See the module.
pub(super) struct TailHold {
    sampler: TailSampler,
    wait_ns: u64,
    is_slow_wanted: bool,
    traces: FxHashMap<TraceId, Held>,
    /// When traces are looked at next. One that was moved is looked at for nothing.
    due: BinaryHeap<Reverse<(u64, TraceId)>>,
    spans: usize,
    decided: FxHashMap<TraceId, TailDecision>,
    decided_order: VecDeque<TraceId>,
    /// What was decided since it was asked for: whether a trace is kept.
    fresh: Vec<(TraceId, bool)>,
    /// Spans that were not kept.
    dropped: u64,
}

/// What of a trace has come so far.
struct Held {
    spans: Vec<Span>,
    until_ns: u64,
    due_ns: u64,
}

impl TailHold {
    /// By the configuration; `None`: everything is kept.
    pub(super) fn new(tail: &Tail) -> Option<Self> {
        let wait_ns = u64::try_from(tail.wait.0.as_nanos()).unwrap_or(u64::MAX);
        TailSampler::new(tail).map(|sampler| Self {
            sampler,
            wait_ns,
            is_slow_wanted: is_slow_wanted(tail),
            traces: FxHashMap::default(),
            due: BinaryHeap::new(),
            spans: 0,
            decided: FxHashMap::default(),
            decided_order: VecDeque::new(),
            fresh: Vec::new(),
            dropped: 0,
        })
    }

    /// Spans that were not kept so far.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Of which traces it was decided since this was asked last, and whether they are kept.
    pub(super) fn take_decided(&mut self) -> Vec<(TraceId, bool)> {
        std::mem::take(&mut self.fresh)
    }

    /// Takes a span. `is_open`: another request of its trace is. Gives it back if its trace is kept already.
    pub(super) fn hold(&mut self, mut span: Span, is_open: bool, now_ns: u64) -> Option<Span> {
        let trace_id = span.trace_id;
        if let Some(decision) = self.decided.get(&trace_id) {
            let is_kept = apply(*decision, &mut span);
            self.dropped += u64::from(!is_kept);
            return is_kept.then_some(span);
        }
        let latest_ns = now_ns.saturating_add(self.wait_ns);
        let held =
            self.traces.entry(trace_id).or_insert_with(|| Held { spans: Vec::new(), until_ns: latest_ns, due_ns: 0 });
        held.spans.push(span);
        self.spans += 1;
        let due_ns = if is_open { held.until_ns } else { now_ns.saturating_add(GRACE_NS).min(held.until_ns) };
        if held.due_ns != due_ns {
            held.due_ns = due_ns;
            self.due.push(Reverse((due_ns, trace_id)));
        }
        None
    }

    /// Decides about traces that are over, or have waited for too long, and gives the spans that are kept. `is_open`: a request of a
    /// trace is.
    pub(super) fn release(&mut self, now_ns: u64, is_open: impl Fn(TraceId) -> bool) -> Vec<Span> {
        let mut kept = Vec::new();
        while let Some(&Reverse((due_ns, trace_id))) = self.due.peek()
            && (due_ns <= now_ns || self.spans > HELD_MAX)
        {
            self.due.pop();
            let Some(held) = self.traces.get_mut(&trace_id).filter(|held| held.due_ns == due_ns) else { continue };
            let is_open = is_open(trace_id);
            if is_open && now_ns < held.until_ns && self.spans <= HELD_MAX {
                held.due_ns = held.until_ns;
                self.due.push(Reverse((held.until_ns, trace_id)));
                continue;
            }
            if let Some(held) = self.traces.remove(&trace_id) {
                self.spans -= held.spans.len();
                self.decide(trace_id, held.spans, is_open, &mut kept);
            }
        }
        kept
    }

    fn decide(&mut self, trace_id: TraceId, mut spans: Vec<Span>, is_open: bool, kept: &mut Vec<Span>) {
        let said: Vec<Sampled> = spans.iter().map(|span| Sampled::of(&span.trace_state)).collect();
        let head = said.iter().find_map(|said| said.threshold);
        let given = said.iter().find_map(|said| said.randomness);
        let mut facts: Vec<Facts<'_>> = spans.iter().map(facts).collect();
        if is_open
            && self.is_slow_wanted
            && let Some(first) = facts.first_mut()
        {
            // What is open for so long is slow, however it ends.
            first.is_wanted = true;
        }
        let decision = self.sampler.decide(trace_id, given, head, &facts);
        self.fresh.push((trace_id, decision != TailDecision::Drop));
        if self.decided.insert(trace_id, decision).is_none() {
            self.decided_order.push_back(trace_id);
        }
        if self.decided_order.len() > DECIDED_MAX
            && let Some(oldest) = self.decided_order.pop_front()
        {
            self.decided.remove(&oldest);
        }
        let before = spans.len();
        spans.retain_mut(|span| apply(decision, span));
        self.dropped += (before - spans.len()) as u64;
        kept.append(&mut spans);
    }
}

const fn is_slow_wanted(tail: &Tail) -> bool {
    tail.slower_than.is_some() || tail.slow_quantile.is_some()
}

/// Whether a span is kept; then it says what it stands for, unless who decided before did not say it.
fn apply(decision: TailDecision, span: &mut Span) -> bool {
    let TailDecision::Keep(threshold) = decision else { return false };
    let said = Sampled::of(&span.trace_state);
    if said.threshold.is_some_and(|before| before < threshold) {
        span.trace_state = Sampled { threshold: Some(threshold), ..said }.written_to(&span.trace_state);
    }
    true
}

/// What rules ask of a span.
fn facts(span: &Span) -> Facts<'_> {
    let text = |key: &str| {
        let value = span.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value);
        match value {
            Some(Value::Str(text)) => text.as_str(),
            Some(Value::Shared(text)) => text,
            Some(Value::Static(text)) => text,
            _ => "",
        }
    };
    let routes = [semconv::HTTP_ROUTE, semconv::URL_TEMPLATE, semconv::RPC_METHOD];
    Facts {
        service: &span.resource.service_name,
        route: routes.into_iter().map(text).find(|route| !route.is_empty()).unwrap_or_default(),
        path: text(semconv::URL_PATH),
        duration_ns: span.end_unix_ns.saturating_sub(span.start_unix_ns),
        is_error: span.has_failed(),
        is_server: matches!(span.kind, Kind::Server | Kind::Consumer),
        is_wanted: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::Period,
        model::{
            ids::ProcessId,
            net::Endpoint,
            span::{Resource, Status},
            trace_context::SpanId,
        },
    };

    const SECOND: u64 = 1_000_000_000;

    fn hold(change: impl FnOnce(&mut Tail)) -> TailHold {
        let mut tail = Tail { share_of_rest: 0.0, ..Tail::default() };
        change(&mut tail);
        TailHold::new(&tail).unwrap()
    }

    fn span(trace: u8, status: Status) -> Span {
        Span {
            trace_id: TraceId([trace; 16]),
            span_id: SpanId([1; 8]),
            parent: None,
            flags: 1,
            trace_state: "ot=th:0,a=1".into(),
            kind: Kind::Server,
            name: "GET".into(),
            start_unix_ns: 0,
            end_unix_ns: 1_000_000,
            status,
            attributes: Vec::new(),
            links: Default::default(),
            resource: Arc::new(Resource::default()),
            pid: ProcessId(1),
            local: Endpoint::Unknown,
        }
    }

    #[test]
    fn all_spans_of_a_trace_have_one_fate_those_that_come_later_too() {
        let mut hold = hold(|_| {});
        let open = |trace_id: TraceId| trace_id.0[0] == 1;
        for (trace, status) in [(1, Status::Unset), (2, Status::Unset), (1, Status::Error), (2, Status::Unset)] {
            assert_eq!(hold.hold(span(trace, status), trace == 1, 1), None);
        }
        assert!(hold.release(GRACE_NS, open).is_empty());
        assert!(hold.release(1 + GRACE_NS, open).is_empty(), "one failed nowhere, the other is not over");
        assert_eq!((hold.dropped(), hold.spans), (2, 2));
        assert_eq!(hold.take_decided(), [(TraceId([2; 16]), false)]);
        assert_eq!(hold.hold(span(1, Status::Unset), false, SECOND), None, "its last");
        assert_eq!(hold.release(SECOND + GRACE_NS, |_| false).len(), 3);
        assert_eq!(hold.take_decided(), [(TraceId([1; 16]), true)]);
        assert!(hold.hold(span(1, Status::Unset), false, 2 * SECOND).is_some());
        assert!(hold.hold(span(2, Status::Error), false, 2 * SECOND).is_none());
        assert_eq!((hold.dropped(), hold.spans), (3, 0));
    }

    #[test]
    fn what_is_open_for_longer_than_is_waited_is_slow_where_the_slow_are_wanted() {
        for (slower_than, kept) in [(Some(Period::millis(500)), 1), (None, 0)] {
            let mut hold = hold(|tail| (tail.slower_than, tail.wait) = (slower_than, Period::seconds(2)));
            assert_eq!(hold.hold(span(1, Status::Unset), true, 1), None);
            assert_eq!(hold.release(2 * SECOND, |_| true).len(), 0);
            assert_eq!(hold.release(1 + 2 * SECOND, |_| true).len(), kept, "{slower_than:?}");
            assert_eq!(hold.hold(span(1, Status::Unset), false, 9 * SECOND).is_some(), kept == 1);
        }
    }

    #[test]
    fn spans_say_what_they_stand_for_unless_that_is_not_known() {
        let mut hold = hold(|tail| tail.share_of_rest = 0.5);
        let unknown = Span { trace_state: "a=1".into(), ..span(0xff, Status::Unset) };
        hold.hold(span(0xff, Status::Unset), false, 1);
        hold.hold(unknown, false, 1);
        hold.hold(span(0xfe, Status::Error), false, 1);
        let mut states: Vec<_> =
            hold.release(SECOND, |_| false).into_iter().map(|span| span.trace_state.to_string()).collect();
        states.sort();
        assert_eq!(states, ["a=1", "ot=th:0,a=1", "ot=th:8,a=1"]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut hold = hold(|_| {});
        for number in 0..3 * HELD_MAX as u128 {
            let span = Span { trace_id: TraceId((number + 1).to_be_bytes()), ..span(1, Status::Unset) };
            assert_eq!(hold.hold(span, true, 1), None);
            hold.release(1, |_| true);
        }
        assert!(hold.spans <= HELD_MAX && hold.traces.len() <= HELD_MAX && hold.decided.len() <= DECIDED_MAX);
        assert_eq!(hold.dropped() as usize + hold.spans, 3 * HELD_MAX);
    }
}
