//! What happens to a request below its protocol, against what its client and server know.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::process::Command;

use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder},
    receiver::{ReceivedSpan, Receiver},
    seen::{Seen, path},
};

on_both_backends!(what_is_told_agrees_with_what_the_programs_know, what_is_not_wanted_is_not_told);

/// Requests of `wire.py`: in the clear, and over TLS.
const CLEAR: [&str; 5] = ["/first", "/later", "/soon", "/lost", "/last"];
const SECRET: [&str; 2] = ["/secret", "/secret/again"];

/// Of the kernel's coarse clock, at its coarsest.
const TICK: f64 = 0.01;
/// How much later a busy machine lets a program look at its clock.
const LATE: f64 = 0.15;

/// What the program says of a request.
fn known(program: &Program, what: &str, path: &str) -> f64 {
    program.says(&format!("{what} {path} ")).trim().parse().unwrap()
}

fn told(span: &ReceivedSpan, name: &str) -> Option<f64> {
    span.attributes.get(name).map(|value| value.as_f64().unwrap())
}

/// The span of one end.
fn of<'a>(seen: &'a Seen, kind: &str, wanted: &str) -> &'a ReceivedSpan {
    seen.spans.iter().find(|span| span.kind == kind && path(span) == Some(wanted)).unwrap()
}

fn run(backend: Backend, change: impl FnOnce(Setup) -> Setup) -> (Program, Seen) {
    let files = folder();
    certificate(files.path());
    let mut command = Command::new(need::program("unshare"));
    command.arg("--net").arg(need::python()).arg("-u").arg(need::source("wire.py")).current_dir(&files);
    let mut program = Program::start(&mut command);
    let _ready = program.says("ready");
    let receiver = Receiver::start();
    let setup = Setup::pid(program.pid()).backend(backend).to(&receiver);
    let agent = change(setup).start();
    let watch = Watch { agent, receiver };
    program.tell("begin");
    let _done = program.says("done");
    let seen = watch.finish(2 * (CLEAR.len() + SECRET.len()));
    (program, seen)
}

fn what_is_told_agrees_with_what_the_programs_know(backend: Backend) {
    let (program, seen) = run(backend, |setup| setup);
    for path in CLEAR {
        let (server, client) = (of(&seen, "SERVER", path), of(&seen, "CLIENT", path));
        let (waited, told_waited) = (known(&program, "waited", path), told(server, "beyla.queue.duration").unwrap());
        assert!(told_waited > waited - TICK && told_waited < waited + LATE, "{path}: {told_waited}, not {waited}");
        assert_eq!(told(client, "beyla.queue.duration"), None, "{path}");
        let retransmitted = known(&program, "retransmitted", path);
        assert_eq!(told(client, "beyla.tcp.retransmits").unwrap_or(0.0), retransmitted, "{path}");
        assert_eq!(told(server, "beyla.tcp.retransmits"), None, "{path}");
        let (round, told_round) = (known(&program, "round", path), told(client, "beyla.tcp.rtt").unwrap());
        assert!((told_round - round).abs() < 1e-5, "{path}: {told_round}, not {round}");
    }
    assert!(known(&program, "retransmitted", "/lost") >= 1.0);
    assert!(known(&program, "waited", "/later") > 0.3);
    for (path, took) in [("/first", "connected"), ("/secret", "connected")] {
        let (took, told_took) =
            (known(&program, took, path), told(of(&seen, "CLIENT", path), "beyla.connect.duration").unwrap());
        assert!(told_took > 0.08 && told_took < took && took < told_took + LATE, "{path}: {told_took}, not {took}");
    }
    let (shaken, told_shaken) = (
        known(&program, "shaken", "/secret"),
        told(of(&seen, "CLIENT", "/secret"), "beyla.tls.handshake.duration").unwrap(),
    );
    assert!(told_shaken > 0.08 && (told_shaken - shaken).abs() < LATE, "{told_shaken}, not {shaken}");
    // Once for each connection, and by who has asked for it.
    for (name, paths) in
        [("beyla.connect.duration", vec!["/first", "/secret"]), ("beyla.tls.handshake.duration", vec!["/secret"])]
    {
        let with = seen.spans.iter().filter(|span| told(span, name).is_some());
        let with: Vec<_> = with.map(|span| (span.kind, path(span).unwrap())).collect();
        let expected: Vec<_> = paths.into_iter().map(|path| ("CLIENT", path)).collect();
        assert_eq!(with, expected, "{name}");
    }
}

fn what_is_not_wanted_is_not_told(backend: Backend) {
    const NAMES: [(&str, &str); 5] = [
        ("OTEL_EBPF_INSIDE_QUEUE_DURATION", "beyla.queue.duration"),
        ("OTEL_EBPF_INSIDE_CONNECT_DURATION", "beyla.connect.duration"),
        ("OTEL_EBPF_INSIDE_TLS_HANDSHAKE_DURATION", "beyla.tls.handshake.duration"),
        ("OTEL_EBPF_INSIDE_RETRANSMITS", "beyla.tcp.retransmits"),
        ("OTEL_EBPF_INSIDE_RTT", "beyla.tcp.rtt"),
    ];
    // Every second is wanted.
    let unwanted = || NAMES.iter().skip(usize::from(backend == Backend::Sock)).step_by(2);
    let (_program, seen) =
        run(backend, |setup| unwanted().fold(setup, |setup, (variable, _)| setup.env(variable, "false")));
    for name in NAMES {
        let is_told = seen.spans.iter().any(|span| told(span, name.1).is_some());
        assert_eq!(is_told, unwanted().all(|unwanted| *unwanted != name), "{name:?}");
    }
}
