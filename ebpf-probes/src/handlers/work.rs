//! The unit of work that the current thread carries on.

use core::hint::cold_path;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use ebpf_common::{
    events::RECEIVED,
    work::{
        ASYNCIO, CHAIN, CONTEXT, GO, JAVA, NGINX, OF_CONTEXT, PUMA, Plan, SEEN_TO_BEGIN, STEPS_MAX, TASK_IN_PLACE,
        TOKIO,
    },
};

use super::{
    capture::{opaque, read_user_value},
    contexts, go,
    sockets::Socket,
    threads, tokio,
};
use crate::{
    kernel::{socket, task},
    maps::{WORK_OF_CARRIER, WORK_PLANS, WORK_TASKS},
    state::{
        CALLS, Connection, END_ASKED, HAS_WORK, TaskKey, TaskOrigin, WORK_OF_GO, WORK_OF_JAVA, WORK_OF_NGINX,
        WORK_OF_TOKIO,
    },
};

/// Bit of what [`unit_of_work`] gives: the address is that of a task, which may have been begun by another. Addresses are even.
const TASK: u64 = 1;
/// Bit beside it: the task may have been given by another what it writes.
const GIVEN: u64 = 2;

/// What a request of nginx begins with.
const NGINX_REQUEST: u32 = u32::from_le_bytes(*b"HTTP");

/// Notes whether the process of a connection has a plan.
#[inline(always)]
pub(super) fn look(connection: &mut Connection) {
    let of = flags_of_plan(connection.tgid) as u32;
    const OF: u32 = HAS_WORK | WORK_OF_NGINX | WORK_OF_TOKIO | WORK_OF_GO | WORK_OF_JAVA;
    connection.flags = connection.flags & !OF | of;
}

/// What a connection of a process has in its flags. A function of its own for the verifier, as [`unit_of_work`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flags_of_plan(tgid: u32) -> u64 {
    let Some(plan) = WORK_PLANS.get_ptr(&tgid) else { return 0 };
    // SAFETY: a value of the map; at worst another's, if it is removed at this moment.
    let of = match unsafe { (*plan).kind } {
        NGINX => WORK_OF_NGINX,
        TOKIO => WORK_OF_TOKIO,
        GO => WORK_OF_GO,
        JAVA => WORK_OF_JAVA,
        _ => 0,
    };
    (HAS_WORK | of).into()
}

/// Of a piece that moves over a socket: the unit, and when what moves it was begun by that; 0 where there is none, or none is known.
#[inline(always)]
pub(super) fn of_socket<S: Socket>(connection: &mut Connection, socket: S, direction: u32) -> (u64, u64) {
    if connection.flags & HAS_WORK == 0 {
        return (0, 0);
    }
    cold_path();
    if connection.flags & WORK_OF_GO != 0 {
        return go::of_socket(connection, || socket.number(), direction);
    }
    if connection.flags & WORK_OF_NGINX == 0 {
        let work = if direction != RECEIVED || connection.flags & WORK_OF_JAVA != 0 {
            unit_of_work(connection.tgid, socket.number())
        } else if connection.flags & WORK_OF_TOKIO != 0 {
            tokio::unit_of_reader(connection.tgid, socket.number())
        } else {
            // The event loop reads for all of its tasks.
            0
        };
        return first(connection.tgid, work);
    }
    (of_nginx(connection, socket, direction), 0)
}

/// The unit that has begun this one, and when.
#[inline(always)]
fn first(tgid: u32, unit: u64) -> (u64, u64) {
    if unit & TASK == 0 {
        return (unit, 0);
    }
    (unit_of_task(tgid, unit & !TASK), begun_by_task(tgid, unit & !TASK))
}

/// See [`TaskOrigin::unit`]. A function of its own for the verifier, as [`unit_of_work`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unit_of_task(tgid: u32, task: u64) -> u64 {
    if task & OF_CONTEXT != 0 {
        return 0;
    }
    if task & GIVEN != 0 { tokio::unit_of_writer(tgid, task & !GIVEN) } else { origin(tgid, task).unit }
}

/// See [`TaskOrigin::begun_ns`]. A function of its own for the verifier, as [`unit_of_work`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begun_by_task(tgid: u32, task: u64) -> u64 {
    if task & OF_CONTEXT != 0 {
        return task & !OF_CONTEXT;
    }
    if task & GIVEN != 0 { tokio::begun_of_writer(tgid, task & !GIVEN) } else { origin(tgid, task).begun_ns }
}

