//! Capture: loads the kernel programs, tells them what to watch, and reads their events.

pub(crate) mod backend;
mod bpf;
mod drop_queue;
pub(crate) mod event;
mod fill;
mod standby;
#[cfg(test)]
pub(crate) mod testing;
mod undecided;
mod uprobe_multi;
mod uprobes;

use std::{
    borrow::BorrowMut,
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Duration,
};

use anyhow::Context;
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, ProgramArray, RingBuf},
    programs::{BtfTracePoint, Program, ProgramError},
};
use ebpf_common::{
    capture::{
        BEGINNING_WORDS, BEGINNINGS_MAX, BEGINNINGS_WORDS, Beginning, Capture as Needed, ENDING_WORDS, ENDINGS_IN_SET,
        ENDINGS_WORDS, Ending, MODE_NOTHING, begins,
    },
    limits,
    offsets::KernelOffsets,
    policy::{CLAIMS_CHUNK, COUNTERS, Counter, IGNORE, IGNORE_UNLESS_SERVING, PORT_WORDS, WATCH},
    work::Plan,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;
use zerocopy::IntoBytes;

pub(crate) use self::uprobes::{OfRuntime, Uprobe};
use self::{
    backend::{Attach, Backend, Continuation, Hook, NotAttached, Reason, Refusal},
    drop_queue::DropQueue,
    event::Event,
    fill::Fill,
    standby::Standby,
    undecided::UndecidedLosses,
};
use crate::{
    kernel::{
        btf::{Btf, BtfError},
        capabilities::{self, Capabilities, Capability},
        release::Release,
    },
    model::ids::{ConnectionId, ProcessId},
};

/// The kernel side, built by this crate's build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes"));

/// What to load, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Backends to try, best first.
    pub backends: Vec<Backend>,
    /// Watch every process that is not ignored by [`Capture::ignore`].
    pub watch_all: bool,
    /// Size of the ring buffer; rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// Most bytes copied from the beginning of a message.
    pub capture_bytes: u32,
    /// Attach programs that look at nothing, to measure what the hooks cost.
    pub hooks_only: bool,
    /// Tell the programs how to read which unit of work a thread carries on.
    pub runtimes: bool,
    /// Read the DNS answers that processes receive.
    pub dns_answers: bool,
    /// How many copies stand behind each program at a tracepoint, for when it is preempted; `None`: as many as this
    /// kernel needs.
    pub standby: Option<u32>,
    /// Processes are chosen by rules: those that are not evaluated yet have a quarter of the ring.
    pub is_selective: bool,
    /// Ports that processes are chosen by, see [`Capture::choose_ports`].
    pub chosen_ports: Vec<(u16, u16)>,
    /// What is captured of connections of which nothing is known yet.
    pub at_first: AtFirst,
}

/// What is captured of connections of which nothing is known yet but by what their pieces begin with.
#[derive(Clone, Debug, Default)]
pub struct AtFirst {
    /// Requests and responses, by their first bytes.
    pub beginnings: Vec<Beginning>,
    /// Most bytes of a turn that is captured whole.
    pub whole: u32,
    /// Sets of what answers may end with, by which connections that are known say it.
    pub endings: Vec<[Ending; ENDINGS_IN_SET]>,
}

impl Options {
    fn head_limit(&self) -> u32 {
        self.capture_bytes.min(limits::HEAD_MAX)
    }

    /// The programs' table of beginnings, how many there are, and most of a turn that is captured whole. Where less is wanted than
    /// protocols need, nothing is followed or captured whole.
    fn beginnings(&self) -> ([u32; BEGINNINGS_WORDS], u32, u32) {
        let head_limit = self.head_limit();
        let is_less = head_limit < limits::HEAD_MAX;
        let unwanted = if is_less { begins::WHOLE | begins::HTTP1_MESSAGES } else { 0 };
        let told: Vec<&Beginning> =
            self.at_first.beginnings.iter().filter(|it| it.what & unwanted == 0).take(BEGINNINGS_MAX).collect();
        let mut table = [0; BEGINNINGS_WORDS];
        for (slot, beginning) in table.chunks_exact_mut(BEGINNING_WORDS).skip(1).zip(&told) {
            let Beginning { word, mask, what, head } = **beginning;
            slot.copy_from_slice(&[word, mask, what, head.min(head_limit)]);
        }
        (table, told.len() as u32, if is_less { 0 } else { self.at_first.whole.min(limits::WHOLE_MAX) })
    }
}

