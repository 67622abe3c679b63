//! What a test cannot do without. What is missing fails the test and says what to do: a test that is skipped in silence
//! proves nothing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

/// The test loads programs into the kernel.
///
/// # Panics
/// Unless this is root.
pub fn root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test loads programs into the kernel and needs root: run `cargo xtask test --e2e`, which asks for it, or \
         `sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo test -p tests`"
    );
}

/// The path of a program of the system.
///
/// # Panics
/// If it is not on `PATH`; the message names its Debian package.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let mut folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    // Not on everybody's PATH, and where Debian has its servers.
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let package = match name {
        "cc" => "gcc",
        "etcd" => "etcd-server",
        "mariadb" | "mariadb-slap" => "mariadb-client",
        "mariadbd" | "mariadb-install-db" => "mariadb-server",
        "dovecot" => "dovecot-imapd",
        "nginx" => "nginx-light",
        "go" => "golang-go",
        "java" | "javac" => "default-jdk-headless",
        "memcslap" => "libmemcached-tools",
        "mosquitto_pub" | "mosquitto_sub" => "mosquitto-clients",
        "nghttp" | "h2load" => "nghttp2-client",
        "nghttpd" => "nghttp2-server",
        "node" => "nodejs",
        "php" => "php-cli",
        "promtool" => "prometheus",
        "redis-benchmark" | "redis-cli" => "redis-tools",
        "setpriv" => "util-linux",
        other => other,
    };
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not on PATH: install the Debian package {package}"))
}

/// Copies a program, that the copy is told from others of its name, and may be started at once.
///
/// Another process writes it: a descriptor of ours would be in whatever another test's thread is just starting, and as long as one
/// writes a file, the kernel does not start it (`ETXTBSY`).
///
/// # Panics
/// If it cannot be copied.
pub fn copied(program: &Path, to: &Path) {
    let said = Command::new("cp").args(["--dereference", "--"]).args([program, to]).output();
    let said = said.unwrap_or_else(|error| panic!("cp cannot be started: {error}"));
    assert!(said.status.success(), "{} cannot be copied to {}: {said:?}", program.display(), to.display());
}

/// The interpreter itself, not a script of a version manager that looks for it.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn python() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let asked = Command::new(program("python3")).args(["-c", "import sys; print(sys.executable)"]).output();
        let asked = asked.expect("python3 can be started");
        assert!(asked.status.success(), "python3 does not work: {}", String::from_utf8_lossy(&asked.stderr));
        PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim())
    })
    .clone()
}

/// php-fpm, whose name has its version.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn php_fpm() -> PathBuf {
    let programs = fs::read_dir("/usr/sbin").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("php-fpm"));
    programs.filter(is_it).max().expect("there is no php-fpm in /usr/sbin: install the Debian package php-fpm")
}

/// A program of `tests/programs/`, by file name.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

/// `target/PROFILE`, where this was built.
///
/// # Panics
/// If it lies elsewhere.
#[must_use]
pub fn profile_folder() -> PathBuf {
    let own = env::current_exe().expect("a program knows its path");
    let folder = own.parent().expect("it lies in a folder");
    // Tests lie in `deps` there.
    if folder.ends_with("deps") { folder.join("..") } else { folder.to_owned() }
}

/// The folder that `cargo xtask setup --tests` made of `tests/programs/RUNTIME`: libraries, and what is compiled.
///
/// # Panics
/// If it was not made, or of other sources than those of today.
#[must_use]
pub fn made(runtime: &str) -> PathBuf {
    let folder = profile_folder().join("../programs").join(runtime);
    let copies = folder.join("made-from");
    assert!(
        copies.is_dir() && is_of_today(&copies, &source(runtime)),
        "{} is not what tests/programs/{runtime} makes: run `cargo xtask setup --tests`",
        folder.display()
    );
    folder
}

/// Whether each file in `copies` is that of the same name in `sources`.
fn is_of_today(copies: &Path, sources: &Path) -> bool {
    let entries = fs::read_dir(copies).expect("a folder can be listed").map(|entry| entry.expect("an entry").path());
    entries.into_iter().all(|copy| {
        let source = sources.join(copy.file_name().expect("it has a name"));
        if copy.is_dir() {
            return is_of_today(&copy, &source);
        }
        matches!((fs::read(&copy), fs::read(source)), (Ok(copy), Ok(source)) if copy == source)
    })
}

/// Builds the package in `tests/programs/FOLDER`, which is none of the workspace, as users build theirs: a release, with these
/// flags of rustc. Gives its program `name`.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn built_by_cargo(folder: &str, name: &str, flags: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let target = profile_folder().join("..").join(name);
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(source(folder).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", flags)
        .output()
        .expect("cargo can be started");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("release").join(name)
}

/// Builds the package in `tests/programs/FOLDER` with a release of Go (`local`: the one that is installed), these arguments and this
/// environment. Gives the program, which is built once in a run for each `name`.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn built_by_go(
    folder: &str,
    name: &str,
    release: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> PathBuf {
    static BUILT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let out = profile_folder().join("../programs").join(folder).join(name);
    if !built.contains(&out) {
        let output = Command::new(program("go"))
            .current_dir(source(folder))
            .env("GOTOOLCHAIN", release)
            .env("GOFLAGS", "-buildvcs=false")
            .envs(environment.iter().copied())
            .args(["build", "-o"])
            .arg(&out)
            .args(arguments)
            .arg(".")
            .output()
            .expect("go can be started");
        assert!(output.status.success(), "{release} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        built.push(out.clone());
    }
    out
}

/// Compiles a C program of `tests/programs/` into `folder`.
///
/// # Panics
/// If it cannot be compiled.
#[must_use]
pub fn compiled(name: &str, flags: &[&str], folder: &Path) -> PathBuf {
    let name_of_it = Path::new(name).file_stem().expect("a source has a name");
    let out = folder.join(name_of_it);
    let compiler = Command::new(program("cc"))
        .args(["-O1", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o"])
        .arg(&out)
        .arg(source(name))
        .args(flags)
        .output()
        .expect("cc can be started");
    assert!(compiler.status.success(), "cc {name}:\n{}", String::from_utf8_lossy(&compiler.stderr));
    out
}
