//! A channel: what is under way on it.

use std::collections::{BTreeMap, VecDeque};

use compact_str::CompactString;

use super::{content::Header, method::Route};
use crate::{
    model::exchange::{Messaging, MessagingStep},
    protocols::told::{Began, Told},
};

/// Consumers that are known of a channel.
const CONSUMERS_MAX: usize = 64;
/// Fetches, and consumers that are not confirmed, that may wait at a time.
pub(super) const WAITING_MAX: usize = 64;
/// Messages that were fetched, whose queue is remembered until they are acknowledged.
const FETCHED_MAX: usize = 256;

/// A message that moves: a method, a header, a body.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) began: Began,
    pub(super) what: What,
    /// Bytes of the body that are to come, once the header was there.
    pub(super) left: Option<u64>,
    /// What was told of it.
    pub(super) told: Option<Told>,
}

/// Why it moves.
#[derive(Debug)]
pub(super) enum What {
    Published(Route),
    /// With its consumer, where that is known.
    Delivered {
        tag: u64,
        route: Route,
        consumer: Option<Consumer>,
    },
    /// With what it was asked for by, where that is known.
    Fetched {
        tag: u64,
        route: Route,
        get: Option<Get>,
    },
    /// It could not be routed.
    Returned,
}

/// Who messages are delivered to.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) queue: CompactString,
    pub(super) no_ack: bool,
}

/// A message was asked for.
#[derive(Clone, Debug)]
pub(super) struct Get {
    pub(super) queue: CompactString,
    pub(super) no_ack: bool,
    pub(super) began: Began,
}

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Its beginning was seen, and all that the client has sent since.
    pub(super) is_known: bool,
    /// The same of either direction: what is answered in order is known by that.
    pub(super) is_ordered: bool,
    /// The broker confirms what is published.
    pub(super) confirms: bool,
    /// The number of the message that was published last, as confirms have it.
    pub(super) published: u64,
    pub(super) unconfirmed: VecDeque<(u64, Told)>,
    pub(super) unsettled: BTreeMap<u64, Told>,
    pub(super) sent: Option<Content>,
    pub(super) received: Option<Content>,
    pub(super) gets: VecDeque<Get>,
    /// With their tags; one that has none is given one.
    consuming: VecDeque<(CompactString, Consumer)>,
    consumers: Vec<(CompactString, Consumer)>,
    fetched: BTreeMap<u64, Box<Messaging>>,
    /// The queue that was declared last, which is meant where none is named.
    pub(super) queue: CompactString,
}

impl Channel {
    pub(super) fn from_its_beginning() -> Self {
        Self { is_known: true, is_ordered: true, ..Self::default() }
    }

    /// The queue of a request.
    pub(super) fn queue(&self, named: CompactString) -> CompactString {
        if named.is_empty() { self.queue.clone() } else { named }
    }

    pub(super) fn consume(&mut self, tag: CompactString, consumer: Consumer, no_wait: bool) {
        if no_wait {
            self.add_consumer(tag, consumer);
        } else if self.consuming.len() < WAITING_MAX {
            self.consuming.push_back((tag, consumer));
        }
    }

    pub(super) fn on_consume_ok(&mut self, tag: CompactString) {
        let is_ordered = self.is_ordered;
        let is_it = |(its, _): &(CompactString, Consumer)| *its == tag || its.is_empty() && is_ordered;
        if let Some(at) = self.consuming.iter().position(is_it)
            && let Some((_, consumer)) = self.consuming.remove(at)
        {
            self.add_consumer(tag, consumer);
        }
    }

    fn add_consumer(&mut self, tag: CompactString, consumer: Consumer) {
        self.consumers.retain(|(its, _)| *its != tag);
        if self.consumers.len() >= CONSUMERS_MAX {
            self.consumers.remove(0);
        }
        self.consumers.push((tag, consumer));
    }

    pub(super) fn consumer(&self, tag: &str) -> Option<Consumer> {
        self.consumers.iter().find(|(its, _)| its == tag).map(|(_, consumer)| consumer.clone())
    }

