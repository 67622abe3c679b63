//! A service with its back ends and an agent that watches them all, asked cell after cell.

use std::{cell::RefCell, collections::HashSet, time::Duration};

use tempfile::TempDir;

use super::{
    Cell, Kind, Shape, Span, Verdict, judge, plan,
    runtimes::{At, Runtime, Service},
    services,
};
use crate::{
    agent::{Agent, Backend, Setup},
    program::{Program, folder},
};

/// Connections to each back end.
pub const POOL: usize = 8;
/// For how long none of the spans that are due may come: then no more do.
const SPANS_TAKE: Duration = Duration::from_secs(8);

/// All of it, running.
pub struct Bed {
    /// What is asked.
    pub runtime: &'static Runtime,
    agent: Agent,
    service: Service,
    cells: usize,
    /// Lines of the agent that belong to cells before.
    taken: usize,
    _back_ends: Vec<Program>,
    _files: TempDir,
}

/// What came of a cell.
pub struct Outcome {
    /// What is to be said of its spans.
    pub verdict: Verdict,
    /// The lines that the agent printed meanwhile.
    pub lines: Vec<String>,
}

impl Bed {
    /// Starts it; `background`: where the service can, it makes calls of its own as well.
    ///
    /// # Panics
    /// If something cannot be started.
    #[must_use]
    pub fn start(runtime: &'static Runtime, backend: Backend, background: bool) -> Self {
        let files = folder();
        let back_ends = [(); 2].map(|()| services::back_end(runtime.back_end, files.path()));
        let ports = back_ends.each_ref().map(|(_, port)| *port);
        let background = background && runtime.has_background;
        let service = (runtime.start)(&At { folder: files.path(), back_ends: &ports, pool: POOL, background });
        let back_ends: Vec<Program> = back_ends.into_iter().map(|(program, _)| program).collect();
        let pids: Vec<u32> = service.programs.iter().chain(&back_ends).map(Program::pid).collect();
        let with_us = ["setpriv"].into_iter().chain(services::WITH_US);
        let agent = Setup::pids(&pids).backend(backend).args(["--print", "json"]).through(with_us).start();
        Self { runtime, agent, service, cells: 0, taken: 0, _back_ends: back_ends, _files: files }
    }

    /// Sends the requests of a cell, waits for the spans that are due, and judges them.
    ///
    /// # Panics
    /// If a request is not answered.
    pub fn ask(&mut self, cell: &Cell) -> Outcome {
        self.cells += 1;
        let (requests, dues) = plan(self.runtime.shape, cell, self.cells);
        self.runtime.load.run(&self.service.ports, cell.concurrency, &requests);
        let open: HashSet<(Kind, String)> = dues.iter().map(|due| (due.kind, due.path.clone())).collect();
        let from = self.taken;
        let state = RefCell::new((from, open, Vec::new()));
        let prefix = format!("/r{}x", self.cells);
        let mut left = dues.len();
        loop {
            let told = self.agent.program().stdout.until(SPANS_TAKE, |lines| {
                let (at, open, spans) = &mut *state.borrow_mut();
                for line in lines.get(*at..).unwrap_or_default() {
                    let is_ours = |span: &Span| span.path.starts_with(&prefix) || span.is_of_nobody();
                    if let Some(span) = Span::parse(line).filter(is_ours) {
                        open.remove(&(span.kind, span.path.clone()));
                        spans.push(span);
                    }
                }
                *at = lines.len();
                open.is_empty().then_some(())
            });
            let open = state.borrow().1.len();
            if told.is_some() || open == left {
                break;
            }
            left = open;
        }
        let (taken, _, spans) = state.into_inner();
        self.taken = taken;
        let lines = |lines: &[String]| Some(lines.get(from..taken)?.to_vec());
        let lines = self.agent.program().stdout.until(Duration::ZERO, lines).unwrap_or_default();
        Outcome { verdict: judge(&dues, &spans), lines }
    }

    /// Ends the agent as a service manager does.
    ///
    /// # Panics
    /// If it ends badly.
    pub fn stop(self) {
        let ended = self.agent.stop();
        assert!(ended.status.success(), "the agent ended with {}: {:#?}", ended.status, ended.log);
    }
}

impl Verdict {
    /// What of it is under a bar, in words: none may be wrong or unseen, joins are all right, and calls as the runtime's bar says.
    #[must_use]
    pub fn faults(&self, runtime: &Runtime) -> Vec<String> {
        let mut faults = Vec::new();
        let wrong = self.within.wrong + self.across.wrong;
        if wrong > 0 {
            faults.push(format!("{wrong} wrong"));
        }
        if self.unseen + self.strange > 0 {
            faults.push(format!("{} unseen, {} strange", self.unseen, self.strange));
        }
        let share = self.within.share();
        if let Some(bar) = runtime.bar.filter(|bar| share < *bar) {
            faults.push(format!("{:.1} % of calls right, not {:.0}", share * 100.0, bar * 100.0));
        }
        if self.outside > 0 {
            faults.push(format!("{} calls do not lie within their requests", self.outside));
        }
        let share = self.across.share();
        if share < 1.0 {
            faults.push(format!("{:.1} % of joins right, not all", share * 100.0));
        }
        if matches!(runtime.shape, Shape::Chain(_)) && self.whole.0 < self.whole.1 {
            faults.push(format!("{} of {} traces whole", self.whole.0, self.whole.1));
        }
        faults
    }
}
