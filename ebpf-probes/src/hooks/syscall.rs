//! Backend `syscall`: the exit of every system call (5.8+). The arguments are still in the registers then. Works
//! anywhere, and taxes every call of every process.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext};
use ebpf_common::{
    events::{RECEIVED, SENT, TCP_CLOSE, TCP_LISTEN},
    limits::MMSG_MAX,
    policy::{Counter, FOLLOW, MANY_MESSAGES, READ_DATAGRAM},
};

use super::call::{self, MMSGHDR};
use crate::{
    globals::hooks_only,
    handlers::{
        capture::{forget, read_afresh, read_user_value},
        counters::count,
        dns, frames, process, socket_io, socket_state,
        sockets::{InOneCall, Raw, Socket},
        standby::{Hook, already_claimed},
        tls,
    },
    kernel::{
        file_table,
        regs::{
            self, PREADV2, PWRITEV2, READ, READV, RECVFROM, RECVMMSG, RECVMSG, Regs, SENDFILE, SENDMMSG, SENDMSG,
            SENDTO, SPLICE, WRITE, WRITEV,
        },
        socket,
        task::{self, tgid_of},
    },
    maps::{CONNECTIONS_BY_ADDRESS, MANY, SCRATCH, TAIL_CALLS},
    state::Buffer,
};

const MSG_OOB: u64 = 0x1;
const MSG_PEEK: u64 = 0x2;
const MSG_TRUNC: u64 = 0x20;
const MSG_ERRQUEUE: u64 = 0x2000;

// Within the program itself: without the object's BTF, as its copies are loaded, the kernel takes no tail call in a function.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    if hooks_only() || already_claimed(Hook::SysExit) {
        return 0;
    }
    exited(&ctx);
    0
}

/// Called by `sys_exit` and by itself, once for each message; never attached.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_many(ctx: BtfTracePointContext) -> i32 {
    many(&ctx);
    0
}

/// Called by `sys_exit` and by itself, never attached.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_frames(ctx: BtfTracePointContext) -> i32 {
    let regs = Regs(ctx.arg::<*const u8>(0));
    let direction = if receives(regs.number()) { RECEIVED } else { SENT };
    // Else the verifier follows all that comes after once for each call that it may be.
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    let direction = forget(scratch, 0, u64::from(direction)) as u32;
    let outcome = frames::walk(direction);
    if outcome == frames::MORE {
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS.tail_call(&ctx, FOLLOW) };
    }
    frames::finish(direction, outcome, |walk| Raw { sk: walk.socket.get(), inode: walk.inode.get() });
    0
}

/// Called by `sys_exit` where a datagram was received, never attached.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_datagram(ctx: BtfTracePointContext) -> i32 {
    datagram(&ctx);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn syscall_set_state(ctx: BtfTracePointContext) -> i32 {
    if already_claimed(Hook::State) {
        return 0;
    }
    let sk: u64 = ctx.arg(0);
    let state = ctx.arg::<u32>(2);
    if state == TCP_LISTEN {
        process::listens();
        return 0;
    }
    socket_state::connects(Raw { sk, inode: 0 }, ctx.arg::<u32>(1), state);
    if let Some(connection) = CONNECTIONS_BY_ADDRESS.get_ptr_mut(&sk) {
        let all = socket_state::changed(Raw { sk, inode: 0 }, connection, state);
        // Else it goes as the least recently used.
        if state == TCP_CLOSE && all {
            let _gone_already = CONNECTIONS_BY_ADDRESS.remove(&sk);
        }
    }
    0
}

