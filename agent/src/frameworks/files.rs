//! A process's files, as far as anybody may read of them.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    os::unix::fs::FileExt as _,
    rc::Rc,
};

use crate::{model::ids::ProcessId, procs::fs::ProcFs};

/// Most bytes of one source.
const SOURCE_MAX: u64 = 1 << 20;
/// Most bytes of all that is read of a process's files.
const BYTES_MAX: u64 = 32 << 20;
/// Most files that are asked for.
const FILES_MAX: u32 = 4000;

/// Files by their path, as the process sees them.
pub(super) trait Files {
    /// At most so many bytes of a file from an offset on.
    fn bytes(&self, path: &str, from: u64, max: u64) -> Option<Vec<u8>>;

    /// The length of a file.
    fn length(&self, path: &str) -> Option<u64>;

    /// A source, whole.
    fn text(&self, path: &str) -> Option<String> {
        let length = self.length(path).filter(|length| *length <= SOURCE_MAX)?;
        String::from_utf8(self.bytes(path, 0, length)?).ok()
    }
}

/// Those of a process.
pub(super) struct OfProcess {
    proc: ProcFs,
    pid: ProcessId,
    bytes_left: Cell<u64>,
    files_left: Cell<u32>,
    /// What was opened last: of a jar much is read.
    last: RefCell<Option<(String, Rc<File>)>>,
}

impl OfProcess {
    pub(super) const fn new(proc: ProcFs, pid: ProcessId) -> Self {
        Self { proc, pid, bytes_left: Cell::new(BYTES_MAX), files_left: Cell::new(FILES_MAX), last: RefCell::new(None) }
    }

    fn open(&self, path: &str) -> Option<Rc<File>> {
        if let Some((_, file)) = self.last.borrow().as_ref().filter(|(last, _)| last == path) {
            return Some(Rc::clone(file));
        }
        self.files_left.set(self.files_left.get().checked_sub(1)?);
        let file = Rc::new(self.proc.open_in_root(self.pid, path).ok()?);
        *self.last.borrow_mut() = Some((path.to_owned(), Rc::clone(&file)));
        Some(file)
    }
}

impl Files for OfProcess {
    fn bytes(&self, path: &str, from: u64, max: u64) -> Option<Vec<u8>> {
        self.bytes_left.set(self.bytes_left.get().checked_sub(max)?);
        let file = self.open(path)?;
        let mut bytes = vec![0; usize::try_from(max).ok()?];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, from + read as u64).ok()? {
                0 => break,
                more => read += more,
            }
        }
        bytes.truncate(read);
        Some(bytes)
    }

    fn length(&self, path: &str) -> Option<u64> {
        Some(self.open(path)?.metadata().ok()?.len())
    }
}

/// A path from a folder on, without `.` and `..`.
pub(super) fn joined(folder: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The folder that a file lies in.
pub(super) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Files of a test.
    pub(in super::super) struct Given(pub HashMap<String, Vec<u8>>);

    impl Given {
        pub(in super::super) fn new(files: &[(&str, &str)]) -> Self {
            Self(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
        }
    }

    impl Files for Given {
        fn bytes(&self, path: &str, from: u64, max: u64) -> Option<Vec<u8>> {
            let bytes = self.0.get(path)?;
            Some(bytes.iter().copied().skip(from as usize).take(max as usize).collect())
        }

        fn length(&self, path: &str) -> Option<u64> {
            Some(self.0.get(path)?.len() as u64)
        }
    }

    #[test]
    fn paths_are_joined() {
        for (folder, path, expected) in
            [("/app", "main.py", "/app/main.py"), ("/app/x", "../y.js", "/app/y.js"), ("/app", "/srv/z", "/srv/z")]
        {
            assert_eq!(joined(folder, path), expected);
        }
    }
}
