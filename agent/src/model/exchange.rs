//! A request and its response, in the terms all protocols share. What protocols yield.

use std::{
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
};

use compact_str::CompactString;

use super::{
    baggage,
    headers::Headers,
    ids::ThreadId,
    net::{Role, Thread},
    trace_context::{SpanId, TraceId, TraceParent},
};

/// A request with the response it got, as one watched process saw it. Times are ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Which end the watched process was.
    pub role: Role,
    /// The thread that moved the request's first byte.
    pub thread: Thread,
    /// First byte of the request.
    pub start_ns: u64,
    /// First byte of the (final) response; `None` if none was seen.
    pub first_byte_ns: Option<u64>,
    /// The thread that moved it; 0 where that is not known.
    pub response_tid: ThreadId,
    /// Last byte of the response, or the moment it became certain that none would come.
    pub end_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The context the request carried.
    pub parent: Option<TraceParent>,
    /// The protocol it was spoken in: `http1`, `http2`, `grpc`. For counters and logs.
    pub protocol: &'static str,
    /// Whether a response belongs to it.
    pub pattern: Pattern,
    /// What was asked and answered.
    pub operation: Operation,
    /// What the kernel said of its connection meanwhile. Not told by protocols.
    pub inside: Inside,
}

/// What happened to a request below its protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// For how long its first bytes had waited in the socket, at least, when they were read.
    pub queued_us: Option<u32>,
    /// Smoothed round trip time when it was over.
    pub rtt_us: Option<NonZeroU32>,
    /// Segments that this end retransmitted between its first byte and its last.
    pub retransmits: Option<u32>,
    /// It is the first request of its connection, over which the first byte was sent at this moment.
    pub first_sent_ns: Option<NonZeroU64>,
}

/// Names an exchange from its beginning to its end. It is never given to another one: a slot is used again, its generation
/// is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    generation: u32,
    slot: u32,
}

impl Key {
    /// A small number that no other exchange has which is open at the same time.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// As a number, see [`Self::of_number`].
    #[must_use]
    pub(crate) const fn number(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The key of which that is the number.
    #[must_use]
    pub(crate) const fn of_number(number: u64) -> Self {
        Self { generation: (number >> 32) as u32, slot: number as u32 }
    }
}

/// Gives out keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Those that were given back, with the generation that comes next.
    free: Vec<Key>,
    slots: u32,
}

impl Keys {
    /// A new key.
    #[must_use]
    pub(crate) fn take(&mut self) -> Key {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.slots;
            self.slots += 1;
            Key { generation: 0, slot }
        })
    }

    /// The exchange is over.
    pub(crate) fn give_back(&mut self, key: Key) {
        // A slot whose generations are used up is left alone.
        if let Some(generation) = key.generation.checked_add(1) {
            self.free.push(Key { generation, ..key });
        }
    }
}

/// A request that has begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opened {
    /// Its name.
    pub key: Key,
    /// Which end the watched process is.
    pub role: Role,
    /// The thread that moved its first byte.
    pub thread: Thread,
    /// Its first byte.
    pub start_ns: u64,
    /// The context it carries, if that is known already.
    pub parent: Option<TraceParent>,
    /// It is of somebody who looks whether the service is well: it is in no trace.
    pub is_health_check: bool,
    /// It is a message that the process deals with until it is over.
    pub is_message: bool,
    /// Which of its connection's requests it is.
    pub place: Place,
}

/// Which of its connection's requests one is: both ends say the same of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where its first byte stands in its direction.
    Position(u64),
    /// The number that the protocol gives it.
    Id(u64),
}

/// Tells requests of those who look whether a service is well from those of its users.
pub trait IsHealthCheck: std::fmt::Debug + Send + Sync {
    /// By what is known of the request's head. What is not known does not make it one.
    fn is_health_check(&self, http: &Http) -> bool;
}

/// What protocols tell, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// With this context the next request came to be served, and with this list of states beside it, in which others than
    /// OpenTelemetry say something.
    Carried(TraceId, SpanId, CompactString),
    /// A request has begun.
    Opened(Opened),
    /// The response to a request that has begun does, written by a thread that carries on a unit of work.
    Answered(Key, Thread),
    /// A thread has received what was asked a broker for.
    Polled(Polled),
    /// It is over. What was opened always finishes. In a box, since it goes through many hands.
    Finished(Key, Box<Exchange>),
}

/// What a thread has received that asks a broker for messages again and again: with it, it is done with what it had received before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polled {
    /// Who has received it.
    pub thread: Thread,
    /// When.
    pub at_ns: u64,
    /// The exchange that brought messages, which is open still; `None`: there are none.
    pub brought: Option<Key>,
    /// There are several, or may be.
    pub is_batch: bool,
    /// Who receives them may deal with others first.
    pub is_unclear: bool,
    /// Nothing was received: what is asked over the connection is asked of a broker, and is for no message.
    pub is_first: bool,
}

