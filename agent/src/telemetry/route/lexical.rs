//! What a path's segments look like, each by itself: numbers, UUIDs, hashes, tokens, dates and escaped text are values.

/// What stands for the rest of a path that is too long or too deep, and for all paths that there is no room for.
pub(super) const REST: &str = "/**";
const MAX_SEGMENTS: usize = 16;
/// Of a template: the same path is cut at the same place, whatever is learnt of its words.
pub(super) const MAX_BYTES: usize = 256;
/// Segments longer than this are values.
const MAX_SEGMENT_BYTES: usize = 64;
/// Segments of hexadecimal digits only, this long, are values even without a decimal digit.
const MIN_HEX_BYTES: usize = 16;
/// The same where there is a decimal digit among them: a short commit.
const MIN_MIXED_HEX_BYTES: usize = 6;
/// `v1`, `oauth2`, `base64` are words; `sha256` and `order-1234` are not told apart.
const MAX_DIGITS: usize = 2;
/// Tokens shorter than this are not told from words in camel case.
const MIN_TOKEN_BYTES: usize = 12;
/// A token with digits changes between small letters, large ones and digits this often.
const MIN_CHANGES: usize = 6;

/// Writes the template of `path` to `out`: what looks like a value is the placeholder.
pub(super) fn template(path: &str, placeholder: &str, out: &mut String) {
    out.clear();
    // A word may turn out to be a value later.
    let mut room = MAX_BYTES - REST.len();
    let mut before = "";
    for (at, segment) in path.split('/').skip(1).enumerate() {
        // Path parameters (`;v=1`) are no part of a route.
        let segment = segment.split(';').next().unwrap_or_default();
        let is_value = is_value(segment.as_bytes()) && !is_version(before, segment);
        let written = if is_value { placeholder } else { segment };
        let taken = 1 + written.len().max(placeholder.len());
        if at == MAX_SEGMENTS || taken > room {
            out.push_str(REST);
            return;
        }
        room -= taken;
        out.push('/');
        out.push_str(written);
        before = segment;
    }
}

/// `/api/2`, `/rest/api/3`, `/api/1.0`: an interface's version, which is no value.
fn is_version(before: &str, segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    digits <= MAX_DIGITS
        && segment.len() <= digits + 1
        && segment.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && matches!(before, "api" | "rest" | "v" | "version")
}

/// Whether a segment looks like a value rather than a part of the program.
fn is_value(segment: &[u8]) -> bool {
    let mut digits = 0;
    let (mut only_hex, mut has_large) = (true, false);
    let mut only_numbers = !segment.is_empty();
    for byte in segment {
        has_large |= byte.is_ascii_uppercase();
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' => only_numbers = false,
            b'-' | b'.' | b'_' | b':' | b',' => only_hex = false,
            b'a'..=b'z' | b'A'..=b'Z' | b'~' | b'*' => (only_hex, only_numbers) = (false, false),
            _ => return true,
        }
    }
    (digits > 0 && only_numbers)
        || digits > MAX_DIGITS
        || segment.len() > MAX_SEGMENT_BYTES
        || (only_hex && segment.len() >= if digits > 0 { MIN_MIXED_HEX_BYTES } else { MIN_HEX_BYTES })
        || (has_large && segment.len() >= MIN_CHANGES && is_token(segment, digits > 0))
}

/// Whether letters are mixed as nobody writes words: `hN-jQCnYXJwOjVOGxJhnXh`, `dQw4w9WgXcQ`.
fn is_token(segment: &[u8], has_digits: bool) -> bool {
    #[derive(PartialEq, Eq)]
    enum Class {
        Digit,
        Small,
        Large,
    }
    let (mut small, mut large, mut large_runs, mut vowels, mut changes) = (0, 0, 0, 0, 0);
    let mut last = None;
    for byte in segment {
        let class = match byte {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' => Class::Small,
            b'A'..=b'Z' => Class::Large,
            _ => {
                last = None;
                continue;
            }
        };
        vowels += usize::from(matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u'));
        small += usize::from(class == Class::Small);
        large += usize::from(class == Class::Large);
        large_runs += usize::from(class == Class::Large && last == Some(Class::Large));
        changes += usize::from(last.as_ref().is_some_and(|last| *last != class));
        last = Some(class);
    }
    let has_few_vowels = 4 * vowels < segment.len();
    let is_mixed = 9 * changes >= 4 * segment.len() || 3 * changes >= segment.len() && has_few_vowels;
    let is_no_camel_case = has_digits || large_runs > 0;
    small > 2 && large > 2 && segment.len() >= MIN_TOKEN_BYTES && is_mixed && is_no_camel_case
        || has_digits && small > 0 && large > 0 && changes >= MIN_CHANGES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_placeholders_and_words_stay() {
        let long = format!("/{}", "a".repeat(MAX_SEGMENT_BYTES + 1));
        let deep = "/1".repeat(MAX_SEGMENTS + 1);
        let of_deep = format!("{}{REST}", "/{id}".repeat(MAX_SEGMENTS));
        for (path, expected) in [
            ("/", "/"),
            ("/api/items/42", "/api/items/{id}"),
            ("/api/v1/items/", "/api/v1/items/"),
            ("/users/4bf92f35-77b3-4da6-a3ce-929d0e0e4736/posts", "/users/{id}/posts"),
            ("/commit/deadbeefdeadbeef", "/commit/{id}"),
            ("/commit/0a1b2c", "/commit/{id}"),
            ("/commit/abcde1f", "/commit/{id}"),
            ("/day/2024-01-02", "/day/{id}"),
            ("/order-98765", "/{id}"),
            ("/oauth2/token", "/oauth2/token"),
            ("/apis/apps/v1beta1", "/apis/apps/v1beta1"),
            ("/cafe/face/bad", "/cafe/face/bad"),
            ("/u/me@example.com", "/u/{id}"),
            ("/a%20b", "/{id}"),
            ("/a;jsessionid=1/b", "/a/b"),
            ("/i/-", "/i/-"),
            ("/v/dQw4w9WgXcQ", "/v/{id}"),
            ("/v/hN-jQCnYXJwOjVOGxJhnXh", "/v/{id}"),
            ("/api/chat.postMessage", "/api/chat.postMessage"),
            ("/getUrlOfItem/getURLOfMyDB", "/getUrlOfItem/getURLOfMyDB"),
            ("/rest/api/3/issue/7", "/rest/api/3/issue/{id}"),
            ("/api/1.0/tasks/1", "/api/1.0/tasks/{id}"),
            ("/api/2024/x", "/api/{id}/x"),
            (long.as_str(), "/{id}"),
            (deep.as_str(), of_deep.as_str()),
        ] {
            let mut out = String::new();
            template(path, "{id}", &mut out);
            assert_eq!(out, expected, "{path}");
        }
    }
}
