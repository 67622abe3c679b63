//! What an ELF file says of the program in it: language, and TLS that is part of it. Once per file, by identity; with
//! bounds, as any user's file may be read here. Files are read in pieces, neither kept nor mapped: a mapped file that
//! somebody cuts short would end the agent.

mod build_info;

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use compact_str::CompactString;
use memchr::memmem::Finder;
use object::{
    Endianness, ReadCache, ReadRef,
    elf::{FileHeader32, FileHeader64},
    read::elf::{FileHeader, SectionHeader},
};

pub(crate) use self::build_info::BuildInfo;
use super::{effort::Effort, fs::FileId, language::Language};

/// Most sections that are looked at; a Go or Rust program has some forty.
const SECTIONS_MAX: usize = 512;
/// Longest stretch of a section that is searched; what lies beyond is not known.
const SEARCH_MAX: u64 = 32 << 20;
/// Files are searched in pieces of this size.
const PIECE: usize = 64 << 10;
/// Most files remembered, some 100 bytes each.
const FILES_MAX: usize = 4096;

/// What the names of rustls's functions have in them that plaintext is seen at: one that encrypts, one that makes an
/// encrypter, one that takes what was decrypted; each in the ways compilers write names.
pub(crate) const RUSTLS_FUNCTIONS: [[&[u8]; 2]; 3] = [
    [b"..cipher..MessageEncrypter$GT$7encrypt17h", b"16MessageEncrypter7encrypt"],
    [b"AeadAlgorithm$GT$9encrypter17h", b"AeadAlgorithm9encrypter"],
    [b"11CommonState23take_received_plaintext", b"11CommonState23take_received_plaintext"],
];

/// A TLS implementation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Which.
    pub library: TlsLibrary,
    /// Its version where that is known, else its soname's.
    pub version: Option<CompactString>,
}

/// TLS implementations that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TlsLibrary {
    /// OpenSSL.
    OpenSsl,
    /// BoringSSL.
    BoringSsl,
    /// AWS-LC, as its crates build it.
    AwsLc,
    /// GnuTLS.
    GnuTls,
    /// NSS.
    Nss,
    /// wolfSSL.
    WolfSsl,
    /// Mbed TLS.
    MbedTls,
    /// Java's own TLS.
    Jsse,
    /// Go's `crypto/tls`.
    GoTls,
    /// OpenSSL, linked into a program without its symbols.
    OpenSslStripped,
    /// BoringSSL, or AWS-LC, likewise.
    BoringSslStripped,
    /// rustls.
    Rustls,
    /// rustls, in a program without a symbol table.
    RustlsStripped,
    /// rustls, in a program whose compiler put its functions into those that call them.
    RustlsInlined,
}

impl TlsLibrary {
    /// The library's name, as `survey` prints it.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OpenSsl | Self::OpenSslStripped => "openssl",
            Self::BoringSsl | Self::BoringSslStripped => "boringssl",
            Self::AwsLc => "aws-lc",
            Self::GnuTls => "gnutls",
            Self::Nss => "nss",
            Self::WolfSsl => "wolfssl",
            Self::MbedTls => "mbedtls",
            Self::Jsse => "jsse",
            Self::GoTls => "go crypto/tls",
            Self::Rustls | Self::RustlsStripped | Self::RustlsInlined => "rustls",
        }
    }

    /// Why its plaintext cannot be seen in this program, where that is known beforehand.
    #[must_use]
    pub(crate) const fn unseen(self) -> Option<&'static str> {
        match self {
            Self::RustlsStripped | Self::OpenSslStripped | Self::BoringSslStripped => {
                Some("the program is stripped of its symbols")
            }
            Self::Nss | Self::WolfSsl | Self::MbedTls => Some("the functions of this library are not probed"),
            Self::Jsse => Some("Java encrypts by itself, in code that is compiled as it runs"),
            Self::RustlsInlined => Some("the compiler has inlined the functions away"),
            _ => None,
        }
    }
}

impl Tls {
    /// The TLS library a mapped file's name stands for: `libssl.so.3`, `libgnutls.so.30`.
    #[must_use]
    pub(crate) fn of_library(name: &str) -> Option<Self> {
        let (stem, version) = name.split_once(".so").unwrap_or((name, ""));
        // `libssl3.so` is NSS; `libssl-1_1.so` and a wheel's `libssl-3e69114b.so.1.1` are OpenSSL.
        let library = match stem {
            "libssl" => TlsLibrary::OpenSsl,
            "libgnutls" => TlsLibrary::GnuTls,
            "libssl3" => TlsLibrary::Nss,
            "libwolfssl" => TlsLibrary::WolfSsl,
            "libmbedtls" => TlsLibrary::MbedTls,
            "libjvm" => TlsLibrary::Jsse,
            // grpcio's wheels.
            _ if stem.starts_with("cygrpc.") => TlsLibrary::BoringSslStripped,
            _ if stem.starts_with("libssl-") => TlsLibrary::OpenSsl,
            _ => return None,
        };
        let version = version.trim_start_matches('.');
        Some(Self { library, version: (!version.is_empty()).then(|| version.into()) })
    }
}

