//! Matching answers with requests.

use std::mem;

use compact_str::CompactString;

use super::{
    NAME, recognise,
    record::{self, BEGIN_REQUEST, END_REQUEST, HEADER, Header, PARAMS, Parameters, STDOUT, ended_at_end},
};
use crate::{
    model::{
        exchange::{Exchange, Group, Http, Inside, Key, Opened, Operation, Outcome, Pattern, Place},
        ids::ThreadId,
        net::{Direction, Role, Thread},
        trace_context::TraceParent,
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Recognition, Session,
        framed::{Framed, Step},
        http::{Field, HeaderFacts, take_text, text},
        matching::{ByKey, Kept, Limits},
    },
};

/// Requests that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 256, bytes: 1 << 20 };
/// Bytes that are kept of a record, of parameters, and of the fields before a body.
const KEPT: usize = 16 << 10;
/// Bytes kept of what was asked for, and of a method.
const MAX_TARGET: usize = 8192;
const MAX_METHOD: usize = 32;
/// Longest name of a field.
const MAX_NAME: usize = 64;

/// One connection.
pub(super) struct FastCgi {
    role: Role,
    requests: Framed,
    responses: Framed,
    /// Where the record that is read began: of requests, of responses.
    began: [Began; 2],
    /// The request whose parameters are read.
    asked: Option<Asked>,
    /// Where the next record begins is not known: in requests, in responses.
    lost: [bool; 2],
    open: ByKey<u16, Open>,
    anomalies: Anomalies,
}

/// Where something began.
#[derive(Clone, Copy, Debug, Default)]
struct Began {
    at_ns: u64,
    thread: Thread,
    position: u64,
}

/// A request of which not all parameters have come.
struct Asked {
    id: u16,
    began: Began,
    parameters: Vec<u8>,
    is_cut: bool,
}

/// A request that waits for the end of its answer.
struct Open {
    key: Key,
    began: Began,
    first_byte_ns: Option<u64>,
    response_tid: ThreadId,
    parent: Option<TraceParent>,
    http: Box<Http>,
    /// What has come of the fields before the body; `None` once they are over.
    fields: Option<Vec<u8>>,
    /// Bytes of the body, as far as all were counted.
    body: Option<u64>,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        let text = |text: &Option<CompactString>| text.as_ref().map_or(0, |text| text.len());
        let Http { target, host, user_agent, trace_state, baggage, .. } = &*self.http;
        // What is kept of fields comes later, and counts from the beginning.
        size_of::<Self>()
            + size_of::<Http>()
            + 1024
            + [target, host, user_agent, trace_state].map(text).iter().sum::<usize>()
            + baggage.heap()
    }
}

/// Bytes kept of the fields before a body: what counts of them stands first.
const MAX_FIELDS: usize = 1024;

