//! Go: where the goroutine is found that a thread runs, whose child it is, and the functions at which it hands a request to another one. All of it
//! from outside: release and modules from the program's own account of itself, functions from the table that no linker option leaves out, where the
//! runtime keeps things from the code of its functions, and that what is found is what it was taken for, from the process's memory. Where its `crypto/tls` is probed is
//! looked for here as well, since all of that is needed for it.

mod code;
mod heap;
mod layout;
mod offsets;
mod pclntab;
mod programs;
mod statistics;
mod texts;

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use ebpf_common::work::{GO, GoLayout, Plan};
use memchr::memmem;
use object::{
    Object as _, ObjectSection as _, ObjectSegment as _, ReadCache, SegmentFlags,
    elf::{PF_W, PF_X},
};

use self::{
    layout::{Grpc, Layout, StatisticsLayout},
    pclntab::{Function, Table, Unreadable},
    programs::{Account, Said},
};
pub(crate) use self::{
    programs::Programs,
    statistics::Statistics,
    texts::{Doer, Does, texts},
};
use super::memory::{Memory, Program};
use crate::{
    procs::{
        executable::{build_info, is_packed},
        fs::FileId,
    },
    tls::go as tls,
};

/// Longest code of a function that is looked at.
const CODE_MAX: u64 = 64 << 10;
/// Memory is looked through in pieces of this size.
const PIECE: usize = 256 << 10;
/// Most of a program's variables that is looked through.
const VARIABLES_MAX: u64 = 256 << 20;
/// Where in `runtime.moduledata` the first function's address, and that of the code, stand; and how much is read of it.
const MODULE_FIRST: usize = 160;
const MODULE_TEXT: usize = 176;
const MODULE_LEN: usize = 184;
/// Most processors that a runtime is believed to have.
const PROCESSORS_MAX: u64 = 4096;
/// Numbers of goroutines are given to processors in so many at a time.
const NUMBERS: u64 = 16;
/// Where a connection of `golang.org/x/net/http2` has what carries it, as that of `net/http` has up to Go 1.26. From then on it is mostly one of `net/http` itself.
const X_SERVER2: u16 = 16;
/// The thread's pointer is not farther away from what the thread has for itself.
const THREAD_MAX: u64 = 1 << 20;

/// Functions that are looked for.
const NAMES: [&str; 23] = [
    "runtime.mcall",
    "runtime.procresize",
    "net/http.(*persistConn).roundTrip",
    "net/http.(*http2ClientConn).roundTrip",
    "net/http.(*http2ClientConn).RoundTrip",
    // From 1.27 on.
    "net/http/internal/http2.(*ClientConn).roundTrip",
    "golang.org/x/net/http2.(*ClientConn).roundTrip",
    "golang.org/x/net/http2.(*ClientConn).RoundTrip",
    "net/http.(*http2serverConn).runHandler",
    "net/http/internal/http2.(*serverConn).runHandler",
    "golang.org/x/net/http2.(*serverConn).runHandler",
    "google.golang.org/grpc.(*Server).handleStream",
    "google.golang.org/grpc/internal/transport.(*http2Client).NewStream",
    tls::FUNCTIONS[0],
    tls::FUNCTIONS[1],
    tls::FUNCTIONS[2],
    tls::FUNCTIONS[3],
    statistics::FUNCTIONS[0],
    statistics::FUNCTIONS[1],
    statistics::FUNCTIONS[2],
    statistics::FUNCTIONS[3],
    statistics::FUNCTIONS[4],
    statistics::FUNCTIONS[5],
];

/// Where a process's Go is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Go {
    /// How its goroutines are read.
    pub plan: Plan,
    /// Where in the file a goroutine hands a request to a connection of HTTP/1, which is the first argument.
    pub calls: Vec<u64>,
    /// The same of HTTP/2: the connection has a goroutine begun for it.
    pub calls2: Vec<u64>,
    /// Where a goroutine begins to answer a request of HTTP/2: connection, what it answers with.
    pub handles2: Vec<u64>,
    /// The same of a call of grpc-go: transport, stream.
    pub handles_grpc: Vec<u64>,
    /// Where a goroutine has had a stream made for a call of grpc-go.
    pub asks: Vec<u64>,
    /// Where plaintext is seen of what it encrypts, if it does.
    pub tls: Tls,
    /// What its runtime counts, where that is found.
    pub statistics: Option<Statistics>,
}

