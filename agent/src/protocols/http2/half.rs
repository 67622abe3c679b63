//! One direction of a connection: pieces become frames, frames become events of streams.
//!
//! | state  | means |
//! | ------ | ----- |
//! | `Seek` | the place in the stream is not known; a piece that begins like frames may restore it |
//! | `Check` | it did, but there is no proof yet: frames are followed, and nothing is told of them; see [`super::proof`] |
//! | `Frames` | the place is known |
//!
//! In `Check` and `Frames`, `frame` is the frame whose payload comes next, else a frame header comes.

use super::{
    super::{Chunk, Frames, Output},
    Side,
    frame::{FrameHeader, HEADER_LEN, Kind, PREFACE, flags},
    head::{First, Head},
    hpack::{Decoded, Decoder},
    proof::Proof,
    seek::{Candidate, Fit, evaluate, first_answer, fits},
    stream::Moved,
    streams::Streams,
};
use crate::model::net::Thread;

/// Longest header block that is decoded; of a longer one the beginning is.
const MAX_BLOCK: usize = 64 * 1024;
/// Buffers larger than this are given back after use.
const SPARE: usize = 4096;
/// What a request takes at least: a frame's header, and a field.
const SHORTEST_REQUEST: u64 = HEADER_LEN as u64 + 1;
/// No frame that real endpoints send is longer, but where the peer allowed it by SETTINGS.
const LONGEST: u64 = 16_384 + HEADER_LEN as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Seek,
    Check,
    Frames,
}

/// A frame whose payload is being moved.
#[derive(Clone, Copy, Debug)]
struct Frame {
    header: FrameHeader,
    /// Bytes of the payload that are still to come.
    remaining: u32,
    first_ns: u64,
    thread: Thread,
    /// DATA with padding: how much, once it was seen.
    pad: Option<u8>,
    /// Bytes of the payload were not captured.
    cut: bool,
}

/// A header block that goes on in CONTINUATION frames.
#[derive(Clone, Copy, Debug)]
struct OpenBlock {
    stream: u32,
    /// The first frame's kind: HEADERS or `PUSH_PROMISE`.
    kind: Kind,
    end_stream: bool,
    first_ns: u64,
    thread: Thread,
    cut: bool,
}

/// Where events of a piece go, and what they have in common.
pub(super) struct Arrival<'a> {
    pub(super) at_ns: u64,
    pub(super) thread: Thread,
    /// Where it begins in its direction.
    pub(super) position: u64,
    /// Nothing had moved in this direction for a while, so that no frame is likely to be in the making.
    pub(super) quiet: bool,
    /// The other direction moved last.
    pub(super) turn: bool,
    /// The other direction's place is known.
    pub(super) other_known: bool,
    pub(super) proof: &'a mut Proof,
    pub(super) streams: &'a mut Streams,
    pub(super) out: &'a mut Output,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Half {
    side: Side,
    state: State,
    hpack: Decoder,
    /// The first bytes of this direction that were seen, and how many.
    first: [u8; HEADER_LEN],
    first_len: usize,
    /// The connection's beginning was seen, so the next frame will be believed to be one.
    begun: bool,
    /// A server's first frame is SETTINGS.
    expects_settings: bool,
    preface: bool,
    /// What was taken for a connection's beginning is none, or this is the other side's direction.
    refuted: bool,
    /// No piece was given up since the first.
    fresh: bool,
    candidate: Candidate,
    /// Nothing had moved before the candidate.
    candidate_quiet: bool,
    /// The last request that was open when the candidate was added to.
    candidate_request: u32,
    header: [u8; HEADER_LEN],
    header_len: usize,
    header_ns: u64,
    header_thread: Thread,
    frame: Option<Frame>,
    payload: Vec<u8>,
    open_block: Option<OpenBlock>,
    block: Vec<u8>,
    /// Bytes of the preface that are still to come.
    preface_left: usize,
    /// Distinguishes blocks that could not be decoded.
    undecodable: u64,
    /// Bytes that were checked.
    checked: u64,
    /// As [`Frames::found`] of the last piece where what the kernel side says was seen to be right.
    followed: Option<u8>,
    /// From where on the place is not known.
    left_at: Option<u64>,
    /// Frames were not as they should be since.
    is_confused: bool,
    /// Where the last piece ended.
    end: u64,
}

