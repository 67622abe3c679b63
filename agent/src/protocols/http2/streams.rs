//! The streams of a connection: requests find their responses here.

use super::{
    super::{
        Anomalies, Output,
        matching::{ByKey, Limits},
    },
    Side,
    head::{First, Head},
    names::UnknownNames,
    stream::{Moved, Stream},
};
use crate::model::{
    exchange::{Exchange, ExportedKinds, Group, Http, Key, Opened, Operation, Outcome, Place},
    net::Role,
};

/// What may be open at once; servers allow 100 to 1000 streams.
const LIMITS: Limits = Limits { requests: 4096, bytes: 4 * 1024 * 1024 };
/// Most open requests of which the end may have been lost; the oldest are given up beyond.
const MAX_DOUBTFUL: usize = 1024;
/// Most exchanges that are held back until one knows whether they are any.
const MAX_HELD: usize = 256;
/// So many calls whose names are not known are looked into for spans that they export.
const MAX_LOOKS: u8 = 16;
/// And so many at a time.
const MAX_LOOKED_INTO: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Streams {
    role: Role,
    open: ByKey<u32, Stream>,
    /// First and last request that were seen; 0 if none.
    first_id: u32,
    last_id: u32,
    /// Requests may have gone by since the last one that was seen; at most so many are to be counted.
    unseen: Option<u64>,
    /// The last of which only the answer was seen meanwhile.
    last_answered: u32,
    /// Requests between these two were lost.
    lost: (u32, u32),
    /// The connection was seen from its beginning.
    since_beginning: bool,
    /// Requests from this one on may be none; they are told once one of them was answered.
    doubtful_from: Option<u32>,
    /// Those that ended meanwhile, and whether they are health checks.
    held: Vec<(u32, Exchange, bool)>,
    names: UnknownNames,
    /// What calls carry is of interest, as far as it is captured.
    reads_content: bool,
    /// Kinds of the spans that were exported.
    exported: ExportedKinds,
    /// Calls without a name that are still looked into.
    looks: u8,
    /// By calls without a name, too.
    exports_unnamed: bool,
    pub(super) anomalies: Anomalies,
}

impl Streams {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            open: ByKey::new(LIMITS),
            first_id: 0,
            last_id: 0,
            unseen: None,
            last_answered: 0,
            lost: (0, 0),
            since_beginning: false,
            doubtful_from: None,
            held: Vec::new(),
            names: UnknownNames::default(),
            reads_content: false,
            exported: ExportedKinds::default(),
            looks: MAX_LOOKS,
            exports_unnamed: false,
            anomalies: Anomalies::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Groups and methods of those that are open.
    pub(super) fn methods(&self) -> impl Iterator<Item = (Group, Option<&str>)> {
        self.open.iter().map(|(_, stream)| {
            let group = if stream.call(&self.names).is_some() { Group::Rpc } else { Group::Http };
            (group, stream.method())
        })
    }

    pub(super) fn memory(&self) -> usize {
        let held = self.held.capacity() * (size_of::<(u32, Exchange, bool)>() + size_of::<Http>());
        self.open.memory() + held + self.names.memory()
    }

    /// The client's preface was seen.
    pub(super) fn on_preface(&mut self) {
        self.since_beginning = true;
        self.on_doubt();
    }

    /// Requests that begin from here on may be none.
    pub(super) fn on_doubt(&mut self) {
        let next = self.open.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
        self.doubtful_from.get_or_insert(next);
    }

    /// What was doubted is right.
    pub(super) fn on_certain(&mut self, out: &mut Output) {
        let Some(first) = self.doubtful_from.take() else { return };
        for (id, exchange, is_health_check) in self.held.drain(..) {
            let Exchange { role, thread, start_ns, parent, .. } = exchange;
            let place = Place::Id(id.into());
            let key = out.open(|key| Opened {
                key,
                role,
                thread,
                start_ns,
                parent,
                is_health_check,
                is_message: false,
                place,
            });
            out.finish(key, exchange);
        }
        for (id, ()) in self.open.select(|id, _| (id >= first).then_some(())) {
            if let Some(stream) = self.open.get_mut(id) {
                stream.tell(id, self.role, out);
            }
        }
    }

    /// What was doubted was wrong: those requests are not told.
    pub(super) fn on_refuted(&mut self) {
        let Some(first) = self.doubtful_from.take() else { return };
        self.held = Vec::new();
        for (id, ()) in self.open.select(|id, _| (id >= first).then_some(())) {
            self.open.remove(id);
        }
        (self.first_id, self.last_id, self.since_beginning) = (0, 0, false);
        self.unseen = None;
    }

