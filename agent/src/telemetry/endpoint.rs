//! The two ends of a connection as attributes.

use std::net::{IpAddr, SocketAddr};

use compact_str::CompactString;

use super::{attributes::Attributes, red::Label, semconv};
use crate::{
    kube::Peer,
    model::{
        net::{ConnectionInfo, Endpoint, Role},
        span::Value,
    },
};

/// Longest host name taken from a header; DNS allows 253.
const MAX_HOST_BYTES: usize = 255;

/// What is known of the other side besides its address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remote<'a> {
    /// As the cluster knows it.
    pub(super) peer: Option<&'a Peer>,
    /// As the watched process calls its address.
    pub(super) name: Option<&'a CompactString>,
    /// The client that it passes on, as it says itself.
    pub(super) client: Option<SocketAddr>,
}

/// `server.address` and `server.port`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Server {
    /// As the request or the connection says it.
    pub(super) address: CompactString,
    pub(super) port: Option<u16>,
    /// As the cluster calls the service there, or the process the address.
    name: Option<CompactString>,
}

impl Server {
    /// From what the request says (`authority`: of an absolute target, else `Host` or `:authority`); what it does not
    /// say, or says malformed, from the connection. The port that is not named there is the connection's too, not the
    /// scheme's default: the one is seen, the other would be guessed.
    pub(super) fn of(authority: Option<&str>, role: Role, connection: &ConnectionInfo) -> Self {
        let end = match role {
            Role::Server => &connection.local,
            Role::Client => &connection.remote,
        };
        match authority.and_then(split_authority) {
            Some((host, port)) => Self { address: CompactString::new(host), port: port.or(end.port()), name: None },
            None => Self { address: address(end).unwrap_or_default(), port: end.port(), name: None },
        }
    }

    /// The same of a call. A call's server is called as its client calls it, or it has no name: its own socket says nothing.
    pub(super) fn of_call(authority: Option<&str>, role: Role, connection: &ConnectionInfo) -> Self {
        match (role, authority.and_then(split_authority)) {
            (Role::Client, _) => Self::of(authority, role, connection),
            (Role::Server, Some((host, port))) => Self { address: CompactString::new(host), port, name: None },
            (Role::Server, None) => Self::default(),
        }
    }

    /// Called by its service's name where that is known: the same however a client addresses it. Else, where the client
    /// gave the bare address, by the name that it has for it.
    pub(super) fn named(mut self, remote: Remote<'_>, role: Role, connection: &ConnectionInfo) -> Self {
        if role == Role::Client {
            let is_bare = || self.address.parse().ok().map(|ip: IpAddr| ip.to_canonical());
            let own = || connection.remote.ip().map(|ip| ip.to_canonical());
            let name = remote.name.filter(|_| is_bare().is_some_and(|ip| Some(ip) == own()));
            self.name = remote.peer.map(|peer| &peer.name).or(name).cloned();
        }
        self
    }

    /// `server.address`.
    pub(super) fn shown(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.address)
    }

    /// Both as labels of metrics.
    pub(super) fn labels(&self) -> [Option<(&'static str, Label<'_>)>; 2] {
        let is_known = !self.address.is_empty();
        [
            is_known.then(|| (semconv::SERVER_ADDRESS, Label::Str(self.shown()))),
            self.port.filter(|_| is_known).map(|port| (semconv::SERVER_PORT, Label::Int(port.into()))),
        ]
    }

    /// The same where a server's own metrics go without: it would be whatever its clients call it.
    pub(super) fn labels_of_client(&self, role: Role) -> [Option<(&'static str, Label<'_>)>; 2] {
        match role {
            Role::Client => self.labels(),
            Role::Server => [None; 2],
        }
    }

    pub(super) fn push(self, out: &mut Attributes) {
        if !self.address.is_empty() {
            out.push(semconv::SERVER_ADDRESS, Value::Str(self.name.unwrap_or(self.address)));
            out.push_int(semconv::SERVER_PORT, self.port);
        }
    }
}

/// Host and port of `[user@]host[:port]`; `None` if it is malformed. Brackets of IPv6 are taken off.
pub(super) fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    // Nearly all are a name and perhaps a port: one look at each byte says so.
    let mut colon = authority.len();
    for (at, byte) in authority.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => {}
            b':' if colon == authority.len() => colon = at,
            _ => return split_unusual(authority),
        }
    }
    let host = authority.get(..colon)?;
    if host.is_empty() || host.len() > MAX_HOST_BYTES {
        return None;
    }
    match authority.get(colon + 1..) {
        None | Some("") => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
        Some(_) => None,
    }
}

/// The same of one with a user, capitals, IPv6 or what is malformed.
#[cold]
fn split_unusual(authority: &str) -> Option<(&str, Option<u16>)> {
    let authority = without_user_info(authority);
    if authority.len() > MAX_HOST_BYTES + ":65535".len() {
        return None;
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~' | b'%' | b':');
    if host.is_empty() || host.len() > MAX_HOST_BYTES || !host.bytes().all(valid) {
        return None;
    }
    match port {
        None | Some("") => Some((host, None)),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
        Some(_) => None,
    }
}

/// What follows `user:password@`.
pub(super) fn without_user_info(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, rest)| rest)
}

/// An end's address; `None` where it is unknown or has no name.
pub(super) fn address(end: &Endpoint) -> Option<CompactString> {
    match end {
        Endpoint::Inet(addr) => Some(ip(addr.ip())),
        Endpoint::Unix(name) => (!name.is_empty()).then(|| CompactString::new(name)),
        Endpoint::Unknown => None,
    }
}

