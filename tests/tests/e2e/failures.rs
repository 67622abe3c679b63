//! What goes wrong, and what a user is told then.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{
    agent::{Backend, Ended, Setup, binary},
    client::Connection,
    kernel::map_ids,
    need, on_both_backends,
    program::{Program, folder, free_port},
    receiver::{FailNext, Failure, Ports, ReceivedSpan, Receiver, State},
    wait::poll,
};

on_both_backends!(
    killed_it_leaves_nothing_attached_and_the_target_untouched,
    a_receiver_that_comes_late_gets_what_the_queue_held,
    the_end_of_the_target_ends_the_run,
);

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

/// A pid that is no process's: above the largest there can be.
fn no_pid() -> String {
    let max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    (max.trim().parse::<u32>().unwrap() + 1).to_string()
}

fn run(arguments: &[&str]) -> Ended {
    Setup::with(arguments).launch().ended()
}

#[track_caller]
fn assert_refused(ended: &Ended, status: i32, words: &[&str]) {
    let log = ended.log.join("\n");
    assert_eq!(ended.status.code(), Some(status), "{log}");
    for word in words {
        assert!(log.contains(word), "the message does not name {word:?}: {log}");
    }
    assert!(ended.stdout.is_empty(), "messages go to standard error: {:?}", ended.stdout);
}

#[test]
fn what_is_wrong_with_arguments_is_said_and_the_status_is_2() {
    let own = std::process::id().to_string();
    let no_pid = no_pid();
    for (arguments, words) in [
        (vec!["--pid", &no_pid], vec!["--pid", no_pid.as_str(), "no such process"]),
        (vec!["--pid", "many"], vec!["--pid", "many"]),
        (vec!["--pid", &own, "--endpoint", "notaurl"], vec!["--endpoint", "notaurl"]),
        (vec!["--pid", &own, "--no-such-option"], vec!["--no-such-option"]),
        (vec!["--pid", &own, "--backend", "psychic"], vec!["--backend", "psychic", "syscall"]),
        (vec!["--pid", &own, "--protocol", "smoke"], vec!["--protocol", "smoke", "http/protobuf"]),
        (vec!["--pid", &own, "--duration", "soon"], vec!["--duration", "soon"]),
        (vec!["--pid", &own, "--config", "/no/such/file"], vec!["/no/such/file"]),
    ] {
        assert_refused(&run(&arguments), 2, &words);
    }
}

/// As OpenTelemetry's specification asks.
#[test]
fn what_is_wrong_with_its_variables_is_said_and_ignored() {
    let variables = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "lots"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:password@collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
    ];
    let (server, _port) = server();
    let setup = Setup::pid(server.pid()).args(["--duration", "500ms"]);
    let ended = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value)).launch().ended();
    let log = ended.log.join("\n");
    assert_eq!(ended.status.code(), Some(0), "{log}");
    for (name, _) in variables {
        let is_said = |line: &&String| line.contains(&format!("WARN {name}: ")) && line.ends_with("; it is ignored");
        assert_eq!(ended.log.iter().filter(is_said).count(), 1, "{name}: {log}");
    }
    assert!(!log.contains("password") && !log.contains("secret"), "{log}");
}

/// As whom the tests of permissions run: nobody in particular.
const NOBODY: [&str; 4] = ["--reuid", "65534", "--regid", "65534"];

#[test]
fn without_permission_the_status_is_3_and_the_missing_capability_is_named() {
    need::root();
    // Where the binary lies may be closed to others.
    let folder = folder();
    let copy = folder.path().join("beyla-rs");
    need::copied(&binary(), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(need::program("setpriv"));
    command.args(NOBODY).arg("--clear-groups").arg(&copy);
    command.args(["--listen", "off", "--pid", &std::process::id().to_string()]);
    let mut program = Program::start(&mut command);
    let status = program.wait();
    let ended = Ended { status, stdout: program.stdout.all(), log: program.stderr.all() };
    let setcap = format!("setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep {}`", copy.display());
    assert_refused(&ended, 3, &["CAP_BPF", "CAP_PERFMON", "sudo", &setcap]);
}

#[test]
fn a_run_ends_when_its_time_is_over() {
    let (server, _port) = server();
    let started = Instant::now();
    let ended = Setup::pid(server.pid()).args(["--duration", "1s", "--print", "json"]).launch().ended();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(ended.stdout.is_empty(), "{:?}", ended.stdout);
}

#[test]
fn both_signals_end_a_run_well() {
    let (server, port) = server();
    for signal in [Signal::TERM, Signal::INT] {
        let mut agent = Setup::pid(server.pid()).args(["--print", "json"]).start();
        assert_eq!(Connection::to(port).get("/last").status, 200);
        agent.program().signal(signal);
        let ended = agent.ended();
        assert_eq!(ended.status.code(), Some(0), "{signal:?}: {:#?}", ended.log);
        assert_eq!(ended.stdout.len(), 1, "what was seen is told before it ends ({signal:?}): {:?}", ended.stdout);
    }
}

fn the_end_of_the_target_ends_the_run(backend: Backend) {
    let (mut server, port) = server();
    let mut agent = Setup::pid(server.pid()).backend(backend).args(["--print", "json"]).start();
    assert_eq!(Connection::to(port).get("/last").status, 200);
    server.signal(Signal::KILL);
    let _status = server.wait();
    let ended = agent.ended();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert_eq!(ended.stdout.len(), 1, "{:?}", ended.stdout);
}

/// Numbers of the programs, links or maps that a process holds.
fn held(pid: u32, what: &str) -> Vec<u32> {
    let number = |info: fs::DirEntry| {
        let text = fs::read_to_string(info.path()).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(what)?.trim().parse().ok())
    };
    fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten().filter_map(number).collect()
}

