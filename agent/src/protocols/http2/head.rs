//! What a header block says about an exchange.

use compact_str::CompactString;

use super::hpack::{Decoded, identity};
use crate::{
    model::{exchange::Http, headers, trace_context::TraceParent},
    protocols::{
        grpc::parse_number,
        http::{Field, HeaderFacts, take_text, text},
    },
};

/// Longest path that is kept; longer ones are cut.
const MAX_PATH: usize = 8 * 1024;
/// Longest of the other pseudo-header fields: one that is longer is left out.
const MAX_TEXT: usize = 1024;
/// A request has at most so many pseudo-header fields, `:protocol` (RFC 8441) among them.
const MAX_PSEUDO: usize = 5;

/// What a block's first field is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum First {
    #[default]
    Nothing,
    /// `:status`: a response.
    Status,
    /// Another pseudo-header field: a request.
    Request,
    /// Trailers.
    Regular,
    /// It is from before our time.
    Unknown,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// What is told of a request as it is, its path as the target; and a response's status.
    pub(super) http: Http,
    pub(super) authority: Option<CompactString>,
    pub(super) content_length: Option<u64>,
    pub(super) facts: HeaderFacts,
    pub(super) first: First,
    /// Fields were left out (block cut, over a limit).
    pub(super) cut: bool,
    /// There were fields whose names are unknown, or there may have been.
    pub(super) any_unknown: bool,
    /// Known pseudo-header fields of a request.
    known_pseudo: usize,
    /// Whether a field was known not to be a pseudo-header field: none follows it.
    regular_seen: bool,
    /// The first unknown fields that may be pseudo-header fields.
    unknown: [u64; MAX_PSEUDO],
    unknown_len: usize,
}

impl Head {
    /// A block that could not be decoded; `nonce` is different for each.
    pub(super) fn undecodable(nonce: u64) -> Self {
        let mut head = Self { cut: true, ..Self::default() };
        head.add(Decoded::Unknown(identity(&("undecodable", nonce))));
        head
    }

    /// A request that was read as HTTP/1.
    pub(super) fn of_upgrade(http: Http, parent: Option<TraceParent>) -> Self {
        let (content_length, cut) = (http.request_body_bytes, http.headers_truncated);
        let facts = HeaderFacts::with_parent(parent);
        Self { http, content_length, cut, facts, first: First::Request, ..Self::default() }
    }

    /// Takes the block's next field.
    pub(super) fn add(&mut self, decoded: Decoded<'_>) {
        let first = match decoded {
            Decoded::Unknown(id) => {
                self.any_unknown = true;
                if !self.regular_seen
                    && let Some(slot) = self.unknown.get_mut(self.unknown_len)
                {
                    *slot = id;
                    self.unknown_len += 1;
                }
                First::Unknown
            }
            Decoded::Known { field, value, cut } => {
                self.regular_seen |= !field.is_pseudo();
                self.known_pseudo += usize::from(field.is_request_pseudo());
                self.add_known(field, value, cut);
                match field {
                    Field::Status => First::Status,
                    _ if field.is_pseudo() => First::Request,
                    _ => First::Regular,
                }
            }
        };
        if self.first == First::Nothing {
            self.first = first;
        }
    }

    fn add_known(&mut self, field: Field, value: &[u8], cut: bool) {
        if headers::any()
            && let Some(number) = field.asked_as()
        {
            self.facts.capture(number, value);
        }
        let http = &mut self.http;
        match field {
            Field::Other => {}
            Field::Wanted(number) => self.facts.capture(number, value),
            Field::Method => set(&mut http.method, value, cut),
            Field::Scheme => set(&mut http.scheme, value, cut),
            Field::Authority => set(&mut self.authority, value, cut),
            Field::Path if http.target.is_none() => {
                http.target_truncated = cut || value.len() > MAX_PATH;
                http.target = Some(text(value, MAX_PATH));
            }
            Field::Status if value.len() == 3 => http.status = parse_number(value).map(|status| status as u16),
            Field::ContentLength => self.content_length = parse_number(value),
            Field::Host | Field::UserAgent | Field::TraceState => {
                take_text(http, field, value, cut);
            }
            _ => self.facts.take(field, value, cut),
        }
    }

    /// Whether the request is a plain CONNECT, which has neither scheme nor path.
    pub(super) fn is_tunnel(&self) -> bool {
        self.http.method.as_deref() == Some("CONNECT") && self.http.target.is_none() && self.http.scheme.is_none()
    }

    /// The unknown fields among which those pseudo-header fields of a request are that are not known. They come
    /// before all others (RFC 9113, section 8.3), so they are among the first unknown ones.
    pub(super) fn unknown_pseudo(&self) -> &[u64] {
        let most = match self.http.method.as_deref() {
            Some("CONNECT") | None => MAX_PSEUDO,
            Some(_) => MAX_PSEUDO - 1,
        };
        let most = most.saturating_sub(self.known_pseudo).min(self.unknown_len);
        self.unknown.get(..most).unwrap_or_default()
    }

    /// Heap bytes held.
    pub(super) fn heap(&self) -> usize {
        let Http { method, target, scheme, host, user_agent, trace_state, baggage, .. } = &self.http;
        let texts: usize = [method, target, scheme, &self.authority, host, user_agent, trace_state]
            .into_iter()
            .flatten()
            .filter(|text| text.is_heap_allocated())
            .map(CompactString::capacity)
            .sum();
        texts + baggage.heap() + self.facts.heap()
    }
}

fn set(slot: &mut Option<CompactString>, value: &[u8], cut: bool) {
    if slot.is_none() && !cut && value.len() <= MAX_TEXT {
        *slot = Some(text(value, MAX_TEXT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(Field, &str)]) -> Head {
        let mut head = Head::default();
        for (field, value) in fields {
            head.add(Decoded::Known { field: *field, value: value.as_bytes(), cut: false });
        }
        head
    }

    #[test]
    fn the_first_of_two_values_counts() {
        let head = head(&[(Field::Path, "/a"), (Field::Path, "/b"), (Field::Authority, "x"), (Field::Authority, "y")]);
        assert_eq!((head.http.target.as_deref(), head.authority.as_deref()), (Some("/a"), Some("x")));
    }

    #[test]
    fn a_method_too_long_to_keep_is_left_out_and_a_long_path_is_cut() {
        let head = head(&[(Field::Method, &"M".repeat(2000)), (Field::Path, &"/".repeat(9000))]);
        assert_eq!(head.http.method, None);
        assert_eq!(head.http.target.as_ref().map(|path| path.len()), Some(MAX_PATH));
        assert!(head.http.target_truncated);
    }

    #[test]
    fn what_may_be_the_path_is_among_the_first_unknown_fields() {
        let mut head = head(&[(Field::Method, "POST"), (Field::Scheme, "http")]);
        for id in 1..=4 {
            head.add(Decoded::Unknown(id));
        }
        assert_eq!(head.unknown_pseudo(), [1, 2], "path and authority");
        head.add(Decoded::Known { field: Field::Te, value: b"trailers", cut: false });
        assert!(head.facts.te_trailers);
    }

    #[test]
    fn no_pseudo_header_field_follows_a_regular_one() {
        let mut head = head(&[(Field::Method, "POST"), (Field::Te, "trailers")]);
        head.add(Decoded::Unknown(1));
        assert!(head.unknown_pseudo().is_empty());
    }
}
