//! What was counted against what was told.

use std::collections::BTreeMap;

/// How often something was done, by what it is called.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The table's head.
pub(crate) const HEAD: &str = "\
| benchmark | backend | end | counted | told in spans | in metrics | |
| --- | --- | --- | --- | --- | --- | --- |";

/// One end of the connections of a benchmark.
pub(crate) struct Side {
    /// Which.
    pub(crate) name: &'static str,
    /// As the benchmark or the server counts.
    pub(crate) counted: Counts,
    /// By spans.
    pub(crate) spans: Counts,
    /// By metrics.
    pub(crate) measured: u64,
    /// What should be in metrics: all, or what spans say of which the end was seen.
    pub(crate) to_be_measured: u64,
    /// What the agent says of its losses.
    pub(crate) losses: String,
}

impl Side {
    fn counted_in_all(&self) -> u64 {
        self.counted.values().sum()
    }

    /// Whether both are the same.
    pub(crate) fn is_right(&self, is_sampled: bool) -> bool {
        let expected = if is_sampled { self.counted_in_all() } else { self.to_be_measured };
        (is_sampled || self.spans == self.counted) && self.measured == expected
    }

    /// Its cells of a row.
    pub(crate) fn row(&self, is_sampled: bool) -> String {
        let spans = if is_sampled { "-".to_owned() } else { self.spans.values().sum::<u64>().to_string() };
        let what =
            if self.is_right(is_sampled) { "ok".to_owned() } else { format!("**{}**", self.differences(is_sampled)) };
        format!("{} | {} | {spans} | {} | {what} |", self.name, self.counted_in_all(), self.measured)
    }

    /// What differs: counted and told.
    fn differences(&self, is_sampled: bool) -> String {
        let of = |counts: &Counts, name: &str| counts.get(name).copied().unwrap_or_default();
        let mut names: Vec<&String> = self.counted.keys().chain(self.spans.keys()).collect();
        names.sort();
        names.dedup();
        let mut all: Vec<String> = names
            .into_iter()
            .filter(|name| !is_sampled && of(&self.counted, name) != of(&self.spans, name))
            .map(|name| format!("{name}: {} / {}", of(&self.counted, name), of(&self.spans, name)))
            .collect();
        if !is_sampled && self.measured != self.to_be_measured {
            all.push(format!("metrics: {} / {}", self.to_be_measured, self.measured));
        }
        format!("{} {}", all.join(", "), self.losses)
    }
}
