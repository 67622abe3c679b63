//! What an SDK within a process says of the current thread (OTEP 4947): which of its spans is active. It is read on the thread itself where bytes are sent, and told with a
//! number that the record of those bytes has too.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use ebpf_common::{
    events::{ACTIVE_LEN, Active, EventKind},
    work::{OF_CONTEXT, Plan},
};

use super::{
    capture::{read_user, read_user_value},
    emit::Room,
};
use crate::kernel::task;

/// An entry of the list of what a thread has of each library's variables (`dtv_t` of glibc).
const ENTRY: u64 = 16;

/// Tells which span is active. Gives the number under which that was told, with [`OF_CONTEXT`]; `None` where none is.
/// Not within its caller, whose stack lies upon one that is full.
#[inline(never)]
pub(super) fn active(tgid: u32, thread: u32, plan: &Plan) -> Option<u64> {
    let record = read_user_value::<u64>(variable(plan)?)?;
    if record == 0 {
        return None;
    }
    // SAFETY: the helper only returns a number. Lower bits of units of work have meanings of their own.
    let number = unsafe { bpf_ktime_get_ns() } & !7;
    let mut room = Room::<Active>::take()?;
    let active = room.zeroed();
    // SAFETY: members of a record in the ring buffer.
    unsafe {
        (*active).kind = EventKind::Active as u32;
        (*active).tgid = tgid;
        (*active).tid = thread;
        (*active).number = number;
    }
    // What cannot be read stays zero, and is not valid.
    // SAFETY: as above.
    let _not_valid = read_user(unsafe { (&raw mut (*active).context).cast() }, ACTIVE_LEN as u64, record);
    room.emit();
    Some(number | OF_CONTEXT)
}

/// Where the current thread has its pointer to what is said of it.
#[inline(always)]
fn variable(plan: &Plan) -> Option<u64> {
    let thread = task::thread_pointer()?;
    let [first, second, ..] = &plan.offsets;
    if plan.steps == 0 {
        return Some(thread.wrapping_add(*first));
    }
    let list = read_user_value::<u64>(thread.wrapping_add(8))?;
    let of_library = read_user_value::<u64>(list.wrapping_add(first.wrapping_mul(ENTRY)))?;
    // A thread that has not used any so far has none.
    (of_library != 0 && of_library != u64::MAX).then(|| of_library.wrapping_add(*second))
}
