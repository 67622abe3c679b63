//! Matching responses with requests.

use std::mem;

use compact_str::CompactString;

use super::{
    NAME, api,
    batch::Records,
    fields::Fields,
    handed::Handed,
    length,
    offsets::Offsets,
    recognise,
    request::{self, Commit, Head, Produce, Topic},
    response,
};
use crate::{
    model::{
        exchange::{
            Exchange, Group, Inside, Key, Messaging, MessagingStep, Opened, Operation, Outcome, Pattern, Place, Polled,
        },
        ids::ThreadId,
        net::{Direction, Role, Thread},
        trace_context::TraceParent,
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Recognition, Session,
        matching::{InOrder, Kept, Limits},
        sized::{Cursor, Frame, Framed, Length},
    },
};

/// Requests that may wait for their response at a time: clients have five.
const LIMITS: Limits = Limits { requests: 1024, bytes: 1 << 20 };
/// Bytes kept of a request, and of a response: as much as is captured of them.
const KEEP: [usize; 2] = [512 << 10, 64 << 10];

/// One connection.
pub(super) struct Kafka {
    role: Role,
    requests: Direct,
    responses: Direct,
    open: InOrder<Open>,
    offsets: Offsets,
    handed: Handed,
    /// A request of it was read.
    has_asked: bool,
    group: Member,
    anomalies: Anomalies,
}

/// A direction.
struct Direct {
    framed: Framed,
    /// It is not known where the next message begins.
    is_lost: bool,
}

impl Direct {
    fn new(keep: usize) -> Self {
        Self { framed: Framed::new(length, keep), is_lost: false }
    }
}

/// The group that the connection's requests are of.
enum Member {
    Unknown,
    Of(CompactString),
    /// They are of several.
    OfSeveral,
}

impl Member {
    fn learn(&mut self, group: CompactString) {
        match self {
            Self::Unknown => *self = Self::Of(group),
            Self::Of(before) if *before != group => *self = Self::OfSeveral,
            Self::Of(_) | Self::OfSeveral => {}
        }
    }

    fn get(&self) -> Option<CompactString> {
        if let Self::Of(group) = self { Some(group.clone()) } else { None }
    }
}

/// Where and when a request began.
#[derive(Clone, Copy, Debug)]
struct Began {
    at_ns: u64,
    thread: Thread,
}

/// A request that waits for its response.
struct Open {
    head: Head,
    began: Began,
    asked: Asked,
}

/// What a request is about.
enum Asked {
    /// Messages were sent, to a partition each.
    Sent(Vec<Told>),
    Fetch {
        is_replica: bool,
    },
    Commit(Box<Told>),
    /// Nothing that is told.
    Other,
}

/// An exchange that has begun.
struct Told {
    key: Key,
    topic: Option<Topic>,
    partition: i32,
    parent: Option<TraceParent>,
    /// Not all that is told of it is known, since bytes were lost.
    is_lost: bool,
    messaging: Box<Messaging>,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        let of = |told: &Told| {
            let links = told.messaging.links.len() * size_of::<TraceParent>();
            size_of::<Told>() + size_of::<Messaging>() + links + 512
        };
        match &self.asked {
            Asked::Sent(sent) => sent.iter().map(of).sum(),
            Asked::Commit(told) => of(told),
            Asked::Fetch { .. } | Asked::Other => 0,
        }
    }
}

impl Open {
    fn told(&self) -> &[Told] {
        match &self.asked {
            Asked::Sent(sent) => sent,
            Asked::Commit(told) => std::slice::from_ref(told),
            Asked::Fetch { .. } | Asked::Other => &[],
        }
    }
}

/// How one is over.
#[derive(Clone, Copy)]
struct Ended {
    outcome: Outcome,
    pattern: Pattern,
    first_byte_ns: Option<u64>,
    end_ns: u64,
}

