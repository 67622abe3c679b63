//! What a DNS message asks and answers (RFC 1035).

use compact_str::{CompactString, ToCompactString as _};
use domain::{
    base::{
        Message, Rtype, ToName,
        iana::{Opcode, Rcode},
    },
    rdata::{A, Aaaa},
};

use crate::model::exchange::Address;

/// Most addresses that are told.
const ANSWERS_MAX: usize = 32;
/// Most records looked at.
const RECORDS_MAX: usize = 128;

/// A message with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Its number.
    pub(crate) id: u16,
    pub(crate) is_answer: bool,
    /// The name as it stands there, without its last dot, and what is looked up of it.
    pub(crate) question: CompactString,
    pub(crate) kind: CompactString,
    /// Addresses among the answers, as far as they were captured.
    pub(crate) answers: Vec<Address>,
    /// The word of the response code, where that is an error.
    pub(crate) code: Option<CompactString>,
}

/// Reads one; `None` where it is no query with one question, or an answer to one.
pub(crate) fn read(message: &[u8]) -> Option<Read> {
    let message = Message::from_octets(message).ok()?;
    let header = message.header();
    if header.opcode() != Opcode::QUERY || message.header_counts().qdcount() != 1 {
        return None;
    }
    let asked = message.question().next()?.ok()?;
    let is_answer = header.qr();
    let mut answers = Vec::new();
    if is_answer {
        for record in message.answer().ok()?.take(RECORDS_MAX) {
            // What comes after a broken record cannot be found.
            let Ok(record) = record else { break };
            let ip = match record.rtype() {
                Rtype::A => record.to_record::<A>().ok().flatten().map(|it| Address::from(it.data().addr())),
                Rtype::AAAA => record.to_record::<Aaaa>().ok().flatten().map(|it| it.data().addr().into()),
                _ => None,
            };
            answers.extend(ip.filter(|_| answers.len() < ANSWERS_MAX));
        }
    }
    let code = (is_answer && header.rcode() != Rcode::NOERROR).then(|| header.rcode().to_compact_string());
    Some(Read {
        id: header.id(),
        is_answer,
        question: text(asked.qname()),
        kind: asked.qtype().to_compact_string(),
        answers,
        code,
    })
}

/// A name as text; what is no letter is written as the conventions have it.
fn text(name: &impl ToName) -> CompactString {
    let mut text = CompactString::default();
    for label in name.iter_labels().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label.as_slice() {
            match byte {
                b'"' | b'\\' | b'.' => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                b'!'..=b'~' => text.push(char::from(byte)),
                _ => text.push_str(&compact_str::format_compact!("\\{byte:03}")),
            }
        }
    }
    text
}
