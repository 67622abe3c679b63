//! Frame headers (RFC 9113, section 4.1), and what can be said of them alone.

use super::Side;

/// What a client sends first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's header.
pub(super) const HEADER_LEN: usize = 9;

/// Longest payload of a frame other than DATA that is taken for one when the place in the stream is not certain: what
/// every endpoint must accept, and all that real ones send.
const PLAUSIBLE_LEN: u32 = 16_384;
/// The same for DATA: some servers announce a `SETTINGS_MAX_FRAME_SIZE` of 1 MiB.
const PLAUSIBLE_DATA_LEN: u32 = 1 << 20;

pub(super) mod flags {
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension that is in use: ALTSVC, ORIGIN, `PRIORITY_UPDATE`.
    Extension,
    /// Any other; to be ignored (RFC 9113, section 5.5).
    Unknown,
}

impl Kind {
    pub(super) const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            0x0a | 0x0c | 0x10 => Self::Extension,
            _ => Self::Unknown,
        }
    }

    /// Whether its payload is (a piece of) a header block.
    pub(super) const fn has_block(self) -> bool {
        matches!(self, Self::Headers | Self::PushPromise | Self::Continuation)
    }

    /// Whether its payload is of interest.
    pub(super) const fn is_read(self) -> bool {
        self.has_block() || matches!(self, Self::RstStream | Self::GoAway)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The bit that has to be 0.
    reserved: bool,
}

impl FrameHeader {
    pub(super) const fn parse(bytes: [u8; HEADER_LEN]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::from_byte(kind),
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 != 0,
        }
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a peer may send it in that direction; if not, it is no frame header and the place was lost.
    pub(super) const fn is_legal(&self, side: Side) -> bool {
        let on_stream = self.stream != 0;
        let odd = self.stream % 2 == 1;
        match self.kind {
            Kind::Data => on_stream && (odd || matches!(side, Side::Responses)) && self.length >= self.overhead(),
            Kind::Headers => on_stream && (odd || matches!(side, Side::Responses)) && self.length >= self.overhead(),
            Kind::Priority => on_stream && self.length == 5,
            Kind::RstStream => on_stream && self.length == 4,
            Kind::Settings => {
                !on_stream && if self.has(flags::ACK) { self.length == 0 } else { self.length.is_multiple_of(6) }
            }
            Kind::PushPromise => odd && matches!(side, Side::Responses) && self.length >= self.overhead() + 4,
            Kind::Ping => !on_stream && self.length == 8,
            Kind::GoAway => !on_stream && self.length >= 8,
            Kind::WindowUpdate => self.length == 4,
            Kind::Continuation => on_stream,
            Kind::Extension | Kind::Unknown => true,
        }
    }

    /// Whether it is what real endpoints send: to find the place in a stream that is met in its middle.
    pub(super) const fn is_plausible(&self, side: Side) -> bool {
        let (allowed, longest) = match self.kind {
            Kind::Data => (flags::END_STREAM | flags::PADDED, PLAUSIBLE_DATA_LEN),
            Kind::Headers => (flags::END_STREAM | flags::END_HEADERS | flags::PADDED | flags::PRIORITY, PLAUSIBLE_LEN),
            Kind::PushPromise => (flags::END_HEADERS | flags::PADDED, PLAUSIBLE_LEN),
            Kind::Settings => (flags::ACK, 6 * 64),
            Kind::Ping => (flags::ACK, PLAUSIBLE_LEN),
            Kind::Continuation => (flags::END_HEADERS, PLAUSIBLE_LEN),
            Kind::Priority | Kind::RstStream | Kind::GoAway | Kind::WindowUpdate | Kind::Extension => {
                (0, PLAUSIBLE_LEN)
            }
            Kind::Unknown => return false,
        };
        let has_content = match self.kind {
            Kind::Headers | Kind::Continuation => self.length > self.overhead(),
            Kind::Extension => self.stream == 0 && self.length > 2,
            _ => true,
        };
        !self.reserved && self.flags & !allowed == 0 && self.length <= longest && has_content && self.is_legal(side)
    }

