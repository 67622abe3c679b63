//! The functions of a TLS library, found in the ELF file it is part of: a shared library, or a program it is linked into.
//!
//! Files are read in pieces and neither kept nor mapped: a mapped file that somebody cuts short would end the agent.
//! Names are searched first, then the symbols that bear them, so that a big symbol table costs no memory.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
};

use memchr::memmem;
use object::{
    Endianness, LittleEndian,
    elf::{
        EM_X86_64, FileHeader64, PF_X, PT_GNU_EH_FRAME, PT_LOAD, ProgramHeader64, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB,
        STT_FUNC, SectionHeader64, Sym64,
    },
    pod,
    read::elf::FileHeader,
};

use super::{
    code,
    emulated::{self, Chosen},
    exits::{self, Followed, Stretch},
    function::Function,
    rustls, unwind,
};

/// Names by which libraries know these functions. OpenSSL's are also BoringSSL's, AWS-LC's and LibreSSL's.
static NAMES: &[(&str, Function)] = &[
    ("SSL_write", Function::Write),
    ("SSL_write_ex", Function::Write),
    ("SSL_write_ex2", Function::Write),
    ("SSL_read", Function::Read),
    ("SSL_read_ex", Function::ReadEx),
    ("SSL_do_handshake", Function::Handshake),
    // Whoever receives by them finds the socket, too; what they give is given again by a read.
    ("SSL_peek", Function::Handshake),
    ("SSL_peek_ex", Function::Handshake),
    ("SSL_shutdown", Function::Shutdown),
    ("SSL_free", Function::Free),
    // What `SSL_read` ends in before 1.1.0, by way of a table.
    (BEFORE_1_1_0, Function::Read),
    // Where it ends until the version is agreed on: it shakes hands there, and then begins anew.
    (BEFORE_ITS_VERSION, Function::Handshake),
    ("gnutls_record_send", Function::WriteRecord),
    (GNUTLS_SEND2, Function::WriteRecord),
    ("gnutls_record_send_range", Function::Write),
    ("gnutls_record_recv", Function::Read),
    ("gnutls_record_recv_seq", Function::Read),
    ("gnutls_record_recv_packet", Function::ReadPacket),
    ("gnutls_record_cork", Function::Cork),
    ("gnutls_record_uncork", Function::Uncork),
    ("gnutls_handshake", Function::Handshake),
    ("gnutls_bye", Function::Shutdown),
    ("gnutls_deinit", Function::Free),
];

/// What `SSL_read` ends in before 1.1.0.
const BEFORE_1_1_0: &str = "ssl3_read";
/// What it ends in there before the version of TLS is known.
const BEFORE_ITS_VERSION: &str = "ssl23_read";
/// What `gnutls_record_send` ends in from 3.6.3 on.
const GNUTLS_SEND2: &str = "gnutls_record_send2";

/// What they begin with.
const PREFIXES: [&str; 4] = ["SSL_", "ssl3_", "ssl23_", "gnutls_"];

/// Longest name of a function of rustls, far above what its crates make of it.
const NAME_MAX: usize = 512;

/// Bounds of what is read: sections, and bytes of a symbol or string table.
const SECTIONS_MAX: usize = 1024;
const TABLE_MAX: u64 = 256 << 20;
/// Tables of symbols that are read; a file has one for its users and one for debuggers.
const TABLES_MAX: usize = 2;
/// Most places in a table of names where ours stand; a program with all of them has some hundred.
const NAMES_MAX: usize = 4096;
/// Tables are read in pieces of this size.
const PIECE: usize = 256 << 10;
/// Bytes of a function that are looked at.
const CODE_MAX: u64 = 512;
/// Most sites of a file: a name that stands for this many functions is none of ours.
const SITES_MAX: usize = 32;

/// An instruction that a probe is put at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Where, as offset in the file.
    pub offset: u64,
    /// How far the stack pointer is there from where the return address lies.
    pub depth: u32,
    /// Where the code begins that the choice rests on.
    pub from: u64,
    /// That code.
    pub code: Vec<u8>,
}

impl Probed {
    /// Whether the file still has that there.
    #[must_use]
    pub fn is_in(&self, file: &File) -> bool {
        let mut code = vec![0; self.code.len()];
        file.read_exact_at(&mut code, self.from).is_ok() && code == self.code
    }
}

