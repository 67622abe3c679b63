//! What moves over a connection.

use std::{collections::VecDeque, mem};

use compact_str::CompactString;

use super::{
    LINE_MAX, NAME,
    command::{self, Headers, Line, Word},
    length, recognise,
    subjects::{Subscriptions, is_acknowledgement, is_inbox, is_of_server, varies},
};
use crate::{
    model::{
        exchange::{Group, Messaging, MessagingStep, Outcome, Place},
        net::{Direction, Role},
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Recognition, Session,
        sized::{Cursor, Frame, Framed},
        told::{Began, Ended, Told},
    },
};

/// Exchanges that may be open at a time.
const OPEN_MAX: usize = 1024;
/// Questions to the server that may wait for their answers.
const ASKED_MAX: usize = 256;
/// Bytes kept of a command: its line, and headers.
const KEEP: usize = LINE_MAX + (4 << 10);

/// One connection.
pub(super) struct Nats {
    role: Role,
    /// Of requests, and of responses.
    framed: [Framed; 2],
    is_lost: [bool; 2],
    subscriptions: Subscriptions,
    /// What waits for a message on a subject, the oldest first: an answer to what was published.
    asked: VecDeque<(CompactString, Told)>,
    /// What waits to be published on a subject: an acknowledgement of what was delivered.
    unsettled: VecDeque<(CompactString, Told)>,
    /// Where answers to questions to the server come.
    of_server: VecDeque<CompactString>,
    anomalies: Anomalies,
}

