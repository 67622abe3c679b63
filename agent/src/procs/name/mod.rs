//! The name a person would give to a program: the executable, or for an interpreter the script, module, jar or class
//! it runs.
//!
//! What a program declares (a process title with the application's name, `-Dspring.application.name`, `package.json`)
//! goes before what its files are called. A script whose name says nothing (`server.js`, `main.py`) takes the name of
//! the nearest folder that says something; folders that are a convention (`src`, `bin`, `/home/USER`, `/tmp`) are
//! passed over or end the search. Where nothing better is known the script's own name stays.

mod java;
mod python;
mod scripts;

use std::path::{Component, Path};

/// What the name is taken from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Program<'a> {
    /// Path of the executable.
    pub exe: &'a str,
    /// Arguments, the program's name first.
    pub args: &'a [String],
    /// Working directory.
    pub cwd: Option<&'a str>,
    /// What the kernel calls it: the beginning of the last part of the path that was started.
    pub comm: Option<&'a str>,
}

/// Bytes that the kernel keeps of a program's name (`TASK_COMM_LEN` without its end).
const COMM_MAX: usize = 15;

impl<'a> Program<'a> {
    /// The name of the link by which it was started, where one program answers to several (Debian's `redis-server` is one to
    /// `redis-check-rdb`): what it calls itself, if the kernel calls it so too.
    fn link(&self) -> Option<&'a str> {
        let called = base(self.args.first()?.split_whitespace().next()?).trim_end_matches(':');
        let kept = called.get(..called.floor_char_boundary(COMM_MAX)).unwrap_or(called);
        (!called.is_empty() && called != base(self.exe) && self.comm == Some(kept)).then_some(called)
    }
}

/// Reads a file of the process's file system; at most some 64 KiB.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The program's name; empty only if neither path nor arguments are known.
#[must_use]
pub(crate) fn of(program: Program<'_>, read: ReadFile<'_>) -> String {
    let exe = base(program.exe);
    let named = match Interpreter::of(exe) {
        Some(interpreter) => title(program).or_else(|| match interpreter {
            Interpreter::Python => python::name(program),
            Interpreter::Node => scripts::node(program, read),
            Interpreter::Java => java::name(program),
            Interpreter::Dotnet => scripts::dotnet(program),
            Interpreter::Ruby => scripts::ruby(program),
            Interpreter::Php => scripts::php(program),
            Interpreter::Shell => scripts::plain(program),
            Interpreter::Busybox => program.args.first().map(|arg| base(arg).trim_start_matches('-').to_owned()),
            Interpreter::Erlang => scripts::erlang(program),
        }),
        None => None,
    };
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        if let Some(link) = program.link() {
            return link.to_owned();
        }
        let exe = exe.strip_prefix("memfd:").unwrap_or(exe);
        if exe.is_empty() { program.args.first().map(|arg| base(arg)).unwrap_or_default() } else { exe }.to_owned()
    })
}

