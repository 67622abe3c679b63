//! What the conventions of a group ([`Group`]) say of one exchange. Each group is a file of its own that answers this.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    attributes::Attributes,
    endpoint::Server,
    methods::Methods,
    outcome,
    red::{Family, Labels},
    redact::Redactor,
    semconv,
};
use crate::model::{
    exchange::{Group, Outcome},
    net::{ConnectionInfo, Role},
    span::{Kind, Status, Value},
};

/// What the configuration says of values.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    /// Which HTTP methods are known.
    pub(super) methods: Methods,
    /// Which values are secrets.
    pub(super) redactor: Redactor,
}

/// A span without what is the same for all groups.
pub(super) struct Described {
    pub(super) name: CompactString,
    pub(super) kind: Kind,
    pub(super) status: Status,
    pub(super) attributes: Attributes,
}

/// An exchange, and what follows from it for its span and its metrics alike.
pub(super) trait Conventions: Clone {
    /// Whose these are.
    const GROUP: Group;

    /// The path that a route can be found for, if it was seen whole.
    fn path(&self) -> Option<&str> {
        None
    }

    /// The HTTP status, which says whether there is such a route.
    fn http_status(&self) -> Option<u16> {
        None
    }

    /// The route that was found.
    fn set_route(&mut self, _route: Arc<str>) {}

    /// Bytes of the bodies of request and response, where that is an instrument's.
    fn body_sizes(&self) -> [Option<u64>; 2] {
        [None; 2]
    }

    /// Messages that were sent, and that were received.
    fn messages(&self) -> [u64; 2] {
        [0; 2]
    }

    /// Which metrics it goes into.
    fn family(&self) -> Family {
        Family::Exchange(Self::GROUP, self.role())
    }

    /// Which end of it is described.
    fn role(&self) -> Role;

    /// Its span's kind.
    fn kind(&self) -> Kind {
        kind(self.role())
    }

    /// Its span's status.
    fn status(&self) -> Status;

    /// Its span's name: of low cardinality.
    fn name(&self, policy: &Policy) -> CompactString;

    /// Who answers it.
    fn server(&self) -> &Server;

    /// The attributes of its metrics: of low cardinality.
    fn labels<'a>(&'a self, policy: &'a Policy) -> Labels<'a>;

    /// Its span, whose attributes go to the end of `out`.
    fn describe(self, connection: &ConnectionInfo, policy: &Policy, out: Attributes) -> Described;
}

/// Pushes how the exchange ended: `error.type` and `beyla.outcome`.
pub(super) fn push_end(error: Option<Value>, outcome: Outcome, out: &mut Attributes) {
    if let Some(error) = error {
        out.push(semconv::ERROR_TYPE, error);
    }
    if outcome != Outcome::Complete {
        out.push(semconv::BEYLA_OUTCOME, Value::Static(outcome::word(outcome)));
    }
}

/// The span kind of a request that has a response.
pub(super) const fn kind(role: Role) -> Kind {
    match role {
        Role::Server => Kind::Server,
        Role::Client => Kind::Client,
    }
}
