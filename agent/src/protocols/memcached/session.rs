//! Matching answers with commands.

use std::mem;

use compact_str::CompactString;

use super::{
    Answer, Answers, Command, Content, NAME, Silence, Word, binary, is_get,
    reader::{Reader, Step},
    recognise, text,
};
use crate::{
    model::{
        exchange::{Db, Exchange, Group, Inside, Key, Opened, Operation, Outcome, Pattern, Place},
        ids::ThreadId,
        net::{Direction, Role, Thread},
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Recognition, Session,
        in_use::{InUse, Reads},
        matching::{InOrder, Kept, Limits},
    },
};

/// Commands that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 8192, bytes: 1 << 20 };
/// Keys that are told, as a `?` each.
pub(super) const MAX_SHOWN: u32 = 16;

/// One connection.
pub(super) struct Memcached {
    role: Role,
    commands: Reader,
    /// Where the command that is read began.
    began: Began,
    /// One that nobody answers, while its value is still to come.
    unanswered: Option<Open>,
    /// Commands were sent since the last that is answered for certain, to which failures may be told though nobody answers them.
    has_silent: bool,
    answers: Reader,
    /// When the answer that is read began, and what it is once that is known.
    answer_ns: Option<u64>,
    answer: Option<Answer>,
    open: InOrder<Open>,
    in_use: InUse,
    interest: Interest,
    anomalies: Anomalies,
}

/// Where something began.
#[derive(Clone, Copy, Debug, Default)]
struct Began {
    at_ns: u64,
    thread: Thread,
    position: u64,
}

/// A command that waits for its answer.
struct Open {
    key: Key,
    began: Began,
    first_byte_ns: Option<u64>,
    command: Command,
    /// Values that it was told; `None` where it is not known.
    values: Option<u64>,
    /// Commands stand before it that failures may be told to though nobody answers them.
    behind_silent: bool,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        0
    }
}

/// How a command ended.
#[derive(Default)]
struct Ended {
    pattern: Pattern,
    error: Option<CompactString>,
}

/// Which command an answer is for.
enum Found {
    /// The one at this place.
    At(usize),
    /// It cannot be told of some quiet ones which.
    OneOfQuiet,
    /// None that is known.
    Nobody,
}

