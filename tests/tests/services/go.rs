//! Go: grpc-go.

use std::{ffi::OsStr, process::Command};

use tests::{agent::Backend, need, on_both_backends, program::Program};

use super::orders;

on_both_backends!(a_grpc_service_and_its_client);

fn orders_of_go(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    Program::start(Command::new(need::made("go").join("orders")).args(arguments))
}

fn a_grpc_service_and_its_client(backend: Backend) {
    let seen = orders::are_seen(backend, &orders_of_go(["server"]), |port| orders_of_go(["client", &port.to_string()]));
    assert!(seen.spans.iter().all(|span| span.resource["telemetry.sdk.language"] == "go"), "{}", seen.summary());
}
