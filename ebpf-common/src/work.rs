//! How the unit of work that a thread carries on is read: what a call is made for is told by it, where threads are shared among
//! requests. One plan per process, written by user space.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most processes with a plan.
pub const PLANS_MAX: u32 = 4096;
/// Most steps of a chain.
pub const STEPS_MAX: usize = 4;

/// [`Plan::kind`]: the number at the end of a chain of pointers that begins at the thread's pointer (`fs`).
pub const CHAIN: u32 = 1;
/// [`Plan::kind`]: nginx. What its event loop keeps with a socket is the socket's `ngx_connection_t`; that of a connection
/// to an upstream leads to the request that it is used for, and from there to the client's.
pub const NGINX: u32 = 2;

/// How the unit of work is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Plan {
    /// [`CHAIN`] or [`NGINX`].
    pub kind: u32,
    /// Steps of a chain.
    pub steps: u32,
    /// What is added to the pointer before each step, which reads 8 bytes there.
    pub offsets: [u64; STEPS_MAX],
}
