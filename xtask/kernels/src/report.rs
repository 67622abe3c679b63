//! What is shown of the guests.

use super::scenario;
use super::transcript::Transcript;
use super::verdict::seen;
use xtask::shell;

/// The table's first row.
pub(super) fn head() -> Vec<String> {
    ["kernel", "backend", "uprobes", "requests", "server spans", "client spans", "programs skipped"]
        .map(str::to_owned)
        .into()
}

/// What `check` says on this kernel, in short.
pub(super) fn print_check(transcript: &Transcript) {
    shell::say(format_args!("check on {}:", transcript.kernel));
    for item in transcript.check["items"].as_array().into_iter().flatten() {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let mark = if item["ok"].as_bool() == Some(true) { "yes" } else { "no " };
        eprintln!("    {mark}  {:<20} {}", text("name"), text("found"));
    }
}

/// A row for each run of the agent.
pub(super) fn rows(transcript: &Transcript) -> Vec<Vec<String>> {
    let (_, found) = transcript.checked("uprobes").unwrap_or((false, "?"));
    let uprobes = found.trim_start_matches("works, by ").replace("links of kind uprobe_multi", "`uprobe_multi` links");
    let row = |run: &super::transcript::Run| {
        vec![
            transcript.kernel.clone(),
            format!("`{}`", run.backend),
            uprobes.clone(),
            scenario::requests().to_string(),
            seen(run, "SERVER").to_string(),
            seen(run, "CLIENT").to_string(),
            run.missed.map_or_else(|| "?".to_owned(), |missed| missed.to_string()),
        ]
    };
    transcript.runs.iter().map(row).collect()
}

/// A Markdown table.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let [head, rest @ ..] = rows else { return String::new() };
    let rule = line(&vec!["---".to_owned(); head.len()]);
    line(head) + &rule + &rest.iter().map(line).collect::<String>()
}
