//! Sockets, as each backend reaches them and what is remembered of them, behind one trait.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns,
        generated::{bpf_get_socket_cookie, bpf_jiffies64, bpf_sk_storage_get, bpf_skc_to_tcp_sock},
    },
};
use ebpf_common::events::Tcp;

use super::capture::opaque;
use crate::{
    globals::OFFSETS,
    kernel::{as_number, load, load_or_zero, read, read_or_zero, read_wide_or_zero, socket::Sequences},
    maps::{ASKING, CONNECTING, CONNECTING_BY_ADDRESS, CONNECTIONS, CONNECTIONS_BY_ADDRESS},
    state::{AT_FIRST, Connecting, Connection, FrameCursor},
};

/// A socket as a backend hands it over.
pub trait Socket: Copy {
    /// Its directions can be followed.
    const FOLLOWED: bool = true;

    /// Address of its `struct sock`.
    fn address(self) -> u64;
    /// The same for an exported function, to which the verifier lets no pointer be handed.
    #[inline(always)]
    fn number(self) -> u64 {
        as_number(self.address())
    }
    /// What is remembered of it, if it was met before.
    fn connection(self) -> Option<*mut Connection>;
    /// Begins to remember it.
    fn remember(self) -> Option<*mut Connection>;
    /// What tells it from another socket at the same address, where the backend needs that.
    fn inode(self) -> u64;
    /// Its sequence numbers; it is TCP.
    fn sequences(self) -> Sequences;
    /// The same; writes down what the kernel's TCP says of it at `at_ns`, where that is known.
    #[inline(always)]
    fn observe(self, _at_ns: u64, _tcp: *mut Tcp) -> Sequences {
        self.sequences()
    }
    /// When it began to connect, and when it was connected, if that was seen.
    #[inline(always)]
    fn connecting(self) -> Option<*mut Connecting> {
        None
    }
    /// Begins to remember it.
    #[inline(always)]
    fn begin_connecting(self, _now: &Connecting) {}
    /// Forgets it.
    #[inline(always)]
    fn forget_connecting(self) {}
}

/// The identity of the connection of a socket that was met, whichever backend did.
#[inline(always)]
pub fn identity(sk: u64, inode: u64) -> Option<u64> {
    if let Some(connection) = (Raw { sk, inode }).connection() {
        // SAFETY: a value of the map; at worst another connection's, if it is evicted at this moment.
        return Some(unsafe { (*connection).id });
    }
    read::<u64>(sk, OFFSETS.sock_cookie.load()).filter(|&cookie| cookie != 0)
}

/// What the kernel's TCP says of a connection at `at_ns`, of which it last heard at `clock`; 0 where that is not known.
#[inline(always)]
fn tcp_at(at_ns: u64, clock: u64, received_at: u32, srtt: u32, retransmits: u32) -> Tcp {
    // SAFETY: the helper only returns a number.
    let now = unsafe { bpf_jiffies64() } as u32;
    // Without branches. Another processor may have heard of it since.
    let quiet = opaque(at_ns.wrapping_sub(clock));
    let quiet = quiet & !opaque((quiet as i64 >> 63) as u64);
    let is_known = (clock | clock.wrapping_neg()) >> 63;
    let quiet = (quiet >> Tcp::QUIET_SHIFT | 1) as u32 * opaque(is_known) as u32;
    Tcp { quiet, ticks: now.wrapping_sub(received_at), srtt, retransmits }
}

/// A socket whose type the verifier knows: state lives in socket storage.
#[derive(Clone, Copy)]
pub struct Typed(pub *mut c_void);

impl Typed {
    #[inline(always)]
    fn storage(self, flags: u64) -> Option<*mut Connection> {
        // SAFETY: the helper takes the map and a socket the verifier vouches for; a null value asks for zeroes.
        let connection =
            unsafe { bpf_sk_storage_get(&raw const CONNECTIONS as *mut c_void, self.0, ptr::null_mut(), flags) };
        (!connection.is_null()).then_some(connection.cast())
    }
}

