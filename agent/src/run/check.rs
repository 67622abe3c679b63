//! `beyla-rs check`: what this host offers.

use std::{fmt::Write, path::Path};

use serde::Serialize;

use super::print;
use crate::{
    capture::{Capture, Options, backend::Backend},
    cli::Exit,
    conn,
    kernel::{
        btf::{self, Btf},
        capabilities::{self, Capabilities, USED},
        namespaces,
    },
};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Item {
    name: String,
    /// It is there.
    ok: bool,
    /// Nothing works without it.
    required: bool,
    /// What was found.
    found: String,
    /// What it is for.
    enables: String,
    /// What to do if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    /// The agent can run here.
    ok: bool,
    /// The same in a sentence, with what to do first.
    verdict: String,
    version: &'static str,
    kernel: String,
    arch: String,
    /// The backend that `auto` takes.
    backend: Option<&'static str>,
    items: Vec<Item>,
}

/// Prints the report. Fails if the agent cannot run here.
pub(super) fn check(json: bool) -> Exit {
    let report = report();
    let text = if json { serde_json::to_string_pretty(&report).unwrap_or_default() + "\n" } else { text(&report) };
    match (print(&text), report.ok) {
        (Exit::Ok, true) => Exit::Ok,
        _ => Exit::Failed,
    }
}

fn report() -> Report {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let mut items = vec![btf_item()];
    let held = Capabilities::of_this_process();
    for capability in USED {
        let ok = held.has(capability);
        items.push(Item {
            name: capability.name.to_owned(),
            ok,
            required: capability.required,
            found: if ok { "held" } else { "missing" }.to_owned(),
            enables: capability.needed_for.to_owned(),
            // One line for all of them: a second `setcap` takes away what the first gave.
            advice: (!ok).then(capabilities::advice),
        });
    }
    items.push(numbers_item());
    items.push(lockdown_item());
    items.push(tracefs_item());
    let mut chosen = None;
    for backend in Backend::ALL {
        let tried =
            Capture::start(&Options { backends: vec![backend], at_first: conn::at_first(), ..Options::default() });
        let (ok, found) = match tried {
            Ok(_) => (true, "works".to_owned()),
            Err(error) => (false, error.to_string()),
        };
        if ok && chosen.is_none() {
            chosen = Some(backend);
        }
        items.push(Item {
            name: format!("backend {backend}"),
            ok,
            required: false,
            found,
            enables: format!("capture of HTTP and gRPC in the clear: {}", backend.description()),
            // Without the capabilities nothing is known of the kernel.
            advice: backend.advice().filter(|_| !ok && held.missing().is_empty()).map(str::to_owned),
        });
    }
    for name in Backend::PLANNED {
        items.push(Item {
            name: format!("backend {name}"),
            ok: false,
            required: false,
            found: "not in this version".to_owned(),
            enables: "payloads moved by io_uring".to_owned(),
            advice: None,
        });
    }
    if let Some(backend) = chosen {
        items.push(uprobe_item(backend));
    }
    items.push(limit_item());
    let ok = chosen.is_some() && items.iter().all(|item| item.ok || !item.required);
    Report {
        ok,
        verdict: verdict(ok, chosen.map(Backend::name), &items),
        version: env!("CARGO_PKG_VERSION"),
        kernel,
        arch: uname.machine().to_string_lossy().into_owned(),
        backend: chosen.map(Backend::name),
        items,
    }
}

fn verdict(ok: bool, backend: Option<&str>, items: &[Item]) -> String {
    // What the agent cannot make up for, and what another backend makes up for.
    let is_felt = |item: &&Item| !item.ok && item.advice.is_some() && !item.name.starts_with("backend ");
    let missing: Vec<&str> = items.iter().filter(is_felt).map(|item| item.name.as_str()).collect();
    let advice: Option<&str> = items.iter().find(is_felt).and_then(|item| item.advice.as_deref());
    match (ok, backend, advice) {
        (true, Some(backend), None) => format!("beyla-rs can run here, with backend {backend}; nothing is missing."),
        (true, Some(backend), Some(advice)) => format!(
            "beyla-rs can run here, with backend {backend}, but sees less without {}: {advice}.",
            missing.join(" and ")
        ),
        (_, _, Some(advice)) => format!("beyla-rs cannot run here without {}: {advice}.", missing.join(" and ")),
        _ => "beyla-rs cannot run here: see the lines marked NO or no.".to_owned(),
    }
}

fn btf_item() -> Item {
    let found = Btf::of_running_kernel();
    Item {
        name: "BTF".to_owned(),
        ok: found.is_ok(),
        required: true,
        found: found.map_or_else(|error| error.to_string(), |_| btf::VMLINUX.to_owned()),
        enables: "everything: where the kernel keeps what is read".to_owned(),
        advice: Some(
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of current distributions are".to_owned(),
        )
        .filter(|_| !Path::new(btf::VMLINUX).exists()),
    }
}

