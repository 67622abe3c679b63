//! For tests of protocols: what sessions tell, checked as it comes (what finishes was opened, and finishes once), and what it
//! says in short.

use std::{collections::HashSet, ops::Deref};

use super::{Chunk, End, Ending, Interest, Output, Recognition, Session, conformance::Sender};
use crate::model::{
    exchange::{Db, Event, Exchange, Http, Key, Messaging, Operation, Outcome, Polled, Rpc},
    ids::{ProcessId, ThreadId},
    net::Thread,
};

/// The exchanges that were told to be over.
#[derive(Debug, Default)]
pub(super) struct Told {
    output: Output,
    open: HashSet<Key>,
    finished: Vec<Exchange>,
    pub(super) polled: Vec<Polled>,
}

impl Told {
    /// Takes what a call of a session tells.
    pub(super) fn of<T>(&mut self, call: impl FnOnce(&mut Output) -> T) -> T {
        let given = call(&mut self.output);
        for event in self.output.drain() {
            match event {
                Event::Carried(..) => {}
                Event::Opened(opened) => assert!(self.open.insert(opened.key), "opened twice: {opened:?}"),
                Event::Answered(key, _) => assert!(self.open.contains(&key), "answered, but not open: {key:?}"),
                Event::Polled(polled) => {
                    assert!(polled.brought.is_none_or(|key| self.open.contains(&key)), "not open: {polled:?}");
                    self.polled.push(polled);
                }
                Event::Finished(key, exchange) => {
                    assert!(self.open.remove(&key), "never opened, or over already: {exchange:?}");
                    self.finished.push(*exchange);
                }
            }
        }
        given
    }

    /// Requests that were opened and are not finished.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Forgets those that are over.
    pub(super) fn clear(&mut self) {
        self.finished.clear();
    }

    /// All of them; none is open.
    pub(super) fn finished(self) -> Vec<Exchange> {
        assert_eq!(self.open(), 0, "opened, and never finished: {:?}", self.open);
        self.finished
    }
}

impl Deref for Told {
    type Target = Vec<Exchange>;

    fn deref(&self) -> &Vec<Exchange> {
        &self.finished
    }
}

/// What was asked and answered, in a word each; `None` where that is not known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) asked: Option<String>,
    pub(super) answered: Option<String>,
}

/// An exchange in short.
pub(super) fn summary(exchange: &Exchange) -> Asked {
    let text = |text: &Option<compact_str::CompactString>| text.as_deref().unwrap_or_default().to_owned();
    let (asked, answered) = match &exchange.operation {
        Operation::Http(http) => {
            let Http { method, target, target_truncated, status, .. } = &**http;
            let asked = method.as_ref().zip(target.as_ref().filter(|_| !target_truncated));
            (asked.map(|(method, target)| format!("{method} {target}")), status.map(|status| status.to_string()))
        }
        Operation::Rpc(rpc) => {
            let Rpc { method, status, code, .. } = &**rpc;
            let has_answer =
                exchange.first_byte_ns.filter(|_| rpc.version.is_empty() && exchange.outcome != Outcome::Cut);
            let own = code.as_ref().map(ToString::to_string).or_else(|| has_answer.map(|_| String::new()));
            (method.as_ref().map(ToString::to_string), status.map(|status| status.to_string()).or(own))
        }
        Operation::Db(db) => {
            let Db { operation, collection, text: query, text_unknown, status, failed, returned_rows, .. } = &**db;
            // What became of one that was cut is not said.
            let has_answer = exchange.first_byte_ns.filter(|_| exchange.outcome != Outcome::Cut);
            let answered = has_answer.map(|_| format!("{} {failed} {returned_rows:?}", text(status)));
            // Of a text that is cut it is not known whose it is.
            let whole = operation.as_ref().filter(|_| !text_unknown && !text(query).ends_with("..."));
            (whole.map(|name| format!("{name} {} {}", text(collection), text(query))), answered)
        }
        Operation::Dns(dns) => {
            let answered = exchange.first_byte_ns.map(|_| format!("{} {:?}", text(&dns.code), dns.answers));
            (Some(format!("{} {}", dns.kind, dns.question)), answered)
        }
        Operation::Messaging(messaging) => {
            let Messaging { operation, destination, partition, message_id, error, messages, .. } = &**messaging;
            let answered = exchange.first_byte_ns.map(|_| format!("{} {messages:?}", text(error)));
            let asked = format!("{operation} {} {} {}", text(destination), text(partition), text(message_id));
            (destination.as_ref().map(|_| asked), answered)
        }
    };
    Asked { asked, answered }
}

/// A connection of which a session is told piece after piece, a microsecond each.
pub(super) struct Wire {
    pub(super) session: Box<dyn Session>,
    pub(super) told: Told,
    pub(super) now: u64,
    pub(super) thread: Thread,
    moved: [u64; 2],
    moved_ns: [u64; 2],
}

impl Wire {
    pub(super) fn new(session: Box<dyn Session>) -> Self {
        let (told, thread) = (Told::default(), Thread::default());
        Self { session, told, now: 0, thread, moved: [0; 2], moved_ns: [0; 2] }
    }

    /// Of a connection that is older than the agent.
    pub(super) fn in_midst(session: Box<dyn Session>) -> Self {
        let mut wire = Self::new(session);
        wire.session.begin_in_use(false);
        wire
    }

