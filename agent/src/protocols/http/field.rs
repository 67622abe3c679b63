//! Header fields that matter to exchanges over HTTP, by whatever version: the one table of their names.

use crate::model::headers;

/// A header field's name, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    TransferEncoding,
    Upgrade,
    Expect,
    Te,
    TraceParent,
    TraceState,
    Baggage,
    B3,
    B3TraceId,
    B3SpanId,
    B3ParentSpanId,
    B3Sampled,
    B3Flags,
    UberTraceId,
    GrpcStatus,
    GrpcTimeout,
    /// Any other name that begins with `grpc-`.
    GrpcOther,
    ConnectProtocolVersion,
    ConnectTimeoutMs,
    /// A name that the configuration asks for, by its number.
    Wanted(u8),
    /// Any other name; neither it nor its values are kept.
    #[default]
    Other,
}

macro_rules! table {
    ($($field:ident = $name:literal, $usual:literal;)*) => {
        impl Field {
            /// Fields with a name of their own.
            #[cfg(test)]
            const NAMED: &[(Self, &[u8])] = &[$((Self::$field, $name),)*];

            /// The field a name in lower case stands for.
            pub(crate) fn from_name(name: &[u8]) -> Self {
                match name {
                    $($name => Self::$field,)*
                    [b':', ..] => Self::OtherPseudo,
                    [b'g', b'r', b'p', b'c', b'-', ..] => Self::GrpcOther,
                    name => headers::find(name).map_or(Self::Other, Self::Wanted),
                }
            }

            /// How the name is usually written in HTTP/1.
            #[inline(always)]
            const fn usual(self) -> &'static [u8] {
                match self {
                    $(Self::$field => $usual,)*
                    Self::OtherPseudo | Self::GrpcOther | Self::Wanted(_) | Self::Other => b"",
                }
            }
        }
    };
}

table! {
    Method = b":method", b"";
    Path = b":path", b"";
    Scheme = b":scheme", b"";
    Authority = b":authority", b"";
    Status = b":status", b"";
    Protocol = b":protocol", b"";
    Host = b"host", b"Host";
    UserAgent = b"user-agent", b"User-Agent";
    ContentType = b"content-type", b"Content-Type";
    ContentLength = b"content-length", b"Content-Length";
    TransferEncoding = b"transfer-encoding", b"Transfer-Encoding";
    Upgrade = b"upgrade", b"Upgrade";
    Expect = b"expect", b"Expect";
    Te = b"te", b"TE";
    TraceParent = b"traceparent", b"traceparent";
    TraceState = b"tracestate", b"tracestate";
    Baggage = b"baggage", b"baggage";
    B3 = b"b3", b"b3";
    B3TraceId = b"x-b3-traceid", b"X-B3-TraceId";
    B3SpanId = b"x-b3-spanid", b"X-B3-SpanId";
    B3ParentSpanId = b"x-b3-parentspanid", b"X-B3-ParentSpanId";
    B3Sampled = b"x-b3-sampled", b"X-B3-Sampled";
    B3Flags = b"x-b3-flags", b"X-B3-Flags";
    UberTraceId = b"uber-trace-id", b"uber-trace-id";
    GrpcStatus = b"grpc-status", b"Grpc-Status";
    GrpcTimeout = b"grpc-timeout", b"Grpc-Timeout";
    ConnectProtocolVersion = b"connect-protocol-version", b"Connect-Protocol-Version";
    ConnectTimeoutMs = b"connect-timeout-ms", b"Connect-Timeout-Ms";
}

