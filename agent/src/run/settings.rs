//! From the configuration to what each stage takes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use compact_str::CompactString;
use thiserror::Error;

use super::{
    metadata::{self, node_name},
    selection,
};
use crate::{
    capture::{
        self,
        backend::{Backend, UnknownBackend},
    },
    config::{
        self, Attributes, Config, Discovery, Ebpf, ExemplarFilter, ExponentialHistogram, Export, Feature, Features,
        GlobError, HostId, IgnoreMode, InstanceId, Instrumentation, InternalMetrics, InternalPrometheus, Kubernetes,
        MetricsExport, NameOrigin, NameResolver, Naming, NativeHistogram, OtlpTarget, PrometheusExport, Protocols,
        RouteHarvester, Sampling, ServiceGraph, Tail, TracesExport, Unmatched,
    },
    conn,
    export::{
        ConfigError, ExportConfig,
        config::{
            BatchConfig, Headers, HealthListen, ListenTls, OtlpConfig, OwnMetrics, PrometheusConfig, ReceiverUrl,
            RetryConfig, SpoolConfig, TlsConfig,
        },
    },
    model::{
        ids::ProcessId,
        propagation::{self, Propagation},
    },
    procs::{
        PodAttributes, ProcessConfig, Remembered,
        env::OtelEnv,
        fs::ProcFs,
        host::{Host, HostSource},
        selector::{InvalidGlob, Selector},
    },
    store::DiskConfig,
    telemetry::{
        self, exponential,
        filter::Filter,
        histogram, red,
        redact::Redactor,
        route,
        select::Select,
        wanted::{Readers, Wanted},
    },
    trace::{health::HealthRules, sampling::Sampler},
};