/// What is known of files, each looked into once.
#[derive(Debug, Default)]
pub(crate) struct ExecutableCache {
    files: Mutex<HashMap<FileId, Arc<Known>>>,
    effort: Mutex<Effort>,
}

#[derive(Debug, Default)]
struct Known {
    language: OnceLock<Option<Language>>,
    tls: OnceLock<Option<TlsLibrary>>,
    sdk: OnceLock<Option<bool>>,
    build: OnceLock<Option<Arc<BuildInfo>>>,
}

impl ExecutableCache {
    /// The language that the file `id` was compiled from, where that can be told.
    pub(crate) fn language(&self, id: FileId, open: impl FnOnce() -> io::Result<File>) -> Option<Language> {
        *self.known(id).language.get_or_init(|| self.look(id, open, language))
    }

    /// The TLS that is part of the file `id`.
    pub(crate) fn tls(&self, id: FileId, open: impl FnOnce() -> io::Result<File>) -> Option<TlsLibrary> {
        *self.known(id).tls.get_or_init(|| self.look(id, open, tls))
    }

    /// Whether OpenTelemetry's SDK is part of the file `id`, of a language that compiles it in.
    pub(crate) fn has_sdk(&self, id: FileId, open: impl FnOnce() -> io::Result<File>) -> bool {
        self.known(id).sdk.get_or_init(|| self.look(id, open, has_sdk)).unwrap_or_default()
    }

    /// What the Go program in the file `id` says of itself.
    pub(crate) fn build_info(&self, id: FileId, open: impl FnOnce() -> io::Result<File>) -> Option<Arc<BuildInfo>> {
        self.known(id).build.get_or_init(|| self.look(id, open, build_info).map(Arc::new)).clone()
    }

    fn look<T>(
        &self,
        id: FileId,
        open: impl FnOnce() -> io::Result<File>,
        look: impl FnOnce(&File) -> Option<T>,
    ) -> Option<T> {
        let effort = || self.effort.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if !effort().is_left(id, began) {
            return None;
        }
        let found = open().ok().and_then(|file| look(&file));
        effort().spend(id, began, Instant::now());
        found
    }

    fn known(&self, id: FileId) -> Arc<Known> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= FILES_MAX && !files.contains_key(&id) {
            // Looking into files again is the worst that can follow.
            files.clear();
        }
        Arc::clone(files.entry(id).or_default())
    }
}

/// The language an ELF file was compiled from. What is no ELF file, or a broken one, says nothing.
#[must_use]
pub(crate) fn language(file: &File) -> Option<Language> {
    let sections = Sections::read(file)?;
    if sections.is_go {
        return Some(Language::Go);
    }
    let comment = |needles: &[&[u8]]| sections.comment.and_then(|range| search(file, range, needles));
    let rodata = |needles: &[&[u8]]| sections.rodata.and_then(|range| search(file, range, needles));
    if comment(&[b"rustc version"]).is_some() || rodata(&[b"/rustc/"]).is_some() {
        return Some(Language::Rust);
    }
    let is_cpp = || {
        let names: &[&[u8]] = &[b"\0libstdc++.so", b"\0libc++.so"];
        sections.strings.iter().any(|range| search(file, *range, names).is_some())
    };
    (comment(&[b"GCC: (", b"clang version"]).is_some() || is_cpp()).then_some(Language::Cpp)
}

/// What a Go program says of itself.
#[must_use]
pub(crate) fn build_info(file: &File) -> Option<BuildInfo> {
    let (offset, length) = Sections::read(file)?.go_info?;
    let mut bytes = vec![0; usize::try_from(length.min(build_info::BUILD_INFO_MAX)).ok()?];
    let read = file.read_at(&mut bytes, offset).ok()?;
    build_info::parse(bytes.get(..read)?)
}

/// Whether a file was packed by UPX: what it is shows only when it runs.
#[must_use]
pub(crate) fn is_packed(file: &File) -> bool {
    let mut head = [0; 512];
    let read = file.read_at(&mut head, 0).unwrap_or(0);
    head.starts_with(b"\x7fELF") && Finder::new(b"UPX!").find(head.get(..read).unwrap_or_default()).is_some()
}

