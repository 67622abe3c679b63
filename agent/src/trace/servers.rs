//! Processes that have answered requests: what they do is not all done for who started them. A bit for each process id, of which the kernel
//! gives out four million at most.

use crate::model::ids::ProcessId;

/// Process ids (`PID_MAX_LIMIT`).
const IDS_MAX: usize = 1 << 22;

#[derive(Debug, Default)]
pub(super) struct Servers(Vec<u64>);

impl Servers {
    pub(super) fn insert(&mut self, tgid: ProcessId) {
        let (word, bit) = place(tgid);
        if word >= self.0.len() && word < IDS_MAX / 64 {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// It has ended: another may have its id.
    pub(super) fn remove(&mut self, tgid: ProcessId) {
        let (word, bit) = place(tgid);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    pub(super) fn contains(&self, tgid: ProcessId) -> bool {
        let (word, bit) = place(tgid);
        // What can be no process is taken for one.
        word >= IDS_MAX / 64 || self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

const fn place(tgid: ProcessId) -> (usize, u64) {
    ((tgid.0 / 64) as usize, 1 << (tgid.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_served_is_known_until_it_ends() {
        let mut servers = Servers::default();
        for tgid in [1, 63, 64, 4_194_303].map(ProcessId) {
            assert!(!servers.contains(tgid));
            servers.insert(tgid);
            assert!(servers.contains(tgid));
        }
        servers.remove(ProcessId(63));
        assert!(!servers.contains(ProcessId(63)) && servers.contains(ProcessId(64)));
        servers.insert(ProcessId(u32::MAX));
        assert!(servers.contains(ProcessId(u32::MAX)) && servers.0.len() <= IDS_MAX / 64);
    }
}
