//! The runtimes: a row each. Another is an entry here, and a program.

use super::{Pattern, Shape, load::Load, proxies, services};
use crate::program::Program;

/// Where and between which others a service is started.
pub struct At<'a> {
    /// For its files.
    pub folder: &'a std::path::Path,
    /// The ports of its back ends.
    pub back_ends: &'a [u16],
    /// Connections that it may have to each of them.
    pub pool: usize,
    /// Whether it also makes calls of its own, of no request.
    pub background: bool,
}

/// A service that is up.
pub struct Service {
    /// All that is watched of it, with the children of these.
    pub programs: Vec<Program>,
    /// Where it listens: the load goes to each in turn.
    pub ports: Vec<u16>,
}

/// A row.
pub struct Runtime {
    /// Its name, for the table and `--runtime`.
    pub name: &'static str,
    /// What says its version: a program with arguments.
    pub version: fn() -> String,
    /// Starts it.
    pub start: fn(&At) -> Service,
    /// Back ends that it calls.
    pub back_end: services::BackEnd,
    /// Requests of a cell, if nothing else is asked for.
    pub requests: usize,
    /// Calls of a request.
    pub shape: Shape,
    /// What it can do.
    pub patterns: &'static [Pattern],
    /// How it is asked.
    pub load: Load,
    /// Whether it can make calls of its own, of no request.
    pub has_background: bool,
    /// The share of calls that have to be right; `None`: nothing of the service tells, so that they need not, but may not be wrong.
    pub bar: Option<f64>,
}

const PROXY: &[Pattern] = &[Pattern::Sequential];
const AWAITED: &[Pattern] = &[Pattern::Sequential, Pattern::Parallel, Pattern::Pause];

/// Bars.
const THREADS: Option<f64> = Some(1.0);
const LOOPS: Option<f64> = Some(0.99);
const TASKS: Option<f64> = Some(0.95);

const fn runtime(
    name: &'static str,
    version: fn() -> String,
    start: fn(&At) -> Service,
    patterns: &'static [Pattern],
    bar: Option<f64>,
) -> Runtime {
    let back_end = services::BackEnd::Threads;
    Runtime {
        name,
        version,
        start,
        back_end,
        requests: 400,
        shape: Shape::Star(3),
        patterns,
        load: Load::Kept,
        has_background: true,
        bar,
    }
}

/// What passes each request on, under one more number.
const fn proxy(name: &'static str, version: fn() -> String, start: fn(&At) -> Service) -> Runtime {
    Runtime { shape: Shape::Proxy, has_background: false, ..runtime(name, version, start, PROXY, THREADS) }
}

