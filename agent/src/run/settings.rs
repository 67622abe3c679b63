//! From the configuration to what each stage takes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use compact_str::CompactString;
use thiserror::Error;

use super::{metadata::node_name, selection};
use crate::{
    capture::{self, backend::Backend},
    config::{self, Config, IgnoreMode, NameOrigin, OtlpTarget, Unmatched},
    export::{
        ConfigError, ExportConfig,
        config::{BatchConfig, Endpoint, Headers, OtlpConfig, PrometheusConfig, RetryConfig, TlsConfig},
    },
    procs::{
        PodAttributes, ProcessConfig,
        env::OtelEnv,
        fs::ProcFs,
        host::{Host, HostSource},
        selector::InvalidGlob,
    },
    telemetry::{self, histogram::Aggregation, red, redact::Redactor, route},
    trace::sampling::Sampler,
};

/// A setting that the configuration's own checks let pass and a stage cannot use.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// Of the exports.
    #[error(transparent)]
    Export(#[from] ConfigError),
    /// There is no such backend here.
    #[error("{0}")]
    Backend(String),
    /// A selection's.
    #[error(transparent)]
    Pattern(#[from] InvalidGlob),
}

pub(super) fn capture(config: &Config, watch_all: bool) -> Result<capture::Options, SettingsError> {
    let backends = match config.backend {
        config::Backend::Auto => Backend::AUTO.to_vec(),
        config::Backend::Sock => vec![Backend::Sock],
        config::Backend::Syscall => vec![Backend::Syscall],
        config::Backend::Fexit => vec![Backend::from_str("fexit").map_err(SettingsError::Backend)?],
        config::Backend::Kprobe => vec![Backend::from_str("kprobe").map_err(SettingsError::Backend)?],
    };
    Ok(capture::Options {
        backends,
        watch_all,
        ring_bytes: config.ebpf.ring_buffer_bytes,
        capture_bytes: config.ebpf.capture_bytes,
        hooks_only: config.ebpf.hooks_only,
        standby: config.ebpf.standby_programs,
        dns_answers: config.name_resolver.asks(NameOrigin::Rdns),
        is_selective: !config.selection().is_everything(),
        chosen_ports: selection::selector(config)?.ports(),
    })
}

pub(super) fn sampler(config: &Config) -> Sampler {
    Sampler::from(&config.otel_traces_export.sampler)
}

pub(super) fn telemetry(config: &Config) -> telemetry::Config {
    let aggregation = match config.otel_metrics_export.histogram_aggregation {
        config::HistogramAggregation::ExplicitBucketHistogram => Aggregation::Explicit,
        config::HistogramAggregation::Base2ExponentialBucketHistogram => Aggregation::Exponential,
    };
    let idle = config.prometheus_export.ttl.max(config.otel_metrics_export.ttl).0;
    telemetry::Config {
        routes: routes(&config.routes),
        redactor: Redactor::new(config.redacted_query_keys()),
        red: red::Config { aggregation, idle, ..red::Config::default() },
        leaves_own_exports: config.discovery.exclude_otel_instrumented_services,
        ignores_proxied_clients: !config.attributes.client_from_proxy_protocol,
        ..telemetry::Config::default()
    }
}

fn routes(routes: &config::Routes) -> route::Config {
    let patterns = |list: &[String]| list.iter().map(|text| route::Pattern::new(text)).collect();
    let default = route::Config::default();
    // The heuristic writes its own word unless another is asked for.
    let placeholder = match (routes.unmatched, routes.wildcard_char.as_str()) {
        (Unmatched::Heuristic, "*") => default.placeholder,
        (_, asked) => asked.to_owned(),
    };
    route::Config {
        patterns: patterns(&routes.patterns),
        ignored: patterns(&routes.ignored_patterns),
        ignores_spans: routes.ignore_mode != IgnoreMode::Metrics,
        ignores_metrics: routes.ignore_mode != IgnoreMode::Traces,
        mode: match routes.unmatched {
            Unmatched::Heuristic => route::Mode::Heuristic,
            Unmatched::Unset => route::Mode::Off,
            Unmatched::Path => route::Mode::Path,
            Unmatched::Wildcard => route::Mode::Wildcard,
            Unmatched::LowCardinality => {
                route::Mode::LowCardinality { max_words: routes.max_path_segment_cardinality as usize }
            }
        },
        placeholder,
        max_routes: default.max_routes,
    }
}

pub(super) fn processes(config: &Config) -> Result<ProcessConfig, SettingsError> {
    let namespace = config.default_service_namespace().map(|namespace| ("service.namespace", namespace));
    let given = config.resource_attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    // What is set by name goes before what is in the list.
    Ok(ProcessConfig {
        selector: selection::selector(config)?,
        env: OtelEnv::from_pairs(config.default_service_name(), given.chain(namespace)),
        command_line: config.attributes.process_command_line,
        host: Some(host(config)),
        cluster: config.attributes.kubernetes.cluster_name.as_deref().map(Into::into),
        pod_attributes: pod_attributes(config),
        ..ProcessConfig::default()
    })
}

/// What the configuration takes from pods' labels and annotations.
pub(super) fn pod_attributes(config: &Config) -> PodAttributes {
    let settings = &config.attributes.kubernetes;
    let names = |list: &[String]| list.iter().map(CompactString::from).collect();
    PodAttributes {
        labels: names(&settings.pod_labels),
        annotations: names(&settings.pod_annotations),
        by_label: settings.resource_labels.iter().map(|(key, labels)| (key.into(), names(labels))).collect(),
    }
}

/// The machine, called as the configuration or the cluster does.
fn host(config: &Config) -> Host {
    let mut source = HostSource::new(Path::new("/proc"));
    source.name = config.attributes.instance_id.override_hostname.as_deref().map(Into::into).or_else(node_name);
    let mut host = Host::read(&ProcFs::new("/proc"), &source);
    if let Some(id) = &config.attributes.host_id.replacement {
        host.id = Some(id.as_str().into());
    }
    host
}

/// Where spans and metrics go.
///
/// # Errors
/// What the configuration's own checks let pass and exporters cannot use.
pub fn export(config: &Config) -> Result<ExportConfig, SettingsError> {
    let traces = &config.otel_traces_export;
    let metrics = &config.otel_metrics_export;
    Ok(ExportConfig {
        traces: config.otlp_traces().map(|target| otlp(&target)).transpose()?,
        metrics: config.otlp_metrics().map(|target| otlp(&target)).transpose()?,
        batch: BatchConfig {
            schedule_delay: traces.batch_timeout.0,
            max_batch_spans: traces.batch_max_size() as usize,
            max_queue_bytes: usize::try_from(traces.queue_bytes).unwrap_or(usize::MAX),
            max_queue_spans: traces.queue_size.map(|spans| spans as usize),
            export_timeout: [traces.export_timeout, traces.backoff_max_elapsed_time]
                .into_iter()
                .flatten()
                .min()
                .map(Into::into),
            ..BatchConfig::default()
        },
        retry: RetryConfig { max: traces.backoff_max_interval.0, initial: traces.backoff_initial_interval.0 },
        metric_interval: metrics.interval.0,
        metric_timeout: metrics.export_timeout.0,
        metric_ttl: metrics.ttl.0,
        temporality: metrics.temporality,
        print: config.print_mode(),
        print_metrics: config.prints_metrics(),
        listen: listen(config),
        prometheus: PrometheusConfig {
            path: config.prometheus_export.path.clone(),
            ttl: config.prometheus_export.ttl.0,
            has_requests: config.serves_prometheus(),
        },
    })
}

/// The addresses of the agent's own server.
fn listen(config: &Config) -> Vec<SocketAddr> {
    let listen = match config.listen {
        config::Listen::Off => None,
        config::Listen::On(address) => Some(address),
    };
    let port = Some(config.prometheus_export.port).filter(|&port| port != 0);
    // The same port on every address serves the one that is named too.
    let named = listen.filter(|address| port != Some(address.port()));
    named.into_iter().chain(port.map(|port| (Ipv4Addr::UNSPECIFIED, port).into())).collect()
}

fn otlp(target: &OtlpTarget) -> Result<OtlpConfig, SettingsError> {
    let headers = target.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(OtlpConfig {
        endpoint: Endpoint::parse("endpoint", target.endpoint.as_str())?,
        protocol: target.protocol,
        headers: Headers::new("headers", headers)?,
        timeout: target.timeout.0,
        compression: target.compression,
        tls: TlsConfig {
            certificate: target.certificate.clone(),
            client_key: target.client_key.clone(),
            client_certificate: target.client_certificate.clone(),
        },
    })
}

/// The agent itself, as the resource of what it says of itself.
pub(super) fn agent_resource(processes: &crate::procs::ProcessTable) -> Arc<crate::model::span::Resource> {
    processes.resource(std::process::id())
}

#[cfg(test)]
mod tests;
