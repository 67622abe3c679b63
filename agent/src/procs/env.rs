//! `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` of a watched process
//! (<https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>), and
//! `TRACEPARENT` with what belongs to it.

use std::sync::Arc;

use compact_str::CompactString;

use super::fs::ProcFs;
use crate::model::{ids::ProcessId, trace_context::EnvironmentContext};

/// Most attributes taken from one process: what it says of itself must not swell every batch.
const ATTRIBUTES_MAX: usize = 64;
/// Longest key or value that is taken; a longer one is left out rather than cut.
const LENGTH_MAX: usize = 1024;

/// What a process's environment says of its service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtelEnv {
    /// `OTEL_SERVICE_NAME`, if set and not empty.
    pub service_name: Option<CompactString>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, decoded, in their order; the last of equal keys.
    pub attributes: Vec<(CompactString, CompactString)>,
    /// `TRACEPARENT`, `TRACESTATE` and `BAGGAGE`.
    pub context: Option<Arc<EnvironmentContext>>,
}

impl OtelEnv {
    /// Reads a process's.
    #[must_use]
    pub(crate) fn of(proc: &ProcFs, pid: ProcessId) -> Self {
        let names = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "TRACEPARENT", "TRACESTATE", "BAGGAGE"];
        let [name, attributes, parent, state, baggage] = proc.environ(pid, names);
        let context = EnvironmentContext::of(parent.as_deref(), state.as_deref(), baggage.as_deref()).map(Arc::new);
        Self { context, ..Self::new(name.as_deref(), attributes.as_deref()) }
    }

    /// From the variables' values.
    #[must_use]
    pub(crate) fn new(service_name: Option<&str>, attributes: Option<&str>) -> Self {
        Self {
            service_name: usable_name(service_name),
            attributes: attributes.map(parse_attributes).unwrap_or_default(),
            context: None,
        }
    }

    /// From values that are decoded already; the last of equal keys.
    #[must_use]
    pub(crate) fn from_pairs<'a>(
        service_name: Option<&str>,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut added = Vec::new();
        for (key, value) in attributes {
            add(&mut added, key.into(), value.into());
        }
        Self { service_name: usable_name(service_name), attributes: added, context: None }
    }

    /// An attribute's value.
    #[must_use]
    pub(crate) fn get(&self, key: &str) -> Option<&CompactString> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

fn usable_name(name: Option<&str>) -> Option<CompactString> {
    name.map(str::trim).filter(|name| is_usable(name)).map(CompactString::from)
}

/// A shell variable that nobody expanded (`$SERVICE`) is no name.
fn is_usable(value: &str) -> bool {
    !value.is_empty() && !value.starts_with('$') && value.len() <= LENGTH_MAX
}

/// Reads `key=value,key=value` with percent-encoding. As the specification asks, all of it is dropped if any of it is
/// malformed.
#[must_use]
pub(crate) fn parse_attributes(text: &str) -> Vec<(CompactString, CompactString)> {
    let mut attributes: Vec<(CompactString, CompactString)> = Vec::new();
    for pair in text.split(',') {
        if pair.trim().is_empty() {
            continue;
        }
        let Some((key, value)) = pair.split_once('=') else { return Vec::new() };
        let (Some(key), Some(value)) = (percent_decode(key.trim()), percent_decode(value.trim())) else {
            return Vec::new();
        };
        if key.is_empty() {
            return Vec::new();
        }
        add(&mut attributes, key, value);
    }
    attributes
}

fn add(attributes: &mut Vec<(CompactString, CompactString)>, key: CompactString, value: CompactString) {
    if key.is_empty() || key.len() > LENGTH_MAX || !is_usable(&value) {
        return;
    }
    if let Some((_, old)) = attributes.iter_mut().find(|(name, _)| *name == key) {
        *old = value;
    } else if attributes.len() < ATTRIBUTES_MAX {
        attributes.push((key, value));
    }
}

fn percent_decode(text: &str) -> Option<CompactString> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // from_str_radix takes a sign, which is no digit.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    CompactString::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse_attributes(text).into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_are_split_and_decoded() {
        let text = "service.namespace=shop, deployment.environment.name = a%2Cb%3Dc ,k=v=w";
        let expected = [("service.namespace", "shop"), ("deployment.environment.name", "a,b=c"), ("k", "v=w")];
        assert_eq!(parsed(text), pairs(&expected));
    }

    #[test]
    fn one_malformed_pair_drops_them_all() {
        for text in ["a=1,b", "a=1,=2", "a=%4", "a=%+1", "a=%zz", "a=%ff"] {
            assert_eq!(parsed(text), pairs(&[]), "{text}");
        }
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one_and_unexpanded_variables_are_left_out() {
        assert_eq!(parsed("a=1,a=2,b=$B,c="), pairs(&[("a", "2")]));
        assert_eq!(OtelEnv::new(Some("$NAME"), None).service_name, None);
        assert_eq!(OtelEnv::new(Some(" shop "), None).service_name.as_deref(), Some("shop"));
    }

    #[test]
    fn the_number_of_attributes_is_bounded() {
        let text: Vec<String> = (0..1000).map(|i| format!("k{i}=v")).collect();
        assert_eq!(parse_attributes(&text.join(",")).len(), ATTRIBUTES_MAX);
    }
}
