//! Functions of a Go program by their names: the table by which its runtime finds them (`.gopclntab`), which no linker option leaves out. It is
//! another program's: nothing is trusted, and what is read has a limit.

use memchr::memmem::Finder;

/// Most functions of a program.
const FUNCTIONS_MAX: u64 = 4 << 20;
/// The table is read in pieces of this size.
const PIECE: usize = 256 << 10;
/// Most bytes that are read of a table: those of a program of 200 MB are read once.
const READ_MAX: u64 = 512 << 20;
/// Longer than any name that is looked for.
const NAME_MAX: usize = 256;

/// Why a table cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It begins with none of the numbers that releases of Go write: tools that hide names change it.
    Unknown,
    /// It is cut off, or of no 64-bit program.
    Broken,
}

/// How a table is laid out, by the release of Go that began with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// 1.2.
    First,
    /// 1.16.
    InParts,
    /// 1.18 and 1.20: addresses are counted from the beginning of the code.
    Relative,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its address, as the table counts it.
    pub(crate) start: u64,
    /// How long its code is at most.
    pub(crate) size: u64,
}

/// The table. `R` reads bytes at an offset within it.
pub(crate) struct Table<R> {
    read: R,
    len: u64,
    layout: Layout,
    count: u64,
    /// Where names stand, and how long that part is.
    names: (u64, u64),
    /// What offsets of functions are counted from.
    functions: u64,
    /// Where the list of functions begins.
    list: u64,
}

impl<R: Fn(u64, &mut [u8]) -> Option<()>> Table<R> {
    /// A table of `len` bytes.
    pub(crate) fn open(read: R, len: u64) -> Result<Self, Unreadable> {
        let word = |at: u64| -> Option<u64> {
            let mut bytes = [0; 8];
            read(at, &mut bytes)?;
            Some(u64::from_le_bytes(bytes))
        };
        let first = word(0).ok_or(Unreadable::Broken)?;
        let layout = match first as u32 {
            0xffff_fffb => Layout::First,
            0xffff_fffa => Layout::InParts,
            0xffff_fff0 | 0xffff_fff1 => Layout::Relative,
            _ => return Err(Unreadable::Unknown),
        };
        // Two zeroes, the least length of an instruction, the size of a pointer.
        if first >> 32 != 0x0801_0000 {
            return Err(Unreadable::Broken);
        }
        let parts = || -> Option<(u64, u64, u64, u64)> {
            let count = word(8)?;
            Some(match layout {
                Layout::First => (count, 0, len, 16),
                Layout::InParts => (count, word(24)?, word(32)?, word(56)?),
                Layout::Relative => (count, word(32)?, word(40)?, word(64)?),
            })
        };
        let (count, names, names_end, list) = parts().ok_or(Unreadable::Broken)?;
        let names_len = names_end.checked_sub(names).filter(|_| names_end <= len).ok_or(Unreadable::Broken)?;
        let functions = if layout == Layout::First { 0 } else { list };
        let width = if layout == Layout::Relative { 8 } else { 16 };
        let is_within =
            count > 0 && count <= FUNCTIONS_MAX && list.checked_add((count + 1) * width).is_some_and(|end| end <= len);
        if !is_within {
            return Err(Unreadable::Broken);
        }
        Ok(Self { read, len, layout, count, names: (names, names_len), functions, list })
    }

    /// Whether addresses are counted from the beginning of the code.
    pub(crate) const fn is_relative(&self) -> bool {
        matches!(self.layout, Layout::Relative)
    }

    /// Where the first function begins.
    pub(crate) fn first(&self) -> Option<u64> {
        let mut list = Window::new(&self.read, self.len);
        self.entry(&mut list, 0).map(|(start, _)| start)
    }

    /// Where the last function ends.
    pub(crate) fn end(&self) -> Option<u64> {
        let mut list = Window::new(&self.read, self.len);
        self.entry(&mut list, self.count).map(|(end, _)| end)
    }

    /// The functions that these addresses lie in, which stand in order.
    pub(crate) fn containing(&self, addresses: &[u64]) -> Vec<Function> {
        let mut found = Vec::new();
        let mut list = Window::new(&self.read, self.len);
        let mut addresses = addresses.iter().peekable();
        for at in 0..self.count {
            let (Some((start, _)), Some((end, _))) = (self.entry(&mut list, at), self.entry(&mut list, at + 1)) else {
                break;
            };
            // In none.
            while addresses.next_if(|address| **address < start).is_some() {}
            let Some(&&next) = addresses.peek() else { break };
            if next < end && next >= start {
                found.push(Function { start, size: end.saturating_sub(start) });
                while addresses.next_if(|address| **address < end).is_some() {}
            }
        }
        found
    }

