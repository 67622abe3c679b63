//! The table over a `/proc` made for the test, and over real processes.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::model::{ids::ProcessId, span::Value};

/// A `/proc` of the test's own.
struct FakeProc(tempfile::TempDir);

impl FakeProc {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn process(&self, pid: ProcessId, start_ticks: u64, exe: &str, cmdline: &str) {
        let dir = self.path().join(pid.to_string());
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("ns")).unwrap();
        let stat = format!("{pid} (prog{pid}) S 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 0 0\n");
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("status"), "Name:\tx\nUid:\t1000\t33\t33\t33\nNSpid:\t5\t1\n").unwrap();
        fs::write(dir.join("cmdline"), cmdline.replace('|', "\0")).unwrap();
        fs::write(dir.join("environ"), "A=b\0OTEL_RESOURCE_ATTRIBUTES=team=blue\0").unwrap();
        fs::write(dir.join("cgroup"), "0::/user.slice\n").unwrap();
        std::os::unix::fs::symlink(exe, dir.join("exe")).unwrap();
        std::os::unix::fs::symlink("mnt:[4026531841]", dir.join("ns/mnt")).unwrap();
        fs::create_dir_all(dir.join("root/etc")).unwrap();
        fs::write(dir.join("root/etc/passwd"), "root:x:0:0:::\nwww-data:x:33:33:::\n").unwrap();
    }

    fn end(&self, pid: ProcessId) {
        fs::remove_dir_all(self.path().join(pid.to_string())).unwrap();
    }

    fn table(&self) -> ProcessTable {
        ProcessTable::new(ProcessConfig { proc_root: self.path().into(), ..ProcessConfig::default() })
    }
}

fn text(resource: &Resource, key: &str) -> Option<String> {
    resource.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| match value {
        Value::Str(text) => text.to_string(),
        Value::Shared(text) => text.to_string(),
        Value::Static(text) => (*text).to_owned(),
        other => format!("{other:?}"),
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_process_is_read_once_and_shared() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/nginx", "nginx: worker");
    let table = proc.table();
    let resource = table.resource(ProcessId(7));
    assert_eq!(resource.service_name, "nginx");
    assert_eq!(text(&resource, "process.owner").as_deref(), Some("www-data"));
    assert_eq!(text(&resource, "team").as_deref(), Some("blue"));
    assert!(Arc::ptr_eq(&resource, &table.resource(ProcessId(7))));
    let later = Instant::now() + 10 * SECOND;
    assert!(Arc::ptr_eq(&resource, &table.resource_at(ProcessId(7), later)), "nothing changed: the same resource");
}

#[test]
fn who_lives_is_known_by_what_was_told_and_else_by_whether_it_is_there() {
    let proc = FakeProc::new();
    let table = proc.table();
    let pid = ProcessId(7);
    assert!(!table.is_alive(pid));
    proc.process(pid, 100, "/usr/bin/a", "a");
    assert!(table.is_alive(pid), "nothing was told of it");
    let started_at_ns = 100 * NS_PER_TICK;
    table.on_exec(pid, started_at_ns, "a");
    assert!(table.is_alive(pid));
    table.on_exit(pid, started_at_ns);
    assert!(!table.is_alive(pid), "nobody has waited for it yet");
    proc.process(pid, 200, "/usr/bin/b", "b");
    assert!(table.is_alive(pid), "that is another one");
    proc.end(pid);
    assert!(!table.is_alive(pid), "its end was missed");
}

#[test]
fn a_reused_pid_is_another_process_even_if_its_events_were_lost() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/bin/first", "first");
    let table = proc.table();
    let now = Instant::now();
    let first = table.resource_at(ProcessId(7), now);
    proc.process(ProcessId(7), 200, "/usr/bin/second", "second");
    let second = table.resource_at(ProcessId(7), now + RECHECK);
    assert_eq!((first.service_name.as_str(), second.service_name.as_str()), ("first", "second"));
    assert_ne!(text(&first, "service.instance.id"), text(&second, "service.instance.id"));
}

