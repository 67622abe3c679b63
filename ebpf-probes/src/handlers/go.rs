//! Units of work of Go: goroutines, which are told apart by their numbers (`goid`), read where bytes move.
//!
//! A connection that is served has a goroutine of its own, which reads what is asked, and answers over HTTP/1. What it makes others for says
//! itself: each goroutine has its parent's number. Numbers are never used twice, but a goroutine answers one request after the other, so it
//! is also asked when another was begun: each processor of the runtime hands out numbers of its own, from which it follows
//! whether one was given before or behind the moment when a request came.
//!
//! Clients of `net/http` write from another goroutine than the one that asks. A probe where it hands its request over tells by which socket that
//! goes, or of HTTP/2 that a goroutine is begun for it. grpc-go writes all calls of a connection from one goroutine: who asks is told with the number of
//! the stream, once it has that.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use ebpf_common::{
    events::{AF_INET, AF_INET6, AF_UNIX, EventKind, Handles, RECEIVED},
    work::{GO, PROCESSORS_MAX, Plan},
};

use super::{
    capture::{opaque, read_user, read_user_value},
    emit::emit,
    sockets,
};
use crate::{
    kernel::{file_table, socket, task},
    maps::{GO_CALLS, GO_UNITS, NO_GO_UNIT, TLS_STREAMS, WORK_PLANS, WORK_TASKS},
    state::{CALLS, Connection, END_ASKED, GoCall, GoUnit, INTERIM, TaskKey, TaskOrigin, TlsKey},
};

/// Interfaces within interfaces that are looked through for a connection's socket: of TLS, of what counts bytes.
const NESTED_MAX: usize = 4;
/// `begun_ns` of what was begun before the request came, or may have been.
const BEFORE: u64 = 1;
/// Bit of a unit's number in [`WORK_TASKS`]: what the goroutines are for that this one begins, for requests over HTTP/2.
const BEGINS: u64 = 1;
/// Bit of what [`go_writer`] gives: what is written was handed over with a request.
const HANDED_OVER: u64 = 1;
/// Bit beside it: by the goroutine that has begun the one that writes it. Its place is kept in [`WORK_TASKS`] under the socket, whose address
/// is no number of a goroutine.
const BY_TASK: u64 = 2;

/// A goroutine: its number and its parent's, shifted so that bits are free.
#[derive(Clone, Copy)]
struct Goroutine {
    unit: u64,
    parent: u64,
}

#[inline(always)]
const fn unit(number: u64) -> u64 {
    number << 2
}

#[inline(always)]
pub(super) fn plan(tgid: u32) -> Option<&'static Plan> {
    // SAFETY: a value of the map; at worst another's, if it is removed at this moment.
    let plan = unsafe { &*WORK_PLANS.get_ptr(&tgid)? };
    (plan.kind == GO).then_some(plan)
}

/// The goroutine that the current thread runs.
#[inline(always)]
fn current(plan: &Plan) -> Option<Goroutine> {
    let slot = task::thread_pointer()?.wrapping_add(plan.offsets[0]);
    goroutine(plan, read_user_value::<u64>(slot)?)
}

/// That of a `g`. Within a call of C it is the thread's own, which has no number.
#[inline(always)]
fn goroutine(plan: &Plan, g: u64) -> Option<Goroutine> {
    let layout = &plan.go;
    let mut g = g;
    let mut number = read_user_value::<u64>(g.wrapping_add(layout.number.into()))?;
    if number == 0 {
        let thread = read_user_value::<u64>(g.wrapping_add(layout.thread.into()))?;
        g = read_user_value::<u64>(thread.wrapping_add(layout.current.into()))?;
        number = read_user_value::<u64>(g.wrapping_add(layout.number.into()))?;
    }
    let parent = if layout.parent == 0 { 0 } else { read_user_value::<u64>(g.wrapping_add(layout.parent.into()))? };
    (number != 0).then_some(Goroutine { unit: unit(number), parent: unit(parent) })
}

/// What is kept of a unit.
#[inline(always)]
fn key(tgid: u32, unit: u64) -> TaskKey {
    TaskKey { object: unit, tgid: tgid.into() }
}