impl Go {
    /// Whether the runtime has come up: what is read of its memory is there.
    pub(super) const fn is_up(&self) -> bool {
        self.plan.offsets[1] != 0
    }
}

/// Whether plaintext of a program's `crypto/tls` is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// It has none.
    None,
    /// At these places of its file.
    Seen {
        /// Where bytes are read.
        reads: u64,
        /// Where they are written.
        writes: u64,
    },
    /// Its code is not as Go's compiler writes it, as with `-race`.
    Unexpected,
}

/// Why goroutines of a program of Go are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// It is not known how that release lays them out.
    Release,
    /// Names are not written as Go's linker writes them.
    Garbled,
    /// It lacks what is needed.
    Incomplete,
    /// It is packed, so that its file says nothing.
    Packed,
    /// Too much time went into its file already.
    Changes,
}

impl Unseen {
    /// For the log.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Release => "the layout of this release of Go is not known",
            Self::Garbled => "the program's table of functions is not as Go's linker writes it (garbled)",
            Self::Incomplete => "the program lacks tables or functions of Go's runtime",
            Self::Packed => "the program is packed by UPX",
            Self::Changes => "the program's file changes too often to be looked into each time",
        }
    }
}

/// Looks at a process; `None` for one that is not of Go. Gives its program, too.
pub(super) fn look(memory: &Memory, programs: &Programs) -> Option<Result<(Go, File), Unseen>> {
    let opened = memory.program().and_then(|mapping| Some((mapping, memory.open_mapped(mapping)?)));
    let Some((mapping, file)) = opened else {
        return memory.open_program().filter(is_packed).map(|_| Err(Unseen::Packed));
    };
    let cache = ReadCache::new(file.try_clone().ok()?);
    let program = || Program::of(mapping, &cache);
    let id = FileId::of(&file.metadata().ok()?);
    match programs.account(id, || account(memory, program, &file))? {
        Ok(account) => Some(found(memory, &program()?, &file, &account).map(|go| (go, file))),
        Err(unseen) => Some(Err(unseen)),
    }
}

/// What a program's file says.
fn account<'a>(memory: &Memory, program: impl FnOnce() -> Option<Program<'a>>, file: &File) -> Said {
    if is_packed(file) {
        return Some(Err(Unseen::Packed));
    }
    let info = build_info(file)?;
    let program = program()?;
    let Some(layout) = Layout::of(&info.release) else {
        // What hides its names hides its release.
        let is_garbled = table(&program, file).is_err_and(|why| why == Unseen::Garbled);
        return Some(Err(if is_garbled { Unseen::Garbled } else { Unseen::Release }));
    };
    let grpc = Grpc::of(&info.grpc);
    if grpc.is_none() && !info.grpc.is_empty() {
        let release = &info.grpc;
        tracing::info!(%release, "calls over grpc-go have no parents: the layout of this release of it is not known");
    }
    let statistics = StatisticsLayout::of(&info.release);
    let functions = functions(memory, &program, file);
    Some(functions.map(|functions| Arc::new(Account { layout, grpc, statistics, functions })))
}

/// Those of [`NAMES`].
fn functions(memory: &Memory, program: &Program<'_>, file: &File) -> Result<[Option<Function>; NAMES.len()], Unseen> {
    let (table, address) = table(program, file)?;
    let text = start_of_code(memory, program, &table, address).ok_or(Unseen::Incomplete)?;
    Ok(table.find(&NAMES).map(|function| {
        let Function { start, size } = function?;
        Some(Function { start: text.wrapping_add(start), size })
    }))
}