#[test]
fn an_exit_of_an_earlier_process_does_not_touch_the_later_one() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 200, "/usr/bin/second", "second");
    let table = proc.table();
    table.on_fork(ProcessId(1), ProcessId(7), 100 * NS_PER_TICK);
    table.on_fork(ProcessId(1), ProcessId(7), 200 * NS_PER_TICK + 5);
    table.on_exit(ProcessId(7), 100 * NS_PER_TICK);
    let now = Instant::now();
    table.sweep_at(now + 60 * SECOND);
    assert_eq!(table.len(), 1);
    assert_eq!(table.resource(ProcessId(7)).service_name, "second");
    proc.end(ProcessId(7));
    table.on_exit_at(ProcessId(7), 200 * NS_PER_TICK, now + 60 * SECOND);
    table.sweep_at(now + 120 * SECOND);
    assert!(table.is_empty(), "its own exit was still heard");
}

#[test]
fn an_exec_gives_the_pid_another_program_but_keeps_the_instance() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/bin/sh", "sh|/srv/start-shop.sh");
    let table = proc.table();
    let before = table.resource(ProcessId(7));
    proc.process(ProcessId(7), 100, "/usr/sbin/shopd", "shopd");
    let changes = table.changes();
    table.on_exec(ProcessId(7), 100 * NS_PER_TICK, "shopd");
    assert_ne!(table.changes(), changes, "who keeps what was told has to ask again");
    let after = table.resource(ProcessId(7));
    assert_eq!((before.service_name.as_str(), after.service_name.as_str()), ("start-shop", "shopd"));
    assert_eq!(text(&before, "service.instance.id"), text(&after, "service.instance.id"));
}

#[test]
fn a_program_that_ended_before_it_was_asked_for_is_still_named() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/quick", "quick");
    let table = proc.table();
    table.on_fork(ProcessId(1), ProcessId(7), 100 * NS_PER_TICK);
    table.on_exec(ProcessId(7), 100 * NS_PER_TICK, "quick");
    table.read_executed(ProcessId(7), 100 * NS_PER_TICK);
    proc.end(ProcessId(7));
    table.on_exit(ProcessId(7), 100 * NS_PER_TICK);
    assert_eq!(table.resource(ProcessId(7)).service_name, "quick");
}

#[test]
fn a_forked_worker_belongs_to_its_parents_instance_also_when_it_is_gone() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/prefork", "prefork");
    let table = proc.table();
    table.on_fork(ProcessId(7), ProcessId(8), 150 * NS_PER_TICK);
    table.on_exit(ProcessId(8), 150 * NS_PER_TICK);
    let (parent, child) = (table.resource(ProcessId(7)), table.resource(ProcessId(8)));
    assert_eq!((child.service_name.as_str(), child.pid), ("prefork", ProcessId(7)));
    assert!(Arc::ptr_eq(&parent, &child));
}

#[test]
fn workers_share_one_resource_that_outlives_them() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/prefork", "prefork");
    let table = proc.table();
    let now = Instant::now();
    let mut earlier: Option<std::sync::Weak<Resource>> = None;
    for pid in 8..20 {
        let started = u64::from(pid) * NS_PER_TICK;
        table.on_fork(ProcessId(7), ProcessId(pid), started);
        let resource = table.resource_at(ProcessId(pid), now);
        table.on_exit_at(ProcessId(pid), started, now);
        table.sweep_at(now + 20 * SECOND);
        if let Some(earlier) = earlier.replace(Arc::downgrade(&resource)) {
            assert!(earlier.upgrade().is_some_and(|earlier| Arc::ptr_eq(&earlier, &resource)), "{pid}");
        }
    }
    proc.end(ProcessId(7));
    table.sweep_at(now + 40 * SECOND);
    table.sweep_at(now + 60 * SECOND);
    assert!(earlier.unwrap().upgrade().is_none(), "its process has ended");
}

#[test]
fn a_daemon_is_not_the_one_that_it_was_handed_to() {
    let proc = FakeProc::new();
    proc.process(ProcessId(5), 50, "/usr/lib/systemd/systemd", "systemd|--user");
    proc.process(ProcessId(7), 100, "/usr/sbin/daemon", "daemon");
    fs::write(proc.path().join("7/stat"), "7 (daemon) S 5 0 0 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0\n").unwrap();
    assert_eq!(proc.table().resource(ProcessId(7)).pid, ProcessId(7));
}

