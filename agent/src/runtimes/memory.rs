//! The memory of a process, and the files mapped in it. All of it is another program's: nothing is trusted, everything has a limit.

use std::{cell::Cell, fs::File, ops::Range, os::unix::fs::FileExt};

use object::{
    Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _, ReadCache, SegmentFlags,
    elf::{PF_X, PT_TLS},
    read::elf::ProgramHeader as _,
};

use crate::{
    model::ids::ProcessId,
    procs::fs::ProcFs,
    tls::{
        Mapped,
        exits::{self, Stretch},
        unwind,
    },
};

/// Most of `/proc/PID/maps` that is read.
const MAPS_MAX: u64 = 8 << 20;
/// Most reads of a process's memory: an entry of a dictionary takes one or two. One whose structures lead on and on would
/// keep a thread busy.
const READS_MAX: u32 = 200_000;
/// Longest function that is followed.
const FUNCTION_MAX: u64 = 64 << 10;

/// A file mapped for execution.
pub(super) struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    file: Mapped,
}

/// See the module.
pub(super) struct Memory {
    proc: ProcFs,
    pid: ProcessId,
    file: File,
    mappings: Vec<Mapping>,
    reads_left: Cell<u32>,
}

impl Memory {
    /// `None` where it cannot be read.
    pub(super) fn open(proc: &ProcFs, pid: ProcessId) -> Option<Self> {
        let mappings: Vec<Mapping> = proc.read(pid, "maps", MAPS_MAX)?.lines().filter_map(Mapping::parse).collect();
        let file = File::open(proc.path(pid, "mem")).ok()?;
        Some(Self { proc: proc.clone(), pid, file, mappings, reads_left: Cell::new(READS_MAX) })
    }

    /// The same where it is known which addresses are to be read; of what is mapped nothing is.
    pub(super) fn open_bare(proc: &ProcFs, pid: ProcessId) -> Option<Self> {
        let file = File::open(proc.path(pid, "mem")).ok()?;
        Some(Self { proc: proc.clone(), pid, file, mappings: Vec::new(), reads_left: Cell::new(READS_MAX) })
    }

    /// What is mapped for execution.
    pub(super) fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// That of the program itself, not of a library of it.
    pub(super) fn program(&self) -> Option<&Mapping> {
        let path = self.proc.exe(self.pid)?;
        self.mappings.iter().find(|mapping| mapping.file.path.trim_end_matches(" (deleted)") == path)
    }

    /// Opens the program's file, whatever of it is mapped.
    pub(super) fn open_program(&self) -> Option<File> {
        self.proc.open_exe(self.pid).ok()
    }

    /// That of an address.
    pub(super) fn mapping(&self, address: u64) -> Option<&Mapping> {
        self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))
    }

    /// Opens exactly the file that is mapped.
    pub(super) fn open_mapped(&self, mapping: &Mapping) -> Option<File> {
        mapping.file.open(&self.proc, self.pid)
    }

    /// `None` where nothing can be read, or too much was.
    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        self.reads_left.set(self.reads_left.get().checked_sub(1)?);
        self.file.read_exact_at(bytes, address).ok()
    }

    pub(super) fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (at, word) in words.iter_mut().enumerate() {
            *word = self.word(address.checked_add(8 * at as u64)?)?;
        }
        Some(words)
    }

    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        // address perms offset dev inode path
        let mut words = line.splitn(6, ' ');
        let (range, permissions, offset) = (words.next()?, words.next()?, words.next()?);
        let (device, inode, path) = (words.next()?, words.next()?, words.next()?.trim_start());
        if !permissions.contains('x') || !path.starts_with('/') {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let file = Mapped::new(range, device, inode, path);
        Some(Self { start: number(start)?, end: number(end)?, offset: number(offset)?, file })
    }

    /// The name of its file.
    pub(super) fn name(&self) -> &str {
        self.file.path.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or_default()
    }

    /// Where in its file an address lies.
    pub(super) const fn offset_of(&self, address: u64) -> u64 {
        address - self.start + self.offset
    }
}

/// An ELF file that is mapped.
pub(super) struct Program<'a> {
    elf: object::File<'a, &'a ReadCache<File>>,
    /// What is added to its addresses in the process.
    bias: u64,
}

