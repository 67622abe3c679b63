//! A process that keeps a processor busy, and how several are started as neighbours of what is watched.

use std::{
    io::Read as _,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use ::tests::{need, program::Program};
use anyhow::Result;

/// How long one that leaves the processor for moments is busy, and the moments: what real-time threads do.
const BUSY: Duration = Duration::from_millis(3);
const IDLE: Duration = Duration::from_millis(1);

/// Is busy until its input ends.
///
/// # Errors
/// If the input cannot be read.
pub(crate) fn main(mostly: bool) -> Result<()> {
    thread::spawn(move || {
        loop {
            let began = Instant::now();
            while began.elapsed() < BUSY {
                std::hint::spin_loop();
            }
            if mostly {
                thread::sleep(IDLE);
            }
        }
    });
    let _end = std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Twice as many as there are processors.
pub(crate) fn load(own: &Path) -> Vec<Program> {
    (0..2 * processors()).map(|_| Program::start(Command::new(own).arg("hog"))).collect()
}

/// One on each processor, before everybody else.
pub(crate) fn real_time(own: &Path) -> Vec<Program> {
    let start = |cpu: usize| {
        let mut command = Command::new(need::program("taskset"));
        command.args(["--cpu-list", &cpu.to_string(), "chrt", "--fifo", "10"]);
        Program::start(command.arg(own).args(["hog", "--mostly"]))
    };
    (0..processors()).map(start).collect()
}
