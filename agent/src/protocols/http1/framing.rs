//! Where a message's body begins and what shows its end (RFC 9112, 6.3).

use super::{
    body::Body,
    head::{Framing, Length},
    side::{EndHint, Place},
};
use crate::model::exchange::Http;

/// What a response's framing depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Head,
    Connect,
    Other,
}

impl Asked {
    pub(super) fn of(http: &Http) -> Self {
        match http.method.as_deref() {
            Some("HEAD") => Self::Head,
            Some("CONNECT") => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// Where a request's body begins, and how long it is if that is known before it is read (RFC 9112, 6.3).
pub(super) fn request_body(framing: &Framing, connects: bool, cut: bool) -> (Place, Option<u64>) {
    let declared = match framing.length {
        Length::Known(length) if !framing.coded => Some(length),
        _ => None,
    };
    if connects {
        // A client may speak the tunnel's protocol before the answer.
        return (Place::Seek(None), Some(0));
    }
    if cut {
        let hint = if framing.chunked { EndHint::LastChunk } else { EndHint::None };
        return (Place::Seek(Some(hint)), declared);
    }
    if framing.chunked {
        return (Place::Body { body: Body::chunked(), certain: true }, None);
    }
    match (framing.coded, framing.length) {
        (false, Length::Absent | Length::Known(0)) => (Place::Head, Some(0)),
        (false, Length::Known(length)) => (Place::Body { body: Body::counted(length), certain: true }, None),
        _ => (Place::Seek(Some(EndHint::None)), None),
    }
}

/// Whether a response has no body whatever its header says.
pub(super) fn is_bodyless(status: u16, asked: Asked) -> bool {
    asked == Asked::Head || matches!(status, 204 | 304)
}

/// Where a response's body begins (RFC 9112, 6.3); `None` if it has none.
pub(super) fn response_body(status: u16, asked: Asked, framing: &Framing, cut: bool, certain: bool) -> Option<Place> {
    let bodyless = is_bodyless(status, asked);
    if cut {
        let hint = match framing.length {
            _ if bodyless => EndHint::EmptyLine { length: 0 },
            _ if framing.chunked => EndHint::LastChunk,
            Length::Known(length) if !framing.coded => EndHint::EmptyLine { length },
            _ => EndHint::None,
        };
        return Some(Place::Seek(Some(hint)));
    }
    if bodyless {
        return None;
    }
    let body = match framing.length {
        _ if framing.chunked => Body::chunked(),
        _ if framing.coded => Body::UntilEnd { total: 0 },
        Length::Known(0) => return None,
        Length::Known(length) => Body::counted(length),
        Length::Absent => Body::UntilEnd { total: 0 },
        Length::Invalid => return Some(Place::Seek(Some(EndHint::None))),
    };
    Some(Place::Body { body, certain })
}
