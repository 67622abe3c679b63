//! Backend `sock`: the tracepoints that tell how many bytes a socket sent or received (6.3+), with the buffer's address
//! from the registers of the call. Other system calls pay nothing.

use core::ffi::c_void;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use ebpf_common::{
    events::{RECEIVED, SENT, TCP_LISTEN, flags},
    policy::DATAGRAM,
};

use super::call;
use crate::{
    globals::hooks_only,
    handlers::{
        dns, frames, process, socket_io, socket_state,
        sockets::{Socket, Typed},
        standby::{Hook, already_claimed},
        tls,
    },
    kernel::{
        regs::{self, Regs},
        socket, task,
    },
    maps::{TAIL_CALLS_RECEIVED, TAIL_CALLS_SENT},
    state::Buffer,
};

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_TRUNC: u32 = 0x20;
const MSG_ERRQUEUE: u32 = 0x2000;

// Within the program itself, see `sys_exit`.
#[btf_tracepoint(function = "sock_send_length")]
#[inline(always)]
fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    if hooks_only() || already_claimed(Hook::Send) {
        return 0;
    }
    sent(&ctx);
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
#[inline(always)]
fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    if hooks_only() || already_claimed(Hook::Receive) {
        return 0;
    }
    received(&ctx);
    0
}

/// Called by `sock_send_length` and by itself, never attached.
#[btf_tracepoint(function = "sock_send_length")]
fn sock_send_frames(ctx: BtfTracePointContext) -> i32 {
    let outcome = frames::walk(SENT);
    if outcome == frames::MORE {
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS_SENT.tail_call(&ctx, 0) };
    }
    frames::finish(SENT, outcome, |_| Typed(ctx.arg::<*mut c_void>(0)));
    0
}

/// Called by `sock_recv_length` and by itself, never attached.
#[btf_tracepoint(function = "sock_recv_length")]
fn sock_recv_frames(ctx: BtfTracePointContext) -> i32 {
    let outcome = frames::walk(RECEIVED);
    if outcome == frames::MORE {
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS_RECEIVED.tail_call(&ctx, 0) };
    }
    frames::finish(RECEIVED, outcome, |_| Typed(ctx.arg::<*mut c_void>(0)));
    0
}

/// Called by `sock_send_length` where a datagram was sent, never attached. The sender of one that is received is not in
/// the process's memory yet when the hook runs; so what is asked of a DNS server over a socket without a connection marks it.
#[btf_tracepoint(function = "sock_send_length")]
fn sock_send_datagram(ctx: BtfTracePointContext) -> i32 {
    let moved: i32 = ctx.arg(1);
    let socket = Typed(ctx.arg::<*mut c_void>(0));
    let to_dns = match socket::datagram_peer(socket.address()) {
        Some(dns::PORT) => true,
        Some(0) => {
            let regs = call_of(task::current());
            let asks = regs.is_some_and(|regs| call::receiver_port(regs, regs.number()) == Some(dns::PORT));
            if asks {
                socket.mark_asking();
            }
            asks
        }
        _ => false,
    };
    if to_dns {
        let task = task::current();
        let buffer = buffer(task, task::thread(task), call::sending, regs::SENDMMSG);
        dns::passed(socket.address(), SENT, moved as u32, buffer);
    }
    0
}

