//! Messages of PostgreSQL's protocol, version 3 (<https://www.postgresql.org/docs/current/protocol-message-formats.html>): where each
//! begins and ends, and as much of it as is of use. Rows and the data of COPY are passed over by their length.

/// Longest message, as servers have it.
const MAX_LEN: u64 = (1 << 30) + 64;
/// Most bytes kept of a message that comes in several pieces.
const MAX_KEPT: usize = 8192;

/// A message, as much of it as was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// Its type; 0 of one that has none, with which a connection begins.
    pub(super) kind: u8,
    pub(super) body: &'a [u8],
    /// Bytes that its body has.
    pub(super) len: u64,
}

impl Message<'_> {
    /// Some of its end is missing.
    pub(super) const fn is_cut(&self) -> bool {
        (self.body.len() as u64) < self.len
    }
}

/// A message that has been read: what was kept of it may stand in the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More has to come.
    More,
    /// So many of the bytes were used up by a message that is there now.
    Whole(usize),
}

/// Which direction is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Client,
    Server,
}

/// How messages of a type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Shortest and longest body.
    pub(super) len: (u64, u64),
    /// Most bytes of it that are of use.
    kept: usize,
}

impl From {
    /// How messages of this type are that come from there; `None` if there are none.
    pub(super) const fn shape(self, kind: u8) -> Option<Shape> {
        let (least, most, kept) = match self {
            Self::Client => match kind {
                b'Q' | b'P' => (1, MAX_LEN, MAX_KEPT),
                b'B' => (8, MAX_LEN, 256),
                b'E' => (5, MAX_LEN, 128),
                b'D' | b'C' => (2, MAX_LEN, 128),
                b'S' | b'H' | b'X' | b'c' => (0, 0, 0),
                b'F' => (8, MAX_LEN, 4),
                // A password, or what else proves who asks: nothing of it is kept.
                b'p' => (0, MAX_LEN, 0),
                b'd' | b'f' => (0, MAX_LEN, 0),
                _ => return None,
            },
            Self::Server => match kind {
                b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => (0, 0, 0),
                b'Z' => (1, 1, 1),
                b'C' => (1, 256, 64),
                b'E' | b'N' => (1, MAX_LEN, 160),
                b'S' => (2, 65536, 128),
                b'R' => (4, 65536, 4),
                b'T' => (2, MAX_LEN, 0),
                b't' | b'G' | b'H' | b'W' | b'v' => (2, MAX_LEN, 0),
                b'D' => (2, MAX_LEN, 0),
                b'K' => (8, 260, 0),
                b'A' | b'd' | b'V' => (0, MAX_LEN, 0),
                _ => return None,
            },
        };
        Some(Shape { len: (least, most), kept })
    }
}

/// Where in its messages a direction stands.
#[derive(Debug)]
pub(super) struct Reader {
    from: From,
    /// The next message has no type.
    is_untyped: bool,
    head: [u8; 5],
    head_len: usize,
    /// What is read: its type, its length, and how much of its body is still to come.
    kind: u8,
    len: u64,
    left: u64,
    room: usize,
    kept: Vec<u8>,
    /// What has been kept ends before bytes that were not seen.
    is_cut: bool,
}

impl Reader {
    pub(super) const fn new(from: From) -> Self {
        Self {
            from,
            is_untyped: false,
            head: [0; 5],
            head_len: 0,
            kind: 0,
            len: 0,
            left: 0,
            room: 0,
            kept: Vec::new(),
            is_cut: false,
        }
    }

    /// The next message has no type, as the first of a connection.
    pub(super) const fn expect_untyped(&mut self) {
        self.is_untyped = true;
    }

    pub(super) const fn is_untyped(&self) -> bool {
        self.is_untyped
    }

    /// Whether the next byte begins a message.
    pub(super) const fn is_between(&self) -> bool {
        self.head_len == 0
    }

    /// Forgets what it was reading.
    pub(super) fn reset(&mut self) {
        (self.head_len, self.left, self.is_untyped, self.is_cut) = (0, 0, false, false);
        self.kept = Vec::new();
    }

    const fn head_needed(&self) -> usize {
        if self.is_untyped { 4 } else { 5 }
    }

    /// Takes bytes up to the end of a message; `None` if they are none of these. A message that is whole is there until the next call:
    /// see [`Self::message`].
    pub(super) fn step(&mut self, bytes: &[u8]) -> Option<Read> {
        let mut used = 0;
        if self.head_len < self.head_needed() {
            let part = bytes.get(..bytes.len().min(self.head_needed() - self.head_len))?;
            self.head.get_mut(self.head_len..self.head_len + part.len())?.copy_from_slice(part);
            if self.head_len == 0 {
                self.kept.clear();
                self.is_cut = false;
            }
            self.head_len += part.len();
            used = part.len();
            if !self.is_untyped && self.from.shape(self.head[0]).is_none() {
                return None;
            }
            if self.head_len < self.head_needed() {
                return Some(Read::More);
            }
            self.begin()?;
        }
        let rest = bytes.get(used..)?;
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
        let keep = if self.is_cut { 0 } else { take.min(self.room - self.kept.len()) };
        self.kept.extend_from_slice(rest.get(..keep)?);
        self.left -= take as u64;
        if self.left > 0 {
            return Some(Read::More);
        }
        self.finish();
        Some(Read::Whole(used + take))
    }