    /// Whether of all requests this one waits for its response.
    pub(super) fn awaits_only(&self, id: u32) -> bool {
        self.open.iter().all(|(other, stream)| (other == id) != stream.has_response()) && self.open.contains(id)
    }

    /// A header block has ended. What is kept of `head` is taken out of it.
    pub(super) fn on_headers(
        &mut self,
        side: Side,
        id: u32,
        head: &mut Head,
        moved: Moved,
        end: bool,
        out: &mut Output,
    ) {
        match (side, self.open.get_mut(id)) {
            (Side::Requests, Some(stream)) => {
                if end {
                    stream.on_request_end();
                }
            }
            (Side::Requests, None) => self.begin(id, head, moved, end, out),
            (Side::Responses, Some(stream)) => {
                stream.on_response_block(head, moved, end);
                let outcome = end.then(|| stream.ended());
                if self.doubtful_from.is_some_and(|first| id >= first) {
                    self.on_certain(out);
                }
                if let Some(outcome) = outcome {
                    self.finish(id, outcome, moved.last_ns, out);
                }
            }
            (Side::Responses, None) => self.on_unmatched(id, end),
        }
    }

    fn begin(&mut self, id: u32, head: &mut Head, moved: Moved, ended: bool, out: &mut Output) {
        // Trailers of a request that is over, or that began before our time. Ids only grow, but what made them grow may
        // have been bytes that looked like a frame.
        let is_trailers = match head.first {
            First::Request => false,
            First::Regular => true,
            _ => id <= self.last_id,
        };
        if is_trailers || id.is_multiple_of(2) {
            return;
        }
        if let Some(most) = self.unseen.take() {
            self.lost = (self.last_id, id);
            // Numbers are given out in order, but for those that are cancelled before they are used.
            let skipped = u64::from(id.saturating_sub(self.last_id) / 2).saturating_sub(1);
            self.anomalies.requests_lost += skipped.min(most);
        }
        if self.first_id == 0 {
            self.first_id = id;
        }
        self.last_id = id;
        head.facts.settle(&mut head.http, out.propagation());
        // Even if it cannot be kept, its name has something to teach.
        let unknown_name = self.names.number(head);
        let mut stream = Box::new(Stream::new(std::mem::take(head), unknown_name, moved, ended));
        if self.role == Role::Client {
            let looks = (self.exports_unnamed || self.looks > 0) && self.open.len() < MAX_LOOKED_INTO;
            stream.on_own(!looks);
            self.reads_content |= stream.message().is_some() && self.may_learn();
        }
        if !self.open.has_room_for(&*stream) {
            self.anomalies.over_limit += 1;
            return;
        }
        if self.doubtful_from.is_none_or(|first| id < first) {
            stream.tell(id, self.role, out);
        }
        self.open.insert(id, stream);
    }

    /// The connection was upgraded from HTTP/1, where the first request was read and told.
    pub(super) fn on_upgraded(&mut self, key: Key, mut stream: Box<Stream>) {
        stream.key = Some(key);
        (self.first_id, self.last_id, self.since_beginning) = (1, 1, true);
        self.open.insert(1, stream);
    }

    /// A frame of a response to a request that is not open.
    fn on_unmatched(&mut self, id: u32, end: bool) {
        // Stream 1 of a connection that was upgraded from HTTP/1 answers the request that was seen there.
        let is_upgraded = id == 1 && self.since_beginning;
        let is_over = (self.first_id..=self.last_id).contains(&id) && !(self.lost.0 < id && id < self.lost.1);
        let is_pushed = id.is_multiple_of(2);
        if self.unseen.is_some() && !is_pushed {
            self.last_answered = self.last_answered.max(id);
        }
        if end && (is_pushed || !is_over && !is_upgraded) {
            self.anomalies.unmatched_responses += 1;
        }
    }

    /// Whether what calls carry is of interest: spans that they export.
    pub(super) const fn reads_content(&self) -> bool {
        self.reads_content
    }

    /// What calls carry may tell something new: a kind of spans, or that they export any.
    const fn may_learn(&self) -> bool {
        let knows_kinds = self.exported.has(ExportedKinds::SERVER) && self.exported.has(ExportedKinds::CLIENT);
        !knows_kinds || self.exports_unnamed
    }

    /// Bytes of what a request carries; `None`: some were not captured.
    pub(super) fn on_content(&mut self, id: u32, bytes: Option<&[u8]>) {
        if let Some(stream) = self.open.get_mut(id) {
            stream.on_content(bytes);
        }
    }