impl Kafka {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            requests: Direct::new(KEEP[0]),
            responses: Direct::new(KEEP[1]),
            open: InOrder::new(LIMITS),
            offsets: Offsets::default(),
            handed: Handed::default(),
            has_asked: false,
            group: Member::Unknown,
            anomalies: Anomalies::default(),
        }
    }

    // ---- requests

    fn on_request(&mut self, frame: &Frame<'_>, out: &mut Output) {
        let Some((head, fields)) = request::head(frame.reader()) else {
            self.anomalies.requests_lost += u64::from(frame.lost);
            return;
        };
        if !self.open.has_room() {
            self.anomalies.over_limit += 1;
            self.anomalies.requests_lost += 1;
            return;
        }
        if let Some(group) = request::group(&head, fields) {
            self.group.learn(group);
        }
        let began = Began { at_ns: frame.at_ns, thread: frame.thread };
        if self.role == Role::Client && !mem::replace(&mut self.has_asked, true) {
            let (thread, at_ns) = (frame.thread, frame.at_ns);
            let (brought, is_batch, is_unclear, is_first) = (None, false, false, true);
            out.poll(Polled { thread, at_ns, brought, is_batch, is_unclear, is_first });
        }
        let asked = match head.key {
            api::PRODUCE => {
                let produce = request::produce(head.version, fields);
                if produce.is_one_way {
                    let ended = Ended {
                        outcome: Outcome::Complete,
                        pattern: Pattern::OneWay,
                        first_byte_ns: None,
                        end_ns: frame.end_ns,
                    };
                    for told in self.send(&head, began, produce, frame.lost, out) {
                        let ended = if told.is_lost { Ended { outcome: Outcome::Unseen, ..ended } } else { ended };
                        self.tell(told, began, ended, out);
                    }
                    return;
                }
                Asked::Sent(self.send(&head, began, produce, frame.lost, out))
            }
            api::FETCH => {
                let fetch = request::fetch(head.version, fields);
                self.anomalies.requests_lost += self.offsets.on_request(&fetch);
                self.handed.on_request(&fetch);
                Asked::Fetch { is_replica: fetch.is_replica }
            }
            api::OFFSET_COMMIT => {
                let commit = request::commit(head.version, fields);
                Asked::Commit(Box::new(self.commit(&head, began, commit, frame.lost, out)))
            }
            _ => Asked::Other,
        };
        self.open.push(Open { head, began, asked });
    }

    fn send(&self, head: &Head, began: Began, produce: Produce, lost: bool, out: &mut Output) -> Vec<Told> {
        let mut all: Vec<Told> = Vec::new();
        for (nth, sent) in produce.sent.into_iter().enumerate() {
            let Records { messages, body_bytes, contexts, .. } = sent.records;
            let mut messaging = self.messaging("send", MessagingStep::Send, head, began.thread, Some(&sent.topic), out);
            messaging.partition = Some(compact_str::format_compact!("{}", sent.partition));
            (messaging.messages, messaging.body_bytes) = (messages, body_bytes);
            // One context is that of who sends; of several each is linked.
            let parent = if let [context] = contexts[..] { Some(context) } else { None };
            messaging.carries_context = !contexts.is_empty();
            messaging.links = if parent.is_some() { Vec::new() } else { contexts };
            let is_lost = lost && messages.is_none();
            let (topic, partition) = (Some(sent.topic), sent.partition);
            let place = place(head, nth);
            let key = self.open_exchange(began, parent, place, out);
            all.push(Told { key, topic, partition, parent, is_lost, messaging: Box::new(messaging) });
        }
        if produce.is_cut {
            let messaging = self.messaging("send", MessagingStep::Send, head, began.thread, None, out);
            let key = self.open_exchange(began, None, place(head, all.len()), out);
            let (topic, partition, parent) = (None, -1, None);
            all.push(Told { key, topic, partition, parent, is_lost: lost, messaging: Box::new(messaging) });
        }
        all
    }

    fn commit(&mut self, head: &Head, began: Began, commit: Commit, lost: bool, out: &mut Output) -> Told {
        let Commit { group, topic, partition } = commit;
        let mut messaging = self.messaging("commit", MessagingStep::Settle, head, began.thread, topic.as_ref(), out);
        messaging.partition = partition.map(|it| compact_str::format_compact!("{it}"));
        if let Some(group) = group.clone() {
            self.group.learn(group);
        }
        messaging.consumer_group = group;
        let key = self.open_exchange(began, None, place(head, 0), out);
        let (partition, parent) = (partition.unwrap_or(-1), None);
        Told { key, topic, partition, parent, is_lost: lost, messaging: Box::new(messaging) }
    }

    fn messaging(
        &self,
        operation: &'static str,
        step: MessagingStep,
        head: &Head,
        thread: Thread,
        topic: Option<&Topic>,
        out: &Output,
    ) -> Messaging {
        let destination = topic.and_then(|topic| destination(topic, thread, out));
        Messaging {
            system: NAME,
            operation: CompactString::const_new(operation),
            step,
            destination,
            client_id: head.client_id.clone(),
            is_batch: step != MessagingStep::Settle,
            ..Messaging::default()
        }
    }

    fn open_exchange(&self, began: Began, parent: Option<TraceParent>, place: Place, out: &mut Output) -> Key {
        let (role, Began { at_ns: start_ns, thread }) = (self.role, began);
        out.open(|key| Opened { key, role, thread, start_ns, parent, is_health_check: false, is_message: false, place })
    }

    // ---- responses

    fn on_response(&mut self, frame: &Frame<'_>, out: &mut Output) {
        let mut cursor = frame.reader();
        let number = cursor.skip(4).and_then(|()| cursor.u32()).map(u32::cast_signed);
        let Some(place) = number.and_then(|number| self.open.iter().position(|open| open.head.correlation == number))
        else {
            self.anomalies.unmatched_responses += u64::from(number.is_some());
            return;
        };
        // Brokers answer in order: those before it are not answered any more.
        for _ in 0..place {
            self.end_first(Outcome::Unseen, None, frame.at_ns, out);
        }
        let Some(Open { head, began, asked }) = self.open.pop() else { return };
        let is_its = frame.at_ns >= began.at_ns;
        let is_flexible = api::Api::of(head.key, head.version).is_some_and(|api| api.is_flexible(head.version));
        let mut fields = Fields { cursor, is_flexible };
        if is_flexible && head.key != api::API_VERSIONS && fields.tags().is_none() {
            fields.cursor = Cursor::of(&[]);
        }
        let ended = Ended {
            outcome: Outcome::Complete,
            pattern: Pattern::RequestResponse,
            first_byte_ns: Some(frame.at_ns),
            end_ns: frame.end_ns,
        };
        let unseen = Ended { outcome: Outcome::Unseen, first_byte_ns: None, ..ended };
        match asked {
            Asked::Sent(sent) => {
                let taken = response::produce(head.version, fields);
                let is_of = |told: &Told, it: &response::Taken| {
                    told.topic.as_ref() == Some(&it.topic) && it.partition == told.partition
                };
                let named: Vec<(Option<Topic>, i32)> =
                    sent.iter().map(|told| (told.topic.clone(), told.partition)).collect();
                for mut told in sent {
                    let its = taken.as_ref().and_then(|taken| taken.iter().find(|it| is_of(&told, it)));
                    let left_out = taken.as_ref().filter(|_| told.topic.is_none()).and_then(|taken| {
                        let is_named = |it: &&response::Taken| {
                            named.iter().any(|(topic, partition)| {
                                topic.as_ref() == Some(&it.topic) && *partition == it.partition
                            })
                        };
                        LeftOut::of(taken.iter().filter(|it| !is_named(it)))
                    });
                    match (its, left_out) {
                        (Some(its), _) if !told.is_lost && is_its => {
                            told.messaging.error = (its.error != 0).then(|| api::error_name(its.error));
                            let is_one = told.messaging.messages == Some(1) && its.error == 0 && its.offset >= 0;
                            told.messaging.offset = is_one.then_some(its.offset);
                            self.tell(told, began, ended, out);
                        }
                        (None, Some(left_out)) if !told.is_lost && is_its => {
                            let LeftOut { topic, partition, error } = left_out;
                            told.messaging.destination = topic.and_then(|topic| destination(&topic, began.thread, out));
                            told.messaging.partition = partition.map(|it| compact_str::format_compact!("{it}"));
                            told.messaging.error = (error != 0).then(|| api::error_name(error));
                            self.tell(told, began, ended, out);
                        }
                        _ => self.tell(told, began, unseen, out),
                    }
                }
            }
            Asked::Commit(mut told) => {
                let error = response::commit(head.version, fields);
                told.messaging.error = error.filter(|error| *error != 0).map(api::error_name);
                let is_seen = error.is_some() && !told.is_lost && is_its;
                self.tell(*told, began, if is_seen { ended } else { unseen }, out);
            }
            Asked::Fetch { is_replica: false } if is_its => self.on_fetched(&head, began, fields, frame, ended, out),
            Asked::Fetch { .. } | Asked::Other => {
                if head.key == api::METADATA {
                    let learn = |id, name| out.learn_name(began.thread.tgid, id, name);
                    let _as_far_as_it_is_there = response::metadata(head.version, fields, learn);
                }
            }
        }
    }

    fn on_fetched(
        &mut self,
        head: &Head,
        began: Began,
        fields: Fields<'_>,
        frame: &Frame<'_>,
        ended: Ended,
        out: &mut Output,
    ) {
        let fetched = response::fetch(head.version, fields, |topic, partition| self.offsets.get(topic, partition));
        let Frame { lost, thread, at_ns, .. } = *frame;
        self.anomalies.over_limit += u64::from(fetched.is_cut && !lost);
        if fetched.is_cut && self.role == Role::Client {
            self.offsets.leave_rest_uncounted(&fetched.given, frame.len);
        }
        let mut nth = 0;
        let has_messages = |given: &&response::Given| given.records.messages != Some(0);
        let given = fetched.given.iter().filter(has_messages);
        let is_alone = self.handed.on_response(given.clone().map(|given| (&given.topic, given.partition)), at_ns);
        // Of several partitions it is not known which comes first.
        let is_unclear = lost || fetched.is_cut || !is_alone || given.count() > 1;
        let (brought, is_batch, is_first) = (None, false, false);
        let polled = Polled { thread, at_ns: ended.end_ns, brought, is_batch, is_unclear, is_first };
        if self.role == Role::Client && (is_unclear || !fetched.given.iter().any(|given| has_messages(&given))) {
            out.poll(polled);
        }
        for given in fetched.given {
            let topic = Some(&given.topic);
            let mut messaging = self.messaging("poll", MessagingStep::Receive, head, began.thread, topic, out);
            if given.records.messages.is_none() && self.role == Role::Client {
                self.offsets.leave_uncounted(&given);
            }
            let Records { messages, first_offset, body_bytes, contexts } = given.records;
            messaging.partition = Some(compact_str::format_compact!("{}", given.partition));
            messaging.consumer_group = self.group.get();
            (messaging.messages, messaging.body_bytes, messaging.links) = (messages, body_bytes, contexts);
            messaging.offset = first_offset.filter(|_| messages == Some(1));
            messaging.error = (given.error != 0).then(|| api::error_name(given.error));
            let outcome = if lost && messages.is_none() { Outcome::Unseen } else { ended.outcome };
            let brings = self.role == Role::Client && !is_unclear && messages != Some(0);
            let polled = Polled { is_batch: messages != Some(1), ..polled };
            let ended = Ended { outcome, ..ended };
            self.tell_fetched(messaging, began, place(head, nth), ended, brings.then_some(polled), out);
            nth += 1;
        }
        if fetched.error != 0 {
            let mut messaging = self.messaging("poll", MessagingStep::Receive, head, began.thread, None, out);
            messaging.error = Some(api::error_name(fetched.error));
            self.tell_fetched(messaging, began, place(head, nth), ended, None, out);
        }
    }

    fn tell_fetched(
        &self,
        messaging: Messaging,
        began: Began,
        place: Place,
        ended: Ended,
        polled: Option<Polled>,
        out: &mut Output,
    ) {
        let key = self.open_exchange(began, None, place, out);
        if let Some(polled) = polled {
            out.poll(Polled { brought: Some(key), ..polled });
        }
        let messaging = Box::new(messaging);
        let told = Told { key, topic: None, partition: -1, parent: None, is_lost: false, messaging };
        self.tell(told, began, ended, out);
    }

    // ---- ends

    fn tell(&self, told: Told, began: Began, ended: Ended, out: &mut Output) {
        let Ended { outcome, pattern, first_byte_ns, end_ns } = ended;
        let exchange = Exchange {
            role: self.role,
            thread: began.thread,
            start_ns: began.at_ns,
            first_byte_ns: first_byte_ns.filter(|_| outcome != Outcome::Unseen),
            response_tid: ThreadId::NONE,
            end_ns,
            outcome,
            parent: told.parent,
            protocol: NAME,
            pattern,
            operation: Operation::Messaging(told.messaging),
            inside: Inside::default(),
        };
        out.finish(told.key, exchange);
    }

    /// The first that is open is over.
    fn end_first(&mut self, outcome: Outcome, first_byte_ns: Option<u64>, end_ns: u64, out: &mut Output) {
        let Some(Open { began, asked, .. }) = self.open.pop() else { return };
        let first_byte_ns = first_byte_ns.filter(|at_ns| *at_ns >= began.at_ns);
        let pattern = Pattern::RequestResponse;
        let all = match asked {
            Asked::Sent(sent) => sent,
            Asked::Commit(told) => vec![*told],
            Asked::Fetch { .. } | Asked::Other => Vec::new(),
        };
        for told in all {
            let outcome = if told.is_lost { Outcome::Unseen } else { outcome };
            self.tell(told, began, Ended { outcome, pattern, first_byte_ns, end_ns }, out);
        }
    }

    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.anomalies.requests_lost += self.offsets.take_uncounted();
        // The response that is under way, if one is, is the first one's.
        let mut answering = self.responses.framed.began_ns().filter(|_| !self.responses.is_lost);
        while !self.open.is_empty() {
            let first_byte_ns = answering.take().filter(|_| end != End::Forgotten);
            let outcome = match end {
                End::Forgotten => Outcome::Unseen,
                End::Closed | End::Reset if first_byte_ns.is_some() => Outcome::Cut,
                End::Closed | End::Reset => Outcome::NoResponse,
            };
            self.end_first(outcome, first_byte_ns, at_ns, out);
        }
    }

    fn direct(&mut self, is_request: bool) -> &mut Direct {
        if is_request { &mut self.requests } else { &mut self.responses }
    }

    /// A piece comes of a direction whose place is lost. Whether it begins with a message.
    fn is_found(&self, is_request: bool, chunk: &Chunk<'_>) -> bool {
        if chunk.lost {
            return false;
        }
        if is_request {
            return recognise(chunk.data) == Recognition::Request;
        }
        let number = chunk.data.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        let Length::Is(len) = length(chunk.data) else { return false };
        let of = |open: &&Open| number.is_some_and(|number| open.head.correlation == number);
        // What is longer than the piece begins with what nobody is throttled by.
        let begins = |open: &Open| open.head.key == api::FETCH && chunk.data.get(8..12) == Some(&[0; 4][..]);
        self.open.iter().find(of).is_some_and(|open| len == chunk.len() || len > chunk.len() && begins(open))
    }
}

