//! Parameters of queries, and of forms (`application/x-www-form-urlencoded`).

use compact_str::CompactString;

/// The value of a parameter, where all of it is there; `is_cut`: the text goes on behind its end.
pub(super) fn value(text: &[u8], name: &[u8], is_cut: bool) -> Option<Vec<u8>> {
    let (value, is_whole) = beginning(text, name, is_cut)?;
    is_whole.then_some(value)
}

/// The same, and whether it is all of it.
pub(super) fn beginning(text: &[u8], name: &[u8], is_cut: bool) -> Option<(Vec<u8>, bool)> {
    let mut rest = text;
    loop {
        let end = memchr::memchr(b'&', rest);
        let part = rest.get(..end.unwrap_or(rest.len()))?;
        if let Some([b'=', value @ ..]) = part.strip_prefix(name) {
            return Some((decode(value), end.is_some() || !is_cut));
        }
        rest = rest.get(end? + 1..)?;
    }
}

/// The same as text.
pub(super) fn text(text: &[u8], name: &[u8], is_cut: bool) -> Option<CompactString> {
    let value = value(text, name, is_cut)?;
    str::from_utf8(&value).ok().map(CompactString::new)
}

fn decode(value: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digit = |at: usize| behind.get(at).and_then(|&digit| char::from(digit).to_digit(16));
                match digit(0).zip(digit(1)) {
                    Some((high, low)) => {
                        decoded.push((high * 16 + low) as u8);
                        rest = behind.get(2..).unwrap_or_default();
                    }
                    None => decoded.push(byte),
                }
            }
            byte => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_those_that_may_go_on_are_left_out() {
        let form = b"Action=SendMessage&Body=a%20b%zz+c&QueueUrl=x";
        assert_eq!(text(form, b"Action", true).as_deref(), Some("SendMessage"));
        assert_eq!(text(form, b"Body", false).as_deref(), Some("a b%zz c"));
        assert_eq!(text(form, b"QueueUrl", false).as_deref(), Some("x"));
        assert_eq!(text(form, b"QueueUrl", true), None);
        assert_eq!(beginning(form, b"QueueUrl", true), Some((b"x".to_vec(), false)));
        assert_eq!(text(form, b"ction", false), None);
        assert_eq!(text(b"", b"Action", false), None);
    }
}
