//! Calls of the C library that no other offers.
#![expect(unsafe_code, reason = "no library makes this call")]

/// Gives memory that was freed back to the kernel. What is in use for a moment only (the kernel's types, programs on their way to
/// the verifier) leaves room behind that nothing later needs, and that the allocator keeps.
pub(crate) fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it may be called by any thread at any time, and touches memory only that is free.
        let _gave_back = unsafe { libc::malloc_trim(0) };
    }
}
