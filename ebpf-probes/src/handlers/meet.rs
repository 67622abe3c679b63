//! What a process is at the moment when it is met, read in its own context: a program that lives a moment is gone before user
//! space can look.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_task, bpf_ktime_get_ns,
        generated::{bpf_probe_read_kernel_str, bpf_probe_read_user},
    },
};
use ebpf_common::{
    events::{ARGS_ROOM, EventKind, Met, NAME_ROOM, PATH_ROOM},
    limits::{EVALUATION_WAKE_NS, PATH_NAMES},
    offsets::ABSENT,
};

use super::emit::Room;
use crate::{
    globals::OFFSETS,
    kernel::{read_into, read_or_zero, read_wide_or_zero, task},
    maps::SCRATCH,
};

/// [`meet_process`]: user space is told, or was told before.
pub const TOLD: u32 = 1;
const NOT_TOLD: u32 = 0;

const PATH_MASK: u64 = PATH_ROOM as u64 - 1;
const ARGS_MASK: u64 = 2 * ARGS_ROOM as u64 - 1;
const _: () = assert!(PATH_ROOM.is_power_of_two() && ARGS_ROOM.is_power_of_two());

/// Tells user space what the current process is. `port` is one that it serves and that processes are chosen by, or 0.
///
/// A function of its own, which is exported so that the verifier follows it by itself: else it would do so once for each way by
/// which a program calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn meet_process(tgid: u32, port: u32) -> u32 {
    let Some(mut room) = Room::<Met>::take() else { return NOT_TOLD };
    let met = room.record();
    // At once, and read again below: what is kept meanwhile takes stack, of which this and its callers have 512 bytes together.
    // SAFETY: members of a record in the ring buffer; the helper only returns a number.
    unsafe {
        (*met).kind = EventKind::Met as u32;
        (*met).tgid = tgid;
        (*met).port = port as u16;
        (&raw mut (*met).at_ns).write_volatile(bpf_ktime_get_ns());
    }
    // SAFETY: the helper only returns an address.
    let task = unsafe { bpf_get_current_task() };
    let leader = read_wide_or_zero(task, OFFSETS.task_group_leader.load());
    let parent = read_wide_or_zero(leader, OFFSETS.task_real_parent.load());
    // SAFETY: members of a record in the ring buffer.
    unsafe {
        (*met).started_at_ns = read_wide_or_zero(leader, OFFSETS.task_start_boottime.load());
        (*met).parent = read_or_zero(parent, OFFSETS.task_tgid.load());
        (*met).is_forked = read_or_zero(leader, OFFSETS.task_flags.load()) & task::FORKED;
        let _unnamed = read_into((&raw mut (*met).comm).cast(), 16, leader, OFFSETS.task_comm.load());
    }
    arguments(met, task);
    executable(met, task);
    cgroup(met, task);
    // SAFETY: as above.
    let at_ns = unsafe { (&raw const (*met).at_ns).read_volatile() };
    room.emit_waking(wake(at_ns, EVALUATION_WAKE_NS));
    TOLD
}

/// Wakes user space, so that it looks at the process; not if that was done within `least_ns`.
#[inline(always)]
pub(super) fn wake(at_ns: u64, least_ns: u64) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return BPF_RB_NO_WAKEUP };
    // SAFETY: per-CPU memory; what is lost by an interrupt is a moment of waiting.
    let evaluation_asked_at = unsafe { &mut (*scratch).evaluation_asked_at };
    if at_ns.wrapping_sub(*evaluation_asked_at) < least_ns {
        return BPF_RB_NO_WAKEUP;
    }
    *evaluation_asked_at = at_ns;
    BPF_RB_FORCE_WAKEUP
}

#[inline(always)]
fn arguments(met: *mut Met, task: u64) {
    // SAFETY: a member of a record in the ring buffer.
    let (to, used) = unsafe { ((&raw mut (*met).args).cast::<u8>(), &raw mut (*met).args_len) };
    // SAFETY: as above.
    unsafe { used.write_volatile(0) };
    let mm = read_wide_or_zero(task, OFFSETS.task_mm.load());
    let start = read_wide_or_zero(mm, OFFSETS.mm_arg_start.load());
    let end = read_wide_or_zero(mm, OFFSETS.mm_arg_end.load());
    let mut len = end.wrapping_sub(start);
    if start == 0 || end < start {
        return;
    }
    if len > ARGS_ROOM as u64 {
        len = ARGS_ROOM as u64;
    }
    let len = super::capture::opaque(len) & ARGS_MASK;
    if len > ARGS_ROOM as u64 {
        return;
    }
    // SAFETY: `len` bytes fit at `to`; the helper fails on a bad address.
    if unsafe { bpf_probe_read_user(to.cast(), len as u32, start as *const _) } == 0 {
        // SAFETY: as above.
        unsafe { used.write_volatile(len as u16) };
    }
}

