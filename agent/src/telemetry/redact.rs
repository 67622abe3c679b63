//! Takes secrets out of query strings and paths before anything else sees them.
//!
//! A value whose key looks like a secret becomes `REDACTED`; keys stay. In doubt a value goes: keys are compared
//! percent-decoded (also twice), without case and without punctuation; `;` separates as `&` does; a value that itself
//! holds pairs (a URL, JSON) goes as a whole if one of its keys looks like a secret; so does a piece without `=`. What stands
//! between `//` and `@` (`//user:password@host/`) goes wherever a URL can be.

mod pii;

use std::borrow::Cow;

use compact_str::CompactString;

use self::pii::Pii;
use crate::config::PersonalData;

/// What stands in place of a secret, as the semantic conventions have it.
pub(crate) const REDACTED: &str = "REDACTED";
/// What stands in place of a user's name and password, as the semantic conventions have it.
pub(crate) const REDACTED_USER_INFO: &str = "REDACTED:REDACTED";

/// Keys that look like secrets: see [`Redactor::new`]. Covers the conventions' list (`X-Amz-Signature`,
/// `X-Amz-Credential`, `X-Amz-Security-Token`, `AWSAccessKeyId`, `Signature`, `sig`, `X-Goog-Signature`).
pub(crate) const DEFAULT_SECRETS: &[&str] = &[
    "token",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "credential",
    "signature",
    "session",
    "authoriz",
    "authoris",
    "authn",
    "bearer",
    "apikey",
    "accesskey",
    "privatekey",
    "assertion",
    "cookie",
    "key",
    "keys",
    "auth",
    "sig",
    "pass",
    "pwd",
    "sid",
    "jwt",
    "otp",
    "pin",
    "saml",
    "hmac",
];

/// An entry of fewer letters matches only where a word of the key ends, so that `key` finds `api_key` and not
/// `keyboard`.
const MIN_ANYWHERE: usize = 5;
/// Keys longer than this are secrets without a look.
const MAX_KEY_BYTES: usize = 256;
/// How often a key is percent-decoded: once by the server, once more by a proxy or framework before it.
const MAX_DECODINGS: usize = 3;

/// Finds and replaces secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redactor {
    secrets: Vec<Box<[u8]>>,
    /// Bit `n` is set if an entry begins with the `n`th letter; bit 26: with a digit.
    first_letters: u32,
    /// What goes by its form.
    pii: Pii,
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new(DEFAULT_SECRETS)
    }
}

