//! `grafana`: Grafana Cloud's receiver by its zone, as Beyla has it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    discovery::Signal,
    otlp::{Headers, MetricsExport, Otlp, OtlpTarget, TracesExport},
};

/// `grafana`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grafana {
    /// Grafana Cloud's OTLP receiver, for signals that have no endpoint of their own.
    pub otlp: GrafanaOtlp,
}

/// `grafana.otlp`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrafanaOtlp {
    /// Signals that go there.
    pub cloud_submit: Vec<Signal>,
    /// The zone, such as `prod-eu-west-0`. Not given: nothing goes there.
    pub cloud_zone: Option<String>,
    /// User, mostly a number.
    pub cloud_instance_id: Option<String>,
    /// Key of the API.
    pub cloud_api_key: Option<String>,
}

impl Default for GrafanaOtlp {
    fn default() -> Self {
        Self { cloud_submit: vec![Signal::Traces], cloud_zone: None, cloud_instance_id: None, cloud_api_key: None }
    }
}

impl std::fmt::Debug for GrafanaOtlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrafanaOtlp")
            .field("cloud_submit", &self.cloud_submit)
            .field("cloud_zone", &self.cloud_zone)
            .field("cloud_instance_id", &self.cloud_instance_id)
            .field("cloud_api_key", &self.cloud_api_key.as_ref().map(|_| "***"))
            .finish()
    }
}

impl Grafana {
    /// Where a signal goes; `None`: not there. Headers that `common` sets stay.
    pub(crate) fn target(&self, signal: Signal, common: &Otlp) -> Option<OtlpTarget> {
        let GrafanaOtlp { cloud_submit, cloud_zone, cloud_instance_id, cloud_api_key } = &self.otlp;
        let zone = cloud_zone.as_deref().filter(|zone| cloud_submit.contains(&signal) && !zone.is_empty())?;
        let mut common = common.clone();
        common.endpoint = Some(format!("https://otlp-gateway-{zone}.grafana.net/otlp").parse().ok()?);
        if let (Some(user), Some(key)) = (cloud_instance_id, cloud_api_key) {
            let Headers(headers) = &mut common.headers;
            if !headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) {
                let credentials = STANDARD.encode(format!("{user}:{key}"));
                headers.insert("authorization".to_owned(), format!("Basic {credentials}"));
            }
        }
        match signal {
            Signal::Traces => TracesExport::default().target(&common),
            Signal::Metrics => MetricsExport::default().target(&common),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_receiver_of_what_is_submitted_with_its_credentials() {
        let otlp = GrafanaOtlp {
            cloud_zone: Some("prod-eu-west-0".into()),
            cloud_instance_id: Some("12345".into()),
            cloud_api_key: Some("abc".into()),
            ..GrafanaOtlp::default()
        };
        assert!(!format!("{otlp:?}").contains("abc"));
        let mut grafana = Grafana { otlp };
        let target = grafana.target(Signal::Traces, &Otlp::default()).unwrap();
        assert_eq!(target.endpoint.as_str(), "https://otlp-gateway-prod-eu-west-0.grafana.net/otlp/v1/traces");
        assert_eq!(target.headers.0["authorization"], "Basic MTIzNDU6YWJj");
        assert_eq!(grafana.target(Signal::Metrics, &Otlp::default()), None);
        grafana.otlp.cloud_submit.push(Signal::Metrics);
        let own =
            Otlp { headers: Headers([("Authorization".to_owned(), "Bearer x".to_owned())].into()), ..Otlp::default() };
        let target = grafana.target(Signal::Metrics, &own).unwrap();
        assert_eq!(target.headers.0.into_values().collect::<Vec<_>>(), ["Bearer x"]);
    }
}
