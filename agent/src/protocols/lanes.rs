//! Both directions of a connection whose messages say how long they are, and whether their place is known: what sessions have in common
//! that do not only pair requests with answers (those are `paired`).

use std::mem;

use super::{
    Anomalies, Chunk, End, Interest, Output, Recognition, Session,
    sized::{Frame, Framed, Length},
};
use crate::model::{
    exchange::{Group, Outcome},
    net::{Direction, Role},
};

/// Where in its messages each direction stands: that of clients, that of servers.
#[derive(Debug)]
pub(super) struct Lanes {
    framed: [Framed; 2],
    /// The place is to be found again.
    is_lost: [bool; 2],
    length: fn(&[u8]) -> Length,
    /// Most bytes kept of a message.
    keep: usize,
    recognise: fn(&[u8]) -> Recognition,
}

impl Lanes {
    /// Of a connection's beginning.
    pub(super) fn new(length: fn(&[u8]) -> Length, keep: usize, recognise: fn(&[u8]) -> Recognition) -> Self {
        let framed = [Framed::new(length, keep), Framed::new(length, keep)];
        Self { framed, is_lost: [false; 2], length, keep, recognise }
    }

    /// Messages may be under way.
    pub(super) const fn lose_both(&mut self) {
        self.is_lost = [true; 2];
    }

    /// Whether the place of a direction is to be found.
    pub(super) const fn seeks(&self, is_request: bool) -> bool {
        self.is_lost[is_request as usize ^ 1]
    }

    /// Whether the next piece can be read: its place is known, or it begins with a message.
    pub(super) fn finds(&mut self, is_request: bool, chunk: &Chunk<'_>) -> bool {
        let lost = &mut self.is_lost[usize::from(!is_request)];
        *lost &= chunk.lost || !(self.recognise)(chunk.data).fits(is_request);
        !*lost
    }

    /// Takes a direction out, to be put back with [`Self::put`]: who reads a message needs all else.
    pub(super) fn take(&mut self, is_request: bool) -> Framed {
        mem::replace(&mut self.framed[usize::from(!is_request)], Framed::new(self.length, self.keep))
    }

    /// Puts it back. `is_read`: it is known where the next message begins.
    pub(super) fn put(&mut self, is_request: bool, mut framed: Framed, is_read: bool) {
        if !is_read {
            framed.reset();
            self.is_lost[usize::from(!is_request)] = true;
        }
        self.framed[usize::from(!is_request)] = framed;
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.framed.iter().map(Framed::memory).sum()
    }
}

/// A session of a broker's protocol: what it does with messages. Where they begin, what is lost and how it ends is the same for all.
pub(super) trait Broker: Send + 'static {
    /// Bytes that were lost within a message do not make the next one doubtful.
    const READS_PAST_LOST: bool = false;

    /// Which end the watched process is.
    fn role(&self) -> Role;

    /// Where in its messages each direction stands.
    fn lanes(&self) -> &Lanes;

    /// The same, to go on.
    fn lanes_mut(&mut self) -> &mut Lanes;

    /// Takes a message; `None` if it is none.
    fn on_frame(&mut self, is_client: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()>;

    /// Something was missed of a direction: what became of messages, and what was agreed upon, may have been among it.
    fn lose(&mut self, is_client: bool, at_ns: u64, out: &mut Output);

    /// All that is open is over without an answer.
    fn end_all(&mut self, outcome: Outcome, at_ns: u64, out: &mut Output);

    /// Messages that are open.
    fn open(&self) -> usize;

    /// Heap bytes held besides, about.
    fn held(&self) -> usize;

    /// What could not be made sense of.
    fn anomalies(&mut self) -> &mut Anomalies;
}

impl<B: Broker> Session for B {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        let is_client = direction == Broker::role(self).requests();
        if !self.lanes_mut().finds(is_client, chunk) {
            self.anomalies().unread[usize::from(!is_client)] += chunk.len();
            return Interest::Parse;
        }
        let mut framed = self.lanes_mut().take(is_client);
        let mut end = chunk.position;
        let mut each = |frame: &Frame<'_>| {
            end = frame.end();
            self.on_frame(is_client, frame, out)
        };
        let is_read = match B::READS_PAST_LOST {
            true => framed.piece(chunk, &mut each).is_some(),
            false => read(&mut framed, chunk, &mut each),
        };
        if !is_read {
            self.anomalies().resyncs += 1;
            self.anomalies().unread[usize::from(!is_client)] += chunk.behind(end);
            self.lose(is_client, chunk.at_ns, out);
        }
        self.lanes_mut().put(is_client, framed, is_read);
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.lanes_mut().lose_both();
    }

    fn seeks(&self, direction: Direction) -> bool {
        self.lanes().seeks(direction == Broker::role(self).requests())
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if direction != Broker::role(self).requests() {
            self.end_all(Outcome::NoResponse, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.end_all(if end == End::Forgotten { Outcome::Unseen } else { Outcome::NoResponse }, at_ns, out);
    }

    fn role(&self) -> Role {
        Broker::role(self)
    }

    fn open_requests(&self) -> usize {
        self.open()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        (0..self.open()).for_each(|_| each(Group::Messaging, None));
    }

    fn memory(&self) -> usize {
        size_of::<B>() + self.lanes().memory() + self.held()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(self.anomalies())
    }
}

/// Reads a piece of which bytes that were lost may say anything: the place is lost with them. Whether it is still known.
pub(super) fn read(framed: &mut Framed, chunk: &Chunk<'_>, each: &mut impl FnMut(&Frame<'_>) -> Option<()>) -> bool {
    let is_lost = chunk.lost && chunk.skipped > 0;
    let seen = Chunk { skipped: 0, tail: &[], ..*chunk };
    framed.piece(if is_lost { &seen } else { chunk }, each).is_some() && !is_lost
}
