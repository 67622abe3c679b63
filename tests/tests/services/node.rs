//! Node: grpc-js, and its own modules `http2` and `https`.

use std::{ffi::OsStr, process::Command};

use tests::{
    agent::Backend,
    need, on_both_backends,
    program::{Program, folder},
};

use super::{
    orders,
    web::{To, both_are_seen, certificate},
};

on_both_backends!(a_grpc_service_and_its_client, http2_in_the_clear, http2_over_tls, https);

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

fn http2_in_the_clear(backend: Backend) {
    let (server, mut client) = (node("web_server.js", ["h2c"]), node("web_client.js", ["h2"]));
    let to = To::new(server.port(), "http", "2");
    both_are_seen(backend, &server, &mut client, to);
}

fn http2_over_tls(backend: Backend) {
    over_tls(backend, "h2", "2");
}

fn https(backend: Backend) {
    over_tls(backend, "https", "1.1");
}

fn over_tls(backend: Backend, kind: &str, version: &'static str) {
    let files = folder();
    certificate(files.path());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    let server = node("web_server.js", [kind.as_ref(), cert.as_os_str(), key.as_os_str()]);
    let mut client = node("web_client.js", [kind]);
    let to = To::new(server.port(), "https", version);
    both_are_seen(backend, &server, &mut client, to);
}
