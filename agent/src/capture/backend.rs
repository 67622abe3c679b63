//! The ways to learn what a process moves over its sockets. All feed the same handlers in the kernel; each is an entry of
//! [`Backend::ALL`], and nothing else knows them by name.

use std::{fmt, str::FromStr};

use aya::programs::ProgramError;
use ebpf_common::{
    limits,
    policy::{DATAGRAM, FOLLOW, MANY_MESSAGES, READ_DATAGRAM},
};
use thiserror::Error;

/// A way to learn what a process moves over its sockets.
#[derive(Clone, Copy)]
pub struct Backend(&'static Spec);

/// What is particular to a backend.
struct Spec {
    name: &'static str,
    description: &'static str,
    /// What to do where it does not work, if anything.
    advice: Option<&'static str>,
    hooks: &'static [Hook],
    continuations: &'static [Continuation],
    /// The programs that its hooks continue in where DNS answers are wanted.
    reads_answers: &'static [Continuation],
    /// Structures of the kernel whose every known member it needs, besides those that all need.
    needs: &'static [&'static str],
    /// Sizes of maps that are others than the object says.
    maps: &'static [(&'static str, u32)],
}

/// How a program is attached. fexit and kprobes will stand here.
#[derive(Clone, Copy, Debug)]
pub enum Attach {
    /// To a tracepoint, whose arguments it gets by their types (`tp_btf`).
    Tracepoint(&'static str),
}

/// A program and how it is attached.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Its name in the object.
    pub program: &'static str,
    /// To what.
    pub attach: Attach,
}

const fn tracepoint(program: &'static str, tracepoint: &'static str) -> Hook {
    Hook { program, attach: Attach::Tracepoint(tracepoint) }
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracepoint(name) => f.write_str(name),
        }
    }
}

/// A program that another continues in (a tail call), so that each stays small enough for the verifier. Capture works
/// without.
#[derive(Clone, Copy, Debug)]
pub struct Continuation {
    /// The program, and how the one before it is attached.
    pub hook: Hook,
    /// Where that one looks for it.
    pub map: &'static str,
    /// See `map`.
    pub index: u32,
    /// What it means if the kernel refuses it.
    pub otherwise: &'static str,
}

/// Follow processes: which are watched.
pub(crate) static PROCESS_HOOKS: &[Hook] = &[
    tracepoint("sched_process_fork", "sched_process_fork"),
    tracepoint("sched_process_exec", "sched_process_exec"),
    tracepoint("sched_process_exit", "sched_process_exit"),
];

const NO_FRAMES: &str =
    "HTTP/2 is not followed frame by frame on this kernel; trailers behind large bodies show as gaps";

const NO_ANSWERS: &str =
    "DNS answers are not read on this kernel: addresses go without the names that they were asked by";

/// `sock_send_length` and `sock_recv_length`: the cheapest.
static SOCK: Spec = Spec {
    name: "sock",
    description: "socket tracepoints, Linux 6.3 or later; only sockets pay",
    advice: Some("a kernel from 6.3 on has it; without it the next backend is used"),
    hooks: &[
        tracepoint("sock_set_state", "inet_sock_set_state"),
        tracepoint("sock_recv_length", "sock_recv_length"),
        tracepoint("sock_send_length", "sock_send_length"),
    ],
    continuations: &[
        Continuation {
            hook: tracepoint("sock_recv_frames", "sock_recv_length"),
            map: "TAIL_CALLS_RECEIVED",
            index: 0,
            otherwise: NO_FRAMES,
        },
        Continuation {
            hook: tracepoint("sock_send_frames", "sock_send_length"),
            map: "TAIL_CALLS_SENT",
            index: 0,
            otherwise: NO_FRAMES,
        },
    ],
    reads_answers: &[
        Continuation {
            hook: tracepoint("sock_send_datagram", "sock_send_length"),
            map: "TAIL_CALLS_SENT",
            index: DATAGRAM,
            otherwise: NO_ANSWERS,
        },
        Continuation {
            hook: tracepoint("sock_recv_datagram", "sock_recv_length"),
            map: "TAIL_CALLS_RECEIVED",
            index: DATAGRAM,
            otherwise: NO_ANSWERS,
        },
    ],
    needs: &[],
    // Its state lives in socket storage.
    maps: &[("CONNECTIONS_BY_ADDRESS", 1), ("CONNECTING_BY_ADDRESS", 1), ("MMSG", limits::MMSG_THREADS)],
};

/// The exit of every system call: works anywhere, taxes every call.
static SYSCALL: Spec = Spec {
    name: "syscall",
    description: "system call exits, Linux 5.8 or later; every system call on the host pays about 30 ns",
    advice: None,
    hooks: &[tracepoint("syscall_set_state", "inet_sock_set_state"), tracepoint("sys_exit", "sys_exit")],
    continuations: &[
        Continuation {
            hook: tracepoint("sys_exit_many", "sys_exit"),
            map: "TAIL_CALLS",
            index: MANY_MESSAGES,
            otherwise: "sendmmsg and recvmmsg are not followed on this kernel; their bytes show as gaps",
        },
        Continuation {
            hook: tracepoint("sys_exit_frames", "sys_exit"),
            map: "TAIL_CALLS",
            index: FOLLOW,
            otherwise: NO_FRAMES,
        },
    ],
    reads_answers: &[Continuation {
        hook: tracepoint("sys_exit_datagram", "sys_exit"),
        map: "TAIL_CALLS",
        index: READ_DATAGRAM,
        otherwise: NO_ANSWERS,
    }],
    needs: &["files_struct", "fdtable", "file", "inode", "socket"],
    maps: &[("MMSG", 1)],
};

