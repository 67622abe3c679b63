//! Records in files behind one another, in a folder of one process: what the spool of an exporter and the store keep on disk.

pub(crate) mod segment;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// A folder that no other process has while its lock is open.
pub(crate) struct Folder {
    pub(crate) lock: File,
    /// Files of earlier runs with their numbers, the oldest first.
    pub(crate) segments: Vec<(u64, PathBuf)>,
}

impl Folder {
    /// Opens it; it is made if need be, for nobody else to read.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it"))?;
        let mut segments = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(number) = entry.file_name().to_str().and_then(segment::number_of) {
                segments.push((number, entry.path()));
            }
        }
        segments.sort_unstable();
        Ok(Self { lock, segments })
    }
}
