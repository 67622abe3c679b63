//! The kernel's coarse clock.

use std::sync::OnceLock;

use rustix::time::{ClockId, clock_getres};

/// Between two ticks on a kernel with `CONFIG_HZ=250`.
const USUAL_US: u32 = 4000;

/// Microseconds between two ticks (`CONFIG_HZ` of them are a second).
pub(crate) fn length_us() -> u32 {
    static LENGTH_US: OnceLock<u32> = OnceLock::new();
    *LENGTH_US.get_or_init(|| {
        // What this clock is set by.
        let length = clock_getres(ClockId::MonotonicCoarse);
        u32::try_from(length.tv_nsec / 1000).ok().filter(|&us| us > 0 && length.tv_sec == 0).unwrap_or(USUAL_US)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn ticks_are_milliseconds() {
        assert!((1000..=10_000).contains(&super::length_us()), "{}", super::length_us());
    }
}
