//! A session whose panic costs its connection, and nothing else. Parsers are written not to panic, whatever they are fed; that
//! one does all the same must not end the agent.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    model::{
        exchange::{Exchange, Group, Key},
        net::{Direction, Role},
    },
    protocols::{Anomalies, Chunk, End, Handover, Interest, Output, Session},
};

/// See the module.
pub(super) struct Guarded {
    protocol: &'static str,
    session: Box<dyn Session>,
    /// It has panicked: nothing more is asked of it.
    is_broken: bool,
    anomalies: Anomalies,
}

impl Guarded {
    pub(super) fn new(protocol: &'static str, session: Box<dyn Session>) -> Self {
        Self { protocol, session, is_broken: false, anomalies: Anomalies::default() }
    }

    /// Asks the session; `None` if it panics, or has.
    fn ask<T>(&mut self, out: &mut Output, work: impl FnOnce(&mut dyn Session, &mut Output) -> T) -> Option<T> {
        if self.is_broken {
            return None;
        }
        let session = &mut *self.session;
        // What it leaves half done is its own, and is not looked at any more but to end what is open.
        match catch_unwind(AssertUnwindSafe(|| work(session, out))) {
            Ok(given) => Some(given),
            Err(_) => {
                self.is_broken = true;
                self.anomalies.panics += 1;
                tracing::error!(
                    protocol = self.protocol,
                    "a parser has panicked (above): its connection is not followed any more; please report this"
                );
                let end = || session.on_end(End::Forgotten, 0, out);
                if catch_unwind(AssertUnwindSafe(end)).is_err() {
                    tracing::error!(
                        protocol = self.protocol,
                        "requests that were open on that connection are not told"
                    );
                }
                None
            }
        }
    }

    pub(super) fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        self.ask(out, |session, out| session.on_data(direction, chunk, out)).unwrap_or(Interest::Nothing)
    }

    pub(super) fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        self.ask(out, |session, out| session.on_end_of_stream(direction, at_ns, out));
    }

    pub(super) fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.ask(out, |session, out| session.on_end(end, at_ns, out));
    }

    pub(super) fn take_over(&mut self, key: Key, request: Exchange, out: &mut Output) {
        self.ask(out, |session, out| session.take_over(key, request, out));
    }

    pub(super) fn begin_in_use(&mut self, asks_ahead: bool) {
        self.session.begin_in_use(asks_ahead);
    }

    pub(super) fn begin_older(&mut self) {
        self.session.begin_older();
    }

    pub(super) fn hand_over(&mut self) -> Handover {
        self.session.hand_over()
    }

    pub(super) fn role(&self) -> Role {
        self.session.role()
    }

    pub(super) fn seeks(&self, direction: Direction) -> bool {
        !self.is_broken && self.session.seeks(direction)
    }

    pub(super) fn knows_ends(&self) -> bool {
        !self.is_broken && self.session.knows_ends()
    }

    pub(super) fn open_requests(&self) -> usize {
        if self.is_broken { 0 } else { self.session.open_requests() }
    }

    pub(super) fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        if !self.is_broken {
            self.session.open_methods(each);
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.session.memory()
    }

    pub(super) fn take_anomalies(&mut self) -> Anomalies {
        let own = std::mem::take(&mut self.anomalies);
        if self.is_broken { own } else { self.session.take_anomalies() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        exchange::{Event, Inside, Opened, Operation, Outcome, Pattern, Place},
        ids::ThreadId,
        net::Thread,
    };

    /// Opens a request with each piece, and does not like an empty one.
    struct Fragile(Vec<Key>);

    impl Session for Fragile {
        fn on_data(&mut self, _direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
            assert!(!chunk.is_empty(), "an empty piece");
            let (role, thread) = (Role::Server, Thread::default());
            self.0.push(out.open(|key| Opened {
                key,
                role,
                thread,
                start_ns: 1,
                parent: None,
                is_health_check: false,
                is_message: false,
                place: Place::Position(0),
            }));
            Interest::Parse
        }

        fn on_end_of_stream(&mut self, _direction: Direction, _at_ns: u64, _out: &mut Output) {}

        fn on_end(&mut self, _end: End, at_ns: u64, out: &mut Output) {
            for key in self.0.drain(..) {
                let exchange = Exchange {
                    role: Role::Server,
                    thread: Thread::default(),
                    start_ns: 1,
                    first_byte_ns: None,
                    response_tid: ThreadId::NONE,
                    end_ns: at_ns,
                    outcome: Outcome::Unseen,
                    parent: None,
                    protocol: "fragile",
                    pattern: Pattern::RequestResponse,
                    operation: Operation::Http(Box::default()),
                    inside: Inside::default(),
                };
                out.finish(key, exchange);
            }
        }

        fn role(&self) -> Role {
            Role::Server
        }

        fn open_requests(&self) -> usize {
            self.0.len()
        }

        fn open_methods(&self, _each: &mut dyn FnMut(Group, Option<&str>)) {}

        fn memory(&self) -> usize {
            0
        }

        fn take_anomalies(&mut self) -> Anomalies {
            Anomalies::default()
        }
    }

    fn chunk(data: &[u8]) -> Chunk<'_> {
        Chunk {
            at_ns: 1,
            thread: Thread::default(),
            data,
            skipped: 0,
            tail: &[],
            frames: None,
            lost: false,
            quiet_ns: 0,
            position: 0,
            other_position: 0,
        }
    }

    #[test]
    fn a_panic_ends_what_is_open_and_is_counted_once() {
        let (mut session, mut out) = (Guarded::new("fragile", Box::new(Fragile(Vec::new()))), Output::default());
        assert_eq!(session.on_data(Direction::Received, &chunk(b"x"), &mut out), Interest::Parse);
        for _ in 0..3 {
            assert_eq!(session.on_data(Direction::Received, &chunk(b""), &mut out), Interest::Nothing);
        }
        session.on_end(End::Closed, 9, &mut out);
        let told: Vec<Event> = out.drain().collect();
        let [Event::Opened(opened), Event::Finished(key, exchange)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((opened.key, exchange.outcome), (*key, Outcome::Unseen));
        assert_eq!((session.take_anomalies().panics, session.take_anomalies().panics), (1, 0));
        assert_eq!(session.open_requests(), 0);
    }
}