    /// The message that ended last.
    pub(super) fn message(&self) -> Message<'_> {
        Message { kind: self.kind, body: &self.kept, len: self.len }
    }

    fn begin(&mut self) -> Option<()> {
        let [kind, length @ ..] = self.head;
        let (kind, length, shape) = if self.is_untyped {
            let [a, b, c, d, _] = self.head;
            (0, [a, b, c, d], Shape { len: (4, 10_000), kept: 1024 })
        } else {
            (kind, length, self.from.shape(kind)?)
        };
        let len = u64::from(u32::from_be_bytes(length)).checked_sub(4)?;
        if !(shape.len.0..=shape.len.1).contains(&len) {
            return None;
        }
        (self.kind, self.len, self.left, self.room) = (kind, len, len, shape.kept);
        Some(())
    }

    fn finish(&mut self) {
        self.head_len = 0;
        self.is_untyped = false;
        if self.kept.capacity() > 2 * 1024 && self.kept.len() <= 1024 {
            self.kept.shrink_to(1024);
        }
    }

    /// So many bytes were not seen; `None` if they were not all of a message's body.
    pub(super) fn skip(&mut self, count: u64) -> Option<Read> {
        if self.head_len < self.head_needed() || count > self.left {
            return None;
        }
        // Of an error it would not be known which it is, nor how a statement ended.
        let says_how = self.from == From::Server && matches!(self.kind, b'E' | b'C' | b'Z');
        if says_how && self.kept.len() < self.room {
            return None;
        }
        self.is_cut = true;
        self.left -= count;
        if self.left > 0 {
            return Some(Read::More);
        }
        self.finish();
        Some(Read::Whole(0))
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity()
    }
}

/// Text up to a zero, and what stands behind it.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// The SQLSTATE of an error or a notice.
pub(super) fn sqlstate(mut fields: &[u8]) -> Option<&str> {
    while let Some((&kind, rest)) = fields.split_first() {
        let (value, rest) = text(rest)?;
        if kind == b'C' {
            let is_code =
                value.len() == 5 && value.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            return str::from_utf8(value).ok().filter(|_| is_code);
        }
        fields = rest;
    }
    None
}

/// What a statement's end says: its name and how many rows it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    pub(super) command: &'a str,
    pub(super) rows: Option<u64>,
}

impl<'a> Tag<'a> {
    /// Reads one: `SELECT 5`, `INSERT 0 1`, `CREATE TABLE`.
    pub(super) fn of(body: &'a [u8]) -> Option<Self> {
        let tag = str::from_utf8(body.strip_suffix(b"\0")?).ok()?;
        let is_tag = tag.starts_with(|first: char| first.is_ascii_uppercase())
            && tag.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
        if !is_tag {
            return None;
        }
        let command = tag.trim_end_matches(|end: char| end.is_ascii_digit() || end == ' ');
        let rows = tag.get(command.len()..)?.rsplit(' ').next()?.parse().ok();
        Some(Self { command, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_codes() {
        let tag = |text: &'static str| Tag::of(text.as_bytes()).map(|tag| (tag.command, tag.rows));
        assert_eq!(tag("SELECT 5\0"), Some(("SELECT", Some(5))));
        assert_eq!(tag("INSERT 0 12\0"), Some(("INSERT", Some(12))));
        assert_eq!(tag("CREATE TABLE\0"), Some(("CREATE TABLE", None)));
        assert_eq!((tag("select\0"), tag("SELECT"), tag("\0")), (None, None, None));
        assert_eq!(sqlstate(b"SERROR\0VERROR\0C42P01\0Mrelation\0\0"), Some("42P01"));
        assert_eq!((sqlstate(b"SERROR\0C42"), sqlstate(b"C4;P01\0"), sqlstate(b"")), (None, None, None));
    }

    #[test]
    fn a_message_is_read_however_it_falls_into_pieces() {
        let bytes = b"Q\0\0\0\x0dSELECT 1\0S\0\0\0\x04";
        for split in 0..bytes.len() {
            let mut reader = Reader::new(From::Client);
            let mut seen = Vec::new();
            for mut piece in [&bytes[..split], &bytes[split..]] {
                while !piece.is_empty() {
                    match reader.step(piece).unwrap() {
                        Read::More => break,
                        Read::Whole(used) => {
                            let Message { kind, body, .. } = reader.message();
                            seen.push((kind, body.to_vec()));
                            piece = &piece[used..];
                        }
                    }
                }
            }
            assert_eq!(seen, [(b'Q', b"SELECT 1\0".to_vec()), (b'S', Vec::new())]);
            assert!(reader.is_between());
        }
        for junk in [&b"z"[..], b"Q\0\0\0\x03", b"S\0\0\0\x05", b"Q\xff\0\0\0"] {
            assert_eq!(Reader::new(From::Client).step(junk), None);
        }
    }

    #[test]
    fn what_was_not_seen_is_passed_over_within_a_message() {
        let mut reader = Reader::new(From::Server);
        assert_eq!(reader.step(b"D\0\x10\0\0\0\x01"), Some(Read::More));
        assert_eq!(reader.skip(0x0f_fff0), Some(Read::More));
        assert_eq!(reader.skip(100), None);
        assert_eq!(reader.skip(10), Some(Read::Whole(0)));
        assert_eq!(reader.message().len, 0x0f_fffc);
        assert_eq!(reader.skip(1), None);
    }
}
