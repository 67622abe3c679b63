//! What every protocol of the registry keeps, shown with its own sample conversations: whoever adds a protocol adds some of
//! those, see [`Sample`], and no test of these.

use super::{
    Anomalies, Chunk, End, Entry, Handover, Interest, REGISTRY, Recognition, Session,
    testing::{Asked, Random, Told, summary},
};
use crate::model::{
    exchange::{Exchange, Outcome},
    ids::{ProcessId, ThreadId},
    net::{Role, Thread},
};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// A conversation as it is on the wire, from a connection's first byte on.
///
/// A few of these should have: one request and its response; several in a row; several at a time, if the protocol knows that;
/// bodies; an error. No two of its requests are the same, nor are two responses, so that a wrong pair shows.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    /// What is sent, in order, as it is written.
    pub(crate) pieces: Vec<(Sender, Vec<u8>)>,
    /// How many exchanges it has. All are complete.
    pub(crate) exchanges: usize,
}

/// A connection that a session listens to.
struct Listener {
    entry: &'static Entry,
    role: Role,
    session: Box<dyn Session>,
    told: Told,
    moved: [u64; 2],
    now: u64,
    is_over: bool,
}

impl Listener {
    fn new(entry: &'static Entry, role: Role) -> Self {
        let (session, told) = ((entry.open)(role), Told::default());
        Self { entry, role, session, told, moved: [0; 2], now: 0, is_over: false }
    }

    /// On a connection that was in use before.
    fn in_midst(entry: &'static Entry, role: Role) -> Self {
        let mut listener = Self::new(entry, role);
        listener.session.begin_in_use(false);
        listener
    }

    fn hear(&mut self, sender: Sender, data: &[u8]) {
        self.piece(sender, data, 0, &[], false);
    }

    fn miss(&mut self, sender: Sender, bytes: usize) {
        self.piece(sender, &[], bytes as u64, &[], true);
    }

    fn piece(&mut self, sender: Sender, data: &[u8], skipped: u64, tail: &[u8], lost: bool) {
        if self.is_over || data.is_empty() && skipped == 0 {
            return;
        }
        self.now += 1000;
        let direction = match sender {
            Sender::Client => self.role.requests(),
            Sender::Server => self.role.requests().other(),
        };
        let [position, other_position] = [direction, direction.other()].map(|direction| self.moved[direction.index()]);
        let thread = Thread { tgid: ProcessId(1), tid: ThreadId(1), work: 0, begun_ns: 0 };
        let (at_ns, frames, quiet_ns) = (self.now, None, 0);
        let chunk = Chunk { at_ns, thread, data, skipped, tail, frames, lost, quiet_ns, position, other_position };
        self.moved[direction.index()] += chunk.len();
        let interest = self.told.of(|out| self.session.on_data(direction, &chunk, out));
        if !matches!(interest, Interest::Parse | Interest::Follow | Interest::Content(_)) {
            // Another takes over.
            self.is_over = true;
            let Handover { rest, request } = self.session.hand_over();
            assert!(rest <= chunk.len(), "more is left than there was: {rest}");
            if let Some((key, request)) = request {
                self.told.of(|out| out.finish(key, request));
            }
        }
        self.check();
    }

    /// What holds at any time.
    fn check(&mut self) {
        let (memory, most) = (self.session.memory(), self.entry.memory_max);
        assert!(memory <= most, "{memory} bytes are held, {most} are promised");
        let mut methods = 0;
        self.session.open_methods(&mut |_, _| methods += 1);
        assert_eq!(methods, self.session.open_requests());
        assert!(self.is_over || self.told.open() <= self.session.open_requests(), "told to be open, and is not");
    }

    /// What was told, in all.
    fn end(mut self, end: End) -> Vec<Exchange> {
        self.now += 1000;
        let open = self.told.open();
        let before = self.told.len();
        self.told.of(|out| self.session.on_end(end, self.now, out));
        assert!(self.is_over || self.session.open_requests() == 0, "open behind the end");
        if end == End::Forgotten && open > 0 {
            assert!(self.told[before..].iter().all(|exchange| exchange.outcome == Outcome::Unseen), "{:?}", *self.told);
        }
        let told = self.told.finished();
        for Exchange { start_ns, first_byte_ns, end_ns, .. } in &told {
            assert!(start_ns <= end_ns && first_byte_ns.is_none_or(|at| (*start_ns..=*end_ns).contains(&at)));
        }
        told
    }
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];
const ENDS: [End; 3] = [End::Closed, End::Reset, End::Forgotten];

