//! One connection: order, then protocol, then session.

use std::{net::SocketAddr, num::NonZeroU64};

use ebpf_common::{capture::Capture, events, limits::HEAD_MAX};

use super::{
    capture,
    guarded::Guarded,
    inside::Below,
    order::{Kept, Order, PATIENCE_NS, Piece},
    recognise::{Decision, Undecided},
    turns::Turns,
};
use crate::{
    capture::event::DataFlags,
    model::{
        exchange::{Event, Group},
        ids::{ProcessId, ThreadId},
        net::{ConnectionInfo, Direction, Role, Thread},
    },
    protocols::{Anomalies, Chunk, End, Entry, Frames, Handover, Interest, Output, REGISTRY, Recognition},
};

enum ProtocolState {
    Undecided(Box<Undecided>),
    Speaks {
        entry: &'static Entry,
        session: Guarded,
    },
    /// Nothing (more) that is understood.
    Foreign,
}

/// Longest head of a message that is held until its rest comes.
const HEAD_HELD_MAX: usize = 64;

/// What stands for the length of a request, or message, where none is known of a connection.
const SHORTEST: u64 = 64;

/// What the trace stage holds of a request that is open, about.
const OPEN_BYTES: usize = 400;

/// What is wanted of a connection from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// More of the same.
    Pieces,
    /// More, as the protocol that it was found to carry needs it.
    Captured(Capture),
    /// Nothing; the kernel side may stop recording it.
    Nothing,
}

/// What has ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// The connection.
    All(End),
    /// One of its directions.
    One(Direction),
}

/// The end of a connection, or of one of its directions.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) part: Part,
    pub(super) at_ns: u64,
    /// What had been received and sent by then, or can still be received: records of that may come later, as a call tells of
    /// itself when it is over.
    pub(super) awaits: [u64; 2],
    /// Bytes received and sent by then; 0 where that is not known.
    pub(super) moved: [u64; 2],
}

pub(super) struct Connection {
    pub(super) info: ConnectionInfo,
    /// The process that used it last.
    pub(super) tgid: ProcessId,
    pub(super) active_ns: u64,
    /// Bytes held, as last counted.
    counted: usize,
    /// Number of a unix socket's inode.
    pub(super) inode: Option<NonZeroU64>,
    order: Order,
    flow: Flow,
    /// Ends that wait for what moved before them.
    endings: Vec<Ending>,
    /// Which direction was the first to end, where that is known: sent by this end, or received from the other one.
    first_ended: Option<Direction>,
    /// When bytes last moved that are told.
    moved_ns: u64,
    /// When records of any connection were last found to have been lost.
    lost_ns: u64,
    is_over: bool,
}

/// What is known of the bytes, apart from their order.
struct Flow {
    protocol_state: ProtocolState,
    /// Where the next piece of each direction is due; `None` where the connection was taken up again in mid-life.
    expected: [Option<u64>; 2],
    bytes_lost: u64,
    /// Since when nothing is known to have moved, by direction.
    quiet_since_ns: [u64; 2],
    /// Something of it is not told that moved just before what is: requests may be open.
    in_use: bool,
    /// Its first byte is the one that it was met with.
    from_beginning: bool,
    /// Something may have moved before it was met.
    is_older: bool,
    /// What sessions could not make sense of that are not asked any more, and requests that were seen, and dropped since what
    /// answers them was lost before it was known to be HTTP.
    anomalies: Anomalies,
    /// It was just found to carry TLS.
    found_encrypted: bool,
    /// What is known of its requests below their protocol.
    below: Below,
    /// The head of a message, perhaps, that was moved by itself while the session waits for one.
    held: Option<Box<Kept>>,
    /// How much its requests and messages are, once it is known what it carries.
    turns: Option<Turns>,
    /// The shortest request, or message, that is known of what is asked and answered.
    shortest: [u64; 2],
    /// What was just found to be needed of it.
    needs: Option<Capture>,
    /// The kernel side was told that the session knows the ends of answers.
    knows_ends: bool,
    /// The client that a proxy was just found to name.
    found_client: Option<SocketAddr>,
}