impl Memcached {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            commands: Reader::new(true),
            began: Began::default(),
            unanswered: None,
            has_silent: false,
            answers: Reader::new(false),
            answer_ns: None,
            answer: None,
            open: InOrder::new(LIMITS),
            in_use: InUse::new(role),
            interest: Interest::Parse,
            anomalies: Anomalies::default(),
        }
    }

    // ---- commands

    /// Takes bytes of commands, of which the first stands at `at` in the piece; `None` if the place is lost.
    fn command_bytes(&mut self, mut bytes: &[u8], at: u64, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        let len = bytes.len();
        while !bytes.is_empty() {
            if self.commands.is_between() {
                let position = chunk.position.saturating_add(at).saturating_add((len - bytes.len()) as u64);
                self.began = Began { at_ns: chunk.at_ns, thread: chunk.thread, position };
            }
            let (step, rest) = self.commands.step(bytes)?;
            bytes = rest;
            match step {
                Step::More => {}
                Step::End => self.on_end_of_command(chunk.at_ns, out),
                Step::Line(line) => {
                    let text::Line { what, value } = text::command(&line);
                    self.begin(what, chunk.at_ns, out);
                    match value {
                        Some(value) => self.commands.expect(value),
                        None => self.on_end_of_command(chunk.at_ns, out),
                    }
                }
                Step::Message(message) => {
                    self.begin(binary::command(&message)?, chunk.at_ns, out);
                    if self.commands.is_between() {
                        self.on_end_of_command(chunk.at_ns, out);
                    }
                }
            }
        }
        Some(())
    }

    fn on_end_of_command(&mut self, at_ns: u64, out: &mut Output) {
        if let Some(open) = self.unanswered.take() {
            let ended = Ended { pattern: Pattern::OneWay, error: None };
            self.tell(open, Outcome::Complete, ended, at_ns, out);
        }
    }

    /// A command was sent, but for its value.
    fn begin(&mut self, command: Command, at_ns: u64, out: &mut Output) {
        if self.in_use.is_lost() {
            // What is taken for a command may be a part of a value: nothing of it is told.
            let is_answered = command.silence == Silence::Never;
            self.in_use.asked(is_answered && !matches!(command.answers, Answers::Stream));
            return;
        }
        let has_room = command.silence == Silence::Always || self.make_room(at_ns, out);
        if !has_room {
            self.open.leave_out();
            self.anomalies.over_limit += 1;
            self.anomalies.requests_lost += 1;
            return;
        }
        let Began { at_ns: start_ns, thread, position } = self.began;
        let (role, place) = (self.role, Place::Position(position));
        let key = out.open(|key| Opened {
            key,
            role,
            thread,
            start_ns,
            parent: None,
            is_health_check: false,
            is_message: false,
            place,
        });
        let (behind_silent, open_silence) = (self.has_silent, command.silence);
        self.has_silent = match open_silence {
            Silence::Never => false,
            Silence::Quiet => behind_silent,
            Silence::Always => true,
        };
        let open = Open { key, began: self.began, first_byte_ns: None, command, values: Some(0), behind_silent };
        if open.command.silence == Silence::Always {
            self.unanswered = Some(open);
        } else {
            self.open.push(open);
        }
    }

    /// Whether one more command may be kept. Quiet ones make room: nothing was told to them by now.
    fn make_room(&mut self, at_ns: u64, out: &mut Output) -> bool {
        let is_quiet = |open: &Open| open.command.silence == Silence::Quiet;
        if !self.open.has_room() && self.open.front().is_some_and(is_quiet) {
            self.pass_over(1, Pattern::OneWay, at_ns, out);
        }
        self.open.has_room()
    }

    /// The rest of the command that is read was not seen: where it names keys it is known by its beginning all the same, and nothing of
    /// what stands behind it in this turn.
    fn begin_cut(&mut self, at_ns: u64, out: &mut Output) -> Option<()> {
        let command = text::cut(&self.commands.give_up())?;
        self.begin(command, at_ns, out);
        if !self.in_use.is_lost() {
            self.anomalies.resyncs += 1;
            self.in_use.lose_rest();
        }
        Some(())
    }

    // ---- answers

    fn answer_bytes(&mut self, mut bytes: &[u8], chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        while !bytes.is_empty() && self.interest == Interest::Parse {
            if self.answers.is_between() {
                self.answer_ns = Some(chunk.at_ns);
            }
            let (step, rest) = self.answers.step(bytes)?;
            bytes = rest;
            let answer = match step {
                Step::More => continue,
                Step::End => {
                    self.on_end_of_value(chunk.at_ns, out)?;
                    continue;
                }
                Step::Line(line) => {
                    let text::Line { what, value } = text::answer(&line)?;
                    if let Some(value) = value {
                        self.answers.expect(value);
                    }
                    what
                }
                Step::Message(message) => binary::answer(&message)?,
            };
            self.answer = Some(answer);
            if self.answers.is_between() {
                self.on_end_of_value(chunk.at_ns, out)?;
            }
        }
        Some(())
    }

    /// An answer, or a part of one, has ended.
    fn on_end_of_value(&mut self, at_ns: u64, out: &mut Output) -> Option<()> {
        let answer = self.answer.take()?;
        if self.in_use.is_lost() && self.open.is_empty() {
            if !answer.word.is_part() {
                self.in_use.answered();
            }
            return Some(());
        }
        let first_ns = self.answer_ns.unwrap_or(at_ns);
        let at = match self.find(&answer) {
            Found::At(at) => at,
            Found::OneOfQuiet => return Some(()),
            Found::Nobody => {
                if self.open.is_empty()
                    && (answer.word.is_part() && self.open.left_out() > 0 || self.open.answer_left_out())
                {
                    return Some(());
                }
                self.anomalies.unmatched_responses += 1;
                return None;
            }
        };
        // Those before it were told nothing, which says that all is well.
        self.pass_over(at, Pattern::RequestResponse, first_ns, out);
        let open = self.open.front_mut()?;
        open.first_byte_ns.get_or_insert(first_ns);
        // It may be that of a command which nobody answers otherwise.
        if open.behind_silent && answer.error.is_some() {
            return None;
        }
        let counts = match answer.word {
            Word::Value => true,
            Word::MetaOk => open.command.name == "mg",
            Word::Code(code, Content::Found) => is_get(code) && answer.error.is_none(),
            _ => false,
        };
        if let Some(values) = open.values.as_mut().filter(|_| counts) {
            *values += 1;
        }
        if answer.word.is_part() {
            return Some(());
        }
        if open.command.answers == Answers::Stream && answer.error.is_none() {
            self.interest = Interest::Nothing;
        }
        let open = self.open.pop()?;
        self.tell(open, Outcome::Complete, Ended { error: answer.error, ..Ended::default() }, at_ns, out);
        Some(())
    }

    /// Which command it answers: the first that it may be for. Those before it are quiet.
    fn find(&mut self, answer: &Answer) -> Found {
        let fits = |open: &Open| {
            let Command { answers, silence, tag, name, .. } = &open.command;
            // What carries no mark answers none that asks for one, unless it fails.
            let same = |asked: Option<u64>, told: Option<u64>| match (asked, told) {
                (Some(asked), Some(told)) => asked == told,
                (Some(_), None) => !matches!(answer.word, Word::MetaOk),
                (None, told) => told.is_none(),
            };
            answers.fits(answer.word, *silence, name)
                && same(tag.opaque, answer.tag.opaque)
                && same(tag.key, answer.tag.key)
        };
        let (mut found, mut is_one_of_quiet) = (None, false);
        for (at, open) in self.open.iter().enumerate() {
            let is_quiet = open.command.silence == Silence::Quiet;
            if fits(open) {
                match found {
                    // Of those that are the same for all that is known of them nothing else could be told either.
                    None if !is_quiet || answer.tag.key.is_some() => return Found::At(at),
                    None => found = Some(at),
                    Some(_) if is_quiet && answer.error.is_none() => {
                        is_one_of_quiet = true;
                        break;
                    }
                    Some(_) => return Found::Nobody,
                }
            }
            if !is_quiet {
                break;
            }
        }
        if is_one_of_quiet {
            return self.is_one_of_quiet();
        }
        found.map_or(Found::Nobody, Found::At)
    }

    /// How many values the quiet commands that are open were told is not known.
    fn is_one_of_quiet(&mut self) -> Found {
        let first = self.open.first();
        for number in first..first + self.open.len() as u64 {
            if let Some(open) = self.open.get_mut(number).filter(|open| open.command.silence == Silence::Quiet) {
                open.values = None;
            }
        }
        Found::OneOfQuiet
    }

    // ---- ends

    /// So many quiet commands were told nothing.
    fn pass_over(&mut self, count: usize, pattern: Pattern, at_ns: u64, out: &mut Output) {
        for _ in 0..count {
            let Some(open) = self.open.pop() else { return };
            self.tell(open, Outcome::Complete, Ended { pattern, error: None }, at_ns, out);
        }
    }

    /// A command is over.
    fn tell(&self, open: Open, outcome: Outcome, ended: Ended, end_ns: u64, out: &mut Output) {
        let Open { key, began, first_byte_ns, command, values, .. } = open;
        let Ended { pattern, error } = ended;
        let Command { name, keys, is_cut, answers, .. } = command;
        let asks_for_values = match answers {
            Answers::Values => true,
            Answers::Meta => name == "mg",
            Answers::Code(code) => is_get(code),
            _ => false,
        };
        let is_told = outcome == Outcome::Complete && error.is_none() && pattern == Pattern::RequestResponse;
        let db = Db {
            system: NAME,
            operation: (!name.is_empty()).then(|| CompactString::const_new(name)),
            text: (!name.is_empty()).then(|| query(name, keys, is_cut)),
            batch_size: (keys > 1 && !is_cut).then_some(keys),
            returned_rows: values.filter(|_| is_told && asks_for_values),
            failed: error.is_some(),
            status: error,
            ..Db::default()
        };
        let exchange = Exchange {
            role: self.role,
            thread: began.thread,
            start_ns: began.at_ns,
            first_byte_ns: first_byte_ns.map(|at| at.max(began.at_ns)),
            response_tid: ThreadId::NONE,
            end_ns,
            outcome,
            parent: None,
            protocol: NAME,
            pattern,
            operation: Operation::Db(Box::new(db)),
            inside: Inside::default(),
        };
        out.finish(key, exchange);
    }
}