impl AtFirst {
    /// The programs' table of endings.
    fn endings(&self) -> [u32; ENDINGS_WORDS] {
        let mut table = [0; ENDINGS_WORDS];
        for (slot, set) in table.chunks_exact_mut(ENDING_WORDS).skip(1).zip(&self.endings) {
            let words = set.iter().flat_map(|it| [it.words, it.masks].concat());
            slot.iter_mut().zip(words).for_each(|(to, word)| *to = word);
        }
        table
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backends: Backend::ALL.to_vec(),
            watch_all: false,
            ring_bytes: limits::RING_BYTES,
            capture_bytes: limits::HEAD_MAX,
            hooks_only: false,
            runtimes: true,
            dns_answers: true,
            is_selective: false,
            chosen_ports: Vec::new(),
            at_first: AtFirst::default(),
            standby: None,
        }
    }
}

/// Why capture could not be started.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// This process may not load BPF programs.
    #[error(
        "not permitted: missing {}; {}",
        names(.missing, ", "), capabilities::advice()
    )]
    NotPermitted {
        /// The capabilities that are missing.
        missing: Vec<&'static Capability>,
    },
    /// The kernel does not describe its types.
    #[error(
        "{source}; beyla-rs needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of current distributions are"
    )]
    NoBtf {
        /// What was wrong.
        #[from]
        source: BtfError,
    },
    /// The kernel refused maps, or the object as a whole.
    #[error("the kernel refused the BPF object: {source}")]
    Load {
        /// What aya said.
        #[from]
        source: Box<aya::EbpfError>,
    },
    /// No backend could be attached.
    #[error("no capture backend works here: {}; `beyla-rs check` tells what this kernel lacks", refusals(.refused))]
    NoBackend {
        /// Each that was tried, and why it was refused.
        refused: Vec<Refusal>,
    },
    /// A map of ours is not in the object, or not of its kind.
    #[error("the BPF object lacks the map {name}")]
    NoMap {
        /// Its name.
        name: &'static str,
    },
    /// The list of processes could not be changed.
    #[error("cannot watch process {tgid}: {source}")]
    Watch {
        /// The process.
        tgid: ProcessId,
        /// What aya said.
        source: MapError,
    },
}

fn names(capabilities: &[&Capability], separator: &str) -> String {
    capabilities.iter().map(|capability| capability.name).collect::<Vec<_>>().join(separator)
}

fn refusals(refused: &[Refusal]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Words of a share of the ring as the programs keep it; the last counts records that were shed.
const SHARE_WORDS: usize = 3;
/// Words of a plan.
const PLAN_WORDS: usize = size_of::<Plan>() / 8;
/// `BPF_EXIST`: changes what is there, and adds nothing.
const ONLY_IF_THERE: u64 = 2;

/// What was decided of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Watch it, and what it forks off.
    Watch,
    /// Leave it out.
    Ignore,
    /// Leave it out until it serves one of [`Capture::choose_ports`].
    IgnoreUnlessServing,
    /// Leave it out, since nothing is known of it: it may have been one to watch.
    Unknown,
}

impl Decision {
    const fn policy(self) -> u32 {
        match self {
            Self::Watch => WATCH,
            Self::Ignore | Self::Unknown => IGNORE,
            Self::IgnoreUnlessServing => IGNORE_UNLESS_SERVING,
        }
    }
}

