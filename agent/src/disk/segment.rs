//! One file: records behind one another.
//!
//! A record is a header of 24 bytes and a request's message. Both have a checksum, so that a torn write and a damaged
//! length are told from a record. The last bytes of the header say whether it is settled, are written over in place and are
//! in no checksum: one write of four bytes takes a record out.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian::U32};

/// Begins a record.
const MAGIC: [u8; 4] = *b"BRS1";
const WAITING: [u8; 4] = *b"wait";
const SETTLED: [u8; 4] = *b"done";
/// No request is larger, whatever a length says.
const LONGEST: usize = 256 << 20;

#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    /// Bytes of the message.
    len: U32,
    /// Spans in it.
    items: U32,
    message_checksum: U32,
    /// Of all before.
    checksum: U32,
    state: [u8; 4],
}

/// Bytes of a record besides its message.
pub(crate) const HEADER: u64 = size_of::<Header>() as u64;
const STATE_AT: u64 = HEADER - 4;

impl Header {
    fn new(message: &[u8], items: u32) -> io::Result<Self> {
        let len = u32::try_from(message.len()).ok().filter(|_| message.len() <= LONGEST);
        let len = len.ok_or_else(|| io::Error::other("a request of more than 256 MiB"))?;
        let mut header = Self {
            magic: MAGIC,
            len: len.into(),
            items: items.into(),
            message_checksum: crc32fast::hash(message).into(),
            checksum: 0.into(),
            state: WAITING,
        };
        header.checksum = header.own_checksum().into();
        Ok(header)
    }

    fn own_checksum(&self) -> u32 {
        let bytes = self.as_bytes();
        crc32fast::hash(bytes.get(..16).unwrap_or(bytes))
    }

    fn is_whole(&self) -> bool {
        self.magic == MAGIC && self.checksum.get() == self.own_checksum() && self.len.get() as usize <= LONGEST
    }

    fn record_len(&self) -> u64 {
        HEADER + u64::from(self.len.get())
    }
}

/// See the module.
pub(crate) struct Segment {
    pub(crate) number: u64,
    path: PathBuf,
    file: File,
    /// End of its last whole record.
    pub(crate) len: u64,
    /// Where the next record begins that was not handed out.
    next: u64,
    /// Items of records that are not handed out and not settled.
    pub(crate) waiting_items: u64,
    /// Records that are not settled.
    pub(crate) unsettled: u64,
}

/// See [`Segment::reader`].
pub(crate) struct Reader(File);

impl Reader {
    /// The record at this place; `None`: it is damaged.
    pub(crate) fn read(&self, at: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = [0; size_of::<Header>()];
        self.0.read_exact_at(&mut bytes, at)?;
        let Some(header) = Header::read_from_bytes(&bytes).ok().filter(Header::is_whole) else { return Ok(None) };
        let mut message = vec![0; header.len.get() as usize];
        self.0.read_exact_at(&mut message, at + HEADER)?;
        Ok((crc32fast::hash(&message) == header.message_checksum.get()).then_some(message))
    }
}

/// What was found in a file of an earlier run.
pub(crate) struct Found {
    pub(crate) segment: Segment,
    /// Bytes behind the last record that can be read, and items of which a header among them tells.
    pub(crate) torn: (u64, u64),
}

/// What stands at the place of a record.
pub(crate) enum Read {
    /// It waits: its place, its items, its message.
    Record(u64, u64, Vec<u8>),
    /// It is damaged: so many items are lost.
    Damaged(u64),
    /// There is none any more.
    End,
}

