//! Copies of the programs at tracepoints, which take over while one is preempted (`handlers::standby` in the kernel side).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::Context;
use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};
use aya_obj::{Object, btf::BtfKind, generated::bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY};
use ebpf_common::policy::{CLAIMS_CHUNK, STANDBY_MAX};

use super::{
    backend::{Attach, Backend, Continuation, Hook, PROCESS_HOOKS},
    bpf,
};
use crate::kernel::release::Release;

/// What a program works in while it runs: maps that each copy has for itself.
const OWN: [&str; 6] = ["SCRATCH", "MANY", "COPY", "TAIL_CALLS", "TAIL_CALLS_RECEIVED", "TAIL_CALLS_SENT"];
/// The first kernel that lets programs at tracepoints be preempted.
const PREEMPTS: Release = Release { major: 7, minor: 0 };
/// Copies then: that a thread is preempted in each of them, on one processor at one time, is not to be expected.
const COPIES: u32 = 2;

/// How many copies are to stand behind each program, on a kernel of this release, where it is not said.
pub(super) fn copies(release: Option<Release>) -> u32 {
    if release.is_some_and(|release| release >= PREEMPTS) { COPIES } else { 0 }
}

/// Most numbers that the kernel gives to threads (`PID_MAX_LIMIT`).
const THREADS_MAX: u32 = 1 << 22;

/// How many numbers threads may have, by what `/proc/sys/kernel/pid_max` says; a multiple of [`CLAIMS_CHUNK`].
pub(super) fn threads(pid_max: Option<&str>) -> u32 {
    let said = pid_max.and_then(|said| said.trim().parse().ok()).unwrap_or(THREADS_MAX);
    said.clamp(CLAIMS_CHUNK, THREADS_MAX).next_multiple_of(CLAIMS_CHUNK)
}

/// The copies, attached until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Standby {
    links: Vec<OwnedFd>,
    /// Those of the last copies, which tell what none was run for.
    last: Vec<OwnedFd>,
    /// How often these were left out before it mattered.
    skipped_before: u64,
    /// What they work in. Without an open file of ours, the maps of programs that they continue in would be emptied.
    maps: Vec<Map>,
}

impl Standby {
    /// Attaches `copies` of the hooks of a backend behind those of `loaded`, which still has all its maps.
    ///
    /// # Errors
    /// When the kernel refuses one, though it took the first.
    pub(super) fn attach(
        bytes: &[u8],
        loaded: &mut Ebpf,
        backend: Backend,
        types: &aya::Btf,
        dns_answers: bool,
        copies: u32,
    ) -> anyhow::Result<Self> {
        let mut standby = Self::default();
        let hooks = || PROCESS_HOOKS.iter().chain(backend.hooks());
        let answers = if dns_answers { backend.reads_answers() } else { &[] };
        for number in 1..=copies.min(STANDBY_MAX) {
            let mut maps = own_maps(bytes, number)?;
            let object = bpf::programs(bytes, |name| {
                let own = maps.iter().find(|(own, _)| *own == name).map(|(_, map)| map);
                own.or_else(|| loaded.map(name)).and_then(bpf::fd)
            })?;
            for Continuation { hook, map, index, .. } in backend.continuations().iter().chain(answers) {
                // What goes without it is said of the first.
                if let Ok(program) = load(&object, hook, types) {
                    set(&mut maps, map, *index, program.as_raw_fd().cast_unsigned())?;
                }
            }
            for hook in hooks() {
                let program = load(&object, hook, types)?;
                standby.links.push(bpf::link_tracepoint(program.as_fd()).with_context(|| hook.attach.to_string())?);
                if number == copies {
                    standby.last.push(program);
                }
            }
            standby.maps.extend(maps.into_iter().map(|(_, map)| map));
        }
        if !standby.links.is_empty() {
            standby.skipped_before = standby.skipped().unwrap_or(0);
            are_in_place(loaded, true)?;
        }
        Ok(standby)
    }

