//! The configuration from `OTEL_*` variables and the flags that override them.

use std::{path::PathBuf, time::Duration};

use super::{
    BatchConfig, Compression, ConfigError, Endpoint, ExportConfig, Headers, HistogramAggregation, OtlpConfig, Print,
    Protocol, Temporality, TlsConfig,
};

/// What the command line says about exports; stronger than the environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags<'a> {
    /// `--endpoint`: base URL of both signals.
    pub endpoint: Option<&'a str>,
    /// `--protocol`, of both signals.
    pub protocol: Option<&'a str>,
}

impl ExportConfig {
    /// Reads the `OTEL_*` variables through `get` (for the process's own: `|name| std::env::var(name).ok()`). An empty
    /// variable counts as unset, as the specification asks.
    ///
    /// Without any endpoint nothing is sent and [`Print::Text`] is chosen. Without a protocol, port 4317 means `grpc`
    /// and any other `http/protobuf`. `OTEL_TRACES_EXPORTER` and `OTEL_METRICS_EXPORTER` may switch a signal's OTLP
    /// off (`none`); `/metrics` is governed by `--listen` alone. `OTEL_SDK_DISABLED=true` switches OTLP off.
    ///
    /// # Errors
    /// The first variable or flag with a value that cannot be used.
    pub fn from_env(get: impl Fn(&str) -> Option<String>, flags: Flags<'_>) -> Result<Self, ConfigError> {
        let env = Env { get: &get };
        let traces_to = env.exporters("OTEL_TRACES_EXPORTER", &["otlp", "console", "none"])?;
        let metrics_to = env.exporters("OTEL_METRICS_EXPORTER", &["otlp", "prometheus", "none"])?;
        let disabled = env.flag("OTEL_SDK_DISABLED")?;
        let signal = |signal: &Signal, wanted: &Option<Vec<String>>| -> Result<_, ConfigError> {
            let otlp = env.otlp(signal, flags)?;
            let asked = wanted.as_ref().map(|list| list.iter().any(|word| word == "otlp"));
            match (otlp, asked) {
                _ if disabled => Ok(None),
                (_, Some(false)) => Ok(None),
                (None, Some(true)) => Err(ConfigError::new(
                    signal.exporter_variable,
                    "otlp",
                    "needs an endpoint: set OTEL_EXPORTER_OTLP_ENDPOINT, for example to http://localhost:4318",
                )),
                (otlp, _) => Ok(otlp),
            }
        };
        let traces = signal(&TRACES, &traces_to)?;
        let metrics = signal(&METRICS, &metrics_to)?;
        let console = traces_to.is_some_and(|list| list.iter().any(|word| word == "console"));
        let defaults = Self::default();
        Ok(Self {
            print: if console || (traces.is_none() && metrics.is_none()) { Print::Text } else { Print::Off },
            traces,
            metrics,
            batch: env.batch()?,
            metric_interval: env.milliseconds("OTEL_METRIC_EXPORT_INTERVAL")?.map_or(
                Ok(defaults.metric_interval),
                |interval| {
                    if interval.is_zero() {
                        return Err(ConfigError::new("OTEL_METRIC_EXPORT_INTERVAL", "0", "must be at least 1 (ms)"));
                    }
                    Ok(interval)
                },
            )?,
            temporality: env
                .parsed("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", Temporality::parse)?
                .unwrap_or_default(),
            histogram_aggregation: env
                .parsed("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", HistogramAggregation::parse)?
                .unwrap_or_default(),
            ..defaults
        })
    }
}

/// What differs between the signals' variables.
struct Signal {
    infix: &'static str,
    path: &'static str,
    exporter_variable: &'static str,
}

const TRACES: Signal = Signal { infix: "TRACES_", path: "/v1/traces", exporter_variable: "OTEL_TRACES_EXPORTER" };
const METRICS: Signal = Signal { infix: "METRICS_", path: "/v1/metrics", exporter_variable: "OTEL_METRICS_EXPORTER" };

struct Env<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
}

