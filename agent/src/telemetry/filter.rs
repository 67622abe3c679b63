//! Which requests are told, by their attributes: `filter.application`.

use crate::{
    config::Matches,
    model::span::{Attribute, Resource, Value},
};

/// See the module. Names as Prometheus writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter(Vec<(String, Matches)>);

impl Filter {
    /// By the configuration; `None`: all are told.
    pub(crate) fn new<'a>(rules: impl Iterator<Item = (&'a String, &'a Matches)>) -> Option<Self> {
        let rules = rules.filter(|(_, matches)| matches.asks());
        let rules: Vec<_> = rules.map(|(name, matches)| (name.replace('.', "_"), matches.clone())).collect();
        (!rules.is_empty()).then_some(Self(rules))
    }

    /// Whether a request with these attributes is told.
    pub(super) fn lets_through(&self, attributes: &[Attribute], resource: &Resource) -> bool {
        let is = |name: &str, wanted: &str| {
            name.len() == wanted.len()
                && name.bytes().zip(wanted.bytes()).all(|(a, b)| a == b || (a == b'.' && b == b'_'))
        };
        self.0.iter().all(|(name, matches)| {
            let own =
                attributes.iter().find(|attribute| is(attribute.key, name)).map(|attribute| text(&attribute.value));
            let of_service = || {
                let found = resource.attributes.iter().find(|(key, _)| is(key, name));
                found.map(|(_, value)| text(value))
            };
            let value = own.or_else(of_service).unwrap_or_default();
            matches.holds(&value)
        })
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        Value::Shared(text) => text.to_string(),
        Value::Static(text) => (*text).to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::List(texts) => texts.join(","),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn attributes_of_the_request_and_of_its_service_are_asked_in_either_spelling() {
        let rules: BTreeMap<String, Matches> = serde_json::from_str(
            r#"{"http_request_method": {"match": "GET"}, "k8s.namespace.name": {"not_match": "dev-*"}, "http.response.status_code": {"less_than": 500}}"#,
        )
        .unwrap();
        let filter = Filter::new(rules.iter()).unwrap();
        let lets = |method: &'static str, status: i64, namespace: &str| {
            let attributes = [
                Attribute { key: "http.request.method", value: Value::Static(method) },
                Attribute { key: "http.response.status_code", value: Value::Int(status) },
            ];
            let mut resource = Resource::default();
            resource.attributes.push(("k8s.namespace.name".into(), Value::Str(namespace.into())));
            filter.lets_through(&attributes, &resource)
        };
        assert!(lets("GET", 200, "shop"));
        assert!(!lets("POST", 200, "shop") && !lets("GET", 503, "shop") && !lets("GET", 200, "dev-1"));
        assert_eq!(Filter::new(BTreeMap::from([("a".to_owned(), Matches::default())]).iter()), None);
    }
}