impl Nats {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            framed: [Framed::new(length, KEEP), Framed::new(length, KEEP)],
            is_lost: [false; 2],
            subscriptions: Subscriptions::default(),
            asked: VecDeque::new(),
            unsettled: VecDeque::new(),
            of_server: VecDeque::new(),
            anomalies: Anomalies::default(),
        }
    }

    /// Takes a command; `None` if it is none.
    fn on_frame(&mut self, is_request: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        let mut at = frame.reader();
        let text = at.head();
        let end = memchr::memchr(b'\n', text)?;
        let line = Line::read(text.get(..end)?)?;
        at.skip(end as u64 + 1)?;
        let mut payload = at.part(line.payload.unwrap_or_default())?;
        if line.payload.is_some() && at.take(2).is_some_and(|end| end != b"\r\n") {
            return None;
        }
        // Both ends count the bytes of each direction alike.
        let place = if is_request { Place::Position(frame.position) } else { Place::Id(frame.position) };
        let began = Began { at_ns: frame.at_ns, thread: frame.thread, place };
        let headers = command::headers(&mut payload, line.headers);
        match (line.word, is_request) {
            (Word::Pub | Word::HPub, true) => self.on_publish(&line, &headers, began, frame, out),
            (Word::Msg | Word::HMsg, false) => self.on_message(&line, &headers, began, frame, out),
            (Word::Sub, true) => self.subscriptions.add(line.subscription, line.subject, line.reply),
            // Messages may be on their way when one is left.
            (Word::Unsub | Word::Connect | Word::Ping | Word::Pong, true) => {}
            (Word::Info | Word::Ping | Word::Pong | Word::Ok | Word::Err, false) => {}
            // Of the other end's.
            _ => return None,
        }
        Some(())
    }

    fn on_publish(&mut self, line: &Line<'_>, headers: &Headers, began: Began, frame: &Frame<'_>, out: &mut Output) {
        if is_acknowledgement(line.subject) {
            // That it is still at work ends nothing.
            let is_progress = frame.len < 200 && is_in_progress(frame, line);
            if !is_progress && let Some(told) = take(&mut self.unsettled, line.subject) {
                self.settle(told, frame, line, out);
            }
            return;
        }
        if is_of_server(line.subject) {
            if let Some(reply) = line.reply {
                if self.of_server.len() >= ASKED_MAX {
                    self.of_server.pop_front();
                }
                self.of_server.push_back(reply.into());
            }
            return;
        }
        let mut messaging = messaging("publish", MessagingStep::Send, line, headers);
        (messaging.is_temporary, messaging.varies) = (is_inbox(line.subject), varies(line.subject));
        messaging.links.clear();
        let told = Told::open(self.role, messaging, began, headers.context, out);
        match line.reply.filter(|reply| is_inbox(reply) || self.subscriptions.has(reply)) {
            Some(reply) => {
                if self.asked.len() >= OPEN_MAX
                    && let Some((_, oldest)) = self.asked.pop_front()
                {
                    self.anomalies.over_limit += 1;
                    oldest.finish(self.role, NAME, Ended::unseen(frame.end_ns), out);
                }
                self.asked.push_back((reply.into(), told));
            }
            None => told.finish(self.role, NAME, Ended::one_way(frame.end_ns), out),
        }
    }

    fn on_message(&mut self, line: &Line<'_>, headers: &Headers, began: Began, frame: &Frame<'_>, out: &mut Output) {
        if let Some(mut told) = take(&mut self.asked, line.subject) {
            let (status, of_stream) = (headers.status.filter(|status| *status >= 400), stream_error(frame, line));
            told.messaging.error = status.map(|status| compact_str::format_compact!("{status}")).or(of_stream);
            told.finish(self.role, NAME, answered(frame), out);
            return;
        }
        // A word of the server's own, or an answer of it.
        let is_answer = self.of_server.iter().any(|it| it == line.subject);
        if headers.status.is_some() || is_answer && line.reply.is_none() {
            return;
        }
        if is_inbox(line.subject) {
            // An answer, to what was not seen or has been answered before.
            self.anomalies.unmatched_responses += 1;
            return;
        }
        let settled_on = line.reply.filter(|reply| is_acknowledgement(reply));
        let step = if settled_on.is_some() { MessagingStep::Process } else { MessagingStep::Receive };
        let mut messaging = messaging("deliver", step, line, headers);
        if let Some((subject, group)) = self.subscriptions.get(line.subscription) {
            messaging.consumer_group = group.cloned();
            let is_pattern = subject.contains(['*', '>']) && !is_inbox(subject);
            messaging.template = is_pattern.then(|| subject.into());
        }
        messaging.varies = varies(line.subject);
        let told = Told::open(self.role, messaging, began, None, out);
        match settled_on {
            Some(subject) => {
                if self.unsettled.len() >= OPEN_MAX
                    && let Some((_, oldest)) = self.unsettled.pop_front()
                {
                    self.anomalies.over_limit += 1;
                    oldest.finish(self.role, NAME, Ended::unseen(frame.end_ns), out);
                }
                self.unsettled.push_back((subject.into(), told));
            }
            None => told.finish(self.role, NAME, Ended::one_way(frame.end_ns), out),
        }
    }

    /// What was delivered was dealt with, or it was refused.
    fn settle(&self, mut told: Told, frame: &Frame<'_>, line: &Line<'_>, out: &mut Output) {
        let mut at = payload(frame, line);
        let word = at.as_mut().and_then(|at| at.take(at.left().min(5)));
        told.messaging.error = match word {
            Some([b'-', b'N', b'A', b'K', ..]) => Some(CompactString::const_new("nak")),
            Some(b"+TERM") => Some(CompactString::const_new("term")),
            _ => None,
        };
        told.finish(self.role, NAME, answered(frame), out);
    }

    /// All that is open is over.
    fn end(&mut self, ended: Ended, out: &mut Output) {
        let (unsettled, asked) = (mem::take(&mut self.unsettled), mem::take(&mut self.asked));
        unsettled.into_iter().chain(asked).for_each(|(_, told)| told.finish(self.role, NAME, ended, out));
    }

    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        let outcome = if end == End::Forgotten { Outcome::Unseen } else { Outcome::NoResponse };
        self.end(Ended::without_answer(outcome, at_ns), out);
    }
}

/// What says so may be among what was lost of it.
const fn answered(frame: &Frame<'_>) -> Ended {
    if frame.lost { Ended::unseen(frame.end_ns) } else { Ended::answered(frame.at_ns, frame.end_ns) }
}

/// Whether bytes begin with a handshake of TLS (RFC 8446, 5.1).
fn is_encrypted(data: &[u8]) -> bool {
    matches!(data, [0x16, 0x03, 0x00..=0x04, ..])
}

