//! The ways to learn what a process moves over its sockets. All feed the same handlers in the kernel.

use std::{fmt, str::FromStr};

use ebpf_common::policy::{DATAGRAM, FOLLOW_FRAMES, MANY_MESSAGES, READ_DATAGRAM};

/// A way to learn what a process moves over its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// `sock_send_length` and `sock_recv_length` (6.3+): the cheapest.
    Sock,
    /// The exit of every system call (5.8+): works anywhere, taxes every call.
    Syscall,
}

/// A program and the tracepoint it attaches to.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Its name in the object.
    pub program: &'static str,
    /// The tracepoint.
    pub tracepoint: &'static str,
}

/// Follow processes: which are watched.
pub static PROCESS_HOOKS: &[Hook] = &[
    Hook { program: "sched_process_fork", tracepoint: "sched_process_fork" },
    Hook { program: "sched_process_exec", tracepoint: "sched_process_exec" },
    Hook { program: "sched_process_exit", tracepoint: "sched_process_exit" },
];

static SOCK: &[Hook] = &[
    Hook { program: "sock_set_state", tracepoint: "inet_sock_set_state" },
    Hook { program: "sock_recv_length", tracepoint: "sock_recv_length" },
    Hook { program: "sock_send_length", tracepoint: "sock_send_length" },
];

static SYSCALL: &[Hook] = &[
    Hook { program: "syscall_set_state", tracepoint: "inet_sock_set_state" },
    Hook { program: "sys_exit", tracepoint: "sys_exit" },
];

/// A program that another continues in (a tail call), so that each stays small enough for the verifier. Capture works
/// without.
#[derive(Clone, Copy, Debug)]
pub struct Continuation {
    /// The program, and the tracepoint of the one before it.
    pub hook: Hook,
    /// Where that one looks for it.
    pub map: &'static str,
    /// See `map`.
    pub index: u32,
    /// What it means if the kernel refuses it.
    pub otherwise: &'static str,
}

const NO_FRAMES: &str =
    "HTTP/2 is not followed frame by frame on this kernel; trailers behind large bodies show as gaps";

const NO_ANSWERS: &str =
    "DNS answers are not read on this kernel: addresses go without the names that they were asked by";

static SOCK_CONTINUES: &[Continuation] = &[
    Continuation {
        hook: Hook { program: "sock_recv_frames", tracepoint: "sock_recv_length" },
        map: "TAIL_CALLS_RECEIVED",
        index: 0,
        otherwise: NO_FRAMES,
    },
    Continuation {
        hook: Hook { program: "sock_send_frames", tracepoint: "sock_send_length" },
        map: "TAIL_CALLS_SENT",
        index: 0,
        otherwise: NO_FRAMES,
    },
];

static SOCK_READS_ANSWERS: &[Continuation] = &[
    Continuation {
        hook: Hook { program: "sock_send_datagram", tracepoint: "sock_send_length" },
        map: "TAIL_CALLS_SENT",
        index: DATAGRAM,
        otherwise: NO_ANSWERS,
    },
    Continuation {
        hook: Hook { program: "sock_recv_datagram", tracepoint: "sock_recv_length" },
        map: "TAIL_CALLS_RECEIVED",
        index: DATAGRAM,
        otherwise: NO_ANSWERS,
    },
];

static SYSCALL_CONTINUES: &[Continuation] = &[
    Continuation {
        hook: Hook { program: "sys_exit_many", tracepoint: "sys_exit" },
        map: "TAIL_CALLS",
        index: MANY_MESSAGES,
        otherwise: "sendmmsg and recvmmsg are not followed on this kernel; their bytes show as gaps",
    },
    Continuation {
        hook: Hook { program: "sys_exit_frames", tracepoint: "sys_exit" },
        map: "TAIL_CALLS",
        index: FOLLOW_FRAMES,
        otherwise: NO_FRAMES,
    },
];

static SYSCALL_READS_ANSWERS: &[Continuation] = &[Continuation {
    hook: Hook { program: "sys_exit_datagram", tracepoint: "sys_exit" },
    map: "TAIL_CALLS",
    index: READ_DATAGRAM,
    otherwise: NO_ANSWERS,
}];

/// Structures whose every known member a backend needs.
const SYSCALL_NEEDS: &[&str] = &["files_struct", "fdtable", "file", "inode", "socket"];
const ALL_NEED: &[&str] = &["sock", "tcp_sock", "task_struct", "signal_struct"];
/// What only tells more of a process that has ended (a kernel may be without cgroups).
const OPTIONAL: &[(&str, &str)] = &[("task_struct", "cgroups"), ("task_struct", "mm")];

impl Backend {
    /// In the order in which they are tried.
    pub const AUTO: [Self; 2] = [Self::Sock, Self::Syscall];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sock => "sock",
            Self::Syscall => "syscall",
        }
    }

    /// What it does, for `check`.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Sock => "socket tracepoints, Linux 6.3 or later; only sockets pay",
            Self::Syscall => "system call exits, Linux 5.8 or later; every system call on the host pays about 30 ns",
        }
    }

    /// Its hooks.
    #[must_use]
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Sock => SOCK,
            Self::Syscall => SYSCALL,
        }
    }

    /// The programs that its hooks continue in.
    #[must_use]
    pub const fn continuations(self) -> &'static [Continuation] {
        match self {
            Self::Sock => SOCK_CONTINUES,
            Self::Syscall => SYSCALL_CONTINUES,
        }
    }

    /// The programs that its hooks continue in where DNS answers are wanted.
    #[must_use]
    pub const fn reads_answers(self) -> &'static [Continuation] {
        match self {
            Self::Sock => SOCK_READS_ANSWERS,
            Self::Syscall => SYSCALL_READS_ANSWERS,
        }
    }

    /// Why it cannot work with these kernel structure members absent, if so.
    #[must_use]
    pub fn lacks(self, absent: &[(&str, &str)]) -> Option<String> {
        let needs = |structure: &str| {
            ALL_NEED.contains(&structure) || (self == Self::Syscall && SYSCALL_NEEDS.contains(&structure))
        };
        let lacking: Vec<_> = absent
            .iter()
            .filter(|member| needs(member.0) && !OPTIONAL.contains(member))
            .map(|(structure, member)| format!("{structure}.{member}"))
            .collect();
        (!lacking.is_empty()).then(|| format!("this kernel's type information lacks {}", lacking.join(", ")))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "sock" => Ok(Self::Sock),
            "syscall" => Ok(Self::Syscall),
            "fexit" | "kprobe" => Err(format!("backend `{name}` is not in this version; there are sock and syscall")),
            other => Err(format!("there is no backend `{other}`; there are sock and syscall, and auto to choose")),
        }
    }
}

/// A backend that was tried and does not work here.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Which.
    pub backend: Backend,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_member_disables_only_what_needs_it() {
        assert!(Backend::Sock.lacks(&[("file", "f_inode")]).is_none());
        assert_eq!(
            Backend::Syscall.lacks(&[("file", "f_inode")]).unwrap(),
            "this kernel's type information lacks file.f_inode"
        );
        assert!(Backend::Sock.lacks(&[("sock", "sk_type")]).is_some());
        assert!(Backend::Sock.lacks(&[("unix_sock", "addr")]).is_none());
        assert!(Backend::Syscall.lacks(&[("task_struct", "cgroups")]).is_none());
    }

    #[test]
    fn names_are_read_back() {
        for backend in Backend::AUTO {
            assert_eq!(backend.name().parse(), Ok(backend));
        }
        assert!("kprobe".parse::<Backend>().unwrap_err().contains("not in this version"));
    }
}
