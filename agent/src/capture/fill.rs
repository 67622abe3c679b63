//! How full the ring is: the kernel keeps the positions of writer and reader at its beginning, a page each
//! (`tools/lib/bpf/ringbuf.c`), which aya does not show.
#![expect(unsafe_code, reason = "no library maps these pages by themselves")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

/// The two pages, which may be read only.
pub(super) struct Fill {
    pages: NonNull<libc::c_void>,
    page: usize,
    ring_bytes: u64,
}

// SAFETY: the pages belong to this value alone, and are read by atomic operations.
unsafe impl Send for Fill {}

impl Fill {
    /// Of a map of kind `BPF_MAP_TYPE_RINGBUF` with so many bytes.
    ///
    /// # Errors
    /// When the kernel does not map it.
    pub(super) fn new(ring: BorrowedFd<'_>, ring_bytes: u32) -> io::Result<Self> {
        let page = rustix::param::page_size();
        // SAFETY: a mapping of its own, at a place that the kernel chooses; the map keeps the pages as long as they are mapped.
        let pages =
            unsafe { libc::mmap(ptr::null_mut(), 2 * page, libc::PROT_READ, libc::MAP_SHARED, ring.as_raw_fd(), 0) };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pages = NonNull::new(pages).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { pages, page, ring_bytes: ring_bytes.max(1).into() })
    }

    /// The part of it that waits to be read, of 1.
    pub(super) fn part(&self) -> f64 {
        let [read, written] = [0, self.page].map(|at| self.position(at));
        written.wrapping_sub(read).min(self.ring_bytes) as f64 / self.ring_bytes as f64
    }

    fn position(&self, at: usize) -> u64 {
        // SAFETY: each of the two mapped pages begins with a `u64` that the kernel and the reader write atomically.
        unsafe { AtomicU64::from_ptr(self.pages.as_ptr().byte_add(at).cast()) }.load(Ordering::Acquire)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and used by nobody else.
        let _unmapped = unsafe { libc::munmap(self.pages.as_ptr(), 2 * self.page) };
    }
}