impl<'a> Program<'a> {
    pub(super) fn of(mapping: &Mapping, file: &'a ReadCache<File>) -> Option<Self> {
        let elf = object::File::parse(file).ok()?;
        // One that is not executable may lie in the same page of the file.
        let is_code = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & PF_X != 0);
        let bias = elf.segments().filter(|segment| is_code(segment.flags())).find_map(|segment| {
            let (offset, size) = segment.file_range();
            // Mapped from the page on that it begins in.
            let from = offset & !0xfff;
            let is_within = (from..offset.checked_add(size)?).contains(&mapping.offset);
            is_within.then(|| {
                mapping.start.wrapping_sub(segment.address().wrapping_sub(offset).wrapping_add(mapping.offset))
            })
        })?;
        Some(Self { elf, bias })
    }

    pub(super) const fn elf(&self) -> &object::File<'a, &'a ReadCache<File>> {
        &self.elf
    }

    /// What is added to its addresses in the process.
    pub(super) const fn bias(&self) -> u64 {
        self.bias
    }

    /// Where in the process a section of it lies.
    pub(super) fn address_of(&self, section: &str) -> Option<u64> {
        Some(self.elf.section_by_name(section)?.address().wrapping_add(self.bias))
    }

    /// Where in the file an address of it lies.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.elf.segments().find_map(|segment| {
            let within = address.checked_sub(segment.address())?;
            let (offset, size) = segment.file_range();
            if within < size { offset.checked_add(within) } else { None }
        })
    }

    /// Size and alignment of what each thread has of its variables.
    pub(super) fn thread_segment(&self) -> Option<(u64, u64)> {
        let object::File::Elf64(elf) = &self.elf else { return None };
        let endian = elf.endian();
        let of_thread = elf.elf_program_headers().iter().find(|header| header.p_type(endian) == PT_TLS)?;
        Some((of_thread.p_memsz(endian), of_thread.p_align(endian)))
    }

    /// Where the process has these dynamic symbols.
    pub(super) fn symbols<const N: usize>(&self, names: [&str; N]) -> [Option<u64>; N] {
        let mut found = [None; N];
        for symbol in self.elf.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
            let Ok(name) = symbol.name() else { continue };
            if let Some(at) = names.iter().position(|wanted| *wanted == name)
                && let Some(place) = found.get_mut(at)
            {
                *place = Some(symbol.address().wrapping_add(self.bias));
            }
        }
        found
    }

    /// Whether a function begins at this address of the process.
    pub(super) fn has_function(&self, file: &File, address: u64) -> bool {
        let address = address.wrapping_sub(self.bias);
        self.function(file, address).is_some_and(|function| function.start == address)
    }

    /// The function, or part of one, around an address of the program: by the table by which stacks are unwound.
    fn function(&self, file: &File, address: u64) -> Option<Range<u64>> {
        let section = self.elf.section_by_name(".eh_frame_hdr")?;
        let (offset, len) = section.file_range()?;
        let table = unwind::Table { address: section.address(), offset, len };
        table.function(file, address, |address| self.offset_of(address))
    }

    /// Where in the file the function returns that begins at this address of the process, and those that it ends in.
    pub(super) fn returns(&self, file: &File, address: u64) -> Option<Vec<u64>> {
        let address = address.wrapping_sub(self.bias);
        let stretch = |at: u64| {
            let range = self.function(file, at)?;
            let len = range.end.checked_sub(range.start).filter(|len| *len <= FUNCTION_MAX)?;
            let mut code = vec![0; usize::try_from(len).ok()?];
            file.read_exact_at(&mut code, self.offset_of(range.start)?).ok()?;
            Some(Stretch { address: range.start, code })
        };
        let begins = stretch(address).filter(|stretch| stretch.address == address)?;
        let followed = exits::follow(begins, stretch).ok()?;
        followed.returns.into_iter().map(|at| self.offset_of(at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_files_mapped_for_execution_are_read() {
        let line = "7f2cd6b2c000-7f2cd6b33000 r-xp 00004000 fe:00 21490   /usr/lib/python 3/_asyncio.so (deleted)";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!((mapping.name(), mapping.offset_of(0x7f2c_d6b2_c010)), ("_asyncio.so", 0x4010));
        for line in [
            "",
            "1-2",
            "7ffd0000-7ffd1000 r-xp 00000000 00:00 0 [vdso]",
            "0-1 rw-p 0 0:0 9 /lib/data",
            "x-y r-xp 0 0:0 9 /lib/a",
        ] {
            assert!(Mapping::parse(line).is_none(), "{line}");
        }
    }

    #[test]
    fn functions_of_a_process_are_known_by_where_they_begin() {
        let memory = Memory::open(&ProcFs::new("/proc"), ProcessId(std::process::id())).unwrap();
        let address = functions_of_a_process_are_known_by_where_they_begin as fn() as usize as u64;
        let mapping = memory.mapping(address).unwrap();
        let file = memory.open_mapped(mapping).unwrap();
        let cache = ReadCache::new(file.try_clone().unwrap());
        let program = Program::of(mapping, &cache).unwrap();
        assert!(program.has_function(&file, address) && !program.has_function(&file, address + 1));
        assert!(memory.word(address).is_some());
        for _ in 0..READS_MAX {
            memory.word(8);
        }
        assert!(memory.word(address).is_none(), "it goes on without end");
        assert!(memory.mapping(8).is_none() && memory.word(8).is_none() && memory.word(u64::MAX).is_none());
    }
}
