//! Whether the large turns of a connection are many requests or messages, all of which count, or single large ones, of which the beginning
//! suffices: then less is captured, so that what is stored or sent in large pieces takes no more room in the ring than it has to.

use ebpf_common::limits::HEAD_MAX;

use crate::protocols::Capture;

/// Single large requests in a row by which a client is known.
const SINGLES: u8 = 4;
/// Bytes of a direction after which it is looked how many messages they were.
const LOOK_EVERY: u64 = 1 << 20;
/// Messages that are longer than this on average are large ones.
const LARGE: u64 = 32 << 10;
/// Most bytes that are captured of a turn of these.
const OF_LARGE: u32 = 64 << 10;

/// The turns of one connection.
#[derive(Debug)]
pub(super) struct Turns {
    /// Most bytes of a turn of requests, and of responses, as the protocol needs them.
    most: [u32; 2],
    /// They may never end, and a request of one has several exchanges, or one that is as long as those of others.
    is_stream: bool,
    /// Bytes of the present one, and requests that began in it.
    bytes: u64,
    requests: u32,
    is_asking: bool,
    /// Large turns in a row of one request each.
    singles: u8,
    /// Less is captured of requests.
    is_reduced: bool,
    streams: [Stream; 2],
}

/// How long messages of a direction are.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Bytes since it was last looked, and messages that began with them.
    bytes: u64,
    messages: u64,
    has_large: bool,
}

impl Stream {
    fn on_piece(&mut self, len: u64, begun: u32) {
        (self.bytes, self.messages) = (self.bytes.saturating_add(len), self.messages + u64::from(begun));
        if self.bytes >= LOOK_EVERY {
            *self = Self { has_large: self.bytes / self.messages.max(1) > LARGE, ..Self::default() };
        }
    }
}

impl Turns {
    /// Of a connection that is captured so.
    pub(super) fn new(capture: &Capture) -> Self {
        Self {
            most: [capture.requests, capture.responses],
            is_stream: capture.renewed,
            bytes: 0,
            requests: 0,
            is_asking: false,
            singles: 0,
            is_reduced: false,
            streams: [Stream::default(); 2],
        }
    }

    /// Takes a piece, with which so many requests began. Whether something else is needed from here on than was.
    pub(super) fn on_piece(&mut self, is_request: bool, len: u64, begun: u32) -> bool {
        let before = self.most();
        self.streams[usize::from(!is_request)].on_piece(len, begun);
        if is_request {
            if !std::mem::replace(&mut self.is_asking, true) {
                (self.bytes, self.requests) = (0, 0);
            }
            self.bytes = self.bytes.saturating_add(len);
            self.requests = self.requests.saturating_add(begun);
        } else if std::mem::replace(&mut self.is_asking, false) && self.bytes > u64::from(HEAD_MAX) {
            self.singles = if self.requests <= 1 { self.singles.saturating_add(1) } else { 0 };
            self.is_reduced = self.singles >= SINGLES && !self.is_stream;
        }
        before != self.most()
    }

    /// Most bytes that are to be captured of a turn of requests, and of responses.
    pub(super) fn most(&self) -> [u32; 2] {
        let [mut requests, mut responses] = self.most;
        for (most, stream) in [&mut requests, &mut responses].into_iter().zip(&self.streams) {
            *most = if stream.has_large { OF_LARGE.min(*most) } else { *most };
        }
        [if self.is_reduced { HEAD_MAX.min(requests) } else { requests }, responses]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_single_requests_are_captured_less_until_many_come_at_a_time() {
        let mut turns = Turns::new(&Capture::pipelined(4096));
        let mut turn = |pieces: &[(u64, u32)]| {
            let asked = pieces.iter().filter(|(len, begun)| turns.on_piece(true, *len, *begun)).count();
            assert_eq!(asked, 0);
            (turns.on_piece(false, 5, 0), turns.most())
        };
        let large = [(16 << 10, 1), (4 << 10, 0)];
        for _ in 0..3 {
            assert_eq!(turn(&large), (false, [512 << 10, 4096]));
            assert_eq!(turn(&[(100, 1)]), (false, [512 << 10, 4096]), "a small one says nothing");
        }
        assert_eq!(turn(&large), (true, [HEAD_MAX, 4096]));
        assert_eq!(turn(&large), (false, [HEAD_MAX, 4096]), "said once");
        assert_eq!(turn(&[(16 << 10, 15), (600, 1)]), (true, [512 << 10, 4096]));
        assert_eq!(turn(&large), (false, [512 << 10, 4096]));
    }

    #[test]
    fn a_stream_of_large_messages_is_captured_less_without_an_end_of_its_turn() {
        for is_request in [true, false] {
            let mut turns = Turns::new(&Capture::streams());
            let all = turns.most();
            let mut pieces = |count: usize, len: u64, begun: u32| {
                (0..count).filter(|_| turns.on_piece(is_request, len, begun)).count()
            };
            assert_eq!(pieces(1000, 64 << 10, 400), 0, "many small ones");
            assert_eq!(pieces(1000, 64 << 10, 1), 1, "said once");
            assert_eq!(turns.most()[usize::from(!is_request)], OF_LARGE);
            assert_eq!(
                turns.most()[usize::from(is_request)],
                all[usize::from(is_request)],
                "of the other direction nothing"
            );
            let mut pieces = |count: usize, len: u64, begun: u32| {
                (0..count).filter(|_| turns.on_piece(is_request, len, begun)).count()
            };
            assert_eq!(pieces(1000, 64 << 10, 400), 1);
            assert_eq!(turns.most(), all);
        }
    }
}
