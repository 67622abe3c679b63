//! Exchanges of pods that Kubernetes has not told of yet: held for a bounded time at the start, so that their spans
//! carry its metadata.

use std::time::Instant;

use crate::{
    model::{exchange::Exchange, net::ConnectionInfo, span::Resource},
    trace::Context,
};

/// Most exchanges held, some 500 bytes each.
const HELD_MAX: usize = 20_000;

/// Whether the metadata is there: asked once a round, must not wait.
pub(crate) type Ready = Box<dyn Fn() -> bool + Send>;

/// An exchange that is held.
pub(super) type Held = (ConnectionInfo, Box<Exchange>, Context);

/// What is held, in its order.
pub(super) struct Waiting {
    until: Option<(Ready, Instant)>,
    held: Vec<Held>,
}

impl Waiting {
    /// Holds until the metadata is there, but not beyond a moment. `None`: holds nothing.
    pub(super) fn new(until: Option<(Ready, Instant)>) -> Self {
        Self { until, held: Vec::new() }
    }

    /// Takes an exchange that is to wait; else gives it back.
    pub(super) fn hold(
        &mut self,
        connection: &ConnectionInfo,
        exchange: Box<Exchange>,
        context: Context,
        resource: &Resource,
    ) -> Option<Box<Exchange>> {
        if self.until.is_none() || self.held.len() >= HELD_MAX || !awaits_pod(resource) {
            return Some(exchange);
        }
        self.held.push((connection.clone(), exchange, context));
        None
    }

    /// What was held, once nothing is to be waited for any more.
    pub(super) fn release(&mut self) -> Vec<Held> {
        let Some((is_ready, until)) = &self.until else { return Vec::new() };
        if is_ready() || *until <= Instant::now() { self.release_all() } else { Vec::new() }
    }

    /// What was held, at the end.
    pub(super) fn release_all(&mut self) -> Vec<Held> {
        self.until = None;
        std::mem::take(&mut self.held)
    }
}

/// A container of which the API server has told nothing.
fn awaits_pod(resource: &Resource) -> bool {
    let has = |name: &str| resource.attributes.iter().any(|(key, _)| key == name);
    has("container.id") && !has("k8s.pod.start_time")
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    use std::time::Duration;

    use super::*;
    use crate::model::{
        exchange::{Inside, Operation, Outcome, Pattern},
        ids::{ConnectionId, ThreadId},
        net::{Endpoint, Origin, Role, Thread},
        probability::Sampled,
        span::Value,
        trace_context::{SpanId, TraceId},
    };

    pub(in super::super) const CONTEXT: Context = Context {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([1; 8]),
        parent: None,
        link: None,
        poll: None,
        remote: None,
        flags: 0,
        sampled: Sampled::NOTHING,
        is_decided: false,
        is_health_check: false,
        paired: crate::trace::sdks::Paired::Alone,
        other_end: None,
        read_ns: None,
    };

    fn resource(keys: &[&'static str]) -> Resource {
        let attributes = keys.iter().map(|key| ((*key).into(), Value::Static("x"))).collect();
        Resource { attributes, ..Resource::default() }
    }

    pub(in super::super) fn exchange(start_ns: u64) -> Box<Exchange> {
        Box::new(Exchange {
            role: Role::Server,
            thread: Thread::default(),
            start_ns,
            first_byte_ns: None,
            response_tid: ThreadId::NONE,
            end_ns: start_ns,
            outcome: Outcome::Complete,
            parent: None,
            protocol: "http1",
            pattern: Pattern::RequestResponse,
            operation: Operation::Http(Box::default()),
            inside: Inside::default(),
        })
    }

    pub(in super::super) fn connection() -> ConnectionInfo {
        ConnectionInfo {
            id: ConnectionId(1),
            local: Endpoint::Unknown,
            remote: Endpoint::Unknown,
            netns: 0,
            tls: false,
            tls_version: None,
            asked: None,
            client: None,
            link: ConnectionId(1),
            origin: Origin::default(),
            is_paired: false,
            is_blocking: false,
            met_ns: 0,
            requests: 0,
            connect_ns: None,
        }
    }

    #[test]
    fn only_containers_without_a_pod_wait_and_only_until_it_is_known() {
        let is_ready = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_ready);
        let later = Instant::now() + Duration::from_secs(3600);
        let mut waiting = Waiting::new(Some((Box::new(move || asked.load(Ordering::Relaxed)), later)));
        let in_container = resource(&["container.id"]);
        assert!(waiting.hold(&connection(), exchange(1), CONTEXT, &resource(&[])).is_some());
        assert!(
            waiting
                .hold(&connection(), exchange(2), CONTEXT, &resource(&["container.id", "k8s.pod.start_time"]))
                .is_some()
        );
        assert!(waiting.hold(&connection(), exchange(3), CONTEXT, &in_container).is_none());
        assert!(waiting.hold(&connection(), exchange(4), CONTEXT, &in_container).is_none());
        assert!(waiting.release().is_empty());
        is_ready.store(true, Ordering::Relaxed);
        let released: Vec<u64> = waiting.release().iter().map(|(_, exchange, _)| exchange.start_ns).collect();
        assert_eq!(released, [3, 4]);
        assert!(waiting.hold(&connection(), exchange(5), CONTEXT, &in_container).is_some());
    }

    #[test]
    fn an_api_server_that_does_not_answer_is_waited_for_no_longer_than_said() {
        let mut waiting = Waiting::new(Some((Box::new(|| false), Instant::now())));
        assert!(waiting.hold(&connection(), exchange(1), CONTEXT, &resource(&["container.id"])).is_none());
        assert_eq!(waiting.release().len(), 1);
    }
}