/// What a goroutine is for. It is remembered: its parent may be gone when it begins another.
#[inline(always)]
fn origin(tgid: u32, of: Goroutine) -> TaskOrigin {
    let own = TaskOrigin { unit: of.unit, begun_ns: 0 };
    if let Some(answers) = GO_UNITS.get_ptr(&key(tgid, of.unit)) {
        // What it does since the last request came is for that, whatever user space has heard of.
        // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
        return TaskOrigin { unit: of.unit, begun_ns: unsafe { (*answers).at_ns } };
    }
    // SAFETY: the value is copied out at once.
    if let Some(known) = unsafe { WORK_TASKS.get(&key(tgid, of.unit)) }.copied() {
        return known;
    }
    let began = if GO_UNITS.get_ptr(&key(tgid, of.parent)).is_some() {
        TaskOrigin { unit: of.parent, begun_ns: go_begun_by(tgid, of.parent, of.unit >> 2) }
        // SAFETY: as above.
    } else if let Some(known) = unsafe { WORK_TASKS.get(&key(tgid, of.parent)) }.copied() {
        known
    } else {
        return own;
    };
    let _least_recent_goes = WORK_TASKS.insert(&key(tgid, of.unit), &began, 0);
    began
}

/// When the goroutine with this number was begun by a unit that answers requests, as far as that is known: behind the moment when
/// the last of them came, or before.
///
/// A function of its own for the verifier, as `work::unit_of_work`. Without branches in its loop, of which each would be followed twice.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_begun_by(tgid: u32, unit: u64, number: u64) -> u64 {
    let Some(answers) = GO_UNITS.get_ptr(&key(tgid, unit)) else { return BEFORE };
    // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
    let answers = unsafe { &*answers };
    // What no processor had left then was handed out before; what there was not yet, later.
    let mut is_later = is_below(answers.last, number) & answers.is_complete;
    let mut at = 0;
    while at < PROCESSORS_MAX {
        let index = (opaque(at as u64) & (PROCESSORS_MAX as u64 - 1)) as usize;
        // SAFETY: the mask keeps it within the array.
        let had = opaque(unsafe { answers.next.as_ptr().add(index).read() });
        let left = had & ((1 << GoUnit::LEFT) - 1);
        let behind = opaque(number.wrapping_sub(had >> GoUnit::LEFT));
        is_later = opaque(is_later | is_below(behind, left) & (behind >> 63 ^ 1));
        at += 1;
    }
    if is_later & 1 != 0 { answers.at_ns } else { BEFORE }
}

/// 1 if a number is below another, of those that have no sign.
#[inline(always)]
fn is_below(number: u64, other: u64) -> u64 {
    opaque(number.wrapping_sub(other)) >> 63
}

/// Notes that a goroutine answers a request from here on, and which numbers others have that it has begun before.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_answers(tgid: u32, unit: u64, at_ns: u64) -> u64 {
    u64::from(answers(tgid, unit, at_ns).is_some())
}

/// When the last request came that a unit answers; 0 where it answers none.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_came(tgid: u32, unit: u64) -> u64 {
    // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
    GO_UNITS.get_ptr(&key(tgid, unit)).map_or(0, |answers| unsafe { (*answers).at_ns })
}

#[inline(always)]
fn answers(tgid: u32, unit: u64, at_ns: u64) -> Option<()> {
    if unit == 0 {
        return None;
    }
    let key = key(tgid, unit);
    if GO_UNITS.get_ptr(&key).is_none() {
        // SAFETY: the value is copied at once.
        let _least_recent_goes = GO_UNITS.insert(&key, unsafe { &*NO_GO_UNIT.get_ptr(0)? }, 0);
    }
    // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
    let answers = unsafe { &mut *GO_UNITS.get_ptr_mut(&key)? };
    answers.at_ns = at_ns;
    (answers.last, answers.is_complete) = (0, 0);
    let plan = plan(tgid)?;
    let processors = plan.offsets[1];
    if processors == 0 || !read_user((&raw mut answers.list).cast(), 16, processors) {
        return None;
    }
    let mut at = 0;
    while at < PROCESSORS_MAX as u64 {
        let index = (opaque(at) & (PROCESSORS_MAX as u64 - 1)) as usize;
        let mut had = 0;
        if at < answers.list[1] {
            let processor = read_user_value::<u64>(answers.list[0].wrapping_add(8 * at))?;
            let numbers = processor.wrapping_add(plan.go.numbers.into());
            if !read_user((&raw mut answers.numbers).cast(), 16, numbers) {
                return None;
            }
            let [from, end] = answers.numbers;
            let left = end.wrapping_sub(from) & ((1 << GoUnit::LEFT) - 1);
            had = opaque(from << GoUnit::LEFT | left);
            // The greatest, without a branch; before the first one there is none.
            let given = end.wrapping_sub(1);
            let is_greater = is_below(answers.last, given) & (given >> 63 ^ 1);
            answers.last =
                opaque(answers.last.wrapping_add(is_greater.wrapping_neg() & given.wrapping_sub(answers.last)));
        }
        // SAFETY: the mask keeps it within the array.
        unsafe { answers.next.as_mut_ptr().add(index).write(had) };
        at += 1;
    }
    answers.is_complete = u64::from(answers.list[1] <= PROCESSORS_MAX as u64);
    Some(())
}

