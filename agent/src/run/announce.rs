//! What is said at the start: which processes are watched, and what is near where nothing is as was asked for.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use compact_str::CompactString;

use crate::{
    config::Config,
    model::ids::ProcessId,
    procs::{ProcessTable, Watched, fs::ProcFs, ports::Ports},
    terminal,
};

/// How long is looked.
const LONGEST: Duration = Duration::from_secs(5);
/// Services, ports of one and processes that are near, at most.
const SERVICES: usize = 5;
const PORTS: usize = 4;
const NEAR: usize = 3;

/// A process that listens.
struct Listener {
    pid: ProcessId,
    exe: String,
    ports: Vec<u16>,
}

/// Says what is watched, once that is found out. Nothing waits for it: the files of a process may hang. `chosen`: by pid;
/// none: whatever the configuration's selection says.
pub(super) fn watching(processes: Arc<ProcessTable>, chosen: Vec<ProcessId>, config: Config, rest: String) {
    let say = move || {
        if !chosen.is_empty() {
            let pids = chosen.clone();
            let name = move |&pid: &ProcessId| processes.resource(pid).service_name.clone();
            let names: Option<Vec<_>> = in_time(move || pids.iter().map(name).collect());
            return tracing::info!("watching {} and children {rest}", family(&chosen, &names.unwrap_or_default()));
        }
        let looked = {
            let config = config.clone();
            in_time(move || {
                services(&processes.watched()).ok_or_else(|| {
                    let proc = processes.proc();
                    nearest(&config, &listeners(proc), &executables(proc))
                })
            })
        };
        tracing::info!("watching {} {rest}", in_words(&config, looked));
    };
    if let Err(error) = thread::Builder::new().name("announce".to_owned()).spawn(say) {
        tracing::warn!(%error, "watching; no thread to say what");
    }
}

/// Processes that were chosen by pid, with the names of their services as far as they were found out in time.
fn family(pids: &[ProcessId], names: &[CompactString]) -> String {
    let of = |(at, pid): (usize, &ProcessId)| match names.get(at).filter(|name| !name.is_empty()) {
        Some(name) => format!("{} (process {pid})", harmless(name)),
        None => format!("process {pid}"),
    };
    pids.iter().enumerate().map(of).collect::<Vec<_>>().join(", ")
}

/// `looked`: what is watched, or what is near; `None` where that takes too long to find out.
fn in_words(config: &Config, looked: Option<Result<String, Option<String>>>) -> String {
    let asked = asked(config);
    match (looked, asked) {
        (Some(Ok(found)), _) => found,
        (None, None) | (Some(Err(_)), None) => "all processes that use a connection".to_owned(),
        (None, Some(asked)) => format!("processes that match {asked}"),
        (Some(Err(None)), Some(asked)) => format!("for processes that match {asked}: none does yet"),
        (Some(Err(Some(near))), Some(asked)) => format!("for processes that match {asked}: none does yet; {near}"),
    }
}

/// What was asked for; `None`: everything.
fn asked(config: &Config) -> Option<String> {
    if config.selection().is_everything() {
        return None;
    }
    let mut words = Vec::new();
    if !config.open_port.is_empty() {
        words.push(format!("port {}", config.open_port));
    }
    if let Some(exe) = &config.auto_target_exe {
        words.push(format!("executable {exe}"));
    }
    Some(if words.is_empty() { "what the configuration chooses".to_owned() } else { words.join(" and ") })
}

/// What listens, where a pid is no process's.
pub(super) fn listening(proc: &ProcFs) -> Option<String> {
    let proc = proc.clone();
    in_time(move || shown(listeners(&proc).iter()))?
}

/// What looking gives, unless that takes too long.
pub(super) fn in_time<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, found) = mpsc::channel();
    let look = move || {
        // Nobody listens any more if it took too long.
        let _unheard = tell.send(look());
    };
    thread::Builder::new().name("look".to_owned()).spawn(look).ok()?;
    found.recv_timeout(LONGEST).ok()
}

