//! Probes on functions of programs and libraries, for all processes at once: the programs look at which are watched.

use std::{
    ffi::CString,
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use anyhow::Context;
use aya::{
    Ebpf,
    maps::{Array, Map, MapData, MapError},
    programs::{
        ProgramError, ProgramType, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
    sys::{BpfHelper, is_helper_supported},
};
use ebpf_common::policy::{
    TLS_ALL_FILES, TLS_BY_RECORD, TLS_COMPLETE, TLS_DEPTH_SHIFT, TLS_FILES_MAX, TLS_INCOMPLETE, TLS_OF_GO,
};
use object::{Object as _, ObjectSegment as _, ReadCache};
use thiserror::Error;

use super::{Capture, backend::NotAttached, bpf, patiently, uprobe_multi};
use crate::tls::{Function, Probed, Probes, Site};

/// What programs of uprobes continue in, and where they look for it.
const CONTINUATION: &str = "tls_frames";
/// See [`CONTINUATION`].
const CONTINUATIONS: &str = "TAIL_CALLS_TLS";

/// What is told of language runtimes, by the program that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRuntime {
    /// A task of Python's asyncio begins.
    AsyncioTask,
    /// Python has copied the context that code runs in.
    PythonContext,
    /// A task of tokio does.
    TokioTask,
    /// A task of tokio gives another what to send.
    TokioGives,
    /// A goroutine gives a request to a connection of HTTP/1.
    GoCalls,
    /// A goroutine has another one begun for a request over HTTP/2.
    GoCalls2,
    /// A goroutine begins to answer a request over HTTP/2.
    GoHandles2,
    /// A goroutine begins to answer a call of grpc-go.
    GoHandlesGrpc,
    /// A goroutine has had a stream made for a call of grpc-go.
    GoAsks,
    /// `crypto/tls` of Go gives bytes to who reads.
    GoTlsRead,
    /// It is given bytes by who writes.
    GoTlsWrite,
}

impl OfRuntime {
    /// Plaintext is seen there.
    pub(crate) const fn is_of_tls(self) -> bool {
        matches!(self, Self::GoTlsRead | Self::GoTlsWrite)
    }

    /// It is told who answers a request.
    pub(crate) const fn is_of_answers(self) -> bool {
        matches!(self, Self::GoHandles2 | Self::GoHandlesGrpc)
    }

    const fn program(self) -> &'static str {
        match self {
            Self::AsyncioTask => "asyncio_task",
            Self::PythonContext => "python_context",
            Self::TokioTask => "tokio_task",
            Self::TokioGives => "tokio_gives",
            Self::GoCalls => "go_calls",
            Self::GoCalls2 => "go_calls2",
            Self::GoHandles2 => "go_handles2",
            Self::GoHandlesGrpc => "go_handles_grpc",
            Self::GoAsks => "go_asks",
            Self::GoTlsRead => "go_tls_read",
            Self::GoTlsWrite => "go_tls_write",
        }
    }
}

/// The program that is tried where it is not known yet how probes are put in place.
const TRIED: &str = "tls_free";

