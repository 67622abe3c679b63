//! Calls of the C library that no other offers.
#![expect(unsafe_code, reason = "no library makes this call")]

/// Buffers of so many bytes and more are the kernel's again as soon as they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_MIN: libc::c_int = 256 << 10;
/// Most bytes that are kept at the end of what the allocator has, for what is allocated next.
#[cfg(target_env = "gnu")]
const KEPT_MAX: libc::c_int = 1 << 20;

/// Has the allocator map large buffers by themselves. Left to itself it stops doing so for sizes that were freed once, and what
/// was large for a moment (spans that wait, the page of metrics) then lies between what stays.
pub(crate) fn map_large_buffers() {
    #[cfg(target_env = "gnu")]
    {
        for (parameter, bytes) in [(libc::M_MMAP_THRESHOLD, MAPPED_MIN), (libc::M_TRIM_THRESHOLD, KEPT_MAX)] {
            // SAFETY: it sets a number of the allocator's, and may be called at any time.
            let _is_set = unsafe { libc::mallopt(parameter, bytes) };
        }
    }
}

/// Gives memory that was freed back to the kernel. What is in use for a moment only (the kernel's types, programs on their way to
/// the verifier) leaves room behind that nothing later needs, and that the allocator keeps.
pub(crate) fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it may be called by any thread at any time, and touches memory only that is free.
        let _gave_back = unsafe { libc::malloc_trim(0) };
    }
}
