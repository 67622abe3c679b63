//! Deliveries, until they are settled.

use std::collections::HashMap;

use compact_str::CompactString;
use foldhash::fast::RandomState;

use super::{
    ATTACH, BEGIN, CLOSE, DETACH, DISPOSITION, FRAME_HEAD, NAME, OPEN, SESSION_END, TRANSFER, length, message,
    recognise,
    values::{Value, next},
};
use crate::{
    model::{
        exchange::{Messaging, MessagingStep, Outcome, Place},
        net::Role,
    },
    protocols::{
        Anomalies, Output,
        lanes::{Broker, Lanes},
        sized::{Cursor, Frame},
        told::{Began, Ended, Told},
    },
};

/// Bytes that are kept of a frame.
const KEEP: usize = 8192;
/// Most links, sessions and deliveries that are remembered.
const LINKS_MAX: usize = 1024;
const SESSIONS_MAX: usize = 256;
const OPEN_MAX: usize = 2048;

/// States of a delivery.
const REJECTED: u64 = 0x25;

/// A delivery: whether the client has sent it, the session by the client's number, its own number.
type Key = (bool, u16, u32);

/// One connection.
pub(super) struct Amqp {
    role: Role,
    lanes: Lanes,
    system: &'static str,
    /// Addresses of links, by who sends over them, its number of the session, and that of the link.
    links: HashMap<(bool, u16, u32), Option<CompactString>, RandomState>,
    /// The client's number of a session by the broker's, where they differ.
    sessions: HashMap<u16, u16, RandomState>,
    open: HashMap<Key, Open, RandomState>,
    /// The delivery whose transfer goes on in the next frame, by who sends it, session and link.
    parts: HashMap<(bool, u16, u32), Key, RandomState>,
    anomalies: Anomalies,
}

/// A delivery that is not settled.
struct Open {
    told: Told,
    is_settled: bool,
}

