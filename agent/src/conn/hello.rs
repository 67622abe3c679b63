//! The one thing that is read of TLS itself: which version the server has chosen.

/// Content type of a record, and type of a handshake message.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
/// Extension that overrules the version in the message's own field.
const SUPPORTED_VERSIONS: u16 = 43;

/// The version that a ServerHello chooses (RFC 8446, 4.1.3 and 4.2.1; RFC 5246, 7.4.1.3), if `bytes` hold one. They stand
/// `position` bytes behind the beginning of what their side sends. At 0 that is its first record. Clients read its header
/// by itself; OpenSSL 1.0.2 reads two bytes more, by which it tells the versions of SSL apart.
pub(super) fn chosen_version(position: u64, bytes: &[u8]) -> Option<&'static str> {
    let rest = match (position, bytes) {
        (0, [HANDSHAKE, 3, _, _, _, SERVER_HELLO, 0, rest @ ..]) | (5, [SERVER_HELLO, 0, rest @ ..]) | (7, rest) => {
            rest
        }
        _ => return None,
    };
    let (len, rest) = number(rest)?;
    // All of the message, so that one without extensions is told from one that is cut.
    let (legacy, rest) = number(rest.get(..usize::from(len))?)?;
    // Random, then the session's id, cipher suite and compression.
    let (&session_id, rest) = rest.get(32..)?.split_first()?;
    let rest = rest.get(usize::from(session_id)..)?.get(3..)?;
    let mut chosen = legacy;
    if legacy >= 0x0303 && !rest.is_empty() {
        let (len, rest) = number(rest)?;
        let mut rest = rest.get(..usize::from(len))?;
        while !rest.is_empty() {
            let (kind, after) = number(rest)?;
            let (len, after) = number(after)?;
            let (value, after) = after.split_at_checked(len.into())?;
            if kind == SUPPORTED_VERSIONS {
                chosen = number(value)?.0;
            }
            rest = after;
        }
    }
    match chosen {
        0x0300 => Some("3.0"),
        0x0301 => Some("1.0"),
        0x0302 => Some("1.1"),
        0x0303 => Some("1.2"),
        0x0304 => Some("1.3"),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ServerHello with these extensions, in a record.
    fn hello(legacy: u16, session_id: &[u8], extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = legacy.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(u8::try_from(session_id.len()).unwrap());
        body.extend(session_id);
        body.extend([0x13, 1, 0]);
        if let Some(extensions) = extensions {
            body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
            body.extend(extensions);
        }
        let len = u16::try_from(body.len()).unwrap();
        let mut record = vec![HANDSHAKE, 3, 3];
        record.extend((len + 4).to_be_bytes());
        record.extend([SERVER_HELLO, 0]);
        record.extend(len.to_be_bytes());
        record.extend(body);
        record
    }

    const TLS_1_3: &[u8] = &[0, 51, 0, 2, 0, 29, 0, 43, 0, 2, 3, 4];

    #[test]
    fn the_extension_overrules_the_field() {
        assert_eq!(chosen_version(0, &hello(0x0303, &[1; 32], Some(TLS_1_3))), Some("1.3"));
        assert_eq!(chosen_version(0, &hello(0x0303, &[], Some(&[0xff, 1, 0, 1, 0]))), Some("1.2"));
        assert_eq!(chosen_version(0, &hello(0x0303, &[], None)), Some("1.2"));
        assert_eq!(chosen_version(0, &hello(0x0301, &[], None)), Some("1.0"));
    }

    #[test]
    fn the_header_may_have_been_read_before() {
        let whole = hello(0x0303, &[1; 32], Some(TLS_1_3));
        assert_eq!(chosen_version(5, &whole[5..]), Some("1.3"));
        assert_eq!(chosen_version(7, &whole[7..]), Some("1.3"));
        assert_eq!(chosen_version(0, &whole[5..]), None);
        assert_eq!(chosen_version(4, &whole[5..]), None);
        assert_eq!(chosen_version(9, &whole[5..]), None);
        assert_eq!(chosen_version(5, &whole), None);
        assert_eq!(chosen_version(7, &whole), None);
        assert_eq!(chosen_version(7, b"\x17\x03 so and so many bytes of something else"), None);
        assert_eq!(chosen_version(400, &whole), None);
    }

    #[test]
    fn what_is_cut_tells_nothing() {
        let whole = hello(0x0303, &[1; 32], Some(TLS_1_3));
        for len in 0..whole.len() {
            assert_eq!(chosen_version(0, &whole[..len]), None, "{len}");
        }
    }

    #[test]
    fn other_messages_tell_nothing() {
        let mut client = hello(0x0303, &[], Some(TLS_1_3));
        client[5] = 1;
        assert_eq!(chosen_version(0, &client), None);
        assert_eq!(chosen_version(0, b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(chosen_version(0, &[0x17, 3, 3, 0, 1, 2]), None);
    }
}
