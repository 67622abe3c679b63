//! What is captured of connections, as the kernel side knows it: budgets and modes. Which protocol needs what is said by its
//! entry in the agent's registry.

use crate::limits::WHOLE_MAX;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is captured of a connection from here on: what user space says of one, once it knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Capture {
    /// One of the modes; and where user space says it, in bits 8 and 9 which direction responses take: received, sent, and in bit 10 that
    /// budgets count anew every few milliseconds, see [`RENEWED_EVERY`](crate::limits::RENEWED_EVERY).
    pub mode: u32,
    /// Most bytes from the beginning of the pieces of a turn (bytes moved in one direction without any in the other): received,
    /// sent. Up to [`HEAD_MAX`](crate::limits::HEAD_MAX) for the kernel side's programs of every kind; more where a piece can be
    /// walked, up to [`WHOLE_MAX`](crate::limits::WHOLE_MAX).
    pub head: [u32; 2],
    /// To how many that grows with what was moved in the other direction, see [`GROWS_BY`](crate::limits::GROWS_BY), in units of
    /// [`GROWN_UNIT`]; 0: it does not. Of frames that are followed: how much of a piece is captured though it is payload of DATA.
    pub grown: [u8; 2],
    /// Most bytes from the end of a piece that is longer than its captured beginning: [`TAIL_MAX`](crate::limits::TAIL_MAX), or 0.
    pub tail: u8,
    /// Numbers of sets of [`Ending`]s: of what is received in the lower half, of what is sent in the upper one, see
    /// [`Capture::endings_of`]; 0: each piece is told by itself.
    pub endings: u8,
}

impl Capture {
    /// What [`Capture::endings`] says.
    #[must_use]
    pub const fn endings_of([received, sent]: [u8; 2]) -> u8 {
        received & ENDINGS_MAX as u8 | (sent & ENDINGS_MAX as u8) << ENDINGS_SHIFT
    }
}

/// Where in [`Capture::endings`] what is sent stands.
pub const ENDINGS_SHIFT: u32 = 4;

/// Bytes that [`Capture::grown`] counts in: what is remembered of a connection is put together on a small stack.
pub const GROWN_UNIT: u32 = 4096;
const _: () = assert!(WHOLE_MAX / GROWN_UNIT <= u8::MAX as u32);

/// Where in [`Capture::mode`] the direction of responses stands.
pub const RESPONSES_SHIFT: u32 = 8;

/// Where in [`Capture::mode`] it stands that budgets count anew.
pub const RENEWED_SHIFT: u32 = 10;
/// The bits of [`Capture::mode`] that are one of the modes.
pub const MODES: u32 = (1 << RESPONSES_SHIFT) - 1;

/// [`Capture::mode`]: nothing.
pub const MODE_NOTHING: u32 = 0;
/// [`Capture::mode`]: the beginnings of turns, and the ends of their pieces.
pub const MODE_TURNS: u32 = 1;
/// [`Capture::mode`]: the same, and requests of HTTP/1 with a body are followed by its length. A direction is followed from a piece
/// on that has such a [`Beginning`].
pub const MODE_HTTP1_MESSAGES: u32 = 2;
/// [`Capture::mode`]: frames of HTTP/2 are followed, and all but the payload of DATA is captured, of which [`Capture::grown`] says how much is. A direction is followed from a
/// connection's [`Beginning`] on, or from the next piece that begins with a header block.
pub const MODE_HTTP2_FRAMES: u32 = 3;

/// What it says of a piece that it begins with a word: it is known before user space knows anything of its connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Beginning {
    /// The first four bytes, as they lie in memory.
    pub word: u32,
    /// Those of their bits that count; all zero where there is no such beginning.
    pub mask: u32,
    /// See [`begins`].
    pub what: u32,
    /// Of a response: as [`Capture::head`], for its direction, from the next turn on.
    pub head: u32,
}

/// Bits of [`Beginning::what`].
pub mod begins {
    /// A response. Bits 8 to 15 may say where in it a byte stands (not 0), and bits 16 to 23 which byte: then what comes behind
    /// it is still of the request.
    pub const RESPONSE: u32 = 1;
    /// A turn of which everything is captured, up to a limit, where it is moved in the clear.
    pub const WHOLE: u32 = 1 << 1;
    /// The same in the plaintext of TLS.
    pub const WHOLE_OF_TLS: u32 = 1 << 4;
    /// What [`MODE_HTTP1_MESSAGES`](super::MODE_HTTP1_MESSAGES) follows.
    pub const HTTP1_MESSAGES: u32 = 1 << 2;
    /// At the beginning of a direction: perhaps what [`MODE_HTTP2_FRAMES`](super::MODE_HTTP2_FRAMES) follows.
    pub const HTTP2_FRAMES: u32 = 1 << 3;
}

/// Last bytes of a piece with which an answer may end. Of a turn of which nothing more is captured but the last bytes of its pieces, those
/// that end otherwise are told together, as one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ending {
    /// The last eight bytes, as they lie in memory.
    pub words: [u32; 2],
    /// Those of their bits that count.
    pub masks: [u32; 2],
}

impl Ending {
    /// The last eight bytes, of which those bits count that are set in `mask`.
    #[must_use]
    pub const fn of(bytes: [u8; 8], mask: [u8; 8]) -> Self {
        let masks = Self::words(mask);
        let [low, high] = Self::words(bytes);
        Self { words: [low & masks[0], high & masks[1]], masks }
    }

    const fn words([a, b, c, d, e, f, g, h]: [u8; 8]) -> [u32; 2] {
        [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
    }
}

/// Endings of a set.
pub const ENDINGS_IN_SET: usize = 2;
/// Most sets of endings.
pub const ENDINGS_MAX: usize = 7;
/// Words of a set.
pub const ENDING_WORDS: usize = ENDINGS_IN_SET * size_of::<Ending>() / 4;
/// Words of the programs' table of endings. The first set is left free: its number stands for none.
pub const ENDINGS_WORDS: usize = (ENDINGS_MAX + 1) * ENDING_WORDS;

/// Most beginnings.
pub const BEGINNINGS_MAX: usize = 15;
/// Words of a [`Beginning`].
pub const BEGINNING_WORDS: usize = 4;
/// Words of the programs' table of beginnings. The first is left free: its number stands for none.
pub const BEGINNINGS_WORDS: usize = (BEGINNINGS_MAX + 1) * BEGINNING_WORDS;

const _: () = assert!(size_of::<Capture>() == 16 && size_of::<Beginning>() == 4 * BEGINNING_WORDS);