/// The running kernel side. Dropping it (or the end of the process) detaches everything.
pub struct Capture {
    backend: Backend,
    refused: Vec<Refusal>,
    /// Holds programs, links and the maps that are not taken out below.
    object: Ebpf,
    uprobes: uprobes::How,
    /// Uprobes carry the number of their file, so that the kernel side knows which are complete.
    uprobes_have_cookies: bool,
    /// What they continue in was put in place, or refused.
    uprobes_continue: bool,
    /// The kernel side was told that TLS is seen at all.
    says_tls: bool,
    /// Probes on their way out.
    detached: DropQueue<Uprobe>,
    standby: Standby,
    ring: RingBuf<MapData>,
    fill: Option<Fill>,
    processes: HashMap<MapData, u32, u32>,
    ports: Array<MapData, u64>,
    shares: HashMap<MapData, u32, [u64; SHARE_WORDS]>,
    undecided: UndecidedLosses,
    captures: HashMap<MapData, u64, [u32; 4]>,
    plans: HashMap<MapData, u32, [u64; PLAN_WORDS]>,
    reads_runtimes: bool,
    /// Most bytes of the beginning of a turn, whatever a protocol needs.
    head_limit: u32,
    counts: PerCpuArray<MapData, u64>,
}

impl Capture {
    /// Loads the programs of the first of the backends that works here.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn start(options: &Options) -> Result<Self, CaptureError> {
        let missing = Capabilities::of_this_process().missing();
        if !missing.is_empty() {
            return Err(CaptureError::NotPermitted { missing });
        }
        let types = Btf::of_running_kernel()?;
        let mut absent = Vec::new();
        let offsets = KernelOffsets::resolve(
            |structure, member| types.offset(structure, member),
            |structure, member| absent.push((structure, member)),
        );
        drop(types);
        for (structure, member) in &absent {
            tracing::debug!(structure, member, "this kernel lacks a member");
        }
        let types = aya::Btf::from_sys_fs().map_err(|error| Box::new(aya::EbpfError::BtfError(error)))?;