/// Where a function begins, or returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first instruction, or a `ret`.
    pub plain: Probed,
    /// One on the same way that costs less to probe.
    pub cheap: Option<Probed>,
}

impl Place {
    /// What to probe. `has_depth`: the program can be told how far the stack pointer is from the return address.
    #[must_use]
    pub fn probed(&self, has_depth: bool) -> &Probed {
        self.cheap.as_ref().filter(|_| has_depth).unwrap_or(&self.plain)
    }
}

/// A function for probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What it is.
    pub function: Function,
    /// Its name.
    pub name: &'static str,
    /// Where it begins.
    pub entry: Place,
    /// Where it returns, if that is of interest, and those before it do not return there too.
    pub returns: Vec<Place>,
}

/// The TLS functions of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Library {
    /// Where they lie.
    pub sites: Vec<Site>,
    /// Functions whose code is not as expected: they, and so the library, are left alone.
    pub refused: Vec<String>,
}

struct Symbol {
    name: &'static str,
    function: Function,
    address: u64,
    size: u64,
    code: Vec<u8>,
    entry: Place,
    returns: Result<Vec<Place>, exits::Unknown>,
}

impl Symbol {
    fn site(&self) -> Site {
        let function = match self.function {
            Function::Handshake if self.returns.is_err() => Function::Observe,
            function => function,
        };
        Site { function, name: self.name, entry: self.entry.clone(), returns: self.returns.clone().unwrap_or_default() }
    }

    /// Why no probes can be put on it.
    fn refused(&self) -> Option<exits::Unknown> {
        let is_needed = self.function.programs().1.is_some() && self.function != Function::Handshake;
        self.returns.as_ref().err().copied().filter(|_| is_needed)
    }
}

impl Library {
    /// Looks for TLS functions in a file. `None` if it has none that read and write.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a well-formed ELF file of this machine.
    pub fn read(file: &File) -> io::Result<Option<Self>> {
        let elf = Elf::read(file)?;
        let mut symbols: Vec<Symbol> = Vec::new();
        let mut refused = Vec::new();
        let mut attempts = 0;
        for table in elf.symbol_tables()? {
            elf.scan(&table, &mut |name, function, symbol| {
                let address = symbol.st_value.get(LittleEndian);
                if symbols.iter().any(|known| known.address == address) || symbols.len() + refused.len() >= SITES_MAX {
                    return;
                }
                attempts += 1;
                if attempts > NAMES_MAX {
                    return;
                }
                let size = symbol.st_size.get(LittleEndian);
                match elf.place(address, size) {
                    Ok((offset, code)) => {
                        let (entry, returns) = elf.places(function, address, (offset, &code), size);
                        symbols.push(Symbol { name, function, address, size, code, entry, returns });
                    }
                    Err(reason) => {
                        let reason = format!("{name}: {reason}");
                        // A symbol may stand in both tables.
                        if !refused.contains(&reason) {
                            refused.push(reason);
                        }
                    }
                }
            })?;
        }
        let read = symbols.iter().find(|symbol| symbol.name == "SSL_read").map(|symbol| symbol.address);
        for symbol in symbols.iter_mut().filter(|symbol| symbol.name == BEFORE_ITS_VERSION) {
            let followed = elf.follow(symbol.address, symbol.size, read);
            symbol.returns = followed.and_then(|followed| elf.returns(&followed));
        }
        let is_there = |wanted: &str| symbols.iter().any(|symbol| symbol.name == wanted);
        let reads = symbols.iter().any(|symbol| symbol.name == "SSL_read" && symbol.returns.is_ok());
        // One of the two stands for both.
        let first = (reads || is_there(BEFORE_1_1_0)).then_some(if reads { BEFORE_1_1_0 } else { "SSL_read" });
        let second = is_there(GNUTLS_SEND2).then_some("gnutls_record_send");
        let third = reads.then_some(BEFORE_ITS_VERSION);
        symbols.retain(|symbol| ![first, second, third].contains(&Some(symbol.name)));
        // A function that hands over to another that is probed would be seen twice.
        let hands_over = |symbol: &Symbol| {
            symbols.iter().any(|other| {
                other.address != symbol.address
                    && other.function == symbol.function
                    && code::goes_to(&symbol.code, symbol.address, other.address)
            })
        };
        // One of rustls's functions without the others is of no use: the compiler has put it into those that call it.
        let has_rustls = [Function::Encrypt, Function::Encrypter, Function::Decrypted]
            .iter()
            .all(|wanted| symbols.iter().any(|symbol| symbol.function == *wanted));
        let wanted: Vec<&Symbol> = symbols
            .iter()
            .filter(|symbol| !hands_over(symbol) && (has_rustls || !symbol.function.is_of_rustls()))
            .collect();
        refused.extend(wanted.iter().filter_map(|symbol| Some(format!("{}: {}", symbol.name, symbol.refused()?))));
        let mut sites: Vec<Site> = wanted.into_iter().map(Symbol::site).collect();
        // Functions that end in the same one return at the same places, where one probe is enough.
        let mut known = HashSet::new();
        for Site { function, returns, .. } in &mut sites {
            returns.retain(|at| known.insert((function.programs().1, at.plain.offset)));
        }
        let has = |wanted: &[Function]| sites.iter().any(|site| wanted.contains(&site.function));
        let reads_and_writes =
            has(&[Function::Write, Function::WriteRecord]) && has(&[Function::Read, Function::ReadEx]);
        if refused.is_empty() && !reads_and_writes && !has_rustls {
            return Ok(None);
        }
        Ok(Some(if refused.is_empty() { Self { sites, refused } } else { Self { sites: Vec::new(), refused } }))
    }
}