/// A setting that the configuration's own checks let pass and a stage cannot use.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// Of the exports.
    #[error(transparent)]
    Export(#[from] ConfigError),
    /// There is no such backend here.
    #[error(transparent)]
    Backend(#[from] UnknownBackend),
    /// A name of a metric.
    #[error("attributes.select: {0}")]
    Select(#[from] GlobError),
    /// A selection's.
    #[error(transparent)]
    Pattern(#[from] InvalidGlob),
}

/// What each stage takes of the configuration.
pub(super) struct Settings {
    pub(super) capture: capture::Options,
    /// What is read of the context that requests carry.
    pub(super) propagation: Propagation,
    pub(super) sampler: Sampler,
    /// Services have samplers of their own.
    pub(super) has_several_samplers: bool,
    /// What tells health checks, where they are left out of traces.
    pub(super) health_checks: Option<HealthRules>,
    /// What is kept once a trace is over.
    pub(super) tail: Tail,
    pub(super) telemetry: telemetry::Config,
    /// Languages in whose programs no routes are looked for.
    pub(super) disabled_harvesters: Vec<RouteHarvester>,
    /// Names of metrics, given when they are read.
    pub(super) naming: Naming,
    /// Attributes of the resource that each series has which Prometheus is shown.
    pub(super) of_shown_resource: Vec<&'static str>,
    pub(super) processes: ProcessConfig,
    pub(super) export: ExportConfig,
    /// How often it is looked at what processes use.
    pub(super) process_interval: Duration,
    /// What the agent itself may use.
    pub(super) limits: config::Limits,
    pub(super) metadata: metadata::Settings,
    /// What the agent remembers itself; `None`: nothing.
    pub(super) store: Option<StoreSettings>,
    /// How long the agent runs, if not until it is told to stop.
    pub(super) duration: Option<Duration>,
    /// How long stopping may take.
    pub(super) shutdown_timeout: Duration,
}

impl Settings {
    /// Takes the configuration apart. Neither here nor in the sections below is there a `..`: a key that nobody reads does not
    /// compile. What reads those that are bound to `_` stands beside them.
    ///
    /// # Errors
    /// What the configuration's own checks let pass and a stage cannot use.
    pub(super) fn of(config: &Config) -> Result<Self, SettingsError> {
        let Config {
            // `Config::selection`
            target_pids: _,
            open_port: _,
            auto_target_exe: _,
            auto_target_language: _,
            discovery,
            // `Config::default_service_name`, `Config::default_service_namespace`
            service_name: _,
            service_namespace: _,
            resource_attributes,
            attributes,
            routes,
            redaction,
            // `Config::otlp_traces`, `Config::otlp_metrics`
            otlp: _,
            grafana: _,
            otel_traces_export,
            otel_metrics_export,
            export:
                Export {
                    spool,
                    // `Config::otlp_traces`, `Config::otlp_metrics`
                    endpoints: _,
                },
            metrics: config::Metrics { features },
            filter,
            service_graph: ServiceGraph { watched_clients },
            // What says where each signal goes: `Config::otlp_traces`, `serves_prometheus`, `prints_metrics`, `print_mode` …
            exporters: _,
            print: _,
            sdk_disabled: _,
            prometheus_export,
            health_check,
            internal_metrics: InternalMetrics { prometheus: InternalPrometheus { port: own_port, path: own_path } },
            listen,
            listen_tls: ListenTls { certificate: listen_certificate, key: listen_key },
            store,
            api: config::Api { token, token_file },
            name_resolver,
            telemetry: config::Telemetry { naming, cardinality_limit },
            processes: config::Processes { interval: process_interval },
            sampling: Sampling { health_checks, tail },
            // `Config::propagation`
            propagators: _,
            backend,
            ebpf,
            limits,
            // The log is set up before all else: `run::start_log`
            log_level: _,
            log_format: _,
            log_config: _,
            duration,
            shutdown_timeout,
        } = config;
        let Attributes {
            kubernetes,
            host_id,
            instance_id,
            // `Config::redacted_query_keys`
            sensitive_query_params: _,
            process_command_line,
            // `Config::header_rules`
            http_headers: _,
            // `Config::propagation`
            baggage_keys: _,
            // `Config::propagation`
            query_text: _,
            client_from_proxy_protocol,
            inside,
            metric_span_names_limit,
            select,
            rename_unresolved_hosts,
            rename_unresolved_hosts_outgoing,
            rename_unresolved_hosts_incoming,
        } = attributes;
        let Discovery {
            // `Config::selection`, and `run::selection`
            instrument: _,
            exclude_instrument: _,
            default_exclude_instrument: _,
            // `Discovery::sdk`
            exclude_otel_instrumented_services: _,
            exclude_otel_instrumented_services_span_metrics,
            sdk: _,
            disabled_route_harvesters,
        } = discovery;
        let TracesExport {
            // `Config::otlp_traces`
            endpoint: _,
            protocol: _,
            headers: _,
            timeout: _,
            compression: _,
            certificate: _,
            client_key: _,
            client_certificate: _,
            insecure_skip_verify: _,
            sampler,
            instrumentations: span_protocols,
            queue_size,
            queue_bytes,
            // `TracesExport::batch_max_size`
            batch_max_size: _,
            batch_timeout,
            export_timeout,
            backoff_initial_interval,
            backoff_max_interval,
            backoff_max_elapsed_time,
        } = otel_traces_export;
        let MetricsExport {
            // `Config::otlp_metrics`
            endpoint: _,
            protocol: _,
            headers: _,
            timeout: _,
            compression: _,
            certificate: _,
            client_key: _,
            client_certificate: _,
            insecure_skip_verify: _,
            interval,
            export_timeout: metric_timeout,
            ttl: metric_ttl,
            temporality,
            histogram_aggregation: _,
            // `histograms`
            buckets: _,
            exponential_histogram: _,
            features: otlp_features,
            extra_span_resource_attributes: of_otlp_spans,
            instrumentations: otlp_protocols,
            allow_service_graph_self_references: otlp_self_references,
        } = otel_metrics_export;
        let PrometheusExport {
            port,
            path,
            ttl: shown_ttl,
            // `histograms`
            buckets: _,
            native_histogram: _,
            features: prometheus_features,
            instrumentations: shown_protocols,
            exemplar_filter,
            extra_resource_attributes: of_shown,
            extra_span_resource_attributes: of_shown_spans,
            allow_service_graph_self_references: prometheus_self_references,
        } = prometheus_export;
        let wanted =
            |features: &Option<Vec<Feature>>, of: &[Instrumentation], more: &[String], self_references: &bool| Wanted {
                own: features.as_deref().map(Features::of),
                of_resource: propagation::keys(more),
                protocols: Protocols::of(of),
                self_references: *self_references,
            };
        let Kubernetes {
            enable,
            cluster_name,
            kubeconfig_path,
            meta_restrict_local_node,
            informers_sync_timeout,
            reconnect_initial_interval,
            resource_labels,
            pod_labels,
            pod_annotations,
        } = kubernetes;
        let NameResolver { sources, cache_len, cache_expiry } = name_resolver;
        let unresolved = |of_direction: &Option<String>| {
            let word = of_direction.as_ref().or(rename_unresolved_hosts.as_ref());
            word.filter(|word| !word.is_empty()).map(CompactString::from)
        };
        let selector = selection::selector(config)?;
        let pod_attributes = PodAttributes {
            labels: names(pod_labels),
            annotations: names(pod_annotations),
            by_label: resource_labels.iter().map(|(key, labels)| (key.into(), names(labels))).collect(),
        };
        let given = resource_attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        // What is set by name goes before what is in the list.
        let namespace = config.default_service_namespace().map(|namespace| ("service.namespace", namespace));
        Ok(Self {
            capture: capture(backend, ebpf, &selector, config)?,
            propagation: config.propagation(),
            sampler: Sampler::from(sampler),
            has_several_samplers: config.discovery.instrument.iter().any(|entry| entry.sampler.is_some()),
            health_checks: HealthRules::new(health_checks),
            tail: tail.clone(),
            telemetry: telemetry::Config {
                routes: self::routes(routes),
                redactor: Redactor::new(config.redacted_query_keys()).with_personal_data(&redaction.personal_data),
                red: red::Config {
                    histograms: histograms(config),
                    max_series: *cardinality_limit as usize,
                    select: Select::new(select.iter().map(|(name, lists)| (name.as_str(), lists)))?,
                    idle: (*shown_ttl).max(*metric_ttl).0,
                },
                sdk: discovery.sdk(),
                ignores_proxied_clients: !client_from_proxy_protocol,
                inside: *inside,
                metrics: telemetry::Metrics {
                    readers: Readers {
                        common: Features::of(features),
                        each: [
                            wanted(otlp_features, otlp_protocols, of_otlp_spans, otlp_self_references),
                            wanted(prometheus_features, shown_protocols, of_shown_spans, prometheus_self_references),
                            wanted(&None, shown_protocols, of_shown_spans, prometheus_self_references),
                        ],
                        has_store: has_store(config, store),
                    },
                    span_names: *metric_span_names_limit as usize,
                    spans_of: Protocols::of_spans(span_protocols),
                    filter: Filter::new(filter.application.iter()),
                    watched_clients: watched_clients.clone(),
                    leaves_spans: *exclude_otel_instrumented_services_span_metrics,
                    unresolved: telemetry::Unresolved {
                        outgoing: unresolved(rename_unresolved_hosts_outgoing),
                        incoming: unresolved(rename_unresolved_hosts_incoming),
                    },
                },
                ..telemetry::Config::default()
            },
            disabled_harvesters: disabled_route_harvesters.clone(),
            naming: *naming,
            of_shown_resource: propagation::keys(of_shown).to_vec(),
            processes: ProcessConfig {
                selector,
                env: OtelEnv::from_pairs(config.default_service_name(), given.chain(namespace)),
                command_line: *process_command_line,
                host: Some(host(host_id, instance_id)),
                cluster: cluster_name.as_deref().map(Into::into),
                pod_attributes: pod_attributes.clone(),
                ..ProcessConfig::default()
            },
            export: ExportConfig {
                traces: config.otlp_traces().into_iter().map(otlp).collect::<Result<_, _>>()?,
                metrics: config.otlp_metrics().into_iter().map(otlp).collect::<Result<_, _>>()?,
                batch: BatchConfig {
                    schedule_delay: batch_timeout.0,
                    max_batch_spans: otel_traces_export.batch_max_size() as usize,
                    max_queue_bytes: usize::try_from(*queue_bytes).unwrap_or(usize::MAX),
                    max_queue_spans: queue_size.map(|spans| spans as usize),
                    export_timeout: [*export_timeout, *backoff_max_elapsed_time]
                        .into_iter()
                        .flatten()
                        .min()
                        .map(Into::into),
                    ..BatchConfig::default()
                },
                retry: RetryConfig { max: backoff_max_interval.0, initial: backoff_initial_interval.0 },
                spool: self::spool(spool),
                metric_interval: interval.0,
                metric_timeout: metric_timeout.0,
                metric_ttl: metric_ttl.0,
                temporality: *temporality,
                print: config.print_mode(),
                print_metrics: config.prints_metrics(),
                listen: addresses(*listen, *port),
                listen_tls: ListenTls { certificate: listen_certificate.clone(), key: listen_key.clone() },
                own_metrics: (*own_port != 0)
                    .then(|| OwnMetrics { listen: (Ipv4Addr::UNSPECIFIED, *own_port).into(), path: own_path.clone() }),
                health: health(health_check),
                prometheus: PrometheusConfig {
                    path: path.clone(),
                    ttl: shown_ttl.0,
                    has_requests: config.serves_prometheus(),
                    has_exemplars: *exemplar_filter != ExemplarFilter::AlwaysOff,
                },
            },
            metadata: metadata::Settings {
                enable: *enable,
                kubeconfig: kubeconfig_path.clone(),
                only_this_node: *meta_restrict_local_node,
                sync_timeout: informers_sync_timeout.0,
                first_pause: reconnect_initial_interval.0,
                pod_attributes,
                names: sources.clone(),
                remembered: Remembered {
                    addresses: *cache_len as usize,
                    period: Some(cache_expiry.0).filter(|period| !period.is_zero()),
                },
            },
            process_interval: process_interval.0,
            limits: *limits,
            store: has_store(config, store).then(|| StoreSettings {
                memory: usize::try_from(store.memory).unwrap_or(usize::MAX),
                disk: store.dir.clone().map(|dir| DiskConfig {
                    dir,
                    max_bytes: store.max_bytes,
                    max_age: store.max_age.0,
                }),
                slower_than: tail.slower_than.map(|period| period.0),
                token: token.clone(),
                token_file: token_file.clone(),
            }),
            duration: duration.map(Into::into),
            shutdown_timeout: shutdown_timeout.0,
        })
    }
}

/// What the agent remembers itself, and what who asks for it has to say.
#[derive(Debug)]
pub(super) struct StoreSettings {
    pub(super) memory: usize,
    /// What is kept on disk too.
    pub(super) disk: Option<DiskConfig>,
    /// What takes longer is slow.
    pub(super) slower_than: Option<Duration>,
    pub(super) token: Option<config::Token>,
    pub(super) token_file: Option<PathBuf>,
}

/// Whether somebody can ask.
fn has_store(config: &Config, store: &config::Store) -> bool {
    let is_served = !addresses(config.listen, config.prometheus_export.port).is_empty();
    is_served && store.memory > 0 && !config.sdk_disabled
}

impl StoreSettings {
    /// What who asks has to say; `None`: nothing is set.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn token(&self) -> anyhow::Result<Option<String>> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.0.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file);
                Some(text.with_context(|| format!("api.token_file: cannot read {}", file.display()))?)
            }
            (None, None) => None,
        };
        Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
    }
}

