//! Readers of `struct sock`.

use ebpf_common::{
    events::{AF_INET, AF_INET6, AF_UNIX, MET_BLOCKING, Open, TCP_CLOSE, UNIX_PATH_MAX},
    offsets::ABSENT,
};

use super::{read, read_into};
use crate::globals::OFFSETS;

const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
/// Bit of `sk_shutdown`: the peer will send no more.
const RCV_SHUTDOWN: u8 = 1;

/// What the kernel says of a TCP socket's sequence numbers.
///
/// No `Option`: without a value its fields would be undefined, and the compiler may still spill them to the stack, which
/// the verifier refuses.
#[derive(Clone, Copy)]
pub struct Sequences {
    /// They could be read.
    pub known: bool,
    /// `copied_seq`.
    pub received: u32,
    /// `write_seq`.
    pub sent: u32,
}

impl Sequences {
    /// A socket without any.
    pub const NONE: Self = Self { known: false, received: 0, sent: 0 };
}

/// What is watched of a socket's kind: `Some(true)` for TCP; `Some(false)` for a unix stream and for MPTCP, whose bytes are
/// counted here, since they have sequence numbers of each path only; `None` for all else. The paths themselves are not
/// met: the kernel moves bytes over them, no process does. Where it is a socket for datagrams, `on_datagrams` is called.
#[inline(always)]
pub fn watched_kind(sk: u64, on_datagrams: impl FnOnce()) -> Option<bool> {
    let kind = read::<u16>(sk, OFFSETS.sock_type.load())?;
    if kind != SOCK_STREAM {
        if kind == SOCK_DGRAM {
            on_datagrams();
        }
        return None;
    }
    match read::<u16>(sk, OFFSETS.sock_family.load())? {
        AF_INET | AF_INET6 => match read::<u16>(sk, OFFSETS.sock_protocol.load())? {
            IPPROTO_TCP => Some(true),
            IPPROTO_MPTCP => Some(false),
            _ => None,
        },
        AF_UNIX => Some(false),
        _ => None,
    }
}

/// The port of the other side that a socket for datagrams is connected to: 0 where it is not connected, `None` where it is
/// not of IP.
#[inline(always)]
pub fn datagram_peer(sk: u64) -> Option<u16> {
    match read::<u16>(sk, OFFSETS.sock_family.load())? {
        AF_INET | AF_INET6 => Some(u16::from_be(read(sk, OFFSETS.sock_dport.load())?)),
        _ => None,
    }
}

/// Family and address of the other side that a socket for datagrams is connected to, at this port; 0 where it is not.
#[inline(always)]
pub fn datagram_server(sk: u64, port: u16) -> (u16, [u64; 2]) {
    if datagram_peer(sk) != Some(port) {
        return (0, [0; 2]);
    }
    if read::<u16>(sk, OFFSETS.sock_family.load()) == Some(AF_INET) {
        return read::<u32>(sk, OFFSETS.sock_daddr.load()).map_or((0, [0; 2]), |ip| (AF_INET, [ip.into(), 0]));
    }
    read::<[u64; 2]>(sk, OFFSETS.sock_v6_daddr.load()).map_or((0, [0; 2]), |ip| (AF_INET6, ip))
}

/// The port on this side; 0 where there is none.
#[inline(always)]
pub fn local_port(sk: u64) -> u16 {
    read::<u16>(sk, OFFSETS.sock_num.load()).unwrap_or(0)
}

/// Whether a socket may serve its port. Who connects has one that the kernel chose, which may be one that is served elsewhere by
/// chance, if nobody listens on it.
#[inline(always)]
pub fn may_serve(sk: u64) -> bool {
    match read::<u16>(sk, OFFSETS.sock_family.load()) {
        Some(AF_INET | AF_INET6) => {}
        _ => return false,
    }
    let bound = read::<u64>(sk, OFFSETS.icsk_bind_hash.load()).unwrap_or(0);
    let chosen_by_kernel = read::<i8>(bound, OFFSETS.bind_fastreuse.load()) == Some(-1);
    !chosen_by_kernel
}

