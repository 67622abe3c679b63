//! Java from 21 on: which virtual thread a thread carries. HotSpot, the virtual machine of OpenJDK, exports a table of where members of its
//! structures lie (`gHotSpotVMStructs`). What that does not say is found by what lies there in all of its threads: in which slot of the C
//! library's each keeps its `JavaThread`, and the number in `java.lang.Thread`, which stands behind the address of that.

use std::collections::{BTreeSet, HashSet};

use object::ReadCache;

use super::memory::{Memory, Program};

/// Most entries of the table; there are 800.
const ENTRIES_MAX: usize = 4096;
/// Longest name of a type or member that matters.
const NAME_MAX: usize = 32;
/// Most threads that are looked at, and fewest that prove something; a virtual machine has ten of its own.
const THREADS_MAX: u64 = 64;
const THREADS_MIN: usize = 4;
/// How much behind a thread's pointer (`struct pthread`) is looked through.
const PTHREAD: usize = 0x700;
/// How much of an object is.
const OBJECT: usize = 64;
/// Threads that are there from the beginning on have small numbers.
const EARLY: u64 = 1000;

/// Where it stands which thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Java {
    /// `JavaThread`, seen from the thread's pointer.
    pub thread: u64,
    /// In that: the handle of its own thread object; behind it that of the one whose code it runs.
    pub handles: u64,
    /// In a thread object: its number.
    pub number: u64,
}

/// What is there of Java.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VirtualThreads {
    /// Nothing, or nothing that is known.
    No,
    /// A virtual machine that is not up yet.
    NotYet,
    /// One that does not show what its threads run, so far.
    Unclear,
    /// One with virtual threads.
    Runs(Java),
}

/// Looks at a process.
pub(super) fn look(memory: &Memory) -> VirtualThreads {
    let Some(mapping) = memory.mappings().iter().find(|mapping| mapping.name() == "libjvm.so") else {
        return VirtualThreads::No;
    };
    let table = || {
        let file = memory.open_mapped(mapping).map(ReadCache::new)?;
        let symbols = Program::of(mapping, &file)?.symbols([
            "gHotSpotVMStructs",
            "gHotSpotVMStructEntryArrayStride",
            "gHotSpotVMStructEntryTypeNameOffset",
            "gHotSpotVMStructEntryFieldNameOffset",
            "gHotSpotVMStructEntryOffsetOffset",
            "gHotSpotVMStructEntryAddressOffset",
        ]);
        let mut values = [0; 6];
        for (value, symbol) in values.iter_mut().zip(symbols) {
            *value = memory.word(symbol?)?;
        }
        let [entries, stride, kind, member, offset, address] = values;
        Some(Table { entries, stride, kind, member, offset, address })
    };
    let Some(table) = table() else { return VirtualThreads::No };
    // Before it is loaded as a whole there is no entry; after that, what is missing will not come.
    let Some(members) = table.members(memory) else {
        return if memory.word(table.entries).is_some_and(|kind| kind != 0) {
            VirtualThreads::No
        } else {
            VirtualThreads::NotYet
        };
    };
    if members.vthread.is_none() {
        return VirtualThreads::No;
    }
    match members.threads(memory) {
        None => VirtualThreads::NotYet,
        Some(threads) => members.java(memory, &threads).map_or(VirtualThreads::Unclear, VirtualThreads::Runs),
    }
}

/// The table of members: where it begins, how long an entry is, and where in one things stand.
struct Table {
    entries: u64,
    stride: u64,
    kind: u64,
    member: u64,
    offset: u64,
    address: u64,
}

/// Members that matter, and the variable that leads to the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Members {
    threads: u64,
    length: u64,
    first: u64,
    os_thread: u64,
    pthread: u64,
    own: u64,
    vthread: Option<u64>,
}

/// A thread of the virtual machine.
struct JavaThread {
    address: u64,
    pointer: u64,
    object: u64,
}

