//! An agent that is told nothing, or a configuration. The host has other processes: only what the tests serve counts.

use std::{collections::BTreeMap, path::Path};

use tests::{
    agent::{Agent, Setup},
    receiver::{ReceivedSpan, Receiver},
};

/// The agent, with its receiver.
pub(crate) struct Discovering {
    pub(crate) agent: Agent,
    pub(crate) receiver: Receiver,
}

impl Discovering {
    /// With these arguments, of which there may be none.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::set_up(|setup| setup.args(arguments))
    }

    /// With this configuration file.
    pub(crate) fn configured(file: &Path) -> Self {
        Self::with(&["--config", file.to_str().expect("a path of text")])
    }

    pub(crate) fn set_up(change: impl FnOnce(Setup) -> Setup) -> Self {
        let receiver = Receiver::start();
        let agent = change(Setup::with([] as [&str; 0]).to(&receiver)).start();
        Self { agent, receiver }
    }

    /// Spans whose path begins so, once there are that many; and no more of them at the end.
    pub(crate) fn finish(self, prefix: &str, count: usize) -> Vec<ReceivedSpan> {
        let of_us = |spans: &[ReceivedSpan]| -> Vec<ReceivedSpan> {
            let is_ours = |span: &&ReceivedSpan| tests::seen::path(span).is_some_and(|path| path.starts_with(prefix));
            spans.iter().filter(is_ours).cloned().collect()
        };
        let waited = self.receiver.wait_for(|state| of_us(&state.spans).len() >= count, tests::LONG);
        let ended = self.agent.stop();
        let spans = of_us(&self.receiver.spans());
        let summary: Vec<String> =
            spans.iter().map(|span| format!("{} {} {}", span.kind, span.service(), span.name)).collect();
        assert!(waited.is_ok(), "{} of {count} spans: {summary:#?}\nlog: {:#?}", spans.len(), ended.log);
        assert!(ended.status.success(), "{:#?}", ended.log);
        assert_eq!(spans.len(), count, "{summary:#?}");
        spans
    }
}

/// The number of server spans by service.
pub(crate) fn by_service(spans: &[ReceivedSpan]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for span in spans.iter().filter(|span| span.kind == "SERVER") {
        *count.entry(span.service().to_owned()).or_default() += 1;
    }
    count
}

/// An attribute of a span's resource, as text.
pub(crate) fn resource<'a>(span: &'a ReceivedSpan, key: &str) -> Option<&'a str> {
    span.resource.get(key)?.as_str()
}