/// Of a piece that moves over the socket `sk`, or of plaintext that it carries: the unit, and when what moves it was begun by that; as
/// `work::of_socket`. Of a unit that answers requests that is when the last of them came: what is read says so, and what is done for it says the same, so that
/// one is never taken for the other. The socket is asked for where it is needed: what is kept meanwhile would lie on a stack that is full.
#[inline(always)]
pub(super) fn of_socket(connection: &mut Connection, sk: impl Fn() -> u64, direction: u32) -> (u64, u64) {
    if connection.flags & END_ASKED == 0 {
        connection.flags |= END_ASKED | go_end(sk(), direction);
    }
    let calls = connection.flags & CALLS != 0;
    // Of answers nothing is asked, and of what is asked only where it begins.
    if calls == (direction == RECEIVED) {
        return (connection.work, 0);
    }
    if !calls {
        // Of one that is older than the plan it is not known yet; and of frames that are followed no turns are.
        let begins = connection.work == 0
            || u32::from(connection.last_direction) != direction && connection.flags & INTERIM == 0;
        connection.flags &= !INTERIM;
        if begins {
            connection.work = go_reader(connection.tgid, connection.work);
            // SAFETY: the helper only returns a number.
            let _known_or_not = go_answers(connection.tgid, connection.work, unsafe { bpf_ktime_get_ns() });
        }
        return (connection.work, go_came(connection.tgid, connection.work));
    }
    let work = go_writer(connection.tgid, sk());
    if work & HANDED_OVER == 0 {
        return (work, go_came(connection.tgid, work));
    }
    (work & !(HANDED_OVER | BY_TASK), go_begun(connection.tgid, sk(), work))
}

/// [`CALLS`] of a socket over which something moves for the first time, if its process is the one that calls.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_end(sk: u64, direction: u32) -> u32 {
    // Of sockets without ports: who is asked hears first.
    if socket::serves(sk).unwrap_or(direction == RECEIVED) { 0 } else { CALLS }
}

/// The goroutine that answers what is read: the one that reads, or which has begun that one, as `net/http` does to hear when a client goes away while
/// it is answered. `work`: the one before, of the same connection.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_reader(tgid: u32, work: u64) -> u64 {
    let Some(plan) = plan(tgid) else { return 0 };
    let Some(reads) = current(plan) else { return 0 };
    if work != 0 && reads.parent == work { work } else { reads.unit }
}

/// For what is written to a socket: what was handed over to it with a request, else the goroutine that writes it. What others have begun
/// may work for many: by itself it is for nobody.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_writer(tgid: u32, sk: u64) -> u64 {
    let key = key(tgid, sk);
    if let Some(call) = GO_CALLS.get_ptr_mut(&key) {
        // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
        let call = unsafe { &mut *call };
        if call.is_due != 0 {
            call.is_due = 0;
            return if socket::inode_number(sk) == Some(call.inode) { call.unit | HANDED_OVER } else { 0 };
        }
    }
    let Some(plan) = plan(tgid) else { return 0 };
    let Some(writes) = current(plan) else { return 0 };
    let begins = TaskKey { object: writes.parent | BEGINS, tgid: tgid.into() };
    // SAFETY: the value is copied at once.
    let Some(begun) = (unsafe { WORK_TASKS.get(&begins) }) else { return writes.unit };
    let unit = begun.unit;
    let _least_recent_goes = WORK_TASKS.insert(&key, begun, 0);
    unit | HANDED_OVER | BY_TASK
}

