//! What may stand before a connection's protocol: the header by which a proxy names the client it forwards (PROXY protocol,
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), and a client's first words to a SOCKS proxy (RFC 1928).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, its line end included.
const MAX_LINE: usize = 107;
const LINE: &[u8] = b"PROXY ";
/// The first bytes of a header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 2 that is read: 2 KiB of what may follow the addresses.
const MAX_BLOCK: usize = 2 << 10;

/// What bytes at the beginning of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A header of so many bytes, with the client that it names, if it names one.
    Header(usize, Option<SocketAddr>),
    /// A client's greeting for a SOCKS proxy: what follows is negotiated.
    Socks,
    /// Could become a header with more bytes.
    Part,
    /// Something else.
    Nothing,
}

/// Reads the beginning of what one side sends.
pub(super) fn read(head: &[u8]) -> Found {
    match head.len() {
        0 => return Found::Nothing,
        len if len < LINE.len() && LINE.starts_with(head) => return Found::Part,
        len if len < SIGNATURE.len() && SIGNATURE.starts_with(head) => return Found::Part,
        _ => {}
    }
    if let Some(rest) = head.strip_prefix(LINE) {
        return line(rest);
    }
    if let Some(rest) = head.strip_prefix(SIGNATURE) {
        return block(rest);
    }
    match head {
        [5, count, methods @ ..] if *count > 0 && methods.len() == usize::from(*count) => Found::Socks,
        [4, 1 | 2, _, _, _, _, _, _, .., 0] => Found::Socks,
        _ => Found::Nothing,
    }
}

/// Version 1: a line.
fn line(rest: &[u8]) -> Found {
    let most = MAX_LINE - LINE.len();
    let Some(end) = rest.iter().take(most).position(|&byte| byte == b'\n') else {
        return if rest.len() < most { Found::Part } else { Found::Nothing };
    };
    let Some(text) = rest.get(..end).and_then(|line| line.strip_suffix(b"\r")) else { return Found::Nothing };
    let Ok(text) = str::from_utf8(text) else { return Found::Nothing };
    let len = LINE.len() + end + 1;
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Found::Header(len, None);
    }
    let [Some(source), Some(_), Some(port), Some(_), None] = [(); 5].map(|()| words.next()) else {
        return Found::Nothing;
    };
    let address: Option<IpAddr> = match family {
        Some("TCP4") => source.parse().ok().map(IpAddr::V4),
        Some("TCP6") => source.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    match (address, port.parse()) {
        (Some(address), Ok(port)) => Found::Header(len, Some(SocketAddr::new(address, port))),
        _ => Found::Nothing,
    }
}

/// Version 2: binary.
fn block(rest: &[u8]) -> Found {
    let &[command, family, high, low, ref body @ ..] = rest else { return Found::Part };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || command & 15 > 1 || len > MAX_BLOCK {
        return Found::Nothing;
    }
    let Some(body) = body.get(..len) else { return Found::Part };
    let client = if command & 15 == 1 { client(family, body) } else { None };
    Found::Header(SIGNATURE.len() + 4 + len, client)
}

/// The source among the addresses of version 2.
fn client(family: u8, body: &[u8]) -> Option<SocketAddr> {
    match family {
        // TCP over IPv4: source, destination, their ports.
        0x11 => {
            let (&address, rest) = body.split_first_chunk::<4>()?;
            let &port = rest.get(4..)?.first_chunk()?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), u16::from_be_bytes(port)))
        }
        // The same over IPv6.
        0x21 => {
            let (&address, rest) = body.split_first_chunk::<16>()?;
            let &port = rest.get(16..)?.first_chunk()?;
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), u16::from_be_bytes(port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(head: &[u8]) -> Option<(usize, Option<String>)> {
        match read(head) {
            Found::Header(len, client) => Some((len, client.map(|client| client.to_string()))),
            _ => None,
        }
    }

    fn block(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &len, body].concat()
    }

    #[test]
    fn a_line_names_the_client() {
        for (text, client) in [
            ("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", Some("203.0.113.7:56324")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", Some("[2001:db8::7]:56324")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let followed = format!("{text}GET / HTTP/1.1\r\n");
            assert_eq!(header(followed.as_bytes()), Some((text.len(), client.map(str::to_owned))), "{text}");
            for at in 1..text.len() {
                assert_eq!(read(&text.as_bytes()[..at]), Found::Part, "{text} {at}");
            }
        }
    }

    #[test]
    fn a_block_names_the_client() {
        let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0xdc, 4, 1, 187];
        let mut v6 = [0; 36];
        (v6[15], v6[33]) = (7, 9);
        for (bytes, client) in [
            (block(0x21, 0x11, &v4), Some("203.0.113.7:56324")),
            // More may follow the addresses.
            (block(0x21, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()), Some("203.0.113.7:56324")),
            (block(0x21, 0x21, &v6), Some("[::7]:9")),
            (block(0x20, 0x11, &v4), None),
            (block(0x20, 0, &[]), None),
            (block(0x21, 0x31, &[0; 216]), None),
            (block(0x21, 0x11, &[1, 2, 3]), None),
        ] {
            assert_eq!(header(&bytes), Some((bytes.len(), client.map(str::to_owned))));
            for at in 1..bytes.len() {
                assert_eq!(read(&bytes[..at]), Found::Part, "{at}");
            }
        }
    }

    #[test]
    fn other_beginnings_are_none() {
        let others: [&[u8]; 9] = [
            b"",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\n",
            b"PROXY TCP4 2001:db8::7 192.0.2.1 56324 443\r\n",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 565535 443\r\n",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 more\r\n",
            b"PROXY /a HTTP/1.1\r\n",
            b"PROXYING",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
            b"GET / HTTP/1.1\r\n",
        ];
        for other in others {
            assert_eq!(read(other), Found::Nothing, "{}", other.escape_ascii());
        }
        assert_eq!(read(format!("PROXY {}", "x".repeat(200)).as_bytes()), Found::Nothing);
        assert_eq!(read(&block(0x21, 0x11, &vec![0; MAX_BLOCK + 1])), Found::Nothing);
    }

    #[test]
    fn greetings_for_socks_are_told_apart() {
        assert_eq!(read(&[5, 1, 0]), Found::Socks);
        assert_eq!(read(&[5, 3, 0, 1, 2]), Found::Socks);
        assert_eq!(read(&[4, 1, 0, 80, 127, 0, 0, 1, 0]), Found::Socks);
        assert_eq!(read(&[5, 2, 0]), Found::Nothing);
        assert_eq!(read(&[5, 0]), Found::Nothing);
    }
}
