//! What sessions tell, checked as it comes: what finishes was opened, and finishes once.

use std::{collections::HashSet, ops::Deref};

use super::Output;
use crate::model::exchange::{Event, Exchange, Key};

/// The exchanges that were told to be over.
#[derive(Debug, Default)]
pub(super) struct Told {
    output: Output,
    open: HashSet<Key>,
    finished: Vec<Exchange>,
}

impl Told {
    /// Takes what a call of a session tells.
    pub(super) fn of<T>(&mut self, call: impl FnOnce(&mut Output) -> T) -> T {
        let given = call(&mut self.output);
        for event in self.output.drain() {
            match event {
                Event::Opened(opened) => assert!(self.open.insert(opened.key), "opened twice: {opened:?}"),
                Event::Finished(key, exchange) => {
                    assert!(self.open.remove(&key), "never opened, or over already: {exchange:?}");
                    self.finished.push(exchange);
                }
            }
        }
        given
    }

    /// Requests that were opened and are not finished.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Forgets those that are over.
    pub(super) fn clear(&mut self) {
        self.finished.clear();
    }

    /// All of them; none is open.
    pub(super) fn finished(self) -> Vec<Exchange> {
        assert_eq!(self.open(), 0, "opened, and never finished: {:?}", self.open);
        self.finished
    }
}

impl Deref for Told {
    type Target = Vec<Exchange>;

    fn deref(&self) -> &Vec<Exchange> {
        &self.finished
    }
}