        let mut refused = Vec::new();
        for &backend in &options.backends {
            if let Some(reason) = backend.lacks(&absent) {
                refused.push(Refusal { backend, reason });
                continue;
            }
            let copies = options.standby.unwrap_or_else(|| standby::copies(Release::running()));
            let mut object = load(options, backend, &offsets, copies)?;
            if let Err(reason) = attach(&mut object, backend, &types, options.dns_answers) {
                refused.push(Refusal { backend, reason });
                continue;
            }
            let copies = Standby::attach(OBJECT, &mut object, backend, &types, options.dns_answers, copies);
            let copies = copies.unwrap_or_else(|error| {
                let error = format!("{error:#}");
                tracing::warn!(error, "what moves while a program of the kernel side is preempted is not seen");
                Standby::default()
            });
            // Before anything is told: who serves such a port is told of with it.
            if let Some(map) = object.map_mut("PORTS") {
                let told = Array::try_from(map).and_then(|mut ports| tell_ports(&mut ports, &options.chosen_ports));
                if let Err(error) = told {
                    tracing::warn!(%error, "who serves a port that was passed to it is not found by that port");
                }
            }
            all_are_attached(&mut object)?;
            return Self::with(object, backend, refused, copies, options);
        }
        Err(CaptureError::NoBackend { refused })
    }

    fn with(
        mut object: Ebpf,
        backend: Backend,
        refused: Vec<Refusal>,
        standby: Standby,
        options: &Options,
    ) -> Result<Self, CaptureError> {
        let head_limit = options.head_limit();
        let uprobes = uprobes::How::of(OBJECT, &object);
        let mut map = |name: &'static str| object.take_map(name).ok_or(CaptureError::NoMap { name });
        let wrong = |name| move |_| CaptureError::NoMap { name };
        let events = map("EVENTS")?;
        let fill = bpf::fd(&events).map(|fd| Fill::new(fd, ring_bytes(options.ring_bytes))).and_then(|fill| {
            fill.inspect_err(|error| tracing::warn!(%error, "it is not seen how full the ring is: spans are not given up before records"))
                .ok()
        });
        Ok(Self {
            ring: RingBuf::try_from(events).map_err(wrong("EVENTS"))?,
            fill,
            processes: HashMap::try_from(map("PROCESSES")?).map_err(wrong("PROCESSES"))?,
            ports: Array::try_from(map("PORTS")?).map_err(wrong("PORTS"))?,
            shares: HashMap::try_from(map("SHARES")?).map_err(wrong("SHARES"))?,
            undecided: UndecidedLosses::new(
                HashMap::try_from(map("UNDECIDED_LOSSES")?).map_err(wrong("UNDECIDED_LOSSES"))?,
            ),
            captures: HashMap::try_from(map("CAPTURES")?).map_err(wrong("CAPTURES"))?,
            plans: HashMap::try_from(map("WORK_PLANS")?).map_err(wrong("WORK_PLANS"))?,
            reads_runtimes: options.runtimes,
            head_limit,
            counts: PerCpuArray::try_from(map("COUNTS")?).map_err(wrong("COUNTS"))?,
            backend,
            refused,
            object,
            uprobes,
            uprobes_have_cookies: uprobes::have_cookies(),
            uprobes_continue: false,
            says_tls: false,
            detached: DropQueue::default(),
            standby,
        })
    }

    /// The backend in use.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Better backends that were tried and refused.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Captures what a process does from now on, and its children with it.
    ///
    /// # Errors
    /// When too many processes are watched.
    pub fn watch(&mut self, tgid: ProcessId) -> Result<(), CaptureError> {
        self.processes.insert(tgid.0, WATCH, 0).map_err(|source| CaptureError::Watch { tgid, source })
    }

    /// Never looks at a process, even where all others are watched.
    ///
    /// # Errors
    /// When too many processes are known.
    pub fn ignore(&mut self, tgid: ProcessId) -> Result<(), CaptureError> {
        self.processes.insert(tgid.0, IGNORE, 0).map_err(|source| CaptureError::Watch { tgid, source })
    }

    /// Says what was decided of a process that the kernel side has told of. One that has ended meanwhile is passed over.
    ///
    /// # Errors
    /// When the kernel refuses that.
    pub fn decide(&mut self, tgid: ProcessId, decision: Decision) -> Result<(), CaptureError> {
        let told = self.processes.insert(tgid.0, decision.policy(), ONLY_IF_THERE);
        self.undecided.on_decision(tgid, matches!(decision, Decision::Watch | Decision::Unknown));
        match told {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(CaptureError::Watch { tgid, source }),
            Ok(()) => Ok(()),
        }
    }

    /// Says what was decided of a process that runs already, before the kernel side meets it. What is said of one that has ended
    /// meanwhile is taken back when its number is used again.
    ///
    /// # Errors
    /// When too many processes are known.
    pub fn decide_before(&mut self, tgid: ProcessId, decision: Decision) -> Result<(), CaptureError> {
        self.processes.insert(tgid.0, decision.policy(), 0).map_err(|source| CaptureError::Watch { tgid, source })
    }

    /// Processes are chosen by these ports (ranges, inclusive): who serves one is told of.
    pub fn choose_ports(&mut self, ranges: &[(u16, u16)]) {
        if let Err(error) = tell_ports(&mut self.ports, ranges) {
            tracing::warn!(%error, "who serves a port that was passed to it is not found by that port");
        }
    }

    /// Records that were shed of each process because it had taken more than its share of the ring, as far as the kernel
    /// side remembers.
    pub fn shed(&self) -> impl Iterator<Item = (ProcessId, u64)> {
        self.shares.iter().flatten().map(|(tgid, [.., shed])| (ProcessId(tgid), shed)).filter(|&(_, shed)| shed > 0)
    }

    /// To be called each second, and when no more processes are evaluated (`is_last`): finds out what was lost of processes that
    /// were chosen, or never evaluated.
    pub fn settle_losses(&mut self, is_last: bool) {
        self.undecided.settle(&self.processes, is_last);
    }

    /// Forgets what was said of a process.
    pub fn forget(&mut self, tgid: ProcessId) {
        // It may have ended, and the kernel side has removed it then.
        let _gone_already = self.processes.remove(&tgid.0);
    }

    /// Processes marked to be watched at the moment, in no order.
    #[must_use]
    pub fn watched(&self) -> Vec<ProcessId> {
        self.processes
            .iter()
            .flatten()
            .filter(|&(_, policy)| policy == WATCH)
            .map(|(tgid, _)| ProcessId(tgid))
            .collect()
    }

    /// Whether [`Capture::plan`] is to be told anything.
    #[must_use]
    pub const fn reads_runtimes(&self) -> bool {
        self.reads_runtimes
    }

    /// How the unit of work is read that a thread of a process carries on. Gives whether that was taken up.
    pub fn plan(&mut self, tgid: ProcessId, plan: Plan) -> bool {
        let words: [u64; PLAN_WORDS] = zerocopy::transmute!(plan);
        let told = self.plans.insert(tgid.0, words, 0);
        if let Err(error) = &told {
            tracing::debug!(%error, %tgid, "calls of a process are not told apart by the request that they are made for");
        }
        told.is_ok()
    }

    /// Forgets what [`Capture::plan`] said.
    pub fn forget_plan(&mut self, tgid: ProcessId) {
        let _gone_already = self.plans.remove(&tgid.0);
    }

    /// Nothing more is wanted of a connection.
    pub fn ignore_connection(&mut self, id: ConnectionId) {
        if let Err(error) = self.captures.insert(id.0, [MODE_NOTHING, 0, 0, 0], 0) {
            tracing::debug!(%error, %id, "a connection cannot be ignored in the kernel; it goes on being skipped here");
        }
    }

    /// What is needed of a connection from here on.
    pub fn capture_connection(&mut self, id: ConnectionId, needed: Needed) {
        let Needed { head, grown, .. } = needed;
        // Where less is wanted than protocols need, no more of anything.
        let is_less = self.head_limit < limits::HEAD_MAX;
        let head = head.map(|most| most.min(if is_less { self.head_limit } else { limits::WHOLE_MAX }));
        let told = Needed { head, grown: if is_less { [0; 2] } else { grown }, ..needed };
        let told: [u32; 4] = zerocopy::transmute!(told);
        if let Err(error) = self.captures.insert(id.0, told, 0) {
            tracing::debug!(%error, %id, "a connection goes on being captured as any other; some of it may be missed");
        }
    }

    /// Unloads the programs that see sockets; what is in the ring can still be drained. Probes of libraries
    /// go when this value is dropped: the kernel takes its time for each.
    pub fn detach(&mut self) {
        self.leave_new_streams_out();
        // Before the first ones: without these, they would tell what is told.
        self.standby.detach(&mut self.object);
        for (name, program) in self.object.programs_mut() {
            let Program::BtfTracePoint(program) = program else { continue };
            if let Err(error) = program.unload() {
                // It was not loaded: another backend's, or not needed.
                tracing::trace!(name, %error, "not unloaded");
            }
        }
    }

    /// Waits until the kernel side asks for attention (a share of the ring is full), or the time is over.
    pub fn wait(&self, at_most: Duration) {
        let timeout = Timespec::try_from(at_most).ok();
        // An interrupted wait is as good as a finished one: the caller looks at the ring next.
        let _ready_or_not = poll(&mut [PollFd::new(&self.ring.as_fd(), PollFlags::IN)], timeout.as_ref());
    }

    /// Hands over the events that wait in the ring, oldest first, `at_most` that many. Gives their number.
    pub fn drain(&mut self, at_most: usize, mut on_event: impl FnMut(Event<'_>)) -> usize {
        for taken in 0..at_most {
            let Some(record) = self.ring.next() else { return taken };
            match Event::parse(&record) {
                Some(event) => on_event(event),
                None => tracing::error!(bytes = record.len(), "the kernel side sent a record of unknown form"),
            }
        }
        at_most
    }

    /// The part of the ring that waits to be taken, of 1.
    #[must_use]
    pub fn waiting(&self) -> f64 {
        self.fill.as_ref().map_or(0.0, Fill::part)
    }

    /// Records that were to be written and were not, whatever the reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let of = [
            Counter::LostRingFull,
            Counter::LostMapFull,
            Counter::LostPreempted,
            Counter::ShedUndecided,
            Counter::ShedShare,
            Counter::LostTlsRecord,
        ];
        let values = of.iter().filter_map(|counter| self.counts.get(&(*counter as u32), 0).ok());
        values.map(|values| values.iter().sum::<u64>()).sum()
    }

    /// Counters of the kernel side, summed over processors.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = [0; COUNTERS as usize];
        for (index, count) in (0..).zip(&mut counts) {
            if let Ok(values) = self.counts.get(&index, 0) {
                *count = values.iter().sum();
            }
        }
        let of_undecided = self.undecided.counted();
        for (counter, more) in
            [(Counter::ShedUnattributed, of_undecided.records), (Counter::LostRequests, of_undecided.requests)]
        {
            counts[counter as usize] += more;
        }
        Counts { counts, missed_runs: self.missed_runs(counts[Counter::ToldBefore as usize]) }
    }

    /// See [`Counts::missed_runs`].
    fn missed_runs(&self, told_before: u64) -> u64 {
        let first = self.object.programs().filter_map(|(_, program)| {
            let Program::BtfTracePoint(program) = program else { return None };
            program.fd().ok().map(AsFd::as_fd)
        });
        match self.standby.skipped() {
            Some(of_last) => of_last.saturating_sub(told_before),
            None => skipped(first),
        }
    }
}