impl Reads for Memcached {
    const BEGINS: fn(&[u8]) -> bool = |bytes| recognise(bytes) == Recognition::Request;

    fn in_use(&mut self) -> &mut InUse {
        &mut self.in_use
    }

    fn anomalies(&mut self) -> &mut Anomalies {
        &mut self.anomalies
    }

    fn open(&self) -> usize {
        self.open.len()
    }

    fn is_between(&self, is_request: bool) -> bool {
        match is_request {
            true => self.commands.is_between(),
            false => self.answers.is_between() && self.open.is_empty(),
        }
    }

    fn bytes(&mut self, is_request: bool, bytes: &[u8], at: u64, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        if is_request { self.command_bytes(bytes, at, chunk, out) } else { self.answer_bytes(bytes, chunk, out) }
    }

    fn skip(&mut self, is_request: bool, gap: u64, at_ns: u64, out: &mut Output) -> Option<bool> {
        if is_request {
            let Some(step) = self.commands.skip(gap) else { return self.begin_cut(at_ns, out).map(|()| false) };
            if step == Step::End {
                self.on_end_of_command(at_ns, out);
            }
        } else if self.interest == Interest::Parse && self.answers.skip(gap)? == Step::End {
            self.on_end_of_value(at_ns, out)?;
        }
        Some(true)
    }

