//! What Go's linker writes into a program about itself (`debug/buildinfo`): release, module, version control. Bytes of any user's file.

use compact_str::CompactString;
use memchr::memmem;

/// Most of it that is read: a program of many modules has some 50 KiB.
pub(crate) const BUILD_INFO_MAX: u64 = 1 << 20;
/// What it begins with.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// It begins at a multiple of that.
const ALIGN: usize = 16;
/// Bytes before the texts.
const HEADER: usize = 32;
/// Bit of the header's flags: texts follow it, as since Go 1.18. Before, there are pointers to them.
const TEXTS_FOLLOW: u8 = 2;
/// The text about modules stands between two marks of this length.
const MARK: usize = 16;
/// Longest text that is taken over.
const TEXT_MAX: usize = 256;

/// What a Go program says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BuildInfo {
    /// Release of Go, such as `go1.26.1`; empty where it is older than 1.18.
    pub(crate) release: CompactString,
    /// The main package's path.
    pub(crate) path: CompactString,
    /// The main module's version; empty where there is none.
    pub(crate) version: CompactString,
    /// What it was checked out at (`vcs.revision`); empty where that is not known.
    pub(crate) revision: CompactString,
    /// What was built had changes beyond that.
    pub(crate) is_modified: bool,
    /// The version of `google.golang.org/grpc` in it.
    pub(crate) grpc: CompactString,
}

impl BuildInfo {
    /// `service.version`: the module's version, else what it was built of.
    #[must_use]
    pub(crate) fn service_version(&self) -> Option<CompactString> {
        let version = if self.version.is_empty() { &self.revision } else { &self.version };
        let is_revision = self.version.is_empty();
        if version.is_empty() {
            return None;
        }
        // Versions say so themselves.
        let suffix = if is_revision && self.is_modified { "+dirty" } else { "" };
        Some(compact_str::format_compact!("{version}{suffix}"))
    }
}

/// Of the section `.go.buildinfo`, or what else it may stand in.
#[must_use]
pub(crate) fn parse(bytes: &[u8]) -> Option<BuildInfo> {
    let at = memmem::find_iter(bytes, MAGIC).find(|at| at.is_multiple_of(ALIGN))?;
    let bytes = bytes.get(at..)?;
    let (header, texts) = bytes.split_at_checked(HEADER)?;
    if header.get(15)? & TEXTS_FOLLOW == 0 {
        return Some(BuildInfo::default());
    }
    let (release, rest) = text(texts)?;
    let mut info = BuildInfo { release: taken(release), ..BuildInfo::default() };
    let Some((modules, _)) = text(rest) else { return Some(info) };
    // Without marks there are no modules.
    let modules = modules.get(MARK..modules.len().saturating_sub(MARK)).unwrap_or_default();
    for line in modules.split(|&byte| byte == b'\n') {
        let mut words = line.split(|&byte| byte == b'\t');
        let (Some(kind), Some(first)) = (words.next(), words.next()) else { continue };
        let second = words.next().unwrap_or_default();
        match kind {
            b"path" => info.path = taken(first),
            b"mod" if second != b"(devel)" => info.version = taken(second),
            b"dep" if first == b"google.golang.org/grpc" => info.grpc = taken(second),
            b"build" => {
                if let Some(revision) = first.strip_prefix(b"vcs.revision=") {
                    info.revision = taken(revision);
                }
                info.is_modified |= first == b"vcs.modified=true";
            }
            _ => {}
        }
    }
    Some(info)
}

/// A text behind its length, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut len, mut at) = (0_usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
        // No text is longer than what is read.
        if at > 4 {
            return None;
        }
    }
    bytes.get(at..)?.split_at_checked(len)
}

/// What somebody else's text says in letters that harm nobody.
fn taken(text: &[u8]) -> CompactString {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(release: &str, modules: &str) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[8, TEXTS_FOLLOW]);
        bytes.resize(48 + HEADER, 0);
        let modules = format!("{:16}{modules}{:16}", "", "");
        for text in [release, &modules] {
            let mut len = text.len();
            while len >= 0x80 {
                bytes.push(len as u8 | 0x80);
                len >>= 7;
            }
            bytes.push(len as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn release_module_and_version_are_read() {
        let modules = "path\texample.com/shop/cmd\nmod\texample.com/shop\tv1.4.0\th1:x=\ndep\tgoogle.golang.org/grpc\tv1.80.0\th1:y=\n\
                       build\tvcs.revision=5c1a\nbuild\tvcs.modified=true\n";
        let info = parse(&written("go1.26.8", modules)).unwrap();
        assert_eq!((&*info.release, &*info.path, &*info.grpc), ("go1.26.8", "example.com/shop/cmd", "v1.80.0"));
        assert_eq!(info.service_version().as_deref(), Some("v1.4.0"));
        // One that was built in its working copy has a revision instead.
        let info = parse(&written("go1.22.1", &modules.replace("v1.4.0", "(devel)"))).unwrap();
        assert_eq!(info.service_version().as_deref(), Some("5c1a+dirty"));
        let info = parse(&written("go1.22.1", "path\tcommand-line-arguments\n")).unwrap();
        assert_eq!(info.service_version(), None);
    }

    #[test]
    fn a_program_older_than_its_texts_is_still_one_of_go() {
        let mut old = written("go1.26.8", "");
        old[48 + 15] = 0;
        assert_eq!(parse(&old), Some(BuildInfo::default()));
        assert_eq!(parse(b"nothing"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(flips in prop::collection::vec((0_usize..300, any::<u8>()), 0..8), cut in 0_usize..300) {
            let mut bytes = written("go1.26.8", "path\ta\nmod\tb\tv1\nbuild\tvcs.revision=1\n");
            for (at, byte) in flips {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(cut);
            if let Some(info) = parse(&bytes) {
                prop_assert!(info.path.len() <= 4 * TEXT_MAX);
            }
        }
    }
}
