//! A bed whose true trees are known: services of many runtimes that answer by calls to others, under load, and the judge of
//! what parents the agent gave to their spans. `cargo xtask parents` prints the table; `tests/parents.rs` runs the fast part.
//!
//! # How a service is told what to do
//! By its environment: where it listens (`LISTEN`, a port; else it chooses, and prints `listening PORT…`), the ports of its back
//! ends (`BACKENDS=P1,P2`), the size of its pool of connections (`POOL`), and what it does where the request does not say
//! (`PATTERN`, `CALLS`), how many milliseconds to leave between calls of its own, of no request, to `/background…`
//! (`BACKGROUND`), and, of the C and the Rust program, up to how many milliseconds it takes (`DELAY`).
//!
//! It answers GET `/r17?p=parallel&n=2` by two calls, GET `/r17.1` and GET `/r17.2`, to its back ends in turn. So the true tree
//! stands in the paths: a CLIENT span `/r17.1` belongs under the SERVER span `/r17`, and a SERVER span `/r17.1` under the
//! CLIENT span `/r17.1`. A request's `traceparent` goes with its calls.

pub mod bed;
pub mod judge;
pub mod load;
mod proxies;
pub mod runtimes;
mod services;

pub use self::{
    bed::Bed,
    judge::{Due, Kind, Need, Span, Tally, Verdict, judge},
    runtimes::{RUNTIMES, Runtime},
};

/// In what order a request's calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One after the other.
    Sequential,
    /// Side by side.
    Parallel,
    /// One after the other, with a pause of 1 to 5 ms before each.
    Pause,
    /// Nobody waits for them: the answer may be there before.
    Forget,
}

impl Pattern {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Sequential, Self::Parallel, Self::Pause, Self::Forget];

    /// Its name, in queries and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Parallel => "parallel",
            Self::Pause => "pause",
            Self::Forget => "forget",
        }
    }
}

/// What is asked of a service that is up.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// How it makes its calls.
    pub pattern: Pattern,
    /// Connections of the load, each with one request at a time.
    pub concurrency: usize,
    /// Requests in all.
    pub requests: usize,
    /// Each request carries a `traceparent`.
    pub headers: bool,
}

/// What the spans of requests hang together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The service makes up to so many calls, to back ends that make none.
    Star(usize),
    /// Each request is passed on, under one more number.
    Proxy,
    /// The same, with a 0 for the number, to what makes up to so many calls.
    Behind(usize),
    /// Each request goes through several services, which make so many calls each, the last of them to back ends.
    Chain(&'static [usize]),
}

/// A request of the load.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query.
    pub target: String,
    /// `traceparent`, where it carries one.
    pub context: Option<Context>,
}

/// The ids that a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its trace.
    pub trace: String,
    /// The span that it was made in.
    pub span: String,
}

impl Context {
    /// Of a request of a cell.
    fn of(cell: usize, request: usize) -> Self {
        let number = ((cell as u64) << 32) | (request as u64 + 1);
        Self { trace: format!("beda{number:028x}"), span: format!("beda{number:012x}") }
    }

    /// As the header says it.
    fn header(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }
}

/// The requests of a cell, and the spans that are due for them. `number` tells cells of one bed apart.
#[must_use]
pub fn plan(shape: Shape, cell: &Cell, number: usize) -> (Vec<Request>, Vec<Due>) {
    let (mut requests, mut dues) = (Vec::new(), Vec::new());
    for request in 0..cell.requests {
        let path = format!("/r{number}x{request}");
        let context = cell.headers.then(|| Context::of(number, request));
        let mut due = |kind, path: &str, parent: Option<(Kind, &str)>, need| {
            let parent = parent.map(|(kind, path)| (kind, path.to_owned()));
            dues.push(Due { request, kind, path: path.to_owned(), parent, need, context: context.clone() });
        };
        due(Kind::Server, &path, None, Need::Certain);
        let mut calls = |of: &str, count: usize, need| {
            for at in 1..=count {
                let path = format!("{of}.{at}");
                due(Kind::Client, &path, Some((Kind::Server, of)), need);
                due(Kind::Server, &path, Some((Kind::Client, &path)), Need::Certain);
            }
        };
        let need = if cell.pattern == Pattern::Forget { Need::Linked } else { Need::Certain };
        let target = match shape {
            Shape::Star(most) => {
                let count = request % (most + 1);
                calls(&path, count, need);
                format!("{path}?p={}&n={count}", cell.pattern.name())
            }
            Shape::Behind(most) => {
                let (behind, count) = (format!("{path}.0"), request % (most + 1));
                calls(&behind, count, need);
                due(Kind::Client, &behind, Some((Kind::Server, &path)), Need::Certain);
                due(Kind::Server, &behind, Some((Kind::Client, &behind)), Need::Certain);
                format!("{path}?p={}&n={count}", cell.pattern.name())
            }
            Shape::Proxy => {
                calls(&path, 1, Need::Certain);
                path
            }
            Shape::Chain(levels) => {
                let mut at = path.clone();
                for level in levels {
                    calls(&at, *level, Need::Certain);
                    at += ".1";
                }
                path
            }
        };
        requests.push(Request { target, context });
    }
    (requests, dues)
}
