//! Requests become spans of traces: ids, parents and what says so, and whether a span is kept. Stands between protocols,
//! which tell when a request begins and when it is over, and telemetry, which describes it. No I/O.
//!
//! A request has its ids from its beginning on, so that what is asked while it is answered can name it as its parent: calls within
//! the process ([`parents`]), and the process that answers a call on the same host ([`joins`]). What is told of both ends need not
//! come in the order in which it happened, so a span may have to wait until its place is [settled](Tracer::settles_ns).

mod active;
mod behind;
mod context;
mod decided;
mod deciding;
pub(crate) mod health;
pub(crate) mod ids;
mod joins;
mod messages;
mod open;
mod orphans;
mod parents;
mod polls;
mod pools;
mod recent;
pub(crate) mod sampling;
pub(crate) mod sdks;
mod servers;
mod states;
pub(crate) mod tail;
#[cfg(test)]
mod tests;

use std::collections::{VecDeque, hash_map::Entry};

use rustc_hash::FxHashMap;

use self::{
    active::Active,
    behind::{Behind, Followed},
    ids::Ids,
    joins::{Asked, End, Joins, Request, WAITING_MAX},
    messages::Messages,
    open::{Adopter, Open, Over},
    orphans::{Orphan, Orphans, Sent},
    parents::Parents,
    polls::{Fetched, Polls},
    sampling::{HeadSampling, Sampler},
    sdks::{Paired, Sdks},
    servers::Servers,
    states::States,
};
pub(crate) use self::{
    context::{Context, Evidence, Joined, Met},
    parents::Runtime,
};
use crate::model::{
    exchange::{Exchange, Key, Opened, Polled},
    ids::{ConnectionId, ProcessId},
    net::{ConnectionInfo, Role, Thread},
    probability::Sampled,
    trace_context::{SpanId, TraceId, TraceParent},
};

/// So often it is looked which traces need not wait any more: there can be thousands, and rounds of a tenth of that.
const SWEEP_NS: u64 = 10_000_000;
/// A call that is over waits for so long for its other end to be told.
pub(crate) const MEETING_NS: u64 = joins::PATIENCE_NS;
/// Answered requests that are remembered for calls that go on behind them.
const ANSWERED_MAX: usize = 16_384;
/// Answered requests that are remembered for calls whose place is found behind their end, at the beginning of a process.
const OVER_MAX: usize = 256;

/// The stage.
#[derive(Debug)]
pub(crate) struct Tracer {
    ids: Ids,
    pub(crate) sampling: HeadSampling,
    /// What processes describe by themselves.
    pub sdks: Sdks,
    /// What others have said beside the contexts that came.
    pub states: States,
    /// By the slot of their key: as many as were ever open at a time.
    open: Vec<Option<Open>>,
    /// How many of each trace are, if that is asked for.
    open_of: Option<FxHashMap<TraceId, u32>>,
    parents: Parents,
    messages: Messages,
    polls: Polls,
    servers: Servers,
    joins: Joins,
    /// Servers' spans without a parent whose client may still be told, with their trace.
    served: FxHashMap<Key, (TraceId, SpanId)>,
    /// Traces that may turn out to be parts of others, and until when that is waited for.
    unsettled: FxHashMap<TraceId, u64>,
    /// When it was last looked which of them need not wait any more.
    swept_ns: u64,
    /// Spans that need not wait at this moment may have been let go.
    now_ns: u64,
    /// When requests were answered that calls were made for.
    answered: FxHashMap<Key, u64>,
    answered_order: VecDeque<Key>,
    orphans: Orphans,
    joined: Vec<Joined>,
    met: Vec<Met>,
    /// Traces that turned out to be no parts of others.
    settled: Vec<TraceId>,
    /// Requests that are over, and may be found to have made calls.
    over: VecDeque<Over>,
    /// Requests that are over, whose units of work may go on.
    behind: Behind,
    /// What SDKs say of threads.
    active: Active,
}