impl Event {
    /// The exchange that is over.
    #[must_use]
    pub fn finished(self) -> Option<Exchange> {
        match self {
            Self::Carried(..) | Self::Opened(_) | Self::Answered(..) | Self::Polled(_) => None,
            Self::Finished(_, exchange) => Some(*exchange),
        }
    }
}

/// The message exchange pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// A request that a response belongs to.
    #[default]
    RequestResponse,
    /// A message that nobody answers: it is complete once it was moved.
    OneWay,
}

/// How an exchange ended. Only what was seen is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole response was seen.
    Complete,
    /// The connection ended before the first byte of a response.
    NoResponse,
    /// The connection (or stream) ended within the response.
    Cut,
    /// The same as one of these two, at a server that was itself the first to end the connection. Not told by protocols.
    ServerLeft {
        /// Whether a response had begun.
        is_answered: bool,
    },
    /// One end cancelled it (HTTP/2 `RST_STREAM`): which end, and the protocol's error code.
    Cancelled(Role, u32),
    /// One end gave it up with an error (the same, with another code): which end, and the code.
    Reset(Role, u32),
    /// The agent lost sight of it (events lost, connection evicted, agent stopped): left out of the histograms.
    Unseen,
}

impl Outcome {
    /// The same where its own end was the first to go.
    #[must_use]
    pub const fn where_it_left(self, role: Role) -> Self {
        match (self, role) {
            (Self::NoResponse, Role::Server) => Self::ServerLeft { is_answered: false },
            (Self::Cut, Role::Server) => Self::ServerLeft { is_answered: true },
            (outcome, _) => outcome,
        }
    }
}

/// What was asked and answered, by OpenTelemetry's groups of conventions.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// HTTP, of any version.
    Http(Box<Http>),
    /// A remote procedure call (gRPC, gRPC-Web, Connect).
    Rpc(Box<Rpc>),
    /// A call to a database.
    Db(Box<Db>),
    /// A message to or from a broker.
    Messaging(Box<Messaging>),
    /// A look-up of a name.
    Dns(Box<Dns>),
}

/// One of these groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// See [`Operation::Http`].
    Http,
    /// See [`Operation::Rpc`].
    Rpc,
    /// See [`Operation::Db`].
    Db,
    /// See [`Operation::Messaging`].
    Messaging,
    /// See [`Operation::Dns`].
    Dns,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Http, Self::Rpc, Self::Db, Self::Messaging, Self::Dns];
}

impl Operation {
    /// The kinds of the spans that it was seen to export.
    #[must_use]
    pub fn exported_kinds(&self) -> ExportedKinds {
        match self {
            Self::Http(http) => http.exported_kinds,
            Self::Rpc(rpc) => rpc.exported_kinds,
            Self::Db(_) | Self::Messaging(_) | Self::Dns(_) => ExportedKinds::default(),
        }
    }

    /// It exports spans of these kinds, too.
    pub fn add_exported_kinds(&mut self, kinds: ExportedKinds) {
        match self {
            Self::Http(http) => http.exported_kinds.add_all(kinds),
            Self::Rpc(rpc) => rpc.exported_kinds.add_all(kinds),
            Self::Db(_) | Self::Messaging(_) | Self::Dns(_) => {}
        }
    }

    /// Takes the `tracestate` out.
    pub fn take_trace_state(&mut self) -> Option<CompactString> {
        match self {
            Self::Http(http) => http.trace_state.take(),
            Self::Rpc(rpc) => rpc.trace_state.take(),
            Self::Db(_) | Self::Messaging(_) | Self::Dns(_) => self.carrier()?.trace_state.take(),
        }
    }

    /// Sets what is carried beside a context that came by another way than the request's own head.
    pub fn set_carried(&mut self, state: Option<CompactString>, wanted: Baggage) {
        match self {
            Self::Http(http) => (http.trace_state, http.baggage) = (state, wanted),
            Self::Rpc(rpc) => (rpc.trace_state, rpc.baggage) = (state, wanted),
            Self::Db(_) | Self::Messaging(_) | Self::Dns(_) => {
                if let Some(http) = self.carrier() {
                    (http.trace_state, http.baggage) = (state, wanted);
                }
            }
        }
    }

    /// Takes out what of its baggage is wanted.
    pub fn take_baggage(&mut self) -> Baggage {
        match self {
            Self::Http(http) => std::mem::take(&mut http.baggage),
            Self::Rpc(rpc) => std::mem::take(&mut rpc.baggage),
            Self::Db(_) | Self::Messaging(_) | Self::Dns(_) => {
                self.carrier().map(|http| std::mem::take(&mut http.baggage)).unwrap_or_default()
            }
        }
    }