/// All of them, in the order of the table.
pub static RUNTIMES: &[Runtime] = &[
    runtime("c-threads", services::c_version, |at| services::c(at, &[]), Pattern::ALL, THREADS),
    // What a process has forked does not share its calls.
    Runtime {
        has_background: false,
        ..runtime("c-fork", services::c_version, |at| services::c(at, &["fork"]), Pattern::ALL, THREADS)
    },
    runtime("python-threads", py_version, |at| plain_py(at, "threads.py", &[]), Pattern::ALL, THREADS),
    // What a process has forked does not share its calls.
    Runtime {
        has_background: false,
        ..runtime("python-fork", py_version, |at| plain_py(at, "threads.py", &["fork"]), Pattern::ALL, THREADS)
    },
    runtime("python-executor", py_version, |at| plain_py(at, "threads.py", &["executor"]), Pattern::ALL, THREADS),
    Runtime {
        load: Load::Closed,
        ..runtime("gunicorn-sync", py_version, |at| services::gunicorn(at, "plain", "sync"), Pattern::ALL, THREADS)
    },
    runtime("gunicorn-gthread", py_version, |at| services::gunicorn(at, "plain", "gthread"), Pattern::ALL, THREADS),
    runtime("flask", py_version, |at| services::gunicorn(at, "flask", "gthread"), Pattern::ALL, THREADS),
    runtime("django", py_version, |at| services::gunicorn(at, "django", "gthread"), Pattern::ALL, THREADS),
    runtime("gunicorn-gevent", py_version, |at| services::gunicorn(at, "plain", "gevent"), Pattern::ALL, LOOPS),
    proxy("nginx", || services::version("nginx", "-v"), |at| proxies::nginx(at, true, "")),
    Runtime {
        load: Load::Http2,
        ..proxy("nginx-asked-http2", || services::version("nginx", "-v"), |at| proxies::nginx(at, true, "http2"))
    },
    proxy("nginx-new-connections", || services::version("nginx", "-v"), |at| proxies::nginx(at, false, "")),
    // Which request a kept connection is used for shows where it is in the clear.
    Runtime {
        back_end: services::BackEnd::Tls,
        bar: None,
        ..proxy("nginx-to-tls", || services::version("nginx", "-v"), proxies::nginx_to_tls)
    },
    proxy("haproxy", || services::version("haproxy", "-v"), proxies::haproxy),
    proxy("apache-event", || services::version("apache2", "-v"), proxies::apache),
    Runtime {
        has_background: false,
        ..runtime("php-server", || services::version("php", "-v"), services::php_server, AWAITED, THREADS)
    },
    Runtime {
        has_background: false,
        shape: Shape::Behind(3),
        ..runtime("php-fpm", || services::version("php", "-v"), proxies::php_fpm, AWAITED, None)
    },
    runtime("puma", || services::version("ruby", "-v"), services::puma, Pattern::ALL, THREADS),
    runtime("asyncio", py_version, |at| plain_py(at, "asyncio_streams.py", &[]), Pattern::ALL, LOOPS),
    runtime("asyncio-3.9", || py_of("3.9"), |at| plain_py_of(at, "3.9"), Pattern::ALL, LOOPS),
    runtime("asyncio-3.12", || py_of("3.12"), |at| plain_py_of(at, "3.12"), Pattern::ALL, LOOPS),
    runtime("asyncio-3.13", || py_of("3.13"), |at| plain_py_of(at, "3.13"), Pattern::ALL, LOOPS),
    runtime("asyncio-3.14", || py_of("3.14"), |at| plain_py_of(at, "3.14"), Pattern::ALL, LOOPS),
    runtime("asyncio-threads", py_version, |at| plain_py(at, "asyncio_streams.py", &["threads"]), Pattern::ALL, LOOPS),
    runtime("aiohttp", py_version, |at| py(at, "asyncio_aiohttp.py", &[]), Pattern::ALL, LOOPS),
    runtime("aiohttp-uvloop", py_version, |at| py(at, "asyncio_aiohttp.py", &["uvloop"]), Pattern::ALL, LOOPS),
    runtime("starlette", py_version, |at| py(at, "asgi.py", &["starlette", "asyncio"]), Pattern::ALL, LOOPS),
    runtime("starlette-uvloop", py_version, |at| py(at, "asgi.py", &["starlette", "uvloop"]), Pattern::ALL, LOOPS),
    runtime("fastapi", py_version, |at| py(at, "asgi.py", &["fastapi", "asyncio"]), Pattern::ALL, LOOPS),
    runtime(
        "fastapi-threads",
        py_version,
        |at| py(at, "asgi.py", &["fastapi", "asyncio", "threads"]),
        Pattern::ALL,
        LOOPS,
    ),
    runtime("node-18", || node_of("18"), |at| services::node(at, "18", &["http"]), Pattern::ALL, LOOPS),
    runtime("node-20", || node_of("20"), |at| services::node(at, "20", &["http"]), Pattern::ALL, LOOPS),
    runtime("node-22", || node_of("22"), |at| services::node(at, "22", &["http"]), Pattern::ALL, LOOPS),
    runtime("node-24", || node_of("24"), |at| services::node(at, "24", &["http"]), Pattern::ALL, LOOPS),
    runtime("node-18-fetch", || node_of("18"), |at| services::node(at, "18", &["fetch"]), Pattern::ALL, LOOPS),
    runtime("node-22-undici", || node_of("22"), |at| services::node(at, "22", &["undici"]), Pattern::ALL, LOOPS),
    runtime("node-24-fetch", || node_of("24"), |at| services::node(at, "24", &["fetch"]), Pattern::ALL, LOOPS),
    Runtime {
        back_end: services::BackEnd::Axum,
        ..runtime("node-22-http2", || node_of("22"), |at| services::node(at, "22", &["h2"]), Pattern::ALL, LOOPS)
    },
    runtime(
        "node-22-workers",
        || node_of("22"),
        |at| services::node(at, "22", &["http", "workers"]),
        Pattern::ALL,
        LOOPS,
    ),
    Runtime {
        load: Load::Http2,
        ..runtime(
            "node-22-asked-http2",
            || node_of("22"),
            |at| services::node(at, "22", &["http", "serves-h2"]),
            Pattern::ALL,
            LOOPS,
        )
    },
    runtime("bun", || like_node_of("bun"), |at| services::like_node(at, "bun"), Pattern::ALL, None),
    runtime("deno", || like_node_of("deno"), |at| services::like_node(at, "deno"), Pattern::ALL, None),
    runtime("axum", rust_version, |at| services::axum(at, "multi", "http1"), Pattern::ALL, TASKS),
    runtime("axum-current-thread", rust_version, |at| services::axum(at, "current", "http1"), Pattern::ALL, TASKS),
    runtime("tokio-own-connections", rust_version, |at| services::axum(at, "multi", "own"), Pattern::ALL, TASKS),
    Runtime {
        back_end: services::BackEnd::Axum,
        ..runtime("axum-http2", rust_version, |at| services::axum(at, "multi", "http2"), Pattern::ALL, TASKS)
    },
    Runtime {
        load: Load::Http2,
        ..runtime("axum-asked-http2", rust_version, |at| services::axum(at, "multi", "http1"), Pattern::ALL, TASKS)
    },
    Runtime {
        load: Load::Grpc,
        back_end: services::BackEnd::Tonic,
        ..runtime("tonic", rust_version, |at| services::axum(at, "multi", "grpc"), Pattern::ALL, TASKS)
    },
    Runtime {
        load: Load::Grpc,
        back_end: services::BackEnd::Tonic,
        ..runtime("tonic-current-thread", rust_version, |at| services::axum(at, "current", "grpc"), Pattern::ALL, TASKS)
    },
    Runtime {
        load: Load::Http2,
        ..runtime("go-asked-http2", go_version, |at| services::go(at, &[]), Pattern::ALL, LOOPS)
    },
    runtime("go", go_version, |at| services::go(at, &[]), Pattern::ALL, LOOPS),
    Runtime {
        load: Load::Grpc,
        back_end: services::BackEnd::Tonic,
        has_background: false,
        ..runtime("go-grpc", go_version, |at| services::go(at, &["grpc"]), Pattern::ALL, LOOPS)
    },
    runtime(
        "java-17-url",
        java_version,
        |at| services::java(at, false, "Parents", &["pool", "url"]),
        Pattern::ALL,
        TASKS,
    ),
    runtime(
        "java-17-client",
        java_version,
        |at| services::java(at, false, "Parents", &["pool", "client"]),
        Pattern::ALL,
        TASKS,
    ),
    runtime("java-21-url", java_21, |at| services::java(at, true, "Parents", &["pool", "url"]), Pattern::ALL, TASKS),
    runtime(
        "java-21-virtual-url",
        java_21,
        |at| services::java(at, true, "Parents", &["virtual", "url"]),
        Pattern::ALL,
        TASKS,
    ),
    runtime(
        "java-21-virtual-client",
        java_21,
        |at| services::java(at, true, "Parents", &["virtual", "client"]),
        Pattern::ALL,
        TASKS,
    ),
    runtime(
        "java-17-tomcat",
        java_version,
        |at| services::java(at, false, "Servers", &["tomcat", "url"]),
        Pattern::ALL,
        TASKS,
    ),
    runtime(
        "java-21-tomcat-virtual",
        java_21,
        |at| services::java(at, true, "Servers", &["tomcat-virtual", "url"]),
        Pattern::ALL,
        TASKS,
    ),
    runtime(
        "java-17-jetty",
        java_version,
        |at| services::java(at, false, "Servers", &["jetty", "client"]),
        Pattern::ALL,
        TASKS,
    ),
    runtime(
        "java-17-netty",
        java_version,
        |at| services::java(at, false, "Servers", &["netty", "url"]),
        Pattern::ALL,
        TASKS,
    ),
    Runtime {
        back_end: services::BackEnd::Tls,
        has_background: false,
        ..runtime("python-threads-tls", py_version, |at| plain_py(at, "threads.py", &["tls"]), Pattern::ALL, THREADS)
    },
    Runtime {
        shape: Shape::Chain(&[1, 2]),
        ..runtime("nginx-unix-gunicorn", py_version, services::behind_a_unix_socket, PROXY, THREADS)
    },
    Runtime {
        shape: Shape::Chain(&[1, 1, 2]),
        requests: 10_000,
        ..runtime("whole", py_version, services::chain, PROXY, THREADS)
    },
];

