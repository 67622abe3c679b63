//! What is personal by its form, wherever it stands: addresses of e-mail, numbers of cards (Luhn), tokens (JWT), bank accounts (IBAN, by
//! its check digits) and phones (with their country's code). Looked for only where the configuration asks for it.

use std::borrow::Cow;

use super::{REDACTED, decode};
use crate::config::PersonalData;

/// Categories that are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pii(u8);

const EMAIL: u8 = 1;
const CARD: u8 = 1 << 1;
const JWT: u8 = 1 << 2;
const IBAN: u8 = 1 << 3;
const PHONE: u8 = 1 << 4;

/// Digits of a card's number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Digits of a phone's number, with the country's code (E.164).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
/// Letters and digits of an IBAN.
const IBAN_LENGTH: std::ops::RangeInclusive<usize> = 15..=34;

impl Pii {
    pub(super) fn of(list: &[PersonalData]) -> Self {
        Self(list.iter().fold(0, |all, one| {
            all | match one {
                PersonalData::Email => EMAIL,
                PersonalData::Card => CARD,
                PersonalData::Jwt => JWT,
                PersonalData::Iban => IBAN,
                PersonalData::Phone => PHONE,
                PersonalData::All => u8::MAX,
            }
        }))
    }

    const fn has(self, category: u8) -> bool {
        self.0 & category != 0
    }

    /// A text without it. What is percent-encoded goes as a whole, from one separator to the next.
    pub(super) fn clean<'a>(self, text: &'a str) -> Cow<'a, str> {
        if self.0 == 0 {
            return Cow::Borrowed(text);
        }
        let mut out: Option<String> = None;
        let mut at = 0;
        let separates = |c: char| matches!(c, '/' | '?' | '&' | ';' | '#' | '=' | ',' | '"' | '\'');
        for piece in text.split_inclusive(separates) {
            let body = piece.strip_suffix(separates).unwrap_or(piece);
            let rest = piece.get(body.len()..).unwrap_or_default();
            let cleaned = if body.contains('%') { self.encoded(body) } else { self.plain(body) };
            if let Some(cleaned) = cleaned {
                let out = out.get_or_insert_with(|| text.get(..at).unwrap_or_default().to_owned());
                out.push_str(&cleaned);
                out.push_str(rest);
            } else if let Some(out) = &mut out {
                out.push_str(piece);
            }
            at += piece.len();
        }
        out.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    fn encoded(self, body: &str) -> Option<Cow<'static, str>> {
        let mut decoded = body.as_bytes().to_vec();
        let length = decode(&mut decoded);
        decoded.truncate(length);
        let has_some = (0..decoded.len()).any(|at| self.find_at(&decoded, at).is_some());
        has_some.then_some(Cow::Borrowed(REDACTED))
    }

    fn plain(self, body: &str) -> Option<Cow<'static, str>> {
        let bytes = body.as_bytes();
        let mut out: Option<String> = None;
        let (mut kept, mut at) = (0, 0);
        while at < bytes.len() {
            let Some(end) = self.find_at(bytes, at) else {
                at += 1;
                continue;
            };
            // What is found is ASCII, so that both ends are between characters.
            let (Some(before), true) = (body.get(kept..at), end > at) else { break };
            let out = out.get_or_insert_default();
            out.push_str(before);
            out.push_str(REDACTED);
            (kept, at) = (end, end);
        }
        let mut out = out?;
        out.push_str(body.get(kept..).unwrap_or_default());
        Some(Cow::Owned(out))
    }

    /// Where what begins at a place ends, if it is any of these.
    fn find_at(self, bytes: &[u8], at: usize) -> Option<usize> {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        if before.is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
        let rest = bytes.get(at..)?;
        let first = *rest.first()?;
        let length = (self.has(JWT) && first == b'e')
            .then(|| jwt(rest))
            .flatten()
            .or_else(|| (self.has(IBAN) && first.is_ascii_alphabetic()).then(|| iban(rest)).flatten())
            .or_else(|| (self.has(CARD) && first.is_ascii_digit()).then(|| card(rest)).flatten())
            .or_else(|| (self.has(PHONE) && matches!(first, b'+' | b'0')).then(|| phone(rest)).flatten())
            .or_else(|| (self.has(EMAIL) && is_local(first)).then(|| email(rest)).flatten())?;
        Some(at + length)
    }
}

/// Three parts in the alphabet of base64url, of which the first two are JSON objects.
fn jwt(text: &[u8]) -> Option<usize> {
    const OBJECT: &[u8] = b"eyJ";
    let part = |text: &[u8]| {
        text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).count()
    };
    let header = text.starts_with(OBJECT).then(|| part(text))?;
    let claims = text.get(header..)?.strip_prefix(b".").filter(|claims| claims.starts_with(OBJECT))?;
    let claims_length = part(claims);
    let signature = claims.get(claims_length..)?.strip_prefix(b".")?;
    Some(header + 1 + claims_length + 1 + part(signature))
}