/// `nginx (3 processes, :8080), shop (process 4711)`; `None`: nothing.
pub(super) fn services(watched: &[Watched]) -> Option<String> {
    let mut by_name: BTreeMap<&str, (Vec<ProcessId>, Vec<u16>)> = BTreeMap::new();
    for process in watched {
        let (pids, ports) = by_name.entry(&process.service_name).or_default();
        pids.push(process.pid);
        ports.extend(&process.ports);
    }
    let mut services: Vec<_> = by_name.into_iter().collect();
    // Those that serve first.
    services.sort_by_key(|(_, (pids, ports))| (ports.is_empty(), std::cmp::Reverse(pids.len())));
    let more = services.len().saturating_sub(SERVICES);
    let mut out = String::new();
    for (name, (pids, mut ports)) in services.into_iter().take(SERVICES) {
        ports.sort_unstable();
        ports.dedup();
        let comma = if out.is_empty() { "" } else { ", " };
        let processes = match pids.as_slice() {
            [pid] => format!("process {pid}"),
            pids => format!("{} processes", pids.len()),
        };
        // Writing to a string cannot fail.
        let _ = write!(out, "{comma}{} ({processes}{})", harmless(name), listed(&ports));
    }
    if more > 0 {
        let _ = write!(out, " and {more} more services");
    }
    (!out.is_empty()).then_some(out)
}

/// `, :80, :443`.
fn listed(ports: &[u16]) -> String {
    let mut out: String = ports.iter().take(PORTS).map(|port| format!(", :{port}")).collect();
    if ports.len() > PORTS {
        out.push_str(" …");
    }
    out
}

/// Names are other programs': none drives the terminal, and none is longer than a name.
fn harmless(name: &str) -> String {
    terminal::harmless(name).chars().take(64).collect()
}

fn listeners(proc: &ProcFs) -> Vec<Listener> {
    let (ports, now) = (Ports::default(), Instant::now());
    let own = ProcessId(std::process::id());
    let of = |pid| {
        let exe = proc.exe(pid).filter(|_| pid != own)?;
        let ports = ports.of(proc, pid, now).listening;
        (!ports.is_empty()).then_some(Listener { pid, exe, ports })
    };
    proc.pids().into_iter().filter_map(of).collect()
}

