//! Packets.

use compact_str::CompactString;

use super::topics::is_filter;
use crate::{
    model::trace_context::TraceParent,
    protocols::{Recognition, sized::Cursor},
};

pub(super) const CONNECT: u8 = 1;
pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const SUBACK: u8 = 9;
pub(super) const UNSUBSCRIBE: u8 = 10;
pub(super) const PINGREQ: u8 = 12;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;

/// The version with properties.
const PROPERTIES: u8 = 5;
/// Longest name of a topic that is kept.
const TOPIC_MAX: u16 = 1024;

/// Whether a packet may begin with a byte: its kind, and flags that are fixed but for PUBLISH.
pub(super) const fn is_first(first: u8) -> bool {
    match first >> 4 {
        0 => false,
        PUBLISH => first & 0b110 != 0b110,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => first & 0b1111 == 0b0010,
        _ => first & 0b1111 == 0,
    }
}

/// Who connects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Connect {
    pub(super) version: u8,
    pub(super) client_id: Option<CompactString>,
}

/// Whether bytes behind the length are those of CONNECT: the protocol's name and version.
pub(super) fn recognise_connect(body: &[u8], len: u64) -> Recognition {
    const NAMES: [&[u8]; 3] = [b"\x00\x04MQTT\x04", b"\x00\x04MQTT\x05", b"\x00\x06MQIsdp\x03"];
    for name in NAMES {
        if body.starts_with(name) && len >= name.len() as u64 + 5 {
            return Recognition::Request;
        }
        if name.starts_with(body) {
            return Recognition::Maybe;
        }
    }
    Recognition::No
}

/// Whether they are those of CONNACK, as far as they are there.
pub(super) fn may_be_connack(body: &[u8], len: u64) -> bool {
    const PROPERTIES_MAX: u64 = 512;
    let flags = body.first().is_none_or(|flags| *flags <= 1);
    match body.get(1) {
        None => flags && (2..PROPERTIES_MAX).contains(&len),
        Some(code) if len == 2 => flags && *code <= 5,
        Some(code) => {
            let properties = body.get(2).is_none_or(|it| *it & 0x80 != 0 || u64::from(*it) + 3 == len);
            flags && (*code == 0 || *code >= 0x80) && (3..PROPERTIES_MAX).contains(&len) && properties
        }
    }
}

/// Whether they are those of SUBSCRIBE: a number, and filters with what is asked of them.
pub(super) fn may_be_subscribe(body: &[u8], len: u64) -> bool {
    if len < 6 {
        return false;
    }
    let is_whole = body.len() as u64 == len;
    let fits = |at: usize| {
        let Some(mut rest) = body.get(at..).filter(|rest| !rest.is_empty()) else { return !is_whole };
        while let [high, low, behind @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let filter = behind.get(..length.min(behind.len())).unwrap_or_default();
            if length == 0 || !is_filter(filter) {
                return false;
            }
            let Some((options, behind)) = behind.get(length..).and_then(<[u8]>::split_first) else { return !is_whole };
            if options & 0b1100_0000 != 0 || options & 0b11 == 3 {
                return false;
            }
            rest = behind;
        }
        rest.is_empty() || !is_whole
    };
    // A version with properties says how long these are.
    let properties = body.get(2).map_or(0, |length| usize::from(*length)) + 3;
    fits(2) || fits(properties)
}

/// Whether they are those of SUBACK: a number, and a code for each filter.
pub(super) fn may_be_suback(body: &[u8], len: u64) -> bool {
    let is_code = |code: &u8| matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2);
    let codes = |at: usize| body.get(at..).unwrap_or_default().iter().all(is_code);
    (3..128).contains(&len) && (codes(2) || body.get(2) == Some(&0) && codes(3))
}

/// A string, if it is text.
fn text(at: &mut Cursor<'_>, most: u16) -> Option<CompactString> {
    let length = at.u16()?;
    if length > most {
        return None;
    }
    str::from_utf8(at.take(length.into())?).ok().map(CompactString::new)
}

