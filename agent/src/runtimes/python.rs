//! CPython's asyncio: which task an event loop runs stands in a dictionary of the module `_asyncio`, from 3.8 to 3.13. It is found from
//! `_PyRuntime`, which every build exports, by the layout of the release: that which fits is known by what lies where it says.

use std::fs::File;

use object::ReadCache;

use super::memory::{Memory, Program};

/// Most entries of a dictionary that are looked through.
const ENTRIES_MAX: u64 = 65_536;
/// Most threads of an interpreter that are looked at.
const THREADS_MAX: usize = 4096;

/// `tp_init` of a `PyTypeObject`.
const TYPE_INIT: u64 = 296;
/// `md_dict` of a module.
const MODULE_DICT: u64 = 16;
/// `next`, `interp` of a `PyThreadState`.
const THREAD_NEXT: u64 = 8;
const THREAD_INTERPRETER: u64 = 16;

/// Where things lie in a release.
struct Layout {
    /// `interpreters.main` in `_PyRuntime`.
    main: u64,
    /// The modules (`sys.modules`), and the first thread, of an interpreter.
    modules: u64,
    threads: u64,
    /// Of a thread: its dictionary, its `pthread_t`.
    thread_dict: u64,
    thread_id: u64,
    running: Running,
    /// Dictionaries are those of before 3.11.
    has_old_dicts: bool,
    /// Bytes of a `str` before its characters.
    text: u64,
}

/// Where the event loop is that a thread runs.
#[derive(Clone, Copy)]
enum Running {
    /// In an object in the thread's dictionary, so far in.
    Held(u64),
    /// In the thread's dictionary.
    InDict,
    /// In the thread's state, so far in.
    InState(u64),
}

const LAYOUTS: &[Layout] = &[
    // 3.13
    Layout {
        main: 640,
        modules: 7656,
        threads: 7344,
        thread_dict: 128,
        thread_id: 152,
        running: Running::InState(304),
        has_old_dicts: false,
        text: 40,
    },
    // 3.12
    Layout {
        main: 48,
        modules: 944,
        threads: 72,
        thread_dict: 112,
        thread_id: 136,
        running: Running::InDict,
        has_old_dicts: false,
        text: 40,
    },
    // 3.11
    Layout {
        main: 48,
        modules: 888,
        threads: 16,
        thread_dict: 128,
        thread_id: 152,
        running: Running::Held(16),
        has_old_dicts: false,
        text: 48,
    },
    // 3.9, 3.10
    Layout {
        main: 40,
        modules: 856,
        threads: 8,
        thread_dict: 152,
        thread_id: 176,
        running: Running::Held(16),
        has_old_dicts: true,
        text: 48,
    },
    // 3.8
    Layout {
        main: 40,
        modules: 56,
        threads: 8,
        thread_dict: 152,
        thread_id: 176,
        running: Running::Held(16),
        has_old_dicts: true,
        text: 48,
    },
];

/// Where a process's asyncio is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asyncio {
    /// The dictionary of the tasks that run, by event loop.
    pub tasks: u64,
    /// The event loop.
    pub event_loop: u64,
    /// The thread that runs it, by its pointer (`pthread_t`).
    pub thread: u64,
    /// That is a dictionary of before 3.11.
    pub is_old_dict: bool,
    /// `Task.__init__`.
    pub init: u64,
}

/// The part of a process's memory that is Python's.
struct Python<'a> {
    memory: &'a Memory,
    layout: &'static Layout,
    dict_type: u64,
    none: u64,
}

/// What is there of Python.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EventLoop {
    /// Nothing.
    No,
    /// It may come to run an event loop.
    NotYet,
    /// It does.
    Runs(Asyncio),
}

/// Looks at a process.
pub(super) fn look(memory: &Memory) -> EventLoop {
    let is_python = |name: &str| name.starts_with("libpython") || name.starts_with("python");
    let mut is_there = false;
    for mapping in memory.mappings().iter().filter(|mapping| is_python(mapping.name())) {
        let Some(file) = memory.open_mapped(mapping).map(ReadCache::new) else { continue };
        let Some(program) = Program::of(mapping, &file) else { continue };
        let [Some(runtime), Some(dict_type), Some(none)] =
            program.symbols(["_PyRuntime", "PyDict_Type", "_Py_NoneStruct"])
        else {
            continue;
        };
        is_there = true;
        let found = LAYOUTS.iter().find_map(|layout| Python { memory, layout, dict_type, none }.asyncio(runtime));
        if let Some(found) = found {
            return EventLoop::Runs(found);
        }
    }
    if is_there { EventLoop::NotYet } else { EventLoop::No }
}

