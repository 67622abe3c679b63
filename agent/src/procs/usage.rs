//! What a process uses of its host, as `/proc` has it.

use std::fs;

use super::fs::{ProcFs, read_path};
use crate::model::ids::ProcessId;

/// Longest of the files that are read.
const FILE_MAX: u64 = 16 << 10;
/// Most descriptors that are counted one by one, where the kernel (before 6.2) does not tell their number.
const COUNTED_MAX: usize = 1 << 16;
/// The unit of times in `/proc/PID/stat` (`USER_HZ`, 100 on every architecture).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used since it was started, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// When it was started, in clock ticks since boot.
    pub start_ticks: u64,
    /// Seconds of processors, in user mode and in the kernel.
    pub cpu_s: [f64; 2],
    /// Threads.
    pub threads: u64,
    /// Bytes of its address space.
    pub virtual_bytes: u64,
    /// Bytes of it that are in memory.
    pub resident_bytes: u64,
    /// Bytes that were read from storage, and written to it; `None`: that may not be asked.
    pub disk_bytes: Option<[u64; 2]>,
    /// Open file descriptors; `None`: that may not be asked.
    pub descriptors: Option<u64>,
    /// Processors that it may run on.
    pub cpus: u64,
}

impl Usage {
    /// Of a process; `None`: it is gone.
    #[must_use]
    pub(crate) fn read(proc: &ProcFs, pid: ProcessId) -> Option<Self> {
        let stat = read_path(&proc.path(pid, "stat"), FILE_MAX).ok()?;
        let mut usage = parse_stat(&stat, rustix::param::page_size() as u64)?;
        let text = |name| proc.read(pid, name, FILE_MAX);
        usage.disk_bytes = text("io").and_then(|io| parse_io(&io));
        let allowed = text("status")
            .and_then(|status| status.lines().find_map(|line| Some(cpus(line.strip_prefix("Cpus_allowed_list:")?))));
        let all = std::thread::available_parallelism().map_or(1, |all| all.get() as u64);
        usage.cpus = allowed.unwrap_or(all).min(online().unwrap_or(u64::MAX)).max(1);
        usage.descriptors = descriptors(proc, pid);
        Some(usage)
    }
}

fn parse_stat(stat: &[u8], page: u64) -> Option<Usage> {
    // The name may itself hold parentheses and spaces: it ends at the last parenthesis.
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // The first of these is the third of proc(5).
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
    let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
    Some(Usage {
        start_ticks: number(22)?,
        cpu_s: [seconds(number(14)?), seconds(number(15)?)],
        threads: number(20)?,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)?.saturating_mul(page),
        ..Usage::default()
    })
}

fn parse_io(io: &str) -> Option<[u64; 2]> {
    let find = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some([find("read_bytes:")?, find("write_bytes:")?])
}

/// How many a list such as `0-3,8` names.
fn cpus(list: &str) -> u64 {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').filter_map(count).fold(0, u64::saturating_add)
}

/// Processors of the machine that run.
fn online() -> Option<u64> {
    let list = fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    Some(cpus(&list)).filter(|count| *count > 0)
}

fn descriptors(proc: &ProcFs, pid: ProcessId) -> Option<u64> {
    let folder = proc.path(pid, "fd");
    let told = fs::metadata(&folder).ok()?.len();
    if told > 0 {
        return Some(told);
    }
    Some(fs::read_dir(&folder).ok()?.take(COUNTED_MAX).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_program_is_called() {
        let stat = b"42 (a) (b 9 9) S 7 42 42 0 -1 4194304 1 2 3 4 150 25 7 8 20 0 3 0 98765 1048576 10 1 1\n";
        let expected = Usage {
            start_ticks: 98_765,
            cpu_s: [1.5, 0.25],
            threads: 3,
            virtual_bytes: 1 << 20,
            resident_bytes: 40_960,
            ..Usage::default()
        };
        assert_eq!(parse_stat(stat, 4096), Some(expected));
        assert_eq!(parse_stat(b"42 (a) S 7 42", 4096), None);
        assert_eq!(parse_stat(b"", 4096), None);
    }

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!([" 0-3,8\n", "0", "5-2", "x", "0-18446744073709551615"].map(cpus), [5, 1, 0, 0, 0]);
        assert_eq!(parse_io("rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\n"), Some([4096, 8192]));
        assert_eq!(parse_io("rchar: 1\n"), None);
    }

    #[test]
    fn this_process_is_read() {
        let proc = ProcFs::new("/proc");
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let usage = Usage::read(&proc, ProcessId(std::process::id())).unwrap();
        assert!(usage.threads >= 1 && usage.cpus >= 1, "{usage:?}");
        assert!(usage.resident_bytes > 1 << 20 && usage.virtual_bytes > usage.resident_bytes, "{usage:?}");
        assert!(usage.descriptors >= Some(files.len() as u64), "{usage:?}");
        assert_eq!(Usage::read(&proc, ProcessId(u32::MAX)), None);
    }
}
