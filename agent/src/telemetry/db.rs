//! Calls to databases as spans and metric attributes.

use compact_str::CompactString;

use super::{
    attributes::Attributes,
    conventions::{Conventions, Described, Policy, kind, push_end},
    endpoint::{self, Remote, Server},
    http::push_carrier,
    outcome::{self, Error},
    red::{Label, Labels},
    semconv,
};
use crate::model::{
    exchange::{Db, Group, Outcome},
    net::{ConnectionInfo, Role},
    span::{Status, Value},
};

/// `error.type` of a call that failed without a code.
const OTHER: &str = "_OTHER";

/// What both the span and the metrics need to know of a call.
#[derive(Clone)]
pub(super) struct Facts {
    db: Box<Db>,
    role: Role,
    outcome: Outcome,
    server: Server,
    status: Status,
    /// What the exchange's end says; a code of the database's own goes before.
    error: Option<Error>,
}

impl Facts {
    pub(super) fn of(
        db: Box<Db>,
        role: Role,
        outcome: Outcome,
        connection: &ConnectionInfo,
        remote: Remote<'_>,
    ) -> Self {
        let (status, error) = outcome::evaluate(outcome, role, db.failed.then_some(Error::Word(OTHER)));
        let authority = db.http.as_ref().and_then(|http| http.host.as_deref());
        let server = Server::of(authority, role, connection).named(remote, role, connection);
        Self { db, role, outcome, server, status, error }
    }

    fn error(&self) -> Option<Label<'_>> {
        let own = self.db.status.as_deref().filter(|_| self.db.failed);
        own.map(Label::Str).or_else(|| self.error.map(Error::to_label))
    }
}

impl Conventions for Facts {
    const GROUP: Group = Group::Db;

    fn role(&self) -> Role {
        self.role
    }

    fn status(&self) -> Status {
        self.status
    }

    fn server(&self) -> &Server {
        &self.server
    }

    /// `db.query.summary`, else `{operation} {target}`, else the target, else the system's name.
    fn name(&self, _policy: &Policy) -> CompactString {
        let db = &self.db;
        if let Some(summary) = &db.summary {
            return summary.clone();
        }
        let target = db.collection.as_ref().or(db.procedure.as_ref()).or(db.namespace.as_ref());
        match (&db.operation, target) {
            (Some(operation), Some(target)) => compact_str::format_compact!("{operation} {target}"),
            (Some(name), None) | (None, Some(name)) => name.clone(),
            (None, None) => CompactString::const_new(db.system),
        }
    }

    fn labels<'a>(&'a self, _policy: &'a Policy) -> Labels<'a> {
        let db = &self.db;
        let text = |key, value: &'a Option<CompactString>| value.as_deref().map(|value| (key, Label::Str(value)));
        let [address, port] = self.server.labels();
        [
            Some((semconv::DB_SYSTEM_NAME, Label::Str(db.system))),
            text(semconv::DB_NAMESPACE, &db.namespace),
            text(semconv::DB_COLLECTION_NAME, &db.collection),
            text(semconv::DB_OPERATION_NAME, &db.operation),
            text(semconv::DB_QUERY_SUMMARY, &db.summary),
            address,
            port,
            self.error().map(|label| (semconv::ERROR_TYPE, label)),
            None,
        ]
    }

    fn describe(self, connection: &ConnectionInfo, policy: &Policy, mut out: Attributes) -> Described {
        let error = self.error().map(|label| label.own().to_value());
        let name = self.name(policy);
        let db = *self.db;
        out.push(semconv::DB_SYSTEM_NAME, Value::Static(db.system));
        out.push_str(semconv::DB_NAMESPACE, db.namespace);
        out.push_str(semconv::DB_COLLECTION_NAME, db.collection);
        out.push_str(semconv::DB_OPERATION_NAME, db.operation);
        out.push_int(semconv::DB_OPERATION_BATCH_SIZE, db.batch_size);
        out.push_str(semconv::DB_QUERY_SUMMARY, db.summary);
        out.push_str(semconv::DB_QUERY_TEXT, db.text.map(|text| policy.redactor.owned(text)));
        out.push_flag(semconv::BEYLA_NAME_UNKNOWN, db.text_unknown);
        out.push_str(semconv::DB_STORED_PROCEDURE_NAME, db.procedure);
        out.push_str(semconv::DB_RESPONSE_STATUS_CODE, db.status);
        out.push_count(semconv::DB_RESPONSE_RETURNED_ROWS, db.returned_rows);
        self.server.push(&mut out);
        endpoint::push_peer(connection, endpoint::address(&connection.remote), &mut out);
        if let Some(http) = db.http {
            push_carrier(http, self.role, connection, policy, &mut out);
        }
        push_end(error, self.outcome, &mut out);
        Described { name, kind: kind(self.role), status: self.status, attributes: out }
    }
}
