//! Which processes are watched: by port, by executable, by rules, and which never.

use std::{collections::BTreeMap, fs, process::Command};

use tests::{
    client::Connection,
    need,
    program::{Program, folder},
};

use crate::watching::{Discovering, by_service};

/// Three copies of a server: `alpha`, `beta`, `gamma`.
struct Three {
    programs: Vec<Program>,
    _files: tempfile::TempDir,
}

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

impl Three {
    fn start() -> Self {
        let files = folder();
        let ledger = need::compiled("ledger.c", &[], files.path());
        let start = |name: &str| {
            let program = files.path().join(name);
            fs::hard_link(&ledger, &program).expect("a program can have another name");
            Program::start(&mut Command::new(program))
        };
        Self { programs: NAMES.map(start).into(), _files: files }
    }

    fn port(&self, which: usize) -> u16 {
        self.programs[which].port()
    }

    fn ask_each(&self, path: &str) {
        for program in &self.programs {
            assert_eq!(Connection::to(program.port()).get(path).status, 200);
        }
    }
}

fn counted(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn a_port_chooses_who_listens_there() {
    let three = Three::start();
    let watch = Discovering::with(&["--port", &three.port(1).to_string()]);
    three.ask_each("/by-port");
    assert_eq!(by_service(&watch.finish("/by-port", 1)), counted(&[("beta", 1)]));
}

#[test]
fn a_port_that_is_opened_later_is_found_from_the_first_request_on() {
    let files = folder();
    let ledger = need::compiled("ledger.c", &[], files.path());
    let watch = Discovering::with(&["--port", "1024-65535", "--exe", "*/ledger"]);
    let mut servers = Vec::new();
    for _ in 0..5 {
        let server = Program::start(&mut Command::new(&ledger));
        assert_eq!(Connection::to(server.port()).get("/later").status, 200);
        // What listened where is asked for when the request is handled.
        servers.push(server);
    }
    assert_eq!(by_service(&watch.finish("/later", 5)), counted(&[("ledger", 5)]));
}

/// One worker per connection, which lives as long as that, and does not listen.
const WORKERS: &str = "
import os, signal, socket
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server(('127.0.0.1', 0))
print('listening', listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        while connection.recv(4096):
            connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')
        os._exit(0)
    connection.close()
";

#[test]
fn a_port_chooses_workers_that_have_closed_the_listener() {
    let files = folder();
    let script = files.path().join("workers.py");
    fs::write(&script, WORKERS).expect("a script can be written");
    let server = Program::start(Command::new(need::python()).arg("-u").arg(&script));
    let watch = Discovering::with(&["--port", &server.port().to_string()]);
    for _ in 0..10 {
        let mut connection = Connection::to(server.port());
        for _ in 0..3 {
            assert_eq!(connection.get("/by-worker").status, 200);
        }
    }
    assert_eq!(by_service(&watch.finish("/by-worker", 30)), counted(&[("workers", 30)]));
}

#[test]
fn a_pattern_of_the_executable_chooses() {
    let three = Three::start();
    let watch = Discovering::with(&["--exe", "*/{alpha,gamma}"]);
    three.ask_each("/by-exe");
    assert_eq!(by_service(&watch.finish("/by-exe", 2)), counted(&[("alpha", 1), ("gamma", 1)]));
}

#[test]
fn rules_name_what_they_match_and_what_is_excluded_is_not_watched() {
    let three = Three::start();
    let config = three._files.path().join("agent.yaml");
    let text = "discovery:\n  instrument:\n    - exe_path: 're:/(alpha|beta|gamma)$'\n      name: others\n    \
                - exe_path: '*/alpha'\n      name: first\n  \
                exclude_instrument:\n    - exe_path: '*/gamma'\n";
    fs::write(&config, text).expect("a file");
    let watch = Discovering::configured(&config);
    three.ask_each("/by-rule");
    assert_eq!(by_service(&watch.finish("/by-rule", 2)), counted(&[("first", 1), ("others", 1)]));
}

#[test]
fn a_rule_sets_signals_sampler_and_routes_of_its_services_alone() {
    let three = Three::start();
    let config = three._files.path().join("agent.yaml");
    // By their whole path: another test has programs of the same names.
    let at = three._files.path().display();
    let text = format!(
        "discovery:\n  instrument:\n    - exe_path: '{at}/alpha'\n      routes: {{incoming: ['/rule/:what']}}\n    \
         - exe_path: '{at}/beta'\n      exports: [metrics]\n    \
         - exe_path: '{at}/gamma'\n      sampler: {{name: always_off}}\n\
         routes: {{ignored_patterns: [/healthz]}}\n"
    );
    fs::write(&config, text).expect("a file");
    let watch = Discovering::configured(&config);
    three.ask_each("/rule/orders");
    three.ask_each("/healthz");
    let count = |watch: &Discovering, name: &str| {
        watch.agent.metric("http_server_request_duration_seconds_count", &[&format!("job=\"{name}\"")])
    };
    let spans_wait = tests::wait::poll("all three are counted", || {
        let counts = NAMES.map(|name| count(&watch, name));
        (counts.iter().sum::<f64>() >= 3.0).then_some(counts)
    });
    assert_eq!(spans_wait, [1.0, 1.0, 1.0], "each is counted once, and the ignored path is not");
    let spans = watch.finish("/", 1);
    assert_eq!(spans[0].name, "GET /rule/:what");
}

#[test]
fn the_receiver_that_the_agent_sends_to_is_not_watched() {
    // It is this process: its other traffic would be seen if it were.
    let three = Three::start();
    let watch = Discovering::with(&[]);
    three.ask_each("/collector");
    let spans = watch.finish("/collector", 3);
    assert!(spans.iter().all(|span| span.kind == "SERVER"), "this test's own calls are not seen");
}
