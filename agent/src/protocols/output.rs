//! What sessions tell.

use std::sync::Arc;

use compact_str::CompactString;

use super::names::Names;
use crate::model::{
    exchange::{Event, Exchange, Http, IsHealthCheck, Key, Keys, Opened, Polled},
    ids::ProcessId,
    net::{Role, Thread},
    probability::has_others,
    propagation::Propagation,
    trace_context::TraceParent,
};

/// Takes what sessions tell, in its order, and names requests.
#[derive(Debug, Default)]
pub struct Output {
    keys: Keys,
    events: Vec<Event>,
    propagation: Propagation,
    health_checks: Option<Arc<dyn IsHealthCheck>>,
    /// Most bytes that are captured from the beginning of a turn; `None`: what the protocol asks for.
    head_max: Option<u32>,
    names: Names,
}

impl Output {
    /// What of their callers is to be told of requests that begin from now on.
    pub fn set_propagation(&mut self, propagation: Propagation) {
        self.propagation = propagation;
    }

    /// What tells health checks from now on; `None`: they are requests as any other.
    pub fn set_health_checks(&mut self, checks: Option<Arc<dyn IsHealthCheck>>) {
        self.health_checks = checks;
    }

    /// Most bytes that are to be captured from the beginning of a turn, of connections that are recognised from now on; `None`: what
    /// their protocol asks for.
    pub fn set_head_max(&mut self, head_max: Option<u32>) {
        self.head_max = head_max;
    }

    /// See [`Output::set_head_max`].
    #[must_use]
    pub const fn head_max(&self) -> Option<u32> {
        self.head_max
    }

    /// Whether a request is one.
    #[must_use]
    pub fn is_health_check(&self, http: &Http) -> bool {
        self.health_checks.as_ref().is_some_and(|checks| checks.is_health_check(http))
    }

    /// What of their callers is to be told of requests.
    #[must_use]
    pub const fn propagation(&self) -> &Propagation {
        &self.propagation
    }

    /// A process was told the name behind a number that is the same on all of its connections.
    pub(super) fn learn_name(&mut self, tgid: ProcessId, number: [u8; 16], name: CompactString) {
        self.names.learn(tgid, number, name);
    }

    /// That name, if it was.
    pub(super) fn name_of(&self, tgid: ProcessId, number: [u8; 16]) -> Option<&CompactString> {
        self.names.get(tgid, number)
    }

    /// A request has begun: one that was told. Gives its key, by which it is [finished](Self::finish) in the end. `opened` has
    /// another key.
    pub fn open(&mut self, opened: impl FnOnce(Key) -> Opened) -> Key {
        let key = self.keys.take();
        self.events.push(Event::Opened(opened(key)));
        key
    }

    /// To be called before a request is [opened](Self::open): what came beside the context of one that is served is for all that is done
    /// for it.
    pub fn carry(&mut self, role: Role, parent: Option<TraceParent>, state: Option<&CompactString>) {
        if let (Role::Server, Some(parent), Some(state)) = (role, parent, state)
            && has_others(state)
        {
            self.events.push(Event::Carried(parent.trace_id, parent.span_id, state.clone()));
        }
    }

    /// A response begins, written by `thread`.
    pub fn answer(&mut self, key: Key, thread: Thread) {
        if thread.work != 0 {
            self.events.push(Event::Answered(key, thread));
        }
    }

    /// A thread has received what was asked for, and is done with what it received before. What it brings is to be opened by now, and
    /// not yet finished.
    pub(super) fn poll(&mut self, polled: Polled) {
        self.events.push(Event::Polled(polled));
    }

    /// A request is over.
    pub fn finish(&mut self, key: Key, exchange: Exchange) {
        self.keys.give_back(key);
        self.events.push(Event::Finished(key, Box::new(exchange)));
    }

    /// How many requests were told to be over since the last call of [`Output::drain`].
    #[must_use]
    pub fn finished(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Finished(..))).count()
    }

    /// How much was told by now that was not [taken out](Self::drain).
    #[must_use]
    pub fn mark(&self) -> usize {
        self.events.len()
    }

    /// What was told since a [mark](Self::mark).
    pub fn since(&mut self, mark: usize) -> &mut [Event] {
        self.events.get_mut(mark..).unwrap_or_default()
    }

    /// What was told since the last call.
    pub fn drain(&mut self) -> impl Iterator<Item = Event> {
        self.events.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_said_is_told_of_what_is_served_with_a_context() {
        let parent = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        for (role, parent, state, told) in [
            (Role::Server, parent, Some("ot=th:8,a=1"), 1),
            (Role::Server, parent, Some("ot=th:8"), 0),
            (Role::Server, parent, None, 0),
            (Role::Server, None, Some("a=1"), 0),
            (Role::Client, parent, Some("a=1"), 0),
        ] {
            let mut out = Output::default();
            out.carry(role, parent, state.map(CompactString::new).as_ref());
            assert_eq!(out.drain().count(), told, "{role:?} {state:?}");
        }
    }
}
