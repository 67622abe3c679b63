//! Fields as Kafka writes them: lengths of fixed size in older versions of a request, varints and tagged fields in flexible ones.

use compact_str::CompactString;

use crate::protocols::sized::Cursor;

/// Most elements of a list that are believed.
const ELEMENTS_MAX: u64 = 1 << 20;
/// Longest name of a topic, a group, a client that is kept.
const NAME_MAX: u64 = 255;

/// Reads fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) is_flexible: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn i16(&mut self) -> Option<i16> {
        self.cursor.u16().map(u16::cast_signed)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.cursor.u32().map(u32::cast_signed)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.cursor.u64().map(u64::cast_signed)
    }

    /// An unsigned varint of at most 32 bits.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.cursor.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// How long what comes is; `None` within for none at all. `width`: bytes of the length where it is of fixed size.
    fn length(&mut self, width: u8) -> Option<Option<u64>> {
        if self.is_flexible {
            return Some(self.varint()?.checked_sub(1));
        }
        let length = if width == 2 { i64::from(self.i16()?) } else { i64::from(self.i32()?) };
        match length {
            -1 => Some(None),
            length => Some(Some(u64::try_from(length).ok()?)),
        }
    }

    /// A string, or none.
    pub(super) fn text(&mut self) -> Option<Option<CompactString>> {
        let Some(length) = self.length(2)? else { return Some(None) };
        if length > NAME_MAX {
            return None;
        }
        let text = str::from_utf8(self.cursor.take(length)?).ok()?;
        Some(Some(CompactString::new(text)))
    }

    /// Passes over a string.
    pub(super) fn skip_text(&mut self) -> Option<()> {
        let length = self.length(2)?.unwrap_or_default();
        self.cursor.skip(length)
    }

    /// Bytes, or none.
    pub(super) fn bytes(&mut self) -> Option<Option<Cursor<'a>>> {
        match self.length(4)? {
            Some(length) => Some(Some(self.cursor.part(length)?)),
            None => Some(None),
        }
    }

    /// How many elements a list has.
    pub(super) fn elements(&mut self) -> Option<u64> {
        let count = self.length(4)?.unwrap_or_default();
        (count <= ELEMENTS_MAX && count <= self.cursor.left()).then_some(count)
    }

    /// Passes over a list of elements of a size.
    pub(super) fn skip_list(&mut self, size: u64) -> Option<()> {
        let count = self.elements()?;
        self.cursor.skip(count * size)
    }

    /// Tagged fields, where the version has such.
    pub(super) fn tags(&mut self) -> Option<()> {
        self.find_tag(u64::MAX).map(drop)
    }

    /// The same; gives the value of one of them.
    pub(super) fn find_tag(&mut self, wanted: u64) -> Option<Option<Cursor<'a>>> {
        let mut found = None;
        if self.is_flexible {
            for _ in 0..self.varint()? {
                let (tag, length) = (self.varint()?, self.varint()?);
                let value = self.cursor.part(length)?;
                if tag == wanted {
                    found = Some(value);
                }
            }
        }
        Some(found)
    }
}
