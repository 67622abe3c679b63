//! Which processes are watched: inherited on fork, dropped on exit.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_task, bpf_ktime_get_ns},
};
use ebpf_common::{
    events::{EventKind, PROCESS_EXEC, PROCESS_EXIT, PROCESS_FORK, PROCESS_LISTENS, PROCESS_STARTS, Process},
    limits::START_WAKE_NS,
    policy::{Counter, IGNORE, IGNORE_UNLESS_SERVING, UNDECIDED, WATCH},
};

use super::{counters::count, emit::Room, meet};
use crate::{
    globals::{OFFSETS, WATCH_ALL},
    kernel::{read, read_into, read_wide_or_zero, socket, task},
    maps::{ALL_ATTACHED, PORTS, PROCESSES, WORK_PLANS},
};

/// A process that nothing is known of, where any may be watched.
const UNKNOWN: u32 = 0;

/// What is to be done about a process.
#[inline(always)]
fn policy(tgid: u32) -> u32 {
    // SAFETY: the value is copied out at once.
    match unsafe { PROCESSES.get(&tgid) } {
        Some(&policy) => policy,
        None if is_met_later() => UNKNOWN,
        None => IGNORE,
    }
}

/// Whether all programs are in their place.
#[inline(always)]
fn all_are_attached() -> bool {
    ALL_ATTACHED.get(0).is_some_and(|&attached| attached != 0)
}

/// The port that a socket serves, if processes are chosen by it; else 0.
#[inline(always)]
fn chosen_port(sk: u64) -> u16 {
    let port = socket::local_port(sk);
    if port == 0 || PORTS.get(u32::from(port) / 64).is_none_or(|word| word >> (port % 64) & 1 == 0) {
        return 0;
    }
    if socket::may_serve(sk) { port } else { 0 }
}

/// Whether it was decided that a process is watched.
#[inline(always)]
pub fn is_chosen(tgid: u32) -> bool {
    policy(tgid) == WATCH
}

/// Whether a process is watched, or is not evaluated yet.
#[inline(always)]
pub fn watched(tgid: u32) -> bool {
    matches!(policy(tgid), WATCH | UNDECIDED | UNKNOWN)
}

/// The same, or it is watched once it serves a port that processes are chosen by, as it does where `serves` says so.
#[inline(always)]
pub fn may_be_watched(tgid: u32, serves: impl FnOnce() -> bool) -> bool {
    match policy(tgid) {
        IGNORE => false,
        IGNORE_UNLESS_SERVING => serves(),
        _ => true,
    }
}

/// Whether the current process `tgid`, which uses the stream socket `sk` (its [number](super::sockets::Socket::number)), is watched: `WATCH` or `UNDECIDED`. `is_new`: it uses
/// that socket for the first time.
#[inline(always)]
pub fn admit(tgid: u32, sk: impl FnOnce() -> u64, is_new: bool) -> Option<u32> {
    match policy(tgid) {
        WATCH => Some(WATCH),
        IGNORE => None,
        policy => Some(admit_by_socket(tgid, sk(), is_new.into(), policy)).filter(|&policy| policy != IGNORE),
    }
}

/// The answer of [`admit`] for a process that is neither watched nor left out; `IGNORE` for `None`.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn admit_by_socket(tgid: u32, sk: u64, is_new: u32, policy: u32) -> u32 {
    let port = if policy == UNDECIDED && is_new == 0 { 0 } else { chosen_port(sk) };
    if port == 0 {
        match policy {
            IGNORE_UNLESS_SERVING => return IGNORE,
            UNDECIDED => return UNDECIDED,
            _ => {}
        }
    }
    // Before user space hears of it: it answers by changing what is there. Without room for either, it is met once more at its
    // next piece.
    if PROCESSES.insert(&tgid, &UNDECIDED, 0).is_err() {
        count(Counter::ProcessMapFull);
    }
    if meet::meet_process(tgid, port.into()) != meet::TOLD {
        let _gone_already = PROCESSES.remove(&tgid);
    }
    // One that serves a chosen port is as good as watched: it need not make do with the room of others that are not evaluated.
    if port == 0 { UNDECIDED } else { WATCH }
}

/// Whether a process that is watched once it serves a chosen port does so by the socket `sk`: 1, else 0.
///
/// A function of its own as [`admit_by_socket`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn serves_chosen_port(sk: u64) -> u32 {
    u32::from(chosen_port(sk) != 0)
}

