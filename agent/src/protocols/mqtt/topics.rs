//! Topics, and filters of them.

use std::collections::VecDeque;

use compact_str::CompactString;

/// Filters that are known of a connection.
const FILTERS_MAX: usize = 256;

/// Whether bytes are those of a filter, or begin one: text without control characters.
pub(super) fn is_filter(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= b' ' && *byte != 0x7f)
}

/// Whether a topic is one of many: a part of it looks like a number or an id.
pub(super) fn varies(topic: &str) -> bool {
    const WORD_MAX: usize = 32;
    topic.split('/').any(|part| part.len() > WORD_MAX || part.bytes().any(|byte| byte.is_ascii_digit()))
}

/// What a client has subscribed to.
#[derive(Debug, Default)]
pub(super) struct Filters {
    all: VecDeque<CompactString>,
}

impl Filters {
    pub(super) fn add(&mut self, filter: &str) {
        if self.all.iter().any(|it| it == filter) {
            return;
        }
        if self.all.len() >= FILTERS_MAX {
            self.all.pop_front();
        }
        self.all.push_back(filter.into());
    }

    /// The filter that a topic came by, if only one can have been it: its pattern, where it is one, and its group.
    pub(super) fn of(&self, topic: &str) -> (Option<CompactString>, Option<CompactString>) {
        let mut fitting = self.all.iter().filter_map(|it| {
            let (group, filter) = shared(it);
            is_match(filter, topic).then_some((group, filter))
        });
        let (Some((group, filter)), None) = (fitting.next(), fitting.next()) else { return (None, None) };
        let pattern = filter.contains(['+', '#']).then(|| CompactString::new(filter));
        (pattern, group.map(CompactString::new))
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        self.all.capacity() * size_of::<CompactString>() + self.all.iter().map(|it| it.len()).sum::<usize>()
    }
}

/// The group of a shared subscription (`$share/group/filter`), and its filter.
fn shared(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => (Some(group), filter),
        None => (None, filter),
    }
}

fn is_match(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_topics_and_name_their_group() {
        for (filter, topic, is_it) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("#", "a", true),
            ("b", "a", false),
        ] {
            assert_eq!(is_match(filter, topic), is_it, "{filter} {topic}");
        }
        let mut filters = Filters::default();
        filters.add("$share/readers/sensors/+/heat");
        assert_eq!(filters.of("sensors/7/heat"), (Some("sensors/+/heat".into()), Some("readers".into())));
        filters.add("sensors/#");
        assert_eq!(filters.of("sensors/7/heat"), (None, None), "it may have come by either");
        assert!(varies("sensors/17/heat") && !varies("sensors/heat"));
    }
}
