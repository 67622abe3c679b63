//! Which groups of metrics are kept of a service, and which of them each reader is given.

use crate::config::{Features, Protocols};

/// Who reads metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The OTLP exporter.
    Otlp,
    /// The Prometheus page.
    Prometheus,
    /// Standard output.
    Console,
    /// What the agent remembers itself: requests, and nothing else, whatever others are given.
    Store,
}

impl Reader {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Otlp, Self::Prometheus, Self::Console, Self::Store];
}

/// What a reader is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its own list of features; `None`: those that are common to all.
    pub(crate) own: Option<Features>,
    /// Protocols whose metrics there are.
    pub(crate) protocols: Protocols,
    /// What metrics of spans have of their resource, besides what they have anyway.
    pub(crate) of_resource: &'static [&'static str],
    /// Whether the service graph has services that ask themselves.
    pub(crate) self_references: bool,
}

/// What all readers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readers {
    /// The common features.
    pub(crate) common: Features,
    /// In the order of [`Reader::ALL`], but for the store.
    pub(crate) each: [Wanted; 3],
    /// Whether there is a store.
    pub(crate) has_store: bool,
}

impl Default for Readers {
    fn default() -> Self {
        let wanted = Wanted { own: None, protocols: Protocols::ALL, of_resource: &[], self_references: false };
        Self { common: Features::RED.with(Features::SIZES), each: [wanted; 3], has_store: false }
    }
}

impl Readers {
    /// What is kept of a service. `of_rule`: those of the rule that it is watched by, where that has some.
    pub(crate) fn kept(&self, of_rule: Option<Features>) -> Features {
        Reader::ALL.into_iter().fold(Features::default(), |all, reader| all.with(self.shown(reader, of_rule)))
    }

    /// What of a service is shown to a reader: its rule's features, of which a list of the reader's own lets through what it has.
    pub(crate) fn shown(&self, reader: Reader, of_rule: Option<Features>) -> Features {
        if reader == Reader::Store {
            return if self.has_store { Features::RED } else { Features::default() };
        }
        match (of_rule, self.wanted(reader).own) {
            (Some(of_rule), Some(own)) => of_rule.within(own),
            (Some(features), None) | (None, Some(features)) => features,
            (None, None) => self.common,
        }
    }

    /// Protocols that any reader is given.
    pub(super) fn protocols(&self) -> Protocols {
        if self.has_store {
            return Protocols::ALL;
        }
        let [first, second, third] = self.each;
        first.protocols.with(second.protocols).with(third.protocols)
    }

    pub(super) fn wanted(&self, reader: Reader) -> Wanted {
        let [otlp, prometheus, console] = self.each;
        match reader {
            Reader::Otlp => otlp,
            Reader::Prometheus => prometheus,
            Reader::Console => console,
            Reader::Store => {
                Wanted { own: Some(Features::RED), protocols: Protocols::ALL, of_resource: &[], self_references: false }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_features_go_before_the_common_ones_and_a_readers_list_bounds_both() {
        let own = Features::RED.with(Features::SPAN);
        let [mut otlp, prometheus, console] = Readers::default().each;
        otlp.own = Some(own);
        let readers = Readers { common: Features::RED, each: [otlp, prometheus, console], has_store: false };
        assert_eq!(readers.shown(Reader::Otlp, None), own);
        assert_eq!(readers.shown(Reader::Prometheus, None), Features::RED);
        let of_rule = Features::SPAN.with(Features::SERVICE_GRAPH);
        assert_eq!(readers.shown(Reader::Otlp, Some(of_rule)), Features::SPAN);
        assert_eq!(readers.shown(Reader::Console, Some(of_rule)), of_rule);
        assert_eq!(readers.kept(Some(of_rule)), of_rule);
        assert_eq!(readers.kept(None), own);
        assert!(readers.kept(Some(Features::default())).is_empty());
        let with_store = Readers { has_store: true, ..readers };
        assert_eq!(with_store.kept(Some(Features::default())), Features::RED, "requests are counted for the store");
        assert_eq!(with_store.shown(Reader::Otlp, Some(Features::default())), Features::default());
    }
}
