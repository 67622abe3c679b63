//! `beyla-rs config check`: what a file says that is doubtful, as the start says it.

use std::{io::Write as _, path::Path};

use super::{print, settings::Settings};
use crate::{
    cli::Exit,
    config::{Loaded, Origin, Problem},
};

/// Prints it. What is doubtful is wrong, where that is asked for.
pub(super) fn check(file: &Path, config: &Loaded, is_strict: bool) -> Exit {
    let (report, exit) = report(file, config, is_strict);
    if exit == Exit::Ok {
        return print(&report);
    }
    // As other mistakes are told; if that is closed, the status says it.
    let _told = std::io::stderr().write_all(report.as_bytes()).is_ok();
    exit
}

fn report(file: &Path, config: &Loaded, is_strict: bool) -> (String, Exit) {
    let of_metrics = match Settings::of(config) {
        Ok(settings) => settings.telemetry.red.select.doubts(),
        Err(error) => return (format!("error: {}: {error}\n", file.display()), Exit::Usage),
    };
    let place = config.origin("attributes.select").cloned().unwrap_or(Origin::Default);
    let doubts = of_metrics.iter().map(|doubt| {
        let (key, message) = doubt.split_once(": ").unwrap_or(("attributes.select", doubt));
        Problem::at(place.clone(), key, message)
    });
    let all: Vec<Problem> = config.warnings.iter().cloned().chain(doubts).collect();
    let is_wrong = is_strict && !all.is_empty();
    let word = if is_wrong { "error" } else { "warning" };
    let mut report: String = all.iter().map(|problem| format!("{word}: {problem}\n")).collect();
    if is_wrong {
        return (report, Exit::Usage);
    }
    report.push_str(&format!("{}: ok\n", file.display()));
    (report, Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment};

    #[test]
    fn names_of_metrics_that_there_are_not_are_told_as_the_start_tells_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let read = |text: &str, is_strict| {
            std::fs::write(&file, text).unwrap();
            let loaded = config::check_file(&file, Environment::default(), is_strict).unwrap();
            report(&file, &loaded, is_strict)
        };
        let wrong = "log_level: info\nattributes:\n  select: {http_sever_*: {exclude: [http.route]}}\n";
        let (report, exit) = read(wrong, false);
        assert_eq!(exit, Exit::Ok);
        assert!(report.contains("a.yaml:3:"), "{report}");
        assert!(
            report.contains("attributes.select: there is no metric `http_sever_*` here")
                && report.ends_with("a.yaml: ok\n")
        );
        let (report, exit) = read(wrong, true);
        assert!(exit == Exit::Usage && report.starts_with("error: ") && !report.contains("ok"), "{report}");
        assert_eq!(read("log_level: info\n", true), (format!("{}: ok\n", file.display()), Exit::Ok));
    }
}