fn skip_text(at: &mut Cursor<'_>) -> Option<()> {
    let length = at.u16()?;
    at.skip(length.into())
}

/// A length of up to four bytes.
fn varint(at: &mut Cursor<'_>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..28).step_by(7) {
        let byte = at.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Who connects, and in which version. What stands behind the client's name is not read.
pub(super) fn connect(at: &mut Cursor<'_>) -> Option<Connect> {
    skip_text(at)?;
    let version = at.u8()?;
    let (_flags, _keep_alive) = (at.u8()?, at.u16()?);
    if version >= PROPERTIES {
        let properties = varint(at)?;
        at.skip(properties)?;
    }
    let client_id = text(at, 255).filter(|id| !id.is_empty());
    Some(Connect { version, client_id })
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Publish {
    /// 0, 1 or 2.
    pub(super) quality: u8,
    pub(super) is_again: bool,
    pub(super) topic: CompactString,
    /// A number that stands for the topic from now on, or for the one that it was told with.
    pub(super) alias: Option<u16>,
    /// The number of the packet; 0 where it has none.
    pub(super) number: u16,
    /// Where the version is known.
    pub(super) body_bytes: Option<u64>,
    pub(super) context: Option<TraceParent>,
}

/// Reads a message behind its length; `None` if its topic and number are not there.
pub(super) fn publish(first: u8, mut at: Cursor<'_>, version: Option<u8>) -> Option<Publish> {
    let quality = first >> 1 & 0b11;
    let topic = text(&mut at, TOPIC_MAX)?;
    let number = if quality > 0 { at.u16()? } else { 0 };
    let mut message = Publish { quality, is_again: first & 8 != 0, topic, number, ..Publish::default() };
    if version.is_some_and(|version| version >= PROPERTIES) {
        let Some(length) = varint(&mut at) else { return Some(message) };
        let properties = at.part(length)?;
        let _as_far_as_they_are_there = read_properties(properties, &mut message);
    }
    message.body_bytes = version.map(|_| at.left());
    Some(message)
}

fn read_properties(mut at: Cursor<'_>, message: &mut Publish) -> Option<()> {
    while at.left() > 0 {
        match at.u8()? {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => at.skip(1)?,
            0x02 | 0x11 | 0x18 | 0x27 => at.skip(4)?,
            0x13 | 0x21 | 0x22 => at.skip(2)?,
            0x23 => message.alias = Some(at.u16()?),
            0x0b => drop(varint(&mut at)?),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => skip_text(&mut at)?,
            0x26 => {
                let length = at.u16()?;
                let is_context = at.take(length.into())?.eq_ignore_ascii_case(b"traceparent");
                let length = at.u16()?;
                if is_context {
                    message.context = TraceParent::parse(at.take(length.into())?);
                } else {
                    at.skip(length.into())?;
                }
            }
            _ => return None,
        }
    }
    Some(())
}

/// The number of an acknowledgement, and its code where that is an error.
pub(super) fn acknowledgement(at: &mut Cursor<'_>) -> Option<(u16, Option<CompactString>)> {
    Some((at.u16()?, error(at)?))
}

/// The code, where that is an error; `None` if it is not there though there is one.
pub(super) fn error(at: &mut Cursor<'_>) -> Option<Option<CompactString>> {
    if at.left() == 0 {
        return Some(None);
    }
    let code = at.u8()?;
    Some((code >= 0x80).then(|| compact_str::format_compact!("{code:#04x}")))
}

/// Tells the filters of a subscription.
pub(super) fn subscribe(at: &mut Cursor<'_>, version: Option<u8>, mut each: impl FnMut(&str)) -> Option<()> {
    let _number = at.u16()?;
    if version? >= PROPERTIES {
        let properties = varint(at)?;
        at.skip(properties)?;
    }
    while at.left() > 0 {
        each(&text(at, TOPIC_MAX)?);
        at.skip(1)?;
    }
    Some(())
}
