//! Which requests are told: by protocol and signal (`instrumentations`), and by their attributes (`filter`). Names are OBI's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pattern::Glob;

/// A protocol, as `instrumentations` call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Instrumentation {
    /// Every protocol.
    #[serde(rename = "*", alias = "all")]
    All,
    /// HTTP.
    Http,
    /// gRPC, gRPC-Web and Connect.
    Grpc,
    /// Relational databases.
    Sql,
    /// Redis.
    Redis,
    /// Kafka.
    Kafka,
    /// MQTT.
    Mqtt,
    /// NATS.
    Nats,
    /// AMQP.
    Amqp,
    /// GPUs.
    Gpu,
    /// MongoDB.
    Mongo,
    /// DNS.
    Dns,
    /// Couchbase.
    Couchbase,
    /// Models of language.
    #[serde(alias = "gen_ai")]
    Genai,
    /// Memcached.
    Memcached,
    /// ONC RPC.
    Sunrpc,
    /// Aerospike.
    Aerospike,
}

/// A set of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocols(u32);

impl Default for Protocols {
    fn default() -> Self {
        Self::ALL
    }
}

impl Protocols {
    /// Every protocol.
    pub(crate) const ALL: Self = Self(u32::MAX);
    /// HTTP.
    pub(crate) const HTTP: Self = Self::of_one(Instrumentation::Http);
    /// Remote calls.
    pub(crate) const CALLS: Self = Self::of_one(Instrumentation::Grpc);

    /// Look-ups of names.
    pub(crate) const DNS: Self = Self::of_one(Instrumentation::Dns);

    /// Those of a list, of spans: names are looked up more often than is worth a span, so that they have some only where they are named.
    #[must_use]
    pub(crate) fn of_spans(list: &[Instrumentation]) -> Self {
        let all = Self::of(list);
        if list.contains(&Instrumentation::Dns) { all } else { Self(all.0 & !Self::DNS.0) }
    }

    const fn of_one(one: Instrumentation) -> Self {
        match one {
            Instrumentation::All => Self::ALL,
            one => Self(1 << one as u32),
        }
    }

    /// Those of a list.
    #[must_use]
    pub(crate) fn of(list: &[Instrumentation]) -> Self {
        Self(list.iter().fold(0, |all, one| all | Self::of_one(*one).0))
    }

    /// That of a database or broker, by its `db.system.name` or `messaging.system`. What OBI has no name for is there with all.
    #[must_use]
    pub(crate) fn of_system(system: &str) -> Self {
        match system {
            "redis" => Self::of_one(Instrumentation::Redis),
            "postgresql" | "mysql" | "mariadb" | "microsoft.sql_server" | "oracle.db" | "other_sql" => {
                Self::of_one(Instrumentation::Sql)
            }
            "mongodb" => Self::of_one(Instrumentation::Mongo),
            "memcached" => Self::of_one(Instrumentation::Memcached),
            "couchbase" => Self::of_one(Instrumentation::Couchbase),
            "aerospike" => Self::of_one(Instrumentation::Aerospike),
            "kafka" => Self::of_one(Instrumentation::Kafka),
            "rabbitmq" | "amqp" => Self::of_one(Instrumentation::Amqp),
            "mqtt" => Self::of_one(Instrumentation::Mqtt),
            "nats" => Self::of_one(Instrumentation::Nats),
            _ => Self(1 << Instrumentation::All as u32),
        }
    }

    /// Whether any of these is in it.
    #[must_use]
    pub(crate) const fn has(self, any_of: Self) -> bool {
        self.0 & any_of.0 != 0
    }

    /// Both.
    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every protocol is.
    #[must_use]
    pub(crate) const fn is_all(self) -> bool {
        self.0 == u32::MAX
    }
}

/// `filter`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// By an attribute's name, with dots or underscores: what does not hold is in no metric and has no span. An attribute that is not
    /// there counts as an empty text.
    pub application: BTreeMap<String, Matches>,
}

/// What an attribute must be; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Matches {
    /// It matches.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Glob>,
    /// It does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_match: Option<Glob>,
    /// It is this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<f64>,
    /// It is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_equals: Option<f64>,
    /// It is a number above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greater_than: Option<f64>,
    /// It is this number or one above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greater_equals: Option<f64>,
    /// It is a number below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub less_than: Option<f64>,
    /// It is this number or one below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub less_equals: Option<f64>,
}

impl Matches {
    /// Whether a text is what is asked for.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let Self { matches, not_match, equals, not_equals, greater_than, greater_equals, less_than, less_equals } =
            self;
        let number = || text.parse::<f64>().ok();
        let compare = |bound: &Option<f64>, is: fn(f64, f64) -> bool| {
            bound.is_none_or(|bound| number().is_some_and(|number| is(number, bound)))
        };
        matches.as_ref().is_none_or(|glob| glob.is_match(text))
            && not_match.as_ref().is_none_or(|glob| !glob.is_match(text))
            && compare(equals, |number, bound| number == bound)
            && not_equals.is_none_or(|bound| number() != Some(bound))
            && compare(greater_than, |number, bound| number > bound)
            && compare(greater_equals, |number, bound| number >= bound)
            && compare(less_than, |number, bound| number < bound)
            && compare(less_equals, |number, bound| number <= bound)
    }

    /// Whether anything is asked.
    pub(crate) fn asks(&self) -> bool {
        *self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sets_and_all_has_what_has_no_name() {
        let list: Vec<Instrumentation> = serde_json::from_str(r#"["http", "redis"]"#).unwrap();
        let some = Protocols::of(&list);
        assert!(some.has(Protocols::HTTP) && !some.has(Protocols::CALLS));
        assert!(some.has(Protocols::of_system("redis")) && !some.has(Protocols::of_system("postgresql")));
        assert!(!some.has(Protocols::of_system("else")) && !some.is_all());
        let all = Protocols::of(&serde_json::from_str::<Vec<_>>(r#"["*"]"#).unwrap());
        assert!(all.is_all() && all.has(Protocols::of_system("else")));
        assert!(!Protocols::of(&[]).has(Protocols::ALL));
        // Look-ups have spans where they are named.
        let spans = |list: &str| Protocols::of_spans(&serde_json::from_str::<Vec<_>>(list).unwrap());
        assert!(!spans(r#"["*"]"#).has(Protocols::DNS) && spans(r#"["*"]"#).with(Protocols::DNS).is_all());
        assert!(spans(r#"["*", "dns"]"#).is_all() && spans(r#"["dns"]"#).has(Protocols::DNS));
    }

    #[test]
    fn what_is_asked_of_an_attribute_must_hold() {
        let matches = |json: &str| serde_json::from_str::<Matches>(json).unwrap();
        let get = matches(r#"{"match": "{GET,HEAD}"}"#);
        assert!(get.holds("GET") && !get.holds("POST") && !get.holds(""));
        let not = matches(r#"{"not_match": "/health*"}"#);
        assert!(not.holds("/a") && !not.holds("/healthz") && not.holds(""));
        let range = matches(r#"{"greater_equals": 400, "less_than": 500}"#);
        assert_eq!(
            ["399", "400", "499", "500", "x", ""].map(|text| range.holds(text)),
            [false, true, true, false, false, false]
        );
        let other = matches(r#"{"not_equals": 200}"#);
        assert!(other.holds("404") && other.holds("") && !other.holds("200"));
        assert!(matches(r#"{"equals": 200}"#).holds("200") && !Matches::default().asks());
    }
}
