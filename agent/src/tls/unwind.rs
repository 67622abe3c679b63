//! The table by which stacks are unwound (`.eh_frame_hdr`, Linux Standard Base, 10.6.2): it tells where every function begins
//! and ends, and every part of one that lies elsewhere, also in a file without symbols.

use std::{fs::File, os::unix::fs::FileExt};

/// `eh_frame_ptr_enc`, `fde_count_enc` and `table_enc` as every linker writes them: the table is sorted and can be searched.
const VERSION_AND_ENCODINGS: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
const HEADER: u64 = 12;
const ENTRY: u64 = 8;

/// The table, as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// Its address.
    pub(crate) address: u64,
    /// Where it is in the file.
    pub(crate) offset: u64,
    /// Its length.
    pub(crate) len: u64,
}

impl Table {
    /// The range of addresses of the function, or part of one, around an address. `offset_of` says where in the file an
    /// address lies.
    pub(crate) fn function(
        &self,
        file: &File,
        address: u64,
        offset_of: impl Fn(u64) -> Option<u64>,
    ) -> Option<std::ops::Range<u64>> {
        let header: [u8; HEADER as usize] = read(file, self.offset)?;
        let (encodings, count) = (header.first_chunk::<4>()?, header.last_chunk::<4>()?);
        let count = u64::from(u32::from_le_bytes(*count));
        if *encodings != VERSION_AND_ENCODINGS || HEADER + count * ENTRY > self.len {
            return None;
        }
        let entry = |index: u64| -> Option<(u64, u64)> {
            let entry: [u8; ENTRY as usize] = read(file, self.offset.checked_add(HEADER + index * ENTRY)?)?;
            let relative = |bytes: &[u8; 4]| self.address.wrapping_add_signed(i32::from_le_bytes(*bytes).into());
            Some((relative(entry.first_chunk()?), relative(entry.last_chunk()?)))
        };
        // The last that begins at the address or before.
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if entry(middle)?.0 <= address { low = middle + 1 } else { high = middle }
        }
        let (begin, description) = entry(low.checked_sub(1)?)?;
        // Length, place of what several have in common, begin, size.
        let fields: [u8; 16] = read(file, offset_of(description)?)?;
        let word = |at: usize| fields.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let relative = description.wrapping_add(8).wrapping_add_signed(i64::from(word(8)?.cast_signed()));
        let end = begin.checked_add(word(12)?.into())?;
        (relative == begin && (begin..end).contains(&address)).then_some(begin..end)
    }
}

fn read<const N: usize>(file: &File, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}
