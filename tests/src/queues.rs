//! What tests of brokers share: their clients, and what was told of messages.

use std::process::Command;

use crate::{need, program::Program, receiver::ReceivedSpan, seen::Seen};

/// A client in Python, of `tests/programs/queues/python`.
#[must_use]
pub fn python(name: &str, arguments: &[&str]) -> Program {
    let mut command = Command::new(need::python());
    command.env("PYTHONPATH", need::made("queues/python")).arg("-u");
    Program::start(command.arg(need::source("queues/python").join(name)).args(arguments))
}

/// A client in Node, of `tests/programs/queues/node`.
#[must_use]
pub fn node(name: &str, arguments: &[&str]) -> Program {
    let mut command = Command::new(need::program("node"));
    command.env("NODE_PATH", need::made("queues/node").join("node_modules"));
    Program::start(command.arg(need::source("queues/node").join(name)).args(arguments))
}

/// The number that a program says behind a word.
///
/// # Panics
/// If it says none.
#[must_use]
pub fn number(program: &Program, word: &str) -> u64 {
    program.says(&format!("{word} ")).trim().parse().expect("a number")
}

/// Spans of a destination that are of a broker, or of its clients, and did something with messages.
#[must_use]
pub fn told<'a>(seen: &'a Seen, destination: &str, is_broker: bool, step: &str) -> Vec<&'a ReceivedSpan> {
    let is_it = |span: &&ReceivedSpan| {
        (span.kind == "SERVER") == is_broker
            && span.attributes.get("messaging.destination.name").is_some_and(|name| name == destination)
            && span.attributes.get("messaging.operation.type").is_some_and(|it| it == step)
    };
    seen.spans.iter().filter(is_it).collect()
}

/// Messages of those that did not fail. Where all is done in batches a number is said, unless it is not known.
#[must_use]
pub fn messages(spans: &[&ReceivedSpan]) -> u64 {
    let of = |span: &&&ReceivedSpan| {
        let count = span.attributes.get("messaging.batch.message_count");
        let is_known = span.attributes.get("messaging.system").is_some_and(|system| system != "kafka");
        count.map_or(u64::from(is_known), |count| count.as_u64().unwrap_or_default())
    };
    spans.iter().filter(|span| !span.attributes.contains_key("error.type")).map(|span| of(&span)).sum()
}
