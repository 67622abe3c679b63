//! The system call `bpf(2)`, as far as aya does not offer it: programs of the object that are loaded once more, with maps
//! that are chosen here.
#![expect(unsafe_code, reason = "no library makes these calls")]

use std::{
    collections::HashSet,
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::Context;
use aya::maps::Map;
use aya_obj::{Object, generated::bpf_insn};

const PROG_LOAD: libc::c_int = 5;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const LINK_CREATE: libc::c_int = 28;
const PROG_TYPE_KPROBE: u32 = 2;
const PROG_TYPE_TRACING: u32 = 26;
const TRACE_RAW_TP: u32 = 23;
const TRACE_UPROBE_MULTI: u32 = 48;

/// The programs in `bytes`, with the maps that `of_name` gives.
///
/// # Errors
/// When they do not fit together.
pub(super) fn programs<'a>(bytes: &[u8], of_name: impl Fn(&str) -> Option<BorrowedFd<'a>>) -> anyhow::Result<Object> {
    let mut object = Object::parse(bytes)?;
    let code: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let maps = std::mem::take(&mut object.maps);
    let mut with_fd = Vec::new();
    for (name, map) in &maps {
        let made = of_name(name).with_context(|| format!("no map {name}"))?;
        with_fd.push((name.as_str(), made.as_raw_fd(), map));
    }
    object.relocate_maps(with_fd.into_iter(), &code)?;
    object.relocate_calls(&code)?;
    Ok(object)
}

/// The file descriptor of a map of a kind that the programs use.
pub(super) fn fd(map: &Map) -> Option<BorrowedFd<'_>> {
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

/// `union bpf_attr` for `BPF_PROG_LOAD`, to the last member that is used.
#[repr(C)]
#[derive(Clone, Copy, Default)]
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
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// The same for `BPF_LINK_CREATE` of uprobes.
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

/// The same for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
#[derive(Default)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

/// A program for links of kind `uprobe_multi`.
pub(super) fn load_uprobe(code: &[bpf_insn], license: &CStr) -> io::Result<OwnedFd> {
    load(
        code,
        license,
        Load { prog_type: PROG_TYPE_KPROBE, expected_attach_type: TRACE_UPROBE_MULTI, ..Load::default() },
    )
}

/// A program for the tracepoint whose type in the kernel's BTF has this number.
pub(super) fn load_tracepoint(code: &[bpf_insn], license: &CStr, attach_btf_id: u32) -> io::Result<OwnedFd> {
    let expected_attach_type = TRACE_RAW_TP;
    load(code, license, Load { prog_type: PROG_TYPE_TRACING, expected_attach_type, attach_btf_id, ..Load::default() })
}

fn load(code: &[bpf_insn], license: &CStr, attr: Load) -> io::Result<OwnedFd> {
    let attr = Load {
        insn_cnt: u32::try_from(code.len()).map_err(io::Error::other)?,
        insns: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..attr
    };
    let mut tries = 0;
    loop {
        // SAFETY: `attr` has the layout that the kernel asks for; code and licence outlive the call.
        let loaded = unsafe { bpf(PROG_LOAD, &attr) };
        tries += 1;
        match loaded {
            // A signal has interrupted the verifier.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < super::TRIES => {}
            Err(_) => return loaded.inspect_err(|_| tracing::debug!(verifier = why(attr), "a program was refused")),
            Ok(_) => return loaded,
        }
    }
}

/// The end of what the verifier says of a program that it refuses.
fn why(attr: Load) -> String {
    const LOG: u32 = 16 << 20;
    let mut log = vec![0; LOG as usize];
    let attr = Load { log_level: 1, log_size: LOG, log_buf: log.as_mut_ptr() as u64, ..attr };
    // SAFETY: as in `load`; the log has the room that is said.
    let _refused_again = unsafe { bpf(PROG_LOAD, &attr) };
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(log.get(end.saturating_sub(2000)..end).unwrap_or_default()).into_owned()
}

/// Puts a program at offsets of a file, with a cookie for each.
pub(super) fn link_uprobes(
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    if offsets.len() != cookies.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let attr = Link {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        cnt: u32::try_from(offsets.len()).map_err(io::Error::other)?,
        ..Link::default()
    };
    // SAFETY: `attr` has the layout that the kernel asks for; path, offsets and as many cookies outlive the call.
    unsafe { bpf(LINK_CREATE, &attr) }
}

/// Puts a program at the tracepoint that it was loaded for.
pub(super) fn link_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attr = RawTracepoint { prog_fd: program.as_raw_fd().cast_unsigned(), ..RawTracepoint::default() };
    // SAFETY: `attr` has the layout that the kernel asks for.
    unsafe { bpf(RAW_TRACEPOINT_OPEN, &attr) }
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
