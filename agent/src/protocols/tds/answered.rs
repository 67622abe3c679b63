//! What servers answer (MS-TDS, 2.2.7): the tokens that an answer begins with, and that which ends it.

use compact_str::CompactString;

/// Bytes of the token that ends an answer.
pub(super) const DONE_LEN: u64 = 13;
/// Most tokens at the beginning that are looked at.
const TOKENS_MAX: usize = 16;

const ERROR: u8 = 0xaa;
const INFO: u8 = 0xab;
const LOGIN_ACK: u8 = 0xad;
const ENVIRONMENT: u8 = 0xe3;
const SELECT: u16 = 0xc1;

/// What the first tokens say.
#[derive(Debug, Default)]
pub(super) struct First {
    /// The number of an error.
    pub(super) error: Option<CompactString>,
    /// A database that was chosen.
    pub(super) database: Option<CompactString>,
}

/// Reads those whose length stands in them; what comes behind others cannot be found.
pub(super) fn first(mut tokens: &[u8]) -> First {
    let mut first = First::default();
    for _ in 0..TOKENS_MAX {
        let [token @ (ERROR | INFO | LOGIN_ACK | ENVIRONMENT), low, high, rest @ ..] = tokens else { break };
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let (content, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        match *token {
            ERROR if first.error.is_none() => {
                let number = content.first_chunk().map(|number| i32::from_le_bytes(*number));
                first.error = number.map(|number| compact_str::format_compact!("{number}"));
            }
            ENVIRONMENT => first.database = database(content).or(first.database),
            _ => {}
        }
        tokens = behind;
    }
    first
}

fn database(content: &[u8]) -> Option<CompactString> {
    let [1, len, rest @ ..] = content else { return None };
    let (pairs, _) = rest.get(..2 * usize::from(*len))?.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    let name: CompactString = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    Some(name).filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
}

/// How an answer ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) failed: bool,
    /// The client had asked to break off.
    pub(super) broken_off: bool,
    /// Of the last statement, where that returns any.
    pub(super) rows: Option<u64>,
}

/// Reads the last token.
pub(super) fn done(token: &[u8]) -> Option<Done> {
    let [0xfd..=0xff, s0, s1, c0, c1, count @ ..] = token else { return None };
    let status = u16::from_le_bytes([*s0, *s1]);
    let count = u64::from_le_bytes(*count.first_chunk()?);
    let has_count = status & 0x10 != 0 && u16::from_le_bytes([*c0, *c1]) == SELECT;
    // More follows, or bits that nobody sets: it is no such token.
    (status & !0x136 == 0).then_some(Done {
        failed: status & 0x102 != 0,
        broken_off: status & 0x20 != 0,
        rows: has_count.then_some(count),
    })
}