    /// The functions with these names; `None` for one that is not there.
    pub(crate) fn find<const N: usize>(&self, names: &[&str; N]) -> [Option<Function>; N] {
        let mut found = [None; N];
        found.iter_mut().zip(self.find_all(names)).for_each(|(place, function)| *place = function);
        found
    }

    /// The same of any number.
    pub(crate) fn find_all(&self, names: &[&str]) -> Vec<Option<Function>> {
        let mut found = vec![None; names.len()];
        let Some(offsets) = self.offsets_of(names) else { return found };
        if offsets.is_empty() {
            return found;
        }
        let (mut list, mut functions) = (Window::new(&self.read, self.len), Window::new(&self.read, self.len));
        let mut left = READ_MAX;
        for at in 0..self.count {
            let (Some((start, function)), Some((end, _))) = (self.entry(&mut list, at), self.entry(&mut list, at + 1))
            else {
                break;
            };
            let name_at = if self.layout == Layout::Relative { 4 } else { 8 };
            let name = self.functions.checked_add(function).and_then(|it| functions.get::<4>(it.checked_add(name_at)?));
            let Some(name) = name else { continue };
            let name = u64::from(u32::from_le_bytes(name));
            if let Some((_, which)) = offsets.iter().find(|(offset, _)| *offset == name)
                && let Some(place) = found.get_mut(*which)
            {
                *place = Some(Function { start, size: end.saturating_sub(start) });
            }
            let read = std::mem::take(&mut list.bytes_read) + std::mem::take(&mut functions.bytes_read);
            match left.checked_sub(read) {
                Some(less) => left = less,
                None => break,
            }
        }
        found
    }

    /// An entry of the list: where a function begins, and where more is said of it.
    fn entry(&self, list: &mut Window<'_, R>, at: u64) -> Option<(u64, u64)> {
        if self.layout == Layout::Relative {
            let word = u64::from_le_bytes(list.get(self.list + at * 8)?);
            return Some((word & 0xffff_ffff, word >> 32));
        }
        let at = self.list + at * 16;
        Some((u64::from_le_bytes(list.get(at)?), u64::from_le_bytes(list.get(at + 8)?)))
    }

    /// Where these names stand, as functions say it; and which each is.
    fn offsets_of(&self, names: &[&str]) -> Option<Vec<(u64, usize)>> {
        let whole: Vec<Vec<u8>> = names.iter().map(|name| format!("\0{name}\0").into_bytes()).collect();
        let finders: Vec<Finder<'_>> = whole.iter().map(Finder::new).collect();
        let (start, len) = self.names;
        let mut found = Vec::new();
        let mut buffer = vec![0; PIECE + NAME_MAX];
        let mut at = 0;
        while at < len.min(READ_MAX) {
            let piece = usize::try_from(len - at).unwrap_or(PIECE + NAME_MAX).min(PIECE + NAME_MAX);
            let piece = buffer.get_mut(..piece)?;
            (self.read)(start + at, piece)?;
            for (which, finder) in finders.iter().enumerate() {
                // Behind the zero that ends the name before.
                found.extend(finder.find(piece).map(|hit| (at + hit as u64 + 1, which)));
            }
            at += PIECE as u64;
        }
        Some(found)
    }
}

/// What was last read of a table, since what is read next lies behind it mostly.
struct Window<'a, R> {
    read: &'a R,
    len: u64,
    bytes: Vec<u8>,
    at: u64,
    bytes_read: u64,
}

impl<'a, R: Fn(u64, &mut [u8]) -> Option<()>> Window<'a, R> {
    const fn new(read: &'a R, len: u64) -> Self {
        Self { read, len, bytes: Vec::new(), at: 0, bytes_read: 0 }
    }

