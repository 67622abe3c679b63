//! Messages whose beginning says how long they are: put together from pieces of any size, with what was not captured of them
//! left out, so that a long body costs no more than a short one.

use std::borrow::Cow;

use super::Chunk;
use crate::model::net::Thread;

/// Most places within a message at which something is left out; behind the last all is.
const GAPS_MAX: usize = 512;

/// How long a message is, by the bytes that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// More of them are needed.
    Part,
    /// So many bytes in all.
    Is(u64),
    /// No message begins so.
    No,
}

/// Of messages that begin with the number of bytes behind it: four, the highest first, from `MIN` to below `MAX`.
pub(super) fn prefixed<const MIN: u32, const MAX: u32>(head: &[u8]) -> Length {
    match head.first_chunk().map(|len| u32::from_be_bytes(*len)) {
        Some(len) if (MIN..MAX).contains(&len) => Length::Is(u64::from(len) + 4),
        Some(_) => Length::No,
        None => Length::Part,
    }
}

/// A message.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// When its first byte moved, by whom, and where that stands in its direction.
    pub(super) at_ns: u64,
    pub(super) thread: Thread,
    pub(super) position: u64,
    /// When its last byte moved.
    pub(super) end_ns: u64,
    /// Bytes of it are missing that were not left out on purpose.
    pub(super) lost: bool,
    /// Its length on the wire.
    pub(super) len: u64,
    bytes: Cow<'a, [u8]>,
    gaps: Vec<Gap>,
}

/// Bytes that are not there.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Where they stand in the message.
    at: u64,
    len: u64,
}

impl Frame<'_> {
    /// Where its direction stands behind it.
    pub(super) fn end(&self) -> u64 {
        self.position.saturating_add(self.len)
    }

    /// Reads it from its beginning.
    pub(super) fn reader(&self) -> Cursor<'_> {
        Cursor { bytes: &self.bytes, gaps: &self.gaps, at: 0, end: self.len, missing: 0 }
    }
}

/// One direction.
#[derive(Debug)]
pub(super) struct Framed {
    length: fn(&[u8]) -> Length,
    /// Most bytes kept of a message.
    keep: usize,
    part: Part,
    /// The length of the message that comes next, where it does not say it itself.
    expected: Option<u64>,
}

/// What has come of a message.
#[derive(Debug, Default)]
struct Part {
    at_ns: u64,
    thread: Thread,
    position: u64,
    lost: bool,
    bytes: Vec<u8>,
    gaps: Vec<Gap>,
    /// Bytes that have moved of it.
    moved: u64,
    /// Its length, once that is known.
    len: Option<u64>,
}

impl Part {
    fn leave_out(&mut self, count: u64) {
        match self.gaps.last_mut() {
            Some(gap) if gap.at + gap.len == self.moved => gap.len += count,
            _ if count > 0 => self.gaps.push(Gap { at: self.moved, len: count }),
            _ => {}
        }
        self.moved += count;
    }

    fn add(&mut self, data: &[u8], keep: usize) {
        let room = keep.saturating_sub(self.bytes.len());
        let taken = if self.gaps.len() >= GAPS_MAX { 0 } else { data.len().min(room) };
        let (kept, left_out) = data.split_at(taken);
        self.bytes.extend_from_slice(kept);
        self.moved += kept.len() as u64;
        self.leave_out(left_out.len() as u64);
    }

    fn whole(self, end_ns: u64) -> Frame<'static> {
        let Self { at_ns, thread, position, lost, bytes, gaps, moved: len, .. } = self;
        Frame { at_ns, thread, position, end_ns, lost, len, bytes: Cow::Owned(bytes), gaps }
    }
}

impl Framed {
    pub(super) fn new(length: fn(&[u8]) -> Length, keep: usize) -> Self {
        Self { length, keep, part: Part::default(), expected: None }
    }

    /// Whether the next byte begins a message.
    pub(super) const fn is_between(&self) -> bool {
        self.part.moved == 0
    }

    /// When the message began that is under way.
    pub(super) fn began_ns(&self) -> Option<u64> {
        (!self.is_between()).then_some(self.part.at_ns)
    }

    /// What is under way is no message.
    pub(super) fn reset(&mut self) {
        (self.part, self.expected) = (Part::default(), None);
    }

    /// The next so many bytes are a message of their own, whatever they begin with.
    pub(super) fn expect(&mut self, len: u64) {
        self.expected = Some(len).filter(|len| *len > 0 && self.is_between());
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.part.bytes.capacity() + self.part.gaps.capacity() * size_of::<Gap>()
    }