impl Half {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            state: State::Seek,
            hpack: Decoder::unknown(),
            first: [0; HEADER_LEN],
            first_len: 0,
            begun: false,
            expects_settings: false,
            preface: false,
            refuted: false,
            fresh: true,
            candidate: Candidate::default(),
            candidate_quiet: false,
            candidate_request: 0,
            header: [0; HEADER_LEN],
            header_len: 0,
            header_ns: 0,
            header_thread: Thread::default(),
            frame: None,
            payload: Vec::new(),
            open_block: None,
            block: Vec::new(),
            preface_left: 0,
            undecodable: 0,
            checked: 0,
            followed: None,
            left_at: None,
            is_confused: false,
            end: 0,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.hpack.memory() + self.candidate.memory() + self.payload.capacity() + self.block.capacity()
    }

    /// Whether the client's preface was seen since the last call.
    pub(super) fn take_preface(&mut self) -> bool {
        std::mem::take(&mut self.preface)
    }

    /// Whether it turned out since the last call that what was believed of the connection is wrong.
    pub(super) fn take_refuted(&mut self) -> bool {
        std::mem::take(&mut self.refuted)
    }

    /// Whether bytes of this direction were seen.
    pub(super) const fn has_begun(&self) -> bool {
        self.first_len > 0
    }

    /// Whether the place in the stream is known.
    pub(super) fn is_known(&self) -> bool {
        self.state == State::Frames
    }

    /// Whether bytes came whose place in the stream is not known.
    pub(super) fn misses(&self) -> bool {
        self.has_begun() && !self.is_known()
    }

    /// The connection began just now, as the client's preface shows, so no header block of this direction (the
    /// server's) can have been missed. `false` if what was seen of it before is not how a server begins.
    pub(super) fn on_beginning(&mut self) -> bool {
        if let Some(first) = self.first.get(..self.first_len)
            && !begins_a_server(first)
        {
            return false;
        }
        if self.hpack.never_lost() {
            self.hpack.assume_complete();
        }
        (self.begun, self.expects_settings) = (true, !self.has_begun());
        if self.state == State::Check {
            self.state = State::Frames;
        }
        true
    }

    /// What was believed of the connection was wrong.
    pub(super) fn on_refuted(&mut self, piece: &mut Arrival<'_>) {
        self.begun = false;
        self.lose_place(piece);
    }

    /// Takes the direction's next piece.
    pub(super) fn feed(&mut self, chunk: &Chunk<'_>, piece: &mut Arrival<'_>) {
        if chunk.is_empty() {
            return;
        }
        if self.begun && !self.has_begun() {
            self.state = State::Frames;
        }
        for (slot, byte) in self.first.iter_mut().zip(chunk.data).skip(self.first_len) {
            *slot = *byte;
        }
        self.first_len = self.first_len.max(chunk.data.len().min(HEADER_LEN)).max(1);
        self.end = chunk.position.saturating_add(chunk.len());
        let found = chunk.frames.and_then(|frames| self.heed(frames, chunk, piece));
        if self.state == State::Check {
            self.check(chunk, piece);
        }
        match self.state {
            State::Seek => self.seek(chunk, piece),
            State::Check | State::Frames => self.frames(chunk, found.unwrap_or(0), piece),
        }
    }

    /// Heeds what the kernel side, which follows frames, says of where they begin in the piece. That is believed where it was right
    /// before, or has followed them from the connection's first byte on. Gives the place, where it is known by this only.
    fn heed(&mut self, frames: Frames, chunk: &Chunk<'_>, piece: &mut Arrival<'_>) -> Option<usize> {
        if self.is_known() {
            if self.header_len == 0 {
                let due = self.preface_left + self.frame.map_or(0, |frame| frame.remaining as usize);
                let is_right = match frames.first {
                    Some(first) => first == due,
                    None => due + HEADER_LEN > chunk.data.len(),
                };
                self.followed = is_right.then_some(frames.found);
            }
            return None;
        }
        let is_beginning = self.fresh && (!self.candidate.is_empty() || chunk.data.starts_with(&PREFACE[..HEADER_LEN]));
        if is_beginning || frames.found != 0 && self.followed != Some(frames.found) {
            return None;
        }
        let first = frames.first?;
        if !self.fresh || self.state == State::Check {
            self.hpack.forget();
            piece.streams.on_loss(self.side, u32::MAX, piece.at_ns, piece.out);
        }
        self.candidate.clear();
        (self.payload, self.block) = (Vec::new(), Vec::new());
        (self.frame, self.header_len, self.open_block) = (None, 0, None);
        (self.state, self.fresh, self.followed) = (State::Frames, false, Some(frames.found));
        let is_counted = !self.is_confused;
        self.has_found(is_counted, piece);
        Some(first)
    }

    /// The place is known. `is_counted`: what was lost before was counted by the kernel side.
    fn has_found(&mut self, is_counted: bool, piece: &mut Arrival<'_>) {
        if self.side == Side::Requests {
            let most = if is_counted { 0 } else { self.most_unseen(piece.position) };
            piece.streams.on_found(most);
        }
        (self.left_at, self.is_confused) = (None, false);
    }

    /// How many requests may have gone by at most, up to there, since the place was lost.
    fn most_unseen(&self, position: u64) -> u64 {
        position.saturating_sub(self.left_at.unwrap_or(0)) / SHORTEST_REQUEST
    }

    /// How many requests may have gone by to its end that the kernel side has not counted.
    pub(super) fn unseen_at_end(&self) -> u64 {
        if self.followed.is_some() && !self.is_confused { 0 } else { self.most_unseen(self.end) }
    }

    /// Looks whether there is proof by now that the place is right.
    fn check(&mut self, chunk: &Chunk<'_>, piece: &mut Arrival<'_>) {
        let is_between = self.frame.is_none() && self.header_len == 0 && self.open_block.is_none();
        let begins_quietly = piece.quiet && evaluate(self.side, false, chunk) == Fit::Frames;
        if piece.proof.is_enough() && (is_between || self.checked > LONGEST) {
            self.believe(piece);
        } else if begins_quietly && !is_between {
            self.lose_place(piece);
        } else if begins_quietly || is_between && self.is_answer(chunk, piece) {
            self.believe(piece);
        }
        self.checked = self.checked.saturating_add(chunk.len());
    }

    /// Frames are believed from here on. What the table learned meanwhile may have been payload.
    fn believe(&mut self, piece: &mut Arrival<'_>) {
        self.state = State::Frames;
        self.hpack.forget();
        piece.streams.on_loss(self.side, u32::MAX, piece.at_ns, piece.out);
        self.has_found(false, piece);
        self.doubt(piece);
    }

    /// The first requests are only told once one of them was answered.
    fn doubt(&self, piece: &mut Arrival<'_>) {
        if self.side == Side::Requests {
            piece.streams.on_doubt();
        }
    }

    /// Whether the piece begins with the response to the request that was sent just before it.
    fn is_answer(&self, chunk: &Chunk<'_>, piece: &Arrival<'_>) -> bool {
        let asked = piece.streams.last_request();
        self.side == Side::Responses
            && piece.other_known
            && piece.turn
            && piece.streams.awaits_only(asked)
            && first_answer(chunk.data) == Some(asked)
    }

    /// Looks whether the piece, perhaps together with those before it, begins like frames.
    fn seek(&mut self, chunk: &Chunk<'_>, piece: &mut Arrival<'_>) {
        if self.candidate.is_empty() {
            self.candidate_quiet = piece.quiet;
        }
        let mut verdict = self.candidate.add(self.side, self.fresh, chunk);
        // A piece that begins with frames for certain beats older ones that only could be the beginning of some.
        let begins_anew = verdict == Fit::No || matches!(evaluate(self.side, false, chunk), Fit::Frames | Fit::Preface);
        if begins_anew && verdict != Fit::Preface && !self.candidate.is_empty() {
            self.candidate.clear();
            self.hpack.forget();
            piece.streams.on_loss(self.side, self.candidate_request, piece.at_ns, piece.out);
            (self.fresh, self.candidate_quiet) = (false, piece.quiet);
            verdict = self.candidate.add(self.side, false, chunk);
        }
        match verdict {
            Fit::Maybe => {
                self.candidate_request = piece.streams.last_request();
                return;
            }
            Fit::No => {
                self.candidate.clear();
                self.fresh = false;
                self.hpack.forget();
                return piece.streams.on_loss(self.side, u32::MAX, piece.at_ns, piece.out);
            }
            Fit::Preface => {
                self.hpack = Decoder::unknown();
                self.hpack.assume_complete();
                self.preface = true;
                self.preface_left = PREFACE.len();
                self.state = State::Frames;
                piece.streams.on_preface();
            }
            Fit::Frames => {
                let is_answer = self.candidate.is_empty() && self.is_answer(chunk, piece);
                let is_believed = self.begun || self.candidate_quiet || is_answer;
                self.state = if is_believed { State::Frames } else { State::Check };
                if is_believed {
                    self.has_found(false, piece);
                    self.doubt(piece);
                }
                self.checked = chunk.len();
            }
        }
        self.fresh = false;
        (self.frame, self.header_len, self.open_block) = (None, 0, None);
        let candidate = std::mem::take(&mut self.candidate);
        for (bytes, at_ns, thread) in candidate.pieces() {
            let (streams, proof, out) = (&mut *piece.streams, &mut *piece.proof, &mut *piece.out);
            self.bytes(bytes, &mut Arrival { at_ns, thread, streams, proof, out, ..*piece });
        }
        self.frames(chunk, 0, piece);
    }

    /// Takes a piece, from `first` on, that goes on where the last one ended.
    fn frames(&mut self, chunk: &Chunk<'_>, first: usize, piece: &mut Arrival<'_>) {
        self.bytes(chunk.data.get(first..).unwrap_or_default(), piece);
        let was_known = self.is_known();
        self.gap(chunk.skipped.saturating_sub(chunk.tail.len() as u64), piece);
        piece.streams.anomalies.resyncs += u64::from(chunk.lost && was_known && !self.is_known());
        self.bytes(chunk.tail, piece);
    }

    /// Takes bytes that were captured.
    fn bytes(&mut self, mut data: &[u8], piece: &mut Arrival<'_>) {
        let preface = self.preface_left.min(data.len());
        self.preface_left -= preface;
        data = data.get(preface..).unwrap_or_default();
        while self.state != State::Seek && !data.is_empty() {
            if let Some(mut frame) = self.frame {
                let take = data.len().min(frame.remaining as usize);
                let (part, rest) = data.split_at(take);
                data = rest;
                frame.remaining -= take as u32;
                self.payload(frame, part, piece);
                continue;
            }
            if self.header_len == 0 {
                (self.header_ns, self.header_thread) = (piece.at_ns, piece.thread);
                if let Some((header, rest)) = data.split_first_chunk() {
                    data = rest;
                    self.begin_frame(FrameHeader::parse(*header), piece);
                    continue;
                }
            }
            let take = data.len().min(HEADER_LEN - self.header_len);
            let (part, rest) = data.split_at(take);
            data = rest;
            for (slot, byte) in self.header.iter_mut().skip(self.header_len).zip(part) {
                *slot = *byte;
            }
            self.header_len += take;
            if self.header_len == HEADER_LEN {
                self.header_len = 0;
                self.begin_frame(FrameHeader::parse(self.header), piece);
            }
        }
    }

    /// Bytes moved that were not captured.
    fn gap(&mut self, len: u64, piece: &mut Arrival<'_>) {
        if self.state == State::Seek || len == 0 {
            return;
        }
        let Some(mut frame) = self.frame.take() else { return self.leave_place(piece) };
        frame.cut |= frame.header.kind.is_read();
        if self.carries_content(&frame, piece) {
            piece.streams.on_content(frame.header.stream, None);
        }
        match u32::try_from(len).ok().and_then(|len| frame.remaining.checked_sub(len)) {
            Some(remaining) => {
                frame.remaining = remaining;
                self.payload(frame, &[], piece);
            }
            None => {
                // It has ended, and something else was lost.
                frame.remaining = 0;
                self.payload(frame, &[], piece);
                self.leave_place(piece);
            }
        }
    }

    /// The place in the stream was never right, or is not any more: frames are not as they should be.
    fn lose_place(&mut self, piece: &mut Arrival<'_>) {
        if self.state == State::Seek {
            return;
        }
        piece.streams.anomalies.resyncs += u64::from(self.is_known());
        self.leave_place(piece);
        self.is_confused = true;
        match self.side {
            Side::Requests => {
                piece.proof.on_requests_lost();
                piece.streams.on_refuted();
            }
            Side::Responses => piece.proof.on_responses_lost(),
        }
    }

    /// The place in the stream is not known any more, nor are the header blocks that went by. What was proved before stands: that
    /// not all of a long message is captured says nothing against it.
    fn leave_place(&mut self, piece: &mut Arrival<'_>) {
        if self.state == State::Seek {
            return;
        }
        if let Some(frame) = self.frame.take()
            && frame.header.kind.has_block()
        {
            let payload = std::mem::take(&mut self.payload);
            self.end_frame(Frame { cut: true, ..frame }, &payload, piece);
        }
        if let Some(block) = self.open_block.take() {
            let fragments = std::mem::take(&mut self.block);
            self.end_block(OpenBlock { cut: true, ..block }, &fragments, piece);
        }
        (self.payload, self.block) = (Vec::new(), Vec::new());
        (self.state, self.header_len, self.begun) = (State::Seek, 0, false);
        self.left_at.get_or_insert(piece.position);
        self.hpack.forget();
        piece.streams.on_loss(self.side, u32::MAX, piece.at_ns, piece.out);
    }

    fn begin_frame(&mut self, header: FrameHeader, piece: &mut Arrival<'_>) {
        // Nothing may come between the frames of a header block (RFC 9113, section 6.10).
        let continues = |block: OpenBlock| header.kind == Kind::Continuation && header.stream == block.stream;
        let fits = if self.state == State::Check { header.is_plausible(self.side) } else { header.is_legal(self.side) };
        if !fits || !self.open_block.is_none_or(continues) {
            return self.lose_place(piece);
        }
        if std::mem::take(&mut self.expects_settings) {
            if header.kind == Kind::Settings && !header.has(flags::ACK) {
                piece.streams.on_certain(piece.out);
            } else {
                self.refuted = true;
                return self.lose_place(piece);
            }
        }
        if header.kind == Kind::Data {
            match self.side {
                Side::Requests => piece.proof.on_stream(header.stream),
                Side::Responses => piece.proof.on_answer_data(header.stream),
            }
        }
        let frame = Frame {
            header,
            remaining: header.length,
            first_ns: self.header_ns,
            thread: self.header_thread,
            pad: None,
            cut: false,
        };
        self.payload(frame, &[], piece);
    }

    /// Whether what a frame carries is of interest.
    fn carries_content(&self, frame: &Frame, piece: &Arrival<'_>) -> bool {
        piece.streams.reads_content() && frame.header.kind == Kind::Data && self.side == Side::Requests
    }

    /// Takes the next part of a frame's payload; `frame.remaining` is what comes after it.
    fn payload(&mut self, mut frame: Frame, part: &[u8], piece: &mut Arrival<'_>) {
        if frame.header.kind == Kind::Data && frame.pad.is_none() && !frame.cut && frame.header.has(flags::PADDED) {
            frame.pad = part.first().copied();
            let moved = frame.header.length - frame.remaining;
            frame.cut = frame.pad.is_none() && moved > 0;
        }
        if self.carries_content(&frame, piece) && !part.is_empty() {
            // How much of it is padding is known too late; there hardly is any.
            let content = (!frame.header.has(flags::PADDED)).then_some(part);
            piece.streams.on_content(frame.header.stream, content);
        }
        if !frame.header.kind.is_read() {
            self.frame = (frame.remaining > 0).then_some(frame);
            if frame.remaining == 0 {
                self.end_frame(frame, &[], piece);
            }
            return;
        }
        if part.len() == frame.header.length as usize {
            return self.end_frame(frame, part, piece);
        }
        if !frame.cut {
            self.keep(&mut frame, part, piece);
        }
        if frame.remaining > 0 {
            self.frame = Some(frame);
            return;
        }
        self.frame = None;
        let mut payload = std::mem::take(&mut self.payload);
        self.end_frame(frame, &payload, piece);
        payload.clear();
        if payload.capacity() <= SPARE {
            self.payload = payload;
        }
    }

    /// Keeps a part of a frame's payload for when all of it is there.
    fn keep(&mut self, frame: &mut Frame, part: &[u8], piece: &mut Arrival<'_>) {
        let room = MAX_BLOCK.saturating_sub(self.payload.len());
        let kept = part.get(..room).unwrap_or(part);
        self.payload.extend_from_slice(kept);
        // What comes behind the last stream of GOAWAY is for people to read.
        if kept.len() < part.len() && frame.header.kind.has_block() {
            frame.cut = true;
            piece.streams.anomalies.over_limit += 1;
        }
    }

    /// A frame has ended; `payload` is what was kept of it.
    fn end_frame(&mut self, frame: Frame, payload: &[u8], piece: &mut Arrival<'_>) {
        let header = frame.header;
        self.frame = None;
        if self.state == State::Check && !header.kind.has_block() {
            return;
        }
        match header.kind {
            Kind::Data => {
                let overhead = match (header.has(flags::PADDED), frame.pad) {
                    (false, _) => Some(0),
                    (true, pad) => pad.map(|pad| u32::from(pad) + 1),
                };
                let payload = overhead.map(|overhead| u64::from(header.length.saturating_sub(overhead)));
                let end = header.has(flags::END_STREAM);
                piece.streams.on_data(self.side, header.stream, payload, end, piece.at_ns, piece.out);
            }
            Kind::Headers | Kind::PushPromise => {
                let block = OpenBlock {
                    stream: header.stream,
                    kind: header.kind,
                    end_stream: header.kind == Kind::Headers && header.has(flags::END_STREAM),
                    first_ns: frame.first_ns,
                    thread: frame.thread,
                    cut: frame.cut,
                };
                self.fragment(header, block, payload, piece);
            }
            Kind::Continuation => match self.open_block.take() {
                Some(block) => {
                    self.fragment(header, OpenBlock { cut: block.cut || frame.cut, ..block }, payload, piece)
                }
                // Its beginning was before our time.
                None => self.hpack.forget(),
            },
            Kind::RstStream => match payload.first_chunk() {
                Some(code) => {
                    piece.streams.on_reset(self.side, header.stream, u32::from_be_bytes(*code), piece.at_ns, piece.out);
                }
                None => piece.streams.on_loss(self.side, u32::MAX, piece.at_ns, piece.out),
            },
            Kind::GoAway if self.side == Side::Responses => {
                if let Some(last) = payload.first_chunk() {
                    let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
                    piece.streams.on_go_away(last, piece.at_ns, piece.out);
                }
            }
            // SETTINGS only bounds the table sizes that encoders may choose: see `hpack::table`.
            _ => {}
        }
    }

    /// A fragment of a header block was moved.
    fn fragment(&mut self, header: FrameHeader, mut block: OpenBlock, payload: &[u8], piece: &mut Arrival<'_>) {
        let fragment = header.fragment(payload).unwrap_or_else(|| {
            block.cut = true;
            &[]
        });
        let is_last = header.has(flags::END_HEADERS);
        if is_last && self.block.is_empty() {
            return self.end_block(block, fragment, piece);
        }
        if self.block.len() + fragment.len() > MAX_BLOCK && !block.cut {
            block.cut = true;
            piece.streams.anomalies.over_limit += 1;
        }
        let room = if block.cut { MAX_BLOCK.saturating_sub(self.block.len()) } else { fragment.len() };
        self.block.extend_from_slice(fragment.get(..room).unwrap_or(fragment));
        if !is_last {
            self.open_block = Some(block);
            return;
        }
        let mut fragments = std::mem::take(&mut self.block);
        self.end_block(block, &fragments, piece);
        fragments.clear();
        if fragments.capacity() <= SPARE {
            self.block = fragments;
        }
    }

    /// A header block has ended.
    fn end_block(&mut self, block: OpenBlock, fragments: &[u8], piece: &mut Arrival<'_>) {
        let mut head = Head::default();
        let decoded = self.hpack.decode(fragments, !block.cut, &mut |field: Decoded<'_>| head.add(field));
        if self.state == State::Check && (decoded.is_err() || !fits(&head, self.side, block.kind, block.end_stream)) {
            return self.lose_place(piece);
        }
        if block.kind == Kind::Headers {
            match (self.side, head.first) {
                (Side::Requests, First::Request) => piece.proof.on_request(block.stream),
                (Side::Requests, First::Unknown) => piece.proof.on_request_or_trailers(block.stream),
                (Side::Responses, First::Status) => piece.proof.on_answer(block.stream),
                (Side::Responses, First::Unknown) => piece.proof.on_answer_or_trailers(block.stream),
                _ => {}
            }
        }
        if self.state == State::Check {
            return;
        }
        let is_other_side = match head.first {
            First::Status => self.side == Side::Requests,
            First::Request => self.side == Side::Responses && block.kind == Kind::Headers,
            _ => false,
        };
        if decoded.is_ok() && is_other_side {
            self.refuted = true;
            return self.lose_place(piece);
        }
        match decoded {
            Ok(summary) => {
                head.cut = block.cut || summary.over_limit;
                piece.streams.anomalies.over_limit += u64::from(summary.over_limit);
            }
            Err(_) => {
                self.undecodable += 1;
                piece.streams.anomalies.resyncs += 1;
                head = Head::undecodable(self.undecodable);
            }
        }
        // A promise is decoded for the table's sake only; its response counts as one without request.
        if block.kind == Kind::Headers {
            let moved = Moved { first_ns: block.first_ns, last_ns: piece.at_ns, thread: block.thread };
            piece.streams.on_headers(self.side, block.stream, &mut head, moved, block.end_stream, piece.out);
        }
    }
}

/// Whether a server's first bytes can be these: SETTINGS come first, and are no acknowledgement.
fn begins_a_server(first: &[u8]) -> bool {
    match first.split_first_chunk::<HEADER_LEN>() {
        Some((header, _)) => {
            let header = FrameHeader::parse(*header);
            header.kind == Kind::Settings && !header.has(flags::ACK) && header.is_legal(Side::Responses)
        }
        None => first.get(3).is_none_or(|&kind| Kind::from_byte(kind) == Kind::Settings),
    }
}