/// A table of symbols and its table of names, as ranges of the file.
struct SymbolTable {
    symbols: (u64, u64),
    names: (u64, u64),
}

struct Elf<'a> {
    file: &'a File,
    header: FileHeader64<Endianness>,
    segments: Vec<ProgramHeader64<LittleEndian>>,
}

impl<'a> Elf<'a> {
    fn read(file: &'a File) -> io::Result<Self> {
        let mut bytes = [0; size_of::<FileHeader64<Endianness>>()];
        file.read_exact_at(&mut bytes, 0)?;
        let (header, _) =
            pod::from_bytes::<FileHeader64<Endianness>>(&bytes).map_err(|()| malformed("the header is not aligned"))?;
        let header = *header;
        let little = header.endian().is_ok_and(|endian| endian == Endianness::Little);
        if !header.is_supported() || !little || header.e_machine.get(Endianness::Little) != EM_X86_64 {
            return Err(malformed("not an ELF file for x86-64"));
        }
        let segments = table::<ProgramHeader64<LittleEndian>>(
            file,
            header.e_phoff.get(Endianness::Little),
            header.e_phnum.get(Endianness::Little).into(),
        )?;
        Ok(Self { file, header, segments })
    }

    fn symbol_tables(&self) -> io::Result<Vec<SymbolTable>> {
        let sections = table::<SectionHeader64<LittleEndian>>(
            self.file,
            self.header.e_shoff.get(Endianness::Little),
            self.header.e_shnum.get(Endianness::Little).into(),
        )?;
        let range = |section: &SectionHeader64<LittleEndian>| {
            (section.sh_offset.get(LittleEndian), section.sh_size.get(LittleEndian).min(TABLE_MAX))
        };
        Ok(sections
            .iter()
            .filter(|section| matches!(section.sh_type.get(LittleEndian), SHT_SYMTAB | SHT_DYNSYM))
            .filter_map(|section| {
                let names = sections.get(section.sh_link.get(LittleEndian) as usize)?;
                Some(SymbolTable { symbols: range(section), names: range(names) })
            })
            .take(TABLES_MAX)
            .collect())
    }