    /// A message was fetched that is to be acknowledged.
    pub(super) fn remember_fetched(&mut self, tag: u64, messaging: &Messaging) {
        if self.fetched.len() < FETCHED_MAX {
            let settled = Messaging {
                system: messaging.system,
                step: MessagingStep::Settle,
                destination: messaging.destination.clone(),
                routing_key: messaging.routing_key.clone(),
                delivery_tag: Some(tag),
                is_temporary: messaging.is_temporary,
                ..Messaging::default()
            };
            self.fetched.insert(tag, Box::new(settled));
        }
    }

    /// One is.
    pub(super) fn settle_fetched(&mut self, tag: u64) -> Option<Box<Messaging>> {
        self.fetched.remove(&tag)
    }

    /// The deliveries that an acknowledgement is of.
    pub(super) fn settled(&mut self, tag: u64, multiple: bool) -> Vec<Told> {
        if !multiple {
            return self.unsettled.remove(&tag).into_iter().collect();
        }
        // 0: all of them.
        let rest = match tag.checked_add(1) {
            Some(next) if tag > 0 => self.unsettled.split_off(&next),
            _ => BTreeMap::new(),
        };
        std::mem::replace(&mut self.unsettled, rest).into_values().collect()
    }

    /// The messages that a confirm is of.
    pub(super) fn confirmed(&mut self, tag: u64, multiple: bool) -> Vec<Told> {
        if multiple {
            let count = self.unconfirmed.iter().take_while(|(its, _)| tag == 0 || *its <= tag).count();
            return self.unconfirmed.drain(..count).map(|(_, told)| told).collect();
        }
        let at = self.unconfirmed.iter().position(|(its, _)| *its == tag);
        at.and_then(|at| self.unconfirmed.remove(at)).map(|(_, told)| told).into_iter().collect()
    }

    /// What acknowledges and confirms from here on, after some of it was missed in a direction.
    pub(super) fn lose(&mut self, is_request: bool) -> Vec<Told> {
        let mut lost: Vec<Told> = self.unconfirmed.drain(..).map(|(_, told)| told).collect();
        let content = if is_request { &mut self.sent } else { &mut self.received };
        lost.extend(content.take().and_then(|content| content.told));
        if is_request {
            self.is_known = false;
            lost.extend(std::mem::take(&mut self.unsettled).into_values());
        }
        self.is_ordered = false;
        self.gets.clear();
        self.consuming.clear();
        lost
    }

    /// All that is open.
    pub(super) fn take_all(&mut self) -> Vec<Told> {
        let mut all: Vec<Told> = self.unconfirmed.drain(..).map(|(_, told)| told).collect();
        all.extend(std::mem::take(&mut self.unsettled).into_values());
        all.extend(self.sent.take().and_then(|content| content.told));
        all.extend(self.received.take().and_then(|content| content.told));
        all
    }

    /// Exchanges that are open.
    pub(super) fn open(&self) -> usize {
        let moving = [&self.sent, &self.received].into_iter().flatten().filter(|content| content.told.is_some());
        self.unconfirmed.len() + self.unsettled.len() + moving.count()
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        let names = self.consumers.len() + self.consuming.len() + self.gets.len();
        size_of::<Self>()
            + self.unconfirmed.capacity() * size_of::<(u64, Told)>()
            + self.open() * Told::memory()
            + names * 640
            + self.fetched.len() * (size_of::<Messaging>() + 512)
    }
}

/// `messaging.destination.name`, as the conventions have it: exchange and routing key, and who is delivered to the queue.
pub(super) fn destination(route: &Route, queue: Option<&str>) -> CompactString {
    let Route { exchange, key } = route;
    let queue = queue.filter(|queue| queue != key).unwrap_or_default();
    let parts = [exchange.as_str(), key.as_str(), queue];
    let mut name = CompactString::default();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        if !name.is_empty() {
            name.push(':');
        }
        name.push_str(part);
    }
    if name.is_empty() { CompactString::const_new("amq.default") } else { name }
}

/// Whether a name is one that a broker made up for a client.
pub(super) fn is_made_up(name: &str) -> bool {
    ["amq.gen-", "amq.rabbitmq.reply-to", "amq_"].iter().any(|prefix| name.starts_with(prefix))
}

impl Header {
    /// Puts what it says of a message where that is told.
    pub(super) fn describe(&self, messaging: &mut Messaging) {
        messaging.messages = Some(1);
        messaging.body_bytes = Some(self.body_bytes);
        messaging.message_id.clone_from(&self.message_id);
    }
}
