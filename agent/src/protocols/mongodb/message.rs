//! Messages of the wire protocol (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>).

use std::io::Read as _;

use compact_str::CompactString;

use super::{
    bson::{self, Document, Element, Value},
    statement,
};
use crate::protocols::Recognition;

/// Bytes of a header.
pub(super) const HEADER: usize = 16;
/// Longest message that servers take.
const MAX_MESSAGE: u64 = 48_000_000 + 16 * 1024;
/// Longest compressed message that is unpacked.
const MAX_UNPACKED: usize = 64 * 1024;

const REPLY: i32 = 1;
const UPDATE: i32 = 2001;
const INSERT: i32 = 2002;
const QUERY: i32 = 2004;
const GET_MORE: i32 = 2005;
const DELETE: i32 = 2006;
const KILL_CURSORS: i32 = 2007;
const COMPRESSED: i32 = 2012;
const MESSAGE: i32 = 2013;
const CODES: [i32; 9] = [REPLY, UPDATE, INSERT, QUERY, GET_MORE, DELETE, KILL_CURSORS, COMPRESSED, MESSAGE];

/// Nobody answers it, or more comes behind it without being asked for.
const MORE_TO_COME: u32 = 1 << 1;
/// More may come behind the answer.
const EXHAUST_ALLOWED: u32 = 1 << 16;
const CHECKSUM: u32 = 1;

/// A header's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) len: u64,
    pub(super) id: i32,
    /// What it answers; 0 for requests.
    pub(super) answers: i32,
    code: i32,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Command {
    /// Its name; `None` where it was not seen.
    pub(super) name: Option<CompactString>,
    pub(super) database: Option<CompactString>,
    pub(super) collection: Option<CompactString>,
    /// Without values.
    pub(super) text: Option<CompactString>,
    /// Documents that it is about, where there are several and all were seen.
    pub(super) batch: Option<u32>,
    /// Nobody answers it.
    pub(super) is_one_way: bool,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) failed: bool,
    pub(super) code: Option<CompactString>,
    /// Documents that came back, where all were seen.
    pub(super) rows: Option<u64>,
    /// Another answer follows without being asked for.
    pub(super) more: bool,
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let len = u64::try_from(int(bytes, 0)?).ok().filter(|len| (HEADER as u64..=MAX_MESSAGE).contains(len))?;
        let code = int(bytes, 12).filter(|code| CODES.contains(code))?;
        Some(Self { len, id: int(bytes, 4)?, answers: int(bytes, 8)?, code })
    }
}

/// How long a message is; `None` if it is none.
pub(super) fn length(header: &[u8]) -> Option<u64> {
    Header::read(header).map(|header| header.len)
}

/// Unpacks a message: what it is, and what stands behind the header. The words say how it is packed, where it is not unpacked.
fn unpack<'a>(
    header: Header,
    body: &'a [u8],
    is_whole: bool,
    room: &'a mut Vec<u8>,
) -> Result<(i32, &'a [u8]), CompactString> {
    if header.code != COMPRESSED {
        return Ok((header.code, body));
    }
    let (Some(code), Some(size), Some(&by)) = (int(body, 0), int(body, 4), body.get(8)) else {
        return Err(CompactString::const_new("compressed"));
    };
    let name = match by {
        0 => return Ok((code, body.get(9..).unwrap_or_default())),
        1 => "snappy",
        2 => "zlib",
        3 => "zstd",
        _ => "unknown",
    };
    let size = usize::try_from(size).unwrap_or_default();
    if by == 2 && is_whole && size <= MAX_UNPACKED {
        let packed = flate2::read::ZlibDecoder::new(body.get(9..).unwrap_or_default());
        if packed.take(MAX_UNPACKED as u64).read_to_end(room).is_ok() && room.len() == size {
            return Ok((code, room));
        }
    }
    Err(compact_str::format_compact!("compressed with {name}, {size} bytes"))
}

