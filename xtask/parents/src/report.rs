//! The table.

use std::fmt;

use tests::agent::Backend;
use tests::parents::{Cell, Runtime, Tally, Verdict};

/// Its head.
pub(crate) const HEAD: &str = "\
| runtime | version | backend | calls | at a time | calls: right / missing / wrong | joins: right / missing / wrong | traces whole | by | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

/// A line of it.
pub(crate) struct Row {
    place: String,
    verdict: Verdict,
    /// What is under its bar.
    pub(crate) faults: Vec<String>,
}

impl Row {
    /// Of a cell.
    pub(crate) fn of(runtime: &Runtime, backend: Backend, cell: &Cell, verdict: Verdict) -> Self {
        let place = format!(
            "{} | {} | {} | {} | {}",
            runtime.name,
            (runtime.version)(),
            backend.name(),
            cell.pattern.name(),
            cell.concurrency
        );
        Self { place, faults: verdict.faults(runtime), verdict }
    }

    /// Of what could not be asked.
    pub(crate) fn broken(runtime: &Runtime, backend: Backend, why: String) -> Self {
        let place = format!("{} | | {} | |", runtime.name, backend.name());
        Self { place, faults: vec![why], verdict: Verdict::default() }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { within, across, whole, alone, .. } = &self.verdict;
        let by: Vec<String> = [("calls", within), ("joins", across)]
            .iter()
            .filter(|(_, tally)| !tally.evidence.is_empty())
            .map(|(name, tally)| {
                let evidence: Vec<_> = tally.evidence.iter().map(|(name, count)| format!("{name} {count}")).collect();
                format!("{name}: {}", evidence.join(", "))
            })
            .collect();
        write!(
            f,
            "| {} | {} | {} | {} / {} | {} | {} |",
            self.place,
            figures(within) + &if *alone > 0 { format!(", {alone} alone") } else { String::new() },
            figures(across),
            whole.0,
            whole.1,
            by.join("; "),
            if self.faults.is_empty() { "ok".to_owned() } else { format!("**{}**", self.faults.join(", ")) }
        )
    }
}

/// `100 / 0 / 0 (100.0 %)`; of what need have no parent, how many have none.
fn figures(tally: &Tally) -> String {
    let linked = if tally.linked > 0 { format!(", {} linked", tally.linked) } else { String::new() };
    format!("{} / {} / {} ({:.1} %{linked})", tally.right, tally.missing, tally.wrong, tally.share() * 100.0)
}

/// The first of those that are wrong.
pub(crate) fn print_cases(rows: &[Row]) {
    for row in rows.iter().filter(|row| !row.verdict.cases.is_empty()) {
        println!("\nWrong in {}:", row.place);
        row.verdict.cases.iter().for_each(|case| println!("- {case}"));
    }
}
