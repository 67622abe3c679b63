//! The files: records are added to the last one, and the oldest file goes where there is no room, or when all in it is too old.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::disk::{
    self,
    segment::{Found, HEADER, Read, Reader, Segment},
};

/// Into so many files what is kept is cut, at least.
const SEGMENTS: u64 = 16;
/// Most bytes of one file.
const SEGMENT_MAX: u64 = 16 << 20;

/// See the module.
pub(super) struct Log {
    folder: PathBuf,
    /// No other process has the folder while this is open.
    _lock: File,
    max_bytes: u64,
    max_age: Duration,
    /// The oldest first. The last one is added to, if `is_open`.
    parts: VecDeque<Part>,
    is_open: bool,
    next_number: u64,
}

struct Part {
    segment: Segment,
    reader: Arc<Reader>,
    /// When its last record was written.
    newest_unix_s: u64,
}

/// Where a record is.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) at: u64,
    pub(super) reader: Arc<Reader>,
}

/// What an earlier run has left besides records: bytes that cannot be read, and spans in them as far as can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) spans: u64,
}

impl Log {
    /// Opens the folder, which is made if need be, and shows each record in its order; `look` gives the time that it was written at.
    pub(super) fn open(
        folder: &Path,
        max_bytes: u64,
        max_age: Duration,
        mut look: impl FnMut(Place, &[u8]) -> Option<u64>,
    ) -> io::Result<(Self, Torn)> {
        let disk::Folder { lock, segments } = disk::Folder::open(folder)?;
        let next_number = segments.last().map_or(1, |(number, _)| number + 1);
        let (mut parts, mut torn) = (VecDeque::new(), Torn::default());
        for (number, path) in segments {
            let Found { mut segment, torn: (bytes, spans) } = Segment::open(path, number)?;
            torn.bytes += bytes;
            torn.spans += spans;
            let reader = Arc::new(segment.reader()?);
            let mut newest_unix_s = 0;
            loop {
                match segment.take() {
                    Ok(Read::Record(at, spans, message)) => {
                        let place = Place { segment: number, at, reader: Arc::clone(&reader) };
                        match look(place, &message) {
                            Some(unix_s) => newest_unix_s = newest_unix_s.max(unix_s),
                            None => {
                                torn.bytes += HEADER + message.len() as u64;
                                torn.spans += spans;
                            }
                        }
                    }
                    Ok(Read::Damaged(spans)) => torn.spans += spans,
                    Ok(Read::End) => break,
                    Err(_) => {
                        torn.spans += segment.give_up();
                        break;
                    }
                }
            }
            parts.push_back(Part { segment, reader, newest_unix_s });
        }
        let folder = folder.to_owned();
        Ok((Self { folder, _lock: lock, max_bytes, max_age, parts, is_open: false, next_number }, torn))
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.segment.len).sum()
    }

    /// The number of the oldest file that is there.
    pub(super) fn oldest(&self) -> u64 {
        self.parts.front().map_or(self.next_number, |part| part.segment.number)
    }

    /// Makes room for a record of so many bytes, and says which file it will stand in.
    pub(super) fn make_room(&mut self, bytes: usize, now_unix_s: u64) -> io::Result<u64> {
        let len = HEADER + bytes as u64;
        if len > self.max_bytes {
            return Err(io::Error::other("it is larger than all that may be kept"));
        }
        let is_old = |part: &Part| now_unix_s.saturating_sub(part.newest_unix_s) > self.max_age.as_secs();
        while let Some(oldest) = self.parts.front()
            && (is_old(oldest) || self.bytes() + len > self.max_bytes)
        {
            oldest.segment.remove()?;
            self.parts.pop_front();
            self.is_open &= !self.parts.is_empty();
        }
        let most = (self.max_bytes / SEGMENTS).min(SEGMENT_MAX);
        let fits = self.is_open && self.parts.back().is_some_and(|last| last.segment.len + len <= most);
        if !fits {
            let segment = Segment::create(&self.folder, self.next_number)?;
            let reader = Arc::new(segment.reader()?);
            self.parts.push_back(Part { segment, reader, newest_unix_s: now_unix_s });
            self.next_number += 1;
            self.is_open = true;
        }
        Ok(self.next_number - 1)
    }

    /// Adds a record that there is room for.
    pub(super) fn write(&mut self, message: &[u8], spans: u64, now_unix_s: u64) -> io::Result<Place> {
        let part = self.parts.back_mut().filter(|_| self.is_open);
        let part = part.ok_or_else(|| io::Error::other("there is no file to write to"))?;
        let at = part.segment.write(message, spans)?;
        part.newest_unix_s = now_unix_s;
        Ok(Place { segment: part.segment.number, at, reader: Arc::clone(&part.reader) })
    }
}
