//! Where a system call keeps the bytes it moves.

use ebpf_common::events::{AF_INET, AF_INET6, flags};

use crate::{
    handlers::capture::read_user_value,
    kernel::regs::{
        PREADV2, PWRITEV2, READ, READV, RECVFROM, RECVMMSG, RECVMSG, Regs, SENDMMSG, SENDMSG, SENDTO, WRITE, WRITEV,
    },
    maps::MMSG,
    state::{Buffer, Mmsg},
};

/// Size of a `struct mmsghdr`: a message header and the length moved.
pub const MMSGHDR: u64 = 64;

/// Bytes that are counted only.
pub const HIDDEN: Buffer = Buffer::hidden(flags::UNREADABLE);

/// The buffer of a call that receives.
#[inline(always)]
pub fn receiving(regs: Regs, number: u64) -> Buffer {
    match number {
        READ | RECVFROM => Buffer::plain(regs.arg1()),
        READV | PREADV2 => Buffer::vector(regs.arg1(), regs.arg2()),
        RECVMSG => Buffer::message(regs.arg1()),
        _ => HIDDEN,
    }
}

/// The buffer of a call that sends.
#[inline(always)]
pub fn sending(regs: Regs, number: u64) -> Buffer {
    match number {
        WRITE | SENDTO => Buffer::plain(regs.arg1()),
        WRITEV | PWRITEV2 => Buffer::vector(regs.arg1(), regs.arg2()),
        SENDMSG => Buffer::message(regs.arg1()),
        _ => HIDDEN,
    }
}

/// How many bytes a call is to send; 0 where that is not in its registers.
#[inline(always)]
pub fn to_send(regs: Regs) -> u64 {
    match regs.number() {
        WRITE | SENDTO => regs.arg2(),
        _ => 0,
    }
}

/// The port that a datagram comes from, as a call that has received it says.
#[inline(always)]
pub fn sender_port(regs: Regs, number: u64) -> Option<u16> {
    match number {
        RECVFROM => port(regs.arg4()),
        RECVMSG => port(read_user_value(regs.arg1())?),
        _ => None,
    }
}

/// The port that a call sends a datagram to, if it names one; of several datagrams, the first one's.
#[inline(always)]
pub fn receiver_port(regs: Regs, number: u64) -> Option<u16> {
    match number {
        SENDTO => port(regs.arg4()),
        // A `struct msghdr` begins with the address of the name.
        SENDMSG | SENDMMSG => port(read_user_value(regs.arg1())?),
        _ => None,
    }
}

/// The port of a `struct sockaddr_in` or `sockaddr_in6`: behind the family in both.
#[inline(always)]
fn port(name: u64) -> Option<u16> {
    if name == 0 {
        return None;
    }
    let [family, port] = read_user_value::<[u16; 2]>(name)?;
    (family == AF_INET || family == AF_INET6).then_some(u16::from_be(port))
}

/// The message that a thread within `sendmmsg` or `recvmmsg` has just moved, as the hooks that see each message
/// alone find it: the one after that of the thread's last hit, if it is within the same array.
#[inline(always)]
pub fn next_message(regs: Regs, number: u64, thread: u64) -> Buffer {
    if number != SENDMMSG && number != RECVMMSG {
        return HIDDEN;
    }
    let (messages, count) = (regs.arg1(), regs.arg2() as u32);
    let mut index = 0;
    if count > 1 {
        // SAFETY: the value is copied out at once.
        if let Some(at) = unsafe { MMSG.get(&thread) }.copied()
            && at.messages == messages
            && at.count == count
            && at.seen < count
        {
            index = at.seen;
        }
        if MMSG.insert(&thread, &Mmsg { messages, seen: index + 1, count }, 0).is_err() {
            return HIDDEN;
        }
    }
    Buffer::message(messages + u64::from(index) * MMSGHDR)
}
