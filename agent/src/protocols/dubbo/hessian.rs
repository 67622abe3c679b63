//! As much of Hessian 2 as names are written in (<http://hessian.caucho.com/doc/hessian-serialization.html>).

/// Most pairs that are read.
const PAIRS_MAX: usize = 64;
/// Most bytes at the end among which a map is looked for.
const MAP_MAX: usize = 4096;
/// Most places at which one may begin.
const BEGINS_MAX: usize = 64;

/// Takes the next text off, if it is one and in one piece.
pub(super) fn next_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let (letters, rest) = match **bytes {
        [len @ 0..=0x1f, ref rest @ ..] => (usize::from(len), rest),
        [high @ 0x30..=0x33, low, ref rest @ ..] => (usize::from(high - 0x30) << 8 | usize::from(low), rest),
        [b'S', high, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    // Letters are counted, not bytes: of most texts, those are as many.
    let len = match rest.get(..letters) {
        Some(text) if text.is_ascii() => letters,
        _ => {
            let text =
                str::from_utf8(rest).or_else(|at| str::from_utf8(rest.get(..at.valid_up_to()).unwrap_or_default()));
            let (mut units, mut len) = (0, 0);
            for letter in text.ok()?.chars() {
                if units >= letters {
                    break;
                }
                (units, len) = (units + letter.len_utf16(), len + letter.len_utf8());
            }
            if units != letters {
                return None;
            }
            len
        }
    };
    let (text, behind) = rest.split_at_checked(len)?;
    *bytes = behind;
    str::from_utf8(text).ok()
}

/// The map of texts that bytes end with.
pub(super) fn pairs_at_end(bytes: &[u8]) -> Option<Vec<(&str, &str)>> {
    const BEGIN: u8 = b'H';
    let map = bytes.get(bytes.len().saturating_sub(MAP_MAX)..)?;
    map.strip_suffix(b"Z")?;
    memchr::memchr_iter(BEGIN, map).take(BEGINS_MAX).find_map(|at| pairs(map.get(at.checked_add(1)?..)?))
}

/// Pairs up to the end, which stands where the bytes do.
fn pairs(mut bytes: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut pairs = Vec::new();
    while bytes != b"Z" {
        if pairs.len() >= PAIRS_MAX {
            return None;
        }
        pairs.push((next_text(&mut bytes)?, next_text(&mut bytes)?));
    }
    Some(pairs)
}
