//! The registers of a system call (x86-64).

use aya_ebpf::helpers::generated::bpf_task_pt_regs;

use super::load;

const BX: u32 = 5 * 8;
const R10: u32 = 7 * 8;
const R8: u32 = 9 * 8;
const AX: u32 = 10 * 8;
const DX: u32 = 12 * 8;
const SI: u32 = 13 * 8;
const DI: u32 = 14 * 8;
const ORIG_AX: u32 = 15 * 8;
const CS: u32 = 17 * 8;
const SP: u32 = 19 * 8;

/// Code segment of a 64-bit program (`__USER_CS`).
const USER_CS: u64 = 0x33;
/// What the entry code puts into `ax` until the call has its result.
const ENOSYS: i64 = -38;

/// A pointer to a `struct pt_regs` whose type the verifier knows.
#[derive(Clone, Copy)]
pub struct Regs(pub *const u8);

impl Regs {
    /// A task's, as saved on entry to the kernel. `task` is a pointer whose type the verifier knows.
    #[inline(always)]
    pub fn of(task: *const u8) -> Self {
        // SAFETY: the helper only returns a pointer.
        Self(unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8)
    }

    /// Number of the system call.
    #[inline(always)]
    pub fn number(self) -> u64 {
        load(self.0, ORIG_AX)
    }

    /// The call is still being carried out. Work that the kernel does on the way back to user space (io_uring
    /// completions) finds the registers of a call that is over, and whose buffer is not the one in use.
    #[inline(always)]
    pub fn in_call(self) -> bool {
        load::<i64>(self.0, AX) == ENOSYS
    }

    /// A 32-bit program, with its arguments in other registers.
    #[inline(always)]
    pub fn compat(self) -> bool {
        load::<u64>(self.0, CS) & 0xffff != USER_CS
    }

    /// Where the caller's stack ends.
    #[inline(always)]
    pub fn stack_pointer(self) -> u64 {
        load(self.0, SP)
    }

    /// First argument of a 32-bit program's call.
    #[inline(always)]
    pub fn compat_arg0(self) -> u64 {
        load(self.0, BX)
    }

    /// First argument.
    #[inline(always)]
    pub fn arg0(self) -> u64 {
        load(self.0, DI)
    }

    /// Second argument.
    #[inline(always)]
    pub fn arg1(self) -> u64 {
        load(self.0, SI)
    }

    /// Third argument.
    #[inline(always)]
    pub fn arg2(self) -> u64 {
        load(self.0, DX)
    }

    /// Fourth argument.
    #[inline(always)]
    pub fn arg3(self) -> u64 {
        load(self.0, R10)
    }

    /// Fifth argument.
    #[inline(always)]
    pub fn arg4(self) -> u64 {
        load(self.0, R8)
    }
}

pub const READ: u64 = 0;
pub const WRITE: u64 = 1;
pub const READV: u64 = 19;
pub const WRITEV: u64 = 20;
pub const SENDFILE: u64 = 40;
pub const SENDTO: u64 = 44;
pub const RECVFROM: u64 = 45;
pub const SENDMSG: u64 = 46;
pub const RECVMSG: u64 = 47;
pub const SPLICE: u64 = 275;
pub const RECVMMSG: u64 = 299;
pub const SENDMMSG: u64 = 307;
pub const PREADV2: u64 = 327;
pub const PWRITEV2: u64 = 328;

/// Numbers by which 32-bit programs read, write, send and receive: `read`, `write`, `readv`, `writev`, `sendfile`,
/// `sendfile64`, `recvmmsg`, `sendmmsg`, then `sendto` to `recvmsg`. (`socketcall` has its arguments in memory.)
pub const COMPAT_CALLS: [u64; 12] = [3, 4, 145, 146, 187, 239, 337, 345, 369, 370, 371, 372];