/// Which end of its connection an IPv4 or IPv6 socket is, as far as its port tells: `Some(true)` where it serves, or has asked for
/// a port of its own, `Some(false)` where it calls.
#[inline(always)]
pub fn serves(sk: u64) -> Option<bool> {
    match read::<u16>(sk, OFFSETS.sock_family.load()) {
        Some(AF_INET | AF_INET6) => {}
        _ => return None,
    }
    let bound = read::<u64>(sk, OFFSETS.icsk_bind_hash.load()).filter(|&bound| bound != 0)?;
    Some(read::<i8>(bound, OFFSETS.bind_fastreuse.load())? != -1)
}

/// The peer has sent its last byte.
#[inline(always)]
pub fn peer_has_finished(sk: u64) -> bool {
    read::<u8>(sk, OFFSETS.sock_shutdown.load()).is_some_and(|shutdown| shutdown & RCV_SHUTDOWN != 0)
}

/// `O_NONBLOCK`.
const NONBLOCKING: u32 = 0o4000;

/// Whether reading from a socket waits for bytes to come.
#[inline(always)]
fn is_blocking(sk: u64) -> Option<bool> {
    let socket = read::<u64>(sk, OFFSETS.sock_socket.load()).filter(|&socket| socket != 0)?;
    let file = read::<u64>(socket, OFFSETS.socket_file.load()).filter(|&file| file != 0)?;
    Some(read::<u32>(file, OFFSETS.file_flags.load())? & NONBLOCKING == 0)
}

/// What the process keeps with a socket at the epoll by which it waits for it.
#[inline(always)]
pub fn event_data(sk: u64) -> Option<u64> {
    // `struct epoll_event` is packed on x86-64: the data stand behind 32 bits of events.
    const DATA: u64 = 4;
    let socket = read::<u64>(sk, OFFSETS.sock_socket.load()).filter(|&socket| socket != 0)?;
    let file = read::<u64>(socket, OFFSETS.socket_file.load()).filter(|&file| file != 0)?;
    let waiting = read::<u64>(file, OFFSETS.file_ep.load()).filter(|&waiting| waiting != 0)?;
    let first = read::<u64>(waiting, 0).filter(|&first| first != 0)?;
    let link = OFFSETS.epitem_link.load();
    let event = OFFSETS.epitem_event.load();
    if link == ABSENT || event == ABSENT {
        return None;
    }
    read(first.wrapping_sub(u64::from(link)) + u64::from(event) + DATA, 0)
}

/// The number of the inode that stands for a socket.
#[inline(always)]
pub fn inode_number(sk: u64) -> Option<u64> {
    let socket = read::<u64>(sk, OFFSETS.sock_socket.load()).filter(|&socket| socket != 0)?;
    let inode = OFFSETS.socket_inode.load();
    if inode == ABSENT {
        return None;
    }
    read(socket + u64::from(inode), OFFSETS.inode_ino.load())
}

/// It is a TCP socket, and the connection is gone.
#[inline(always)]
pub fn is_closed(sk: u64) -> bool {
    read::<u8>(sk, OFFSETS.sock_state.load()) == Some(TCP_CLOSE as u8)
}

/// Bytes that a TCP socket has received and the process has not read yet.
#[inline(always)]
pub fn unread(sk: u64) -> u32 {
    let next = read::<u32>(sk, OFFSETS.tcp_rcv_nxt.load()).unwrap_or(0);
    let copied = read::<u32>(sk, OFFSETS.tcp_copied_seq.load()).unwrap_or(next);
    let unread = next.wrapping_sub(copied);
    // A FIN has a sequence number of its own.
    let unread = if unread > 0 && peer_has_finished(sk) { unread - 1 } else { unread };
    if unread > i32::MAX as u32 { 0 } else { unread }
}