impl Python<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        self.memory.word(address)
    }

    fn asyncio(&self, runtime: u64) -> Option<Asyncio> {
        let interpreter = self.word(runtime.checked_add(self.layout.main)?)?;
        let modules = self.word(interpreter.checked_add(self.layout.modules)?)?;
        let module = self.entry(modules, b"_asyncio")?;
        let names = self.word(module.checked_add(MODULE_DICT)?)?;
        let tasks = self.entry(names, b"_current_tasks").filter(|&tasks| self.is_dict(tasks))?;
        let task_type = self.entry(names, b"Task")?;
        let init = self.word(task_type.checked_add(TYPE_INIT)?)?;
        let (event_loop, thread) = self.running(interpreter)?;
        Some(Asyncio { tasks, event_loop, thread, is_old_dict: self.layout.has_old_dicts, init })
    }

    /// The event loop that runs, and the thread it does so on. Of several the one on the oldest thread: mostly the main one.
    fn running(&self, interpreter: u64) -> Option<(u64, u64)> {
        let mut found = None;
        let mut thread = self.word(interpreter.checked_add(self.layout.threads)?)?;
        for _ in 0..THREADS_MAX {
            if thread == 0 {
                break;
            }
            if self.word(thread.checked_add(THREAD_INTERPRETER)?)? != interpreter {
                return None;
            }
            let event_loop = self.event_loop(thread).filter(|&event_loop| event_loop != 0 && event_loop != self.none);
            if let Some(event_loop) = event_loop {
                found = Some((event_loop, self.word(thread.checked_add(self.layout.thread_id)?)?));
            }
            thread = self.word(thread.checked_add(THREAD_NEXT)?)?;
        }
        found
    }

    fn event_loop(&self, thread: u64) -> Option<u64> {
        let in_dict = || {
            let dict = self.word(thread.checked_add(self.layout.thread_dict)?)?;
            self.entry(dict, b"__asyncio_running_event_loop__")
        };
        match self.layout.running {
            Running::Held(at) => self.word(in_dict()?.checked_add(at)?),
            Running::InDict => in_dict(),
            Running::InState(at) => self.word(thread.checked_add(at)?),
        }
    }

    fn is_dict(&self, object: u64) -> bool {
        object != 0 && object.checked_add(8).and_then(|at| self.word(at)) == Some(self.dict_type)
    }

    /// What a dictionary has under a name.
    fn entry(&self, dict: u64, name: &[u8]) -> Option<u64> {
        if !self.is_dict(dict) {
            return None;
        }
        let keys = self.word(dict.checked_add(32)?)?;
        let [_, size, _, usable_or_filled, filled] = self.memory.words::<5>(keys)?;
        let (index, count, has_hashes) = if self.layout.has_old_dicts {
            let width = match size {
                0..=0xff => 1,
                0x100..=0xffff => 2,
                _ => 4,
            };
            (size.checked_mul(width)?.checked_add(40)?, filled, true)
        } else {
            // Logarithms of the size and of the index's length, kind.
            let [_, index, kind, ..] = size.to_le_bytes();
            (1_u64.checked_shl(index.into())?.checked_add(32)?, usable_or_filled, kind == 0)
        };
        let width = if has_hashes { 24 } else { 16 };
        let mut entries = vec![0; usize::try_from(count.min(ENTRIES_MAX) * width).ok()?];
        self.memory.read(keys.checked_add(index)?, &mut entries)?;
        entries.chunks_exact(width as usize).find_map(|entry| {
            let (rest, value) = entry.split_last_chunk::<8>()?;
            let key = u64::from_le_bytes(*rest.last_chunk()?);
            self.is_text(key, name).then(|| u64::from_le_bytes(*value))
        })
    }

    /// Whether a `str` has this value.
    fn is_text(&self, object: u64, text: &[u8]) -> bool {
        let is = || {
            if object == 0 || self.word(object.checked_add(16)?)? != text.len() as u64 {
                return Some(false);
            }
            let mut bytes = vec![0; text.len()];
            self.memory.read(object.checked_add(self.layout.text)?, &mut bytes)?;
            Some(bytes == text)
        };
        is().unwrap_or(false)
    }
}

/// Where in which file a function of the process is, if one begins there.
pub(super) fn function(memory: &Memory, address: u64) -> Option<(File, u64)> {
    let mapping = memory.mapping(address)?;
    let file = memory.open_mapped(mapping)?;
    let cache = ReadCache::new(file.try_clone().ok()?);
    let is_one = Program::of(mapping, &cache)?.has_function(&file, address);
    is_one.then(|| (file, mapping.offset_of(address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ids::ProcessId, procs::fs::ProcFs};

    #[test]
    fn a_process_without_python_has_none() {
        let memory = Memory::open(&ProcFs::new("/proc"), ProcessId(std::process::id())).unwrap();
        assert_eq!(look(&memory), EventLoop::No);
    }
}
