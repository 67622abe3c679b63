//! The B3 headers (<https://github.com/openzipkin/b3-propagation>): all in one (`b3`), or one for each (`X-B3-*`).
//!
//! A sampling state without ids names no parent: it is none.

use super::{
    probability::Sampled,
    trace_context::{SpanId, TraceId, TraceParent},
};

/// What B3 says of whether a trace is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is not.
    Deny,
    /// It is.
    Accept,
    /// It is, whatever a sampler says.
    Debug,
}

impl State {
    /// Reads `X-B3-Sampled`; older tracers wrote it in words.
    #[must_use]
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        match value.trim_ascii() {
            b"0" | b"false" => Some(Self::Deny),
            b"1" | b"true" => Some(Self::Accept),
            _ => None,
        }
    }
}

/// Reads the value of `b3`: `{trace id}-{span id}-{state}-{parent's span id}`, the last two of which may be missing.
#[must_use]
pub(crate) fn parse(value: &[u8]) -> Option<TraceParent> {
    let mut parts = value.trim_ascii().split(|&byte| byte == b'-');
    let (trace_id, span_id) = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
    let state = match parts.next() {
        Some(b"d") => Some(State::Debug),
        Some(b"1") => Some(State::Accept),
        Some(b"0") => Some(State::Deny),
        Some(_) => return None,
        None => None,
    };
    if let Some(parent) = parts.next() {
        self::span_id(parent)?;
    }
    parts.next().is_none().then(|| parent(trace_id, span_id, state))
}

/// The context that these say together.
#[must_use]
pub(crate) const fn parent(trace_id: TraceId, span_id: SpanId, state: Option<State>) -> TraceParent {
    let flags = matches!(state, Some(State::Accept | State::Debug)) as u8;
    TraceParent { trace_id, span_id, flags, is_deferred: state.is_none(), sampled: Sampled::NOTHING }
}

/// Reads `X-B3-TraceId`: 32 digits, or 16 of an id of 64 bits.
#[must_use]
pub(crate) fn trace_id(value: &[u8]) -> Option<TraceId> {
    TraceId::from_hex(value.trim_ascii())
}

/// Reads `X-B3-SpanId` and `X-B3-ParentSpanId`.
#[must_use]
pub(crate) fn span_id(value: &[u8]) -> Option<SpanId> {
    SpanId::from_hex(value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn read(text: &str) -> Option<(String, String, u8, bool)> {
        parse(text.as_bytes()).map(|it| (it.trace_id.to_string(), it.span_id.to_string(), it.flags, it.is_deferred))
    }

    #[test]
    fn one_header_says_all_and_its_end_may_be_missing() {
        let told = |flags, deferred| Some((TRACE.to_owned(), SPAN.to_owned(), flags, deferred));
        for (rest, expected) in [
            ("", told(0, true)),
            ("-1", told(1, false)),
            ("-d", told(1, false)),
            ("-0", told(0, false)),
            ("-1-05e3ac9a4f6e3b90", told(1, false)),
        ] {
            assert_eq!(read(&format!("{TRACE}-{SPAN}{rest}")), expected, "{rest}");
        }
    }

    #[test]
    fn an_id_of_64_bits_is_the_lower_half() {
        let (trace, ..) = read("a3ce929d0e0e4736-00f067aa0ba902b7-1").unwrap();
        assert_eq!(trace, "0000000000000000a3ce929d0e0e4736");
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        let (zero_trace, zero_span) = ("0".repeat(32), "0".repeat(16));
        for text in [
            "0".to_owned(),
            "d".to_owned(),
            String::new(),
            TRACE.to_owned(),
            format!("{TRACE}-"),
            format!("{zero_trace}-{SPAN}-1"),
            format!("{TRACE}-{zero_span}-1"),
            format!("{TRACE}-{SPAN}-2"),
            format!("{TRACE}-{SPAN}-"),
            format!("{TRACE}-{SPAN}-1-"),
            format!("{TRACE}-{SPAN}-1-xyz"),
            format!("{TRACE}-{SPAN}-1-{SPAN}-1"),
            format!("{}-{SPAN}-1", TRACE.to_uppercase()),
            format!("{TRACE}0-{SPAN}-1"),
            format!("{TRACE}-{SPAN}0-1"),
            format!("{TRACE}-é{SPAN}-1"),
        ] {
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn sampled_is_a_digit_or_a_word() {
        assert_eq!(State::parse(b" 1 "), Some(State::Accept));
        assert_eq!(State::parse(b"false"), Some(State::Deny));
        assert_eq!(State::parse(b"yes"), None);
    }
}
