//! Uprobes by links of kind `BPF_TRACE_UPROBE_MULTI` (Linux 6.6): `CAP_BPF` and `CAP_PERFMON` suffice for them, where
//! `perf_event_open` asks for root, and a hit costs less. aya can only list such links, and the kernel wants the programs
//! loaded for them, so they are loaded here once more, with the maps that aya made.

use std::{
    collections::HashMap,
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::Context;
use aya::Ebpf;
use aya_obj::Object;

use super::bpf;

/// Programs for such links.
pub(super) struct Programs {
    object: Object,
    /// By name; loaded when first needed.
    loaded: HashMap<String, OwnedFd>,
}

impl Programs {
    /// The programs in `bytes`, the object that `loaded` was made from, which still has all its maps.
    ///
    /// # Errors
    /// When they do not fit together.
    pub(super) fn of(bytes: &[u8], loaded: &Ebpf) -> anyhow::Result<Self> {
        let object = bpf::programs(bytes, |name| loaded.map(name).and_then(bpf::fd))?;
        Ok(Self { object, loaded: HashMap::new() })
    }

    /// Puts a program at offsets of a file. It goes when the link is dropped. `cookies` are what the program can ask for at each.
    ///
    /// # Errors
    /// What the kernel said. `EINVAL` from one that knows no such links.
    pub(super) fn attach(
        &mut self,
        name: &str,
        path: &CStr,
        offsets: &[u64],
        cookies: &[u64],
    ) -> anyhow::Result<OwnedFd> {
        Ok(bpf::link_uprobes(self.load(name)?, path, offsets, cookies)?)
    }

    /// Loads a program, once.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(super) fn load(&mut self, name: &str) -> anyhow::Result<BorrowedFd<'_>> {
        if !self.loaded.contains_key(name) {
            let program = self.object.programs.get(name).with_context(|| format!("no program {name}"))?;
            let function = self.object.functions.get(&program.function_key()).context("a program without code")?;
            let loaded =
                bpf::load_uprobe(&function.instructions, &program.license).context("the program was refused")?;
            self.loaded.insert(name.to_owned(), loaded);
        }
        Ok(self.loaded.get(name).context("not loaded")?.as_fd())
    }
}
