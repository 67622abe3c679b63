//! Which processes to watch, and what the configuration says of those that match.

use std::sync::{Arc, Mutex, PoisonError};

use compact_str::CompactString;

use super::{
    language::Language,
    pod::{OwnerKind, Pod},
};
use crate::{config, model::ids::ProcessId};

/// A pattern over a whole text: `*` any characters (also `/`), `?` one, `[a-z]`, `{a,b}`; after `re:` a regular
/// expression, found anywhere in it.
#[derive(Clone, Debug)]
pub(crate) struct Glob(config::Glob);

/// A pattern that is none.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidGlob(#[from] config::GlobError);

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is no pattern.
    pub(crate) fn new(pattern: &str) -> Result<Self, InvalidGlob> {
        Ok(Self(pattern.parse()?))
    }

    /// Whether the whole text matches.
    #[must_use]
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Whether a path matches; a pattern without `/` may match the file's name alone.
    fn matches_path(&self, path: &str) -> bool {
        self.matches(path) || !self.0.as_str().contains('/') && self.matches(super::name::base(path))
    }
}

/// What a process must be to match: all that is given must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Criteria {
    /// One of these, or a descendant of one.
    pub pids: Vec<ProcessId>,
    /// It listens on a port in one of these ranges (inclusive).
    pub open_ports: Vec<(u16, u16)>,
    /// Path of the executable; a pattern without `/` also matches its file name.
    pub exe_path: Option<Glob>,
    /// The command line, words separated by a space, with or without the first.
    pub cmd_args: Option<Glob>,
    /// Name of the container.
    pub container_name: Option<Glob>,
    /// It is in a container.
    pub containers_only: bool,
    /// The language's word (`go`, `{java,python}`).
    pub languages: Option<Glob>,
    /// Names of Kubernetes objects.
    pub kubernetes: Vec<(KubernetesName, Glob)>,
    /// Labels of the pod.
    pub pod_labels: Vec<(CompactString, Glob)>,
    /// Annotations of the pod.
    pub pod_annotations: Vec<(CompactString, Glob)>,
}

/// Names that a process can be chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KubernetesName {
    /// Namespace.
    Namespace,
    /// Pod.
    Pod,
    /// Container of the pod.
    Container,
    /// Any of the pod's controllers.
    AnyOwner,
    /// A controller of a kind.
    Owner(OwnerKind),
}

/// What the configuration says of the processes that match.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    /// Where it stands, for people: `discovery.instrument[2]`, `--port`.
    pub label: CompactString,
    /// Which processes.
    pub criteria: Criteria,
    /// `service.name`.
    pub name: Option<CompactString>,
    /// `service.namespace`.
    pub namespace: Option<CompactString>,
    /// Which signals are exported; `None`: as for all.
    pub exports: Option<Exports>,
    /// Groups of metrics; `None`: as for all.
    pub features: Option<config::Features>,
    /// Sampler; `None`: as for all.
    pub sampler: Option<config::Sampler>,
    /// Route patterns of served and of made requests; `None` or empty: as for all.
    pub routes: Option<Routes>,
    /// What is done about its SDK; `None`: as for all.
    pub sdk: Option<config::Sdk>,
}

/// Signals of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exports {
    /// Spans.
    pub traces: bool,
    /// Metrics.
    pub metrics: bool,
}

/// Route patterns of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// Of requests it serves.
    pub incoming: Vec<CompactString>,
    /// Of requests it makes.
    pub outgoing: Vec<CompactString>,
}

/// A process as it is evaluated. What is dear to find out is asked for only if a criterion needs it.
pub(crate) struct Candidate<'a> {
    /// Pid in the host's PID namespace.
    pub pid: ProcessId,
    /// Path of the executable.
    pub exe: &'a str,
    /// Language.
    pub language: Option<Language>,
    /// Whether it is in a container.
    pub in_container: bool,
    /// Name of the container.
    pub container_name: Option<&'a str>,
    /// Its pod.
    pub pod: Option<&'a Pod>,
    /// Container id, to find the container in the pod.
    pub container_id: Option<&'a str>,
    /// The command line.
    pub cmdline: &'a dyn Fn() -> Vec<String>,
    /// Ports that it was seen to serve: it used a connection there, which another process may have accepted.
    pub served: &'a [u16],
    /// Ports it listens on.
    pub ports: &'a dyn Fn() -> Vec<u16>,
    /// Its parent, grandparent …, nearest first; bounded.
    pub ancestors: &'a dyn Fn() -> Vec<ProcessId>,
}