/// Where spans and metrics go.
///
/// # Errors
/// What the configuration's own checks let pass and exporters cannot use.
pub fn export(config: &Config) -> Result<ExportConfig, SettingsError> {
    Settings::of(config).map(|settings| settings.export)
}

fn names(list: &[String]) -> Vec<CompactString> {
    list.iter().map(CompactString::from).collect()
}

/// How values are put into buckets. There are native histograms where somebody can ask for them, or is told percentiles.
fn histograms(config: &Config) -> histogram::Config {
    let (otlp, shown) = (&config.otel_metrics_export, &config.prometheus_export);
    let bounds = |its: Option<&[f64]>, shown: Option<&[f64]>| its.or(shown).map(Arc::from);
    let mut all = otlp.buckets.all().into_iter().zip(shown.buckets.all()).map(|(its, shown)| bounds(its.1, shown.1));
    let is_served = config.serves_prometheus() && !addresses(config.listen, shown.port).is_empty();
    let is_asked = is_served || config.print_mode() == config::Print::Text;
    let NativeHistogram { bucket_factor: _, max_bucket_number, min_reset_duration } = shown.native_histogram;
    let ExponentialHistogram { max_scale, max_size } = otlp.exponential_histogram;
    histogram::Config {
        aggregation: otlp.histogram_aggregation,
        bounds: std::array::from_fn(|_| all.next().flatten()),
        exponential: exponential::Size { max_scale, max_buckets: max_size as usize },
        native: shown.native_histogram.schema().filter(|_| is_asked).map(|max_scale| histogram::Native {
            size: exponential::Size { max_scale, max_buckets: max_bucket_number as usize },
            min_reset: min_reset_duration.0,
        }),
    }
}

