//! What stands before a message's body: its size, and properties.

use compact_str::CompactString;

use super::method::text;
use crate::{model::trace_context::TraceParent, protocols::sized::Cursor};

/// What is kept of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Header {
    pub(super) body_bytes: u64,
    pub(super) message_id: Option<CompactString>,
    pub(super) context: Option<TraceParent>,
}

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;

/// Reads the payload of a header's frame; `None` if its size is not there. Of properties as much is told as is there.
pub(super) fn read(mut at: Cursor<'_>) -> Option<Header> {
    at.skip(2 + 2)?;
    let mut header = Header { body_bytes: at.u64()?, ..Header::default() };
    let _as_far_as_they_are_there = properties(&mut at, &mut header);
    Some(header)
}

fn properties(at: &mut Cursor<'_>, header: &mut Header) -> Option<()> {
    let flags = at.u16()?;
    // More flags follow, which nobody uses.
    if flags & 1 != 0 {
        return None;
    }
    for property in [CONTENT_TYPE, CONTENT_ENCODING] {
        if flags & property != 0 {
            skip_text(at)?;
        }
    }
    if flags & HEADERS != 0 {
        let length = at.u32()?;
        header.context = find_context(at.part(length.into())?);
    }
    for property in [DELIVERY_MODE, PRIORITY] {
        if flags & property != 0 {
            at.skip(1)?;
        }
    }
    for property in [CORRELATION_ID, REPLY_TO, EXPIRATION] {
        if flags & property != 0 {
            skip_text(at)?;
        }
    }
    if flags & MESSAGE_ID != 0 {
        header.message_id = Some(text(at)?);
    }
    Some(())
}

fn skip_text(at: &mut Cursor<'_>) -> Option<()> {
    let length = at.u8()?;
    at.skip(length.into())
}

/// The context in a table of headers.
fn find_context(mut table: Cursor<'_>) -> Option<TraceParent> {
    while table.left() > 0 {
        let length = table.u8()?;
        let name = table.take(length.into())?;
        let is_context = name.eq_ignore_ascii_case(b"traceparent");
        let length = match table.u8()? {
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'D' => 5,
            b'V' => 0,
            b'S' | b'x' => {
                let length = u64::from(table.u32()?);
                if is_context {
                    return TraceParent::parse(table.take(length)?);
                }
                length
            }
            b'A' | b'F' => u64::from(table.u32()?),
            _ => return None,
        };
        table.skip(length)?;
    }
    None
}
