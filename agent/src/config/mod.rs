//! Everything that users set: one typed structure, filled from defaults, a file, the environment and flags, the later
//! stronger than the earlier. Every value remembers where it came from. Reads nothing but what it is given, and the file.

mod attributes;
mod de;
mod discovery;
mod env;
mod error;
mod export;
mod features;
mod grafana;
mod headers;
mod health;
mod keys;
mod limits;
mod load;
mod migrate;
mod node;
mod obi;
mod obi_v2;
mod otlp;
mod output;
mod pattern;
mod period;
mod ports;
mod reload;
mod routes;
mod sampler;
mod scalar;
mod schema;
mod show;
mod size;
mod stability;
mod store;
mod theirs;
mod told;
mod validate;
mod watch;
mod yaml;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use attributes::{
    Attributes, Enable, HostId, InclusionLists, InsideAttributes, InstanceId, Kubernetes, PersonalData, QueryText,
    Redaction,
};
pub(crate) use discovery::{Criterion, Discovery, RouteHarvester, Sdk, Selection, Signal};
pub use env::Environment;
pub(crate) use error::{ConfigError, Problem};
pub(crate) use export::{Export, Spool};
pub(crate) use features::{Feature, Features, Metrics, Network, ServiceGraph, ServiceMetrics, is_private};
pub(crate) use grafana::Grafana;
pub(crate) use health::HealthCheck;
pub(crate) use limits::Limits;
pub(crate) use load::check_file;
pub use load::{FlagLayer, Loaded, Sources};
pub(crate) use migrate::migrate;
pub(crate) use node::Origin;
pub use otlp::Temporality;
pub(crate) use otlp::{
    BATCH_MAX_SIZE, Compression, ExponentialHistogram, HistogramAggregation, MetricsExport, Otlp, OtlpEndpoint,
    OtlpTarget, Protocol, TracesExport,
};
pub use output::Print;
pub(crate) use output::{
    Backend, Ebpf, ExemplarFilter, Exporter, Exporters, InternalMetrics, InternalPrometheus, Listen, LogConfig,
    LogFormat, LogLevel, NameOrigin, NameResolver, Naming, NativeHistogram, Processes, PrometheusExport, Propagator,
    Telemetry,
};
pub(crate) use pattern::{Glob, GlobError};
pub(crate) use period::Period;
pub(crate) use ports::{Pids, Ports};
pub(crate) use routes::{IgnoreMode, Routes, ServiceRoutes, Unmatched};
pub(crate) use sampler::{HealthChecks, Sampler, SamplerName, Sampling, Tail};
pub(crate) use schema::schema;
pub(crate) use store::{Api, ListenTls, Store, Token};
pub(crate) use told::{Filter, Instrumentation, Matches, Protocols};
pub(crate) use watch::{Changes, watch};

