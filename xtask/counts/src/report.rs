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
    pub(crate) losses: Losses,
}

/// What the agent says of its losses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    /// All that is not 0.
    pub(crate) text: String,
    /// Requests and messages that are not told, at most, of all ends.
    pub(crate) requests: u64,
}

impl Side {
    fn counted_in_all(&self) -> u64 {
        self.counted.values().sum()
    }

    /// How many are told of less than there were.
    fn missing(&self) -> u64 {
        let told = |name: &String| self.spans.get(name).copied().unwrap_or_default();
        self.counted.iter().map(|(name, counted)| counted.saturating_sub(told(name))).sum()
    }

    /// Whether what is missing at these ends, of one agent, is counted as lost, and nothing is told that was not there.
    pub(crate) fn are_covered(ends: &[Self]) -> bool {
        let is_true = |end: &Self| {
            end.spans.iter().all(|(name, told)| end.counted.get(name).is_some_and(|counted| told <= counted))
        };
        let lost = ends.first().map_or(0, |end| end.losses.requests);
        ends.iter().all(is_true) && ends.iter().map(Self::missing).sum::<u64>() <= lost
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
        format!("{} {}", all.join(", "), self.losses.text)
    }
}
