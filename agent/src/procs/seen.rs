//! What the kernel side saw of a process when it was met, for when it is gone before `/proc` is asked.

use ebpf_common::events::Met;

use super::fs::lossy;
use crate::model::ids::ProcessId;

/// What a process was when it first used a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Path of the executable; empty where it is not known.
    pub exe: String,
    /// The beginning of the command line.
    pub args: Vec<String>,
    /// The cgroup, as a line of `/proc/PID/cgroup`; empty where it is not known.
    pub cgroup: String,
    /// Its parent.
    pub parent: ProcessId,
    /// It was forked, and still ran the program of who forked it.
    pub is_forked: bool,
    /// A port that it serves and that processes are chosen by.
    pub port: Option<u16>,
}

impl From<&Met> for Seen {
    fn from(met: &Met) -> Self {
        let exe = path(&met.exe, met.exe_len).unwrap_or_default();
        let args = met.args.get(..usize::from(met.args_len)).unwrap_or_default();
        // An argument that was cut is no argument.
        let whole = args.iter().rposition(|&byte| byte == 0).map_or(&args[..0], |end| &args[..end]);
        let args = if whole.is_empty() { Vec::new() } else { whole.split(|&byte| byte == 0).map(text).collect() };
        Self {
            exe,
            args,
            cgroup: path(&met.cgroup, met.cgroup_len).map(|path| format!("0::{path}")).unwrap_or_default(),
            parent: ProcessId(met.parent),
            is_forked: met.is_forked != 0,
            port: (met.port != 0).then_some(met.port),
        }
    }
}

/// A path of names, the last one first.
fn path(names: &[u8], used: u16) -> Option<String> {
    let used = names.get(..usize::from(used))?.strip_suffix(&[0])?;
    let mut path = String::new();
    for name in used.rsplit(|&byte| byte == 0) {
        path.push('/');
        path.push_str(&text(name));
    }
    Some(path)
}

fn text(bytes: &[u8]) -> String {
    lossy(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    fn met(exe: &[u8], args: &[u8]) -> Seen {
        let mut met = Met::new_zeroed();
        met.exe[..exe.len()].copy_from_slice(exe);
        met.args[..args.len()].copy_from_slice(args);
        (met.exe_len, met.args_len) = (exe.len() as u16, args.len() as u16);
        Seen::from(&met)
    }

    #[test]
    fn a_path_is_put_together_from_its_end() {
        let seen = met(b"nginx\0sbin\0usr\0", b"nginx: master\0-c\0/etc/x\0");
        assert_eq!(seen.exe, "/usr/sbin/nginx");
        assert_eq!(seen.args, ["nginx: master", "-c", "/etc/x"]);
    }

    #[test]
    fn what_is_cut_or_absent_is_left_out() {
        assert_eq!(met(b"", b""), Seen::default());
        assert_eq!(met(b"a\0b\0", b"one\0tw").args, ["one"]);
        assert!(met(b"", b"one").args.is_empty());
        let mut hostile = Met::new_zeroed();
        (hostile.exe_len, hostile.args_len, hostile.cgroup_len) = (u16::MAX, u16::MAX, u16::MAX);
        assert_eq!(Seen::from(&hostile), Seen::default());
    }
}
