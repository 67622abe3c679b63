//! Whether bytes begin an HTTP/1 message.

use crate::protocols::Recognition;

/// Longest method taken for one, in bytes. The longest registered, `UPDATEREDIRECTREF`, has 17.
pub(super) const MAX_METHOD: usize = 24;
/// A target this long after a method of the registry is a request, though the version was not captured.
const LONG_TARGET: usize = 1024;
/// Longest target that may still turn out to be one.
const MAX_TARGET: usize = 64 * 1024;
/// Line ends skipped before a message (RFC 9112, 2.2).
const MAX_BLANKS: usize = 8;

/// See [`crate::protocols::Entry::recognise`]. A request is recognised with its whole request line, a response with its
/// status code. A target of 1 KiB and more after a well-known method is a request at once, because the rest of the line
/// may not have been captured. The HTTP/2 preface is none. Request lines count that servers accept though they are not as they
/// should be, or that they refuse with a response.
#[must_use]
pub(crate) fn recognise(head: &[u8]) -> Recognition {
    let blanks = blanks(head);
    if blanks > MAX_BLANKS {
        return Recognition::No;
    }
    let head = head.get(blanks..).unwrap_or_default();
    match response(head) {
        Recognition::No => match request(head) {
            Recognition::No => loose_request(head),
            other => other,
        },
        other => other,
    }
}

/// A request line that may not be as it should be.
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    /// What stands between method and version; may be anything, or nothing.
    pub(super) target: &'a [u8],
    /// Empty where it is none that is known.
    pub(super) version: &'static str,
}