#[test]
fn a_forked_worker_that_is_dying_when_it_is_first_looked_at_takes_its_parents_program() {
    let proc = FakeProc::new();
    proc.process(ProcessId(6), 90, "/usr/bin/python3", "python3|/srv/shop/payroll.py");
    // A zombie: its numbers are there, and nothing else.
    fs::create_dir_all(proc.path().join("7")).unwrap();
    let stat = |flags: u32| format!("7 (python3) Z 6 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0\n");
    fs::write(proc.path().join("7/stat"), stat(0x40)).unwrap();
    let table = proc.table();
    let _evaluated_by_a_scan = table.verdict(ProcessId(7));
    table.on_met(ProcessId(7), 100 * NS_PER_TICK, "python3", ProcessId(6));
    let resource = table.resource(ProcessId(7));
    assert_eq!((resource.service_name.as_str(), resource.pid), ("payroll", ProcessId(6)));
    // One that had started a program of its own: nobody knows which.
    fs::write(proc.path().join("7/stat"), stat(0)).unwrap();
    assert_eq!(proc.table().resource(ProcessId(7)).service_name, "python3");
}

#[test]
fn what_executed_and_vanished_unread_has_its_threads_name_not_its_parents() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/parent", "parent");
    let table = proc.table();
    table.on_fork(ProcessId(7), ProcessId(8), 150 * NS_PER_TICK);
    table.on_exec(ProcessId(8), 150 * NS_PER_TICK, "child");
    table.on_exit(ProcessId(8), 150 * NS_PER_TICK);
    assert_eq!(table.resource(ProcessId(8)).service_name, "child");
    assert_eq!(table.resource(ProcessId(9)).service_name, "unknown_service");
}

#[test]
fn ended_processes_stay_for_the_grace_and_no_longer() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/a", "a");
    let table = proc.table();
    let now = Instant::now();
    let resource = table.resource_at(ProcessId(7), now);
    proc.end(ProcessId(7));
    table.on_exit_at(ProcessId(7), 100 * NS_PER_TICK, now);
    assert!(Arc::ptr_eq(&resource, &table.resource_at(ProcessId(7), now + 9 * SECOND)));
    table.sweep_at(now + 11 * SECOND);
    assert!(table.is_empty());
}

#[test]
fn a_missed_exit_and_a_lookup_of_nothing_are_swept() {
    let proc = FakeProc::new();
    let table = proc.table();
    let now = Instant::now();
    table.on_fork(ProcessId(1), ProcessId(7), 100 * NS_PER_TICK);
    assert_eq!(table.resource_at(ProcessId(99), now).service_name, "unknown_service");
    table.sweep_at(now);
    assert_eq!(table.len(), 2);
    table.sweep_at(now + 11 * SECOND);
    assert!(table.is_empty());
}

#[test]
fn a_storm_of_forks_is_bounded() {
    let proc = FakeProc::new();
    let table = proc.table();
    let now = Instant::now();
    for pid in 10..200_000 {
        table.on_fork(ProcessId(1), ProcessId(pid), u64::from(pid));
        table.on_exit_at(ProcessId(pid), u64::from(pid), now);
    }
    assert!(table.len() <= GONE_MAX + 1, "{}", table.len());
    assert!(size_of::<Entry>() <= 160, "{}", size_of::<Entry>());
}

/// Ends the child however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that says "ready" on its standard output, and waits for that.
fn start(command: &mut Command) -> Running {
    let mut child = Running(command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let output = child.0.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    child
}

#[test]
fn a_real_python_script_is_named_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("orders.py");
    fs::write(&script, "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n").unwrap();
    let child = start(Command::new("python3").arg(&script).env("OTEL_RESOURCE_ATTRIBUTES", "service.version=7"));
    let table = ProcessTable::new(ProcessConfig { command_line: true, ..ProcessConfig::default() });
    let resource = table.resource(ProcessId(child.0.id()));
    assert_eq!(resource.service_name, "orders");
    assert_eq!(text(&resource, "telemetry.sdk.language").as_deref(), Some("python"));
    assert_eq!(text(&resource, "service.version").as_deref(), Some("7"));
    assert!(text(&resource, "process.command_line").unwrap().ends_with("/orders.py"));
    assert!(text(&resource, "process.executable.name").unwrap().starts_with("python3"));
}

#[test]
fn a_real_exec_in_the_same_pid_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("launch-it.sh");
    fs::write(&script, "echo ready\nread go\nexec sleep 1000\n").unwrap();
    let mut child = start(Command::new("bash").arg(&script));
    let pid = child.0.id();
    let table = ProcessTable::new(ProcessConfig::default());
    assert_eq!(table.resource(ProcessId(pid)).service_name, "launch-it");
    let started_at_ns = table.proc().stat(ProcessId(pid)).unwrap().start_ticks * NS_PER_TICK;
    std::io::Write::write_all(child.0.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let deadline = Instant::now() + 10 * SECOND;
    while !table.proc().exe(ProcessId(pid)).is_some_and(|exe| exe.ends_with("/sleep") || exe.ends_with("coreutils")) {
        assert!(Instant::now() < deadline, "no exec");
        std::thread::yield_now();
    }
    table.on_exec(ProcessId(pid), started_at_ns, "sleep");
    assert_eq!(table.resource(ProcessId(pid)).service_name, "sleep");
}

