//! Apache Dubbo's own protocol: calls by the number that each carries, with service and method where they are written in Hessian 2 (as
//! they are by default), and the status of the response.

mod hessian;
mod message;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

use self::message::{HEAD, Head, MAX_BODY, status_name};
use super::{
    Capture, Recognition, Session,
    paired::{Answered, Asked, Grammar, How, Paired, Request},
    probe::{Probe, outcome},
    sized::{Frame, Length},
};
use crate::model::{
    exchange::{Group, Operation, Rpc},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "dubbo";

/// What is called stands at the beginnings of messages, whose length is known; what is carried beside it at their ends.
pub(super) const CAPTURE: Capture = Capture::pipelined(1024);

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, Dubbo)
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    probe.all(&message::MAGIC)?;
    let (flags, status) = (probe.u8()?, probe.u8()?);
    let (is_request, is_event) = (flags & message::REQUEST != 0, flags & message::EVENT != 0);
    Probe::holds(flags & message::SERIALIZATION != 0)?;
    // A request has no status, and nobody answers what is no request.
    Probe::holds(if is_request {
        status == 0
    } else {
        flags & message::TWO_WAY == 0 && status_name(status).is_some()
    })?;
    probe.each(8, |_| true)?;
    let len = probe.u32()?;
    Probe::holds(len <= MAX_BODY)?;
    Ok(match (is_request, is_event) {
        // Either side asks whether the other is there.
        (_, true) => Recognition::Either,
        (true, false) => Recognition::Request,
        (false, false) => Recognition::Response,
    })
}

fn length(head: &[u8]) -> Length {
    match head.first_chunk::<{ HEAD }>().map(message::head) {
        Some(Some(Head { len, .. })) => Length::Is(HEAD as u64 + u64::from(len)),
        Some(None) => Length::No,
        None => Length::Part,
    }
}

/// Reads its messages, which say all there is to know.
struct Dubbo;

fn message<'a>(frame: &'a Frame<'_>) -> Option<(Head, &'a [u8])> {
    let (head, body) = frame.reader().head().split_first_chunk::<{ HEAD }>()?;
    Some((message::head(head)?, body))
}

impl Grammar for Dubbo {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Rpc;
    const IN_ORDER: bool = false;
    const KEEP: usize = 8192;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [length, length]
    }

    fn recognise(head: &[u8]) -> Recognition {
        recognise(head)
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        let (head, body) = message(frame)?;
        // That a client is there still; or what it answers where it was called itself.
        if head.is_event() || !head.is_request() {
            return Some(Asked::Nothing);
        }
        let called = head.is_hessian().then(|| message::called(body)).flatten();
        let method = called.map(|(service, method)| compact_str::format_compact!("{service}/{method}"));
        let rpc = Rpc { system: NAME, method, ..Rpc::default() };
        let is_whole = body.len() == head.len as usize;
        let parent = if head.is_hessian() && is_whole { message::context(body) } else { None };
        let request = Request { parent, ..Request::new(head.id, Operation::Rpc(Box::new(rpc))) };
        Some(if head.is_two_way() { Asked::Request(request) } else { Asked::OneWay(request) })
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let (head, body) = message(frame)?;
        if head.is_event() || head.is_request() {
            return Some(Answered::Nothing);
        }
        let code = match status_name(head.status)? {
            message::OK if head.is_hessian() && message::throws(body) => Some("exception"),
            message::OK => None,
            status => Some(status),
        };
        let code = code.map(CompactString::const_new);
        Some(Answered::To { key: head.id, is_last: true, how: How { failed: code.is_some(), code, ..How::default() } })
    }
}
