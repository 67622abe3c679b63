//! Folders of receivers that are none any more: what waits in them is sent to nobody.

use std::{fs, io, path::PathBuf};

use super::folder_name;
use crate::export::config::{OtlpConfig, SpoolConfig};

/// A folder, and how much is in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) folder: PathBuf,
    pub(super) bytes: u64,
}

/// Those of `config` in which something is. May wait for the disk.
pub(super) fn orphans(config: &SpoolConfig, receivers: &[OtlpConfig]) -> Vec<Orphan> {
    let known: Vec<String> = receivers.iter().map(folder_name).collect();
    let Ok(entries) = fs::read_dir(&config.dir) else { return Vec::new() };
    let orphan = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let name = entry.file_name();
        let is_ours =
            name.to_str().is_some_and(|name| name.starts_with("traces-") && known.iter().all(|it| it != name));
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let files = fs::read_dir(entry.path()).ok().filter(|_| is_ours && is_folder)?;
        let bytes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum();
        (bytes > 0).then(|| Orphan { folder: entry.path(), bytes })
    };
    let mut found: Vec<Orphan> = entries.filter_map(orphan).collect();
    found.sort_unstable_by(|one, other| one.folder.cmp(&other.folder));
    found
}

/// Tells of them.
pub(super) fn tell(config: &SpoolConfig, receivers: &[OtlpConfig]) {
    for Orphan { folder, bytes } in orphans(config, receivers) {
        tracing::warn!(
            folder = %folder.display(), bytes,
            "a folder of the spool (export.spool.dir) belongs to no receiver any more: what waits there is sent once its receiver is \
             among the endpoints again; remove it if that is never"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::config::{Protocol, ReceiverUrl};

    #[test]
    fn only_folders_of_no_receiver_in_which_something_waits_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let receiver = |url: &str| OtlpConfig::new(ReceiverUrl::parse("endpoint", url).unwrap(), Protocol::Grpc);
        let (here, gone, empty) =
            (receiver("http://here:4317"), receiver("http://gone:4317"), receiver("http://none:4317"));
        for (receiver, bytes) in [(&here, 7), (&gone, 5), (&empty, 0)] {
            let its = folder.path().join(folder_name(receiver));
            fs::create_dir(&its).unwrap();
            fs::write(its.join("1"), vec![0; bytes]).unwrap();
        }
        fs::create_dir(folder.path().join("somebody's")).unwrap();
        fs::write(folder.path().join("somebody's/file"), "x").unwrap();
        let config = SpoolConfig { dir: folder.path().into(), max_bytes: 1 };
        let expected = Orphan { folder: folder.path().join(folder_name(&gone)), bytes: 5 };
        assert_eq!(orphans(&config, std::slice::from_ref(&here)), [expected]);
        assert_eq!(orphans(&SpoolConfig { dir: "/no/such".into(), ..config }, &[here]), []);
    }
}
