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
    /// The last bytes (32) of a piece that is longer than its captured beginning are captured.
    pub tails: bool,
    /// Most bytes of a turn that is captured whole, see [`Begins::Whole`]; at most 512 KiB, and 0 where there is none.
    pub whole: u32,
    /// By what pieces are known before the agent has seen any of a connection. Where there is nothing here, what is captured before
    /// is as of any connection, and what stands above counts from when the agent has recognised the protocol.
    pub beginnings: &'static [Beginning],
}

impl Capture {
    /// Beginnings of turns, of requests and of responses.
    pub(crate) const fn turns(requests: u32, responses: u32) -> Self {
        Self { mode: Mode::Turns, requests, responses, answers: 0, tails: false, whole: 0, beginnings: &[] }
    }

    /// Where many may be asked at a time: every request of a turn counts, and what is asked says how much is answered.
    pub(crate) const fn pipelined(responses: u32) -> Self {
        Self { answers: 512 << 10, tails: true, ..Self::turns(64 << 10, responses) }
    }

    /// And ends of pieces.
    pub(crate) const fn with_tails(self) -> Self {
        Self { tails: true, ..self }
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