impl Typed {
    /// Something was asked of a DNS server over it.
    #[inline(always)]
    pub fn mark_asking(self) {
        // Without room for the mark, the answer goes unseen.
        let _marked_or_not = self.asking(BPF_SK_STORAGE_GET_F_CREATE.into());
    }

    /// Whether it was marked so.
    #[inline(always)]
    pub fn is_asking(self) -> bool {
        self.asking(0)
    }

    #[inline(always)]
    fn asking(self, flags: u64) -> bool {
        // SAFETY: the helper takes the map and a socket the verifier vouches for; a null value asks for zeroes.
        let mark = unsafe { bpf_sk_storage_get(&raw const ASKING as *mut c_void, self.0, ptr::null_mut(), flags) };
        !mark.is_null()
    }
}

impl Socket for Typed {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    fn inode(self) -> u64 {
        0
    }

    #[inline(always)]
    fn connection(self) -> Option<*mut Connection> {
        self.storage(0)
    }

    #[inline(always)]
    fn remember(self) -> Option<*mut Connection> {
        let connection = self.storage(BPF_SK_STORAGE_GET_F_CREATE.into())?;
        // SAFETY: storage of a live socket; the helper takes a socket the verifier vouches for.
        unsafe { (*connection).id = bpf_get_socket_cookie(self.0) };
        Some(connection)
    }

    #[inline(always)]
    fn sequences(self) -> Sequences {
        // SAFETY: the helper checks what kind of socket it is.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.0) } as *const u8;
        if tcp.is_null() {
            return Sequences::NONE;
        }
        Sequences {
            known: true,
            received: load(tcp, OFFSETS.tcp_copied_seq.load()),
            sent: load(tcp, OFFSETS.tcp_write_seq.load()),
        }
    }

    #[inline(always)]
    fn observe(self, at_ns: u64, into: *mut Tcp) -> Sequences {
        // SAFETY: as above.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.0) } as *const u8;
        if tcp.is_null() {
            return Sequences::NONE;
        }
        let clock = load_or_zero(tcp, OFFSETS.tcp_clock.load());
        let received_at = load_or_zero(tcp, OFFSETS.icsk_received_at.load());
        let srtt = load_or_zero(tcp, OFFSETS.tcp_srtt.load());
        let retransmits = load_or_zero(tcp, OFFSETS.tcp_retransmits.load());
        // SAFETY: in per-CPU memory.
        unsafe { into.write(tcp_at(at_ns, clock, received_at, srtt, retransmits)) };
        Sequences {
            known: true,
            received: load(tcp, OFFSETS.tcp_copied_seq.load()),
            sent: load(tcp, OFFSETS.tcp_write_seq.load()),
        }
    }

    #[inline(always)]
    fn connecting(self) -> Option<*mut Connecting> {
        // SAFETY: the helper takes the map and a socket the verifier vouches for.
        let known = unsafe { bpf_sk_storage_get(&raw const CONNECTING as *mut c_void, self.0, ptr::null_mut(), 0) };
        (!known.is_null()).then_some(known.cast())
    }

    #[inline(always)]
    fn begin_connecting(self, now: &Connecting) {
        let (create, now) = (BPF_SK_STORAGE_GET_F_CREATE.into(), &raw const *now);
        // SAFETY: the helper takes the map, a socket the verifier vouches for, and a first value.
        let known =
            unsafe { bpf_sk_storage_get(&raw const CONNECTING as *mut c_void, self.0, now as *mut c_void, create) };
        if !known.is_null() {
            // It may have connected before.
            // SAFETY: storage of a live socket.
            unsafe { known.cast::<Connecting>().write(*now) };
        }
    }
}

/// A socket known by its address: state lives in a hash.
#[derive(Clone, Copy)]
pub struct Raw {
    pub sk: u64,
    pub inode: u64,
}

impl Socket for Raw {
    #[inline(always)]
    fn address(self) -> u64 {
        self.sk
    }

    #[inline(always)]
    fn number(self) -> u64 {
        self.sk
    }

    #[inline(always)]
    fn inode(self) -> u64 {
        self.inode
    }