impl Redactor {
    /// A redactor for these keys. Of each, letters (without case) and digits count. One of five or more matches
    /// anywhere in a key; a shorter one matches at the end of a word of it, words ending before punctuation and before
    /// a capital after a small letter.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let secrets: Vec<Box<[u8]>> = secrets
            .into_iter()
            .map(|secret| secret.as_ref().bytes().filter_map(squeeze).collect::<Box<[u8]>>())
            .filter(|secret| !secret.is_empty())
            .collect();
        let first_letters = secrets.iter().filter_map(|secret| secret.first()).fold(0, |bits, b| bits | letter_bit(*b));
        Self { secrets, first_letters, pii: Pii::default() }
    }

    /// The same, to which personal data of these categories is secret too, wherever it stands.
    #[must_use]
    pub(crate) fn with_personal_data(self, categories: &[PersonalData]) -> Self {
        Self { pii: Pii::of(categories), ..self }
    }

    /// Other text, such as a statement or a header's value, free of personal data.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.pii.clean(text)
    }

    /// The same of a text of one's own.
    #[must_use]
    pub(crate) fn owned(&self, text: CompactString) -> CompactString {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(text) => text.into(),
        }
    }

    /// The value of a header field, free of personal data, and of secrets where it holds pairs, as URLs do.
    #[must_use]
    pub(crate) fn field(&self, value: CompactString) -> CompactString {
        let separates = |byte| matches!(byte, b'/' | b'&' | b';' | b'?' | b'#' | b',' | b' ' | b'"');
        match then(self.pairs(&value, separates, false), |known| self.pii.clean(known)) {
            Cow::Borrowed(_) => value,
            Cow::Owned(text) => text.into(),
        }
    }

    /// A query string (without its `?`), free of secrets.
    #[must_use]
    pub fn query<'a>(&self, query: &'a str) -> Cow<'a, str> {
        let known =
            then(user_info(query), |query| self.pairs(query, |byte| matches!(byte, b'&' | b';' | b'?' | b'#'), true));
        then(known, |query| self.pii.clean(query))
    }

    /// A path, with the values of its parameters (`/a;jsessionid=1/b`) free of secrets.
    #[must_use]
    pub fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if memchr::memchr3(b'=', b';', b'@', path.as_bytes()).is_none() {
            return self.pii.clean(path);
        }
        let known = then(user_info(path), |path| {
            self.pairs(path, |byte| matches!(byte, b'/' | b';' | b'&' | b'?' | b'#'), false)
        });
        then(known, |path| self.pii.clean(path))
    }

    /// `bare`: pieces without `=` go as well if they look like secrets.
    fn pairs<'a>(&self, text: &'a str, separates: impl Fn(u8) -> bool, bare: bool) -> Cow<'a, str> {
        let mut out: Option<String> = None;
        let mut at = 0;
        // Separators are ASCII, so that every cut is between characters.
        for piece in text.split_inclusive(|c: char| u8::try_from(c).is_ok_and(&separates)) {
            let body = piece.strip_suffix(|c: char| u8::try_from(c).is_ok_and(&separates)).unwrap_or(piece);
            let secret = match body.split_once('=') {
                Some((key, value)) => {
                    let is_secret = || self.is_secret(key) || self.holds_secret(value);
                    (!value.is_empty() && is_secret()).then_some(key.len() + 1)
                }
                None => (bare && self.is_secret(body)).then_some(0),
            };
            if let Some(kept) = secret {
                let out = out.get_or_insert_with(|| text.get(..at).unwrap_or_default().to_owned());
                out.push_str(body.get(..kept).unwrap_or_default());
                out.push_str(REDACTED);
                out.push_str(piece.get(body.len()..).unwrap_or_default());
            } else if let Some(out) = &mut out {
                out.push_str(piece);
            }
            at += piece.len();
        }
        out.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// Whether a key, as it stands in a URL, looks like a secret's.
    #[must_use]
    pub fn is_secret(&self, key: &str) -> bool {
        if key.len() > MAX_KEY_BYTES {
            return true;
        }
        let mut buffer = [0; MAX_KEY_BYTES];
        let Some(decoded) = buffer.get_mut(..key.len()) else { return true };
        decoded.copy_from_slice(key.as_bytes());
        let length = decode(decoded);
        self.matches(decoded.get(..length).unwrap_or_default())
    }

    /// Whether a value holds pairs of its own of which one looks like a secret.
    fn holds_secret(&self, value: &str) -> bool {
        if !value.bytes().any(|byte| matches!(byte, b'=' | b':' | b'%')) {
            return false;
        }
        let mut decoded = value.as_bytes().to_vec();
        let length = decode(&mut decoded);
        decoded.truncate(length);
        let holds_pairs = decoded.iter().any(|byte| matches!(byte, b'=' | b':'));
        (holds_pairs && decoded.split(|b| *b == b'&').any(|p| self.matches(p))) || holds_user_info(&decoded)
    }

    /// Compares at every letter, over what is left of the key without punctuation and case.
    fn matches(&self, key: &[u8]) -> bool {
        let mut squeezed = [0; MAX_KEY_BYTES];
        let mut ends_word = [false; MAX_KEY_BYTES];
        let mut length = 0;
        for (at, byte) in key.iter().enumerate() {
            let Some(letter) = squeeze(*byte) else { continue };
            let next = key.get(at + 1).copied().unwrap_or(b'_');
            let (Some(slot), Some(end)) = (squeezed.get_mut(length), ends_word.get_mut(length)) else { return true };
            *slot = letter;
            *end = squeeze(next).is_none() || (byte.is_ascii_lowercase() && !next.is_ascii_lowercase());
            length += 1;
        }
        let squeezed = squeezed.get(..length).unwrap_or_default();
        squeezed.iter().enumerate().any(|(at, letter)| {
            self.first_letters & letter_bit(*letter) != 0
                && self.secrets.iter().any(|secret| {
                    squeezed.get(at..).is_some_and(|rest| rest.starts_with(secret))
                        && (secret.len() >= MIN_ANYWHERE || ends_word.get(at + secret.len() - 1) == Some(&true))
                })
        })
    }
}