/// A topic's name.
fn destination(topic: &Topic, thread: Thread, out: &Output) -> Option<CompactString> {
    match topic {
        Topic::Name(name) => Some(name.clone()),
        Topic::Id(id) => out.name_of(thread.tgid, *id).cloned(),
    }
}

/// What the response says of partitions that stand in what was not captured of their request.
struct LeftOut {
    /// That of all.
    topic: Option<Topic>,
    /// If it is one.
    partition: Option<i32>,
    /// The first.
    error: i16,
}

impl LeftOut {
    fn of<'a>(mut all: impl Iterator<Item = &'a response::Taken>) -> Option<Self> {
        let first = all.next()?;
        let one = Self { topic: Some(first.topic.clone()), partition: Some(first.partition), error: first.error };
        Some(all.fold(one, |before, it| Self {
            topic: before.topic.filter(|topic| *topic == it.topic),
            partition: None,
            error: if before.error == 0 { it.error } else { before.error },
        }))
    }
}

/// Which of its connection's exchanges one is.
fn place(head: &Head, nth: usize) -> Place {
    Place::Id(u64::from(head.correlation.cast_unsigned()) << 16 | nth as u64)
}

impl Session for Kafka {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        let is_request = direction == self.role.requests();
        if self.direct(is_request).is_lost {
            if !self.is_found(is_request, chunk) {
                self.anomalies.unread[usize::from(!is_request)] += chunk.len();
                return Interest::Parse;
            }
            let direct = self.direct(is_request);
            direct.is_lost = false;
            direct.framed.reset();
        }
        let mut framed = mem::replace(&mut self.direct(is_request).framed, Framed::new(length, 0));
        let mut end = chunk.position;
        let taken = framed.piece(chunk, &mut |frame| {
            end = frame.end();
            if is_request {
                self.on_request(frame, out);
            } else {
                self.on_response(frame, out);
            }
            Some(())
        });
        self.direct(is_request).framed = framed;
        if taken.is_none() {
            self.anomalies.resyncs += 1;
            self.anomalies.unread[usize::from(!is_request)] += chunk.behind(end);
            let direct = self.direct(is_request);
            direct.is_lost = true;
            direct.framed.reset();
            if is_request {
                // What was asked for meanwhile is not known.
                self.anomalies.requests_lost += self.offsets.take_uncounted();
                self.offsets.clear();
            }
            self.handed.lose();
        }
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        (self.requests.is_lost, self.responses.is_lost) = (true, true);
        self.handed.lose();
    }

    fn seeks(&self, direction: Direction) -> bool {
        if direction == self.role.requests() { self.requests.is_lost } else { self.responses.is_lost }
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if direction != self.role.requests() {
            self.end_all(End::Closed, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.end_all(end, at_ns, out);
    }

    fn role(&self) -> Role {
        self.role
    }

    fn open_requests(&self) -> usize {
        self.open.iter().map(|open| open.told().len()).sum()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        self.open.iter().flat_map(Open::told).for_each(|_| each(Group::Messaging, None));
    }

    fn memory(&self) -> usize {
        let framed = self.requests.framed.memory() + self.responses.framed.memory();
        size_of::<Self>() + framed + self.open.memory() + self.offsets.memory() + self.handed.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
