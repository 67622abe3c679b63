//! CPython's asyncio: which task an event loop runs stands in a dictionary of the module `_asyncio`, from 3.8 to 3.13. It is found from
//! `_PyRuntime`, which every build exports, by the layout of the release: that which fits is known by what lies where it says. From 3.14 on it
//! stands in the state of the thread; where, and how structures are laid out, says the program itself, in tables that are meant for that
//! (`_Py_DebugOffsets` at the beginning of `_PyRuntime`, and the section `AsyncioDebug`).

use std::fs::File;

use object::ReadCache;

use super::memory::{Memory, Program};

/// Most entries of a dictionary that are looked through.
const ENTRIES_MAX: u64 = 65_536;
/// Most threads of an interpreter that are looked at.
const THREADS_MAX: usize = 4096;

/// Most threads whose places for what the C library keeps for each are looked at, and how much behind a thread's pointer is.
const SLOT_THREADS: usize = 64;
const PTHREAD: usize = 0x700;

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
    /// The context that it runs in.
    context: u64,
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
    /// The same, and so far in the task that runs.
    InStateWithTask(u64, u64),
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
        context: 208,
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
        context: 208,
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
        context: 224,
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
        context: 240,
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
        context: 240,
        has_old_dicts: true,
        text: 48,
    },
];

/// Where a process's asyncio is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asyncio {
    /// Where it stands which task runs.
    pub tasks: Tasks,
    /// The event loop.
    pub event_loop: u64,
    /// The thread that runs it, by its pointer (`pthread_t`).
    pub thread: u64,
    /// Where threads have the context that they run in: where their state stands, seen from the thread's pointer, and where in that.
    pub contexts: Option<(u32, u32)>,
    /// `Task.__init__`.
    pub init: u64,
    /// `PyContext_CopyCurrent`.
    pub copies: u64,
}

/// Where it stands which task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tasks {
    /// In a dictionary, by event loop.
    ByLoop(u64),
    /// In one of before 3.11.
    ByLoopBefore311(u64),
    /// The task itself, or 0, in the state of the thread.
    OfThread(u64),
}

/// Where the module `_asyncio` tells of itself (`Py_AsyncioModuleDebugOffsets`): seven words of tasks, two of interpreters, and of threads
/// their size, and where the event loop and the task lie that run.
const SECTION: &str = ".AsyncioDebug";
const THREAD_STATE: u64 = 8 * 10;

/// What `_PyRuntime` begins with: a mark, the release, whether threads run side by side without a lock, and then of the runtime, of
/// interpreters and of threads where their members lie, in the order of 3.14.
fn described(memory: &Memory, runtime: u64) -> Option<Layout> {
    const COOKIE: u64 = u64::from_le_bytes(*b"xdebugpy");
    let [cookie, release, is_free_threaded, _, _, main, _, _, _, threads, _, _, modules] = memory.words(runtime)?;
    if cookie != COOKIE || release >> 16 != 0x30e || is_free_threaded != 0 {
        return None;
    }
    let [_, _, next, interpreter, _, thread_id] = memory.words(runtime.checked_add(8 * 22)?)?;
    let as_expected = next == THREAD_NEXT && interpreter == THREAD_INTERPRETER;
    as_expected.then_some(Layout {
        main,
        modules,
        threads,
        thread_dict: 0,
        thread_id,
        context: 208,
        running: Running::InState(0),
        has_old_dicts: false,
        text: 40,
    })
}

