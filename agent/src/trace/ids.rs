//! Trace and span ids: random, never zero.

use std::io;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::model::trace_context::{SpanId, TraceId};

/// Makes ids. The generator has 256 bits of state, seeded by the kernel, so that two agents cannot meet on one
/// sequence; it need not be unpredictable.
#[derive(Debug)]
pub(crate) struct Ids(SmallRng);

impl Ids {
    /// A generator seeded by the kernel.
    ///
    /// # Errors
    /// The kernel gave no random bytes.
    pub(crate) fn from_os() -> io::Result<Self> {
        let mut seed = [0; 32];
        let mut filled = 0;
        while let Some(rest) = seed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => filled += got,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self::from_seed(seed))
    }

    /// A generator that always gives the same ids, for tests and replays.
    #[must_use]
    pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
        Self(SmallRng::from_seed(seed))
    }

    /// A new trace id.
    pub(crate) fn trace_id(&mut self) -> TraceId {
        let (high, low) = (self.0.next_u64(), self.non_zero());
        TraceId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    /// A new span id.
    pub(crate) fn span_id(&mut self) -> SpanId {
        SpanId(self.non_zero().to_be_bytes())
    }

    /// Zero comes up once in 2^64 draws; 1 then is as good as any.
    fn non_zero(&mut self) -> u64 {
        self.0.next_u64().max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_not_zero_and_do_not_repeat() {
        let mut ids = Ids::from_os().unwrap();
        let mut traces = HashSet::new();
        let mut spans = HashSet::new();
        for _ in 0..10_000 {
            let (trace, span) = (ids.trace_id(), ids.span_id());
            assert!(trace.0 != [0; 16] && span.0 != [0; 8]);
            assert!(traces.insert(trace) && spans.insert(span));
        }
    }

    #[test]
    fn generators_of_the_system_differ_and_seeded_ones_agree() {
        assert_ne!(Ids::from_os().unwrap().trace_id(), Ids::from_os().unwrap().trace_id());
        assert_eq!(Ids::from_seed([7; 32]).trace_id(), Ids::from_seed([7; 32]).trace_id());
    }
}
