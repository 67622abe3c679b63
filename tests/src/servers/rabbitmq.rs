//! RabbitMQ.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::write;
use crate::{
    LONG, need,
    own_tls::certificate,
    program::{Program, folder, free_port},
    wait::poll,
};

/// A broker, and the daemon that its name is kept by.
pub struct Broker {
    /// Itself; its service is called `broker`.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
    /// Where it does with TLS, which is Erlang's own.
    pub tls_port: u16,
    /// The certificate that it has there.
    pub certificate: PathBuf,
    names: u16,
    _files: tempfile::TempDir,
}

impl Broker {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let (files, port, tls_port, names) = (folder(), free_port(), free_port(), free_port());
        let [certificate, key] = certificate(files.path());
        let at = |name: &str| files.path().join(name);
        write(&at("plugins"), "[].\n");
        let lines = [
            "loopback_users = none".to_owned(),
            format!("listeners.ssl.1 = 127.0.0.1:{tls_port}"),
            format!("ssl_options.cacertfile = {}", certificate.display()),
            format!("ssl_options.certfile = {}", certificate.display()),
            format!("ssl_options.keyfile = {}", key.display()),
            "ssl_options.verify = verify_none\n".to_owned(),
        ];
        write(&at("rabbitmq.conf"), &lines.join("\n"));
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        assert!(Path::new(command.get_program()).is_file(), "install the Debian package rabbitmq-server");
        command.env("HOME", files.path()).env("ERL_EPMD_PORT", names.to_string());
        command.env("RABBITMQ_NODENAME", format!("test-{port}@localhost"));
        command.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1").env("RABBITMQ_NODE_PORT", port.to_string());
        command.env("RABBITMQ_DIST_PORT", free_port().to_string()).env("RABBITMQ_MNESIA_BASE", at("data"));
        command.env("RABBITMQ_LOGS", "-").env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"));
        command.env("RABBITMQ_CONFIG_FILE", at("rabbitmq")).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_PID_FILE", at("pid")).env("OTEL_SERVICE_NAME", "broker");
        let program = Program::start(&mut command);
        let listens =
            |lines: &[String]| lines.iter().any(|line| line.contains("started TLS (SSL) listener")).then_some(());
        let broker = Self { program, port, tls_port, certificate, names, _files: files };
        let started = broker.program.stdout.until(LONG, listens);
        assert!(started.is_some(), "the broker does not start: {:#?}", broker.program.stdout.so_far());
        broker
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It leaves the group of who starts it, and ends when it is told so and no broker is there any more.
        let pid = rustix::process::Pid::from_raw(self.program.pid().cast_signed()).expect("a process has a number");
        let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        let end = || {
            let mut command = Command::new(need::program("epmd"));
            let said = command.args(["-port", &self.names.to_string(), "-kill"]).output().ok()?;
            said.status.success().then_some(())
        };
        poll("the daemon of names ends", end);
    }
}