impl Tracer {
    /// The stage, with nothing open.
    #[must_use]
    pub(crate) fn new(ids: Ids, sampler: Sampler) -> Self {
        Self {
            ids,
            sampling: HeadSampling::new(sampler),
            sdks: Sdks::default(),
            states: States::default(),
            open: Vec::new(),
            open_of: None,
            parents: Parents::default(),
            messages: Messages::default(),
            polls: Polls::default(),
            servers: Servers::default(),
            joins: Joins::default(),
            served: FxHashMap::default(),
            unsettled: FxHashMap::default(),
            swept_ns: 0,
            now_ns: 0,
            answered: FxHashMap::default(),
            answered_order: VecDeque::new(),
            orphans: Orphans::default(),
            joined: Vec::new(),
            met: Vec::new(),
            settled: Vec::new(),
            over: VecDeque::new(),
            behind: Behind::default(),
            active: Active::default(),
        }
    }

    /// Takes up another sampler. `has_several`: services have samplers of their own.
    pub(crate) fn set_sampler(&mut self, sampler: Sampler, has_several: bool) {
        self.sampling.set(sampler, has_several);
    }

    /// Requests that are open.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.open.iter().flatten().count()
    }

    /// A process is of a program whose threads serve one request each, though their sockets do not block.
    pub(crate) fn trust_threads(&mut self, tgid: ProcessId) {
        self.parents.trust_threads(tgid);
    }

    /// What is known by now of a process's runtime.
    pub(crate) fn set_runtime(&mut self, tgid: ProcessId, runtime: Runtime) {
        self.parents.set_runtime(tgid, runtime);
    }

    /// A process was forked, with all that its parent has in its memory.
    pub(crate) fn on_fork(&mut self, parent: ProcessId, child: ProcessId) {
        let runtime = self.parents.runtime(parent);
        self.parents.set_runtime(child, runtime);
    }

    /// Whether it is asked which traces have open requests.
    pub(crate) fn count_open(&mut self, counts: bool) {
        self.open_of = counts.then(FxHashMap::default);
        for open in self.open.iter().flatten() {
            add_open(&mut self.open_of, open.trace_id);
        }
    }

    /// Whether a request of a trace is open, if that is [counted](Self::count_open).
    #[must_use]
    pub(crate) fn is_open(&self, trace_id: TraceId) -> bool {
        self.open_of.as_ref().is_some_and(|open_of| open_of.contains_key(&trace_id))
    }

    /// A process has ended.
    pub(crate) fn on_exit(&mut self, tgid: ProcessId) {
        self.servers.remove(tgid);
        self.sdks.remove(tgid);
        self.parents.set_runtime(tgid, Runtime::NotRead);
        self.messages.on_exit(tgid);
        self.polls.on_exit(tgid);
    }

    /// A request has begun. `environment`: with what its process was started, which is asked of one that has not answered any request
    /// so far and makes this one for nobody.
    pub(crate) fn on_opened(
        &mut self,
        connection: &ConnectionInfo,
        opened: &Opened,
        environment: impl FnOnce() -> Option<TraceParent>,
    ) {
        let span_id = self.ids.span_id();
        let request = Request::of(connection, opened);
        let open = match opened.role {
            Role::Client => {
                let mut opened = *opened;
                self.parents.asks(connection.id, &mut opened);
                let open = self.on_call(connection, &opened, span_id, request, environment);
                if opened.is_message && open.cause.is_none() {
                    self.messages.on_delivered(connection, &opened);
                }
                open
            }
            Role::Server => self.on_request(connection, opened, span_id, request),
        };
        add_open(&mut self.open_of, open.trace_id);
        let slot = opened.key.slot();
        if slot >= self.open.len() {
            self.open.resize(slot + 1, None);
        }
        if let Some(place) = self.open.get_mut(slot)
            && let Some(before) = place.replace(open)
        {
            remove_open(&mut self.open_of, before.trace_id);
        }
    }

    fn on_call(
        &mut self,
        connection: &ConnectionInfo,
        opened: &Opened,
        span_id: SpanId,
        request: Option<Request>,
        environment: impl FnOnce() -> Option<TraceParent>,
    ) -> Open {
        let Opened { key, thread, parent: carried, is_health_check, .. } = *opened;
        let is_blocking = connection.is_blocking;
        self.parents.on_call(opened);
        let active = self.active_span(opened);
        let cause = match active {
            Some(_) => None,
            None => self.parents.of_call(opened, is_blocking).or_else(|| self.of_message(opened, is_blocking)),
        };
        let cause = cause.and_then(|(key, evidence)| Some((self.cause(key)?, evidence)));
        let paired = match carried.filter(|_| cause.is_none()) {
            None => self.sdks.of_bare_call(thread.tgid),
            Some(carried) => {
                let continues = self.parents.continues(thread.tgid, carried);
                let alone = self.parents.alone(thread.tgid).filter(|alone| alone.trace_id != carried.trace_id);
                self.sdks.of_call(thread.tgid, carried, continues, alone, opened.start_ns)
            }
        };
        let is_open = cause.is_none() && active.is_none();
        let followed = if is_open && carried.is_none() { self.behind.of_call(thread) } else { None };
        let fetched = if is_open && followed.is_none() { self.of_poll(connection, opened) } else { None };
        let followed = followed.or(fetched.filter(|fetched| !fetched.is_batch).map(|fetched| fetched.followed));
        let poll = fetched.filter(|fetched| fetched.is_batch);
        let poll = poll.map(|Fetched { followed, .. }| (followed.trace_id, followed.span_id));
        let (trace_id, parent, remote) = match (cause, followed, carried) {
            (Some((cause, evidence)), ..) => (cause.trace_id, cause.below(evidence), cause.remote),
            (None, Some(followed), _) => (followed.trace_id, None, followed.remote),
            (None, None, carried) => {
                let given = || if self.servers.contains(thread.tgid) { None } else { environment() };
                let evidence = if active.is_some() { Evidence::Sdk } else { Evidence::Header };
                match carried.or(active).or_else(given) {
                    Some(remote) => (remote.trace_id, Some((remote.span_id, evidence)), Some(remote)),
                    None => (self.ids.trace_id(), None, None),
                }
            }
        };
        let is_for_one =
            cause.map(|(cause, _)| cause.is_health_check).or(followed.map(|followed| followed.is_health_check));
        let is_health_check = is_health_check || is_for_one == Some(true);
        let link = followed.map(|followed| followed.span_id);
        if parent.is_none() && cause.is_none() && link.is_none() && poll.is_none() {
            let is_late = self.parents.may_come(opened);
            let is_doubtful = self.parents.is_doubtful(thread);
            let had_request = self.parents.has_request(thread);
            let numbered = self.parents.numbered(connection.id, opened);
            let meant = self.parents.meant(opened, is_blocking);
            let orphan = Orphan { opened: *opened, trace_id, span_id, is_doubtful, had_request, numbered, meant };
            let until_ns = self.orphans.on_call(orphan, is_late);
            if let Some(until_ns) = until_ns {
                self.unsettle(trace_id, until_ns);
            }
        }
        // Behind that: what its server has asked in turn waits as long as it does.
        let context = Context {
            trace_id,
            span_id,
            parent,
            link,
            poll,
            remote,
            flags: 0,
            sampled: Sampled::NOTHING,
            is_decided: false,
            is_health_check,
            paired,
            other_end: None,
            read_ns: None,
        };
        let end = End { key, tgid: thread.tgid, start_ns: opened.start_ns };
        let server = request.and_then(|request| self.joins.on_asked(request, context, end, carried));
        let (other_end, read_ns) = (server.map(|server| server.tgid), server.map(|server| server.start_ns));
        if let Some(server) = server {
            self.meet(server.key, end);
            self.join_served(server.key, &context, thread.tgid);
        }
        let cause = cause.map(|(cause, _)| cause.key);
        let has_calls = false;
        Open {
            key,
            trace_id,
            span_id,
            parent,
            cause,
            link,
            poll,
            remote,
            request,
            has_calls,
            is_health_check,
            paired,
            other_end,
            read_ns,
            decision: None,
        }
    }

    /// The message that a call is made for.
    fn of_message(&mut self, call: &Opened, is_blocking: bool) -> Option<(Key, Evidence)> {
        if self.messages.is_empty() {
            return None;
        }
        let Opened { thread, parent: carried, is_message, .. } = *call;
        // Tasks share their thread, and a request may be what it is made for.
        let is_threads = matches!(self.parents.runtime(thread.tgid), Runtime::MayHaveTasks | Runtime::Other);
        if is_message || carried.is_some() || self.parents.has_request(thread) {
            return None;
        }
        Some((self.messages.of_call(call, is_blocking && is_threads)?, Evidence::Thread))
    }

    /// A thread has received what was asked a broker for.
    pub(crate) fn on_polled(&mut self, connection: ConnectionId, polled: &Polled) {
        let brought = polled.brought.and_then(|key| self.get(key)).copied();
        // One that is made for a request has that for its trace.
        let followed = brought.filter(|open| open.cause.is_none() && open.parent.is_none());
        let is_unclear = polled.is_unclear || polled.brought.is_some() && followed.is_none();
        let followed = followed.map(|Open { trace_id, span_id, remote, is_health_check, .. }| Followed {
            trace_id,
            span_id,
            remote,
            is_health_check,
        });
        self.polls.on_polled(connection, &Polled { is_unclear, ..*polled }, followed);
    }

    /// The messages that a call follows from.
    fn of_poll(&mut self, connection: &ConnectionInfo, call: &Opened) -> Option<Fetched> {
        let Opened { thread, parent: carried, is_message, .. } = *call;
        if is_message || carried.is_some() || self.parents.has_request(thread) {
            return None;
        }
        let is_threads = matches!(self.parents.runtime(thread.tgid), Runtime::MayHaveTasks | Runtime::Other);
        self.polls.of_call(connection.id, call, connection.is_blocking && is_threads)
    }

    /// The other end of a request is told. Gives whether that is open still.
    fn meet(&mut self, key: Key, other_end: End) -> bool {
        let open = self.open.get_mut(key.slot()).and_then(|open| open.as_mut());
        let Some(open) = open.filter(|open| open.key == key) else { return false };
        (open.other_end, open.read_ns) = (Some(other_end.tgid), Some(other_end.start_ns));
        true
    }

    fn on_request(
        &mut self,
        connection: &ConnectionInfo,
        opened: &Opened,
        span_id: SpanId,
        request: Option<Request>,
    ) -> Open {
        let Opened { key, start_ns, parent: carried, is_health_check, .. } = *opened;
        self.parents.on_request(connection, opened);
        self.servers.insert(opened.thread.tgid);
        let end = End { key, tgid: opened.thread.tgid, start_ns };
        let asked = request.and_then(|request| self.joins.on_served(request, end, start_ns, connection));
        let other_end = asked.map(|asked| asked.end.tgid);
        if let Some(Asked { end: client, context: Context { trace_id, span_id, .. }, .. }) = asked
            && !self.meet(client.key, end)
            && self.met.len() < WAITING_MAX
        {
            self.met.push(Met { trace_id, span_id, other_end: end.tgid, read_ns: end.start_ns });
        }
        // A client that hands on what it was given stands in between; else what it has written is its own span, or its SDK's.
        // What is described is not told, and what may be perhaps not: its span is the SDK's, by the header.
        let asked = asked
            .filter(|asked| (carried.is_none() || carried == asked.carried) && asked.context.paired == Paired::Alone);
        let paired = self.sdks.of_request(opened.thread.tgid, start_ns);
        let (trace_id, parent, remote) = match (asked, carried) {
            (Some(Asked { context, .. }), _) => {
                (context.trace_id, Some((context.span_id, Evidence::Connection)), context.remote)
            }
            (None, Some(carried)) => (carried.trace_id, Some((carried.span_id, Evidence::Header)), Some(carried)),
            (None, None) => (self.ids.trace_id(), None, None),
        };
        let is_health_check = is_health_check || asked.is_some_and(|asked| asked.context.is_health_check);
        let mut open = Open {
            key,
            trace_id,
            span_id,
            parent,
            cause: None,
            link: None,
            poll: None,
            remote,
            request: None,
            has_calls: false,
            is_health_check,
            paired,
            other_end,
            read_ns: None,
            decision: None,
        };
        if parent.is_none()
            && let Some(until_ns) = request.and_then(|request| self.joins.waits(request, key))
        {
            self.served.insert(key, (trace_id, span_id));
            if joins::is_local(connection) {
                self.unsettle(trace_id, until_ns);
            }
        }
        // Behind that: calls that are taken up wait as long as it does.
        open.has_calls = self.adopt(opened, open.adopter());
        open
    }

    /// A client was told after its server: that and all below it are of its trace.
    fn join_served(&mut self, server: Key, client: &Context, client_tgid: ProcessId) {
        let Some((before, span_id)) = self.served.remove(&server) else { return };
        if !self.waits(before) && self.get(server).is_none_or(|open| open.has_calls) {
            return;
        }
        let Context { trace_id, span_id: parent, remote, is_health_check, .. } = *client;
        let (parent, other_end) = ((parent, Evidence::Connection), Some(client_tgid));
        self.join(
            Joined { span_id, parent, before, trace_id, remote, settles_ns: 0, is_health_check, other_end },
            None,
        );
    }

    /// A request was told after calls that are made for it, as it is where it is certain only with its response that it is one.
    /// Gives whether there are such.
    fn adopt(&mut self, request: &Opened, adopter: Adopter) -> bool {
        let Adopter { trace_id, remote, is_health_check, parent: Some(_), .. } = adopter else { return false };
        let parents = &self.parents;
        let adopted = self.orphans.adopted(request.thread.tgid, request.start_ns, |call| {
            let (key, evidence) = parents.of_call(call, false)?;
            // What else was going on then is not known for certain.
            (key == request.key && evidence != Evidence::SoleRequest).then_some(evidence)
        });
        let has_calls = !adopted.is_empty();
        for (orphan, evidence) in adopted {
            let Orphan { trace_id: before, span_id, .. } = orphan;
            let Some(parent) = adopter.parent(evidence).filter(|_| self.waits(before)) else { continue };
            let (settles_ns, other_end) = (0, None);
            let joined = Joined { span_id, parent, before, trace_id, remote, settles_ns, is_health_check, other_end };
            self.join(joined, Some(request.key));
        }
        has_calls
    }

    /// The response to a request begins, written by a thread that carries on a unit of work.
    pub(crate) fn on_answered(&mut self, key: Key, thread: Thread) {
        let Some(tgid) = self.parents.on_response(key, thread) else { return };
        self.find_orphans(tgid, thread.work);
    }

    /// It is known of one request more which unit of work answers it, or that none does.
    fn find_orphans(&mut self, tgid: ProcessId, work: u64) {
        let Self { parents, orphans, over, .. } = self;
        let looks_back = parents.looks_back(tgid) || over.iter().any(|over| over.tgid == tgid);
        let found = orphans.found(tgid, (!looks_back).then_some(work), |call, end_ns| {
            let (key, evidence) = parents.of_call(call, false)?;
            // What went on behind its end is not part of it.
            let over = over.iter().find(|over| over.key == key);
            over.is_none_or(|over| end_ns.is_some_and(|end_ns| end_ns <= over.end_ns)).then_some((key, evidence))
        });
        found.iter().for_each(|(orphan, (key, evidence))| self.take_up(orphan, *key, *evidence));
        if !self.parents.looks_back(tgid) {
            self.over.retain(|over| over.tgid != tgid);
        }
    }

    /// A call that waited is made for a request, as is known by its unit of work.
    fn take_up(&mut self, orphan: &Orphan, key: Key, evidence: Evidence) {
        let Orphan { trace_id: before, span_id, .. } = *orphan;
        let adopter = self.cause(key).as_ref().map(Open::adopter).or_else(|| {
            let over = self.over.iter().find(|over| over.key == key);
            over.map(|over| over.adopter)
        });
        let adopter = adopter.filter(|_| self.waits(before));
        let Some((parent, adopter)) = adopter.and_then(|it| Some((it.parent(evidence)?, it))) else {
            self.settle(before);
            return;
        };
        let Adopter { trace_id, remote, is_health_check, .. } = adopter;
        let (settles_ns, other_end) = (0, None);
        let joined = Joined { span_id, parent, before, trace_id, remote, settles_ns, is_health_check, other_end };
        self.join(joined, Some(key));
    }

    /// A unit of work, begun then for another as `Thread::begun_ns` says, has a call sent that another one writes, or has written by now.
    pub(crate) fn on_asked(&mut self, tgid: ProcessId, connection: ConnectionId, number: u64, by: (u64, u64)) {
        let Self { orphans, parents, .. } = self;
        match orphans.asked(tgid, (connection, number), by, |call| Some(parents.of_call(call, false)?.0)) {
            Sent::Unknown => self.parents.on_asked(tgid, connection, number, by),
            Sent::Waits => {}
            Sent::Found(orphan, key) => self.take_up(&orphan, key, Evidence::Task),
        }
    }

    /// Whether a trace may be made part of another: all of its spans are here still, so that none is left behind with the number that it
    /// had before.
    fn waits(&self, trace_id: TraceId) -> bool {
        self.unsettled.get(&trace_id).is_some_and(|until_ns| *until_ns > self.now_ns)
    }

    /// A span is let go, as there is no room for it to wait: its trace is what was said.
    pub(crate) fn let_go(&mut self, context: &Context) {
        self.unsettled.remove(&context.trace_id);
    }

    /// A trace is no part of another.
    fn settle(&mut self, trace_id: TraceId) {
        if self.unsettled.remove(&trace_id).is_some() {
            self.settled.push(trace_id);
        }
    }

    fn join(&mut self, joined: Joined, cause: Option<Key>) {
        let Joined { span_id, parent, before, trace_id, remote, is_health_check, .. } = joined;
        self.unsettled.remove(&before);
        let settles_ns = self.unsettled.get(&trace_id).copied().unwrap_or_default();
        for open in self.open.iter_mut().flatten() {
            if open.trace_id == trace_id
                && let Some(decision) = open.decision
            {
                self.sampling.remember(trace_id, decision);
            }
            if open.trace_id == before {
                (open.trace_id, open.remote, open.decision) = (trace_id, remote, None);
                open.is_health_check |= is_health_check;
                remove_open(&mut self.open_of, before);
                add_open(&mut self.open_of, trace_id);
            }
            if let Some((poll, _)) = &mut open.poll
                && *poll == before
            {
                *poll = trace_id;
            }
            if open.span_id == span_id {
                open.parent = Some(parent);
                open.cause = open.cause.or(cause);
            }
        }
        for Over { adopter, .. } in self.over.iter_mut().filter(|over| over.adopter.trace_id == before) {
            (adopter.trace_id, adopter.remote) = (trace_id, remote);
            adopter.is_health_check |= is_health_check;
        }
        self.joins.rename(before, trace_id, remote, is_health_check);
        self.behind.rename(before, trace_id, remote, is_health_check);
        self.polls.rename(before, trace_id, remote, is_health_check);
        self.joined.push(Joined { settles_ns, ..joined });
    }

    /// A request that a call is made for.
    fn cause(&mut self, key: Key) -> Option<Open> {
        let open = self.open.get_mut(key.slot())?.as_mut().filter(|open| open.key == key)?;
        if let (false, Some(decision)) = (open.has_calls, open.decision) {
            self.sampling.remember(open.trace_id, decision);
        }
        open.has_calls = true;
        Some(*open)
    }

    fn get(&self, key: Key) -> Option<&Open> {
        self.open.get(key.slot())?.as_ref().filter(|open| open.key == key)
    }

    /// A request is over. Gives its place; whether its span is kept is [decided](Self::sample) when its service is known.
    pub(crate) fn on_finished(&mut self, key: Key, exchange: &Exchange) -> Context {
        let open = self.open.get_mut(key.slot()).and_then(|place| place.take_if(|open| open.key == key));
        if exchange.role == Role::Server {
            let looks_back = self.parents.looks_back(exchange.thread.tgid);
            let done = self.parents.on_answered(key, exchange.response_tid, exchange.end_ns);
            if (done.is_some() || looks_back && self.orphans.has_late(exchange.thread.tgid))
                && let Some(Open { trace_id, decision: Some(decision), .. }) = open
            {
                // Something may be found to belong to it.
                self.sampling.remember(trace_id, decision);
            }
            if let (Some(done), Some(open)) = (done, open.filter(|open| open.paired == Paired::Alone)) {
                let Open { trace_id, span_id, remote, is_health_check, .. } = open;
                self.behind.on_over(done, Followed { trace_id, span_id, remote, is_health_check });
            }
            if open.is_none_or(|open| open.has_calls) {
                self.remember(key, exchange.end_ns);
            }
            if looks_back {
                self.look_back(key, open.as_ref(), exchange);
            }
            self.find_meant(key, open.as_ref(), exchange);
        }
        if self.messages.on_over(key, exchange.end_ns) && open.is_some_and(|open| open.has_calls) {
            self.remember(key, exchange.end_ns);
        }
        let carried = exchange.parent;
        let Some(open) = open else { return self.context_of_unknown(carried) };
        remove_open(&mut self.open_of, open.trace_id);
        if let Some(request) = open.request {
            self.joins.on_over(request, exchange.end_ns);
        }
        if exchange.role == Role::Client
            && let Some(until_ns) = self.orphans.on_over(exchange.thread.tgid, key, exchange.end_ns)
        {
            self.unsettle(open.trace_id, until_ns);
        }
        let (mut trace_id, mut parent, mut remote) = (open.trace_id, open.parent, open.remote);
        // It may have been found to carry a context only when all of it was known: not where others have taken up what was said before.
        let is_alone = !open.has_calls && open.other_end.is_none();
        if let (None, Some(carried), true) = (parent, carried, is_alone) {
            (trace_id, parent) = (carried.trace_id, Some((carried.span_id, Evidence::Header)));
            remote = Some(carried);
        }
        // What goes on behind the end of its request is not part of it.
        let outlives = open.cause.is_some_and(|cause| self.was_answered(cause, exchange.end_ns));
        let link = if outlives { parent.take().map(|(cause, _)| cause) } else { open.link };
        let flags = remote.map_or(0, |remote| remote.flags & !1);
        let Open { span_id, poll, is_health_check, paired, other_end, read_ns, .. } = open;
        let read_ns = read_ns.filter(|_| exchange.role == Role::Client);
        // Unless it was found to be part of another.
        let decision = open.decision.filter(|_| trace_id == open.trace_id && parent.is_none());
        let flags = flags & !1 | u8::from(decision.is_some_and(|decision| decision.is_kept));
        let (is_decided, sampled) = (decision.is_some(), decision.unwrap_or_default().sampled);
        Context {
            trace_id,
            span_id,
            parent,
            link,
            poll,
            remote,
            flags,
            sampled,
            is_decided,
            is_health_check,
            paired,
            other_end,
            read_ns,
        }
    }

    /// A request is over whose process had not proven yet that its units of work are not shared. Calls may be found to have been made for
    /// it, or for another now that this one is out of the question.
    fn look_back(&mut self, key: Key, open: Option<&Open>, exchange: &Exchange) {
        let tgid = exchange.thread.tgid;
        if !self.orphans.has_late(tgid) {
            return;
        }
        self.keep_over(key, open, exchange);
        self.find_orphans(tgid, 0);
    }

    /// One that was not told when it began.
    fn context_of_unknown(&mut self, carried: Option<TraceParent>) -> Context {
        let trace_id = carried.map_or_else(|| self.ids.trace_id(), |carried| carried.trace_id);
        let parent = carried.map(|carried| (carried.span_id, Evidence::Header));
        let flags = carried.map_or(0, |carried| carried.flags & !1);
        Context {
            trace_id,
            span_id: self.ids.span_id(),
            parent,
            link: None,
            poll: None,
            remote: carried,
            flags,
            sampled: Sampled::NOTHING,
            is_decided: false,
            is_health_check: false,
            paired: Paired::Alone,
            other_end: None,
            read_ns: None,
        }
    }

    fn remember(&mut self, key: Key, end_ns: u64) {
        self.answered.insert(key, end_ns);
        self.answered_order.push_back(key);
        if self.answered_order.len() > ANSWERED_MAX
            && let Some(oldest) = self.answered_order.pop_front()
        {
            self.answered.remove(&oldest);
        }
    }

    /// Whether a request was answered before that moment.
    fn was_answered(&self, key: Key, at_ns: u64) -> bool {
        match self.answered.get(&key) {
            Some(&end_ns) => end_ns < at_ns,
            None => self.get(key).is_none(),
        }
    }

    /// A trace may turn out to be part of another. Of too many at once it is not waited for.
    fn unsettle(&mut self, trace_id: TraceId, until_ns: u64) {
        if self.unsettled.len() < WAITING_MAX {
            self.unsettled.insert(trace_id, until_ns);
        }
    }

    /// Until when the place of a span may turn out to be another; `None`: it is certain.
    #[must_use]
    pub(crate) fn settles_ns(&self, context: &Context) -> Option<u64> {
        if self.unsettled.is_empty() {
            return None;
        }
        self.unsettled.get(&context.trace_id).copied()
    }

    /// Ends the waiting of those who have waited long enough. To be called in each round.
    pub(crate) fn on_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        let Self { joins, served, .. } = self;
        joins.on_time(now_ns, |key| {
            served.remove(&key);
        });
        let Self { orphans, parents, .. } = self;
        let mut given_up: Vec<TraceId> = Vec::new();
        let mut background: Vec<(Thread, u64, bool)> = Vec::new();
        orphans.on_time(
            now_ns,
            |tgid| parents.oldest_unknown_ns(tgid),
            |orphan| {
                given_up.push(orphan.trace_id);
                if !orphan.is_doubtful {
                    background.push((orphan.opened.thread, orphan.opened.start_ns, orphan.had_request));
                }
            },
        );
        for (thread, start_ns, had_request) in background {
            parents.on_background(thread, start_ns, had_request);
        }
        for trace_id in given_up {
            self.settle(trace_id);
        }
        if !self.unsettled.is_empty() && now_ns.saturating_sub(self.swept_ns) >= SWEEP_NS {
            self.swept_ns = now_ns;
            self.unsettled.retain(|_, until_ns| *until_ns > now_ns);
        }
    }

    /// What turned out to be otherwise than it was said, since the last call.
    pub(crate) fn take_joined(&mut self) -> Vec<Joined> {
        std::mem::take(&mut self.joined)
    }

    /// Calls whose other end was told behind their own end, since the last call.
    pub(crate) fn take_met(&mut self) -> Vec<Met> {
        std::mem::take(&mut self.met)
    }

    /// Traces that turned out to be no parts of others before it was time, since the last call.
    pub(crate) fn take_settled(&mut self) -> Vec<TraceId> {
        std::mem::take(&mut self.settled)
    }
}

fn add_open(open_of: &mut Option<FxHashMap<TraceId, u32>>, trace_id: TraceId) {
    if let Some(open_of) = open_of {
        *open_of.entry(trace_id).or_default() += 1;
    }
}

fn remove_open(open_of: &mut Option<FxHashMap<TraceId, u32>>, trace_id: TraceId) {
    if let Some(open_of) = open_of
        && let Entry::Occupied(mut entry) = open_of.entry(trace_id)
    {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
