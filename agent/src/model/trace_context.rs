//! Trace and span ids, and the W3C headers `traceparent` and `tracestate` (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use compact_str::CompactString;

use super::{baggage::MAX_BYTES, probability::Sampled};

/// Longest `tracestate` that is taken over: what the specification asks to be propagated at least.
pub(super) const MAX_STATE: usize = 512;

/// A 16-byte trace id; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// An 8-byte span id; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// What a `traceparent` header says, or what says the same in another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace the caller is part of.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// Trace flags; bit 0: sampled.
    pub flags: u8,
    /// The caller leaves it to who is called whether the trace is kept (B3 without a sampling state).
    pub is_deferred: bool,
    /// What its list of states says of sampling.
    pub sampled: Sampled,
}

impl TraceParent {
    /// Reads the header's value. Versions above 00 are read by the rules for version 00 as the specification asks;
    /// version ff, ids of zeroes, upper-case digits and any other deviation give `None`.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (head, rest) = value.split_at_checked(55)?;
        let version = hex_byte(head.get(0..2)?)?;
        if version == 0xff || (version == 0 && !rest.is_empty()) || !(rest.is_empty() || rest.first() == Some(&b'-')) {
            return None;
        }
        if head.get(2) != Some(&b'-') || head.get(35) != Some(&b'-') || head.get(52) != Some(&b'-') {
            return None;
        }
        let mut trace_id = [0; 16];
        hex(head.get(3..35)?, &mut trace_id)?;
        let mut span_id = [0; 8];
        hex(head.get(36..52)?, &mut span_id)?;
        let flags = hex_byte(head.get(53..55)?)?;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            flags,
            is_deferred: false,
            sampled: Sampled::default(),
        })
    }

    /// Whether the caller recorded the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// What a process was given with its environment: the parent of what it does for nobody else
/// (<https://opentelemetry.io/docs/specs/otel/context/env-carriers/>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvironmentContext {
    /// `TRACEPARENT`.
    pub parent: TraceParent,
    /// `TRACESTATE`.
    pub trace_state: Option<CompactString>,
    /// `BAGGAGE`.
    pub baggage: Option<CompactString>,
}

impl EnvironmentContext {
    /// From the variables' values; without a valid parent there is none.
    #[must_use]
    pub(crate) fn of(parent: Option<&str>, state: Option<&str>, baggage: Option<&str>) -> Option<Self> {
        let parent = TraceParent::parse(parent?.as_bytes())?;
        let mut trace_state = None;
        if let Some(state) = state {
            add_trace_state(&mut trace_state, state.as_bytes());
        }
        let sampled = trace_state.as_deref().map(Sampled::of).unwrap_or_default();
        let baggage = baggage.filter(|baggage| !baggage.is_empty() && baggage.len() <= MAX_BYTES);
        Some(Self { parent: TraceParent { sampled, ..parent }, trace_state, baggage: baggage.map(CompactString::from) })
    }
}

/// Takes the value of a `tracestate` header, of which there may be several: together they are one list. What is no list, or
/// no longer fits, is left out.
pub(crate) fn add_trace_state(state: &mut Option<CompactString>, value: &[u8]) {
    let value = value.trim_ascii();
    let is_list = value.contains(&b'=') && value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let Some(value) = str::from_utf8(value).ok().filter(|_| is_list) else { return };
    let before = state.as_ref().map_or(0, |state| state.len() + 1);
    if before + value.len() > MAX_STATE {
        return;
    }
    match state {
        Some(state) => {
            state.push(',');
            state.push_str(value);
        }
        None => *state = Some(CompactString::new(value)),
    }
}

impl TraceId {
    /// Reads 16 or 32 lower-case digits; the former are the lower half of an id (B3).
    pub(super) fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut id = [0; 16];
        let place = match digits.len() {
            16 => id.get_mut(8..)?,
            32 => &mut id[..],
            _ => return None,
        };
        hex(digits, place)?;
        (id != [0; 16]).then_some(Self(id))
    }
}

