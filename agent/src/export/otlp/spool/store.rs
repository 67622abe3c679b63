//! The spool's files: a bounded queue of requests on disk that outlasts the agent. All of it may wait for the disk.
//!
//! No library does this: those that are kept up are databases, whose files do not become smaller by what is taken out and
//! which stop working for good on a full disk, and the queues among them have no checksums, no bound or no owner (`docs/configuration.md`).

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::disk::{
    self,
    segment::{Found, HEADER, Read, Segment},
};

/// Into so many files what is kept is cut, at least: the oldest goes as a whole where room is needed.
const SEGMENTS: u64 = 8;
/// Most bytes of one file that is added to.
const SEGMENT_MAX: u64 = 32 << 20;

/// See the module.
pub(super) struct Store {
    folder: PathBuf,
    /// No other process has the folder while this is open.
    _lock: File,
    max_bytes: u64,
    /// The oldest first. The last one is added to, if `is_open`.
    segments: VecDeque<Segment>,
    is_open: bool,
    next_number: u64,
}

/// What an earlier run has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Items that wait.
    pub(super) items: u64,
    /// Bytes that cannot be read: of a write that was cut off, or damaged.
    pub(super) torn_bytes: u64,
    /// Items that were in those, as far as can be told.
    pub(super) torn_items: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    segment: u64,
    at: u64,
}

/// A request that waited.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) place: Place,
    pub(super) items: u64,
    pub(super) message: Vec<u8>,
}

/// What [`Store::take`] found.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) record: Option<Record>,
    /// Items that were lost, since their records are damaged or the disk does not give them.
    pub(super) damaged: u64,
    pub(super) error: Option<io::Error>,
}

impl Store {
    /// Opens the folder, which is made if need be.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> io::Result<(Self, Recovered)> {
        let disk::Folder { lock, segments: found } = disk::Folder::open(folder)?;
        let next_number = found.last().map_or(1, |(number, _)| number + 1);
        let mut segments = VecDeque::new();
        let mut recovered = Recovered::default();
        for (number, path) in found {
            let Found { segment, torn: (bytes, items) } = Segment::open(path, number)?;
            recovered.items += segment.waiting_items;
            recovered.torn_bytes += bytes;
            recovered.torn_items += items;
            if segment.is_done() {
                segment.remove()?;
            } else {
                segments.push_back(segment);
            }
        }
        let folder = folder.to_owned();
        Ok((Self { folder, _lock: lock, max_bytes, segments, is_open: false, next_number }, recovered))
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Adds a request. The oldest go where there is no room: returns how many of their items are lost thereby.
    ///
    /// # Errors
    /// The disk does not take it; what was kept before is kept still.
    pub(super) fn append(&mut self, message: &[u8], items: u64) -> Result<u64, (u64, io::Error)> {
        let len = HEADER + message.len() as u64;
        if len > self.max_bytes {
            return Err((0, io::Error::other("it is larger than all that may be kept")));
        }
        let mut dropped = 0;
        while self.bytes() + len > self.max_bytes {
            let Some(oldest) = self.segments.pop_front() else { break };
            self.is_open &= !self.segments.is_empty();
            dropped += oldest.waiting_items;
            oldest.remove().map_err(|error| (dropped, error))?;
        }
        self.add(message, len, items).map_err(|error| (dropped, error))?;
        Ok(dropped)
    }

    fn add(&mut self, message: &[u8], len: u64, items: u64) -> io::Result<()> {
        let most = (self.max_bytes / SEGMENTS).min(SEGMENT_MAX);
        let fits = self.is_open && self.segments.back().is_some_and(|last| last.len + len <= most);
        if !fits {
            self.segments.push_back(Segment::create(&self.folder, self.next_number)?);
            self.next_number += 1;
            self.is_open = true;
        }
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let added = last.append(message, items);
        self.sweep();
        added
    }

    /// Hands out the oldest request that was not handed out.
    pub(super) fn take(&mut self) -> Taken {
        let mut taken = Taken::default();
        for segment in &mut self.segments {
            while taken.record.is_none() {
                match segment.take() {
                    Ok(Read::Record(at, items, message)) => {
                        let place = Place { segment: segment.number, at };
                        taken.record = Some(Record { place, items, message });
                    }
                    Ok(Read::Damaged(items)) => taken.damaged += items,
                    Ok(Read::End) => break,
                    Err(error) => {
                        taken.damaged += segment.give_up();
                        taken.error = Some(error);
                    }
                }
            }
            if taken.record.is_some() {
                break;
            }
        }
        self.sweep();
        taken
    }

    /// Notes that a request that was handed out need not be sent any more.
    ///
    /// # Errors
    /// That is not noted on disk: it is sent again by the next agent.
    pub(super) fn settle(&mut self, place: Place) -> io::Result<()> {
        let segment = self.segments.iter_mut().find(|segment| segment.number == place.segment);
        // What had to make room is gone.
        let settled = segment.map_or(Ok(()), |segment| segment.settle(place.at));
        self.sweep();
        settled
    }

    /// Removes files that nothing waits in.
    fn sweep(&mut self) {
        let last = self.segments.back().map(|segment| segment.number);
        self.segments.retain(|segment| {
            // The file that is being added to goes when it has been read.
            let is_over = segment.is_done() && segment.is_read();
            // What cannot be removed is met again at the next start, as settled.
            !(is_over && segment.remove().is_ok())
        });
        self.is_open &= self.segments.back().map(|segment| segment.number) == last;
    }
}