    /// Takes a piece, and gives each message that ends in it. `None` if it is not known where the next begins; `each` gives that
    /// too where a message is none.
    pub(super) fn piece(&mut self, chunk: &Chunk<'_>, each: &mut impl FnMut(&Frame<'_>) -> Option<()>) -> Option<()> {
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.bytes(chunk.data, chunk.position, chunk, each)?;
        if gap > 0 {
            if self.is_between() {
                let position = chunk.position.saturating_add(chunk.data.len() as u64);
                self.part = self.begin(chunk, position);
            }
            let len = self.part.len.filter(|len| gap <= len - self.part.moved)?;
            self.part.lost |= chunk.lost;
            self.part.leave_out(gap);
            if self.part.moved == len {
                each(&std::mem::take(&mut self.part).whole(chunk.at_ns))?;
            }
        }
        let at_tail = chunk.position.saturating_add(chunk.len() - chunk.tail.len() as u64);
        self.bytes(chunk.tail, at_tail, chunk, each)
    }

    fn begin(&mut self, chunk: &Chunk<'_>, position: u64) -> Part {
        Part { at_ns: chunk.at_ns, thread: chunk.thread, position, len: self.expected.take(), ..Part::default() }
    }

    fn bytes(
        &mut self,
        mut data: &[u8],
        mut position: u64,
        chunk: &Chunk<'_>,
        each: &mut impl FnMut(&Frame<'_>) -> Option<()>,
    ) -> Option<()> {
        let (at_ns, thread) = (chunk.at_ns, chunk.thread);
        while !data.is_empty() {
            if self.is_between() {
                // Mostly it is whole.
                if self.expected.is_none()
                    && let Length::Is(len) = (self.length)(data)
                    && let Some((bytes, rest)) = usize::try_from(len).ok().and_then(|len| data.split_at_checked(len))
                    && len > 0
                {
                    let (bytes, gaps) = (Cow::Borrowed(bytes), Vec::new());
                    let frame = Frame { at_ns, thread, position, end_ns: at_ns, lost: false, len, bytes, gaps };
                    each(&frame)?;
                    (data, position) = (rest, position.saturating_add(len));
                    continue;
                }
                self.part = self.begin(chunk, position);
            }
            let taken = match self.part.len {
                Some(len) => usize::try_from(len - self.part.moved).unwrap_or(usize::MAX).min(data.len()),
                None => self.find_length(data)?,
            };
            let (now, rest) = data.split_at_checked(taken)?;
            self.part.add(now, self.keep);
            (data, position) = (rest, position.saturating_add(taken as u64));
            if self.part.len == Some(self.part.moved) {
                each(&std::mem::take(&mut self.part).whole(at_ns))?;
            }
        }
        Some(())
    }

    /// How many bytes are to be taken next, of a message whose length is not known yet.
    fn find_length(&mut self, data: &[u8]) -> Option<usize> {
        let before = self.part.bytes.len();
        let room = self.keep.saturating_sub(before).min(data.len());
        self.part.bytes.extend_from_slice(data.get(..room)?);
        let length = (self.length)(&self.part.bytes);
        self.part.bytes.truncate(before);
        match length {
            Length::Is(len) => {
                let left = len.checked_sub(self.part.moved).filter(|left| *left > 0)?;
                self.part.len = Some(len);
                Some(usize::try_from(left).unwrap_or(usize::MAX).min(data.len()))
            }
            Length::Part if room == data.len() => Some(room),
            Length::Part | Length::No => None,
        }
    }
}

/// Reads a message, or a part of one. What is not there cannot be read, and can be passed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// Those that are not behind.
    gaps: &'a [Gap],
    at: u64,
    end: u64,
    /// Bytes before this one that are not there.
    missing: u64,
}

