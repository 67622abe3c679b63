//! Kafka.

use std::process::Command;

use super::{listens, write};
use crate::{
    need,
    program::{Program, folder, free_port},
};

/// A broker.
pub struct Broker {
    /// Itself; its service is called `broker`.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
    _files: tempfile::TempDir,
}

impl Broker {
    /// Starts it. It takes no message of more than 100 kB.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let (files, port, controller) = (folder(), free_port(), free_port());
        let settings = files.path().join("server.properties");
        let lines = [
            "process.roles=broker,controller".to_owned(),
            "node.id=1".to_owned(),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            format!("log.dirs={}", files.path().join("log").display()),
            "num.partitions=2".to_owned(),
            "message.max.bytes=100000".to_owned(),
            "offsets.topic.num.partitions=1".to_owned(),
            "offsets.topic.replication.factor=1".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
        ];
        write(&settings, &lines.join("\n"));
        let format = ["format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--config"];
        super::done(java("kafka.tools.StorageTool").args(format).arg(&settings));
        let program = Program::start(java("kafka.Kafka").arg(&settings).env("OTEL_SERVICE_NAME", "broker"));
        listens("the broker", port);
        Self { program, port, _files: files }
    }
}

/// A class of Kafka's own, or of `tests/programs/queues/java`.
#[must_use]
pub fn java(class: &str) -> Command {
    let made = need::made("queues/java");
    let path = format!("{}/*:{}", made.join("lib").display(), made.join("classes").display());
    let mut command = Command::new(need::program("java"));
    command.args(["-Xmx256m", "-cp", &path, class]);
    command
}
