//! Python: grpcio.

use std::{ffi::OsStr, process::Command};

use tests::{agent::Backend, need, on_both_backends, program::Program};

use super::orders;

on_both_backends!(a_grpc_service_and_its_client);

/// Starts `tests/programs/python/NAME`.
fn python(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    let mut command = Command::new(need::python());
    command.env("PYTHONPATH", need::made("python"));
    Program::start(command.arg("-u").arg(need::source("python").join(name)).args(arguments))
}

fn a_grpc_service_and_its_client(backend: Backend) {
    let service = python("orders_server.py", [""; 0]);
    let seen = orders::are_seen(backend, &service, |port| python("orders_client.py", [port.to_string()]));
    assert!(seen.spans.iter().all(|span| span.resource["telemetry.sdk.language"] == "python"), "{}", seen.summary());
}
