//! `beyla-rs survey`: which processes the configuration chooses.

use super::{print, settings::Settings};
use crate::{
    cli::Exit,
    config::Loaded,
    procs::{ProcessTable, survey},
    terminal,
};

/// Prints the list.
pub(super) fn survey(json: bool, config: &Loaded) -> Exit {
    let processes = match Settings::of(config) {
        Ok(settings) => ProcessTable::new(settings.processes),
        Err(error) => {
            tracing::error!("{error}");
            return Exit::Usage;
        }
    };
    if !rustix::process::geteuid().is_root() {
        tracing::warn!("of other users' processes nothing can be read without root: they are missing");
    }
    let rows = processes.survey();
    let text = if json {
        survey::json(&rows).unwrap_or_default() + "\n"
    } else {
        survey::text(&rows, |name| terminal::harmless(name).into_owned())
    };
    print(&text)
}
