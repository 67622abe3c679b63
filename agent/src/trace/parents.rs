//! Which of the requests that a process is answering a call of its is made for.
//!
//! What proves it, the surest first: the call carries the context that the request came with; it is made by the unit of work (task,
//! connection of an event loop) that answers the request; by the thread that does nothing else meanwhile; or there is no other
//! request that it could be for. Where two could be meant, none is; and where tasks share threads, or may, threads say nothing.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Evidence, behind::Done, orphans::Numbered, recent::Recent};
use crate::model::{
    exchange::{Key, Opened, Place},
    ids::{ConnectionId, ProcessId, ThreadId},
    net::{ConnectionInfo, Thread},
    trace_context::{TraceId, TraceParent},
};

/// A request that has been answered for longer than that is taken to leave nothing behind. Until then a call may be its own still,
/// and so is nobody's for certain.
const AFTERMATH_NS: u64 = 1_000_000_000;
/// A process that has made calls for no request within that time may do so again at any moment.
pub(super) const BACKGROUND_NS: u64 = 600_000_000_000;
/// A call that is made so long after the request came is not taken to be for it without a unit of work that says so: a stream that
/// stays open for hours is not what everything in between is done for.
pub(super) const ADOPTION_NS: u64 = 60_000_000_000;
/// So many requests that overlapped with others of their process stayed on their threads: then threads are not shared.
const PROVEN: u32 = 16;
/// So many requests that overlapped with others of their process were each answered by a unit of work of their connection's own: then
/// it is not waited for the others to be answered.
const UNITS_PROVEN: u32 = 16;
/// Most open requests of a unit of work among which the one is looked for that came when a call says.
const CAME_MAX: usize = 8;
/// Most answered requests of a unit of work that are remembered.
const OVER_MAX: usize = 8;
/// Most requests and calls of which it is told before they are told themselves who answers them, or has them sent.
const AHEAD_MAX: usize = 4096;
/// Most units of work that are remembered.
const UNITS_MAX: usize = 16_384;
/// Threads that are remembered without a request, before those without are forgotten.
const THREADS_MAX: usize = 16_384;
/// Processes that are remembered without a request, before those without are forgotten.
const IDLE_PROCESSES: usize = 4096;

/// Processes whose runtime is remembered; of more, that of all is forgotten.
const RUNTIMES_MAX: usize = 65_536;

/// What is known of how a process shares its threads among what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// Nothing yet.
    #[default]
    NotRead,
    /// A language's runtime is there that may come to run tasks on an event loop, or does already.
    MayHaveTasks,
    /// Tasks are told apart: what is done by none is done for none that is known.
    Tasks,
    /// The same of goroutines, whose reading and calls say when the request came that they are for.
    Goroutines,
    /// Units of work are threads that do one request after the other, whoever has read it: one is known from its response on.
    Workers,
    /// None whose tasks could be told apart.
    Other,
}

/// Whether a process's threads do one request at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// That is not known yet.
    Unclear,
    /// They do.
    Stay,
    /// They share requests, or threads say nothing there.
    Shared,
}

/// A request that is being answered.
#[derive(Clone, Copy, Debug)]
struct Served {
    key: Key,
    connection: ConnectionId,
    thread: Thread,
    /// The unit of work that answers it, which may be known from its response on only; 0 for none.
    unit: u64,
    start_ns: u64,
    is_blocking: bool,
    carried: Option<TraceParent>,
    /// Another was open at some time, of the same process.
    has_overlapped: bool,
    /// Another was open at some time that the same unit of work has read, at the same time as far as that is told.
    shares_unit: bool,
    /// When it came, as calls for it say (`Thread::begun_ns`); 0: they do not.
    came_ns: u64,
    /// Where it stands among those of its process.
    at: u32,
    /// Its number on its connection; 0 for none.
    number: u64,
}

/// How a process goes about its requests.
#[derive(Debug, Default)]
struct Process {
    /// Those that are open.
    open: SmallVec<[Key; 2]>,
    /// When one was last over.
    ended_ns: u64,
    /// A thread has taken up a request before it was done with another, or one was answered by another thread than read it.
    shares_threads: bool,
    /// Requests that overlapped with others and stayed with their thread.
    stayed: u32,
    /// Its program is known to serve each request by a thread.
    is_threaded: bool,
    /// When it last made a call that was for no request; 0 for never.
    background_ns: u64,
    /// Open requests of which it is not known yet which unit of work answers them.
    unknown: u32,
    /// A unit of work has answered requests of several connections, or was at several at once.
    shares_units: bool,
    /// Requests that overlapped with others and were answered by units of work of their own.
    units_stayed: u32,
    /// When a unit of work has last made a call of its own after its request was over; 0 for never.
    behind_ns: u64,
}