/// How often the kernel left programs out.
fn skipped<'a>(programs: impl Iterator<Item = BorrowedFd<'a>>) -> u64 {
    let told = |fd: BorrowedFd<'_>| fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok();
    programs.filter_map(|fd| missed_runs(&told(fd)?)).sum()
}

/// The line of a program that says so (Linux 5.12).
fn missed_runs(told: &str) -> Option<u64> {
    told.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

/// A reading of the kernel side's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    counts: [u64; COUNTERS as usize],
    missed_runs: u64,
}

impl Counts {
    /// One counter's value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts.get(counter as usize).copied().unwrap_or(0)
    }

    /// How often the kernel did not run a program at a tracepoint, since it was being run on that processor already: what
    /// moved then was not seen, if it was of interest. It happens where a program can be preempted (from Linux 7.0 on). Where
    /// copies stand by, how often none of them was run, at most: that only the last was not shows at the thread's next hit.
    #[must_use]
    pub const fn missed_runs(&self) -> u64 {
        self.missed_runs
    }
}

fn load(options: &Options, backend: Backend, offsets: &KernelOffsets<u32>, standby: u32) -> Result<Ebpf, CaptureError> {
    let watch_all = u32::from(options.watch_all);
    let head_limit = options.head_limit();
    let (beginnings, beginnings_count, whole_limit) = options.beginnings();
    let endings = options.at_first.endings();
    let ring_bytes = ring_bytes(options.ring_bytes);
    let wake_at = ring_bytes / 4;
    let hooks_only = u32::from(options.hooks_only);
    let is_selective = u32::from(options.is_selective);
    let has_cookies = u32::from(uprobes::have_cookies());
    let threads = standby::threads(fs::read_to_string("/proc/sys/kernel/pid_max").ok().as_deref());
    let mut loader = EbpfLoader::new();
    loader
        .override_global("OFFSETS", offsets.as_bytes(), true)
        .override_global("WATCH_ALL", &watch_all, true)
        .override_global("HEAD_LIMIT", &head_limit, true)
        .override_global("WHOLE_LIMIT", &whole_limit, true)
        .override_global("BEGINNINGS", &beginnings[..], true)
        .override_global("ENDINGS", &endings[..], true)
        .override_global("BEGINNINGS_COUNT", &beginnings_count, true)
        .override_global("SELECTIVE", &is_selective, true)
        .override_global("RING", &ring_bytes, true)
        .override_global("WAKE_AT", &wake_at, true)
        .override_global("HOOKS_ONLY", &hooks_only, true)
        .override_global("HAS_COOKIES", &has_cookies, true)
        .override_global("STANDBY", &standby, true)
        .override_global("THREADS", &threads, true)
        .map_max_entries("EVENTS", ring_bytes);
    if standby > 0 {
        // One more for idle threads.
        loader.map_max_entries("CLAIMS", threads / CLAIMS_CHUNK + 1);
    }
    for &(map, entries) in backend.maps() {
        loader.map_max_entries(map, entries);
    }
    loader.load(OBJECT).map_err(|error| Box::new(error).into())
}