/// The TLS library linked into an ELF file, by the names of its functions; a stripped program's cannot be told, but
/// for those that leave texts (Go, rustls).
#[must_use]
pub(crate) fn tls(file: &File) -> Option<TlsLibrary> {
    let sections = Sections::read(file)?;
    if sections.is_go {
        let names = sections.go_names.into_iter().chain(sections.rodata);
        return names
            .into_iter()
            .find_map(|range| search(file, range, &[b"crypto/tls.(*Conn)"]))
            .map(|_| TlsLibrary::GoTls);
    }
    let named = |needles: &[&[u8]]| sections.strings.iter().any(|range| search(file, *range, needles).is_some());
    // Its crates put their name and version before the names of its other part, which rustls may use without this one.
    if named(&[b"\0aws_lc_"]) && named(&[b"\0SSL_write\0"]) {
        return Some(TlsLibrary::AwsLc);
    }
    let by_symbol: &[(&[u8], TlsLibrary)] = &[
        // OpenSSL has no such function; BoringSSL has `SSL_write` as well.
        (b"\0SSL_CTX_set_grease_enabled\0", TlsLibrary::BoringSsl),
        // Without `SSL_write_ex` before 1.1.1.
        (b"\0SSL_write\0", TlsLibrary::OpenSsl),
        (b"\0gnutls_record_send\0", TlsLibrary::GnuTls),
    ];
    for (needle, library) in by_symbol {
        // A function that is only called stands there too; then the library is mapped as well, and found by that.
        if named(&[needle]) {
            return Some(*library);
        }
    }
    // Where their errors come from is a text in them.
    let texts: [(&[u8], TlsLibrary); 3] = [
        (b"rustls", TlsLibrary::Rustls),
        (b"ssl/ssl_lib.cc\0", TlsLibrary::BoringSslStripped),
        (b"ssl/ssl_lib.c\0", TlsLibrary::OpenSslStripped),
    ];
    let in_texts = |needle: &[u8]| sections.rodata.is_some_and(|range| search(file, range, &[needle]).is_some());
    let (_, library) = texts.into_iter().find(|(needle, _)| in_texts(needle))?;
    if library != TlsLibrary::Rustls {
        return Some(library);
    }
    Some(if RUSTLS_FUNCTIONS.iter().all(|names| named(names)) {
        TlsLibrary::Rustls
    } else if named(&[b"6rustls", b"rustls.."]) {
        TlsLibrary::RustlsInlined
    } else {
        TlsLibrary::RustlsStripped
    })
}

/// Whether OpenTelemetry's SDK was compiled into a program in Go or Rust: Go keeps a list of what a program was made of, and where in its
/// source a Rust program may panic is a text in it.
#[must_use]
pub(crate) fn has_sdk(file: &File) -> Option<bool> {
    let sections = Sections::read(file)?;
    let (range, needle): (_, &[u8]) = if sections.is_go {
        (sections.go_info?, b"\tgo.opentelemetry.io/otel/sdk\t")
    } else {
        (sections.rodata?, b"/opentelemetry_sdk-")
    };
    Some(search(file, range, &[needle]).is_some())
}

/// Where in the file the sections of interest are: offset and length.
#[derive(Debug, Default)]
struct Sections {
    is_go: bool,
    go_info: Option<(u64, u64)>,
    go_names: Option<(u64, u64)>,
    comment: Option<(u64, u64)>,
    rodata: Option<(u64, u64)>,
    strings: Vec<(u64, u64)>,
}

impl Sections {
    fn read(file: &File) -> Option<Self> {
        let cache = ReadCache::new(file);
        match cache.read_bytes_at(0, 5).ok()? {
            [0x7f, b'E', b'L', b'F', 2] => Self::of::<FileHeader64<Endianness>>(&cache),
            [0x7f, b'E', b'L', b'F', 1] => Self::of::<FileHeader32<Endianness>>(&cache),
            _ => None,
        }
    }

    fn of<'data, H: FileHeader<Endian = Endianness>>(data: &'data ReadCache<&'data File>) -> Option<Self> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        // The table is read as a whole, and a file may claim any number of sections.
        if header.shnum(endian, data).ok()? > SECTIONS_MAX {
            return None;
        }
        let table = header.sections(endian, data).ok()?;
        let mut sections = Self::default();
        for section in table.iter() {
            let Some(range) = section.file_range(endian) else { continue };
            match table.section_name(endian, section).unwrap_or_default() {
                b".go.buildinfo" => {
                    sections.is_go = true;
                    sections.go_info = Some(range);
                }
                b".note.go.buildid" => sections.is_go = true,
                b".gopclntab" | b".data.rel.ro.gopclntab" => {
                    sections.is_go = true;
                    sections.go_names = Some(range);
                }
                b".comment" => sections.comment = Some(range),
                b".rodata" => sections.rodata = Some(range),
                b".dynstr" | b".strtab" if sections.strings.len() < 4 => sections.strings.push(range),
                _ => {}
            }
        }
        Some(sections)
    }
}

/// Whether one of `needles` is in the range, and which was found first.
fn search(file: &File, (start, length): (u64, u64), needles: &[&[u8]]) -> Option<usize> {
    let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
    let overlap = needles.iter().map(|needle| needle.len()).max()?.saturating_sub(1);
    let end = start.checked_add(length.min(SEARCH_MAX))?;
    let mut buffer = vec![0; PIECE + overlap];
    let (mut at, mut kept) = (start, 0);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let read = file.read_at(buffer.get_mut(kept..kept + wanted)?, at).ok()?;
        if read == 0 {
            return None;
        }
        let filled = buffer.get(..kept + read)?;
        if let Some(found) = finders.iter().position(|finder| finder.find(filled).is_some()) {
            return Some(found);
        }
        at += read as u64;
        let keep = overlap.min(filled.len());
        let from = filled.len() - keep;
        buffer.copy_within(from..from + keep, 0);
        kept = keep;
    }
    None
}

#[cfg(test)]
mod tests;
