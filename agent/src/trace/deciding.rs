//! Whether spans are kept.

use super::{Context, Evidence, Tracer, sampling::Sampler};
use crate::model::{exchange::Opened, net::Role};

impl Tracer {
    /// Whether [`Tracer::on_beginning`] is to be called of what was opened: a trace's fate depends on where and when it began here.
    #[must_use]
    pub(crate) fn decides_at_beginning(&self, opened: &Opened) -> bool {
        self.sampling.is_early()
            && self.get(opened.key).is_some_and(|open| {
                let begins = match open.parent {
                    None => true,
                    Some((_, Evidence::Header)) => self.sampling.is_uneven(),
                    Some(_) => false,
                };
                begins && !open.is_health_check
            })
    }

    /// Decides about a trace that has just begun at a service; `sampler` is its own, where it has one.
    pub(crate) fn on_beginning(&mut self, opened: &Opened, sampler: Option<&Sampler>, service: &str) {
        let Self { open, sampling, .. } = self;
        let Some(open) = open.get_mut(opened.key.slot()).and_then(Option::as_mut).filter(|open| open.key == opened.key)
        else {
            return;
        };
        if open.parent.is_some() {
            sampling.decide(open.trace_id, open.remote.as_ref(), sampler, service, opened.start_ns);
            return;
        }
        open.decision = sampling.decide_first(open.trace_id, sampler, service, opened.start_ns);
        // Of a request that is served nobody else asks before something else belongs to its trace.
        if let (Some(decision), true) = (open.decision, opened.role == Role::Client || open.has_calls) {
            sampling.remember(open.trace_id, decision);
        }
    }

    /// Decides whether a span is kept; `sampler` is its service's own, where it has one.
    pub(crate) fn sample(&mut self, context: &mut Context, sampler: Option<&Sampler>, service: &str, start_ns: u64) {
        if context.is_health_check {
            context.flags &= !1;
            return;
        }
        if context.is_decided {
            return;
        }
        let Context { trace_id, ref remote, .. } = *context;
        let decision = self.sampling.decide(trace_id, remote.as_ref(), sampler, service, start_ns);
        context.flags = context.flags & !1 | u8::from(decision.is_kept);
        context.sampled = decision.sampled;
    }
}
