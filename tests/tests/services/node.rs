//! Node: grpc-js.

use std::{ffi::OsStr, process::Command};

use tests::{agent::Backend, need, on_both_backends, program::Program};

use super::orders;

on_both_backends!(a_grpc_service_and_its_client);

/// Starts `tests/programs/node/NAME`.
fn node(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    let mut command = Command::new(need::program("node"));
    command.env("NODE_PATH", need::made("node").join("node_modules"));
    Program::start(command.arg(need::source("node").join(name)).args(arguments))
}

fn a_grpc_service_and_its_client(backend: Backend) {
    let service = node("orders_server.js", [""; 0]);
    let seen = orders::are_seen(backend, &service, |port| node("orders_client.js", [port.to_string()]));
    assert!(seen.spans.iter().all(|span| span.resource["telemetry.sdk.language"] == "nodejs"), "{}", seen.summary());
}
