//! RESP, versions 2 and 3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>), as far as it takes to know where
//! commands and replies begin and end. It reads pieces of any size, and keeps the beginnings of what it reads only.

use std::borrow::Cow;

use compact_str::CompactString;
use memchr::memchr;

/// Longest line that is one of RESP; of text (errors, simple strings) more is passed over.
const MAX_LINE: usize = 64 * 1024;
/// Bytes kept of a line and of a string.
pub(super) const KEPT: usize = 64;
/// Longest string, as servers have it by default (`proto-max-bulk-len`).
const MAX_STRING: usize = 512 << 20;

/// What a direction is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A line that stands for itself: its first byte says what it is, its beginning follows.
    Line(u8, Cow<'a, [u8]>),
    /// A string of bytes has ended: its first byte says of what kind, its beginning follows; `None` where that was not seen.
    Text(u8, Option<Cow<'a, [u8]>>),
    /// So many items follow: its first byte says what they make.
    Many(u8, u64),
    /// Nothing: `$-1`, `*-1`.
    Null,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// More has to come.
    More,
    /// An item has been read.
    Read(Item<'a>),
}

/// A string of bytes that is being read.
#[derive(Debug)]
struct Text {
    kind: u8,
    /// Its length, without its end of line.
    len: usize,
    /// Bytes that are still to come, its end of line included.
    left: u64,
    kept: Vec<u8>,
    /// Bytes are missing that would have been kept.
    is_cut: bool,
}

impl Text {
    /// The beginning of it, where all of it lies in these bytes.
    fn whole<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        (bytes.len() == self.len + 2 && bytes.len() as u64 == self.left).then(|| bytes.get(..self.len.min(KEPT)))?
    }
}

/// Where in its items a direction stands.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What is kept of a line that goes on.
    line: Vec<u8>,
    /// Bytes of it in all, and the last of them.
    line_len: usize,
    line_last: u8,
    text: Option<Text>,
    /// Lines may be commands by themselves.
    takes_inline: bool,
}

impl Reader {
    /// One of requests, among which lines are commands too.
    pub(super) fn of_requests() -> Self {
        Self { takes_inline: true, ..Self::default() }
    }

    /// Whether the next byte begins an item.
    pub(super) const fn is_between(&self) -> bool {
        self.line_len == 0 && self.text.is_none()
    }

    /// Forgets what it was reading.
    pub(super) fn reset(&mut self) {
        (self.line, self.line_len, self.text) = (Vec::new(), 0, None);
    }

