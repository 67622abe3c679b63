//! What moves over a connection.

use std::{collections::BTreeMap, mem};

use compact_str::CompactString;

use super::{
    NAME, length,
    packet::{
        self, CONNECT, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, Publish, SUBSCRIBE, acknowledgement,
    },
    recognise,
    topics::{Filters, varies},
};
use crate::{
    model::{
        exchange::{Group, Messaging, MessagingStep, Outcome, Place},
        net::{Direction, Role},
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Recognition, Session,
        sized::{Cursor, Frame, Framed, Length},
        told::{Began, Ended, Told},
    },
};

/// Bytes kept of a packet: what stands before the payload.
const KEEP: usize = 8 << 10;
/// Messages that may wait to be acknowledged in either direction.
const OPEN_MAX: usize = 1024;
/// Topics that have a number.
const ALIASES_MAX: usize = 64;

/// One connection.
pub(super) struct Mqtt {
    role: Role,
    /// Of requests, and of responses.
    halves: [Half; 2],
    version: Option<u8>,
    client_id: Option<CompactString>,
    filters: Filters,
    anomalies: Anomalies,
}

/// A direction.
struct Half {
    framed: Framed,
    is_lost: bool,
    aliases: BTreeMap<u16, CompactString>,
    /// Messages that it has brought, until the other direction acknowledges them.
    open: BTreeMap<u16, Told>,
}

impl Half {
    fn new() -> Self {
        Self { framed: Framed::new(length, KEEP), is_lost: false, aliases: BTreeMap::new(), open: BTreeMap::new() }
    }
}

