//! Rust: tonic, and hyper with HTTP/2 in the clear.

use std::{ffi::OsStr, process::Command};

use tests::{agent::Backend, on_both_backends, program::Program};

use super::{
    orders,
    web::{To, both_are_seen},
};

on_both_backends!(a_grpc_service_and_its_client, http2_in_the_clear);

/// Starts `tests/programs/rust/`.
fn rust(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_program")).args(arguments))
}

fn a_grpc_service_and_its_client(backend: Backend) {
    let seen = orders::are_seen(backend, &rust(["orders-server"]), |port| rust(["orders-client", &port.to_string()]));
    assert!(seen.spans.iter().all(|span| span.resource["telemetry.sdk.language"] == "rust"), "{}", seen.summary());
}

fn http2_in_the_clear(backend: Backend) {
    let (server, mut client) = (rust(["web-server"]), rust(["web-client"]));
    let to = To::new(server.port(), "http", "2");
    let _seen = both_are_seen(backend, &server, &mut client, to);
}
