//! A round: an agent is started, clients ask, troubles come, and what all of them said is handed over.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use ::tests::{
    agent::{Agent, Setup, tls_libraries},
    need,
    program::Program,
    receiver::{Receiver, State},
};
use rustix::process::Signal;

use crate::{
    ask::{Ask, Told},
    client::{self, Orders},
    hog, oracle,
    plan::{Age, ClientKind, Round, Selection, ServerKind, Trouble},
    servers::{SERVICE, Server, Servers, own_copy, service},
};

/// An agent's life, and all it had to say.
pub(crate) struct Life {
    /// Unix time in ns from which on it watched.
    pub(crate) ready: u64,
    /// When it was told to end.
    pub(crate) stopped: u64,
    pub(crate) state: State,
    pub(crate) log: Vec<String>,
    pub(crate) is_well: bool,
}

/// What was asked and what was told.
pub(crate) struct Happened {
    pub(crate) asks: Vec<Ask>,
    pub(crate) told: Vec<Told>,
    pub(crate) lives: Vec<Life>,
    pub(crate) port: u16,
    /// That of the server behind a proxy.
    pub(crate) behind: Option<u16>,
    /// Where the client is one of its own, its service.
    pub(crate) client_service: String,
    pub(crate) server_service: String,
    /// Processes of both.
    pub(crate) server_pids: Vec<u32>,
    pub(crate) client_pids: Vec<u32>,
    /// Other complaints: of the client, of a server that is gone.
    pub(crate) complaints: Vec<String>,
}

/// Requests of each connection that are made before the agent comes.
pub(crate) const BEFORE: usize = 3;

/// How long what lasts goes on once the last agent watches.
const WHOLE: Duration = Duration::from_millis(1_000);

/// How long a connection has to rest for an agent to take what comes for a beginning, and more.
const REST: Duration = Duration::from_millis(50);

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Carries out a round; to be taken up anew with other servers if it panics, as it does where something does not work that
/// has to.
pub(crate) fn carry_out(round: &Round, servers: &mut Servers) -> Happened {
    let at = servers.folder().to_owned();
    let server = servers.get(round.server);
    let port = server.port(round.wire);
    let behind = server.behind();
    let (server_pid, server_pids) = (server.program.pid(), server.pids());
    let mut complaints = Vec::new();
    let asks = round.asks();
    let before = if round.begins_before() { BEFORE } else { 0 };
    let orders = Orders {
        wire: round.wire,
        port,
        certificate: fs::read_to_string(at.join("cert.pem")).expect("there is a certificate"),
        before,
        streams: round.streams,
        is_batched: round.is_batched(),
        lifetime: round.lifetime,
        pace_us: round.pace_us,
        asks: asks.clone(),
    };
    let file = at.join("orders.json");
    fs::write(&file, serde_json::to_vec(&orders).expect("orders are JSON")).expect("files can be written");
    let (mut command, client_exe) = client_command(round.client, &at);
    let client_service = service("client");
    command.arg(&file).env(SERVICE, &client_service);
    let client_words = words(&command);
    let mut start = || {
        let client = Program::start(&mut command);
        assert_eq!(client.says("ready"), "");
        client
    };
    let mut early = (!round.is_late).then(&mut start);
    if let Some(client) = &mut early {
        if round.begins_before() {
            client.tell("connect");
            assert_eq!(client.says("connected"), "");
        }
        if round.goes_on_meanwhile() {
            client.tell("go");
        }
    }

    let own = own_copy(&at, "torture-hog");
    let neighbours = || match round.trouble {
        Trouble::CpuLoad => hog::load(&own),
        Trouble::RealTime => hog::real_time(&own),
        _ => Vec::new(),
    };
    complain_of_its_end(server, &mut complaints);
    let who = Who {
        server: server_pid,
        client: early.as_ref().map(Program::pid),
        server_exe: exe(server_pid),
        client_exe,
        client_words,
        port,
    };
    let config = at.join("agent.yaml");
    let mut lives = Vec::new();
    let mut running = begin(round, &who, &config);
    let busy = neighbours();
    let mut client = early.unwrap_or_else(start);
    if !round.goes_on_meanwhile() {
        client.tell("go");
    }
    trouble(round, &running, &client);
    if round.age == Age::Restarted {
        lives.push(end(round, running, &client, None));
        running = begin(round, &who, &config);
        trouble(round, &running, &client);
    }
    if round.lasts() {
        thread::sleep(WHOLE);
        client.tell("enough");
    }
    if client.stdout.until(PATIENCE, |lines| is_done(lines).then_some(())).is_none() {
        complaints.push("the client did not come to its end".to_owned());
    }
    drop(busy);
    let told: Vec<Told> = client.stdout.so_far().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    complaints.extend(client.stderr.so_far().into_iter().take(10).map(|line| format!("the client: {line}")));
    if round.number.is_multiple_of(3) {
        client.tell_no_more();
    }
    let answered = told.iter().filter(|told| told.status.is_some() && told.start >= running.ready).count();
    lives.push(end(round, running, &client, Some(answered)));
    complain_of_its_end(servers.get(round.server), &mut complaints);
    let client_pids = vec![client.pid()];
    Happened {
        asks: asks.into_iter().flatten().collect(),
        told,
        lives,
        port,
        behind,
        client_service,
        server_service: service(&format!("{:?}", round.server)),
        server_pids,
        client_pids,
        complaints,
    }
}