impl Field {
    /// The field and the value of a header line of HTTP/1, of those that matter there.
    #[inline]
    pub(crate) fn of_line(line: &[u8]) -> (Self, &[u8]) {
        // The usual spelling is compared first: a few whole words instead of bytes one by one.
        let third_is = |letter| line.get(3).is_some_and(|byte| byte | 0x20 == letter);
        let sixth_is = |letter| line.get(5).is_some_and(|byte| byte | 0x20 == letter);
        match line.first().map_or(0, |first| first | 0x20) {
            b'h' => Self::Host.named(line),
            b'u' if line.get(4) == Some(&b'-') => match line.get(1).map_or(0, |second| second | 0x20) {
                b's' => Self::UserAgent.named(line),
                _ => Self::UberTraceId.named(line),
            },
            b'u' => Self::Upgrade.named(line),
            b'c' => match line.get(8).map_or(0, |byte| byte | 0x20) {
                b'l' => Self::ContentLength.named(line),
                b't' if third_is(b't') => Self::ContentType.named(line),
                b't' => Self::ConnectTimeoutMs.named(line),
                b'p' => Self::ConnectProtocolVersion.named(line),
                _ => (Self::Other, &[]),
            },
            b't' if line.get(8) == Some(&b'-') => Self::TransferEncoding.named(line),
            b't' if sixth_is(b's') => Self::TraceState.named(line),
            b't' => Self::TraceParent.named(line),
            b'e' => Self::Expect.named(line),
            b'g' if sixth_is(b's') => Self::GrpcStatus.named(line),
            b'g' => Self::GrpcTimeout.named(line),
            b'b' if line.get(1) == Some(&b'3') => Self::B3.named(line),
            b'b' => Self::Baggage.named(line),
            b'x' if line.get(3) == Some(&b'3') => match line.get(5).map_or(0, |byte| byte | 0x20) {
                b't' => Self::B3TraceId.named(line),
                b's' if line.get(6).is_some_and(|byte| byte | 0x20 == b'p') => Self::B3SpanId.named(line),
                b's' => Self::B3Sampled.named(line),
                b'p' => Self::B3ParentSpanId.named(line),
                _ => Self::B3Flags.named(line),
            },
            _ => (Self::Other, &[]),
        }
    }

    /// This field and its value, if the line has that name.
    #[inline(always)]
    fn named(self, line: &[u8]) -> (Self, &[u8]) {
        let name = self.usual();
        match line.split_at_checked(name.len()) {
            Some((found, [b':', value @ ..])) if found == name || found.eq_ignore_ascii_case(name) => {
                (self, value.trim_ascii())
            }
            _ => (Self::Other, &[]),
        }
    }

    /// The number of a field with a name of its own whose values are kept, if the configuration asks for it too.
    #[cold]
    pub(crate) fn asked_as(self) -> Option<u8> {
        let name = self.usual();
        if name.is_empty() || !self.is_kept() { None } else { headers::find(name) }
    }

    /// Whether it says how a message of HTTP/1 is framed.
    pub(crate) const fn frames(self) -> bool {
        matches!(self, Self::ContentLength | Self::TransferEncoding | Self::Upgrade | Self::Expect)
    }

    /// Whether it is a pseudo-header field of requests.
    pub(crate) const fn is_request_pseudo(self) -> bool {
        matches!(self, Self::Method | Self::Path | Self::Scheme | Self::Authority | Self::Protocol)
    }

    /// Whether its name begins with a colon.
    pub(crate) const fn is_pseudo(self) -> bool {
        self.is_request_pseudo() || matches!(self, Self::Status | Self::OtherPseudo)
    }

    /// Whether it carries something of the caller's trace, besides `tracestate`.
    #[inline]
    pub(crate) const fn is_carrier(self) -> bool {
        matches!(
            self,
            Self::TraceParent
                | Self::Baggage
                | Self::B3
                | Self::B3TraceId
                | Self::B3SpanId
                | Self::B3ParentSpanId
                | Self::B3Sampled
                | Self::B3Flags
                | Self::UberTraceId
        )
    }

    /// Whether values of it matter in HTTP/2, so that they are kept in the dynamic table.
    pub(crate) const fn is_kept(self) -> bool {
        !matches!(
            self,
            Self::Other | Self::OtherPseudo | Self::GrpcOther | Self::TransferEncoding | Self::Upgrade | Self::Expect
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_field_in_either_version() {
        for &(field, name) in Field::NAMED {
            assert_eq!(Field::from_name(name), field);
            // Those are HTTP/2's own.
            if field.is_pseudo() || field == Field::Te {
                continue;
            }
            assert!(field.usual().eq_ignore_ascii_case(name), "{field:?}");
            for name in [name.to_vec(), field.usual().to_vec(), name.to_ascii_uppercase()] {
                let line = [&name[..], b":  of it "].concat();
                assert_eq!(Field::of_line(&line), (field, &b"of it"[..]), "{field:?}");
                assert_eq!(Field::of_line(&name), (Field::Other, &b""[..]), "{field:?}");
                assert_eq!(Field::of_line(&[&name[..], b"s: of it"].concat()), (Field::Other, &b""[..]), "{field:?}");
            }
        }
    }

    #[test]
    fn names_of_no_interest_are_told_apart_by_their_beginning() {
        assert_eq!(Field::from_name(b":other"), Field::OtherPseudo);
        assert_eq!(Field::from_name(b"grpc-message"), Field::GrpcOther);
        assert_eq!(Field::from_name(b"accept"), Field::Other);
        assert_eq!(Field::of_line(b"Accept: x"), (Field::Other, &b""[..]));
    }
}