impl Table {
    /// `None` where one is missing.
    fn members(&self, memory: &Memory) -> Option<Members> {
        let mut members = Members::default();
        let mut missing: HashSet<&str> =
            ["threads", "length", "first", "os_thread", "pthread", "own"].into_iter().collect();
        let mut entry = self.entries;
        for _ in 0..ENTRIES_MAX {
            let at = |offset: u64| memory.word(entry.checked_add(offset)?);
            let kind = at(self.kind)?;
            if kind == 0 {
                break;
            }
            let member = at(self.member)?;
            let offset = || at(self.offset);
            match text(memory, kind)?.as_slice() {
                b"ThreadsSMRSupport" if text(memory, member)? == b"_java_thread_list" => {
                    members.threads = at(self.address)?;
                    missing.remove("threads");
                }
                b"ThreadsList" => match text(memory, member)?.as_slice() {
                    b"_length" => {
                        members.length = offset()?;
                        missing.remove("length");
                    }
                    b"_threads" => {
                        members.first = offset()?;
                        missing.remove("first");
                    }
                    _ => {}
                },
                b"Thread" | b"JavaThread" => match text(memory, member)?.as_slice() {
                    b"_osthread" => {
                        members.os_thread = offset()?;
                        missing.remove("os_thread");
                    }
                    b"_threadObj" => {
                        members.own = offset()?;
                        missing.remove("own");
                    }
                    b"_vthread" => members.vthread = Some(offset()?),
                    _ => {}
                },
                b"OSThread" if text(memory, member)? == b"_pthread_id" => {
                    members.pthread = offset()?;
                    missing.remove("pthread");
                }
                _ => {}
            }
            entry = entry.checked_add(self.stride.max(8))?;
        }
        missing.is_empty().then_some(members)
    }
}

impl Members {
    fn java(&self, memory: &Memory, threads: &[JavaThread]) -> Option<Java> {
        // Both are read at once.
        if self.vthread? != self.own.checked_add(8)? {
            return None;
        }
        let slots = |thread: &JavaThread| {
            let mut bytes = vec![0; PTHREAD];
            memory.read(thread.pointer, &mut bytes)?;
            Some(places(&bytes, thread.address))
        };
        let [slot] = *common(threads, slots)?.into_iter().collect::<Vec<_>>() else { return None };
        let links = |thread: &JavaThread| {
            let mut bytes = vec![0; OBJECT];
            memory.read(thread.object, &mut bytes)?;
            Some(places(&bytes, thread.address))
        };
        let [link] = *common(threads, links)?.into_iter().collect::<Vec<_>>() else { return None };
        let number = link.checked_add(8)?;
        let mut numbers = HashSet::new();
        for thread in threads {
            let number = memory.word(thread.object.checked_add(number)?)?;
            if number == 0 || !numbers.insert(number) {
                return None;
            }
        }
        let early = numbers.iter().filter(|number| **number < EARLY).count();
        (early >= THREADS_MIN).then_some(Java { thread: slot, handles: self.own, number })
    }

    /// Those that are up.
    fn threads(&self, memory: &Memory) -> Option<Vec<JavaThread>> {
        let list = memory.word(self.threads)?;
        let length = memory.word(list.checked_add(self.length)?)? & 0xffff_ffff;
        let first = memory.word(list.checked_add(self.first)?)?;
        let mut threads = Vec::new();
        for at in 0..length.min(THREADS_MAX) {
            let address = memory.word(first.checked_add(8 * at)?)?;
            let os_thread = memory.word(address.checked_add(self.os_thread)?)?;
            let handle = memory.word(address.checked_add(self.own)?)?;
            // One that is not up yet, or no more.
            if os_thread == 0 || handle == 0 {
                continue;
            }
            let pointer = memory.word(os_thread.checked_add(self.pthread)?)?;
            let object = memory.word(handle)?;
            if pointer != 0 && object != 0 {
                threads.push(JavaThread { address, pointer, object });
            }
        }
        (threads.len() >= THREADS_MIN).then_some(threads)
    }
}

/// Where a word stands in something of each of these threads.
fn common(threads: &[JavaThread], places: impl Fn(&JavaThread) -> Option<BTreeSet<u64>>) -> Option<BTreeSet<u64>> {
    let (first, rest) = threads.split_first()?;
    let mut common = places(first)?;
    for thread in rest {
        let places = places(thread)?;
        common.retain(|place| places.contains(place));
    }
    Some(common)
}

fn places(bytes: &[u8], word: u64) -> BTreeSet<u64> {
    let words = bytes.chunks_exact(8).enumerate();
    words.filter(|(_, bytes)| *bytes == word.to_le_bytes()).map(|(at, _)| 8 * at as u64).collect()
}