impl Connection {
    /// `whole`: it is known from its first event on, so that positions count from zero. Until then nothing has moved
    /// since `quiet_since_ns`. `from_beginning`: nothing at all had moved.
    pub(super) fn new(
        info: ConnectionInfo,
        tgid: ProcessId,
        at_ns: u64,
        whole: bool,
        from_beginning: bool,
        quiet_since_ns: u64,
    ) -> Self {
        let expected = if whole { [Some(0); 2] } else { [None; 2] };
        // Plaintext of TLS is not told from its first byte on, but that it was met in its midst is.
        let is_older = !(from_beginning || info.tls && info.origin.is_beginning);
        let flow = Flow {
            protocol_state: ProtocolState::Undecided(Box::new(Undecided::new(from_beginning))),
            expected,
            bytes_lost: 0,
            quiet_since_ns: [quiet_since_ns; 2],
            // Given up earlier, or its announcement was lost.
            in_use: !whole,
            from_beginning,
            is_older,
            anomalies: Anomalies::default(),
            found_encrypted: false,
            below: Below::default(),
            held: None,
            turns: None,
            shortest: [u64::MAX; 2],
            needs: None,
            knows_ends: false,
            found_client: None,
        };
        let (endings, order) = (Vec::new(), Order::new(whole));
        let (active_ns, moved_ns) = (at_ns, at_ns);
        Self {
            info,
            tgid,
            active_ns,
            counted: 0,
            inode: None,
            order,
            flow,
            endings,
            first_ended: None,
            moved_ns,
            lost_ns: 0,
            is_over: false,
        }
    }

    /// Records were last found to have been lost at that moment.
    pub(super) const fn set_lost(&mut self, at_ns: u64) {
        self.lost_ns = at_ns;
    }

    /// It was met right behind bytes that moved and are not told.
    pub(super) fn set_in_use(&mut self) {
        self.flow.in_use = true;
    }

    /// It is plaintext, and what carries it is known now.
    pub(super) fn carried_by(&mut self, info: ConnectionInfo) {
        if info.origin.is_beginning
            && let ProtocolState::Undecided(undecided) = &mut self.flow.protocol_state
        {
            undecided.set_begins();
        }
        self.info = info;
    }

    pub(super) fn on_data(&mut self, piece: &Piece<'_>, out: &mut Output) -> Wanted {
        self.tgid = piece.thread.tgid;
        self.active_ns = piece.at_ns;
        if !piece.flags.contains(DataFlags::END) {
            self.moved_ns = piece.at_ns;
        }
        let flow = &mut self.flow;
        self.order.take(piece, |piece| flow.on_piece(piece, out));
        if let Some(client) = flow.found_client.take() {
            self.info.client = Some(client);
        }
        let wanted = flow.wanted();
        if !self.endings.is_empty() {
            self.conclude(out);
        }
        wanted
    }

    /// Pieces that wait for one that was lost go ahead after a while, and so do ends.
    pub(super) fn on_tick(&mut self, now_ns: u64, out: &mut Output) {
        let is_late = |since: u64| since.saturating_add(PATIENCE_NS) < now_ns;
        if self.order.waits_since().is_some_and(is_late) {
            let flow = &mut self.flow;
            self.order.give_up(|piece| flow.on_piece(piece, out));
        }
        for ending in &mut self.endings {
            if is_late(ending.at_ns) {
                ending.awaits = [0; 2];
            }
        }
        self.conclude(out);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.order.waits_since().is_some() || !self.endings.is_empty()
    }

    /// Its end was told: nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// A direction is known to be over, whatever of it is still to come.
    pub(super) fn ends(&mut self, direction: Direction) {
        self.first_ended.get_or_insert(direction);
    }

    /// What ended just now because this end went away. Where that is not known, nobody is to blame.
    fn blame(&self, told: &mut [Event]) {
        if self.first_ended == Some(Direction::Sent) {
            for event in told {
                if let Event::Finished(_, exchange) = event {
                    exchange.outcome = exchange.outcome.where_it_left(exchange.role);
                }
            }
        }
    }

    pub(super) fn on_ending(&mut self, ending: Ending, out: &mut Output) {
        self.endings.push(ending);
        self.conclude(out);
    }