/// Requests of which it is only asked whether there is none, one and which, or several: takes no time, however many there are.
#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    count: u32,
    /// All of them, so that what is left of one is its key.
    xor: u64,
}

impl Crowd {
    const fn add(&mut self, key: Key) {
        self.count += 1;
        self.xor ^= key.number();
    }

    /// One that was added.
    const fn remove(&mut self, key: Key) {
        self.count = self.count.saturating_sub(1);
        self.xor ^= key.number();
    }

    const fn is_empty(self) -> bool {
        self.count == 0
    }

    fn only(self) -> Option<Key> {
        (self.count == 1).then(|| Key::of_number(self.xor))
    }
}

/// A thread that has taken up a request.
#[derive(Debug, Default)]
struct Serving {
    /// Those that are open.
    open: Crowd,
    /// When it has last made a call for none, without having one; 0 for never.
    own_call_ns: u64,
    /// The same while it had one, and nothing proved that it was for that.
    unproven_call_ns: u64,
}

/// A unit of work that has answered a request.
#[derive(Clone, Debug)]
struct Unit {
    connection: ConnectionId,
    /// The first that it has answered.
    first: Key,
    /// Those that are over, the last ones of them: when they began and ended.
    over: SmallVec<[(Key, u64, u64); 2]>,
}

/// Requests that are being answered, by all that a call may be known by.
#[derive(Debug, Default)]
pub(super) struct Parents {
    /// By the slot of their key.
    served: Vec<Option<Served>>,
    processes: FxHashMap<ProcessId, Process>,
    by_thread: FxHashMap<(ProcessId, ThreadId), Serving>,
    by_work: FxHashMap<(ProcessId, u64), SmallVec<[Key; 1]>>,
    by_trace: FxHashMap<(ProcessId, TraceId), SmallVec<[Key; 1]>>,
    /// Those with a number on their connection that a unit of work has read.
    by_place: FxHashMap<Numbered, Key>,
    /// By such a number: which unit of work answers one that was not told yet, and when it began to.
    handled: Recent<Numbered, (ProcessId, (u64, u64)), AHEAD_MAX>,
    /// By such a number of a call: which unit of work has it sent that another one writes, and when what asked for it was begun.
    asked: Recent<Numbered, (ProcessId, (u64, u64)), AHEAD_MAX>,
    /// Those that were known from a response on.
    units: FxHashMap<(ProcessId, u64), Unit>,
    units_order: VecDeque<(ProcessId, u64)>,
    /// Those that were read.
    runtimes: FxHashMap<ProcessId, Runtime>,
}

impl super::Tracer {
    /// A unit of work begins to answer a request that another one has read, at a time that all says that it does for it.
    pub(crate) fn on_handled(&mut self, tgid: ProcessId, connection: ConnectionId, number: u64, by: (u64, u64)) {
        self.parents.on_handled(tgid, connection, number, by);
    }
}