/// Whether to watch a process.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Yes; by what the rules say that match, or by no rule where none is given.
    Watch(Option<Arc<Rule>>),
    /// No.
    Ignore(Reason),
}

/// Why a process is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// It is the agent.
    Itself,
    /// It is what the agent exports to.
    Collector,
    /// It is excluded by the configuration.
    Excluded,
    /// It is one of the programs that are left out unless chosen by pid.
    ExcludedByDefault,
    /// Rules are given, and none matches.
    NotChosen,
}

impl Verdict {
    /// Whether it says to watch.
    #[must_use]
    pub(crate) const fn is_watch(&self) -> bool {
        matches!(self, Self::Watch(_))
    }

    /// The rule it is watched by.
    #[must_use]
    pub(crate) fn rule(&self) -> Option<&Arc<Rule>> {
        match self {
            Self::Watch(rule) => rule.as_ref(),
            Self::Ignore(_) => None,
        }
    }
}

/// All that decides which processes are watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    /// Which to watch; what a later one sets goes before what an earlier one does. Empty: all.
    pub rules: Vec<Arc<Rule>>,
    /// Which not to watch; stronger than `rules`.
    pub exclude: Vec<Criteria>,
    /// Which not to watch unless a rule names them by pid.
    pub default_exclude: Vec<Criteria>,
    /// The agent's own pid in the host's PID namespace.
    pub own_pid: Option<ProcessId>,
    /// Ports of the endpoints the agent exports to, as far as these are on this host: who listens there is not watched.
    pub collector_ports: Vec<u16>,
    /// What was put together of several rules.
    pub merged: Merged,
}

/// Most sets of rules that are remembered.
const MERGED_MAX: usize = 256;

/// Several rules as one, made once for each set of them: settings are known by their rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Merged(Arc<Mutex<Vec<MergedOf>>>);

/// What is made of which rules.
type MergedOf = (Vec<Arc<Rule>>, Arc<Rule>);