use crate::model::propagation::{self, Format, Propagation};
use node::Node;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Processes to watch, with their children. Nothing chosen here or below: every process not excluded.
    pub target_pids: Pids,
    /// Watch processes that listen on one of these ports. Together with `auto_target_exe`: both must hold.
    pub open_port: Ports,
    /// Watch processes whose executable's path matches.
    pub auto_target_exe: Option<Glob>,
    /// Watch processes of matching languages.
    pub auto_target_language: Option<Glob>,
    /// Which processes are watched, and what is set for each.
    pub discovery: Discovery,
    /// `service.name` of services that do not say their own.
    pub service_name: Option<String>,
    /// `service.namespace` of services that do not say their own.
    pub service_namespace: Option<String>,
    /// Resource attributes of every service.
    pub resource_attributes: BTreeMap<String, String>,
    /// What is added to spans and metrics.
    pub attributes: Attributes,
    /// How paths become routes.
    pub routes: Routes,
    /// What is taken out of spans.
    pub redaction: Redaction,
    /// OTLP, spans and metrics alike.
    pub otlp: Otlp,
    /// Grafana Cloud as a receiver.
    pub grafana: Grafana,
    /// OTLP spans.
    pub otel_traces_export: TracesExport,
    /// OTLP metrics.
    pub otel_metrics_export: MetricsExport,
    /// How what is sent waits.
    pub export: Export,
    /// Which groups of metrics there are.
    pub metrics: Metrics,
    /// Which requests are told.
    pub filter: Filter,
    /// Who asks whom.
    pub service_graph: ServiceGraph,
    /// Where spans and metrics go at all.
    pub exporters: Exporters,
    /// Metrics on a port of their own.
    pub prometheus_export: PrometheusExport,
    /// The agent's own metrics on a port of their own.
    pub internal_metrics: InternalMetrics,
    /// Whether the agent works, on a port of its own.
    pub health_check: HealthCheck,
    /// Address of `/metrics`, `/healthz` and `/readyz`, or `off`.
    pub listen: Listen,
    /// Its certificate; not given: in the clear.
    pub listen_tls: ListenTls,
    /// What the agent remembers for its web page and its API.
    pub store: Store,
    /// Who may ask it.
    pub api: Api,
    /// How spans are printed; not given: `text` if no OTLP endpoint is set, else `off`.
    pub print: Option<Print>,
    /// How other sides of requests are named.
    pub name_resolver: NameResolver,
    /// Names of metrics and attributes.
    pub telemetry: Telemetry,
    /// What is told of processes (`application_process` among the features).
    pub processes: Processes,
    /// Which requests are in traces, besides `otel_traces_export.sampler`.
    pub sampling: Sampling,
    /// Ways in which trace context is read, in this order: of several valid contexts the last one counts.
    pub propagators: Vec<Propagator>,
    /// Whether nothing is exported at all.
    pub sdk_disabled: bool,
    /// How the kernel is asked.
    pub backend: Backend,
    /// Kernel side.
    pub ebpf: Ebpf,
    /// What the agent itself may use.
    pub limits: Limits,
    /// How much is logged.
    pub log_level: LogLevel,
    /// How lines of the log are written.
    pub log_format: LogFormat,
    /// Whether the effective configuration is logged at the start.
    pub log_config: LogConfig,
    /// Stop after this time; not given: run until told to stop.
    pub duration: Option<Period>,
    /// Longest time that stopping may take.
    pub shutdown_timeout: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target_pids: Pids::default(),
            open_port: Ports::default(),
            auto_target_exe: None,
            auto_target_language: None,
            discovery: Discovery::default(),
            service_name: None,
            service_namespace: None,
            resource_attributes: BTreeMap::new(),
            attributes: Attributes::default(),
            routes: Routes::default(),
            redaction: Redaction::default(),
            otlp: Otlp::default(),
            grafana: Grafana::default(),
            otel_traces_export: TracesExport::default(),
            otel_metrics_export: MetricsExport::default(),
            export: Export::default(),
            metrics: Metrics::default(),
            filter: Filter::default(),
            service_graph: ServiceGraph::default(),
            exporters: Exporters::default(),
            prometheus_export: PrometheusExport::default(),
            internal_metrics: InternalMetrics::default(),
            health_check: HealthCheck::default(),
            listen: Listen::On((std::net::Ipv4Addr::LOCALHOST, 9464).into()),
            listen_tls: ListenTls::default(),
            store: Store::default(),
            api: Api::default(),
            print: None,
            name_resolver: NameResolver::default(),
            telemetry: Telemetry::default(),
            processes: Processes::default(),
            sampling: Sampling::default(),
            propagators: vec![Propagator::TraceContext, Propagator::Baggage],
            sdk_disabled: false,
            backend: Backend::default(),
            ebpf: Ebpf::default(),
            limits: Limits::default(),
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
            log_config: LogConfig::default(),
            duration: None,
            shutdown_timeout: Period::seconds(10),
        }
    }
}

impl Config {
    /// Where spans go over OTLP.
    pub fn otlp_traces(&self) -> Vec<OtlpTarget> {
        let is_on = !self.sdk_disabled && self.exporters.traces.contains(&Exporter::Otlp);
        let cloud = || self.grafana.target(Signal::Traces, &self.otlp);
        self.targets(is_on, self.otel_traces_export.target(&self.otlp).or_else(cloud), Signal::Traces)
    }

