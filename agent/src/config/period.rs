//! Lengths of time as people write them: `30s`, `500ms`, `1h30m`.

use std::{fmt, str::FromStr, time::Duration};

use super::scalar::written_as_text;

/// A length of time, written with units (`ns`, `us`, `ms`, `s`, `m`, `h`, `d`) as Go's durations are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

written_as_text!(Period, "Period", "a length of time with its unit", ["30s", "500ms", "1h30m"]);

impl Period {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// A number alone.
    #[error("`{0}` needs a unit, as in `{0}s` or `{0}ms`")]
    NoUnit(String),
    /// Anything else.
    #[error("`{0}` is no length of time; write it as `30s`, `500ms` or `1h30m`")]
    Malformed(String),
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let malformed = || PeriodError::Malformed(text.to_owned());
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Self::default());
        }
        let mut total = Duration::ZERO;
        let mut rest = trimmed;
        if rest.is_empty() {
            return Err(malformed());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            if after.is_empty() && number == trimmed && number.parse::<f64>().is_ok() {
                return Err(PeriodError::NoUnit(trimmed.to_owned()));
            }
            let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let nanos: f64 = match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "d" => 86_400e9,
                _ => return Err(malformed()),
            };
            let number: f64 = number.parse().map_err(|_| malformed())?;
            let part = Duration::try_from_secs_f64(number * nanos / 1e9).map_err(|_| malformed())?;
            total = total.checked_add(part).ok_or_else(malformed)?;
            rest = after;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units =
            [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
        if nanos == 0 {
            return f.write_str("0s");
        }
        match units.iter().find(|(_, unit)| nanos.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", nanos / unit),
            None => write!(f, "{nanos}ns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_in_every_unit() {
        let cases = [
            ("30s", Duration::from_secs(30)),
            ("500ms", Duration::from_millis(500)),
            ("1h30m", Duration::from_secs(5400)),
            ("1.5s", Duration::from_millis(1500)),
            ("2d", Duration::from_secs(172_800)),
            ("100us", Duration::from_micros(100)),
            ("7ns", Duration::from_nanos(7)),
            ("0", Duration::ZERO),
            (" 5m ", Duration::from_secs(300)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(Period(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        assert_eq!("30".parse::<Period>().unwrap_err().to_string(), "`30` needs a unit, as in `30s` or `30ms`");
        for text in ["", "s", "-5s", "5 s", "5x", "1h30", "1e9s", "..s", "99999999999999999999d"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn shown_as_it_can_be_read_again() {
        for text in ["30s", "500ms", "90m", "1h", "7ns", "0s", "1500us"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
    }
}