impl Parents {
    /// A request has come.
    pub(super) fn on_request(&mut self, connection: &ConnectionInfo, opened: &Opened) {
        let Opened { key, thread, start_ns, parent: carried, place, .. } = *opened;
        let Thread { tgid, tid, work, begun_ns } = thread;
        self.make_room();
        let runtime = self.runtime(tgid);
        // Of those who reads a request need not be who does it.
        let work = if runtime == Runtime::Workers { 0 } else { work };
        let number = match place {
            Place::Id(number) if work != 0 => number,
            _ => 0,
        };
        let came_ns = if runtime == Runtime::Goroutines { begun_ns } else { 0 };
        let (mut work, mut came_ns) = (work, came_ns);
        if number != 0 {
            let place = (connection.id, number);
            self.by_place.insert(place, key);
            if let Some((_, by)) = self.handled.remove(&place).filter(|(of, _)| *of == tgid) {
                (work, came_ns) = by;
            }
        }
        let thread = Thread { work, ..thread };
        let process = self.processes.entry(tgid).or_default();
        let has_overlapped = !process.open.is_empty();
        // Told late, on a connection that was met in its midst: what a worker seemed to do for nobody was for this one.
        if runtime == Runtime::Workers && start_ns <= process.behind_ns {
            process.behind_ns = 0;
        }
        if let [first] = process.open[..]
            && let Some(first) = slot_mut(&mut self.served, first)
        {
            first.has_overlapped = true;
        }
        let at = process.open.len() as u32;
        process.open.push(key);
        let of_thread = self.by_thread.entry((tgid, tid)).or_default();
        process.shares_threads |= !of_thread.open.is_empty();
        of_thread.open.add(key);
        let mut shares_unit = false;
        if work != 0 {
            let same = self.by_work.entry((tgid, work)).or_default();
            // Those before the last were told when it came.
            if let Some(other) = same.last().and_then(|last| slot_mut(&mut self.served, *last)) {
                process.shares_units |= other.connection != connection.id;
                if other.came_ns == came_ns {
                    other.shares_unit = true;
                    shares_unit = true;
                }
            }
            same.push(key);
        }
        process.unknown += u32::from(work == 0);
        if let Some(carried) = carried {
            self.by_trace.entry((tgid, carried.trace_id)).or_default().push(key);
        }
        let is_blocking = connection.is_blocking;
        let slot = key.slot();
        if slot >= self.served.len() {
            self.served.resize(slot + 1, None);
        }
        if let Some(place) = self.served.get_mut(slot) {
            *place = Some(Served {
                key,
                connection: connection.id,
                thread,
                unit: work,
                start_ns,
                is_blocking,
                carried,
                has_overlapped,
                shares_unit,
                came_ns,
                at,
                number,
            });
        }
    }

    /// The response to a request begins, written by a unit of work that is done for it. Gives the process, where that was not known before.
    pub(super) fn on_response(&mut self, key: Key, thread: Thread) -> Option<ProcessId> {
        let served = slot_mut(&mut self.served, key).filter(|served| served.unit == 0)?;
        let Thread { tgid, work, .. } = thread;
        if work == 0 || tgid != served.thread.tgid {
            return None;
        }
        served.unit = work;
        let connection = served.connection;
        let are_workers = self.runtime(tgid) == Runtime::Workers;
        let process = self.processes.get_mut(&tgid)?;
        process.unknown = process.unknown.saturating_sub(1);
        let Self { units, units_order, .. } = self;
        let unit = units.entry((tgid, work)).or_insert_with(|| {
            units_order.push_back((tgid, work));
            Unit { connection, first: key, over: SmallVec::new() }
        });
        process.shares_units |= !are_workers && unit.connection != connection;
        if units_order.len() > UNITS_MAX
            && let Some(oldest) = units_order.pop_front()
        {
            units.remove(&oldest);
        }
        Some(tgid)
    }

    /// A request is answered by a unit of work of its own, not by the one that has read it.
    fn on_handled(&mut self, tgid: ProcessId, connection: ConnectionId, number: u64, by: (u64, u64)) {
        let Some(&key) = self.by_place.get(&(connection, number)) else {
            self.handled.insert((connection, number), (tgid, by));
            return;
        };
        let (work, came_ns) = by;
        let Some(served) = slot_mut(&mut self.served, key).filter(|served| served.thread.tgid == tgid) else { return };
        let reads = std::mem::replace(&mut served.thread.work, work);
        served.unit = work;
        (served.shares_unit, served.came_ns) = (false, came_ns);
        remove(&mut self.by_work, (tgid, reads), key);
        self.by_work.entry((tgid, work)).or_default().push(key);
    }

    /// See [`Tracer::on_asked`](super::Tracer::on_asked).
    pub(super) fn on_asked(&mut self, tgid: ProcessId, connection: ConnectionId, number: u64, by: (u64, u64)) {
        self.asked.insert((connection, number), (tgid, by));
    }

    /// Puts right which unit of work a call is made by, where that is not the one that has written it.
    pub(super) fn asks(&mut self, connection: ConnectionId, call: &mut Opened) {
        let Place::Id(number) = call.place else { return };
        if let Some((_, (work, begun_ns))) =
            self.asked.remove(&(connection, number)).filter(|(tgid, _)| *tgid == call.thread.tgid)
        {
            (call.thread.work, call.thread.begun_ns) = (work, begun_ns);
        }
    }