/// The part of a process's memory that is Python's.
struct Python<'a> {
    memory: &'a Memory,
    layout: &'a Layout,
    dict_type: u64,
    none: u64,
    copies: u64,
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
        let [Some(runtime), Some(dict_type), Some(none), Some(copies)] =
            program.symbols(["_PyRuntime", "PyDict_Type", "_Py_NoneStruct", "PyContext_CopyCurrent"])
        else {
            continue;
        };
        is_there = true;
        if let Some(layout) = described(memory, runtime) {
            // Wherever the module lies: in the program, or in a file of its own.
            let mut mappings =
                memory.mappings().iter().filter(|it| is_python(it.name()) || it.name().starts_with("_asyncio."));
            let found = mappings.find_map(|mapping| {
                let file = memory.open_mapped(mapping).map(ReadCache::new)?;
                let [event_loop, task] = Program::of(mapping, &file)?
                    .address_of(SECTION)
                    .and_then(|at| memory.words(at.checked_add(THREAD_STATE)?))?;
                let layout = Layout { running: Running::InStateWithTask(event_loop, task), ..layout };
                Python { memory, layout: &layout, dict_type, none, copies }.asyncio(runtime)
            });
            if let Some(found) = found {
                return EventLoop::Runs(found);
            }
            continue;
        }
        let found =
            LAYOUTS.iter().find_map(|layout| Python { memory, layout, dict_type, none, copies }.asyncio(runtime));
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
        let task_type = self.entry(names, b"Task")?;
        let init = self.word(task_type.checked_add(TYPE_INIT)?)?;
        let (event_loop, state) = self.running(interpreter)?;
        let thread = self.word(state.checked_add(self.layout.thread_id)?)?;
        let tasks = if let Running::InStateWithTask(_, task) = self.layout.running {
            Tasks::OfThread(state.checked_add(task)?)
        } else {
            let tasks = self.entry(names, b"_current_tasks").filter(|&tasks| self.is_dict(tasks))?;
            if self.layout.has_old_dicts { Tasks::ByLoopBefore311(tasks) } else { Tasks::ByLoop(tasks) }
        };
        let contexts = self.state_slot(interpreter).zip(u32::try_from(self.layout.context).ok());
        Some(Asyncio { tasks, event_loop, thread, contexts, init, copies: self.copies })
    }

    /// Where the C library keeps its state for each thread (`pthread_getspecific`): the one place where all that are looked at have it.
    fn state_slot(&self, interpreter: u64) -> Option<u32> {
        let mut slots: Option<Vec<u32>> = None;
        let mut state = self.word(interpreter.checked_add(self.layout.threads)?)?;
        for _ in 0..SLOT_THREADS {
            if state == 0 {
                break;
            }
            let thread = self.word(state.checked_add(self.layout.thread_id)?)?;
            let mut bytes = vec![0; PTHREAD];
            // One that has just begun, or is gone.
            if thread != 0 && self.memory.read(thread, &mut bytes).is_some() {
                let words: Vec<u64> =
                    bytes.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?))).collect();
                // A key's number of uses, odd while it is used, and its value.
                let is_slot = |pair: &[u64]| matches!(pair, [uses, value] if *value == state && uses & 1 == 1 && *uses <= u32::MAX.into());
                let of_thread: Vec<u32> =
                    (1_u32..).zip(words.windows(2)).filter(|(_, pair)| is_slot(pair)).map(|(at, _)| 8 * at).collect();
                match &mut slots {
                    None => slots = Some(of_thread),
                    Some(slots) => slots.retain(|slot| of_thread.contains(slot)),
                }
            }
            state = self.word(state.checked_add(THREAD_NEXT)?)?;
        }
        match slots?[..] {
            [slot] => Some(slot),
            _ => None,
        }
    }

    /// The event loop that runs, and the state of the thread that it does so on. Of several the one on the oldest thread: mostly the main one.
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
                found = Some((event_loop, thread));
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
            Running::InState(at) | Running::InStateWithTask(at, _) => self.word(thread.checked_add(at)?),
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

/// Where in which file a function of the process returns.
pub(super) fn returns(memory: &Memory, address: u64) -> Option<(File, Vec<u64>)> {
    let mapping = memory.mapping(address)?;
    let file = memory.open_mapped(mapping)?;
    let cache = ReadCache::new(file.try_clone().ok()?);
    let returns = Program::of(mapping, &cache)?.returns(&file, address)?;
    Some((file, returns))
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