#[inline(always)]
fn exited(ctx: &BtfTracePointContext) -> Option<()> {
    let regs = Regs(ctx.arg::<*const u8>(0));
    let number = regs.number();
    if regs.compat() {
        return compat(regs, number, ctx.arg(1));
    }
    if !matches!(
        number,
        READ | WRITE
            | READV
            | WRITEV
            | SENDFILE
            | SENDTO
            | RECVFROM
            | SENDMSG
            | RECVMSG
            | SPLICE
            | RECVMMSG
            | SENDMMSG
            | PREADV2
            | PWRITEV2
    ) {
        return None;
    }
    let moved: i64 = ctx.arg(1);
    if moved <= 0 {
        nothing_moved(regs, number);
    }
    if moved < 0 {
        return None;
    }
    let thread = bpf_get_current_pid_tgid();
    if !process::may_be_watched(tgid_of(thread), || true) {
        return None;
    }
    if matches!(number, RECVMMSG | SENDMMSG) {
        let many = MANY.get_ptr_mut(0)?;
        // SAFETY: per-CPU memory that no other program uses meanwhile.
        unsafe { ((*many).next, (*many).all, (*many).is_new) = (0, 0, 0) };
        // A program of its own, so that each stays small enough for the verifier. It returns only if that one is not there.
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS.tail_call(ctx, MANY_MESSAGES) };
        return None;
    }
    let how = match number {
        RECVFROM => regs.arg3(),
        RECVMSG => regs.arg2(),
        _ => 0,
    };
    if how & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
        return None;
    }
    // `splice` is from a socket or to one; a pipe is on the other side.
    let splices_in = number == SPLICE && file_table::socket(regs.arg0()).is_some();
    let fd = if number == SPLICE && !splices_in { regs.arg2() } else { regs.arg0() };
    let direction = if receives(number) || splices_in { RECEIVED } else { SENT };
    // The number is read again, so that the verifier does not follow all that comes before once for each call.
    one(ctx, fd, thread, direction, moved, || match regs.number() {
        RECVFROM if regs.arg3() & MSG_TRUNC != 0 => call::HIDDEN,
        RECVMSG if regs.arg2() & MSG_TRUNC != 0 => call::HIDDEN,
        number if receives(number) => call::receiving(regs, number),
        number => call::sending(regs, number),
    })
}

/// A call of a 32-bit program: its numbers mean other calls, and its arguments are in other registers. Told is only that
/// something was moved.
#[inline(always)]
fn compat(regs: Regs, number: u64, moved: i64) -> Option<()> {
    if !regs::COMPAT_CALLS.contains(&number) || moved <= 0 || !process::watched(task::current_tgid()) {
        return None;
    }
    let _a_socket = file_table::socket(regs.compat_arg0())?;
    count(Counter::Compat);
    None
}

/// Within a TLS call it matters that a socket was tried.
#[inline(always)]
fn nothing_moved(regs: Regs, number: u64) -> Option<()> {
    if receives(number) {
        let connection =
            || file_table::socket(regs.arg0()).map(|found| Raw { sk: found.sk, inode: found.inode }.connection());
        return tls::received_nothing(|| regs.stack_pointer(), connection);
    }
    tls::sent_nothing(|| {
        let found = file_table::socket(regs.arg0())?;
        Raw { sk: found.sk, inode: found.inode }.connection()
    })
}

/// Whether it is one of the calls that receive one piece into a buffer.
#[inline(always)]
fn receives(number: u64) -> bool {
    matches!(number, READ | READV | RECVFROM | RECVMSG | PREADV2)
}

#[inline(always)]
fn one(
    ctx: &BtfTracePointContext,
    fd: u64,
    thread: u64,
    direction: u32,
    moved: i64,
    buffer: impl FnOnce() -> Buffer,
) -> Option<()> {
    let found = file_table::socket(fd)?;
    let socket = Raw { sk: found.sk, inode: found.inode };
    if moved == 0 {
        return if direction == RECEIVED { socket_io::ended(socket, thread) } else { None };
    }
    // SAFETY: the context is this program's.
    let on_datagrams = || unsafe { TAIL_CALLS.tail_call(ctx, READ_DATAGRAM) };
    let regs = Regs(ctx.arg::<*const u8>(0));
    let call = || if direction == RECEIVED { regs.stack_pointer() } else { call::to_send(regs) };
    if socket_io::moved(socket, thread, direction, moved as u32, buffer, on_datagrams, call)? == socket_io::FOLLOW {
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS.tail_call(ctx, FOLLOW) };
        socket_io::unfollowed(socket, direction);
    }
    Some(())
}

