//! Elements of BER, as LDAP writes them: definite lengths, tags of one byte.

/// An element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// As much of it as is there.
    pub(super) content: &'a [u8],
}

/// The element that bytes begin with, and what is behind it.
pub(super) fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first >= 0x80 {
        let digits = usize::from(first & 0x7f);
        let (number, behind) = rest.split_at_checked(digits).filter(|_| (1..=4).contains(&digits))?;
        len = number.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
    Some((Element { tag, content }, behind))
}

/// The same of one that is all there.
pub(super) fn whole(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (element, rest) = element(bytes)?;
    let len = element.content.len() as u64;
    (length(bytes)? == len).then_some((element, rest))
}

/// How long its content is said to be.
fn length(bytes: &[u8]) -> Option<u64> {
    match bytes.get(1)? {
        short @ 0..0x80 => Some(u64::from(*short)),
        long => {
            let digits = bytes.get(2..)?.get(..usize::from(long & 0x7f))?;
            Some(digits.iter().take(4).fold(0, |len, digit| len << 8 | u64::from(*digit)))
        }
    }
}

/// A number that is not negative, of up to four bytes.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let is_it = (1..=4).contains(&bytes.len()) && bytes.first().is_some_and(|first| *first < 0x80);
    is_it.then(|| bytes.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
}
