//! What clients ask for (MS-TDS, 2.2.6).

use compact_str::CompactString;

use crate::{
    model::{exchange::Db, propagation::QueryText},
    protocols::sql::{self, Syntax},
};

/// Most characters of a statement that are read.
const MAX_TEXT: usize = 2048;

/// Procedures that are called by a number.
const PROCEDURES: [&str; 16] = [
    "",
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];

/// What stands behind the headers that messages begin with.
fn behind_headers(content: &[u8]) -> Option<&[u8]> {
    let len = u32::from_le_bytes(*content.first_chunk()?);
    content.get(usize::try_from(len).ok().filter(|len| (4..=1024).contains(len))?..)
}

/// Text of two bytes a character; what is none of one is replaced.
fn text(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().take(MAX_TEXT).map(|pair| u16::from_le_bytes(*pair));
    char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn set_statement(bytes: &[u8], is_cut: bool, syntax: Syntax, db: &mut Db) {
    let is_cut = is_cut || bytes.len() > 2 * MAX_TEXT;
    db.text_unknown = sql::describe(db, text(bytes).as_bytes(), is_cut, syntax, QueryText::Sanitized).is_none();
}

/// A batch of statements.
pub(super) fn batch(content: &[u8], is_cut: bool, syntax: Syntax, db: &mut Db) {
    match behind_headers(content) {
        Some(text) => set_statement(text, is_cut, syntax, db),
        None => db.text_unknown = true,
    }
}

/// A procedure, some of which take a statement.
pub(super) fn procedure(content: &[u8], is_cut: bool, syntax: Syntax, db: &mut Db) {
    db.operation = Some(CompactString::const_new("EXECUTE"));
    let Some((name, parameters)) = behind_headers(content).and_then(name) else {
        db.text_unknown = true;
        return;
    };
    // Which of the texts is the statement; the first that is asked for behind a number, mostly.
    let nth = match &*name {
        "sp_executesql" => Some(0),
        "sp_prepare" | "sp_prepexec" | "sp_cursorprepexec" => Some(1),
        "sp_cursoropen" => Some(0),
        _ => None,
    };
    match nth {
        Some(nth) => match nth_text(parameters, nth) {
            Some((text, is_whole)) => set_statement(text, is_cut && !is_whole, syntax, db),
            None => db.text_unknown = true,
        },
        // Which statement it is was said when it was prepared.
        None if matches!(&*name, "sp_execute" | "sp_cursorexecute") => {
            db.text_unknown = true;
        }
        None => db.procedure = Some(name),
    }
}

/// The name of the procedure that is called, and its parameters.
fn name(content: &[u8]) -> Option<(CompactString, &[u8])> {
    let (len, rest) = content.split_first_chunk()?;
    match u16::from_le_bytes(*len) {
        0xffff => {
            let (number, rest) = rest.split_first_chunk()?;
            let name = PROCEDURES.get(usize::from(u16::from_le_bytes(*number))).filter(|name| !name.is_empty())?;
            Some((CompactString::const_new(name), rest.get(2..)?))
        }
        len @ 1..=128 => {
            let (name, rest) = rest.split_at_checked(2 * usize::from(len))?;
            let name = text(name);
            let is_part =
                |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '#' | '@' | '$' | '[' | ']');
            name.chars().all(is_part).then(|| Some((CompactString::from(name), rest.get(2..)?)))?
        }
        _ => None,
    }
}

/// The parameter of that number among those that are texts, and whether all of it is there.
fn nth_text(mut rest: &[u8], nth: usize) -> Option<(&[u8], bool)> {
    const NUMBER: u8 = 0x26;
    const TEXT: u8 = 0xe7;
    let mut seen = 0;
    for _ in 0..4 {
        let (&len, behind) = rest.split_first()?;
        // Its name, and what it is for.
        let [kind, behind @ ..] = behind.get(2 * usize::from(len) + 1..)? else { return None };
        match *kind {
            NUMBER => {
                let [_, len, behind @ ..] = behind else { return None };
                rest = behind.get(usize::from(*len)..)?;
            }
            TEXT => {
                // Most bytes, and how they are ordered.
                let (most, behind) = behind.split_first_chunk()?;
                let behind = behind.get(5..)?;
                let (value, is_whole, behind) = match u16::from_le_bytes(*most) {
                    0xffff => chunk(behind)?,
                    _ => {
                        let (len, behind) = behind.split_first_chunk()?;
                        let len = u16::from_le_bytes(*len);
                        let value = behind.get(..len.into()).filter(|_| len != 0xffff);
                        (value.unwrap_or(behind), value.is_some(), behind.get(len.into()..).unwrap_or_default())
                    }
                };
                if seen == nth {
                    return Some((value, is_whole));
                }
                (seen, rest) = (seen + 1, behind);
            }
            _ => return None,
        }
    }
    None
}

/// The first part of a long value, which mostly is all of it.
fn chunk(bytes: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let (all, rest) = bytes.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = u32::from_le_bytes(*len) as usize;
    let value = rest.get(..len);
    let is_whole = value.is_some() && u64::from_le_bytes(*all) == len as u64;
    // An empty part ends it.
    let behind = rest.get(len..).and_then(|rest| rest.get(4..)).unwrap_or_default();
    Some((value.unwrap_or(rest), is_whole, behind))
}

/// What is done with a transaction.
pub(super) fn transaction(content: &[u8], db: &mut Db) {
    let kind = behind_headers(content).and_then(|rest| rest.first_chunk()).map(|kind| u16::from_le_bytes(*kind));
    let name = match kind {
        Some(5) => "BEGIN TRANSACTION",
        Some(7) => "COMMIT",
        Some(8) => "ROLLBACK",
        Some(9) => "SAVE TRANSACTION",
        _ => "TRANSACTION",
    };
    db.operation = Some(CompactString::const_new(name));
}
