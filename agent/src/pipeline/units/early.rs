//! Processes that are looked at before they are asked anything: when a program is started in them, and when they begin to listen. What
//! they are asked first is then seen as all that follows. Most programs that start are never asked, so there is a bound on what goes into that; one
//! that is beyond it is looked at when it first uses a connection.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{model::ids::ProcessId, runtimes::Look};

/// Most processes of either kind that are taken up each second: a look takes some 50 us where there is nothing to be found.
const EACH_SECOND: u32 = 100;
/// After how long a process is looked at again whose runtime is not up yet, at first; and how often it is looked at, half a second in all.
const AGAIN_AFTER: Duration = Duration::from_millis(2);
const LOOKS_MAX: u32 = 9;

/// Those that are being looked at.
#[derive(Default)]
pub(super) struct Early {
    /// What is looked for, and how often that was done.
    looks: HashMap<ProcessId, (Look, u32)>,
    since: Option<Instant>,
    /// How many were taken up since, of those that begin to listen and of those that start: there may be many more of these.
    taken: [u32; 2],
}

impl Early {
    /// Takes a process up. Gives whether it is to be looked at now.
    pub(super) fn take_up(&mut self, tgid: ProcessId, what: Look, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.taken) = (Some(now), [0; 2]);
        }
        let [listening, started] = &mut self.taken;
        let taken = if what == Look::Started { started } else { listening };
        *taken = taken.saturating_add(1);
        let is_taken = *taken <= EACH_SECOND;
        if is_taken {
            self.looks.insert(tgid, (what, 0));
        }
        is_taken
    }

    /// What is looked for in a process, if it is one of those.
    pub(super) fn what(&self, tgid: ProcessId) -> Option<Look> {
        self.looks.get(&tgid).map(|(what, _)| *what)
    }

    /// Nothing was found in it so far. Gives after how long it is to be looked at again, if it is.
    pub(super) fn again(&mut self, tgid: ProcessId) -> Option<Duration> {
        let (_, looks) = self.looks.get_mut(&tgid)?;
        *looks += 1;
        if *looks < LOOKS_MAX {
            return Some(AGAIN_AFTER * (1 << (*looks - 1)));
        }
        self.looks.remove(&tgid);
        None
    }

    /// It is not looked at any more.
    pub(super) fn end(&mut self, tgid: ProcessId) -> bool {
        self.looks.remove(&tgid).is_some()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = ProcessId> {
        self.looks.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_that_start_at_once_not_all_are_looked_at() {
        let (mut early, now) = (Early::default(), Instant::now());
        let taken = |early: &mut Early, now| {
            (0..1000).filter(|tgid| early.take_up(ProcessId(*tgid), Look::Started, now)).count()
        };
        assert_eq!(taken(&mut early, now), EACH_SECOND as usize);
        assert_eq!(taken(&mut early, now + Duration::from_millis(999)), 0);
        assert!(early.take_up(ProcessId(2000), Look::Listening, now), "who listens is not kept out by those");
        early.end(ProcessId(2000));
        assert_eq!(taken(&mut early, now + Duration::from_secs(1)), EACH_SECOND as usize);
        assert_eq!(early.all().count(), EACH_SECOND as usize);
    }

    #[test]
    fn one_that_does_not_get_any_further_is_given_up() {
        let (mut early, tgid) = (Early::default(), ProcessId(7));
        assert!(early.take_up(tgid, Look::Started, Instant::now()));
        let waited: Vec<Duration> = std::iter::from_fn(|| early.again(tgid)).collect();
        assert_eq!((waited.first(), waited.len()), (Some(&AGAIN_AFTER), LOOKS_MAX as usize - 1));
        assert_eq!(waited.iter().sum::<Duration>(), Duration::from_millis(510));
        assert!(early.what(tgid).is_none() && early.again(tgid).is_none() && !early.end(tgid));
        assert!(early.take_up(tgid, Look::Listening, Instant::now()));
        assert_eq!(early.what(tgid), Some(Look::Listening));
        assert!(early.end(tgid));
    }
}
