//! Messages to and from brokers as spans and metric attributes.

use compact_str::CompactString;

use super::{
    attributes::Attributes,
    conventions::{Conventions, Described, Policy, push_end},
    endpoint::{self, Remote, Server},
    http::push_carrier,
    outcome::{self, Error},
    red::{Family, Label, Labels},
    rpc, semconv,
};
use crate::model::{
    exchange::{Group, Messaging, MessagingStep, Outcome},
    net::{ConnectionInfo, Role},
    span::{Kind, Status, Value},
};

/// What both the span and the metrics need to know.
#[derive(Clone)]
pub(super) struct Facts {
    messaging: Box<Messaging>,
    role: Role,
    outcome: Outcome,
    server: Server,
    status: Status,
    /// What the exchange's end says; a code of the broker's own goes before.
    error: Option<Error>,
}

impl Facts {
    pub(super) fn of(
        messaging: Box<Messaging>,
        role: Role,
        outcome: Outcome,
        connection: &ConnectionInfo,
        remote: Remote<'_>,
    ) -> Self {
        let of_call = messaging.call_status.filter(|status| *status > 0).map(rpc::code);
        let failed = of_call.or_else(|| messaging.error.is_some().then_some(Error::Word("_OTHER")));
        let (status, error) = outcome::evaluate(outcome, role, failed);
        let authority = messaging.http.as_ref().and_then(|http| http.host.as_deref());
        let server = Server::of(authority, role, connection).named(remote, role, connection);
        Self { messaging, role, outcome, server, status, error }
    }

    fn error(&self) -> Option<Label<'_>> {
        let own = self.messaging.error.as_deref().map(Label::Str);
        own.or_else(|| self.error.map(Error::to_label))
    }
}

/// `messaging.operation.type`.
const fn word(step: MessagingStep) -> &'static str {
    match step {
        MessagingStep::Send => "send",
        MessagingStep::Receive => "receive",
        MessagingStep::Process => "process",
        MessagingStep::Settle => "settle",
    }
}

impl Conventions for Facts {
    const GROUP: Group = Group::Messaging;

    fn role(&self) -> Role {
        self.role
    }

    fn messages(&self) -> [u64; 2] {
        let messages = self.messaging.messages.unwrap_or_default();
        match (self.role, self.messaging.step) {
            (Role::Client, MessagingStep::Send) => [messages, 0],
            (Role::Client, MessagingStep::Receive | MessagingStep::Process) => [0, messages],
            (Role::Client, MessagingStep::Settle) | (Role::Server, _) => [0; 2],
        }
    }

    fn family(&self) -> Family {
        match (self.role, self.messaging.step) {
            (Role::Client, MessagingStep::Process) => Family::Process,
            (role, _) => Family::Exchange(Group::Messaging, role),
        }
    }

    fn status(&self) -> Status {
        self.status
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn kind(&self) -> Kind {
        match (self.role, self.messaging.step) {
            (Role::Server, _) => Kind::Server,
            // Who has made a message is its producer.
            (Role::Client, MessagingStep::Send) if self.messaging.carries_context => Kind::Client,
            (Role::Client, MessagingStep::Send) => Kind::Producer,
            (Role::Client, MessagingStep::Process) => Kind::Consumer,
            (Role::Client, MessagingStep::Receive | MessagingStep::Settle) => Kind::Client,
        }
    }

    fn name(&self, _policy: &Policy) -> CompactString {
        let it = &self.messaging;
        match &it.destination {
            Some(_) if it.template.is_some() || it.varies && !it.is_temporary => match &it.template {
                Some(template) => compact_str::format_compact!("{} {template}", it.operation),
                None => it.operation.clone(),
            },
            Some(_) if it.is_temporary => compact_str::format_compact!("{} (temporary)", it.operation),
            Some(destination) => compact_str::format_compact!("{} {destination}", it.operation),
            None => it.operation.clone(),
        }
    }

    fn labels<'a>(&'a self, _policy: &'a Policy) -> Labels<'a> {
        let it = &self.messaging;
        let text = |key, value: &'a Option<CompactString>| value.as_deref().map(|value| (key, Label::Str(value)));
        let [address, port] = self.server.labels();
        [
            Some((semconv::MESSAGING_SYSTEM, Label::Str(it.system))),
            Some((semconv::MESSAGING_OPERATION_NAME, Label::Str(&it.operation))),
            Some((semconv::MESSAGING_OPERATION_TYPE, Label::Str(word(it.step)))),
            match &it.template {
                Some(template) => Some((semconv::MESSAGING_DESTINATION_TEMPLATE, Label::Str(template))),
                None => text(semconv::MESSAGING_DESTINATION_NAME, &it.destination)
                    .filter(|_| !it.is_temporary && !it.varies),
            },
            text(semconv::MESSAGING_CONSUMER_GROUP_NAME, &it.consumer_group),
            text(semconv::MESSAGING_DESTINATION_PARTITION_ID, &it.partition),
            address,
            port,
            self.error().map(|label| (semconv::ERROR_TYPE, label)),
        ]
    }

    fn describe(self, connection: &ConnectionInfo, policy: &Policy, mut out: Attributes) -> Described {
        let (kind, error) = (self.kind(), self.error().map(|label| label.own().to_value()));
        let name = self.name(policy);
        let it = *self.messaging;
        let is_unnamed = it.destination.is_none() && matches!(it.step, MessagingStep::Send | MessagingStep::Receive);
        out.push(semconv::MESSAGING_SYSTEM, Value::Static(it.system));
        out.push(semconv::MESSAGING_OPERATION_NAME, Value::Str(it.operation));
        out.push(semconv::MESSAGING_OPERATION_TYPE, Value::Static(word(it.step)));
        out.push_str(semconv::MESSAGING_DESTINATION_NAME, it.destination);
        out.push_str(semconv::MESSAGING_DESTINATION_TEMPLATE, it.template);
        out.push_flag(semconv::MESSAGING_DESTINATION_TEMPORARY, it.is_temporary);
        out.push_str(semconv::MESSAGING_DESTINATION_PARTITION_ID, it.partition);
        out.push_str(semconv::MESSAGING_CONSUMER_GROUP_NAME, it.consumer_group);
        out.push_str(semconv::MESSAGING_CLIENT_ID, it.client_id);
        out.push_str(semconv::MESSAGING_MESSAGE_ID, it.message_id);
        out.push_count(
            semconv::MESSAGING_BATCH_MESSAGE_COUNT,
            it.messages.filter(|messages| it.is_batch || *messages != 1),
        );
        out.push_count(semconv::MESSAGING_MESSAGE_BODY_SIZE, it.body_bytes);
        out.push_str(semconv::MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY, it.routing_key);
        out.push_count(semconv::MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG, it.delivery_tag);
        if let Some(offset) = it.offset {
            out.push(semconv::MESSAGING_KAFKA_OFFSET, Value::Int(offset));
        }
        out.push_flag(semconv::BEYLA_NAME_UNKNOWN, is_unnamed);
        self.server.push(&mut out);
        endpoint::push_peer(connection, endpoint::address(&connection.remote), &mut out);
        if let Some(http) = it.http.filter(|http| http.target.is_some()) {
            push_carrier(http, self.role, connection, policy, &mut out);
        }
        push_end(error, self.outcome, &mut out);
        Described { name, kind, status: self.status, attributes: out }
    }
}