    /// Tells of ends before which all has arrived.
    fn conclude(&mut self, out: &mut Output) {
        while let Some(Ending { part, at_ns, awaits, moved }) = self.endings.first()
            && self.order.has_arrived_at(*awaits)
        {
            let (part, at_ns, moved) = (*part, *at_ns, *moved);
            self.endings.remove(0);
            match part {
                Part::All(end) => self.on_end(end, moved, at_ns, out),
                // The end of the connection says what is to be made of it.
                Part::One(_) if self.may_have_lost(moved) => {}
                Part::One(direction) => self.on_end_of(direction, moved[direction.index()], at_ns, out),
            }
        }
    }

    /// Whether bytes may have moved of which the record was lost: how many have is not known.
    fn may_have_lost(&self, moved: [u64; 2]) -> bool {
        moved == [0; 2] && self.lost_ns >= self.moved_ns
    }

    /// No more moves in a direction; so many bytes have.
    fn on_end_of(&mut self, direction: Direction, moved: u64, at_ns: u64, out: &mut Output) {
        let thread = Thread { tgid: self.tgid, tid: ThreadId::NONE, work: 0, begun_ns: 0 };
        let flow = &mut self.flow;
        self.order.give_up(|piece| flow.on_piece(piece, out));
        flow.on_moved(direction, moved, at_ns, thread, out);
        let mark = out.mark();
        flow.end_of_stream(direction, at_ns, out);
        self.blame(out.since(mark));
    }

    /// It has ended. `moved`: bytes received and sent in all, if that is known.
    pub(super) fn on_end(&mut self, end: End, moved: [u64; 2], at_ns: u64, out: &mut Output) {
        self.is_over = true;
        // A response may have been among what was lost.
        let end = if self.may_have_lost(moved) { End::Forgotten } else { end };
        let thread = Thread { tgid: self.tgid, tid: ThreadId::NONE, work: 0, begun_ns: 0 };
        let flow = &mut self.flow;
        self.order.give_up(|piece| flow.on_piece(piece, out));
        for direction in [Direction::Received, Direction::Sent] {
            flow.on_moved(direction, moved[direction.index()], at_ns, thread, out);
        }
        if let ProtocolState::Undecided(undecided) = &mut flow.protocol_state
            && let Some((entry, role, pending)) = undecided.unanswered()
        {
            if pending.first().is_some_and(|kept| kept.piece().position == 0) {
                flow.speak(entry, role, &pending, false, out);
            } else if flow.in_use {
                flow.anomalies.requests_lost += 1;
            }
        }
        flow.release(out);
        if let ProtocolState::Speaks { session, .. } = &mut flow.protocol_state {
            let mark = out.mark();
            session.on_end(end, at_ns, out);
            flow.below.on_told(out.since(mark));
            self.blame(out.since(mark));
        }
    }

    /// Brings the sum over all connections up to date.
    pub(super) fn count_memory(&mut self, sum: &mut usize) {
        let now = self.memory();
        *sum = (*sum + now).saturating_sub(self.counted);
        self.counted = now;
    }

    /// Its part in that sum.
    pub(super) const fn counted_memory(&self) -> usize {
        self.counted
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + self.order.memory()
            + match &self.flow.protocol_state {
                ProtocolState::Undecided(undecided) => undecided.memory(),
                ProtocolState::Speaks { session, .. } => session.memory() + session.open_requests() * OPEN_BYTES,
                ProtocolState::Foreign => 0,
            }
    }

