//! Names of header fields that matter here, and the static table (RFC 7541, Appendix A).

/// A header field's name, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    Method,
    Path,
    Scheme,
    Authority,
    Status,
    /// `:protocol` (RFC 8441).
    Protocol,
    /// Any other name that begins with a colon.
    OtherPseudo,
    Host,
    UserAgent,
    ContentType,
    ContentLength,
    Te,
    TraceParent,
    TraceState,
    GrpcStatus,
    GrpcTimeout,
    /// Any other name that begins with `grpc-`.
    GrpcOther,
    ConnectProtocolVersion,
    ConnectTimeoutMs,
    /// Any other name; neither it nor its values are kept.
    Other,
}

impl Field {
    /// The field a name in lower case stands for.
    pub(crate) fn from_name(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":status" => Self::Status,
            b":protocol" => Self::Protocol,
            [b':', ..] => Self::OtherPseudo,
            b"host" => Self::Host,
            b"user-agent" => Self::UserAgent,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"te" => Self::Te,
            b"traceparent" => Self::TraceParent,
            b"tracestate" => Self::TraceState,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-timeout" => Self::GrpcTimeout,
            [b'g', b'r', b'p', b'c', b'-', ..] => Self::GrpcOther,
            b"connect-protocol-version" => Self::ConnectProtocolVersion,
            b"connect-timeout-ms" => Self::ConnectTimeoutMs,
            _ => Self::Other,
        }
    }

    /// Whether it is a pseudo-header field of requests.
    pub(crate) const fn is_request_pseudo(self) -> bool {
        matches!(self, Self::Method | Self::Path | Self::Scheme | Self::Authority | Self::Protocol)
    }

    /// Whether its name begins with a colon.
    pub(crate) const fn is_pseudo(self) -> bool {
        self.is_request_pseudo() || matches!(self, Self::Status | Self::OtherPseudo)
    }

    /// Whether values of it are kept in the dynamic table.
    pub(crate) const fn is_kept(self) -> bool {
        !matches!(self, Self::Other | Self::OtherPseudo | Self::GrpcOther)
    }
}

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
    (Field::Other, 6, b""), // expect
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
    (Field::Other, 17, b""), // transfer-encoding
    (Field::UserAgent, 10, b""),
    (Field::Other, 4, b""), // vary
    (Field::Other, 3, b""), // via
    (Field::Other, 16, b""), // www-authenticate
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
