//! Commands that ask: whom they ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::runtime::Builder;

use super::{settings::Settings, watch};
use crate::{
    api::answers::Agent,
    cli::{Exit, Question, Whom},
    commands::{self, Client, NoAnswer},
    config::{Exporter, Listen, ListenTls, Loaded, LogLevel, Origin, Print, Store, Token},
};

/// The same configuration with a log that says only what is wrong, unless it was set: answers are not among notices, and a screen is
/// not written over.
pub(super) fn quieter(question: &Question, config: &Loaded) -> Loaded {
    let mut config = config.clone();
    let is_set = !matches!(config.origin("log_level"), None | Some(Origin::Default));
    if !is_set {
        config.config.log_level = if matches!(question, Question::Top) { LogLevel::Error } else { LogLevel::Warn };
    }
    config
}

/// Asks the agent that is named; the one that listens where the configuration says; or one that is started for it.
pub(super) fn ask(question: &Question, whom: &Whom, config: &Loaded) -> Exit {
    if let Some(objection) = commands::objection(question) {
        tracing::error!("{objection}");
        return Exit::Usage;
    }
    if !whom.alone {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "cannot start the asynchronous runtime");
                return Exit::Failed;
            }
        };
        let found = runtime.block_on(async {
            let client = client(whom, config)?;
            let Some(client) = client else { return Ok(None) };
            match client.get::<Agent>("/api/v1/agent").await {
                Ok(_) => Ok(Some(client)),
                Err(error) if error.is_nobody() && whom.agent.is_none() => Ok(None),
                Err(error) => Err(error),
            }
        });
        match found {
            Ok(Some(client)) => return runtime.block_on(commands::answer(question, &client, false)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!("{error}");
                return error.exit();
            }
        }
        tracing::warn!("no agent answers here: watching by itself (--agent URL asks another)");
    }
    let own = match alone(config) {
        Ok(own) => own,
        Err(error) => {
            tracing::error!(%error, "cannot get random numbers");
            return Exit::Failed;
        }
    };
    let token = own.api.token.as_ref().map(|token| token.0.clone());
    watch::until_answered(&own, commands::given_up(question), async |addr| {
        match Client::new(&format!("http://{addr}"), token.as_deref(), None) {
            Ok(client) => commands::answer(question, &client, true).await,
            Err(error) => {
                tracing::error!("{error}");
                error.exit()
            }
        }
    })
}

/// Asks the agent that is named, or that the configuration says; `None`: it says that there is none.
fn client(whom: &Whom, config: &Loaded) -> Result<Option<Client>, NoAnswer> {
    let own_certificate = config.listen_tls.certificate.as_deref();
    let (url, certificate) = match (&whom.agent, config.listen) {
        (Some(url), _) => (url.clone(), whom.ca.as_deref()),
        // A certificate is for a name.
        (None, Listen::On(addr)) if own_certificate.is_some() => {
            (format!("https://localhost:{}", addr.port()), whom.ca.as_deref().or(own_certificate))
        }
        (None, Listen::On(addr)) => (format!("http://{}", reachable(addr)), None),
        (None, Listen::Off) => return Ok(None),
    };
    let token = match Settings::of(config).map(|settings| settings.store.map(|store| store.token())) {
        Ok(Some(Ok(token))) => token,
        Ok(Some(Err(error))) => return Err(NoAnswer::NoClient { url: url.into(), reason: format!("{error:#}") }),
        _ => config.api.token.as_ref().map(|token| token.0.clone()),
    };
    Client::new(&url, token.as_deref(), certificate).map(Some)
}

/// The configuration of an agent that is started for a question: it shows and sends nothing, and answers nobody else.
fn alone(config: &Loaded) -> rustix::io::Result<Loaded> {
    let mut secret = [0; 16];
    getrandom(&mut secret, GetRandomFlags::empty())?;
    let mut own = config.clone();
    let its = &mut own.config;
    its.print = Some(Print::Off);
    its.listen = Listen::On((Ipv4Addr::LOCALHOST, 0).into());
    its.listen_tls = ListenTls::default();
    its.prometheus_export.port = 0;
    its.api.token = Some(Token(secret.iter().map(|byte| format!("{byte:02x}")).collect()));
    its.api.token_file = None;
    its.exporters.traces = vec![Exporter::None];
    // Nobody reads the page; but durations are as exact as it would have them.
    its.exporters.metrics = vec![Exporter::Prometheus];
    its.export.endpoints.clear();
    its.export.spool.dir = None;
    its.store.dir = None;
    if its.store.memory == 0 {
        its.store = Store::default();
    }
    Ok(own)
}

/// An address of this machine that leads to what is listened on.
pub(super) fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, addr.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, addr.port()).into(),
        _ => addr,
    }
}
