//! Remote procedure calls as spans and metric attributes.

use compact_str::CompactString;

use super::{
    attributes::Attributes,
    conventions::{Conventions, Described, Policy, kind, push_end},
    endpoint::{self, Remote, Server},
    http::without_user_info,
    outcome::{self, Error},
    red::{Label, Labels},
    semconv,
};
use crate::model::{
    exchange::{Group, Outcome, Rpc},
    net::{ConnectionInfo, Role},
    span::{Status, Value},
};

/// gRPC's names of its status codes (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>) with whether one is an
/// error of the server, and Connect's names (<https://connectrpc.com/docs/protocol#error-codes>).
static CODES: [(&str, bool, &str); 17] = [
    ("OK", false, "ok"),
    ("CANCELLED", false, "canceled"),
    ("UNKNOWN", true, "unknown"),
    ("INVALID_ARGUMENT", false, "invalid_argument"),
    ("DEADLINE_EXCEEDED", true, "deadline_exceeded"),
    ("NOT_FOUND", false, "not_found"),
    ("ALREADY_EXISTS", false, "already_exists"),
    ("PERMISSION_DENIED", false, "permission_denied"),
    ("RESOURCE_EXHAUSTED", false, "resource_exhausted"),
    ("FAILED_PRECONDITION", false, "failed_precondition"),
    ("ABORTED", false, "aborted"),
    ("OUT_OF_RANGE", false, "out_of_range"),
    ("UNIMPLEMENTED", true, "unimplemented"),
    ("INTERNAL", true, "internal"),
    ("UNAVAILABLE", true, "unavailable"),
    ("DATA_LOSS", true, "data_loss"),
    ("UNAUTHENTICATED", false, "unauthenticated"),
];

/// A status of gRPC as it is told.
pub(super) fn code(status: u32) -> Error {
    CODES.get(status as usize).map_or(Error::Digits(status), |(word, _, _)| Error::Word(word))
}

/// The number of a gRPC status by its name; of one without a name, as written.
pub(super) fn grpc_number(name: &str) -> Option<i64> {
    let known = CODES.iter().position(|(word, _, _)| *word == name).and_then(|at| i64::try_from(at).ok());
    known.or_else(|| name.parse().ok())
}

const CONNECT: &str = "connectrpc";
/// Calls of whom are named as an operation of a service.
const AWS: &str = "aws-api";
/// Where the code of an error says more.
const OTHER: &str = "_OTHER";

/// What both the span and the metrics need to know of a call.
#[derive(Clone)]
pub(super) struct Facts {
    rpc: Box<Rpc>,
    role: Role,
    outcome: Outcome,
    /// `rpc.status_code`.
    code: Option<Error>,
    server: Server,
    status: Status,
    error: Option<Error>,
}

impl Facts {
    pub(super) fn of(
        rpc: Box<Rpc>,
        role: Role,
        outcome: Outcome,
        connection: &ConnectionInfo,
        remote: Remote<'_>,
    ) -> Self {
        let known = rpc.status.and_then(|status| CODES.get(status as usize));
        // Connect has no word for success; a code nobody defined is shown as its number.
        let code = match (rpc.status, known) {
            (Some(0), _) if rpc.system == CONNECT => None,
            (Some(_), Some((_, _, word))) if rpc.system == CONNECT => Some(Error::Word(word)),
            (Some(_), Some((word, _, _))) => Some(Error::Word(word)),
            (Some(status), None) => Some(Error::Digits(status)),
            (None, _) => None,
        };
        let failed = match (rpc.status, role) {
            (Some(0), _) => None,
            (Some(_), Role::Client) => code,
            // Clients take a code that nobody defined for `UNKNOWN`.
            (Some(_), Role::Server) => code.filter(|_| known.is_none_or(|(_, servers, _)| *servers)),
            // No status of the call's own: a proxy's answer, say. It is not translated into a code nobody sent.
            (None, _) => rpc.http_status.and_then(|status| match role {
                Role::Client => (status >= 400).then_some(Error::Digits(status.into())),
                Role::Server => (status >= 500).then_some(Error::Digits(status.into())),
            }),
        };
        let failed = failed.or_else(|| rpc.code.is_some().then_some(Error::Word(OTHER)));
        // A call with a status is over, however its stream ended then.
        let end = if rpc.status.is_some() && outcome != Outcome::Unseen { Outcome::Complete } else { outcome };
        let (status, error) = outcome::evaluate(end, role, failed);
        let server = Server::of_call(rpc.host.as_deref(), role, connection).named(remote, role, connection);
        Self { rpc, role, outcome, code, server, status, error }
    }

    fn code(&self) -> Option<Label<'_>> {
        self.rpc.code.as_deref().map(Label::Str).or_else(|| self.code.map(Error::to_label))
    }

    /// The system's own code goes before what HTTP says.
    fn error(&self) -> Option<Label<'_>> {
        self.rpc.code.as_deref().map(Label::Str).or_else(|| self.error.map(Error::to_label))
    }
}

impl Conventions for Facts {
    const GROUP: Group = Group::Rpc;

    fn role(&self) -> Role {
        self.role
    }

    fn status(&self) -> Status {
        self.status
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn name(&self, _policy: &Policy) -> CompactString {
        match &self.rpc.method {
            Some(method) if self.rpc.system == AWS => method.replacen('/', ".", 1).into(),
            Some(method) => method.clone(),
            None => CompactString::const_new(self.rpc.system),
        }
    }

    fn labels<'a>(&'a self, _policy: &'a Policy) -> Labels<'a> {
        let rpc = &self.rpc;
        let [address, port] = self.server.labels_of_client(self.role);
        [
            Some((semconv::RPC_SYSTEM_NAME, Label::Str(rpc.system))),
            rpc.method.as_deref().map(|method| (semconv::RPC_METHOD, Label::Str(method))),
            self.code().map(|code| (semconv::RPC_STATUS_CODE, code)),
            address,
            port,
            self.error().map(|error| (semconv::ERROR_TYPE, error)),
            None,
            None,
            None,
        ]
    }

    fn describe(self, connection: &ConnectionInfo, policy: &Policy, mut out: Attributes) -> Described {
        let name = self.name(policy);
        let [code, error] = [self.code(), self.error()].map(|it| it.map(|label| label.own().to_value()));
        let rpc = *self.rpc;
        let name_unknown = rpc.method.is_none() && rpc.batch_size.is_none();
        out.push(semconv::RPC_SYSTEM_NAME, Value::Static(rpc.system));
        out.push_str(semconv::RPC_METHOD, rpc.method);
        if let Some(code) = code {
            out.push(semconv::RPC_STATUS_CODE, code);
        }
        out.push_int(semconv::BEYLA_BATCH_SIZE, rpc.batch_size);
        out.push_int(semconv::HTTP_RESPONSE_STATUS_CODE, rpc.http_status);
        self.server.push(&mut out);
        endpoint::push_peer(connection, endpoint::address(&connection.remote), &mut out);
        out.push_str(
            semconv::USER_AGENT_ORIGINAL,
            rpc.user_agent.map(|agent| policy.redactor.owned(without_user_info(agent))),
        );
        push_end(error, self.outcome, &mut out);
        out.push_flag(semconv::BEYLA_NAME_UNKNOWN, name_unknown);
        out.push_count(semconv::BEYLA_NAME_UNKNOWN_ENTRY, rpc.unknown_name.filter(|_| name_unknown));
        Described { name, kind: kind(self.role), status: self.status, attributes: out }
    }
}