/// Pushes `client.*` of a server's connection: of the one behind a proxy that names it, else of the other end, which is
/// called `name`.
pub(super) fn push_client(
    connection: &ConnectionInfo,
    proxied: Option<SocketAddr>,
    name: Option<CompactString>,
    out: &mut Attributes,
) {
    if let Some(client) = proxied {
        out.push(semconv::CLIENT_ADDRESS, Value::Str(ip(client.ip())));
        out.push_int(semconv::CLIENT_PORT, Some(client.port()));
        return;
    }
    out.push_str(semconv::CLIENT_ADDRESS, name);
    out.push_int(semconv::CLIENT_PORT, connection.remote.port());
}

/// Pushes what an HTTP span has of the connection and of its other end, whose address is `peer`, as far as that is known.
pub(super) fn push_network(
    connection: &ConnectionInfo,
    peer: Option<CompactString>,
    version: &'static str,
    out: &mut Attributes,
) {
    push_peer(connection, peer, out);
    if matches!(connection.remote, Endpoint::Unix(_)) {
        out.push(semconv::NETWORK_TRANSPORT, Value::Static("unix"));
    }
    if !version.is_empty() {
        out.push(semconv::NETWORK_PROTOCOL_VERSION, Value::Static(version));
    }
}

/// The part of [`push_network`] that calls have as well: the conventions leave protocol and transport out of theirs.
pub(super) fn push_peer(connection: &ConnectionInfo, peer: Option<CompactString>, out: &mut Attributes) {
    out.push_str(semconv::NETWORK_PEER_ADDRESS, peer);
    out.push_int(semconv::NETWORK_PEER_PORT, connection.remote.port());
    let tls_version = connection.tls_version.filter(|_| connection.tls);
    out.push_str(semconv::TLS_PROTOCOL_VERSION, tls_version.map(CompactString::const_new));
}

/// Text of an address; one of IPv4 in IPv6 is IPv4. Without `fmt`, which costs more than all else here.
fn ip(addr: IpAddr) -> CompactString {
    use std::fmt::Write as _;
    let v4 = match addr.to_canonical() {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => {
            let mut text = CompactString::const_new("");
            // Writing to a string does not fail.
            let _ = write!(text, "{v6}");
            return text;
        }
    };
    let mut text = [0; "255.255.255.255".len()];
    let mut slots = text.iter_mut();
    let mut len = 0;
    let mut put = |byte: u8| {
        if let Some(slot) = slots.next() {
            *slot = byte;
            len += 1;
        }
    };
    for (at, octet) in v4.octets().into_iter().enumerate() {
        if at > 0 {
            put(b'.');
        }
        for (digit, shown) in [(octet / 100, octet > 99), (octet / 10 % 10, octet > 9), (octet % 10, true)] {
            if shown {
                put(b'0' + digit);
            }
        }
    }
    text.get(..len).and_then(|text| str::from_utf8(text).ok()).map(CompactString::new).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ids::ConnectionId, net::Origin};

    fn connection() -> ConnectionInfo {
        ConnectionInfo {
            id: ConnectionId(1),
            local: Endpoint::Inet("10.0.0.1:8080".parse().unwrap()),
            remote: Endpoint::Inet("[::ffff:10.0.0.2]:51234".parse().unwrap()),
            netns: 0,
            tls: false,
            tls_version: None,
            asked: None,
            client: None,
            link: ConnectionId(1),
            origin: Origin::default(),
            is_paired: false,
            is_blocking: false,
            met_ns: 0,
            requests: 0,
            connect_ns: None,
        }
    }

    fn server(authority: Option<&str>, role: Role) -> (String, Option<u16>) {
        let server = Server::of(authority, role, &connection());
        (server.address.to_string(), server.port)
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for addr in ["0.0.0.0", "1.20.255.100", "255.255.255.255", "::1", "2001:db8::1"] {
            assert_eq!(ip(addr.parse().unwrap()), addr);
        }
        assert_eq!(ip("::ffff:1.2.3.4".parse().unwrap()), "1.2.3.4");
    }

    #[test]
    fn the_server_is_what_the_request_names() {
        for (authority, host, port) in [
            ("shop.example:81", "shop.example", 81),
            ("shop.example", "shop.example", 8080),
            ("shop.example:", "shop.example", 8080),
            ("[::1]:443", "::1", 443),
            ("[::1]", "::1", 8080),
            ("user:pw@shop:81", "shop", 81),
            ("a@b@shop:81", "shop", 81),
        ] {
            assert_eq!(server(Some(authority), Role::Server), (host.to_owned(), Some(port)), "{authority}");
        }
    }

    #[test]
    fn a_missing_or_malformed_name_gives_way_to_the_connection() {
        let long = "x".repeat(300);
        for bad in [
            None,
            Some(""),
            Some(":80"),
            Some("a b"),
            Some("a:b"),
            Some("a:99999"),
            Some("[::1"),
            Some("[x]:1"),
            Some("::1"),
            Some(long.as_str()),
        ] {
            assert_eq!(server(bad, Role::Server), ("10.0.0.1".to_owned(), Some(8080)), "{bad:?}");
            assert_eq!(server(bad, Role::Client), ("10.0.0.2".to_owned(), Some(51234)), "{bad:?}");
        }
    }
}
