//! What the kernel knows of a process: CPU time, memory, and the memory of its BPF maps.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

/// CPU time of all threads so far, in nanoseconds: the first field of `/proc/PID/task/*/schedstat`. Threads that ended
/// are missing from it.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("no process {pid}"))? {
        // A thread may end while we look.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).context("odd schedstat")?;
    }
    Ok(sum)
}

/// CPU time of a process and of the children that it has waited for, in nanoseconds: fields 14 to 17 of `/proc/PID/stat`, in ticks of
/// 10 ms.
pub(crate) fn cpu_ns_with_ended_children(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    ticks(&stat).map(|ticks| ticks * 10_000_000).context("odd stat")
}

fn ticks(stat: &str) -> Option<u64> {
    // The name, which may have anything in it, ends with the last bracket; the third field follows.
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<u64> = fields.split_whitespace().skip(11).take(4).map(str::parse).collect::<Result<_, _>>().ok()?;
    (times.len() == 4).then(|| times.iter().sum())
}

/// Resident memory now and at its peak, in KiB.
pub(crate) fn rss_kib(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    let field = |key: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
    };
    Ok((field("VmRSS:").context("no VmRSS")?, field("VmHWM:").context("no VmHWM")?))
}

/// Bytes of kernel memory that the BPF maps held open by a process take, each map once.
pub(crate) fn map_bytes(pid: u32) -> Result<u64> {
    sum_of_files(pid, map_in)
}

/// The sum over what the file descriptors of a process stand for, each counted once by its id.
fn sum_of_files(pid: u32, counted: impl Fn(&str) -> Option<(u64, u64)>) -> Result<u64> {
    let mut by_id = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).with_context(|| format!("no process {pid}"))? {
        // A file may be closed while we look.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        by_id.extend(counted(&text));
    }
    Ok(by_id.values().sum())
}

/// Id and memory of the map that a file descriptor stands for.
fn map_in(fdinfo: &str) -> Option<(u64, u64)> {
    let field = |key: &str| fdinfo.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    Some((field("map_id:")?, field("memlock:")?))
}

/// How often programs of uprobes have run that a process holds open, as far as the kernel counts that
/// (`kernel.bpf_stats_enabled`).
pub(crate) fn uprobe_hits(pid: u32) -> Result<u64> {
    sum_of_files(pid, uprobe_in)
}

/// For how long the programs have run that a process holds open, in ns, as far as the kernel counts that.
pub(crate) fn programs_ns(pid: u32) -> Result<u64> {
    sum_of_files(pid, |fdinfo| Some((field(fdinfo, "prog_id:")?, field(fdinfo, "run_time_ns:")?)))
}

/// Id and runs of the program of a uprobe (`BPF_PROG_TYPE_KPROBE`) that a file descriptor stands for.
fn uprobe_in(fdinfo: &str) -> Option<(u64, u64)> {
    (field(fdinfo, "prog_type:")? == 2).then_some((field(fdinfo, "prog_id:")?, field(fdinfo, "run_cnt:")?))
}

fn field(fdinfo: &str, key: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// Lets the kernel count the runs of BPF programs until this is dropped; that costs each of them a little.
pub(crate) struct Counting {
    before: String,
}

impl Counting {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    pub(crate) fn start() -> Result<Self> {
        let before = fs::read_to_string(Self::SWITCH).with_context(|| format!("cannot read {}", Self::SWITCH))?;
        fs::write(Self::SWITCH, "1").with_context(|| format!("cannot write {}", Self::SWITCH))?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::SWITCH, &self.before) {
            eprintln!("xtask: cannot put {} back: {error}", Self::SWITCH);
        }
    }
}

/// The first child of a process.
pub(crate) fn child_of(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.split_whitespace().next()?.parse().ok()
}

/// The processor, the kernel and the number of cores.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let virtual_machine = if cpuinfo.contains(" hypervisor") { ", virtual machine" } else { "" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores{virtual_machine}, Linux {}", model.unwrap_or("unknown processor"), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_process_and_its_children_are_found_behind_its_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 8 7 6 100 20 3000 40 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(3160));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_map_is_read_off_its_file_descriptor() {
        let text =
            "pos:\t0\nflags:\t02000002\nmap_type:\t27\nmax_entries:\t4096\nmemlock:\t4440\nmap_id:\t12\nfrozen:\t0\n";
        assert_eq!(map_in(text), Some((12, 4440)));
        let text = "pos:\t0\nprog_type:\t2\nmemlock:\t4096\nprog_id:\t3\nrun_time_ns:\t90\nrun_cnt:\t4\n";
        assert_eq!(uprobe_in(text), Some((3, 4)));
        assert_eq!(uprobe_in("prog_type:\t26\nprog_id:\t3\nrun_cnt:\t4\n"), None);
        assert_eq!(map_in("pos:\t0\nprog_type:\t5\nmemlock:\t4096\nprog_id:\t3\n"), None);
    }

    #[test]
    fn our_own_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).unwrap() > 0);
        let (now, peak) = rss_kib(pid).unwrap();
        assert!(now > 0 && peak >= now);
        assert_eq!(map_bytes(pid).unwrap(), 0);
    }
}