/// `text`, in which every `//user:password@` reads `//REDACTED:REDACTED@`.
#[must_use]
pub(crate) fn user_info(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'@', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out: Option<String> = None;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("//") {
        let taken = text.len() - after.len();
        // Backslashes separate too, for browsers.
        let end = after.find(['/', '?', '#', '\\', '"', ' ']).unwrap_or(after.len());
        let found = after.get(..end).and_then(|authority| authority.rfind('@')).filter(|at| *at > 0);
        let known = found.is_some_and(|at| after.get(..at) == Some(REDACTED_USER_INFO));
        match found.filter(|_| !known) {
            None => {
                if let Some(out) = &mut out {
                    out.push_str(before);
                    out.push_str("//");
                }
                rest = after;
            }
            Some(at) => {
                let out =
                    out.get_or_insert_with(|| text.get(..taken - before.len() - 2).unwrap_or_default().to_owned());
                out.push_str(before);
                out.push_str("//");
                out.push_str(REDACTED_USER_INFO);
                rest = after.get(at..).unwrap_or_default();
            }
        }
    }
    match out {
        Some(mut out) => {
            out.push_str(rest);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(text),
    }
}

/// Whether a value, decoded, is or holds a URL with user info that is not redacted yet.
fn holds_user_info(decoded: &[u8]) -> bool {
    str::from_utf8(decoded).map_or_else(
        // In doubt.
        |_| decoded.windows(2).any(|pair| pair == b"//") && decoded.contains(&b'@'),
        |text| matches!(user_info(text), Cow::Owned(_)),
    )
}

/// One step after another, each of which seldom changes anything.
fn then<'a>(text: Cow<'a, str>, step: impl Fn(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => step(text),
        Cow::Owned(text) => match step(&text) {
            Cow::Borrowed(_) => Cow::Owned(text),
            Cow::Owned(text) => Cow::Owned(text),
        },
    }
}

/// Lower-case letter or digit; what is not ASCII counts as a letter that no entry has.
const fn squeeze(byte: u8) -> Option<u8> {
    if byte.is_ascii_alphanumeric() { Some(byte.to_ascii_lowercase()) } else { None }
}

const fn letter_bit(letter: u8) -> u32 {
    if letter.is_ascii_lowercase() { 1 << (letter - b'a') } else { 1 << 26 }
}

