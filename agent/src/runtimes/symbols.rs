//! Names in a program's table of symbols that are looked for. Tables are read in pieces: they can be a hundred megabytes.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

use memchr::memmem;
use object::{
    LittleEndian, Object as _, ObjectSection as _, ReadCache,
    elf::{STT_FUNC, STT_OBJECT, STT_TLS, Sym64},
    pod,
};

/// Most bytes of a table that are read.
const TABLE_MAX: u64 = 256 << 20;
/// Tables are read in pieces of this size.
const PIECE: usize = 256 << 10;
/// Longest name that is looked at.
const NAME_MAX: usize = 1024;
/// Most names that are found.
const NAMES_MAX: usize = 256;
/// Bytes of a symbol.
const SYMBOL: usize = size_of::<Sym64<LittleEndian>>();

/// A function, variable, or variable of each thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol<T> {
    pub(super) what: T,
    pub(super) address: u64,
    pub(super) size: u64,
}

/// The symbols whose names have one of `parts` in them, and are `what`.
pub(super) fn find<'a, T: Copy>(
    file: &File,
    elf: &object::File<'a, &'a ReadCache<File>>,
    parts: &[&str],
    what: impl Fn(&[u8]) -> Option<T>,
) -> Option<Vec<Symbol<T>>> {
    let range = |name| elf.section_by_name(name)?.file_range();
    let ((names_at, names), (symbols_at, symbols)) = (range(".strtab")?, range(".symtab")?);
    let parts: Vec<_> = parts.iter().map(memmem::Finder::new).collect();
    let mut found = HashMap::new();
    pieces(file, names_at, names, |start, piece, is_last| {
        let whole = piece.get(..memchr::memrchr(0, piece).map_or(0, |end| end + 1))?;
        for hit in parts.iter().flat_map(|part| part.find_iter(whole)) {
            let from = memchr::memrchr(0, whole.get(..hit)?).map_or(0, |end| end + 1);
            let to = hit + memchr::memchr(0, whole.get(hit..)?)?;
            if found.len() < NAMES_MAX
                && let Some(what) = what(whole.get(from..to)?)
            {
                found.insert(start.checked_add(from as u64)?, what);
            }
        }
        let rest = piece.len() - whole.len();
        // One that is longer is none of those.
        Some(if is_last || rest > NAME_MAX { 0 } else { rest })
    })?;
    let mut out = Vec::new();
    if found.is_empty() {
        return Some(out);
    }
    pieces(file, symbols_at, symbols, |_, piece, _| {
        let (table, _) = pod::slice_from_bytes::<Sym64<LittleEndian>>(piece, piece.len() / SYMBOL).ok()?;
        for symbol in table {
            let name = u64::from(symbol.st_name.get(LittleEndian));
            if let Some(&what) = found.get(&name)
                && [STT_FUNC, STT_OBJECT, STT_TLS].contains(&(symbol.st_info & 0xf))
                && symbol.st_shndx.get(LittleEndian) != 0
                && out.len() < NAMES_MAX
            {
                let (address, size) = (symbol.st_value.get(LittleEndian), symbol.st_size.get(LittleEndian));
                out.push(Symbol { what, address, size });
            }
        }
        Some(piece.len() % SYMBOL)
    })?;
    Some(out)
}

/// Calls `on_piece` for each piece of a range of a file: where in the range it begins, its bytes, whether it is the last. It gives how many
/// bytes of its end it wants to see again.
fn pieces(
    file: &File,
    offset: u64,
    len: u64,
    mut on_piece: impl FnMut(u64, &[u8], bool) -> Option<usize>,
) -> Option<()> {
    let len = len.min(TABLE_MAX);
    // Aligned as its words are.
    let mut words = vec![0_u64; PIECE / 8];
    let bytes = pod::bytes_of_slice_mut(&mut words);
    let (mut at, mut kept) = (0, 0);
    while at < len {
        let more = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE - kept);
        file.read_exact_at(bytes.get_mut(kept..kept + more)?, offset.checked_add(at)?).ok()?;
        at += more as u64;
        let filled = kept + more;
        let again = on_piece(at - filled as u64, bytes.get(..filled)?, at == len)?;
        // It would not go on.
        kept = if again < PIECE { again } else { 0 };
        bytes.copy_within(filled - kept..filled, 0);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_by_parts_of_their_names() {
        let file = File::open("/proc/self/exe").unwrap();
        let cache = ReadCache::new(file.try_clone().unwrap());
        let elf = object::File::parse(&cache).unwrap();
        let of = |name: &[u8]| memmem::find(name, b"symbols_are_found_by_parts_of_their_names").map(|_| ());
        let found = find(&file, &elf, &["symbols_are_found_by_parts"], of).unwrap();
        let is_function = |symbol: &&Symbol<()>| symbol.size > 0 && symbol.address > 0;
        assert!(found.iter().filter(is_function).count() >= 1, "{found:?}");
        assert!(find(&file, &elf, &["no_such_na\u{6d}e_anywhere"], |_| None::<()>).unwrap().is_empty());
    }

    #[test]
    fn what_a_piece_ends_with_is_seen_again() {
        let file = File::open("/proc/self/exe").unwrap();
        let mut seen = Vec::new();
        let len = PIECE as u64 * 2 + 100;
        pieces(&file, 0, len, |start, piece, is_last| {
            seen.push((start, piece.len(), is_last));
            Some(if is_last { 0 } else { 24 })
        })
        .unwrap();
        assert_eq!(
            seen.iter().map(|(start, ..)| *start).collect::<Vec<_>>(),
            [0, PIECE as u64 - 24, 2 * (PIECE as u64 - 24)]
        );
        assert_eq!(seen.last(), Some(&(2 * (PIECE as u64 - 24), 148, true)));
    }
}
