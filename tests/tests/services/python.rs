//! Python: grpcio, and aiohttp over TLS.

use std::{ffi::OsStr, process::Command};

use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::{Program, folder},
};

use super::{
    orders,
    web::{To, both_are_seen, certificate},
};

on_both_backends!(a_grpc_service_and_its_client, grpcio_over_tls_is_not_seen, aiohttp_over_tls);

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
    let mut client = python("web_client.py", [""; 0]);
    let mut to = To::new(server.port(), "https", "1.1");
    to.is_bound_late = backend == Backend::Syscall;
    both_are_seen(backend, &server, &mut client, to);
}
