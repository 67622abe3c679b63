//! MariaDB.

use std::{collections::BTreeMap, os::unix::fs::chown, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::done;
use crate::{
    LONG, need,
    own_tls::certificate,
    program::{Program, folder, free_port},
    receiver::ReceivedSpan,
    seen::Seen,
};

/// How often statements were executed, by their first word.
pub type Calls = BTreeMap<String, u64>;

/// Who may come in over TCP, with which password.
pub const USER: [&str; 2] = ["shop", "s3cr3t-0"];

/// Who a server runs as.
const RUNS_AS: &str = "mysql";

fn id(option: &str) -> u32 {
    done(Command::new("id").args([option, RUNS_AS])).trim().parse().expect("a number")
}

/// A server with the databases `shop` and `other`.
pub struct Server {
    /// Itself.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
    /// Its files.
    pub files: TempDir,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(with_tls: bool) -> Self {
        let (files, port) = (folder(), free_port());
        let own = files.path().display().to_string();
        let give = |path: &std::path::Path| chown(path, Some(id("-u")), Some(id("-g"))).expect("root gives files away");
        if with_tls {
            certificate(files.path()).iter().for_each(|file| give(file));
        }
        give(files.path());
        let data = format!("--datadir={own}/data");
        let mut init = Command::new(need::program("mariadb-install-db"));
        init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        init.args([&data, &format!("--user={RUNS_AS}")]);
        done(init.current_dir(files.path()).env("TMPDIR", files.path()));
        let mut command = Command::new(need::program("setpriv"));
        command.args(["--reuid", RUNS_AS, "--regid", RUNS_AS, "--clear-groups", "--"]).arg(need::program("mariadbd"));
        command.args([
            "--no-defaults",
            &data,
            "--bind-address=127.0.0.1",
            &format!("--port={port}"),
            "--local-infile=1",
        ]);
        command.args([
            &format!("--socket={own}/socket"),
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        command.args(["--skip-log-bin", "--log-output=TABLE"]);
        if with_tls {
            command.args([&format!("--ssl-cert={own}/cert.pem"), &format!("--ssl-key={own}/key.pem")]);
        }
        let program = Program::start(&mut command);
        let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("ready for connections")).then_some(());
        let ready = program.stderr.until(LONG, is_ready);
        assert!(ready.is_some(), "the server does not start: {:#?}", program.stderr.so_far());
        let server = Self { program, port, files };
        let [user, password] = USER;
        server.ask(&format!(
            "CREATE DATABASE shop; CREATE DATABASE other; CREATE USER {user}@'%' IDENTIFIED BY '{password}'; \
             GRANT ALL ON *.* TO {user}@'%'"
        ));
        server
    }

    /// What it answers, over its socket.
    ///
    /// # Panics
    /// If it does not.
    pub fn ask(&self, statements: &str) -> String {
        let mut command = Command::new(need::program("mariadb"));
        command.args([
            "--no-defaults",
            "-uroot",
            "-N",
            "-B",
            &format!("--socket={}/socket", self.files.path().display()),
        ]);
        done(command.args(["-e", statements]))
    }

    /// What comes from now on is logged.
    pub fn forget(&self) {
        self.ask("SET GLOBAL general_log = 1; TRUNCATE mysql.general_log");
    }

    /// What it has logged since of the user's: statements that were executed, and other commands that are told.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn calls(&self) -> Calls {
        let logged = self.ask(
            "SELECT command_type, argument FROM mysql.general_log WHERE user_host LIKE '%shop%' AND command_type IN \
             ('Query', 'Execute', 'Init DB', 'Change user')",
        );
        let mut calls = Calls::new();
        for line in logged.lines() {
            let (kind, argument) = line.split_once('\t').expect("two columns");
            let word: String = argument.chars().take_while(char::is_ascii_alphabetic).collect();
            let word = match kind {
                "Init DB" => "USE".to_owned(),
                "Change user" => "CHANGE".to_owned(),
                _ => word.to_uppercase(),
            };
            *calls.entry(word).or_default() += 1;
        }
        calls
    }
}

/// How often the first words of operations were told, of those that are known.
#[must_use]
pub fn told(spans: &[&ReceivedSpan]) -> Calls {
    let mut calls = Calls::new();
    for span in spans {
        let operation = span.attributes.get("db.operation.name").and_then(Value::as_str);
        let word = operation.and_then(|operation| operation.split(' ').next()).unwrap_or_default();
        *calls.entry(word.to_owned()).or_default() += 1;
    }
    calls
}

/// Spans over TCP of the server's end and of the client's: [`Server::ask`] asks over its socket.
#[must_use]
pub fn sides(seen: &Seen) -> [Vec<&ReceivedSpan>; 2] {
    ["SERVER", "CLIENT"].map(|kind| seen.of_kind(kind).into_iter().filter(|span| is_over_tcp(span)).collect())
}

/// Whether a span is of a connection over TCP.
#[must_use]
pub fn is_over_tcp(span: &ReceivedSpan) -> bool {
    span.attributes.get("network.peer.address").is_some_and(|address| address == "127.0.0.1")
}
