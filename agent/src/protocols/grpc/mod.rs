//! Remote procedure calls over HTTP: gRPC (over HTTP/2), gRPC-Web and Connect, told apart from each other and from plain
//! HTTP by their headers. Pure functions; HTTP/1 and HTTP/2 call them.

use compact_str::CompactString;

/// `rpc.system.name` of gRPC.
pub(crate) const GRPC: &str = "grpc";
/// `rpc.system.name` of gRPC-Web: there is no agreed word for it, and it is not gRPC.
pub(crate) const GRPC_WEB: &str = "grpc_web";
/// `rpc.system.name` of Connect.
pub(crate) const CONNECT: &str = "connectrpc";

/// The status code `UNKNOWN`.
pub(crate) const UNKNOWN: u32 = 2;

/// What a `content-type` says about the protocol on top of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/grpc`, `application/grpc+proto` …
    Grpc,
    /// `application/grpc-web`, `application/grpc-web-text` …
    GrpcWeb,
    /// `application/connect+proto` …: a streaming call of Connect.
    ConnectStream,
    /// `application/json`: what an error of a unary Connect call comes as.
    Json,
    /// Anything else.
    Other,
}

impl Media {
    /// Reads a `content-type`.
    pub(crate) fn parse(content_type: &[u8]) -> Self {
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let subtype = match essence.split_at_checked(b"application/".len()) {
            Some((kind, subtype)) if kind.eq_ignore_ascii_case(b"application/") => subtype,
            _ => return Self::Other,
        };
        let is = |name: &[u8]| subtype.eq_ignore_ascii_case(name);
        let begins = |prefix: &[u8]| subtype.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        if is(b"grpc") || begins(b"grpc+") {
            Self::Grpc
        } else if is(b"grpc-web") || begins(b"grpc-web+") || begins(b"grpc-web-") {
            Self::GrpcWeb
        } else if begins(b"connect+") {
            Self::ConnectStream
        } else if is(b"json") {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// Whether a `user-agent` is that of a gRPC library (`grpc-go/1.70`, `my-app grpc-java-netty/1.60`).
pub(crate) fn is_grpc_agent(user_agent: &str) -> bool {
    user_agent.starts_with("grpc-") || user_agent.contains(" grpc-")
}

/// `grpc-timeout` in ns: at most eight digits and a unit.
pub(crate) fn parse_timeout(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    let unit_ns: u64 = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1000,
        b'n' => 1,
        _ => return None,
    };
    if digits.len() > 8 {
        return None;
    }
    parse_number(digits)?.checked_mul(unit_ns)
}

/// `connect-timeout-ms` in ns: at most ten digits.
pub(crate) fn parse_connect_timeout(value: &[u8]) -> Option<u64> {
    if value.len() > 10 {
        return None;
    }
    parse_number(value)?.checked_mul(1_000_000)
}

/// A decimal number without sign; `None` if it is none or does not fit.
pub(crate) fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `package.Service/Method` of a gRPC call's path.
pub(crate) fn grpc_method(path: &str) -> CompactString {
    path.strip_prefix('/').unwrap_or(path).into()
}

/// `package.Service/Method` of a Connect or gRPC-Web call's path, which may have a prefix and a query.
pub(crate) fn web_method(path: &str) -> CompactString {
    let path = path.split('?').next().unwrap_or_default();
    let mut segments = path.rsplitn(3, '/');
    match (segments.next(), segments.next()) {
        (Some(method), Some(service)) if !service.is_empty() => {
            let mut name = CompactString::from(service);
            name.push('/');
            name.push_str(method);
            name
        }
        _ => path.into(),
    }
}

/// Whether a request is a unary Connect call by `GET`: its query says so.
pub(crate) fn is_connect_get(method: Option<&str>, path: Option<&str>) -> bool {
    let Some(path) = path.filter(|_| method == Some("GET")) else { return false };
    let query = memchr::memchr(b'?', path.as_bytes()).and_then(|at| path.get(at + 1..));
    query.is_some_and(|query| query.split('&').any(|part| part == "connect=v1"))
}

/// The status code of a unary Connect call, where the HTTP status and the kind of body tell it. A Connect error is
/// JSON and its code stands in the body, which nobody reads here; some HTTP statuses stand for one code only. Without
/// JSON it is not the service that answered, and the specification maps the HTTP status to a code.
pub(crate) fn connect_unary_status(http_status: u16, body: Option<Media>) -> Option<u32> {
    let by_service = match http_status {
        200 => return Some(0),
        401 => Some(16), // unauthenticated
        403 => Some(7),  // permission_denied
        404 => Some(5),  // not_found
        429 => Some(8),  // resource_exhausted
        499 => Some(1),  // canceled
        501 => Some(12), // unimplemented
        503 => Some(14), // unavailable
        504 => Some(4),  // deadline_exceeded
        _ => None,
    };
    let by_others = Some(match http_status {
        400 => 13, // internal
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2, // unknown
    });
    match body {
        Some(Media::Json) => by_service,
        Some(_) => by_others,
        None if by_service == by_others => by_service,
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_told_apart() {
        for (value, media) in [
            ("application/grpc", Media::Grpc),
            ("application/grpc+proto", Media::Grpc),
            ("application/grpc; charset=utf-8", Media::Grpc),
            ("Application/GRPC+json", Media::Grpc),
            ("application/grpc-web", Media::GrpcWeb),
            ("application/grpc-web+proto", Media::GrpcWeb),
            ("application/grpc-web-text", Media::GrpcWeb),
            ("application/grpcx", Media::Other),
            ("application/connect+json", Media::ConnectStream),
            ("application/json; charset=utf-8", Media::Json),
            ("application/proto", Media::Other),
            ("text/grpc", Media::Other),
            ("", Media::Other),
        ] {
            assert_eq!(Media::parse(value.as_bytes()), media, "{value}");
        }
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        for (value, ns) in [
            ("1H", Some(3_600_000_000_000)),
            ("2M", Some(120_000_000_000)),
            ("3S", Some(3_000_000_000)),
            ("4m", Some(4_000_000)),
            ("5u", Some(5000)),
            ("99999999n", Some(99_999_999)),
            ("99999999H", None),
            ("123456789n", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("1x", None),
            ("", None),
        ] {
            assert_eq!(parse_timeout(value.as_bytes()), ns, "{value}");
        }
        assert_eq!(parse_connect_timeout(b"1500"), Some(1_500_000_000));
        assert_eq!(parse_connect_timeout(b"12345678901"), None);
    }

    #[test]
    fn a_call_by_get_says_so_in_its_query() {
        assert!(is_connect_get(Some("GET"), Some("/pkg.Svc/Do?message=x&connect=v1")));
        assert!(!is_connect_get(Some("GET"), Some("/pkg.Svc/connect=v1")));
        assert!(!is_connect_get(Some("POST"), Some("/pkg.Svc/Do?connect=v1")));
        assert!(!is_connect_get(Some("GET"), Some("/pkg.Svc/Do?connect=v11")));
        assert!(!is_connect_get(None, Some("/pkg.Svc/Do?connect=v1")));
    }

    #[test]
    fn methods_are_service_and_method() {
        assert_eq!(grpc_method("/pkg.Svc/Do"), "pkg.Svc/Do");
        assert_eq!(web_method("/pkg.Svc/Do"), "pkg.Svc/Do");
        assert_eq!(web_method("/api/v1/pkg.Svc/Do?connect=v1"), "pkg.Svc/Do");
        assert_eq!(web_method("/x"), "/x");
    }

    #[test]
    fn connect_statuses_are_told_only_where_they_are_certain() {
        assert_eq!(connect_unary_status(200, None), Some(0));
        assert_eq!(connect_unary_status(404, Some(Media::Json)), Some(5));
        assert_eq!(connect_unary_status(404, Some(Media::Other)), Some(12));
        assert_eq!(connect_unary_status(404, None), None);
        assert_eq!(connect_unary_status(500, Some(Media::Json)), None);
        assert_eq!(connect_unary_status(503, None), Some(14));
    }
}