    #[inline(always)]
    fn connection(self) -> Option<*mut Connection> {
        let connection = CONNECTIONS_BY_ADDRESS.get_ptr_mut(&self.sk)?;
        // SAFETY: a value of the map; at worst another connection's, if it is evicted at this moment.
        unsafe { (*connection).inode == self.inode }.then_some(connection)
    }

    #[inline(always)]
    fn remember(self) -> Option<*mut Connection> {
        // Socket cookies are small numbers; the top bit keeps these apart from them. The clock and the processor
        // make it unique.
        // SAFETY: the helpers only return numbers.
        let (now, processor) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
        let id = 1 << 63 | (now << 8) >> 1 | u64::from(processor & 0x7f);
        let fresh = Connection {
            id,
            position: [0; 2],
            sequence: [0; 2],
            budget: [0; 2],
            capture: AT_FIRST,
            tgid: 0,
            flags: 0,
            last_direction: 0,
            renewed: 0,
            runs: [0; 2],
            pieces: 0,
            frames: [FrameCursor::BETWEEN; 2],
            inode: self.inode,
            plaintext: 0,
            work: 0,
        };
        CONNECTIONS_BY_ADDRESS.insert(&self.sk, &fresh, 0).ok()?;
        CONNECTIONS_BY_ADDRESS.get_ptr_mut(&self.sk)
    }

    #[inline(always)]
    fn sequences(self) -> Sequences {
        Sequences {
            known: true,
            received: read(self.sk, OFFSETS.tcp_copied_seq.load()).unwrap_or(0),
            sent: read(self.sk, OFFSETS.tcp_write_seq.load()).unwrap_or(0),
        }
    }

    #[inline(always)]
    fn observe(self, at_ns: u64, into: *mut Tcp) -> Sequences {
        let clock = read_wide_or_zero(self.sk, OFFSETS.tcp_clock.load());
        let received_at = read_or_zero(self.sk, OFFSETS.icsk_received_at.load());
        let srtt = read_or_zero(self.sk, OFFSETS.tcp_srtt.load());
        let retransmits = read_or_zero(self.sk, OFFSETS.tcp_retransmits.load());
        // SAFETY: in per-CPU memory.
        unsafe { into.write(tcp_at(at_ns, clock, received_at, srtt, retransmits)) };
        self.sequences()
    }

    #[inline(always)]
    fn connecting(self) -> Option<*mut Connecting> {
        CONNECTING_BY_ADDRESS.get_ptr_mut(&self.sk)
    }

    #[inline(always)]
    fn begin_connecting(self, now: &Connecting) {
        // Without room, that it connects goes unseen.
        let _least_recent_goes = CONNECTING_BY_ADDRESS.insert(&self.sk, now, 0);
    }

    #[inline(always)]
    fn forget_connecting(self) {
        let _none_or_gone = CONNECTING_BY_ADDRESS.remove(&self.sk);
    }
}

/// The same, while the messages that one call has moved are told one by one: the socket's sequence numbers are those
/// behind the last of them, and say nothing of where the others lie.
#[derive(Clone, Copy)]
pub struct InOneCall(pub Raw);

impl Socket for InOneCall {
    const FOLLOWED: bool = false;

    #[inline(always)]
    fn inode(self) -> u64 {
        self.0.inode
    }

    #[inline(always)]
    fn address(self) -> u64 {
        self.0.address()
    }

    #[inline(always)]
    fn number(self) -> u64 {
        self.0.number()
    }

    #[inline(always)]
    fn connection(self) -> Option<*mut Connection> {
        self.0.connection()
    }

    #[inline(always)]
    fn remember(self) -> Option<*mut Connection> {
        self.0.remember()
    }

    #[inline(always)]
    fn sequences(self) -> Sequences {
        Sequences::NONE
    }

    #[inline(always)]
    fn connecting(self) -> Option<*mut Connecting> {
        self.0.connecting()
    }

    #[inline(always)]
    fn forget_connecting(self) {
        self.0.forget_connecting();
    }
}
