//! The rules, as data.

/// Folders that hold our Rust code.
pub(super) const FOLDERS: &[&str] = &["agent", "ebpf-common", "ebpf-probes", "tests", "torture", "xtask"];

/// Packages within those folders.
pub(super) const PROGRAMS: &[&str] = &["xtask/bench", "xtask/counts", "xtask/kernels", "xtask/kube", "xtask/parents"];

/// Lines a file may have.
pub(super) const MAX_LINES: usize = 800;

/// Files and folders in which `unsafe` may stand: the calls into libc, the loading of programs, the decoding of what the
/// kernel wrote, the kernel side itself, the script that builds it, and what the tests ask the kernel. (`Cargo.toml` denies it everywhere; a module lifts that with its reason.)
pub(super) const UNSAFE_ALLOWED: &[&str] = &[
    "agent/build.rs",
    // Counts allocations.
    "agent/benches/export.rs",
    "agent/src/sys",
    "agent/src/sys.rs",
    "agent/src/probes",
    "agent/src/capture",
    "ebpf-common/src",
    "ebpf-probes/src",
    "tests/src/kernel.rs",
    // Names the rule.
    "xtask/src/tidy",
];

/// A module of the agent and those it may import. A request's way is from top to bottom: nobody imports what is below.
pub(super) struct Layer {
    pub(super) module: &'static str,
    pub(super) may_import: &'static [&'static str],
}

const fn layer(module: &'static str, may_import: &'static [&'static str]) -> Layer {
    Layer { module, may_import }
}

pub(super) const LAYERS: &[Layer] = &[
    layer("model", &[]),
    layer("sys", &[]),
    // What people read on a terminal.
    layer("terminal", &[]),
    layer("config", &["model"]),
    layer("protocols", &["model"]),
    layer("kernel", &["model", "sys"]),
    layer("probes", &["model", "sys", "config", "kernel"]),
    // Finds where to put probes; capture puts them there.
    layer("tls", &["model", "sys", "kernel", "procs"]),
    layer("capture", &["model", "sys", "config", "kernel", "probes", "tls"]),
    layer("conn", &["model", "config", "protocols", "capture"]),
    layer("procs", &["model", "sys", "config"]),
    layer("kube", &["model", "sys", "config", "procs"]),
    layer("runtimes", &["model", "procs", "tls"]),
    // Reads what a program's files tell; telemetry is given it.
    layer("frameworks", &["model", "config", "procs", "runtimes"]),
    layer("trace", &["model", "config"]),
    layer("telemetry", &["model", "config", "conn", "procs", "kube", "trace"]),
    layer("server", &[]),
    // Certificates of servers.
    layer("trust", &[]),
    // Records in files.
    layer("disk", &[]),
    // What the agent remembers for who asks it.
    layer("store", &["model", "disk"]),
    layer("export", &["model", "sys", "terminal", "config", "telemetry", "server", "trust", "disk", "store"]),
    // Who asks: the query API and the web page.
    layer("api", &["model", "telemetry", "store", "export"]),
    // What connections are told, and what becomes of it.
    layer("recording", &["model", "capture", "conn", "telemetry", "trace", "export", "store"]),
    layer("pipeline", ALL_STAGES),
    layer("cli", &["config"]),
    // Commands that ask what was seen.
    layer("commands", &["model", "terminal", "config", "telemetry", "trust", "store", "api", "cli"]),
    // The commands: put the stages together as the configuration says.
    layer(
        "run",
        &[
            "pipeline",
            "cli",
            "model",
            "sys",
            "terminal",
            "config",
            "kernel",
            "probes",
            "tls",
            "capture",
            "conn",
            "procs",
            "kube",
            "trace",
            "telemetry",
            "recording",
            "export",
            "store",
            "api",
            "commands",
        ],
    ),
    // What tests and benches look into.
    layer("internals", ALL_STAGES),
    // The crate's own root file: the list of modules.
    layer("lib", &[]),
    layer("main", &[]),
];

/// The same of the kernel side: types of state, then maps of them, readers of kernel structures, and what works on these.
pub(super) const KERNEL_SIDE_LAYERS: &[Layer] = &[
    layer("globals", &[]),
    layer("state", &[]),
    layer("maps", &["state"]),
    layer("kernel", &["globals"]),
    layer("handlers", &["globals", "state", "maps", "kernel"]),
    layer("hooks", &["globals", "state", "maps", "kernel", "handlers"]),
    layer("main", &[]),
];

const ALL_STAGES: &[&str] = &[
    "model",
    "sys",
    "terminal",
    "config",
    "protocols",
    "kernel",
    "probes",
    "capture",
    "tls",
    "conn",
    "procs",
    "runtimes",
    "frameworks",
    "kube",
    "trace",
    "telemetry",
    "recording",
    "export",
    "store",
    "api",
];

/// Folders of protocols that build on another: the first may import the second.
pub(super) const PROTOCOL_IMPORTS: &[(&str, &str)] = &[
    ("http", "grpc"),
    ("http", "carried"),
    ("http1", "carried"),
    ("carried", "grpc"),
    ("carried", "sql"),
    ("clickhouse", "sql"),
    ("tds", "sql"),
    ("tns", "sql"),
    ("http1", "http"),
    ("http1", "grpc"),
    ("http2", "http"),
    ("http2", "grpc"),
    ("fastcgi", "http"),
    ("mysql", "sql"),
    ("postgresql", "sql"),
];

/// A module and what of the outside it must not name: protocols read bytes and nothing else.
pub(super) const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "protocols",
        &["aya", "tokio", "tracing", "libc", "std::time", "std::net", "std::fs", "std::thread", "std::process"],
    ),
    ("model", &["aya", "tokio", "std::fs", "std::process", "std::thread"]),
];
