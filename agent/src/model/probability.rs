//! Probability sampling that others can reckon with: a span says by its `tracestate` with what probability it was kept
//! (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>). A trace is kept if its randomness, 56
//! bits, is not below a threshold; so who keeps fewer keeps part of what the others keep.

use compact_str::{CompactString, format_compact};

use super::trace_context::{MAX_STATE, TraceId};

/// Our member of `tracestate`.
const KEY: &str = "ot";
/// Hexadecimal digits of 56 bits.
const DIGITS: usize = 14;
/// Digits of a threshold that are told, besides leading `f`s: 16 bits of a share.
const PRECISION: u32 = 4;
/// Longest value of the member (the specification's).
const VALUE_MAX: usize = 256;
/// Most members of a list (W3C's).
const MEMBERS_MAX: usize = 32;
/// A member that is longer is left out before others are.
const LONG: usize = 128 + 1;

/// A rejection threshold: what has less randomness is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// Everything is kept.
    pub const ALWAYS: Self = Self(0);
    /// Nothing is.
    pub const NEVER: Self = Self(1 << 56);

    /// That which keeps this share, as exactly as it is told.
    #[must_use]
    pub fn of_share(share: f64) -> Self {
        if share.is_nan() || share <= 0.0 {
            return Self::NEVER;
        }
        let rejected = ((1.0 - share.min(1.0)) * (Self::NEVER.0 as f64)).round() as u64;
        let leading = (!(rejected << 8)).leading_zeros() / 4;
        let told = (PRECISION + leading).min(DIGITS as u32);
        let unit = 1_u64 << (4 * (DIGITS as u32 - told));
        Self((rejected.saturating_add(unit / 2) & !(unit - 1)).min(Self::NEVER.0))
    }

    /// The share that it keeps.
    #[must_use]
    pub fn share(self) -> f64 {
        (Self::NEVER.0 - self.0) as f64 / Self::NEVER.0 as f64
    }

    /// Whether a trace of this randomness is kept.
    #[must_use]
    pub const fn keeps(self, randomness: u64) -> bool {
        randomness >= self.0
    }

    fn parse(digits: &str) -> Option<Self> {
        let value = number(digits, 1..=DIGITS)?;
        Some(Self(value << (4 * (DIGITS - digits.len()))))
    }

    /// Its digits, without zeros at the end.
    fn text(self) -> CompactString {
        let text = format_compact!("{:014x}", self.0);
        match text.trim_end_matches('0') {
            "" => "0".into(),
            digits => digits.into(),
        }
    }
}

/// A trace's own randomness: the last 56 bits of its id.
#[must_use]
pub(crate) const fn randomness(trace_id: TraceId) -> u64 {
    let [.., a, b, c, d, e, f, g] = trace_id.0;
    u64::from_be_bytes([0, a, b, c, d, e, f, g])
}

/// What OpenTelemetry's member of a `tracestate` says of sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// `th`: the trace was kept by it.
    pub threshold: Option<Threshold>,
    /// `rv`: the trace's randomness, where it is not that of its id.
    pub randomness: Option<u64>,
}

impl Sampled {
    /// Nothing is said.
    pub const NOTHING: Self = Self { threshold: None, randomness: None };

    /// What a list of states says; what is malformed in it says nothing.
    #[must_use]
    pub fn of(state: &str) -> Self {
        let mut found = Self::default();
        let Some(value) = members(state).find_map(|(key, value)| (key == KEY).then_some(value)) else { return found };
        for (key, value) in value.split(';').filter_map(|pair| pair.split_once(':')) {
            match key {
                "th" => found.threshold = Threshold::parse(value),
                "rv" => found.randomness = number(value, DIGITS..=DIGITS),
                _ => {}
            }
        }
        found
    }

    /// A list that says this instead, in front as W3C asks of what was changed. What others have said in it stays.
    #[must_use]
    pub fn written_to(self, state: &str) -> CompactString {
        // Mostly all is kept, and nobody has said anything before.
        if state.is_empty() && self.randomness.is_none() {
            match self.threshold {
                None => return CompactString::default(),
                Some(Threshold::ALWAYS) => return CompactString::const_new("ot=th:0"),
                Some(_) => {}
            }
        }
        let mut value = CompactString::default();
        let mut add = |key: &str, text: &str| {
            let room = VALUE_MAX.saturating_sub(value.len());
            if key.len() + text.len() + 2 <= room {
                value.push_str(if value.is_empty() { "" } else { ";" });
                value.push_str(key);
                value.push(':');
                value.push_str(text);
            }
        };
        if let Some(threshold) = self.threshold {
            add("th", &threshold.text());
        }
        if let Some(randomness) = self.randomness {
            add("rv", &format_compact!("{randomness:014x}"));
        }
        let ours = members(state).find(|(key, _)| *key == KEY).map_or("", |(_, value)| value);
        for (key, text) in ours.split(';').filter_map(|pair| pair.split_once(':')) {
            if !matches!(key, "th" | "rv") {
                add(key, text);
            }
        }
        if Self::of(state) == self {
            return state.into();
        }
        let mut list = CompactString::default();
        let mut room = MEMBERS_MAX;
        if !value.is_empty() {
            list = format_compact!("{KEY}={value}");
            room -= 1;
        }
        let mut others: Vec<(&str, &str)> = members(state).filter(|(key, _)| *key != KEY).take(room).collect();
        // As W3C asks: the long ones first, then from the end.
        let length = |(key, value): &(&str, &str)| key.len() + value.len() + 2;
        let most = MAX_STATE + usize::from(list.is_empty());
        while list.len() + others.iter().map(length).sum::<usize>() > most {
            let at = others.iter().rposition(|other| length(other) > LONG).unwrap_or(others.len().saturating_sub(1));
            others.remove(at);
        }
        for (key, value) in others {
            list.push_str(if list.is_empty() { "" } else { "," });
            list.push_str(key);
            list.push('=');
            list.push_str(value);
        }
        list
    }
}