fn complain_of_its_end(server: &mut Server, complaints: &mut Vec<String>) {
    if !server.program.is_running() {
        let status = server.program.wait();
        complaints.push(format!("the server ended ({status}): {:?}", server.program.stderr.so_far()));
    }
}

fn is_done(lines: &[String]) -> bool {
    lines.iter().rev().take(3).any(|line| line == "done")
}

/// The client's command without its orders, and its executable.
fn client_command(kind: ClientKind, at: &std::path::Path) -> (Command, PathBuf) {
    let library = match kind {
        ClientKind::Rust => {
            let exe = own_copy(at, "torture-client");
            let mut command = Command::new(&exe);
            command.arg("client");
            return (command, exe);
        }
        ClientKind::CurlOpenSsl => "libcurl.so.4",
        ClientKind::CurlGnuTls => "libcurl-gnutls.so.4",
    };
    let exe = need::python();
    let mut command = Command::new(&exe);
    command.arg("-u").arg(need::source("torture/curl_client.py")).arg(library);
    (command, fs::canonicalize(&exe).unwrap_or(exe))
}

fn exe(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default()
}

/// A command as its process shows it.
fn words(command: &Command) -> Vec<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Whom the agent may be told to watch.
struct Who {
    server: u32,
    /// `None`: it starts last.
    client: Option<u32>,
    server_exe: PathBuf,
    client_exe: PathBuf,
    client_words: Vec<String>,
    port: u16,
}

/// An agent that runs.
struct Running {
    agent: Agent,
    receiver: Receiver,
    ready: u64,
}

