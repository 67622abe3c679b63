//! What is lost where the agent is not given time: some requests, and never the truth about the others.

use std::{collections::HashSet, time::Duration};

use rustix::process::Signal;
use tests::{
    agent::{Backend, Setup, Watch},
    client::Connection,
    on_both_backends,
    program::{Program, folder},
    receiver::{ReceivedSpan, Receiver, State},
    seen::path,
    wait::poll,
};

on_both_backends!(
    a_lost_record_costs_no_other_request_its_answer,
    lost_requests_of_http2_are_counted_one_by_one,
    lost_requests_of_older_http2_are_counted_one_by_one,
    a_busy_process_leaves_a_quiet_one_its_share,
    what_is_lost_of_a_process_that_is_not_chosen_is_no_loss,
);

/// Statuses that answer one request after the other. Their number and that of the connections have no common divisor.
const STATUSES: [u16; 7] = [200, 404, 500, 403, 410, 503, 418];
const CONNECTIONS: usize = 3;
const BEFORE: usize = 21;
/// More than the ring can hold, by what is captured of each.
const WHILE_STOPPED: usize = 2400;
/// Requests of each connection once the agent has caught up; from the third on all is right again.
const AFTERWARDS: usize = 5;

fn a_lost_record_costs_no_other_request_its_answer(backend: Backend) {
    let server = Program::python("server.py", [""; 0]);
    let mut watch = Watch::pid(backend, server.pid());
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::to(server.port())).collect();
    let pad = format!("X-Pad: {}", "p".repeat(6000));
    let mut sent = 0;
    let mut ask = |count: usize, name: &str, headers: &[&str]| {
        for nth in 0..count {
            let status = STATUSES[nth % STATUSES.len()];
            let target = format!("/status/{name}/{nth}/{status}");
            assert_eq!(connections[nth % CONNECTIONS].request("GET", &target, headers, b"").status, status);
            sent += 1;
        }
    };
    ask(BEFORE, "before", &[]);
    // On a busy machine the first are told some time after it watches, as it puts probes in place meanwhile.
    watch.receiver.wait_for(|state| state.spans.len() == BEFORE, tests::LONG).unwrap();
    watch.agent.program().signal(Signal::STOP);
    ask(WHILE_STOPPED, "stopped", &[&pad]);
    watch.agent.program().signal(Signal::CONT);
    let _taken = watch.agent.records();
    ask(AFTERWARDS * CONNECTIONS, "after", &[]);
    let last = format!("/status/after/{}/", AFTERWARDS * CONNECTIONS - 1);
    let is_last = |span: &ReceivedSpan| path(span).is_some_and(|path| path.starts_with(&last));
    watch.receiver.wait_for(|state| state.spans.iter().any(is_last), tests::LONG).unwrap();
    let lost = poll("the losses are counted", || {
        let told = ids(&watch.receiver.state().spans).len();
        let lost = watch.agent.metric("beyla_rs_requests_lost_total", &[]) as usize;
        let records = watch.agent.metric("beyla_rs_capture_lost_total", &[]);
        (records > 0.0 && sent - told <= lost).then_some((lost, sent - told))
    });
    let seen = watch.stop_when(|_| true);
    println!("{} of {sent} told; not told: {}, at most {} by the metric", seen.spans.len(), lost.1, lost.0);
    assert!(lost.1 > 100, "the ring was not full");
    assert!(lost.0 <= 2 * lost.1 + 20, "the bound is of no use: {lost:?}");
    let right = told_right(&seen.spans);
    for nth in 2 * CONNECTIONS..AFTERWARDS * CONNECTIONS {
        let target = format!("/status/after/{nth}/{}", STATUSES[nth % STATUSES.len()]);
        assert!(right.contains(&*target), "{target} is not right again");
    }
    assert_eq!(seen.count("http.server.request.duration"), right.len() as u64);
}

fn lost_requests_of_http2_are_counted_one_by_one(backend: Backend) {
    requests_of_http2_are_lost(backend, false);
}

fn lost_requests_of_older_http2_are_counted_one_by_one(backend: Backend) {
    requests_of_http2_are_lost(backend, true);
}