impl FastCgi {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            requests: Framed::new(HEADER, KEPT),
            responses: Framed::new(HEADER, KEPT),
            began: [Began::default(); 2],
            asked: None,
            lost: [false; 2],
            open: ByKey::new(LIMITS),
            anomalies: Anomalies::default(),
        }
    }

    fn reader(&mut self, is_request: bool) -> &mut Framed {
        if is_request { &mut self.requests } else { &mut self.responses }
    }

    /// Takes bytes of one direction, of which the first stands at `at` in the piece; `None` if the place is lost.
    fn bytes(
        &mut self,
        is_request: bool,
        mut bytes: &[u8],
        at: u64,
        chunk: &Chunk<'_>,
        out: &mut Output,
    ) -> Option<()> {
        let len = bytes.len();
        while !bytes.is_empty() {
            if self.reader(is_request).is_between() {
                let position = chunk.position.saturating_add(at).saturating_add((len - bytes.len()) as u64);
                self.began[usize::from(!is_request)] = Began { at_ns: chunk.at_ns, thread: chunk.thread, position };
            }
            let (step, rest) = self.reader(is_request).step(bytes, record::length)?;
            bytes = rest;
            self.on_step(is_request, step, chunk.at_ns, out)?;
        }
        Some(())
    }

    fn on_step(&mut self, is_request: bool, step: Step<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        let Step::Message(record, is_whole) = step else { return Some(()) };
        let header = Header::read(&record)?;
        let content = record::content(&record, header);
        let is_cut = content.len() < header.content.into() || !is_whole && content.is_empty() && header.content > 0;
        match (is_request, header.kind) {
            (true, BEGIN_REQUEST) => self.on_begin(header.id, at_ns, out),
            (true, PARAMS) => self.on_parameters(header.id, content, is_cut, out),
            (false, STDOUT) => self.on_output(header, content, is_cut),
            (false, END_REQUEST) => {
                // It did not take the request.
                let is_refused = content.get(4).is_some_and(|status| *status != 0);
                self.on_end_of_request(header.id, is_refused, at_ns, out);
            }
            _ => {}
        }
        Some(())
    }

    fn on_begin(&mut self, id: u16, at_ns: u64, out: &mut Output) {
        // Whatever has become of one that had this number.
        if let Some(open) = self.open.remove(id) {
            self.tell(*open, Outcome::Unseen, at_ns, out);
        }
        if self.open.len() == 0 && mem::take(&mut self.lost[1]) {
            self.responses.reset();
        }
        self.asked = Some(Asked { id, began: self.began[0], parameters: Vec::new(), is_cut: false });
    }

    fn on_parameters(&mut self, id: u16, content: &[u8], is_cut: bool, out: &mut Output) {
        let Some(mut asked) = self.asked.take().filter(|asked| asked.id == id) else { return };
        if !content.is_empty() || is_cut {
            if !asked.is_cut {
                let room = KEPT.saturating_sub(asked.parameters.len());
                asked.parameters.extend_from_slice(content.get(..room).unwrap_or(content));
                asked.is_cut = is_cut || content.len() > room;
            }
            self.asked = Some(asked);
            return;
        }
        let (mut http, mut facts, mut script) = (Box::<Http>::default(), HeaderFacts::default(), None);
        for (name, value) in Parameters(&asked.parameters) {
            take_parameter(&mut http, &mut facts, &mut script, name, value);
        }
        http.headers_truncated = asked.is_cut;
        http.target = http.target.take().or(script);
        facts.settle(&mut http, out.propagation());
        let (role, Began { at_ns: start_ns, thread, position }, parent) = (self.role, asked.began, facts.parent());
        let (response_tid, fields) = (ThreadId::NONE, Some(Vec::new()));
        let (key, body, first_byte_ns) = (Key::of_number(0), Some(0), None);
        let mut open =
            Box::new(Open { key, began: asked.began, first_byte_ns, response_tid, parent, http, fields, body });
        if !self.open.has_room_for(&open) {
            self.anomalies.over_limit += 1;
            return;
        }
        let (place, is_health_check) = (Place::Position(position), out.is_health_check(&open.http));
        out.carry(role, parent, open.http.trace_state.as_ref());
        open.key =
            out.open(|key| Opened { key, role, thread, start_ns, parent, is_health_check, is_message: false, place });
        if let Some(before) = self.open.insert(id, open) {
            self.tell(*before, Outcome::Unseen, start_ns, out);
        }
    }

    fn on_output(&mut self, header: Header, content: &[u8], is_cut: bool) {
        let began = self.began[1];
        let Some(open) = self.open.get_mut(header.id) else {
            self.anomalies.unmatched_responses += u64::from(header.content > 0);
            return;
        };
        if open.first_byte_ns.is_none() {
            (open.first_byte_ns, open.response_tid) = (Some(began.at_ns), began.thread.tid);
        }
        let mut body = u64::from(header.content);
        if let Some(fields) = &mut open.fields {
            let before = fields.len();
            let room = MAX_FIELDS.saturating_sub(before);
            fields.extend_from_slice(content.get(..room).unwrap_or(content));
            match end_of_fields(fields) {
                Some(end) => {
                    open.http.status = Some(status(fields.get(..end).unwrap_or_default()));
                    body = body.saturating_sub((end - before.min(end)) as u64);
                    open.fields = None;
                }
                None if is_cut || content.len() > room => {
                    // Where they end is not known; a status stands among the first.
                    open.http.status = stated(fields);
                    (open.fields, open.body) = (None, None);
                }
                None => body = 0,
            }
        }
        open.body = open.body.and_then(|so_far| so_far.checked_add(body));
    }

    fn on_end_of_request(&mut self, id: u16, is_refused: bool, at_ns: u64, out: &mut Output) {
        match self.open.remove(id) {
            Some(open) if is_refused && open.first_byte_ns.is_none() => {
                self.tell(*open, Outcome::NoResponse, at_ns, out)
            }
            Some(open) => self.tell(*open, Outcome::Complete, at_ns, out),
            None => self.anomalies.unmatched_responses += 1,
        }
    }

    /// A request is over.
    fn tell(&self, open: Open, outcome: Outcome, end_ns: u64, out: &mut Output) {
        let Open { key, began, first_byte_ns, response_tid, parent, mut http, body, .. } = open;
        http.response_body_bytes = body.filter(|_| outcome == Outcome::Complete && first_byte_ns.is_some());
        let exchange = Exchange {
            role: self.role,
            thread: began.thread,
            start_ns: began.at_ns,
            first_byte_ns: first_byte_ns.map(|at| at.max(began.at_ns)),
            response_tid,
            end_ns,
            outcome,
            parent,
            protocol: NAME,
            pattern: Pattern::RequestResponse,
            operation: Operation::Http(http),
            inside: Inside::default(),
        };
        out.finish(key, exchange);
    }

    /// All that is open is over.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        for (id, ()) in self.open.select(|_, _| Some(())) {
            let Some(open) = self.open.remove(id) else { continue };
            let outcome = match end {
                End::Forgotten => Outcome::Unseen,
                // It may have ended where nothing was captured.
                _ if self.lost[1] => Outcome::Unseen,
                End::Closed | End::Reset if open.first_byte_ns.is_some() => Outcome::Cut,
                End::Closed | End::Reset => Outcome::NoResponse,
            };
            self.tell(*open, outcome, at_ns, out);
        }
        self.asked = None;
    }

    /// Takes a piece; `None` if the place is lost.
    fn piece(&mut self, is_request: bool, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.bytes(is_request, chunk.data, 0, chunk, out)?;
        if gap > 0 && chunk.lost {
            return None;
        }
        if gap > 0 {
            let step = self.reader(is_request).skip(gap, record::length)?;
            self.on_step(is_request, step, chunk.at_ns, out)?;
        }
        self.bytes(is_request, chunk.tail, chunk.len() - chunk.tail.len() as u64, chunk, out)
    }

    /// Looks for the end of a response in a piece of which it is not known where records begin.
    fn look_for_end(&mut self, chunk: &Chunk<'_>, out: &mut Output) {
        let end = if chunk.skipped == 0 { chunk.data } else { chunk.tail };
        let Some(open) = ended_at_end(end).and_then(|id| self.open.remove(id)) else { return };
        // How much was left out is not known.
        self.tell(Open { body: None, ..*open }, Outcome::Complete, chunk.at_ns, out);
        if self.open.len() == 0 {
            self.lost[1] = false;
        }
    }
}

