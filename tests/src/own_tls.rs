//! Programs in C with a TLS library, and a certificate for them.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    need,
    program::{Program, folder},
};

/// A program of `tests/programs`, compiled, in a folder of its own with `cert.pem` and `key.pem` in it.
pub struct OwnTls {
    /// The folder, in which it is started.
    pub files: TempDir,
    binary: PathBuf,
}

impl OwnTls {
    /// Compiles it with these flags.
    ///
    /// # Panics
    /// If that is not possible.
    #[must_use]
    pub fn new(source: &str, flags: &[&str]) -> Self {
        let files = folder();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(files.path().join("cert.pem"), made.cert.pem()).expect("a file can be written");
        std::fs::write(files.path().join("key.pem"), made.signing_key.serialize_pem()).expect("a file can be written");
        let binary = need::compiled(source, flags, files.path());
        Self { files, binary }
    }

    /// How it is started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.files);
        command
    }

    /// Starts it.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Program {
        Program::start(&mut self.command(arguments))
    }
}
