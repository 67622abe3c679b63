//! Looking for one's place in a stream that is met in its middle, or again after a gap. Writers begin a piece with a
//! frame more often than not, so each piece is taken for one that may until it is proved wrong. Whether it is believed is
//! another question: see [`super::proof`].

use super::{
    super::{Chunk, Recognition},
    Side,
    frame::{FrameHeader, HEADER_LEN, Kind, PREFACE, flags},
    head::{First, Head},
    hpack::Decoder,
};
use crate::model::net::Thread;

/// Most bytes that are kept of pieces which could be the beginning of frames.
const MAX_BYTES: usize = 20 * 1024;
/// Most such pieces.
const MAX_PIECES: usize = 256;
/// Most frames that are looked at.
const MAX_FRAMES: usize = 16;
/// What the plausible frames of a piece have to count together, see `evaluate_all`; ending with the piece counts 2.
const PROOF: u32 = 3;
/// That a frame ends where the piece does is no proof if there were many pieces.
const FEW_PIECES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The connection begins here.
    Preface,
    /// Frames begin here.
    Frames,
    /// Could be either with more bytes.
    Maybe,
    No,
}

/// Pieces that could be the beginning of frames.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    bytes: Vec<u8>,
    /// Where each piece ends in `bytes`, when it was moved and by whom.
    pieces: Vec<(usize, u64, Thread)>,
}

impl Candidate {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<(usize, u64, Thread)>()
    }

    /// Evaluates the pieces kept together with the next one, which is kept if the verdict is `Maybe`.
    /// `fresh`: a connection may begin here.
    pub(super) fn add(&mut self, side: Side, fresh: bool, chunk: &Chunk<'_>) -> Fit {
        if self.is_empty() {
            let verdict = evaluate(side, fresh, chunk);
            return if verdict == Fit::Maybe { self.keep(chunk) } else { verdict };
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(chunk.data);
        let verdict = evaluate_all(side, fresh, &self.bytes, chunk, self.pieces.len() + 1);
        self.bytes.truncate(before);
        if verdict == Fit::Maybe { self.keep(chunk) } else { verdict }
    }

    fn keep(&mut self, chunk: &Chunk<'_>) -> Fit {
        if self.bytes.len() + chunk.data.len() > MAX_BYTES || self.pieces.len() >= MAX_PIECES {
            return Fit::No;
        }
        self.bytes.extend_from_slice(chunk.data);
        self.pieces.push((self.bytes.len(), chunk.at_ns, chunk.thread));
        Fit::Maybe
    }

    /// The pieces kept: bytes, when, by whom.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&[u8], u64, Thread)> {
        let begins = std::iter::once(0).chain(self.pieces.iter().map(|&(end, ..)| end));
        begins
            .zip(&self.pieces)
            .filter_map(|(begin, &(end, at_ns, thread))| Some((self.bytes.get(begin..end)?, at_ns, thread)))
    }
}

/// Evaluates a piece.
pub(super) fn evaluate(side: Side, fresh: bool, chunk: &Chunk<'_>) -> Fit {
    evaluate_all(side, fresh, chunk.data, chunk, 1)
}

/// Evaluates the captured bytes of pieces, the last of which is `last`.
fn evaluate_all(side: Side, fresh: bool, data: &[u8], last: &Chunk<'_>, pieces: usize) -> Fit {
    let is_whole = last.skipped == 0;
    if side == Side::Requests && fresh {
        if data.starts_with(PREFACE) {
            return Fit::Preface;
        }
        if is_whole && PREFACE.starts_with(data) {
            return Fit::Maybe;
        }
    }
    let more = if is_whole { Fit::Maybe } else { Fit::No };
    let end = data.len() as u64 + if is_whole { 0 } else { last.skipped };
    let (mut rest, mut at, mut block, mut score) = (data, 0_u64, None, 0);
    for _ in 0..MAX_FRAMES {
        let Some((header, after)) = split_frame(rest) else { break };
        let continues = (header.kind == Kind::Continuation).then_some(header.stream);
        if !header.is_plausible(side) || continues != block {
            return Fit::No;
        }
        let len = header.length as usize;
        let payload = after.get(..len).unwrap_or(after);
        let is_last = header.has(flags::END_HEADERS);
        block = (header.kind.has_block() && !is_last).then_some(header.stream);
        score += match header.kind {
            Kind::Headers | Kind::PushPromise => {
                let whole = payload.len() == len;
                match header.fragment(payload).and_then(|fragment| trial(fragment, whole && is_last)) {
                    Some(trial) if fits(&trial.head, side, header.kind, header.has(flags::END_STREAM)) => {
                        1 + u32::from(trial.fields > 0)
                    }
                    None if !whole && is_whole => 1,
                    _ => return Fit::No,
                }
            }
            // Binary data is full of what could be the header of a DATA frame.
            Kind::Data | Kind::Continuation => 1,
            _ => 2,
        };
        at += (HEADER_LEN + len) as u64;
        rest = after.get(len..).unwrap_or_default();
    }
    let ends_here = at == end && score > 0 && pieces <= FEW_PIECES;
    if score + if ends_here { 2 } else { 0 } >= PROOF && block.is_none() {
        return Fit::Frames;
    }
    if is_partial(rest, side) { more } else { Fit::No }
}