/// Takes a parameter that says what is asked.
fn take_parameter(
    http: &mut Http,
    facts: &mut HeaderFacts,
    script: &mut Option<CompactString>,
    name: &[u8],
    value: &[u8],
) {
    match name {
        b"REQUEST_METHOD" if !value.is_empty() => http.method = Some(text(value, MAX_METHOD)),
        b"REQUEST_URI" if !value.is_empty() => {
            http.target_truncated = value.len() > MAX_TARGET;
            http.target = Some(text(value, MAX_TARGET));
        }
        b"SCRIPT_NAME" if !value.is_empty() => *script = Some(text(value, MAX_TARGET)),
        b"REQUEST_SCHEME" if matches!(value, b"http" | b"https") => http.scheme = Some(text(value, MAX_METHOD)),
        b"HTTPS" if value == b"on" => http.scheme = Some(CompactString::const_new("https")),
        b"CONTENT_LENGTH" => http.request_body_bytes = str::from_utf8(value).ok().and_then(|value| value.parse().ok()),
        _ => {
            let Some(field) = name.strip_prefix(b"HTTP_").filter(|field| field.len() <= MAX_NAME) else { return };
            let lower = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
            let field = Field::from_name(&field.iter().map(lower).collect::<Vec<u8>>());
            if !take_text(http, field, value, false) && field.is_carrier() {
                facts.take(field, value, false);
            }
        }
    }
}