/// Two letters, two check digits, and what they check: modulo 97. Groups may be parted.
fn iban(text: &[u8]) -> Option<usize> {
    let [a, b, c, d, ..] = *text else { return None };
    if !(a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit()) {
        return None;
    }
    let mut letters: [u8; 34] = [0; 34];
    let (mut count, mut end) = (0, 0);
    for (place, byte) in text.iter().enumerate() {
        match byte {
            byte if byte.is_ascii_alphanumeric() => {
                *letters.get_mut(count)? = byte.to_ascii_uppercase();
                count += 1;
                end = place + 1;
            }
            b' ' | b'-' | b'+' if text.get(place + 1).is_some_and(u8::is_ascii_alphanumeric) => {}
            _ => break,
        }
    }
    let all = letters.get(..count).filter(|_| IBAN_LENGTH.contains(&count))?;
    let (head, tail) = all.split_at_checked(4)?;
    let rest = tail.iter().chain(head).fold(0u32, |rest, letter| match letter {
        b'0'..=b'9' => (rest * 10 + u32::from(letter - b'0')) % 97,
        _ => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    (rest == 1).then_some(end)
}

/// Digits, which may be parted, and the count of them.
fn digits(text: &[u8], parting: &[u8], most: usize) -> Option<(usize, usize, [u8; 20])> {
    let (mut count, mut end) = (0, 0);
    let mut all = [0; 20];
    for (place, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if count == most {
                    return None;
                }
                *all.get_mut(count)? = byte - b'0';
                count += 1;
                end = place + 1;
            }
            byte if parting.contains(byte) && count > 0 => {}
            // A word of its own ends it, one that goes on with letters is none.
            byte if byte.is_ascii_alphabetic() && end == place => return None,
            _ => break,
        }
    }
    Some((count, end, all))
}

/// 13 to 19 digits by Luhn's rule, the first of which a card's number begins with.
fn card(text: &[u8]) -> Option<usize> {
    if !matches!(text.first(), Some(b'2'..=b'6')) {
        return None;
    }
    let (count, end, all) = digits(text, b" -+", *CARD_DIGITS.end())?;
    let all = all.get(..count).filter(|_| CARD_DIGITS.contains(&count))?;
    let sum: u32 = all
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let doubled = u32::from(*digit) * 2;
            if place % 2 == 0 {
                u32::from(*digit)
            } else if doubled > 9 {
                doubled - 9
            } else {
                doubled
            }
        })
        .sum();
    sum.is_multiple_of(10).then_some(end)
}

/// `+` or `00`, then the country's code and the number.
fn phone(text: &[u8]) -> Option<usize> {
    let prefix = if text.starts_with(b"+") {
        1
    } else if text.starts_with(b"00") {
        2
    } else {
        return None;
    };
    let number = text.get(prefix..)?;
    let begins = matches!(number.first(), Some(b'1'..=b'9'));
    let (count, end, _) = begins.then(|| digits(number, b" -.()", *PHONE_DIGITS.end())).flatten()?;
    PHONE_DIGITS.contains(&count).then_some(prefix + end)
}

const fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-')
}

/// `local@label.top`.
fn email(text: &[u8]) -> Option<usize> {
    let local = text.iter().take_while(|byte| is_local(**byte)).count();
    let domain = text.get(local..)?.strip_prefix(b"@").filter(|_| local > 0)?;
    let mut length =
        domain.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count();
    while domain.get(..length)?.ends_with(b".") {
        length -= 1;
    }
    let domain = domain.get(..length)?;
    let dot = memchr::memrchr(b'.', domain).filter(|dot| *dot > 0)?;
    let top = domain.get(dot + 1..)?;
    let is_top = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
    is_top.then_some(local + 1 + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(text: &str) -> String {
        Pii::of(&[PersonalData::All]).clean(text).into_owned()
    }

    #[test]
    fn each_category_is_found_by_its_form_and_what_only_looks_like_it_is_not() {
        for (text, expected) in [
            ("/users/jane.doe+x@mail.example.org/orders", "/users/REDACTED/orders"),
            ("q=jane%40example.com&a=1", "q=REDACTED&a=1"),
            ("/npm/@scope/pkg@1.2.3", "/npm/@scope/pkg@1.2.3"),
            ("/cards/4111111111111111", "/cards/REDACTED"),
            ("c=4111-1111-1111-1111;d=2", "c=REDACTED;d=2"),
            ("c=4111+1111+1111+1111", "c=REDACTED"),
            ("/orders/4111111111111112", "/orders/4111111111111112"),
            ("/trace/41111111111111110000000", "/trace/41111111111111110000000"),
            ("t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_x", "t=REDACTED"),
            ("t=eyJhbGciOiJIUzI1NiJ9.c2ln", "t=eyJhbGciOiJIUzI1NiJ9.c2ln"),
            ("/accounts/DE89370400440532013000/x", "/accounts/REDACTED/x"),
            ("iban=gb82%20WEST%201234%205698%207654%2032", "iban=REDACTED"),
            ("/accounts/DE89370400440532013001", "/accounts/DE89370400440532013001"),
            ("/call/+4915112345678", "/call/REDACTED"),
            ("to=%2B49%20151%2012345678", "to=REDACTED"),
            ("to=0049 (151) 123-45678 now", "to=REDACTED now"),
            ("/call/0151123", "/call/0151123"),
            (
                "/v1/items/123456789012/550e8400-e29b-41d4-a716-446655440000",
                "/v1/items/123456789012/550e8400-e29b-41d4-a716-446655440000",
            ),
            ("select * from t where mail = 'a@b.de' and n = 5", "select * from t where mail = 'REDACTED' and n = 5"),
            ("/ü/ä@b.de/x", "/ü/ä@b.de/x"),
        ] {
            assert_eq!(clean(text), expected, "{text}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_looked_for() {
        let text = "/a@b.de/4111111111111111";
        assert_eq!(Pii::of(&[PersonalData::Card]).clean(text), "/a@b.de/REDACTED");
        assert_eq!(Pii::of(&[PersonalData::Email]).clean(text), "/REDACTED/4111111111111111");
        assert!(matches!(Pii::default().clean(text), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_what_is_clean_stays_so(text in "[ -~äß/%@+0-9]{0,80}") {
            let once = clean(&text);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
