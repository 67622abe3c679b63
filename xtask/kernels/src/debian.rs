//! Debian's kernels, by apt with lists of its own: neither this machine's sources nor its lists are changed, root is not
//! needed, and Ubuntu will do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::release;
use xtask::shell;

/// Where there are kernels: suites of the archive and of the security archive that stands beside it.
const SUITES: &[(Archive, &str)] = &[
    (Archive::Main, "bullseye"),
    (Archive::Security, "bullseye-security"),
    (Archive::Main, "bookworm"),
    (Archive::Main, "bookworm-backports"),
    (Archive::Main, "trixie"),
    (Archive::Main, "trixie-backports"),
    (Archive::Main, "sid"),
];
/// The package that stands for a suite's newest kernel.
const META: &str = "linux-image-amd64";
/// Beginnings of the names of packages that hold a kernel, or lead to one that does.
const HOLDS_KERNEL: [&str; 2] = ["linux-image-", "linux-binary-"];
/// Signs all suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where Debian is found by a machine that has no mirror of its own.
const DEFAULT_MIRROR: &str = "http://deb.debian.org";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Archive {
    Main,
    Security,
}

impl Archive {
    /// The folder in which mirrors have it.
    const fn folder(self) -> &'static str {
        match self {
            Self::Main => "/debian",
            Self::Security => "/debian-security",
        }
    }
}

/// A kernel that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Of the package, such as `6.12.107-1`.
    pub(super) version: String,
    /// The package, such as `linux-image-6.12.107+deb13-amd64`.
    pub(super) package: String,
}

/// apt with Debian's suites.
pub(super) struct Debian {
    folder: PathBuf,
}

