//! Known HTTP methods. All others are one, `_OTHER`, so that a peer cannot make up series and span names.

use std::sync::Arc;

use crate::model::span::Value;

/// RFC 9110's methods, PATCH (RFC 5789) and QUERY, the most frequent first.
pub(crate) const DEFAULT_METHODS: &[&str] =
    &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

/// What stands for a method that is not known.
pub(crate) const OTHER: &str = "_OTHER";

/// The known methods; matched with case, as RFC 9110 has it.
#[derive(Clone, Debug)]
pub struct Methods {
    known: Vec<(Arc<str>, Value)>,
}

impl Default for Methods {
    fn default() -> Self {
        Self { known: DEFAULT_METHODS.iter().map(|name| (Arc::from(*name), Value::Static(name))).collect() }
    }
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    /// Its place in the list.
    Known(usize),
    /// Seen, but not in the list.
    Other,
    /// Not seen.
    Unknown,
}

impl Methods {
    /// These methods in place of the default ones (`OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`).
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let known = names
            .into_iter()
            .map(|name| Arc::<str>::from(name.as_ref().trim()))
            .filter(|name| !name.is_empty())
            .map(|name| (Arc::clone(&name), Value::Shared(name)))
            .collect();
        Self { known }
    }

    pub(super) fn find(&self, method: Option<&str>) -> Method {
        match method {
            None => Method::Unknown,
            Some(method) => {
                self.known.iter().position(|(name, _)| **name == *method).map_or(Method::Other, Method::Known)
            }
        }
    }

    pub(super) fn name(&self, method: Method) -> Option<&str> {
        match method {
            Method::Known(at) => self.known.get(at).map(|(name, _)| &**name),
            Method::Other => Some(OTHER),
            Method::Unknown => None,
        }
    }

    pub(super) fn value(&self, method: Method) -> Option<Value> {
        match method {
            Method::Known(at) => self.known.get(at).map(|(_, value)| value.clone()),
            Method::Other => Some(Value::Static(OTHER)),
            Method::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_matched_with_case() {
        let methods = Methods::default();
        assert_eq!(methods.name(methods.find(Some("GET"))), Some("GET"));
        assert_eq!(methods.name(methods.find(Some("get"))), Some("_OTHER"));
        assert_eq!(methods.name(methods.find(None)), None);
    }

    #[test]
    fn a_list_of_ones_own_replaces_the_default() {
        let methods = Methods::new(["PROPFIND", " PURGE ", ""]);
        assert_eq!(methods.name(methods.find(Some("PURGE"))), Some("PURGE"));
        assert_eq!(methods.find(Some("GET")), Method::Other);
        assert_eq!(methods.find(Some("")), Method::Other);
    }
}