fn found(memory: &Memory, program: &Program<'_>, file: &File, account: &Account) -> Result<Go, Unseen> {
    let incomplete = Unseen::Incomplete;
    let Account { layout, grpc, statistics, functions } = account;
    let [
        mcall,
        resize,
        call,
        call2,
        call2_older,
        call2_newer,
        x_call2,
        x_call2_older,
        handle2,
        handle2_newer,
        x_handle2,
        handle_grpc,
        new_stream,
        tls_read,
        tls_write,
        copies,
        slices,
        counting @ ..,
    ] = *functions;
    let code = |function: Function| {
        let offset = program.offset_of(function.start)?;
        let mut code = vec![0; usize::try_from(function.size.min(CODE_MAX)).ok()?];
        file.read_exact_at(&mut code, offset).ok()?;
        Some(code)
    };
    let in_process = |address: u64| address.wrapping_add(program.bias());
    let slot = mcall.and_then(|mcall| {
        code::slot_of_g(&code(mcall)?, mcall.start, |address| memory.word(in_process(address)))
            .filter(|slot| slot.wrapping_neg() <= THREAD_MAX)
    });
    let processors = resize.and_then(|resize| {
        let named = code::addresses(&code(resize)?, resize.start);
        named.into_iter().map(in_process).find(|address| are_processors(memory, *address, layout))
    });
    let sites = |functions: &[Option<Function>]| -> Vec<u64> {
        let site = |function: Function| {
            let site = code::site(&code(function)?, function.start)?;
            program.offset_of(function.start.checked_add(site)?)
        };
        functions.iter().flatten().filter_map(|function| site(*function)).collect()
    };
    let encrypts = || {
        let (read, write, copies) = (tls_read?, tls_write?, copies?);
        let reads = tls::reads(&code(read)?, read.start, copies.start, slices.map(|slices| slices.start))?;
        let writes = tls::writes(&code(write)?, write.start)?;
        let place = |function: Function, at| program.offset_of(function.start.checked_add(at)?);
        Some((Tls::Seen { reads: place(read, reads.at)?, writes: place(write, writes)? }, reads))
    };
    let has_tls = tls_read.is_some() && tls_write.is_some();
    let (encrypts, reads) = encrypts().unzip();
    let encrypts = encrypts.unwrap_or(if has_tls { Tls::Unexpected } else { Tls::None });
    let makes_streams = |function: Function| -> Vec<u64> {
        let returns = code(function).map(|code| code::returns_without_error(&code, function.start)).unwrap_or_default();
        returns.into_iter().filter_map(|at| program.offset_of(function.start.checked_add(at)?)).collect()
    };
    let (handles_grpc, asks) = match grpc {
        Some(_) => (sites(&[handle_grpc]), new_stream.map(makes_streams).unwrap_or_default()),
        None => (Vec::new(), Vec::new()),
    };
    let grpc = grpc.unwrap_or_default();
    let statistics = statistics.map(|layout| {
        let counting = counting.map(|function| Some((code(function?)?, function?.start)));
        statistics::find(memory, layout, processors.unwrap_or(0), program.bias(), &counting)
    });
    let &Layout {
        thread,
        number,
        parent,
        current,
        numbers,
        descriptor,
        family,
        client,
        server2,
        stream,
        stream_id,
        ..
    } = layout;
    Ok(Go {
        plan: Plan {
            kind: GO,
            steps: 0,
            offsets: [slot.ok_or(incomplete)?, processors.unwrap_or(0), 0, 0],
            go: GoLayout {
                thread,
                number,
                parent,
                current,
                numbers,
                descriptor,
                family,
                client,
                server2,
                stream,
                stream_id,
                tls_connection: reads.map_or(0, |reads| reads.connection),
                tls_slices: reads.map_or(0, |reads| reads.is_of_slices.into()),
                grpc_server: grpc.server,
                grpc_server_stream: grpc.server_stream,
                grpc_client: grpc.client,
                grpc_client_of_stream: grpc.client_of_stream,
                grpc_client_stream: grpc.client_stream,
                grpc_is_behind: grpc.is_behind.into(),
                reserved: 0,
            },
        },
        calls: sites(&[call]),
        // The newer one, which the older one calls where both are there.
        calls2: sites(&[call2.or(call2_older).or(call2_newer), x_call2.or(x_call2_older)]),
        handles2: sites(&[handle2.or(handle2_newer), x_handle2.filter(|_| server2 == X_SERVER2)]),
        handles_grpc,
        asks,
        statistics: statistics.filter(|statistics| !statistics.is_empty()),
        tls: encrypts,
    })
}