    /// Calls `on_symbol` for each defined function whose name is one of ours.
    fn scan(
        &self,
        table: &SymbolTable,
        on_symbol: &mut dyn FnMut(&'static str, Function, &Sym64<LittleEndian>),
    ) -> io::Result<()> {
        let names = self.find_names(table.names)?;
        if names.is_empty() {
            return Ok(());
        }
        const SYMBOL: usize = size_of::<Sym64<LittleEndian>>();
        pieces(self.file, table.symbols, SYMBOL, 0, |_, piece| {
            let (symbols, _) = pod::slice_from_bytes::<Sym64<LittleEndian>>(piece, piece.len() / SYMBOL)
                .map_err(|()| malformed("a symbol table ends too early"))?;
            for symbol in symbols {
                if symbol.st_info & 0xf != STT_FUNC || symbol.st_shndx.get(LittleEndian) == SHN_UNDEF {
                    continue;
                }
                let at = u64::from(symbol.st_name.get(LittleEndian));
                if let Some(&(name, function)) = names.get(&at) {
                    on_symbol(name, function, symbol);
                }
            }
            Ok(())
        })
    }

    /// Where in a table of names each of ours stands, with the zero that ends it; a name may be the end of another.
    fn find_names(&self, range: (u64, u64)) -> io::Result<HashMap<u64, (&'static str, Function)>> {
        let finders = PREFIXES.map(memmem::Finder::new);
        let in_rustls = rustls::PARTS.map(memmem::Finder::new);
        let mut found = HashMap::new();
        pieces(self.file, range, 1, NAME_MAX, |start, piece| {
            for at in in_rustls.iter().flat_map(|finder| finder.find_iter(piece)) {
                let Some((first, name)) = whole_name(piece, at) else { continue };
                if let Some(ours) = rustls::function(name) {
                    found.insert(start + first as u64, ours);
                }
            }
            for at in finders.iter().flat_map(|finder| finder.find_iter(piece)) {
                let is_here = |name: &str| {
                    piece.get(at..at + name.len()) == Some(name.as_bytes()) && piece.get(at + name.len()) == Some(&0)
                };
                if let Some(&ours) = NAMES.iter().find(|(name, _)| is_here(name)) {
                    found.insert(start + at as u64, ours);
                }
            }
            if found.len() > NAMES_MAX { Err(malformed("too many names of TLS functions")) } else { Ok(()) }
        })?;
        Ok(found)
    }

    /// Where in the file a function lies, with the beginning of its code; or why no probe can be put there.
    fn place(&self, address: u64, size: u64) -> Result<(u64, Vec<u8>), Refused> {
        if size == 0 {
            return Err(Refused::NoSize);
        }
        let offset = self.offset(address, size, PF_X).ok_or(Refused::NotInCode)?;
        let mut bytes = vec![0; usize::try_from(size.min(CODE_MAX)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, offset).map_err(|_short| Refused::NotInCode)?;
        code::check(&bytes, size).map_err(Refused::Code)?;
        Ok((offset, bytes))
    }
}

/// Most of a function that is followed.
const STRETCH_MAX: u64 = 64 << 10;

impl Elf<'_> {
    /// Where in the file an address lies, with as many bytes as `size` says, in a segment that has `flags`.
    fn offset(&self, address: u64, size: u64, flags: u32) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| {
            let start = segment.p_vaddr.get(LittleEndian);
            let end = start.saturating_add(segment.p_filesz.get(LittleEndian));
            segment.p_type.get(LittleEndian) == PT_LOAD
                && segment.p_flags.get(LittleEndian) & flags == flags
                && (start..end).contains(&address)
                && address.checked_add(size).is_some_and(|last| last <= end)
        })?;
        (address - segment.p_vaddr.get(LittleEndian)).checked_add(segment.p_offset.get(LittleEndian))
    }

    /// Where the function at that address, which begins with `code` at `offset` of the file, is to be probed.
    fn places(
        &self,
        function: Function,
        address: u64,
        (offset, code): (u64, &[u8]),
        size: u64,
    ) -> (Place, Result<Vec<Place>, exits::Unknown>) {
        let followed = self.follow(address, size, None);
        let cheap = followed
            .as_ref()
            .ok()
            .and_then(|followed| self.probed(followed, emulated::entry(followed, address, function.arguments())?));
        let plain = Probed { offset, depth: 0, from: offset, code: code::first(code) };
        let returns = match function.programs() {
            (_, Some(_)) => followed.and_then(|followed| self.returns(&followed)),
            (_, None) => Ok(Vec::new()),
        };
        (Place { plain, cheap }, returns)
    }

    /// Where a function returns.
    fn returns(&self, followed: &Followed) -> Result<Vec<Place>, exits::Unknown> {
        let place = |&at: &u64| {
            let range = followed.range(at).ok_or(exits::Unknown::Nowhere)?;
            let plain = self.probed(followed, Chosen { at, depth: 0, range }).ok_or(exits::Unknown::Nowhere)?;
            Ok(Place { plain, cheap: emulated::exit(followed, at).and_then(|chosen| self.probed(followed, chosen)) })
        };
        followed.returns.iter().map(place).collect()
    }

    fn probed(&self, followed: &Followed, Chosen { at, depth, range }: Chosen) -> Option<Probed> {
        let code = followed.code(&range)?;
        let from = self.offset(range.start, code.len() as u64, PF_X)?;
        Some(Probed { offset: from + (at - range.start), depth, from, code })
    }

    /// Follows the function of that size at that address. `told`: a function whose probes tell what happens after a jump to it.
    fn follow(&self, address: u64, size: u64, told: Option<u64>) -> Result<Followed, exits::Unknown> {
        let stretch = self.stretch(address, size).ok_or(exits::Unknown::TooLarge)?;
        let table = self.segments.iter().find(|segment| segment.p_type.get(LittleEndian) == PT_GNU_EH_FRAME);
        let table = table.map(|segment| unwind::Table {
            address: segment.p_vaddr.get(LittleEndian),
            offset: segment.p_offset.get(LittleEndian),
            len: segment.p_filesz.get(LittleEndian),
        });
        exits::follow(stretch, |address| {
            if told == Some(address) {
                // It ends there (`ud2`).
                return Some(Stretch { address, code: b"\x0f\x0b".to_vec() });
            }
            let range = table?.function(self.file, address, |address| self.offset(address, 16, 0))?;
            self.stretch(range.start, range.end - range.start)
        })
    }

    fn stretch(&self, address: u64, size: u64) -> Option<Stretch> {
        let offset = self.offset(address, size, PF_X).filter(|_| size <= STRETCH_MAX)?;
        let mut code = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut code, offset).ok()?;
        Some(Stretch { address, code })
    }
}