/// `watch_all` is not the configuration's to say.
fn capture(
    backend: &config::Backend,
    ebpf: &Ebpf,
    selector: &Selector,
    config: &Config,
) -> Result<capture::Options, SettingsError> {
    let backends = match backend {
        config::Backend::Auto => Backend::ALL.to_vec(),
        named => vec![named.name().parse()?],
    };
    let Ebpf {
        ring_buffer_bytes,
        capture_bytes,
        hooks_only,
        runtimes,
        standby_programs,
        // `Config::header_rules`
        payload_extraction: _,
    } = ebpf;
    Ok(capture::Options {
        backends,
        watch_all: false,
        ring_bytes: *ring_buffer_bytes,
        capture_bytes: *capture_bytes,
        hooks_only: *hooks_only,
        runtimes: *runtimes,
        standby: *standby_programs,
        dns_answers: config.name_resolver.asks(NameOrigin::Rdns),
        is_selective: !config.selection().is_everything(),
        chosen_ports: selector.ports(),
        at_first: conn::at_first(),
    })
}

fn routes(routes: &config::Routes) -> route::Config {
    let config::Routes {
        patterns,
        ignored_patterns,
        ignore_mode,
        unmatched,
        wildcard_char,
        max_path_segment_cardinality,
        limit,
    } = routes;
    let compiled = |list: &[String]| list.iter().map(|text| route::Pattern::new(text)).collect();
    let default = route::Config::default();
    // The heuristic writes its own word unless another is asked for.
    let placeholder = match (unmatched, wildcard_char.as_str()) {
        (Unmatched::Heuristic, "*") => default.placeholder,
        (_, asked) => asked.to_owned(),
    };
    route::Config {
        patterns: compiled(patterns),
        ignored: compiled(ignored_patterns),
        ignores_spans: *ignore_mode != IgnoreMode::Metrics,
        ignores_metrics: *ignore_mode != IgnoreMode::Traces,
        unmatched: *unmatched,
        max_words: *max_path_segment_cardinality as usize,
        placeholder,
        max_routes: *limit as usize,
    }
}

