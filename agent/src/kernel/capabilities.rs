//! The capabilities the agent needs (`capabilities(7)`), and which of them it has.

use std::fs;

use super::namespaces;

/// A capability that the agent uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub number: u8,
    /// What it is needed for.
    pub needed_for: &'static str,
    /// Nothing works without it.
    pub required: bool,
}

/// To look at other users' processes.
pub(crate) const SYS_PTRACE: Capability = Capability {
    name: "CAP_SYS_PTRACE",
    number: 19,
    needed_for: "reading /proc of other users' processes (service names, containers, TLS libraries)",
    required: false,
};

/// To read files that are not for everyone.
pub(crate) const DAC_READ_SEARCH: Capability = Capability {
    name: "CAP_DAC_READ_SEARCH",
    number: 2,
    needed_for: "reading executables and configuration of other users' processes",
    required: false,
};

/// All the agent uses.
pub static USED: &[Capability] = &[
    Capability { name: "CAP_BPF", number: 39, needed_for: "loading BPF programs and maps", required: true },
    Capability { name: "CAP_PERFMON", number: 38, needed_for: "attaching them to tracepoints", required: true },
    SYS_PTRACE,
    DAC_READ_SEARCH,
];

/// What to do where some are missing. All are given at once: `setcap` replaces what a file had.
#[must_use]
pub(crate) fn advice() -> String {
    let names: Vec<String> = USED.iter().map(|capability| capability.name.to_lowercase()).collect();
    let own =
        std::env::current_exe().map_or_else(|_| "/path/to/beyla-rs".to_owned(), |path| path.display().to_string());
    if !namespaces::is_hosts_user_namespace() {
        return "those of a user namespace of its own, as in a rootless container, do not count: run as root of the host".to_owned();
    }
    format!("run with sudo, or `sudo setcap {}+ep {own}`", names.join(","))
}

const CAP_SYS_ADMIN: u8 = 21;

/// The effective capabilities of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities(u64);

impl Capabilities {
    /// Those of this process that count for the kernel.
    #[must_use]
    pub(crate) fn of_this_process() -> Self {
        if !namespaces::is_hosts_user_namespace() {
            return Self::default();
        }
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Every one that there is.
    #[must_use]
    #[cfg(test)]
    pub(crate) const fn all() -> Self {
        Self(u64::MAX)
    }

    fn parse(status: &str) -> Self {
        let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
        Self(u64::from_str_radix(hex.trim(), 16).unwrap_or(0))
    }

    /// Whether the capability is there. `CAP_SYS_ADMIN` stands in for `CAP_BPF` and `CAP_PERFMON`, as in the kernel.
    #[must_use]
    pub(crate) fn has(self, capability: &Capability) -> bool {
        let stands_in = matches!(capability.name, "CAP_BPF" | "CAP_PERFMON") && self.0 >> CAP_SYS_ADMIN & 1 == 1;
        self.0 >> capability.number & 1 == 1 || stands_in
    }

    /// The required ones that are missing.
    #[must_use]
    pub(crate) fn missing(self) -> Vec<&'static Capability> {
        USED.iter().filter(|capability| capability.required && !self.has(capability)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_all_and_nobody_none() {
        assert!(Capabilities::parse("Name:\tx\nCapEff:\t000001fffeffffff\n").missing().is_empty());
        assert_eq!(Capabilities::parse("CapEff:\t0000000000000000\n").missing().len(), 2);
        assert_eq!(Capabilities::parse("").missing().len(), 2);
    }

    #[test]
    fn sys_admin_stands_in_for_the_finer_ones() {
        assert!(Capabilities(1 << CAP_SYS_ADMIN).missing().is_empty());
        assert!(!Capabilities(1 << CAP_SYS_ADMIN).has(&USED[2]));
    }
}
