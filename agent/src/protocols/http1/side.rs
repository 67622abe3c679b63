//! One direction of a connection: where in its messages the next byte stands.

use super::{
    body::{self, Body, Skip},
    head::{Head, Line, Scanned, scan},
    recognise::blanks,
    suffix::Suffix,
};
use crate::{
    model::{baggage, net::Thread},
    protocols::{Chunk, Recognition},
};

/// Longest head, in bytes; what is longer is cut there.
const MAX_HEAD: usize = 1 << 20;
/// Bytes of a request line kept, when the place in the stream is not known, to see whether it becomes one.
const MAX_CARRY: usize = 2048;

/// After so long without a byte in either direction nobody is in the midst of a message's head.
pub(super) const QUIET_NS: u64 = 20_000_000;

/// Bytes that what is kept of a head may hold.
const MAX_HEAD_FIELDS: usize = 4096 + baggage::MAX_BYTES;

/// When, where and by whom bytes were moved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    pub(super) at_ns: u64,
    pub(super) thread: Thread,
    /// Where the first of them stands in its direction.
    pub(super) position: u64,
    /// How far the other direction had come when they were recorded.
    pub(super) other_position: u64,
    /// For how long nothing had moved in either direction before.
    pub(super) quiet_ns: u64,
}

impl Moment {
    /// That of what stands behind `used` more bytes.
    pub(super) fn behind(self, used: u64) -> Self {
        if used == 0 {
            return self;
        }
        Self { position: self.position.saturating_add(used), quiet_ns: 0, ..self }
    }
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a head, or before one.
    Head,
    /// In a body. `certain`: no head can stand at the beginning of a piece.
    Body { body: Body, certain: bool },
    /// Not known: the next head is sought at the beginnings of pieces. Within a message, the hint for its end.
    Seek(Option<EndHint>),
}

/// How the end of a message may be seen whose framing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndHint {
    /// It is over when the next one begins.
    None,
    /// A piece ends with the last chunk.
    LastChunk,
    /// The piece ends with the empty line behind the head; a body of so many bytes follows.
    EmptyLine { length: u64 },
}

/// What came of some bytes.
pub(super) enum Step<H> {
    /// All were taken.
    More,
    /// A head ended behind the first `used` bytes. Its body's place is to be [set](Side::place).
    Head { head: H, cut: bool, used: usize },
    /// A body ended behind the first `used` bytes.
    BodyEnd { total: u64, used: usize },
    /// A head begins here, so whatever was open before is over.
    Found,
    /// The first `used` bytes are not what was due; the place is lost.
    Lost { used: usize },
}

impl<H> Step<H> {
    /// Those of the bytes that were of a body.
    pub(super) fn of_body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self {
            Self::More => bytes,
            Self::BodyEnd { used, .. } => bytes.get(..*used).unwrap_or(bytes),
            Self::Head { .. } | Self::Found | Self::Lost { .. } => &[],
        }
    }
}

/// What is known of bytes that were not captured.
#[derive(Clone, Copy)]
pub(super) struct Missing {
    /// They were not left out on purpose.
    pub(super) lost: bool,
    /// Captured bytes stand before them in their piece.
    pub(super) behind: bool,
}

