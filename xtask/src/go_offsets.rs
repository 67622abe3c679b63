//! `cargo xtask go-offsets`: writes where members of structures of Go's runtime lie into the table of the agent, by the sources of its releases,
//! which Go's own module proxy serves.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use anyhow::{Context as _, Result, bail};
use xtask::shell;

/// The last release of each line; others of the same line have to say the same (`--release`).
const RELEASES: [&str; 8] = ["1.18.10", "1.19.13", "1.20.14", "1.21.13", "1.22.12", "1.23.12", "1.24.11", "1.25.5"];
/// Where the table is.
const TABLE: &str = "agent/src/runtimes/go/offsets.rs";
/// What stands before and behind its lines.
const HEAD: &str = "\
//! Where members of structures of Go's runtime and library lie, by release. Written by `cargo xtask go-offsets`.

use super::layout::Offsets;

/// By the second number of a release.
#[rustfmt::skip]
pub(super) const TABLE: &[(u32, Offsets)] = &[
";

/// The verb's flags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Other releases than the usual ones, such as 1.27.0; may be given again. The Go at hand is always asked
    #[arg(long)]
    release: Vec<String>,
    /// Only say whether the table is what would be written
    #[arg(long)]
    check: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let of_own = said(Command::new("go").args(["env", "GOROOT"]))?;
    let mut folders = vec![of_own.trim().to_owned()];
    let given = args.release.iter().map(String::as_str);
    for release in RELEASES.into_iter().chain(given) {
        folders.push(fetched(release)?);
    }
    let mut command = Command::new("go");
    command.current_dir(shell::root().join("xtask/go-offsets")).args(["run", "."]).args(&folders);
    let mut table: BTreeMap<u32, String> = BTreeMap::new();
    for line in said(&mut command)?.lines() {
        let (release, offsets) = line.split_once(' ').with_context(|| format!("not understood: {line}"))?;
        let minor = release.strip_prefix("go1.").and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let minor = minor.and_then(|minor| minor.parse().ok()).with_context(|| format!("no release: {release}"))?;
        if table.insert(minor, offsets.to_owned()).is_some_and(|other| other != offsets) {
            bail!("go1.{minor} is not laid out alike in all of its releases: the table has to tell them apart");
        }
    }
    let mut text = HEAD.to_owned();
    for (minor, offsets) in table {
        writeln!(text, "    ({minor}, [{}]),", offsets.split(' ').collect::<Vec<_>>().join(", "))?;
    }
    text.push_str("];\n");
    let path = shell::root().join(TABLE);
    if args.check {
        if fs::read_to_string(&path)? != text {
            bail!("{TABLE} is not what `cargo xtask go-offsets` writes");
        }
        return Ok(());
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The folder of a release, fetched if it is not there.
fn fetched(release: &str) -> Result<String> {
    let module = format!("golang.org/toolchain@v0.0.1-go{release}.linux-amd64");
    let mut command = Command::new("go");
    command.current_dir(shell::root().join("xtask/go-offsets")).args(["mod", "download", "-json", &module]);
    let said = said(&mut command)?;
    let folder = said.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","));
    folder.map(str::to_owned).with_context(|| format!("no folder of {module}: {said}"))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