    pub(super) fn piece(&mut self, by: Sender, data: &[u8], skipped: u64, tail: &[u8], lost: bool) -> Interest {
        self.now += 1000;
        let requests = self.session.role().requests();
        let direction = if by == Sender::Client { requests } else { requests.other() };
        let [position, other_position] = [direction, direction.other()].map(|direction| self.moved[direction.index()]);
        let quiet_ns = self.now - self.moved_ns[direction.index()];
        let (at_ns, thread, frames) = (self.now, self.thread, None);
        let chunk = Chunk { at_ns, thread, data, skipped, tail, frames, lost, quiet_ns, position, other_position };
        self.moved[direction.index()] += chunk.len();
        self.moved_ns[direction.index()] = self.now;
        self.told.of(|out| self.session.on_data(direction, &chunk, out))
    }

    /// One of which all was captured.
    pub(super) fn whole(&mut self, by: Sender, data: &[u8]) -> Interest {
        self.piece(by, data, 0, &[], false)
    }

    /// A turn that is moved in these pieces, told as the kernel side does (`ebpf-probes/src/handlers/{capture,held}.rs`): `captured` bytes
    /// of its beginning, then some of each piece; together, but for those with which an answer may end. Gives how many records that takes.
    pub(super) fn turn(&mut self, by: Sender, pieces: &[&[u8]], captured: usize, endings: &[Ending]) -> usize {
        const SMALL: usize = 512;
        const LATER: usize = 64;
        const TAIL: usize = 32;
        let (begun_ns, mut records, mut left, mut is_midst) = (self.now, 0, captured, false);
        // When the last of those that are held back moved, how long they are, and how the last ends.
        let mut held: Option<(u64, usize, Vec<u8>)> = None;
        for (at, piece) in pieces.iter().enumerate() {
            let wanted = match piece.len() {
                len if len <= SMALL => len,
                len if left >= LATER => len.min(left),
                _ => LATER,
            };
            left = left.saturating_sub(wanted);
            let (head, rest) = piece.split_at(wanted);
            let tail = &rest[rest.len() - rest.len().min(TAIL)..];
            let ends = |it: &Ending| {
                let last = piece.iter().rev().take(8).rev();
                last.zip(it.bytes.iter().zip(it.mask)).all(|(byte, (due, mask))| byte & mask == due & mask)
            };
            // Small ones only behind others.
            let is_small = is_midst && tail.is_empty() && (TAIL..=SMALL).contains(&wanted);
            let is_midmost = is_small || (wanted, tail.len()) == (LATER, TAIL);
            let may_end = at == 0 || !is_midmost || endings.iter().any(ends);
            let now = begun_ns + 1000 * at as u64;
            if !endings.is_empty() && !may_end && is_midst {
                let before = held.take().map_or(0, |(_, len, _)| len);
                held = Some((now, before + piece.len(), piece[piece.len() - TAIL..].to_vec()));
                continue;
            }
            is_midst = !may_end;
            records += self.tell_held(by, held.take()) + 1;
            self.now = now;
            self.piece(by, head, rest.len() as u64, tail, false);
        }
        records += self.tell_held(by, held.take());
        self.now = begun_ns + 1000 * pieces.len() as u64;
        records
    }

    fn tell_held(&mut self, by: Sender, held: Option<(u64, usize, Vec<u8>)>) -> usize {
        let Some((at_ns, len, tail)) = held else { return 0 };
        self.now = at_ns;
        self.piece(by, &[], len as u64, &tail, false);
        1
    }

    /// All that was told, once it has ended.
    pub(super) fn end(&mut self, end: End) -> Vec<Exchange> {
        self.now += 1000;
        self.told.of(|out| self.session.on_end(end, self.now, out));
        std::mem::take(&mut self.told).finished()
    }

    /// The same of messages.
    pub(super) fn end_of_messages(&mut self, end: End) -> Vec<(Exchange, Messaging)> {
        let described = |exchange: Exchange| {
            let Operation::Messaging(messaging) = &exchange.operation else { panic!("{exchange:?}") };
            let messaging = (**messaging).clone();
            (exchange, messaging)
        };
        self.end(end).into_iter().map(described).collect()
    }
}

/// What a session tells of a connection, from its first byte to its end.
pub(super) fn converse(session: Box<dyn Session>, pieces: &[(Sender, Vec<u8>)]) -> Vec<Exchange> {
    let mut wire = Wire::new(session);
    wire.thread = Thread { tgid: ProcessId(1), tid: ThreadId(1), work: 0, begun_ns: 0 };
    for (sender, data) in pieces {
        if wire.whole(*sender, data) == Interest::Nothing {
            break;
        }
    }
    wire.end(End::Closed)
}

/// A piece of a connection's beginning, moved at no time.
pub(super) fn chunk_of<'a>(data: &'a [u8], skipped: u64, tail: &'a [u8]) -> Chunk<'a> {
    Chunk {
        at_ns: 0,
        thread: Thread::default(),
        data,
        skipped,
        tail,
        frames: None,
        lost: false,
        quiet_ns: 0,
        position: 0,
        other_position: 0,
    }
}

/// Holds what a protocol recognises against what it should.
pub(super) fn assert_recognised(recognise: fn(&[u8]) -> Recognition, cases: &[(Vec<u8>, Recognition)]) {
    for (bytes, expected) in cases {
        assert_eq!(recognise(bytes), *expected, "{}", bytes.escape_ascii());
    }
}

/// Random numbers that are the same in every run (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) % end as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Bytes in pieces of a length, or of at most so many.
    pub(super) fn pieces<'a>(&mut self, mut bytes: &'a [u8], most: usize, is_even: bool) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let len = if is_even { most } else { 1 + self.below(most) };
            let (piece, rest) = bytes.split_at(len.min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