fn killed_it_leaves_nothing_attached_and_the_target_untouched(backend: Backend) {
    let (mut server, port) = server();
    let mut connection = Connection::to(port);
    assert_eq!(connection.get("/before").status, 200);
    let mut agent = Setup::pid(server.pid()).backend(backend).args(["--print", "off"]).start();
    assert_eq!(connection.get("/during").status, 200);
    let (links, programs, maps) =
        (held(agent.pid(), "link_id:"), held(agent.pid(), "prog_id:"), held(agent.pid(), "map_id:"));
    assert!(!programs.is_empty() && !maps.is_empty(), "an agent holds programs and maps: {programs:?} {maps:?}");
    let is_loaded = |number: &u32| aya::programs::loaded_programs().flatten().any(|program| program.id() == *number);
    assert!(programs.iter().all(is_loaded), "they are loaded: {programs:?}");
    assert!(maps.iter().all(|number| map_ids().contains(number)), "they are there: {maps:?}");

    agent.program().signal(Signal::KILL);
    let ended = agent.ended();
    assert_eq!(ended.status.code(), None, "it was killed");
    // The kernel frees them a moment later, one after another.
    poll("its programs are gone", || (!programs.iter().any(is_loaded)).then_some(()));
    let is_linked = |number: &u32| aya::programs::loaded_links().flatten().any(|link| link.id() == *number);
    poll("its links are gone", || (!links.iter().any(is_linked)).then_some(()));
    poll("its maps are gone", || {
        let there = map_ids();
        (!maps.iter().any(|number| there.contains(number))).then_some(())
    });
    for _ in 0..10 {
        assert_eq!(connection.get("/after").status, 200, "on the connection that was watched");
    }
    assert!(server.is_running());
}

/// Bytes of memory that a process has in use.
fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Spans and metrics are under way, more spans wait behind those, and TLS libraries have probes that the kernel takes its time
/// to take away.
#[test]
fn stopping_takes_no_longer_than_said_where_a_receiver_does_not_answer() {
    const SAID: Duration = Duration::from_secs(2);
    let (_server, port) = server();
    let receiver = Receiver::start();
    receiver.respond_with(FailNext { requests: usize::MAX, failure: Failure::Hang });
    let mut agent = Setup::with([""; 0])
        .to(&receiver)
        .env("OTEL_EBPF_SHUTDOWN_TIMEOUT", "2s")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .start();
    let mut connection = Connection::to(port);
    let is_under_way = |state: &State| {
        let of = |signal: &str| state.requests.iter().filter(|request| request.path.contains(signal)).count();
        of("TraceService") >= 4 && of("MetricsService") > 0
    };
    poll("four requests of spans and one of metrics", || {
        assert_eq!(connection.get("/").status, 200);
        is_under_way(&receiver.state()).then_some(())
    });
    agent.program().signal(Signal::TERM);
    let began = Instant::now();
    let ended = agent.ended();
    let took = began.elapsed();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert!(took < SAID + Duration::from_millis(1500), "{took:?}: {:#?}", ended.log);
    receiver.recover();
}

fn a_receiver_that_comes_late_gets_what_the_queue_held(backend: Backend) {
    const SENT: usize = 1500;
    const QUEUE: &str = "200";
    let (server, port) = server();
    let ports = Ports { grpc: free_port(), http: 0 };
    let agent = Setup::pid(server.pid())
        .backend(backend)
        .args(["--endpoint", &format!("http://127.0.0.1:{}", ports.grpc), "--protocol", "grpc"])
        .env("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE)
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100")
        .start();
    let memory_before = resident_bytes(agent.pid());
    let mut connection = Connection::to(port);
    for _ in 0..SENT {
        assert_eq!(connection.get("/unheard").status, 200, "the target does not notice");
    }
    let ended_as =
        |outcome: &str| agent.metric("beyla_rs_export_spans_total", &[&format!("outcome=\"{outcome}\"")]) as usize;
    let dropped = || ended_as("dropped_queue_full") + ended_as("dropped_failed");
    let complete = || agent.metric("beyla_rs_exchanges_total", &["outcome=\"complete\""]) as usize;
    poll("all requests are seen", || (complete() == SENT).then_some(()));
    let most = SENT - 400;
    poll("drops are counted", || (dropped() >= most).then_some(()));
    assert_eq!(ended_as("sent"), 0);
    let grown = resident_bytes(agent.pid()).saturating_sub(memory_before);
    assert!(grown < 32 << 20, "memory grew by {grown} bytes for {SENT} spans");

    let receiver = Receiver::start_on(ports, None);
    poll("the queue is emptied", || (agent.metric("beyla_rs_export_queue_bytes", &[]) == 0.0).then_some(()));
    assert_eq!(connection.get("/heard").status, 200);
    let is_heard = |span: &ReceivedSpan| span.attributes["url.path"] == "/heard";
    receiver.wait_for(|state| state.spans.iter().any(is_heard), tests::LONG).unwrap();
    let dropped = dropped();
    let ended = agent.stop();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    let state = receiver.state();
    assert!(state.violations.is_empty(), "{:#?}", state.violations);
    assert!(state.spans.len() > 1, "the queue held something");
    assert_eq!(state.spans.len() + dropped, SENT + 1, "sent and dropped are all that there were");
    let lines = ended.log.len();
    assert!(lines < 30, "an outage is reported, not once per attempt: {lines} lines: {:#?}", ended.log);
}