    /// Takes the next step, and gives what is left of the bytes; `None` if they are no RESP. What lies in one piece is not copied: mostly
    /// all of it does.
    pub(super) fn step<'a>(&mut self, bytes: &'a [u8]) -> Option<(Step<'a>, &'a [u8])> {
        if let Some(text) = &mut self.text {
            let len = usize::try_from(text.left).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(len)?;
            if let Some(kept) = text.whole(part) {
                let item = Item::Text(text.kind, Some(Cow::Borrowed(kept)));
                self.text = None;
                return Some((Step::Read(item), rest));
            }
            let room = KEPT.saturating_sub(text.kept.len());
            if !text.is_cut {
                text.kept.extend_from_slice(part.get(..room).unwrap_or(part));
            }
            text.left -= len as u64;
            return Some((self.end_of_text(), rest));
        }
        let (part, rest, is_whole) = match memchr(b'\n', bytes) {
            Some(end) => (bytes.get(..end)?, bytes.get(end + 1..)?, true),
            None => (bytes, &[][..], false),
        };
        if is_whole && self.line_len == 0 {
            if part.len() > MAX_LINE {
                return None;
            }
            let ends_right = part.last() == Some(&b'\r');
            let line = match part.get(..KEPT + 1) {
                Some(_) => part.get(..KEPT)?,
                None => part.strip_suffix(b"\r").unwrap_or(part),
            };
            return Some((self.on_line(line, ends_right)?, rest));
        }
        self.line_len += part.len();
        if self.line_len > MAX_LINE {
            return None;
        }
        // The rest of a text says nothing, but of numbers every digit counts.
        let room = KEPT.saturating_sub(self.line.len());
        self.line.extend_from_slice(part.get(..room).unwrap_or(part));
        self.line_last = *part.last().unwrap_or(&self.line_last);
        let ends_right = self.line_len > 0 && self.line_last == b'\r';
        if !is_whole {
            return self.may_be_line().then_some((Step::More, rest));
        }
        let mut line = std::mem::take(&mut self.line);
        let len = std::mem::take(&mut self.line_len);
        if ends_right && line.len() == len {
            line.pop();
        }
        let step = match self.on_line(&line, ends_right)? {
            Step::Read(Item::Line(kind, text)) => Step::Read(Item::Line(kind, Cow::Owned(text.into_owned()))),
            Step::Read(Item::Many(kind, count)) => Step::Read(Item::Many(kind, count)),
            Step::Read(Item::Null) => Step::Read(Item::Null),
            // A line is no string of bytes.
            Step::More | Step::Read(Item::Text(..)) => Step::More,
        };
        Some((step, rest))
    }

    /// So many bytes were not seen; `None` if they were not all of a string of bytes.
    pub(super) fn skip(&mut self, count: u64) -> Option<Step<'static>> {
        // Of an error it would not be known which it is.
        let text = self.text.as_mut().filter(|text| text.kind != b'!')?;
        text.left = text.left.checked_sub(count)?;
        text.is_cut |= text.kept.len() < KEPT;
        Some(self.end_of_text())
    }

    fn end_of_text(&mut self) -> Step<'static> {
        match self.text.take_if(|text| text.left == 0) {
            Some(Text { kind, len, mut kept, is_cut, .. }) => {
                kept.truncate(len);
                Step::Read(Item::Text(kind, (!is_cut).then_some(Cow::Owned(kept))))
            }
            None => Step::More,
        }
    }

    /// Whether what there is of a line may become one.
    fn may_be_line(&self) -> bool {
        match self.line.split_first() {
            Some((b'$' | b'*' | b':' | b'%' | b'~' | b'>' | b'|' | b'!' | b'=' | b'(', rest)) => {
                rest.len() < KEPT - 1
                    && rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'\r'))
            }
            Some((b'+' | b'-' | b'_' | b',' | b'#', _)) => !self.takes_inline,
            Some((first, _)) => self.takes_inline && (first.is_ascii_alphabetic() || *first == b'\r'),
            None => true,
        }
    }

    fn on_line<'a>(&mut self, line: &'a [u8], ends_right: bool) -> Option<Step<'a>> {
        let Some((&kind, rest)) = line.split_first() else {
            // Servers pass over an empty line where a command is due.
            return self.takes_inline.then_some(Step::More);
        };
        if !(ends_right || self.takes_inline && kind.is_ascii_alphabetic()) {
            return None;
        }
        let item = match kind {
            b'$' | b'!' | b'=' => match number(rest)? {
                -1 if kind == b'$' => Item::Null,
                len => {
                    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_STRING)?;
                    self.text = Some(Text { kind, len, left: len as u64 + 2, kept: Vec::new(), is_cut: false });
                    return Some(Step::More);
                }
            },
            b'*' | b'%' | b'~' | b'>' | b'|' => match number(rest)? {
                -1 if kind == b'*' => Item::Null,
                count => {
                    let count = u64::try_from(count).ok().filter(|count| *count <= 1 << 32)?;
                    Item::Many(kind, if matches!(kind, b'%' | b'|') { 2 * count } else { count })
                }
            },
            b':' | b'(' if is_number(rest) => Item::Line(kind, Cow::Borrowed(rest)),
            b'_' if rest.is_empty() => Item::Null,
            b'#' if matches!(rest, b"t" | b"f") => Item::Line(kind, Cow::Borrowed(rest)),
            b'+' | b'-' | b',' if !self.takes_inline => Item::Line(kind, Cow::Borrowed(rest)),
            _ if self.takes_inline && kind.is_ascii_alphabetic() => Item::Line(0, Cow::Borrowed(line)),
            _ => return None,
        };
        Some(Step::Read(item))
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.line.capacity() + self.text.as_ref().map_or(0, |text| text.kept.capacity())
    }
}

