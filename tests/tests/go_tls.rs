//! Go's `crypto/tls`: `net/http` over it, both ends at once, with several releases of Go and however a program is linked; what was sent is what the agent
//! tells, exactly.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder},
    receiver::{ReceivedSpan, Receiver},
    seen::{Seen, assert_attributes, assert_lasted, path},
    wait::{poll, poll_every},
};

on_both_backends!(
    both_ends_of_the_newest_release,
    both_ends_of_other_releases,
    both_ends_of_programs_that_are_linked_otherwise,
    both_ends_of_a_program_that_looks_for_races,
    connections_that_are_older_than_the_agent,
    a_chain_of_servers_is_one_trace,
    nothing_fails_under_agents_that_come_and_go,
);

/// How long the server takes for what is called slow, and the size of what is called big: `tests/programs/go-tls`.
const NAP: Duration = Duration::from_millis(60);
const BIG: u64 = 300_000;
/// Requests in all.
const REQUESTS: usize = 180;

fn program(name: &str, release: &str, arguments: &[&str], environment: &[(&str, &str)]) -> PathBuf {
    need::built_by_go("go-tls", name, release, arguments, environment)
}

fn newest() -> PathBuf {
    program("newest", "local", &[], &[])
}

fn both_ends_of_the_newest_release(backend: Backend) {
    both_ends_are_seen(backend, &newest());
}

fn both_ends_of_other_releases(backend: Backend) {
    for release in ["go1.18.10", "go1.21.13", "go1.23.12", "go1.27.0"] {
        both_ends_are_seen(backend, &program(release, release, &[], &[]));
    }
}

fn both_ends_of_programs_that_are_linked_otherwise(backend: Backend) {
    both_ends_are_seen(
        backend,
        &program("stripped", "local", &["-trimpath", "-ldflags=-s -w"], &[("CGO_ENABLED", "0")]),
    );
    // Its cryptography is that which is validated by FIPS 140-3, and looks at its own code when it starts.
    let fips = [("GOFIPS140", "latest")];
    both_ends_are_seen(backend, &program("pie", "local", &["-buildmode=pie", "-ldflags=-s -w"], &fips));
    let external = ["-ldflags=-linkmode=external"];
    both_ends_are_seen(backend, &program("cgo", "local", &external, &[("CGO_ENABLED", "1")]));
}

fn both_ends_of_a_program_that_looks_for_races(backend: Backend) {
    both_ends_are_seen(backend, &program("race", "local", &["-race"], &[("CGO_ENABLED", "1")]));
}

struct Server {
    program: Program,
    port: u16,
    files: tempfile::TempDir,
}

/// What the client says of a request.
struct Said {
    status: u64,
    own_port: u64,
    took: Duration,
}

fn said(lines: &[String]) -> BTreeMap<String, Said> {
    let mut said = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let ["http", path, status, own_port, took] = words[..] else { continue };
        let of = Said {
            status: status.parse().unwrap(),
            own_port: own_port.parse().unwrap(),
            took: Duration::from_micros(took.parse().unwrap()),
        };
        assert!(said.insert(path.to_owned(), of).is_none(), "{path} twice");
    }
    said
}

/// Watches a client and its server from when the client says that it is ready until it is done.
fn watch(backend: Backend, binary: &Path, verb: &str) -> (Server, Program, Watch) {
    let files = folder();
    let [certificate, key] = certificate(files.path());
    let program = Program::start(Command::new(binary).arg("serve").arg(&certificate).arg(&key));
    let port = program.port();
    let server = Server { program, port, files };
    let arguments = [certificate.as_os_str(), key.as_os_str()];
    let mut client = Program::start(Command::new(binary).arg(verb).args(arguments).arg(port.to_string()));
    let _started = client.says("ready");
    let receiver = Receiver::start();
    let agent = Setup::pids(&[server.program.pid(), client.pid()])
        .args(["--log-level", "debug"])
        .backend(backend)
        .to(&receiver)
        .start();
    let attached = || agent.log().iter().filter(|line| line.contains("TLS library attached: crypto/tls")).count();
    poll("both are seen", || (attached() == 2).then_some(()));
    let watch = Watch { agent, receiver };
    client.tell("go");
    let _finished = client.says("done");
    (server, client, watch)
}

fn both_ends_are_seen(backend: Backend, binary: &Path) {
    let (server, client, watch) = watch(backend, binary, "call");
    let said = said(&client.stdout.so_far());
    assert_eq!(said.len(), REQUESTS);
    let seen = watch.finish(2 * REQUESTS);
    for (path, said) in &said {
        for kind in ["SERVER", "CLIENT"] {
            check(one(&seen, kind, path), kind, path, said, server.port);
        }
    }
    for side in ["server", "client"] {
        assert_eq!(seen.count(&format!("http.{side}.request.duration")), REQUESTS as u64);
    }
    drop(server.files);
}

