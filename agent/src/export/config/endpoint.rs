//! URLs of receivers, and headers for them.

use std::fmt;

use http::{HeaderName, HeaderValue, Uri, uri::PathAndQuery};

use super::{ConfigError, Protocol};

/// A receiver's `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
}

impl Endpoint {
    /// Reads the URL that the setting `name` holds.
    ///
    /// # Errors
    /// What is no URL with a scheme of `http` or `https` and a host, or holds a user name, a query or a fragment.
    pub fn parse(name: &str, value: &str) -> Result<Self, ConfigError> {
        let value = value.trim();
        let wrong = |problem: &str| {
            let shown = value.rsplit_once('@').map_or_else(|| value.to_owned(), |(_, rest)| format!("…@{rest}"));
            ConfigError::new(name, &shown, format!("{problem}; it should look like http://localhost:4318"))
        };
        let Some((scheme, rest)) = value.split_once("://") else {
            return Err(wrong("is no URL: it has no scheme (http:// or https://)"));
        };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(wrong("has a scheme that is neither http nor https"));
        }
        if rest.contains(['?', '#']) {
            return Err(wrong("has a query or a fragment, which an endpoint cannot have"));
        }
        let uri: Uri = value.parse().map_err(|error| wrong(&format!("is no URL ({error})")))?;
        let Some(authority) = uri.authority() else { return Err(wrong("is no URL: it has no host")) };
        if authority.as_str().contains('@') {
            return Err(wrong("holds credentials, which belong in the headers"));
        }
        if authority.host().is_empty() {
            return Err(wrong("is no URL: it has no host"));
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let usable = |digits: &str| digits.parse().is_ok_and(|port: u16| port > 0);
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(usable) {
            return Err(wrong("has a port that is not from 1 to 65535"));
        }
        Ok(Self { uri })
    }

    /// The protocol of an endpoint where none was chosen: gRPC on its registered port, else `http/protobuf`.
    #[must_use]
    pub fn default_protocol(&self) -> Protocol {
        if self.uri.port_u16() == Some(4317) { Protocol::Grpc } else { Protocol::HttpProtobuf }
    }

    /// This base URL with a signal's path (`/v1/traces`) after its own.
    pub(crate) fn with_path(&self, path: &str) -> Self {
        let joined = format!("{}{path}", self.uri.path().trim_end_matches('/'));
        let mut parts = self.uri.clone().into_parts();
        // Joining two valid paths gives a valid path; if it ever does not, the base is used as it is.
        let Ok(joined) = joined.parse::<PathAndQuery>() else { return self.clone() };
        parts.path_and_query = Some(joined);
        Uri::from_parts(parts).map_or_else(|_| self.clone(), |uri| Self { uri })
    }

    /// Whether it has a path that says anything.
    pub(crate) fn has_path(&self) -> bool {
        !matches!(self.uri.path(), "" | "/")
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Header lines of requests. Values are secrets: neither `Debug` nor an error shows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Reads `key=value,key=value` with percent-encoded values.
    ///
    /// # Errors
    /// An entry without `=`, or one that cannot be a header.
    pub fn parse(name: &str, value: &str) -> Result<Self, ConfigError> {
        value
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .enumerate()
            .map(|(index, entry)| {
                let (key, text) = entry.split_once('=').ok_or_else(|| {
                    // The entry may be a bare secret, so only its place is told.
                    ConfigError::new(name, "…", format!("entry {} has no `=`: give key=value,key=value", index + 1))
                })?;
                let key = key.trim();
                let header = HeaderName::from_bytes(key.as_bytes())
                    .map_err(|_| ConfigError::new(name, key, "is no name of a header"))?;
                let mut header_value = HeaderValue::from_bytes(&percent_decode(text.trim()))
                    .map_err(|_| ConfigError::new(name, key, "has a value that a header cannot hold"))?;
                header_value.set_sensitive(true);
                Ok((header, header_value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Decodes `%41`; a `%` that starts no escape stands for itself.
fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = (byte == b'%').then(|| after.split_at_checked(2)).flatten();
        match escape.and_then(|(digits, after)| Some((hex_byte(digits)?, after))) {
            Some((value, after)) => (decoded.push(value), rest = after).1,
            None => (decoded.push(byte), rest = after).1,
        }
    }
    decoded
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(value: &str) -> String {
        Endpoint::parse("--endpoint", value).unwrap_err().to_string()
    }

    #[test]
    fn an_endpoint_without_scheme_is_told_how_it_should_look() {
        assert_eq!(
            problem("localhost:4317"),
            "--endpoint: \"localhost:4317\" is no URL: it has no scheme (http:// or https://); it should look like \
             http://localhost:4318"
        );
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for value in [
            "",
            "http://",
            "https:///x",
            "ftp://a",
            "http://a b",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://a?x",
        ] {
            assert!(Endpoint::parse("X", value).is_err(), "{value}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let text = problem("http://me:hunter2@host:4318");
        assert!(text.contains("belong in the headers") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_signal_path_follows_the_base_path() {
        let with = |base: &str| Endpoint::parse("X", base).unwrap().with_path("/v1/traces").to_string();
        assert_eq!(with("http://a:4318"), "http://a:4318/v1/traces");
        assert_eq!(with("https://a/otlp/"), "https://a/otlp/v1/traces");
        assert_eq!(with("http://[::1]:4318/x"), "http://[::1]:4318/x/v1/traces");
    }

    #[test]
    fn headers_are_percent_decoded_and_kept_secret() {
        let headers = Headers::parse("H", "api-key=a%20b%3d, x-tenant = 100%").unwrap();
        let read: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
        assert_eq!(read, [("api-key", b"a b=".as_slice()), ("x-tenant", b"100%")]);
        assert_eq!(format!("{headers:?}"), "[\"api-key\", \"x-tenant\"]");
    }

    #[test]
    fn a_header_error_names_the_entry_but_not_its_value() {
        let text = Headers::parse("OTEL_EXPORTER_OTLP_HEADERS", "a=1,s3cret").unwrap_err().to_string();
        assert_eq!(text, "OTEL_EXPORTER_OTLP_HEADERS: \"…\" entry 2 has no `=`: give key=value,key=value");
        assert!(!Headers::parse("H", "a=x%0ay").unwrap_err().to_string().contains('x'));
    }
}