impl Segment {
    /// A new one. Others on the machine may not read it.
    pub(crate) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = folder.join(file_name(number));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        // That it is there has to be as lasting as what is in it.
        File::open(folder)?.sync_all()?;
        Ok(Self { number, path, file, len: 0, next: 0, waiting_items: 0, unsettled: 0 })
    }

    /// One of an earlier run. Reads the headers only: messages are checked when it is their turn.
    pub(crate) fn open(path: PathBuf, number: u64) -> io::Result<Found> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let file_len = file.metadata()?.len();
        let mut segment = Self { number, path, file, len: 0, next: 0, waiting_items: 0, unsettled: 0 };
        let mut torn_items = 0;
        while let Some(header) = segment.header(segment.len, file_len)? {
            let is_waiting = header.state != SETTLED;
            if segment.len + header.record_len() > file_len {
                torn_items = if is_waiting { header.items.get().into() } else { 0 };
                break;
            }
            segment.len += header.record_len();
            segment.waiting_items += if is_waiting { u64::from(header.items.get()) } else { 0 };
            segment.unsettled += u64::from(is_waiting);
        }
        if segment.len < file_len {
            // It is told once.
            segment.file.set_len(segment.len)?;
        }
        Ok(Found { torn: (file_len - segment.len, torn_items), segment })
    }

    /// The whole header at this place of a file of so many bytes.
    fn header(&self, at: u64, file_len: u64) -> io::Result<Option<Header>> {
        if at + HEADER > file_len {
            return Ok(None);
        }
        let mut bytes = [0; size_of::<Header>()];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(Header::read_from_bytes(&bytes).ok().filter(Header::is_whole))
    }

    /// Adds a record, and sees to it that it outlasts the machine's fall. Where that does not work it is not there.
    pub(crate) fn append(&mut self, message: &[u8], items: u64) -> io::Result<()> {
        self.add(message, items, true).map(drop)
    }

    /// Adds a record that outlasts this process, but perhaps not the machine's fall: where it is.
    pub(crate) fn write(&mut self, message: &[u8], items: u64) -> io::Result<u64> {
        self.add(message, items, false)
    }

    fn add(&mut self, message: &[u8], items: u64, outlasts_the_machine: bool) -> io::Result<u64> {
        let items = u32::try_from(items).map_err(|_| io::Error::other("too many items"))?;
        let header = Header::new(message, items)?;
        let written = self
            .file
            .write_all_at(header.as_bytes(), self.len)
            .and_then(|()| self.file.write_all_at(message, self.len + HEADER))
            .and_then(|()| if outlasts_the_machine { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // What was written of it is cut off; where even that fails the next record is written over it.
            let _is_cut = self.file.set_len(self.len).is_ok();
            return Err(error);
        }
        let at = self.len;
        self.len += header.record_len();
        self.waiting_items += u64::from(items);
        self.unsettled += 1;
        Ok(at)
    }

    /// What reads its records at any time, by where they are; also when the file is removed.
    pub(crate) fn reader(&self) -> io::Result<Reader> {
        Ok(Reader(self.file.try_clone()?))
    }

    /// Hands out the next record that waits.
    pub(crate) fn take(&mut self) -> io::Result<Read> {
        while self.next < self.len {
            let at = self.next;
            let Some(header) = self.header(at, self.len)? else {
                // It was whole when the file was opened, or written by this process.
                return Ok(Read::Damaged(self.give_up()));
            };
            let end = at + header.record_len();
            if end > self.len {
                return Ok(Read::Damaged(self.give_up()));
            }
            if header.state == SETTLED {
                self.next = end;
                continue;
            }
            let items = u64::from(header.items.get());
            let mut message = vec![0; header.len.get() as usize];
            self.file.read_exact_at(&mut message, at + HEADER)?;
            self.next = end;
            self.waiting_items = self.waiting_items.saturating_sub(items);
            if crc32fast::hash(&message) != header.message_checksum.get() {
                self.unsettled = self.unsettled.saturating_sub(1);
                return Ok(Read::Damaged(items));
            }
            return Ok(Read::Record(at, items, message));
        }
        Ok(Read::End)
    }

    /// Leaves out all that was not handed out; the items that are lost thereby.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.next = self.len;
        self.unsettled = 0;
        std::mem::take(&mut self.waiting_items)
    }

    /// Notes that the record at this place is settled.
    pub(crate) fn settle(&mut self, at: u64) -> io::Result<()> {
        self.unsettled = self.unsettled.saturating_sub(1);
        self.file.write_all_at(&SETTLED, at + STATE_AT)?;
        self.file.sync_data()
    }

    /// Whether nothing in it is needed any more.
    pub(crate) fn is_done(&self) -> bool {
        self.unsettled == 0
    }

    /// Whether it has no record that was not handed out.
    pub(crate) fn is_read(&self) -> bool {
        self.next >= self.len
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

const SUFFIX: &str = ".spool";

/// Names are in the order of numbers.
fn file_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// The number of the segment that is called so; `None`: it is none.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}
