//! What a guest finds when it starts: an archive (initramfs) with the agent, the programs it watches, and their libraries.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::scenario::LARGE_BYTES;
use xtask::shell;

/// Programs of this machine that talk in the guest, and the shell that starts them.
const PROGRAMS: [&str; 5] = ["busybox", "curl", "dnsmasq", "h2load", "nghttpd"];
/// What the guest's first process does.
const INIT: &str = include_str!("../init.sh");
/// The same of one for a storm.
const STORM_INIT: &str = include_str!("../storm.sh");
/// The compiler of that guest: it has compiled already.
const STORM_COMPILER: &str = "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\ncp /bin/storm \"$2\"\n";
/// Small files, by their path: names come from the guest's own DNS server, and its only account is root.
const FILES: &[(&str, &str)] = &[
    ("etc/resolv.conf", "nameserver 127.0.0.1\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("srv/hello.txt", "hello\n"),
];

/// Makes the archive.
pub(super) fn make(agent: &Path) -> Result<PathBuf> {
    let root = shell::target_dir().join("kernels/guest");
    let mut programs = vec![("beyla-rs", agent.to_owned())];
    for name in PROGRAMS {
        programs.push((name, shell::which(name).with_context(|| format!("no {name} here"))?));
    }
    fill(&root, &programs, INIT)?;
    write(&root.join("srv/large.bin"), &vec![b'.'; LARGE_BYTES])?;
    shell::output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=guest", "-days", "30"])
            .args(["-keyout", "etc/tls.key", "-out", "etc/tls.crt"])
            .current_dir(&root),
    )?;
    pack(&root)
}

/// Makes that of a guest in which `test` compares `records` records of `program`.
pub(super) fn make_storm(test: &Path, program: &Path, records: u64) -> Result<PathBuf> {
    let root = shell::target_dir().join("kernels/storm");
    let busybox = shell::which("busybox").context("no busybox here")?;
    let programs = [("busybox", busybox), ("tls_storm", test.to_owned()), ("storm", program.to_owned())];
    fill(&root, &programs, STORM_INIT)?;
    write(&root.join("etc/records"), format!("{records}\n").as_bytes())?;
    write(&root.join("bin/cc"), STORM_COMPILER.as_bytes())?;
    fs::set_permissions(root.join("bin/cc"), fs::Permissions::from_mode(0o755))?;
    pack(&root)
}

/// Puts programs, their libraries, [`FILES`] and the first process into an empty folder.
fn fill(root: &Path, programs: &[(&str, PathBuf)], init: &str) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    let mut libraries = BTreeSet::new();
    for (name, from) in programs {
        put(root, Path::new("bin").join(name).as_path(), from)?;
        libraries.extend(libraries_of(from));
    }
    for library in &libraries {
        put(root, library.strip_prefix("/").unwrap_or(library), library)?;
    }
    for (path, text) in FILES {
        write(&root.join(path), text.as_bytes())?;
    }
    write(&root.join("init"), init.as_bytes())?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn pack(root: &Path) -> Result<PathBuf> {
    let archive = root.with_extension("cpio");
    let pack = format!("find . | cpio --quiet -o -H newc -R 0:0 >'{}'", archive.display());
    shell::run(Command::new("sh").args(["-c", &pack]).current_dir(root))?;
    Ok(archive)
}

/// The shared libraries that a program is started with; none if it is static.
fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let told = shell::output(Command::new("ldd").arg(program)).unwrap_or_default();
    told.lines().filter_map(path_in).map(PathBuf::from).collect()
}

/// The file on a line of `ldd`'s: `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn path_in(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

fn put(root: &Path, path: &Path, from: &Path) -> Result<()> {
    let to = root.join(path);
    make_parent(&to)?;
    fs::copy(from, &to).map(drop).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    make_parent(to)?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_file() {
        assert_eq!(
            path_in("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)"),
            Some("/lib/x86_64-linux-gnu/libc.so.6")
        );
        assert_eq!(path_in("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(path_in("\tlinux-vdso.so.1 (0x00007ffe)"), None);
        assert_eq!(path_in("\tstatically linked"), None);
    }
}
