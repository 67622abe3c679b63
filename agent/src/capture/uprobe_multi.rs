//! Uprobes by links of kind `BPF_TRACE_UPROBE_MULTI` (Linux 6.6): `CAP_BPF` and `CAP_PERFMON` suffice for them, where
//! `perf_event_open` asks for root, and a hit costs less. aya can only list such links, and the kernel wants the programs
//! loaded for them, so they are loaded here once more, with the maps that aya made.

use std::{
    collections::{HashMap, HashSet},
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::Context;
use aya::{Ebpf, maps::Map};
use aya_obj::{Object, ProgramSection, generated::bpf_insn};

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
        let mut object = Object::parse(bytes)?;
        let code: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = std::mem::take(&mut object.maps);
        let mut with_fd = Vec::new();
        for (name, map) in &maps {
            let made = loaded.map(name).and_then(fd).with_context(|| format!("no map {name}"))?;
            with_fd.push((name.as_str(), made.as_raw_fd(), map));
        }
        object.relocate_maps(with_fd.into_iter(), &code)?;
        object.relocate_calls(&code)?;
        Ok(Self { object, loaded: HashMap::new() })
    }

    /// Puts a program at an offset of a file, or where the function there returns, if it is one for returns. It goes when
    /// the link is dropped. `cookie` is what the program can ask for.
    ///
    /// # Errors
    /// What the kernel said. `EINVAL` from one that knows no such links.
    pub(super) fn attach(&mut self, name: &str, path: &CStr, offset: u64, cookie: u64) -> anyhow::Result<OwnedFd> {
        let program = self.object.programs.get(name).with_context(|| format!("no program {name}"))?;
        let on_return = matches!(program.section, ProgramSection::URetProbe { .. });
        if !self.loaded.contains_key(name) {
            let function = self.object.functions.get(&program.function_key()).context("a program without code")?;
            let loaded = sys::load(&function.instructions, &program.license).context("the program was refused")?;
            self.loaded.insert(name.to_owned(), loaded);
        }
        let program = self.loaded.get(name).context("not loaded")?;
        Ok(sys::link(program.as_fd(), path, offset, cookie, on_return)?)
    }
}

/// The file descriptor of a map of a kind that uprobes use.
fn fd(map: &Map) -> Option<BorrowedFd<'_>> {
    let (Map::Array(data)
    | Map::HashMap(data)
    | Map::LruHashMap(data)
    | Map::PerCpuArray(data)
    | Map::ProgramArray(data)
    | Map::RingBuf(data)
    | Map::SkStorage(data)) = map
    else {
        return None;
    };
    Some(data.fd().as_fd())
}

/// The system call `bpf(2)`, as far as aya does not offer it.
#[expect(unsafe_code, reason = "no library makes these calls")]
mod sys {
    use super::*;

    const PROG_LOAD: libc::c_int = 5;
    const LINK_CREATE: libc::c_int = 28;
    const PROG_TYPE_KPROBE: u32 = 2;
    const TRACE_UPROBE_MULTI: u32 = 48;
    const UPROBE_MULTI_RETURN: u32 = 1;

    /// `union bpf_attr` for `BPF_PROG_LOAD`, to the last member that is used.
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }

    /// The same for `BPF_LINK_CREATE` of this kind.
    #[repr(C)]
    #[derive(Default)]
    struct Link {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
        path: u64,
        offsets: u64,
        ref_ctr_offsets: u64,
        cookies: u64,
        cnt: u32,
        uprobe_flags: u32,
        pid: u32,
        padding: u32,
    }

    pub(super) fn load(code: &[bpf_insn], license: &CStr) -> io::Result<OwnedFd> {
        let attr = Load {
            prog_type: PROG_TYPE_KPROBE,
            insn_cnt: u32::try_from(code.len()).map_err(io::Error::other)?,
            insns: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            expected_attach_type: TRACE_UPROBE_MULTI,
            ..Load::default()
        };
        // SAFETY: `attr` has the layout that the kernel asks for; code and licence outlive the call.
        unsafe { bpf(PROG_LOAD, &attr) }
    }

    pub(super) fn link(
        program: BorrowedFd<'_>,
        path: &CStr,
        offset: u64,
        cookie: u64,
        on_return: bool,
    ) -> io::Result<OwnedFd> {
        let attr = Link {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            attach_type: TRACE_UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: (&raw const offset) as u64,
            cookies: (&raw const cookie) as u64,
            cnt: 1,
            uprobe_flags: if on_return { UPROBE_MULTI_RETURN } else { 0 },
            ..Link::default()
        };
        // SAFETY: `attr` has the layout that the kernel asks for; path, offset and cookie outlive the call.
        unsafe { bpf(LINK_CREATE, &attr) }
    }

    /// # Safety
    /// `attr` is what the command takes, its pointers are valid, and the command gives a file descriptor.
    unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<OwnedFd> {
        // SAFETY: as the caller vouches for.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
        let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
