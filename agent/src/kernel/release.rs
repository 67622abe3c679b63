//! The version of the running kernel, where nothing else tells what it does.

/// A release of Linux, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Release {
    /// That of the running kernel, if its name begins with one.
    #[must_use]
    pub(crate) fn running() -> Option<Self> {
        Self::parse(&rustix::system::uname().release().to_string_lossy())
    }

    /// Reads the beginning of a kernel's name (`6.12.95-amd64`).
    #[must_use]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (major, rest) = name.split_once('.')?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_first_two_numbers_are_read() {
        let release = |major, minor| Some(Release { major, minor });
        assert_eq!(Release::parse("5.10.0-46-amd64"), release(5, 10));
        assert_eq!(Release::parse("7.3-rc1"), release(7, 3));
        assert_eq!(Release::parse("7.3"), release(7, 3));
        assert_eq!([Release::parse("7"), Release::parse("linux"), Release::parse("7.x")], [None; 3]);
        assert!(Release::running().is_some());
    }

    #[test]
    fn ten_is_later_than_nine() {
        assert!(Release::parse("6.10") > Release::parse("6.9"));
        assert!(Release::parse("7.0") > Release::parse("6.18"));
    }
}
