//! The files in a jar, by its central directory (APPNOTE.TXT of ZIP, without its 64-bit extension).

use std::io::Read as _;

use flate2::read::DeflateDecoder;

use super::files::Files;

/// Where the directory's end is looked for: behind it there may be a comment.
const END_MAX: u64 = 64 << 10;
const DIRECTORY_MAX: u64 = 8 << 20;
const ENTRIES_MAX: usize = 50_000;
/// Most bytes of one file.
const FILE_MAX: u64 = 512 << 10;
const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A jar's directory.
pub(super) struct Jar<'a> {
    files: &'a dyn Files,
    path: &'a str,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    method: u16,
    packed: u64,
    offset: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + N)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

impl<'a> Jar<'a> {
    pub(super) fn open(files: &'a dyn Files, path: &'a str) -> Option<Self> {
        let length = files.length(path)?;
        let end_from = length.saturating_sub(END_MAX);
        let tail = files.bytes(path, end_from, END_MAX.min(length))?;
        let end = memchr::memmem::rfind(&tail, END)?;
        let (size, from) = (number::<4>(&tail, end + 12)?, number::<4>(&tail, end + 16)?);
        if size > DIRECTORY_MAX {
            return None;
        }
        // What was put before the archive (a script that starts it) is not counted in its offsets.
        let before = (end_from + end as u64).checked_sub(size)?.checked_sub(from)?;
        let directory = files.bytes(path, before + from, size)?;
        let (mut entries, mut at) = (Vec::new(), 0);
        while directory.get(at..at + 4) == Some(ENTRY) && entries.len() < ENTRIES_MAX {
            let name_length = number::<2>(&directory, at + 28)? as usize;
            let others = number::<2>(&directory, at + 30)? + number::<2>(&directory, at + 32)?;
            let name = directory.get(at + 46..at + 46 + name_length)?;
            entries.push(Entry {
                name: String::from_utf8_lossy(name).into_owned(),
                method: number::<2>(&directory, at + 10)? as u16,
                packed: number::<4>(&directory, at + 20)?,
                offset: before + number::<4>(&directory, at + 42)?,
            });
            at += 46 + name_length + others as usize;
        }
        Some(Self { files, path, entries })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let entry = self.entries.iter().find(|entry| entry.name == name).filter(|entry| entry.packed <= FILE_MAX)?;
        let head = self.files.bytes(self.path, entry.offset, 30)?;
        if head.get(..4) != Some(LOCAL) {
            return None;
        }
        let from = entry.offset + 30 + number::<2>(&head, 26)? + number::<2>(&head, 28)?;
        let packed = self.files.bytes(self.path, from, entry.packed)?;
        match entry.method {
            STORED => Some(packed),
            DEFLATED => {
                let mut bytes = Vec::new();
                DeflateDecoder::new(packed.as_slice()).take(FILE_MAX).read_to_end(&mut bytes).ok()?;
                Some(bytes)
            }
            _ => None,
        }
    }
}
