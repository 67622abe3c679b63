//! Resolves offsets of structure members from the kernel's BTF
//! (<https://docs.kernel.org/bpf/btf.html>), through anonymous structures and unions.
//!
//! Rust has no CO-RE relocations, so the agent looks offsets up itself and hands them to the programs.

use std::{collections::HashMap, path::Path};

use thiserror::Error;

/// Where the running kernel shows its BTF.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Anonymous structures nest a few levels deep; typedef chains too.
const MAX_DEPTH: u32 = 32;

const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// Why a kernel's BTF could not be used.
#[derive(Debug, Error)]
pub enum BtfError {
    /// It could not be read.
    #[error("cannot read the kernel's type information from {path}: {source}")]
    Read {
        /// Where it was looked for.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not BTF of this machine's byte order.
    #[error("{path} is not BTF")]
    Malformed {
        /// Where it was looked for.
        path: String,
    },
}

/// Parsed BTF.
pub(crate) struct Btf {
    data: Vec<u8>,
    /// Position of each type's record; index 0 is `void`.
    types: Vec<u32>,
    /// Position of the string section.
    strings: usize,
    /// First structure or union of each name.
    structures: HashMap<Box<str>, u32>,
}

impl Btf {
    /// Reads and indexes the running kernel's BTF.
    ///
    /// # Errors
    /// When the kernel has none (`CONFIG_DEBUG_INFO_BTF`), or it cannot be read.
    pub(crate) fn of_running_kernel() -> Result<Self, BtfError> {
        Self::open(Path::new(VMLINUX))
    }

    /// Reads and indexes the BTF in a file.
    ///
    /// # Errors
    /// As for [`Self::of_running_kernel`].
    pub(crate) fn open(path: &Path) -> Result<Self, BtfError> {
        let name = || path.display().to_string();
        let data = std::fs::read(path).map_err(|source| BtfError::Read { path: name(), source })?;
        Self::parse(data).ok_or_else(|| BtfError::Malformed { path: name() })
    }

    /// Indexes raw BTF. `None` if it is malformed.
    #[must_use]
    pub(crate) fn parse(data: Vec<u8>) -> Option<Self> {
        if u16::from_ne_bytes(data.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(&data, 4)? as usize;
        let types_at = header.checked_add(word(&data, 8)? as usize)?;
        let types_end = types_at.checked_add(word(&data, 12)? as usize)?;
        let strings = header.checked_add(word(&data, 16)? as usize)?;
        let mut btf = Self { types: vec![0], strings, structures: HashMap::new(), data };
        let mut at = types_at;
        while at < types_end {
            let info = word(&btf.data, at + 4)?;
            let (kind, members) = (kind(info), (info & 0xffff) as usize);
            let id = u32::try_from(btf.types.len()).ok()?;
            btf.types.push(u32::try_from(at).ok()?);
            if kind == KIND_STRUCT || kind == KIND_UNION {
                let name = btf.string(word(&btf.data, at)?)?;
                if !name.is_empty() && !btf.structures.contains_key(name) {
                    let name = name.into();
                    btf.structures.insert(name, id);
                }
            }
            let extra = match kind {
                1 | 14 | 17 => 4, // integer, variable, declaration tag
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * members, // also data section, 64-bit enumeration
                6 | 13 => 8 * members,                              // enumeration, function prototype
                _ => 0,
            };
            at = at.checked_add(12 + extra)?;
        }
        Some(btf)
    }

    /// Byte offset of a member, given as a dotted path, within a structure.
    #[must_use]
    pub(crate) fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut id = *self.structures.get(structure)?;
        let mut offset = 0u32;
        for part in path.split('.') {
            let (here, of) = self.member(id, part, 0)?;
            offset = offset.checked_add(here)?;
            id = of;
        }
        Some(offset)
    }

    /// Offset and type of a member, looked for in anonymous members too.
    fn member(&self, mut id: u32, wanted: &str, depth: u32) -> Option<(u32, u32)> {
        for _ in depth..MAX_DEPTH {
            let at = *self.types.get(id as usize)? as usize;
            let info = word(&self.data, at + 4)?;
            match kind(info) {
                8..=11 | 18 => id = word(&self.data, at + 8)?, // typedef, volatile, const, restrict, type tag
                KIND_STRUCT | KIND_UNION => {
                    for i in 0..(info & 0xffff) as usize {
                        let member = at + 12 + 12 * i;
                        let name = self.string(word(&self.data, member)?)?;
                        let of = word(&self.data, member + 4)?;
                        let bits = word(&self.data, member + 8)?;
                        // With the kind flag set, the upper byte is the size of a bit field.
                        let byte = (if info >> 31 == 1 { bits & 0xff_ffff } else { bits }) / 8;
                        if name == wanted {
                            return Some((byte, of));
                        }
                        if name.is_empty()
                            && let Some((inner, of)) = self.member(of, wanted, depth + 1)
                        {
                            return Some((byte.checked_add(inner)?, of));
                        }
                    }
                    return None;
                }
                _ => return None,
            }
        }
        None
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let bytes = self.data.get(self.strings.checked_add(offset as usize)?..)?;
        std::str::from_utf8(bytes.get(..bytes.iter().position(|&byte| byte == 0)?)?).ok()
    }
}

const fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { u32 a; struct { u32 b; struct inner c; }; }`, `struct inner { u32 x; u32 y; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0u32\0outer\0inner\0a\0b\0c\0x\0y\0";
        let name = |s: &str| {
            let needle = format!("\0{s}\0");
            (strings.windows(needle.len()).position(|w| w == needle.as_bytes()).unwrap() + 1) as u32
        };
        let mut types: Vec<u32> = vec![name("u32"), 1 << 24, 4, 32]; // 1
        types.extend([name("inner"), 4 << 24 | 2, 8, name("x"), 1, 0, name("y"), 1, 32]); // 2
        types.extend([0, 4 << 24 | 2, 12, name("b"), 1, 0, name("c"), 2, 32]); // 3, anonymous
        types.extend([name("outer"), 4 << 24 | 2, 16, name("a"), 1, 0, 0, 3, 32]); // 4
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut data = Vec::new();
        data.extend(MAGIC.to_ne_bytes());
        data.extend([1, 0]);
        for value in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            data.extend(value.to_ne_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn members_are_found_through_anonymous_structures() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("outer", "a"), Some(0));
        assert_eq!(btf.offset("outer", "b"), Some(4));
        assert_eq!(btf.offset("outer", "c.y"), Some(12));
        assert_eq!(btf.offset("outer", "x"), None);
        assert_eq!(btf.offset("nothing", "x"), None);
    }

    #[test]
    fn cut_or_broken_btf_is_no_panic() {
        let whole = sample();
        for at in 0..whole.len() {
            let _none_or_some = Btf::parse(whole[..at].to_vec()).map(|btf| btf.offset("outer", "c.y"));
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _none_or_some = Btf::parse(broken).map(|btf| btf.offset("outer", "c.y"));
        }
    }

    #[test]
    fn the_running_kernel_has_the_members_that_are_needed() {
        let Ok(btf) = Btf::of_running_kernel() else {
            eprintln!("skipped: this kernel has no BTF");
            return;
        };
        assert!(btf.offset("sock", "__sk_common.skc_dport").is_some());
        assert!(btf.offset("task_struct", "signal").is_some());
    }
}
