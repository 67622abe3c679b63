//! Messages of protocol buffers, field by field. Those that are cut are read as far as they go.

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    /// A text, bytes, a message; what is there of it.
    Bytes(&'a [u8]),
    /// Of four or eight bytes.
    Fixed(&'a [u8]),
}

/// Fields by their numbers, in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = number(&mut self.0)?;
        let value = match tag & 7 {
            0 => Value::Number(number(&mut self.0)?),
            1 => Value::Fixed(self.part(8)),
            2 => {
                let len = number(&mut self.0)?;
                Value::Bytes(self.part(len))
            }
            5 => Value::Fixed(self.part(4)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Fields<'a> {
    fn part(&mut self, len: u64) -> &'a [u8] {
        let (part, rest) = self.0.split_at(usize::try_from(len).unwrap_or(usize::MAX).min(self.0.len()));
        self.0 = rest;
        part
    }

    /// The last number of a field, which is the one that counts.
    pub(super) fn number(self, field: u64) -> Option<u64> {
        let of = |(number, value)| match value {
            Value::Number(value) if number == field => Some(value),
            _ => None,
        };
        self.filter_map(of).last()
    }

    /// All bytes of a field that may be there several times.
    pub(super) fn all(self, field: u64) -> impl Iterator<Item = &'a [u8]> {
        self.filter_map(move |(number, value)| match value {
            Value::Bytes(bytes) if number == field => Some(bytes),
            _ => None,
        })
    }

    /// A field's bytes.
    pub(super) fn bytes(self, field: u64) -> Option<&'a [u8]> {
        self.all(field).last()
    }
}

/// A number of seven bits per byte, the lowest first; `None` at the end, and of what is none.
pub(super) fn number(at: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = at.split_first()?;
        *at = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_far_as_they_go() {
        let message = [&[0x08, 0x96, 0x01, 0x12, 2][..], b"ab", &[0x1d, 1, 2, 3, 4, 0x12, 1, b'c', 0x08, 7]].concat();
        let fields = Fields(&message);
        assert_eq!((fields.number(1), fields.bytes(2), fields.number(9)), (Some(7), Some(&b"c"[..]), None));
        assert_eq!(fields.all(2).collect::<Vec<_>>(), [&b"ab"[..], b"c"]);
        assert_eq!(fields.count(), 5);
        assert_eq!(Fields(&message[..6]).bytes(2), Some(&b"a"[..]));
        assert_eq!(Fields(&[0x0b]).next(), None, "a group");
        assert_eq!(number(&mut &[0xff; 10][..]), None);
        assert_eq!(number(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..]), Some(u64::MAX));
    }
}
