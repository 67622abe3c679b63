//! Google Pub/Sub over gRPC, known by the methods that are called. The topic stands in the message, of which nothing is captured.

use compact_str::CompactString;

use crate::model::exchange::{Http, Messaging, MessagingStep, Operation, Rpc};

/// Its methods that have to do with messages.
const METHODS: &[(&str, &str, MessagingStep)] = &[
    ("google.pubsub.v1.Publisher/Publish", "publish", MessagingStep::Send),
    ("google.pubsub.v1.Subscriber/Pull", "pull", MessagingStep::Receive),
    ("google.pubsub.v1.Subscriber/Acknowledge", "ack", MessagingStep::Settle),
    ("google.pubsub.v1.Subscriber/ModifyAckDeadline", "modack", MessagingStep::Settle),
];

/// What a call is: mostly no more than that.
pub(in crate::protocols) fn of_call(rpc: Rpc) -> Operation {
    let found = rpc.method.as_deref().and_then(|method| METHODS.iter().find(|(name, _, _)| *name == method));
    let Some((_, operation, step)) = found else { return Operation::Rpc(Box::new(rpc)) };
    let http = Http {
        version: rpc.version,
        host: rpc.host,
        user_agent: rpc.user_agent,
        trace_state: rpc.trace_state,
        baggage: rpc.baggage,
        ..Http::default()
    };
    Operation::Messaging(Box::new(Messaging {
        system: "gcp_pubsub",
        operation: CompactString::const_new(operation),
        step: *step,
        call_status: rpc.status,
        http: Some(Box::new(http)),
        ..Messaging::default()
    }))
}