    /// A call is over that spans were, or may have been, exported by: those that its message was seen to hold.
    fn on_exported(&mut self, is_unnamed: bool, is_there: bool, operation: &mut Operation) {
        let kinds = operation.exported_kinds();
        self.exported.add_all(kinds);
        if !is_unnamed {
            // What is exported is not looked at all the time.
            operation.add_exported_kinds(self.exported);
        } else if !kinds.is_empty() {
            self.exports_unnamed = true;
        } else if is_there {
            self.looks = self.looks.saturating_sub(1);
            // Other calls are made here.
            self.reads_content &= self.looks > 0 || !self.exported.is_empty();
        }
        self.reads_content &= self.may_learn();
    }

    /// A DATA frame was moved: bytes of its payload without padding, if that is certain.
    pub(super) fn on_data(
        &mut self,
        side: Side,
        id: u32,
        payload: Option<u64>,
        end: bool,
        at_ns: u64,
        out: &mut Output,
    ) {
        match (side, self.open.get_mut(id)) {
            (Side::Requests, Some(stream)) => stream.on_request_data(payload, end),
            (Side::Requests, None) => {}
            (Side::Responses, Some(stream)) => {
                stream.on_response_data(payload, end, at_ns);
                if end {
                    let outcome = stream.ended();
                    self.finish(id, outcome, at_ns, out);
                }
            }
            (Side::Responses, None) => self.on_unmatched(id, end),
        }
    }

    pub(super) fn on_reset(&mut self, side: Side, id: u32, code: u32, at_ns: u64, out: &mut Output) {
        if let Some(stream) = self.open.get(id) {
            let outcome = stream.reset(side, code);
            self.finish(id, outcome, at_ns, out);
        }
    }

    /// The server will answer no stream above `last`.
    pub(super) fn on_go_away(&mut self, last: u32, at_ns: u64, out: &mut Output) {
        self.finish_where(at_ns, out, |id, stream| (id > last && !stream.has_response()).then(|| stream.cut_off()));
    }

    /// No more responses will come.
    pub(super) fn on_end(&mut self, at_ns: u64, out: &mut Output) {
        self.finish_where(at_ns, out, |_, stream| Some(stream.cut_off()));
    }

    /// Nobody looks any more.
    pub(super) fn on_forgotten(&mut self, at_ns: u64, out: &mut Output) {
        self.finish_where(at_ns, out, |_, stream| Some(stream.forgotten()));
    }

    /// The last request that was seen.
    pub(super) fn last_request(&self) -> u32 {
        self.last_id
    }

    /// Bytes of unknown content were lost, when no request above `last` was open.
    pub(super) fn on_loss(&mut self, side: Side, last: u32, at_ns: u64, out: &mut Output) {
        if side == Side::Requests && self.first_id != 0 {
            self.unseen.get_or_insert(u64::MAX);
        }
        for (_, stream) in self.open.iter_mut().filter(|&(id, _)| id <= last) {
            stream.on_loss(side);
        }
        let too_many = self.open.len().saturating_sub(MAX_DOUBTFUL);
        if too_many > 0 {
            for (id, ()) in self.open.select(|_, _| Some(())).into_iter().take(too_many) {
                self.finish(id, Outcome::Unseen, at_ns, out);
            }
        }
    }

    /// Requests are seen again from here on. At most so many went by that are to be counted: none where the kernel side has
    /// counted them.
    pub(super) fn on_found(&mut self, most: u64) {
        self.unseen = self.unseen.map(|_| most);
    }

    /// No more requests will be seen; of those that went by at most so many are to be counted.
    pub(super) fn on_unseen_end(&mut self, most: u64) {
        if self.unseen.take().is_some() {
            let skipped = u64::from(self.last_answered.saturating_sub(self.last_id) / 2);
            self.anomalies.requests_lost += skipped.min(most);
        }
    }

    /// Finishes streams in the order of their ids, so that the same input gives the same output.
    fn finish_where(&mut self, at_ns: u64, out: &mut Output, outcome: impl Fn(u32, &Stream) -> Option<Outcome>) {
        for (id, outcome) in self.open.select(outcome) {
            self.finish(id, outcome, at_ns, out);
        }
    }

    fn finish(&mut self, id: u32, outcome: Outcome, end_ns: u64, out: &mut Output) {
        if let Some(stream) = self.open.remove(id) {
            let key = stream.key;
            let is_health_check = key.is_none() && stream.is_health_check(out);
            let message = stream.message().map(|message| (message.is_unnamed(), message.is_there()));
            let mut exchange = stream.into_exchange(self.role, outcome, end_ns, &mut self.names);
            if let Some((is_unnamed, is_there)) = message {
                self.on_exported(is_unnamed, is_there, &mut exchange.operation);
            }
            match key {
                Some(key) => out.finish(key, exchange),
                None if self.held.len() < MAX_HELD => self.held.push((id, exchange, is_health_check)),
                None => self.anomalies.over_limit += 1,
            }
        }
    }
}