    pub(super) fn protocol(&self) -> Option<&'static str> {
        match &self.flow.protocol_state {
            ProtocolState::Speaks { entry, .. } => Some(entry.name),
            _ => None,
        }
    }

    /// Which end the process is, once that is known.
    pub(super) fn role(&self) -> Option<Role> {
        match &self.flow.protocol_state {
            ProtocolState::Speaks { session, .. } => Some(session.role()),
            _ => None,
        }
    }

    /// Whether requests may wait for the end of their response: those too of which only a response shows that they are some, and what
    /// waits for its turn.
    pub(super) fn may_have_open_requests(&self) -> bool {
        self.order.waits_since().is_some()
            || match &self.flow.protocol_state {
                ProtocolState::Undecided(undecided) => undecided.has_asked(),
                ProtocolState::Speaks { session, .. } => session.open_requests() > 0,
                ProtocolState::Foreign => false,
            }
    }

    /// As [`Session::open_methods`].
    pub(super) fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        if let ProtocolState::Speaks { session, .. } = &self.flow.protocol_state {
            session.open_methods(each);
        }
    }

    pub(super) fn take_anomalies(&mut self) -> Anomalies {
        self.flow.settle_anomalies();
        std::mem::take(&mut self.flow.anomalies)
    }

    pub(super) fn take_found_encrypted(&mut self) -> bool {
        std::mem::take(&mut self.flow.found_encrypted)
    }

    pub(super) fn take_bytes_lost(&mut self) -> u64 {
        std::mem::take(&mut self.flow.bytes_lost)
    }
}

impl Flow {
    /// Takes over what the present session has counted.
    fn settle_anomalies(&mut self) {
        if let ProtocolState::Speaks { session, .. } = &mut self.protocol_state {
            let mut taken = session.take_anomalies();
            for (unread, shortest) in std::mem::take(&mut taken.unread).into_iter().zip(self.shortest) {
                taken.requests_lost += unread.div_ceil(if shortest == u64::MAX { SHORTEST } else { shortest });
            }
            self.anomalies += taken;
        }
    }

    /// What is needed of what it carries.
    fn need(&self, entry: &Entry, role: Role, out: &Output) -> Capture {
        let most = self.turns.as_ref().map_or([entry.capture.requests, entry.capture.responses], Turns::most);
        capture::of(entry, role, out.head_max(), most, self.knows_ends)
    }

    fn wanted(&mut self) -> Wanted {
        match self.protocol_state {
            ProtocolState::Foreign => Wanted::Nothing,
            _ => self.needs.take().map_or(Wanted::Pieces, Wanted::Captured),
        }
    }