    /// By what it may be told later which unit of work has a call sent, where one writes for all.
    pub(super) fn numbered(&self, connection: ConnectionId, call: &Opened) -> Option<Numbered> {
        match call.place {
            Place::Id(number) if self.runtime(call.thread.tgid) == Runtime::Goroutines => Some((connection, number)),
            _ => None,
        }
    }

    /// A request is over. `response_tid`: the thread that answered, if that is known. Gives what all that was done for it says, where that does.
    pub(super) fn on_answered(&mut self, key: Key, response_tid: ThreadId, end_ns: u64) -> Option<Done> {
        let place = self.served.get_mut(key.slot());
        let served = place.and_then(|place| place.take_if(|served| served.key == key))?;
        let Thread { tgid, tid, work, .. } = served.thread;
        if let Some(of_thread) = self.by_thread.get_mut(&(tgid, tid)) {
            of_thread.open.remove(key);
        }
        if work != 0 {
            remove(&mut self.by_work, (tgid, work), key);
        }
        if served.number != 0 {
            self.by_place.remove(&(served.connection, served.number));
        }
        if let Some(carried) = served.carried {
            remove(&mut self.by_trace, (tgid, carried.trace_id), key);
        }
        let is_late = work == 0 && served.unit != 0;
        if is_late && let Some(unit) = self.units.get_mut(&(tgid, served.unit)) {
            if unit.over.len() >= OVER_MAX {
                unit.over.remove(0);
            }
            unit.over.push((key, served.start_ns, end_ns));
        }
        if let Some(process) = self.processes.get_mut(&tgid) {
            let at = served.at as usize;
            if process.open.get(at) == Some(&key) {
                process.open.swap_remove(at);
                if let Some(moved) = process.open.get(at)
                    && let Some(moved) = slot_mut(&mut self.served, *moved)
                {
                    moved.at = served.at;
                }
            }
            process.unknown = process.unknown.saturating_sub(u32::from(served.unit == 0));
            process.units_stayed += u32::from(is_late && served.has_overlapped && process.units_stayed < UNITS_PROVEN);
            process.ended_ns = process.ended_ns.max(end_ns);
            process.shares_threads |= response_tid.is_some() && response_tid != tid;
            process.stayed += u32::from(served.has_overlapped && response_tid == tid && process.stayed < PROVEN);
        }
        (work != 0 && served.came_ns != 0).then_some((tgid, work, served.came_ns))
    }

    /// Forgets processes without a request when there are many.
    fn make_room(&mut self) {
        if self.processes.len() >= IDLE_PROCESSES {
            self.processes.retain(|_, process| !process.open.is_empty());
        }
        if self.by_thread.len() >= THREADS_MAX {
            self.by_thread.retain(|_, thread| !thread.open.is_empty());
        }
    }

    /// Threads of a process are known to serve one request each.
    pub(super) fn trust_threads(&mut self, tgid: ProcessId) {
        self.make_room();
        let process = self.processes.entry(tgid).or_default();
        (process.stayed, process.is_threaded) = (PROVEN, true);
    }

    /// What is known by now of a process's runtime.
    pub(super) fn set_runtime(&mut self, tgid: ProcessId, runtime: Runtime) {
        if runtime == Runtime::NotRead {
            self.runtimes.remove(&tgid);
            return;
        }
        if self.runtimes.len() >= RUNTIMES_MAX {
            self.runtimes.clear();
        }
        self.runtimes.insert(tgid, runtime);
    }

    /// What is known of a process's runtime.
    pub(super) fn runtime(&self, tgid: ProcessId) -> Runtime {
        self.runtimes.get(&tgid).copied().unwrap_or_default()
    }

    /// A call has turned out to be made for no request. `had_request`: the thread had one then, and nothing proved that it was for that.
    pub(super) fn on_background(&mut self, Thread { tgid, tid, .. }: Thread, start_ns: u64, had_request: bool) {
        self.make_room();
        let process = self.processes.entry(tgid).or_default();
        process.background_ns = process.background_ns.max(start_ns);
        // Before it has taken up a request, it may have one that was not seen.
        if let Some(thread) = self.by_thread.get_mut(&(tgid, tid)) {
            let place = if had_request { &mut thread.unproven_call_ns } else { &mut thread.own_call_ns };
            *place = (*place).max(start_ns);
        }
    }