impl Env<'_> {
    fn value(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.trim().is_empty())
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str, &str) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.value(name).map(|value| parse(name, &value)).transpose()
    }

    /// `OTEL_EXPORTER_OTLP_{signal}{name}`, else `OTEL_EXPORTER_OTLP_{name}`; with the variable it came from.
    fn of_signal<T>(
        &self,
        signal: &Signal,
        name: &str,
        parse: impl Fn(&str, &str) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        let own = self.parsed(&format!("OTEL_EXPORTER_OTLP_{}{name}", signal.infix), &parse)?;
        own.map_or_else(|| self.parsed(&format!("OTEL_EXPORTER_OTLP_{name}"), &parse), |own| Ok(Some(own)))
    }

    fn otlp(&self, signal: &Signal, flags: Flags<'_>) -> Result<Option<OtlpConfig>, ConfigError> {
        let protocol = match flags.protocol {
            Some(flag) => Some(Protocol::parse("--protocol", flag)?),
            None => self.of_signal(signal, "PROTOCOL", Protocol::parse)?,
        };
        let own_name = format!("OTEL_EXPORTER_OTLP_{}ENDPOINT", signal.infix);
        let with_name = |name: &str, value: &str| Ok((name.to_owned(), Endpoint::parse(name, value)?));
        // A signal's own endpoint is used as it is; a base gets the signal's path.
        let (name, endpoint, base) = if let Some(flag) = flags.endpoint {
            ("--endpoint".to_owned(), Endpoint::parse("--endpoint", flag)?, true)
        } else if let Some((name, endpoint)) = self.parsed(&own_name, with_name)? {
            (name, endpoint, false)
        } else if let Some((name, endpoint)) = self.parsed("OTEL_EXPORTER_OTLP_ENDPOINT", with_name)? {
            (name, endpoint, true)
        } else {
            return Ok(None);
        };
        let protocol = protocol.unwrap_or_else(|| endpoint.default_protocol());
        let endpoint = match protocol {
            Protocol::Grpc if endpoint.has_path() => {
                let problem = "has a path, which grpc has no use for; leave it out or choose http/protobuf";
                return Err(ConfigError::new(&name, &endpoint.to_string(), problem));
            }
            Protocol::HttpProtobuf | Protocol::HttpJson if base => endpoint.with_path(signal.path),
            _ => endpoint,
        };
        let path = |_: &str, value: &str| Ok(PathBuf::from(value));
        let tls = TlsConfig {
            certificate: self.of_signal(signal, "CERTIFICATE", path)?,
            client_key: self.of_signal(signal, "CLIENT_KEY", path)?,
            client_certificate: self.of_signal(signal, "CLIENT_CERTIFICATE", path)?,
        };
        if let (Some(only), None) | (None, Some(only)) = (&tls.client_key, &tls.client_certificate) {
            return Err(ConfigError::new(
                "OTEL_EXPORTER_OTLP_CLIENT_KEY, _CLIENT_CERTIFICATE",
                &only.display().to_string(),
                "is only one of the two; a client certificate needs both",
            ));
        }
        let defaults = OtlpConfig::new(endpoint, protocol);
        Ok(Some(OtlpConfig {
            headers: self.of_signal(signal, "HEADERS", Headers::parse)?.unwrap_or_default(),
            timeout: self.of_signal(signal, "TIMEOUT", positive_milliseconds)?.unwrap_or(defaults.timeout),
            compression: self.of_signal(signal, "COMPRESSION", Compression::parse)?.unwrap_or_default(),
            tls,
            ..defaults
        }))
    }

    fn batch(&self) -> Result<BatchConfig, ConfigError> {
        let defaults = BatchConfig::default();
        Ok(BatchConfig {
            schedule_delay: self.milliseconds("OTEL_BSP_SCHEDULE_DELAY")?.unwrap_or(defaults.schedule_delay),
            max_batch_spans: self.parsed("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", count)?.unwrap_or(defaults.max_batch_spans),
            max_queue_spans: self.parsed("OTEL_BSP_MAX_QUEUE_SIZE", count)?,
            export_timeout: self.parsed("OTEL_BSP_EXPORT_TIMEOUT", positive_milliseconds)?,
            ..defaults
        })
    }

    fn milliseconds(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        self.parsed(name, milliseconds)
    }

    fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        let parse = |name: &str, value: &str| match value.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(ConfigError::new(name, value, "is neither true nor false")),
        };
        Ok(self.parsed(name, parse)?.unwrap_or(false))
    }

    /// The words of a comma-separated list, each one of `known`.
    fn exporters(&self, name: &str, known: &[&str]) -> Result<Option<Vec<String>>, ConfigError> {
        self.parsed(name, |name, value| {
            let words: Vec<String> =
                value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
            match words.iter().find(|word| !known.contains(&word.as_str())) {
                Some(unknown) => {
                    Err(ConfigError::new(name, unknown, format!("is none of: {} (or a list of them)", known.join(" "))))
                }
                None if words.len() > 1 && words.iter().any(|word| word == "none") => {
                    Err(ConfigError::new(name, value, "has `none` next to others"))
                }
                None => Ok(words),
            }
        })
    }
}

fn milliseconds(name: &str, value: &str) -> Result<Duration, ConfigError> {
    let number =
        value.trim().parse().map_err(|_| ConfigError::new(name, value, "is no whole number of milliseconds"))?;
    Ok(Duration::from_millis(number))
}