impl Merged {
    /// Of each value the last one that is set. `None`: there are no rules.
    fn of(&self, rules: &[&Arc<Rule>]) -> Option<Arc<Rule>> {
        let (last, earlier) = rules.split_last()?;
        if earlier.is_empty() {
            return Some(Arc::clone(last));
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |(of, _): &&MergedOf| {
            of.len() == rules.len() && of.iter().zip(rules).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        if let Some((_, merged)) = known.iter().find(is_same) {
            return Some(Arc::clone(merged));
        }
        if known.len() >= MERGED_MAX {
            known.clear();
        }
        let merged = Arc::new(Rule::merged(rules));
        known.push((rules.iter().map(|rule| Arc::clone(rule)).collect(), Arc::clone(&merged)));
        Some(merged)
    }
}

impl Rule {
    /// Of each value the last one that is set. No process is asked again whether it matches.
    fn merged(rules: &[&Arc<Self>]) -> Self {
        let mut all = Self::default();
        for rule in rules {
            let Self { label, criteria: _, name, namespace, exports, features, sampler, routes, sdk } = &***rule;
            all.label.clone_from(label);
            set(&mut all.name, name);
            set(&mut all.namespace, namespace);
            set(&mut all.exports, exports);
            set(&mut all.features, features);
            set(&mut all.sampler, sampler);
            set(&mut all.routes, routes);
            set(&mut all.sdk, sdk);
        }
        all
    }
}

fn set<T: Clone>(value: &mut Option<T>, later: &Option<T>) {
    if later.is_some() {
        value.clone_from(later);
    }
}

impl Selector {
    /// Evaluates a process.
    #[must_use]
    pub(crate) fn decide(&self, candidate: &Candidate<'_>) -> Verdict {
        if self.own_pid == Some(candidate.pid) {
            return Verdict::Ignore(Reason::Itself);
        }
        if self.exclude.iter().any(|criteria| criteria.matches(candidate)) {
            return Verdict::Ignore(Reason::Excluded);
        }
        let matching: Vec<_> = self.rules.iter().filter(|rule| rule.criteria.matches(candidate)).collect();
        if matching.iter().any(|rule| !rule.criteria.pids.is_empty()) {
            return Verdict::Watch(self.merged.of(&matching));
        }
        if matching.is_empty() && !self.rules.is_empty() {
            return Verdict::Ignore(Reason::NotChosen);
        }
        if self.default_exclude.iter().any(|criteria| criteria.matches(candidate)) {
            return Verdict::Ignore(Reason::ExcludedByDefault);
        }
        if !self.collector_ports.is_empty()
            && (candidate.ports)().iter().any(|port| self.collector_ports.contains(port))
        {
            return Verdict::Ignore(Reason::Collector);
        }
        Verdict::Watch(self.merged.of(&matching))
    }

    /// The labels of all rules that match, the one that goes before the others first.
    #[must_use]
    pub(crate) fn matches(&self, candidate: &Candidate<'_>) -> Vec<CompactString> {
        let matching = self.rules.iter().rev().filter(|rule| rule.criteria.matches(candidate));
        matching.map(|rule| rule.label.clone()).collect()
    }

    /// The ports that processes are chosen by.
    #[must_use]
    pub(crate) fn ports(&self) -> Vec<(u16, u16)> {
        self.rules.iter().flat_map(|rule| rule.criteria.open_ports.iter().copied()).collect()
    }
}

impl Criteria {
    /// Whether a process is what is asked for. What is cheap to know is compared first.
    #[must_use]
    pub(crate) fn matches(&self, candidate: &Candidate<'_>) -> bool {
        let holds = |glob: &Option<Glob>, text: Option<&str>| {
            glob.as_ref().is_none_or(|glob| text.is_some_and(|text| glob.matches(text)))
        };
        let is_pid =
            || self.pids.contains(&candidate.pid) || (candidate.ancestors)().iter().any(|pid| self.pids.contains(pid));
        (!self.containers_only || candidate.in_container)
            && self.exe_path.as_ref().is_none_or(|glob| glob.matches_path(candidate.exe))
            && holds(&self.languages, candidate.language.map(Language::name))
            && holds(&self.container_name, candidate.container_name)
            && self.matches_pod(candidate)
            && (self.pids.is_empty() || is_pid())
            && self.cmd_args.as_ref().is_none_or(|glob| {
                let line = (candidate.cmdline)().join(" ");
                glob.matches(&line) || line.split_once(' ').is_some_and(|(_, args)| glob.matches(args))
            })
            && (self.open_ports.is_empty() || {
                let is_asked = |port: &u16| self.open_ports.iter().any(|(first, last)| (first..=last).contains(&port));
                candidate.served.iter().any(is_asked) || (candidate.ports)().iter().any(is_asked)
            })
    }

    fn matches_pod(&self, candidate: &Candidate<'_>) -> bool {
        if self.kubernetes.is_empty() && self.pod_labels.is_empty() && self.pod_annotations.is_empty() {
            return true;
        }
        let Some(pod) = candidate.pod else { return false };
        let is_named = |(name, glob): &(KubernetesName, Glob)| match name {
            KubernetesName::Namespace => glob.matches(&pod.namespace),
            KubernetesName::Pod => glob.matches(&pod.name),
            KubernetesName::Container => {
                pod.container(candidate.container_id).is_some_and(|container| glob.matches(&container.name))
            }
            KubernetesName::AnyOwner => pod.owners.iter().any(|owner| glob.matches(&owner.name)),
            KubernetesName::Owner(kind) => pod.owner(*kind).is_some_and(|name| glob.matches(name)),
        };
        self.kubernetes.iter().all(is_named)
            && self.pod_labels.iter().all(|(key, glob)| pod.label(key).is_some_and(|value| glob.matches(value)))
            && self
                .pod_annotations
                .iter()
                .all(|(key, glob)| pod.annotation(key).is_some_and(|value| glob.matches(value)))
    }
}

#[cfg(test)]
mod tests;
