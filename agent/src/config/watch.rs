//! Notices that the configuration file has other content: after an edit, an atomic rename, or the symlink swap by which
//! Kubernetes updates a mounted ConfigMap. Directories are watched, not the file, because each of these replaces it.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;

use super::yaml::MAX_FILE_BYTES;

/// A change is told once nothing more has happened for so long.
const QUIET: Duration = Duration::from_millis(500);
/// And at the latest after so long, however busy the directory.
const LONGEST: Duration = Duration::from_secs(5);

/// Changes of one file's content.
#[derive(Debug)]
pub(crate) struct Changes {
    path: PathBuf,
    /// An inotify descriptor is read as a pipe is: bytes, of which only their coming matters here.
    inotify: Receiver,
    content: Option<Vec<u8>>,
}

/// Watches the content of the file at `path`. Must be called in a tokio runtime with I/O.
///
/// # Errors
/// inotify is not to be had, or the file's directory cannot be watched.
pub(crate) fn watch(path: &Path) -> io::Result<Changes> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let mut changes = Changes {
        path: std::path::absolute(path)?,
        inotify: Receiver::from_owned_fd_unchecked(inotify)?,
        content: None,
    };
    changes.follow()?;
    changes.content = changes.read();
    Ok(changes)
}

impl Changes {
    /// Waits until the file has other content than when last told. Nothing is lost if the wait is given up and begun
    /// again. A file that is away, or unreadable for a moment, is no change; the next readable content is compared.
    ///
    /// # Errors
    /// inotify failed; no changes will be seen any more.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            // Before waiting, too: a given-up wait may have taken the events.
            if let Some(content) = self.read()
                && self.content.as_ref() != Some(&content)
            {
                self.settle().await?;
                if let Some(settled) = self.read()
                    && self.content.as_ref() != Some(&settled)
                {
                    self.content = Some(settled);
                    return Ok(());
                }
            }
            self.event().await?;
            // A swapped symlink leads to a new directory; if it cannot be watched yet, the next event tries again.
            if let Err(error) = self.follow() {
                tracing::debug!(%error, path = %self.path.display(), "configuration's directory cannot be watched");
            }
        }
    }

    /// Waits until writers are done.
    async fn settle(&self) -> io::Result<()> {
        let wait = async {
            while let Ok(event) = tokio::time::timeout(QUIET, self.event()).await {
                event?;
            }
            Ok(())
        };
        tokio::time::timeout(LONGEST, wait).await.unwrap_or(Ok(()))
    }

    /// Waits for events and forgets them: what happened is read from the file.
    async fn event(&self) -> io::Result<()> {
        // Holds at least one event with the longest name.
        let mut buffer = [0; 4096];
        self.inotify.readable().await?;
        loop {
            match self.inotify.try_read(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Watches the directory the file is named in and, through symlinks, the one it lies in.
    fn follow(&self) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        let resolved = self.path.canonicalize().ok();
        let named_in = self.path.parent();
        let lies_in = resolved.as_deref().and_then(Path::parent);
        for directory in named_in.into_iter().chain(lies_in) {
            // Again for a directory that is watched already changes nothing; one made anew gets its watch.
            inotify::add_watch(&self.inotify, directory, flags)?;
        }
        Ok(())
    }

    fn read(&self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        std::fs::File::open(&self.path).ok()?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).ok()?;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// A directory of its own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("beyla-rs-watch-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// Makes a change while it is waited for: the wait is polled first.
    async fn told(changes: &mut Changes, change: impl FnOnce()) {
        let wait = tokio::time::timeout(Duration::from_secs(10), changes.changed());
        let (told, ()) = tokio::join!(wait, async { change() });
        told.expect("no change was told").unwrap();
    }

    async fn not_told(changes: &mut Changes) {
        assert!(tokio::time::timeout(QUIET * 3, changes.changed()).await.is_err(), "a change was told");
    }

    #[tokio::test]
    async fn an_edit_and_an_atomic_rename_are_told_once_each() {
        let directory = Directory::new("edit");
        let file = directory.0.join("agent.yaml");
        fs::write(&file, "a: 1").unwrap();
        let mut changes = watch(&file).unwrap();

        told(&mut changes, || {
            fs::write(&file, "a: 2").unwrap();
            fs::write(&file, "a: 3").unwrap();
        })
        .await;
        not_told(&mut changes).await;

        let new = directory.0.join("new");
        fs::write(&new, "a: 4").unwrap();
        told(&mut changes, || fs::rename(&new, &file).unwrap()).await;
        assert_eq!(changes.content.as_deref(), Some(b"a: 4".as_slice()));
    }

    #[tokio::test]
    async fn the_same_content_again_and_other_files_are_no_change() {
        let directory = Directory::new("same");
        let file = directory.0.join("agent.yaml");
        fs::write(&file, "a: 1").unwrap();
        let mut changes = watch(&file).unwrap();
        fs::write(&file, "a: 1").unwrap();
        fs::write(directory.0.join("other"), "x").unwrap();
        fs::remove_file(&file).unwrap();
        not_told(&mut changes).await;
        told(&mut changes, || fs::write(&file, "a: 2").unwrap()).await;
    }

    #[tokio::test]
    async fn each_symlink_swap_of_a_config_map_is_told() {
        let directory = Directory::new("configmap");
        let root = &directory.0;
        let publish = |name: &str, text: &str| {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("agent.yaml"), text).unwrap();
            symlink(name, root.join("..data_tmp")).unwrap();
            fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        };
        publish("..1", "a: 1");
        symlink("..data/agent.yaml", root.join("agent.yaml")).unwrap();
        let mut changes = watch(&root.join("agent.yaml")).unwrap();
        for (name, old) in [("..2", "..1"), ("..3", "..2")] {
            told(&mut changes, || publish(name, &format!("a: {name}"))).await;
            fs::remove_dir_all(root.join(old)).unwrap();
        }
        // Also uses up the event of the directory just removed.
        not_told(&mut changes).await;
        told(&mut changes, || fs::write(root.join("..3/agent.yaml"), "a: 4").unwrap()).await;
    }
}
