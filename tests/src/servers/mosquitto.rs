//! Mosquitto.

use std::process::Command;

use tempfile::TempDir;

use super::{listens, write};
use crate::{
    need,
    own_tls::certificate,
    program::{Program, folder, free_port},
};

/// A broker, which lets everybody in.
pub struct Broker {
    /// Itself; its service is called `broker`.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
    /// Its files: `cert.pem` among them, where it speaks TLS.
    pub files: TempDir,
}

impl Broker {
    /// Starts it with these lines of its list of access rights, if there is one, or with TLS.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(rights: Option<&str>, with_tls: bool) -> Self {
        let (files, port) = (folder(), free_port());
        let at = |name: &str| files.path().join(name).display().to_string();
        let mut lines = vec![
            format!("listener {port} 127.0.0.1"),
            "allow_anonymous true".to_owned(),
            "persistence false".to_owned(),
            "user root".to_owned(),
        ];
        if let Some(rights) = rights {
            write(&files.path().join("allowed"), rights);
            lines.push(format!("acl_file {}", at("allowed")));
        }
        if with_tls {
            let [_certificate, _key] = certificate(files.path());
            lines.extend([format!("certfile {}", at("cert.pem")), format!("keyfile {}", at("key.pem"))]);
        }
        let settings = files.path().join("mosquitto.conf");
        write(&settings, &lines.join("\n"));
        let mut command = Command::new(need::program("mosquitto"));
        let program = Program::start(command.arg("-c").arg(&settings).env("OTEL_SERVICE_NAME", "broker"));
        listens("the broker", port);
        Self { program, port, files }
    }
}
