//! W3C baggage (<https://www.w3.org/TR/baggage/>): what a caller tells of its own making. It may hold anything, so nothing
//! of it is exported but what is asked for by name.

use compact_str::CompactString;

/// Longest baggage that is read: what the specification asks to be propagated at least.
pub(crate) const MAX_BYTES: usize = 8192;
/// Most of its members that are read.
const MAX_MEMBERS: usize = 180;

/// The members of those keys that are wanted, with their values decoded; the last one of equal keys. A list of which
/// anything is malformed is none.
#[must_use]
pub(crate) fn select(list: &str, wanted: &[&'static str]) -> Vec<(&'static str, CompactString)> {
    let mut found: Vec<(&'static str, CompactString)> = Vec::new();
    if list.len() > MAX_BYTES {
        return found;
    }
    for (count, member) in list.split(',').map(trimmed).filter(|member| !member.is_empty()).enumerate() {
        let (pair, _properties) = member.split_once(';').unwrap_or((member, ""));
        let Some((key, value)) = pair.split_once('=') else { return Vec::new() };
        let (key, value) = (trimmed(key), trimmed(value));
        if count >= MAX_MEMBERS || !is_key(key) || !value.bytes().all(is_octet) {
            return Vec::new();
        }
        let Some(&wanted) = wanted.iter().find(|wanted| **wanted == key) else { continue };
        found.retain(|(known, _)| *known != wanted);
        found.push((wanted, decoded(value)));
    }
    found
}

/// Whether `text` can be a member's key.
#[must_use]
pub(crate) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}

/// Without optional white space.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

const fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// Percent-decoded; what is no UTF-8 then is replaced, as the specification asks.
fn decoded(value: &str) -> CompactString {
    if !value.contains('%') {
        return value.into();
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    CompactString::from_utf8_lossy(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Vec<(&'static str, String)> {
        select(list, &["tenant", "user.id"]).into_iter().map(|(key, value)| (key, value.into())).collect()
    }

    #[test]
    fn only_what_is_wanted_is_told_decoded_and_without_properties() {
        assert_eq!(
            read("a=1, tenant = blue%20sky%2C ;p=x;q , ,user.id=7,secret=s"),
            [("tenant", "blue sky,".to_owned()), ("user.id", "7".to_owned())]
        );
        assert_eq!(read("tenant=a,tenant=%ff%4"), [("tenant", "\u{fffd}%4".to_owned())]);
        assert_eq!(read("Tenant=a"), []);
        assert_eq!(read("tenant="), [("tenant", String::new())]);
    }

    #[test]
    fn of_what_is_malformed_or_too_long_nothing_is_told() {
        for rest in ["b", "=1", "a b=1", "a=x y", "a=\"x\"", "a=\u{e9}", "a=x\\y"] {
            assert_eq!(read(&format!("tenant=a,{rest}")), [], "{rest}");
        }
        assert_eq!(read(&format!("tenant=a,b={}", "x".repeat(MAX_BYTES))), []);
        assert_eq!(read(&format!("tenant=a{}", ",a=1".repeat(MAX_MEMBERS))), []);
        assert_eq!(read(&format!("tenant=a{}", ",a=1".repeat(MAX_MEMBERS - 1))), [("tenant", "a".to_owned())]);
    }
}