    /// Bytes of the payload that its flags ask for.
    const fn overhead(&self) -> u32 {
        let padding = if self.has(flags::PADDED) { 1 } else { 0 };
        let priority = if matches!(self.kind, Kind::Headers) && self.has(flags::PRIORITY) { 5 } else { 0 };
        padding + priority
    }

    /// The fragment of a header block in (the captured beginning of) this frame's payload; `None` if the padding is
    /// longer than the payload or the fragment's beginning is not there.
    pub(super) fn fragment<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let (mut begin, mut end) = (0, self.length as usize);
        if self.has(flags::PADDED) && !matches!(self.kind, Kind::Continuation) {
            end = end.checked_sub(usize::from(*payload.first()?))?;
            begin = 1;
        }
        match self.kind {
            Kind::Headers if self.has(flags::PRIORITY) => begin += 5,
            Kind::PushPromise => begin += 4,
            _ => {}
        }
        if begin > end {
            return None;
        }
        payload.get(begin..end.min(payload.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32, kind: u8, flags: u8, stream: u32) -> FrameHeader {
        let [_, l0, l1, l2] = length.to_be_bytes();
        let [s0, s1, s2, s3] = stream.to_be_bytes();
        FrameHeader::parse([l0, l1, l2, kind, flags, s0, s1, s2, s3])
    }

    #[test]
    fn frames_on_the_wrong_stream_or_of_the_wrong_length_are_illegal() {
        for (length, kind, flags, stream) in [
            (1, 0, 0, 0),
            (0, 0, 8, 1),
            (1, 1, 4, 0),
            (5, 1, 0x28, 1),
            (4, 2, 0, 1),
            (5, 3, 0, 1),
            (4, 3, 0, 0),
            (6, 4, 0, 1),
            (7, 4, 0, 0),
            (6, 4, 1, 0),
            (7, 6, 0, 0),
            (8, 6, 0, 1),
            (7, 7, 0, 0),
            (5, 8, 0, 0),
            (5, 9, 0, 0),
        ] {
            assert!(!header(length, kind, flags, stream).is_legal(Side::Responses), "{length} {kind} {flags} {stream}");
        }
        assert!(!header(10, 1, 4, 2).is_legal(Side::Requests), "clients open odd streams");
        assert!(header(10, 1, 4, 2).is_legal(Side::Responses));
        assert!(!header(10, 5, 4, 1).is_legal(Side::Requests), "clients push nothing");
    }

    #[test]
    fn plausible_frames_have_no_undefined_flags_and_no_reserved_bit() {
        assert!(header(10, 1, 5, 1).is_plausible(Side::Requests));
        assert!(!header(10, 1, 0x45, 1).is_plausible(Side::Requests));
        assert!(!header(10, 1, 5, 1 | 1 << 31).is_plausible(Side::Requests));
        assert!(!header(20_000, 1, 5, 1).is_plausible(Side::Requests));
        assert!(!header(4, 0x77, 0, 1).is_plausible(Side::Requests));
        assert!(header(4, 0x77, 0, 1).is_legal(Side::Requests));
    }

    #[test]
    fn padding_and_priority_are_no_part_of_a_fragment() {
        let padded = header(12, 1, 0x28, 1);
        assert_eq!(padded.fragment(&[2, 0, 0, 0, 0, 16, 1, 2, 3, 4, 0, 0]), Some(&[1, 2, 3, 4][..]));
        assert_eq!(padded.fragment(&[2, 0, 0, 0, 0, 16, 1, 2]), Some(&[1, 2][..]), "cut");
        assert_eq!(padded.fragment(&[7, 0, 0, 0, 0, 16, 1, 2, 3, 4, 0, 0]), None, "more padding than payload");
        assert_eq!(padded.fragment(&[]), None);
    }
}
