//! Over programs that are built by the tests, with several releases of Go.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::{model::ids::ProcessId, procs::fs::ProcFs};

/// The newest release that is known.
const NEWEST: &str = "go1.27.0";
const MODULE: &str = "module example.com/shop\n\ngo 1.18\n";
const PROGRAM: &str = r#"package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = http.Get("http://127.0.0.1:1") })
	go func() { _ = http.ListenAndServeTLS("127.0.0.1:0", "", "", nil) }()
	fmt.Println("runs")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}
"#;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Builds the program with a release of Go, as the arguments and the environment say.
fn built(folder: &Path, release: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    std::fs::write(folder.join("go.mod"), MODULE).unwrap();
    std::fs::write(folder.join("main.go"), PROGRAM).unwrap();
    let output = Command::new("go")
        .current_dir(folder)
        .env("GOTOOLCHAIN", release)
        .env("GOFLAGS", "-buildvcs=false")
        .envs(environment.iter().copied())
        .args(["build", "-o", "out"])
        .args(arguments)
        .arg(".")
        .output()
        .expect("go is installed");
    assert!(output.status.success(), "{release} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn started(program: &Path) -> (Running, Memory) {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "runs\n");
    let memory = Memory::open(&ProcFs::new("/proc"), ProcessId(child.id())).unwrap();
    (Running(child), memory)
}

/// What is found in a program of that release.
fn assert_found(folder: &Path, what: &str, is_before_21: bool) {
    let (child, memory) = started(&folder.join("out"));
    let (go, file) = look(&memory, &Programs::default())
        .unwrap_or_else(|| panic!("{what}: none of Go"))
        .unwrap_or_else(|unseen| panic!("{what}: {unseen:?}"));
    let [slot, processors, ..] = go.plan.offsets;
    let slot = slot.cast_signed();
    assert!(slot < 0 && slot % 8 == 0, "{what}: {slot}");
    assert_ne!(processors, 0, "{what}");
    assert_eq!(go.plan.go.parent == 0, is_before_21, "{what}");
    for (sites, name) in [(&go.calls, "calls"), (&go.calls2, "calls2"), (&go.handles2, "handles2")] {
        let [site] = sites[..] else { panic!("{what}: {name}: {sites:?}") };
        let mut code = [0; 2];
        file.read_exact_at(&mut code, site).unwrap();
        // push %rbp, or before that was how functions begin the jump to where the stack grows
        let is_emulated = if is_before_21 { code == [0x0f, 0x86] || code[0] == 0x76 } else { code[0] == 0x55 };
        assert!(is_emulated, "{what}: {name}: {code:x?}");
    }
    // Before 1.19 the runtime keeps it otherwise.
    assert_eq!(go.statistics.is_none(), what.starts_with("go1.18"), "{what}");
    if let Some(statistics) = go.statistics {
        let counted = statistics.read(&ProcFs::new("/proc"), ProcessId(child.0.id())).unwrap();
        let is_counted = counted.goroutines.is_some_and(|count| (1..20).contains(&count))
            && counted.memory.is_none_or(|[stacks, other]| (1..1 << 24).contains(&stacks) && other > 1 << 20)
            && counted.processors.is_some_and(|count| count >= 1)
            && (counted.limit, counted.growth) == (None, Some(100))
            && counted.goal.is_some_and(|goal| (1 << 20..1 << 28).contains(&goal));
        assert!(is_counted, "{what}: {counted:?}");
    }
    let Tls::Seen { reads, writes } = go.tls else { panic!("{what}: {:?}", go.tls) };
    let mut code = [[0; 2]; 2];
    file.read_exact_at(&mut code[0], reads).unwrap();
    file.read_exact_at(&mut code[1], writes).unwrap();
    // je; push %rbp, or before that was how functions begin `sub` of the stack's pointer
    let begins = if is_before_21 { code[1] == [0x48, 0x81] } else { code[1][0] == 0x55 };
    assert!(code[0][0] == 0x74 && begins, "{what}: {code:x?}");
    assert!(matches!(go.plan.go.tls_connection, 0x60..0x80), "{what}: {}", go.plan.go.tls_connection);
}

#[test]
fn goroutines_are_found_in_programs_of_several_releases() {
    for (release, is_before_21) in [("go1.18.10", true), ("go1.21.13", false), ("go1.23.12", false), (NEWEST, false)] {
        let folder = tempfile::tempdir().unwrap();
        built(folder.path(), release, &[], &[]);
        let info = build_info(&File::open(folder.path().join("out")).unwrap()).unwrap();
        assert_eq!((&*info.release, &*info.path), (release, "example.com/shop"));
        assert_found(folder.path(), release, is_before_21);
    }
}

#[test]
fn goroutines_are_found_however_a_program_is_linked() {
    /// Name, flags, environment.
    type Build = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);
    let kinds: [Build; 5] = [
        ("as it comes", &[], &[]),
        ("stripped", &["-trimpath", "-ldflags=-s -w"], &[("CGO_ENABLED", "0")]),
        ("to be loaded anywhere", &["-buildmode=pie", "-ldflags=-s -w"], &[]),
        ("by the system's linker", &["-ldflags=-linkmode=external"], &[("CGO_ENABLED", "1")]),
        (
            "statically, to be loaded anywhere",
            &["-buildmode=pie", "-ldflags=-linkmode=external -extldflags=-static-pie -s -w", "-tags=netgo,osusergo"],
            &[("CGO_ENABLED", "1")],
        ),
    ];
    for (what, arguments, environment) in kinds {
        let folder = tempfile::tempdir().unwrap();
        built(folder.path(), "local", arguments, environment);
        assert_found(folder.path(), what, false);
    }
}

#[test]
fn what_cannot_be_looked_into_says_why() {
    let folder = tempfile::tempdir().unwrap();
    built(folder.path(), "local", &["-ldflags=-s -w"], &[]);
    let out = folder.path().join("out");
    let (_child, memory) = started(&out);
    let mapping = memory.program().unwrap();
    let file = memory.open_mapped(mapping).unwrap();
    let cache = ReadCache::new(file);
    let program = Program::of(mapping, &cache).unwrap();
    let section = program.elf().section_by_name(".gopclntab").unwrap();
    // As garble writes it.
    let garbled = folder.path().join("garbled");
    std::fs::copy(&out, &garbled).unwrap();
    let garbled = File::options().read(true).write(true).open(garbled).unwrap();
    garbled.write_all_at(&0x1234_5678_u32.to_le_bytes(), section.file_range().unwrap().0).unwrap();
    assert!(build_info(&garbled).is_some());
    assert_eq!(functions(&memory, &program, &garbled).err(), Some(Unseen::Garbled));
    let mut packed = b"\x7fELF\x02\x01\x01".to_vec();
    packed.resize(200, 0);
    packed.extend_from_slice(b"UPX!");
    std::fs::write(folder.path().join("packed"), packed).unwrap();
    assert!(is_packed(&File::open(folder.path().join("packed")).unwrap()) && !is_packed(&garbled));
    // This program is none of Go.
    let own = Memory::open(&ProcFs::new("/proc"), ProcessId(std::process::id())).unwrap();
    assert!(look(&own, &Programs::default()).is_none());
}