/// Reads a table of functions.
trait ReadTable: Fn(u64, &mut [u8]) -> Option<()> {}
impl<F: Fn(u64, &mut [u8]) -> Option<()>> ReadTable for F {}

/// A program's table of functions, and at which address it stands.
fn table<'a>(program: &Program<'_>, file: &'a File) -> Result<(Table<impl ReadTable + use<'a>>, u64), Unseen> {
    let incomplete = Unseen::Incomplete;
    let section =
        [".gopclntab", ".data.rel.ro.gopclntab"].into_iter().find_map(|name| program.elf().section_by_name(name));
    let section = section.ok_or(incomplete)?;
    let (offset, len) = section.file_range().ok_or(incomplete)?;
    let read = move |at: u64, bytes: &mut [u8]| file.read_exact_at(bytes, offset.checked_add(at)?).ok();
    let table = Table::open(read, len).map_err(|why| match why {
        Unreadable::Unknown => Unseen::Garbled,
        Unreadable::Broken => incomplete,
    })?;
    Ok((table, section.address()))
}

/// What is added to addresses of a table that stands at this address, without what is added in the process.
fn start_of_code(memory: &Memory, program: &Program<'_>, table: &Table<impl ReadTable>, address: u64) -> Option<u64> {
    if table.is_relative() { code_begins(memory, program, address, table.first()?) } else { Some(0) }
}

/// Where the code begins that addresses are counted from, without what is added in the process: as the runtime's description of the program
/// (`runtime.moduledata`) says, which begins with the address of the table.
fn code_begins(memory: &Memory, program: &Program<'_>, table: u64, first: u64) -> Option<u64> {
    let bias = program.bias();
    let needle = table.wrapping_add(bias).to_le_bytes();
    let finder = memmem::Finder::new(&needle);
    let is_of_variables = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & (PF_W | PF_X) == PF_W);
    let segments = program.elf().segments().filter(|segment| is_of_variables(segment.flags()));
    let mut buffer = vec![0; PIECE + MODULE_LEN];
    let mut left = VARIABLES_MAX;
    for segment in segments {
        let (start, (_, len)) = (segment.address().wrapping_add(bias), segment.file_range());
        let mut at = 0;
        while at < len && left > 0 {
            let piece = usize::try_from(len - at).unwrap_or(PIECE + MODULE_LEN).min(PIECE + MODULE_LEN);
            let piece = buffer.get_mut(..piece)?;
            if memory.read(start.wrapping_add(at), piece).is_none() {
                break;
            }
            for hit in finder.find_iter(piece).filter(|hit| hit.is_multiple_of(8)) {
                let word = |of: usize| {
                    let bytes = piece.get(hit + of..hit + of + 8)?;
                    Some(u64::from_le_bytes(bytes.try_into().ok()?))
                };
                if let (Some(start), Some(text)) = (word(MODULE_FIRST), word(MODULE_TEXT))
                    && text.wrapping_add(first) == start
                {
                    return Some(text.wrapping_sub(bias));
                }
            }
            at += PIECE as u64;
            left = left.saturating_sub(PIECE as u64);
        }
    }
    None
}

/// Whether the list of the runtime's processors (`runtime.allp`) lies there: each says which it is, and which numbers it has for goroutines.
fn are_processors(memory: &Memory, address: u64, layout: &Layout) -> bool {
    let all = || -> Option<bool> {
        let [list, len, room] = memory.words(address)?;
        if list == 0 || list % 8 != 0 || len == 0 || len > room || room > PROCESSORS_MAX {
            return Some(false);
        }
        for at in 0..len.min(64) {
            let processor = memory.word(list.checked_add(8 * at)?)?;
            let [next, end] = memory.words(processor.checked_add(layout.numbers.into())?)?;
            // Its number, and in which of five states it is.
            let first = memory.word(processor)?;
            let is_one = first & 0xffff_ffff == at && first >> 32 <= 4;
            let has_numbers = next <= end && end - next <= NUMBERS;
            if !is_one || !has_numbers {
                return Some(false);
            }
        }
        Some(true)
    };
    all().unwrap_or(false)
}

#[cfg(test)]
mod tests;
