//! Texts that a Go program hands to functions with these names, as they are written in its code: an address and a length, put into the two
//! registers that a text is passed in. Those that are put together when the program runs are not there. Of functions that belong to a router it is followed within a
//! function which router that is: what one is given for a part of all paths is that part's.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::unix::fs::FileExt,
};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use object::ReadCache;

use super::{CODE_MAX, Memory, PIECE, Program, pclntab::Function, start_of_code, table};
use crate::{model::ids::ProcessId, procs::fs::ProcFs};

/// Most of a program's code that is looked through.
const CODE_LOOKED_AT_MAX: u64 = 256 << 20;
/// Most calls that are looked at.
const CALLS_MAX: usize = 8192;
/// Longest text.
const TEXT_MAX: u64 = 1024;
/// A direct call: its first byte, and its length.
const CALL: u8 = 0xe8;
const CALL_LEN: usize = 5;

/// What a function does with a text, or with what takes texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// It takes one, in this place, whoever it belongs to.
    Takes(usize),
    /// It takes one for a router, which is its first argument.
    TakesFor(usize),
    /// The same where a new object is a router for all paths: what makes one is mostly put into who wants one.
    TakesForNew(usize),
    /// It gives a router for what begins with a text.
    Groups(usize),
    /// It gives a router for all paths.
    Makes,
}

