//! A program that the agent starts, and what becomes of it when the agent is told to stop.

use std::path::Path;

use rustix::process::Signal;
use tests::{
    agent::{Agent, Backend, Setup},
    client::{Connection, request},
    need,
    program::{Program, children},
};

fn start(arguments: &[&str]) -> (Agent, u16) {
    let python = need::python();
    let program = need::source("graceful.py");
    let command = [python.to_str(), Some("-u"), program.to_str()].map(|text| text.expect("paths of text"));
    // Spans go to standard output, which is the program's as well: only what begins as an object is one.
    let setup = Setup::with(["exec", "--print", "json"]).env("OTEL_EBPF_SHUTDOWN_TIMEOUT", "2s");
    let mut agent = setup.args(["--"]).args(command).args(arguments).start();
    let port = agent.program().port();
    (agent, port)
}

#[test]
fn a_signal_is_passed_on_and_the_program_is_watched_until_it_ends() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let (mut agent, port) = start(&[]);
        assert_eq!(Connection::to(port).get("/before").status, 204);
        agent.program().signal(signal);
        let told = agent.program().says("told ");
        assert_eq!(told, name);
        assert_eq!(Connection::to(port).get("/stopping").status, 204);
        let ended = agent.ended();
        let status = 40 + signal.as_raw();
        assert_eq!(ended.status.code(), Some(status), "the status is the program's: {:#?}", ended.log);
        let spans: Vec<serde_json::Value> = ended
            .stdout
            .iter()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        let paths: Vec<_> = spans.iter().map(|span| span["attributes"]["url.path"].as_str().expect("a path")).collect();
        assert_eq!(paths, ["/before", "/stopping"]);
    }
}

/// Clients that live a moment: over before their library could be looked for.
#[test]
fn one_request_over_tls_is_seen_from_a_client_that_ends_with_it() {
    let server = Program::python("https.py", [] as [&str; 0]);
    let url = format!("https://127.0.0.1:{}/moment", server.port());
    // OpenSSL, then GnuTLS.
    for client in [["curl", "-sk", "--http1.1"], ["wget", "-qO-", "--no-check-certificate"]] {
        let [name, arguments @ ..] = client;
        let setup =
            Setup::with(["exec", "--print", "json", "--"]).args([need::program(name)]).args(arguments).args([&url]);
        let ended = setup.launch().ended();
        assert!(ended.status.success(), "{name}: {:#?}", ended.log);
        // The answer has no line end: what is printed next begins behind it.
        let objects = ended.stdout.iter().filter_map(|line| line.find('{').map(|at| &line[at..]));
        let spans: Vec<serde_json::Value> =
            objects.map(|line| serde_json::from_str(line).expect("an object")).collect();
        let [span] = &spans[..] else { panic!("{name}: {spans:#?}, {:#?}", ended.log) };
        assert_eq!(span["kind"], "CLIENT", "{name}");
        assert_eq!(span["attributes"]["url.full"], url.as_str(), "{name}");
        assert_eq!(span["attributes"]["http.response.status_code"], 200, "{name}");
        assert_eq!(span["attributes"]["network.peer.port"], server.port(), "{name}");
    }
}

#[test]
fn a_program_that_does_not_stop_is_waited_for_no_longer_than_said() {
    let (mut agent, _port) = start(&["stubborn"]);
    let child = *children(agent.pid()).first().expect("the program is the agent's child");
    agent.program().signal(Signal::TERM);
    // Not its last line: the program has the agent's standard error, which does not end.
    let status = agent.program().wait();
    assert_eq!(status.code(), Some(124), "the status is not the program's: {:#?}", agent.log());
    let said = agent.program().stderr.after(0, "goes on", tests::LONG);
    assert!(said.is_some() && agent.log().concat().contains(&child.to_string()), "{:#?}", agent.log());
}