/// From the first request on that either end is asked with the agent there all are told over HTTP/1; of HTTP/2, which is believed by what is answered, from
/// the third on.
fn connections_that_are_older_than_the_agent(backend: Backend) {
    const BEFORE: usize = 3;
    const BELIEVED_FROM: usize = BEFORE + 2;
    let (server, client, watch) = watch(backend, &newest(), "continue");
    let said = said(&client.stdout.so_far());
    assert_eq!(said.len(), REQUESTS);
    let number = |path: &str| path.rsplit_once('-').unwrap().1.parse::<usize>().unwrap();
    let is_last = |span: &ReceivedSpan| path(span).is_some_and(|path| path.contains('/') && number(path) == 29);
    let seen = watch.stop_when(|state| state.spans.iter().filter(|span| is_last(span)).count() == 2 * 6);
    for (at, said) in &said {
        let is_http2 = at.split('/').nth(2) == Some("2");
        for kind in ["SERVER", "CLIENT"] {
            let told: Vec<_> = seen.all_at(at).into_iter().filter(|span| span.kind == kind).collect();
            let expected = match number(at) {
                early if early < BEFORE => 0,
                early if is_http2 && early < BELIEVED_FROM => continue,
                _ => 1,
            };
            assert_eq!(told.len(), expected, "{kind} {at}: {}", seen.summary());
            if let [span] = told[..]
                && !(is_http2 && number(at) <= BELIEVED_FROM)
            {
                check_rest(span, kind, at, said, server.port);
            }
        }
    }
    drop(server.files);
}

/// What a server asks of the next while it answers, by itself and by goroutines that it begins, is below its request: 16 at a time of each version of HTTP.
/// All of them are started when the agent is there, and found before they listen, so that the first request of each is seen as the last.
fn a_chain_of_servers_is_one_trace(backend: Backend) {
    const CHAINS: usize = 2 * 16 * 20;
    let files = folder();
    let binary = files.path().join("go-chain");
    need::copied(&newest(), &binary);
    let [certificate, key] = certificate(files.path());
    let receiver = Receiver::start();
    let chosen = ["--exe", binary.to_str().unwrap(), "--log-level", "debug"];
    let agent = Setup::with(chosen).backend(backend).to(&receiver).start();
    let start = |verb: &str, port: Option<u16>| {
        let mut command = Command::new(&binary);
        command.arg(verb).arg(&certificate).arg(&key).args(port.map(|port| port.to_string()));
        let program = Program::start(&mut command);
        let is_found = |line: &String| {
            line.contains("TLS library attached: crypto/tls") && line.contains(&program.pid().to_string())
        };
        poll("it is found before it does anything", || agent.log().iter().any(is_found).then_some(()));
        program
    };
    let mut last = start("later", None);
    last.tell("go");
    let mut first = start("later", Some(last.port()));
    first.tell("go");
    let mut client = start("chain", Some(first.port()));
    let _started = client.says("ready");
    let watch = Watch { agent, receiver };
    client.tell("go");
    let _finished = client.says("done");
    let seen = watch.finish(2 * CHAINS + 2 * 3 * CHAINS);
    let mut right = BTreeMap::<_, usize>::new();
    let by_id: BTreeMap<_, _> = seen.spans.iter().map(|span| (&span.span_id, span)).collect();
    for span in &seen.spans {
        let above = by_id.get(&span.parent_span_id).copied();
        let at = path(span).unwrap();
        let Some(expected) = above_in_chain(span) else {
            assert!(above.is_none(), "{span:?} is below {above:?}");
            continue;
        };
        let what = format!(
            "{} {}",
            span.kind,
            at.split('/').take(4).filter(|word| word.len() < 6).collect::<Vec<_>>().join("/")
        );
        match above {
            Some(above) => {
                assert_eq!((above.kind, path(above).unwrap()), expected, "{span:?} is below {above:?}");
                *right.entry(what).or_default() += 1;
            }
            None => *right.entry(format!("{what}, none")).or_default() += 1,
        }
    }
    assert!(right.keys().all(|what| !what.ends_with("none")), "{right:#?}");
}

/// Kind and path of what a span of a chain belongs below; `None` for what the client asks.
fn above_in_chain(span: &ReceivedSpan) -> Option<(&str, &str)> {
    let at = path(span).unwrap();
    match (span.kind, at.strip_prefix("/link")) {
        ("SERVER", _) => Some(("CLIENT", at)),
        (_, Some(link)) => Some(("SERVER", link.rsplit_once('.').unwrap().0)),
        (_, None) => None,
    }
}

