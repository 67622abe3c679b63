//! `beyla-rs top`: services, routes, requests and a trace, live in a terminal. What is on the screen is made anew each second from the
//! answers to the same questions that the page asks; [`view`] knows what is looked at, [`draw`] how it is drawn.

mod draw;
mod tty;
mod view;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use self::{
    tty::Taken,
    view::{Data, Next, State, View},
};
use super::client::{Client, NoAnswer, path};
use crate::{cli::Exit, terminal::Paint};

/// How often it is asked anew.
const EVERY: Duration = Duration::from_secs(1);
/// Requests of a list.
const REQUESTS: usize = 200;
/// The time that rates are of.
const WINDOW: &str = "60s";

/// Why it cannot be shown here.
pub(super) fn objection() -> Option<&'static str> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    (!io::stdin().is_terminal() || !io::stdout().is_terminal() || is_dumb)
        .then_some("top needs a terminal; the agent's /api/v1/services gives what it shows")
}

pub(super) async fn top(client: &Client) -> Result<Exit, NoAnswer> {
    let mut state = State::new(client.url());
    // What is wrong with the agent is said before the screen is taken.
    let first = fetch(client.clone(), state.view().clone()).await?;
    state.take(Ok(first));
    let shown = show(client, state).await;
    if let Err(error) = shown {
        tracing::error!(%error, "the terminal cannot be used");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

async fn show(client: &Client, mut state: State) -> io::Result<()> {
    let _screen = Taken::take()?;
    let paint = Paint::for_stdout();
    let mut keys = tty::keys();
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    // The key sends none while the terminal is taken, but others may.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: Option<JoinHandle<Result<Data, NoAnswer>>> = None;
    loop {
        let (columns, rows) = tty::size()?;
        tty::draw(&draw::lines(&state, columns, rows, paint))?;
        let answered = async {
            match &mut asked {
                Some(asked) => asked.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = answered => {
                asked = None;
                if let Ok(answer) = answer {
                    state.take(answer);
                }
            }
            key = keys.recv() => match key {
                Some(key) => match state.press(key) {
                    Next::Quit => return Ok(()),
                    Next::Stay => {}
                    Next::Ask => {
                        // What was asked for another view is of no use.
                        if let Some(asked) = asked.take() {
                            asked.abort();
                        }
                        asked = Some(tokio::spawn(fetch(client.clone(), state.view().clone())));
                    }
                },
                None => return Ok(()),
            },
            _ = ticks.tick() => if asked.is_none() && state.is_live() {
                asked = Some(tokio::spawn(fetch(client.clone(), state.view().clone())));
            },
            // It is drawn anew.
            _ = resized.recv() => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

/// Asks for what a view shows.
async fn fetch(client: Client, view: View) -> Result<Data, NoAnswer> {
    let window = || ("window", Some(WINDOW.to_owned()));
    Ok(match view {
        View::Services => Data::Services(client.get(&path("/api/v1/services", &[window()])).await?),
        View::Service { name, namespace } => {
            let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
            // A blank in a path is no plus.
            let asked = path(
                &format!("/api/v1/services/{}", name.replace('+', "%20")),
                &[window(), ("namespace", Some(namespace))],
            );
            Data::Service(Box::new(client.get(&asked).await?))
        }
        View::Requests { service, name, kind, is_failed, is_slowest } => {
            let asked = path(
                "/api/v1/spans",
                &[
                    ("service", service.as_ref().map(|(name, _)| name.clone())),
                    ("namespace", service.map(|(_, namespace)| namespace)),
                    ("name", name),
                    ("kind", kind.map(str::to_owned)),
                    ("status", is_failed.then(|| "error".to_owned())),
                    ("sort", is_slowest.then(|| "slowest".to_owned())),
                    ("limit", Some(REQUESTS.to_string())),
                ],
            );
            Data::Requests(client.get(&asked).await?)
        }
        View::Trace { id } => Data::Trace(Box::new(client.get(&format!("/api/v1/traces/{id}")).await?)),
    })
}
