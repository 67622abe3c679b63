//! Who reads what the agent writes goes away: its log, its spans, its terminal.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tests::{
    agent::command,
    client::Connection,
    need,
    program::{Program, children, free_port},
    receiver::Receiver,
    wait::poll,
};

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn page(port: u16, path: &str) -> u16 {
    Connection::to(port).request("GET", path, &["Connection: close"], b"").status
}

fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    need::root();
    let (server, port) = server();
    let (receiver, listen) = (Receiver::start(), free_port());
    let mut agent = command(["--listen", &format!("127.0.0.1:{listen}"), "--pid", &server.pid().to_string()]);
    agent.args(["--endpoint", &receiver.grpc_endpoint(), "--protocol", "grpc", "--print", "off"]);
    agent.env("OTEL_BSP_SCHEDULE_DELAY", "20").stderr(Stdio::piped()).stdout(Stdio::null());
    let mut agent = Running(agent.process_group(0).spawn().unwrap());
    let mut log = BufReader::new(agent.0.stderr.take().unwrap());
    let mut first = String::new();
    while !first.contains("watching ") {
        assert_ne!(log.read_line(&mut first).unwrap(), 0, "{first}");
    }
    drop(log);
    // It has something to say, and finds nobody.
    signal(agent.0.id(), Signal::HUP);
    for count in 1..=3 {
        assert_eq!(Connection::to(port).get("/unread").status, 200);
        receiver.wait_for(|state| state.spans.len() >= count, tests::LONG).unwrap();
        signal(agent.0.id(), Signal::HUP);
    }
    assert_eq!(page(listen, "/readyz"), 200);
    signal(agent.0.id(), Signal::TERM);
    assert!(agent.0.wait().unwrap().success());
}

#[test]
fn without_a_reader_of_its_spans_it_ends_well() {
    need::root();
    let (server, port) = server();
    let mut agent = command(["--listen", "off", "--pid", &server.pid().to_string(), "--print", "json"]);
    agent.stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut agent = Running(agent.process_group(0).spawn().unwrap());
    let mut log = BufReader::new(agent.0.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("watching ") {
        assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
    }
    drop(agent.0.stdout.take());
    let status = poll("the agent ends", || {
        let _answered = Connection::to(port).get("/unread");
        agent.0.try_wait().unwrap()
    });
    log.read_to_string(&mut said).unwrap();
    assert!(status.success() && said.contains("nobody reads standard output"), "{status}: {said}");
}

#[test]
fn a_terminal_that_is_closed_ends_the_agent_and_a_hangup_in_it_does_not() {
    need::root();
    let (server, _port) = server();
    let listen = free_port();
    let agent = command(["--listen", &format!("127.0.0.1:{listen}"), "--pid", &server.pid().to_string()]);
    let words: Vec<String> = std::iter::once(agent.get_program())
        .chain(agent.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let mut script = Command::new(need::program("script"));
    // Whoever runs the tests may ignore hangups (nohup), and the agent would then, too.
    script.args(["-qec", &format!("exec env --default-signal=HUP {}", words.join(" ")), "/dev/null"]);
    let mut script = Running(script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut screen = BufReader::new(script.0.stdout.take().unwrap());
    let mut until = |text: &str| {
        let mut seen = String::new();
        while !seen.contains(text) {
            assert_ne!(screen.read_line(&mut seen).unwrap(), 0, "{text:?} is not said: {seen}");
        }
    };
    until("watching ");
    let agent = children(script.0.id())[0];
    signal(agent, Signal::HUP);
    until("configuration read again");
    assert_eq!(page(listen, "/readyz"), 200);
    script.0.kill().unwrap();
    script.0.wait().unwrap();
    let mut rest = Vec::new();
    let _hung_up = screen.read_to_end(&mut rest);
    // Whoever it belongs to now may take its time to take note of that.
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{agent}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
    };
    poll("the agent has ended", || (!runs()).then_some(()));
}