/// Whether an executable runs scripts of a language that is not told apart: what it was compiled from says nothing.
pub(crate) fn is_script_host(exe: &str) -> bool {
    matches!(Interpreter::of(base(exe)), Some(Interpreter::Shell))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interpreter {
    Python,
    Node,
    Java,
    Dotnet,
    Ruby,
    Php,
    Shell,
    Busybox,
    Erlang,
}

impl Interpreter {
    fn of(exe: &str) -> Option<Self> {
        // `python3.11`, `ruby2.7`, `php-fpm8.2`
        let stem = exe.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        Some(match stem {
            "python" | "pypy" => Self::Python,
            "node" | "nodejs" | "deno" | "bun" => Self::Node,
            "java" => Self::Java,
            "dotnet" => Self::Dotnet,
            "ruby" | "jruby" | "truffleruby" => Self::Ruby,
            "php" | "php-fpm" | "php-cgi" | "frankenphp" => Self::Php,
            "perl" | "bash" | "sh" | "dash" | "zsh" | "ash" | "lua" | "luajit" | "Rscript" => Self::Shell,
            "busybox" => Self::Busybox,
            "beam.smp" | "erl" => Self::Erlang,
            _ => return None,
        })
    }
}

/// The application's name in a process title, as servers write it over their arguments: `gunicorn: worker [shop]`,
/// `puma 6.4.0 (tcp://0.0.0.0:80) [shop]`, `php-fpm: pool shop`, `sidekiq 7.1 shop [0 of 5 busy]`.
fn title(program: Program<'_>) -> Option<String> {
    let title = program.args.first()?.trim();
    if let Some(pool) = title.strip_prefix("php-fpm: pool ") {
        // `www` is the pool every package comes with.
        return Some(if pool == "www" { "php-fpm" } else { pool }.to_owned());
    }
    if title.starts_with("php-fpm: ") {
        return Some("php-fpm".to_owned());
    }
    let (program_name, rest) = title.split_once(' ')?;
    let server = program_name.trim_end_matches(':');
    match server {
        "gunicorn" | "puma" => {
            let (_, bracketed) = rest.rsplit_once('[')?;
            let app = bracketed.strip_suffix(']')?;
            let app = app.split(':').next().unwrap_or(app);
            let name = if server == "gunicorn" { python::module_name(app, program.cwd) } else { Some(app.to_owned()) };
            name.or_else(|| Some(server.to_owned()))
        }
        "sidekiq" => rest.split(' ').nth(1).filter(|app| !app.starts_with('[')).map(str::to_owned),
        // `process.title = 'shop'` or `next-server (v14.1.0)` in place of the arguments: one string, no path.
        _ if program.args.len() == 1 && !program_name.contains('/') && Interpreter::of(program_name).is_none() => {
            Some(server.to_owned())
        }
        _ => None,
    }
}

/// The last part of a path.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A file's name without its last extension.
fn stem(path: &str) -> &str {
    let name = base(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem })
}

/// Names that say nothing about what a program is for.
fn is_generic(name: &str) -> bool {
    const GENERIC: &[&str] = &[
        "__init__",
        "__main__",
        "app",
        "application",
        "artisan",
        "asgi",
        "bin",
        "bootstrap",
        "build",
        "cli",
        "cmd",
        "code",
        "current",
        "deploy",
        "dist",
        "entrypoint",
        "index",
        "launch",
        "launcher",
        "lib",
        "libs",
        "main",
        "manage",
        "out",
        "package",
        "program",
        "public",
        "release",
        "run",
        "runner",
        "script",
        "scripts",
        "server",
        "serve",
        "service",
        "site",
        "source",
        "src",
        "start",
        "target",
        "web",
        "workspace",
        "wsgi",
        "www",
    ];
    let lower = name.to_ascii_lowercase();
    GENERIC.contains(&lower.as_str())
}

/// A script's name: its stem, or if that is generic the folder that says more.
fn script_name(path: &str, cwd: Option<&str>) -> String {
    let stem = stem(path);
    if !is_generic(stem) {
        return stem.to_owned();
    }
    let absolute = match cwd {
        Some(cwd) if !path.starts_with('/') => Path::new(cwd).join(path),
        _ => Path::new(path).to_path_buf(),
    };
    absolute.parent().and_then(|folder| folder_name(&folder.to_string_lossy())).unwrap_or_else(|| stem.to_owned())
}

/// The nearest folder at or above `path` whose name says something about the program.
fn folder_name(path: &str) -> Option<String> {
    /// Folders of the system or the user: above them nothing belongs to the program.
    const ROOTS: &[&str] =
        &["home", "root", "tmp", "opt", "srv", "usr", "var", "mnt", "media", "data", "etc", "proc", "run"];
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    while let Some(part) = parts.pop() {
        let is_home = parts == ["home"];
        if ROOTS.contains(&part) || is_home {
            return None;
        }
        // `releases/20240131120000` and the like: a number is no name.
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if !is_generic(part) && !is_number && !part.starts_with('.') && !matches!(part, "releases" | "node_modules") {
            return Some(part.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests;
