//! Units of work of tokio: tasks, which are told apart by their numbers (`task::Id`).
//!
//! A task reads and writes itself, so the number of the one that a thread polls says what moves bytes. But a client with a pool (hyper)
//! writes requests from a task per connection, to which they are given by a channel. The channel counts what was put into it. What
//! such a task writes is for who gave the last request, if exactly one was put in since it last wrote, and the giver was seen to be the
//! one who did; else it is for nobody.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use ebpf_common::work::{Plan, TOKIO};

use super::{
    capture::read_user_value,
    work::{begun_by, chain, origin},
};
use crate::{
    kernel::socket,
    maps::{WORK_GIVEN, WORK_PLANS, WORK_TASKS},
    state::{Given, TaskKey, TaskOrigin},
};

/// Where in the channel (`mpsc::Chan`) its count (`tx.tail_position`) lies, seen from the waker of its reader (`rx_waker`): both are
/// padded to pairs of cache lines.
const COUNT: i64 = 8 - 128;

/// The task that the current thread polls: its number, shifted so that bits are free.
#[inline(always)]
pub(super) fn task(plan: &Plan) -> Option<u64> {
    chain(plan).map(unit).filter(|&task| task != 0)
}

#[inline(always)]
const fn unit(number: u64) -> u64 {
    number << 2
}

/// The task that reads from a socket. One that reads what a client asks is a unit by itself, whoever has begun it: mostly the one that
/// takes connections.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unit_of_reader(tgid: u32, sk: u64) -> u64 {
    let Some(task) = plan(tgid).and_then(task) else { return 0 };
    if origin(tgid, task).unit != task && socket::serves(sk) != Some(false) {
        let key = TaskKey { object: task, tgid: tgid.into() };
        let _least_recent_goes = WORK_TASKS.insert(&key, &TaskOrigin { unit: task, begun_ns: 0 }, 0);
    }
    task
}

/// For what a task writes now: for itself, where nothing else is certain. It is asked once per piece.
#[inline(always)]
pub(super) fn unit_of_writer(tgid: u32, task: u64) -> u64 {
    let Some(given) = WORK_GIVEN.get_ptr_mut(&TaskKey { object: task, tgid: tgid.into() }) else { return task };
    // SAFETY: a value of the map; at worst another's, if it is removed at this moment.
    let given = unsafe { &mut *given };
    let Some(count) = read_user_value::<u64>(given.count_at) else { return task };
    let is_the_last = count == given.count && given.written.wrapping_add(1) == count;
    given.written = count;
    if is_the_last && given.unit != 0 { given.unit } else { task }
}

/// When that was begun.
#[inline(always)]
pub(super) fn begun_of_writer(tgid: u32, task: u64) -> u64 {
    let given = WORK_GIVEN.get_ptr(&TaskKey { object: task, tgid: tgid.into() });
    // SAFETY: as above.
    given.map_or(0, |given| unsafe { (*given).begun_ns })
}

/// The current thread begins a task, which lies at `header`.
#[inline(always)]
pub fn begins(tgid: u32, header: u64) -> Option<()> {
    let by = task(plan(tgid)?)?;
    let key = TaskKey { object: unit(number(header)?), tgid: tgid.into() };
    // SAFETY: the helper only returns a number.
    let began = begun_by(tgid, by, unsafe { bpf_ktime_get_ns() });
    let _least_recent_goes = WORK_TASKS.insert(&key, &began, 0);
    Some(())
}

/// The current thread has put a request into the channel whose reader is woken by the `AtomicWaker` at `waker`.
#[inline(always)]
pub fn gives(tgid: u32, waker: u64) -> Option<()> {
    let plan = plan(tgid)?;
    let [_, table, ..] = plan.offsets;
    // Where there is none the reader is at work, and takes more than one: then the count says so.
    let [wakes_by, header] = read_user_value::<[u64; 2]>(waker)?;
    if wakes_by != table {
        return None;
    }
    let reader = unit(number(header)?);
    let mut count_at = waker.wrapping_add_signed(COUNT);
    let count = read_user_value::<u64>(count_at)?;
    let key = TaskKey { object: reader, tgid: tgid.into() };
    let mut written = count.wrapping_sub(1);
    if let Some(known) = WORK_GIVEN.get_ptr(&key) {
        // SAFETY: as above.
        let known = unsafe { &*known };
        written = known.written;
        if known.count_at != count_at {
            count_at = 0;
        }
    }
    // SAFETY: the helper only returns a number.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let by = task(plan).map(|by| begun_by(tgid, by, now_ns));
    let TaskOrigin { unit, begun_ns } = by.unwrap_or(TaskOrigin { unit: 0, begun_ns: 0 });
    let _least_recent_goes = WORK_GIVEN.insert(&key, &Given { count_at, count, written, unit, begun_ns }, 0);
    Some(())
}

#[inline(always)]
fn plan(tgid: u32) -> Option<&'static Plan> {
    // SAFETY: a value of the map; at worst another's, if it is removed at this moment.
    let plan = unsafe { &*WORK_PLANS.get_ptr(&tgid)? };
    (plan.kind == TOKIO).then_some(plan)
}

/// The number of a task by its `Header`, whose third word is its `Vtable`: seven functions, then where in the task its last part, the
/// scheduler's handle, and behind that its number lie.
#[inline(always)]
fn number(header: u64) -> Option<u64> {
    let table = read_user_value::<u64>(header.wrapping_add(16))?;
    let [scheduler, number] = read_user_value::<[u64; 2]>(table.wrapping_add(64))?;
    if number <= scheduler || number > scheduler.wrapping_add(64) || number > 4096 {
        return None;
    }
    read_user_value::<u64>(header.wrapping_add(number)).filter(|&number| number != 0)
}