    fn get(&self, key: Key) -> Option<&Served> {
        self.served.get(key.slot())?.as_ref().filter(|served| served.key == key)
    }

    /// Whether a context that a call carries is of a trace that a request came with which is open in its process: with a span of that
    /// process.
    pub(super) fn continues(&self, tgid: ProcessId, carried: TraceParent) -> bool {
        let Some(keys) = self.by_trace.get(&(tgid, carried.trace_id)) else { return false };
        let mut came = keys.iter().filter_map(|key| self.get(*key)?.carried).peekable();
        came.peek().is_some() && came.all(|came| came.span_id != carried.span_id)
    }

    /// What the only request came with that is open in a process.
    pub(super) fn alone(&self, tgid: ProcessId) -> Option<TraceParent> {
        self.get(only(&self.processes.get(&tgid)?.open)?)?.carried
    }

    /// The request that a call is made for. `waits`: who makes it waits for its socket, and so does nothing else meanwhile.
    pub(super) fn of_call(&self, opened: &Opened, waits: bool) -> Option<(Key, Evidence)> {
        let Opened { thread, start_ns, parent: carried, .. } = *opened;
        let Thread { tgid, tid, work, begun_ns } = thread;
        if let Some(carried) = carried {
            // Handed on as it came. With another span's id it is somebody's within the process, who is the parent then.
            let same = only(self.by_trace.get(&(tgid, carried.trace_id))?)?;
            let served = self.get(same)?;
            return (served.carried?.span_id == carried.span_id).then_some((same, Evidence::Header));
        }
        if work != 0 {
            let Some(same) = self.by_work.get(&(tgid, work)) else {
                if self.runtime(tgid) == Runtime::Workers {
                    return self.of_call_of_worker(opened).map(|key| (key, Evidence::Thread));
                }
                return self.of_late_call(opened).map(|key| (key, Evidence::Task));
            };
            let served = self.of_unit(same, begun_ns)?;
            // What was begun before is for an earlier request of its connection, and may be for another that was open then.
            let is_for_it = if begun_ns == 0 {
                served.start_ns <= start_ns
            } else {
                served.start_ns <= begun_ns && !served.shares_unit
            };
            let is_shared = self.processes.get(&tgid).is_some_and(|process| process.shares_units);
            return (is_for_it && !is_shared).then_some((served.key, Evidence::Task));
        }
        let process = self.processes.get(&tgid)?;
        if process.open.is_empty() {
            return None;
        }
        let runtime = self.runtime(tgid);
        let is_past = |at_ns: u64, ago_ns: u64| at_ns == 0 || at_ns.saturating_add(ago_ns) <= start_ns;
        if let Some(of_thread) = self.by_thread.get(&(tgid, tid)).filter(|of_thread| !of_thread.open.is_empty()) {
            let served = self.get(of_thread.open.only()?)?;
            // Event loops, too, answer what they have read; but they write what others ask for, and never wait for it.
            let has_threads = matches!(runtime, Runtime::MayHaveTasks | Runtime::Other)
                && process.stayed >= PROVEN
                && (waits || process.is_threaded);
            let is_alone = !process.shares_threads && (served.is_blocking || has_threads);
            // A loop that waits for several sockets at once has other things to do, though none of them waits.
            let Serving { own_call_ns, unproven_call_ns, .. } = *of_thread;
            let has_no_other =
                is_past(own_call_ns, BACKGROUND_NS) && (waits || is_past(unproven_call_ns, BACKGROUND_NS));
            if is_alone && has_no_other && is_within(served, start_ns) {
                return Some((served.key, Evidence::Thread));
            }
        }
        let served = self.get(only(&process.open)?)?;
        // Who waits for one socket runs no tasks beside; else one of a timer's may be at work.
        if !served.is_blocking && runtime != Runtime::Other {
            return None;
        }
        let is_quiet = is_past(process.ended_ns, AFTERMATH_NS) && is_past(process.background_ns, BACKGROUND_NS);
        // Another thread may be at work of its own.
        let is_sole = is_quiet && served.thread.tid == tid && is_within(served, start_ns);
        is_sole.then_some((served.key, Evidence::SoleRequest))
    }

