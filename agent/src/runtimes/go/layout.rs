//! How structures of a release of Go are laid out.

use super::offsets::{GRPC, GRPC_NEWEST, STATISTICS, TABLE};

/// Offsets of members, in the order in which `cargo xtask go-offsets` tells them; -1 for one that there is not.
pub(super) type Offsets = [i16; 14];

/// The layout of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// `g.m`, its thread of the runtime's.
    pub(super) thread: u16,
    /// `g.goid`.
    pub(super) number: u16,
    /// `g.parentGoid`; 0 before Go 1.21.
    pub(super) parent: u16,
    /// `m.curg`.
    pub(super) current: u16,
    /// `p.goidcache`, with `p.goidcacheend` behind it.
    pub(super) numbers: u16,
    /// `poll.FD.Sysfd`, in `net.netFD`.
    pub(super) descriptor: u16,
    /// `net.netFD.family`, with `sotype` behind it.
    pub(super) family: u16,
    /// `http.persistConn.conn`.
    pub(super) client: u16,
    /// `http.http2serverConn.conn`.
    pub(super) server2: u16,
    /// `http.http2responseWriterState.stream`.
    pub(super) stream: u16,
    /// `http.http2stream.id`.
    pub(super) stream_id: u16,
}

/// The second number of a release such as `go1.26.8`, and what its vendor added to it, such as `go1.26.8 X:nodwarf5`.
pub(super) fn minor(release: &str) -> Option<u32> {
    let rest = release.split_once("go1.")?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

impl Layout {
    /// That of a release; `None` where it is not known.
    pub(super) fn of(release: &str) -> Option<Self> {
        let minor = minor(release)?;
        let (_, offsets) = TABLE.iter().find(|(known, _)| *known == minor)?;
        Self::by(offsets)
    }

    fn by(offsets: &Offsets) -> Option<Self> {
        let [
            thread,
            number,
            parent,
            current,
            numbers,
            numbers_end,
            descriptor,
            family,
            kind,
            client,
            _,
            server2,
            stream,
            stream_id,
        ] = offsets.map(|offset| u16::try_from(offset).ok());
        let is_as_read = numbers? + 8 == numbers_end? && family? + 8 == kind?;
        is_as_read.then_some(Self {
            thread: thread?,
            number: number?,
            parent: parent.unwrap_or(0),
            current: current?,
            numbers: numbers?,
            descriptor: descriptor?,
            family: family?,
            client: client?,
            server2: server2?,
            stream: stream?,
            stream_id: stream_id?,
        })
    }
}

/// Offsets of what the runtime counts, in the order in which `cargo xtask go-offsets` tells them; -1 for one that there is not.
pub(super) type StatisticsOffsets = [i16; 38];

/// Classes of small objects.
pub(super) const CLASSES: usize = 68;
/// The first release that keeps the lengths of pauses as [`StatisticsLayout::pauses`] says.
const PAUSES: u32 = 20;
/// The first release that keeps so many percent of a limit free ([`StatisticsLayout::spares_percents`]).
const SPARES_PERCENTS: u32 = 21;

/// The first release whose `runtime/metrics` counts goroutines of the runtime itself as well.
const COUNTS_ALL: u32 = 26;

/// How what the runtime counts is laid out in a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatisticsLayout {
    /// `gcControllerState.memoryLimit`.
    pub(super) limit: u64,
    /// `gcControllerState.gcPercentHeapGoal`.
    pub(super) goal: u64,
    /// `gcControllerState.sweepDistMinTrigger`.
    pub(super) least_trigger: u64,
    /// `gcControllerState.triggered`.
    pub(super) triggered: u64,
    /// How large `heapStatsDelta` is.
    pub(super) heap_slot: u64,
    /// `consistentHeapStats.gen`, in `mstats.heapStats`.
    pub(super) generation: u64,
    /// `heapStatsDelta.committed`.
    pub(super) committed: u64,
    /// `heapStatsDelta.inStacks`.
    pub(super) stacks: u64,
    /// `heapStatsDelta.largeAlloc`, `largeAllocCount` and `smallAllocCount`.
    pub(super) allocated: [u64; 3],
    /// `mstats.heapStats`.
    pub(super) heap: u64,
    /// What else of memory is counted in `mstats`.
    pub(super) other_memory: [u64; 6],
    /// `mstats.numgc`.
    pub(super) collections: u64,
    /// How long the world was stopped for collections, as distributions.
    pub(super) pauses: Option<Pauses>,
    /// Of `gcControllerState`: `heapFree`, `totalAlloc`, `totalFree`, `mappedReady` and `heapMarked`.
    pub(super) limited: [u64; 5],
    /// The goal of a heap that is limited leaves a share of it free, not a number of bytes.
    pub(super) spares_percents: bool,
    /// Members of `schedt`.
    scheduler_marks: [u64; 5],
    /// `schedt.ngsys`, the runtime's own goroutines, where `runtime/metrics` leaves those out: before 1.26.
    pub(super) system_goroutines: Option<u64>,
    /// How many goroutines the scheduler keeps for later.
    pub(super) free_goroutines: [Option<u64>; 2],
    /// The same of a processor.
    pub(super) free_of_processor: u64,
}

/// Where the lengths of pauses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pauses {
    /// In `schedt`.
    OfScheduler(u64),
    /// In `mstats`.
    OfMemory(u64),
}

