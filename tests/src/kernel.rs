//! What the kernel holds, asked for without touching it.
#![allow(unsafe_code, reason = "aya lists maps by opening each of them, which is not harmless: see `map_ids`")]

use std::collections::HashSet;

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
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "the maps of the kernel cannot be listed: {error}");
            return found;
        }
        found.insert(attr.next_id);
        attr = NextId { start_id: attr.next_id, ..NextId::default() };
    }
}