/// Reads a request. `is_whole`: all of it is there.
pub(super) fn command(message: &[u8], is_whole: bool) -> Option<Command> {
    let header = Header::read(message)?;
    let mut room = Vec::new();
    let (code, body) = match unpack(header, message.get(HEADER..)?, is_whole, &mut room) {
        Ok(unpacked) => unpacked,
        Err(how) => return Some(Command { text: Some(how), ..Command::default() }),
    };
    let legacy = |name: &'static str, is_one_way| {
        let (database, collection) =
            body.get(4..).and_then(bson::text).map(|(full, _)| full).map_or((None, None), split);
        Command { name: Some(name.into()), database, collection, is_one_way, ..Command::default() }
    };
    match code {
        MESSAGE => Some(read_command(body)),
        QUERY => {
            let mut command = legacy("query", false);
            if command.collection.as_deref() == Some("$cmd")
                && let Some((document, _)) =
                    body.get(4..).and_then(bson::text).and_then(|(_, rest)| Document::read(rest.get(8..)?))
            {
                // Drivers that choose a server wrap it.
                let document = match document.get("$query") {
                    Some(Value::Document(inner)) => inner,
                    _ => document,
                };
                let database = command.database.take();
                command = of_document(document);
                command.database = database;
            }
            Some(command)
        }
        GET_MORE => Some(legacy("getMore", false)),
        INSERT => Some(legacy("insert", true)),
        UPDATE => Some(legacy("update", true)),
        DELETE => Some(legacy("delete", true)),
        KILL_CURSORS => Some(Command { name: Some("killCursors".into()), is_one_way: true, ..Command::default() }),
        _ => None,
    }
}

/// `database.collection`.
fn split(full: &str) -> (Option<CompactString>, Option<CompactString>) {
    match full.split_once('.') {
        Some((database, collection)) => (Some(database.into()), Some(collection.into())),
        None => (None, None),
    }
}

fn read_command(body: &[u8]) -> Command {
    let Some(flags) = int(body, 0).map(|flags| flags as u32) else { return Command::default() };
    let mut command = Command::default();
    let mut batch = None;
    for section in Sections::of(body, flags) {
        match section {
            Section::Body(document) => {
                let batch = command.batch;
                command = of_document(document);
                command.batch = command.batch.or(batch);
            }
            Section::Documents(count) => batch = count,
        }
    }
    command.batch = command.batch.or(batch).filter(|count| *count > 1);
    command.is_one_way = flags & MORE_TO_COME != 0;
    command
}

/// What a command's document says.
fn of_document(document: Document<'_>) -> Command {
    let Some(Element { name, value }) = document.elements().next() else { return Command::default() };
    if !statement::is_name(name) {
        return Command::default();
    }
    let collection = match (name, value) {
        ("getMore", _) => document.get("collection"),
        (name, value) => statement::takes_collection(name).then_some(value),
    };
    let text_of = |value: Option<Value<'_>>| match value {
        Some(Value::Text(text)) if !text.is_empty() && text.len() <= 255 => Some(CompactString::new(text)),
        _ => None,
    };
    let batch = ["documents", "updates", "deletes"].iter().find_map(|list| match document.get(list) {
        Some(Value::Array(documents)) if matches!(name, "insert" | "update" | "delete") => documents.len(),
        _ => None,
    });
    Command {
        name: Some(name.into()),
        database: text_of(document.get("$db")),
        collection: text_of(collection),
        text: statement::text(name, document),
        batch: batch.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 1),
        is_one_way: false,
    }
}

/// Reads an answer.
pub(super) fn answer(message: &[u8], is_whole: bool) -> Option<Answer> {
    let header = Header::read(message)?;
    let mut room = Vec::new();
    let Ok((code, body)) = unpack(header, message.get(HEADER..)?, is_whole, &mut room) else {
        return Some(Answer::default());
    };
    match code {
        MESSAGE => {
            let Some(flags) = int(body, 0).map(|flags| flags as u32) else { return Some(Answer::default()) };
            let document = Sections::of(body, flags).find_map(|section| match section {
                Section::Body(document) => Some(document),
                Section::Documents(_) => None,
            });
            let more = flags & MORE_TO_COME != 0;
            Some(Answer { more, ..document.map(of_answer).unwrap_or_default() })
        }
        REPLY => {
            let flags = int(body, 0).unwrap_or_default();
            let count = int(body, 16).and_then(|count| u64::try_from(count).ok());
            let document = body.get(20..).and_then(Document::read).map(|(document, _)| document);
            let mut answer = document.map(of_answer).unwrap_or_default();
            answer.failed |= flags & 0b11 != 0;
            answer.rows =
                count.filter(|_| !answer.failed && document.is_none_or(|document| document.get("ok").is_none()));
            Some(answer)
        }
        _ => None,
    }
}

