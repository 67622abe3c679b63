//! Heads of messages, and the first field behind them.

use compact_str::CompactString;

pub(super) const CALL: u8 = 1;
pub(super) const REPLY: u8 = 2;
pub(super) const EXCEPTION: u8 = 3;
pub(super) const ONE_WAY: u8 = 4;

/// Names of what the library itself says is wrong (`TApplicationException`).
const CODES: [&str; 11] = [
    "UNKNOWN",
    "UNKNOWN_METHOD",
    "INVALID_MESSAGE_TYPE",
    "WRONG_METHOD_NAME",
    "BAD_SEQUENCE_ID",
    "MISSING_RESULT",
    "INTERNAL_ERROR",
    "PROTOCOL_ERROR",
    "INVALID_TRANSFORM",
    "INVALID_PROTOCOL",
    "UNSUPPORTED_CLIENT_TYPE",
];

/// A message.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    pub(super) number: u32,
    pub(super) name: &'a [u8],
    is_compact: bool,
    body: &'a [u8],
}

/// Reads one, behind its length.
pub(super) fn read(bytes: &[u8]) -> Option<Message<'_>> {
    match bytes {
        [0x80, 0x01, _, kind, rest @ ..] => {
            let (len, rest) = rest.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            let (number, body) = rest.split_first_chunk()?;
            let number = u32::from_be_bytes(*number);
            Some(Message { kind: *kind, number, name, is_compact: false, body })
        }
        [0x82, kind, rest @ ..] => {
            let mut at = rest;
            let number = varint(&mut at)?;
            let len = varint(&mut at)?;
            let (name, body) = at.split_at_checked(usize::try_from(len).ok()?)?;
            Some(Message { kind: kind >> 5, number: number as u32, name, is_compact: true, body })
        }
        _ => None,
    }
}

fn varint(at: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = at.split_first()?;
        *at = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

impl Message<'_> {
    /// Whether an answer is an exception that the service declares: a field other than the result, which is the field 0.
    pub(super) fn throws(&self) -> bool {
        if self.is_compact {
            return match self.body {
                [0, ..] | [] => false,
                // The number, or how much greater it is than the one before.
                [head, rest @ ..] if head >> 4 == 0 => varint(&mut &*rest).map(zigzag).is_some_and(|id| id != 0),
                _ => true,
            };
        }
        matches!(self.body, [kind, high, low, ..] if *kind != 0 && (*high, *low) != (0, 0))
    }

    /// `error.type`.
    pub(super) fn code(&self) -> CompactString {
        if self.kind != EXCEPTION {
            return CompactString::const_new("exception");
        }
        let code = if self.is_compact { self.compact_code() } else { self.binary_code() };
        let name = code.and_then(|code| CODES.get(usize::try_from(code).ok()?));
        CompactString::const_new(name.copied().unwrap_or("_OTHER"))
    }

    /// A message (field 1), then a number (field 2), either of which may be missing.
    fn binary_code(&self) -> Option<i64> {
        let mut rest = self.body;
        loop {
            let (kind, behind) = rest.split_first()?;
            let (id, behind) = behind.split_first_chunk::<2>()?;
            match (kind, u16::from_be_bytes(*id)) {
                (11, 1) => {
                    let (len, behind) = behind.split_first_chunk()?;
                    rest = behind.get(u32::from_be_bytes(*len) as usize..)?;
                }
                (8, 2) => return Some(i32::from_be_bytes(*behind.first_chunk()?).into()),
                _ => return None,
            }
        }
    }

    fn compact_code(&self) -> Option<i64> {
        let mut at = self.body;
        if let [0x18, behind @ ..] = at {
            at = behind;
            let len = varint(&mut at)?;
            at = at.get(usize::try_from(len).ok()?..)?;
        }
        let [0x15 | 0x25, behind @ ..] = at else { return None };
        varint(&mut &*behind).map(zigzag)
    }
}
