//! What proves that frames begin where they seem to, while that is not certain.
//!
//! The payload of a DATA frame can be anything, a recorded HTTP/2 connection too, so that frames which look right may be
//! payload. What follows a frame never proves it: where the payload ends, true frames follow. What came before does:
//! between requests that were answered on their streams, in pieces that begin with frames, a payload would have had to
//! end. So frames are only checked at first, and believed from the beginning of a later piece on.

use std::collections::VecDeque;

/// Requests of the frames being checked that have to be answered. Two, as one may be a coincidence.
const ENOUGH: u32 = 2;
/// Most requests that are remembered.
const REMEMBERED: usize = 256;

/// What the directions of a connection prove together.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Requests that were not answered yet.
    asked: VecDeque<u32>,
    /// The first and the last request; 0 if there was none.
    first: u32,
    last: u32,
    answered: u32,
}

impl Proof {
    /// A request began. Clients number them one after the other; where they seem not to, nothing before is proved.
    pub(super) fn on_request(&mut self, id: u32) {
        if self.last != 0 && id != self.last.saturating_add(2) {
            *self = Self::default();
        }
        if self.first == 0 {
            self.first = id;
        }
        self.last = id;
        if self.asked.len() >= REMEMBERED {
            self.first = self.asked.pop_front().map_or(id, |oldest| oldest.saturating_add(2));
        }
        self.asked.push_back(id);
    }

    /// A header block of which that is not known.
    pub(super) fn on_request_or_trailers(&mut self, id: u32) {
        if id > self.last {
            self.on_request(id);
        }
    }

    /// Another frame of the client's names a stream.
    pub(super) fn on_stream(&mut self, id: u32) {
        if self.last != 0 && id > self.last {
            *self = Self::default();
        }
    }

    /// A response began.
    pub(super) fn on_answer(&mut self, id: u32) {
        if let Some(at) = self.asked.iter().position(|&asked| asked == id) {
            self.asked.remove(at);
            self.answered = self.answered.saturating_add(1);
        } else if (self.first..=self.last).contains(&id) {
            // Nobody answers twice, but for interim responses.
            self.answered = 0;
        } else if !id.is_multiple_of(2) {
            // Nor what was not asked.
            self.on_stream(id);
        }
    }

    /// A header block of which that is not known: its status stands in the table since before our time.
    pub(super) fn on_answer_or_trailers(&mut self, id: u32) {
        if self.asked.contains(&id) {
            self.on_answer(id);
        }
    }

    /// A response went on, or seems to.
    pub(super) fn on_answer_data(&mut self, id: u32) {
        if self.asked.contains(&id) || self.last != 0 && id > self.last {
            self.answered = 0;
        }
    }

    /// The requests were none.
    pub(super) fn on_requests_lost(&mut self) {
        *self = Self::default();
    }

    /// The responses were none.
    pub(super) fn on_responses_lost(&mut self) {
        self.answered = 0;
    }

    pub(super) const fn is_enough(&self) -> bool {
        self.answered >= ENOUGH
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.asked.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answered_requests_are_enough() {
        let mut proof = Proof::default();
        for id in [5, 7, 9] {
            proof.on_request(id);
        }
        proof.on_answer(3);
        proof.on_answer(9);
        assert!(!proof.is_enough());
        proof.on_answer(7);
        assert!(proof.is_enough());
        proof.on_answer(9);
        assert!(!proof.is_enough(), "nobody answers twice");
    }

    #[test]
    fn an_answer_whose_status_is_not_known_is_one_where_one_is_due() {
        let mut proof = Proof::default();
        for id in [5, 7] {
            proof.on_request(id);
            proof.on_answer_or_trailers(id);
            proof.on_answer_data(id);
        }
        assert!(proof.is_enough());
        proof.on_answer_or_trailers(7);
        assert!(proof.is_enough(), "trailers");
    }

    #[test]
    fn numbers_that_do_not_follow_each_other_prove_nothing() {
        let mut proof = Proof::default();
        for id in [5, 7] {
            proof.on_request(id);
            proof.on_answer(id);
        }
        proof.on_request(3);
        assert!(!proof.is_enough());
        proof.on_request(5);
        proof.on_answer(3);
        proof.on_answer(5);
        assert!(proof.is_enough());
        proof.on_answer(9);
        assert!(!proof.is_enough(), "an answer to what was not asked");
    }
}
