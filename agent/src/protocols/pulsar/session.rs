//! Messages, until they are received or acknowledged.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use compact_str::CompactString;
use foldhash::fast::RandomState;

use super::{
    NAME,
    command::{self, Command, Entry},
    content::{self, Content},
    length, recognise,
};
use crate::{
    model::{
        exchange::{Messaging, MessagingStep, Outcome, Place},
        net::Role,
    },
    protocols::{
        Anomalies, Output,
        lanes::{Broker, Lanes},
        sized::{Cursor, Frame},
        told::{Began, Ended, Told},
    },
};

/// Bytes that are kept of a frame.
const KEEP: usize = 8192;
/// Most producers and consumers that are remembered, and messages that may be open at a time.
const NAMES_MAX: usize = 1024;
const OPEN_MAX: usize = 2048;

/// One connection.
pub(super) struct Pulsar {
    role: Role,
    lanes: Lanes,
    producers: HashMap<u64, Topic, RandomState>,
    consumers: HashMap<u64, (Topic, CompactString), RandomState>,
    /// By producer and number.
    sent: BTreeMap<(u64, u64), Told>,
    /// By consumer and where they stand.
    delivered: BTreeMap<(u64, Entry), Told>,
    anomalies: Anomalies,
}

/// A topic, and which part of it.
#[derive(Clone, Debug)]
struct Topic {
    name: CompactString,
    partition: Option<CompactString>,
}

impl Topic {
    fn of(name: CompactString) -> Self {
        match name.rsplit_once("-partition-") {
            Some((topic, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                Self { name: topic.into(), partition: Some(number.into()) }
            }
            _ => Self { name, partition: None },
        }
    }
}

impl Pulsar {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            lanes: Lanes::new(length, KEEP, recognise),
            producers: HashMap::default(),
            consumers: HashMap::default(),
            sent: BTreeMap::new(),
            delivered: BTreeMap::new(),
            anomalies: Anomalies::default(),
        }
    }

    /// Takes a frame; `None` if it is none.
    fn frame(&mut self, is_client: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        let mut at = frame.reader();
        at.skip(4)?;
        let len = at.u32()?;
        let command = command::read(at.take(len.into())?)?;
        match (command, is_client) {
            (Command::Subscribe { consumer, topic, subscription }, true) => {
                if self.consumers.len() < NAMES_MAX {
                    self.consumers.insert(consumer, (Topic::of(topic), subscription));
                }
            }
            (Command::Producer { producer, topic }, true) => {
                if self.producers.len() < NAMES_MAX {
                    self.producers.insert(producer, Topic::of(topic));
                }
            }
            (Command::Send { producer, sequence, messages }, true) => {
                self.on_send((producer, sequence), messages, at, frame, out);
            }
            (Command::SendReceipt { producer, sequence, entry }, false) => {
                self.on_received((producer, sequence), entry, None, frame, out);
            }
            (Command::SendError { producer, sequence, error }, false) => {
                self.on_received((producer, sequence), None, Some(error), frame, out);
            }
            (Command::Message { consumer, entry }, false) => self.on_message(consumer, entry, at, frame, out),
            (Command::Ack { consumer, entries, is_cumulative: false, failed }, true) => {
                let error = failed.then_some("validation_error");
                entries.into_iter().for_each(|entry| self.settle((consumer, entry), error, frame, out));
            }
            (Command::Ack { consumer, entries, is_cumulative: true, failed }, true) => {
                let Some(last) = entries.last().copied() else { return Some(()) };
                let error = failed.then_some("validation_error");
                self.settle_all(consumer, |entry| entry <= last, error, frame, out);
            }
            (Command::Redeliver { consumer, entries }, true) if entries.is_empty() => {
                self.settle_all(consumer, |_| true, Some("redeliver"), frame, out);
            }
            (Command::Redeliver { consumer, entries }, true) => {
                entries.into_iter().for_each(|entry| self.settle((consumer, entry), Some("redeliver"), frame, out));
            }
            (Command::CloseConsumer(consumer), _) => {
                self.consumers.remove(&consumer);
                let (first, last) = (entry_at(0), entry_at(u64::MAX));
                let keys: Vec<_> =
                    self.delivered.range((consumer, first)..=(consumer, last)).map(|(key, _)| *key).collect();
                for told in keys.iter().filter_map(|key| self.delivered.remove(key)) {
                    told.finish(self.role, NAME, Ended::without_answer(Outcome::NoResponse, frame.end_ns), out);
                }
            }
            (Command::CloseProducer(producer), _) => {
                self.producers.remove(&producer);
            }
            (Command::Other, _) => {}
            // Of the other end's.
            _ => return None,
        }
        Some(())
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.sent.len() + self.delivered.len() < OPEN_MAX;
        self.anomalies.over_limit += u64::from(!has_room);
        has_room
    }

    fn on_send(&mut self, key: (u64, u64), messages: u64, at: Cursor<'_>, frame: &Frame<'_>, out: &mut Output) {
        if !self.has_room() {
            return;
        }
        let content = content::read(at).unwrap_or_default();
        let topic = self.producers.get(&key.0).cloned();
        let messages = content.batch.unwrap_or(messages);
        let mut messaging = messaging("send", MessagingStep::Send, topic, Some(messages), &content);
        // One context is that of who sends; of several each is linked.
        let parent = if let [context] = content.contexts[..] { Some(context) } else { None };
        messaging.links = if parent.is_some() { Vec::new() } else { content.contexts };
        let began = began(true, frame);
        let told = Told::open(self.role, messaging, began, parent, out);
        if let Some(before) = self.sent.insert(key, told) {
            before.finish(self.role, NAME, Ended::unseen(frame.at_ns), out);
        }
    }

    /// The broker has what was sent, or refuses it.
    fn on_received(
        &mut self,
        key: (u64, u64),
        entry: Option<Entry>,
        error: Option<CompactString>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) {
        let Some(mut told) = self.sent.remove(&key) else {
            self.anomalies.unmatched_responses += 1;
            return;
        };
        told.messaging.error = error;
        if told.messaging.messages == Some(1) {
            told.messaging.message_id = entry.map(id);
        }
        told.finish(self.role, NAME, Ended::answered(frame.at_ns, frame.end_ns), out);
    }

    fn on_message(&mut self, consumer: u64, entry: Entry, at: Cursor<'_>, frame: &Frame<'_>, out: &mut Output) {
        if !self.has_room() {
            return;
        }
        let is_known = content::read(at);
        let messages = is_known.as_ref().map(|content| content.batch.unwrap_or(1));
        let content = is_known.unwrap_or_default();
        let (topic, subscription) = self.consumers.get(&consumer).cloned().unzip();
        let mut messaging = messaging("deliver", MessagingStep::Process, topic, messages, &content);
        messaging.consumer_group = subscription;
        messaging.message_id = (messages == Some(1)).then(|| id(entry));
        messaging.links = content.contexts;
        let told = Told::open(self.role, messaging, began(false, frame), None, out);
        // It comes again: nobody has said what became of it before.
        if let Some(before) = self.delivered.insert((consumer, entry), told) {
            before.finish(self.role, NAME, Ended::unseen(frame.at_ns), out);
        }
    }

    fn settle(&mut self, key: (u64, Entry), error: Option<&'static str>, frame: &Frame<'_>, out: &mut Output) {
        let Some(mut told) = self.delivered.remove(&key) else { return };
        told.messaging.error = error.map(CompactString::const_new);
        told.finish(self.role, NAME, Ended::answered(frame.at_ns, frame.end_ns), out);
    }

    fn settle_all(
        &mut self,
        consumer: u64,
        which: impl Fn(Entry) -> bool,
        error: Option<&'static str>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) {
        let of_it = self.delivered.range((consumer, entry_at(0))..=(consumer, entry_at(u64::MAX)));
        let keys: Vec<_> = of_it.map(|(key, _)| *key).filter(|(_, entry)| which(*entry)).collect();
        keys.into_iter().for_each(|key| self.settle(key, error, frame, out));
    }
}