fn positive_milliseconds(name: &str, value: &str) -> Result<Duration, ConfigError> {
    milliseconds(name, value).and_then(|duration| {
        if duration.is_zero() { Err(ConfigError::new(name, value, "must be at least 1 (ms)")) } else { Ok(duration) }
    })
}

fn count(name: &str, value: &str) -> Result<usize, ConfigError> {
    match value.trim().parse() {
        Ok(0) | Err(_) => Err(ConfigError::new(name, value, "is no whole number above 0")),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], flags: Flags<'_>) -> Result<ExportConfig, ConfigError> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        ExportConfig::from_env(get, flags)
    }

    fn env(variables: &[(&str, &str)]) -> ExportConfig {
        read(variables, Flags::default()).unwrap()
    }

    fn error(variables: &[(&str, &str)]) -> String {
        read(variables, Flags::default()).unwrap_err().to_string()
    }

    #[test]
    fn nothing_set_prints_text_and_sends_nothing() {
        assert_eq!(env(&[]), ExportConfig::default());
        assert_eq!(env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), ExportConfig::default());
    }

    #[test]
    fn the_port_chooses_the_protocol_where_none_is_set() {
        let protocol = |url| env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).traces.unwrap().protocol;
        assert_eq!(protocol("http://a:4317"), Protocol::Grpc);
        assert_eq!(protocol("http://a:4318"), Protocol::HttpProtobuf);
        assert_eq!(protocol("https://otlp.example.com"), Protocol::HttpProtobuf);
    }

    #[test]
    fn a_base_endpoint_gets_the_signals_path_and_a_signals_own_is_used_as_it_is() {
        let config = env(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/base"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://b:9/write"),
        ]);
        assert_eq!(config.traces.unwrap().endpoint.to_string(), "http://a:4318/base/v1/traces");
        assert_eq!(config.metrics.unwrap().endpoint.to_string(), "http://b:9/write");
        assert_eq!(config.print, Print::Off);
    }

    #[test]
    fn a_signals_own_variable_is_stronger_and_a_flag_is_strongest() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "20"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ];
        let config = env(&variables);
        let (traces, metrics) = (config.traces.unwrap(), config.metrics.unwrap());
        assert_eq!((traces.protocol, metrics.protocol), (Protocol::HttpProtobuf, Protocol::HttpJson));
        assert_eq!((traces.timeout.as_millis(), metrics.timeout.as_millis()), (1500, 20));
        assert_eq!((traces.compression, traces.headers.iter().count()), (Compression::Gzip, 1));

        let flags = Flags { endpoint: Some("http://b:4317"), protocol: Some("grpc") };
        let traces = read(&variables, flags).unwrap().traces.unwrap();
        assert_eq!((traces.endpoint.to_string().as_str(), traces.protocol), ("http://b:4317/", Protocol::Grpc));
    }

    #[test]
    fn errors_name_the_variable_and_the_value() {
        assert_eq!(
            error(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317")]),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: \"collector:4317\" is no URL: it has no scheme (http:// or https://); it \
             should look like http://localhost:4318"
        );
        assert_eq!(
            error(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http")]),
            "OTEL_EXPORTER_OTLP_PROTOCOL: \"http\" is none of: grpc http/protobuf http/json"
        );
        assert_eq!(
            error(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317/v1/traces")]),
            "OTEL_EXPORTER_OTLP_ENDPOINT: \"http://a:4317/v1/traces\" has a path, which grpc has no use for; leave it out \
             or choose http/protobuf"
        );
        assert_eq!(
            error(&[("OTEL_BSP_SCHEDULE_DELAY", "5s")]),
            "OTEL_BSP_SCHEDULE_DELAY: \"5s\" is no whole number of milliseconds"
        );
        assert!(error(&[("OTEL_TRACES_EXPORTER", "otlp")]).contains("needs an endpoint"));
        assert!(
            error(&[("OTEL_TRACES_EXPORTER", "zipkin")]).starts_with("OTEL_TRACES_EXPORTER: \"zipkin\" is none of")
        );
        assert!(error(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0")]).contains("above 0"));
        assert!(error(&[("OTEL_METRIC_EXPORT_INTERVAL", "0")]).contains("at least 1"));
        assert!(error(&[("OTEL_SDK_DISABLED", "yes")]).contains("neither true nor false"));
    }

    #[test]
    fn a_signal_can_be_switched_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318");
        let config = env(&[endpoint, ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "otlp,console")]);
        assert!(config.metrics.is_none() && config.traces.is_some());
        assert_eq!(config.print, Print::Text);
        let config = env(&[endpoint, ("OTEL_SDK_DISABLED", "True")]);
        assert!(config.metrics.is_none() && config.traces.is_none());
    }
}
