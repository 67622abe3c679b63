//! DNS over TCP (RFC 7766), and what is read of its messages over UDP, which are paired by who takes datagrams (`crate::pipeline`).

mod message;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

pub(crate) use self::message::{Read, read};
use super::{
    Capture, Recognition, Session,
    paired::{Answered, Asked, Grammar, How, Paired, Request},
    probe::{Probe, outcome},
    sized::{Frame, Length},
};
use crate::model::{
    exchange::{Dns, Group, Operation},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "dns_tcp";

/// Messages are short, but for transfers of zones.
pub(super) const CAPTURE: Capture = Capture::turns(2048, 2048);

/// Bytes of a message's header, behind its length.
const HEADER: u16 = 12;

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, OverTcp)
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    let len = probe.u16()?;
    Probe::holds(len >= HEADER + 5)?;
    let _id = probe.u16()?;
    let flags = probe.u16()?;
    let is_answer = flags & 0x8000 != 0;
    // A plain query; of an answer, what a server may say of it, and a response code of those that there are.
    let rest = if is_answer { 0x7840 } else { 0xfecf };
    Probe::holds(flags & rest == 0 && flags & 0xf <= 10)?;
    Probe::holds(probe.u16()? == 1)?;
    let (answers, authorities, others) = (probe.u16()?, probe.u16()?, probe.u16()?);
    let is_plain = answers == 0 && authorities == 0 && others <= 2;
    Probe::holds(if is_answer { answers < 1024 && authorities < 64 && others < 64 } else { is_plain })?;
    let mut name = 0;
    loop {
        let label = probe.u8()?;
        if label == 0 {
            break;
        }
        name += u16::from(label) + 1;
        Probe::holds(label < 64 && name < 255 && name + HEADER + 5 <= len)?;
        probe.each(label.into(), |byte| byte.is_ascii_graphic())?;
    }
    Probe::holds(probe.u16()? > 0)?;
    Probe::holds(probe.u16()? == 1)?;
    Ok(if is_answer { Recognition::Response } else { Recognition::Request })
}

fn length(head: &[u8]) -> Length {
    match head.first_chunk() {
        Some(&len) => match u16::from_be_bytes(len) {
            len if len >= HEADER => Length::Is(u64::from(len) + 2),
            _ => Length::No,
        },
        None => Length::Part,
    }
}

/// The number of a message, and with it what is asked: answers repeat that.
pub(crate) fn key(read: &Read) -> u64 {
    let bytes = read.question.bytes().map(|byte| byte.to_ascii_lowercase()).chain(read.kind.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash << 16 | u64::from(read.id)
}

/// Reads its messages.
struct OverTcp;

impl Grammar for OverTcp {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Dns;
    const IN_ORDER: bool = false;
    const KEEP: usize = 4096;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [length, length]
    }

    fn recognise(head: &[u8]) -> Recognition {
        recognise(head)
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        let read = read(frame.reader().head().get(2..)?).filter(|read| !read.is_answer)?;
        let key = key(&read);
        let Read { question, kind, .. } = read;
        let dns = Dns { question, kind, ..Dns::default() };
        Some(Asked::Request(Request::new(key, Operation::Dns(Box::new(dns)))))
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let Some(read) = read(frame.reader().head().get(2..)?) else {
            // Of a zone that is transferred in several messages only the first need have the question.
            return Some(Answered::Nothing);
        };
        if !read.is_answer {
            return None;
        }
        let key = key(&read);
        let how = How { failed: read.code.is_some(), code: read.code, answers: read.answers, ..How::default() };
        Some(Answered::To { key, is_last: true, how })
    }
}