/// The first or the last that there can be.
const fn entry_at(number: u64) -> Entry {
    Entry { ledger: number, entry: number }
}

/// How clients write it down.
fn id(Entry { ledger, entry }: Entry) -> CompactString {
    compact_str::format_compact!("{ledger}:{entry}")
}

/// Both ends count the bytes of each direction alike.
fn began(is_client: bool, frame: &Frame<'_>) -> Began {
    let place = if is_client { Place::Position(frame.position) } else { Place::Id(frame.position) };
    Began { at_ns: frame.at_ns, thread: frame.thread, place }
}

fn messaging(
    operation: &'static str,
    step: MessagingStep,
    topic: Option<Topic>,
    messages: Option<u64>,
    content: &Content,
) -> Messaging {
    let (destination, partition) = topic.map(|topic| (topic.name, topic.partition)).unzip();
    Messaging {
        system: NAME,
        operation: CompactString::const_new(operation),
        step,
        destination,
        partition: partition.flatten(),
        messages,
        body_bytes: content.body_bytes,
        carries_context: !content.contexts.is_empty(),
        ..Messaging::default()
    }
}

impl Broker for Pulsar {
    fn role(&self) -> Role {
        self.role
    }

    fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    fn lanes_mut(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    fn on_frame(&mut self, is_client: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        self.frame(is_client, frame, out)
    }

    fn lose(&mut self, _is_client: bool, at_ns: u64, out: &mut Output) {
        // What became of messages, and who has which number, may be among what was missed.
        self.end_all(Outcome::Unseen, at_ns, out);
        self.producers.clear();
        self.consumers.clear();
    }

    fn end_all(&mut self, outcome: Outcome, at_ns: u64, out: &mut Output) {
        let delivered = mem::take(&mut self.delivered).into_values();
        for told in mem::take(&mut self.sent).into_values().chain(delivered) {
            told.finish(self.role, NAME, Ended::without_answer(outcome, at_ns), out);
        }
    }

    fn open(&self) -> usize {
        self.sent.len() + self.delivered.len()
    }

    fn held(&self) -> usize {
        let names = self.producers.capacity() * 300 + self.consumers.capacity() * 560;
        names + self.open() * (Told::memory() + 64)
    }

    fn anomalies(&mut self) -> &mut Anomalies {
        &mut self.anomalies
    }
}