impl<'a> Cursor<'a> {
    /// Of bytes that are all there.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, gaps: &[], at: 0, end: bytes.len() as u64, missing: 0 }
    }

    /// Bytes that are left.
    pub(super) const fn left(&self) -> u64 {
        self.end - self.at
    }

    /// The next bytes; `None` where there are fewer, or not all of them are there.
    pub(super) fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end)?;
        if self.gaps.first().is_some_and(|gap| gap.at < end && count > 0) {
            return None;
        }
        let from = usize::try_from(self.at - self.missing).ok()?;
        let taken = self.bytes.get(from..from.checked_add(usize::try_from(count).ok()?)?)?;
        self.at = end;
        self.pass_gap();
        Some(taken)
    }

    fn pass_gap(&mut self) {
        // Within one nothing can be read, and its rest is passed over by who knows how long that is.
        while let Some((gap, rest)) = self.gaps.split_first().filter(|(gap, _)| gap.at + gap.len <= self.at) {
            self.missing += gap.len;
            self.gaps = rest;
        }
    }

    /// The next bytes, as far as they are there.
    pub(super) fn head(&self) -> &'a [u8] {
        let end = self.gaps.first().map_or(self.end, |gap| gap.at.min(self.end));
        let count = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let from = usize::try_from(self.at - self.missing).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(from..).unwrap_or_default();
        bytes.get(..count.min(bytes.len())).unwrap_or_default()
    }

    /// Passes over bytes, there or not.
    pub(super) fn skip(&mut self, count: u64) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.end)?;
        self.pass_gap();
        Some(())
    }

    /// The next bytes as a part of their own, which are passed over.
    pub(super) fn part(&mut self, count: u64) -> Option<Self> {
        let part = Self { end: self.at.checked_add(count).filter(|end| *end <= self.end)?, ..*self };
        self.skip(count)?;
        Some(part)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N as u64)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::testing::Random;

    fn length(head: &[u8]) -> Length {
        match head {
            [] => Length::Part,
            [0, ..] => Length::No,
            [len, ..] => Length::Is(u64::from(*len)),
        }
    }

    fn chunk(data: &[u8], skipped: u64, position: u64) -> Chunk<'_> {
        Chunk {
            at_ns: position,
            thread: Thread::default(),
            data,
            skipped,
            tail: &[],
            frames: None,
            lost: false,
            quiet_ns: 0,
            position,
            other_position: 0,
        }
    }

    #[test]
    fn messages_are_the_same_however_they_fall_into_pieces() {
        let mut random = Random(5);
        let wire: Vec<u8> = (1..60).flat_map(|len| vec![len; usize::from(len)]).collect();
        for _ in 0..200 {
            let (mut framed, mut at, mut told) = (Framed::new(length, 1000), 0, Vec::new());
            while at < wire.len() {
                let end = (at + 1 + random.below(90)).min(wire.len());
                let piece = chunk(&wire[at..end], 0, at as u64);
                let taken = framed.piece(&piece, &mut |frame| {
                    let mut reader = frame.reader();
                    told.push((frame.position, reader.take(frame.len).unwrap().to_vec()));
                    Some(())
                });
                assert!(taken.is_some());
                at = end;
            }
            assert_eq!(told.len(), 59);
            assert!(told.iter().all(|(_, bytes)| bytes.len() == usize::from(bytes[0])));
            assert!(told.windows(2).all(|pair| pair[1].0 == pair[0].0 + pair[0].1.len() as u64));
            assert!(framed.is_between());
        }
    }

    #[test]
    fn what_is_left_out_is_passed_over_and_never_read() {
        let mut framed = Framed::new(length, 1000);
        let mut told = Vec::new();
        let pieces = [chunk(&[20, 1, 2], 7, 0), chunk(&[10, 11], 3, 10), chunk(&[15, 16, 17, 18, 19], 0, 15)];
        for piece in &pieces {
            framed.piece(piece, &mut |frame| {
                let mut reader = frame.reader();
                told.push(reader.take(3).map(<[u8]>::to_vec));
                told.push(reader.take(1).map(<[u8]>::to_vec));
                reader.skip(7).unwrap();
                told.push(reader.take(2).map(<[u8]>::to_vec));
                reader.skip(3).unwrap();
                let mut part = reader.part(2).unwrap();
                told.push(part.take(2).map(<[u8]>::to_vec));
                assert_eq!(part.take(1), None);
                told.push(reader.take(3).map(<[u8]>::to_vec));
                Some(())
            });
        }
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        assert_eq!(told, [some(&[20, 1, 2]), None, some(&[10, 11]), some(&[15, 16]), some(&[17, 18, 19])]);
        assert_eq!(framed.piece(&chunk(&[5], 5, 20), &mut |_| Some(())), None, "beyond its end nothing is known");
    }

    #[test]
    fn what_does_not_say_how_long_it_is_is_a_message_of_its_own_and_need_not_be_there() {
        for gap in 0..=9 {
            let (mut framed, mut told) = (Framed::new(length, 1000), Vec::new());
            framed.expect(9);
            let seen = 9 - gap as usize;
            for piece in [chunk(&[0; 9][..seen], gap, 0), chunk(&[2, 7], 0, 9)] {
                let taken = framed.piece(&piece, &mut |frame| {
                    told.push((frame.position, frame.len));
                    Some(())
                });
                assert!(taken.is_some());
            }
            assert_eq!(told, [(0, 9), (9, 2)], "{gap}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut framed = Framed::new(|_| Length::Is(1 << 40), 100);
        for at in 0..3000 {
            let taken = framed.piece(&chunk(&[1, 2], 5, at * 7), &mut |_| Some(()));
            assert!(taken.is_some());
        }
        assert!(framed.memory() < 20_000, "{}", framed.memory());
    }
}
