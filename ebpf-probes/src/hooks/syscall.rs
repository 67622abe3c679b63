//! Backend `syscall`: the exit of every system call (5.8+). The arguments are still in the registers then. Works
//! anywhere, and taxes every call of every process.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use ebpf_common::{
    events::{RECEIVED, SENT, TCP_CLOSE, TCP_LISTEN, flags},
    limits::MMSG_MAX,
    policy::{Counter, MANY_MESSAGES},
};

use super::call::{self, MMSGHDR};
use crate::{
    handlers::{
        capture::{Buffer, read_user_value},
        process, socket_io, socket_state,
    },
    kernel::{
        file_table,
        regs::{
            PREADV2, PWRITEV2, READ, READV, RECVFROM, RECVMMSG, RECVMSG, Regs, SENDFILE, SENDMMSG, SENDMSG, SENDTO,
            SPLICE, WRITE, WRITEV,
        },
        socket::Raw,
        task,
    },
    maps::{CONNECTIONS_BY_ADDRESS, TAIL_CALLS, count},
};

const MSG_OOB: u64 = 0x1;
const MSG_PEEK: u64 = 0x2;
const MSG_TRUNC: u64 = 0x20;
const MSG_ERRQUEUE: u64 = 0x2000;

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    exited(&ctx);
    0
}

/// Called by `sys_exit`, never attached.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_many(ctx: BtfTracePointContext) -> i32 {
    let regs = Regs(ctx.arg::<*const u8>(0));
    many(regs, regs.number(), task::current_tgid(), ctx.arg(1));
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn syscall_set_state(ctx: BtfTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let state = ctx.arg::<u32>(2);
    if state == TCP_LISTEN {
        process::listens();
        return 0;
    }
    if let Some(connection) = CONNECTIONS_BY_ADDRESS.get_ptr_mut(&sk) {
        socket_state::changed(Raw { sk, inode: 0 }, connection, state);
        if state == TCP_CLOSE {
            let _gone_already = CONNECTIONS_BY_ADDRESS.remove(&sk);
        }
    }
    0
}

#[inline(always)]
fn exited(ctx: &BtfTracePointContext) -> Option<()> {
    let regs = Regs(ctx.arg::<*const u8>(0));
    let number = regs.number();
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
    if moved < 0 {
        return None;
    }
    let tgid = task::current_tgid();
    if !process::watched(tgid) {
        return None;
    }
    if regs.compat() {
        // The numbers mean other calls there; nothing can be said but that something was done.
        count(Counter::Compat);
        return None;
    }
    match number {
        RECVMMSG | SENDMMSG => {
            // A program of its own, so that each stays small enough for the verifier. It returns only if that one is
            // not there.
            // SAFETY: the context is this program's.
            let _not_there = unsafe { TAIL_CALLS.tail_call(ctx, MANY_MESSAGES) };
            None
        }
        SENDFILE => one(regs.arg0(), tgid, SENT, moved, call::HIDDEN),
        SPLICE => {
            one(regs.arg0(), tgid, RECEIVED, moved, call::HIDDEN);
            one(regs.arg2(), tgid, SENT, moved, call::HIDDEN)
        }
        READ | READV | RECVFROM | RECVMSG | PREADV2 => {
            let how = match number {
                RECVFROM => regs.arg3(),
                RECVMSG => regs.arg2(),
                _ => 0,
            };
            if how & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
                return None;
            }
            let buffer = if how & MSG_TRUNC != 0 { call::HIDDEN } else { call::receiving(regs, number) };
            one(regs.arg0(), tgid, RECEIVED, moved, buffer)
        }
        _ => one(regs.arg0(), tgid, SENT, moved, call::sending(regs, number)),
    }
}

#[inline(always)]
fn one(fd: u64, tgid: u32, direction: u32, moved: i64, buffer: Buffer) -> Option<()> {
    let found = file_table::socket(fd)?;
    let socket = Raw { sk: found.sk, inode: found.inode };
    if moved == 0 {
        return if direction == RECEIVED { socket_io::ended(socket, tgid) } else { None };
    }
    socket_io::moved(socket, tgid, direction, moved as u32, buffer)
}

/// `sendmmsg` and `recvmmsg` return how many messages they moved; each has its length behind it.
#[inline(always)]
fn many(regs: Regs, number: u64, tgid: u32, moved: i64) -> Option<()> {
    let direction = if number == SENDMMSG { SENT } else { RECEIVED };
    if direction == RECEIVED && regs.arg3() & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
        return None;
    }
    let found = file_table::socket(regs.arg0())?;
    let socket = Raw { sk: found.sk, inode: found.inode };
    let messages = regs.arg1();
    for i in 0..u64::from(MMSG_MAX) {
        if moved < 0 || i >= moved as u64 {
            break;
        }
        let address = messages + i * MMSGHDR;
        let len = read_user_value::<u32>(address + MMSGHDR - 8)?;
        if len == 0 {
            continue;
        }
        let buffer = if regs.arg3() & MSG_TRUNC != 0 && direction == RECEIVED {
            Buffer::hidden(flags::UNREADABLE)
        } else {
            Buffer::message(address)
        };
        socket_io::moved(socket, tgid, direction, len, buffer);
    }
    Some(())
}