/// `child` was cloned from `parent`; both are addresses of a `struct task_struct`.
#[inline(always)]
pub fn forked(parent: u64, child: u64) -> Option<()> {
    let (parent_tgid, child_tgid) = (task::tgid(parent)?, task::tgid(child)?);
    if parent_tgid == child_tgid {
        return None; // a thread
    }
    // SAFETY: the value is copied out at once.
    let policy = unsafe { PROCESSES.get(&parent_tgid) }.copied();
    // What a process that is left out starts (a container runtime its containers) is evaluated by itself.
    let Some(policy) = policy.filter(|&policy| policy == WATCH) else {
        // User space's answer about an earlier process of this number may have come after its end.
        // SAFETY: only whether there is a value is looked at.
        if unsafe { PROCESSES.get(&child_tgid) }.is_some() {
            let _gone_already = PROCESSES.remove(&child_tgid);
        }
        return None;
    };
    if PROCESSES.insert(&child_tgid, &policy, 0).is_err() {
        count(Counter::ProcessMapFull);
        return None;
    }
    report(PROCESS_FORK, child_tgid, parent_tgid, child, 0)
}

/// The process of `task` replaced its program.
#[inline(always)]
pub fn executed(task: u64) -> Option<()> {
    let tgid = task::tgid(task)?;
    // SAFETY: the value is copied out at once.
    let Some(policy) = unsafe { PROCESSES.get(&tgid) }.copied() else {
        return if is_met_later() { report(PROCESS_STARTS, tgid, 0, task, 0) } else { None };
    };
    if policy != WATCH || WATCH_ALL.load() != 0 {
        // Another program now: it is evaluated anew when it is met, by the port that it serves too. Where processes are chosen by their
        // numbers, with all that they start, it goes on.
        let _gone_already = PROCESSES.remove(&tgid);
    }
    report(PROCESS_EXEC, tgid, 0, task, 0)
}

/// Whether a process that nothing is known of will be told of when it uses a connection.
#[inline(always)]
fn is_met_later() -> bool {
    WATCH_ALL.load() != 0 && all_are_attached()
}

/// The current process begins to listen. If it was left out, it is evaluated anew: a choice may be by port. User space may look at what it
/// is before it is asked anything.
#[inline(always)]
pub fn listens() {
    let tgid = task::current_tgid();
    // SAFETY: the value is copied out at once.
    match unsafe { PROCESSES.get(&tgid) }.copied() {
        Some(IGNORE | IGNORE_UNLESS_SERVING) => {
            let _gone_already = PROCESSES.remove(&tgid);
        }
        Some(_) => return,
        None => {}
    }
    if is_met_later() {
        // SAFETY: the helper only returns an address.
        let leader = read_wide_or_zero(unsafe { bpf_get_current_task() }, OFFSETS.task_group_leader.load());
        let _lost_is_counted = report(PROCESS_LISTENS, tgid, 0, leader, 0);
    }
}

/// A thread of the process of `task` ends.
#[inline(always)]
pub fn exited(task: u64) -> Option<()> {
    let tgid = task::tgid(task)?;
    if task::live_threads(task)? > 0 {
        return None;
    }
    // SAFETY: the value is copied out at once.
    let policy = unsafe { PROCESSES.get(&tgid) }.copied();
    if policy.is_some() {
        let _gone_already = PROCESSES.remove(&tgid);
    }
    // Of one that user space has not evaluated yet it hears too: that what it met, or has looked at before that, is over.
    if !matches!(policy, Some(WATCH | UNDECIDED)) && WORK_PLANS.get_ptr(&tgid).is_none() {
        return None;
    }
    let code = read::<u32>(task, OFFSETS.task_exit_code.load()).unwrap_or(0);
    report(PROCESS_EXIT, tgid, 0, task, code)
}

#[inline(always)]
fn report(what: u32, tgid: u32, parent: u32, task: u64, exit_code: u32) -> Option<()> {
    let mut room = Room::<Process>::take()?;
    let process = room.zeroed();
    // SAFETY: the helper only returns a number.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    // SAFETY: members of a record in the ring buffer.
    unsafe {
        (*process).kind = EventKind::Process as u32;
        (*process).what = what;
        (*process).tgid = tgid;
        (*process).parent = parent;
        (*process).at_ns = at_ns;
        (*process).started_at_ns = task::started_at_ns(task).unwrap_or(0);
        (*process).exit_code = exit_code;
        let _unnamed = read_into((&raw mut (*process).comm).cast(), 16, task, OFFSETS.task_comm.load());
    }
    let is_new = matches!(what, PROCESS_EXEC | PROCESS_STARTS | PROCESS_LISTENS);
    room.emit_waking(if is_new { meet::wake(at_ns, START_WAKE_NS) } else { BPF_RB_NO_WAKEUP });
    Some(())
}