/// Starts an agent as the round wants it.
fn begin(round: &Round, who: &Who, config: &std::path::Path) -> Running {
    let receiver = Receiver::start();
    let (mut arguments, mut rules) = (Vec::<String>::new(), Vec::new());
    let chosen = [
        (round.side.has_server(), Some(who.server), &who.server_exe),
        (round.side.has_client(), who.client, &who.client_exe),
    ];
    let chosen = chosen.iter().filter(|(is_chosen, ..)| *is_chosen);
    match round.selection {
        Selection::Pid => {
            arguments.extend(chosen.flat_map(|(_, pid, _)| ["--pid".to_owned(), pid.unwrap_or_default().to_string()]))
        }
        Selection::Port => arguments.extend(["--port".to_owned(), who.port.to_string()]),
        Selection::Exe => {
            arguments.extend(chosen.flat_map(|(_, _, exe)| ["--exe".to_owned(), exe.display().to_string()]));
        }
        Selection::RulePort => rules.push(format!("open_ports: {}", who.port)),
        Selection::RuleExe => rules.extend(chosen.map(|(_, _, exe)| format!("exe_path: '{}'", exe.display()))),
        Selection::RuleCommand => rules.extend(chosen.map(|(_, pid, exe)| {
            if *exe == &who.server_exe && exe.ends_with("nginx") {
                // Its workers, which are processes of their own with names of their own, are those that serve.
                return "cmd_args: 'nginx: *'".to_owned();
            }
            let arguments = pid.map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default());
            let arguments = arguments.unwrap_or_else(|| who.client_words.join("\0"));
            let mut words: Vec<_> = arguments.split('\0').filter(|word| !word.is_empty()).collect();
            // A program that names itself anew (nginx) has fewer than it was started with, and the two of nghttpd differ in
            // those that follow.
            words.truncate(3);
            format!("cmd_args: '{}*'", words.join(" ").replace(['[', ']', '{', '}', '*', '?', '\''], "?"))
        })),
        Selection::Nothing => {}
    }
    let mut text = String::new();
    if !rules.is_empty() {
        text += "discovery:\n  instrument:\n";
        for rule in rules {
            text += &format!("    - {rule}\n");
        }
    }
    if round.trouble == Trouble::Overflow {
        text += "ebpf: {ring_buffer_bytes: 65536}\n";
    }
    if !text.is_empty() {
        fs::write(config, text).expect("files can be written");
        arguments.extend(["--config".to_owned(), config.display().to_string()]);
    }
    let agent = Setup::with(arguments)
        .backend(round.backend())
        .to(&receiver)
        .args(["--log-level", "debug"])
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "100000")
        .start();
    if round.wire.is_tls() {
        let mut libraries = Vec::new();
        if round.side.has_server() && round.server != ServerKind::Hyper && round.server.tls_is_seen() {
            libraries.extend(tls_libraries(who.server));
        }
        if round.side.has_client() && round.client != ClientKind::Rust {
            // curl's program loads both libraries by and by.
            let wanted = if round.client == ClientKind::CurlGnuTls { "gnutls" } else { "libssl" };
            libraries.extend(
                who.client.map(tls_libraries).unwrap_or_default().into_iter().filter(|path| path.contains(wanted)),
            );
        }
        if round.side.has_server() && round.server == ServerKind::Hyper {
            libraries.push(who.server_exe.display().to_string());
        }
        if round.side.has_client() && round.client == ClientKind::Rust {
            libraries.push(who.client_exe.display().to_string());
        }
        for library in libraries {
            agent.until_logged(&format!("TLS library attached path={library:?}"));
        }
    }
    if round.age == Age::OlderResting {
        // For the agent to see that they rest.
        thread::sleep(REST);
    }
    Running { agent, receiver, ready: client::now() }
}

/// What happens while requests are made.
fn trouble(round: &Round, running: &Running, client: &Program) {
    let is_over = || is_done(&client.stdout.so_far());
    let rest = |ms: u64| thread::sleep(Duration::from_millis(ms));
    let pid = rustix::process::Pid::from_raw(running.agent.pid().cast_signed()).expect("a pid");
    let hold = |ms| {
        rustix::process::kill_process(pid, Signal::STOP).expect("the agent runs");
        rest(ms);
        rustix::process::kill_process(pid, Signal::CONT).expect("the agent runs");
    };
    match round.trouble {
        Trouble::Overflow => {
            for i in 0..8 {
                rest(20 + 30 * (i % 3));
                if is_over() {
                    break;
                }
                hold(20 + 25 * (i % 4));
            }
        }
        Trouble::Stopped => {
            rest(300);
            hold(300 + round.number % 4 * 300);
            rest(200);
        }
        _ if round.age == Age::Restarted => rest(700),
        _ => {}
    }
}

/// Waits until it has told all that it will tell, if that is known, and stops it.
fn end(round: &Round, running: Running, client: &Program, answered: Option<usize>) -> Life {
    let Running { agent, receiver, ready } = running;
    if let Some(answered) = answered {
        let sides = usize::from(round.side.has_server()) + usize::from(round.side.has_client());
        settle(&receiver, answered * sides);
    }
    let stopped = client::now();
    if round.age == Age::Restarted && answered.is_none() {
        assert!(!client.stdout.so_far().is_empty());
    }
    let ended = agent.stop();
    Life { ready, stopped, state: receiver.state(), log: ended.log, is_well: ended.status.success() }
}

/// Until there are so many spans, or no more come.
fn settle(receiver: &Receiver, expected: usize) {
    const QUIET: Duration = Duration::from_millis(800);
    const MOST: Duration = Duration::from_secs(15);
    let began = Instant::now();
    let (mut seen, mut grew) = (0, began);
    while began.elapsed() < MOST {
        let now = receiver.count(|span| oracle::number_of(span).is_some());
        if now >= expected {
            // Those too many would come now.
            thread::sleep(Duration::from_millis(100));
            return;
        }
        if now > seen {
            (seen, grew) = (now, Instant::now());
        } else if grew.elapsed() > QUIET {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
