//! Look-ups of names as spans and metric attributes.

use compact_str::{CompactString, ToCompactString as _};

use super::{
    attributes::Attributes,
    conventions::{Conventions, Described, Policy, kind, push_end},
    endpoint::{self, Remote, Server},
    outcome::{self, Error},
    red::{Label, Labels},
    semconv,
};
use crate::model::{
    exchange::{Dns, Group, Outcome},
    net::{ConnectionInfo, Role},
    span::{Status, Value},
};

/// What both the span and the metrics need to know of one.
#[derive(Clone)]
pub(super) struct Facts {
    dns: Box<Dns>,
    role: Role,
    outcome: Outcome,
    server: Server,
    status: Status,
    /// What the exchange's end says; the server's own word goes before.
    error: Option<Error>,
}

impl Facts {
    pub(super) fn of(
        dns: Box<Dns>,
        role: Role,
        outcome: Outcome,
        connection: &ConnectionInfo,
        remote: Remote<'_>,
    ) -> Self {
        let failed = dns.code.is_some().then_some(Error::Word("_OTHER"));
        let (status, error) = outcome::evaluate(outcome, role, failed);
        let server = Server::of(None, role, connection).named(remote, role, connection);
        Self { dns, role, outcome, server, status, error }
    }

    fn error(&self) -> Option<Label<'_>> {
        let own = self.dns.code.as_deref().map(Label::Str);
        own.or_else(|| self.error.map(Error::to_label))
    }
}

impl Conventions for Facts {
    const GROUP: Group = Group::Dns;

    fn role(&self) -> Role {
        self.role
    }

    fn status(&self) -> Status {
        self.status
    }

    fn server(&self) -> &Server {
        &self.server
    }

    /// `{type} {name}`, as OBI has it: the conventions have no span.
    fn name(&self, _policy: &Policy) -> CompactString {
        compact_str::format_compact!("{} {}", self.dns.kind, self.dns.question)
    }

    fn labels<'a>(&'a self, _policy: &'a Policy) -> Labels<'a> {
        let mut labels = Labels::default();
        let all = [
            Some((semconv::DNS_QUESTION_NAME, Label::Str(&self.dns.question))),
            self.error().map(|label| (semconv::ERROR_TYPE, label)),
        ];
        labels.iter_mut().zip(all).for_each(|(label, given)| *label = given);
        labels
    }

    fn describe(self, connection: &ConnectionInfo, policy: &Policy, mut out: Attributes) -> Described {
        let error = self.error().map(|label| label.own().to_value());
        let name = self.name(policy);
        let dns = *self.dns;
        out.push(semconv::DNS_QUESTION_NAME, Value::Str(dns.question));
        if !dns.answers.is_empty() {
            let answers = dns.answers.iter().map(|ip| ip.to_compact_string()).collect();
            out.push(semconv::DNS_ANSWERS, Value::List(answers));
        }
        self.server.push(&mut out);
        endpoint::push_peer(connection, endpoint::address(&connection.remote), &mut out);
        push_end(error, self.outcome, &mut out);
        Described { name, kind: kind(self.role), status: self.status, attributes: out }
    }
}