/// A function by its name.
pub(crate) type Doer = (&'static str, Does);

/// What gives any new object.
const NEW: &str = "runtime.newobject";

/// What the compiler puts before pointers that are written, which leaves registers as they are (from Go 1.21 on).
const BARRIERS: [&str; 8] = [
    "runtime.gcWriteBarrier1",
    "runtime.gcWriteBarrier2",
    "runtime.gcWriteBarrier3",
    "runtime.gcWriteBarrier4",
    "runtime.gcWriteBarrier5",
    "runtime.gcWriteBarrier6",
    "runtime.gcWriteBarrier7",
    "runtime.gcWriteBarrier8",
];

/// In which registers Go passes arguments, of which each takes one, and a text two.
const ARGUMENTS: [Register; 9] = [
    Register::RAX,
    Register::RBX,
    Register::RCX,
    Register::RDI,
    Register::RSI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// What is known of a register, or of a place of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Address(u64),
    Number(u64),
    /// A new object, of whatever kind.
    New,
    /// A router for what begins with one of the prefixes.
    Router(usize),
}

/// The texts that a process's program hands to these functions, each once, in the order of its code, with which of them takes it. Nothing for one that
/// is none of Go.
pub(crate) fn texts(proc: &ProcFs, pid: ProcessId, doers: &[Doer]) -> Option<Vec<(String, usize)>> {
    let memory = Memory::open(proc, pid)?;
    let mapping = memory.program()?;
    let file = memory.open_mapped(mapping)?;
    crate::procs::executable::build_info(&file)?;
    let cache = ReadCache::new(file.try_clone().ok()?);
    let program = Program::of(mapping, &cache)?;
    let (table, address) = table(&program, &file).ok()?;
    let start = start_of_code(&memory, &program, &table, address)?;
    let names: Vec<&str> = doers.iter().map(|(name, _)| *name).chain(BARRIERS).chain([NEW]).collect();
    let mut found = table.find_all(&names);
    let new = found.pop().flatten().map(|function| start.wrapping_add(function.start));
    let barriers = found.split_off(doers.len());
    let barriers = barriers.into_iter().flatten().map(|function| start.wrapping_add(function.start)).collect();
    let mut targets = Targets { new, barriers, doers: Vec::new() };
    for (which, (function, (_, does))) in found.iter().zip(doers).enumerate() {
        targets.doers.extend(function.map(|function| (start.wrapping_add(function.start), *does, which)));
    }
    if targets.doers.is_empty() {
        return Some(Vec::new());
    }
    let (first, end) = (table.first()?, table.end()?);
    let code = program.offset_of(start.wrapping_add(first))?;
    let looked_at = (end - first).min(CODE_LOOKED_AT_MAX);
    let mut calls = calls(&file, code, looked_at, start.wrapping_add(first), &targets);
    calls.iter_mut().for_each(|at| *at = at.wrapping_sub(start));
    let mut texts: Vec<(String, usize)> = Vec::new();
    for Function { start: at, size } in table.containing(&calls) {
        let address = start.wrapping_add(at);
        let mut code = vec![0; usize::try_from(size.min(CODE_MAX)).ok()?];
        let Some(offset) = program.offset_of(address) else { continue };
        if file.read_exact_at(&mut code, offset).is_err() {
            continue;
        }
        let read = |at: u64, len: u64| {
            let mut text = vec![0; usize::try_from(len).ok()?];
            file.read_exact_at(&mut text, program.offset_of(at)?).ok()?;
            String::from_utf8(text).ok()
        };
        let handed_over = handed_over(&code, address, &targets, read);
        texts.extend(handed_over.into_iter().filter(|text| !texts.contains(text)).collect::<Vec<_>>());
    }
    Some(texts)
}

/// Functions by their addresses.
#[derive(Debug, Default)]
struct Targets {
    /// See [`NEW`].
    new: Option<u64>,
    /// See [`BARRIERS`].
    barriers: Vec<u64>,
    /// Those that are asked for, with which each is.
    doers: Vec<(u64, Does, usize)>,
}

/// Where in code of that length, which lies at `offset` of the file and at `address`, there may be calls of these.
fn calls(file: &File, offset: u64, len: u64, address: u64, targets: &Targets) -> Vec<u64> {
    let mut found = Vec::new();
    let mut buffer = vec![0; PIECE + CALL_LEN];
    let mut at = 0;
    while at < len {
        let piece = usize::try_from(len - at).unwrap_or(PIECE + CALL_LEN).min(PIECE + CALL_LEN);
        let Some(piece) = buffer.get_mut(..piece) else { break };
        if file.read_exact_at(piece, offset + at).is_err() {
            break;
        }
        for hit in memchr::memchr_iter(CALL, piece) {
            let Some(&[_, a, b, c, d]) = piece.get(hit..hit + CALL_LEN) else { continue };
            let here = address.wrapping_add(at + hit as u64);
            let to =
                here.wrapping_add(CALL_LEN as u64).wrapping_add_signed(i64::from(i32::from_le_bytes([a, b, c, d])));
            if targets.doers.iter().any(|(target, ..)| *target == to) && found.last() != Some(&here) {
                found.push(here);
                if found.len() >= CALLS_MAX {
                    return found;
                }
            }
        }
        at += PIECE as u64;
    }
    found
}

/// The texts that a function's code hands over, where they are written there, and with which function takes each. `read` reads them.
fn handed_over(
    code: &[u8],
    address: u64,
    targets: &Targets,
    read: impl Fn(u64, u64) -> Option<String>,
) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut prefixes: Vec<String> = vec![String::new()];
    let mut known = [Known::Nothing; ARGUMENTS.len()];
    let mut ahead = Ahead::of(code, address);
    let mut places = written_once(code, address);
    let mut uses = InstructionInfoFactory::new();
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        known = ahead.arrive(instruction.ip(), known);
        if instruction.flow_control() == FlowControl::Call {
            let to = instruction.near_branch_target();
            if targets.barriers.contains(&to) {
                // It touches nothing but a register of its own.
                continue;
            }
            let result = match targets.doers.iter().find(|(target, ..)| *target == to) {
                Some(&(_, does, which)) => done(does, &known, &mut prefixes, &read, |text| found.push((text, which))),
                None if targets.new == Some(to) => Known::New,
                None => Known::Nothing,
            };
            known = [Known::Nothing; ARGUMENTS.len()];
            known[0] = result;
            continue;
        }
        if instruction.flow_control() != FlowControl::Next {
            ahead.leave(&instruction, &known);
            if instruction.flow_control() != FlowControl::ConditionalBranch {
                known = [Known::Nothing; ARGUMENTS.len()];
            }
            continue;
        }
        if let Some(place) = place_written(&instruction)
            && let Some(value) = places.get_mut(&place)
        {
            let of = ARGUMENTS.iter().position(|register| *register == instruction.op1_register());
            *value = of.and_then(|at| known.get(at)).copied().unwrap_or(Known::Nothing);
        }
        for (register, known) in ARGUMENTS.into_iter().zip(&mut known) {
            if let Some(value) = written(&mut uses, &instruction, register, &places) {
                *known = value;
            }
        }
    }
    found
}

/// What is known where code is jumped to.
#[derive(Debug, Default)]
struct Ahead {
    /// By address, of those that are jumped to from before only.
    at: HashMap<u64, [Known; ARGUMENTS.len()]>,
    /// Those that are jumped to from behind, where anything may be.
    loops: HashSet<u64>,
    /// The instruction before does not go on to the next.
    is_cut: bool,
    /// Some jumps go by a table, and so to anywhere.
    has_tables: bool,
}