    fn get<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        let within = |this: &Self| {
            let from = usize::try_from(at.checked_sub(this.at)?).ok()?;
            this.bytes.get(from..from.checked_add(N)?)?.try_into().ok()
        };
        if let Some(bytes) = within(self) {
            return Some(bytes);
        }
        let left = self.len.checked_sub(at)?;
        self.bytes.resize(usize::try_from(left).unwrap_or(PIECE).min(PIECE), 0);
        self.at = at;
        self.bytes_read += self.bytes.len() as u64;
        if (self.read)(at, &mut self.bytes).is_none() {
            self.bytes.clear();
        }
        within(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A table with the functions `runtime.main` and `main.main`.
    fn written(magic: u32) -> Vec<u8> {
        let names = b"\0runtime.main\0main.main\0";
        let (is_first, is_relative) = (magic == 0xffff_fffb, (0xffff_fff0..0xffff_fffa).contains(&magic));
        let mut table = magic.to_le_bytes().to_vec();
        table.extend_from_slice(&[0, 0, 1, 8]);
        let words = |table: &mut Vec<u8>, words: &[u64]| {
            words.iter().for_each(|word| table.extend_from_slice(&word.to_le_bytes()));
        };
        let head = if is_first {
            16
        } else if is_relative {
            72
        } else {
            64
        };
        let list_len = if is_relative { 3 * 8 } else { 3 * 16 };
        let (names_at, list) = if is_first { (head + list_len + 32, head) } else { (head, head + 24) };
        match (is_first, is_relative) {
            (true, _) => words(&mut table, &[2]),
            (_, true) => words(&mut table, &[2, 0, 0, names_at, list, 0, 0, list]),
            _ => words(&mut table, &[2, 0, names_at, list, 0, 0, list]),
        }
        if !is_first {
            table.extend_from_slice(names);
        }
        let functions_at = if is_first { head + list_len } else { list_len };
        let name_base = if is_first { names_at as u32 } else { 0 };
        for (start, function) in [(0x100_u64, functions_at), (0x180, functions_at + 16), (0x200, 0)] {
            if is_relative {
                words(&mut table, &[start | function << 32]);
            } else {
                words(&mut table, &[start, function]);
            }
        }
        for (start, name) in [(0x100_u64, 1_u32), (0x180, 14)] {
            if is_relative {
                table.extend_from_slice(&(start as u32).to_le_bytes());
                table.extend_from_slice(&(name_base + name).to_le_bytes());
                table.extend_from_slice(&[0; 8]);
            } else {
                words(&mut table, &[start]);
                table.extend_from_slice(&(name_base + name).to_le_bytes());
                table.extend_from_slice(&[0; 4]);
            }
        }
        if is_first {
            table.extend_from_slice(names);
        }
        table
    }

    fn reader(table: &[u8]) -> impl Fn(u64, &mut [u8]) -> Option<()> {
        move |at, into| {
            let at = usize::try_from(at).ok()?;
            into.copy_from_slice(table.get(at..at.checked_add(into.len())?)?);
            Some(())
        }
    }

    #[test]
    fn functions_are_found_in_the_tables_of_all_releases() {
        for magic in [0xffff_fffb, 0xffff_fffa, 0xffff_fff0, 0xffff_fff1] {
            let bytes = written(magic);
            let table = Table::open(reader(&bytes), bytes.len() as u64).unwrap();
            assert_eq!(table.first(), Some(0x100), "{magic:x}");
            let found = table.find(&["main.main", "main", "runtime.main"]);
            let at = |start| Some(Function { start, size: 0x80 });
            assert_eq!(found, [at(0x180), None, at(0x100)], "{magic:x}");
            let function = |start| Function { start, size: 0x80 };
            assert_eq!(table.end(), Some(0x200));
            assert_eq!(table.containing(&[0x10, 0x17f, 0x180, 0x190, 0x200]), [function(0x100), function(0x180)]);
            assert_eq!(table.containing(&[0x1ff]), [function(0x180)]);
            assert_eq!(table.is_relative(), magic < 0xffff_fffa);
        }
    }

    #[test]
    fn a_table_whose_number_was_changed_is_unknown() {
        let bytes = written(0x1234_5678);
        assert_eq!(Table::open(reader(&bytes), bytes.len() as u64).err(), Some(Unreadable::Unknown));
        assert_eq!(Table::open(reader(&[]), 0).err(), Some(Unreadable::Broken));
    }

    proptest! {
        #[test]
        fn any_table_is_read(flips in prop::collection::vec((0_usize..200, any::<u8>()), 0..6), cut in 0_usize..200) {
            for magic in [0xffff_fffb, 0xffff_fffa, 0xffff_fff1] {
                let mut bytes = written(magic);
                for (at, byte) in &flips {
                    if let Some(place) = bytes.get_mut(*at) {
                        *place = *byte;
                    }
                }
                bytes.truncate(cut.max(16));
                if let Ok(table) = Table::open(reader(&bytes), bytes.len() as u64) {
                    let _any = table.find(&["main.main", "runtime.main"]);
                    let _any = table.containing(&[0x100, 0x180]);
                }
            }
        }
    }
}
