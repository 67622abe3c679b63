//! Services that send spans or metrics over OTLP themselves: what they send is not to be there twice.

use crate::{
    config::Signal,
    model::{
        exchange::{Exchange, Operation, Outcome},
        net::Role,
    },
};

const SIGNALS: [(Signal, &str, &str); 2] = [
    (Signal::Traces, "/v1/traces", "opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    (Signal::Metrics, "/v1/metrics", "opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
];

/// What was seen of a service's exports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnExports {
    sends: [bool; 2],
    /// It takes in what it sends: a gateway, whose own requests nobody else tells of.
    forwards: [bool; 2],
}

impl OwnExports {
    /// Takes notice of an exchange. Gives the signal of which it is the first sign that the service sends it.
    pub(super) fn notice(&mut self, role: Role, outcome: Outcome, operation: &Operation) -> Option<Signal> {
        let signal = exported(outcome, operation)?;
        match role {
            Role::Server => {
                self.forwards[signal as usize] = true;
                None
            }
            Role::Client => {
                let is_first = !std::mem::replace(&mut self.sends[signal as usize], true);
                (is_first && self.has(signal)).then_some(signal)
            }
        }
    }

    /// Whether a call is one by which the service sends what it tells of itself, be that taken or not.
    pub(super) fn is_of_its_own(self, operation: &Operation) -> bool {
        destination(operation).is_some_and(|signal| !self.forwards[signal as usize])
    }

    /// Whether the service sends a signal of its own.
    pub(super) const fn has(self, signal: Signal) -> bool {
        self.sends[signal as usize] && !self.forwards[signal as usize]
    }
}

/// Whether a process sends or takes spans by this exchange, as SDKs export them.
#[must_use]
pub(crate) fn carries_spans(exchange: &Exchange) -> bool {
    exported(exchange.outcome, &exchange.operation) == Some(Signal::Traces)
}

/// The signal that a request is to carry, whatever becomes of it.
fn destination(operation: &Operation) -> Option<Signal> {
    if !operation.exported_kinds().is_empty() {
        // Its name need not be known.
        return Some(Signal::Traces);
    }
    let found = match operation {
        Operation::Http(http) => {
            let target = http.target.as_deref().filter(|_| http.method.as_deref() == Some("POST"))?;
            SIGNALS.iter().find(|(_, path, _)| target.ends_with(path))
        }
        Operation::Rpc(rpc) => {
            let method = rpc.method.as_deref()?;
            SIGNALS.iter().find(|(_, _, export)| *export == method)
        }
        Operation::Db(_) | Operation::Messaging(_) | Operation::Dns(_) => None,
    };
    found.map(|(signal, ..)| *signal)
}

/// The signal that an exchange carried, if that was taken.
fn exported(outcome: Outcome, operation: &Operation) -> Option<Signal> {
    if outcome != Outcome::Complete {
        return None;
    }
    // On a connection that is older than the agent that a call succeeded may be said in words that are not known: those that say that it
    // failed, hardly ever are among them.
    let is_seen = !operation.exported_kinds().is_empty();
    let is_taken = match operation {
        Operation::Http(http) => http.status.map_or(is_seen, |status| (200..300).contains(&status)),
        Operation::Rpc(rpc) => rpc.status.map_or(is_seen && rpc.http_status.is_none(), |status| status == 0),
        Operation::Db(_) | Operation::Messaging(_) | Operation::Dns(_) => false,
    };
    destination(operation).filter(|_| is_taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::exchange::{ExportedKinds, Http, Rpc};

    fn http(target: &str, method: &str, status: u16) -> Operation {
        let (target, method) = (Some(target.into()), Some(method.into()));
        Operation::Http(Box::new(Http { target, method, status: Some(status), ..Http::default() }))
    }

    fn rpc(method: &str, status: u32) -> Operation {
        Operation::Rpc(Box::new(Rpc { method: Some(method.into()), status: Some(status), ..Rpc::default() }))
    }

    #[test]
    fn only_exports_that_were_taken_are_a_sign() {
        for (operation, expected) in [
            (http("/v1/traces", "POST", 200), Some(Signal::Traces)),
            (http("http://c:4318/otlp/v1/metrics", "POST", 202), Some(Signal::Metrics)),
            (http("/v1/traces", "POST", 503), None),
            (http("/v1/traces", "GET", 200), None),
            (http("/v1/traces/7", "POST", 200), None),
            (rpc("opentelemetry.proto.collector.trace.v1.TraceService/Export", 0), Some(Signal::Traces)),
            (rpc("opentelemetry.proto.collector.metrics.v1.MetricsService/Export", 0), Some(Signal::Metrics)),
            (rpc("opentelemetry.proto.collector.trace.v1.TraceService/Export", 14), None),
            (rpc("opentelemetry.proto.collector.logs.v1.LogsService/Export", 0), None),
        ] {
            assert_eq!(exported(Outcome::Complete, &operation), expected, "{operation:?}");
            assert_eq!(exported(Outcome::Unseen, &operation), None);
        }
    }

    #[test]
    fn what_was_seen_to_hold_spans_exports_them_whatever_it_is_called() {
        let mut exported_kinds = ExportedKinds::default();
        exported_kinds.add(ExportedKinds::SERVER);
        let rpc = |status, http_status| {
            Operation::Rpc(Box::new(Rpc { status, http_status, exported_kinds, ..Rpc::default() }))
        };
        let http = |status| Operation::Http(Box::new(Http { status, exported_kinds, ..Http::default() }));
        for operation in [rpc(Some(0), None), rpc(None, None), http(Some(200)), http(None)] {
            assert_eq!(exported(Outcome::Complete, &operation), Some(Signal::Traces), "{operation:?}");
        }
        for operation in [rpc(Some(14), None), rpc(None, Some(502)), http(Some(503))] {
            assert_eq!(exported(Outcome::Complete, &operation), None, "{operation:?}");
        }
    }

    #[test]
    fn a_sender_is_told_once_and_a_gateway_is_none() {
        let mut own = OwnExports::default();
        let traces = http("/v1/traces", "POST", 200);
        assert_eq!(own.notice(Role::Client, Outcome::Complete, &traces), Some(Signal::Traces));
        assert_eq!(own.notice(Role::Client, Outcome::Complete, &traces), None);
        assert!(own.has(Signal::Traces) && !own.has(Signal::Metrics));
        // What came in is over after what went out.
        assert_eq!(own.notice(Role::Server, Outcome::Complete, &traces), None);
        assert!(!own.has(Signal::Traces));
        assert_eq!(own.notice(Role::Client, Outcome::Complete, &traces), None);
    }
}
