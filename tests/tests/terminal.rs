//! What people see on a terminal, read off a screen: `--print text`, `trace`, and what a pipeline is told by `smoke`. Numbers are
//! those of what was sent.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::process::Command;

use tests::{
    agent::{self, Setup},
    client::Connection,
    need,
    program::{Program, folder, free_port},
    screen::Screen,
    wait::poll,
};

/// A service of the shop whose answers are known.
fn service(name: &str, backend: Option<u16>) -> (Program, u16) {
    let mut command = Command::new(need::python());
    command.arg("-u").arg(need::source("shop.py")).arg("serve").args(backend.map(|port| port.to_string()));
    let program = Program::start(command.env("OTEL_SERVICE_NAME", name));
    let port = program.port();
    (program, port)
}

fn ask(port: u16, path: &str) {
    let _answer = Connection::to(port).request("GET", path, &["Connection: close"], b"");
}

fn printing(pid: u32, more: &[&str]) -> Command {
    need::root();
    let listen = format!("127.0.0.1:{}", free_port());
    let pid = pid.to_string();
    let mut arguments = vec!["--pid", &pid, "--print", "text", "--listen", &listen];
    arguments.extend(more);
    agent::command(arguments)
}

/// A command's exit status and what it printed.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = agent::command(arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap() + &log)
}

#[test]
fn spans_line_up_and_the_summary_has_what_was_sent() {
    let (shop, port) = service("shop-of-tests", None);
    let mut screen = Screen::start(&printing(shop.pid(), &["--log-level", "info"]), 24, 80);
    screen.until_written("it watches", |text| text.contains("watching ").then_some(()));
    for path in ["/ok", "/ok", "/fail", "/slow", &format!("/{}end", "very-long-".repeat(20))] {
        ask(port, path);
    }
    screen.until_written("five spans", |text| (text.matches("shop-of-test").count() > 5).then_some(()));
    screen.until_written("the last", |text| text.contains("404").then_some(()));
    let text = screen.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("SERVER HTTP")).collect();
    assert_eq!(lines.len(), 5, "{text}");
    let at = |line: &str| line.find("SERVER").unwrap();
    assert!(lines.iter().all(|line| at(line) == at(lines[0]) && line.chars().count() < 80), "{text}");
    assert!(lines[4].contains('…'), "{text}");
    assert!(lines[3].contains("300.") || lines[3].contains("30"), "the slow one: {text}");
    let raw = screen.raw();
    assert!(raw.contains("\x1b[31m500\x1b[0m") && raw.contains("\x1b[32m200\x1b[0m"), "{raw}");
    screen.press("\x03");
    assert!(screen.ended().success());
    screen.until_written("the summary", |text| text.contains("lost: 0").then_some(()));
    let text = screen.text();
    let summary = text.lines().find(|line| line.contains("requests answered")).unwrap();
    assert!(summary.starts_with("5 requests answered, 1 failed; in "), "{text}");
    // /ok, /fail and /slow are routes of their own or one that was learnt; counted is what was sent.
    let counts = |line: &str| -> Vec<u64> { line.split_whitespace().filter_map(|word| word.parse().ok()).collect() };
    let rows = text.lines().skip_while(|line| !line.starts_with("SERVICE")).skip(1);
    let rows: Vec<Vec<u64>> = rows.take_while(|line| line.starts_with("shop-of-tests")).map(counts).collect();
    let sum = |index: usize| rows.iter().map(|row| row[index]).sum::<u64>();
    assert_eq!((sum(0), sum(1)), (5, 1), "{text}");
}

#[test]
fn without_colour_nothing_drives_the_terminal_and_nothing_seen_is_explained() {
    let (shop, port) = service("silent-shop", None);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = printing(shop.pid(), &["--log-level", "off"]);
        command.env(name, value);
        let mut screen = Screen::start(&command, 24, 120);
        let text = screen.until_written("the hint", |text| text.contains("beyla-rs survey").then(|| text.to_owned()));
        assert!(text.contains("Nothing to show for five seconds") && text.contains("silent-shop"), "{text}");
        assert!(text.contains(&format!("curl -s http://127.0.0.1:{port}/")), "{text}");
        ask(port, "/fail");
        screen.until_written("the span", |text| text.contains(" 500 ").then_some(()));
        screen.press("\x03");
        assert!(screen.ended().success());
        let raw = screen.until_written("the summary", |text| text.contains("lost: 0").then(|| text.to_owned()));
        assert!(!raw.contains('\x1b'), "{name}: {raw:?}");
    }
}

/// A smoke check that is running, and counts from now on.
fn smoking(arguments: &[&str]) -> Program {
    let smoke = Program::start(&mut agent::command([&["smoke", "--log-level", "info"][..], arguments].concat()));
    let counting = smoke.stderr.after(0, "counting requests of ", tests::LONG);
    assert!(counting.is_some(), "{:#?}", smoke.stderr.so_far());
    smoke
}

/// Its exit status and sentence.
fn judged(mut smoke: Program) -> (i32, String) {
    (smoke.wait().code().unwrap(), smoke.stdout.all().join("\n"))
}

