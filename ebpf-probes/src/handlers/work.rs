//! The unit of work that the current thread carries on.

use ebpf_common::work::{CHAIN, NGINX, Plan, STEPS_MAX};

use super::{
    capture::{opaque, read_user_value},
    sockets::Socket,
};
use crate::{
    kernel::{socket, task},
    maps::{WORK_OF_CARRIER, WORK_PLANS},
    state::{Connection, HAS_WORK},
};

/// What a request of nginx begins with.
const NGINX_REQUEST: u32 = u32::from_le_bytes(*b"HTTP");

/// Notes whether the process of a connection has a plan.
#[inline(always)]
pub(super) fn look(connection: &mut Connection) {
    // SAFETY: only whether there is one counts.
    if unsafe { WORK_PLANS.get(&connection.tgid) }.is_some() {
        connection.flags |= HAS_WORK;
    } else {
        connection.flags &= !HAS_WORK;
    }
}

/// Of a piece that moves over a socket; 0 where there is none, or none is known.
#[inline(always)]
pub(super) fn of_socket<S: Socket>(connection: &Connection, socket: S) -> u64 {
    if connection.flags & HAS_WORK == 0 {
        return 0;
    }
    unit_of_work(connection.tgid, socket.number())
}

/// TLS runs over a connection that stands for a unit of work.
#[inline(always)]
pub(super) fn carries(connection: &Connection, work: u64) {
    if work != 0 {
        let _least_recent_goes = WORK_OF_CARRIER.insert(&connection.id, &work, 0);
    }
}

/// Of a piece of plaintext.
#[inline(always)]
pub(super) fn of_plaintext(plaintext: &Connection, carrier: u64) -> u64 {
    if plaintext.flags & HAS_WORK == 0 {
        return 0;
    }
    let work = unit_of_work(plaintext.tgid, 0);
    if work != 0 {
        return work;
    }
    // SAFETY: the value is copied out at once.
    unsafe { WORK_OF_CARRIER.get(&carrier) }.copied().unwrap_or(0)
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
        NGINX => nginx(sk),
        _ => None,
    };
    work.unwrap_or(0)
}

#[inline(always)]
fn chain(plan: &Plan) -> Option<u64> {
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

#[inline(always)]
fn nginx(sk: u64) -> Option<u64> {
    // The lowest bit tells events of an earlier connection of the same structure.
    let connection = socket::event_data(sk)? & !1;
    let data = read_user_value::<u64>(connection)?;
    if read_user_value::<u32>(data) == Some(NGINX_REQUEST) {
        return read_user_value(data.wrapping_add(8));
    }
    Some(connection)
}