impl Ahead {
    fn of(code: &[u8], address: u64) -> Self {
        let mut ahead = Self::default();
        for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
            let to = instruction.near_branch_target();
            if is_jump(&instruction) && to <= instruction.ip() {
                ahead.loops.insert(to);
            }
            ahead.has_tables |= instruction.flow_control() == FlowControl::IndirectBranch;
        }
        ahead
    }

    /// What is known at an instruction, to which the one before goes on with that.
    fn arrive(&mut self, at: u64, before: [Known; ARGUMENTS.len()]) -> [Known; ARGUMENTS.len()] {
        let is_cut = std::mem::replace(&mut self.is_cut, false);
        if self.loops.contains(&at) {
            return [Known::Nothing; ARGUMENTS.len()];
        }
        match self.at.remove(&at) {
            None => before,
            Some(_) if self.has_tables => [Known::Nothing; ARGUMENTS.len()],
            Some(jumped) if is_cut => jumped,
            Some(jumped) => both(before, jumped),
        }
    }

    /// It jumps, or goes elsewhere.
    fn leave(&mut self, instruction: &Instruction, known: &[Known; ARGUMENTS.len()]) {
        self.is_cut = instruction.flow_control() != FlowControl::ConditionalBranch;
        let to = instruction.near_branch_target();
        if is_jump(instruction) && to > instruction.ip() {
            let there = self.at.get(&to).map_or(*known, |there| both(*there, *known));
            self.at.insert(to, there);
        }
    }
}

/// What is known on either way.
fn both(mut one: [Known; ARGUMENTS.len()], other: [Known; ARGUMENTS.len()]) -> [Known; ARGUMENTS.len()] {
    for (one, other) in one.iter_mut().zip(other) {
        if *one != other {
            *one = Known::Nothing;
        }
    }
    one
}

fn is_jump(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
}

/// What a call of such a function gives, and hands over.
fn done(
    does: Does,
    known: &[Known; ARGUMENTS.len()],
    prefixes: &mut Vec<String>,
    read: impl Fn(u64, u64) -> Option<String>,
    hand_over: impl FnOnce(String),
) -> Known {
    let text = |argument: usize| match known.get(argument..argument + 2) {
        Some(&[Known::Address(at), Known::Number(len)]) if (1..=TEXT_MAX).contains(&len) => read(at, len),
        // An empty one has no address.
        Some(&[_, Known::Number(0)]) => Some(String::new()),
        _ => None,
    };
    let of_router = |is_new_one: bool, text: Option<String>| {
        let prefix = match known[0] {
            Known::Router(at) => prefixes.get(at)?,
            Known::New if is_new_one => "",
            _ => return None,
        };
        let (prefix, text) = (prefix.trim_end_matches('/'), text?);
        let rest = text.trim_start_matches('/');
        Some(if text.is_empty() { prefix.to_owned() } else { format!("{prefix}/{rest}") })
    };
    match does {
        Does::Makes => return Known::Router(0),
        Does::Groups(argument) => {
            let Some(prefix) = of_router(false, text(argument)).filter(|prefix| prefix.len() <= TEXT_MAX as usize)
            else {
                return Known::Nothing;
            };
            prefixes.push(prefix);
            return Known::Router(prefixes.len() - 1);
        }
        Does::Takes(argument) => text(argument).filter(|text| !text.is_empty()).map(hand_over),
        Does::TakesFor(argument) => of_router(false, text(argument)).map(hand_over),
        Does::TakesForNew(argument) => of_router(true, text(argument)).map(hand_over),
    };
    Known::Nothing
}

/// The places of the stack that a function's code writes to once: what is there is the same on each way that leads on.
fn written_once(code: &[u8], address: u64) -> HashMap<u64, Known> {
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        if let Some(place) = any_place_written(&instruction) {
            *counts.entry(place).or_default() += 1;
        }
    }
    counts.into_iter().filter(|(_, count)| *count == 1).map(|(place, _)| (place, Known::Nothing)).collect()
}

/// Where on the stack an instruction writes a word of a register to.
fn place_written(instruction: &Instruction) -> Option<u64> {
    let is_move = instruction.mnemonic() == Mnemonic::Mov && instruction.op1_kind() == OpKind::Register;
    any_place_written(instruction).filter(|_| is_move && instruction.op1_register().size() == 8)
}

