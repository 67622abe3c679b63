//! The last bytes of a direction, where a chunked body's framing is lost.

use super::recognise::is_token;

/// Bytes kept: a last chunk with a few trailer fields.
const KEPT: usize = 256;

/// The last bytes that came without a gap between them.
#[derive(Debug, Default)]
pub(super) struct Suffix(Vec<u8>);

impl Suffix {
    /// Adds bytes. `at_start`: a piece begins with them, and so a line may, if what stood before is not known.
    pub(super) fn push(&mut self, bytes: &[u8], at_start: bool) {
        if self.0.is_empty() && at_start {
            self.0.extend_from_slice(b"\r\n");
        }
        let bytes = bytes.get(bytes.len().saturating_sub(KEPT)..).unwrap_or(bytes);
        let excess = (self.0.len() + bytes.len()).saturating_sub(KEPT);
        self.0.drain(..excess.min(self.0.len()));
        self.0.extend_from_slice(bytes);
    }

    /// Forgets all: bytes are missing here.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(super) fn memory(&self) -> usize {
        self.0.capacity()
    }

    /// Whether they end with an empty line.
    pub(super) fn ends_a_head(&self) -> bool {
        self.0.ends_with(b"\r\n\r\n")
    }

    /// Whether they end with a last chunk and a trailer section.
    pub(super) fn ends_a_chunked_body(&self) -> bool {
        let Some(text) = self.0.strip_suffix(b"\r\n\r\n") else { return false };
        if text.ends_with(b"\r\n0") {
            return true;
        }
        let Some(at) = memchr::memmem::rfind(text, b"\r\n0\r\n") else { return false };
        let trailer = text.get(at + 5..).unwrap_or_default();
        trailer.split(|&byte| byte == b'\n').all(|line| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            name.len() < line.len() && !name.is_empty() && name.iter().all(|&byte| is_token(byte))
        })
    }
}
