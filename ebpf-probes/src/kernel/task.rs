//! Readers of `struct task_struct`.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, generated::bpf_get_current_task_btf};
use ebpf_common::events::Open;

use super::{read, read_into};
use crate::globals::OFFSETS;

/// `PF_IO_WORKER | PF_USER_WORKER | PF_KTHREAD`: threads of the kernel's own, whose saved registers are no call's.
const NOT_A_USER_THREAD: u32 = 0x10 | 0x4000 | 0x20_0000;

/// The process of a thread as `bpf_get_current_pid_tgid` names it.
#[inline(always)]
pub const fn tgid_of(thread: u64) -> u32 {
    (thread >> 32) as u32
}

/// `PF_FORKNOEXEC`: it was forked, and has started no other program since.
pub const FORKED: u32 = 0x40;

/// Process id of the current thread, in the initial PID namespace.
#[inline(always)]
pub fn current_tgid() -> u32 {
    tgid_of(bpf_get_current_pid_tgid())
}

/// The current thread is a kernel thread or an io_uring worker. `task` is the current task.
#[inline(always)]
pub fn is_kernel_worker(task: *const u8) -> bool {
    super::load::<u32>(task, OFFSETS.task_flags.load()) & NOT_A_USER_THREAD != 0
}

/// What `bpf_get_current_pid_tgid` would say, without a call. `task` is the current task, a pointer whose type the verifier
/// knows.
#[inline(always)]
pub fn thread(task: *const u8) -> u64 {
    let tgid = super::load::<u32>(task, OFFSETS.task_tgid.load());
    let pid = super::load::<u32>(task, OFFSETS.task_pid.load());
    u64::from(tgid) << 32 | u64::from(pid)
}

/// The current task, a pointer whose type the verifier knows.
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: the helper only returns a pointer.
    (unsafe { bpf_get_current_task_btf() }) as *const u8
}

/// Process id of a task.
#[inline(always)]
pub fn tgid(task: u64) -> Option<u32> {
    read(task, OFFSETS.task_tgid.load())
}

/// Writes down which process the current thread is of: when it was started, and its name.
#[inline(always)]
pub fn identify_current(open: *mut Open) -> Option<()> {
    // SAFETY: the helper only returns an address.
    let task = unsafe { bpf_get_current_task() };
    let leader = read::<u64>(task, OFFSETS.task_group_leader.load())?;
    // SAFETY: members of a record in the ring buffer.
    unsafe {
        (*open).started_at_ns = read(leader, OFFSETS.task_start_boottime.load()).unwrap_or(0);
        if read::<u32>(leader, OFFSETS.task_flags.load()).unwrap_or(0) & FORKED != 0 {
            let parent = read::<u64>(leader, OFFSETS.task_real_parent.load()).unwrap_or(0);
            (*open).forked_from = tgid(parent).unwrap_or(0);
        }
        read_into((&raw mut (*open).comm).cast(), 16, leader, OFFSETS.task_comm.load())
    }
}

/// What stands in place of a return address in the current process where a return probe (`uretprobe`) of another program waits
/// for it.
#[inline(always)]
pub fn return_trampoline() -> Option<u64> {
    // SAFETY: the helper only returns an address.
    let task = unsafe { bpf_get_current_task() };
    let mm = read::<u64>(task, OFFSETS.task_mm.load())?;
    let area = read::<u64>(mm, OFFSETS.mm_out_of_line.load())?;
    read(area, OFFSETS.out_of_line_address.load())
}

/// The current thread's pointer (`fs`), from which its own variables are found.
#[inline(always)]
pub fn thread_pointer() -> Option<u64> {
    // SAFETY: the helper only returns an address.
    read(unsafe { bpf_get_current_task() }, OFFSETS.task_thread_pointer.load())
}

/// When the process of a task started, in ns of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn started_at_ns(task: u64) -> Option<u64> {
    let leader = read::<u64>(task, OFFSETS.task_group_leader.load())?;
    read(leader, OFFSETS.task_start_boottime.load())
}

/// Threads of the task's process that have not exited yet.
#[inline(always)]
pub fn live_threads(task: u64) -> Option<i32> {
    let signal = read::<u64>(task, OFFSETS.task_signal.load())?;
    read(signal, OFFSETS.signal_live.load())
}
