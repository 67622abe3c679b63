//! Header compression (RFC 7541) for one who listens in, perhaps since the middle of the connection.
//!
//! What is known for certain is told, what is not is told to be unknown; nothing is guessed. See [`table`].

mod fields;
mod huffman;
mod table;

use fields::StaticEntry;
pub(super) use table::identity;
use table::{Entry, Lookup, Name, Stored, Table};

use crate::{model::headers, protocols::http::Field};

/// Longest value that is kept; longer ones are cut.
const MAX_VALUE: usize = 16 * 1024;
/// Most bytes of names and values of one block that are told; the rest only keeps the table right.
const MAX_DECODED: u64 = 64 * 1024;

/// A block that cannot be decoded: the peer is broken, or insertions were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the block ends within a field")]
    Short,
    #[error("an index that names nothing")]
    Index,
    #[error("an integer out of range")]
    Integer,
    #[error("a string that is not Huffman-coded")]
    Huffman,
    #[error("a size update after the first field, or a third one")]
    SizeUpdate,
}

/// A field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// Its name, and its value if that is of interest (else it is empty). `cut`: only the value's beginning.
    Known { field: Field, value: &'a [u8], cut: bool },
    /// A field whose name is unknown; the number is the same for the same name and value.
    Unknown(u64),
}

/// What is to be said of a whole block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// A limit was exceeded: fields were cut or not told.
    pub(crate) over_limit: bool,
    /// It holds a name or value that HTTP/2 forbids.
    pub(crate) malformed: bool,
}

/// Decoder of one direction's header blocks.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    scratch: Vec<u8>,
}

impl Decoder {
    /// For a connection met in mid-life.
    pub(crate) fn unknown() -> Self {
        Self { table: Table::unknown(), scratch: Vec::new() }
    }

    /// The connection has only just begun: nothing was inserted that was not seen.
    pub(crate) fn assume_complete(&mut self) {
        self.table.assume_complete();
    }

    /// Forgets the table: a block was missed, or its end was.
    pub(crate) fn forget(&mut self) {
        self.table.forget();
    }

    /// Whether nothing was ever missed since this decoder was made.
    pub(crate) const fn never_lost(&self) -> bool {
        self.table.never_lost()
    }

    /// Heap bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.table.memory() + self.scratch.capacity()
    }

    /// Decodes a block, or the beginning of one if it is not `whole`, and tells its fields in order. After an error,
    /// and after a block that is not whole, the table is forgotten; after an error the fields told may be wrong.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        whole: bool,
        tell: &mut impl FnMut(Decoded<'_>),
    ) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        let mut result = self.fields(block, &mut summary, tell);
        if result == Err(Error::Short) && !whole {
            result = Ok(());
        }
        if result.is_err() || !whole {
            self.forget();
        }
        if self.scratch.capacity() > MAX_VALUE {
            self.scratch = Vec::new();
        }
        result.map(|()| summary)
    }

    fn fields(
        &mut self,
        mut block: &[u8],
        summary: &mut Summary,
        tell: &mut impl FnMut(Decoded<'_>),
    ) -> Result<(), Error> {
        let (mut size_updates, mut any_field, mut decoded_len) = (0, false, 0_u64);
        let mut tell = |decoded: Decoded<'_>, len: u64, summary: &mut Summary| {
            decoded_len = decoded_len.saturating_add(len);
            if decoded_len <= MAX_DECODED {
                tell(decoded);
            } else {
                summary.over_limit = true;
            }
        };
        while let Some(&first) = block.first() {
            if first & 0xe0 == 0x20 {
                let size = integer(&mut block, 5)?;
                size_updates += 1;
                if any_field || size_updates > 2 {
                    return Err(Error::SizeUpdate);
                }
                self.table.resize(size);
                continue;
            }
            any_field = true;
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                if let Some((field, name_len, value)) = static_entry(index)? {
                    let len = u64::from(*name_len) + value.len() as u64;
                    tell(Decoded::Known { field: named(*field, index), value, cut: false }, len, summary);
                    continue;
                }
                match self.table.get(index - FIRST_DYNAMIC)? {
                    Lookup::Known(entry) => {
                        let len = u64::from(entry.name_len) + u64::from(entry.value_len);
                        tell(entry.decoded(), len, summary);
                    }
                    Lookup::Unknown(entry) => tell(Decoded::Unknown(entry.field()), 0, summary),
                }
                continue;
            }
            let insert = first & 0x40 != 0;
            let index = integer(&mut block, if insert { 6 } else { 4 })?;
            let (name, name_len) = self.name(index, &mut block, summary)?;
            let value = string(&mut block, &mut self.scratch)?;
            summary.malformed |= !fields::is_value(value);
            let kept = value.get(..MAX_VALUE).unwrap_or(value);
            let cut = kept.len() < value.len();
            let (decoded, stored) = match name {
                Name::Known(field) if field.is_kept() => {
                    summary.over_limit |= cut;
                    let stored = insert.then(|| Stored::Value { bytes: kept.into(), cut });
                    (Decoded::Known { field, value: kept, cut }, stored)
                }
                Name::Known(field) => {
                    (Decoded::Known { field, value: b"", cut: false }, insert.then_some(Stored::Nothing))
                }
                Name::Unknown(name) => {
                    let field = identity(&(name, value));
                    (Decoded::Unknown(field), insert.then_some(Stored::Identity(field)))
                }
            };
            tell(decoded, u64::from(name_len) + value.len() as u64, summary);
            if let Some(stored) = stored {
                let value_len = u32::try_from(value.len()).map_err(|_| Error::Integer)?;
                self.table.insert(Entry { name, name_len, value_len, stored });
            }
        }
        Ok(())
    }

    /// A literal's name, by index or spelt out, and its length.
    fn name(&mut self, index: u64, block: &mut &[u8], summary: &mut Summary) -> Result<(Name, u32), Error> {
        if index == 0 {
            let name = string(block, &mut self.scratch)?;
            summary.malformed |= !fields::is_name(name);
            return Ok((Name::Known(Field::from_name(name)), u32::try_from(name.len()).map_err(|_| Error::Integer)?));
        }
        if let Some((field, name_len, _)) = static_entry(index)? {
            return Ok((Name::Known(named(*field, index)), u32::from(*name_len)));
        }
        Ok(match self.table.get(index - FIRST_DYNAMIC)? {
            Lookup::Known(entry) => (entry.name, entry.name_len),
            Lookup::Unknown(entry) => (Name::Unknown(entry.name()), 0),
        })
    }
}

