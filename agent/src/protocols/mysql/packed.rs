//! Packets within compressed ones (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression.html>), by zlib
//! or zstd: how long each is with and without, so that one of which only the beginning was captured is passed over.

use std::io::Read;

use crate::protocols::Chunk;

/// Bytes of a packet's head: its length, its number, its length without compression.
const HEAD: usize = 7;
/// Most bytes that are kept of one that comes in several pieces. What was kept of a longer one is opened as far as it goes.
const KEPT: usize = 64 << 10;
/// Most bytes that are taken out of one: a few may stand for many.
const OPENED: usize = 1 << 20;
/// What zstd's frames begin with.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The largest window of zstd for which there is room, as a power of two: that of the level at which servers and clients compress.
const WINDOW: u32 = 21;

/// Where in its compressed packets a direction stands.
#[derive(Debug, Default)]
pub(super) struct Packed {
    head: [u8; HEAD],
    head_len: usize,
    /// Where the packet begins in its direction.
    position: u64,
    /// Bytes of it that are still to come.
    left: u32,
    /// Bytes that it stands for; 0: as many as it has, which are not compressed.
    opened: u32,
    kept: Vec<u8>,
    /// What was kept ends before bytes that were not seen.
    is_cut: bool,
    /// Nothing was given yet of what has come of a turn.
    pub(super) is_silent: bool,
}

/// What a piece holds.
pub(super) struct Opened<'a> {
    /// Where it begins, about: it is the same at both ends of a connection.
    pub(super) position: u64,
    pub(super) bytes: &'a [u8],
    /// Bytes that follow, of which nothing is known.
    pub(super) gap: u64,
}

impl Packed {
    /// Whether the next byte begins a packet.
    pub(super) const fn is_between(&self) -> bool {
        self.head_len == 0
    }

    /// Forgets what it was reading.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A turn begins: what came before it is forgotten, but for its own first bytes.
    pub(super) fn begin_turn(&mut self) {
        if !std::mem::take(&mut self.is_silent) {
            self.reset();
        }
    }