/// Agents come and go while servers whose stacks grow in each handler, and whose memory is collected all the time, ask each other. `STORM_SECONDS` says for how long.
fn nothing_fails_under_agents_that_come_and_go(backend: Backend) {
    const SECONDS: u64 = 4;
    const SPANS: usize = 400;
    let seconds = std::env::var("STORM_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let binary = newest();
    let files = folder();
    let [certificate, key] = certificate(files.path());
    let start = |verb: &str, port: Option<u16>| {
        // So that the agent has its share of the processors, few as they may be.
        let mut command = Command::new(need::program("nice"));
        command
            .args(["-n", "10"])
            .arg(&binary)
            .arg(verb)
            .arg(&certificate)
            .arg(&key)
            .args(port.map(|port| port.to_string()));
        Program::start(command.env("GOGC", "1").env("GODEBUG", "asyncpreemptoff=0"))
    };
    let mut last = start("serve", None);
    let mut first = start("serve", Some(last.port()));
    let mut client = start("storm", Some(first.port()));
    let _started = client.says("ready");
    let (began, mut agents, mut spans, mut placed) = (Instant::now(), 0, 0, 0);
    while agents == 0 || began.elapsed() < Duration::from_secs(seconds) {
        let watch = Watch::pids(backend, &[last.pid(), first.pid(), client.pid()]);
        let seen = watch.stop_when(|state| state.spans.len() >= SPANS);
        let by_id: BTreeMap<_, _> = seen.spans.iter().map(|span| (&span.span_id, span)).collect();
        for span in seen.spans.iter().filter(|span| path(span).is_some()) {
            if let Some(above) = by_id.get(&span.parent_span_id).filter(|above| path(above).is_some()) {
                let is_there = Some((above.kind, path(above).unwrap()));
                assert_eq!(is_there, above_in_chain(span), "{span:?} is below {above:?}");
                placed += 1;
            }
        }
        agents += 1;
        spans += seen.spans.len();
    }
    client.tell("stop");
    let said = client.says("done ");
    eprintln!("{agents} agents, {spans} spans, {placed} below others; requests and failures: {said}");
    let (_, failed) = said.split_once(' ').unwrap();
    assert_eq!(failed, "0", "{:?}", client.stdout.so_far());
    assert!(last.is_running() && first.is_running() && client.is_running());
}

fn one<'a>(seen: &'a Seen, kind: &str, path: &str) -> &'a ReceivedSpan {
    match seen.all_at(path).into_iter().filter(|span| span.kind == kind).collect::<Vec<_>>()[..] {
        [one] => one,
        ref several => panic!("{} {kind} spans have the path {path}: {}", several.len(), seen.summary()),
    }
}

fn check(span: &ReceivedSpan, kind: &str, path: &str, said: &Said, port: u16) {
    check_rest(span, kind, path, said, port);
    let connection = path.rsplit('/').next().unwrap().split('-').next().unwrap();
    assert_attributes(span, &json!({ "tls.protocol.version": if connection == "0" { "1.2" } else { "1.3" } }));
    if kind == "CLIENT" {
        let url = span.attributes["url.full"].as_str().unwrap();
        assert!(url.starts_with(&format!("https://localhost:{port}/")), "{url}");
    }
}

/// What is known of older connections too.
fn check_rest(span: &ReceivedSpan, kind: &str, path: &str, said: &Said, port: u16) {
    let words: Vec<&str> = path.split('/').collect();
    let ["", what, version, number] = words[..] else { panic!("a wrong name: {path}") };
    let number: u64 = number.rsplit('-').next().unwrap().parse().unwrap();
    let is_post = number % 5 == 2;
    let mut expected = json!({
        "http.request.method": if is_post { "POST" } else { "GET" },
        "http.response.status_code": said.status,
        "network.protocol.version": if version == "1" { "1.1" } else { "2" },
        "beyla.connection.unbound": null,
    });
    if is_post {
        expected["http.request.body.size"] = json!(BIG);
    }
    if what == "big" {
        expected["http.response.body.size"] = json!(BIG);
    }
    if kind == "SERVER" {
        expected["url.scheme"] = json!("https");
        expected["client.port"] = json!(said.own_port);
        expected["client.address"] = json!("127.0.0.1");
        expected["server.port"] = json!(port);
    } else {
        expected["network.peer.port"] = json!(port);
        expected["network.peer.address"] = json!("127.0.0.1");
    }
    assert_attributes(span, &expected);
    assert_lasted(span, if what == "slow" { NAP } else { Duration::ZERO }, said.took);
}