    /// No more comes in a direction.
    fn end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        self.release(out);
        if let ProtocolState::Speaks { session, .. } = &mut self.protocol_state {
            let mark = out.mark();
            session.on_end_of_stream(direction, at_ns, out);
            self.below.on_told(out.since(mark));
        }
    }

    /// So many bytes have moved in a direction in all: those that were not told are lost.
    fn on_moved(&mut self, direction: Direction, moved: u64, at_ns: u64, thread: Thread, out: &mut Output) {
        let Some(due) = self.expected[direction.index()].filter(|&due| due < moved) else { return };
        let other_position = self.expected[direction.other().index()].unwrap_or_default();
        let (position, len, flags) = (due, moved - due, DataFlags::default());
        let (head, tail, frames, tcp, quiet_ns) = (&[][..], &[][..], None, None, 0);
        let gap =
            Piece { direction, at_ns, thread, position, other_position, len, flags, head, tail, frames, tcp, quiet_ns };
        self.expected[direction.index()] = Some(moved);
        self.bytes_lost += len;
        self.deliver(&gap, true, out);
    }

    /// `asks_ahead`: the client was seen to ask before it was answered.
    fn speak(&mut self, entry: &'static Entry, role: Role, pending: &[Kept], asks_ahead: bool, out: &mut Output) {
        let mut session = Guarded::new(entry.name, (entry.open)(role));
        if self.in_use {
            session.begin_in_use(asks_ahead);
        } else if self.is_older {
            session.begin_older();
        }
        self.knows_ends = session.knows_ends();
        self.turns = (entry.capture.requests > HEAD_MAX).then(|| Turns::new(&entry.capture));
        self.protocol_state = ProtocolState::Speaks { entry, session };
        if entry.capture.beginnings.is_empty() {
            self.needs = Some(self.need(entry, role, out));
        }
        for kept in pending {
            self.feed(&kept.piece(), false, out);
        }
    }

    /// The next piece in order: names the gap before it, and leaves out what was seen already.
    fn on_piece(&mut self, piece: &Piece<'_>, out: &mut Output) {
        if piece.flags.contains(DataFlags::END) {
            // What had come by then, and was lost.
            self.on_moved(piece.direction, piece.position, piece.at_ns, piece.thread, out);
            self.end_of_stream(piece.direction, piece.at_ns, out);
            return;
        }
        let due = &mut self.expected[piece.direction.index()];
        let end = piece.position.saturating_add(piece.len);
        let expected = due.unwrap_or(piece.position);
        if end <= expected {
            return;
        }
        *due = Some(end);
        let since = std::mem::replace(&mut self.quiet_since_ns[piece.direction.index()], piece.at_ns);
        // When the bytes moved that are missing before it is not known, nor when the first of several did.
        let quiet_ns =
            if piece.position > expected || piece.is_merged() { 0 } else { piece.at_ns.saturating_sub(since) };
        let piece = &Piece { quiet_ns, ..*piece };
        if piece.position > expected {
            let (position, len) = (expected, piece.position - expected);
            let gap = Piece { head: &[], tail: &[], frames: None, len, position, ..*piece };
            self.bytes_lost += gap.len;
            self.deliver(&gap, true, out);
        }
        let seen = expected.saturating_sub(piece.position);
        if seen > 0 {
            // Two threads at once: what is left of the piece cannot be placed within its captured bytes.
            let (position, len) = (expected, piece.len - seen);
            let rest = Piece { head: &[], tail: &[], frames: None, len, position, ..*piece };
            return self.deliver(&rest, true, out);
        }
        self.deliver(piece, piece.flags.contains(DataFlags::FAULT), out);
    }

    fn deliver(&mut self, piece: &Piece<'_>, lost: bool, out: &mut Output) {
        match &mut self.protocol_state {
            ProtocolState::Foreign => {}
            ProtocolState::Undecided(undecided) => match undecided.look(piece, lost) {
                Decision::Undecided => self.in_use |= lost,
                Decision::Lost(requests) => {
                    self.anomalies.requests_lost += requests;
                    self.in_use = true;
                }
                Decision::Foreign => self.protocol_state = ProtocolState::Foreign,
                Decision::Encrypted => {
                    self.protocol_state = ProtocolState::Foreign;
                    self.found_encrypted = true;
                }
                Decision::Prologue(used, client) => {
                    self.found_client = client;
                    self.deliver_rest(piece, used as u64, lost, out);
                }
                Decision::Speaks(entry, role, pending) => {
                    let asks_ahead = undecided.asks_ahead();
                    self.speak(entry, role, &pending, asks_ahead, out);
                    self.feed(piece, lost, out);
                }
            },
            ProtocolState::Speaks { .. } => self.feed(piece, lost, out),
        }
    }

    /// Takes what stands behind the first `used` bytes of a piece for one of its own.
    fn deliver_rest(&mut self, piece: &Piece<'_>, used: u64, lost: bool, out: &mut Output) {
        if used >= piece.len {
            return;
        }
        let head = usize::try_from(used).ok().and_then(|used| piece.head.get(used..)).unwrap_or_default();
        let (len, position) = (piece.len - used, piece.position + used);
        let rest = Piece { head, len, position, frames: None, ..*piece };
        self.deliver(&rest, lost, out);
    }

    /// What is said of the frames in a piece; not what only seemed to be a connection's beginning.
    fn frames_in(&self, piece: &Piece<'_>) -> Option<Frames> {
        let events::Frames { first, found } = piece.frames?;
        (found > 0 || self.from_beginning).then(|| Frames { first: first.map(usize::from), found })
    }

    fn feed(&mut self, piece: &Piece<'_>, lost: bool, out: &mut Output) {
        if let Some(held) = self.held.take() {
            let before = held.piece();
            if !lost && before.direction == piece.direction && before.position + before.len == piece.position {
                let (position, other_position, quiet_ns) = (before.position, before.other_position, before.quiet_ns);
                let is_request = self.requests() == Some(piece.direction);
                let at_ns = if is_request { before.at_ns } else { piece.at_ns };
                let (head, len) = ([before.head, piece.head].concat(), before.len + piece.len);
                let frames = None;
                let both = Piece { at_ns, position, other_position, quiet_ns, head: &head, len, frames, ..*piece };
                return self.feed_or_hold(&both, lost, out);
            }
            self.tell_session(&before, false, out);
        }
        self.feed_or_hold(piece, lost, out);
    }

    /// Where a session waits for a message to begin, a head that comes by itself says nothing: who reads it so reads the rest next.
    fn feed_or_hold(&mut self, piece: &Piece<'_>, lost: bool, out: &mut Output) {
        if let ProtocolState::Speaks { entry, session } = &self.protocol_state
            && !lost
            && piece.head.len() <= HEAD_HELD_MAX
            && piece.head.len() as u64 == piece.len
            && session.seeks(piece.direction)
            && (entry.recognise)(piece.head) == Recognition::Maybe
        {
            self.held = Some(Box::new(Kept::of(piece)));
            return;
        }
        self.tell_session(piece, lost, out);
    }

    /// Nothing comes behind what is held.
    fn release(&mut self, out: &mut Output) {
        if let Some(held) = self.held.take() {
            self.tell_session(&held.piece(), false, out);
        }
    }

    /// The direction that requests take.
    fn requests(&self) -> Option<Direction> {
        match &self.protocol_state {
            ProtocolState::Speaks { session, .. } => Some(session.role().requests()),
            _ => None,
        }
    }

    fn tell_session(&mut self, piece: &Piece<'_>, lost: bool, out: &mut Output) {
        let frames = self.frames_in(piece);
        let ProtocolState::Speaks { entry, session } = &mut self.protocol_state else { return };
        let chunk = Chunk {
            at_ns: piece.at_ns,
            thread: piece.thread,
            data: piece.head,
            skipped: piece.len.saturating_sub(piece.head.len() as u64),
            tail: piece.tail,
            frames,
            lost,
            quiet_ns: piece.quiet_ns,
            position: piece.position,
            other_position: piece.other_position,
        };
        self.below.on_piece(piece);
        let mark = out.mark();
        let interest = session.on_data(piece.direction, &chunk, out);
        let told = out.since(mark);
        let begun = told.iter().filter(|event| matches!(event, Event::Opened(_))).count();
        self.below.on_told(told);
        let (entry, role, knows_ends) = (*entry, session.role(), session.knows_ends());
        let is_request = piece.direction == role.requests();
        if let Some(of_each) = piece.len.checked_div(begun as u64) {
            let shortest = &mut self.shortest[usize::from(!is_request)];
            *shortest = of_each.clamp(1, *shortest);
        }
        let begun = u32::try_from(begun).unwrap_or(u32::MAX);
        let has_turned = self.turns.as_mut().is_some_and(|turns| turns.on_piece(is_request, piece.len, begun));
        let has_learnt = std::mem::replace(&mut self.knows_ends, knows_ends) != knows_ends;
        if has_turned || has_learnt {
            self.needs = Some(self.need(entry, role, out));
        }
        let ProtocolState::Speaks { session, .. } = &mut self.protocol_state else { return };
        match interest {
            Interest::Parse => {}
            Interest::Follow => self.needs = Some(self.need(entry, role, out)),
            Interest::Content(most) => {
                let usual = self.need(entry, role, out);
                self.needs = Some(capture::with_content(usual, role, out.head_max(), most));
            }
            Interest::Nothing => {
                self.settle_anomalies();
                self.protocol_state = ProtocolState::Foreign;
            }
            Interest::Anew => {
                let Handover { rest, .. } = session.hand_over();
                self.settle_anomalies();
                self.protocol_state = ProtocolState::Undecided(Box::new(Undecided::new(true)));
                self.deliver_rest(piece, piece.len.saturating_sub(rest), lost, out);
            }
            Interest::Switch(name) => {
                let (role, Handover { rest, request }) = (session.role(), session.hand_over());
                self.settle_anomalies();
                let Some(entry) = REGISTRY.iter().find(|entry| entry.name == name) else {
                    self.protocol_state = ProtocolState::Foreign;
                    if let Some((key, request)) = request {
                        out.finish(key, request);
                    }
                    return;
                };
                let mut session = Guarded::new(entry.name, (entry.open)(role));
                if let Some((key, request)) = request {
                    session.take_over(key, request, out);
                }
                self.protocol_state = ProtocolState::Speaks { entry, session };
                self.deliver_rest(piece, piece.len.saturating_sub(rest), lost, out);
            }
        }
    }
}