/// What a task is done for: for itself, where its beginning was not seen.
#[inline(always)]
pub(super) fn origin(tgid: u32, task: u64) -> TaskOrigin {
    let key = TaskKey { object: task, tgid: tgid.into() };
    // SAFETY: the value is copied out at once.
    unsafe { WORK_TASKS.get(&key) }.copied().unwrap_or(TaskOrigin { unit: task, begun_ns: 0 })
}

/// The current thread begins a task: `task` is a new one, or another at the address of one that is gone.
#[inline(always)]
pub fn begins(tgid: u32, task: u64) {
    let Some(plan) = WORK_PLANS.get_ptr(&tgid) else { return };
    // SAFETY: a value of the map; at worst another's, if it is removed at this moment.
    if unsafe { (*plan).kind } != ASYNCIO {
        return;
    }
    // SAFETY: the helper only returns a number.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let mut began = TaskOrigin { unit: now_ns | SEEN_TO_BEGIN, begun_ns: 0 };
    let by = unit_of_work(tgid, 0) & !TASK;
    if by != 0 {
        began = begun_by(tgid, by, now_ns);
    }
    let _least_recent_goes = WORK_TASKS.insert(&TaskKey { object: task, tgid: tgid.into() }, &began, 0);
}

/// The current thread has copied the context that its code runs in: what runs in the copy is done for what it does now.
#[inline(always)]
pub fn copies(tgid: u32, context: u64) {
    let Some(plan) = WORK_PLANS.get_ptr(&tgid) else { return };
    // SAFETY: a value of the map; at worst another's, if it is removed at this moment.
    if context == 0 || unsafe { (*plan).kind } != ASYNCIO {
        return;
    }
    let key = TaskKey { object: context, tgid: tgid.into() };
    let by = unit_of_work(tgid, 0) & !TASK;
    if by == 0 {
        // There may be one that lay there before.
        let _there_is_none = WORK_TASKS.remove(&key);
        return;
    }
    // SAFETY: the helper only returns a number.
    let copied = begun_by(tgid, by, unsafe { bpf_ktime_get_ns() });
    let _least_recent_goes = WORK_TASKS.insert(&key, &copied, 0);
}

/// What is done for what a task is done for, if that task begins it now.
#[inline(always)]
pub(super) fn begun_by(tgid: u32, task: u64, now_ns: u64) -> TaskOrigin {
    let mut began = origin(tgid, task);
    if began.begun_ns == 0 {
        began.begun_ns = now_ns;
    }
    began
}

/// What is told of a response is not asked for its unit of work, and what a connection stands for that is served is asked once: it
/// takes a dozen reads.
#[inline(always)]
fn of_nginx<S: Socket>(connection: &mut Connection, socket: S, direction: u32) -> u64 {
    if connection.work != 0 || connection.flags & CALLS != 0 && direction == RECEIVED {
        return connection.work;
    }
    let work = unit_of_work(connection.tgid, socket.number());
    if connection.flags & END_ASKED == 0 && work != 0 {
        connection.flags |= END_ASKED;
        match socket::serves(socket.number()) {
            Some(false) => connection.flags |= CALLS,
            // One that calls from a port of its own sends first, and is used for another.
            Some(true) if direction == RECEIVED && connection.pieces == 1 && is_own(socket.number(), work) => {
                connection.work = work;
            }
            _ => {}
        }
    }
    work
}

/// TLS runs over a connection that stands for a unit of work. What one to an upstream is used for changes with each request.
#[inline(always)]
pub(super) fn carries(connection: &Connection, work: u64) {
    if work != 0 && (connection.flags & WORK_OF_NGINX == 0 || work == connection.work) {
        let _least_recent_goes = WORK_OF_CARRIER.insert(&connection.id, &work, 0);
    }
}

/// Of a piece of plaintext. `sk`: the socket that carries it, where Go encrypts; else 0.
#[inline(always)]
pub(super) fn of_plaintext(plaintext: &mut Connection, carrier: u64, sk: u64, direction: u32) -> (u64, u64) {
    if plaintext.flags & HAS_WORK == 0 {
        return (0, 0);
    }
    if plaintext.flags & WORK_OF_GO != 0 {
        return if sk == 0 { (0, 0) } else { go::of_socket(plaintext, || sk, direction) };
    }
    let work = unit_of_work(plaintext.tgid, 0);
    if work != 0 {
        return first(plaintext.tgid, work);
    }
    // SAFETY: the value is copied out at once.
    (unsafe { WORK_OF_CARRIER.get(&carrier) }.copied().unwrap_or(0), 0)
}

