//! Servers that fork: each worker is watched from its first request on, and belongs to the server's instance.

use std::{collections::BTreeSet, fs, net::TcpStream, process::Command, thread};

use tests::{
    client::Connection,
    need,
    program::{Program, folder, free_port},
    wait::poll,
};

use crate::watching::{Discovering, resource};

/// Asks a server whose answers are the pids of its workers, and compares with what the agent tells of them. Gives the
/// number of workers that answered.
fn assert_workers(server: &Program, port: u16, path: &str, service: &str, language: &str) -> usize {
    const CLIENTS: usize = 4;
    const EACH: usize = 15;
    poll("the server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    let watch = Discovering::with(&[]);
    let ask = |_| {
        let answer = Connection::to(port).request("GET", path, &["Connection: close"], b"");
        answer.text().parse::<u64>().unwrap_or_else(|_| panic!("{} is no pid", answer.text()))
    };
    // At the same time: PHP's first process serves as well, but not all of them.
    let answered: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| (0..EACH).map(ask).collect::<Vec<_>>())).collect();
        clients.into_iter().flat_map(|client| client.join().expect("all requests are answered")).collect()
    });
    assert!(answered.iter().any(|pid| *pid != u64::from(server.pid())), "workers have answered");
    let spans = watch.finish(path, CLIENTS * EACH);
    let mut told: Vec<u64> = spans.iter().filter_map(|span| span.resource["process.pid"].as_u64()).collect();
    let mut served = answered.clone();
    told.sort_unstable();
    served.sort_unstable();
    assert_eq!(told, served, "the workers that answered");
    for span in &spans {
        assert_eq!(resource(span, "service.instance.id"), resource(&spans[0], "service.instance.id"), "one instance");
        assert_eq!((span.service(), resource(span, "telemetry.sdk.language")), (service, Some(language)));
    }
    answered.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn gunicorn_whose_workers_live_for_a_few_requests() {
    let files = folder();
    let package = files.path().join("payroll");
    fs::create_dir(&package).expect("a folder can be made");
    let text = "import os\n\
                def app(environ, start_response):\n    \
                    start_response('200 OK', [])\n    \
                    return [str(os.getpid()).encode()]\n";
    fs::write(package.join("wsgi.py"), text).expect("a file can be written");
    let port = free_port();
    let mut gunicorn = Command::new(need::program("gunicorn"));
    gunicorn.args([
        "--workers",
        "2",
        "--max-requests",
        "5",
        "--bind",
        &format!("127.0.0.1:{port}"),
        "payroll.wsgi:app",
    ]);
    let server = Program::start(gunicorn.current_dir(files.path()));
    let workers = assert_workers(&server, port, "/forks/gunicorn", "payroll", "python");
    assert!(workers >= 8, "{workers} workers have answered, some of them young");
}

#[test]
fn php_with_workers() {
    let files = folder();
    let public = files.path().join("storefront/public");
    fs::create_dir_all(&public).expect("a folder can be made");
    fs::write(public.join("index.php"), "<?php usleep(20000); echo getmypid();").expect("a file can be written");
    let port = free_port();
    let mut php = Command::new(need::program("php"));
    php.args(["-S", &format!("127.0.0.1:{port}"), "-t"]).arg(&public).env("PHP_CLI_SERVER_WORKERS", "3");
    let server = Program::start(&mut php);
    assert_workers(&server, port, "/forks/php", "storefront", "php");
}

#[test]
fn ruby_with_workers() {
    let files = folder();
    let script = files.path().join("dispatch.rb");
    fs::copy(need::source("prefork.rb"), &script).expect("a file can be copied");
    let server = Program::start(Command::new(need::program("ruby")).arg(&script));
    assert_workers(&server, server.port(), "/forks/ruby", "dispatch", "ruby");
}