/// How long it takes from the start of a program until its plaintext is seen, and what memory, for programs of 20 and 200 MB: at the first start, and at a later one of
/// the same file, with an agent that has put no probes in place before.
#[test]
#[ignore = "a measurement, and building a program of 200 MB takes minutes: to be run by hand"]
fn how_soon_large_programs_are_seen() {
    for megabytes in [20, 200] {
        // Chosen by the path that its processes have.
        let binary = large(megabytes).canonicalize().unwrap();
        let size = binary.metadata().unwrap().len() >> 20;
        let files = folder();
        let [certificate, key] = certificate(files.path());
        let receiver = Receiver::start();
        let agent = Setup::with(["--exe", binary.to_str().unwrap(), "--log-level", "debug"]).to(&receiver).start();
        for start in ["first", "second", "third"] {
            // Its greatest size is counted anew from here on.
            std::fs::write(format!("/proc/{}/clear_refs", agent.pid()), "5").unwrap();
            let before = kilobytes(agent.pid(), "VmRSS:");
            let from = agent.log().len();
            let began = Instant::now();
            let program = Program::start(Command::new(&binary).arg("later").arg(&certificate).arg(&key));
            let pid = program.pid().to_string();
            let is_found = |line: &String| line.contains("TLS library attached: crypto/tls") && line.contains(&pid);
            let took = poll_every(Duration::from_millis(1), "it is found", || {
                agent.log()[from..].iter().any(is_found).then(|| began.elapsed())
            });
            let [peak, after] = ["VmHWM:", "VmRSS:"].map(|what| kilobytes(agent.pid(), what));
            eprintln!(
                "{size} MB, {start} start: {} ms, {} KB more at most, {} KB after",
                took.as_millis(),
                peak.saturating_sub(before),
                after.saturating_sub(before)
            );
            let looks: Vec<String> =
                agent.log()[from..].iter().filter(|line| line.contains("looked for")).cloned().collect();
            eprintln!("  {looks:#?}");
        }
    }
}

fn kilobytes(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The program, with so many functions beside it that it is as large as that.
fn large(megabytes: usize) -> PathBuf {
    /// Functions of a package, and how many of them make a megabyte of a program.
    const EACH: usize = 500;
    const OF_MEGABYTE: usize = 340;
    let folder = need::profile_folder().join("../programs").join(format!("go-large-{megabytes}"));
    let binary = folder.join("large");
    if binary.is_file() {
        return binary;
    }
    std::fs::create_dir_all(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/go-tls");
    for name in ["main.go", "go.mod"] {
        std::fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let module = std::fs::read_to_string(folder.join("go.mod")).unwrap();
    let module = module.lines().find_map(|line| line.strip_prefix("module ")).unwrap();
    let packages = megabytes * OF_MEGABYTE / EACH;
    let mut all = String::from("package main\n\nimport (\n");
    for package in 0..packages {
        let name = format!("p{package}");
        let mut code = format!(
            "package {name}\n\nimport (\n\t\"fmt\"\n\t\"strconv\"\n)\n\nvar All = map[string]func(int) string{{\n"
        );
        for function in 0..EACH {
            code += &format!("\t\"{function}\": F{function},\n");
        }
        code += "}\n";
        for function in 0..EACH {
            code += &format!(
                "\nfunc F{function}(n int) string {{\n\tm := map[string]int{{}}\n\tfor i := 0; i < n; i++ {{\n\t\tm[strconv.Itoa(i*{function})] += i\n\t\tif i%7 == {} {{\n\t\t\tm[fmt.Sprint(i, \"{package}-{function}\", n)] = len(m)\n\t\t}}\n\t}}\n\tout := \"\"\n\tfor key, value := range m {{\n\t\tout += fmt.Sprintf(\"%s=%d;\", key, value+{function})\n\t}}\n\treturn out\n}}\n",
                function % 7
            );
        }
        std::fs::create_dir_all(folder.join(&name)).unwrap();
        std::fs::write(folder.join(&name).join("p.go"), code).unwrap();
        all += &format!("\t\"{module}/{name}\"\n");
    }
    all += ")\n\nvar All = []map[string]func(int) string{\n";
    for package in 0..packages {
        all += &format!("\tp{package}.All,\n");
    }
    all += "}\n";
    std::fs::write(folder.join("all.go"), all).unwrap();
    let mut build = Command::new(need::program("go"));
    build.current_dir(&folder).env("GOFLAGS", "-buildvcs=false").args(["build", "-o", "large", "."]);
    assert!(build.status().unwrap().success());
    binary
}
