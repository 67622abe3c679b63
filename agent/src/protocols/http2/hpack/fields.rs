//! What header fields may be in HTTP/2, and the static table (RFC 7541, Appendix A).

use crate::protocols::http::Field;

/// Whether the bytes may be a field's name in HTTP/2 (RFC 9113, section 8.2.1).
pub(crate) fn is_name(name: &[u8]) -> bool {
    let token = name.strip_prefix(b":").unwrap_or(name);
    !token.is_empty()
        && token.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Whether the bytes may be a field's value in HTTP/2 (RFC 9113, section 8.2.1).
pub(crate) fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

/// An entry of the static table: field, length of its name, value.
pub(crate) type StaticEntry = (Field, u8, &'static [u8]);

/// The static table. Index 1 is the first.
#[rustfmt::skip]
pub(crate) static STATIC: [StaticEntry; 61] = [
    (Field::Authority, 10, b""), (Field::Method, 7, b"GET"), (Field::Method, 7, b"POST"), (Field::Path, 5, b"/"),
    (Field::Path, 5, b"/index.html"), (Field::Scheme, 7, b"http"), (Field::Scheme, 7, b"https"),
    (Field::Status, 7, b"200"), (Field::Status, 7, b"204"), (Field::Status, 7, b"206"), (Field::Status, 7, b"304"),
    (Field::Status, 7, b"400"), (Field::Status, 7, b"404"), (Field::Status, 7, b"500"),
    (Field::Other, 14, b""), // accept-charset
    (Field::Other, 15, b"gzip, deflate"), // accept-encoding
    (Field::Other, 15, b""), // accept-language
    (Field::Other, 13, b""), // accept-ranges
    (Field::Other, 6, b""), // accept
    (Field::Other, 27, b""), // access-control-allow-origin
    (Field::Other, 3, b""), // age
    (Field::Other, 5, b""), // allow
    (Field::Other, 13, b""), // authorization
    (Field::Other, 13, b""), // cache-control
    (Field::Other, 19, b""), // content-disposition
    (Field::Other, 16, b""), // content-encoding
    (Field::Other, 16, b""), // content-language
    (Field::ContentLength, 14, b""),
    (Field::Other, 16, b""), // content-location
    (Field::Other, 13, b""), // content-range
    (Field::ContentType, 12, b""),
    (Field::Other, 6, b""), // cookie
    (Field::Other, 4, b""), // date
    (Field::Other, 4, b""), // etag
    (Field::Expect, 6, b""),
    (Field::Other, 7, b""), // expires
    (Field::Other, 4, b""), // from
    (Field::Host, 4, b""),
    (Field::Other, 8, b""), // if-match
    (Field::Other, 17, b""), // if-modified-since
    (Field::Other, 13, b""), // if-none-match
    (Field::Other, 8, b""), // if-range
    (Field::Other, 19, b""), // if-unmodified-since
    (Field::Other, 13, b""), // last-modified
    (Field::Other, 4, b""), // link
    (Field::Other, 8, b""), // location
    (Field::Other, 12, b""), // max-forwards
    (Field::Other, 18, b""), // proxy-authenticate
    (Field::Other, 19, b""), // proxy-authorization
    (Field::Other, 5, b""), // range
    (Field::Other, 7, b""), // referer
    (Field::Other, 7, b""), // refresh
    (Field::Other, 11, b""), // retry-after
    (Field::Other, 6, b""), // server
    (Field::Other, 10, b""), // set-cookie
    (Field::Other, 25, b""), // strict-transport-security
    (Field::TransferEncoding, 17, b""),
    (Field::UserAgent, 10, b""),
    (Field::Other, 4, b""), // vary
    (Field::Other, 3, b""), // via
    (Field::Other, 16, b""), // www-authenticate
];

/// Names of the static table, from index 15 on.
pub(crate) const NAMES: [&[u8]; 47] = [
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"accept-ranges",
    b"accept",
    b"access-control-allow-origin",
    b"age",
    b"allow",
    b"authorization",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-length",
    b"content-location",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"etag",
    b"expect",
    b"expires",
    b"from",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"link",
    b"location",
    b"max-forwards",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"referer",
    b"refresh",
    b"retry-after",
    b"server",
    b"set-cookie",
    b"strict-transport-security",
    b"transfer-encoding",
    b"user-agent",
    b"vary",
    b"via",
    b"www-authenticate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_static_table_is_that_of_another_implementation() {
        let mut decoder = httlib_hpack::Decoder::default();
        for (at, (field, name_len, value)) in STATIC.iter().enumerate() {
            let mut fields = Vec::new();
            decoder.decode(&mut vec![0x80 | (at as u8 + 1)], &mut fields).unwrap();
            let (name, theirs, _) = &fields[0];
            assert_eq!(Field::from_name(name), *field, "{}", at + 1);
            assert_eq!(name.len(), usize::from(*name_len), "{}", at + 1);
            assert!(at < 14 || NAMES[at - 14] == name.as_slice(), "{}", at + 1);
            assert_eq!(theirs, value, "{}", at + 1);
        }
    }

    #[test]
    fn names_are_lower_case_tokens() {
        assert!(is_name(b":path") && is_name(b"grpc-status") && is_name(b"x_y.z"));
        for bad in [&b""[..], b":", b"Host", b"a b", b"a:b", b"caf\xe9", b"a\0"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