    fn forget(&mut self, is_request: bool) {
        if is_request {
            self.commands.reset();
            self.has_silent = false;
        } else {
            self.answers.reset();
            (self.answer, self.answer_ns) = (None, None);
        }
    }

    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        let unanswered = self.unanswered.take();
        while let Some(mut open) = self.open.pop() {
            let is_quiet = open.command.silence == Silence::Quiet && open.first_byte_ns.is_none();
            let (outcome, pattern) = match end {
                End::Forgotten => (Outcome::Unseen, Pattern::RequestResponse),
                // Nobody had to answer.
                End::Closed if is_quiet => (Outcome::Complete, Pattern::OneWay),
                End::Closed | End::Reset if open.first_byte_ns.is_some() => (Outcome::Cut, Pattern::RequestResponse),
                End::Closed | End::Reset => (Outcome::NoResponse, Pattern::RequestResponse),
            };
            if outcome == Outcome::Unseen {
                open.first_byte_ns = None;
            }
            self.tell(open, outcome, Ended { pattern, error: None }, at_ns, out);
        }
        // Its value was not all sent.
        if let Some(open) = unanswered {
            let outcome = if end == End::Forgotten { Outcome::Unseen } else { Outcome::NoResponse };
            self.tell(open, outcome, Ended::default(), at_ns, out);
        }
    }

    fn on_lost(&mut self) {
        self.open.forget_left_out();
        self.anomalies.resyncs += 1;
    }
}

/// `db.query.text`: a `?` for each key.
fn query(name: &str, keys: u32, is_cut: bool) -> CompactString {
    let mut text = CompactString::new(name);
    (0..keys.min(MAX_SHOWN)).for_each(|_| text.push_str(" ?"));
    if keys > MAX_SHOWN || is_cut {
        text.push_str(" ...");
    }
    text
}

impl Session for Memcached {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if self.interest != Interest::Parse || chunk.is_empty() {
            return self.interest;
        }
        self.follow(direction, chunk, out);
        if self.interest == Interest::Nothing {
            self.end_all(End::Forgotten, chunk.at_ns, out);
        }
        self.interest
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.in_use.lose();
    }

    /// Of messages of the binary protocol the beginnings are needed.
    fn knows_ends(&self) -> bool {
        self.commands.is_text()
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if direction != self.role.requests() {
            self.end_all(End::Closed, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.count_untold();
        self.end_all(end, at_ns, out);
    }

    fn role(&self) -> Role {
        self.role
    }

    fn open_requests(&self) -> usize {
        self.open.len() + usize::from(self.unanswered.is_some())
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        (0..self.open_requests()).for_each(|_| each(Group::Db, None));
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.commands.memory() + self.answers.memory() + self.open.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