/// Tells the programs that all of them are in their place: from here on processes are watched that nobody has named.
fn all_are_attached(object: &mut Ebpf) -> Result<(), CaptureError> {
    const NAME: &str = "ALL_ATTACHED";
    let map = object.map_mut(NAME).ok_or(CaptureError::NoMap { name: NAME })?;
    let mut attached: Array<_, u32> = map.try_into().map_err(|_| CaptureError::NoMap { name: NAME })?;
    attached.set(0, 1, 0).map_err(|error| Box::new(aya::EbpfError::MapError(error)).into())
}

fn tell_ports<T: BorrowMut<MapData>>(ports: &mut Array<T, u64>, ranges: &[(u16, u16)]) -> Result<(), MapError> {
    (0..PORT_WORDS).zip(port_words(ranges)).try_for_each(|(index, word)| ports.set(index, word, 0))
}

/// The map of ports, a bit for each.
fn port_words(ranges: &[(u16, u16)]) -> Vec<u64> {
    let mut words = vec![0; PORT_WORDS as usize];
    for port in ranges.iter().flat_map(|&(first, last)| first..=last) {
        if let Some(word) = words.get_mut(usize::from(port / 64)) {
            *word |= 1 << (port % 64);
        }
    }
    words
}

/// The kernel wants a power of two that is a multiple of the page size.
fn ring_bytes(wanted: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    wanted.clamp(page, 1 << 30).next_power_of_two()
}

