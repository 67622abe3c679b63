//! Values as they are encoded (part 1 of the standard). Which width one has says the first half of the byte that it begins with.

use compact_str::CompactString;

use crate::protocols::sized::Cursor;

/// Longest text that is taken out.
const MAX_TEXT: u64 = 255;
/// Values within values that are passed over.
const MAX_DEPTH: usize = 8;

/// A value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(u64),
    /// A text, a symbol, bytes.
    Bytes(Cursor<'a>),
    /// Members, of which there are so many.
    List(Cursor<'a>, u32),
    /// What it is, by its number, and its value.
    Described(Option<u64>, Cursor<'a>),
    Other,
}

/// The next value; `None` where it is not there.
pub(super) fn next<'a>(at: &mut Cursor<'a>) -> Option<Value<'a>> {
    read(at, 0)
}

fn read<'a>(at: &mut Cursor<'a>, depth: usize) -> Option<Value<'a>> {
    let code = at.u8()?;
    let wide = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Some(match code {
        0x00 => {
            if depth >= MAX_DEPTH {
                return None;
            }
            let descriptor = match read(at, depth + 1)? {
                Value::Number(number) => Some(number),
                _ => None,
            };
            let value = *at;
            read(at, depth + 1)?;
            Value::Described(descriptor, value)
        }
        0x40 => Value::Null,
        0x41 => Value::Bool(true),
        0x42 => Value::Bool(false),
        0x43 | 0x44 => Value::Number(0),
        0x45 => Value::List(at.part(0)?, 0),
        0x56 => Value::Bool(at.u8()? != 0),
        0x50 | 0x52 | 0x53 => Value::Number(at.u8()?.into()),
        0x60 => Value::Number(at.u16()?.into()),
        0x70 => Value::Number(at.u32()?.into()),
        0x80 => Value::Number(at.u64()?),
        0x51 | 0x54 | 0x55 => other(at, 1)?,
        0x61 => other(at, 2)?,
        0x71..=0x7f => other(at, 4)?,
        0x81..=0x8f => other(at, 8)?,
        0x90..=0x9f => other(at, 16)?,
        0xa0..=0xaf => {
            let len = at.u8()?;
            Value::Bytes(at.part(len.into())?)
        }
        0xb0..=0xbf => {
            let len = at.u32()?;
            Value::Bytes(at.part(len.into())?)
        }
        0xc0 | 0xc1 => {
            let mut content = *at;
            let len = content.u8()?;
            at.skip(1 + u64::from(len))?;
            let mut content = content.part(len.into())?;
            let count = content.u8()?;
            Value::List(content, count.into())
        }
        0xd0 | 0xd1 => {
            let mut content = *at;
            let len = content.u32()?;
            at.skip(4 + u64::from(len))?;
            let mut content = content.part(len.into())?;
            let count = wide(content.take(4)?) as u32;
            Value::List(content, count)
        }
        0xe0 => {
            let len = at.u8()?;
            other(at, len.into())?
        }
        0xf0 => {
            let len = at.u32()?;
            other(at, len.into())?
        }
        _ => return None,
    })
}

fn other<'a>(at: &mut Cursor<'a>, len: u64) -> Option<Value<'a>> {
    at.skip(len)?;
    Some(Value::Other)
}

impl<'a> Value<'a> {
    /// As text.
    pub(super) fn text(self) -> Option<CompactString> {
        let Self::Bytes(mut bytes) = self else { return None };
        let len = bytes.left();
        let text = str::from_utf8(bytes.take(len).filter(|_| (1..=MAX_TEXT).contains(&len))?).ok()?;
        (!text.chars().any(char::is_control)).then(|| CompactString::new(text))
    }

    /// As a number.
    pub(super) const fn number(self) -> Option<u64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// Whether it is true.
    pub(super) const fn is_true(self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// The first of its members, where it is a list, be it described; what is missing is null.
    pub(super) fn members<const N: usize>(self) -> Option<[Value<'a>; N]> {
        let (mut at, count) = match self {
            Self::List(at, count) => (at, count),
            Self::Described(_, mut value) => match next(&mut value)? {
                Self::List(at, count) => (at, count),
                _ => return None,
            },
            _ => return None,
        };
        let mut members = [Value::Null; N];
        for (member, _) in members.iter_mut().zip(0..count) {
            *member = next(&mut at)?;
        }
        Some(members)
    }
}
