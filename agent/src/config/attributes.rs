//! What is added to spans and metrics, and what is taken out of them.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{headers::CapturedHeaders, pattern::Glob, period::Period};

/// Whether Kubernetes is asked for metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enable {
    /// If the agent runs in a cluster.
    #[default]
    Autodetect,
    /// Always.
    True,
    /// Never.
    False,
}

impl<'de> Deserialize<'de> for Enable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.to_ascii_lowercase().as_str() {
            "autodetect" | "auto" => Ok(Self::Autodetect),
            "true" => Ok(Self::True),
            "false" => Ok(Self::False),
            _ => Err(serde::de::Error::unknown_variant(&text, &["autodetect", "true", "false"])),
        }
    }
}

impl Serialize for Enable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Autodetect => serializer.serialize_str("autodetect"),
            Self::True => serializer.serialize_bool(true),
            Self::False => serializer.serialize_bool(false),
        }
    }
}

impl JsonSchema for Enable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Enable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": ["autodetect", "true", "false", true, false]})
    }
}

/// `attributes.kubernetes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kubernetes {
    /// Whether Kubernetes is asked.
    pub enable: Enable,
    /// `k8s.cluster.name`.
    pub cluster_name: Option<String>,
    /// How to reach the API server; not given: the pod's service account, then `~/.kube/config`.
    pub kubeconfig_path: Option<PathBuf>,
    /// Only pods of this node are watched.
    pub meta_restrict_local_node: bool,
    /// How long spans wait for metadata at start.
    pub informers_sync_timeout: Period,
    /// First pause before the API server is asked again.
    pub reconnect_initial_interval: Period,
    /// Resource attributes that a pod's labels give: for each attribute the labels to look for, the first one that the
    /// pod has wins.
    pub resource_labels: BTreeMap<String, Vec<String>>,
    /// Labels of pods that become `k8s.pod.label.NAME`.
    pub pod_labels: Vec<String>,
    /// Annotations of pods that become `k8s.pod.annotation.NAME`.
    pub pod_annotations: Vec<String>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            enable: Enable::default(),
            cluster_name: None,
            kubeconfig_path: None,
            meta_restrict_local_node: true,
            informers_sync_timeout: Period::seconds(30),
            reconnect_initial_interval: Period::seconds(5),
            resource_labels: BTreeMap::new(),
            pod_labels: Vec::new(),
            pod_annotations: Vec::new(),
        }
    }
}

/// `attributes.host_id`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HostId {
    /// `host.id`, instead of what the machine says.
    #[serde(rename = "override")]
    pub replacement: Option<String>,
}

/// `attributes.instance_id`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceId {
    /// `host.name`, instead of what the machine says.
    pub override_hostname: Option<String>,
}

/// `attributes.sensitive_query_params`: changes to the list of redacted keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SensitiveQueryParams {
    /// Redacted as well.
    pub add: Vec<String>,
    /// Not redacted.
    pub remove: Vec<String>,
}

/// `attributes.query_text`: how much of a statement's text is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueryText {
    /// Nothing.
    Off,
    /// All but values, comments and passwords.
    #[default]
    Sanitized,
    /// All of it, unless it speaks of a password.
    Full,
}

/// `attributes.inside`: what is told of what happens to a request below its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InsideAttributes {
    /// `beyla.queue.duration`: for how long a request's first bytes had waited in the socket when its server read them.
    pub queue_duration: bool,
    /// `beyla.connect.duration`: how long it took to connect.
    pub connect_duration: bool,
    /// `beyla.tls.handshake.duration`: from a client's first byte to the first that it wrote in the clear.
    pub tls_handshake_duration: bool,
    /// `beyla.tcp.retransmits`: segments that this end retransmitted meanwhile.
    pub retransmits: bool,
    /// `beyla.tcp.rtt`: the connection's smoothed round trip time.
    pub rtt: bool,
}

impl Default for InsideAttributes {
    fn default() -> Self {
        Self {
            queue_duration: true,
            connect_duration: true,
            tls_handshake_duration: true,
            retransmits: true,
            rtt: true,
        }
    }
}

/// `attributes.select`: which attributes a metric has, or spans (`traces`). Names may have dots or underscores, and `*`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InclusionLists {
    /// Of the attributes that there are, those that match; none: all. Spans have all in any case.
    pub include: Vec<Glob>,
    /// Of these, not those that match.
    pub exclude: Vec<Glob>,
}

