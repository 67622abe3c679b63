//! Names of addresses that processes were seen to be answered by a DNS server.

use std::{fs, path::Path, process::Command};

use tests::{
    agent::{Backend, Setup},
    need, on_both_backends,
    program::{Program, folder},
    receiver::ReceivedSpan,
    seen::path,
};

use crate::watching::Discovering;

/// Starts servers and clients in a network of their own, where the C library's resolver asks the one on the loopback address.
fn start(at: &Path) -> Program {
    let file = at.join("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.53\n").expect("a file can be written");
    let script = format!(
        "ip link set lo up && ip addr add 10.77.0.1/32 dev lo && mount --bind {} /etc/resolv.conf && exec \"$@\"",
        file.display()
    );
    let mut command = Command::new(need::program("unshare"));
    command.args(["--net", "--mount", "sh", "-c", &script, "sh"]);
    let program = Program::start(command.arg(need::python()).arg("-u").arg(need::source("resolve.py")));
    let _ready = program.says("ready");
    program
}

/// Has a client ask for names and make a request.
fn ask(program: &mut Program, how: &str, names: &str, path: &str) {
    let from = program.stdout.so_far().len();
    program.tell(&format!("{how} {names} {path}"));
    assert_eq!(program.says_after(from, "done "), "0", "{:#?}", program.stderr.so_far());
}

/// What the client of a request calls the server, and the server the client.
fn called(spans: &[ReceivedSpan], at: &str) -> [String; 2] {
    [("CLIENT", "server.address"), ("SERVER", "client.address")].map(|(kind, key)| {
        let span = spans.iter().find(|span| span.kind == kind && path(span) == Some(at));
        let span = span.unwrap_or_else(|| panic!("no {kind} span of {at}"));
        assert_eq!(span.attributes["network.peer.address"], "10.77.0.1");
        span.attributes[key].as_str().expect("a text").to_owned()
    })
}

on_both_backends!(
    a_server_is_called_as_its_client_has_asked_for_it,
    processes_that_are_chosen_are_followed_from_their_questions_on,
);

/// Nobody knows of a client before it connects, and by then it has asked.
fn a_server_is_called_as_its_client_has_asked_for_it(backend: Backend) {
    need::root();
    let _curl = need::program("curl");
    let files = folder();
    let watch = Discovering::with(&["--backend", backend.name()]);
    let mut program = start(files.path());
    let clients = [
        ("libc", "warehouse.example", "warehouse.example"),
        ("libc", "Depot.example.", "depot.example"),
        ("curl", "shop.example", "shop.example"),
        ("loose", "musl.example", "musl.example"),
        ("forked", "parent.example", "parent.example"),
        // Which of them the request is for, nobody can say.
        ("libc", "one.example,other.example", "10.77.0.1"),
        ("libc", "10.77.0.1", "10.77.0.1"),
    ];
    // The other backend's test has an agent that sees these as well.
    let of_backend = format!("/dns/{}/", backend.name());
    let at = |number: usize| format!("{of_backend}{number}");
    for (number, (how, names, _)) in clients.iter().enumerate() {
        ask(&mut program, how, names, &at(number));
    }
    let spans = watch.finish(&of_backend, 2 * clients.len());
    for (number, (how, names, expected)) in clients.iter().enumerate() {
        assert_eq!(called(&spans, &at(number)), [*expected, "10.77.0.1"], "{how} {names}");
    }
}

fn processes_that_are_chosen_are_followed_from_their_questions_on(backend: Backend) {
    need::root();
    let files = folder();
    let mut program = start(files.path());
    let pid = program.pid().to_string();
    let watch = Discovering::set_up(|setup: Setup| setup.args(["--pid", &pid]).backend(backend));
    ask(&mut program, "libc", "warehouse.example", "/chosen/1");
    ask(&mut program, "loose", "depot.example", "/chosen/2");
    let spans = watch.finish("/chosen/", 4);
    assert_eq!(called(&spans, "/chosen/1"), ["warehouse.example", "10.77.0.1"]);
    assert_eq!(called(&spans, "/chosen/2"), ["depot.example", "10.77.0.1"]);
}

#[test]
fn answers_are_not_used_where_that_is_not_chosen() {
    need::root();
    let files = folder();
    let config = files.path().join("agent.yaml");
    fs::write(&config, "name_resolver: {sources: [k8s, hosts]}\n").expect("a file can be written");
    let watch = Discovering::configured(&config);
    let mut program = start(files.path());
    ask(&mut program, "libc", "warehouse.example", "/unnamed");
    let spans = watch.finish("/unnamed", 2);
    assert_eq!(called(&spans, "/unnamed"), ["10.77.0.1", "10.77.0.1"]);
}