/// When what was handed over with a request was begun, of which [`go_writer`] has given this.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_begun(tgid: u32, sk: u64, work: u64) -> u64 {
    let key = key(tgid, sk);
    if work & BY_TASK != 0 {
        // SAFETY: as above.
        return unsafe { WORK_TASKS.get(&key) }.map_or(BEFORE, |begun| begun.begun_ns);
    }
    // SAFETY: as above.
    GO_CALLS.get_ptr(&key).map_or(BEFORE, |call| unsafe { (*call).begun_ns })
}

/// The goroutine `g` hands a request over to a connection of HTTP/1 (`net/http.persistConn`).
#[inline(always)]
pub fn calls(tgid: u32, g: u64, connection: u64) -> Option<()> {
    let plan = plan(tgid)?;
    let TaskOrigin { unit, begun_ns } = origin(tgid, goroutine(plan, g)?);
    let [_, data] = read_user_value::<[u64; 2]>(connection.wrapping_add(plan.go.client.into()))?;
    let socket = file_table::socket(descriptor(plan, data)?)?;
    let call = GoCall { inode: socket.inode, unit, begun_ns, is_due: 1 };
    let _least_recent_goes = GO_CALLS.insert(&key(tgid, socket.sk), &call, 0);
    Some(())
}

/// The goroutine `g` begins one that asks over HTTP/2.
#[inline(always)]
pub fn calls2(tgid: u32, g: u64) -> Option<()> {
    let plan = plan(tgid)?;
    let by = goroutine(plan, g)?;
    let origin = origin(tgid, by);
    let begins = TaskKey { object: by.unit | BEGINS, tgid: tgid.into() };
    let _least_recent_goes = WORK_TASKS.insert(&begins, &origin, 0);
    Some(())
}

/// The goroutine `g` begins to answer a request that a connection of HTTP/2 (`net/http.http2serverConn`) was asked, with a writer that knows its stream.
#[inline(always)]
pub fn handles2(tgid: u32, g: u64, connection: u64, writer: u64) -> Option<()> {
    let plan = plan(tgid)?;
    let unit = goroutine(plan, g)?.unit;
    let state = read_user_value::<u64>(writer)?;
    let stream = read_user_value::<u64>(state.wrapping_add(plan.go.stream.into()))?;
    let stream = read_user_value::<u32>(stream.wrapping_add(plan.go.stream_id.into()))?;
    let [_, data] = read_user_value::<[u64; 2]>(connection.wrapping_add(plan.go.server2.into()))?;
    let conn = match TLS_STREAMS.get_ptr(&TlsKey { object: data, tgid: tgid.into() }) {
        // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
        Some(stream) => unsafe { (*stream).plaintext.id },
        None => {
            let socket = file_table::socket(descriptor(plan, data)?)?;
            sockets::identity(socket.sk, socket.inode)?
        }
    };
    begins_to_answer(tgid, unit, conn, stream)
}

/// The goroutine `g` begins to answer a call that a connection of grpc-go (`transport.http2Server`) was asked by a stream.
#[inline(always)]
pub fn handles_grpc(tgid: u32, g: u64, connection: u64, stream: u64) -> Option<()> {
    let plan = plan(tgid)?;
    let unit = goroutine(plan, g)?.unit;
    let number = number_of(plan, stream, plan.go.grpc_server_stream)?;
    let conn = go_connection(tgid, connection.wrapping_add(plan.go.grpc_server.into()));
    begins_to_answer(tgid, unit, conn, number)
}

/// The goroutine `g` has had a stream made of a connection of grpc-go (`transport.http2Client`), which another writes.
#[inline(always)]
pub fn asks(tgid: u32, g: u64, stream: u64) -> Option<()> {
    let plan = plan(tgid)?;
    let TaskOrigin { unit, begun_ns } = origin(tgid, goroutine(plan, g)?);
    // For nobody: so it is without a word.
    GO_UNITS.get_ptr(&key(tgid, unit))?;
    let number = number_of(plan, stream, plan.go.grpc_client_stream)?;
    let client = read_user_value::<u64>(stream.wrapping_add(plan.go.grpc_client_of_stream.into()))?;
    let conn = go_connection(tgid, client.wrapping_add(plan.go.grpc_client.into()));
    if conn == 0 {
        return None;
    }
    emit(Handles { kind: EventKind::Handles as u32, tgid, conn, at_ns: begun_ns, work: unit, stream: number, asks: 1 })
}