    /// The request that a call is made for if threads of its process are not shared, while that is not known: the only one of its thread, which waits for
    /// its socket.
    pub(super) fn meant(&self, opened: &Opened, waits: bool) -> Option<Key> {
        let Opened { thread: Thread { tgid, tid, work, .. }, start_ns, parent, .. } = *opened;
        let is_open = self.threads(tgid) == Threads::Unclear;
        if !waits || work != 0 || parent.is_some() || !is_open {
            return None;
        }
        let served = self.get(self.by_thread.get(&(tgid, tid))?.open.only()?)?;
        (self.has_no_other(opened) && is_within(served, start_ns)).then_some(served.key)
    }

    /// Whether the thread that makes a call was not seen to call for nobody.
    pub(super) fn has_no_other(&self, Opened { thread: Thread { tgid, tid, .. }, start_ns, .. }: &Opened) -> bool {
        let thread = self.by_thread.get(&(*tgid, *tid));
        thread.is_some_and(|it| it.own_call_ns == 0 || it.own_call_ns.saturating_add(BACKGROUND_NS) <= *start_ns)
    }

    /// What is known of a process's threads by how it works.
    pub(super) fn threads(&self, tgid: ProcessId) -> Threads {
        let process = self.processes.get(&tgid);
        if process.is_some_and(|process| process.shares_threads)
            || !matches!(self.runtime(tgid), Runtime::MayHaveTasks | Runtime::Other)
        {
            return Threads::Shared;
        }
        if process.is_some_and(|process| process.stayed >= PROVEN) { Threads::Stay } else { Threads::Unclear }
    }

    /// Whether a request is open.
    pub(super) fn is_open(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// The one of a unit's open requests that it works for, where it is told when that came: others seem to be open whose answers were lost.
    fn of_unit(&self, keys: &[Key], begun_ns: u64) -> Option<&Served> {
        if keys.len() > CAME_MAX {
            return None;
        }
        let open = keys.iter().filter_map(|key| self.get(*key));
        let mut meant = open.filter(|served| served.came_ns == 0 || served.came_ns == begun_ns);
        meant.next().filter(|_| meant.next().is_none())
    }

    /// Whether the thread that makes a call has a request.
    pub(super) fn has_request(&self, Thread { tgid, tid, .. }: Thread) -> bool {
        self.by_thread.get(&(tgid, tid)).is_some_and(|thread| !thread.open.is_empty())
    }

    /// Whether a call that seems to be made for nobody may be for a request all the same: what would tell was not read yet.
    pub(super) fn is_doubtful(&self, Thread { tgid, work, .. }: Thread) -> bool {
        let has_open = || self.processes.get(&tgid).is_some_and(|process| !process.open.is_empty());
        work == 0 && self.runtime(tgid) == Runtime::NotRead && has_open()
    }
}

/// Units of work that are known from the response on: tasks of event loops, which read for all of their tasks.
impl Parents {
    /// Whether a call that is made for nobody may turn out to be for a request when that is answered.
    pub(super) fn may_come(&self, call: &Opened) -> bool {
        let Thread { tgid, work, .. } = call.thread;
        work != 0 && self.processes.get(&tgid).is_some_and(|process| process.unknown > 0 && !process.shares_units)
    }

    /// When the oldest open request of a process began of which it is not known which unit of work answers it.
    pub(super) fn oldest_unknown_ns(&self, tgid: ProcessId) -> Option<u64> {
        self.open_of(tgid).filter(|served| served.unit == 0).map(|served| served.start_ns).min()
    }

    fn open_of(&self, tgid: ProcessId) -> impl Iterator<Item = &Served> {
        let process = self.processes.get(&tgid);
        process.into_iter().flat_map(|process| &process.open).filter_map(|key| self.get(*key))
    }

    /// A call is made.
    pub(super) fn on_call(&mut self, call: &Opened) {
        let Thread { tgid, work, begun_ns, .. } = call.thread;
        if work == 0 {
            return;
        }
        let runtime = self.runtime(tgid);
        // What a unit does by itself behind its request is not to be taken for the next one's.
        if let Some(Unit { connection, over, .. }) = self.units.get(&(tgid, work))
            && let Some((.., end_ns)) = over.last()
            && (begun_ns == 0 || begun_ns > *end_ns)
            && call.start_ns > *end_ns
            && self.open_of(tgid).all(|served| {
                if runtime == Runtime::Workers { served.unit != 0 } else { served.connection != *connection }
            })
            && let Some(process) = self.processes.get_mut(&tgid)
        {
            process.behind_ns = process.behind_ns.max(call.start_ns);
        }
    }