/// What the plan of the current process `tgid` says, of the socket `sk`; 0 where there is none.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unit_of_work(tgid: u32, sk: u64) -> u64 {
    let Some(plan) = WORK_PLANS.get_ptr(&tgid) else { return 0 };
    // SAFETY: a value of the map; at worst another's, if it is removed at this moment.
    let plan = unsafe { &*plan };
    let work = match plan.kind {
        CHAIN => chain(plan),
        TOKIO => tokio::task(plan).map(|task| task | GIVEN | TASK),
        NGINX => nginx(sk),
        ASYNCIO => asyncio(tgid, plan),
        JAVA => threads::virtual_thread(plan),
        PUMA => threads::worker_of_puma(),
        CONTEXT => contexts::active(tgid, bpf_get_current_pid_tgid() as u32, plan).map(|number| number | TASK),
        _ => None,
    };
    work.unwrap_or(0)
}

#[inline(always)]
pub(super) fn chain(plan: &Plan) -> Option<u64> {
    let mut at = task::thread_pointer()?;
    let mut step = 0;
    while step < STEPS_MAX as u64 {
        if step >= u64::from(plan.steps) {
            break;
        }
        // Where it lies: verifiers before 5.12 follow no index into a copy on the stack.
        let at_step = (opaque(step) & (STEPS_MAX as u64 - 1)) as usize;
        // SAFETY: the mask keeps it within the array.
        let offset = unsafe { plan.offsets.as_ptr().add(at_step).read() };
        at = read_user_value::<u64>(at.wrapping_add(offset))?;
        step += 1;
    }
    Some(at)
}

/// Whether a unit of work of nginx is the connection of the socket itself.
#[inline(always)]
fn is_own(sk: u64, work: u64) -> bool {
    nginx_connection(sk) == Some(work)
}

#[inline(always)]
fn nginx_connection(sk: u64) -> Option<u64> {
    // The lowest bit tells events of an earlier connection of the same structure.
    Some(socket::event_data(sk)? & !1)
}

#[inline(always)]
fn nginx(sk: u64) -> Option<u64> {
    let connection = nginx_connection(sk)?;
    let data = read_user_value::<u64>(connection)?;
    let [begins, client] = read_user_value::<[u64; 2]>(data)?;
    Some(if begins as u32 == NGINX_REQUEST { client } else { connection })
}

/// The context that the code of this thread runs in, if it is a copy that was made while a task ran: the event loop has given it to a thread
/// that waits for work.
#[inline(always)]
fn by_context(tgid: u32, thread: u64, contexts: u64) -> Option<u64> {
    if contexts == 0 {
        return None;
    }
    let state = read_user_value::<u64>(thread.wrapping_add(contexts >> 32))?;
    let object = read_user_value::<u64>(state.wrapping_add(contexts & 0xffff_ffff))?;
    let is_known = object & TASK == 0 && WORK_TASKS.get_ptr(&TaskKey { object, tgid: tgid.into() }).is_some();
    is_known.then_some(object | TASK)
}

/// The task that the event loop of this thread runs. It is in a dictionary (`PyDictObject`) that has no other entry where one loop runs:
/// the last that was put in.
#[inline(always)]
fn asyncio(tgid: u32, plan: &Plan) -> Option<u64> {
    let [tasks, event_loop, thread, contexts] = &plan.offsets;
    let current = task::thread_pointer()?;
    if current != *thread {
        return by_context(tgid, current, *contexts);
    }
    if plan.steps == TASK_IN_PLACE {
        return read_user_value::<u64>(*tasks).filter(|&task| task != 0 && task & TASK == 0).map(|task| task | TASK);
    }
    // Number of entries, the dictionary's version, keys.
    let [used, _, keys] = read_user_value::<[u64; 3]>(tasks.wrapping_add(16))?;
    if used != 1 {
        return None;
    }
    // How long the index in front of the entries is, and how many of them were filled so far. No more at once than three words: this
    // function and its callers have 512 bytes of stack together, and take all of them.
    let [index, _, filled] = read_user_value::<[u64; 3]>(keys.wrapping_add(8))?;
    let (entries, filled) = if plan.steps == 0 {
        (keys.wrapping_add(32).wrapping_add(1 << (index >> 8 & 0x1f)), filled)
    } else {
        let width = if index <= 0xff { 1 } else { 2 };
        (keys.wrapping_add(40).wrapping_add(index.wrapping_mul(width)), read_user_value::<u64>(keys.wrapping_add(32))?)
    };
    // Hash, key, value.
    let [_, key, task] = read_user_value::<[u64; 3]>(entries.wrapping_add(filled.wrapping_sub(1).wrapping_mul(24)))?;
    (key == *event_loop && task != 0 && task & TASK == 0).then_some(task | TASK)
}