/// What is not lost is told though it comes without a pause, and within a connection of which the agent has missed a part.
fn requests_of_http2_are_lost(backend: Backend, is_older: bool) {
    const BATCHES: usize = 8;
    const BATCH: usize = 500;
    let files = folder();
    let file = files.path().join("config.yaml");
    std::fs::write(&file, "ebpf: {ring_buffer_bytes: 65536}\n").unwrap();
    let server = Program::python("frames.py", ["serve", "7"]);
    let connect = || {
        let client = Program::python("frames.py", ["keep", &server.port().to_string()]);
        let _path = client.says("ready");
        client
    };
    let early = is_older.then(connect);
    let receiver = Receiver::start();
    let agent =
        Setup::pids(&[server.pid()]).args(["--config", file.to_str().unwrap()]).backend(backend).to(&receiver).start();
    let mut watch = Watch { agent, receiver };
    let mut asker = Asker { client: early.unwrap_or_else(connect), batches: 0, sent: 0 };
    let before = asker.until_all_is_told(&watch);
    let lost_before = watch.agent.metric("beyla_rs_requests_lost_total", &[]) as usize;
    for _ in 0..BATCHES / 2 {
        watch.agent.program().signal(Signal::STOP);
        asker.ask(BATCH);
        let _path = asker.done();
        // It goes on while they come.
        asker.ask(BATCH);
        watch.agent.program().signal(Signal::CONT);
        let _path = asker.done();
    }
    let after = asker.until_all_is_told(&watch);
    assert!(after[0] - before[0] > after[1] - before[1] + BATCH, "the ring was not full");
    // What nobody has seen the answer of is told at the connection's end.
    drop(asker);
    let (told, lost) = poll("the losses are counted", || {
        let lost = watch.agent.metric("beyla_rs_requests_lost_total", &[]) as usize - lost_before;
        let told = ids(&watch.receiver.state().spans).len() - before[1];
        (told + lost >= after[0] - before[0]).then_some((told, lost))
    });
    // Some of an older one count twice.
    assert!(told + lost <= after[0] - before[0] + BATCHES, "{told} told, {lost} lost");
    let _seen = watch.stop_when(|_| true);
}

/// A client of HTTP/2, and how many requests it has made.
struct Asker {
    client: Program,
    batches: usize,
    sent: usize,
}

impl Asker {
    fn ask(&mut self, count: usize) {
        self.client.tell(&format!("{count} 0"));
        self.batches += 1;
        self.sent += count;
    }

