//! Matching replies with commands.

use std::mem;

use compact_str::CompactString;
use memchr::memchr;

use super::{
    NAME,
    command::{Answers, Change, Command, Replies},
    recognise,
    resp::{Item, Reader, Step, readable},
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

/// Commands that may wait for their reply at a time.
const LIMITS: Limits = Limits { requests: 8192, bytes: 1 << 20 };
/// Most items that are open at a time within a reply, one within the other.
const MAX_ITEMS: u64 = 1 << 40;

/// One connection.
pub(super) struct Redis {
    role: Role,
    commands: Reader,
    /// The command that is read: words that are still to come, and where it began.
    command: Option<(Command, u64)>,
    began: Began,
    replies: Reader,
    reply: Option<Reply>,
    open: InOrder<Open>,
    /// The number of the database that commands are for; `None` where it is not known.
    namespace: Option<CompactString>,
    /// Which commands are not replied to.
    muted: Replies,
    /// A channel was subscribed to: arrays may be its messages.
    subscribes: bool,
    /// Where something was missed nothing is told behind what is open until there is proof that nothing else is: what is taken for a
    /// command may be a part of a value.
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

/// A command that waits for its reply.
struct Open {
    key: Key,
    began: Began,
    first_byte_ns: Option<u64>,
    name: CompactString,
    args: u64,
    answers: Answers,
    change: Change,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        let text = |text: &CompactString| if text.is_heap_allocated() { text.capacity() } else { 0 };
        let of_change = match &self.change {
            Change::Database(number) => number.as_ref().map_or(0, text),
            Change::Nothing | Change::Replies(_) => 0,
        };
        text(&self.name) + of_change
    }
}

/// A reply that is read.
#[derive(Debug)]
struct Reply {
    first_byte_ns: u64,
    /// Items of it that are still to come.
    left: u64,
    /// Items that say something about it, before the first of its own.
    about: u64,
    /// What it begins with, once that is known.
    kind: Option<u8>,
    /// The first word of it.
    word: Option<CompactString>,
}

impl Redis {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            commands: Reader::of_requests(),
            command: None,
            began: Began::default(),
            replies: Reader::default(),
            reply: None,
            open: InOrder::new(LIMITS),
            namespace: Some(CompactString::const_new("0")),
            muted: Replies::On,
            subscribes: false,
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
            if self.command.is_none() && self.commands.is_between() {
                let position = chunk.position.saturating_add(at).saturating_add((len - bytes.len()) as u64);
                self.began = Began { at_ns: chunk.at_ns, thread: chunk.thread, position };
            }
            let (step, rest) = self.commands.step(bytes)?;
            bytes = rest;
            self.on_command_step(step, chunk.at_ns, out)?;
        }
        Some(())
    }

    fn on_command_step(&mut self, step: Step<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        let Step::Read(item) = step else { return Some(()) };
        match (item, self.command.take()) {
            (Item::Many(b'*', words), None) => self.command = (words > 0).then(|| (Command::default(), words)),
            // No words: servers pass over it.
            (Item::Null, None) => {}
            (Item::Line(0, line), None) => self.begin(Command::inline(&line), at_ns, out),
            (Item::Text(b'$', word), Some((mut command, left))) => {
                command.take(word.as_deref());
                match left - 1 {
                    0 => self.begin(command, at_ns, out),
                    left => self.command = Some((command, left)),
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// A command was sent.
    fn begin(&mut self, command: Command, at_ns: u64, out: &mut Output) {
        let (answers, change) = (command.answers(), command.change());
        self.subscribes |= matches!(answers, Answers::Confirmations(_));
        let is_muted = match (&change, self.muted) {
            (Change::Replies(replies), _) => {
                self.muted = *replies;
                *replies != Replies::On
            }
            (_, Replies::On) => false,
            (_, Replies::Off) => true,
            (_, Replies::Skip) => {
                self.muted = Replies::On;
                true
            }
        };
        if self.in_use.is_lost() {
            // How many replies others have depends on what was missed.
            return self.in_use.asked(!is_muted && answers == Answers::One);
        }
        let Command { name, args, .. } = command;
        if !self.open.has_room() {
            if !is_muted {
                self.open.leave_out();
            }
            if matches!(change, Change::Database(_)) {
                self.namespace = None;
            }
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
        let open = Open { key, began: self.began, first_byte_ns: None, name, args, answers, change };
        if is_muted {
            self.tell(open, Outcome::Complete, Pattern::OneWay, None, at_ns, out);
        } else {
            self.open.push(open);
        }
    }

    /// The rest of the command that is read was not seen: it is known by its beginning all the same, and nothing of what stands behind it
    /// in this turn.
    fn begin_cut(&mut self, at_ns: u64, out: &mut Output) -> Option<()> {
        let (mut command, left) = self.command.take().filter(|(command, _)| !command.name.is_empty())?;
        command.args = command.args.saturating_add(left);
        self.begin(command, at_ns, out);
        self.commands.reset();
        if !self.in_use.is_lost() {
            self.anomalies.resyncs += 1;
            self.in_use.lose_rest();
        }
        Some(())
    }

    // ---- replies

    fn reply_bytes(&mut self, mut bytes: &[u8], chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        while !bytes.is_empty() && self.interest == Interest::Parse {
            if self.reply.is_none() {
                self.reply = Some(Reply { first_byte_ns: chunk.at_ns, left: 1, about: 0, kind: None, word: None });
                if let Some(open) = self.open.front_mut() {
                    open.first_byte_ns.get_or_insert(chunk.at_ns);
                }
            }
            let (step, rest) = self.replies.step(bytes)?;
            bytes = rest;
            self.on_reply_step(step, chunk.at_ns, out)?;
        }
        Some(())
    }

    fn on_reply_step(&mut self, step: Step<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        let Step::Read(item) = step else { return Some(()) };
        let mut reply = self.reply.take()?;
        let is_whole = reply.take(item)?;
        if is_whole {
            self.on_reply(&reply, at_ns, out)?;
        } else {
            self.reply = Some(reply);
        }
        Some(())
    }

    /// A reply, or what comes without being asked for, has ended. `None` if it answers nothing that is known.
    fn on_reply(&mut self, reply: &Reply, at_ns: u64, out: &mut Output) -> Option<()> {
        let word = reply.word.as_deref().unwrap_or_default();
        let is_push = reply.kind == Some(b'>');
        let is_message = matches!(word, "message" | "pmessage" | "smessage");
        let is_confirmation = word.ends_with("subscribe");
        if self.in_use.is_lost() && self.open.is_empty() {
            if !(is_push || is_message && reply.kind == Some(b'*')) {
                self.in_use.answered();
            }
            return Some(());
        }
        let is_of_channels =
            self.subscribes && (is_message || is_confirmation) && matches!(reply.kind, Some(b'*' | b'>'));
        let is_error = matches!(reply.kind, Some(b'-' | b'!'));
        let is_queued = reply.kind == Some(b'+') && word == "QUEUED";
        let Some(open) = self.open.front_mut() else {
            if is_push || is_of_channels || self.open.answer_left_out() {
                return Some(());
            }
            self.anomalies.unmatched_responses += 1;
            return None;
        };
        match &mut open.answers {
            Answers::Confirmations(left) if is_of_channels && is_confirmation => {
                open.first_byte_ns.get_or_insert(reply.first_byte_ns);
                *left -= 1;
                if *left > 0 {
                    return Some(());
                }
            }
            // What answers nothing: the answer has not begun with it.
            _ if is_push || is_of_channels => {
                open.first_byte_ns = None;
                return Some(());
            }
            Answers::Confirmations(_) if !is_error && !is_queued => return None,
            _ => {}
        }
        let open = self.open.pop()?;
        if open.answers == Answers::Stream && !is_error {
            self.interest = Interest::Nothing;
        }
        if let Change::Database(number) = &open.change
            && !is_error
        {
            // A transaction that is queued may select it later, or not.
            self.namespace = number.clone().filter(|_| !is_queued);
        }
        let error = is_error.then(|| code(word));
        self.tell(open, Outcome::Complete, Pattern::RequestResponse, error, at_ns, out);
        Some(())
    }

    // ---- ends

    /// A command is over. `error`: it failed, with a code where the reply has one.
    fn tell(
        &self,
        open: Open,
        outcome: Outcome,
        pattern: Pattern,
        error: Option<Option<CompactString>>,
        end_ns: u64,
        out: &mut Output,
    ) {
        let Open { key, began, first_byte_ns, name, args, .. } = open;
        let is_named = !name.is_empty();
        let db = Db {
            system: NAME,
            namespace: self.namespace.clone(),
            text: is_named.then(|| Command::text(&name, args)),
            operation: is_named.then_some(name),
            failed: error.is_some(),
            status: error.flatten(),
            ..Db::default()
        };
        let exchange = Exchange {
            role: self.role,
            thread: began.thread,
            start_ns: began.at_ns,
            first_byte_ns,
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

impl Reads for Redis {
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
            true => self.command.is_none() && self.commands.is_between(),
            false => self.reply.is_none() && self.open.is_empty(),
        }
    }

    fn bytes(&mut self, is_request: bool, bytes: &[u8], at: u64, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        if is_request { self.command_bytes(bytes, at, chunk, out) } else { self.reply_bytes(bytes, chunk, out) }
    }

    fn skip(&mut self, is_request: bool, gap: u64, at_ns: u64, out: &mut Output) -> Option<bool> {
        if is_request {
            let Some(step) = self.commands.skip(gap) else { return self.begin_cut(at_ns, out).map(|()| false) };
            self.on_command_step(step, at_ns, out)?;
        } else if self.interest == Interest::Parse {
            let step = self.replies.skip(gap)?;
            self.on_reply_step(step, at_ns, out)?;
        }
        Some(true)
    }

    fn forget(&mut self, is_request: bool) {
        if is_request {
            self.commands.reset();
            self.command = None;
        } else {
            self.replies.reset();
            self.reply = None;
        }
    }

    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        while let Some(mut open) = self.open.pop() {
            let outcome = match end {
                End::Forgotten => Outcome::Unseen,
                End::Closed | End::Reset if open.first_byte_ns.is_some() => Outcome::Cut,
                End::Closed | End::Reset => Outcome::NoResponse,
            };
            if outcome == Outcome::Unseen {
                open.first_byte_ns = None;
            }
            self.tell(open, outcome, Pattern::RequestResponse, None, at_ns, out);
        }
    }

    fn on_lost(&mut self) {
        self.open.forget_left_out();
        self.anomalies.resyncs += 1;
        // What was changed meanwhile is not known.
        (self.namespace, self.muted) = (None, Replies::On);
    }
}

impl Reply {
    /// Takes its next item; whether it was the last, `None` if there cannot be one.
    fn take(&mut self, item: Item<'_>) -> Option<bool> {
        if let Item::Many(b'|', items) = item {
            // It stands before the item that it is about, and is none.
            self.about = self.about.checked_add(items)?;
            return (self.about + self.left <= MAX_ITEMS).then_some(false);
        }
        if self.about > 0 {
            self.about -= 1;
            if let Item::Many(_, items) = item {
                self.about = self.about.checked_add(items)?;
            }
            return (self.about + self.left <= MAX_ITEMS).then_some(false);
        }
        let (kind, word) = match &item {
            Item::Many(kind, _) => (*kind, None),
            Item::Text(kind, text) => (*kind, text.as_deref()),
            Item::Line(kind, text) => (*kind, Some(&**text)),
            Item::Null => (b'_', None),
        };
        // That of an array is its first item. A value's says nothing.
        if self.word.is_none() && (self.kind.is_some() && self.left > 0 || matches!(kind, b'+' | b'-' | b'!')) {
            self.word = word.map(first_word);
        }
        self.kind.get_or_insert(kind);
        self.left -= 1;
        if let Item::Many(_, items) = item {
            self.left = self.left.checked_add(items).filter(|left| *left <= MAX_ITEMS)?;
        }
        Some(self.left == 0)
    }
}

fn first_word(text: &[u8]) -> CompactString {
    readable(memchr(b' ', text).and_then(|end| text.get(..end)).unwrap_or(text))
}

/// The code of an error: the word in capitals that it begins with.
fn code(word: &str) -> Option<CompactString> {
    let is_code = !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
    is_code.then(|| CompactString::new(word))
}

impl Session for Redis {
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
        self.namespace = None;
        self.in_use.lose();
    }

    fn begin_older(&mut self) {
        self.namespace = None;
    }

    fn knows_ends(&self) -> bool {
        true
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
        self.open.len()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        self.open.iter().for_each(|_| each(Group::Db, None));
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.commands.memory() + self.replies.memory() + self.open.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
