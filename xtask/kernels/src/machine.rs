//! One start of a guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use xtask::child::{self, Running};

/// The processor that is emulated. With `max` QEMU 7.2 has features on offer by which kernels patch their own code wrongly.
const PROCESSOR: &str = "Haswell";
/// What the kernel is told: to keep quiet, and to end the guest when it panics.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=1 panic=-1";

/// A guest to be started.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initrd: &'a Path,
    /// What the kernel is told besides.
    pub(super) told: &'a str,
    /// Longest that it may take.
    pub(super) limit: Duration,
}

/// What a guest wrote until it ended, or was ended.
pub(super) struct Ended {
    /// To the first serial port: the kernel, and what programs complain of.
    pub(super) console: String,
    /// To the second: what came of it.
    pub(super) results: String,
    /// It was ended at the limit.
    pub(super) was_stopped: bool,
}

impl Machine<'_> {
    /// Runs the guest until it ends.
    pub(super) fn run(&self) -> Result<Ended> {
        // They stay, for whoever wants to know what came of it.
        let folder = self.kernel.parent().unwrap_or(self.kernel);
        let [console, results] = ["console", "results"].map(|name| folder.join(name));
        for file in [&console, &results] {
            fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
        }
        let mut command = child::command("qemu-system-x86_64", None);
        command
            .args(["-machine", "pc", "-cpu", PROCESSOR, "-smp", "2", "-m", "1024"])
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-append", &format!("{COMMAND_LINE} {}", self.told)])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initrd)
            .args(["-serial", &to_file(&console), "-serial", &to_file(&results)])
            // It says of features of the processor that it does not emulate them.
            .stderr(fs::File::create(folder.join("qemu.log"))?);
        let was_stopped = Running::start("qemu-system-x86_64", &mut command)?.ended_within(self.limit)?.is_none();
        let read =
            |file: &PathBuf| -> Result<String> { Ok(String::from_utf8_lossy(&fs::read(file)?).replace('\r', "")) };
        Ok(Ended { console: read(&console)?, results: read(&results)?, was_stopped })
    }
}

fn to_file(path: &Path) -> String {
    format!("file:{}", path.display())
}
