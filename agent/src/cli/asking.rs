//! Arguments of the commands that ask: a running agent, or one of their own.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgAction, Args};
use thiserror::Error;

use crate::config::Period;

/// Who is asked.
#[derive(Args, Clone, Debug, Default)]
pub struct Whom {
    /// Ask the agent at this address, such as http://127.0.0.1:9464; default: the one at --listen, and where none answers,
    /// watch by itself
    #[arg(long, value_name = "URL", value_parser = address)]
    pub agent: Option<String>,
    /// Certificate (PEM) that is trusted at an https:// address; default: those of the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Watch by itself, also where an agent runs (what --pid, --port and --exe mean, too)
    #[arg(long, conflicts_with = "agent")]
    pub alone: bool,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// `smoke`.
    Smoke(Smoke),
    /// `trace`.
    Trace(Trace),
    /// `top`.
    Top,
    /// `mcp`.
    Mcp,
}

impl Question {
    /// Its command.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Smoke(_) => "smoke",
            Self::Trace(_) => "trace",
            Self::Top => "top",
            Self::Mcp => "mcp",
        }
    }
}

/// Whether a service works: requests of a while held against limits.
#[derive(Args, Clone, Debug)]
#[group(id = "smoke_arguments")]
pub struct Smoke {
    /// The service (service.name)
    #[arg(long, value_name = "NAME")]
    pub service: String,
    /// Its service.namespace, where there are several of that name
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// How long it is watched
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = lasting)]
    pub length: Duration,
    /// Most requests that may fail, such as 1%
    #[arg(long, value_name = "SHARE", value_parser = share, required_unless_present = "max_p99")]
    pub max_error_rate: Option<f64>,
    /// Most that 99 of 100 requests may take, such as 300ms
    #[arg(long, value_name = "TIME", value_parser = lasting)]
    pub max_p99: Option<Duration>,
    /// Fewer requests say nothing (exit status 4)
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub min_requests: u64,
}

/// Which traces are shown.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "trace_arguments")]
pub struct Trace {
    /// One trace, by its id: 32 hexadecimal digits
    #[arg(value_name = "ID", value_parser = trace_id, conflicts_with_all = ["service", "name", "slow", "errors", "follow", "attribute"])]
    pub id: Option<String>,
    /// With a request of this service (service.name)
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// With a span of this name, such as 'GET /items/{id}'
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// With a request that took as long, such as 200ms
    #[arg(long, value_name = "TIME", value_parser = lasting)]
    pub slow: Option<Duration>,
    /// With a request that failed
    #[arg(long, action = ArgAction::SetTrue)]
    pub errors: bool,
    /// With an attribute, such as http.response.status_code=503; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub attribute: Vec<String>,
    /// How many; the latest of those that are remembered
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub limit: u16,
    /// Go on with those that come, until it is stopped (that is so where it watches by itself)
    #[arg(long, action = ArgAction::SetTrue)]
    pub follow: bool,
    /// Also all that is known of each span
    #[arg(long, action = ArgAction::SetTrue)]
    pub details: bool,
}

/// What an argument is not.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum ArgumentError {
    #[error("`{0}` is no address of an agent; write it as `http://127.0.0.1:9464`")]
    Address(String),
    #[error("`{0}` is no share; write it as `1%` or `0.5%`")]
    Share(String),
    #[error("a trace's id has 32 hexadecimal digits, not all of them 0")]
    TraceId,
}

fn address(text: &str) -> Result<String, ArgumentError> {
    let url: Option<http::Uri> = text.trim().parse().ok();
    let is_one = |url: &http::Uri| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() && matches!(url.path(), "" | "/")
    };
    match url.filter(is_one) {
        Some(url) => Ok(url.to_string().trim_end_matches('/').to_owned()),
        None => Err(ArgumentError::Address(text.to_owned())),
    }
}

fn lasting(text: &str) -> Result<Duration, <Period as FromStr>::Err> {
    text.parse::<Period>().map(Duration::from)
}

fn share(text: &str) -> Result<f64, ArgumentError> {
    let wrong = || ArgumentError::Share(text.to_owned());
    let number = text.trim().strip_suffix('%').ok_or_else(wrong)?;
    let percent: f64 = number.trim().parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err(wrong()) }
}

/// 32 hexadecimal digits, not all of them 0 (W3C Trace Context), in small letters.
fn trace_id(text: &str) -> Result<String, ArgumentError> {
    let is_id =
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.bytes().any(|byte| byte != b'0');
    if is_id { Ok(text.to_ascii_lowercase()) } else { Err(ArgumentError::TraceId) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_address_is_a_url_without_a_path() {
        assert_eq!(address("http://localhost:9464/"), Ok("http://localhost:9464".to_owned()));
        assert_eq!(address("https://[::1]:9464"), Ok("https://[::1]:9464".to_owned()));
        for wrong in ["localhost:9464", "ftp://x", "http://", "http://h/page", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trace_is_named_by_its_whole_id() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&id.to_uppercase()).as_deref(), Ok(id));
        for wrong in ["xyz", "4bf92f35", "00000000000000000000000000000000", "4bf92f3577b34da6a3ce929d0e0e473g"] {
            assert!(trace_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_written_in_percent() {
        assert_eq!(share("1%"), Ok(0.01));
        assert_eq!(share("0.5 %"), Ok(0.005));
        for wrong in ["1", "", "%", "101%", "-1%", "x%", "NaN%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