impl Mqtt {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            halves: [Half::new(), Half::new()],
            version: None,
            client_id: None,
            filters: Filters::default(),
            anomalies: Anomalies::default(),
        }
    }

    /// Takes a packet; `None` if it is none, or what it says is not known.
    fn on_frame(&mut self, which: usize, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        let mut at = frame.reader();
        let first = at.u8()?;
        while at.u8()? & 0x80 != 0 {}
        match (first >> 4, which) {
            (CONNECT, 0) => {
                let Connect { version, client_id } = packet::connect(&mut at)?;
                (self.version, self.client_id) = (Some(version), client_id);
            }
            (SUBSCRIBE, 0) => {
                let Self { filters, version, .. } = self;
                let _as_far_as_it_is_there = packet::subscribe(&mut at, *version, |filter| filters.add(filter));
            }
            (PUBLISH, _) => {
                let message = packet::publish(first, at, self.version)?;
                self.on_publish(which, message, frame, out);
            }
            (PUBACK | PUBCOMP, _) => {
                let (number, error) = acknowledgement(&mut at)?;
                self.acknowledge(which, number, error, frame, out);
            }
            (PUBREC, _) => {
                // Where it is refused there is no more to come.
                let (number, error) = acknowledgement(&mut at)?;
                if error.is_some() {
                    self.acknowledge(which, number, error, frame, out);
                }
            }
            (DISCONNECT, 1) => {
                if let Some(error) = packet::error(&mut at)? {
                    for mut told in mem::take(&mut self.halves[0].open).into_values() {
                        told.messaging.error = Some(error.clone());
                        told.finish(self.role, NAME, Ended::answered(frame.at_ns, frame.end_ns), out);
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    fn on_publish(&mut self, which: usize, mut message: Publish, frame: &Frame<'_>, out: &mut Output) {
        let half = &mut self.halves[which];
        if let Some(alias) = message.alias {
            match half.aliases.get(&alias) {
                Some(topic) if message.topic.is_empty() => message.topic.clone_from(topic),
                _ if !message.topic.is_empty()
                    && (half.aliases.len() < ALIASES_MAX || half.aliases.contains_key(&alias)) =>
                {
                    half.aliases.insert(alias, message.topic.clone());
                }
                _ => {}
            }
        }
        if message.is_again && half.open.contains_key(&message.number) {
            // It waits for the same acknowledgement.
            return;
        }
        let Publish { quality, topic, number, body_bytes, context, .. } = message;
        let (operation, step) = match (which, quality) {
            (0, _) => ("publish", MessagingStep::Send),
            (_, 0) => ("deliver", MessagingStep::Receive),
            (_, _) => ("deliver", MessagingStep::Process),
        };
        let (template, consumer_group) = if which == 0 { (None, None) } else { self.filters.of(&topic) };
        let mut messaging = Messaging {
            system: NAME,
            operation: CompactString::const_new(operation),
            step,
            varies: varies(&topic),
            template,
            consumer_group,
            destination: (!topic.is_empty()).then_some(topic),
            client_id: self.client_id.clone(),
            messages: Some(1),
            body_bytes,
            carries_context: context.is_some(),
            ..Messaging::default()
        };
        let parent = context.filter(|_| which == 0);
        messaging.links = context.filter(|_| which == 1).into_iter().collect();
        // Both ends count the bytes of each direction alike.
        let place = if which == 0 { Place::Position(frame.position) } else { Place::Id(frame.position) };
        let began = Began { at_ns: frame.at_ns, thread: frame.thread, place };
        let told = Told::open(self.role, messaging, began, parent, out);
        let half = &mut self.halves[which];
        if quality == 0 {
            told.finish(self.role, NAME, Ended::one_way(frame.end_ns), out);
        } else if half.open.len() >= OPEN_MAX {
            self.anomalies.over_limit += 1;
            told.finish(self.role, NAME, Ended::unseen(frame.end_ns), out);
        } else if let Some(before) = half.open.insert(number, told) {
            // Its number is used again: that it was acknowledged was not seen.
            before.finish(self.role, NAME, Ended::unseen(frame.end_ns), out);
        }
    }

    /// A message of the other direction is acknowledged.
    fn acknowledge(
        &mut self,
        which: usize,
        number: u16,
        error: Option<CompactString>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) {
        let Some(mut told) = self.halves[1 - which].open.remove(&number) else {
            self.anomalies.unmatched_responses += 1;
            return;
        };
        told.messaging.error = error;
        told.finish(self.role, NAME, Ended::answered(frame.at_ns, frame.end_ns), out);
    }

    fn end(&mut self, ended: Ended, out: &mut Output) {
        for half in &mut self.halves {
            for told in mem::take(&mut half.open).into_values() {
                told.finish(self.role, NAME, ended, out);
            }
        }
    }

    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        let outcome = if end == End::Forgotten { Outcome::Unseen } else { Outcome::NoResponse };
        self.end(Ended::without_answer(outcome, at_ns), out);
    }
}

/// Whether a piece is whole packets and nothing else: behind lost bytes that is where one begins.
fn is_whole(mut bytes: &[u8]) -> bool {
    let mut packets = 0;
    while let Some(first) = bytes.first() {
        let Length::Is(len) = length(bytes) else { return false };
        let Some((packet, rest)) = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len)) else {
            return false;
        };
        let body = packet.iter().skip(1).position(|byte| byte & 0x80 == 0).and_then(|at| packet.get(at + 2..));
        let mut at = Cursor::of(body.unwrap_or_default());
        let fits = match first >> 4 {
            PUBLISH => at.u16().and_then(|length| at.take(length.into())).is_some_and(super::topics::is_filter),
            PUBACK..=PUBCOMP => len == 4,
            packet::PINGREQ | packet::PINGRESP => len == 2,
            _ => false,
        };
        if !fits {
            return false;
        }
        packets += 1;
        bytes = rest;
    }
    packets > 0
}

impl Session for Mqtt {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        let which = usize::from(direction != self.role.requests());
        if self.halves[which].is_lost {
            let wanted = if which == 0 { Recognition::Request } else { Recognition::Response };
            let begins = recognise(chunk.data) == wanted || chunk.skipped == 0 && is_whole(chunk.data);
            if chunk.lost || !begins {
                self.anomalies.unread[which] += chunk.len();
                return Interest::Parse;
            }
            self.halves[which].is_lost = false;
        }
        let mut framed = mem::replace(&mut self.halves[which].framed, Framed::new(length, KEEP));
        let mut end = chunk.position;
        let taken = framed.piece(chunk, &mut |frame| {
            end = frame.end();
            self.on_frame(which, frame, out)
        });
        if taken.is_none() {
            framed.reset();
            self.anomalies.unread[which] += chunk.behind(end);
            self.halves[which].is_lost = true;
            self.halves[which].aliases.clear();
            self.anomalies.resyncs += 1;
            self.end(Ended::unseen(chunk.at_ns), out);
        }
        self.halves[which].framed = framed;
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.halves.iter_mut().for_each(|half| half.is_lost = true);
    }

    fn seeks(&self, direction: Direction) -> bool {
        self.halves[usize::from(direction != self.role.requests())].is_lost
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
        self.halves.iter().map(|half| half.open.len()).sum()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        (0..self.open_requests()).for_each(|_| each(Group::Messaging, None));
    }

    fn memory(&self) -> usize {
        let of =
            |half: &Half| half.framed.memory() + half.open.len() * (Told::memory() + 2048) + half.aliases.len() * 1100;
        size_of::<Self>() + self.halves.iter().map(of).sum::<usize>() + self.filters.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