fn numbers_item() -> Item {
    let found = namespaces::same_numbers(Path::new("/proc"));
    Item {
        name: "host's processes".to_owned(),
        ok: found.is_ok(),
        required: true,
        found: if found.is_ok() { "seen" } else { "not seen: a PID namespace of its own" }.to_owned(),
        enables: "everything: the kernel tells processes by the host's numbers".to_owned(),
        advice: found.err().map(|_| namespaces::ADVICE.to_owned()),
    }
}

fn lockdown_item() -> Item {
    let text = ["/sys/kernel/security/lockdown"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let level = text.as_deref().and_then(|text| text.split(['[', ']']).nth(1)).unwrap_or("unknown");
    let ok = level != "confidentiality";
    Item {
        name: "lockdown".to_owned(),
        ok,
        required: false,
        found: level.to_owned(),
        enables: "reading what processes send and receive; `none` and `integrity` allow it".to_owned(),
        advice: (!ok).then(|| "boot without lockdown=confidentiality".to_owned()),
    }
}

fn tracefs_item() -> Item {
    let ok = Path::new("/sys/kernel/tracing/events").exists();
    Item {
        name: "tracefs".to_owned(),
        ok,
        required: false,
        found: if ok { "/sys/kernel/tracing" } else { "not mounted" }.to_owned(),
        enables: "nothing at present: tracepoints are reached through BTF".to_owned(),
        advice: None,
    }
}

fn uprobe_item(backend: Backend) -> Item {
    let options = Options { backends: vec![backend], at_first: conn::at_first(), ..Options::default() };
    let tried = Capture::start(&options).map_err(anyhow::Error::from).and_then(|mut capture| Ok(capture.try_uprobe()?));
    let ok = tried.is_ok();
    Item {
        name: "uprobes".to_owned(),
        ok,
        required: false,
        found: tried.map_or_else(|error| error.to_string(), |means| format!("works, by {means}")),
        enables: "capture of what TLS libraries encrypt".to_owned(),
        advice: (!ok).then(|| "run with sudo; from Linux 6.6 on CAP_BPF and CAP_PERFMON suffice".to_owned()),
    }
}

fn limit_item() -> Item {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    Item {
        name: "memlock limit".to_owned(),
        ok: true,
        required: false,
        found: limit.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024)),
        enables: "BPF maps; counted against the limit only by kernels before 5.11".to_owned(),
        advice: None,
    }
}

fn text(report: &Report) -> String {
    let mut out = format!("beyla-rs {} on Linux {} ({})\n\n", report.version, report.kernel, report.arch);
    let mut advised: Option<&str> = None;
    for item in &report.items {
        let mark = match (item.ok, item.required) {
            (true, _) => "yes",
            (false, true) => "NO ",
            (false, false) => "no ",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{mark}  {:<20} {}", item.name, item.found);
        let _ = writeln!(out, "     {:<20} for {}", "", item.enables);
        // Once is enough.
        if let Some(advice) = item.advice.as_deref().filter(|advice| advised != Some(*advice)) {
            let _ = writeln!(out, "     {:<20} -> {advice}", "");
            advised = Some(advice);
        }
    }
    let _ = writeln!(out, "\n{}", report.verdict);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, ok: bool, required: bool, advice: Option<String>) -> Item {
        Item { name: name.to_owned(), ok, required, found: String::new(), enables: String::new(), advice }
    }

    fn shown(ok: bool, backend: Option<&'static str>, items: Vec<Item>) -> String {
        let verdict = verdict(ok, backend, &items);
        let (kernel, arch) = ("6.18".to_owned(), "x86_64".to_owned());
        text(&Report { ok, verdict, version: "0", kernel, arch, backend, items })
    }

    #[test]
    fn the_advice_is_one_line_that_gives_everything_and_the_last_word_is_a_verdict() {
        let missing = |name: &str, required| item(name, false, required, Some(capabilities::advice()));
        let said = shown(false, None, vec![missing("CAP_BPF", true), missing("CAP_PERFMON", true)]);
        let advice: Vec<&str> = said.lines().filter(|line| line.contains("-> ")).collect();
        assert_eq!(advice.len(), 1, "{said}");
        assert!(advice[0].contains("setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep "), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("beyla-rs cannot run here without CAP_BPF and CAP_PERFMON: run with sudo"), "{last}");
        let less = shown(true, Some("sock"), vec![item("BTF", true, true, None), missing("CAP_SYS_PTRACE", false)]);
        assert!(less.lines().last().unwrap().contains("with backend sock, but sees less without CAP_SYS_PTRACE: "));
        let older = item("backend sock", false, false, Some("a kernel from 6.3 on has it".to_owned()));
        let fine = shown(true, Some("syscall"), vec![older]);
        assert!(fine.ends_with("beyla-rs can run here, with backend syscall; nothing is missing.\n"), "{fine}");
    }
}