/// `attributes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attributes {
    /// Kubernetes.
    pub kubernetes: Kubernetes,
    /// `host.id`.
    pub host_id: HostId,
    /// `host.name`.
    pub instance_id: InstanceId,
    /// Changes to what is redacted.
    pub sensitive_query_params: SensitiveQueryParams,
    /// Header fields of HTTP that spans have.
    pub http_headers: CapturedHeaders,
    /// Whether `process.command_line` is sent. It can hold secrets.
    pub process_command_line: bool,
    /// Keys of W3C baggage whose values become attributes of the spans of requests that carry them, by the same names. Other
    /// baggage is not sent.
    pub baggage_keys: Vec<String>,
    /// Whether `client.address` and `client.port` are those that a proxy names (PROXY protocol), not the proxy's own.
    pub client_from_proxy_protocol: bool,
    /// How much of a statement's text is told (`db.query.text`).
    pub query_text: QueryText,
    /// What is told of what happens to a request below its protocol.
    pub inside: InsideAttributes,
    /// Most names of a service's spans in metrics of spans; others are counted under `AGGREGATED`. 0: no limit but that of series.
    pub metric_span_names_limit: u32,
    /// Attributes of metrics, by their names or patterns of these, and of spans (`traces`).
    pub select: BTreeMap<String, InclusionLists>,
    /// What other sides of requests that have an address but no name are called in the service graph (`client`, `server`), where their
    /// direction has no word of its own. Not given, or empty: by the address.
    pub rename_unresolved_hosts: Option<String>,
    /// The same of those that the watched services ask.
    pub rename_unresolved_hosts_outgoing: Option<String>,
    /// The same of those that ask the watched services.
    pub rename_unresolved_hosts_incoming: Option<String>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            kubernetes: Kubernetes::default(),
            host_id: HostId::default(),
            instance_id: InstanceId::default(),
            sensitive_query_params: SensitiveQueryParams::default(),
            http_headers: CapturedHeaders::default(),
            process_command_line: false,
            baggage_keys: Vec::new(),
            client_from_proxy_protocol: true,
            query_text: QueryText::default(),
            inside: InsideAttributes::default(),
            metric_span_names_limit: 100,
            select: BTreeMap::new(),
            rename_unresolved_hosts: None,
            rename_unresolved_hosts_outgoing: None,
            rename_unresolved_hosts_incoming: None,
        }
    }
}

/// `redaction`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redaction {
    /// Query parameters whose values are replaced in `url.query` and `url.full`, compared without case.
    pub query_keys: Vec<String>,
    /// Personal data that is replaced wherever it stands in paths, queries, statements and headers.
    pub personal_data: Vec<PersonalData>,
}

/// What is personal by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersonalData {
    /// Addresses of e-mail.
    Email,
    /// Numbers of payment cards, by Luhn's rule.
    Card,
    /// JSON Web Tokens.
    Jwt,
    /// Numbers of bank accounts (IBAN), by their check digits.
    Iban,
    /// Numbers of phones with their country's code, behind `+` or `00`.
    Phone,
    /// All of these.
    #[serde(alias = "*")]
    All,
}

impl Default for Redaction {
    fn default() -> Self {
        Self { query_keys: QUERY_KEYS.iter().map(|key| (*key).to_owned()).collect(), personal_data: Vec::new() }
    }
}

/// What the semantic conventions ask to redact, then what commonly carries credentials or personal data.
const QUERY_KEYS: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "SecurityToken",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "access_token",
    "refresh_token",
    "id_token",
    "token",
    "auth",
    "authorization",
    "jwt",
    "code",
    "assertion",
    "SAMLResponse",
    "session",
    "sessionid",
    "sid",
    "api_key",
    "apikey",
    "api-key",
    "key",
    "secret",
    "client_secret",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "credential",
    "credentials",
    "private_key",
    "reset_token",
    "invite_token",
    "verify_token",
    "verification_code",
    "mfa_code",
    "otp",
    "totp",
    "card",
    "cc",
    "pan",
    "cvv",
    "ssn",
    "tax_id",
];

/// The keys that are redacted: the list, with what was added and without what was removed.
pub(crate) fn redacted_keys(redaction: &Redaction, changes: &SensitiveQueryParams) -> Vec<String> {
    let (Redaction { query_keys, personal_data: _ }, SensitiveQueryParams { add, remove }) = (redaction, changes);
    let is_in = |list: &[String], key: &str| list.iter().any(|other| other.eq_ignore_ascii_case(key));
    let mut keys: Vec<String> = Vec::new();
    for key in query_keys.iter().chain(add) {
        if !is_in(remove, key) && !is_in(&keys, key) {
            keys.push(key.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_keys_are_the_list_with_the_changes_whatever_the_case() {
        let redaction = Redaction { query_keys: vec!["token".into(), "sig".into()], personal_data: vec![] };
        let changes = SensitiveQueryParams { add: vec!["ticket".into(), "SIG".into()], remove: vec!["Token".into()] };
        assert_eq!(redacted_keys(&redaction, &changes), ["sig", "ticket"]);
    }
}
