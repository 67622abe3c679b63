//! The program that `exec` starts: it gets the signals that the agent gets, and its end is waited for.

use std::{
    fs::File,
    io,
    process::{Child, ExitStatus},
};

use crate::model::ids::ProcessId;
use rustix::{
    process::{Pid, Signal, getpgrp, kill_process},
    termios::tcgetpgrp,
};

/// A child of this process.
pub(super) struct Started(Child);

impl Started {
    pub(super) const fn new(child: Child) -> Self {
        Self(child)
    }

    pub(super) fn pid(&self) -> ProcessId {
        ProcessId(self.0.id())
    }

    /// How it ended; `None`: it runs.
    pub(super) fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Whether it runs, as far as can be told.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.status(), Ok(None))
    }

    /// Passes a signal on, unless the terminal has sent it to both.
    pub(super) fn pass_on(&mut self, signal: Signal) {
        // Its number is not another's before its end is known here.
        if !self.runs() || signal == Signal::INT && is_in_foreground() {
            return;
        }
        if let Err(error) = kill_process(Pid::from_child(&self.0), signal) {
            tracing::warn!(%error, "the program cannot be sent the signal");
        }
    }
}

/// Whether this process is of the group that its terminal sends `^C` to; the program it started is, then.
fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}