/// What was answered before the time is over is told with its answer, and what was not with what is known of it.
#[test]
fn nothing_is_lost_when_the_time_is_over() {
    let mut server = Program::python("server.py", [""; 0]);
    let arguments = ["--duration", "1500ms", "--print", "json"];
    let mut agent = Setup::pid(server.pid()).args(arguments).start();
    let mut held = Connection::to(server.port());
    held.send(request("GET", "/hold", &[], b""));
    let _held = server.says("holding");
    let mut answered = 0;
    let mut connection = Connection::to(server.port());
    while agent.program().is_running() && agent.program().stderr.so_far().iter().all(|line| !line.contains("stopping"))
    {
        assert_eq!(connection.get(&format!("/quick/{answered}")).status, 200);
        answered += 1;
    }
    let ended = agent.ended();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    server.tell("go on");
    let spans: Vec<serde_json::Value> =
        ended.stdout.iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let path = |span: &serde_json::Value| span["attributes"]["url.path"].as_str().expect("a path").to_owned();
    let mut quick: Vec<_> = spans.iter().filter(|span| path(span).starts_with("/quick/")).collect();
    // They are told when their place in a trace is known, which can be out of turn.
    quick.sort_by_key(|span| path(span).trim_start_matches("/quick/").parse::<usize>().expect("a number"));
    // The last of them may have been answered after it.
    let paths: Vec<_> = quick.iter().map(|span| path(span)).collect();
    let expected: Vec<_> = (0..paths.len()).map(|number| format!("/quick/{number}")).collect();
    assert!(paths == expected, "each once: {} of {answered}", paths.len());
    assert!(paths.len() > 1 && paths.len() <= answered, "{} of {answered}", paths.len());
    let (last, before) = quick.split_last().expect("more than one");
    assert!(before.iter().all(|span| span["attributes"]["http.response.status_code"] == 200), "{before:#?}");
    let outcome = &last["attributes"]["beyla.outcome"];
    assert!(outcome.is_null() || outcome == "unseen", "{last:#}");
    let [held] = spans.iter().filter(|span| path(span) == "/hold").collect::<Vec<_>>()[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(held["attributes"]["beyla.outcome"], "unseen");
    assert!(held["attributes"]["http.response.status_code"].is_null(), "{held:#}");
}

/// Programs that end with their only request.
#[test]
fn each_request_of_a_program_that_lives_a_moment_is_told() {
    let server = Program::python("server.py", [""; 0]);
    let url = format!("http://127.0.0.1:{}/moment/[1-20]", server.port());
    for backend in [Backend::Sock, Backend::Syscall] {
        let setup = Setup::with(["exec", "--print", "json"]).backend(backend).args(["--"]);
        let ended = setup.args([need::program("curl")]).args(["-s", "-o", "/dev/null", &url]).launch().ended();
        let spans = ended.stdout.iter().filter(|line| line.starts_with('{') && line.contains("/moment/")).count();
        assert_eq!((ended.status.code(), spans), (Some(0), 20), "{backend:?}: {:#?}", ended.log);
    }
}

#[test]
fn the_status_is_the_programs_also_where_watching_ends_before() {
    let python = need::python();
    let program = need::source("graceful.py");
    let mut agent = Setup::with(["exec", "--duration", "300ms", "--print", "json", "--"])
        .args([python.as_path(), Path::new("-u"), &program])
        .start();
    let port = agent.program().port();
    let is_over = agent.program().stderr.after(0, "stopping: ", tests::LONG);
    assert_eq!(is_over.as_deref(), Some("the time is over"));
    agent.program().signal(Signal::TERM);
    let _told = agent.program().says("told ");
    assert_eq!(Connection::to(port).get("/unseen").status, 204);
    let ended = agent.ended();
    assert_eq!(ended.status.code(), Some(40 + Signal::TERM.as_raw()), "{:#?}", ended.log);
}

#[test]
fn what_cannot_be_started_gives_the_status_that_shells_give() {
    let folder = tests::program::folder();
    let file = folder.path().join("no-program");
    std::fs::write(&file, "nothing").expect("a file can be written");
    for (program, status, why) in
        [("/no/such/program", 127, "No such file"), (file.to_str().expect("UTF-8"), 126, "Permission denied")]
    {
        let ended = Setup::with(["exec", "--", program]).launch().ended();
        assert_eq!(ended.status.code(), Some(status), "{:#?}", ended.log);
        let log = ended.log.concat();
        assert!(log.contains(&format!("cannot start {program}: {why}")), "{log}");
    }
}
