//! What the kernel holds, asked for without touching it.
#![allow(
    unsafe_code,
    reason = "aya lists maps by opening each of them, which is not harmless: see `map_ids`; terminals are made by ioctl"
)]

use std::{collections::HashSet, fs::File, io, os::fd::AsRawFd as _};

/// Numbers of all maps.
///
/// Asked for without opening them. When the last file descriptor of a program array is closed, the kernel (6.18) queues
/// the work that empties it and takes a reference for that work, also where it is queued already. Who opens and closes,
/// by its number, a program array whose owner has just ended makes it stay for ever.
///
/// # Panics
/// Without the right to ask.
#[must_use]
pub fn map_ids() -> HashSet<u32> {
    const MAP_GET_NEXT_ID: libc::c_int = 12;
    /// The part of `union bpf_attr` for this command.
    #[repr(C)]
    #[derive(Default)]
    struct NextId {
        start_id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let mut attr = NextId::default();
    let mut found = HashSet::new();
    loop {
        // SAFETY: `attr` has the layout that the kernel asks for, and it writes to nothing else.
        let failed = unsafe { libc::syscall(libc::SYS_bpf, MAP_GET_NEXT_ID, &raw mut attr, size_of::<NextId>()) } != 0;
        if failed {
            let error = io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "the maps of the kernel cannot be listed: {error}");
            return found;
        }
        found.insert(attr.next_id);
        attr = NextId { start_id: attr.next_id, ..NextId::default() };
    }
}

/// A new terminal: the end that stands for screen and keyboard, and the path of the other one.
///
/// # Errors
/// There is none to be had.
pub fn terminal() -> io::Result<(File, String)> {
    let master = File::options().read(true).write(true).open("/dev/ptmx")?;
    let (unlocked, mut number): (libc::c_int, libc::c_uint) = (0, 0);
    // SAFETY: the kernel reads an `int`, which lives until the call is over.
    let failed = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } != 0;
    // SAFETY: the kernel writes an `unsigned int`, which lives until the call is over.
    let failed = failed || unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok((master, format!("/dev/pts/{number}"))) }
}