impl StatisticsLayout {
    /// That of a release; `None` where it is not known.
    pub(super) fn of(release: &str) -> Option<Self> {
        let minor = minor(release)?;
        let (_, offsets) = STATISTICS.iter().find(|(known, _)| *known == minor)?;
        let [limit, goal, least, triggered, slot, committed, stacks, heap, rest @ ..] =
            offsets.map(|offset| u64::try_from(offset).ok());
        let [a, b, c, d, e, f, _, _, collections, _, rest @ ..] = rest;
        let [idle, idle_locked, next, freed, system, goroutines, free, free_too, of_processor, rest @ ..] = rest;
        let [generation, large, large_count, small_count, of_scheduler, of_memory, rest @ ..] = rest;
        let [heap_free, all_allocated, all_freed, ready, marked] = rest;
        let pauses = of_scheduler.map(Pauses::OfScheduler).or(of_memory.map(Pauses::OfMemory));
        Some(Self {
            limit: limit?,
            goal: goal?,
            least_trigger: least?,
            triggered: triggered?,
            heap_slot: slot?,
            generation: generation?,
            committed: committed?,
            stacks: stacks?,
            allocated: [large?, large_count?, small_count?],
            heap: heap?,
            other_memory: [a?, b?, c?, d?, e?, f?],
            collections: collections?,
            pauses: pauses.filter(|_| minor >= PAUSES),
            limited: [heap_free?, all_allocated?, all_freed?, ready?, marked?],
            spares_percents: minor >= SPARES_PERCENTS,
            scheduler_marks: [idle?, idle_locked?, next?, freed?, system?],
            system_goroutines: goroutines.filter(|_| minor < COUNTS_ALL),
            free_goroutines: [Some(free?), free_too],
            free_of_processor: of_processor?,
        })
    }

    /// What is looked at in `schedt` to see whether all threads sleep for ever.
    pub(super) const fn scheduler_marks(&self) -> [u64; 5] {
        self.scheduler_marks
    }
}

/// Offsets of members of grpc-go's transport, in the order in which `cargo xtask go-offsets` tells them.
pub(super) type GrpcOffsets = [i16; 6];

/// The layout of a release of grpc-go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grpc {
    /// `http2Server.conn`.
    pub(super) server: u16,
    /// The number of a stream that a server has.
    pub(super) server_stream: u16,
    /// `http2Client.conn`.
    pub(super) client: u16,
    /// The client's connection, in a stream that it has.
    pub(super) client_of_stream: u16,
    /// The number of that.
    pub(super) client_stream: u16,
    /// Either number is behind a pointer, the stream's first member.
    pub(super) is_behind: bool,
}

impl Grpc {
    /// That of a release such as `v1.85.0`; `None` where it is not known.
    pub(super) fn of(release: &str) -> Option<Self> {
        let (minor, rest) = release.strip_prefix("v1.")?.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let release = (minor.parse().ok().filter(|minor| *minor <= GRPC_NEWEST)?, rest.get(..digits)?.parse().ok()?);
        let (_, offsets) = GRPC.iter().rev().find(|(from, _)| *from <= release)?;
        let [server, server_stream, client, client_of_stream, client_stream, is_behind] =
            offsets.map(|offset| u16::try_from(offset).ok());
        Some(Self {
            server: server?,
            server_stream: server_stream?,
            client: client?,
            client_of_stream: client_of_stream?,
            client_stream: client_stream?,
            is_behind: is_behind? != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_by_their_second_number() {
        assert_eq!(minor("go1.26.8"), Some(26));
        assert_eq!(minor("go1.18"), Some(18));
        assert_eq!(minor("go1.24rc1 X:nodwarf5"), Some(24));
        assert_eq!(minor("devel go1.27-abcdef Mon"), Some(27));
        assert_eq!(minor(""), None);
        assert_eq!(minor("go2.1"), None);
    }

    #[test]
    fn all_releases_of_the_table_have_a_layout() {
        assert!(TABLE.iter().all(|(_, offsets)| Layout::by(offsets).is_some()));
        let minors: Vec<u32> = TABLE.iter().map(|(minor, _)| *minor).collect();
        assert_eq!((minors.first(), minors.is_sorted()), (Some(&18), true));
        assert_eq!(Layout::of("go1.20.14").map(|layout| layout.parent), Some(0));
        // Its HTTP/2 is a package of its own.
        assert_eq!(
            ["go1.26.8", "go1.27.0"].map(|it| Layout::of(it).map(|layout| layout.server2)),
            [Some(16), Some(24)]
        );
        assert!(Layout::of("go1.17").is_none() && Layout::of("go1.99").is_none());
    }

    #[test]
    fn releases_of_grpc_are_laid_out_by_both_of_their_numbers() {
        let of = |release| Grpc::of(release).map(|grpc| (grpc.client_of_stream, grpc.is_behind));
        assert_eq!(of("v1.83.0"), Some((328, false)));
        assert_eq!(of("v1.83.1"), Some((360, false)));
        assert_eq!(of("v1.70.0"), Some((8, true)));
        assert_eq!(of("v1.68.2-0.20240101000000-abcdef"), Some((24, false)));
        for unknown in ["", "(devel)", "v1.39.9", "v1.999.0", "v2.1.0", "v1.85", "v1.x.0"] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
        assert!(GRPC.is_sorted());
    }
}