/// Whether others than OpenTelemetry say something in a list of states.
#[must_use]
pub(crate) fn has_others(state: &str) -> bool {
    members(state).any(|(key, _)| key != KEY)
}

/// Members of a `tracestate`.
fn members(state: &str) -> impl Iterator<Item = (&str, &str)> {
    state.split(',').filter_map(|member| member.trim_matches([' ', '\t']).split_once('='))
}

fn number(digits: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<u64> {
    // from_str_radix takes a sign and capitals, which are none.
    let is_number = lengths.contains(&digits.len()) && digits.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    is_number.then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_as_the_specification_does() {
        for (share, text, told) in [
            (1.0, "0", 1.0),
            (2.0, "0", 1.0),
            (0.5, "8", 0.5),
            (0.25, "c", 0.25),
            (0.75, "4", 0.75),
            (0.1, "e666", 0.1),
            (0.01, "fd70a", 0.01),
            (0.000_1, "fff9724", 0.000_1),
            (1.0 / 65536.0, "ffff", 1.0 / 65536.0),
        ] {
            let threshold = Threshold::of_share(share);
            assert_eq!(threshold.text(), text, "{share}");
            assert_eq!(Threshold::parse(text), Some(threshold));
            assert!((threshold.share() / told - 1.0).abs() < 1e-3, "{share}: {}", threshold.share());
        }
        for nothing in [0.0, -1.0, f64::NAN, 1e-30] {
            assert!(!Threshold::of_share(nothing).keeps((1 << 56) - 1), "{nothing}");
        }
    }

    #[test]
    fn who_keeps_fewer_keeps_part_of_what_the_others_keep() {
        let (tenth, half) = (Threshold::of_share(0.1), Threshold::of_share(0.5));
        for randomness in (0..1 << 56).step_by(1 << 46) {
            assert!(!tenth.keeps(randomness) || half.keeps(randomness));
        }
        assert!(Threshold::ALWAYS.keeps(0));
    }

    #[test]
    fn randomness_is_the_end_of_the_id() {
        let id = TraceId(*b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\x01\x02");
        assert_eq!(randomness(id), 0x102);
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        let sampled = |threshold, randomness| Sampled { threshold, randomness };
        let half = Threshold::parse("8");
        assert_eq!(Sampled::of("a=1, ot=th:8;rv:00000000000001,b=2"), sampled(half, Some(1)));
        assert_eq!(Sampled::of("ot=x:1;th:80;zz"), sampled(half, None));
        for state in [
            "",
            "ot",
            "ot=",
            "ot=th",
            "ot=th:",
            "ot=th:+8",
            "ot=th:8A",
            "ot=th:123456789012345",
            "ot=rv:1",
            "at=th:8",
            "ot=th:8:",
        ] {
            assert_eq!(Sampled::of(state), Sampled::default(), "{state}");
        }
    }

    #[test]
    fn what_others_have_said_stays() {
        let write = |threshold: &str, state: &str| {
            Sampled { threshold: Threshold::parse(threshold), ..Sampled::of(state) }.written_to(state).to_string()
        };
        assert_eq!(write("8", ""), "ot=th:8");
        assert_eq!(write("8", "a=1,b=2"), "ot=th:8,a=1,b=2");
        assert_eq!(
            write("8", "a=1, ot=p:8;th:0;rv:00000000000001;x:y , b=2"),
            "ot=th:8;rv:00000000000001;p:8;x:y,a=1,b=2"
        );
        assert_eq!(write("8", "a=1 ,ot=th:80"), "a=1 ,ot=th:80", "nothing else is said");
        assert_eq!(write("-", "a=1,ot=th:8"), "a=1", "it is not known any more");
        assert_eq!(write("-", "ot=th:8;x:y"), "ot=x:y");
        assert_eq!(write("-", "ot=th:8"), "");
        let full: Vec<String> = (0..32).map(|at| format!("k{at}=v")).collect();
        let written = write("8", &full.join(","));
        assert!(written.starts_with("ot=th:8,k0=v,") && written.ends_with(",k30=v"), "{written}");
        let long = format!("ot=x:{},b=2", "y".repeat(300));
        assert_eq!(write("8", &long), "ot=th:8,b=2");
        // Of what has no room the long go first, then the last.
        let (long, short) = (format!("l={}", "y".repeat(200)), "s=1".to_owned());
        let middle: Vec<String> = (0..3).map(|at| format!("m{at}={}", "z".repeat(98))).collect();
        let list = [&middle[0], &long, &middle[1], &middle[2]].map(String::as_str).join(",");
        assert_eq!((list.len(), write("8", &list)), (508, format!("ot=th:8,{}", middle.join(","))));
        let list =
            [middle.join(","), "z".repeat(98).replacen('z', "n=", 1), "q".repeat(96).replacen('q', "o=", 1), short]
                .join(",");
        assert!(list.len() <= 512 && list.len() > 504, "{}", list.len());
        let written = write("8", &list);
        assert!(written.len() <= 512 && !written.ends_with("s=1") && list.starts_with(&written[8..]), "{written}");
    }

    #[test]
    fn others_are_whoever_is_not_opentelemetry() {
        for (state, expected) in [("a=1", true), ("ot=th:8,a=1", true), ("ot=th:8", false), ("", false), ("ot", false)]
        {
            assert_eq!(has_others(state), expected, "{state}");
        }
    }
}