/// The number of a stream of grpc-go, of those that clients begin.
#[inline(always)]
fn number_of(plan: &Plan, stream: u64, at: u16) -> Option<u32> {
    let stream = if plan.go.grpc_is_behind == 0 { stream } else { read_user_value::<u64>(stream)? };
    read_user_value::<u32>(stream.wrapping_add(at.into())).filter(|number| number & 1 != 0)
}

/// Which connection the `net.Conn` at `address` is: its plaintext, where it encrypts; 0 for none that is known.
///
/// A function of its own for the verifier, as `work::unit_of_work`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_connection(tgid: u32, address: u64) -> u64 {
    connection(tgid, address).unwrap_or(0)
}

#[inline(always)]
fn connection(tgid: u32, address: u64) -> Option<u64> {
    let plan = plan(tgid)?;
    let [_, mut data] = read_user_value::<[u64; 2]>(address)?;
    let mut step = 0;
    while step < NESTED_MAX {
        if let Some(stream) = TLS_STREAMS.get_ptr(&TlsKey { object: data, tgid: tgid.into() }) {
            // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
            return Some(unsafe { (*stream).plaintext.id });
        }
        let [first, second] = read_user_value::<[u64; 2]>(data)?;
        if let Some(descriptor) = own_descriptor(plan, first) {
            let socket = file_table::socket(descriptor)?;
            return sockets::identity(socket.sk, socket.inode);
        }
        data = second;
        step += 1;
    }
    None
}

/// A goroutine begins to answer the request of a stream, and what it begins from here on is for that.
#[inline(always)]
fn begins_to_answer(tgid: u32, unit: u64, conn: u64, stream: u32) -> Option<()> {
    if conn == 0 {
        return None;
    }
    // SAFETY: the helper only returns a number.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    let key = key(tgid, unit);
    if GO_UNITS.get_ptr(&key).is_some() {
        // One that answers one after the other: what it has begun before goes on.
        let _known_or_not = go_answers(tgid, unit, at_ns);
    } else {
        // SAFETY: the value is copied at once.
        let _least_recent_goes = GO_UNITS.insert(&key, unsafe { &*NO_GO_UNIT.get_ptr(0)? }, 0);
        // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
        let answers = unsafe { &mut *GO_UNITS.get_ptr_mut(&key)? };
        // All that it has begun so far is for this one.
        (answers.at_ns, answers.is_complete) = (at_ns, 1);
    }
    emit(Handles { kind: EventKind::Handles as u32, tgid, conn, at_ns, work: unit, stream, asks: 0 })
}

/// The descriptor of a connection (`net.TCPConn`, `net.UnixConn`, or what has one as its first member, as `tls.Conn` has).
#[inline(always)]
pub(super) fn descriptor(plan: &Plan, data: u64) -> Option<u64> {
    let mut data = data;
    let mut step = 0;
    while step < NESTED_MAX {
        let [first, second] = read_user_value::<[u64; 2]>(data)?;
        if let Some(descriptor) = own_descriptor(plan, first) {
            return Some(descriptor);
        }
        data = second;
        step += 1;
    }
    None
}

/// The descriptor of what begins with this word, if that is a connection and not an interface.
#[inline(always)]
fn own_descriptor(plan: &Plan, first: u64) -> Option<u64> {
    // An interface begins with a table of functions; a connection with its `net.netFD`, which has family and kind.
    let [family, kind] = read_user_value::<[u64; 2]>(first.wrapping_add(plan.go.family.into()))?;
    let is_socket = family == AF_INET.into() || family == AF_INET6.into() || family == AF_UNIX.into();
    if !is_socket || kind != 1 {
        return None;
    }
    read_user_value::<u64>(first.wrapping_add(plan.go.descriptor.into())).filter(|&fd| fd <= i32::MAX as u64)
}
