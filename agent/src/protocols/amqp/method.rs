//! Methods.

use compact_str::CompactString;

use crate::protocols::sized::Cursor;

/// Who sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Client,
    Server,
    Either,
}

/// Who sends the method of a class and a number; `None` if there is none.
pub(super) const fn direction([_, class, high, method]: [u8; 4]) -> Option<Direction> {
    if high != 0 {
        // No method has such a number.
        return None;
    }
    Some(match (class, method) {
        // connection
        (10, 10 | 20 | 30 | 41) => Direction::Server,
        (10, 11 | 21 | 31 | 40) => Direction::Client,
        (10, 50 | 51 | 60 | 61 | 70 | 71) => Direction::Either,
        // channel
        (20, 10) => Direction::Client,
        (20, 11) => Direction::Server,
        (20, 20 | 21 | 40 | 41) => Direction::Either,
        // exchange
        (40, 10 | 20 | 30 | 40) => Direction::Client,
        (40, 11 | 21 | 31 | 51) => Direction::Server,
        // queue
        (50, 10 | 20 | 30 | 40 | 50) => Direction::Client,
        (50, 11 | 21 | 31 | 41 | 51) => Direction::Server,
        // basic
        (60, 10 | 20 | 40 | 70 | 90 | 100 | 110) => Direction::Client,
        (60, 11 | 21 | 50 | 60 | 71 | 72 | 111) => Direction::Server,
        (60, 30 | 31 | 80 | 120) => Direction::Either,
        // confirm, transactions
        (85, 10) | (90, 10 | 20 | 30) => Direction::Client,
        (85, 11) | (90, 11 | 21 | 31) => Direction::Server,
        _ => return None,
    })
}

/// A method that matters here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Method {
    /// The connection or the channel is closed, with a code.
    ConnectionClose(u16),
    ChannelOpen,
    ChannelClose(u16),
    ChannelCloseOk,
    ConfirmSelect,
    QueueDeclareOk(CompactString),
    Publish(Route),
    Consume {
        queue: CompactString,
        consumer: CompactString,
        no_ack: bool,
        no_wait: bool,
    },
    ConsumeOk(CompactString),
    Deliver {
        consumer: CompactString,
        tag: u64,
        route: Route,
    },
    /// The next content is of a message that could not be routed.
    Return,
    Get {
        queue: CompactString,
        no_ack: bool,
    },
    GetOk {
        tag: u64,
        route: Route,
    },
    GetEmpty,
    Ack {
        tag: u64,
        multiple: bool,
    },
    Reject(u64),
    Nack {
        tag: u64,
        multiple: bool,
    },
    Other,
}

/// Where a message is sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Route {
    pub(super) exchange: CompactString,
    pub(super) key: CompactString,
}

/// Reads the payload of a method's frame; `None` if not all that matters of it is there.
pub(super) fn read(mut at: Cursor<'_>) -> Option<Method> {
    let (class, method) = (at.u16()?, at.u16()?);
    Some(match (class, method) {
        (10, 50) => Method::ConnectionClose(at.u16()?),
        (20, 10) => Method::ChannelOpen,
        (20, 40) => Method::ChannelClose(at.u16()?),
        (20, 41) => Method::ChannelCloseOk,
        (50, 11) => Method::QueueDeclareOk(text(&mut at)?),
        (60, 20) => {
            let _reserved = at.u16()?;
            let (queue, consumer, bits) = (text(&mut at)?, text(&mut at)?, at.u8()?);
            Method::Consume { queue, consumer, no_ack: bits & 2 != 0, no_wait: bits & 8 != 0 }
        }
        (60, 21) => Method::ConsumeOk(text(&mut at)?),
        (60, 40) => {
            let _reserved = at.u16()?;
            Method::Publish(route(&mut at)?)
        }
        (60, 50) => Method::Return,
        (60, 60) => {
            let (consumer, tag, _redelivered) = (text(&mut at)?, at.u64()?, at.u8()?);
            Method::Deliver { consumer, tag, route: route(&mut at)? }
        }
        (60, 70) => {
            let _reserved = at.u16()?;
            Method::Get { queue: text(&mut at)?, no_ack: at.u8()? & 1 != 0 }
        }
        (60, 71) => {
            let (tag, _redelivered) = (at.u64()?, at.u8()?);
            Method::GetOk { tag, route: route(&mut at)? }
        }
        (60, 72) => Method::GetEmpty,
        (60, 80) => Method::Ack { tag: at.u64()?, multiple: at.u8()? & 1 != 0 },
        (60, 90) => Method::Reject(at.u64()?),
        (60, 120) => Method::Nack { tag: at.u64()?, multiple: at.u8()? & 1 != 0 },
        (85, 10) => Method::ConfirmSelect,
        _ => Method::Other,
    })
}

fn route(at: &mut Cursor<'_>) -> Option<Route> {
    Some(Route { exchange: text(at)?, key: text(at)? })
}

/// A short string.
pub(super) fn text(at: &mut Cursor<'_>) -> Option<CompactString> {
    let length = at.u8()?;
    Some(CompactString::from_utf8_lossy(at.take(length.into())?))
}
