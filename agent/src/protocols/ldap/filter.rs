//! What a search looks for: its filter as RFC 4515 writes it, with a `?` for each value.

use compact_str::CompactString;

use super::ber::{Element, element, whole};

/// Longest text.
const MAX: usize = 1024;
/// Filters within filters.
const MAX_DEPTH: usize = 16;

/// That of a search's content; `None` where not all of it is there.
pub(super) fn of_search(content: &[u8]) -> Option<CompactString> {
    let mut rest = content;
    // Base, scope, aliases, two limits, types only.
    for _ in 0..6 {
        (_, rest) = whole(rest)?;
    }
    let mut text = CompactString::default();
    write(whole(rest)?.0, 0, &mut text);
    Some(text)
}

fn write(Element { tag, content }: Element<'_>, depth: usize, text: &mut CompactString) {
    if text.len() > MAX || depth > MAX_DEPTH {
        return text.push_str("...");
    }
    text.push('(');
    let first = element(content);
    match tag {
        0xa0 | 0xa1 => {
            text.push(if tag == 0xa0 { '&' } else { '|' });
            let mut rest = content;
            while let Some((inner, behind)) = element(rest) {
                write(inner, depth + 1, text);
                rest = behind;
                if text.len() > MAX {
                    break;
                }
            }
        }
        0xa2 => {
            text.push('!');
            if let Some((inner, _)) = first {
                write(inner, depth + 1, text);
            }
        }
        0x87 => {
            name(content, text);
            text.push_str("=*");
        }
        0xa3 | 0xa4 | 0xa5 | 0xa6 | 0xa8 => {
            name(first.map_or(&[][..], |(attribute, _)| attribute.content), text);
            text.push_str(match tag {
                0xa5 => ">=?",
                0xa6 => "<=?",
                0xa8 => "~=?",
                0xa4 => "=*?*",
                _ => "=?",
            });
        }
        _ => text.push_str("?"),
    }
    text.push(')');
}

fn name(bytes: &[u8], text: &mut CompactString) {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b';' | b'_');
    match str::from_utf8(bytes) {
        Ok(name) if name.len() <= 64 && bytes.iter().all(is_name) => text.push_str(name),
        _ => text.push('?'),
    }
}
