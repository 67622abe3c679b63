//! Messages that say how long they are: where each begins and ends, whatever the pieces are in which it comes. Of a long one the
//! beginning is kept, and the rest is passed over.

use std::borrow::Cow;

/// Where in its messages a direction stands.
#[derive(Debug)]
pub(crate) struct Framed {
    /// What has come of a message that goes on, as far as it is kept.
    kept: Vec<u8>,
    /// Bytes of it that have come in all.
    come: u64,
    /// Bytes of its beginning are missing that would have been kept.
    is_cut: bool,
    /// Bytes of a header, from which the length is read, and most that are kept of a message.
    header: usize,
    most: usize,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// More has to come.
    More,
    /// A message has ended: its beginning, and whether that is all of it.
    Message(Cow<'a, [u8]>, bool),
}

impl Framed {
    /// Of messages whose length stands in so many first bytes, and of which at most so many are kept.
    pub(crate) const fn new(header: usize, most: usize) -> Self {
        Self { kept: Vec::new(), come: 0, is_cut: false, header, most }
    }

    /// Whether the next byte begins a message.
    pub(crate) const fn is_between(&self) -> bool {
        self.come == 0
    }

    /// Forgets what it was reading.
    pub(crate) fn reset(&mut self) {
        (self.kept, self.come, self.is_cut) = (Vec::new(), 0, false);
    }

    /// The same, and gives what is there of it.
    pub(crate) fn give_up(&mut self) -> Vec<u8> {
        let kept = std::mem::take(&mut self.kept);
        self.reset();
        kept
    }

    /// Takes the next step, and gives what is left of the bytes; `None` if they are no message. `length` says from a header how long
    /// a message is with it.
    pub(crate) fn step<'a>(
        &mut self,
        bytes: &'a [u8],
        length: impl Fn(&[u8]) -> Option<u64>,
    ) -> Option<(Step<'a>, &'a [u8])> {
        let mut rest = bytes;
        if self.come == 0
            && let Some(header) = bytes.get(..self.header)
        {
            let len = length(header).filter(|len| *len >= self.header as u64)?;
            if let Some((message, behind)) = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len)) {
                let is_whole = message.len() <= self.most;
                let head = message.get(..self.most).unwrap_or(message);
                return Some((Step::Message(Cow::Borrowed(head), is_whole), behind));
            }
        }
        if (self.come as usize) < self.header {
            let missing = self.header - self.come as usize;
            let (part, behind) = rest.split_at(missing.min(rest.len()));
            self.keep(part);
            rest = behind;
        }
        if (self.come as usize) < self.header {
            return Some((Step::More, rest));
        }
        let len = self.kept.get(..self.header).and_then(&length).filter(|len| *len >= self.header as u64)?;
        let left = len.checked_sub(self.come)?;
        let (part, behind) = rest.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(rest.len()));
        self.keep(part);
        Some((self.end(len), behind))
    }

    /// So many bytes were not seen; `None` if they were not all of a message whose header was.
    pub(crate) fn skip(&mut self, count: u64, length: impl Fn(&[u8]) -> Option<u64>) -> Option<Step<'static>> {
        let len = self.kept.get(..self.header).and_then(length)?;
        self.is_cut |= self.kept.len() < self.most;
        self.come = self.come.checked_add(count).filter(|come| *come <= len)?;
        Some(self.end(len))
    }

    /// Bytes that are still to come of the message that is read; `None` where that is not known.
    pub(crate) fn missing(&self, length: impl Fn(&[u8]) -> Option<u64>) -> Option<u64> {
        self.kept.get(..self.header).and_then(length)?.checked_sub(self.come)
    }

    fn keep(&mut self, part: &[u8]) {
        self.come += part.len() as u64;
        if !self.is_cut {
            let room = self.most.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(part.get(..room).unwrap_or(part));
        }
    }

    fn end(&mut self, len: u64) -> Step<'static> {
        if self.come < len {
            return Step::More;
        }
        let is_whole = self.kept.len() as u64 == len;
        let kept = std::mem::take(&mut self.kept);
        (self.come, self.is_cut) = (0, false);
        Step::Message(Cow::Owned(kept), is_whole)
    }

    /// Heap bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.kept.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(header: &[u8]) -> Option<u64> {
        (header[0] != 0xff).then(|| u64::from(header[0]) * 100 + u64::from(header[1]))
    }

    fn read(bytes: &[u8], piece: usize) -> Option<Vec<(Vec<u8>, bool)>> {
        let mut reader = Framed::new(2, 50);
        let mut messages = Vec::new();
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() {
                let (step, rest) = reader.step(piece, length)?;
                piece = rest;
                if let Step::Message(message, is_whole) = step {
                    messages.push((message.into_owned(), is_whole));
                }
            }
        }
        reader.is_between().then_some(messages)
    }

    #[test]
    fn messages_are_the_same_however_they_fall_into_pieces() {
        let long = [&[2, 5][..], &[7; 203]].concat();
        let bytes = [&[0, 3, 9][..], &[0, 2], &long, &[0, 50], &[1; 48]].concat();
        let expected = [
            (vec![0, 3, 9], true),
            (vec![0, 2], true),
            (long[..50].to_vec(), false),
            ([&[0, 50][..], &[1; 48]].concat(), true),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(read(&bytes, piece).unwrap(), expected, "{piece}");
        }
        assert_eq!(read(&[0xff, 0], 2), None);
        assert_eq!(read(&[0xff, 0], 1), None);
        assert_eq!(read(&[0, 1], 2), None, "shorter than its header");
        assert_eq!(read(&[0, 1], 1), None);
    }

    #[test]
    fn what_is_not_seen_belongs_to_one_message() {
        let mut reader = Framed::new(2, 50);
        assert_eq!(reader.skip(1, length), None);
        assert_eq!(reader.step(&[1, 0, 5], length), Some((Step::More, &[][..])));
        assert_eq!(reader.skip(96, length), Some(Step::More));
        assert_eq!(
            reader.step(&[6, 0, 2], length),
            Some((Step::Message(Cow::Owned(vec![1, 0, 5]), false), &[0, 2][..]))
        );
        reader.step(&[1, 0, 5], length);
        assert_eq!(reader.skip(98, length), None);
    }
}