fn of_answer(document: Document<'_>) -> Answer {
    let code = |value: Option<Value<'_>>| match value {
        Some(Value::Number(code)) => Some(compact_str::format_compact!("{code}")),
        _ => None,
    };
    if document.get("ok") == Some(Value::Number(0.0)) {
        return Answer { failed: true, code: code(document.get("code")), ..Answer::default() };
    }
    // Of several that were to be written some were not.
    let errors = match document.get("writeErrors") {
        Some(Value::Array(errors)) => errors.elements().next().map(|element| element.value),
        _ => document.get("writeConcernError"),
    };
    if let Some(Value::Document(error)) = errors {
        return Answer { failed: true, code: code(error.get("code")), ..Answer::default() };
    }
    let rows = match document.get("cursor") {
        Some(Value::Document(cursor)) => match cursor.get("firstBatch").or_else(|| cursor.get("nextBatch")) {
            Some(Value::Array(batch)) => batch.len(),
            _ => None,
        },
        _ => None,
    };
    Answer { rows, ..Answer::default() }
}

/// A part of a message.
enum Section<'a> {
    Body(Document<'a>),
    /// A list of so many documents, where all were seen.
    Documents(Option<u32>),
}

struct Sections<'a>(&'a [u8]);

impl<'a> Sections<'a> {
    fn of(body: &'a [u8], flags: u32) -> Self {
        let end = if flags & CHECKSUM != 0 { 4 } else { 0 };
        Self(body.get(4..body.len().saturating_sub(end)).unwrap_or_default())
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Section<'a>;

    fn next(&mut self) -> Option<Section<'a>> {
        let (kind, rest) = self.0.split_first()?;
        self.0 = &[];
        match kind {
            0 => {
                let (document, rest) = Document::read(rest)?;
                self.0 = rest;
                Some(Section::Body(document))
            }
            1 => {
                let len = usize::try_from(int(rest, 0)?).ok()?;
                let (list, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                self.0 = behind;
                let (_name, mut documents) = bson::text(list.get(4..)?)?;
                let mut count = (list.len() == len).then_some(0_u32);
                while !documents.is_empty() && count.is_some() {
                    let Some((_, rest)) = Document::read(documents).filter(|(_, rest)| rest.len() < documents.len())
                    else {
                        count = None;
                        break;
                    };
                    documents = rest;
                    count = count.and_then(|count| count.checked_add(1));
                }
                Some(Section::Documents(count))
            }
            _ => None,
        }
    }
}

/// Whether bytes begin a message.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let Some(header) = Header::read(head) else { return part(head) };
    let Some(body) = head.get(HEADER..) else { return Recognition::No };
    let is_request = header.answers == 0;
    let fits = match header.code {
        MESSAGE => is_message(header, body),
        QUERY | GET_MORE | INSERT | UPDATE | DELETE if !is_request => Fits::No,
        QUERY | GET_MORE | INSERT | UPDATE | DELETE => is_legacy(body),
        KILL_CURSORS if is_request => is_equal(body, &[0; 4]),
        REPLY if !is_request => is_reply(header, body),
        COMPRESSED => is_compressed(body),
        _ => Fits::No,
    };
    match fits {
        Fits::Yes if is_request => Recognition::Request,
        Fits::Yes => Recognition::Response,
        Fits::Maybe => Recognition::Maybe,
        Fits::No => Recognition::No,
    }
}

