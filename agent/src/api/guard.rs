//! Who may ask. On a loopback address: whoever is on this machine, but not a page of another site in somebody's browser (which could
//! have its own name lead here). On another address: who has the token, and without one nobody.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    middleware::Next,
};
use subtle::ConstantTimeEq as _;

use super::{answers::Problem, json};

/// What is asked for, of who asks.
pub(super) struct Access {
    is_loopback: bool,
    token: Option<Arc<str>>,
}

impl Access {
    pub(super) fn new(addr: SocketAddr, token: Option<Arc<str>>) -> Self {
        Self { is_loopback: addr.ip().to_canonical().is_loopback(), token }
    }

    /// Why a request is not answered.
    fn objection(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        // What a browser says of where a request comes from; others do not say it.
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if matches!(site, Some(b"cross-site" | b"same-site")) {
            return Some((StatusCode::FORBIDDEN, OTHER_SITES));
        }
        // Older browsers say only this, and only sometimes.
        if headers.get(header::ORIGIN).is_some_and(|origin| !is_own(origin, headers)) {
            return Some((StatusCode::FORBIDDEN, OTHER_SITES));
        }
        match &self.token {
            Some(token) => {
                let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
                let given = given.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
                let is_right = given.is_some_and(|(_, given)| is_same(given.trim_ascii(), token.as_bytes()));
                (!is_right)
                    .then_some((StatusCode::UNAUTHORIZED, "the token is missing or wrong: Authorization: Bearer TOKEN"))
            }
            None if !self.is_loopback => Some((
                StatusCode::FORBIDDEN,
                "listening on an address that is no loopback address: set a token (api.token_file, OTEL_EBPF_API_TOKEN) and restart",
            )),
            None => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                (!is_here(host))
                    .then_some((StatusCode::FORBIDDEN, "without a token, ask by localhost or a loopback address"))
            }
        }
    }
}

const OTHER_SITES: &str = "pages of other sites get no answer";

/// Whether an `Origin` is that of the host that is asked.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let origin = origin.as_bytes();
    let host = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    host.is_some() && host == headers.get(header::HOST).map(HeaderValue::as_bytes)
}

/// Takes as long wherever they differ.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    given.ct_eq(token).into()
}

/// Whether a `Host` names this machine itself.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Lets a request through, or answers why not.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response<Body> {
    match access.objection(request.headers()) {
        None => next.run(request).await,
        Some((status, error)) => {
            let mut response = json(status, &Problem { error: error.to_owned() });
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

/// Scripts, styles and answers come from here alone, and none is within the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What browsers are told with each answer.
pub(super) async fn with_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objection(listen: &str, token: Option<&str>, headers: &[(&'static str, &str)]) -> Option<u16> {
        let access = Access::new(listen.parse().unwrap(), token.map(Arc::from));
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        access.objection(&headers).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn this_machine_is_answered_and_other_sites_are_not() {
        let local = "127.0.0.1:9464";
        for host in ["localhost:9464", "127.0.0.1:9464", "127.0.0.1", "[::1]:9464", "LOCALHOST"] {
            assert_eq!(objection(local, None, &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:9464", "", "192.0.2.1:9464", "[2001:db8::1]:9464"] {
            assert_eq!(objection(local, None, &[("host", host)]), Some(403), "{host}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(objection(local, None, &[("host", "localhost"), ("sec-fetch-site", site)]), Some(403));
        }
        assert_eq!(objection(local, None, &[("host", "localhost"), ("sec-fetch-site", "same-origin")]), None);
        for (origin, expected) in [
            ("http://localhost:9464", None),
            ("https://localhost:9464", None),
            ("http://evil.example", Some(403)),
            ("http://localhost:80", Some(403)),
            ("null", Some(403)),
        ] {
            let said = objection(local, None, &[("host", "localhost:9464"), ("origin", origin)]);
            assert_eq!(said, expected, "{origin}");
        }
    }

    #[test]
    fn beyond_loopback_a_token_is_needed_and_has_to_be_right() {
        for listen in ["0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464"] {
            assert_eq!(objection(listen, None, &[("host", "localhost")]), Some(403), "no token is set");
            for (given, expected) in [
                ("Bearer secret", None),
                ("bearer secret ", None),
                ("Bearer secreT", Some(401)),
                ("Bearer ", Some(401)),
                ("secret", Some(401)),
            ] {
                assert_eq!(objection(listen, Some("secret"), &[("authorization", given)]), expected, "{given}");
            }
            assert_eq!(objection(listen, Some("secret"), &[]), Some(401));
        }
        assert_eq!(objection("127.0.0.1:1", Some("secret"), &[("host", "localhost")]), Some(401), "set is set");
    }
}