/// The payload behind headers.
fn payload<'a>(frame: &'a Frame<'_>, line: &Line<'_>) -> Option<Cursor<'a>> {
    let mut at = frame.reader();
    let size = line.payload?;
    let line_length = frame.len.checked_sub(size.checked_add(2)?)?;
    at.skip(line_length.checked_add(line.headers)?)?;
    at.part(size.checked_sub(line.headers)?)
}

/// Whether an acknowledgement says that the message is still being dealt with.
fn is_in_progress(frame: &Frame<'_>, line: &Line<'_>) -> bool {
    payload(frame, line).and_then(|mut at| at.take(4)).is_some_and(|word| word == b"+WPI")
}

/// The code of JetStream's answer, where that is an error: `{"error":{"code":503,…`.
fn stream_error(frame: &Frame<'_>, line: &Line<'_>) -> Option<CompactString> {
    const CODE: &[u8] = b"\"code\":";
    let mut at = payload(frame, line)?;
    let text = at.take(at.left().min(256))?;
    let error = text.strip_prefix(b"{\"error\":{").or_else(|| {
        // Newer servers say first what kind of answer it is.
        let rest = text.strip_prefix(b"{\"type\":\"io.nats.jetstream.api.v1.")?;
        rest.get(memchr::memmem::find(rest, b"\"error\":{")?..)
    })?;
    let code = error.get(memchr::memmem::find(error, CODE)? + CODE.len()..)?;
    let digits = code.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let code = str::from_utf8(code.get(..digits)?).ok()?;
    (1..=5).contains(&code.len()).then(|| code.into())
}

/// What waits on a subject.
fn take(waiting: &mut VecDeque<(CompactString, Told)>, subject: &str) -> Option<Told> {
    let at = waiting.iter().position(|(its, _)| its == subject)?;
    waiting.remove(at).map(|(_, told)| told)
}

fn messaging(operation: &'static str, step: MessagingStep, line: &Line<'_>, headers: &Headers) -> Messaging {
    Messaging {
        system: NAME,
        operation: CompactString::const_new(operation),
        step,
        destination: Some(line.subject.into()),
        messages: Some(1),
        body_bytes: line.payload.map(|payload| payload.saturating_sub(line.headers)),
        carries_context: headers.context.is_some(),
        links: headers.context.into_iter().collect(),
        ..Messaging::default()
    }
}

impl Session for Nats {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        let is_request = direction == self.role.requests();
        let which = usize::from(!is_request);
        if self.framed[which].is_between() && is_encrypted(chunk.data) {
            // The server says of itself that it wants TLS, in the clear. What is within is told as a connection of its own.
            self.end_all(End::Forgotten, chunk.at_ns, out);
            return Interest::Nothing;
        }
        if self.is_lost[which] {
            let wanted = if is_request { Recognition::Request } else { Recognition::Response };
            if chunk.lost || recognise(chunk.data) != wanted {
                self.anomalies.unread[which] += chunk.len();
                return Interest::Parse;
            }
            self.is_lost[which] = false;
        }
        let mut framed = mem::replace(&mut self.framed[which], Framed::new(length, KEEP));
        let mut end = chunk.position;
        let taken = framed.piece(chunk, &mut |frame| {
            end = frame.end();
            self.on_frame(is_request, frame, out)
        });
        if taken.is_none() {
            framed.reset();
            self.is_lost[which] = true;
            self.anomalies.unread[which] += chunk.behind(end);
            self.anomalies.resyncs += 1;
            // What would have ended these may have been among it.
            self.end(Ended::unseen(chunk.at_ns), out);
        }
        self.framed[which] = framed;
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.is_lost = [true; 2];
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
        self.asked.len() + self.unsettled.len()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        (0..self.open_requests()).for_each(|_| each(Group::Messaging, None));
    }

    fn memory(&self) -> usize {
        let framed: usize = self.framed.iter().map(Framed::memory).sum();
        let waiting = self.open_requests() * (Told::memory() + 1024) + self.of_server.len() * 1024;
        size_of::<Self>() + framed + waiting + self.subscriptions.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
