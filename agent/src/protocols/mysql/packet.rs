//! Packets of MySQL's protocol (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>): where each begins and ends, and as
//! much of it as is of use.

/// A packet as long as this goes on in the next.
const LONGEST: u32 = 0x00ff_ffff;

/// What a client can, and the server with it.
pub(super) mod caps {
    pub(in super::super) const WITH_DB: u32 = 1 << 3;
    pub(in super::super) const COMPRESS: u32 = 1 << 5;
    pub(in super::super) const PROTOCOL_41: u32 = 1 << 9;
    pub(in super::super) const SSL: u32 = 1 << 11;
    pub(in super::super) const SECURE: u32 = 1 << 15;
    pub(in super::super) const AUTH_LENENC: u32 = 1 << 21;
    pub(in super::super) const DEPRECATE_EOF: u32 = 1 << 24;
    pub(in super::super) const ZSTD: u32 = 1 << 26;
    pub(in super::super) const ATTRIBUTES: u32 = 1 << 27;
    /// Of MariaDB's own: columns of a prepared statement are sent once.
    pub(in super::super) const CACHE_METADATA: u32 = 1 << 4;
}

/// What a server says of itself with an answer's end.
pub(super) mod status {
    pub(in super::super) const MORE_RESULTS: u16 = 0x0008;
    pub(in super::super) const CURSOR: u16 = 0x0040;
    pub(in super::super) const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
}

/// A packet, as much of it as was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Its number.
    pub(super) sequence: u8,
    pub(super) body: &'a [u8],
    /// Bytes of it, without those that it goes on with.
    pub(super) len: u32,
    /// It goes on with one before it.
    pub(super) continues: bool,
}

impl<'a> Packet<'a> {
    /// Some of its end is missing.
    pub(super) const fn is_cut(&self) -> bool {
        (self.body.len() as u32) < self.len || self.len == LONGEST
    }

    /// `ERR`: the code.
    pub(super) fn error(&self) -> Option<u16> {
        match self.body {
            [0xff, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
            _ => None,
        }
    }

    /// `OK`, whose first byte is another where it ends rows: the server's status.
    pub(super) fn ok(&self, first: u8) -> Option<u16> {
        let rest = self.body.strip_prefix(&[first])?;
        let (_, rest) = number(rest)?;
        let (_, rest) = number(rest)?;
        Some(u16::from_le_bytes(*rest.first_chunk()?)).filter(|_| self.len < LONGEST)
    }

    /// `EOF`: the server's status.
    pub(super) fn eof(&self) -> Option<u16> {
        match self.body {
            [0xfe, _, _, low, high] if self.len == 5 => Some(u16::from_le_bytes([*low, *high])),
            _ => None,
        }
    }

    /// How many columns a result has, and what stands behind that.
    pub(super) fn columns(&self) -> Option<(u64, &'a [u8])> {
        number(self.body).filter(|(count, rest)| (1..=4096).contains(count) && rest.len() <= 1 && !self.is_cut())
    }
}

/// A number of one to nine bytes, and what follows.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let len = match first {
        0..=0xfa => return Some((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(len)?;
    Some((digits.iter().rev().fold(0, |value, digit| value << 8 | u64::from(*digit)), rest))
}

/// Text up to a zero, and what stands behind it.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// What came of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More has to come.
    More,
    /// So many of the bytes were used up by a packet that is there now.
    Whole(usize),
}

/// Where in its packets a direction stands.
#[derive(Debug)]
pub(super) struct Reader {
    head: [u8; 4],
    head_len: usize,
    len: u32,
    left: u32,
    /// Most bytes that are kept of a packet.
    room: usize,
    kept: Vec<u8>,
    is_cut: bool,
    continues: bool,
    goes_on: bool,
}

impl Reader {
    pub(super) const fn new(room: usize) -> Self {
        Self {
            head: [0; 4],
            head_len: 0,
            len: 0,
            left: 0,
            room,
            kept: Vec::new(),
            is_cut: false,
            continues: false,
            goes_on: false,
        }
    }

    /// Whether the next byte begins a packet.
    pub(super) const fn is_between(&self) -> bool {
        self.head_len == 0
    }

    /// Forgets what it was reading.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.room);
    }

    /// Takes bytes up to the end of a packet, which is there until the next call.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Option<Read> {
        let mut used = 0;
        if self.head_len < 4 {
            let part = bytes.get(..bytes.len().min(4 - self.head_len))?;
            if self.head_len == 0 {
                self.kept.clear();
                self.is_cut = false;
            }
            self.head.get_mut(self.head_len..self.head_len + part.len())?.copy_from_slice(part);
            self.head_len += part.len();
            used = part.len();
            if self.head_len < 4 {
                return Some(Read::More);
            }
            let [a, b, c, _] = self.head;
            self.len = u32::from_le_bytes([a, b, c, 0]);
            self.left = self.len;
            self.continues = std::mem::replace(&mut self.goes_on, self.len == LONGEST);
        }
        let rest = bytes.get(used..)?;
        let take = rest.len().min(self.left as usize);
        let keep = if self.is_cut { 0 } else { take.min(self.room.saturating_sub(self.kept.len())) };
        self.kept.extend_from_slice(rest.get(..keep)?);
        self.left -= take as u32;
        if self.left > 0 {
            return Some(Read::More);
        }
        self.head_len = 0;
        Some(Read::Whole(used + take))
    }

    /// The packet that ended last.
    pub(super) fn packet(&self) -> Packet<'_> {
        let [.., sequence] = self.head;
        Packet { sequence, body: &self.kept, len: self.len, continues: self.continues }
    }

    /// So many bytes were not seen; `None` if they were not all of a packet, or `says` and the beginning of it was among them.
    pub(super) fn skip(&mut self, count: u64, says: usize) -> Option<Read> {
        if self.head_len < 4 || count > u64::from(self.left) || self.kept.len() < says.min(self.len as usize) {
            return None;
        }
        self.is_cut = true;
        self.left -= u32::try_from(count).ok()?;
        if self.left > 0 {
            return Some(Read::More);
        }
        self.head_len = 0;
        Some(Read::Whole(0))
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ends() {
        assert_eq!(number(&[5, 6]), Some((5, &[6][..])));
        assert_eq!(number(&[0xfc, 1, 2]), Some((0x0201, &[][..])));
        assert_eq!((number(&[0xfb]), number(&[0xfd, 1]), number(&[])), (None, None, None));
        let packet = |body: &'static [u8]| Packet { sequence: 1, body, len: body.len() as u32, continues: false };
        assert_eq!(packet(&[0, 1, 0, 2, 0, 0, 0]).ok(0), Some(2));
        assert_eq!(packet(&[0xfe, 0, 0, 2, 0, 0, 0]).ok(0xfe), Some(2));
        assert_eq!(packet(&[0xfe, 0, 0, 8, 0]).eof(), Some(8));
        assert_eq!(packet(&[0xff, 0x7a, 4, b'#']).error(), Some(1146));
        assert_eq!(packet(&[3]).columns(), Some((3, &[][..])));
        assert_eq!(packet(&[0]).columns(), None);
    }
}
