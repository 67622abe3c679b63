//! Which namespaces this process is in. BPF programs are told processes by the numbers that the host gives them, and capabilities
//! count in the host's user namespace only.

use std::{fs, path::Path};

/// Inode of the host's PID namespace (`PROC_PID_INIT_INO`), the same on each kernel since 3.8.
const PID: &str = "pid:[4026531836]";
/// The same of its user namespace (`PROC_USER_INIT_INO`).
const USER: &str = "user:[4026531837]";

/// Processes have other numbers here than the kernel tells them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the processes in /proc are not the host's: this is a PID namespace of its own, in which the numbers that the kernel tells mean \
     other processes; {ADVICE}"
)]
pub(crate) struct OtherNumbers;

/// What to do about it.
pub(crate) const ADVICE: &str =
    "run with the host's PID namespace (Kubernetes: `hostPID: true`; Docker and Podman: `--pid=host`)";

/// Whether the numbers below `proc_root` are those that the kernel tells processes by. Where that cannot be read it is taken to be so.
///
/// # Errors
/// They are not.
pub(crate) fn same_numbers(proc_root: &Path) -> Result<(), OtherNumbers> {
    // The first process of what is mounted there, which may be the host's; else ourselves.
    let of = |process: &str| fs::read_link(proc_root.join(process).join("ns/pid")).ok();
    let namespace = of("1").or_else(|| of("self"));
    if namespace.is_none_or(|namespace| namespace.as_os_str() == PID) { Ok(()) } else { Err(OtherNumbers) }
}

/// Whether capabilities that are held here count for the kernel.
pub(crate) fn is_hosts_user_namespace() -> bool {
    fs::read_link("/proc/self/ns/user").map_or(true, |namespace| namespace.as_os_str() == USER)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn numbers_of_another_namespace_are_told_by_its_first_process() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(same_numbers(root.path()), Ok(()), "nothing is known");
        for (first, expected) in [(PID, Ok(())), ("pid:[4026532203]", Err(OtherNumbers))] {
            let folder = root.path().join("1/ns");
            fs::create_dir_all(&folder).unwrap();
            symlink(first, folder.join("pid")).unwrap();
            assert_eq!(same_numbers(root.path()), expected, "{first}");
            fs::remove_file(folder.join("pid")).unwrap();
        }
    }
}