/// Called by `sock_recv_length` where a datagram was received, never attached.
#[btf_tracepoint(function = "sock_recv_length")]
fn sock_recv_datagram(ctx: BtfTracePointContext) -> i32 {
    let (moved, how): (i32, u32) = (ctx.arg(1), ctx.arg(2));
    let socket = Typed(ctx.arg::<*mut c_void>(0));
    let from_dns = match socket::datagram_peer(socket.address()) {
        Some(dns::PORT) => true,
        Some(0) => socket.is_asking(),
        _ => false,
    };
    if from_dns
        && how & MSG_TRUNC == 0
        && let Some(regs) = call_of(task::current())
    {
        dns::passed(socket.address(), RECEIVED, moved as u32, call::receiving(regs, regs.number()));
    }
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn sock_set_state(ctx: BtfTracePointContext) -> i32 {
    if already_claimed(Hook::State) {
        return 0;
    }
    let state = ctx.arg::<u32>(2);
    if state == TCP_LISTEN {
        process::listens();
        return 0;
    }
    let socket = Typed(ctx.arg::<*mut c_void>(0));
    socket_state::connects(socket, ctx.arg::<u32>(1), state);
    if let Some(connection) = socket.connection() {
        socket_state::changed(socket, connection, state);
    }
    0
}

#[inline(always)]
fn sent(ctx: &BtfTracePointContext) -> Option<()> {
    let moved: i32 = ctx.arg(1);
    let socket = Typed(ctx.arg::<*mut c_void>(0));
    if moved <= 0 {
        return tls::sent_nothing(|| socket.connection());
    }
    let task = task::current();
    let thread = task::thread(task);
    let buffer = || buffer(task, thread, call::sending, regs::SENDMMSG);
    // SAFETY: the context is this program's.
    let on_datagrams = || unsafe { TAIL_CALLS_SENT.tail_call(ctx, DATAGRAM) };
    if socket_io::moved(socket, thread, SENT, moved as u32, buffer, on_datagrams, || to_send(task))?
        == socket_io::FOLLOW
    {
        // It returns only if that program is not there.
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS_SENT.tail_call(ctx, 0) };
        socket_io::unfollowed(socket, SENT);
    }
    Some(())
}

#[inline(always)]
fn received(ctx: &BtfTracePointContext) -> Option<()> {
    let (moved, how): (i32, u32) = (ctx.arg(1), ctx.arg(2));
    if how & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
        return None;
    }
    if moved <= 0 {
        let socket = Typed(ctx.arg::<*mut c_void>(0));
        tls::received_nothing(|| stack(task::current()), || Some(socket.connection()));
    }
    if moved < 0 {
        return None;
    }
    let task = task::current();
    let thread = task::thread(task);
    let socket = Typed(ctx.arg::<*mut c_void>(0));
    if moved == 0 {
        return socket_io::ended(socket, thread);
    }
    let buffer = || {
        // The bytes were thrown away, not copied to the buffer.
        if how & MSG_TRUNC != 0 { call::HIDDEN } else { buffer(task, thread, call::receiving, regs::RECVMMSG) }
    };
    // SAFETY: the context is this program's.
    let on_datagrams = || unsafe { TAIL_CALLS_RECEIVED.tail_call(ctx, DATAGRAM) };
    if socket_io::moved(socket, thread, RECEIVED, moved as u32, buffer, on_datagrams, || stack(task))?
        == socket_io::FOLLOW
    {
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS_RECEIVED.tail_call(ctx, 0) };
        socket_io::unfollowed(socket, RECEIVED);
    }
    Some(())
}

/// The registers of the call that `task`, the current one, is in; `None` where they are no call's, or a 32-bit program's.
#[inline(always)]
fn call_of(task: *const u8) -> Option<Regs> {
    if task::is_kernel_worker(task) {
        return None;
    }
    let regs = Regs::of(task);
    (!regs.compat() && regs.in_call()).then_some(regs)
}

/// Where the stack of the call ends that `task`, the current one, is in; 0 where it is in none.
#[inline(always)]
fn stack(task: *const u8) -> u64 {
    call_of(task).map_or(0, Regs::stack_pointer)
}

/// How many bytes the call is to send that `task`, the current one, is in; 0 where that is not known.
#[inline(always)]
fn to_send(task: *const u8) -> u64 {
    call_of(task).map_or(0, call::to_send)
}

/// The buffer of the call that `task`, the current one, is in, as `of_call` finds it.
#[inline(always)]
fn buffer(task: *const u8, thread: u64, of_call: impl Fn(Regs, u64) -> Buffer, many: u64) -> Buffer {
    if task::is_kernel_worker(task) {
        return call::HIDDEN;
    }
    let regs = Regs::of(task);
    if regs.compat() {
        return Buffer::hidden(flags::COMPAT);
    }
    if !regs.in_call() {
        return call::HIDDEN;
    }
    let number = regs.number();
    if number == many { call::next_message(regs, number, thread) } else { of_call(regs, number) }
}