/// A frame's header and what follows it.
pub(super) fn split_frame(data: &[u8]) -> Option<(FrameHeader, &[u8])> {
    let (header, rest) = data.split_first_chunk()?;
    Some((FrameHeader::parse(*header), rest))
}

/// Whether the beginning of a frame header could become a plausible one.
fn is_partial(data: &[u8], side: Side) -> bool {
    // A length of 1 MiB at most, and a known type.
    let length = data.first().is_none_or(|&top| top <= 0x10);
    let kind = data.get(3).map(|&kind| Kind::from_byte(kind));
    let fits = match kind {
        Some(Kind::Unknown) => false,
        Some(Kind::PushPromise) => side == Side::Responses,
        _ => true,
    };
    length && fits && data.get(5).is_none_or(|&stream| stream < 0x80)
}

/// What a header block says to one who knows nothing of the table.
struct Trial {
    head: Head,
    fields: usize,
}

/// Decodes (the beginning of) a block; `None` if it is none.
fn trial(fragment: &[u8], whole: bool) -> Option<Trial> {
    let mut trial = Trial { head: Head::default(), fields: 0 };
    let summary = Decoder::unknown()
        .decode(fragment, whole, &mut |field| {
            trial.fields += 1;
            trial.head.add(field);
        })
        .ok()?;
    (!summary.malformed && (trial.fields > 0 || !whole)).then_some(trial)
}

/// Whether a peer may send a block like that in that direction.
pub(super) fn fits(head: &Head, side: Side, kind: Kind, end_stream: bool) -> bool {
    match (head.first, kind) {
        (_, Kind::Continuation) => false,
        (First::Status, Kind::PushPromise) => false,
        (First::Status, _) => side == Side::Responses && head.http.status.is_some(),
        (First::Request, Kind::PushPromise) => side == Side::Responses,
        (First::Request, _) => side == Side::Requests,
        (First::Regular, _) => end_stream,
        (First::Unknown | First::Nothing, _) => true,
    }
}

/// The stream of the first response that begins in a piece of frames.
pub(super) fn first_answer(mut data: &[u8]) -> Option<u32> {
    for _ in 0..MAX_FRAMES {
        let (header, payload) = split_frame(data)?;
        if !header.is_plausible(Side::Responses) {
            return None;
        }
        let len = header.length as usize;
        if header.kind == Kind::Headers {
            let whole = payload.len() >= len && header.has(flags::END_HEADERS);
            let fragment = header.fragment(payload.get(..len).unwrap_or(payload))?;
            let trial = trial(fragment, whole)?;
            return matches!(trial.head.first, First::Status | First::Unknown).then_some(header.stream);
        }
        data = payload.get(len..)?;
    }
    None
}

impl Trial {
    /// What the block is, where that is certain.
    fn recognise(&self, header: &FrameHeader, whole: bool) -> Option<Recognition> {
        if header.stream.is_multiple_of(2) || !(whole || self.fields >= 3) {
            return None;
        }
        let head = &self.head;
        let is_request = head.http.method.is_some()
            && (head.http.target.is_some() || head.http.scheme.is_some() || head.authority.is_some())
            && head.http.status.is_none();
        let is_response = head.first == First::Status && head.http.status.is_some() && head.http.method.is_none();
        let is_trailers =
            head.first == First::Regular && head.facts.grpc_status.is_some() && header.has(flags::END_STREAM);
        match (is_request, is_response || is_trailers) {
            (true, _) => Some(Recognition::Request),
            (_, true) => Some(Recognition::Response),
            _ => None,
        }
    }
}

/// See [`super::recognise`].
pub(super) fn recognise(mut data: &[u8]) -> Recognition {
    if data.starts_with(PREFACE) {
        return Recognition::Request;
    }
    if PREFACE.starts_with(data) {
        return Recognition::Maybe;
    }
    let mut block = None;
    let mut frames_are_whole = data.len() >= HEADER_LEN;
    while let Some((header, rest)) = split_frame(data) {
        // A response's direction allows all that a request's does.
        let continues = (header.kind == Kind::Continuation).then_some(header.stream);
        if !header.is_plausible(Side::Responses) || continues != block {
            return Recognition::No;
        }
        let len = header.length as usize;
        let (payload, next) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        frames_are_whole &= payload.len() == len;
        let is_last = header.has(flags::END_HEADERS);
        block = (header.kind.has_block() && !is_last).then_some(header.stream);
        if header.kind == Kind::Headers {
            let whole = payload.len() == len && is_last;
            let next_fits = match split_frame(next) {
                Some((next, _)) => next.is_plausible(Side::Responses),
                None => is_partial(next, Side::Responses),
            };
            let Some(fragment) = header.fragment(payload) else {
                return if payload.is_empty() { Recognition::Maybe } else { Recognition::No };
            };
            match trial(fragment, whole) {
                Some(trial) if next_fits => {
                    if let Some(recognition) = trial.recognise(&header, whole) {
                        return recognition;
                    }
                }
                _ => return Recognition::No,
            }
        }
        data = next;
    }
    match data {
        [] if frames_are_whole => Recognition::Either,
        _ if is_partial(data, Side::Responses) => Recognition::Maybe,
        _ => Recognition::No,
    }
}
