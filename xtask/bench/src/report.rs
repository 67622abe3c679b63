//! The figures as a table for the README.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;

use super::measure::{Pair, Watched};
use super::procfs;
use super::scenario::{Load, Scenario};
use xtask::shell;

/// All pairs at one load.
pub(crate) struct Column {
    pub(crate) load: Load,
    pub(crate) pairs: Vec<Pair>,
}

/// A Markdown table with the date, the machine and the command above it.
pub(crate) fn table(scenario: &Scenario, columns: &[Column], noise: bool) -> Result<String> {
    let date = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = String::new();
    writeln!(
        text,
        "{}. Median (lowest – highest) of {} pairs.",
        scenario.title,
        columns.iter().map(|c| c.pairs.len()).min().unwrap_or(0)
    )?;
    writeln!(text, "{}; {}; `cargo xtask {}`", date.trim(), procfs::machine(), arguments.join(" "))?;
    if noise {
        writeln!(text, "No agent in either run: these are the machine's own differences.")?;
    }
    text.push_str("\n| |");
    for column in columns {
        write!(text, " {} |", column.load)?;
    }
    text.push_str(" bar |\n| --- |");
    text.push_str(&" --- |".repeat(columns.len() + 1));
    text.push('\n');
    let mut row = |name: &str, bar: &str, cell: &dyn Fn(&Column) -> Option<String>| {
        let cells: Vec<String> = columns.iter().map(|column| cell(column).unwrap_or_default()).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            text.push_str(&format!("| {name} | {} | {bar} |\n", cells.join(" | ")));
        }
    };
    let bars = &scenario.bars;
    row("server CPU per request, without", "", &|c| {
        Some(spread(c.pairs.iter().map(|p| p.without.server_us), 2, " us"))
    });
    row("server CPU per request, with", "", &|c| Some(spread(c.pairs.iter().map(|p| p.with.server_us), 2, " us")));
    let bar = bars.server_us.map_or(String::new(), |us| format!("≤ {us:.1} us"));
    row("**added to the server's request**", &bar, &|c| Some(spread(c.pairs.iter().map(Pair::added_us), 2, " us")));
    row("of it by the hooks alone (programs that do nothing)", "", &|c| {
        let added: Option<Vec<f64>> =
            c.pairs.iter().map(|p| Some(p.hooks_only?.server_us - p.without.server_us)).collect();
        Some(spread(added?.into_iter(), 2, " us"))
    });
    row("requests per second, without", "", &|c| Some(spread(c.pairs.iter().map(|p| p.without.rate), 0, "")));
    row("requests per second, with", "", &|c| Some(spread(c.pairs.iter().map(|p| p.with.rate), 0, "")));
    row("throughput ratio", "", &|c| Some(spread(c.pairs.iter().map(Pair::ratio), 3, "")));
    let bar = bars.of_hooks_only.map_or(String::new(), |ratio| format!("≥ {ratio:.2}"));
    row("throughput ratio to that with programs that do nothing", &bar, &|c| {
        let ratios: Option<Vec<f64>> = c.pairs.iter().map(Pair::of_hooks_only).collect();
        Some(spread(ratios?.into_iter(), 3, ""))
    });
    row("agent CPU per request", &format!("≤ {:.1} us", bars.agent_us), &|c| {
        Some(spread(watched(c)?.iter().map(|(w, _)| w.agent_us), 2, " us"))
    });
    row("agent memory (RSS)", &format!("≤ {:.0} MiB", bars.rss_mib), &|c| {
        Some(spread(watched(c)?.iter().map(|(w, _)| w.rss_kib as f64 / 1024.0), 1, " MiB"))
    });
    row("agent memory at its peak", &format!("≤ {:.0} MiB", bars.peak_mib), &|c| {
        Some(spread(watched(c)?.iter().map(|(w, _)| w.peak_kib as f64 / 1024.0), 1, " MiB"))
    });
    row("memory of its maps", &format!("≤ {:.0} MiB", bars.maps_mib), &|c| {
        Some(spread(watched(c)?.iter().map(|(w, _)| w.map_bytes as f64 / f64::from(1 << 20)), 1, " MiB"))
    });
    row("events lost, in all", "0", &|c| Some(watched(c)?.iter().map(|(w, _)| w.lost).sum::<u64>().to_string()));
    row("**requests seen / sent**, in all", "1.000000", &|c| Some(share(&watched(c)?, |w| w.seen)));
    row("spans delivered / sent, in all", "1.000000", &|c| Some(share(&watched(c)?, |w| w.spans)));
    Ok(text)
}

/// What the agent did in each pair, and what was sent; `None` without an agent.
fn watched(column: &Column) -> Option<Vec<(Watched, u64)>> {
    column.pairs.iter().map(|pair| Some((pair.watched?, pair.with.sent))).collect()
}

/// `0.999998 (41/42)`. Never rounded up to 1: a single one that is missing shows in the counts.
fn share(all: &[(Watched, u64)], part: impl Fn(&Watched) -> u64) -> String {
    let seen: u64 = all.iter().map(|(watched, _)| part(watched)).sum();
    let sent: u64 = all.iter().map(|(_, sent)| sent).sum();
    format!("{:.6} ({seen}/{sent})", seen as f64 / sent.max(1) as f64)
}

/// `median (lowest – highest)`.
pub(crate) fn spread(values: impl Iterator<Item = f64>, digits: usize, unit: &str) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (Some(lowest), Some(highest)) = (values.first(), values.last()) else { return String::new() };
    format!("{:.digits$}{unit} ({lowest:.digits$} – {highest:.digits$})", median(&values))
}

/// The median of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter(), 1, " us"), "2.0 us (1.0 – 3.0)");
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0].into_iter(), 1, ""), "2.5 (1.0 – 4.0)");
    }
}
