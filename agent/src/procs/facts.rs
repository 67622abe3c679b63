//! Reading what there is to know of a process, with what many processes share kept once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use compact_str::CompactString;

use super::{
    container::{
        ContainerRef,
        runtime::{Containers, RuntimeRoots},
    },
    env::OtelEnv,
    executable::{ExecutableCache, Tls},
    fs::{ProcFs, lossy},
    instrumentation::Instrumentation,
    language::{Language, Runtime},
    name::{self, Program},
    resource::Facts,
    seen::Seen,
};
use crate::model::ids::ProcessId;

/// Longest name that is taken from a command line.
const NAME_MAX: usize = 128;
/// Longest command line that is reported.
const COMMAND_LINE_MAX: usize = 4096;
/// Most strings kept shared; users and executables are few, containers come and go.
const STRINGS_MAX: usize = 8192;
/// Most users remembered.
const OWNERS_MAX: usize = 1024;
/// Longest `/etc/passwd` that is searched.
const PASSWD_MAX: u64 = 256 << 10;

/// Reads processes' facts. Cheap enough for the first request of a process, too dear for each.
#[derive(Debug)]
pub(crate) struct FactsReader {
    proc: ProcFs,
    wants_command_line: bool,
    executables: ExecutableCache,
    containers: Containers,
    strings: Mutex<HashSet<Arc<str>>>,
    /// By mount namespace and user id.
    owners: Mutex<HashMap<(u64, u32), Arc<str>>>,
}

impl FactsReader {
    pub(crate) fn new(proc: ProcFs, wants_command_line: bool, runtimes: RuntimeRoots) -> Self {
        Self {
            proc,
            wants_command_line,
            executables: ExecutableCache::default(),
            containers: Containers::new(runtimes),
            strings: Mutex::default(),
            owners: Mutex::default(),
        }
    }

    /// The facts; `None` for what is no program (any more): a zombie, a kernel thread, an ended process.
    pub(crate) fn read(&self, pid: ProcessId) -> Option<Facts> {
        let exe = self.proc.exe(pid);
        let args = self.proc.cmdline(pid);
        if exe.is_none() && args.is_empty() {
            return None;
        }
        let exe = exe.unwrap_or_default();
        let cwd = self.proc.cwd(pid);
        let read = |path: &str| self.proc.read_in_root(pid, path, 64 << 10).ok().map(lossy);
        let stat = self.proc.stat(pid);
        let comm = stat.as_ref().map(|stat| stat.comm.as_str());
        let mut name = name::of(Program { exe: &exe, args: &args, cwd: cwd.as_deref(), comm }, &read);
        if name.len() > NAME_MAX || name.chars().any(char::is_control) {
            name = name::base(&exe).to_owned();
        }
        let command_line = self.wants_command_line.then(|| {
            let mut line = args.join(" ");
            line.truncate(line.floor_char_boundary(COMMAND_LINE_MAX));
            Arc::from(line)
        });
        let container = self.container(pid);
        let runtime = self.runtime(pid, &exe);
        let mut instrumentation = Instrumentation::of(&self.proc, pid, &args, runtime.language);
        if matches!(runtime.language, Some(Language::Go | Language::Rust)) && self.has_sdk(pid) {
            instrumentation.add_compiled_in();
        }
        let build = (runtime.language == Some(Language::Go)).then(|| self.proc.exe_id(pid)).flatten();
        Some(Facts {
            runtime,
            build: build.and_then(|id| self.executables.build_info(id, || self.proc.open_exe(pid))),
            instrumentation,
            exe: self.share(&exe),
            name: CompactString::from(name),
            env: OtelEnv::of(&self.proc, pid),
            owner: self.owner(pid),
            command_line,
            container_info: self.containers.get(&container),
            container,
            is_partial: false,
        })
    }

    /// What can be told of a process without opening a file of its own; `None` as [`Self::read`].
    pub(crate) fn read_outside(&self, pid: ProcessId) -> Option<Facts> {
        let exe = self.proc.exe(pid)?;
        Some(Facts {
            name: CompactString::from(name::base(&exe)),
            exe: self.share(&exe),
            container: self.container(pid),
            is_partial: true,
            ..Facts::default()
        })
    }

    fn container(&self, pid: ProcessId) -> ContainerRef {
        let mut container = self.proc.cgroup(pid).map(|text| ContainerRef::from_cgroup(&text)).unwrap_or_default();
        container.id = container.id.map(|id| self.share(&id));
        container.pod_uid = container.pod_uid.map(|uid| self.share(&uid));
        container
    }