fn port_server(port_file: &Path) -> Running {
    let script = "import socket, sys\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\n\
                  open(sys.argv[1], 'w').write(str(s.getsockname()[1]))\nprint('ready', flush=True)\nsys.stdin.read()\n";
    let path = port_file.with_extension("py");
    fs::write(&path, script).unwrap();
    start(Command::new("python3").arg(&path).arg(port_file))
}

#[test]
fn a_real_server_is_chosen_by_its_port_and_shown_by_survey() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("cart"), dir.path().join("stock"));
    let (cart, stock) = (port_server(&one), port_server(&two));
    let port: u16 = fs::read_to_string(&one).unwrap().parse().unwrap();
    let criteria = crate::procs::selector::Criteria { open_ports: vec![(port, port)], ..Default::default() };
    let rule = Rule { label: "--port".into(), criteria, name: Some("the-cart".into()), ..Rule::default() };
    let selector = Selector { rules: vec![Arc::new(rule)], ..Selector::default() };
    let table = ProcessTable::new(ProcessConfig { selector, ..ProcessConfig::default() });
    assert!(table.verdict(ProcessId(cart.0.id())).is_watch());
    assert!(!table.verdict(ProcessId(stock.0.id())).is_watch());
    assert_eq!(table.resource(ProcessId(cart.0.id())).service_name, "the-cart");
    let rows = table.survey();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (rows[0].pid, &rows[0].ports[..], rows[0].language),
        (ProcessId(cart.0.id()), &[port][..], Some("python"))
    );
    assert_eq!(rows[0].matched_by, ["--port"]);

    table.set_selector(Selector::default());
    assert!(table.verdict(ProcessId(stock.0.id())).is_watch());
    assert_eq!(table.resource(ProcessId(cart.0.id())).service_name, "cart", "the rule is gone, and its name with it");
    let rows = table.survey();
    assert!(
        rows.iter().any(|row| row.pid == ProcessId(stock.0.id()))
            && rows.iter().all(|row| row.pid != ProcessId(std::process::id()))
    );
}

#[test]
fn children_of_a_chosen_pid_are_chosen() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/a", "a");
    proc.process(ProcessId(8), 110, "/usr/sbin/b", "b");
    let criteria = crate::procs::selector::Criteria { pids: vec![ProcessId(7)], ..Default::default() };
    let selector = Selector { rules: vec![Arc::new(Rule { criteria, ..Rule::default() })], ..Selector::default() };
    let table =
        ProcessTable::new(ProcessConfig { proc_root: proc.path().into(), selector, ..ProcessConfig::default() });
    let stat = proc.path().join("8/stat");
    let of_7 = fs::read_to_string(&stat).unwrap().replace("S 1 ", "S 7 ");
    assert!(!table.verdict(ProcessId(8)).is_watch());
    fs::write(&stat, of_7).unwrap();
    assert!(table.verdict_at(ProcessId(8), Instant::now() + RECHECK).is_watch());
}

/// Of this `/proc`, choosing what listens on port 8080.
fn choosing_8080(proc: &FakeProc) -> ProcessTable {
    let criteria = crate::procs::selector::Criteria { open_ports: vec![(8080, 8080)], ..Default::default() };
    let selector = Selector { rules: vec![Arc::new(Rule { criteria, ..Rule::default() })], ..Selector::default() };
    ProcessTable::new(ProcessConfig { proc_root: proc.path().into(), selector, ..ProcessConfig::default() })
}

/// A process listens on port 8080 from now on.
fn listen_on_8080(proc: &FakeProc, pid: ProcessId) {
    let dir = proc.path().join(pid.to_string());
    fs::create_dir_all(dir.join("fd")).unwrap();
    fs::create_dir_all(dir.join("net")).unwrap();
    std::os::unix::fs::symlink("socket:[77]", dir.join("fd/3")).unwrap();
    let line = "head\n 0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n";
    fs::write(dir.join("net/tcp"), line).unwrap();
}