/// Reads a request line, without its line end, as servers do that take it, or that answer it with 400 or 505: with several
/// blanks, blanks behind the version, another version, an impossible target; and that of HTTP/0.9.
pub(super) fn loose_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let line = line.trim_ascii_end();
    let (method, rest) = line.split_at_checked(line.iter().take(MAX_METHOD + 1).position(|&byte| !is_token(byte))?)?;
    if method.is_empty() || method == b"PRI" || !matches!(rest.first(), Some(b' ' | b'\t')) {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let (target, version) = match rest.split_last_chunk::<8>() {
        Some((target, [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9']))
            if matches!(target.last(), None | Some(b' ' | b'\t')) =>
        {
            let version = match (major, minor) {
                (b'1', b'0') => "1.0",
                (b'1', b'1') => "1.1",
                (b'1', b'2') => "1.2",
                _ => "",
            };
            (target.trim_ascii_end(), version)
        }
        _ if method == b"GET" && rest.first() == Some(&b'/') && rest.iter().all(|&byte| is_target(byte)) => {
            (rest, "0.9")
        }
        _ => return None,
    };
    Some(RequestLine { method, target, version })
}

/// Whether `head` is or may become a request line as `loose_line` takes it.
pub(super) fn loose_request(head: &[u8]) -> Recognition {
    if let Some(end) = head.iter().position(|&byte| byte == b'\n') {
        let line = head.get(..end).unwrap_or_default();
        return if loose_line(line).is_some() { Recognition::Request } else { Recognition::No };
    }
    let Some(at) = head.iter().take(MAX_METHOD + 1).position(|&byte| !is_token(byte)) else { return Recognition::No };
    let (method, rest) = head.split_at(at);
    let is_text = |&byte: &u8| byte >= b' ' && byte != 0x7f || matches!(byte, b'\t' | b'\r');
    let fits = !method.is_empty()
        && method != b"PRI"
        && matches!(rest.first(), Some(b' ' | b'\t'))
        && (is_registered(method) || rest.iter().all(is_text));
    if fits && head.len() <= MAX_TARGET { Recognition::Maybe } else { Recognition::No }
}

/// How many bytes of line ends `bytes` begins with.
pub(super) fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Whether `head` is or may become a status line.
pub(super) fn response(head: &[u8]) -> Recognition {
    for (at, &byte) in head.iter().take(13).enumerate() {
        let fits = match at {
            0..7 => b"HTTP/1.".get(at) == Some(&byte),
            7 => matches!(byte, b'0' | b'1'),
            8 => byte == b' ',
            9 => matches!(byte, b'1'..=b'9'),
            10 | 11 => byte.is_ascii_digit(),
            _ => matches!(byte, b' ' | b'\r' | b'\n'),
        };
        if !fits {
            return Recognition::No;
        }
    }
    if head.len() < 12 { Recognition::Maybe } else { Recognition::Response }
}

/// Whether `head` is or may become a request line.
pub(super) fn request(head: &[u8]) -> Recognition {
    let Some(at) = head.iter().take(MAX_METHOD + 1).position(|&byte| !is_token(byte)) else {
        return if head.len() > MAX_METHOD { Recognition::No } else { Recognition::Maybe };
    };
    let (method, rest) = head.split_at(at);
    // `PRI` is reserved for HTTP/2's preface (RFC 9113, 11.6).
    if method.is_empty() || method == b"PRI" || rest.first() != Some(&b' ') {
        return Recognition::No;
    }
    let rest = rest.get(1..).unwrap_or_default();
    let Some(&first) = rest.first() else { return Recognition::Maybe };
    if !(first.is_ascii_alphanumeric() || matches!(first, b'/' | b'*' | b'[')) {
        return Recognition::No;
    }
    match rest.iter().position(|&byte| !is_target(byte)) {
        None if rest.len() >= LONG_TARGET && is_registered(method) => Recognition::Request,
        None if rest.len() > MAX_TARGET => Recognition::No,
        None => Recognition::Maybe,
        Some(at) => version(rest.get(at..).unwrap_or_default()),
    }
}

/// The rest of a request line behind its target.
fn version(rest: &[u8]) -> Recognition {
    for (at, &byte) in rest.iter().take(11).enumerate() {
        match at {
            0..8 if b" HTTP/1.".get(at) == Some(&byte) => {}
            8 if matches!(byte, b'0' | b'1') => {}
            9 if byte == b'\r' => {}
            9 | 10 if byte == b'\n' => return Recognition::Request,
            _ => return Recognition::No,
        }
    }
    Recognition::Maybe
}

/// A byte of a token (RFC 9110, 5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// A byte of a target: anything but blanks and controls, for clients send raw UTF-8.
pub(super) const fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// Methods so common that they vouch for a request line of which only a part was seen.
const METHODS: [&[u8]; 16] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"REPORT",
    b"QUERY",
];

pub(super) fn is_registered(method: &[u8]) -> bool {
    METHODS.contains(&method)
}

/// Whether `head` begins as the rest of a well-known method does, whose beginning was read before.
#[must_use]
pub(crate) fn may_be_torn(head: &[u8]) -> bool {
    let end = head.iter().take(MAX_METHOD).position(|&byte| !is_token(byte));
    let Some(rest) = end.and_then(|end| head.get(..end)) else { return false };
    !is_registered(rest) && METHODS.iter().any(|method| method.ends_with(rest))
}

/// Whether `head` could be the beginning of a request with a well-known method: what a piece must look like to be kept
/// when the place in the stream is not known.
#[must_use]
pub(crate) fn may_be_registered(head: &[u8]) -> bool {
    let method = head.split(|&byte| byte == b' ').next().unwrap_or_default();
    if method.len() < head.len() {
        return is_registered(method);
    }
    [
        "GET ",
        "HEAD ",
        "POST ",
        "PUT ",
        "DELETE ",
        "CONNECT ",
        "OPTIONS ",
        "TRACE ",
        "PATCH ",
        "PROPFIND ",
        "PROPPATCH ",
        "MKCOL ",
        "COPY ",
        "MOVE ",
        "REPORT ",
        "QUERY ",
    ]
    .iter()
    .any(|known| known.as_bytes().starts_with(head))
}