/// What came of bytes that were not captured.
pub(super) enum Gap<H> {
    /// They belong to the message that is open, or to none.
    Within,
    /// They are the rest of a body.
    BodyEnd { total: u64 },
    /// They are the rest of a body and what follows it.
    BodyPassed { total: u64 },
    /// They are of a head, with whose beginning the place was known. Its body's place is to be [set](Side::place).
    Cut(H),
    /// A head was due: at least one is missed.
    Missed,
    /// The place in a body is lost.
    Lost,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Side<H> {
    pub(super) place: Place,
    partial: Option<H>,
    line: Line,
    head_bytes: usize,
    suffix: Suffix,
    /// A head was missed, or a part of one.
    torn: bool,
    /// The piece that holds the first byte of the newest head.
    pub(super) began: Moment,
    /// When the last byte moved.
    pub(super) last_ns: u64,
}

impl<H: Head> Side<H> {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Head,
            partial: None,
            line: Line::default(),
            head_bytes: 0,
            suffix: Suffix::default(),
            torn: false,
            began: Moment::default(),
            last_ns: 0,
        }
    }

    /// Takes bytes from the beginning of `bytes`. `at_start`: a piece begins with them. Anything but [`Step::More`]
    /// may leave some; after [`Step::Found`] and a [`Step::Lost`] that used none, they still are the piece's start.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8], at_start: bool, moment: Moment) -> Step<H> {
        match &mut self.place {
            Place::Head => self.head(bytes, at_start, moment),
            Place::Body { body, certain } => {
                if !*certain && at_start && H::recognise(bytes) == H::KIND {
                    self.place = Place::Head;
                    return Step::Found;
                }
                match body.feed(bytes) {
                    body::Step::More => Step::More,
                    body::Step::End { used } => {
                        let total = body.total();
                        self.place = Place::Head;
                        Step::BodyEnd { total, used }
                    }
                    body::Step::Invalid { used } => {
                        self.place = Place::Seek(Some(EndHint::LastChunk));
                        Step::Lost { used }
                    }
                }
            }
            Place::Seek(_) => self.seek(bytes, at_start, moment),
        }
    }

    #[inline]
    fn head(&mut self, bytes: &[u8], at_start: bool, moment: Moment) -> Step<H> {
        let mut rest = bytes;
        let fresh = self.is_between();
        if fresh {
            rest = rest.get(blanks(rest)..).unwrap_or_default();
            if rest.is_empty() {
                return Step::More;
            }
            self.began = moment;
            self.head_bytes = 0;
        }
        match scan(&mut self.partial, &mut self.line, rest) {
            Scanned::Done(head, left) => Step::Head { head, cut: false, used: bytes.len() - left },
            Scanned::More => {
                self.head_bytes += rest.len();
                if self.head_bytes < MAX_HEAD {
                    return Step::More;
                }
                match self.take_partial() {
                    Some(head) => Step::Head { head, cut: true, used: bytes.len() },
                    None => self.lost(bytes.len()),
                }
            }
            // The piece may begin with a head though what came before it did not.
            Scanned::Invalid => self.lost(if at_start && !fresh { 0 } else { bytes.len() }),
        }
    }

    fn lost(&mut self, used: usize) -> Step<H> {
        self.partial = None;
        self.line.clear();
        self.place = Place::Seek(None);
        Step::Lost { used }
    }

    /// A head is recognised at the beginning of a piece, or of pieces of which each is too short to say.
    fn seek(&mut self, bytes: &[u8], at_start: bool, moment: Moment) -> Step<H> {
        if at_start && !self.line.is_empty() {
            let carried = self.line.bytes.len();
            self.line.push(bytes.get(..MAX_CARRY).unwrap_or(bytes));
            if H::is_likely(&self.line.bytes) {
                if H::recognise(&self.line.bytes) == H::KIND {
                    self.line.bytes.truncate(carried);
                    self.place = Place::Head;
                    return Step::Found;
                }
                if self.line.bytes.len() <= MAX_CARRY {
                    self.note(bytes, at_start);
                    return Step::More;
                }
            }
            self.line.clear();
            self.last_ns = self.last_ns.max(self.began.at_ns);
        }
        // Where nothing at all is known a piece may begin within a head, with the rest of its method.
        let may_begin = !self.torn || H::is_likely(bytes) || moment.quiet_ns >= QUIET_NS;
        if at_start && may_begin && H::recognise(bytes) == H::KIND {
            self.torn = false;
            self.place = Place::Head;
            return Step::Found;
        }
        self.note(bytes, at_start);
        if at_start && bytes.len() <= MAX_CARRY && H::is_likely(bytes) {
            self.line.push(bytes);
            self.began = moment;
            self.head_bytes = 0;
        } else {
            self.line.clear();
        }
        Step::More
    }

    fn note(&mut self, bytes: &[u8], at_start: bool) {
        if matches!(self.place, Place::Seek(Some(EndHint::LastChunk | EndHint::EmptyLine { .. }))) {
            self.suffix.push(bytes, at_start);
        }
    }

    /// Takes note of `count` bytes that were not captured.
    pub(super) fn gap(&mut self, count: u64) -> Gap<H> {
        self.suffix.clear();
        match &mut self.place {
            Place::Head => match self.take_partial() {
                Some(head) => Gap::Cut(head),
                None => {
                    self.place = Place::Seek(None);
                    Gap::Missed
                }
            },
            Place::Body { body, .. } => {
                let skip = body.skip(count);
                let total = body.total();
                match skip {
                    Skip::More => Gap::Within,
                    Skip::End => {
                        self.place = Place::Head;
                        Gap::BodyEnd { total }
                    }
                    Skip::Passed => {
                        self.place = Place::Seek(None);
                        Gap::BodyPassed { total }
                    }
                    Skip::Lost => {
                        self.place = Place::Seek(Some(EndHint::LastChunk));
                        Gap::Lost
                    }
                }
            }
            Place::Seek(_) => {
                self.line.clear();
                Gap::Within
            }
        }
    }

    /// The piece ends here. True if a message whose framing was lost ends with it.
    #[inline]
    pub(super) fn piece_end(&mut self, chunk: &Chunk<'_>) -> bool {
        let Place::Seek(hint) = self.place else {
            self.last_ns = chunk.at_ns;
            return false;
        };
        if self.line.is_empty() {
            self.last_ns = chunk.at_ns;
        }
        let (over, next) = match hint {
            Some(EndHint::LastChunk) if self.suffix.ends_a_chunked_body() => (true, Place::Seek(None)),
            Some(EndHint::EmptyLine { length }) => match self.suffix.ends_a_head() {
                true if length == 0 => (true, Place::Seek(None)),
                // It may be an empty line in the body, so a head is believed where it shows.
                true => (false, Place::Body { body: Body::counted(length), certain: false }),
                false => (false, Place::Seek(Some(EndHint::None))),
            },
            _ => return false,
        };
        if over || self.place != next {
            self.set(next);
        }
        over
    }

    /// Whether the message that is open ends where the next one shows.
    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self.place, Place::Seek(Some(_)) | Place::Body { certain: false, .. })
    }

    /// Whether the message that is open ends with the direction only.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self.place, Place::Body { body: Body::UntilEnd { .. }, .. })
    }

    /// Whether a start line has come, but not the whole head.
    pub(super) fn is_within_head(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether a body that is due may be left out, so that a head is believed in its place.
    pub(super) fn doubt(&mut self, doubted: bool) {
        if let Place::Body { certain, .. } = &mut self.place {
            *certain = !doubted;
        }
    }

    /// Whether no byte of the next head has come yet.
    #[inline]
    pub(super) fn is_between(&self) -> bool {
        self.partial.is_none() && self.line.is_empty()
    }

    /// Sets where the next byte stands.
    #[inline]
    pub(super) fn set(&mut self, place: Place) {
        if let Place::Seek(_) = self.place {
            self.suffix.clear();
            self.line.clear();
        }
        self.place = place;
    }

    /// The next byte may stand anywhere.
    pub(super) fn tear(&mut self) {
        self.set(Place::Seek(None));
        self.torn = true;
    }

    /// The head that is being read, as far as it has come.
    pub(super) fn take_partial(&mut self) -> Option<H> {
        let head = match (self.place, self.partial.take()) {
            (Place::Head, None) if H::recognise(&self.line.bytes) != Recognition::No => {
                H::start(&self.line.bytes, true)
            }
            (_, head) => head,
        };
        self.line.clear();
        head
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        let partial = if self.partial.is_some() { MAX_HEAD_FIELDS } else { 0 };
        partial + self.line.bytes.capacity() + self.suffix.memory()
    }
}
