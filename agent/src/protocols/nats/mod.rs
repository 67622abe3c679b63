//! NATS: what is published and delivered, answers to it, and JetStream as far as it acknowledges.
//!
//! Publishing is one-way unless an answer is asked for in an inbox of the connection: then it is over with that, which may be
//! JetStream's word that it has the message, or that nobody listens. A message of JetStream's is dealt with until the client has
//! acknowledged it; any other is received. Of what a client connects with nothing is read, and of messages nothing is kept but
//! their size and `traceparent`.

mod command;
#[cfg(test)]
mod samples;
mod session;
mod subjects;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use self::command::{Line, Word};
use super::{Capture, Mode, Recognition, Session, sized::Length};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "nats";

/// Payloads are passed over by their length.
pub(super) const CAPTURE: Capture =
    Capture { mode: Mode::Turns, requests: 8192, responses: 8192, tails: true, whole: 0, beginnings: &[] };

/// Longest line: what a server tells of itself names every server of its cluster.
const LINE_MAX: usize = 16 << 10;

/// How long a command is, with its payload.
fn length(head: &[u8]) -> Length {
    let look = head.get(..head.len().min(LINE_MAX)).unwrap_or(head);
    let Some(end) = memchr::memchr(b'\n', look) else {
        let may_be = Word::ALL.iter().any(|word| word.may_begin(look));
        return if may_be && head.len() < LINE_MAX { Length::Part } else { Length::No };
    };
    let Some(line) = look.get(..end).and_then(Line::read) else { return Length::No };
    let payload = line.payload.map_or(0, |payload| payload + 2);
    Length::Is(end as u64 + 1 + payload)
}

/// See [`super::Entry::recognise`]. A server speaks first, and says nothing that a client could not be told; a message with its
/// payload's end where it is to be is proof.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let look = head.get(..head.len().min(LINE_MAX)).unwrap_or(head);
    let Some(end) = memchr::memchr(b'\n', look) else {
        let may_be = Word::ALL.iter().any(|word| word.may_begin(look));
        return if may_be { Recognition::Maybe } else { Recognition::No };
    };
    let Some(line) = look.get(..end).and_then(Line::read) else { return Recognition::No };
    let is_whole = match line.payload.map(|payload| usize::try_from(payload).ok()) {
        None => true,
        Some(payload) => {
            let at = payload.and_then(|payload| payload.checked_add(end + 1));
            match at.and_then(|at| head.get(at..)) {
                None | Some([] | [b'\r']) => false,
                Some([b'\r', b'\n', ..]) => true,
                Some(_) => return Recognition::No,
            }
        }
    };
    match line.word {
        Word::Connect | Word::Sub => Recognition::Request,
        Word::Pub | Word::HPub if is_whole => Recognition::Request,
        Word::Msg | Word::HMsg if is_whole => Recognition::Response,
        Word::Ping | Word::Pong | Word::Info | Word::Ok | Word::Err | Word::Unsub => Recognition::Maybe,
        Word::Pub | Word::HPub | Word::Msg | Word::HMsg => Recognition::Maybe,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Nats::new(role))
}