fn py_version() -> String {
    services::version_of(&crate::need::python(), "-V")
}

fn py_of(version: &str) -> String {
    services::version_of(&services::python_of(version), "-V")
}

fn node_of(version: &str) -> String {
    services::version_of(&services::node_program(version), "-v")
}

fn like_node_of(name: &str) -> String {
    services::version_of(&services::like_node_program(name), "--version")
}

fn go_version() -> String {
    services::version("go", "version")
}

fn java_version() -> String {
    services::version("java", "-version")
}

fn java_21() -> String {
    services::version_of(&services::java_21(), "-version")
}

fn rust_version() -> String {
    services::version("rustc", "-V")
}

fn plain_py(at: &At, program: &str, arguments: &[&str]) -> Service {
    services::plain_python(at, &crate::need::python(), program, arguments)
}

fn plain_py_of(at: &At, version: &str) -> Service {
    services::plain_python(at, &services::python_of(version), "asyncio_streams.py", &[])
}

fn py(at: &At, program: &str, arguments: &[&str]) -> Service {
    services::python(at, &crate::need::python(), program, arguments)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_told_apart() {
        let names: HashSet<&str> = RUNTIMES.iter().map(|runtime| runtime.name).collect();
        assert_eq!(names.len(), RUNTIMES.len());
    }
}