/// Where the fields before a body end.
fn end_of_fields(fields: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = from + memchr::memchr(b'\n', fields.get(from..)?)?;
        let line = fields.get(from..end)?;
        if matches!(line, b"" | b"\r") {
            return Some(end + 1);
        }
        from = end + 1;
    }
}

/// The status that fields say.
fn stated(fields: &[u8]) -> Option<u16> {
    fields.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"status:".len())?;
        let value = value.trim_ascii();
        let digits = value.get(..3).filter(|_| name.eq_ignore_ascii_case(b"status:"))?;
        str::from_utf8(digits).ok()?.parse().ok().filter(|status| (100..1000).contains(status))
    })
}

/// The same, as servers have it: a response that says nothing else has succeeded, or leads elsewhere.
fn status(fields: &[u8]) -> u16 {
    let leads = |line: &[u8]| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"location:"));
    match stated(fields) {
        Some(status) => status,
        None if fields.split(|byte| *byte == b'\n').any(leads) => 302,
        None => 200,
    }
}

impl Session for FastCgi {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if chunk.is_empty() {
            return Interest::Parse;
        }
        let is_request = direction == self.role.requests();
        let at = usize::from(!is_request);
        if self.lost[at] {
            let wanted = if is_request { Recognition::Request } else { Recognition::Response };
            // In the midst of a response a record's beginning may be what it carries.
            let may_begin = is_request || self.open.iter().all(|(_, open)| open.first_byte_ns.is_none());
            if !may_begin || recognise(chunk.data) != wanted {
                if !is_request {
                    self.look_for_end(chunk, out);
                }
                return Interest::Parse;
            }
            self.lost[at] = false;
        }
        if self.piece(is_request, chunk, out).is_none() {
            self.lost[at] = true;
            let begun = self.reader(is_request).give_up();
            if let Some(header) =
                Header::read(&begun).filter(|header| header.kind == STDOUT && !is_request && !chunk.lost)
            {
                // Its beginning says how the request went.
                self.on_output(header, record::content(&begun, header), true);
            }
            if is_request {
                // The rest of a body: what was asked is known, unless it was among what was missed.
                self.asked = None;
            } else if !chunk.lost {
                self.look_for_end(chunk, out);
            }
            if chunk.lost {
                self.anomalies.resyncs += 1;
                self.end_all(End::Forgotten, chunk.at_ns, out);
            }
        }
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.lost = [true; 2];
    }

    fn seeks(&self, direction: Direction) -> bool {
        self.lost[usize::from(direction != self.role.requests())]
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
        self.open.len()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        self.open.iter().for_each(|(_, open)| each(Group::Http, open.http.method.as_deref()));
    }

    fn memory(&self) -> usize {
        let asked = self.asked.as_ref().map_or(0, |asked| asked.parameters.capacity());
        size_of::<Self>() + self.requests.memory() + self.responses.memory() + asked + self.open.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
