//! Node: grpc-js, and its own modules `http2` and `https`; older and newer releases, each with an OpenSSL linked into it.

use std::{ffi::OsStr, path::Path, process::Command};

use serde_json::json;
use tests::{
    agent::Backend,
    need, on_both_backends,
    program::{Program, folder},
    seen::assert_attributes,
};

use super::{
    orders,
    web::{To, both_are_seen, certificate},
};

on_both_backends!(
    a_grpc_service_and_its_client,
    http2_in_the_clear,
    http2_over_tls,
    https,
    openssl_1_0_2_linked_in,
    openssl_1_1_1_linked_in,
    openssl_3_5_linked_in,
);

/// Starts `tests/programs/node/NAME`.
fn node(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    node_at(&need::program("node"), name, arguments)
}

/// Starts it with a Node of this path.
fn node_at(binary: &Path, name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    let mut command = Command::new(binary);
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
    let _seen = both_are_seen(backend, &server, &mut client, to);
}

fn http2_over_tls(backend: Backend) {
    over_tls(backend, &need::program("node"), "h2", "2", "1.3");
}

fn https(backend: Backend) {
    over_tls(backend, &need::program("node"), "https", "1.1", "1.3");
}

fn over_tls(backend: Backend, binary: &Path, kind: &str, version: &'static str, tls: &str) {
    let files = folder();
    certificate(files.path());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    let server = node_at(binary, "web_server.js", [kind.as_ref(), cert.as_os_str(), key.as_os_str()]);
    let mut client = node_at(binary, "web_client.js", [kind]);
    let to = To::new(server.port(), "https", version);
    let seen = both_are_seen(backend, &server, &mut client, to);
    for span in &seen.spans {
        assert_attributes(span, &json!({ "tls.protocol.version": tls }));
    }
}

/// HTTP/1.1 and HTTP/2 of a release of Node, and of the OpenSSL that it says it has.
fn linked_in(backend: Backend, release: &str, openssl: &str, tls: &str) {
    let binary = need::made("node").join("node_modules").join(release).join("bin/node");
    let said = Command::new(&binary).args(["-p", "process.versions.openssl"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.starts_with(openssl), "{} has OpenSSL {said}", binary.display());
    over_tls(backend, &binary, "https", "1.1", tls);
    over_tls(backend, &binary, "h2", "2", tls);
}

fn openssl_1_0_2_linked_in(backend: Backend) {
    linked_in(backend, "node8", "1.0.2", "1.2");
}

fn openssl_1_1_1_linked_in(backend: Backend) {
    linked_in(backend, "node12", "1.1.1", "1.3");
}

fn openssl_3_5_linked_in(backend: Backend) {
    linked_in(backend, "node22", "3.5", "1.3");
}
