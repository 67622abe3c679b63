//! Another configuration in mid-load: every request is counted, before and after.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::Signal;
use tests::{
    LONG,
    agent::Agent,
    client::Connection,
    need,
    program::{Program, folder},
};

use crate::watching::Discovering;

/// A request after the other, on a kept connection, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Load {
    fn start(port: u16, path: &'static str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (asked, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            let mut connection = Connection::to(port);
            while !asked.load(Ordering::Relaxed) {
                assert_eq!(connection.get(path).status, 200);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, done, thread }
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("all requests are answered");
        self.done.load(Ordering::Relaxed)
    }
}

fn config(at: &Path, port: u16, name: &str, rest: &str) {
    let text = format!("discovery:\n  instrument:\n    - open_ports: {port}\n      name: {name}\n{rest}");
    fs::write(at, text).expect("a file can be written");
}

fn watching(file: &Path) -> Discovering {
    Discovering::set_up(|setup| setup.args(["--config", file.to_str().expect("a path of text")]))
}

/// Waits for a line of the log, from number `from` on, that has all of these.
fn wait_for_log(agent: &mut Agent, from: usize, words: &[&str]) {
    let lines = &agent.program().stderr;
    let has_all = |line: &String| words.iter().all(|word| line.contains(word));
    let found = lines.until(LONG, |lines| lines.iter().skip(from).any(has_all).then_some(()));
    assert!(found.is_some(), "no line has {words:?}: {:#?}", lines.so_far());
}

/// Waits until spans of a service of this name have come.
fn wait_for_service(watch: &Discovering, name: &str) {
    let has = |state: &tests::receiver::State| state.spans.iter().any(|span| span.service() == name);
    assert!(watch.receiver.wait_for(has, LONG).is_ok(), "no span of {name}: {:#?}", watch.agent.log());
}

/// Waits until the agent watches so many processes.
fn wait_for_processes(agent: &Agent, count: f64) {
    tests::wait::poll("the selection is looked at again", || {
        (agent.metric("beyla_rs_processes", &[]) == count).then_some(())
    });
}

fn server() -> (Program, u16) {
    let server = Program::start(Command::new(need::python()).arg("-u").arg(need::source("server.py")));
    let port = server.port();
    (server, port)
}

#[test]
fn a_hangup_takes_up_names_and_routes_and_loses_no_request() {
    let files = folder();
    let file = files.path().join("agent.yaml");
    let (_server, port) = server();
    config(&file, port, "before", "");
    let mut watch = watching(&file);
    let load = Load::start(port, "/reload/17");
    wait_for_service(&watch, "before");
    config(&file, port, "after", "routes: {patterns: ['/reload/:number']}\n");
    watch.agent.program().signal(Signal::HUP);
    wait_for_log(&mut watch.agent, 0, &["configuration: routes.patterns: ", "→ [\"/reload/:number\"]"]);
    wait_for_log(&mut watch.agent, 0, &["read again", "discovery, routes"]);
    wait_for_service(&watch, "after");
    let count = load.finish();
    let spans = watch.finish("/reload/", count);
    let ends = [&spans[0], &spans[count - 1]];
    assert_eq!(ends.map(|span| span.service()), ["before", "after"]);
    assert_eq!(ends.map(|span| span.name.as_str()), ["GET /reload/{id}", "GET /reload/:number"]);
}

#[test]
fn a_changed_file_is_taken_up_by_itself_and_a_broken_one_is_not() {
    let files = folder();
    let file = files.path().join("agent.yaml");
    let (_server, port) = server();
    config(&file, port, "before", "");
    let mut watch = watching(&file);
    let load = Load::start(port, "/changed");
    fs::write(&file, "discovery: [").expect("a file can be written");
    wait_for_log(&mut watch.agent, 0, &["is not used"]);
    wait_for_service(&watch, "before");
    config(&file, port, "after", "log_format: json\n");
    wait_for_log(&mut watch.agent, 0, &["log_format", "next start"]);
    wait_for_log(&mut watch.agent, 0, &["read again", "discovery"]);
    wait_for_service(&watch, "after");
    let count = load.finish();
    let spans = watch.finish("/changed", count);
    assert_eq!([&spans[0], &spans[count - 1]].map(|span| span.service()), ["before", "after"]);
}

#[test]
fn what_is_excluded_and_included_again_is_seen_again_on_its_old_connection() {
    let files = folder();
    let file = files.path().join("agent.yaml");
    let (_server, port) = server();
    config(&file, port, "chosen", "");
    let watch = watching(&file);
    let mut connection = Connection::to(port);
    let mut get = |path: &str| assert_eq!(connection.get(path).status, 200);
    get("/again/first");
    wait_for_processes(&watch.agent, 1.0);
    config(&file, port, "chosen", &format!("  exclude_instrument:\n    - open_ports: {port}\n"));
    wait_for_processes(&watch.agent, 0.0);
    // More than once: what the kernel side still hands over of the connection is to be dropped, too.
    for _ in 0..20 {
        get("/again/hidden");
    }
    config(&file, port, "chosen", "");
    wait_for_processes(&watch.agent, 1.0);
    get("/again/last");
    let spans = watch.finish("/again/", 2);
    let paths: Vec<_> = spans.iter().filter_map(tests::seen::path).collect();
    assert_eq!(paths, ["/again/first", "/again/last"]);
}