/// Where on the stack it writes anything to.
fn any_place_written(instruction: &Instruction) -> Option<u64> {
    let reads_only = matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
    (instruction.op0_kind() == OpKind::Memory && !reads_only).then(|| on_stack(instruction))?
}

fn on_stack(instruction: &Instruction) -> Option<u64> {
    let is_on_stack = instruction.memory_base() == Register::RSP && instruction.memory_index() == Register::None;
    is_on_stack.then(|| instruction.memory_displacement64())
}

/// What is known of a register that an instruction writes to.
fn written(
    uses: &mut InstructionInfoFactory,
    instruction: &Instruction,
    register: Register,
    places: &HashMap<u64, Known>,
) -> Option<Known> {
    let is_written = uses.info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    });
    if !is_written {
        return None;
    }
    let is_whole = instruction.op0_kind() == OpKind::Register && instruction.op0_register().size() >= 4;
    Some(match instruction.mnemonic() {
        Mnemonic::Lea if is_whole && instruction.is_ip_rel_memory_operand() => {
            Known::Address(instruction.ip_rel_memory_address())
        }
        Mnemonic::Mov if is_whole && instruction.op1_kind() == OpKind::Memory => {
            let is_word = instruction.op0_register().size() == 8;
            let place = on_stack(instruction).filter(|_| is_word).and_then(|place| places.get(&place));
            place.copied().unwrap_or(Known::Nothing)
        }
        Mnemonic::Mov if is_whole => instruction.try_immediate(1).map_or(Known::Nothing, Known::Number),
        // How a register is set to zero.
        Mnemonic::Xor if is_whole && instruction.op1_register() == instruction.op0_register() => Known::Number(0),
        _ => Known::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What code at 0x1000 hands over, with where each text is in place of the text.
    fn of(code: &[u8], doers: &[(u64, Does)]) -> Vec<String> {
        let doers = doers.iter().enumerate().map(|(which, (at, does))| (*at, *does, which)).collect();
        let targets = Targets { new: Some(0x3000), barriers: vec![0x3100], doers };
        let read = |at: u64, len: u64| Some(format!("/{at:x}.{len}"));
        handed_over(code, 0x1000, &targets, read).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn texts_are_two_registers_that_are_written_before_the_call() {
        // lea 0x100(%rip),%rax; mov $7,%ebx; lea 0x200(%rip),%rcx; call 0x2000
        let code = b"\x48\x8d\x05\x00\x01\x00\x00\xbb\x07\x00\x00\x00\x48\x8d\x0d\x00\x02\x00\x00\xe8\xe8\x0f\x00\x00";
        assert_eq!(of(code, &[(0x2000, Does::Takes(0))]), ["/1107.7"]);
        assert!(of(code, &[(0x2000, Does::Takes(1))]).is_empty(), "a number and an address");
        assert!(of(code, &[(0x2004, Does::Takes(0))]).is_empty(), "another function");
        // The same with mov %rdx,%rbx behind the number.
        let code = b"\x48\x8d\x05\x00\x01\x00\x00\xbb\x07\x00\x00\x00\x48\x89\xd3\xe8\xec\x0f\x00\x00";
        assert!(of(code, &[(0x2000, Does::Takes(0))]).is_empty());
        // What is known before another call is not known behind it.
        let code = b"\x48\x8d\x05\x00\x01\x00\x00\xbb\x07\x00\x00\x00\xe8\x00\x00\x00\x00\xe8\xea\x0f\x00\x00";
        assert!(of(code, &[(0x2000, Does::Takes(0))]).is_empty());
    }

    /// `call` of what is at `to`, as the next of the code at 0x1000.
    fn call(code: &mut Vec<u8>, to: u32) {
        let next = 0x1000 + code.len() as u32 + 5;
        code.push(CALL);
        code.extend_from_slice(&to.wrapping_sub(next).to_le_bytes());
    }

    #[test]
    fn what_belongs_to_a_router_is_told_by_which_it_is() {
        const DOERS: [(u64, Does); 3] = [(0x2000, Does::Makes), (0x2100, Does::Groups(1)), (0x2200, Does::TakesFor(1))];
        // lea 0(%rip),%rbx; mov $3,%ecx
        const TEXT: &[u8] = b"\x48\x8d\x1d\x00\x00\x00\x00\xb9\x03\x00\x00\x00";
        // mov %rax,0x40(%rsp); mov 0x40(%rsp),%rax
        const KEEPS: &[u8] = b"\x48\x89\x44\x24\x40";
        const LOADS: &[u8] = b"\x48\x8b\x44\x24\x40";
        let mut code = Vec::new();
        call(&mut code, 0x2000);
        code.extend_from_slice(KEEPS);
        code.extend_from_slice(TEXT);
        call(&mut code, 0x2100);
        let group = 0x1000 + 10 + 7;
        // mov %rax,0x48(%rsp)
        code.extend_from_slice(b"\x48\x89\x44\x24\x48");
        code.extend_from_slice(TEXT);
        code.extend_from_slice(b"\x48\x8b\x44\x24\x48");
        let below = 0x1000 + code.len() - 5 - 5;
        call(&mut code, 0x2200);
        code.extend_from_slice(LOADS);
        code.extend_from_slice(TEXT);
        let above = 0x1000 + code.len() - 5;
        call(&mut code, 0x2200);
        // Of one that is not known.
        code.extend_from_slice(TEXT);
        call(&mut code, 0x2200);
        assert_eq!(of(&code, &DOERS), [format!("/{group:x}.3/{below:x}.3"), format!("/{above:x}.3")]);
        // A place that is written to twice may hold either.
        code.extend_from_slice(KEEPS);
        assert_eq!(of(&code, &DOERS), [format!("/{group:x}.3/{below:x}.3")]);
    }

    #[test]
    fn new_objects_are_routers_where_that_is_said() {
        let mut code = Vec::new();
        call(&mut code, 0x3000);
        // lea 0(%rip),%rbx; mov $3,%ecx
        code.extend_from_slice(b"\x48\x8d\x1d\x00\x00\x00\x00\xb9\x03\x00\x00\x00");
        call(&mut code, 0x2000);
        assert_eq!(of(&code, &[(0x2000, Does::TakesForNew(1))]), ["/100c.3"]);
        assert!(of(&code, &[(0x2000, Does::TakesFor(1))]).is_empty());
        // What is known on both ways is known where they meet: jne over a jump; jmp over the barrier.
        let mut code = Vec::new();
        call(&mut code, 0x3000);
        code.extend_from_slice(b"\x75\x02\xeb\x05");
        call(&mut code, 0x3100);
        code.extend_from_slice(b"\x48\x8d\x1d\x00\x00\x00\x00\xb9\x03\x00\x00\x00");
        call(&mut code, 0x2000);
        assert_eq!(of(&code, &[(0x2000, Does::TakesForNew(1))]), ["/1015.3"]);
        // Not where one of them changes it: jne over xor %eax,%eax; nor where jumps go by a table: jmp *%rcx.
        let meet = |between: &[u8], behind: &[u8]| {
            let mut code = Vec::new();
            call(&mut code, 0x3000);
            code.extend_from_slice(between);
            code.extend_from_slice(b"\x48\x8d\x1d\x00\x00\x00\x00\xb9\x03\x00\x00\x00");
            call(&mut code, 0x2000);
            code.extend_from_slice(behind);
            of(&code, &[(0x2000, Does::TakesForNew(1))]).len()
        };
        assert_eq!(meet(b"\x75\x02\x90\x90", b""), 1);
        assert_eq!(meet(b"\x75\x02\x31\xc0", b""), 0);
        assert_eq!(meet(b"\x75\x02\x90\x90", b"\xff\xe1"), 0);
        // Nor where it may be come back to: jmp to what stands behind the first call, and to that itself.
        assert_eq!(meet(b"\x90\x90", b"\xeb\xeb"), 0);
        assert_eq!(meet(b"\x90\x90", b"\xeb\xe6"), 1);
    }

    #[test]
    fn calls_are_found_across_pieces() {
        let mut code = vec![0x90; PIECE + 100];
        for at in [0, PIECE - 2, PIECE + 50] {
            let to = 0x10_0000_u32.wrapping_sub(at as u32 + 5);
            code[at] = CALL;
            code[at + 1..at + 5].copy_from_slice(&to.to_le_bytes());
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&code, 16).unwrap();
        let targets = Targets { new: None, barriers: Vec::new(), doers: vec![(0x10_1000, Does::Takes(0), 0)] };
        let found = calls(&file, 16, code.len() as u64, 0x1000, &targets);
        assert_eq!(found, [0x1000, 0x1000 + PIECE as u64 - 2, 0x1000 + PIECE as u64 + 50]);
    }
}