/// The name that stands around `at` in a piece of a table of names, and where it begins; `None` if it is not all there.
fn whole_name(piece: &[u8], at: usize) -> Option<(usize, &[u8])> {
    let before = piece.get(at.saturating_sub(NAME_MAX)..at)?;
    let first = at - before.len() + memchr::memrchr(0, before)? + 1;
    let rest = piece.get(first..)?;
    let len = memchr::memchr(0, rest.get(..NAME_MAX.min(rest.len()))?)?;
    Some((first, rest.get(..len)?))
}

enum Refused {
    NoSize,
    NotInCode,
    Code(code::Unexpected),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSize => f.write_str("its symbol has no size"),
            Self::NotInCode => f.write_str("it does not lie within executable code of the file"),
            Self::Code(unexpected) => unexpected.fmt(f),
        }
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads a table of `count` entries.
fn table<T: pod::Pod>(file: &File, offset: u64, count: usize) -> io::Result<Vec<T>> {
    let mut bytes = vec![0; count.min(SECTIONS_MAX) * size_of::<T>()];
    file.read_exact_at(&mut bytes, offset)?;
    let (entries, _) =
        pod::slice_from_bytes::<T>(&bytes, count.min(SECTIONS_MAX)).map_err(|()| malformed("a table is misaligned"))?;
    Ok(entries.to_vec())
}

/// Hands over a range of a file in pieces, whole entries of `entry` bytes each; every piece begins with the last
/// `overlap` bytes of the one before.
fn pieces(
    file: &File,
    (offset, len): (u64, u64),
    entry: usize,
    overlap: usize,
    mut on_piece: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let step = PIECE / entry * entry;
    let mut buffer = vec![0; step + overlap];
    let mut at = 0;
    while at < len {
        let before = (overlap as u64).min(at);
        let start = at - before;
        let here = usize::try_from((len - start).min(step as u64 + before)).unwrap_or(0);
        let Some(piece) = buffer.get_mut(..here) else { break };
        file.read_exact_at(piece, offset.saturating_add(start))?;
        on_piece(start, piece)?;
        at = start + here as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