/// Structures whose every known member all backends need.
const ALL_NEED: &[&str] = &["sock", "tcp_sock", "task_struct", "signal_struct"];
/// What only tells more of a process that has ended (a kernel may be without cgroups).
const OPTIONAL: &[(&str, &str)] = &[
    ("task_struct", "cgroups"),
    ("task_struct", "mm"),
    ("task_struct", "thread.fsbase"),
    ("socket", "file"),
    ("file", "f_flags"),
    ("file", "f_ep"),
    ("tcp_sock", "tcp_clock_cache"),
    ("tcp_sock", "srtt_us"),
    ("tcp_sock", "total_retrans"),
    ("inet_connection_sock", "icsk_ack.lrcvtime"),
];

impl Backend {
    /// All that there are, in the order in which they are tried.
    pub const ALL: [Self; 2] = [Self(&SOCK), Self(&SYSCALL)];

    /// Names that are known, and mean nothing in this version.
    pub const PLANNED: [&'static str; 2] = ["fexit", "kprobe"];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// What it does, for `check`.
    #[must_use]
    pub const fn description(self) -> &'static str {
        self.0.description
    }

    /// What to do where it does not work, if anything.
    #[must_use]
    pub const fn advice(self) -> Option<&'static str> {
        self.0.advice
    }

    /// Its hooks.
    #[must_use]
    pub const fn hooks(self) -> &'static [Hook] {
        self.0.hooks
    }

    /// The programs that its hooks continue in.
    #[must_use]
    pub const fn continuations(self) -> &'static [Continuation] {
        self.0.continuations
    }

    /// The programs that its hooks continue in where DNS answers are wanted.
    #[must_use]
    pub const fn reads_answers(self) -> &'static [Continuation] {
        self.0.reads_answers
    }

    /// Sizes of maps that are others than the object says.
    pub(super) const fn maps(self) -> &'static [(&'static str, u32)] {
        self.0.maps
    }

    /// Why it cannot work with these kernel structure members absent, if so.
    #[must_use]
    pub fn lacks(self, absent: &[(&str, &str)]) -> Option<Reason> {
        let needs = |structure: &str| ALL_NEED.contains(&structure) || self.0.needs.contains(&structure);
        let lacking: Vec<_> = absent
            .iter()
            .filter(|member| needs(member.0) && !OPTIONAL.contains(member))
            .map(|(structure, member)| format!("{structure}.{member}"))
            .collect();
        (!lacking.is_empty()).then_some(Reason::Members(lacking))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Backend {}

/// There is no backend of that name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnknownBackend {
    /// Not yet.
    #[error("backend `{0}` is not in this version; there are {names}", names = names())]
    Planned(String),
    /// Nor planned.
    #[error("there is no backend `{0}`; there are {names}, and auto to choose", names = names())]
    Unknown(String),
}

fn names() -> String {
    Backend::ALL.map(Backend::name).join(" and ")
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| {
            let is_planned = Self::PLANNED.contains(&name);
            if is_planned { UnknownBackend::Planned(name.to_owned()) } else { UnknownBackend::Unknown(name.to_owned()) }
        })
    }
}

/// Why a program is not loaded or attached. The verifier's log is not in it: it goes to the debug log.
#[derive(Debug, Error)]
pub enum NotAttached {
    /// By the verifier.
    #[error("the kernel refused the program: {0}")]
    Refused(std::io::Error),
    /// The kernel has nothing of that name.
    #[error("this kernel has no such tracepoint")]
    NoTracepoint,
    /// For another reason.
    #[error(transparent)]
    Other(ProgramError),
}

impl From<ProgramError> for NotAttached {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                tracing::debug!(%verifier_log, "the verifier's log");
                Self::Refused(io_error)
            }
            ProgramError::Btf(_) => Self::NoTracepoint,
            other => Self::Other(other),
        }
    }
}

/// Why a backend does not work here.
#[derive(Debug, Error)]
pub enum Reason {
    /// The kernel's types lack what it reads.
    #[error("this kernel's type information lacks {}", .0.join(", "))]
    Members(Vec<String>),
    /// One of its hooks.
    #[error("{at}: {source}")]
    Hook {
        /// To what it was to be attached.
        at: Attach,
        /// Why it is not.
        source: NotAttached,
    },
}

/// A backend that was tried and does not work here.
#[derive(Debug)]
pub struct Refusal {
    /// Which.
    pub backend: Backend,
    /// Why.
    pub reason: Reason,
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
        let lacks = |backend: &str, structure, member| {
            let backend: Backend = backend.parse().unwrap();
            backend.lacks(&[(structure, member)]).map(|reason| reason.to_string())
        };
        assert_eq!(lacks("sock", "file", "f_inode"), None);
        assert_eq!(lacks("syscall", "file", "f_inode").unwrap(), "this kernel's type information lacks file.f_inode");
        assert!(lacks("sock", "sock", "sk_type").is_some());
        assert_eq!(lacks("sock", "unix_sock", "addr"), None);
        assert_eq!(lacks("syscall", "task_struct", "cgroups"), None);
    }

    #[test]
    fn names_are_read_back() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().parse(), Ok(backend));
        }
        assert_eq!(
            "kprobe".parse::<Backend>().unwrap_err().to_string(),
            "backend `kprobe` is not in this version; there are sock and syscall"
        );
        assert!("other".parse::<Backend>().unwrap_err().to_string().contains("auto to choose"));
    }
}
