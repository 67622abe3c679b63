//! Judging processes of the table, one by one, all at start, and for `survey`.

use std::{cell::OnceCell, sync::Arc, time::Instant};

use compact_str::CompactString;

use super::{Facts, ProcessTable};
use crate::{
    model::ids::ProcessId,
    procs::{
        blocking::{PATIENCE, Place},
        executable::Tls,
        pod::Pod,
        ports::Ports,
        selector::{Candidate, Selector, Verdict},
        survey::{Row, RowTls},
    },
};

/// A process that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Pid in the host's PID namespace.
    pub pid: ProcessId,
    /// `service.name`.
    pub service_name: CompactString,
    /// TCP ports it listens on.
    pub ports: Vec<u16>,
}

/// How far up a process's ancestors are followed.
const ANCESTORS_MAX: usize = 32;

/// A process that is evaluated.
pub(super) struct Subject<'a> {
    pub(super) tgid: ProcessId,
    /// Whose command line and ports are read: itself, or what it was forked from.
    pub(super) asked: ProcessId,
    pub(super) parent: ProcessId,
    /// It still runs the parent's program.
    pub(super) runs_parents: bool,
    /// Ports that it was seen to serve.
    pub(super) served: &'a [u16],
    /// The command line that was seen when it was met, for when it is gone.
    pub(super) args: &'a [String],
}

impl ProcessTable {
    /// Evaluates every process there is. For the start; later ones are told by their events.
    #[must_use]
    pub(crate) fn scan(&self) -> Vec<(ProcessId, Verdict)> {
        let pids = self.proc.pids().into_iter();
        // Kernel threads have no executable, nothing to watch, and are many.
        pids.filter(|pid| self.proc.exe(*pid).is_some()).map(|pid| (pid, self.verdict(pid))).collect()
    }

    /// The processes that would be watched: those that a rule chooses, or without rules those that listen or have a TCP
    /// connection.
    #[must_use]
    pub(crate) fn survey(&self) -> Vec<Row> {
        let now = Instant::now();
        let mut rows: Vec<Row> =
            self.scan().into_iter().filter_map(|(pid, verdict)| self.row(pid, &verdict, now)).collect();
        rows.sort_by_key(|row| row.pid);
        rows
    }

