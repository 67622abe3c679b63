//! Jaeger's header `uber-trace-id` (<https://www.jaegertracing.io/sdk-migration/#propagation-format>).

use super::{
    probability::Sampled,
    trace_context::{SpanId, TraceId, TraceParent},
};

/// Longest value: ids, flags, and colons that are percent-encoded.
const MAX_LENGTH: usize = 32 + 16 + 16 + 2 + 3 * 3;

/// Reads the header's value: `{trace id}:{span id}:{parent's span id}:{flags}`, hexadecimal without leading zeros, perhaps
/// percent-encoded.
#[must_use]
pub(crate) fn parse(value: &[u8]) -> Option<TraceParent> {
    let value = value.trim_ascii();
    if value.len() > MAX_LENGTH {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?.replace("%3A", ":").replace("%3a", ":");
    let mut parts = text.split(':');
    let trace_id = number(parts.next()?, 32)?.to_be_bytes();
    let span_id = number(parts.next()?, 16)?;
    // Jaeger's own do not look at it any more; it is often 0.
    number(parts.next()?, 16)?;
    let flags = number(parts.next()?, 2)?;
    if parts.next().is_some() || trace_id == [0; 16] || span_id == 0 {
        return None;
    }
    Some(TraceParent {
        trace_id: TraceId(trace_id),
        span_id: SpanId((span_id as u64).to_be_bytes()),
        flags: flags as u8 & 1,
        is_deferred: false,
        sampled: Sampled::NOTHING,
    })
}

fn number(digits: &str, most: usize) -> Option<u128> {
    // from_str_radix takes a sign, which is no digit.
    let is_number = digits.len() <= most && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u128::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String, u8)> {
        parse(text.as_bytes()).map(|it| (it.trace_id.to_string(), it.span_id.to_string(), it.flags))
    }

    #[test]
    fn ids_may_lack_their_zeros_and_colons_be_encoded() {
        let expected = Some(("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), "00f067aa0ba902b7".to_owned(), 1));
        assert_eq!(read("4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0:1"), expected);
        assert_eq!(read("4bf92f3577b34da6a3ce929d0e0e4736%3Af067aa0ba902b7%3a0%3A03"), expected);
        assert_eq!(read("1:2:0:0"), Some((format!("{:032x}", 1), format!("{:016x}", 2), 0)));
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        for text in [
            "",
            "1",
            "1:2",
            "1:2:0",
            "1:2:0:",
            ":2:0:1",
            "0:2:0:1",
            "1:0:0:1",
            "1:2:0:1:1",
            "1:2:0:100",
            "1:2:x:1",
            "+1:2:0:1",
            "1:12345678901234567:0:1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!("{}:2:0:1", "1".repeat(33))), None);
        assert_eq!(read(&"1".repeat(100_000)), None);
    }
}