/// Percent-decodes in place, repeatedly; returns the new length.
fn decode(text: &mut [u8]) -> usize {
    let mut length = text.len();
    for _ in 0..MAX_DECODINGS {
        let (mut read, mut write) = (0, 0);
        while read < length {
            let hex = |at: usize| text.get(at).filter(|_| at < length).and_then(|b| char::from(*b).to_digit(16));
            let Some(mut byte) = text.get(read).copied() else { break };
            read += 1;
            if byte == b'%'
                && let (Some(high), Some(low)) = (hex(read), hex(read + 1))
            {
                byte = (high << 4 | low) as u8;
                read += 2;
            }
            if let Some(slot) = text.get_mut(write) {
                *slot = byte;
            }
            write += 1;
        }
        if write == length {
            break;
        }
        length = write;
    }
    length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(query: &str) -> String {
        Redactor::default().query(query).into_owned()
    }

    #[test]
    fn values_of_header_fields_are_free_of_what_urls_in_them_hold() {
        let field = |value: &str| Redactor::default().field(value.into()).to_string();
        assert_eq!(
            field("http://h/p?token=a&page=2#access_token=b"),
            "http://h/p?token=REDACTED&page=2#access_token=REDACTED"
        );
        assert_eq!(field("<https://h/x?sig=1>; rel=next"), "<https://h/x?sig=REDACTED; rel=next");
        for kept in ["text/html, application/json;q=0.9", "max-age=0, private", "curl/8.5", "W/\"abc\""] {
            assert_eq!(field(kept), kept);
        }
    }

    #[test]
    fn values_of_secret_keys_are_replaced_and_keys_stay() {
        for key in [
            "token",
            "access_token",
            "accessToken",
            "X-Auth-Token",
            "password",
            "PASSWORD",
            "userPasswd",
            "client_secret",
            "key",
            "api_key",
            "apikey",
            "apiKey",
            "APIKeyId",
            "access-key",
            "AWSAccessKeyId",
            "awsaccesskeyid",
            "Signature",
            "sig",
            "X-Goog-Signature",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "auth",
            "oauth",
            "authorization",
            "session",
            "sessionid",
            "PHPSESSID",
            "JSESSIONID",
            "sid",
            "pwd",
            "jwt",
            "user[password]",
            "a.token",
            "to-ken",
            "t%6fken",
            "%74%6F%6B%65%6E",
            "%2574oken",
            "token%5B%5D",
        ] {
            assert_eq!(query(&format!("a=1&{key}=hunter2&b=2")), format!("a=1&{key}=REDACTED&b=2"));
        }
    }

    #[test]
    fn other_values_stay_and_are_borrowed() {
        let redactor = Redactor::default();
        for plain in [
            "",
            "a",
            "a=1",
            "page=2&sort=asc",
            "keyboard=us&keyword=x",
            "author=tolkien",
            "monitor=1;q=%20x",
            "=",
            "&&",
            "design=2",
            "passenger=3",
            "q=12:30",
            "next=https%3A%2F%2Fexample.com%2F%3Fpage%3D2",
            "ünï=cödé",
            "a=%zz%",
        ] {
            assert!(matches!(redactor.query(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn odd_syntax_leaks_nothing() {
        for (odd, redacted) in [
            ("token=a;password=b", "token=REDACTED;password=REDACTED"),
            ("token=a&token=b", "token=REDACTED&token=REDACTED"),
            ("token==a", "token=REDACTED"),
            ("=token=a", "=REDACTED"),
            ("a?token=b", "a?token=REDACTED"),
            ("tokenabc", "REDACTED"),
            ("token%3Dabc", "REDACTED"),
            ("a=b,token=c", "a=REDACTED"),
            ("next=https://h/?token=a", "next=https://h/?token=REDACTED"),
            ("next=https%3A%2F%2Fh%2F%3Ftoken%3Da%26b%3D1", "next=REDACTED"),
            ("q={\"password\":\"a\"}", "q=REDACTED"),
            ("a%26token=b", "a%26token=REDACTED"),
            ("token=", "token="),
            ("token=&a=1", "token=&a=1"),
        ] {
            assert_eq!(query(odd), redacted);
        }
    }

    #[test]
    fn very_long_keys_and_values_go() {
        let long = "x".repeat(100_000);
        assert_eq!(query(&format!("{long}=a")), format!("{long}=REDACTED"));
        assert_eq!(query(&format!("token={long}&a=1")), "token=REDACTED&a=1");
        assert_eq!(query(&format!("a={long}")), format!("a={long}"));
    }

    #[test]
    fn path_parameters_are_redacted() {
        let redactor = Redactor::default();
        assert_eq!(redactor.path("/a;jsessionid=12;v=1/b"), "/a;jsessionid=REDACTED;v=1/b");
        assert_eq!(redactor.path("/token=abc/x"), "/token=REDACTED/x");
        assert!(matches!(redactor.path("/session/token"), Cow::Borrowed(_)));
    }

    #[test]
    fn user_info_goes_wherever_a_url_can_be() {
        let redactor = Redactor::default();
        for (path, redacted) in [
            ("//user:pw@h/dd", "//REDACTED:REDACTED@h/dd"),
            (
                "/proxy/http://user:pw@h:1/a/https://x@y",
                "/proxy/http://REDACTED:REDACTED@h:1/a/https://REDACTED:REDACTED@y",
            ),
            ("//a:b@c@h/;v=1", "//REDACTED:REDACTED@h/;v=1"),
            ("//u@h/token=x", "//REDACTED:REDACTED@h/token=REDACTED"),
            ("//h/ö//u:ö@h", "//h/ö//REDACTED:REDACTED@h"),
        ] {
            assert_eq!(redactor.path(path), redacted);
            assert_eq!(redactor.path(redacted), redacted, "twice");
        }
        for plain in ["/@scope/package", "//@h/", "/a@b", "/a@b//c", "//h/a@b", "/users/a@b.example"] {
            assert!(matches!(redactor.path(plain), Cow::Borrowed(_)), "{plain}");
        }
        for (odd, redacted) in [
            ("next=http://user:pw@h/a", "next=http://REDACTED:REDACTED@h/a"),
            ("next=http%3A%2F%2Fuser%3Apw%40h%2Fa&b=1", "next=REDACTED&b=1"),
            ("next=%2F%2Fuser%3Apw@h", "next=REDACTED"),
            ("http://user:pw@h", "http://REDACTED:REDACTED@h"),
            ("mail=a@b.example", "mail=a@b.example"),
        ] {
            assert_eq!(query(odd), redacted);
            assert_eq!(query(redacted), redacted, "twice");
        }
        assert_eq!(user_info("bot/1 (+http://u:p@h/x; a@b)"), "bot/1 (+http://REDACTED:REDACTED@h/x; a@b)");
    }

    #[test]
    fn the_list_is_configurable() {
        let redactor = Redactor::new(["Card-Number", "cvc", "", "--"]);
        assert_eq!(
            redactor.query("cardNumber=1&card_cvc=2&cvcs=3&token=4"),
            "cardNumber=REDACTED&card_cvc=REDACTED&cvcs=3&token=4"
        );
        assert_eq!(Redactor::new::<&str>([]).query("token=4"), "token=4");
    }

    /// A key written in one of the ways it can be written.
    fn disguised(key: &str, ways: &[u8]) -> String {
        let mut out = String::new();
        for (at, c) in key.chars().enumerate() {
            match ways.get(at % ways.len().max(1)).copied().unwrap_or(0) % 5 {
                0 => out.push(c.to_ascii_uppercase()),
                1 => out.push_str(&format!("%{:02x}", u32::from(c))),
                2 => out.push_str(&format!("%25{:02X}", u32::from(c))),
                3 if key.len() >= MIN_ANYWHERE => out.extend(['-', c]),
                _ => out.push(c),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn no_byte_of_a_secret_survives(
            secret in proptest::sample::select(DEFAULT_SECRETS),
            ways in proptest::collection::vec(any::<u8>(), 1..8),
            before in "[a-z=&;?%]{0,12}",
            value in "[\u{1F512}]{1,40}",
            separator in "[&;?#]",
            after in "[a-z=&;%]{0,12}",
        ) {
            let key = disguised(secret, &ways);
            let out = query(&format!("{before}{separator}{key}={value}{separator}{after}"));
            prop_assert!(!out.contains('\u{1F512}'), "{}", out);
        }

        #[test]
        fn any_text_is_taken_and_redacting_twice_changes_nothing(text in "\\PC{0,200}") {
            let redactor = Redactor::default();
            let once = redactor.query(&text).into_owned();
            let twice = redactor.query(&once).into_owned();
            prop_assert_eq!(&twice, &once);
            let _ = redactor.path(&text);
        }
    }
}
