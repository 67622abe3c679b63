//! Members of objects in a text of JSON of which only the beginning may be there. Nothing is built: values are given as they stand.

use compact_str::CompactString;

/// Longest text that is taken out.
const MAX_TEXT: usize = 2048;

/// The members of the object that bytes begin with, as far as they go.
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

/// A member: its name as it stands there, its value, and whether that is all of it.
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) is_whole: bool,
}

/// Those of an object; none of anything else.
pub(super) fn members(bytes: &[u8]) -> Members<'_> {
    let rest = bytes.trim_ascii_start().strip_prefix(b"{").unwrap_or_default();
    Members { rest }
}

/// The value of a member, where all of it is there.
pub(super) fn member<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    members(bytes).find(|member| member.name == name).filter(|member| member.is_whole).map(|member| member.value)
}

/// The text of a member that is one.
pub(super) fn text_of(bytes: &[u8], name: &[u8]) -> Option<CompactString> {
    text(member(bytes, name)?)
}

/// The values of the array that bytes begin with, as far as they go, each with whether that is all of it.
pub(super) fn elements(bytes: &[u8]) -> Option<impl Iterator<Item = (&[u8], bool)>> {
    let mut rest = bytes.trim_ascii_start().strip_prefix(b"[")?;
    Some(std::iter::from_fn(move || {
        let value = rest.trim_ascii_start();
        let value = value.strip_prefix(b",").unwrap_or(value).trim_ascii_start();
        if value.first()? == &b']' {
            return None;
        }
        let parts = end_of_value(value).and_then(|end| value.split_at_checked(end));
        let (value, behind) = parts.unwrap_or((value, &[]));
        rest = behind;
        Some((value, parts.is_some()))
    }))
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let rest = std::mem::take(&mut self.rest).trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        let end = end_of_text(rest)?;
        let name = rest.get(1..end - 1)?;
        let value = rest.get(end..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        match end_of_value(value) {
            Some(end) => {
                let (value, rest) = value.split_at_checked(end)?;
                self.rest = rest;
                Some(Member { name, value, is_whole: true })
            }
            None => Some(Member { name, value, is_whole: false }),
        }
    }
}

/// Behind the text that bytes begin with; `None` where it goes on, or there is none.
fn end_of_text(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Behind the value that bytes begin with.
fn end_of_value(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => end_of_text(bytes),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, 0);
            loop {
                match bytes.get(at)? {
                    b'"' => at += end_of_text(bytes.get(at..)?)?,
                    b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
                    b'}' | b']' if depth <= 1 => return Some(at + 1),
                    b'}' | b']' => (depth, at) = (depth - 1, at + 1),
                    _ => at += 1,
                }
            }
        }
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace()),
    }
}

/// A value that is a text, with its escapes undone; what does not fit is left out. `None` if it is none.
pub(super) fn text(value: &[u8]) -> Option<CompactString> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(unescape(inner))
}

/// The same of one whose end need not be there.
pub(super) fn beginning_of_text(value: &[u8]) -> Option<CompactString> {
    let inner = value.strip_prefix(b"\"")?;
    Some(unescape(inner.strip_suffix(b"\"").unwrap_or(inner)))
}

fn unescape(mut inner: &[u8]) -> CompactString {
    let mut text = CompactString::default();
    while !inner.is_empty() && text.len() < MAX_TEXT {
        let end = memchr::memchr(b'\\', inner).unwrap_or(inner.len()).min(MAX_TEXT - text.len());
        let (plain, rest) = inner.split_at_checked(end).unwrap_or((inner, &[]));
        text.push_str(&CompactString::from_utf8_lossy(plain));
        let [b'\\', escaped, behind @ ..] = rest else { break };
        inner = behind;
        match escaped {
            b'n' => text.push('\n'),
            b't' => text.push('\t'),
            b'r' => text.push('\r'),
            b'u' => {
                let (digits, behind) = inner.split_at_checked(4).unwrap_or((inner, &[]));
                inner = behind;
                let code = str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
                text.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            b'b' | b'f' => text.push(' '),
            other if other.is_ascii() => text.push(char::from(*other)),
            _ => text.push(char::REPLACEMENT_CHARACTER),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(bytes: &str) -> Vec<(String, String, bool)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        members(bytes.as_bytes()).map(|it| (text(it.name), text(it.value), it.is_whole)).collect()
    }

    #[test]
    fn members_are_given_as_they_stand_and_as_far_as_they_go() {
        let body = r#" {"a":"x\"y" , "b" : {"c":[1,"}"]},"d":12,"e":null}"#;
        let of = |name: &str, value: &str, whole| (name.to_owned(), value.to_owned(), whole);
        let all =
            [of("a", r#""x\"y""#, true), of("b", r#"{"c":[1,"}"]}"#, true), of("d", "12", true), of("e", "null", true)];
        assert_eq!(named(body), all);
        for end in 0..body.len() {
            let part = named(&body[..end]);
            for (at, (name, value, is_whole)) in part.iter().enumerate() {
                assert_eq!(*name, all[at].0);
                assert!(if *is_whole { *value == all[at].1 } else { all[at].1.starts_with(&**value) }, "{end}");
            }
        }
        for none in ["", "[]", "[{\"a\":1}]", "{", "{}", "{a:1}", "{\"a\"", "\"a\":1"] {
            assert!(named(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn elements_are_given_as_far_as_they_go() {
        let of = |bytes: &'static str| elements(bytes.as_bytes()).map(|all| all.collect::<Vec<_>>());
        assert_eq!(of(r#" [{"a":[1]}, 2 ,"#), Some(vec![(&br#"{"a":[1]}"#[..], true), (b"2", true)]));
        assert_eq!(of(r#"[{"a":1},{"a"#), Some(vec![(&br#"{"a":1}"#[..], true), (br#"{"a"#, false)]));
        assert_eq!((of("[]"), of("{}")), (Some(vec![]), None));
    }

    #[test]
    fn texts_are_read_with_their_escapes() {
        assert_eq!(text(br#""a\n\u00e9\\\"""#).as_deref(), Some("a\né\\\""));
        assert_eq!(text(br#""\ud83d\ude00""#).as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(text(b"12"), None);
        assert_eq!(beginning_of_text(br#""query { a \u00"#).as_deref(), Some("query { a \u{0}"));
        assert!(unescape(&[b'x'; 9000]).len() <= MAX_TEXT);
    }
}