fn executables(proc: &ProcFs) -> Vec<String> {
    let mut paths: Vec<String> = proc.pids().into_iter().filter_map(|pid| proc.exe(pid)).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn nearest(config: &Config, listeners: &[Listener], executables: &[String]) -> Option<String> {
    let mut near = Vec::new();
    let selection = config.selection();
    let wanted: Vec<u16> = selection
        .criteria
        .iter()
        .flat_map(|criterion| criterion.open_ports.0.iter().map(|range| *range.start()))
        .collect();
    if !wanted.is_empty() {
        let distance = |port: &u16| wanted.iter().map(|wanted| wanted.abs_diff(*port)).min().unwrap_or(u16::MAX);
        let of = |listener: &&Listener| listener.ports.iter().map(distance).min();
        let mut by_distance: Vec<&Listener> = listeners.iter().collect();
        by_distance.sort_by_key(of);
        match shown(by_distance.into_iter()) {
            Some(found) => near.push(format!("what listens is {found}")),
            None => near.push("nothing listens on a TCP port".to_owned()),
        }
    }
    let patterns: Vec<String> =
        selection.criteria.iter().filter_map(|criterion| Some(criterion.exe_path.as_ref()?.to_string())).collect();
    if !patterns.is_empty() {
        let similarity = |path: &String| {
            let name = path.rsplit('/').next().unwrap_or(path);
            let of = |pattern: &String| {
                let word: String =
                    pattern.rsplit('/').next().unwrap_or(pattern).chars().filter(|c| c.is_alphanumeric()).collect();
                let contains = !word.is_empty() && (name.contains(&word) || word.contains(name));
                if contains { 0 } else { strsim::levenshtein(&word, name) }
            };
            patterns.iter().map(of).min()
        };
        let mut by_name: Vec<&String> = executables.iter().collect();
        by_name.sort_by_key(|path| similarity(path));
        let paths: Vec<String> = by_name.into_iter().take(NEAR).map(|path| harmless(path)).collect();
        if !paths.is_empty() {
            near.push(format!("what runs is {}", paths.join(", ")));
        }
    }
    (!near.is_empty()).then(|| near.join("; "))
}

/// `nginx 812 (:80, :443), python3.11 900 (:8080)`.
fn shown<'a>(listeners: impl Iterator<Item = &'a Listener>) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for Listener { pid, exe, ports } in listeners {
        let ports = listed(ports);
        let ports = ports.trim_start_matches(", ");
        let name = harmless(exe.rsplit('/').next().unwrap_or(exe));
        // Workers share the ports of the first.
        if names.iter().any(|known| known.starts_with(&format!("{name} ")) && known.ends_with(&format!("({ports})"))) {
            continue;
        }
        names.push(format!("{name} {pid} ({ports})"));
        if names.len() == NEAR {
            break;
        }
    }
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_listed_with_their_processes_and_ports_those_that_serve_first() {
        let process =
            |pid, name: &str, ports: &[u16]| Watched { pid, service_name: name.into(), ports: ports.to_vec() };
        let all = [
            process(ProcessId(1), "batch", &[]),
            process(ProcessId(2), "nginx", &[8080]),
            process(ProcessId(3), "nginx", &[8080]),
            process(ProcessId(4), "sh\x1b[31mop", &[1, 2, 3, 4, 5]),
        ];
        assert_eq!(
            services(&all).unwrap(),
            "nginx (2 processes, :8080), sh\\u{1b}[31mop (process 4, :1, :2, :3, :4 …), batch (process 1)"
        );
        assert_eq!(services(&[]), None);
        let many: Vec<Watched> = (0..8).map(|pid| process(ProcessId(pid), &format!("s{pid}"), &[])).collect();
        assert!(services(&many).unwrap().ends_with("s4 (process 4) and 3 more services"));
    }

    #[test]
    fn chosen_processes_are_named_as_their_services() {
        let pids = [7, 8].map(ProcessId);
        assert_eq!(family(&pids, &["shop".into(), "".into()]), "shop (process 7), process 8");
        assert_eq!(family(&pids[..1], &[]), "process 7");
    }

    #[test]
    fn what_could_not_be_looked_at_in_time_is_not_said_to_be_missing() {
        let by_port = Config { open_port: "8081".parse().unwrap(), ..Config::default() };
        let near = || Some("what listens is nginx 2 (:80)".to_owned());
        for (config, looked, said) in [
            (&by_port, Some(Ok("nginx".to_owned())), "nginx"),
            (&by_port, None, "processes that match port 8081"),
            (&by_port, Some(Err(None)), "for processes that match port 8081: none does yet"),
            (
                &by_port,
                Some(Err(near())),
                "for processes that match port 8081: none does yet; what listens is nginx 2 (:80)",
            ),
            (&Config::default(), None, "all processes that use a connection"),
            (&Config::default(), Some(Err(None)), "all processes that use a connection"),
        ] {
            assert_eq!(in_words(config, looked), said);
        }
    }

    #[test]
    fn what_is_near_is_named_where_nothing_matches() {
        let listener = |pid, exe: &str, ports: &[u16]| Listener { pid, exe: exe.into(), ports: ports.to_vec() };
        let listeners = [
            listener(ProcessId(1), "/usr/sbin/sshd", &[22]),
            listener(ProcessId(2), "/usr/sbin/nginx", &[80, 8080]),
            listener(ProcessId(3), "/usr/sbin/nginx", &[80, 8080]),
            listener(ProcessId(4), "/usr/bin/python3.11", &[9000]),
        ];
        let executables: Vec<String> = listeners.iter().map(|listener| listener.exe.clone()).collect();
        let near = |config: &Config| nearest(config, &listeners, &executables);
        let by_port = Config { open_port: "8081".parse().unwrap(), ..Config::default() };
        assert_eq!(near(&by_port).unwrap(), "what listens is nginx 2 (:80, :8080), python3.11 4 (:9000), sshd 1 (:22)");
        let by_exe = Config { auto_target_exe: "*/ngnix".parse().ok(), ..Config::default() };
        assert!(near(&by_exe).unwrap().starts_with("what runs is /usr/sbin/nginx, "));
        assert_eq!(near(&Config::default()), None);
        assert_eq!(nearest(&by_port, &[], &[]).unwrap(), "nothing listens on a TCP port");
    }
}
