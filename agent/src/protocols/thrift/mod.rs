//! Apache Thrift in frames (`TFramedTransport`), in the binary protocol and in the compact one: calls by their method and number.
//!
//! Without frames nothing says where a message ends but its content, which is not captured; such connections are not recognised.

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod wire;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

use self::wire::{CALL, EXCEPTION, Message, ONE_WAY, REPLY, read};
use super::{
    Capture, Recognition, Session,
    paired::{Answered, Asked, Grammar, How, Paired, Request},
    probe::{Probe, outcome},
    sized::{Frame, Length, prefixed},
};
use crate::model::{
    exchange::{Group, Operation, Rpc},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "thrift";

/// What is called stands at the beginnings of messages, whose length is known.
pub(super) const CAPTURE: Capture = Capture::turns(1024, 512);

/// Shortest frame: a message without anything. Longest: the libraries' own bound is 16 MB.
const MIN_FRAME: u32 = 5;
const MAX_FRAME: u32 = 1 << 26;
/// Longest name of a method.
const MAX_NAME: u32 = 128;

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, Thrift)
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    let len = probe.u32()?;
    Probe::holds((MIN_FRAME..MAX_FRAME).contains(&len))?;
    let (kind, name_len) = match probe.u8()? {
        0x80 => {
            probe.all(&[0x01, 0x00])?;
            let kind = probe.u8()?;
            Probe::holds((CALL..=ONE_WAY).contains(&kind))?;
            (kind, probe.u32()?)
        }
        0x82 => {
            let byte = probe.u8()?;
            let kind = byte >> 5;
            Probe::holds(byte & 0x1f == 1 && (CALL..=ONE_WAY).contains(&kind))?;
            varint(&mut probe)?;
            (kind, varint(&mut probe)?)
        }
        _ => return Err(Recognition::No),
    };
    Probe::holds((1..=MAX_NAME).contains(&name_len) && name_len < len)?;
    probe.each(name_len as usize, is_part)?;
    Ok(if matches!(kind, CALL | ONE_WAY) { Recognition::Request } else { Recognition::Response })
}

fn varint(probe: &mut Probe<'_>) -> Result<u32, Recognition> {
    let mut number = 0;
    for shift in (0..35).step_by(7) {
        let byte = probe.u8()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(number).map_err(|_| Recognition::No);
        }
    }
    Err(Recognition::No)
}

/// Of the name of a method, or of a service with it.
const fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.' | b'-')
}

/// Reads its messages, which say all there is to know.
struct Thrift;

/// The number of a call, with what is called: clients that wait for each answer use the same number all the time.
fn key(message: &Message<'_>) -> u64 {
    let name =
        message.name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    u64::from(message.number) << 32 | u64::from(name)
}

impl Grammar for Thrift {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Rpc;
    const IN_ORDER: bool = false;
    const KEEP: usize = 1024;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [prefixed::<MIN_FRAME, MAX_FRAME>; 2]
    }

    fn recognise(head: &[u8]) -> Recognition {
        recognise(head)
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        let message = read(frame.reader().head().get(4..)?)?;
        let name = str::from_utf8(message.name).ok().filter(|name| name.bytes().all(is_part))?;
        // A service among several at one connection stands before a colon.
        let method = CompactString::from(name.replacen(':', "/", 1));
        let rpc = Rpc { system: NAME, method: Some(method), ..Rpc::default() };
        let request = Request::new(key(&message), Operation::Rpc(Box::new(rpc)));
        match message.kind {
            CALL => Some(Asked::Request(request)),
            ONE_WAY => Some(Asked::OneWay(request)),
            _ => None,
        }
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let message = read(frame.reader().head().get(4..)?)?;
        let failed = match message.kind {
            REPLY => message.throws(),
            EXCEPTION => true,
            _ => return None,
        };
        let code = failed.then(|| message.code());
        // Several services at one connection: answers have the method's name alone.
        Some(Answered::To { key: key(&message), is_last: true, how: How { failed, code, ..How::default() } })
    }
}
