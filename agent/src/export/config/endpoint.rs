//! URLs of receivers, and headers for them.

use std::fmt;

use http::{HeaderName, HeaderValue, Uri};

use super::ConfigError;

/// A receiver's `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverUrl {
    uri: Uri,
}

impl ReceiverUrl {
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

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

impl fmt::Display for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Header lines of requests. Values are secrets: neither `Debug` nor an error shows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Takes names and values as they are sent.
    ///
    /// # Errors
    /// A name or a value that cannot be a header's. `setting` is what the error names.
    pub fn new<'a>(setting: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let header = |(key, text): (&str, &str)| {
            let name = HeaderName::from_bytes(key.as_bytes())
                .map_err(|_| ConfigError::new(setting, key, "is no name of a header"))?;
            let mut value = HeaderValue::from_str(text)
                .map_err(|_| ConfigError::new(setting, key, "has a value that a header cannot hold"))?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        pairs.into_iter().map(header).collect::<Result<_, _>>().map(Self)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(value: &str) -> String {
        ReceiverUrl::parse("--endpoint", value).unwrap_err().to_string()
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
            assert!(ReceiverUrl::parse("X", value).is_err(), "{value}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let text = problem("http://me:hunter2@host:4318");
        assert!(text.contains("belong in the headers") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn headers_are_taken_as_they_are_and_kept_secret() {
        let headers = Headers::new("H", [("api-key", "a,b=c%20"), ("x-tenant", "100%")]).unwrap();
        let read: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
        assert_eq!(read, [("api-key", b"a,b=c%20".as_slice()), ("x-tenant", b"100%")]);
        assert_eq!(format!("{headers:?}"), "[\"api-key\", \"x-tenant\"]");
    }

    #[test]
    fn a_header_error_names_the_header_but_not_its_value() {
        let text = Headers::new("otlp.headers", [("a", "s3cret\n")]).unwrap_err().to_string();
        assert_eq!(text, "otlp.headers: \"a\" has a value that a header cannot hold");
        assert!(Headers::new("H", [("a b", "x")]).is_err());
    }
}
