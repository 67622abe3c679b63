//! Which processes are watched: inherited on fork, dropped on exit.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_ktime_get_ns};
use ebpf_common::{
    events::{EventKind, PROCESS_EXEC, PROCESS_EXIT, PROCESS_FORK, Process},
    policy::{Counter, IGNORE, WATCH},
};

use crate::{
    globals::{OFFSETS, WATCH_ALL},
    kernel::{clear, read, read_into, task},
    maps::{EVENTS, PROCESSES, all_are_attached, count},
};

/// Whether a process is watched.
#[inline(always)]
pub fn watched(tgid: u32) -> bool {
    // SAFETY: the value is copied out at once.
    match unsafe { PROCESSES.get(&tgid) } {
        Some(&policy) => policy == WATCH,
        None => WATCH_ALL.load() != 0 && all_are_attached(),
    }
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
    // What a process that is left out starts (a container runtime its containers) is judged by itself.
    let Some(policy) = policy.filter(|&policy| policy != IGNORE) else {
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
    if unsafe { PROCESSES.get(&tgid) }.copied()? == IGNORE {
        // Another program now: it is judged anew when it is met.
        let _gone_already = PROCESSES.remove(&tgid);
    }
    report(PROCESS_EXEC, tgid, 0, task, 0)
}

/// The current process begins to listen. If it was left out, it is judged anew: a choice may be by port.
#[inline(always)]
pub fn listens() {
    let tgid = task::current_tgid();
    // SAFETY: the value is copied out at once.
    if unsafe { PROCESSES.get(&tgid) }.copied() == Some(IGNORE) {
        let _gone_already = PROCESSES.remove(&tgid);
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
    if policy != Some(WATCH) {
        return None;
    }
    let code = read::<u32>(task, OFFSETS.task_exit_code.load()).unwrap_or(0);
    report(PROCESS_EXIT, tgid, 0, task, code)
}

#[inline(always)]
fn report(what: u32, tgid: u32, parent: u32, task: u64, exit_code: u32) -> Option<()> {
    let Some(mut record) = EVENTS.reserve::<Process>(0) else {
        count(Counter::LostRingFull);
        return None;
    };
    let process = record.as_mut_ptr();
    clear(process);
    // SAFETY: members of a record in the ring buffer; the helper only returns a number.
    unsafe {
        (*process).kind = EventKind::Process as u32;
        (*process).what = what;
        (*process).tgid = tgid;
        (*process).parent = parent;
        (*process).at_ns = bpf_ktime_get_ns();
        (*process).started_at_ns = task::started_at_ns(task).unwrap_or(0);
        (*process).exit_code = exit_code;
        let _unnamed = read_into((&raw mut (*process).comm).cast(), 16, task, OFFSETS.task_comm.load());
    }
    record.submit(BPF_RB_NO_WAKEUP.into());
    Some(())
}
