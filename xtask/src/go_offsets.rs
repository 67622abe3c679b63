//! `cargo xtask go-offsets`: writes where members of structures of Go's runtime, and of grpc-go, lie into the tables of the agent, by the sources of their
//! releases, which Go's own module proxy serves.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use anyhow::{Context as _, Result, bail};
use xtask::shell;

/// The last release of each line; others of the same line have to say the same (`--release`).
const RELEASES: [&str; 10] =
    ["1.18.10", "1.19.13", "1.20.14", "1.21.13", "1.22.12", "1.23.12", "1.24.11", "1.25.5", "1.26.8", "1.27.0"];
/// Where the table is.
const TABLE: &str = "agent/src/runtimes/go/offsets.rs";
/// What stands before and behind its lines.
const HEAD: &str = "\
//! Where members of structures of Go's runtime and library, and of grpc-go, lie, by release. Written by `cargo xtask go-offsets`.

use super::layout::{CLASSES, GrpcOffsets, Offsets, StatisticsOffsets};

/// By the second number of a release.
#[rustfmt::skip]
pub(super) const TABLE: &[(u32, Offsets)] = &[
";

/// What stands before the lines of what the runtime counts.
const STATISTICS_HEAD: &str = "
/// By the second number of a release, what the runtime counts.
#[rustfmt::skip]
pub(super) const STATISTICS: &[(u32, StatisticsOffsets)] = &[
";
/// What stands before the sizes of objects.
const SIZES_HEAD: &str = "
/// Sizes of small objects by their class: the same in all of these releases.
#[rustfmt::skip]
pub(super) const SIZES: [u16; CLASSES] = [";
/// What stands before the lines of grpc-go.
const GRPC_HEAD: &str = "
/// Second and third number of the release of grpc-go from which on they lie so.
#[rustfmt::skip]
pub(super) const GRPC: &[((u32, u32), GrpcOffsets)] = &[
";
/// grpc-go, and the second number of its first release that is looked at.
const GRPC: &str = "google.golang.org/grpc";
const GRPC_FIRST: u32 = 40;

/// The verb's flags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Other releases than the usual ones, such as 1.28.0; may be given again. The Go at hand is always asked
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
    // An older one does not understand what is written for a newer one.
    let newest = args.release.last().map_or(RELEASES[RELEASES.len() - 1], String::as_str);
    let mut command = go_here();
    command.env("GOTOOLCHAIN", format!("go{newest}")).args(["run", "."]).args(&folders);
    let mut table: BTreeMap<u32, String> = BTreeMap::new();
    for line in said(&mut command)?.lines() {
        let (release, offsets) = line.split_once(' ').with_context(|| format!("not understood: {line}"))?;
        let minor = release.strip_prefix("go1.").and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let minor = minor.and_then(|minor| minor.parse().ok()).with_context(|| format!("no release: {release}"))?;
        if table.insert(minor, offsets.to_owned()).is_some_and(|other| other != offsets) {
            bail!("go1.{minor} is not laid out alike in all of its releases: the table has to tell them apart");
        }
    }
    let (mut text, mut statistics) = (HEAD.to_owned(), STATISTICS_HEAD.to_owned());
    let mut sizes = String::new();
    for (minor, offsets) in table {
        let [members, counts, of_it] = offsets.split(" | ").collect::<Vec<_>>()[..] else {
            bail!("not understood: {offsets}");
        };
        if !sizes.is_empty() && sizes != of_it {
            bail!("go1.{minor} has other sizes of objects than the release before: the table has to tell them apart");
        }
        of_it.clone_into(&mut sizes);
        for (text, offsets) in [(&mut text, members), (&mut statistics, counts)] {
            writeln!(text, "    ({minor}, [{}]),", offsets.split(' ').collect::<Vec<_>>().join(", "))?;
        }
    }
    text.push_str("];\n");
    text.push_str(&statistics);
    text.push_str("];\n");
    writeln!(text, "{SIZES_HEAD}{}];", sizes.replace(' ', ", "))?;
    text.push_str(&of_grpc()?);
    let path = shell::root().join(TABLE);
    if args.check {
        if fs::read_to_string(&path)? != text {
            bail!("{TABLE} is not what `cargo xtask go-offsets` writes");
        }
        return Ok(());
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The lines of grpc-go: where a release is laid out otherwise than the one before. Each is looked at: patches have changed it, too.
fn of_grpc() -> Result<String> {
    let mut releases = Vec::new();
    for version in
        said(go_here().args(["list", "-m", "-versions", GRPC]).env("GOFLAGS", "-mod=mod"))?.split(' ').skip(1)
    {
        let numbers = version.trim().strip_prefix("v1.").and_then(|rest| rest.split_once('.'));
        // Those that are no releases have a word behind their number.
        let numbers: Option<(u32, u32)> =
            numbers.and_then(|(minor, patch)| Some((minor.parse().ok()?, patch.parse().ok()?)));
        releases.extend(numbers.filter(|(minor, _)| *minor >= GRPC_FIRST));
    }
    releases.sort_unstable();
    let mut command = go_here();
    command.args(["run", "."]);
    for (minor, patch) in &releases {
        command.arg(format!("grpc@{minor}.{patch}={}", downloaded(&format!("{GRPC}@v1.{minor}.{patch}"))?));
    }
    let mut text = GRPC_HEAD.to_owned();
    let mut before = String::new();
    for (line, (minor, patch)) in said(&mut command)?.lines().zip(&releases) {
        let (_, offsets) = line.split_once(' ').with_context(|| format!("not understood: {line}"))?;
        if offsets != before {
            writeln!(text, "    (({minor}, {patch}), [{}]),", offsets.split(' ').collect::<Vec<_>>().join(", "))?;
            offsets.clone_into(&mut before);
        }
    }
    let (newest, _) = releases.last().context("grpc-go has no releases")?;
    write!(
        text,
        "];\n\n/// The second number of its newest release that was looked at.\npub(super) const GRPC_NEWEST: u32 = {newest};\n"
    )?;
    Ok(text)
}

/// `go`, in the folder of the program that reads sources.
fn go_here() -> Command {
    let mut command = Command::new("go");
    command.current_dir(shell::root().join("xtask/go-offsets"));
    command
}

/// The folder of a release, fetched if it is not there.
fn fetched(release: &str) -> Result<String> {
    downloaded(&format!("golang.org/toolchain@v0.0.1-go{release}.linux-amd64"))
}

/// The folder of a module, fetched if it is not there.
fn downloaded(module: &str) -> Result<String> {
    let said = said(go_here().args(["mod", "download", "-json", module]))?;
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