/// Attaches the hooks of a backend: all of them, or it is refused. The ones that follow processes come first.
fn attach(object: &mut Ebpf, backend: Backend, types: &aya::Btf, dns_answers: bool) -> Result<(), Reason> {
    for hook in backend::PROCESS_HOOKS.iter().chain(backend.hooks()) {
        hook.attach(object, types).map_err(|source| Reason::Hook { at: hook.attach, source })?;
    }
    let answers = if dns_answers { backend.reads_answers() } else { &[] };
    for continuation in backend.continuations().iter().chain(answers) {
        if let Err(error) = continuation.attach(object, types) {
            let program = continuation.hook.program;
            tracing::warn!(%error, program, "{}", continuation.otherwise);
        }
    }
    Ok(())
}

impl Continuation {
    fn attach(&self, object: &mut Ebpf, types: &aya::Btf) -> anyhow::Result<()> {
        let Attach::Tracepoint(tracepoint) = self.hook.attach;
        let program = self.hook.program;
        let program: &mut BtfTracePoint = object.program_mut(program).context("not in the object")?.try_into()?;
        patiently(|| program.load(tracepoint, types)).map_err(NotAttached::from)?;
        let fd = program.fd()?.try_clone()?;
        let mut programs: ProgramArray<_> = object.map_mut(self.map).context("not in the object")?.try_into()?;
        Ok(programs.set(self.index, &fd, 0)?)
    }
}

impl Hook {
    fn attach(&self, object: &mut Ebpf, types: &aya::Btf) -> Result<(), NotAttached> {
        let program = object
            .program_mut(self.program)
            .ok_or_else(|| ProgramError::InvalidName { name: self.program.to_owned() })?;
        let Attach::Tracepoint(tracepoint) = self.attach;
        let program: &mut BtfTracePoint = program.try_into()?;
        patiently(|| program.load(tracepoint, types))?;
        program.attach()?;
        Ok(())
    }
}

/// How often a program is handed to a verifier that signals interrupt.
const TRIES: u32 = 10;

/// Loads a program, again where a signal has interrupted the verifier.
fn patiently(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == std::io::ErrorKind::WouldBlock && tries < TRIES => {}
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chosen_port_has_its_bit() {
        let words = port_words(&[(8080, 8080), (0, 1), (65_535, 65_535)]);
        let set: Vec<u32> = (0..=65_535).filter(|port| words[*port as usize / 64] >> (port % 64) & 1 != 0).collect();
        assert_eq!(set, [0, 1, 8080, 65_535]);
    }

    #[test]
    fn how_often_a_program_was_left_out_is_read_where_the_kernel_tells() {
        assert_eq!(missed_runs("pos:\t0\nprog_id:\t72\nrun_cnt:\t0\nrecursion_misses:\t98\n"), Some(98));
        assert_eq!(missed_runs("pos:\t0\nprog_id:\t72\nrun_cnt:\t0\n"), None);
    }
}