    /// The request that a call is made for by the unit of work that has begun to answer it: the only one of its connection then.
    fn of_late_call(&self, call: &Opened) -> Option<Key> {
        let Thread { tgid, work, begun_ns, .. } = call.thread;
        let process = self.processes.get(&tgid).filter(|process| !process.shares_units)?;
        let unit = self.units.get(&(tgid, work))?;
        let is_past = |start_ns: u64| start_ns <= call.start_ns;
        let of_connection = |served: &&Served| served.connection == unit.connection && is_past(served.start_ns);
        let mut open = self.open_of(tgid).filter(of_connection);
        let mut over = unit.over.iter().filter(|(_, start_ns, end_ns)| is_past(*start_ns) && *end_ns >= call.start_ns);
        // Not where two were open at that moment.
        let (key, start_ns) = match (open.next(), open.next(), over.next(), over.next()) {
            (Some(served), None, None, _) if served.unit == work => (served.key, served.start_ns),
            (None, _, Some(&(key, start_ns, _)), None) => (key, start_ns),
            _ => return None,
        };
        if begun_ns != 0 && begun_ns < start_ns {
            return None;
        }
        let is_reused = unit.first != key;
        let is_behind = process.behind_ns != 0 && process.behind_ns.saturating_add(BACKGROUND_NS) > call.start_ns;
        if is_reused && is_behind {
            return None;
        }
        // The unit may turn out to answer another one, too.
        let is_proven = process.units_stayed >= UNITS_PROVEN;
        (is_proven || self.oldest_unknown_ns(tgid).is_none_or(|oldest_ns| oldest_ns > call.start_ns)).then_some(key)
    }

    /// The request that a call is made for by a worker that has begun to answer it: it does one after the other, so it is the one behind
    /// whose predecessor's end the call was made.
    fn of_call_of_worker(&self, call: &Opened) -> Option<Key> {
        let Thread { tgid, work, .. } = call.thread;
        let process = self.processes.get(&tgid)?;
        let unit = self.units.get(&(tgid, work))?;
        let key = if let Some(&(key, start_ns, _)) = unit.over.iter().find(|(.., end_ns)| *end_ns >= call.start_ns) {
            // What is remembered begins in the midst of it.
            let is_first = unit.over.len() >= OVER_MAX && unit.over.first().is_some_and(|(first, ..)| *first == key);
            (start_ns <= call.start_ns && !is_first).then_some(key)?
        } else {
            let mut open = self.open_of(tgid).filter(|served| served.unit == work && served.start_ns <= call.start_ns);
            open.next().filter(|_| open.next().is_none())?.key
        };
        let is_behind = process.behind_ns != 0 && process.behind_ns.saturating_add(BACKGROUND_NS) > call.start_ns;
        (!is_behind).then_some(key)
    }

    /// Whether calls of a process may be found to be for requests that are over.
    pub(super) fn looks_back(&self, tgid: ProcessId) -> bool {
        self.processes.get(&tgid).is_some_and(|process| process.units_stayed < UNITS_PROVEN)
    }
}

fn slot_mut(served: &mut [Option<Served>], key: Key) -> Option<&mut Served> {
    served.get_mut(key.slot())?.as_mut().filter(|served| served.key == key)
}

/// A call that is made then may be for the request.
fn is_within(served: &Served, start_ns: u64) -> bool {
    (served.start_ns..served.start_ns.saturating_add(ADOPTION_NS)).contains(&start_ns)
}

fn only(keys: &[Key]) -> Option<Key> {
    match keys {
        [key] => Some(*key),
        _ => None,
    }
}

fn remove<K: std::hash::Hash + Eq, const N: usize>(map: &mut FxHashMap<K, SmallVec<[Key; N]>>, at: K, key: Key)
where
    [Key; N]: smallvec::Array<Item = Key>,
{
    if let std::collections::hash_map::Entry::Occupied(mut entry) = map.entry(at) {
        entry.get_mut().retain(|other| *other != key);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}