impl Amqp {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            lanes: Lanes::new(length, KEEP, recognise),
            system: "amqp",
            links: HashMap::default(),
            sessions: HashMap::default(),
            open: HashMap::default(),
            parts: HashMap::default(),
            anomalies: Anomalies::default(),
        }
    }

    /// Takes a frame; `None` if it is none.
    fn frame(&mut self, is_client: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        let mut at = frame.reader();
        let first = at.u8()?;
        if first == b'A' || frame.len == FRAME_HEAD {
            return Some(());
        }
        at.skip(3)?;
        let (body, kind, channel) = (at.u8()?, at.u8()?, at.u16()?);
        at.skip((u64::from(body) * 4).checked_sub(FRAME_HEAD)?)?;
        if kind != 0 {
            return Some(());
        }
        let Some(Value::Described(Some(code), list)) = next(&mut at) else {
            self.anomalies.resyncs += 1;
            self.lose(is_client, frame.end_ns, out);
            return Some(());
        };
        let value = next(&mut list.clone())?;
        let session = self.session(is_client, channel);
        match u8::try_from(code).ok()? {
            OPEN if !is_client => self.on_open(value),
            BEGIN if !is_client => {
                let [remote] = value.members()?;
                let remote = remote.number().and_then(|remote| u16::try_from(remote).ok());
                if let Some(remote) = remote.filter(|_| self.sessions.len() < SESSIONS_MAX) {
                    self.sessions.insert(channel, remote);
                }
            }
            ATTACH => self.on_attach(is_client, channel, value)?,
            TRANSFER => self.on_transfer(is_client, channel, session, value, at, frame, out)?,
            DISPOSITION => self.on_disposition(is_client, session, value, frame, out)?,
            DETACH => {
                let [handle] = value.members()?;
                self.links.remove(&(is_client, channel, u32::try_from(handle.number()?).ok()?));
            }
            SESSION_END => self.end_some(|key| key.1 == session, Outcome::NoResponse, frame.end_ns, out),
            CLOSE => self.end_some(|_| true, Outcome::NoResponse, frame.end_ns, out),
            _ => {}
        }
        Some(())
    }

    fn session(&self, is_client: bool, channel: u16) -> u16 {
        if is_client { channel } else { self.sessions.get(&channel).copied().unwrap_or(channel) }
    }

    /// What the broker says that it is.
    fn on_open(&mut self, value: Value<'_>) {
        let Some([_, _, _, _, _, _, _, _, _, properties]) = value.members() else { return };
        let Value::List(mut at, count) = properties else { return };
        for _ in 0..count.min(32) / 2 {
            let (Some(key), Some(value)) = (next(&mut at), next(&mut at)) else { return };
            if key.text().as_deref() == Some("product") && value.text().as_deref() == Some("RabbitMQ") {
                self.system = "rabbitmq";
            }
        }
    }

    /// A link begins: the address at its other end, as each side that sends over it says it.
    fn on_attach(&mut self, is_client: bool, channel: u16, value: Value<'_>) -> Option<()> {
        let [_name, handle, role, _, _, source, target] = value.members()?;
        if role.is_true() || self.links.len() >= LINKS_MAX {
            // Who receives sends nothing.
            return Some(());
        }
        let end = if is_client { target } else { source };
        let address = end.members().and_then(|[address]: [Value<'_>; 1]| address.text());
        self.links.insert((is_client, channel, u32::try_from(handle.number()?).ok()?), address);
        Some(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a frame says")]
    fn on_transfer(
        &mut self,
        is_client: bool,
        channel: u16,
        session: u16,
        value: Value<'_>,
        payload: Cursor<'_>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) -> Option<()> {
        let [handle, id, _tag, _format, settled, more] = value.members()?;
        let handle = u32::try_from(handle.number()?).ok()?;
        let link = (is_client, channel, handle);
        let key = match (id.number(), self.parts.remove(&link)) {
            // It goes on.
            (None, Some(key)) => key,
            (Some(id), Some(key)) if u64::from(key.2) == id => key,
            (None, None) => return Some(()),
            (Some(id), _) => {
                let key = (is_client, session, u32::try_from(id).ok()?);
                self.begin(key, link, payload, frame, out);
                key
            }
        };
        if more.is_true() {
            self.parts.insert(link, key);
        }
        if let Some(open) = self.open.get_mut(&key) {
            open.is_settled |= settled.is_true();
            if open.is_settled && !more.is_true() {
                let open = self.open.remove(&key)?;
                open.told.finish(self.role, NAME, Ended::one_way(frame.end_ns), out);
            }
        }
        Some(())
    }

    fn begin(&mut self, key: Key, link: (bool, u16, u32), payload: Cursor<'_>, frame: &Frame<'_>, out: &mut Output) {
        let is_client = key.0;
        if self.open.len() >= OPEN_MAX {
            self.anomalies.over_limit += 1;
            return;
        }
        let message::Said { context, to, id } = message::read(payload);
        let destination = self.links.get(&link).cloned().flatten().or(to);
        // Both ends count the bytes of each direction alike.
        let place = if is_client { Place::Position(frame.position) } else { Place::Id(frame.position) };
        let began = Began { at_ns: frame.at_ns, thread: frame.thread, place };
        let messaging = Messaging {
            system: self.system,
            operation: CompactString::const_new(if is_client { "send" } else { "deliver" }),
            step: if is_client { MessagingStep::Send } else { MessagingStep::Process },
            destination,
            message_id: id,
            messages: Some(1),
            // Who has made a message is the parent of who sends it, and what a delivery is linked to.
            links: context.into_iter().filter(|_| !is_client).collect(),
            carries_context: context.is_some(),
            ..Messaging::default()
        };
        let told = Told::open(self.role, messaging, began, context.filter(|_| is_client), out);
        if let Some(before) = self.open.insert(key, Open { told, is_settled: false }) {
            before.told.finish(self.role, NAME, Ended::unseen(frame.at_ns), out);
        }
    }

    /// What became of deliveries, as who has received them says; or that who has sent them forgets them.
    fn on_disposition(
        &mut self,
        is_client: bool,
        session: u16,
        value: Value<'_>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) -> Option<()> {
        let [role, first, last, settled, state] = value.members()?;
        if !role.is_true() {
            return Some(());
        }
        let first = u32::try_from(first.number()?).ok()?;
        let last = last.number().and_then(|last| u32::try_from(last).ok()).unwrap_or(first);
        let code = if let Value::Described(code, _) = state { code } else { None };
        // What is only received is not over.
        if code.is_none() && !settled.is_true() || code == Some(0x23) {
            return Some(());
        }
        let error = (code == Some(REJECTED)).then(|| rejection(state));
        let mut over: Vec<Key> = self.open.keys().copied().collect();
        over.retain(|(sent, its, id)| *sent != is_client && *its == session && (first..=last).contains(id));
        over.sort_unstable();
        for key in over {
            let Some(mut open) = self.open.remove(&key) else { continue };
            open.told.messaging.error.clone_from(&error);
            if error.is_some() && open.told.messaging.step == MessagingStep::Send {
                open.told.messaging.messages = Some(0);
            }
            open.told.finish(self.role, NAME, Ended::answered(frame.at_ns, frame.end_ns), out);
        }
        Some(())
    }

    fn end_some(&mut self, which: impl Fn(&Key) -> bool, outcome: Outcome, at_ns: u64, out: &mut Output) {
        let mut over: Vec<Key> = self.open.keys().copied().filter(which).collect();
        over.sort_unstable();
        for key in over {
            let Some(open) = self.open.remove(&key) else { continue };
            open.told.finish(self.role, NAME, Ended::without_answer(outcome, at_ns), out);
        }
    }
}

/// The condition of an error that a message was rejected with.
fn rejection(state: Value<'_>) -> CompactString {
    let condition = state.members().and_then(|[error]: [Value<'_>; 1]| {
        let [condition] = error.members()?;
        condition.text()
    });
    condition.unwrap_or_else(|| CompactString::const_new("rejected"))
}

impl Broker for Amqp {
    fn role(&self) -> Role {
        self.role
    }

    fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    fn lanes_mut(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    fn on_frame(&mut self, is_client: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        self.frame(is_client, frame, out)
    }

    fn lose(&mut self, _is_client: bool, at_ns: u64, out: &mut Output) {
        // Which links and sessions there are is not known any more.
        self.end_some(|_| true, Outcome::Unseen, at_ns, out);
        self.links.clear();
        self.sessions.clear();
        self.parts.clear();
    }

    fn end_all(&mut self, outcome: Outcome, at_ns: u64, out: &mut Output) {
        self.end_some(|_| true, outcome, at_ns, out);
    }

    fn open(&self) -> usize {
        self.open.len()
    }

    fn held(&self) -> usize {
        let links = self.links.len() * 320 + (self.sessions.len() + self.parts.len()) * 64;
        links + self.open.len() * (Told::memory() + 64)
    }

    fn anomalies(&mut self) -> &mut Anomalies {
        &mut self.anomalies
    }
}