/// Why probes are not put in place.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The file is another one by now.
    #[error("the file has other code than before at byte {0}")]
    OtherCode(u64),
    /// The object of the kernel side.
    #[error("the BPF object lacks {0}")]
    Missing(String),
    /// A program.
    #[error("{program}: {source}")]
    Program {
        /// Which.
        program: &'static str,
        /// Why it is not in its place.
        source: Box<Self>,
    },
    /// The kernel took no perf event.
    #[error(transparent)]
    NotAttached(#[from] NotAttached),
    /// The kernel took no link of kind `uprobe_multi`.
    #[error("{0:#}")]
    Link(anyhow::Error),
    /// A map of the kernel side.
    #[error(transparent)]
    Map(#[from] MapError),
    /// This program itself, at which it is tried.
    #[error("/proc/self/exe: {0}")]
    Own(Box<dyn std::error::Error + Send + Sync>),
}

impl From<ProgramError> for ProbeError {
    fn from(error: ProgramError) -> Self {
        Self::NotAttached(error.into())
    }
}

/// By what probes are put in place.
pub(super) enum How {
    /// Links of their own kind. `true`: one was made, so that this kernel knows them.
    Multi(Box<uprobe_multi::Programs>, bool),
    /// Events of `perf_event_open`.
    Perf,
}

impl How {
    /// What `object`, loaded from `bytes`, allows. It still has all its maps.
    pub(super) fn of(bytes: &[u8], object: &Ebpf) -> Self {
        match uprobe_multi::Programs::of(bytes, object) {
            Ok(programs) => Self::Multi(Box::new(programs), false),
            Err(error) => {
                tracing::debug!(%error, "uprobes go by way of perf events");
                Self::Perf
            }
        }
    }
}

/// A probe in place; dropping it takes it away, for which the kernel takes a twentieth of a second and more: it waits until no
/// processor can be in it any more.
#[derive(Debug)]
pub enum Uprobe {
    /// A link of its own kind.
    Multi(OwnedFd),
    /// A perf event.
    Perf(UProbeLink),
}

impl Probes for Capture {
    type Probe = Uprobe;
    type Error = ProbeError;

    fn set_complete(&mut self, number: u32, is_complete: bool) {
        let word = if is_complete { TLS_COMPLETE } else { TLS_INCOMPLETE };
        let said = if self.uprobes_have_cookies {
            say(&mut self.object, TLS_ALL_FILES, TLS_COMPLETE).and_then(|()| say(&mut self.object, number, word))
        } else {
            // All libraries count as one.
            say(&mut self.object, TLS_ALL_FILES, word)
        };
        match said {
            Ok(()) => self.says_tls = true,
            Err(error) => tracing::warn!(%error, "TLS traffic is not seen"),
        }
    }

    fn attach(&mut self, file: &File, number: u32, site: &Site) -> Result<Vec<Uprobe>, ProbeError> {
        // Not by its path, which may mean another file by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let has_depth = self.uprobes_have_cookies;
        let entry = site.entry.probed(has_depth);
        let returns: Vec<&Probed> = site.returns.iter().map(|place| place.probed(has_depth)).collect();
        if let Some(other) = returns.iter().chain([&entry]).find(|probed| !probed.is_in(file)) {
            return Err(ProbeError::OtherCode(other.offset));
        }
        let (on_entry, on_return) = site.function.programs();
        let number = if site.function == Function::WriteRecord { number | TLS_BY_RECORD } else { number };
        let returns = on_return.filter(|_| !returns.is_empty()).map(|program| (program, &*returns));
        let mut probes: Vec<Uprobe> = Vec::new();
        // The returns first: an entry without them would leave calls open.
        for (program, places) in returns.into_iter().chain([(on_entry, &[entry][..])]) {
            let places: Vec<(u64, u32)> = places.iter().map(|probed| (probed.offset, probed.depth)).collect();
            match self.put(program, &path, &places, number) {
                Ok(new) => probes.extend(new),
                Err(error) => {
                    for probe in probes {
                        Probes::detach(self, probe);
                    }
                    return Err(ProbeError::Program { program, source: Box::new(error) });
                }
            }
        }
        Ok(probes)
    }

    fn detach(&mut self, probe: Uprobe) {
        self.detached.push(probe);
    }
}

impl Capture {
    /// Puts probes in place that tell what happens in a language runtime.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn probe_runtime(&mut self, what: OfRuntime, file: &File, offsets: &[u64]) -> Result<Vec<Uprobe>, ProbeError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<(u64, u32)> = offsets.iter().map(|&offset| (offset, 0)).collect();
        // Not by its path, which may mean another file by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        if what.is_of_tls() {
            return self.put(what.program(), &path, &places, TLS_ALL_FILES);
        }
        self.choose_how();
        self.attach_all(what.program(), &path, &places, TLS_ALL_FILES)
    }

    /// From here on plaintext of Go's is taken up, and of connections with TLS it is asked whose they carry.
    ///
    /// # Errors
    /// When its map cannot be written.
    pub fn begin_tls(&mut self) -> Result<(), ProbeError> {
        if !std::mem::replace(&mut self.says_tls, true) {
            // Where libraries are not told from each other it says of all of them whether they have their probes.
            say(&mut self.object, TLS_ALL_FILES, TLS_INCOMPLETE)?;
        }
        say(&mut self.object, TLS_OF_GO, TLS_COMPLETE)
    }

    /// Takes up no more TLS objects: sockets are told of no longer, and what is met now could not be bound to its
    /// connection.
    pub(super) fn leave_new_streams_out(&mut self) {
        let numbers = if self.uprobes_have_cookies { 1..=TLS_FILES_MAX } else { TLS_ALL_FILES..=TLS_ALL_FILES };
        for number in numbers.chain([TLS_OF_GO]) {
            if let Err(error) = say(&mut self.object, number, TLS_INCOMPLETE) {
                tracing::debug!(%error, "TLS connections that begin while probes are taken away may come out unbound");
                return;
            }
        }
    }

    /// Loads what programs of uprobes continue in, before the first of them. Capture works without.
    fn continue_uprobes(&mut self) {
        if std::mem::replace(&mut self.uprobes_continue, true) {
            return;
        }
        let put = match &mut self.uprobes {
            How::Multi(programs, _) => {
                programs.load(CONTINUATION).and_then(|program| continue_in(&self.object, program.as_raw_fd()))
            }
            How::Perf => load(&mut self.object, CONTINUATION)
                .map_err(anyhow::Error::from)
                .and_then(|program| Ok(program.fd()?.as_fd().as_raw_fd()))
                .and_then(|program| continue_in(&self.object, program)),
        };
        if let Err(error) = put {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "frames of HTTP/2 within TLS are not followed on this kernel; those behind large ones are missed"
            );
        }
    }

    /// Puts a program at offsets of a file, for all processes. It will know the file by `number`, and how far the stack pointer
    /// is from the return address at each.
    ///
    /// # Errors
    /// What the kernel said.
    fn put(
        &mut self,
        program: &str,
        path: &str,
        places: &[(u64, u32)],
        number: u32,
    ) -> Result<Vec<Uprobe>, ProbeError> {
        self.choose_how();
        self.continue_uprobes();
        self.attach_all(program, path, places, number)
    }

    /// As [`Capture::put`], of a program that continues in no other.
    fn attach_all(
        &mut self,
        program: &str,
        path: &str,
        places: &[(u64, u32)],
        number: u32,
    ) -> Result<Vec<Uprobe>, ProbeError> {
        let cookie = |depth: u32| u64::from(number) | u64::from(depth) << TLS_DEPTH_SHIFT;
        if let How::Multi(programs, works) = &mut self.uprobes {
            let attached = CString::new(path).map_err(anyhow::Error::from).and_then(|path| {
                let cookies: Vec<u64> = places.iter().map(|&(_, depth)| cookie(depth)).collect();
                let offsets: Vec<u64> = places.iter().map(|&(offset, _)| offset).collect();
                programs.attach(program, &path, &offsets, &cookies)
            });
            match attached {
                Ok(link) => {
                    *works = true;
                    return Ok(vec![Uprobe::Multi(link)]);
                }
                Err(error) if *works => return Err(ProbeError::Link(error)),
                Err(error) => {
                    // A kernel before 6.6 knows none.
                    tracing::debug!(error = format!("{error:#}"), "uprobes go by way of perf events");
                    self.uprobes = How::Perf;
                    if std::mem::take(&mut self.uprobes_continue) {
                        self.continue_uprobes();
                    }
                }
            }
        }
        let has_cookies = self.uprobes_have_cookies;
        let put = |&(offset, depth): &(u64, u32)| {
            attach(&mut self.object, program, path, offset, has_cookies.then_some(cookie(depth)))
        };
        places.iter().map(put).collect()
    }

    /// Tries whether this kernel knows links of their own kind, by a program that continues in no other: a map of programs takes those of
    /// one kind only, the one that is first loaded with it, and by which means there are probes is of their kind.
    fn choose_how(&mut self) {
        let How::Multi(programs, works @ false) = &mut self.uprobes else { return };
        let Ok(offset) = own_entry() else { return };
        match programs.attach(TRIED, c"/proc/self/exe", &[offset], &[0]) {
            Ok(link) => {
                *works = true;
                self.detached.push(Uprobe::Multi(link));
            }
            Err(error) => {
                // A kernel before 6.6 knows none.
                tracing::debug!(error = format!("{error:#}"), "uprobes go by way of perf events");
                self.uprobes = How::Perf;
            }
        }
    }

    /// Tries whether functions of programs can be probed here, at one that runs only where this program starts. Gives by
    /// what means.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn try_uprobe(&mut self) -> Result<&'static str, ProbeError> {
        let offset = own_entry()?;
        match &*self.put(TRIED, "/proc/self/exe", &[(offset, 0)], TLS_ALL_FILES)? {
            [Uprobe::Multi(_), ..] => Ok("links of kind uprobe_multi"),
            _ => Ok("perf events"),
        }
    }
}

