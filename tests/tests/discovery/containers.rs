//! Containers made by hand: cgroups named as runtimes name them, and namespaces.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tests::{
    need,
    program::{Program, children, folder},
    wait::poll,
};

use crate::watching::{Discovering, resource};

/// A cgroup, removed at the end.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// In the hierarchy that all kinds of hosts have: `pids` of version 1, or the only one of version 2.
    pub(crate) fn new(path: &str) -> Self {
        need::root();
        let root = Path::new("/sys/fs/cgroup");
        let root = if root.join("pids").is_dir() { root.join("pids") } else { root.to_owned() };
        let cgroup = root.join(path);
        fs::create_dir_all(&cgroup).unwrap_or_else(|error| panic!("cannot make {}: {error}", cgroup.display()));
        Self(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes are ending: the kernel removes it as soon as they have.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

struct Container {
    /// The server's process, as the host sees it.
    pid: u32,
    // In this order: what is in it ends first.
    _program: Program,
    _cgroup: Cgroup,
}

/// A server on port 8080 of a network namespace of its own, and of other namespaces as `unshare` is told.
fn container(cgroup: &str, namespaces: &[&str], at: &Path) -> Container {
    let cgroup = Cgroup::new(cgroup);
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec unshare --net --mount {} sh -c \
         'ip link set lo up && exec {} -m http.server 8080 --bind 127.0.0.1'",
        cgroup.0.display(),
        namespaces.join(" "),
        need::python().display()
    );
    let program = Program::start(Command::new("sh").arg("-c").arg(script).current_dir(at));
    let pid = poll("the container's server listens", || {
        let is_forked = namespaces.contains(&"--fork");
        let pid = if is_forked { *children(program.pid()).first()? } else { program.pid() };
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
        let is_own = fs::read_link(format!("/proc/{pid}/ns/net")).ok()? != fs::read_link("/proc/self/ns/net").ok()?;
        (is_own && table.contains("0100007F:1F90 00000000:0000 0A")).then_some(pid)
    });
    Container { pid, _program: program, _cgroup: cgroup }
}

impl Container {
    fn call(&self, client: &Path, path: &str) {
        let status = Command::new(need::program("nsenter"))
            .args(["--target", &self.pid.to_string(), "--net"])
            .arg(client)
            .args(["8080", path])
            .status();
        assert!(status.expect("nsenter can be started").success());
    }
}

fn ids_by_pid(path: &str, cgroups: [&str; 2], namespaces: &[&str]) {
    let files = folder();
    let client = need::compiled("call.c", &[], files.path());
    let [first, second] = cgroups.map(|cgroup| container(cgroup, namespaces, files.path()));
    let watch = Discovering::with(&[]);
    for container in [&first, &second, &first] {
        container.call(&client, path);
    }
    let spans = watch.finish(path, 6);
    let mut seen = BTreeMap::new();
    for span in spans.iter().filter(|span| span.kind == "SERVER") {
        let pid = span.resource["process.pid"].as_u64().expect("a pid");
        seen.entry(pid).or_insert_with(Vec::new).push(resource(span, "container.id"));
        assert_eq!(span.attributes["server.port"], 8080);
    }
    let expected = BTreeMap::from([
        (u64::from(first.pid), vec![id_of(cgroups[0]); 2]),
        (u64::from(second.pid), vec![id_of(cgroups[1]); 1]),
    ]);
    assert_eq!(seen, expected);
    let outside =
        spans.iter().filter(|span| span.kind == "CLIENT").all(|span| resource(span, "container.id").is_none());
    assert!(outside, "the client is in no container, though in the network of one");
}

fn id_of(cgroup: &str) -> Option<&str> {
    cgroup.rsplit(['/', '-']).next().map(|id| id.trim_end_matches(".scope"))
}

#[test]
fn two_containers_with_the_same_port_are_told_apart() {
    ids_by_pid(
        "/own-pids",
        [
            "docker/aaaa000000000000000000000000000000000000000000000000000000000001",
            "system.slice/docker-aaaa000000000000000000000000000000000000000000000000000000000002.scope",
        ],
        &["--pid", "--fork", "--mount-proc"],
    );
}

#[test]
fn containers_that_share_a_pid_namespace_are_told_apart() {
    ids_by_pid(
        "/shared-pids",
        [
            "kubepods/burstable/pod11111111-2222-3333-4444-555555555555/bbbb000000000000000000000000000000000000000000000000000000000001",
            "kubepods/burstable/pod11111111-2222-3333-4444-555555555555/bbbb000000000000000000000000000000000000000000000000000000000002",
        ],
        &[],
    );
}