    /// The processes of [`survey`](Self::survey), without a look at what they run.
    #[must_use]
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let now = Instant::now();
        let of = |(pid, verdict): (ProcessId, Verdict)| {
            let Verdict::Watch(rule) = verdict else { return None };
            let sockets = self.ports.of(&self.proc, pid, now);
            let is_used = rule.is_some() || sockets.is_connected || !sockets.listening.is_empty();
            is_used.then(|| Watched {
                pid,
                service_name: self.resource_at(pid, now).service_name.clone(),
                ports: sockets.listening,
            })
        };
        self.scan().into_iter().filter_map(of).collect()
    }

    fn row(&self, pid: ProcessId, verdict: &Verdict, now: Instant) -> Option<Row> {
        let Verdict::Watch(rule) = verdict else { return None };
        let sockets = self.ports.of(&self.proc, pid, now);
        if rule.is_none() && sockets.listening.is_empty() && !sockets.is_connected {
            return None;
        }
        let resource = self.resource_at(pid, now);
        let (parent, runs_parents, served, facts) = self
            .read()
            .live
            .get(&pid)
            .map(|entry| (entry.parent, entry.runs_parents(), entry.served.clone(), entry.facts.clone()))?;
        let facts = facts?;
        let pod = self.pods.as_ref().and_then(|pods| pods.pod(&facts.container));
        let subject = Subject { tgid: pid, asked: pid, parent, runs_parents, served: &served, args: &[] };
        let mut matched_by = self.evaluate(&subject, &facts, pod.as_deref(), Selector::matches);
        if matched_by.is_empty() {
            matched_by.push("default".into());
        }
        let namespace = resource.attributes.iter().find(|(key, _)| key == "service.namespace");
        Some(Row {
            pid,
            service_name: resource.service_name.clone(),
            service_namespace: namespace.and_then(|(_, value)| match value {
                crate::model::span::Value::Str(text) => Some(text.clone()),
                _ => None,
            }),
            language: facts.runtime.language.map(|language| language.name()),
            runtime_version: facts.build.as_ref().map(|build| build.release.clone()).filter(|it| !it.is_empty()),
            executable: facts.exe.as_ref().into(),
            ports: sockets.listening,
            tls: RowTls::of(self.tls(pid)),
            instrumented_by: facts.instrumentation.vendors().collect(),
            matched_by,
        })
    }

    /// Programs are looked through for it.
    fn tls(&self, pid: ProcessId) -> Vec<(Tls, Option<String>)> {
        let reader = Arc::clone(&self.reader);
        self.pool.call(Place::of(&self.proc, pid), 10 * PATIENCE, move || reader.tls(pid)).unwrap_or_default()
    }

    /// It lies in the process's memory, which may be a file that does not answer.
    fn cmdline(&self, pid: ProcessId) -> Vec<String> {
        let proc = self.proc.clone();
        self.pool.call(Place::of(&self.proc, pid), PATIENCE, move || proc.cmdline(pid)).unwrap_or_default()
    }

    pub(super) fn evaluate<T>(
        &self,
        subject: &Subject<'_>,
        facts: &Facts,
        pod: Option<&Pod>,
        evaluate: impl FnOnce(&Selector, &Candidate<'_>) -> T,
    ) -> T {
        let &Subject { tgid, asked, parent, runs_parents, served, args } = subject;
        let info = facts.container_info.as_ref();
        let of_pod = pod.and_then(|pod| pod.container(facts.container.id.as_deref())).map(|container| &container.name);
        // Rules ask one after the other.
        let (line, ports, ancestors) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let candidate = Candidate {
            pid: tgid,
            exe: &facts.exe,
            language: facts.runtime.language,
            in_container: !facts.container.is_none(),
            container_name: info.and_then(|info| info.name.as_ref()).or(of_pod).map(|name| name.as_str()),
            pod,
            container_id: facts.container.id.as_deref(),
            cmdline: &|| {
                let ask = || Some(self.cmdline(asked)).filter(|line| !line.is_empty()).unwrap_or_else(|| args.to_vec());
                line.get_or_init(ask).clone()
            },
            served,
            ports: &|| {
                let ask = || {
                    let mut ports = self.listening_now(asked, runs_parents.then_some(parent));
                    ports.extend(served);
                    ports
                };
                ports.get_or_init(ask).clone()
            },
            ancestors: &|| ancestors.get_or_init(|| self.ancestors(parent)).clone(),
        };
        evaluate(&self.selector(), &candidate)
    }

    /// The ports that a process serves at this moment: those it listens on, and those of what it was `forked_from` with
    /// its program. A worker may have closed what it does not accept from.
    fn listening_now(&self, pid: ProcessId, mut forked_from: Option<ProcessId>) -> Vec<u16> {
        let mut ports = Ports::listening_now(&self.proc, pid);
        for _ in 0..ANCESTORS_MAX {
            let Some(parent) = forked_from.filter(|parent| parent.is_some() && *parent != pid) else { break };
            ports.extend(Ports::listening_now(&self.proc, parent));
            forked_from = self.read().live.get(&parent).filter(|entry| entry.runs_parents()).map(|entry| entry.parent);
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// A process's parent and its ancestors.
    fn ancestors(&self, parent: ProcessId) -> Vec<ProcessId> {
        let mut ancestors = Vec::new();
        let mut pid = parent;
        while pid.is_some() && ancestors.len() < ANCESTORS_MAX {
            ancestors.push(pid);
            let known = self.read().live.get(&pid).map(|entry| entry.parent);
            pid = known
                .filter(|parent| parent.is_some())
                .or_else(|| Some(self.proc.stat(pid)?.parent))
                .unwrap_or_default();
        }
        ancestors
    }
}