/// Where this program begins, in its file.
fn own_entry() -> Result<u64, ProbeError> {
    let own = File::open("/proc/self/exe").map_err(|error| ProbeError::Own(error.into()))?;
    // Of its 28 MB only the headers are read.
    let own = ReadCache::new(own);
    let elf = object::File::parse(&own).map_err(|error| ProbeError::Own(error.into()))?;
    let entry = elf.entry();
    let offset = elf.segments().find_map(|segment| {
        let within = entry.checked_sub(segment.address())?;
        let (offset, size) = segment.file_range();
        (within < size).then_some(offset + within)
    });
    offset.ok_or_else(|| ProbeError::Own("it has no entry point".into()))
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, ProbeError> {
    let program = object.program_mut(name).ok_or_else(|| ProbeError::Missing(format!("program {name}")))?;
    Ok(program.try_into()?)
}

/// Whether the kernel gives programs of uprobes what their link was made with (Linux 5.15).
pub(super) fn have_cookies() -> bool {
    is_helper_supported(ProgramType::KProbe, BpfHelper::BPF_FUNC_get_attach_cookie).unwrap_or(false)
}

/// Tells the programs how far the probes of a file are.
fn say(object: &mut Ebpf, number: u32, word: u32) -> Result<(), ProbeError> {
    const NAME: &str = "TLS_PROBED";
    let map = object.map_mut(NAME).ok_or_else(|| ProbeError::Missing(format!("map {NAME}")))?;
    let mut probed: Array<_, u32> = map.try_into()?;
    Ok(probed.set(number, word, 0)?)
}

/// Loads a program when it is first needed: most hosts would not need it at all.
fn load<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, ProbeError> {
    let program = program(object, name)?;
    if program.fd().is_err() {
        patiently(|| program.load())?;
    }
    Ok(program)
}

/// Tells programs of uprobes what they continue in: the program with this file descriptor.
fn continue_in(object: &Ebpf, program: RawFd) -> anyhow::Result<()> {
    let map = object.map(CONTINUATIONS).and_then(bpf::fd).context("no map for programs")?;
    // The kernel takes programs into their map by the same call that puts numbers into an array.
    let mut map = Map::Array(MapData::from_fd(map.try_clone_to_owned()?)?);
    let mut programs: Array<_, u32> = (&mut map).try_into()?;
    Ok(programs.set(0, program.cast_unsigned(), 0)?)
}

fn attach(object: &mut Ebpf, name: &str, path: &str, offset: u64, cookie: Option<u64>) -> Result<Uprobe, ProbeError> {
    let program = load(object, name)?;
    let point = UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(offset), cookie };
    let link = program.attach(point, path, UProbeScope::AllProcesses).and_then(|id| program.take_link(id))?;
    Ok(Uprobe::Perf(link))
}
