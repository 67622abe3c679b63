//! Whether the large turns of a client are many requests, all of which count, or single large ones, of which the beginning suffices: then
//! less is captured, so that what is stored in large pieces takes no more room in the ring than it has to.

use ebpf_common::limits::HEAD_MAX;

/// Single large requests in a row by which a client is known.
const SINGLES: u8 = 4;

/// The turns of requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Bytes of the present one, and requests that began in it.
    bytes: u64,
    requests: u32,
    is_asking: bool,
    /// Large turns in a row of one request each.
    singles: u8,
    /// Less is captured.
    is_reduced: bool,
}

impl Turns {
    /// Takes a piece, with which so many requests began. Whether something else is needed from here on than was.
    pub(super) fn on_piece(&mut self, is_request: bool, len: u64, begun: u32) -> bool {
        if is_request {
            if !std::mem::replace(&mut self.is_asking, true) {
                (self.bytes, self.requests) = (0, 0);
            }
            self.bytes = self.bytes.saturating_add(len);
            self.requests = self.requests.saturating_add(begun);
            return false;
        }
        if !std::mem::replace(&mut self.is_asking, false) || self.bytes <= u64::from(HEAD_MAX) {
            return false;
        }
        self.singles = if self.requests <= 1 { self.singles.saturating_add(1) } else { 0 };
        let before = std::mem::replace(&mut self.is_reduced, self.singles >= SINGLES);
        before != self.is_reduced
    }

    /// Most bytes that are to be captured of a turn of requests.
    pub(super) const fn most(&self, requests: u32) -> u32 {
        if self.is_reduced && requests > HEAD_MAX { HEAD_MAX } else { requests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_single_requests_are_captured_less_until_many_come_at_a_time() {
        let mut turns = Turns::default();
        let mut turn = |pieces: &[(u64, u32)]| {
            let asked = pieces.iter().filter(|(len, begun)| turns.on_piece(true, *len, *begun)).count();
            assert_eq!(asked, 0);
            (turns.on_piece(false, 5, 0), turns.most(64 << 10))
        };
        let large = [(16 << 10, 1), (4 << 10, 0)];
        for _ in 0..3 {
            assert_eq!(turn(&large), (false, 64 << 10));
            assert_eq!(turn(&[(100, 1)]), (false, 64 << 10), "a small one says nothing");
        }
        assert_eq!(turn(&large), (true, HEAD_MAX));
        assert_eq!(turn(&large), (false, HEAD_MAX), "said once");
        assert_eq!(turn(&[(16 << 10, 15), (600, 1)]), (true, 64 << 10));
        assert_eq!(turn(&large), (false, 64 << 10));
    }
}
