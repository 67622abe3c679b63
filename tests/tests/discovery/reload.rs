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
    time::Duration,
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
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, done, thread }
    }

    /// Waits until so many requests more were answered.
    fn goes_on(&self, more: usize) {
        let from = self.done.load(Ordering::Relaxed);
        tests::wait::poll("the load goes on", || (self.done.load(Ordering::Relaxed) >= from + more).then_some(()));
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("all requests are answered");
        self.done.load(Ordering::Relaxed)
    }
}

fn config(at: &Path, name: &str, routes: &str) -> String {
    fs::write(at, format!("discovery:\n  instrument:\n    - exe_path: '*python*'\n      name: {name}\n{routes}")).expect("a file");
    at.to_str().expect("a path of text").to_owned()
}

fn wait_for_reload(agent: &mut Agent, what: &str) {
    let lines = &agent.program().stderr;
    let found = lines.until(LONG, |lines| lines.iter().any(|line| line.contains("read again") && line.contains(what)).then_some(()));
    assert!(found.is_some(), "the configuration was not taken up: {:#?}", lines.so_far());
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
    config(&file, "before", "");
    let (_server, port) = server();
    let mut watch = Discovering::set_up(|setup| setup.args(["--config", file.to_str().expect("text")]));
    let load = Load::start(port, "/reload/17");
    load.goes_on(100);
    config(&file, "after", "routes: {patterns: ['/reload/:number']}\n");
    watch.agent.program().signal(Signal::HUP);
    wait_for_reload(&mut watch.agent, "discovery, routes");
    // A changed selection is looked at within a second.
    load.goes_on(2000);
    let count = load.finish();
    let spans = watch.finish("/reload/", count);
    let names: Vec<&str> = spans.iter().map(|span| span.service()).collect();
    assert_eq!((names[0], names[count - 1]), ("before", "after"));
    assert_eq!((spans[0].name.as_str(), spans[count - 1].name.as_str()), ("GET /reload/{id}", "GET /reload/:number"));
}

#[test]
fn a_changed_file_is_taken_up_by_itself_and_a_broken_one_is_not() {
    let files = folder();
    let file = files.path().join("agent.yaml");
    config(&file, "before", "");
    let (_server, port) = server();
    let mut watch = Discovering::set_up(|setup| setup.args(["--config", file.to_str().expect("text")]));
    let load = Load::start(port, "/changed");
    fs::write(&file, "discovery: [").expect("a file");
    let lines = &watch.agent.program().stderr;
    let refused = lines.until(LONG, |lines| lines.iter().any(|line| line.contains("is not used")).then_some(()));
    assert!(refused.is_some(), "{:#?}", lines.so_far());
    load.goes_on(100);
    config(&file, "after", "log_level: debug\n");
    wait_for_reload(&mut watch.agent, "discovery");
    let lines = &watch.agent.program().stderr;
    let named = |lines: &[String]| lines.iter().any(|line| line.contains("log_level") && line.contains("next start")).then_some(());
    assert!(lines.until(LONG, named).is_some(), "{:#?}", lines.so_far());
    load.goes_on(2000);
    let count = load.finish();
    let spans = watch.finish("/changed", count);
    assert_eq!((spans[0].service(), spans[count - 1].service()), ("before", "after"));
}

#[test]
fn what_is_excluded_and_included_again_is_seen_again_on_its_old_connection() {
    let files = folder();
    let file = files.path().join("agent.yaml");
    let (_server, port) = server();
    let chosen = || config(&file, "chosen", "");
    chosen();
    let mut watch = Discovering::set_up(|setup| setup.args(["--config", file.to_str().expect("text")]));
    let mut connection = Connection::to(port);
    assert_eq!(connection.get("/again/first").status, 200);
    fs::write(&file, "discovery:\n  exclude_instrument:\n    - exe_path: '*python*'\n").expect("a file");
    wait_for_reload(&mut watch.agent, "discovery");
    // Judged anew within a second; from then on nothing is to be seen.
    let load = Load::start(port, "/unseen");
    load.goes_on(1500);
    let _count = load.finish();
    assert_eq!(connection.get("/again/hidden").status, 200);
    let so_far = watch.agent.program().stderr.so_far().len();
    chosen();
    let lines = &watch.agent.program().stderr;
    let again = |lines: &[String]| lines.iter().skip(so_far).any(|line| line.contains("read again")).then_some(());
    assert!(lines.until(LONG, again).is_some(), "{:#?}", lines.so_far());
    let load = Load::start(port, "/noise");
    load.goes_on(1500);
    let _count = load.finish();
    assert_eq!(connection.get("/again/last").status, 200);
    let spans = watch.finish("/again/", 2);
    let paths: Vec<_> = spans.iter().filter_map(tests::seen::path).collect();
    assert_eq!(paths, ["/again/first", "/again/last"]);
}