    /// The request of HTTP that carries it.
    fn carrier(&mut self) -> Option<&mut Http> {
        match self {
            Self::Http(http) => Some(http),
            Self::Rpc(_) | Self::Dns(_) => None,
            Self::Db(db) => db.http.as_deref_mut(),
            Self::Messaging(messaging) => messaging.http.as_deref_mut(),
        }
    }

    /// Takes out the contexts that it is linked to.
    pub fn take_links(&mut self) -> Vec<TraceParent> {
        match self {
            Self::Messaging(messaging) => std::mem::take(&mut messaging.links),
            Self::Http(_) | Self::Rpc(_) | Self::Db(_) | Self::Dns(_) => Vec::new(),
        }
    }
}

/// What of a request's baggage becomes attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baggage(Option<Box<[(&'static str, CompactString)]>>);

impl Baggage {
    /// Those members of a list whose keys are wanted.
    #[must_use]
    pub fn of(list: &str, wanted: &[&'static str]) -> Self {
        let found = baggage::select(list, wanted);
        Self((!found.is_empty()).then(|| found.into()))
    }

    /// Keys and values.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &CompactString)> {
        self.0.iter().flatten().map(|(key, value)| (*key, value))
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap(&self) -> usize {
        self.entries().map(|(_, value)| size_of::<(&str, CompactString)>() + value.len()).sum()
    }
}

/// An HTTP exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// The method as on the wire; `None` where it cannot be known (HTTP/2 met in mid-life).
    pub method: Option<CompactString>,
    /// The request target as on the wire: `/path?query`, an absolute URI, `host:port` or `*`; `None` where it cannot
    /// be known.
    pub target: Option<CompactString>,
    /// `target` was longer than what was captured.
    pub target_truncated: bool,
    /// `Host` or `:authority`.
    pub host: Option<CompactString>,
    /// `:scheme`, where the wire says it.
    pub scheme: Option<CompactString>,
    /// `User-Agent`.
    pub user_agent: Option<CompactString>,
    /// `tracestate`.
    pub trace_state: Option<CompactString>,
    /// What of its `baggage` is wanted.
    pub baggage: Baggage,
    /// Status of the final response.
    pub status: Option<u16>,
    /// Bytes of the request's body, without transfer coding; `None` where not known.
    pub request_body_bytes: Option<u64>,
    /// Bytes of the response's body, without transfer coding; `None` where not known.
    pub response_body_bytes: Option<u64>,
    /// The header block was longer than what was captured: a header that is not reported may have been there.
    pub headers_truncated: bool,
    /// A number that is the same for the same unknown name on the same connection (HPACK entry), where `target` or
    /// `method` is `None` because of it.
    pub unknown_name: Option<u64>,
    /// Spans that it was seen to export.
    pub exported_kinds: ExportedKinds,
    /// Header fields that the configuration asks for.
    pub headers: Option<Box<Headers>>,
    /// The operation of GraphQL that it asks for.
    pub graphql: Option<Box<Graphql>>,
}

/// An operation of GraphQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graphql {
    /// `graphql.operation.type`.
    pub kind: Option<&'static str>,
    /// `graphql.operation.name`.
    pub name: Option<CompactString>,
    /// How many operations there are, where there are several.
    pub batch_size: Option<u32>,
}

/// Kinds of spans that were seen to be exported, as OTLP numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportedKinds(u8);

impl ExportedKinds {
    /// `SPAN_KIND_SERVER`.
    pub const SERVER: u64 = 2;
    /// `SPAN_KIND_CLIENT`.
    pub const CLIENT: u64 = 3;
    /// The greatest that there is.
    const LAST: u64 = 5;

    /// A span of that kind was seen.
    pub fn add(&mut self, kind: u64) {
        if (1..=Self::LAST).contains(&kind) {
            self.0 |= 1 << kind;
        }
    }

    /// Whether a span of that kind was seen.
    #[must_use]
    pub const fn has(self, kind: u64) -> bool {
        kind <= Self::LAST && self.0 & 1 << kind != 0
    }

