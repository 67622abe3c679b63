//! SOAP 1.1 and 1.2 over HTTP: which operation is asked for, as the head says, or else the message: by the action of WS-Addressing, or
//! by the first element of its body, which is called as the operation is.

use compact_str::CompactString;
use memchr::{memchr, memmem};

use super::{
    is_post,
    marks::{Kind, Marks, text_of_action},
    name,
};
use crate::model::exchange::Http;

/// Namespaces of envelopes, and what that of addresses has in common.
const ENVELOPES: [&[u8]; 2] =
    [b"http://schemas.xmlsoap.org/soap/envelope/", b"http://www.w3.org/2003/05/soap-envelope"];
const ADDRESSING: &[u8] = b"/addressing";

/// The operation; `None` where nothing that was captured names one.
pub(super) fn method(http: &Http, marks: &Marks) -> Option<CompactString> {
    let is_soap = is_post(http) && matches!(marks.kind, Kind::Xml | Kind::Soap);
    if !is_soap {
        return None;
    }
    marks.action.clone().or_else(|| in_message(marks.body.bytes()))
}

fn in_message(message: &[u8]) -> Option<CompactString> {
    let mut tags = Tags { rest: message };
    let envelope = tags.next()?;
    let is_envelope = ENVELOPES.iter().any(|namespace| memmem::find(envelope.attributes, namespace).is_some());
    if envelope.local != b"Envelope" || !is_envelope {
        return None;
    }
    let (mut depth, mut within) = (1_usize, &b""[..]);
    for tag in tags {
        if tag.is_end {
            depth = depth.checked_sub(1)?;
            continue;
        }
        match depth {
            1 => within = tag.local,
            2 if within == b"Body" => return name(tag.local).filter(|_| tag.local != b"Fault"),
            2 if within == b"Header" && tag.local == b"Action" && memmem::find(message, ADDRESSING).is_some() => {
                let text = tag.behind.get(..memchr(b'<', tag.behind)?)?;
                return text_of_action(text.trim_ascii());
            }
            _ => {}
        }
        depth += usize::from(!tag.is_empty);
    }
    None
}

/// Tags of a text of XML, as far as it goes.
struct Tags<'a> {
    rest: &'a [u8],
}

struct Tag<'a> {
    /// Its name without the prefix that stands for a namespace.
    local: &'a [u8],
    attributes: &'a [u8],
    is_end: bool,
    /// Nothing stands in it.
    is_empty: bool,
    behind: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            let rest = self.rest.get(memchr(b'<', self.rest)?..)?;
            // What is no tag may hold what looks like one.
            let others: [(&[u8], &[u8]); 3] = [(b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")];
            if let Some((begin, end)) = others.into_iter().find(|(begin, _)| rest.starts_with(begin)) {
                let behind = rest.get(begin.len()..)?;
                self.rest = behind.get(memmem::find(behind, end)?.checked_add(end.len())?..)?;
                continue;
            }
            let inner = rest.get(1..)?;
            let end = end_of_tag(inner)?;
            let (inner, behind) = (inner.get(..end)?, inner.get(end.checked_add(1)?..)?);
            self.rest = behind;
            let (inner, is_end) = inner.strip_prefix(b"/").map_or((inner, false), |inner| (inner, true));
            let (inner, is_empty) = inner.strip_suffix(b"/").map_or((inner, false), |inner| (inner, true));
            let named = inner.iter().position(u8::is_ascii_whitespace).unwrap_or(inner.len());
            let (qualified, attributes) = inner.split_at_checked(named)?;
            let local = qualified.rsplit(|byte| *byte == b':').next().unwrap_or(qualified);
            return Some(Tag { local, attributes, is_end, is_empty, behind });
        }
    }
}

/// Where a tag ends: values of attributes may hold what else ends one.
fn end_of_tag(inner: &[u8]) -> Option<usize> {
    let mut quote = None;
    inner.iter().position(|byte| {
        match (quote, byte) {
            (None, b'>') => return true,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
        false
    })
}
