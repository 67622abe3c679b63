//! Python: grpcio; aiohttp and uvicorn over TLS; and libraries that other wheels bring: BoringSSL, older releases of
//! OpenSSL.

use std::{ffi::OsStr, path::PathBuf, process::Command};

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
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
    grpcio_over_tls_is_not_seen,
    aiohttp_over_tls,
    uvicorn_on_asyncio,
    uvicorn_on_uvloop,
    boringssl_linked_in,
    shared_openssl_1_0_2,
    shared_openssl_1_1_1,
);

/// Starts `tests/programs/python/NAME`.
fn python(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    Program::start(command(name).args(arguments))
}

fn command(name: &str) -> Command {
    let mut command = Command::new(need::python());
    command.env("PYTHONPATH", need::made("python")).arg("-u").arg(need::source("python").join(name));
    command
}

fn a_grpc_service_and_its_client(backend: Backend) {
    let service = python("orders_server.py", [""; 0]);
    let seen = orders::are_seen(backend, &service, |port| python("orders_client.py", [port.to_string()]));
    assert!(seen.spans.iter().all(|span| span.resource["telemetry.sdk.language"] == "python"), "{}", seen.summary());
}

/// grpcio brings a BoringSSL of its own, without a symbol that would say where it is. That nothing is told is shown by what
/// is told of the same calls in the clear, made later.
fn grpcio_over_tls_is_not_seen(backend: Backend) {
    let files = folder();
    certificate(files.path());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    let services = [python("orders_server.py", [&cert, &key]), python("orders_server.py", [""; 0])];
    let [tls, clear] = services.each_ref().map(Program::port);
    let mut clients = [
        python("orders_client.py", [tls.to_string().as_ref(), cert.as_os_str()]),
        python("orders_client.py", [clear.to_string()]),
    ];
    let pids: Vec<u32> = services.iter().chain(&clients).map(Program::pid).collect();
    let watch = Watch::pids(backend, &pids);
    for client in &mut clients {
        client.tell("go");
        assert_eq!(client.says("done"), "");
        let said = client.stdout.so_far();
        assert_eq!(said.iter().filter(|line| line.starts_with("called ")).count(), orders::count(), "{said:#?}");
    }
    let seen = watch.finish(2 * orders::count());
    assert!(seen.spans.iter().all(|span| span.attributes["server.port"] == clear), "{}", seen.summary());
}

fn aiohttp_over_tls(backend: Backend) {
    let files = folder();
    certificate(files.path());
    let server = python("web_server.py", ["cert.pem", "key.pem"].map(|name| files.path().join(name)));
    let mut client = python("web_client.py", ["asyncio"]);
    let _seen = both_are_seen(backend, &server, &mut client, To::new(server.port(), "https", "1.1"));
}

fn uvicorn(backend: Backend, event_loop: &str) {
    let files = folder();
    certificate(files.path());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    let server = python("web_uvicorn.py", [event_loop.as_ref(), cert.as_os_str(), key.as_os_str()]);
    let mut client = python("web_client.py", [event_loop]);
    let to = To::new(server.port(), "https", "1.1");
    let _seen = both_are_seen(backend, &server, &mut client, to);
}

fn uvicorn_on_asyncio(backend: Backend) {
    uvicorn(backend, "asyncio");
}

fn uvicorn_on_uvloop(backend: Backend) {
    uvicorn(backend, "uvloop");
}

/// curl_cffi's wheel links a BoringSSL, and leaves its symbols in.
fn boringssl_linked_in(backend: Backend) {
    let files = folder();
    certificate(files.path());
    for version in ["1.1", "2"] {
        let mut command = Command::new(need::program("node"));
        command.arg(need::source("node/web_server.js")).arg(if version == "2" { "h2" } else { "https" });
        let server = Program::start(command.args(["cert.pem", "key.pem"].map(|name| files.path().join(name))));
        let mut client = python("web_curl_cffi.py", [version]);
        let _seen = both_are_seen(backend, &server, &mut client, To::new(server.port(), "https", version));
    }
}

/// A library out of an older wheel, with programs that do no more than let it use their sockets.
fn shared_openssl(backend: Backend, libraries: &str, tls: &str) {
    let files = folder();
    certificate(files.path());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    let libraries = need::made("python").join(libraries);
    let mut entries = std::fs::read_dir(&libraries).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libssl-"));
    let library = entries.find(is_it).unwrap_or_else(|| panic!("no libssl in {}", libraries.display()));
    let libssl = || {
        let mut command = command("libssl.py");
        // What it needs lies beside it.
        command.env("LD_LIBRARY_PATH", &libraries).arg(&library);
        command
    };
    let server = Program::start(libssl().arg("serve").args([cert, key]));
    let mut client = Program::start(libssl().arg("call"));
    let to = To::new(server.port(), "https", "1.1");
    let seen = both_are_seen(backend, &server, &mut client, to);
    // The client reads the server's choice in two pieces.
    for span in &seen.spans {
        assert_attributes(span, &json!({ "tls.protocol.version": tls }));
    }
}

fn shared_openssl_1_0_2(backend: Backend) {
    shared_openssl(backend, "openssl-1.0.2/psycopg2/.libs", "1.2");
}

fn shared_openssl_1_1_1(backend: Backend) {
    shared_openssl(backend, "openssl-1.1.1/psycopg2_binary.libs", "1.3");
}
