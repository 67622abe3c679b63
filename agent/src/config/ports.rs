//! Sets of numbers as `80,443,8000-8999`: ports, and process ids.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Ports: single ones and inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(pub Vec<RangeInclusive<u16>>);

impl Ports {
    /// Whether `port` is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// Whether no port is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Process ids. A range is written out, so it is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pids(pub Vec<u32>);

/// More than this in one range is a mistake.
const MAX_PID_RANGE: u32 = 1 << 16;

/// Why a text is no list of numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not a number in range, nor `low-high`.
    #[error("`{0}` is no {1}; write a list such as {2}")]
    Malformed(String, &'static str, &'static str),
    /// `high-low`.
    #[error("the range `{0}` ends before it begins")]
    Backwards(String),
    /// Too many.
    #[error("the range `{0}` is too large")]
    TooLarge(String),
}

fn ranges<T: FromStr + PartialOrd + Copy>(
    text: &str,
    noun: &'static str,
    example: &'static str,
) -> Result<Vec<RangeInclusive<T>>, ListError> {
    let number = |part: &str, whole: &str| {
        part.trim().parse::<T>().map_err(|_| ListError::Malformed(whole.trim().to_owned(), noun, example))
    };
    let mut found = Vec::new();
    for entry in text.split(',') {
        let range = match entry.split_once('-') {
            Some((low, high)) => number(low, entry)?..=number(high, entry)?,
            None => {
                let one = number(entry, entry)?;
                one..=one
            }
        };
        if range.end() < range.start() {
            return Err(ListError::Backwards(entry.trim().to_owned()));
        }
        found.push(range);
    }
    Ok(found)
}

impl FromStr for Ports {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        const EXAMPLE: &str = "`80,8000-8999` (ports are 1 to 65535)";
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let found = ranges(text, "port", EXAMPLE)?;
        match found.iter().any(|range| *range.start() == 0) {
            true => Err(ListError::Malformed(text.trim().to_owned(), "port", EXAMPLE)),
            false => Ok(Self(found)),
        }
    }
}

impl FromStr for Pids {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        const EXAMPLE: &str = "`4711,4712`";
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut pids = Vec::new();
        for range in ranges::<u32>(text, "process id", EXAMPLE)? {
            if *range.start() == 0 {
                return Err(ListError::Malformed(text.trim().to_owned(), "process id", EXAMPLE));
            }
            if range.end() - range.start() > MAX_PID_RANGE {
                return Err(ListError::TooLarge(text.trim().to_owned()));
            }
            pids.extend(range);
        }
        Ok(Self(pids))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|range| match range.start() == range.end() {
                true => range.start().to_string(),
                false => format!("{}-{}", range.start(), range.end()),
            })
            .collect();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Pids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join(","))
    }
}

/// Collects `80`, `"80,90-95"` and `[80, 90-95]` as one comma-separated text.
struct ListText;

impl<'de> de::Visitor<'de> for ListText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers and ranges, as `80,8000-8999` or `[80, 8000-8999]`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<String, A::Error> {
        let mut parts: Vec<String> = Vec::new();
        while let Some(item) = items.next_element()? {
            parts.push(item);
        }
        Ok(parts.join(","))
    }
}

macro_rules! number_list {
    ($type:ty, $name:literal, $description:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(ListText)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $description,
                    "type": ["string", "integer", "array"],
                    "items": {"type": ["string", "integer"]}
                })
            }
        }
    };
}

number_list!(Ports, "Ports", "ports and ranges of them: 80, \"80,8000-8999\" or [80, \"8000-8999\"]");
number_list!(Pids, "Pids", "process ids: 4711, \"4711,4712\" or [4711, 4712]");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_lists_and_inclusive_ranges() {
        let ports: Ports = "80, 8000-8999".parse().unwrap();
        for (port, expected) in [(79, false), (80, true), (7999, false), (8000, true), (8999, true), (9000, false)] {
            assert_eq!(ports.contains(port), expected, "{port}");
        }
        assert_eq!(ports.to_string(), "80,8000-8999");
        assert!("".parse::<Ports>().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_port_is_named() {
        assert_eq!(
            "80,http".parse::<Ports>().unwrap_err().to_string(),
            "`http` is no port; write a list such as `80,8000-8999` (ports are 1 to 65535)"
        );
        assert_eq!("90-80".parse::<Ports>().unwrap_err().to_string(), "the range `90-80` ends before it begins");
        for text in ["0", "65536", "80,", "80-", "-80", "80 90", "1-2-3"] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }

    #[test]
    fn process_ids_are_bounded() {
        assert_eq!("4,7-9".parse(), Ok(Pids(vec![4, 7, 8, 9])));
        assert!("1-4294967295".parse::<Pids>().is_err());
        assert!("0".parse::<Pids>().is_err());
    }
}