    /// Takes them away.
    pub(super) fn detach(&mut self, loaded: &mut Ebpf) {
        if self.links.is_empty() {
            return;
        }
        if let Err(error) = are_in_place(loaded, false) {
            tracing::debug!(error = format!("{error:#}"), "the last pieces may be told twice");
        }
        self.links.clear();
    }

    /// How often the programs that the kernel runs last were left out. `None` where there are none.
    pub(super) fn skipped(&self) -> Option<u64> {
        let last = || self.last.iter().map(AsFd::as_fd);
        (!self.last.is_empty()).then(|| super::skipped(last()).saturating_sub(self.skipped_before))
    }
}

/// Tells the programs whether all copies are where they belong.
fn are_in_place(loaded: &mut Ebpf, are: bool) -> anyhow::Result<()> {
    let map = loaded.map_mut("STANDING_BY").context("no map STANDING_BY")?;
    let mut standing_by: Array<_, u32> = map.try_into()?;
    Ok(standing_by.set(0, u32::from(are), 0)?)
}

/// Loads a program once more.
fn load(object: &Object, hook: &Hook, types: &aya::Btf) -> anyhow::Result<OwnedFd> {
    let Hook { program: name, attach: Attach::Tracepoint(tracepoint) } = hook;
    let program = object.programs.get(*name).with_context(|| format!("no program {name}"))?;
    let function = object.functions.get(&program.function_key()).context("a program without code")?;
    let of_tracepoint = types.id_by_type_name_kind(&format!("btf_trace_{tracepoint}"), BtfKind::Typedef)?;
    bpf::load_tracepoint(&function.instructions, &program.license, of_tracepoint)
        .with_context(|| format!("the kernel refused the program {name}"))
}

/// Maps for copy `number` alone.
fn own_maps(bytes: &[u8], number: u32) -> anyhow::Result<Vec<(&'static str, Map)>> {
    let mut object = Object::parse(bytes)?;
    let mut maps = Vec::new();
    for name in OWN {
        let map = object.maps.remove(name).with_context(|| format!("no map {name}"))?;
        // The kernel takes programs into their map by the same call that puts numbers into an array.
        let is_per_processor = map.map_type() == BPF_MAP_TYPE_PERCPU_ARRAY as u32;
        let made = MapData::create(map, name, None)?;
        maps.push((name, if is_per_processor { Map::PerCpuArray(made) } else { Map::Array(made) }));
    }
    set(&mut maps, "COPY", 0, number)?;
    Ok(maps)
}

fn set(maps: &mut [(&'static str, Map)], name: &str, index: u32, value: u32) -> anyhow::Result<()> {
    let (_, map) = maps.iter_mut().find(|(own, _)| *own == name).with_context(|| format!("no map {name}"))?;
    let mut map: Array<_, u32> = map.try_into()?;
    Ok(map.set(index, value, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stand_by_where_a_program_may_be_preempted() {
        let copies_on = |release: &str| copies(Release::parse(release));
        assert_eq!(
            ["5.10.0-46-amd64", "6.18.44", "7.0.0-rc1", "7.3.4+deb13-amd64"].map(copies_on),
            [0, 0, COPIES, COPIES]
        );
        assert_eq!(copies(None), 0);
    }

    #[test]
    fn there_is_room_for_every_thread() {
        let said = ["4194304\n", "32768\n", "301\n", "100000", "99999999", "x"];
        let expected = [THREADS_MAX, 32_768, CLAIMS_CHUNK, 102_400, THREADS_MAX, THREADS_MAX];
        assert_eq!(said.map(|said| threads(Some(said))), expected);
        assert_eq!(threads(None), THREADS_MAX);
    }

    #[test]
    fn a_copy_has_all_that_it_works_in_for_itself() {
        let object = Object::parse(super::super::OBJECT).unwrap();
        for (name, map) in &object.maps {
            let is_per_processor = map.map_type() == BPF_MAP_TYPE_PERCPU_ARRAY as u32;
            // Counters are added to at once; what uprobes work in is claimed.
            let is_shared = ["COUNTS", "TLS_SCRATCH"].contains(&name.as_str());
            assert!(!is_per_processor || is_shared || OWN.contains(&name.as_str()), "{name}");
        }
    }
}
