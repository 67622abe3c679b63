//! Records of the ring, checked and typed, without copying.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ebpf_common::events::{
    AF_INET, AF_INET6, AF_UNIX, Bind, Data, DnsResponse, EventKind, MET_AT_BEGINNING, MET_BLOCKING, MET_MID_STREAM,
    Met, Open, Process, State, UNIX_PATH_MAX, is_plaintext,
};
use zerocopy::FromBytes;

use crate::model::net::{ConnectionInfo, Endpoint, Origin};

/// A record of the kernel side.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A connection was met.
    Open(&'a Open),
    /// Bytes moved.
    Data {
        /// What is known of them.
        header: &'a Data,
        /// The captured beginning of the piece.
        head: &'a [u8],
        /// The captured end of what the head leaves out.
        tail: &'a [u8],
    },
    /// A TCP connection changed its state.
    State(&'a State),
    /// A process was forked, replaced its program, or ended.
    Process(&'a Process),
    /// A process that is not evaluated yet uses a connection.
    Met(&'a Met),
    /// It became known which connection carries a stream of plaintext.
    Bind(&'a Bind),
    /// A process received what a DNS server answered.
    DnsResponse {
        /// Who, and when.
        header: &'a DnsResponse,
        /// The beginning of the message.
        message: &'a [u8],
    },
}

impl<'a> Event<'a> {
    /// Reads a record. `None` if its form is unknown or it is shorter than it says.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (kind, _) = u32::ref_from_prefix(record).ok()?;
        Some(match EventKind::from_word(*kind)? {
            EventKind::Open => Self::Open(Open::ref_from_prefix(record).ok()?.0),
            EventKind::State => Self::State(State::ref_from_prefix(record).ok()?.0),
            EventKind::Process => Self::Process(Process::ref_from_prefix(record).ok()?.0),
            EventKind::Met => Self::Met(Met::ref_from_prefix(record).ok()?.0),
            EventKind::Bind => Self::Bind(Bind::ref_from_prefix(record).ok()?.0),
            EventKind::DnsResponse => {
                let (header, rest) = DnsResponse::ref_from_prefix(record).ok()?;
                Self::DnsResponse { header, message: rest.get(..usize::try_from(header.len).ok()?)? }
            }
            EventKind::Data => {
                let (header, payload) = Data::ref_from_prefix(record).ok()?;
                let (head, rest) = payload.split_at_checked(header.head_len.into())?;
                let tail = rest.get(..header.tail_len.into())?;
                Self::Data { header, head, tail }
            }
        })
    }
}

/// The connection that a record tells of.
#[must_use]
pub fn connection(open: &Open) -> ConnectionInfo {
    let (local, remote) = match open.family {
        AF_INET | AF_INET6 => (
            Endpoint::Inet(SocketAddr::new(ip(open.family, open.local_addr), open.local_port)),
            Endpoint::Inet(SocketAddr::new(ip(open.family, open.remote_addr), open.remote_port)),
        ),
        AF_UNIX => (Endpoint::Unix(unix_name(open)), Endpoint::Unix(Arc::from(""))),
        _ => (Endpoint::Unknown, Endpoint::Unknown),
    };
    let tls = is_plaintext(open.conn);
    ConnectionInfo {
        id: open.conn,
        local,
        remote,
        netns: open.netns,
        tls,
        tls_version: None,
        asked: None,
        client: None,
        link: open.conn,
        origin: origin(open, tls),
        is_blocking: open.state & MET_BLOCKING != 0 && !tls,
        met_ns: open.at_ns,
    }
}

/// What positions are counted from. Of a unix socket everything is told from its beginning on, or it was met in its midst.
fn origin(open: &Open, tls: bool) -> Origin {
    if tls {
        return Origin { is_beginning: open.state & MET_MID_STREAM == 0, sequence: None };
    }
    Origin {
        is_beginning: open.state & MET_AT_BEGINNING != 0,
        sequence: (open.sequence != [0; 2]).then_some(open.sequence),
    }
}

/// An IPv4 address mapped into IPv6 is what it is mapped from.
fn ip(family: u16, bytes: [u8; 16]) -> IpAddr {
    if family == AF_INET {
        let [a, b, c, d, ..] = bytes;
        return Ipv4Addr::new(a, b, c, d).into();
    }
    Ipv6Addr::from(bytes).to_canonical()
}

fn unix_name(open: &Open) -> Arc<str> {
    let len = (open.path_len as usize).min(UNIX_PATH_MAX);
    match open.path.get(..len) {
        Some([0, name @ ..]) => format!("@{}", String::from_utf8_lossy(name)).into(),
        Some(name) => String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into(),
        None => Arc::from(""),
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    #[repr(align(8))]
    struct Aligned([u8; HEADER + 64]);

    const HEADER: usize = size_of::<Data>();

    fn record(head_len: u16, tail_len: u16) -> Aligned {
        let mut data = Data::new_zeroed();
        (data.kind, data.head_len, data.tail_len) = (EventKind::Data as u32, head_len, tail_len);
        let mut bytes = Aligned([b'x'; HEADER + 64]);
        bytes.0[..HEADER].copy_from_slice(data.as_bytes());
        bytes
    }

    #[test]
    fn head_and_tail_are_taken_apart() {
        let record = record(3, 2);
        let Some(Event::Data { head, tail, .. }) = Event::parse(&record.0) else { panic!("not data") };
        assert_eq!((head.len(), tail.len()), (3, 2));
    }

    #[test]
    fn a_record_shorter_than_it_says_is_refused() {
        assert!(Event::parse(&record(64, 1).0).is_none());
        assert!(Event::parse(&record(64, 0).0).is_some());
        assert!(Event::parse(&record(u16::MAX, u16::MAX).0).is_none());
        for len in 0..HEADER {
            assert!(Event::parse(&record(0, 0).0[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn an_answer_comes_with_its_message_or_not_at_all() {
        let mut answer = DnsResponse::new_zeroed();
        (answer.kind, answer.len, answer.tgid) = (EventKind::DnsResponse as u32, 5, 7);
        let mut bytes = Aligned([b'x'; HEADER + 64]);
        let mut parsed_of = |len: u32, record: usize| {
            answer.len = len;
            bytes.0[..32].copy_from_slice(answer.as_bytes());
            match Event::parse(&bytes.0[..record]) {
                Some(Event::DnsResponse { header, message }) => Some((header.tgid, message.len())),
                _ => None,
            }
        };
        assert_eq!((parsed_of(5, 40), parsed_of(0, 32)), (Some((7, 5)), Some((7, 0))));
        assert_eq!((parsed_of(5, 36), parsed_of(u32::MAX, 128), parsed_of(0, 31)), (None, None, None));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut bytes = record(0, 0);
        bytes.0[0] = 99;
        assert!(Event::parse(&bytes.0).is_none());
    }
}