    /// Takes a piece, and gives what stands in it. `None`: the place is lost, or `each` says so.
    pub(super) fn piece(&mut self, chunk: &Chunk<'_>, each: &mut impl FnMut(Opened<'_>) -> Option<()>) -> Option<()> {
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.bytes(chunk.data, chunk.position, each)?;
        if gap > 0 {
            self.skip(gap, each)?;
        }
        let at_tail = chunk.position.saturating_add(chunk.len() - chunk.tail.len() as u64);
        self.bytes(chunk.tail, at_tail, each)
    }

    fn bytes(
        &mut self,
        mut data: &[u8],
        mut position: u64,
        each: &mut impl FnMut(Opened<'_>) -> Option<()>,
    ) -> Option<()> {
        while !data.is_empty() {
            if self.head_len < HEAD {
                if self.head_len == 0 {
                    self.position = position;
                }
                let (part, rest) = data.split_at(data.len().min(HEAD - self.head_len));
                self.head.get_mut(self.head_len..self.head_len + part.len())?.copy_from_slice(part);
                self.head_len += part.len();
                (data, position) = (rest, position.saturating_add(part.len() as u64));
                if self.head_len == HEAD {
                    self.begin()?;
                }
                continue;
            }
            let (part, rest) = data.split_at(data.len().min(self.left as usize));
            self.left -= part.len() as u32;
            (data, position) = (rest, position.saturating_add(part.len() as u64));
            if self.opened == 0 {
                each(Opened { position: self.position, bytes: part, gap: 0 })?;
            } else if self.left == 0 && self.kept.is_empty() && !self.is_cut {
                self.open(part, each)?;
            } else if !self.is_cut {
                let room = KEPT.saturating_sub(self.kept.len());
                self.is_cut = part.len() > room;
                self.kept.extend_from_slice(part.get(..room).unwrap_or(part));
            }
            self.end_if_whole(each)?;
        }
        Some(())
    }

    /// So many bytes were not seen; `None` if a packet begins among them.
    fn skip(&mut self, count: u64, each: &mut impl FnMut(Opened<'_>) -> Option<()>) -> Option<()> {
        if self.head_len < HEAD {
            return None;
        }
        let count = u32::try_from(count).ok()?;
        self.left = self.left.checked_sub(count)?;
        self.is_cut = true;
        if self.opened == 0 {
            each(Opened { position: self.position, bytes: &[], gap: u64::from(count) })?;
        }
        self.end_if_whole(each)
    }

    fn begin(&mut self) -> Option<()> {
        let [a, b, c, _, d, e, f] = self.head;
        (self.left, self.opened) = (u32::from_le_bytes([a, b, c, 0]), u32::from_le_bytes([d, e, f, 0]));
        (self.is_cut, self.kept) = (false, Vec::new());
        // None is empty.
        (self.left > 0).then_some(())
    }

    fn end_if_whole(&mut self, each: &mut impl FnMut(Opened<'_>) -> Option<()>) -> Option<()> {
        if self.left > 0 {
            return Some(());
        }
        self.head_len = 0;
        if self.opened > 0 {
            let kept = std::mem::take(&mut self.kept);
            self.open(&kept, each)?;
        }
        Some(())
    }

    /// Gives what stands in a packet, as far as it was seen.
    fn open(&mut self, packed: &[u8], each: &mut impl FnMut(Opened<'_>) -> Option<()>) -> Option<()> {
        let len = std::mem::take(&mut self.opened);
        let mut bytes = Vec::new();
        let most = u64::from(len).min(OPENED as u64);
        // Bytes that do not follow the format end what can be read of it, as those do that are missing.
        let _end = if packed.starts_with(ZSTD) {
            zstd::stream::read::Decoder::with_buffer(packed).and_then(|mut decoder| {
                decoder.window_log_max(WINDOW)?;
                decoder.take(most).read_to_end(&mut bytes)
            })
        } else {
            flate2::read::ZlibDecoder::new(packed).take(most).read_to_end(&mut bytes)
        };
        let gap = u64::from(len).saturating_sub(bytes.len() as u64);
        each(Opened { position: self.position, bytes: &bytes, gap })
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples::packed, *};
    use crate::protocols::testing::chunk_of;

    fn read(reader: &mut Packed, chunk: &Chunk<'_>) -> Option<(Vec<u8>, u64)> {
        let (mut bytes, mut gaps) = (Vec::new(), 0);
        reader.piece(chunk, &mut |opened| {
            bytes.extend_from_slice(opened.bytes);
            gaps += opened.gap;
            Some(())
        })?;
        Some((bytes, gaps))
    }

    #[test]
    fn what_is_compressed_is_read_however_it_falls_into_pieces() {
        let text: Vec<u8> = (0..3000_u32).flat_map(|n| (n * n % 251).to_le_bytes()).collect();
        let parts = [packed(&text, "zlib"), packed(b"SELECT 1", ""), packed(&text, "zstd"), packed(b"x", "zlib")];
        let all = parts.concat();
        let expected = [&text[..], b"SELECT 1", &text, b"x"].concat();
        for size in (1..40).chain([100, 1000, 5000, all.len()]) {
            let mut reader = Packed::default();
            let mut bytes = Vec::new();
            for piece in all.chunks(size) {
                let (more, gap) = read(&mut reader, &chunk_of(piece, 0, &[])).unwrap();
                assert_eq!(gap, 0);
                bytes.extend(more);
            }
            assert!(reader.is_between());
            assert_eq!(bytes, expected, "{size}");
        }
    }

    #[test]
    fn of_a_packet_that_is_cut_the_beginning_is_read_and_the_next_is_found() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
        for (how, least) in [("zlib", 1000), ("zstd", 0)] {
            let whole = packed(&text, how);
            let mut reader = Packed::default();
            let (bytes, gap) = read(&mut reader, &chunk_of(&whole[..2000], whole.len() as u64 - 2000, &[])).unwrap();
            assert!(bytes.len() >= least && bytes.len() as u64 + gap == text.len() as u64 && text.starts_with(&bytes));
            let (next, gap) = read(&mut reader, &chunk_of(&packed(b"next", ""), 0, &[])).unwrap();
            assert_eq!((&next[..], gap), (&b"next"[..], 0));
        }
    }

    #[test]
    fn junk_is_bounded_and_what_begins_among_unseen_bytes_is_lost() {
        let mut reader = Packed::default();
        assert!(read(&mut reader, &chunk_of(&[0; 7], 0, &[])).is_none(), "an empty one");
        reader.reset();
        assert!(read(&mut reader, &chunk_of(&[9, 0, 0], 10, &[])).is_none());
        reader.reset();
        assert!(read(&mut reader, &chunk_of(&[9, 0, 0, 0, 1, 0, 0], 10, &[])).is_none());
        // What does not open is passed over by its length.
        reader.reset();
        let junk = [&[4, 0, 0, 0, 0xff, 0xff, 0xff][..], b"junk"].concat();
        assert_eq!(read(&mut reader, &chunk_of(&junk, 0, &[])), Some((Vec::new(), 0xff_ffff)));
        // A few bytes that stand for many.
        let bomb = packed(&vec![0; 16_000_000], "zlib");
        let (bytes, gap) = read(&mut reader, &chunk_of(&bomb, 0, &[])).unwrap();
        assert_eq!((bytes.len(), gap), (OPENED, 16_000_000 - OPENED as u64));
    }
}
