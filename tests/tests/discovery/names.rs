//! A host with ten services, each called as a person would call it.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;
use tests::{
    agent,
    client::Connection,
    need,
    program::{Program, folder, free_port},
    wait::poll,
};

use crate::watching::{Discovering, by_service, resource};

struct Service {
    name: &'static str,
    language: Option<&'static str>,
    port: u16,
    _program: Program,
}

fn built(compiler: &mut Command) {
    let out = compiler.output().expect("a compiler can be started");
    assert!(out.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn says(name: &'static str, language: Option<&'static str>, command: &mut Command) -> Service {
    let program = Program::start(command);
    Service { name, language, port: program.port(), _program: program }
}

fn listens(name: &'static str, language: Option<&'static str>, port: u16, command: &mut Command) -> Service {
    let program = Program::start(command);
    poll("the program listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    Service { name, language, port, _program: program }
}

fn source(name: &str) -> std::path::PathBuf {
    need::source(name)
}

fn services(at: &Path) -> Vec<Service> {
    let python = need::python();
    let node = need::program("node");
    let copy = |from: &Path, to: &str| {
        let to = at.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder can be made");
        need::copied(from, &to);
        to
    };
    built(Command::new(need::program("go")).args(["build", "-o"]).arg(at.join("payments")).arg(source("payments.go")));
    built(Command::new(need::program("rustc")).args(["-o"]).arg(at.join("pricing")).arg(source("pricing.rs")));
    let ledger = need::compiled("ledger.c", &[], at);
    let (static_port, nginx_port) = (free_port(), free_port());
    fs::write(
        at.join("nginx.conf"),
        format!(
            "user root; daemon off; pid {at}/nginx.pid; error_log stderr warn; events {{}}
             http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
             uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
             server {{ listen 127.0.0.1:{nginx_port}; location / {{ return 200 ok; }} }} }}",
            at = at.display()
        ),
    )
    .expect("a file can be written");
    fs::create_dir_all(at.join("shop")).expect("a folder can be made");
    fs::write(at.join("shop/package.json"), r#"{"name": "storefront", "main": "index.js"}"#).expect("a file");
    let index = copy(&need::source("server.js"), "shop/index.js");
    vec![
        listens(
            "http.server",
            Some("python"),
            static_port,
            Command::new(&python)
                .args(["-m", "http.server", &static_port.to_string(), "--bind", "127.0.0.1"])
                .current_dir(at),
        ),
        says(
            "orders",
            Some("python"),
            Command::new(&python).arg("-u").arg(copy(&need::source("server.py"), "orders.py")),
        ),
        says("cart", Some("nodejs"), Command::new(&node).arg(copy(&need::source("server.js"), "cart.js"))),
        says("storefront", Some("nodejs"), Command::new(&node).arg(index)),
        listens(
            "nginx",
            None,
            nginx_port,
            Command::new(need::program("nginx"))
                .arg("-p")
                .arg(at)
                .arg("-c")
                .arg(at.join("nginx.conf"))
                .args(["-e", "stderr"]),
        ),
        says("Inventory", Some("java"), Command::new(need::program("java")).arg(source("Inventory.java"))),
        says("payments", Some("go"), &mut Command::new(at.join("payments"))),
        says("pricing", Some("rust"), &mut Command::new(at.join("pricing"))),
        says("ledger", None, &mut Command::new(&ledger)),
        says(
            "billing",
            Some("python"),
            Command::new(&python).arg("-u").arg(copy(&need::source("server.py"), "billing/__main__.py")),
        ),
    ]
}

#[test]
fn ten_services_are_named_as_a_person_would_with_no_option_given() {
    let files = folder();
    let services = services(files.path());
    let watch = Discovering::with(&[]);
    for service in &services {
        let response = Connection::to(service.port).request("GET", "/ten-services", &["Connection: close"], b"");
        assert!(response.status < 500, "{}: {}", service.name, response.status);
    }
    let spans = watch.finish("/ten-services", services.len());
    let expected: BTreeMap<String, usize> = services.iter().map(|service| (service.name.to_owned(), 1)).collect();
    assert_eq!(by_service(&spans), expected);
    for service in services.iter().filter(|service| service.language.is_some()) {
        let span = spans.iter().find(|span| span.service() == service.name).expect("there is one of each");
        assert_eq!(resource(span, "telemetry.sdk.language"), service.language, "{}", service.name);
    }
    let instances: std::collections::BTreeSet<_> =
        spans.iter().map(|span| resource(span, "service.instance.id")).collect();
    assert_eq!(instances.len(), services.len(), "each has an instance id of its own");
}

#[test]
fn survey_lists_the_services_with_language_and_ports() {
    let files = folder();
    let services = services(files.path());
    let out = agent::command(["survey", "--json"]).output().expect("the agent can be started");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&out.stdout).expect("an array");
    for service in &services {
        let has_port = |row: &&Value| row["ports"].as_array().is_some_and(|ports| ports.contains(&service.port.into()));
        let row = rows.iter().find(has_port).unwrap_or_else(|| panic!("{} is not listed: {rows:#?}", service.name));
        assert_eq!(row["service_name"], service.name);
        assert_eq!(row["matched_by"][0], "default");
        if let Some(language) = service.language {
            assert_eq!(row["language"], language, "{}", service.name);
        }
        let release = row["runtime_version"].as_str();
        assert_eq!(release.is_some_and(|release| release.starts_with("go1.")), service.language == Some("go"));
    }
    let own = rows.iter().any(|row| row["executable"].as_str().is_some_and(|exe| exe.ends_with("/beyla-rs")));
    assert!(!own, "an agent is never watched");
}

#[test]
fn a_services_own_environment_is_the_strongest() {
    let files = folder();
    let config = files.path().join("agent.yaml");
    fs::write(
        &config,
        "discovery:\n  instrument:\n    - exe_path: '*python*'\n      name: configured\n      namespace: shop\n",
    )
    .expect("a file");
    let server = |environment: &[(&str, &str)]| {
        let mut command = Command::new(need::python());
        command.arg("-u").arg(need::source("server.py")).envs(environment.iter().copied());
        Program::start(&mut command)
    };
    let by_name = server(&[
        ("OTEL_SERVICE_NAME", "by-name"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=weaker,service.version=1.2,team=blue"),
    ]);
    let by_attributes = server(&[(
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=by-attributes,service.namespace=own,deployment.environment.name=test",
    )]);
    let by_nothing = server(&[]);
    let watch = Discovering::configured(&config);
    for server in [&by_name, &by_attributes, &by_nothing] {
        assert_eq!(Connection::to(server.port()).get("/environment").status, 200);
    }
    let spans = watch.finish("/environment", 3);
    let of = |program: &Program| {
        let span = spans.iter().find(|span| span.resource["process.pid"] == program.pid()).expect("a span of it");
        ["service.name", "service.namespace", "service.version", "deployment.environment.name", "team"]
            .map(|key| resource(span, key))
    };
    assert_eq!(of(&by_name), [Some("by-name"), Some("shop"), Some("1.2"), None, Some("blue")]);
    assert_eq!(of(&by_attributes), [Some("by-attributes"), Some("own"), None, Some("test"), None]);
    assert_eq!(of(&by_nothing), [Some("configured"), Some("shop"), None, None, None]);
}

#[test]
fn the_resource_is_what_the_interface_names() {
    let files = folder();
    let config = files.path().join("agent.yaml");
    let text = "attributes:\n  process_command_line: true\n  host_id: {override: id-of-the-host}\n  \
                instance_id: {override_hostname: name-of-the-host}\n";
    fs::write(&config, text).expect("a file");
    let script = files.path().join("returns.py");
    fs::copy(need::source("server.py"), &script).expect("a file can be copied");
    let mut command = Command::new(need::python());
    let own = "service.version=1.2,deployment.environment.name=test,service.namespace=shop";
    let server = Program::start(command.arg("-u").arg(&script).env("OTEL_RESOURCE_ATTRIBUTES", own));
    let watch = Discovering::configured(&config);
    assert_eq!(Connection::to(server.port()).get("/resource").status, 200);
    let spans = watch.finish("/resource", 1);
    let found = &spans[0].resource;
    let python = fs::canonicalize(need::python()).expect("python is there");
    let version = found["telemetry.sdk.version"].clone();
    let expected = serde_json::json!({
        "service.name": "returns",
        "service.namespace": "shop",
        "service.version": "1.2",
        "service.instance.id": found["service.instance.id"],
        "deployment.environment.name": "test",
        "telemetry.sdk.name": "beyla-rs",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": version,
        "telemetry.distro.name": "beyla-rs",
        "telemetry.distro.version": version,
        "process.pid": server.pid(),
        "process.executable.name": python.file_name().expect("a name").to_string_lossy(),
        "process.executable.path": python.to_string_lossy(),
        "process.command_line": format!("{} -u {}", need::python().display(), script.display()),
        "process.owner": "root",
        "process.runtime.name": "cpython",
        "host.name": "name-of-the-host",
        "host.id": "id-of-the-host",
        "host.arch": "amd64",
        "os.type": "linux",
    });
    let of_us: serde_json::Map<String, Value> = found
        .iter()
        .filter(|(key, _)| !key.starts_with("cloud."))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(Value::Object(of_us), expected);
}

#[test]
fn another_program_in_the_same_process_has_its_own_name() {
    let files = folder();
    let ledger = need::compiled("ledger.c", &[], files.path());
    let second = files.path().join("second");
    fs::hard_link(&ledger, &second).expect("a program can have another name");
    // Serves one request by itself, then becomes the other program.
    let script = files.path().join("first.py");
    let text = "import os, socket, sys\n\
                server = socket.create_server(('127.0.0.1', 0))\n\
                print('listening', server.getsockname()[1], flush=True)\n\
                peer, _ = server.accept()\n\
                peer.recv(4096)\n\
                peer.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n')\n\
                peer.close()\n\
                sys.stdin.readline()\n\
                os.execv(sys.argv[1], [sys.argv[1]])\n";
    fs::write(&script, text).expect("a file");
    let watch = Discovering::with(&[]);
    let mut program = Program::start(Command::new(need::python()).arg("-u").arg(&script).arg(&second));
    assert_eq!(Connection::to(program.port()).get("/exec/before").status, 200);
    let is_seen = |state: &tests::receiver::State| state.spans.iter().any(|span| span.service() == "first");
    assert!(watch.receiver.wait_for(is_seen, tests::LONG).is_ok(), "the first program's span did not come");
    program.tell("go on");
    let port: u16 = program.says_after(1, "listening ").trim().parse().expect("a port");
    assert_eq!(Connection::to(port).get("/exec/after").status, 200);
    let spans = watch.finish("/exec/", 2);
    let mut names: Vec<_> = spans.iter().map(|span| (span.service(), span.resource["process.pid"].clone())).collect();
    names.sort_by_key(|(name, _)| (*name).to_owned());
    assert_eq!(names, [("first", program.pid().into()), ("second", program.pid().into())]);
}

#[test]
fn workers_that_live_for_one_request_are_named_and_counted() {
    let files = folder();
    let ledger = need::compiled("ledger.c", &[], files.path());
    let watch = Discovering::with(&[]);
    let server = Program::start(Command::new(ledger).arg("1"));
    let port = server.port();
    for _ in 0..200 {
        assert_eq!(Connection::to(port).get("/workers").status, 200);
    }
    let spans = watch.finish("/workers", 200);
    assert_eq!(by_service(&spans), BTreeMap::from([("ledger".to_owned(), 200)]));
}

#[test]
fn clients_that_live_for_milliseconds_are_named() {
    let files = folder();
    let call = need::compiled("call.c", &[], files.path());
    let ledger = need::compiled("ledger.c", &[], files.path());
    let server = Program::start(&mut Command::new(ledger));
    let port = server.port().to_string();
    let watch = Discovering::with(&[]);
    for _ in 0..50 {
        let status = Command::new(&call).args([&port, "/short"]).status().expect("a client can be started");
        assert!(status.success());
    }
    let spans = watch.finish("/short", 100);
    let clients: Vec<_> = spans.iter().filter(|span| span.kind == "CLIENT").map(|span| span.service()).collect();
    assert_eq!(clients, ["call"; 50]);
}
