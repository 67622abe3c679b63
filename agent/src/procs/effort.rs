//! Bounds the time that goes into files: their owner may change one as often as he likes, and each change asks to be looked
//! at again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::fs::FileId;

/// Most time that goes into one file, however often it changes, in a [`WINDOW`].
const MAX: Duration = Duration::from_secs(1);
/// See [`MAX`].
const WINDOW: Duration = Duration::from_secs(60);
/// Most files remembered; then all are forgotten.
const FILES_MAX: usize = 4096;

/// What went into files of late.
#[derive(Debug, Default)]
pub(crate) struct Effort(HashMap<(u64, u64), Spent>);

#[derive(Debug)]
struct Spent {
    since: Instant,
    time: Duration,
}

impl Effort {
    /// Whether a file may be looked into now.
    #[must_use]
    pub(crate) fn is_left(&self, id: FileId, now: Instant) -> bool {
        self.0
            .get(&(id.dev, id.inode))
            .is_none_or(|spent| spent.time < MAX || now.saturating_duration_since(spent.since) >= WINDOW)
    }

    /// A file was looked into since `began`.
    pub(crate) fn spend(&mut self, id: FileId, began: Instant, now: Instant) {
        if self.0.len() >= FILES_MAX {
            self.0.clear();
        }
        let spent = self.0.entry((id.dev, id.inode)).or_insert(Spent { since: began, time: Duration::ZERO });
        if began.saturating_duration_since(spent.since) >= WINDOW {
            *spent = Spent { since: began, time: Duration::ZERO };
        }
        spent.time += now.saturating_duration_since(began);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_all_the_time_gets_no_more_than_its_share() {
        let mut effort = Effort::default();
        let id = |inode, mtime_ns| FileId { dev: 1, inode, mtime_ns };
        let start = Instant::now();
        let mut now = start;
        let mut looks = 0;
        while now < start + WINDOW {
            if effort.is_left(id(1, looks), now) {
                effort.spend(id(1, looks), now, now + Duration::from_millis(100));
                looks += 1;
            }
            now += Duration::from_millis(100);
        }
        assert_eq!(looks, 10);
        assert!(effort.is_left(id(2, 0), now), "another file");
        assert!(effort.is_left(id(1, 0), now + WINDOW), "later");
    }
}