#[test]
fn a_worker_that_has_closed_the_listener_is_chosen_by_its_port() {
    let proc = FakeProc::new();
    for pid in [7, 8, 9, 10] {
        proc.process(ProcessId(pid), 100, "/usr/sbin/a", "a");
    }
    listen_on_8080(&proc, ProcessId(7));
    let table = choosing_8080(&proc);
    table.on_fork(ProcessId(7), ProcessId(8), 100 * NS_PER_TICK);
    assert!(table.verdict(ProcessId(8)).is_watch());
    table.on_fork(ProcessId(8), ProcessId(9), 100 * NS_PER_TICK);
    assert!(table.verdict(ProcessId(9)).is_watch(), "what the worker forks off serves the same");
    table.on_fork(ProcessId(7), ProcessId(10), 100 * NS_PER_TICK);
    table.on_exec(ProcessId(10), 100 * NS_PER_TICK, "b");
    assert!(!table.verdict(ProcessId(10)).is_watch(), "another program");
}

#[test]
fn what_a_cloud_says_is_taken_up_and_the_instance_keeps_its_id() {
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/a", "a");
    let host = Host { name: "node-1".into(), id: Some("machine".into()), ..Host::default() };
    let config = ProcessConfig { proc_root: proc.path().into(), host: Some(host), ..ProcessConfig::default() };
    let table = ProcessTable::new(config);
    let before = table.resource(ProcessId(7));
    table.set_cloud(vec![("cloud.region", "eu".into()), ("host.id", "i-1".into()), ("k8s.cluster.name", "c".into())]);
    let after = table.resource(ProcessId(7));
    assert_eq!(text(&before, "host.id").as_deref(), Some("machine"));
    assert_eq!(text(&after, "host.id").as_deref(), Some("i-1"));
    assert_eq!(text(&after, "cloud.region").as_deref(), Some("eu"));
    assert_eq!(text(&after, "k8s.cluster.name"), None, "it is in no pod");
    assert_eq!(text(&before, "service.instance.id"), text(&after, "service.instance.id"));
}

/// Pods that become known when the test says so.
#[derive(Default)]
struct LatePods(std::sync::Mutex<(u64, Option<Arc<Pod>>)>);

impl PodSource for LatePods {
    fn generation(&self) -> u64 {
        self.0.lock().unwrap().0
    }

    fn pod(&self, _: &crate::procs::container::ContainerRef) -> Option<Arc<Pod>> {
        self.0.lock().unwrap().1.clone()
    }
}

#[test]
fn who_is_chosen_by_a_pod_that_was_not_known_yet_is_chosen_when_it_is() {
    use crate::procs::selector::{Criteria, Glob, KubernetesName};
    let proc = FakeProc::new();
    proc.process(ProcessId(7), 100, "/usr/sbin/a", "a");
    proc.process(ProcessId(8), 100, "/usr/sbin/b", "b");
    let cgroup = format!("0::/kubepods/pod2f7a8c14-77d8-4f0a-9d4e-0a1b2c3d4e5f/{}", "a".repeat(64));
    fs::write(proc.path().join("7/cgroup"), cgroup).unwrap();
    let kubernetes = vec![(KubernetesName::Namespace, Glob::new("shop").unwrap())];
    let rule = Rule { criteria: Criteria { kubernetes, ..Criteria::default() }, ..Rule::default() };
    let selector = Selector { rules: vec![Arc::new(rule)], ..Selector::default() };
    let pods = Arc::new(LatePods::default());
    let source: Option<Arc<dyn PodSource>> = Some(Arc::<LatePods>::clone(&pods));
    let config = ProcessConfig { proc_root: proc.path().into(), selector, pods: source, ..ProcessConfig::default() };
    let table = ProcessTable::new(config);
    assert!(!table.verdict(ProcessId(7)).is_watch() && !table.verdict(ProcessId(8)).is_watch());
    let before = table.generation();
    *pods.0.lock().unwrap() = (1, Some(Arc::new(Pod { namespace: "shop".into(), ..Pod::default() })));
    assert_ne!(table.generation(), before);
    assert!(table.verdict(ProcessId(7)).is_watch() && !table.verdict(ProcessId(8)).is_watch());
}

/// Whether a program is there; says so if not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: no {program} on this machine");
    }
    found
}