/// The machine, called as the configuration or the cluster does.
fn host(id: &HostId, instance: &InstanceId) -> Host {
    let (HostId { replacement }, InstanceId { override_hostname }) = (id, instance);
    let mut source = HostSource::new(Path::new("/proc"));
    source.name = override_hostname.as_deref().map(Into::into).or_else(node_name);
    let mut host = Host::read(&ProcFs::new("/proc"), &source);
    if let Some(id) = replacement {
        host.id = Some(id.as_str().into());
    }
    host
}

/// The addresses of the agent's own server.
fn addresses(listen: config::Listen, port: u16) -> Vec<SocketAddr> {
    let listen = match listen {
        config::Listen::Off => None,
        config::Listen::On(address) => Some(address),
    };
    let port = Some(port).filter(|&port| port != 0);
    // The same port on every address serves the one that is named too.
    let named = listen.filter(|address| port != Some(address.port()));
    named.into_iter().chain(port.map(|port| (Ipv4Addr::UNSPECIFIED, port).into())).collect()
}

/// Where nothing but health is served.
fn health(health: &config::HealthCheck) -> Option<HealthListen> {
    let config::HealthCheck {
        port,
        listen_address,
        // `HealthCheck::socket`
        unix_socket_path: _,
    } = health;
    match health.socket() {
        Some(path) => Some(HealthListen::Unix(path.to_owned())),
        None => (*port != 0).then(|| HealthListen::Tcp((*listen_address, *port).into())),
    }
}

fn spool(spool: &config::Spool) -> Option<SpoolConfig> {
    let config::Spool { dir, max_bytes } = spool;
    Some(SpoolConfig { dir: dir.clone()?, max_bytes: *max_bytes })
}

fn otlp(target: OtlpTarget) -> Result<OtlpConfig, SettingsError> {
    let OtlpTarget {
        endpoint,
        protocol,
        headers,
        timeout,
        compression,
        certificate,
        client_key,
        client_certificate,
        insecure_skip_verify: is_unchecked,
    } = target;
    let headers = headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(OtlpConfig {
        endpoint: ReceiverUrl::parse("endpoint", endpoint.as_str())?,
        protocol,
        headers: Headers::new("headers", headers)?,
        timeout: timeout.0,
        compression,
        tls: TlsConfig { certificate, client_key, client_certificate, is_unchecked },
    })
}

/// The agent itself, as the resource of what it says of itself.
pub(super) fn agent_resource(processes: &crate::procs::ProcessTable) -> Arc<crate::model::span::Resource> {
    processes.resource(ProcessId(std::process::id()))
}

#[cfg(test)]
mod tests;