/// A number as RESP writes lengths: digits, or -1.
fn number(text: &[u8]) -> Option<i64> {
    if text == b"-1" {
        return Some(-1);
    }
    let digits = (1..=10).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn is_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// As text; what is none is replaced.
pub(super) fn readable(bytes: &[u8]) -> CompactString {
    str::from_utf8(bytes).map_or_else(|_| CompactString::from_utf8_lossy(bytes), CompactString::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The items of some bytes that come in pieces of a length; `None` if they are none.
    fn read(mut reader: Reader, bytes: &[u8], piece: usize) -> Option<Vec<Item<'static>>> {
        let mut items = Vec::new();
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() {
                let (step, rest) = reader.step(piece)?;
                piece = rest;
                match step {
                    Step::Read(Item::Line(kind, line)) => items.push(Item::Line(kind, line.into_owned().into())),
                    Step::Read(Item::Text(kind, text)) => {
                        items.push(Item::Text(kind, text.map(|text| text.into_owned().into())))
                    }
                    Step::Read(Item::Many(kind, count)) => items.push(Item::Many(kind, count)),
                    Step::Read(Item::Null) => items.push(Item::Null),
                    Step::More => {}
                }
            }
        }
        reader.is_between().then_some(items)
    }

    #[test]
    fn items_are_the_same_however_they_fall_into_pieces() {
        let replies = b"+OK\r\n-ERR no\r\n:-12\r\n$5\r\nab\r\nc\r\n$-1\r\n*2\r\n$0\r\n\r\n%1\r\n+a\r\n#t\r\n_\r\n,1.5\r\n(123\r\n=6\r\ntxt:ab\r\n>1\r\n*-1\r\n";
        let expected = read(Reader::default(), replies, replies.len()).unwrap();
        let text = |text: &'static str| Cow::Borrowed(text.as_bytes());
        assert_eq!(
            expected,
            [
                Item::Line(b'+', text("OK")),
                Item::Line(b'-', text("ERR no")),
                Item::Line(b':', text("-12")),
                Item::Text(b'$', Some(text("ab\r\nc"))),
                Item::Null,
                Item::Many(b'*', 2),
                Item::Text(b'$', Some(text(""))),
                Item::Many(b'%', 2),
                Item::Line(b'+', text("a")),
                Item::Line(b'#', text("t")),
                Item::Null,
                Item::Line(b',', text("1.5")),
                Item::Line(b'(', text("123")),
                Item::Text(b'=', Some(text("txt:ab"))),
                Item::Many(b'>', 1),
                Item::Null,
            ]
        );
        for piece in 1..replies.len() {
            assert_eq!(read(Reader::default(), replies, piece).as_ref(), Some(&expected), "{piece}");
        }
    }

    #[test]
    fn a_long_string_is_passed_over_and_its_beginning_kept() {
        let long = [b"$100000\r\n".to_vec(), b"x".repeat(100_000), b"\r\n".to_vec()].concat();
        for piece in [1, 63, 64, 65, 100, 200_000] {
            let items = read(Reader::default(), &long, piece).unwrap();
            assert_eq!(items, [Item::Text(b'$', Some(b"x".repeat(KEPT).into()))]);
        }
        let mut reader = Reader::default();
        assert_eq!(reader.step(b"$100000\r\nxy"), Some((Step::More, &b"xy"[..])));
        assert_eq!(reader.step(b"xy"), Some((Step::More, &b""[..])));
        assert_eq!(reader.skip(100_001), None, "the next item would stand among it");
        let mut reader = Reader::default();
        reader.step(b"$100000\r\n").unwrap();
        assert_eq!(reader.skip(100_000), Some(Step::More));
        assert_eq!(reader.step(b"\r\n"), Some((Step::Read(Item::Text(b'$', None)), &b""[..])));
        assert_eq!(reader.skip(1), None);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_numbers_are_not() {
        let long = [b"-".to_vec(), b"e".repeat(1000), b"\r\n".to_vec()].concat();
        for piece in [1, 7, 2000] {
            let items = read(Reader::default(), &long, piece).unwrap();
            assert_eq!(items, [Item::Line(b'-', b"e".repeat(KEPT - 1).into())]);
        }
        let digits = [b"$".to_vec(), b"0".repeat(100), b"1\r\n".to_vec()].concat();
        assert_eq!(read(Reader::default(), &digits, 1), None);
        assert_eq!(read(Reader::default(), &b"-".repeat(MAX_LINE + 10), 1000), None);
    }

    #[test]
    fn what_is_no_resp_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"$5x\r\n",
            b"*\r\n",
            b":\r\n",
            b"#x\r\n",
            b"+OK\n",
            b"\r\n",
            b"$600000000\r\n",
        ] {
            assert_eq!(read(Reader::default(), bytes, bytes.len()), None, "{}", bytes.escape_ascii());
        }
        assert_eq!(read(Reader::of_requests(), b"+OK\r\n", 5), None);
        let inline = read(Reader::of_requests(), b"\r\nPING\r\nset a b\n", 3).unwrap();
        assert_eq!(inline, [Item::Line(0, b"PING"[..].into()), Item::Line(0, b"set a b"[..].into())]);
    }
}
