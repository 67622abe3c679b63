//! One request, whose path says how it is to be answered: `/s/STATUS/BYTES/DELAY/SHAPE/NUMBER`, for calls of gRPC
//! `/torture.T/cSTATUS-BYTES-DELAY-SHAPE-NUMBER`. Servers need nothing else, and neither does who compares.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a response's body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// At once, its length said before.
    Whole,
    /// In pieces (chunked in HTTP/1), one behind the other.
    Pieces,
    /// In pieces with pauses between them.
    Streamed,
}

impl Shape {
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Whole => 'w',
            Self::Pieces => 'p',
            Self::Streamed => 's',
        }
    }
}

/// How a request's body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Send {
    /// There is none.
    Nothing,
    /// At once.
    Whole(usize),
    /// In pieces: chunked in HTTP/1.
    Pieces(usize),
}

impl Send {
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Whole(len) | Self::Pieces(len) => len,
        }
    }
}

/// How the server is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Status of HTTP, or code of gRPC.
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) delay_ms: u64,
    pub(crate) shape: Shape,
}

/// Bytes of a piece.
pub(crate) const PIECE: usize = 7_000;
/// Pause between two pieces of what is streamed.
pub(crate) const PAUSE_MS: u64 = 2;
/// Pieces of what is streamed, at most: else a megabyte takes seconds.
const STREAMED_PIECES: usize = 8;

impl Answer {
    /// Lengths of its pieces.
    pub(crate) fn pieces(&self) -> Vec<usize> {
        let size = match self.shape {
            Shape::Whole => self.bytes,
            Shape::Pieces => PIECE,
            Shape::Streamed => PIECE.max(self.bytes.div_ceil(STREAMED_PIECES)),
        };
        let mut left = self.bytes;
        let mut pieces = Vec::new();
        while left > 0 {
            let piece = left.min(size);
            pieces.push(piece);
            left -= piece;
        }
        pieces
    }

    /// Whether a response of this status has a body.
    pub(crate) const fn has_body(&self) -> bool {
        !matches!(self.status, 100..200 | 204 | 304)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) number: u64,
    /// Is a call of gRPC.
    pub(crate) is_call: bool,
    pub(crate) method: String,
    pub(crate) answer: Answer,
    pub(crate) send: Send,
    /// The number stands in the query: the server serves files.
    pub(crate) by_query: bool,
}

impl Ask {
    /// The request target.
    pub(crate) fn target(&self) -> String {
        let Answer { status, bytes, delay_ms, shape } = self.answer;
        let (shape, number) = (shape.letter(), self.number);
        if self.is_call {
            format!("/torture.T/c{status}-{bytes}-{delay_ms}-{shape}-{number}")
        } else if self.by_query {
            format!("/s/{status}/{bytes}/{delay_ms}/{shape}?n={number}")
        } else {
            format!("/s/{status}/{bytes}/{delay_ms}/{shape}/{number}")
        }
    }
}

/// A request's number, of its target or of the name of its method; `None` where it is none of ours.
pub(crate) fn number(target: &str) -> Option<u64> {
    let ours = target.starts_with("/s/") || target.trim_start_matches('/').starts_with("torture.T/");
    target.rsplit(['/', '-', '=']).next().filter(|_| ours)?.parse().ok()
}

impl FromStr for Answer {
    type Err = ();

    /// Of a request target.
    fn from_str(target: &str) -> Result<Self, ()> {
        let rest = target.strip_prefix("/s/").or_else(|| target.strip_prefix("/torture.T/c")).ok_or(())?;
        let mut words = rest.split(['/', '-', '?']);
        let mut next = || words.next().ok_or(());
        let status = next()?.parse().map_err(drop)?;
        let bytes = next()?.parse().map_err(drop)?;
        let delay_ms = next()?.parse().map_err(drop)?;
        let shape = match next()? {
            "w" => Shape::Whole,
            "p" => Shape::Pieces,
            "s" => Shape::Streamed,
            _ => return Err(()),
        };
        Ok(Self { status, bytes, delay_ms, shape })
    }
}

/// What a client says became of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) number: u64,
    /// Unix time in ns, before its first byte was written.
    pub(crate) start: u64,
    /// After the last byte of its response was read.
    pub(crate) end: u64,
    /// Status of HTTP, or code of gRPC; `None` where none came.
    pub(crate) status: Option<u16>,
    /// Bytes of the response's body.
    pub(crate) bytes: usize,
    /// The client's own port.
    pub(crate) port: u16,
    /// Which request on its connection it was, from 0.
    pub(crate) place: usize,
    /// The client made a connection for it though it had one, which was gone: by then the request may have been made on that.
    #[serde(default)]
    pub(crate) again: bool,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_how_it_is_to_be_answered() {
        let answer = Answer { status: 404, bytes: 12, delay_ms: 3, shape: Shape::Pieces };
        let mut ask =
            Ask { number: 77, is_call: false, method: "GET".into(), answer, send: Send::Nothing, by_query: false };
        for (is_call, by_query) in [(false, false), (false, true), (true, false)] {
            (ask.is_call, ask.by_query) = (is_call, by_query);
            assert_eq!(ask.target().parse(), Ok(answer));
            assert_eq!(number(&ask.target()), Some(77));
        }
        assert_eq!(number("torture.T/c0-1-2-w-9"), Some(9));
        assert_eq!(number("/other/9"), None);
    }

    #[test]
    fn pieces_add_up() {
        for shape in [Shape::Whole, Shape::Pieces, Shape::Streamed] {
            let answer = Answer { status: 200, bytes: 100_001, delay_ms: 0, shape };
            assert_eq!(answer.pieces().iter().sum::<usize>(), 100_001);
        }
    }
}