    /// Where metrics go over OTLP.
    pub fn otlp_metrics(&self) -> Vec<OtlpTarget> {
        let is_on = !self.sdk_disabled && self.exporters.metrics.contains(&Exporter::Otlp);
        let cloud = || self.grafana.target(Signal::Metrics, &self.otlp);
        self.targets(is_on, self.otel_metrics_export.target(&self.otlp).or_else(cloud), Signal::Metrics)
    }

    fn targets(&self, is_on: bool, first: Option<OtlpTarget>, signal: Signal) -> Vec<OtlpTarget> {
        let others = self.export.endpoints.iter().filter_map(|receiver| receiver.target(signal));
        if is_on { first.into_iter().chain(others).collect() } else { Vec::new() }
    }

    /// Whether request metrics are shown on the Prometheus endpoint.
    pub fn serves_prometheus(&self) -> bool {
        !self.sdk_disabled && self.exporters.metrics.contains(&Exporter::Prometheus)
    }

    /// Whether metrics are printed.
    pub fn prints_metrics(&self) -> bool {
        !self.sdk_disabled && self.exporters.metrics.contains(&Exporter::Console)
    }

    /// How spans are printed.
    pub fn print_mode(&self) -> Print {
        match self.print {
            Some(print) => print,
            None if self.sdk_disabled => Print::Off,
            None if self.exporters.traces.contains(&Exporter::Console) => Print::Text,
            None if self.exporters.traces == [Exporter::None] => Print::Off,
            None if !(self.otlp_traces().is_empty() && self.otlp_metrics().is_empty()) => Print::Off,
            None => Print::Text,
        }
    }

    /// What is to be watched, from all the ways of saying it. Process ids alone keep `discovery.instrument` from choosing.
    /// The short ways come first: what an entry sets goes before them.
    pub fn selection(&self) -> Selection {
        let pids = self.target_pids.0.clone();
        let shortcut = Criterion {
            open_ports: self.open_port.clone(),
            exe_path: self.auto_target_exe.clone(),
            languages: self.auto_target_language.clone(),
            ..Criterion::default()
        };
        let mut criteria = Vec::from_iter(Some(shortcut).filter(Criterion::chooses));
        if pids.is_empty() {
            criteria.extend(self.discovery.instrument.iter().cloned());
        }
        Selection { pids, criteria }
    }

    /// What is read of the context that requests carry, and of statements.
    pub fn propagation(&self) -> Propagation {
        let format = |propagator: &Propagator| match propagator {
            Propagator::TraceContext => Some(Format::TraceContext),
            Propagator::B3 => Some(Format::B3),
            Propagator::B3Multi => Some(Format::B3Multi),
            Propagator::Jaeger => Some(Format::Jaeger),
            Propagator::Baggage | Propagator::None => None,
        };
        let is_read = self.propagators.contains(&Propagator::Baggage);
        Propagation {
            formats: self.propagators.iter().filter_map(format).collect(),
            baggage: self
                .attributes
                .baggage_keys
                .iter()
                .filter(|_| is_read)
                .map(|name| propagation::key(name))
                .collect(),
            query_text: match self.attributes.query_text {
                QueryText::Off => propagation::QueryText::Off,
                QueryText::Sanitized => propagation::QueryText::Sanitized,
                QueryText::Full => propagation::QueryText::Full,
            },
        }
    }

    /// Query parameters whose values are replaced, compared without case.
    pub fn redacted_query_keys(&self) -> Vec<String> {
        attributes::redacted_keys(&self.redaction, &self.attributes.sensitive_query_params)
    }

    /// `service.name` for services that do not say their own.
    pub fn default_service_name(&self) -> Option<&str> {
        self.service_name.as_deref().or_else(|| self.resource_attributes.get("service.name").map(String::as_str))
    }

    /// `service.namespace` for services that do not say their own.
    pub fn default_service_namespace(&self) -> Option<&str> {
        let listed = || self.resource_attributes.get("service.namespace").map(String::as_str);
        self.service_namespace.as_deref().or_else(listed)
    }
}