    /// The facts of a process that is gone, from what the kernel side saw when it was met.
    pub(crate) fn of_seen(&self, seen: &Seen) -> Facts {
        let Seen { exe, args, cgroup, .. } = seen;
        let mut name = name::of(Program { exe, args, cwd: None, comm: None }, &|_| None);
        if name.len() > NAME_MAX || name.chars().any(char::is_control) {
            name = name::base(exe).to_owned();
        }
        let mut container = ContainerRef::from_cgroup(cgroup);
        container.id = container.id.map(|id| self.share(&id));
        container.pod_uid = container.pod_uid.map(|uid| self.share(&uid));
        Facts {
            runtime: Runtime::of_file(name::base(exe)).unwrap_or_default(),
            exe: self.share(exe),
            name: CompactString::from(name),
            command_line: self.wants_command_line.then(|| Arc::from(args.join(" "))),
            container,
            ..Facts::default()
        }
    }

    fn has_sdk(&self, pid: ProcessId) -> bool {
        self.proc.exe_id(pid).is_some_and(|id| self.executables.has_sdk(id, || self.proc.open_exe(pid)))
    }

    /// By the executable's name, by a runtime's library that is mapped (an embedded interpreter, a program's own launcher
    /// of a JVM), by the executable itself.
    fn runtime(&self, pid: ProcessId, exe: &str) -> Runtime {
        if let Some(runtime) = Runtime::of_file(name::base(exe)) {
            return runtime;
        }
        if name::is_script_host(exe) {
            return Runtime::default();
        }
        let compiled = self.proc.exe_id(pid).and_then(|id| self.executables.language(id, || self.proc.open_exe(pid)));
        // A Go program embeds no other runtime; spare the reading of its maps.
        if compiled == Some(Language::Go) {
            return Runtime { language: compiled, name: Some("go") };
        }
        let mapped = self.proc.mapped_files(pid);
        let libraries = mapped.iter().map(|file| name::base(file)).filter(|name| name.starts_with("lib"));
        // A module of a web server (mod_php) or of a database (plpython) does not make it another language's program.
        let is_host = matches!(name::base(exe), "nginx" | "apache2" | "httpd" | "postgres" | "vim" | "gdb");
        let embedded = libraries.filter(|_| !is_host).find_map(Runtime::of_file);
        embedded.unwrap_or(Runtime { language: compiled, name: None })
    }

    /// The TLS libraries a process has: those that are mapped (with their paths), and where none of them is seen, what its
    /// executable has within.
    pub(crate) fn tls(&self, pid: ProcessId) -> Vec<(Tls, Option<String>)> {
        let mapped = self.proc.mapped_files(pid);
        let mut libraries: Vec<(Tls, Option<String>)> =
            mapped.iter().filter_map(|path| Some((Tls::of_library(name::base(path))?, Some(path.clone())))).collect();
        if libraries.iter().all(|(tls, _)| tls.library.unseen().is_some()) {
            let own = self.proc.exe_id(pid).and_then(|id| self.executables.tls(id, || self.proc.open_exe(pid)));
            libraries.extend(own.map(|library| (Tls { library, version: None }, None)));
        }
        // What is seen stands first; of several files of one kind one is enough.
        libraries.sort_by_key(|(tls, _)| (tls.library.unseen().is_some(), tls.library.name()));
        libraries.dedup_by_key(|(tls, _)| tls.library);
        libraries
    }

    /// The one copy of a string that many processes have.
    pub(crate) fn share(&self, text: &str) -> Arc<str> {
        let mut strings = self.strings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = strings.get(text) {
            return Arc::clone(shared);
        }
        if strings.len() >= STRINGS_MAX {
            strings.retain(|shared| Arc::strong_count(shared) > 1);
        }
        let shared: Arc<str> = Arc::from(text);
        if strings.len() < STRINGS_MAX {
            strings.insert(Arc::clone(&shared));
        }
        shared
    }

    /// The user's name as the process itself would see it (`/etc/passwd` of its own file system), else the number.
    fn owner(&self, pid: ProcessId) -> Option<Arc<str>> {
        let uid = self.proc.status(pid)?.uid;
        let Some(namespace) = self.proc.namespace(pid, "mnt") else { return Some(self.share(&uid.to_string())) };
        let owners = || self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        // No lock is held while the file is read, which may take for ever.
        if let Some(owner) = owners().get(&(namespace, uid)) {
            return Some(Arc::clone(owner));
        }
        let passwd = self.proc.read_in_root(pid, "/etc/passwd", PASSWD_MAX).map(lossy).unwrap_or_default();
        let named = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        let named = named.filter(|name| !name.is_empty() && name.len() <= NAME_MAX);
        let owner = self.share(&named.unwrap_or_else(|| uid.to_string()));
        let mut owners = owners();
        if owners.len() >= OWNERS_MAX {
            owners.clear();
        }
        owners.insert((namespace, uid), Arc::clone(&owner));
        Some(owner)
    }
}
