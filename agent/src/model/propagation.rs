//! What is read of requests: of what they carry of their callers, and of statements.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// A format of trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// W3C `traceparent` and `tracestate`.
    TraceContext,
    /// B3 in one header.
    B3,
    /// B3 in several headers.
    B3Multi,
    /// Jaeger's `uber-trace-id`.
    Jaeger,
}

/// How much is told of a statement's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryText {
    /// Nothing.
    Off,
    /// All but values, comments and passwords.
    #[default]
    Sanitized,
    /// All of it, unless it speaks of a password.
    Full,
}

/// What is read of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// Where a request carries several valid contexts the last of these counts, as in OpenTelemetry's SDKs, where each
    /// propagator replaces what the one before it found.
    pub formats: Vec<Format>,
    /// Keys of baggage that become attributes.
    pub baggage: Vec<&'static str>,
    /// What is told of statements.
    pub query_text: QueryText,
}

impl Default for Propagation {
    /// That of W3C.
    fn default() -> Self {
        Self { formats: vec![Format::TraceContext], baggage: Vec::new(), query_text: QueryText::default() }
    }
}

/// A key, for as long as the program runs, as attributes need it: there are as many as configurations name.
#[must_use]
pub(crate) fn key(name: &str) -> &'static str {
    static KEYS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = keys.get(name) {
        return known;
    }
    let key: &'static str = Box::leak(name.into());
    keys.insert(key);
    key
}

/// Several of them. The same list is made once for each time that it is asked for: at the start, and when the configuration changes.
#[must_use]
pub(crate) fn keys(names: &[String]) -> &'static [&'static str] {
    if names.is_empty() { &[] } else { Box::leak(names.iter().map(|name| key(name)).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        assert!(std::ptr::eq(key("tenant"), key("tenant")));
        assert_eq!((key("tenant"), key("user.id")), ("tenant", "user.id"));
    }
}
