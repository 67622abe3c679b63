//! A request target's parts (RFC 9112, 3.2).

use crate::model::exchange::Http;

/// Which of its forms a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `/path?query`; also what has no valid form.
    Origin,
    /// `scheme://host/path?query`.
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
    /// `*`.
    Asterisk,
    /// Not known.
    Missing,
}

/// Where the parts of a target lie, as byte offsets, so that the text can be moved meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) form: Form,
    scheme_end: usize,
    /// `None` where the authority was cut off.
    authority: Option<(usize, usize)>,
    path_start: usize,
    path_end: usize,
}

impl Target {
    pub(super) fn of(http: &Http) -> Self {
        let mut target = Self { form: Form::Missing, scheme_end: 0, authority: None, path_start: 0, path_end: 0 };
        let Some(text) = http.target.as_deref() else { return target };
        target.form = Form::Origin;
        if text == "*" {
            target.form = Form::Asterisk;
        } else if http.method.as_deref() == Some("CONNECT") && !text.starts_with('/') && !text.contains("://") {
            target.form = Form::Authority;
            target.authority = (!http.target_truncated).then_some((0, text.len()));
        } else if !text.starts_with('/')
            && let Some(scheme_end) = text.find("://").filter(|end| is_scheme(text.as_bytes(), *end))
        {
            target.form = Form::Absolute;
            target.scheme_end = scheme_end;
            let start = scheme_end + "://".len();
            let rest = text.as_bytes().get(start..).unwrap_or_default();
            let found = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let end = start + found.unwrap_or(rest.len());
            target.authority = (found.is_some() || !http.target_truncated).then_some((start, end));
            target.path_start = end;
        }
        let path = text.as_bytes().get(target.path_start..).unwrap_or_default();
        target.path_end = target.path_start + path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
        target
    }

    pub(super) fn scheme<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.get(..self.scheme_end).filter(|_| self.form == Form::Absolute)
    }

    /// With user info, where there is any.
    pub(super) fn authority<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.authority.and_then(|(start, end)| text.get(start..end))
    }

    /// An absolute target's empty path is `/`.
    pub(super) fn path<'a>(&self, text: &'a str) -> &'a str {
        let path = text.get(self.path_start..self.path_end).unwrap_or_default();
        if path.is_empty() && self.form == Form::Absolute { "/" } else { path }
    }

    /// Without its `?`.
    pub(super) fn query<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.get(self.path_end..).and_then(|rest| rest.strip_prefix('?'))
    }

    /// Whether capture did not cut the path: what ends in a `?` is whole.
    pub(super) fn path_is_whole(&self, text: &str, truncated: bool) -> bool {
        !truncated || self.path_end < text.len()
    }
}

/// A letter, then letters, digits, `+`, `-`, `.` (RFC 3986, 3.1).
fn is_scheme(text: &[u8], end: usize) -> bool {
    let scheme = text.get(..end).unwrap_or_default();
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Form, scheme, authority, path, query.
    fn parts(method: &str, text: &str, truncated: bool) -> (Form, String, String, String, String) {
        let http = Http {
            method: Some(method.into()),
            target: Some(text.into()),
            target_truncated: truncated,
            ..Http::default()
        };
        let target = Target::of(&http);
        let owned = |part: Option<&str>| part.unwrap_or("-").to_owned();
        (
            target.form,
            owned(target.scheme(text)),
            owned(target.authority(text)),
            target.path(text).to_owned(),
            owned(target.query(text)),
        )
    }

    fn expected(form: Form, parts: [&str; 4]) -> (Form, String, String, String, String) {
        let [scheme, authority, path, query] = parts.map(str::to_owned);
        (form, scheme, authority, path, query)
    }

    #[test]
    fn every_form_is_taken_apart() {
        for (method, text, form, rest) in [
            ("GET", "/a/b?c=d?e", Form::Origin, ["-", "-", "/a/b", "c=d?e"]),
            ("GET", "/a?", Form::Origin, ["-", "-", "/a", ""]),
            ("GET", "/r?to=http://h/", Form::Origin, ["-", "-", "/r", "to=http://h/"]),
            ("GET", "//h/a", Form::Origin, ["-", "-", "//h/a", "-"]),
            ("GET", "", Form::Origin, ["-", "-", "", "-"]),
            ("OPTIONS", "*", Form::Asterisk, ["-", "-", "*", "-"]),
            ("CONNECT", "h:443", Form::Authority, ["-", "h:443", "h:443", "-"]),
            ("GET", "http://u:p@h:1/a?b", Form::Absolute, ["http", "u:p@h:1", "/a", "b"]),
            ("GET", "HTTPS://h", Form::Absolute, ["HTTPS", "h", "/", "-"]),
            ("GET", "http://h?b", Form::Absolute, ["http", "h", "/", "b"]),
            ("GET", "1://h/a", Form::Origin, ["-", "-", "1://h/a", "-"]),
        ] {
            assert_eq!(parts(method, text, false), expected(form, rest), "{text}");
        }
    }

    #[test]
    fn an_authority_that_was_cut_off_is_not_used() {
        assert_eq!(parts("GET", "http://exam", true), expected(Form::Absolute, ["http", "-", "/", "-"]));
        assert_eq!(parts("GET", "http://h/pa", true), expected(Form::Absolute, ["http", "h", "/pa", "-"]));
        assert_eq!(parts("CONNECT", "exam", true).2, "-");
    }
}