#[test]
fn smoke_says_whether_a_service_works() {
    let (shop, port) = service("smoked", None);
    let agent = Setup::pid(shop.pid()).args(["--print", "off"]).start();
    let url = format!("http://127.0.0.1:{}", agent.listen());
    // What was before does not count.
    (0..5).for_each(|_| ask(port, "/fail"));
    poll("the failures", || {
        let (_, page) = agent.page("/api/v1/counts?service=smoked&since=0");
        page.contains("\"errors\":5").then_some(())
    });
    let during = |path: &str, count: usize, more: &[&str]| {
        let smoke = smoking(&[&["--agent", &url, "--service", "smoked", "--for", "1s"][..], more].concat());
        (0..count).for_each(|_| ask(port, path));
        judged(smoke)
    };
    let (status, said) = during("/ok", 20, &["--max-error-rate", "1%", "--max-p99", "2s"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.starts_with("ok: smoked answered 20 requests in 1s, 0% failed (at most 1%), p99 "), "{said}");
    let (status, said) = during("/fail", 4, &["--max-error-rate", "1%"]);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.starts_with("failed: smoked answered 4 requests in 1s, 100% failed (at most 1%), most of them GET"),
        "{said}"
    );
    let (status, said) = during("/slow", 2, &["--max-p99", "100ms"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains(" (at most 100ms), slowest GET"), "{said}");
    let (status, said) =
        run(&["smoke", "--agent", &url, "--service", "nobody", "--for", "1s", "--max-error-rate", "1%"]);
    assert_eq!((status, said.trim()), (4, "unknown: no request of nobody seen in 1s"));
    let (status, said) = run(&["smoke", "--agent", "http://127.0.0.1:1", "--service", "x", "--max-error-rate", "1%"]);
    assert_eq!(status, 4, "an agent that is not there says nothing of a service: {said}");
    assert!(said.contains("no agent answers at http://127.0.0.1:1"), "{said}");
    let (status, _) = run(&["smoke", "--service", "x"]);
    assert_eq!(status, 2);
    drop(agent.stop());
}

#[test]
fn smoke_watches_by_itself_where_it_is_told_what() {
    let (shop, port) = service("alone", None);
    let pid = shop.pid().to_string();
    let smoke = smoking(&["--pid", &pid, "--service", "alone", "--for", "2s", "--max-error-rate", "50%"]);
    (0..10).for_each(|_| ask(port, "/ok"));
    let (status, said) = judged(smoke);
    assert!(said.starts_with("ok: alone answered 10 requests in 2s, 0% failed (at most 50%)"), "{said}");
    assert_eq!(status, 0);
}

#[test]
fn traces_are_waterfalls_from_an_agent_that_runs_and_by_itself() {
    let (back, to) = service("back-of-trace", None);
    let (front, port) = service("front-of-trace", Some(to));
    let pids = [back.pid(), front.pid()];
    let agent = Setup::pids(&pids).args(["--print", "off"]).start();
    let url = format!("http://127.0.0.1:{}", agent.listen());
    ["/ok", "/slow", "/fail"].into_iter().for_each(|path| ask(port, path));
    let slow = poll("the slow one", || {
        let (status, said) = run(&["trace", "--agent", &url, "--slow", "200ms"]);
        (status == 0 && said.contains("3 spans")).then_some(said)
    });
    let lines: Vec<&str> = slow.trim().lines().collect();
    assert_eq!(lines.len(), 4, "one trace, and none that is fast: {slow}");
    assert!(lines[1].starts_with("front-of-trace GET ") && lines[2].starts_with("  front-of-trace → "), "{slow}");
    assert!(lines[3].starts_with("    back-of-trace GET ") && lines[3].contains('█'), "{slow}");
    assert!(!slow.contains('\x1b'), "plain where it is piped");
    let id = lines[0].split_whitespace().nth(1).unwrap();
    let (status, one) = run(&["trace", "--agent", &url, id, "--details"]);
    assert_eq!(status, 0);
    assert!(one.contains(id) && one.contains("http.request.method=GET"), "{one}");
    poll("the one that failed", || {
        let (_, failed) = run(&["trace", "--agent", &url, "--errors", "--service", "front-of-trace"]);
        (failed.contains("2 failed") || failed.contains("3 failed")).then_some(())
    });
    let (status, none) = run(&["trace", "--agent", &url, "--service", "nobody"]);
    assert_eq!(status, 4, "{none}");
    drop(agent.stop());

    // By itself, on a terminal.
    let [back, front] = pids.map(|pid| pid.to_string());
    let mut screen = Screen::start(
        &agent::command(["trace", "--pid", &back, "--pid", &front, "--slow", "200ms", "--log-level", "info"]),
        24,
        80,
    );
    screen.until_written("it watches", |text| text.contains("watching ").then_some(()));
    ask(port, "/ok");
    ask(port, "/slow");
    let text = screen.until_written("a trace", |text| text.contains("    back-of-trace GET").then(|| text.to_owned()));
    assert_eq!(text.matches("3 spans").count(), 1, "{text}");
    screen.press("\x03");
    assert!(screen.ended().success());
}

#[test]
fn top_leads_from_services_to_a_trace_at_any_size() {
    let (back, to) = service("back-of-top", None);
    let (front, port) = service("front-of-top", Some(to));
    let agent = Setup::pids(&[back.pid(), front.pid()]).args(["--print", "off"]).start();
    let url = format!("http://127.0.0.1:{}", agent.listen());
    (0..30).for_each(|_| ask(port, "/ok"));
    (0..10).for_each(|_| ask(port, "/fail"));
    poll("all are counted", || {
        let (_, page) = agent.page("/api/v1/services/front-of-top");
        page.contains("\"requests\":40").then_some(())
    });
    let top = || agent::command(["top", "--agent", &url]);
    let mut screen = Screen::start(&top(), 24, 80);
    let text = screen.until("both services", |text| {
        (text.contains("front-of-top") && text.contains("back-of-top")).then(|| text.to_owned())
    });
    assert!(text.contains("2 services by rate") && text.contains("q quit"), "{text}");
    let row = text.lines().find(|line| line.contains("front-of-top")).unwrap();
    assert!(row.contains("25.00%"), "ten of forty failed: {text}");
    assert!(screen.raw().contains("\x1b[31m"), "in red");
    // By name, so that it is known which is first.
    screen.press("n\x1b[B");
    screen
        .until("the front is chosen", |text| text.lines().any(|line| line.starts_with("> front-of-top")).then_some(()));
    screen.press("\r");
    let text =
        screen.until("its routes", |text| text.contains("asked by users; asks back-of-top").then(|| text.to_owned()));
    assert!(text.contains("ROUTE"), "{text}");
    // The most asked is first; the other one fails.
    screen.press("\x1b[B");
    screen.until("the failing one is chosen", |text| {
        text.lines().any(|line| line.starts_with("> ") && line.contains("/fail")).then_some(())
    });
    screen.press("\r");
    screen.until("its requests", |text| text.contains("requests of front-of-top GET /fail").then_some(()));
    screen.press("f");
    screen.until("those that failed", |text| {
        (text.contains("failed requests of front-of-top") && text.contains(" 502 ")).then_some(())
    });
    screen.press("\r");
    let text = screen.until("a trace", |text| text.contains("3 spans").then(|| text.to_owned()));
    assert!(text.contains("  front-of-top → GE") && text.contains("    back-of-top GET"), "{text}");
    // Smaller, and larger.
    for (rows, columns) in [(10, 40), (50, 160)] {
        screen.resize(rows, columns);
        screen.until("it is drawn anew", |text| {
            let last = text.lines().last().unwrap_or_default();
            (text.lines().count() == usize::from(rows) && last.contains("esc back")).then_some(())
        });
    }
    screen.press("\x1b\x1b");
    screen.press("q");
    assert!(screen.ended().success());
    screen.until_written("the terminal is as it was", |raw| {
        (raw.contains("\x1b[?1049l") && raw.contains("\x1b[?25h")).then_some(())
    });

    let mut command = top();
    command.env("NO_COLOR", "1");
    let mut screen = Screen::start(&command, 24, 80);
    screen.until("the services", |text| text.contains("> ").then_some(()));
    let raw = screen.raw();
    let colour = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap();
    assert!(!colour.is_match(&raw), "{raw:?}");
    drop(agent.stop());
    screen.until("that the agent is gone", |text| text.contains("no agent answers").then_some(()));
    screen.press("\x03");
    assert!(screen.ended().success());
    let (status, said) = run(&["top", "--agent", &url]);
    assert_eq!(status, 2, "it needs a terminal: {said}");
}

/// A certificate as it is made by hand most often: a server's and an authority's at once.
fn certify(folder: &std::path::Path, name: &str) -> String {
    let [key, certificate] = ["key", "pem"].map(|suffix| folder.join(name).with_extension(suffix));
    let made = Command::new(need::program("openssl"))
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    certificate.to_str().unwrap().to_owned()
}

#[test]
fn a_certificate_as_openssl_makes_it_is_trusted_where_it_is_named() {
    let (shop, port) = service("shop-of-tls", None);
    let files = folder();
    let [own, other] = ["own", "other"].map(|name| certify(files.path(), name));
    let config = files.path().join("agent.yaml");
    let key = own.replace(".pem", ".key");
    std::fs::write(&config, format!("listen_tls: {{certificate: {own}, key: {key}}}\n")).unwrap();
    let agent = Setup::pid(shop.pid()).args(["--print", "off", "--config", config.to_str().unwrap()]).launch();
    agent.until_logged("watching ");
    let url = format!("https://localhost:{}", agent.listen());
    ask(port, "/ok");
    poll("its trace", || {
        let (status, said) = run(&["trace", "--agent", &url, "--ca", &own, "--service", "shop-of-tls"]);
        (status == 0 && said.contains("shop-of-tls GET")).then_some(())
    });
    let (status, said) = run(&["trace", "--agent", &url, "--ca", &other]);
    assert!(status == 4 && said.contains("certificate"), "{status} {said}");
    drop(agent.stop());
}
