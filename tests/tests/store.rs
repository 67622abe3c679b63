//! What the agent remembers on disk (`store.dir`): it is there after the agent was killed, and a disk that is full stops nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;
use serde_json::Value;
use tests::{
    agent::{Agent, Setup},
    client::Connection,
    need,
    program::{Program, folder},
    wait::poll,
};

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

fn asked(agent: &Agent, path: &str) -> Value {
    let (status, text) = agent.page(path);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn start(pids: &[u32], dir: &Path) -> Agent {
    Setup::pids(pids).args(["--print", "off"]).env("OTEL_EBPF_STORE_DIR", &dir.to_string_lossy()).start()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some());
    files.sort();
    files
}

/// Requests and failures of a service in the last hour.
fn served(agent: &Agent, service: &str) -> (u64, u64) {
    let services = asked(agent, "/api/v1/services?window=1h");
    let of = services["services"].as_array().unwrap().iter().find(|it| it["name"] == service);
    of.map_or((0, 0), |it| (it["served"]["requests"].as_u64().unwrap(), it["served"]["errors"].as_u64().unwrap()))
}

#[test]
fn what_was_remembered_is_there_after_the_agent_was_killed() {
    let (back, to) = service("back-of-store", None);
    let (front, port) = service("front-of-store", Some(to));
    let pids = [back.pid(), front.pid()];
    let files = folder();
    let dir = files.path().join("store");
    let mut agent = start(&pids, &dir);
    (0..30).for_each(|_| ask(port, "/ok"));
    (0..9).for_each(|_| ask(port, "/fail"));
    ask(port, "/slow");
    poll("all are counted", || (served(&agent, "front-of-store") == (40, 9)).then_some(()));
    let counted = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as f64;
    // Of each request: both ends of the call, and what the front was asked.
    poll("all are on disk", || {
        let disk = asked(&agent, "/api/v1/agent")["store"]["disk"].clone();
        (disk["written"] == 120 && disk["until_unix_ms"].as_f64()? > counted).then_some(())
    });
    let slow = asked(&agent, "/api/v1/traces?min_duration=250ms&kind=server&service=front-of-store");
    let id = slow["traces"][0]["trace_id"].as_str().unwrap().to_owned();
    let before = asked(&agent, &format!("/api/v1/traces/{id}"));
    agent.program().signal(Signal::KILL);
    let _killed = agent.ended();

    // As if it had been killed within a write.
    let newest = files_in(&dir).pop().unwrap();
    fs::OpenOptions::new().append(true).open(&newest).unwrap().write_all(b"BRS1 a beginning").unwrap();
    let agent = start(&pids, &dir);
    agent.until_logged("a part of what was remembered on disk is torn or damaged");
    agent.until_logged("spans of earlier runs are remembered");
    assert_eq!(served(&agent, "front-of-store"), (40, 9), "the counts are exact");
    assert_eq!(served(&agent, "back-of-store"), (40, 9));
    let graph = asked(&agent, "/api/v1/graph?window=1h");
    let edge = graph["edges"].as_array().unwrap().iter().find(|edge| edge["to"] == "service:/back-of-store").unwrap();
    assert_eq!((&edge["from"], &edge["rates"]["requests"]), (&"service:/front-of-store".into(), &40.into()), "{graph}");
    let after = asked(&agent, &format!("/api/v1/traces/{id}"));
    assert_eq!(before["spans"], after["spans"]);
    assert_eq!(after["spans"].as_array().unwrap().len(), 3);
    let failed = asked(&agent, "/api/v1/traces?status=error&kind=server&service=front-of-store&limit=50");
    assert_eq!(failed["traces"].as_array().unwrap().len(), 9);
    assert!(failed["traces"].as_array().unwrap().iter().all(|trace| trace["spans"] == 3), "{failed}");
    (0..5).for_each(|_| ask(port, "/fail"));
    poll("both are counted", || (served(&agent, "front-of-store") == (45, 14)).then_some(()));
    poll("both are found", || {
        let failed = asked(&agent, "/api/v1/traces?status=error&kind=server&service=front-of-store&limit=50");
        (failed["traces"].as_array()?.len() == 14).then_some(())
    });
    // At an ordinary end all is written, however little time has passed.
    drop(agent.stop());
    let agent = start(&pids, &dir);
    agent.until_logged("spans of earlier runs are remembered");
    assert_eq!(served(&agent, "front-of-store"), (45, 14));
    let disk = asked(&agent, "/api/v1/agent")["store"]["disk"].clone();
    assert_eq!((&disk["spans"], &disk["torn"], &disk["dropped"]), (&135.into(), &0.into(), &0.into()), "{disk}");
    drop(agent.stop());
}

/// A small file system, which goes when the test ends.
struct Disk(PathBuf);

impl Disk {
    fn at(path: &Path, options: &str) -> Self {
        need::root();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(path).status().unwrap();
        assert!(status.success());
        Self(path.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_is_told_and_stops_nothing() {
    let (shop, port) = service("shop-of-full", None);
    let files = folder();
    let disk = Disk::at(files.path(), "size=8k");
    let agent = start(&[shop.pid()], files.path());
    (0..200).for_each(|number| ask(port, &format!("/item-{number}")));
    agent.until_logged("what is seen cannot be written to store.dir, and is remembered in memory alone");
    poll("what was not written is counted", || {
        let it = asked(&agent, "/api/v1/agent");
        let is_told = it["losses"].as_array()?.iter().any(|loss| loss["what"] == "spans that are not kept on disk");
        (it["store"]["disk"]["dropped"].as_u64()? > 0 && is_told).then_some(())
    });
    poll("memory has all", || (served(&agent, "shop-of-full").0 == 200).then_some(()));
    let grown = Command::new("mount").args(["-o", "remount,size=4m"]).arg(&disk.0).status().unwrap();
    assert!(grown.success());
    // As much as did not find room before.
    (0..800).for_each(|number| ask(port, &format!("/item-{number}")));
    agent.until_logged("what is seen is written to store.dir again");
    drop(agent.stop());
}