/// Where a path is written to: what is kept here is read again at each name, so that the verifier knows nothing of it and
/// follows the loop once.
struct Path {
    to: *mut u8,
    used: *mut u16,
}

impl Path {
    #[inline(always)]
    fn begin(to: *mut u8, used: *mut u16) -> Self {
        // SAFETY: a member of a record in the ring buffer.
        unsafe { used.write_volatile(0) };
        Self { to, used }
    }

    /// Adds a name in front. `false` where there is no more room.
    #[inline(always)]
    fn add(&self, name: u64) -> bool {
        // SAFETY: a member of a record in the ring buffer.
        let at = u64::from(unsafe { self.used.read_volatile() });
        if at >= PATH_ROOM as u64 || name == 0 {
            return false;
        }
        // SAFETY: within the room, which is that of a path and a name.
        let to = unsafe { self.to.add((super::capture::opaque(at) & PATH_MASK) as usize) };
        // SAFETY: a name fits behind a path; the helper fails on a bad address.
        let len = unsafe { bpf_probe_read_kernel_str(to.cast(), NAME_ROOM as u32, name as *const _) };
        if len <= 0 {
            return false;
        }
        // SAFETY: a member of a record in the ring buffer.
        unsafe { self.used.write_volatile((at + len as u64) as u16) };
        true
    }

    /// It is not known whole.
    #[inline(always)]
    fn give_up(&self) {
        // SAFETY: a member of a record in the ring buffer.
        unsafe { self.used.write_volatile(0) };
    }
}

/// The path of the executable, as `d_path` puts it together: by the names of the folders, over mounts.
#[inline(always)]
fn executable(met: *mut Met, task: u64) {
    // SAFETY: members of a record in the ring buffer.
    let path = unsafe { Path::begin((&raw mut (*met).exe).cast(), &raw mut (*met).exe_len) };
    let mm = read_wide_or_zero(task, OFFSETS.task_mm.load());
    let file = read_wide_or_zero(mm, OFFSETS.mm_exe_file.load());
    let mut entry = read_wide_or_zero(file, OFFSETS.file_dentry.load());
    let mut mount = read_wide_or_zero(file, OFFSETS.file_mnt.load());
    for _ in 0..PATH_NAMES {
        if read_wide_or_zero(mount, OFFSETS.vfsmount_root.load()) == entry {
            let outer = mount.wrapping_sub(OFFSETS.mount_vfsmount.load().into());
            let parent = read_wide_or_zero(outer, OFFSETS.mount_parent.load());
            if parent == outer {
                return;
            }
            entry = read_wide_or_zero(outer, OFFSETS.mount_mountpoint.load());
            mount = parent.wrapping_add(OFFSETS.mount_vfsmount.load().into());
        } else {
            let parent = read_wide_or_zero(entry, OFFSETS.dentry_parent.load());
            if parent == entry {
                return;
            }
            if !path.add(read_wide_or_zero(entry, OFFSETS.dentry_name.load())) {
                break;
            }
            entry = parent;
        }
    }
    path.give_up();
}

#[inline(always)]
fn cgroup(met: *mut Met, task: u64) {
    // SAFETY: members of a record in the ring buffer.
    let path = unsafe { Path::begin((&raw mut (*met).cgroup).cast(), &raw mut (*met).cgroup_len) };
    let set = read_wide_or_zero(task, OFFSETS.task_cgroups.load());
    let of_task = read_wide_or_zero(set, OFFSETS.css_set_cgroup.load());
    let mut node = read_wide_or_zero(of_task, OFFSETS.cgroup_kn.load());
    for _ in 0..PATH_NAMES {
        // The kernel has one of them.
        let parent = if OFFSETS.kernfs_parent.load() == ABSENT {
            read_wide_or_zero(node, OFFSETS.kernfs_parent_before.load())
        } else {
            read_wide_or_zero(node, OFFSETS.kernfs_parent.load())
        };
        if parent == 0 {
            return;
        }
        if !path.add(read_wide_or_zero(node, OFFSETS.kernfs_name.load())) {
            break;
        }
        node = parent;
    }
    path.give_up();
}