/// Calls `check` with each sample of each protocol, at either end.
fn each(mut check: impl FnMut(&'static Entry, Role, &Sample)) {
    for entry in REGISTRY {
        let samples = (entry.samples)();
        assert!(!samples.is_empty(), "{} has no sample conversation", entry.name);
        for sample in &samples {
            for role in ROLES {
                // Said where a test fails.
                println!("{}, {}, {role:?}", entry.name, sample.name);
                check(entry, role, sample);
            }
        }
    }
}

/// What the sample tells when it is heard as it was written.
fn heard(entry: &'static Entry, role: Role, sample: &Sample) -> Vec<Exchange> {
    let mut listener = Listener::new(entry, role);
    for (sender, data) in &sample.pieces {
        listener.hear(*sender, data);
    }
    listener.end(End::Closed)
}

/// The same without what depends on how it falls into pieces: when, and in which order what is over at the same time is told.
fn timeless(told: Vec<Exchange>) -> Vec<String> {
    let mut told: Vec<String> = told
        .into_iter()
        .map(|exchange| {
            let Exchange { role, outcome, parent, protocol, pattern, operation, .. } = exchange;
            format!("{role:?} {outcome:?} {parent:?} {protocol} {pattern:?} {operation:?}")
        })
        .collect();
    told.sort();
    told
}

/// Runs of one sender's bytes.
fn runs(sample: &Sample) -> Vec<(Sender, Vec<u8>)> {
    let same_sender = |before: &(Sender, Vec<u8>), after: &(Sender, Vec<u8>)| before.0 == after.0;
    let joined = |run: &[(Sender, Vec<u8>)]| (run[0].0, run.iter().flat_map(|(_, data)| data.clone()).collect());
    sample.pieces.chunk_by(same_sender).map(joined).collect()
}

/// Everything that is told of a sample of which bytes were missed is true: what was asked was asked, and what is said to have
/// been its answer was.
fn assert_true(told: &[Exchange], truth: &[Exchange], what: &dyn Fn() -> String) {
    let truth: Vec<Asked> = truth.iter().map(summary).collect();
    for exchange in told {
        let Asked { asked, answered } = summary(exchange);
        let Some(asked) = asked else { continue };
        let fits = |it: &Asked| it.asked.as_deref() == Some(&*asked) && (answered.is_none() || it.answered == answered);
        assert!(
            exchange.outcome == Outcome::Unseen || truth.iter().any(fits),
            "{}: {exchange:?} is not among {truth:?}",
            what()
        );
    }
}

#[test]
fn names_are_unique_and_bounds_are_promised() {
    for (at, entry) in REGISTRY.iter().enumerate() {
        assert!(REGISTRY[..at].iter().all(|other| other.name != entry.name), "{} is there twice", entry.name);
        assert!((1..=8 << 20).contains(&entry.memory_max), "{}", entry.name);
        assert!((entry.open)(Role::Server).memory() < 8192, "{}: most sessions are idle", entry.name);
    }
}

#[test]
fn a_conversation_begins_with_a_request_of_its_protocol_and_of_no_other() {
    each(|entry, _, sample| {
        let first = |sender| sample.pieces.iter().find(|piece| piece.0 == sender).map(|(_, data)| &data[..]);
        let (asked, answered) = (first(Sender::Client).unwrap(), first(Sender::Server).unwrap());
        assert_eq!((entry.recognise)(asked), Recognition::Request);
        for len in 1..asked.len() {
            let part = (entry.recognise)(&asked[..len]);
            let fits = matches!(part, Recognition::Maybe | Recognition::Either | Recognition::Request);
            assert!(fits, "{part:?} of {len} bytes");
        }
        for len in 1..=answered.len() {
            let part = (entry.recognise)(&answered[..len]);
            let answers = [Recognition::Maybe, Recognition::Either, Recognition::Response, Recognition::Greeting];
            // Where both sides begin alike, who has connected tells them apart.
            let fits = answers.contains(&part) || part == Recognition::Request && asked.starts_with(&answered[..len]);
            assert!(fits, "{part:?} of {len} bytes");
        }
        for other in REGISTRY.iter().filter(|other| other.name != entry.name) {
            let taken = (other.recognise)(asked);
            assert!(matches!(taken, Recognition::No | Recognition::Maybe), "{} takes it for its own", other.name);
        }
    });
}

#[test]
fn each_exchange_of_a_conversation_is_told_complete_and_by_its_own_name() {
    each(|entry, role, sample| {
        let told = heard(entry, role, sample);
        assert_eq!(told.len(), sample.exchanges, "{told:#?}");
        for exchange in &told {
            assert_eq!((exchange.outcome, exchange.role), (Outcome::Complete, role), "{exchange:?}");
            assert!(!exchange.protocol.is_empty());
        }
        let mut pairs: Vec<Asked> = told.iter().map(summary).collect();
        assert!(pairs.iter().all(|pair| pair.asked.is_some() && pair.answered.is_some()), "{pairs:?}");
        pairs.dedup_by(|a, b| a.asked == b.asked || a.answered == b.answered);
        assert_eq!(pairs.len(), sample.exchanges, "a wrong pair would not show: {pairs:?}");
        let mut listener = Listener::new(entry, role);
        sample.pieces.iter().for_each(|(sender, data)| listener.hear(*sender, data));
        assert_eq!(listener.session.take_anomalies(), Anomalies::default());
    });
}

#[test]
fn any_split_of_a_conversation_tells_the_same() {
    let mut random = Random(0x5eed);
    each(|entry, role, sample| {
        let expected = timeless(heard(entry, role, sample));
        let runs = runs(sample);
        for most in [1, 2, 3, 7, 40, 40, 40, 300, 300, 2000, usize::MAX] {
            let mut listener = Listener::new(entry, role);
            for (sender, data) in &runs {
                let mut rest = &data[..];
                while !rest.is_empty() {
                    let len = if most < 10 { most } else { 1 + random.below(most.min(1 << 20)) };
                    let (piece, behind) = rest.split_at(len.min(rest.len()));
                    listener.hear(*sender, piece);
                    rest = behind;
                }
            }
            assert_eq!(timeless(listener.end(End::Closed)), expected, "pieces of {most} bytes");
        }
    });
}

#[test]
fn what_is_told_around_lost_bytes_is_true() {
    let mut random = Random(0x1057);
    each(|entry, role, sample| {
        let truth = heard(entry, role, sample);
        for _ in 0..300 {
            let mut listener = Listener::new(entry, role);
            let lost = random.below(sample.pieces.len());
            let mut gap = String::new();
            for (at, (sender, data)) in sample.pieces.iter().enumerate() {
                if at != lost {
                    listener.hear(*sender, data);
                    continue;
                }
                let from = random.below(data.len());
                let to = from + 1 + random.below(data.len() - from);
                gap = format!("bytes {from} to {to} of piece {at}");
                listener.hear(*sender, &data[..from]);
                listener.miss(*sender, to - from);
                listener.hear(*sender, &data[to..]);
            }
            let end = ENDS[random.below(3)];
            let what = format!("{gap}, {end:?}");
            assert_true(&listener.end(end), &truth, &|| what.clone());
        }
    });
}

#[test]
fn what_is_told_of_a_conversation_met_in_its_midst_is_true() {
    each(|entry, role, sample| {
        let truth = heard(entry, role, sample);
        for from in 0..sample.pieces.len() {
            let mut listener = Listener::in_midst(entry, role);
            for (sender, data) in &sample.pieces[from..] {
                listener.hear(*sender, data);
            }
            assert_true(&listener.end(End::Closed), &truth, &|| format!("from piece {from} on"));
        }
    });
}

#[test]
fn what_is_opened_finishes_wherever_a_conversation_ends() {
    each(|entry, role, sample| {
        let truth = heard(entry, role, sample);
        for until in 0..=sample.pieces.len() {
            for end in ENDS {
                let mut listener = Listener::new(entry, role);
                for (sender, data) in &sample.pieces[..until] {
                    listener.hear(*sender, data);
                }
                assert_true(&listener.end(end), &truth, &|| format!("until piece {until}, {end:?}"));
            }
        }
    });
}

#[test]
fn memory_stays_within_what_is_promised_where_nobody_answers() {
    each(|entry, role, sample| {
        for silent in [Sender::Server, Sender::Client] {
            let mut listener = Listener::new(entry, role);
            for _ in 0..3000 {
                for (sender, data) in sample.pieces.iter().filter(|(sender, _)| *sender != silent) {
                    listener.hear(*sender, data);
                }
            }
            // Behind what never ends, too.
            for _ in 0..300 {
                listener.hear(if silent == Sender::Server { Sender::Client } else { Sender::Server }, &[b'a'; 8192]);
            }
            listener.end(End::Forgotten);
        }
    });
}

#[test]
fn junk_neither_panics_nor_grows_nor_leaves_anything_open() {
    let mut random = Random(0x0dd);
    each(|entry, role, sample| {
        for round in 0..200 {
            let mut listener =
                if round % 3 == 0 { Listener::in_midst(entry, role) } else { Listener::new(entry, role) };
            let clean = random.below(sample.pieces.len() + 1);
            for (at, (sender, data)) in sample.pieces.iter().enumerate() {
                let mut data = data.clone();
                if at >= clean {
                    for _ in 0..=random.below(8) {
                        let at = random.below(data.len());
                        data[at] = random.next() as u8;
                    }
                }
                let (head, rest) = data.split_at(if random.one_in(4) { random.below(data.len()) } else { data.len() });
                let tail = &rest[rest.len() - random.below(rest.len().min(32) + 1)..];
                listener.piece(*sender, head, rest.len() as u64, tail, random.one_in(2));
            }
            for _ in 0..random.below(20) {
                let data: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
                let sender = if random.one_in(2) { Sender::Client } else { Sender::Server };
                let skipped = if random.one_in(3) { random.next() >> random.below(64) } else { 0 };
                listener.piece(sender, &data, skipped.min(1 << 62), &[], random.one_in(2));
            }
            listener.end(ENDS[round % 3]);
        }
    });
}

/// How many random heads: a share of what was tried by hand (a hundred million, `RANDOM_HEADS`).
fn random_heads() -> usize {
    std::env::var("RANDOM_HEADS").ok().and_then(|count| count.parse().ok()).unwrap_or(200_000)
}

/// Not its first alone: connections are met in their midst too. What two bytes may be a message of are asked about by their answers.
#[test]
fn no_piece_of_a_conversation_is_what_another_protocol_asks() {
    let mut taken = Vec::new();
    each(|entry, _, sample| {
        for (sender, data) in sample.pieces.iter().filter(|(_, data)| data.len() > 4) {
            for other in REGISTRY.iter().filter(|other| other.name != entry.name) {
                let found = (other.recognise)(data);
                if matches!(found, Recognition::Request | Recognition::Greeting) {
                    taken.push(format!(
                        "{} of {} ({sender:?}) by {}: {}",
                        sample.name,
                        entry.name,
                        other.name,
                        data.escape_ascii()
                    ));
                }
            }
        }
    });
    taken.dedup();
    assert!(taken.is_empty(), "{taken:#?}");
}

#[test]
fn no_random_head_is_taken_for_what_is_asked() {
    let mut random = Random(0x4ead);
    let mut head = [0_u8; 64];
    for nth in 0..random_heads() {
        head.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_be_bytes()));
        // As binary protocols begin, and as text does.
        match nth % 4 {
            1 => head.iter_mut().take(12).for_each(|byte| *byte &= 0x07),
            2 => head.iter_mut().for_each(|byte| *byte = b' ' + *byte % 95),
            3 => [head[1], head[2]] = [0, 0],
            _ => {}
        }
        // Two or three bytes may be a whole message, a ping of MQTT such as; an answer proves it.
        let head = &head[..4 + random.below(head.len() - 3)];
        // What may be HEADERS of HTTP/2 in its midst is held to more than their beginning (`http2/proof.rs`).
        for entry in REGISTRY.iter().filter(|entry| entry.name != "http2") {
            let taken = (entry.recognise)(head);
            let is_certain = matches!(taken, Recognition::Request | Recognition::Greeting);
            assert!(!is_certain, "{} takes {} for its own", entry.name, head.escape_ascii());
        }
    }
}
