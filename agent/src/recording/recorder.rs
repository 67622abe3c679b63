//! Writes a recording. The pipeline waits for no file: a thread writes, and where it does not keep up the recording ends,
//! since one with a hole in it would tell of losses that were none.

use std::{
    borrow::Cow,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread,
    time::Duration,
};

use serde::Serialize as _;
use serde_json::{Serializer, ser::Formatter};

use super::entry::Entry;

/// Most bytes of a recording.
pub(crate) const BYTES_MAX: usize = 64 << 20;
/// Bytes that are handed over at once.
const BLOCK: usize = 256 << 10;
/// Blocks that wait to be written.
const BLOCKS_MAX: usize = 32;
/// How long the end of the agent waits for the file.
const LAST_BLOCKS: Duration = Duration::from_secs(5);
/// Room for the line that says why a recording ends early.
const CUT_ROOM: usize = 128;

/// A recording that is being made, or none.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    open: Option<Open>,
    /// Closed once all is written.
    written: Option<Receiver<()>>,
}

#[derive(Debug)]
struct Open {
    block: Vec<u8>,
    /// Bytes that may still be written.
    left: usize,
    blocks: SyncSender<Vec<u8>>,
}

impl Recorder {
    /// Begins one, of at most [`BYTES_MAX`]. Nobody else may read the file: it holds what moved in the clear.
    ///
    /// # Errors
    /// When the file is there already, or cannot be made.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Self::bounded(path, BYTES_MAX)
    }

    pub(super) fn bounded(path: &Path, bytes_max: usize) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let (blocks, to_write) = mpsc::sync_channel::<Vec<u8>>(BLOCKS_MAX);
        let (done, written) = mpsc::channel();
        thread::Builder::new().name("recording".to_owned()).spawn(move || {
            let _closed_at_the_end = done;
            for block in to_write {
                if let Err(error) = file.write_all(&block) {
                    tracing::warn!(%error, "the recording cannot be written, and ends here");
                    return;
                }
            }
        })?;
        let left = bytes_max.saturating_sub(CUT_ROOM);
        Ok(Self { open: Some(Open { block: Vec::new(), left, blocks }), written: Some(written) })
    }

    /// Whether one is being made.
    #[must_use]
    #[cfg(test)]
    pub(crate) const fn is_on(&self) -> bool {
        self.open.is_some()
    }

    /// Writes an entry, if one is being made.
    pub(crate) fn write<'a>(&mut self, entry: impl FnOnce() -> Entry<'a>) {
        let Some(open) = &mut self.open else { return };
        let before = open.block.len();
        if let Err(error) = append(&entry(), &mut open.block) {
            // All keys are strings, and memory takes all that is written.
            tracing::error!(%error, "an entry of the recording is missing");
            open.block.truncate(before);
            return;
        }
        let len = open.block.len() - before;
        if len > open.left {
            open.block.truncate(before);
            self.cut("it has as many bytes as a recording may have");
            return;
        }
        open.left -= len;
        if open.block.len() >= BLOCK {
            self.hand_over();
        }
    }

    /// What was written so far goes to the file.
    pub(crate) fn hand_over(&mut self) {
        let Some(open) = &mut self.open else { return };
        if open.block.is_empty() {
            return;
        }
        match open.blocks.try_send(std::mem::take(&mut open.block)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!("the recording ends here: its file is written too slowly");
                self.open = None;
            }
            // Its writer has said why.
            Err(TrySendError::Disconnected(_)) => self.open = None,
        }
    }

    /// Ends it, and waits a while until it is written.
    pub(crate) fn finish(&mut self) {
        self.hand_over();
        self.open = None;
        let Some(written) = self.written.take() else { return };
        if written.recv_timeout(LAST_BLOCKS) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the last part of the recording is not written yet");
        }
    }

    fn cut(&mut self, reason: &str) {
        tracing::warn!("the recording ends here: {reason}");
        if let Some(open) = &mut self.open {
            // There is room for it, and memory takes all that is written.
            let _infallible = append(&Entry::Cut { reason: Cow::Borrowed(reason) }, &mut open.block);
        }
        self.hand_over();
        self.open = None;
    }
}

pub(super) fn append(entry: &Entry<'_>, to: &mut Vec<u8>) -> serde_json::Result<()> {
    entry.serialize(&mut Serializer::with_formatter(&mut *to, Ascii))?;
    to.push(b'\n');
    Ok(())
}

/// JSON in which nothing stands that an editor or a terminal would take for something else.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}