/// `sys_exit` has seen that it is a call that moved datagrams, and is not to be left out because of how it did.
#[inline(always)]
fn datagram(ctx: &BtfTracePointContext) -> Option<()> {
    let regs = Regs(ctx.arg::<*const u8>(0));
    let (number, moved): (u64, i64) = (regs.number(), ctx.arg(1));
    let how = match number {
        RECVFROM => regs.arg3(),
        RECVMSG => regs.arg2(),
        _ => 0,
    };
    if how & MSG_TRUNC != 0 {
        return None;
    }
    let found = file_table::socket(regs.arg0())?;
    let is_received = receives(number);
    let is_dns = match socket::datagram_peer(found.sk)? {
        dns::PORT => true,
        0 if is_received => call::sender_port(regs, number)? == dns::PORT,
        0 => call::receiver_port(regs, number)? == dns::PORT,
        _ => false,
    };
    if !is_dns {
        return None;
    }
    if is_received {
        return dns::passed(found.sk, RECEIVED, moved as u32, call::receiving(regs, number));
    }
    if number != SENDMMSG {
        return dns::passed(found.sk, SENT, moved as u32, call::sending(regs, number));
    }
    // The C library asks for both kinds of addresses at once.
    let mut index = 0;
    while index < QUESTIONS_MAX && (index as i64) < moved {
        let address = regs.arg1() + index * MMSGHDR;
        let len = read_user_value::<u32>(address + MMSGHDR - 8)?;
        dns::passed(found.sk, SENT, len, Buffer::message(address));
        index += 1;
    }
    None
}

/// Questions of one `sendmmsg` that are read.
const QUESTIONS_MAX: u64 = 2;

/// `sendmmsg` and `recvmmsg` return how many messages they moved; each has its length behind it.
#[inline(always)]
fn many(ctx: &BtfTracePointContext) -> Option<()> {
    let regs = Regs(ctx.arg::<*const u8>(0));
    let moved: i64 = ctx.arg(1);
    let direction = if regs.number() == SENDMMSG { SENT } else { RECEIVED };
    let how = if direction == RECEIVED { regs.arg3() } else { 0 };
    if how & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
        return None;
    }
    let found = file_table::socket(regs.arg0())?;
    let socket = InOneCall(Raw { sk: found.sk, inode: found.inode });
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    let state = unsafe { &mut *MANY.get_ptr_mut(0)? };
    if state.next == 0 {
        state.is_new = u32::from(socket_io::is_new(socket));
    }
    let address = regs.arg1() + u64::from(state.next) * MMSGHDR;
    // Else all that comes behind is followed once for either direction.
    let scratch = SCRATCH.get_ptr_mut(direction)?;
    let direction = forget(scratch, 0, direction.into()) as u32 & 1;
    let len = read_user_value::<u32>(address + MMSGHDR - 8)?;
    // Kept there, not on the stack.
    state.len = len;
    if len != 0 {
        let call = || if direction == RECEIVED { regs.stack_pointer() } else { 0 };
        let buffer = || if how & MSG_TRUNC != 0 { call::HIDDEN } else { Buffer::message(address) };
        let on_datagrams = || {
            if direction == SENT {
                // SAFETY: the context is this program's.
                unsafe { TAIL_CALLS.tail_call(ctx, READ_DATAGRAM) };
            }
        };
        socket_io::moved(socket, bpf_get_current_pid_tgid(), direction, len, buffer, on_datagrams, call);
    }
    read_afresh(state);
    state.next += 1;
    state.all = state.all.wrapping_add(state.len);
    if i64::from(state.next) < moved && state.next < MMSG_MAX {
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS.tail_call(ctx, MANY_MESSAGES) };
    }
    socket_io::settle(socket.0, direction, state.all, state.is_new != 0)
}
