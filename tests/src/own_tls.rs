//! Programs in C with a TLS library, and a certificate for them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    need,
    program::{Program, folder},
};

/// Writes a certificate for `localhost` and its key into a folder, as `cert.pem` and `key.pem`; gives their paths.
///
/// # Panics
/// If that is not possible.
pub fn certificate(folder: &Path) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&certificate, made.cert.pem()).expect("a file can be written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file can be written");
    [certificate, key]
}

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
        certificate(files.path());
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
