//! NATS.

use std::process::Command;

use super::listens;
use crate::{
    need,
    own_tls::certificate,
    program::{Program, folder, free_port},
};

/// Who may come in, with which password.
pub const USER: [&str; 2] = ["user", "secret"];

/// A server with JetStream.
pub struct Server {
    /// Itself; its service is called `broker`.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
    /// Its files: `cert.pem` among them, where it speaks TLS.
    pub files: tempfile::TempDir,
}

impl Server {
    /// Starts it, with TLS or without.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(with_tls: bool) -> Self {
        let (files, port, [user, password]) = (folder(), free_port(), USER);
        let mut command = Command::new(need::program("nats-server"));
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--user", user, "--pass", password, "-js", "-sd"]);
        command.arg(files.path()).env("OTEL_SERVICE_NAME", "broker");
        if with_tls {
            let [certificate, key] = certificate(files.path());
            command.args(["--tls", "--tlscert"]).arg(certificate).arg("--tlskey").arg(key);
        }
        let program = Program::start(&mut command);
        listens("the server", port);
        Self { program, port, files }
    }
}