impl SpanId {
    /// Reads 16 lower-case digits.
    pub(super) fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut id = [0; 8];
        (digits.len() == 16).then(|| hex(digits, &mut id))??;
        (id != [0; 8]).then_some(Self(id))
    }
}

fn hex(digits: &[u8], out: &mut [u8]) -> Option<()> {
    for (pair, byte) in digits.chunks_exact(2).zip(out) {
        *byte = hex_byte(pair)?;
    }
    Some(())
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let [high, low] = *pair else { return None };
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

/// Lower case only, as the specification demands.
const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |of: u8| DIGITS.get(usize::from(of & 15)).copied().unwrap_or(b'0');
    // Written at once, since ids are written with every span; they have 16 bytes at most.
    let mut text = [0; 32];
    for ([high, low], byte) in text.as_chunks_mut().0.iter_mut().zip(bytes) {
        (*high, *low) = (digit(byte >> 4), digit(*byte));
    }
    let text = text.get(..2 * bytes.len()).unwrap_or(&text);
    f.write_str(std::str::from_utf8(text).unwrap_or_default())
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_read() {
        let parent = TraceParent::parse(VALID).unwrap();
        assert_eq!(parent.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id.to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled());
    }

    #[test]
    fn a_later_version_may_carry_more_fields() {
        assert!(TraceParent::parse(b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what").is_some());
        assert!(TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what").is_none());
        assert!(TraceParent::parse(b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what").is_none());
    }

    #[test]
    fn several_lists_of_states_are_one_and_what_is_none_is_left_out() {
        let state = |values: &[&[u8]]| {
            let mut state = None;
            values.iter().for_each(|value| add_trace_state(&mut state, value));
            state
        };
        assert_eq!(state(&[b" a=1, b=2 ", b"c=3"]).as_deref(), Some("a=1, b=2,c=3"));
        assert_eq!(state(&[b"", b"a", b"a=\x1b", b"a=\xff"]), None);
        assert_eq!(state(&[b"a=1", &[b'='; MAX_STATE - 3]]).as_deref(), Some("a=1"));
        assert_eq!(state(&[&[b'='; MAX_STATE]]).map(|state| state.len()), Some(MAX_STATE));
    }

    #[test]
    fn an_environment_without_a_valid_parent_says_nothing() {
        let valid = std::str::from_utf8(VALID).unwrap();
        let context = EnvironmentContext::of(Some(valid), Some("a=1,ot=th:8"), Some("tenant=blue")).unwrap();
        assert_eq!(context.parent.span_id.to_string(), "00f067aa0ba902b7");
        assert!(context.parent.sampled.threshold.is_some());
        assert_eq!(
            (context.trace_state.as_deref(), context.baggage.as_deref()),
            (Some("a=1,ot=th:8"), Some("tenant=blue"))
        );
        let bare = EnvironmentContext::of(Some(valid), Some("none"), Some(&"x".repeat(MAX_BYTES + 1))).unwrap();
        assert_eq!((bare.trace_state, bare.baggage), (None, None));
        for parent in [None, Some(""), Some("$TRACEPARENT"), Some(&valid[1..])] {
            assert_eq!(EnvironmentContext::of(parent, Some("a=1"), Some("tenant=blue")), None, "{parent:?}");
        }
    }

    #[test]
    fn deviations_are_refused() {
        for at in 0..VALID.len() {
            let mut broken = VALID.to_vec();
            broken[at] = b'G';
            assert_eq!(TraceParent::parse(&broken), None, "byte {at}");
            assert_eq!(TraceParent::parse(&VALID[..at]), None, "cut at {at}");
        }
        assert!(TraceParent::parse(b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").is_none());
        assert!(TraceParent::parse(b"00-00000000000000000000000000000000-00f067aa0ba902b7-01").is_none());
        assert!(TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01").is_none());
    }
}
