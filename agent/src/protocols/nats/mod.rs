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
use super::{Capture, Recognition, Session, sized::Length};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "nats";

/// Payloads are passed over by their length. Many messages may come in one turn, each of which counts.
pub(super) const CAPTURE: Capture = Capture::streams();

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
/// payload's end where it is to be is proof. Of lines that either end may send, or that prove nothing, those behind them tell.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let mut rest = head.get(..head.len().min(LINE_MAX)).unwrap_or(head);
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let Some((line, behind)) = rest.split_at_checked(end + 1) else { return Recognition::Maybe };
        let Some(line) = line.get(..end).and_then(Line::read) else { return Recognition::No };
        rest = match line.payload.map(|payload| usize::try_from(payload).unwrap_or(usize::MAX)) {
            None => behind,
            Some(payload) => match behind.get(payload..) {
                None | Some([] | [b'\r']) => return Recognition::Maybe,
                Some([b'\r', b'\n', rest @ ..]) => rest,
                Some(_) => return Recognition::No,
            },
        };
        match line.word {
            Word::Connect | Word::Sub | Word::Pub | Word::HPub => return Recognition::Request,
            Word::Msg | Word::HMsg => return Recognition::Response,
            Word::Ping | Word::Pong | Word::Info | Word::Ok | Word::Err | Word::Unsub => {}
        }
        if rest.is_empty() {
            return Recognition::Maybe;
        }
    }
    let may_be = Word::ALL.iter().any(|word| word.may_begin(rest));
    if may_be { Recognition::Maybe } else { Recognition::No }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Nats::new(role))
}