impl Debian {
    /// Asks the mirror for its lists.
    ///
    /// # Errors
    /// When there is no apt here, or no keys of Debian's.
    pub(super) fn ask() -> Result<Self> {
        if shell::which("apt-get").is_none() {
            bail!("this system has no apt-get, by which Debian's kernels are had");
        }
        if !Path::new(KEYRING).exists() {
            bail!("no {KEYRING}: `apt-get install debian-archive-keyring`");
        }
        let folder = shell::target_dir().join("kernels/apt");
        for inner in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(inner);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let known = shell::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
        ]));
        fs::write(folder.join("sources.list"), sources(&known.unwrap_or_default()))?;
        let debian = Self { folder };
        shell::say("asking for Debian's package lists");
        // A suite that has left the mirrors (as old ones do) is no reason to go without the others.
        if let Err(error) = shell::output(debian.apt("apt-get").args(["-q", "update"])) {
            shell::say(format_args!("not all of Debian's suites are there: {error:#}"));
        }
        Ok(debian)
    }

    /// The newest kernel of each release, oldest first.
    pub(super) fn offers(&self) -> Result<Vec<Offer>> {
        let listed = shell::output(self.apt("apt-cache").args(["madison", META]))?;
        let mut offers = Vec::new();
        for version in newest(&listed) {
            let depends = self.depends(META, &version)?;
            let Some(package) = depends.first() else { bail!("{META} {version} depends on no kernel") };
            offers.push(Offer { version, package: package.clone() });
        }
        if offers.is_empty() {
            bail!("apt knows no {META} in any of Debian's suites: can the mirror be reached?");
        }
        Ok(offers)
    }

    /// The kernel's image, from earlier or fetched now.
    pub(super) fn kernel(&self, offer: &Offer) -> Result<PathBuf> {
        let kept = self.folder.with_file_name(format!("{}_{}", offer.package, offer.version)).join("vmlinuz");
        if kept.exists() {
            return Ok(kept);
        }
        let mut packages = vec![offer.package.clone()];
        packages.extend(self.depends(&offer.package, &offer.version)?);
        let parts = kept.with_file_name("part");
        for package in &packages {
            drop(fs::remove_dir_all(&parts));
            fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
            shell::say(format_args!("fetching {package} {}", offer.version));
            let exactly = format!("{package}={}", offer.version);
            shell::output(self.apt("apt-get").args(["-q", "download", &exactly]).current_dir(&parts))?;
            // The modules are a hundred times as large and are not needed.
            let unpack =
                "dpkg-deb --fsys-tarfile *.deb | tar -x --wildcards './boot/vmlinuz-*' '*/vmlinuz' 2>/dev/null";
            drop(Command::new("sh").args(["-c", unpack]).current_dir(&parts).status());
            let found = shell::output(Command::new("find").arg(&parts).args(["-type", "f", "-name", "vmlinuz*"]))?;
            if let Some(image) = found.lines().next() {
                fs::rename(image, &kept).with_context(|| format!("cannot keep {image}"))?;
                fs::remove_dir_all(&parts)?;
                return Ok(kept);
            }
        }
        bail!("no vmlinuz in {}", packages.join(", "));
    }

    /// The packages that hold a kernel among those that this one depends on.
    fn depends(&self, package: &str, version: &str) -> Result<Vec<String>> {
        let shown = shell::output(self.apt("apt-cache").args(["show", &format!("{package}={version}")]))?;
        Ok(kernels_in(&shown))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = |key: &str, inner: &str| format!("{key}={}", self.folder.join(inner).display());
        for option in [
            dir("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            dir("Dir::State::Lists", "lists"),
            dir("Dir::Cache", "cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            // The account that apt gives its downloads to need not be able to write here.
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// apt's list of sources; `known` are the addresses of this machine's own, a line each.
fn sources(known: &str) -> String {
    SUITES
        .iter()
        .map(|(archive, suite)| {
            let mut mirrors = known.lines().map(|uri| uri.trim_end_matches('/'));
            let mirror = mirrors.find(|uri| uri.ends_with(archive.folder())).map(str::to_owned);
            let mirror = mirror.unwrap_or_else(|| format!("{DEFAULT_MIRROR}{}", archive.folder()));
            format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")
        })
        .collect()
}

/// Of what `apt-cache madison` lists (newest first), the first version of each release; oldest first.
fn newest(listed: &str) -> Vec<String> {
    let mut versions: Vec<&str> = listed.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
    // Stable: the first of a release stays the first.
    versions.sort_by_key(|version| release(version));
    versions.dedup_by_key(|version| release(version));
    versions.into_iter().filter(|version| release(version).is_some()).map(str::to_owned).collect()
}

/// The packages with a kernel on the `Depends:` line.
fn kernels_in(shown: &str) -> Vec<String> {
    let depends = shown.lines().filter_map(|line| line.strip_prefix("Depends:"));
    let names = depends.flat_map(|list| list.split(',')).filter_map(|one| one.split_whitespace().next());
    names.filter(|name| HOLDS_KERNEL.iter().any(|begin| name.starts_with(begin))).map(str::to_owned).collect()
}

/// Those that the user asked for.
///
/// # Errors
/// When nothing begins with what was asked for.
pub(super) fn chosen(offers: Vec<Offer>, versions: &[String]) -> Result<Vec<Offer>> {
    if versions.is_empty() {
        return Ok(offers);
    }
    for version in versions {
        if !offers.iter().any(|offer| begins_with(&offer.version, version)) {
            let all: Vec<&str> = offers.iter().map(|offer| offer.version.as_str()).collect();
            bail!("Debian has no kernel {version} that apt can reach; it has {}", all.join(", "));
        }
    }
    Ok(offers.into_iter().filter(|offer| versions.iter().any(|version| begins_with(&offer.version, version))).collect())
}

/// `6.1` is the beginning of `6.1.176-1`, not of `6.12.95-1`.
fn begins_with(version: &str, beginning: &str) -> bool {
    version.strip_prefix(beginning).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(version: &str) -> Offer {
        Offer { version: version.into(), package: format!("linux-image-{version}") }
    }

    #[test]
    fn of_each_release_the_newest_is_taken() {
        let listed = "linux-image-amd64 | 7.3.4-1~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages\n\
                      linux-image-amd64 | 6.12.107-1 | http://mirror/debian trixie/main amd64 Packages\n\
                      linux-image-amd64 | 6.12.95-1~bpo12+1 | http://mirror/debian bookworm-backports/main\n\
                      linux-image-amd64 | 6.1.176-1 | http://mirror/debian bookworm/main amd64 Packages\n\
                      linux-image-amd64 | 5.10.262-1 | http://mirror/debian-security bullseye-security/main\n\
                      linux-image-amd64 | 5.10.223-1 | http://mirror/debian bullseye/main amd64 Packages\n";
        assert_eq!(newest(listed), ["5.10.262-1", "6.1.176-1", "6.12.107-1", "7.3.4-1~bpo13+1"]);
        assert!(newest("").is_empty());
    }

    #[test]
    fn a_kernel_is_chosen_by_the_beginning_of_its_version() {
        let offers = || vec![offer("5.10.262-1"), offer("6.1.176-1"), offer("6.12.107-1")];
        assert_eq!(chosen(offers(), &[]).unwrap().len(), 3);
        assert_eq!(chosen(offers(), &["6.1".into()]).unwrap(), [offer("6.1.176-1")]);
        assert_eq!(chosen(offers(), &["6.12.107".into(), "5".into()]).unwrap().len(), 2);
        let refused = chosen(offers(), &["6.2".into()]).unwrap_err().to_string();
        assert!(refused.contains("no kernel 6.2") && refused.contains("5.10.262-1"), "{refused}");
    }

    #[test]
    fn a_kernel_may_lie_in_a_package_behind_its_own() {
        let meta = "Package: linux-image-amd64\nDepends: linux-base-amd64 (= 7.2), linux-image-7.2-amd64 (= 7.2)\n";
        assert_eq!(kernels_in(meta), ["linux-image-7.2-amd64"]);
        let image =
            "Depends: dracut | linux-initramfs-tool, linux-binary-7.2-amd64 (= 7.2), linux-modules-7.2 (= 7.2)\n";
        assert_eq!(kernels_in(image), ["linux-binary-7.2-amd64"]);
    }

    #[test]
    fn the_mirrors_of_this_machine_are_asked_if_it_has_any() {
        let ours = sources("http://mirror.example/debian/\nhttp://other.example/ubuntu/\n");
        assert!(ours.contains("] http://mirror.example/debian trixie main\n"), "{ours}");
        assert!(ours.contains(&format!("] {DEFAULT_MIRROR}/debian-security bullseye-security main\n")), "{ours}");
        assert_eq!(ours.lines().count(), SUITES.len());
    }
}
