//! The web page in a real browser, against services whose answers are known. `WRITE_SCREENSHOTS=1 cargo test -p tests --test page`
//! writes the pictures of `docs/` anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    env,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    agent::Setup,
    client::Connection,
    need,
    program::{Program, free_port},
    wait::poll,
};

/// What a service calls itself that wants to be more than text.
const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\u{1b}[31mx";
/// How long the browser may take for a step.
const LONG: Duration = Duration::from_secs(120);

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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What the agent answers.
fn asked(port: u16, path: &str) -> Value {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn each_view_shows_what_was_sent() {
    let (back, to) = service("back", None);
    let (front, port) = service("front", Some(to));
    let (hostile, hostile_port) = service(HOSTILE, None);
    let pids = [back.pid(), front.pid(), hostile.pid()].map(|pid| format!("--pid={pid}"));
    let listen = free_port();
    let start = || Setup::listening(listen, &pids).args(["--print", "off"]).start();
    let agent = start();
    for _ in 0..40 {
        ask(port, "/ok");
    }
    for path in ["/fail", "/fail", "/fail", "/slow", "/slow"] {
        ask(port, path);
    }
    ask(hostile_port, "/ok");
    ask(hostile_port, &format!("/{}<script>", "long".repeat(1000)));
    let trace = poll("a failed trace of three spans", || {
        let found = asked(listen, "/api/v1/traces?status=error&service=front");
        let trace = found["traces"].as_array()?.iter().find(|trace| trace["spans"] == 3)?;
        Some(trace["trace_id"].as_str()?.to_owned())
    });
    let expected = json!({
        "front": "front", "back": "back", "hostile": HOSTILE, "requests": 45, "failed": 3, "slow": 2, "pid": front.pid(), "trace": trace,
    });
    let modules = root().join("target/programs/browser");
    assert!(modules.join("node_modules").is_dir(), "run `cargo xtask setup`: {} is missing", modules.display());
    let mut command = Command::new(need::program("node"));
    command
        .arg(need::source("browser/drive.mjs"))
        .arg(&modules)
        .args([format!("http://127.0.0.1:{listen}/"), expected.to_string()]);
    if env::var_os("WRITE_SCREENSHOTS").is_some() {
        command.arg(root().join("docs/images"));
    }
    let mut browser = Program::start(&mut command);
    let mut agent = Some(agent);
    let mut read = 0;
    loop {
        let line = browser.stdout.until(LONG, |lines| lines.get(read).cloned());
        let Some(line) = line else {
            panic!("the browser: {:#?} {:#?}", browser.stdout.so_far(), browser.stderr.so_far());
        };
        read += 1;
        match line.trim() {
            "send" => (0..5).for_each(|_| ask(port, "/ok")),
            "stop" => drop(agent.take().unwrap().stop()),
            "start" => {
                agent = Some(start());
                ask(port, "/ok");
                browser.tell("restarted");
            }
            "done" => break,
            _ => {}
        }
    }
    assert!(browser.wait().success());
}

/// A service of the shop that `cargo xtask demo` shows, by a file of its own name as there.
fn of_demo(folder: &Path, role: &str, ports: &[u16]) -> Program {
    let script = folder.join(role).with_extension("py");
    std::fs::copy(root().join("xtask/demo/shop.py"), &script).unwrap();
    let mut command = Command::new(need::python());
    command.arg("-u").arg(script).arg(role).args(ports.iter().map(ToString::to_string));
    let program = Program::start(&mut command);
    let first = ports[0];
    poll("it listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, first)).ok());
    program
}

#[test]
fn the_demos_map_is_there_within_ten_seconds_and_has_what_was_sent() {
    let folder = tests::program::folder();
    let [catalog_port, payment_port, port] = [free_port(), free_port(), free_port()];
    let catalog = of_demo(folder.path(), "catalog", &[catalog_port]);
    let payment = of_demo(folder.path(), "payment", &[payment_port]);
    let storefront = of_demo(folder.path(), "storefront", &[port, catalog_port, payment_port]);
    let began = Instant::now();
    let agent = Setup::pids(&[catalog.pid(), payment.pid(), storefront.pid()]).args(["--print", "off"]).start();
    let mut failed = 0;
    for _ in 0..20 {
        ask(port, "/items");
        ask(port, "/items/1");
        ask(port, "/items/9");
        let ordered = Connection::to(port).request("POST", "/orders/2", &["Connection: close"], b"");
        failed += u64::from(ordered.status == 502);
    }
    let edge = |graph: &Value, from: &str, to: &str| {
        let edges = graph["edges"].as_array().unwrap();
        let edge = edges.iter().find(|edge| edge["from"] == from && edge["to"] == to)?;
        Some((edge["rates"]["requests"].as_u64()?, edge["rates"]["errors"].as_u64()?))
    };
    // What the page draws.
    let graph = poll("the map", || {
        let graph = asked(agent.listen(), "/api/v1/graph?window=60s");
        let found = [
            edge(&graph, "users", "service:/storefront")?,
            edge(&graph, "service:/storefront", "service:/catalog")?,
            edge(&graph, "service:/storefront", "service:/payment")?,
        ];
        // Each order asks both; what there is not is a client's error.
        (found == [(80, failed), (80, 20), (20, failed)]).then_some(graph)
    });
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let node = graph["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "storefront").unwrap();
    let (rate, window) = (node["rates"]["rate"].as_f64().unwrap(), graph["window_s"].as_f64().unwrap());
    assert!((rate * window - 80.0).abs() < 0.2, "{rate} a second for {window} s");
    drop(agent.stop());
}

/// How long a map of 200 services and 400 edges takes to be drawn, and to be drawn anew: `cargo test -p tests --test page -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, whose figures are those of the machine: run by hand"]
fn a_map_of_two_hundred_services_is_drawn_in_time() {
    let (shop, _port) = service("shop-of-map", None);
    let agent = Setup::pid(shop.pid()).args(["--print", "off"]).start();
    let modules = root().join("target/programs/browser");
    let mut command = Command::new(need::program("node"));
    command.arg(need::source("browser/map.mjs")).arg(&modules).arg(format!("http://127.0.0.1:{}/", agent.listen()));
    let mut browser = Program::start(&mut command);
    let status = browser.wait();
    println!("{}", browser.stdout.all().join("\n"));
    assert!(status.success(), "{:#?}", browser.stderr.so_far());
    drop(agent.stop());
}