    /// Until all are answered. Gives the last one's path.
    fn done(&self) -> String {
        let paths = self.client.stdout.until(tests::LONG, |lines| {
            lines.iter().filter_map(|line| line.strip_prefix("done ")).nth(self.batches - 1).map(str::to_owned)
        });
        paths.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    /// Makes requests, few at a time, until the agent tells of them. Gives how many there were in all, and how many were told.
    fn until_all_is_told(&mut self, watch: &Watch) -> [usize; 2] {
        // Of an older connection so many that its frames are followed.
        const FEW: usize = 10;
        for _ in 0..2 {
            poll("the last is told", || {
                self.ask(FEW);
                let last = self.done();
                let _taken = watch.agent.records();
                let is_it = |span: &ReceivedSpan| path(span) == Some(&last);
                let is_told = |state: &State| state.spans.iter().any(is_it);
                watch.receiver.wait_for(is_told, Duration::from_secs(2)).ok()
            });
        }
        // A batch that was on its way when the agent was stopped may come twice.
        let told = ids(&watch.receiver.state().spans).len();
        [self.sent, told]
    }
}

fn a_busy_process_leaves_a_quiet_one_its_share(backend: Backend) {
    // Of what each captures of a request the ring holds some 160; what is left to each beyond its half is more than
    // what is recorded between two looks at how full it is.
    const RING: &str = "ebpf: {ring_buffer_bytes: 1048576}\n";
    const BUSY: usize = 500;
    const QUIET: usize = 40;
    let files = folder();
    let file = files.path().join("config.yaml");
    std::fs::write(&file, RING).unwrap();
    let busy = Program::python("server.py", [""; 0]);
    let quiet = Program::python("eager.py", ["tcp"]);
    let receiver = Receiver::start();
    let agent = Setup::pids(&[busy.pid(), quiet.pid()])
        .args(["--config", file.to_str().unwrap()])
        .backend(backend)
        .to(&receiver)
        .start();
    let mut watch = Watch { agent, receiver };
    let mut connections = [Connection::to(busy.port()), Connection::to(quiet.port())];
    let pad = format!("X-Pad: {}", "p".repeat(6000));
    let mut ask = |which: usize, name: &str, nth: usize, headers: &[&str]| {
        let status = STATUSES[nth % STATUSES.len()];
        let target = format!("/status/{name}/{nth}/{status}");
        assert_eq!(connections[which].request("GET", &target, headers, b"").status, status);
    };
    // Both are known before.
    ask(1, "before", 0, &[]);
    watch.receiver.wait_for(|state| state.spans.len() == 1, tests::LONG).unwrap();
    ask(0, "before", 0, &[]);
    watch.receiver.wait_for(|state| state.spans.len() == 2, tests::LONG).unwrap();
    let service = watch.receiver.spans().last().map(|span| format!("service=\"{}\"", span.service())).unwrap();
    watch.agent.program().signal(Signal::STOP);
    for nth in 0..BUSY {
        ask(0, "busy", nth, &[&pad]);
    }
    for nth in 0..QUIET {
        ask(1, "quiet", nth, &[]);
    }
    watch.agent.program().signal(Signal::CONT);
    let _taken = watch.agent.records();
    let metric = |name: &str, label: &str| watch.agent.metric(name, &[label]);
    let shed = poll("what was shed is counted by service", || {
        let all = metric("beyla_rs_capture_lost_total", "reason=\"share\"");
        let busy = metric("beyla_rs_capture_shed_total", &service);
        (busy > 0.0 && all == busy).then_some(busy)
    });
    assert_eq!(metric("beyla_rs_capture_lost_total", "reason=\"ring_full\""), 0.0, "{shed} were shed");
    let is_quiet = |span: &ReceivedSpan| path(span).is_some_and(|path| path.starts_with("/status/quiet/"));
    let seen = watch.stop_when(|state| state.spans.iter().filter(|span| is_quiet(span)).count() >= QUIET);
    let right = told_right(&seen.spans);
    for nth in 0..QUIET {
        let target = format!("/status/quiet/{nth}/{}", STATUSES[nth % STATUSES.len()]);
        assert!(right.contains(&*target), "{target} of the quiet one is lost");
    }
}

/// Programs that are started while the agent cannot evaluate them take what room they have in the ring, and more.
fn what_is_lost_of_a_process_that_is_not_chosen_is_no_loss(backend: Backend) {
    const REQUESTS: usize = 200;
    let word = format!("chosen-{}", backend.name());
    let files = folder();
    let file = files.path().join("config.yaml");
    let text = format!("ebpf: {{ring_buffer_bytes: 262144}}\ndiscovery: {{instrument: [{{cmd_args: '*{word}*'}}]}}\n");
    std::fs::write(&file, text).unwrap();
    let mut agent = Setup::with(["--config", file.to_str().unwrap()]).backend(backend).start();
    let pad = format!("X-Pad: {}", "p".repeat(6000));
    let servers: [&dyn Fn() -> Program; 2] =
        [&|| Program::python("server.py", [""; 0]), &|| Program::node("server.js", [&word])];
    for start in servers {
        agent.program().signal(Signal::STOP);
        let server = start();
        let mut connection = Connection::to(server.port());
        for _ in 0..REQUESTS {
            assert_eq!(connection.request("GET", "/big?bytes=10", &[&pad], b"").status, 200);
        }
        agent.program().signal(Signal::CONT);
        let _taken = agent.records();
    }
    let lost = poll("what is lost of Node is counted", || {
        let names = ["beyla_rs_requests_lost_total", "beyla_rs_capture_lost_total"];
        let [requests, records] = names.map(|name| agent.metric(name, &[]) as usize);
        (requests > 10 && records > 10).then_some((requests, records))
    });
    assert!(lost.0 <= REQUESTS && lost.1 <= 2 * REQUESTS + 10, "Python was not chosen: {lost:?}");
    assert_eq!(agent.stop().status.code(), Some(0));
}

/// Paths of the requests that have a status, which is their own; the others are unseen. A batch that was on its way when the
/// agent was stopped may have come twice.
fn told_right(spans: &[ReceivedSpan]) -> HashSet<&str> {
    let mut right = HashSet::new();
    for span in spans {
        let path = path(span).unwrap();
        let Some(status) = span.attributes.get("http.response.status_code") else {
            assert_eq!(span.attributes["beyla.outcome"], "unseen", "{path}");
            continue;
        };
        assert!(path.ends_with(&format!("/{status}")), "another request's status: {path} {status}");
        right.insert(path);
    }
    right
}

fn ids(spans: &[ReceivedSpan]) -> HashSet<&str> {
    spans.iter().map(|span| &*span.span_id).collect()
}
