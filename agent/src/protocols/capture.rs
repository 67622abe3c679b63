//! What a protocol needs captured of its connections. `conn::capture` makes of it what the kernel side is given, which knows
//! budgets and modes and no protocol.

/// What a protocol needs captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capture {
    /// How its bytes are followed on the kernel side.
    pub mode: Mode,
    /// Most bytes from the beginning of a turn of requests: what one end sends without anything of the other in between. Of more
    /// than 8 KiB a piece that would exceed it is captured as far as 8 KiB.
    pub requests: u32,
    /// The same of responses.
    pub responses: u32,
    /// To how many that of responses grows with what was asked before, 128 for each byte: where many may be asked for at a time; 0
    /// where it does not. A long answer to a short question is still cut.
    pub answers: u32,
    /// Budgets count anew every 4 ms though a turn goes on: for who is never answered, or sends without being asked again. Where messages are
    /// so large that most of what is captured would be theirs, these are 64 KiB.
    pub renewed: bool,
    /// The last bytes (32) of a piece that is longer than its captured beginning are captured.
    pub tails: bool,
    /// Most bytes of a turn that is captured whole, see [`Begins::Whole`]; at most 512 KiB, and 0 where there is none.
    pub whole: u32,
    /// With what last bytes of a piece an answer may end: those of which the session itself knows it. Once that says so
    /// ([`Session::knows_ends`](super::Session::knows_ends)), pieces of a turn beyond what is captured that end otherwise are told together; without
    /// endings, each by itself.
    pub endings: Endings,
    /// By what pieces are known before the agent has seen any of a connection. Where there is nothing here, what is captured before
    /// is as of any connection, and what stands above counts from when the agent has recognised the protocol.
    pub beginnings: &'static [Beginning],
}

impl Capture {
    /// Beginnings of turns, of requests and of responses.
    pub(crate) const fn turns(requests: u32, responses: u32) -> Self {
        Self {
            mode: Mode::Turns,
            requests,
            responses,
            answers: 0,
            renewed: false,
            tails: false,
            whole: 0,
            endings: Endings::NONE,
            beginnings: &[],
        }
    }

    /// Where many may be asked at a time: every request of a turn counts, and what is asked says how much is answered. Where they are so large
    /// that most of what is captured would be theirs, it is 64 KiB.
    pub(crate) const fn pipelined(responses: u32) -> Self {
        Self { answers: 512 << 10, tails: true, ..Self::turns(512 << 10, responses) }
    }

    /// Where many messages come in one turn, in either direction, which may never end.
    pub(crate) const fn streams() -> Self {
        Self { renewed: true, tails: true, ..Self::turns(512 << 10, 512 << 10) }
    }

    /// And ends of pieces.
    pub(crate) const fn with_tails(self) -> Self {
        Self { tails: true, ..self }
    }

    /// And answers end in one of these ways.
    pub(crate) const fn ending(self, answers: &'static [Ending]) -> Self {
        Self { endings: Endings { answers, ..self.endings }, ..self }
    }

    /// And what may be said of requests in the same way: who reads them needs no more of a long turn either.
    pub(crate) const fn asking(self, requests: &'static [Ending]) -> Self {
        Self { endings: Endings { requests, ..self.endings }, ..self }
    }
}

/// See [`Capture::endings`]; two of each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endings {
    /// Of what is answered.
    pub answers: &'static [Ending],
    /// Of what is asked.
    pub requests: &'static [Ending],
}

impl Endings {
    /// Each piece is told.
    pub(crate) const NONE: Self = Self { answers: &[], requests: &[] };
}

/// The last bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The last eight.
    pub bytes: [u8; 8],
    /// Bits of them that count.
    pub mask: [u8; 8],
}

impl Ending {
    /// The end of a line, of which a piece may have the first half.
    pub(crate) const OF_LINE: &'static [Self] = &[
        Self::of([None, None, None, None, None, None, Some(b'\r'), Some(b'\n')]),
        Self::of([None, None, None, None, None, None, None, Some(b'\r')]),
    ];

    /// These bytes; `None` stands for any.
    pub(crate) const fn of(last: [Option<u8>; 8]) -> Self {
        let (mut bytes, mut mask, mut at) = ([0; 8], [0; 8], 0);
        while at < last.len() {
            if let Some(byte) = last[at] {
                (bytes[at], mask[at]) = (byte, 0xff);
            }
            at += 1;
        }
        Self { bytes, mask }
    }
}

/// How the kernel side follows a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not at all: the beginnings of turns are captured, and the ends of their pieces.
    Turns,
    /// The same, and requests of HTTP/1 that have a body are followed by its length, however they fall into pieces.
    Http1Messages,
    /// Frame by frame, as HTTP/2 has them: all is captured but the payload of DATA.
    Http2Frames,
}

/// A piece that begins with four bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning {
    /// The bytes.
    pub bytes: [u8; 4],
    /// Bits of them that count.
    pub mask: [u8; 4],
    /// What begins so.
    pub begins: Begins,
}

/// What begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// A response; one that has a byte at a place is not the last to its request, and the request may go on behind it.
    Response {
        /// From 1 to 31.
        interim_at: u8,
        /// The byte.
        interim: u8,
    },
    /// A turn that is captured whole.
    Whole,
    /// The same, but not in the plaintext of TLS.
    WholeInTheClear,
    /// What the [mode](Capture::mode) of the protocol follows.
    Followed,
}

impl Beginning {
    /// A piece that begins with these bytes.
    #[must_use]
    pub(crate) const fn of(bytes: [u8; 4], begins: Begins) -> Self {
        Self { bytes, mask: [0xff; 4], begins }
    }
}