impl Entry {
    fn decoded(&self) -> Decoded<'_> {
        match (self.name, &self.stored) {
            (Name::Known(field), Stored::Value { bytes, cut }) => Decoded::Known { field, value: bytes, cut: *cut },
            (Name::Known(field), _) => Decoded::Known { field, value: b"", cut: false },
            (Name::Unknown(_), Stored::Identity(field)) => Decoded::Unknown(*field),
            (Name::Unknown(name), _) => Decoded::Unknown(name),
        }
    }
}

/// The field of the static table's entry, where the configuration may ask for its name.
fn named(field: Field, index: u64) -> Field {
    if field != Field::Other || !headers::any() {
        return field;
    }
    let name = usize::try_from(index).ok().and_then(|index| fields::NAMES.get(index.checked_sub(FIRST_NAMED)?));
    name.and_then(|name| headers::find(name)).map_or(field, Field::Wanted)
}

/// Index of the first of [`fields::NAMES`].
const FIRST_NAMED: usize = 15;

/// Index of the dynamic table's newest entry.
const FIRST_DYNAMIC: u64 = 62;

/// The static table's entry; `None` if the index is one of the dynamic table.
fn static_entry(index: u64) -> Result<Option<&'static StaticEntry>, Error> {
    if index >= FIRST_DYNAMIC {
        return Ok(None);
    }
    let at = usize::try_from(index).ok().and_then(|index| index.checked_sub(1)).ok_or(Error::Index)?;
    fields::STATIC.get(at).map(Some).ok_or(Error::Index)
}

/// An integer with a prefix of `prefix` bits (RFC 7541, section 5.1), up to 2^32.
fn integer(block: &mut &[u8], prefix: u8) -> Result<u64, Error> {
    let (&first, mut rest) = block.split_first().ok_or(Error::Short)?;
    let mask = u8::MAX >> (8 - prefix);
    let mut value = u64::from(first & mask);
    if first & mask == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(Error::Short)?;
            rest = after;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return Err(Error::Integer);
            }
        }
        if value > u64::from(u32::MAX) {
            return Err(Error::Integer);
        }
    }
    *block = rest;
    Ok(value)
}

/// A string (RFC 7541, section 5.2): a piece of the block, or decoded into `scratch`.
fn string<'a, 'b: 'a>(block: &mut &'b [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    let is_huffman = block.first().ok_or(Error::Short)? & 0x80 != 0;
    let len = usize::try_from(integer(block, 7)?).map_err(|_| Error::Integer)?;
    let (string, rest) = block.split_at_checked(len).ok_or(Error::Short)?;
    *block = rest;
    if !is_huffman {
        return Ok(string);
    }
    scratch.clear();
    huffman::decode(string, scratch).map_err(|huffman::Invalid| Error::Huffman)?;
    Ok(scratch)
}

#[cfg(test)]
mod tests;
