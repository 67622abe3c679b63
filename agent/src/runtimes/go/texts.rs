//! Texts that a Go program hands to functions with these names, as they are written in its code: an address and a length, put into the two
//! registers that a text is passed in. Those that are put together when the program runs are not there.

use std::{fs::File, os::unix::fs::FileExt};

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

/// A function that takes a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    /// Its name.
    pub name: &'static str,
    /// Which of its arguments it is, of which each takes a register, and the text two.
    pub argument: usize,
}

/// In which registers Go passes arguments.
const ARGUMENTS: [Register; 4] = [Register::RAX, Register::RBX, Register::RCX, Register::RDI];

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Address(u64),
    Number(u64),
}

/// The texts that a process's program hands to these functions, each once, in the order of its code. Nothing for one that is none of Go.
pub(crate) fn texts<const N: usize>(proc: &ProcFs, pid: ProcessId, takes: [Takes; N]) -> Option<Vec<String>> {
    let memory = Memory::open(proc, pid)?;
    let mapping = memory.program()?;
    let file = memory.open_mapped(mapping)?;
    crate::procs::executable::build_info(&file)?;
    let cache = ReadCache::new(file.try_clone().ok()?);
    let program = Program::of(mapping, &cache)?;
    let (table, address) = table(&program, &file).ok()?;
    let start = start_of_code(&memory, &program, &table, address)?;
    let found = table.find(&takes.map(|takes| takes.name));
    let targets: Vec<(u64, usize)> = found
        .iter()
        .zip(takes)
        .filter_map(|(function, takes)| Some((start.wrapping_add((*function)?.start), takes.argument)))
        .collect();
    if targets.is_empty() {
        return Some(Vec::new());
    }
    let (first, end) = (table.first()?, table.end()?);
    let code = program.offset_of(start.wrapping_add(first))?;
    let mut calls = calls(&file, code, (end - first).min(CODE_LOOKED_AT_MAX), start.wrapping_add(first), &targets);
    calls.iter_mut().for_each(|at| *at = at.wrapping_sub(start));
    let mut texts: Vec<String> = Vec::new();
    for Function { start: at, size } in table.containing(&calls) {
        let address = start.wrapping_add(at);
        let mut code = vec![0; usize::try_from(size.min(CODE_MAX)).ok()?];
        let Some(offset) = program.offset_of(address) else { continue };
        if file.read_exact_at(&mut code, offset).is_err() {
            continue;
        }
        for (at, len) in handed_over(&code, address, &targets) {
            let read = || {
                let mut text = vec![0; usize::try_from(len).ok()?];
                file.read_exact_at(&mut text, program.offset_of(at)?).ok()?;
                String::from_utf8(text).ok()
            };
            texts.extend(read().filter(|text| !texts.contains(text)));
        }
    }
    Some(texts)
}

/// Where in code of that length, which lies at `offset` of the file and at `address`, there may be calls of these.
fn calls(file: &File, offset: u64, len: u64, address: u64, targets: &[(u64, usize)]) -> Vec<u64> {
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
            if targets.iter().any(|(target, _)| *target == to) && found.last() != Some(&here) {
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

/// Address and length of the texts that a function's code hands over, where both are written there.
fn handed_over(code: &[u8], address: u64, targets: &[(u64, usize)]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut known = [Known::Nothing; ARGUMENTS.len()];
    let mut uses = InstructionInfoFactory::new();
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        if instruction.flow_control() == FlowControl::Call
            && let Some((_, argument)) = targets.iter().find(|(target, _)| *target == instruction.near_branch_target())
            && let Some(&[Known::Address(at), Known::Number(len)]) = known.get(*argument..*argument + 2)
            && (1..=TEXT_MAX).contains(&len)
        {
            found.push((at, len));
        }
        if instruction.flow_control() != FlowControl::Next {
            known = [Known::Nothing; ARGUMENTS.len()];
            continue;
        }
        for (register, known) in ARGUMENTS.into_iter().zip(&mut known) {
            if let Some(value) = written(&mut uses, &instruction, register) {
                *known = value;
            }
        }
    }
    found
}

/// What is known of a register that an instruction writes to.
fn written(uses: &mut InstructionInfoFactory, instruction: &Instruction, register: Register) -> Option<Known> {
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
        Mnemonic::Mov if is_whole => instruction.try_immediate(1).map_or(Known::Nothing, Known::Number),
        _ => Known::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_two_registers_that_are_written_before_the_call() {
        // lea 0x100(%rip),%rax; mov $7,%ebx; lea 0x200(%rip),%rcx; call 0x2000
        let code = b"\x48\x8d\x05\x00\x01\x00\x00\xbb\x07\x00\x00\x00\x48\x8d\x0d\x00\x02\x00\x00\xe8\xe8\x0f\x00\x00";
        assert_eq!(handed_over(code, 0x1000, &[(0x2000, 0)]), [(0x1107, 7)]);
        assert_eq!(handed_over(code, 0x1000, &[(0x2000, 1)]), [], "a number and an address");
        assert_eq!(handed_over(code, 0x1000, &[(0x2004, 0)]), [], "another function");
        // The same with mov %rdx,%rbx behind the number.
        let code = b"\x48\x8d\x05\x00\x01\x00\x00\xbb\x07\x00\x00\x00\x48\x89\xd3\xe8\xec\x0f\x00\x00";
        assert_eq!(handed_over(code, 0x1000, &[(0x2000, 0)]), []);
        // What is known before another call is not known behind it.
        let code = b"\x48\x8d\x05\x00\x01\x00\x00\xbb\x07\x00\x00\x00\xe8\x00\x00\x00\x00\xe8\xea\x0f\x00\x00";
        assert_eq!(handed_over(code, 0x1000, &[(0x2000, 0)]), []);
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
        let found = calls(&file, 16, code.len() as u64, 0x1000, &[(0x10_1000, 0)]);
        assert_eq!(found, [0x1000, 0x1000 + PIECE as u64 - 2, 0x1000 + PIECE as u64 + 50]);
    }
}
