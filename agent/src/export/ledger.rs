//! Exact book-keeping of what an exporter was given and what became of it.

/// What became of an item that was given to an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver took it (or, printed: it was written).
    Sent,
    /// The receiver refused it in a partial success.
    Rejected,
    /// There was no room for it.
    DroppedQueueFull,
    /// The receiver refused the request for good, or the time for retries ran out.
    DroppedFailed,
    /// It was not known to be delivered when the time to stop had come.
    DroppedShutdown,
    /// It had to make room in the spool.
    DroppedSpoolFull,
    /// What the spool held of it cannot be read any more.
    DroppedSpoolDamaged,
    /// It is in the spool, for the next agent.
    LeftInSpool,
    /// The store had to leave some out, so that the others of the last minutes find room.
    ThinnedOut,
}

impl Fate {
    /// All of them, in the order of [`Ledger::counts`].
    pub const ALL: [Self; 9] = [
        Self::Sent,
        Self::Rejected,
        Self::DroppedQueueFull,
        Self::DroppedFailed,
        Self::DroppedShutdown,
        Self::DroppedSpoolFull,
        Self::DroppedSpoolDamaged,
        Self::LeftInSpool,
        Self::ThinnedOut,
    ];

    /// Value of the attribute `outcome`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Rejected => "rejected",
            Self::DroppedQueueFull => "dropped_queue_full",
            Self::DroppedFailed => "dropped_failed",
            Self::DroppedShutdown => "dropped_shutdown",
            Self::DroppedSpoolFull => "dropped_spool_full",
            Self::DroppedSpoolDamaged => "dropped_spool_damaged",
            Self::LeftInSpool => "left_in_spool",
            Self::ThinnedOut => "thinned_out",
        }
    }
}

/// Counts of items. At any time `pushed == sum of all outcomes + queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Given to the exporter.
    pub pushed: u64,
    /// Waiting or under way.
    pub queued: u64,
    /// Of these, in the spool on disk.
    pub spooled: u64,
    /// Bytes of memory that wait or are under way.
    pub queued_bytes: u64,
    counts: [u64; Fate::ALL.len()],
}

impl Ledger {
    /// Items with this outcome.
    #[must_use]
    pub const fn count(&self, outcome: Fate) -> u64 {
        self.counts[outcome as usize]
    }

    /// The sum of two.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.pushed += other.pushed;
        self.queued += other.queued;
        self.spooled += other.spooled;
        self.queued_bytes += other.queued_bytes;
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self
    }

    /// Items lost, whatever the reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let not_lost = [Fate::Sent, Fate::LeftInSpool, Fate::ThinnedOut].map(|outcome| self.count(outcome));
        self.counts.iter().sum::<u64>() - not_lost.iter().sum::<u64>()
    }

    /// New items wait.
    pub(crate) fn enqueue(&mut self, items: u64, bytes: u64) {
        self.pushed += items;
        self.queued += items;
        self.queued_bytes += bytes;
    }

    /// New items were dropped at the door.
    pub(crate) fn refuse(&mut self, items: u64, outcome: Fate) {
        self.pushed += items;
        self.add(items, outcome);
    }

    /// Items that waited have come to an end; their bytes are free.
    pub(crate) fn settle(&mut self, items: u64, bytes: u64, outcome: Fate) {
        self.queued = self.queued.saturating_sub(items);
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.add(items, outcome);
    }

    /// Items that waited in memory, in so many bytes, wait in the spool now.
    pub(crate) fn put_aside(&mut self, items: u64, bytes: u64) {
        self.spooled += items;
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
    }

    /// Items that an earlier agent has left in the spool wait again.
    pub(crate) fn recover(&mut self, items: u64) {
        self.pushed += items;
        self.queued += items;
        self.spooled += items;
    }

    /// Items that waited in the spool have come to an end.
    pub(crate) fn settle_spooled(&mut self, items: u64, outcome: Fate) {
        self.spooled = self.spooled.saturating_sub(items);
        self.settle(items, 0, outcome);
    }

    fn add(&mut self, items: u64, outcome: Fate) {
        if let Some(count) = self.counts.get_mut(outcome as usize) {
            *count += items;
        }
    }
}