#[test]
fn a_real_node_server_is_named_by_its_package() {
    if !has("node") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("package.json"), r#"{"name": "@shop/orders", "version": "1.0.0"}"#).unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::write(dir.path().join("src/index.js"), "console.log('ready'); process.stdin.resume();").unwrap();
    let child = start(Command::new("node").arg("src/index.js").current_dir(dir.path()));
    let resource = ProcessTable::new(ProcessConfig::default()).resource(ProcessId(child.0.id()));
    assert_eq!(resource.service_name, "orders");
    assert_eq!(text(&resource, "telemetry.sdk.language").as_deref(), Some("nodejs"));
    assert_eq!(text(&resource, "process.runtime.name").as_deref(), Some("nodejs"));
}

#[test]
fn a_real_java_program_is_named_by_its_class() {
    if !has("java") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = "public class Checkout { public static void main(String[] a) throws Exception {\n\
                  System.out.println(\"ready\"); System.in.read(); } }";
    let path = dir.path().join("Checkout.java");
    fs::write(&path, source).unwrap();
    let child = start(Command::new("java").arg("-Xmx64m").arg(&path));
    let resource = ProcessTable::new(ProcessConfig::default()).resource(ProcessId(child.0.id()));
    assert_eq!(resource.service_name, "Checkout");
    assert_eq!(text(&resource, "telemetry.sdk.language").as_deref(), Some("java"));
}

#[test]
fn a_process_in_namespaces_of_its_own_is_seen_from_outside() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let passwd = dir.path().join("passwd");
    fs::write(&passwd, "inside:x:0:0::/:/bin/sh\n").unwrap();
    let script = dir.path().join("cart.py");
    fs::write(&script, "import os, sys\nprint('ready', flush=True)\nsys.stdin.read()\n").unwrap();
    let within = format!("mount --bind {} /etc/passwd && exec python3 {}", passwd.display(), script.display());
    let child =
        start(Command::new("unshare").args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &within]));
    let table = ProcessTable::new(ProcessConfig::default());
    let inner = table
        .proc()
        .pids()
        .into_iter()
        .find(|pid| table.proc().stat(*pid).is_some_and(|stat| stat.parent == ProcessId(child.0.id())));
    let inner = inner.unwrap();
    let resource = table.resource(inner);
    assert_eq!((resource.service_name.as_str(), resource.pid), ("cart", inner));
    assert_eq!(text(&resource, "process.owner").as_deref(), Some("inside"), "by its own passwd");
    assert_eq!(table.proc().status(inner).unwrap().namespace_pid, Some(ProcessId(1)));
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

#[test]
#[ignore = "measures; run by itself, with --release and --nocapture"]
fn cost_of_processes() {
    let proc = FakeProc::new();
    let table = proc.table();
    let before = resident();
    for pid in 0..100_000 {
        table.on_fork(ProcessId(1), ProcessId(pid), u64::from(pid) * NS_PER_TICK);
    }
    println!("a live process: {} bytes", (resident() - before) / 100_000);
    let begun = Instant::now();
    for pid in 200_000..300_000 {
        table.on_fork(ProcessId(1), ProcessId(pid), 7 * NS_PER_TICK);
        table.on_exit(ProcessId(pid), 7 * NS_PER_TICK);
    }
    println!("fork and exit: {:?}", begun.elapsed() / 100_000);

    let table = ProcessTable::new(ProcessConfig::default());
    let own = std::process::id();
    drop(table.resource(ProcessId(own)));
    let begun = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(table.resource(ProcessId(own)));
    }
    println!("a known resource: {:?}", begun.elapsed() / 1_000_000);
    let started_at_ns = table.proc().stat(ProcessId(own)).unwrap().start_ticks * NS_PER_TICK;
    let begun = Instant::now();
    for _ in 0..EAGER_READS_PER_SECOND {
        table.on_exec(ProcessId(own), started_at_ns, "x");
        table.read_executed(ProcessId(own), started_at_ns);
    }
    println!("an exec that is read: {:?}", begun.elapsed() / EAGER_READS_PER_SECOND);
    let begun = Instant::now();
    for _ in 0..10_000 {
        table.on_exec(ProcessId(own), started_at_ns, "x");
    }
    println!("an exec that is not: {:?}", begun.elapsed() / 10_000);
    let begun = Instant::now();
    for _ in 0..1000 {
        table.set_cloud(Vec::new());
        std::hint::black_box(table.resource(ProcessId(own)));
    }
    println!("a resource built anew: {:?}", begun.elapsed() / 1000);
}