/// A header of which the end is missing.
fn part(head: &[u8]) -> Recognition {
    let len = match int(head, 0) {
        Some(len) => u64::try_from(len).is_ok_and(|len| (HEADER as u64..=MAX_MESSAGE).contains(&len)),
        None => true,
    };
    let code = head.get(12..).unwrap_or_default();
    let fits = head.len() < HEADER && len && CODES.iter().any(|known| known.to_le_bytes().starts_with(code));
    if fits { Recognition::Maybe } else { Recognition::No }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fits {
    Yes,
    Maybe,
    No,
}

const fn fits(is: bool) -> Fits {
    if is { Fits::Yes } else { Fits::No }
}

fn is_equal(body: &[u8], with: &[u8]) -> Fits {
    match () {
        () if body.starts_with(with) => Fits::Yes,
        () if with.starts_with(body) => Fits::Maybe,
        () => Fits::No,
    }
}

fn is_message(header: Header, body: &[u8]) -> Fits {
    let Some(flags) = int(body, 0) else { return Fits::Maybe };
    if flags as u32 & !(CHECKSUM | MORE_TO_COME | EXHAUST_ALLOWED) != 0 || header.len < 26 {
        return Fits::No;
    }
    match body.get(4..).unwrap_or_default() {
        [] => Fits::Maybe,
        [0, document @ ..] => is_document(document, header.len),
        [1, list @ ..] => match int(list, 0) {
            None => Fits::Maybe,
            Some(len) if !(6..=header.len as i64).contains(&i64::from(len)) => Fits::No,
            Some(_) => is_word(list.get(4..).unwrap_or_default()),
        },
        _ => Fits::No,
    }
}

/// Whether a document begins so: its length, the kind of its first element, a name.
fn is_document(bytes: &[u8], most: u64) -> Fits {
    let Some(len) = int(bytes, 0) else { return Fits::Maybe };
    if !(5..=most as i64).contains(&i64::from(len)) {
        return Fits::No;
    }
    match bytes.get(4..).unwrap_or_default() {
        [] => Fits::Maybe,
        [0, ..] => fits(len == 5),
        [kind, name @ ..] if bson::is_kind(*kind) => is_word(name),
        _ => Fits::No,
    }
}

/// Whether a word with a zero behind it begins so.
fn is_word(bytes: &[u8]) -> Fits {
    let end = memchr::memchr(0, bytes);
    let word = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    let is_word =
        word.len() <= 64 && word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.'));
    match (is_word, end) {
        (true, Some(1..)) => Fits::Yes,
        (true, None) => Fits::Maybe,
        _ => Fits::No,
    }
}

/// Flags (or a zero), and the name of a collection with its database.
fn is_legacy(body: &[u8]) -> Fits {
    match body.split_at_checked(4) {
        None => Fits::Maybe,
        Some(([_, 0, 0, 0], name)) => {
            let end = memchr::memchr(0, name);
            let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
            let is_name = name.len() <= 255 && name.iter().all(u8::is_ascii_graphic);
            match end {
                None if is_name => Fits::Maybe,
                Some(end) => fits(is_name && memchr::memchr(b'.', name).is_some_and(|at| at > 0 && at + 1 < end)),
                None => Fits::No,
            }
        }
        Some(_) => Fits::No,
    }
}

fn is_reply(header: Header, body: &[u8]) -> Fits {
    match body.split_at_checked(20) {
        None => body.get(1..4).map_or(Fits::Maybe, |flags| if flags == [0; 3] { Fits::Maybe } else { Fits::No }),
        Some((head, documents)) => {
            let flags = head.get(1..4) == Some(&[0; 3]);
            let count = int(head, 16).is_some_and(|count| (0..=1 << 24).contains(&count));
            match (flags && count, int(head, 16)) {
                (false, _) => Fits::No,
                (true, Some(0)) => fits(header.len == 36),
                (true, _) => is_document(documents, header.len),
            }
        }
    }
}

fn is_compressed(body: &[u8]) -> Fits {
    match (int(body, 0), int(body, 4), body.get(8)) {
        (Some(code), ..) if code == COMPRESSED || !CODES.contains(&code) => Fits::No,
        (_, Some(size), _) if !(0..=MAX_MESSAGE as i64).contains(&i64::from(size)) => Fits::No,
        (_, _, Some(by)) => fits(*by <= 3),
        _ => Fits::Maybe,
    }
}
