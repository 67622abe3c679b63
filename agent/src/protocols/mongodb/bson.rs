//! BSON (<https://bsonspec.org/spec.html>), as far as it takes to walk through the elements of a document of which the end may be
//! missing. Nothing is allocated.

/// An element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Element<'a> {
    pub(super) name: &'a str,
    pub(super) value: Value<'a>,
}

/// What it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Text; empty where it is none.
    Text(&'a str),
    /// A number, or what is true (1) and false (0).
    Number(f64),
    Document(Document<'a>),
    Array(Document<'a>),
    /// Anything else.
    Other,
}

/// The elements of a document, or of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Document<'a> {
    /// Those that are there.
    bytes: &'a [u8],
    /// Its last elements are missing.
    is_cut: bool,
}

fn int(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_le_bytes(*bytes.first_chunk()?))
}

/// Text up to a zero, and what stands behind it.
pub(super) fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((str::from_utf8(bytes.get(..end)?).ok()?, bytes.get(end + 1..)?))
}

impl<'a> Document<'a> {
    /// One that stands at the beginning of these bytes, and what stands behind it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let len = usize::try_from(int(bytes)?).ok().filter(|len| *len >= 5)?;
        let (document, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
        let is_cut = document.len() < len;
        let end = if is_cut { document.len() } else { len - 1 };
        Some((Self { bytes: document.get(4..end)?, is_cut }, rest))
    }

    /// Its elements; the last one may be cut.
    pub(super) const fn elements(self) -> Elements<'a> {
        Elements { rest: self.bytes, is_cut: self.is_cut }
    }

    /// An element by its name.
    pub(super) fn get(self, name: &str) -> Option<Value<'a>> {
        self.elements().find(|element| element.name == name).map(|element| element.value)
    }

    /// How many it has; `None` where that is not seen.
    pub(super) fn len(self) -> Option<u64> {
        if self.is_cut {
            return None;
        }
        let mut elements = self.elements();
        let count = elements.by_ref().count() as u64;
        elements.rest.is_empty().then_some(count)
    }
}

/// See [`Document::elements`].
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    is_cut: bool,
}

impl<'a> Elements<'a> {
    fn step(&mut self) -> Option<Element<'a>> {
        let (&kind, rest) = self.rest.split_first()?;
        let (name, rest) = text(rest)?;
        let sized = |size: usize| rest.split_at_checked(size);
        let (value, rest) = match kind {
            0x01 => sized(8)
                .and_then(|(number, rest)| Some((Value::Number(f64::from_le_bytes(number.try_into().ok()?)), rest)))?,
            0x10 => sized(4).and_then(|(number, rest)| Some((Value::Number(f64::from(int(number)?)), rest)))?,
            0x12 => {
                let (number, rest) = sized(8)?;
                (Value::Number(i64::from_le_bytes(number.try_into().ok()?) as f64), rest)
            }
            0x08 => sized(1).map(|(is, rest)| (Value::Number(if is == [1] { 1.0 } else { 0.0 }), rest))?,
            0x02 => {
                let len = usize::try_from(int(rest)?).ok().filter(|len| *len >= 1)?;
                let (words, rest) = rest.get(4..)?.split_at_checked(len)?;
                (
                    Value::Text(
                        words.strip_suffix(&[0]).and_then(|words| str::from_utf8(words).ok()).unwrap_or_default(),
                    ),
                    rest,
                )
            }
            0x03 | 0x04 => {
                let (document, behind) = Document::read(rest)?;
                if document.is_cut && !self.is_cut {
                    return None;
                }
                (if kind == 0x03 { Value::Document(document) } else { Value::Array(document) }, behind)
            }
            0x05 => {
                let len = usize::try_from(int(rest)?).ok()?;
                (Value::Other, rest.get(5..)?.get(len..)?)
            }
            0x0b => (Value::Other, text(text(rest)?.1)?.1),
            0x0d | 0x0e => {
                let len = usize::try_from(int(rest)?).ok()?;
                (Value::Other, rest.get(4..)?.get(len..)?)
            }
            0x0c => {
                let len = usize::try_from(int(rest)?).ok()?;
                (Value::Other, rest.get(4..)?.get(len..)?.get(12..)?)
            }
            0x0f => {
                let len = usize::try_from(int(rest)?).ok().filter(|len| *len >= 14)?;
                (Value::Other, rest.get(len..)?)
            }
            0x06 | 0x0a | 0x7f | 0xff => (Value::Other, rest),
            0x07 => (Value::Other, sized(12)?.1),
            0x09 | 0x11 => (Value::Other, sized(8)?.1),
            0x13 => (Value::Other, sized(16)?.1),
            _ => return None,
        };
        self.rest = rest;
        Some(Element { name, value })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        self.step()
    }
}

/// Whether a byte says what an element has.
pub(super) const fn is_kind(byte: u8) -> bool {
    matches!(byte, 0x01..=0x13 | 0x7f | 0xff)
}
