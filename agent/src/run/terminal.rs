//! The terminal the agent was started from.

use std::time::Duration;

use rustix::fs::{Mode, OFlags};

/// `SIGHUP`, in a mask of signals.
const HANGUP: u64 = 1;
/// How long a terminal may take to go after its hangup was passed on (sudo does so before it lets go of its own).
pub(super) const PARTING: Duration = Duration::from_millis(300);

/// Whether SIGHUP may mean that the terminal is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    /// There was one, and the agent is to end with it.
    is_tied: bool,
}

impl Terminal {
    /// To be asked before SIGHUP is waited for: under `nohup` it is ignored, and the agent outlives its terminal.
    pub(super) fn at_start() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { is_tied: exists() && !ignores_hangup(&status) }
    }

    /// Whether the agent was started from a terminal that it is to end with.
    pub(super) const fn is_tied(self) -> bool {
        self.is_tied
    }

    /// Whether that terminal was closed.
    pub(super) fn is_gone(self) -> bool {
        self.is_tied && !exists()
    }
}

/// Whether this process's session has a terminal: the kernel takes it away before it sends SIGHUP.
fn exists() -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open("/dev/tty", flags, Mode::empty()).is_ok()
}

fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_known_by_the_mask_of_ignored_signals() {
        assert!(ignores_hangup("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup("SigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup(""));
    }
}
