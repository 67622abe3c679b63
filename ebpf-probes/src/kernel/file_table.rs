//! From a file descriptor of the current process to its socket.

use aya_ebpf::helpers::generated::bpf_get_current_task;

use super::read;
use crate::globals::OFFSETS;

/// `S_IFMT` and `S_IFSOCK` of an inode's mode.
const KIND: u16 = 0xf000;
const SOCKET: u16 = 0xc000;

/// A socket as found through a descriptor.
pub struct OpenSocket {
    /// Address of its `struct sock`.
    pub sk: u64,
    /// Inode number, unique among living sockets.
    pub inode: u64,
}

/// The socket that `fd` stands for, if it is one.
#[inline(always)]
pub fn socket(fd: u64) -> Option<OpenSocket> {
    // SAFETY: the helper only returns an address.
    let task = unsafe { bpf_get_current_task() };
    let files = read::<u64>(task, OFFSETS.task_files.load())?;
    let table = read::<u64>(files, OFFSETS.files_fdt.load())?;
    let fd = fd & 0xffff_ffff;
    if fd >= u64::from(read::<u32>(table, OFFSETS.fdtable_max_fds.load())?) {
        return None;
    }
    let array = read::<u64>(table, OFFSETS.fdtable_fd.load())?;
    let file = read::<u64>(array + fd * 8, 0)?;
    let inode = read::<u64>(file, OFFSETS.file_inode.load())?;
    if read::<u16>(inode, OFFSETS.inode_mode.load())? & KIND != SOCKET {
        return None;
    }
    let socket = read::<u64>(file, OFFSETS.file_private_data.load())?;
    let sk = read::<u64>(socket, OFFSETS.socket_sk.load())?;
    let inode = read::<u64>(inode, OFFSETS.inode_ino.load())?;
    (sk != 0).then_some(OpenSocket { sk, inode })
}
