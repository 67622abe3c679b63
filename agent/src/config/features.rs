//! Which groups of metrics there are, for whom, and how the service graph is drawn. Names are OBI's.

use std::{fmt, net::IpAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::written_as_text;

/// A group of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Durations and body sizes of requests, by the semantic conventions.
    Application,
    /// Of these, durations and open requests.
    ApplicationRed,
    /// Of these, body sizes.
    ApplicationSizes,
    /// Spans counted and timed, as Tempo names it: `traces_spanmetrics_calls_total`, `traces_spanmetrics_latency`.
    ApplicationSpan,
    /// The same as the OpenTelemetry Collector names it: `traces.span.metrics.calls`, `traces.span.metrics.duration`.
    ApplicationSpanOtel,
    /// Bytes of bodies by span: `traces_spanmetrics_size_total`, `traces_spanmetrics_response_size_total`.
    ApplicationSpanSizes,
    /// Who asks whom: `traces_service_graph_request_*`.
    ApplicationServiceGraph,
    /// What processes use of their host.
    ApplicationProcess,
    /// Hosts that services run on: `traces_host_info`.
    ApplicationHost,
    /// OBI's, not supported yet.
    ApplicationRuntime,
    /// OBI's, not supported yet.
    Network,
    /// OBI's, not supported yet.
    NetworkInterZone,
    /// OBI's, not supported yet.
    NetworkFlowPackets,
    /// OBI's, not supported yet.
    Stats,
    /// OBI's, not supported yet.
    StatsTcpRtt,
    /// OBI's, not supported yet.
    StatsTcpFailedConnections,
    /// OBI's, not supported yet.
    StatsTcpRetransmits,
    /// OBI's, not supported yet.
    StatsTcpIo,
    /// OBI's, not supported yet.
    Ebpf,
    /// All that are supported; spans as `application_span` names them.
    #[serde(alias = "*")]
    All,
}

impl Feature {
    /// Whether it is one that OBI has and this agent has not.
    #[must_use]
    pub(crate) fn is_missing(self) -> bool {
        Features::of_one(self).is_empty()
    }
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features(u16);

impl Features {
    /// Durations of requests, and open ones.
    pub(crate) const RED: Self = Self(1);
    /// Sizes of bodies.
    pub(crate) const SIZES: Self = Self(1 << 1);
    /// Spans, by Tempo's names.
    pub(crate) const SPAN: Self = Self(1 << 2);
    /// Spans, by the Collector's names.
    pub(crate) const SPAN_OTEL: Self = Self(1 << 3);
    /// Bytes of bodies by span.
    pub(crate) const SPAN_SIZES: Self = Self(1 << 4);
    /// The service graph.
    pub(crate) const SERVICE_GRAPH: Self = Self(1 << 5);
    /// What processes use.
    pub(crate) const PROCESS: Self = Self(1 << 6);
    /// Hosts of services.
    pub(crate) const HOST: Self = Self(1 << 7);
    /// All that is made of spans.
    pub(crate) const ANY_SPAN: Self = Self::SPAN.with(Self::SPAN_OTEL).with(Self::SPAN_SIZES);

    /// Those of a list.
    #[must_use]
    pub(crate) fn of(list: &[Feature]) -> Self {
        list.iter().fold(Self::default(), |all, feature| all.with(Self::of_one(*feature)))
    }

    const fn of_one(feature: Feature) -> Self {
        match feature {
            Feature::Application => Self::RED.with(Self::SIZES),
            Feature::ApplicationRed => Self::RED,
            Feature::ApplicationSizes => Self::SIZES,
            Feature::ApplicationSpan => Self::SPAN,
            Feature::ApplicationSpanOtel => Self::SPAN_OTEL,
            Feature::ApplicationSpanSizes => Self::SPAN_SIZES,
            Feature::ApplicationServiceGraph => Self::SERVICE_GRAPH,
            Feature::ApplicationProcess => Self::PROCESS,
            Feature::ApplicationHost => Self::HOST,
            Feature::All => Self(u8::MAX as u16 & !Self::SPAN_OTEL.0),
            Feature::ApplicationRuntime
            | Feature::Network
            | Feature::NetworkInterZone
            | Feature::NetworkFlowPackets
            | Feature::Stats
            | Feature::StatsTcpRtt
            | Feature::StatsTcpFailedConnections
            | Feature::StatsTcpRetransmits
            | Feature::StatsTcpIo
            | Feature::Ebpf => Self(0),
        }
    }

    /// Both.
    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub(crate) const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether any of these is in it.
    #[must_use]
    pub(crate) const fn has(self, any_of: Self) -> bool {
        self.0 & any_of.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// `metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Which groups of metrics there are, where an exporter or an entry of `discovery.instrument` says nothing of its own.
    pub features: Vec<Feature>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { features: vec![Feature::Application] }
    }
}

/// `discovery.instrument[].metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceMetrics {
    /// Which groups of metrics there are of what matches, instead of `metrics.features`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<Feature>>,
}

/// `service_graph`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceGraph {
    /// Addresses of clients on other hosts that an agent there watches, and counts the requests of: `private`, or networks
    /// such as `10.0.0.0/8`. None: no other host has an agent.
    pub watched_clients: Vec<Network>,
}

impl Default for ServiceGraph {
    fn default() -> Self {
        Self { watched_clients: vec![Network::Private] }
    }
}

/// Some addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Those that the internet does not route: RFC 1918, shared (RFC 6598), link-local, unique local.
    Private,
    /// Those that begin with as many bits as these.
    Prefix(IpAddr, u8),
}

written_as_text!(Network, "Network", "network, or `private`", ["10.0.0.0/8", "fd00::/8", "private"]);

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `private` nor a network such as `10.0.0.0/8`, `fd00::/8` or `192.0.2.1`")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("private") {
            return Ok(Self::Private);
        }
        let refuse = || NetworkError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| refuse()))?;
        if bits > most { Err(refuse()) } else { Ok(Self::Prefix(address, bits)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Prefix(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match (*self, ip) {
            (Self::Private, ip) => is_private(ip),
            (Self::Prefix(IpAddr::V4(base), bits), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                base.to_bits() & mask == ip.to_bits() & mask
            }
            (Self::Prefix(IpAddr::V6(base), bits), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                base.to_bits() & mask == ip.to_bits() & mask
            }
            (Self::Prefix(..), _) => false,
        }
    }
}

/// Whether the internet does not route an address.
#[must_use]
pub(crate) const fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || (a == 100 && b & 0b1100_0000 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_begins_as_they_do() {
        for (network, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.1", "10.2.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("10.0.0.0/8", "::ffff:10.9.9.9", "11.0.0.0"),
            ("private", "172.31.0.1", "172.32.0.1"),
            ("private", "100.127.0.1", "100.128.0.1"),
            ("private", "::ffff:192.168.1.1", "8.8.8.8"),
            ("private", "fd12::1", "2001:db8::1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "publik", "1.2.3.4/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn application_is_durations_and_sizes_and_all_is_what_there_is() {
        let set = |list: &[Feature]| Features::of(list);
        let halves = [Feature::ApplicationRed, Feature::ApplicationSizes];
        assert_eq!(set(&[Feature::Application]), set(&halves));
        let all = set(&[Feature::All]);
        assert!(all.has(Features::SERVICE_GRAPH) && all.has(Features::SPAN) && !all.has(Features::SPAN_OTEL));
        assert!(Feature::Network.is_missing() && !Feature::ApplicationHost.is_missing());
        assert_eq!(serde_json::from_str::<Vec<Feature>>(r#"["*", "all"]"#).unwrap(), [Feature::All; 2]);
    }
}