/// A name; of a longer one that much.
fn text(memory: &Memory, address: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; NAME_MAX];
    memory.read(address, &mut bytes)?;
    bytes.truncate(memchr::memchr(0, &bytes).unwrap_or(NAME_MAX));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ids::ProcessId, procs::fs::ProcFs};

    /// What there is of a thread.
    struct Parts {
        pthread: Box<[u64; 256]>,
        _object: Box<[u64; 16]>,
        _handles: Box<[u64; 2]>,
        _os: Box<[u64; 3]>,
        thread: Box<[u64; 64]>,
    }

    /// A virtual machine as it lies in memory: this process's.
    struct Machine {
        entries: Vec<[u64; 6]>,
        threads: Vec<Parts>,
        list: Box<[u64; 3]>,
        pointers: Vec<u64>,
        variable: Box<u64>,
    }

    const OWN: usize = 40;
    const SLOT: usize = 99;

    fn address<T>(of: &T) -> u64 {
        std::ptr::from_ref(of) as u64
    }

    impl Machine {
        fn new(has_virtual_threads: bool, number: impl Fn(u64) -> u64) -> Self {
            let mut threads = Vec::new();
            for at in 0..6 {
                let mut thread = Box::new([0; 64]);
                let (mut pthread, mut object) = (Box::new([7; 256]), Box::new([0; 16]));
                pthread[SLOT] = address(&*thread);
                if at % 2 == 0 {
                    pthread[SLOT + 9] = address(&*thread);
                }
                (object[2], object[3]) = (address(&*thread), number(at));
                let handles = Box::new([address(&*object); 2]);
                let os = Box::new([0, address(&*pthread), 0]);
                (thread[OWN], thread[OWN + 1], thread[3]) = (address(&handles[0]), address(&handles[1]), address(&*os));
                threads.push(Parts { pthread, _object: object, _handles: handles, _os: os, thread });
            }
            let pointers: Vec<u64> = threads.iter().map(|parts| address(&*parts.thread)).collect();
            let list = Box::new([0, pointers.len() as u64, pointers.as_ptr() as u64]);
            let variable = Box::new(address(&*list));
            let entry = |kind: &'static [u8], member: &'static [u8], offset: u64, address: u64| {
                [kind.as_ptr() as u64, member.as_ptr() as u64, 0, 0, offset, address]
            };
            let mut entries = vec![
                entry(b"Nothing\0", b"_x\0", 1, 0),
                entry(b"ThreadsSMRSupport\0", b"_java_thread_list\0", 0, address(&*variable)),
                entry(b"ThreadsList\0", b"_length\0", 8, 0),
                entry(b"ThreadsList\0", b"_threads\0", 16, 0),
                entry(b"Thread\0", b"_osthread\0", 24, 0),
                entry(b"OSThread\0", b"_pthread_id\0", 8, 0),
                entry(b"JavaThread\0", b"_threadObj\0", 8 * OWN as u64, 0),
            ];
            if has_virtual_threads {
                entries.push(entry(b"JavaThread\0", b"_vthread\0", 8 * OWN as u64 + 8, 0));
            }
            entries.push([0; 6]);
            Self { entries, threads, list, pointers, variable }
        }

        fn table(&self) -> Table {
            Table { entries: self.entries.as_ptr() as u64, stride: 48, kind: 0, member: 8, offset: 32, address: 40 }
        }

        fn java(&self) -> Option<Java> {
            let memory = memory();
            let members = self.table().members(&memory)?;
            members.java(&memory, &members.threads(&memory)?)
        }
    }

    fn memory() -> Memory {
        Memory::open(&ProcFs::new("/proc"), ProcessId(std::process::id())).unwrap()
    }

    #[test]
    fn where_threads_keep_what_they_run_is_found_by_what_all_of_them_have_there() {
        let machine = Machine::new(true, |at| at + 9);
        assert_eq!(machine.pointers.len(), machine.threads.len());
        assert_eq!(*machine.variable, address(&*machine.list));
        let found = Java { thread: 8 * SLOT as u64, handles: 8 * OWN as u64, number: 24 };
        assert_eq!(machine.java(), Some(found));
    }

    #[test]
    fn what_is_laid_out_otherwise_is_left_alone() {
        assert_eq!(Machine::new(true, |_| 9).java(), None, "no numbers of threads");
        assert_eq!(Machine::new(true, |at| at + 0x7_0000_0000).java(), None, "parts of addresses");
        let mut machine = Machine::new(true, |at| at + 9);
        for Parts { pthread, .. } in &mut machine.threads {
            pthread[SLOT + 1] = pthread[SLOT];
        }
        assert_eq!(machine.java(), None, "two slots");
        let machine = Machine::new(true, |at| at + 9);
        let broken = Table { entries: 8, ..machine.table() };
        assert_eq!(broken.members(&memory()), None);
        // Java 17.
        assert_eq!(Machine::new(false, |at| at + 9).table().members(&memory()).unwrap().vthread, None);
        assert_eq!(look(&memory()), VirtualThreads::No);
    }
}