    /// And those of others.
    pub const fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// No span was seen.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A remote procedure call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rpc {
    /// `rpc.system.name`: `grpc`, `grpc_web`, `connectrpc`, `jsonrpc`.
    pub system: &'static str,
    /// HTTP version it ran over: `1.1` or `2`; empty where it was none.
    pub version: &'static str,
    /// `package.Service/Method`; `None` where it cannot be known.
    pub method: Option<CompactString>,
    /// `:authority` or `Host`.
    pub host: Option<CompactString>,
    /// `User-Agent`.
    pub user_agent: Option<CompactString>,
    /// `tracestate`.
    pub trace_state: Option<CompactString>,
    /// What of its `baggage` is wanted.
    pub baggage: Baggage,
    /// gRPC status code; `None` where none was seen.
    pub status: Option<u32>,
    /// The code of an error, in a system other than gRPC and Connect.
    pub code: Option<CompactString>,
    /// How many calls there are in one request, where there are several.
    pub batch_size: Option<u32>,
    /// HTTP status, where it says more than `status` (a proxy's 502).
    pub http_status: Option<u16>,
    /// The deadline the client set (`grpc-timeout`), in ns.
    pub timeout_ns: Option<u64>,
    /// As in [`Http::unknown_name`].
    pub unknown_name: Option<u64>,
    /// As in [`Http::exported_kinds`].
    pub exported_kinds: ExportedKinds,
}

/// A call to a database
/// (<https://opentelemetry.io/docs/specs/semconv/database/database-spans/>).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Db {
    /// `db.system.name`: `postgresql`, `mysql`, `redis`.
    pub system: &'static str,
    /// `db.namespace`: the database, as the client chose it.
    pub namespace: Option<CompactString>,
    /// `db.collection.name`: the table, where the call names one.
    pub collection: Option<CompactString>,
    /// `db.operation.name`: the command or the statement's first word.
    pub operation: Option<CompactString>,
    /// `db.operation.batch.size`, where there are several.
    pub batch_size: Option<u32>,
    /// `db.query.summary`: of low cardinality.
    pub summary: Option<CompactString>,
    /// `db.query.text`, without literals.
    pub text: Option<CompactString>,
    /// What was asked is not known: it was prepared before anything was seen of the connection.
    pub text_unknown: bool,
    /// `db.stored_procedure.name`.
    pub procedure: Option<CompactString>,
    /// `db.response.status_code`: the code of an error, as the system has it.
    pub status: Option<CompactString>,
    /// The response says that the call failed.
    pub failed: bool,
    /// `db.response.returned_rows`.
    pub returned_rows: Option<u64>,
    /// The request that it was carried in.
    pub http: Option<Box<Http>>,
}

/// An address of a host.
pub(crate) type Address = IpAddr;

/// A look-up of a name
/// (<https://opentelemetry.io/docs/specs/semconv/dns/dns-metrics/>).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// `dns.question.name`.
    pub question: CompactString,
    /// What is looked up of it: `A`, `AAAA`.
    pub kind: CompactString,
    /// `dns.answers`.
    pub answers: Vec<Address>,
    /// The word of the response code, where that is an error: `NXDOMAIN`.
    pub code: Option<CompactString>,
}

/// A message to or from a broker
/// (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Messaging {
    /// `messaging.system`: `kafka`, `rabbitmq`.
    pub system: &'static str,
    /// `messaging.operation.name`, as the system calls it.
    pub operation: CompactString,
    /// `messaging.operation.type`.
    pub step: MessagingStep,
    /// `messaging.destination.name`.
    pub destination: Option<CompactString>,
    /// `messaging.destination.partition.id`.
    pub partition: Option<CompactString>,
    /// `messaging.consumer.group.name`.
    pub consumer_group: Option<CompactString>,
    /// `messaging.client.id`.
    pub client_id: Option<CompactString>,
    /// `messaging.message.id`, of a single message.
    pub message_id: Option<CompactString>,
    /// Messages; `messaging.batch.message_count`, where there are several, or could be.
    pub messages: Option<u64>,
    /// What is done is always done with a batch.
    pub is_batch: bool,
    /// `messaging.message.body.size`, of a single message.
    pub body_bytes: Option<u64>,
    /// `messaging.destination.template`: of low cardinality.
    pub template: Option<CompactString>,
    /// The destination's name may be one of many.
    pub varies: bool,
    /// The destination was made up for one client: `messaging.destination.temporary`.
    pub is_temporary: bool,
    /// `messaging.rabbitmq.destination.routing_key`.
    pub routing_key: Option<CompactString>,
    /// `messaging.rabbitmq.message.delivery_tag`.
    pub delivery_tag: Option<u64>,
    /// `messaging.kafka.offset`, of a single message.
    pub offset: Option<i64>,
    /// Contexts that messages carry and that are not the exchange's parent.
    pub links: Vec<TraceParent>,
    /// A message carries the context of who made it.
    pub carries_context: bool,
    /// `error.type`: the code of an error, as the system has it.
    pub error: Option<CompactString>,
    /// The request that it was carried in.
    pub http: Option<Box<Http>>,
    /// The status of the call of gRPC that it was.
    pub call_status: Option<u32>,
}

/// `messaging.operation.type`: what is done with messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessagingStep {
    /// They are given to the broker.
    #[default]
    Send,
    /// They are asked for.
    Receive,
    /// They are handed to who deals with them.
    Process,
    /// The broker is told that they were dealt with.
    Settle,
}