/// The socket's error (`sk_err`).
#[inline(always)]
pub fn error(sk: u64) -> u32 {
    read::<u32>(sk, OFFSETS.sock_err.load()).unwrap_or(0)
}

/// Whether all that a TCP socket has moved are `len` bytes. Where the kernel does not say, it is not known to be so.
#[inline(always)]
pub fn has_moved_only(sk: u64, len: u32) -> Option<bool> {
    let received = read::<u64>(sk, OFFSETS.tcp_bytes_received.load())?;
    let acked = read::<u64>(sk, OFFSETS.tcp_bytes_acked.load())?;
    let unread =
        read::<u32>(sk, OFFSETS.tcp_rcv_nxt.load())?.wrapping_sub(read::<u32>(sk, OFFSETS.tcp_copied_seq.load())?);
    let on_its_way =
        read::<u32>(sk, OFFSETS.tcp_write_seq.load())?.wrapping_sub(read::<u32>(sk, OFFSETS.tcp_snd_una.load())?);
    let moved = received.wrapping_sub(u64::from(unread)).wrapping_add(acked).wrapping_add(u64::from(on_its_way));
    // A SYN and a FIN have sequence numbers of their own, which some of these count.
    Some(moved.wrapping_add(2) <= u64::from(len) + 4)
}

/// Fills in addresses and network namespace of a record that is all zeroes. What cannot be read stays zero.
#[inline(always)]
pub fn describe(sk: u64, open: *mut Open) -> Option<()> {
    let family = read::<u16>(sk, OFFSETS.sock_family.load())?;
    let state = u16::from(read::<u8>(sk, OFFSETS.sock_state.load())?);
    let net = read::<u64>(sk, OFFSETS.sock_net.load())?;
    // SAFETY: members of a record in the ring buffer.
    let (local, remote, path) = unsafe {
        (*open).family = family;
        (*open).state = state | if is_blocking(sk) == Some(true) { MET_BLOCKING } else { 0 };
        (*open).netns = read(net, OFFSETS.net_inum.load()).unwrap_or(0);
        ((&raw mut (*open).local_addr).cast(), (&raw mut (*open).remote_addr).cast(), (&raw mut (*open).path).cast())
    };
    match family {
        AF_INET => {
            read_into(local, 4, sk, OFFSETS.sock_rcv_saddr.load())?;
            read_into(remote, 4, sk, OFFSETS.sock_daddr.load())?;
        }
        AF_INET6 => {
            read_into(local, 16, sk, OFFSETS.sock_v6_rcv_saddr.load())?;
            read_into(remote, 16, sk, OFFSETS.sock_v6_daddr.load())?;
        }
        _ => {
            // SAFETY: as above.
            unsafe { (*open).inode = inode_number(sk).unwrap_or(0) };
            let own = read::<u64>(sk, OFFSETS.unix_addr.load()).unwrap_or(0);
            let peer = read::<u64>(sk, OFFSETS.unix_peer.load()).unwrap_or(0);
            // SAFETY: as above.
            unsafe { ((*open).socket, (*open).peer_socket) = (sk, peer) };
            let address = if own != 0 { own } else { read::<u64>(peer, OFFSETS.unix_addr.load()).unwrap_or(0) };
            // The length counts the family before the path.
            let len = read::<u32>(address, OFFSETS.unix_address_len.load())?.saturating_sub(2);
            // SAFETY: as above.
            unsafe { (*open).path_len = len };
            return read_into(path, UNIX_PATH_MAX as u32, address + 2, OFFSETS.unix_address_name.load());
        }
    }
    // SAFETY: as above.
    unsafe {
        (*open).local_port = read(sk, OFFSETS.sock_num.load())?;
        (*open).remote_port = u16::from_be(read(sk, OFFSETS.sock_dport.load())?);
    }
    Some(())
}
