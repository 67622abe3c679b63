//! Memcached.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    ops::Sub,
    process::Command,
};

use super::listens;
use crate::{
    need,
    program::{Program, free_port},
    receiver::ReceivedSpan,
};

/// A server.
pub struct Server {
    /// Itself.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
}

/// How often keys were asked for, values stored, keys deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Keys, there or not.
    pub get: u64,
    /// Values, under conditions or without, also where those were not met.
    pub set: u64,
    /// Keys, there or not.
    pub delete: u64,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let port = free_port();
        let mut command = Command::new(need::program("memcached"));
        command.args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
        let program = Program::start(&mut command);
        listens("the server", port);
        Self { program, port }
    }

    /// What it has counted by now.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut said = String::new();
        let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).and_then(|mut connection| {
            connection.write_all(b"stats\r\nquit\r\n")?;
            connection.read_to_string(&mut said)
        });
        asked.expect("the server says what it has counted");
        let statistics: BTreeMap<&str, u64> = said
            .lines()
            .filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '))
            .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
            .collect();
        let delete = statistics["delete_hits"] + statistics["delete_misses"];
        Counts { get: statistics["cmd_get"], set: statistics["cmd_set"], delete }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { get: self.get - before.get, set: self.set - before.set, delete: self.delete - before.delete }
    }
}

/// What a span calls its operation; empty where it does not know.
#[must_use]
pub fn operation(span: &ReceivedSpan) -> &str {
    span.attributes.get("db.operation.name").and_then(|name| name.as_str()).unwrap_or_default()
}

/// The same as a server counts, by what was told.
#[must_use]
pub fn told<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>) -> Counts {
    let mut counts = Counts::default();
    for span in spans {
        let keys = span.attributes.get("db.operation.batch.size").and_then(|size| size.as_u64()).unwrap_or(1);
        match operation(span) {
            "get" | "gets" | "mg" | "getq" | "getk" | "getkq" => counts.get += keys,
            "set" | "setq" | "add" | "append" | "prepend" | "cas" | "ms" => counts.set += 1,
            "delete" | "md" => counts.delete += 1,
            _ => {}
        }
    }
    counts
}
