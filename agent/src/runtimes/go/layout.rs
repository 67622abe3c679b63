//! How structures of a release of Go are laid out.

use super::offsets::TABLE;

/// Offsets of members, in the order in which `cargo xtask go-offsets` tells them; -1 for one that there is not.
pub(super) type Offsets = [i16; 14];

/// The layout of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// `g.m`, its thread of the runtime's.
    pub(super) thread: u16,
    /// `g.goid`.
    pub(super) number: u16,
    /// `g.parentGoid`; 0 before Go 1.21.
    pub(super) parent: u16,
    /// `m.curg`.
    pub(super) current: u16,
    /// `p.goidcache`, with `p.goidcacheend` behind it.
    pub(super) numbers: u16,
    /// `poll.FD.Sysfd`, in `net.netFD`.
    pub(super) descriptor: u16,
    /// `net.netFD.family`, with `sotype` behind it.
    pub(super) family: u16,
    /// `http.persistConn.conn`.
    pub(super) client: u16,
    /// `http.http2serverConn.conn`.
    pub(super) server2: u16,
    /// `http.http2responseWriterState.stream`.
    pub(super) stream: u16,
    /// `http.http2stream.id`.
    pub(super) stream_id: u16,
}

/// The second number of a release such as `go1.26.8`, and what its vendor added to it, such as `go1.26.8 X:nodwarf5`.
pub(super) fn minor(release: &str) -> Option<u32> {
    let rest = release.split_once("go1.")?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

impl Layout {
    /// That of a release; `None` where it is not known.
    pub(super) fn of(release: &str) -> Option<Self> {
        let minor = minor(release)?;
        let (_, offsets) = TABLE.iter().find(|(known, _)| *known == minor)?;
        Self::by(offsets)
    }

    fn by(offsets: &Offsets) -> Option<Self> {
        let [
            thread,
            number,
            parent,
            current,
            numbers,
            numbers_end,
            descriptor,
            family,
            kind,
            client,
            _,
            server2,
            stream,
            stream_id,
        ] = offsets.map(|offset| u16::try_from(offset).ok());
        let is_as_read = numbers? + 8 == numbers_end? && family? + 8 == kind?;
        is_as_read.then_some(Self {
            thread: thread?,
            number: number?,
            parent: parent.unwrap_or(0),
            current: current?,
            numbers: numbers?,
            descriptor: descriptor?,
            family: family?,
            client: client?,
            server2: server2?,
            stream: stream?,
            stream_id: stream_id?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_by_their_second_number() {
        assert_eq!(minor("go1.26.8"), Some(26));
        assert_eq!(minor("go1.18"), Some(18));
        assert_eq!(minor("go1.24rc1 X:nodwarf5"), Some(24));
        assert_eq!(minor("devel go1.27-abcdef Mon"), Some(27));
        assert_eq!(minor(""), None);
        assert_eq!(minor("go2.1"), None);
    }

    #[test]
    fn all_releases_of_the_table_have_a_layout() {
        assert!(TABLE.iter().all(|(_, offsets)| Layout::by(offsets).is_some()));
        let minors: Vec<u32> = TABLE.iter().map(|(minor, _)| *minor).collect();
        assert_eq!((minors.first(), minors.is_sorted()), (Some(&18), true));
        assert_eq!(Layout::of("go1.20.14").map(|layout| layout.parent), Some(0));
        assert!(Layout::of("go1.17").is_none() && Layout::of("go1.99").is_none());
    }
}
