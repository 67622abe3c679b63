//! Where plaintext is seen of `crypto/tls` in Go programs: one probe for what is written, one for what is read, each at a place where all that is
//! to be known is at hand, and which is met while the connection's lock for that direction is held, so that pieces come in their order.
//!
//! What is written goes through `(*Conn).writeRecordLocked`, whose arguments are in registers: connection, kind of record, bytes. What is read is copied at the
//! end of `(*Conn).Read`, by the one call of `memmove` there is in it: how many bytes, and where they lie, is in registers at the jump before that
//! call, which the kernel emulates. The connection is where the function has put it at its beginning, in the room that its caller has for its
//! arguments. So a read that gives nothing hits no probe, one that gives bytes one; a probe at the beginning and one at each `ret`
//! would be two for either, and two of the `ret`s cost a single step each.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

/// The functions that this is about: what reads, what writes, what copies, and what copies in programs built with `-race`.
pub(crate) const FUNCTIONS: [&str; 4] =
    ["crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).writeRecordLocked", "runtime.memmove", "runtime.slicecopy"];

/// Instructions between the jump and the call, and at the beginning of a function, that are looked at.
const BETWEEN_MAX: usize = 4;
const BEGINNING: usize = 24;

/// Where a read copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Where the jump before the call is, in the function; or the call.
    pub(crate) at: u64,
    /// The call is of `slicecopy`.
    pub(crate) is_of_slices: bool,
    /// Where the connection lies, seen from the stack pointer there.
    pub(crate) connection: u16,
}

/// In the code of `(*Conn).Read` at `address`, where `memmove` is at `copies` and `slicecopy` at `slices`. `None` where it is not as Go's compiler writes it.
pub(crate) fn reads(code: &[u8], address: u64, copies: u64, slices: Option<u64>) -> Option<Reads> {
    let instructions: Vec<Instruction> =
        Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter().collect();
    let connection = kept_argument(&instructions)?;
    let call_of = |called: u64| {
        let calls = |instruction: &Instruction| {
            instruction.flow_control() == FlowControl::Call && instruction.near_branch_target() == called
        };
        let mut calls = instructions.iter().enumerate().filter(|(_, instruction)| calls(instruction)).map(|(at, _)| at);
        let (call, None) = (calls.next()?, calls.next()) else { return None };
        Some(call)
    };
    // The kernel emulates that call itself.
    if let Some(call) = slices.and_then(call_of) {
        let at = instructions.get(call)?.ip() - address;
        return Some(Reads { at, is_of_slices: true, connection });
    }
    let call = call_of(copies)?;
    let from = call.checked_sub(BETWEEN_MAX)?;
    let before = instructions.get(from..call)?;
    let jump = from + before.iter().rposition(|instruction| instruction.flow_control() != FlowControl::Next)?;
    let between = instructions.get(jump..call)?;
    let (first, rest) = between.split_first()?;
    let skips = instructions.get(call)?.next_ip() <= first.near_branch_target();
    // Equal addresses: nothing would have to be copied.
    let is_jump = first.mnemonic() == Mnemonic::Je && matches!(first.len(), 2 | 6) && skips;
    let compared = instructions.get(jump.checked_sub(1)?)?;
    let compares = compared.mnemonic() == Mnemonic::Cmp
        && [compared.op0_register(), compared.op1_register()]
            .iter()
            .all(|of| [Register::RAX, Register::RBX].contains(of));
    let touched = rest.iter().any(|instruction| {
        [Register::RAX, Register::RBX, Register::RCX, Register::RSP]
            .iter()
            .any(|&register| writes_to(instruction, register))
    });
    (is_jump && compares && !touched).then_some(Reads { at: first.ip() - address, is_of_slices: false, connection })
}

/// Where the function keeps its first argument, seen from the stack pointer behind its beginning: right above its return address, in its caller's
/// frame.
fn kept_argument(instructions: &[Instruction]) -> Option<u16> {
    let mut depth: u64 = 0;
    for instruction in instructions.iter().take(BEGINNING) {
        match instruction.mnemonic() {
            Mnemonic::Push => depth += 8,
            Mnemonic::Sub if instruction.op0_register() == Register::RSP => {
                depth += instruction.try_immediate(1).ok()?
            }
            Mnemonic::Mov
                if instruction.op0_kind() == OpKind::Memory
                    && instruction.memory_base() == Register::RSP
                    && instruction.memory_index() == Register::None
                    && instruction.memory_displacement64() == depth + 8
                    && instruction.op1_register() == Register::RAX =>
            {
                return u16::try_from(depth + 8).ok();
            }
            _ if writes_to(instruction, Register::RAX) || writes_to(instruction, Register::RSP) => return None,
            _ if matches!(instruction.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch) => {}
            _ => return None,
        }
    }
    None
}

/// Where in the code of `(*Conn).writeRecordLocked` at `address` the first instruction behind the check of the stack is: it is met once in each
/// call, however the stack grows, with the arguments in their registers. `None` where it is not as Go's compiler writes it.
pub(crate) fn writes(code: &[u8], address: u64) -> Option<u64> {
    let mut is_checked = false;
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter().take(4) {
        let is_of_stack = || matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Cmp | Mnemonic::Nop);
        if is_checked {
            let begins = instruction.mnemonic() == Mnemonic::Push
                || instruction.mnemonic() == Mnemonic::Sub && instruction.op0_register() == Register::RSP;
            return begins.then_some(instruction.ip() - address);
        }
        match instruction.flow_control() {
            FlowControl::ConditionalBranch if instruction.mnemonic() == Mnemonic::Jbe => is_checked = true,
            FlowControl::Next if is_of_stack() => {}
            _ => return None,
        }
    }
    None
}

fn writes_to(instruction: &Instruction, register: Register) -> bool {
    InstructionInfoFactory::new().info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register
            && matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function at 0x1000 as Go 1.21 and later write it: it keeps its argument at 0x58 + 8 + 8, and copies by a call of what is at 0x2000.
    fn written(jump: &[u8], between: &[u8], copies: u32) -> Vec<u8> {
        // cmp 0x10(%r14),%rsp; jbe; push %rbp; mov %rsp,%rbp; sub $0x58,%rsp; mov %rax,0x68(%rsp)
        let mut code =
            b"\x49\x3b\x66\x10\x0f\x86\x00\x01\x00\x00\x55\x48\x89\xe5\x48\x83\xec\x58\x48\x89\x44\x24\x68".to_vec();
        // mov 0x70(%rsp),%rax; cmp %rbx,%rax
        code.extend_from_slice(b"\x48\x8b\x44\x24\x70\x48\x39\xd8");
        code.extend_from_slice(jump);
        code.extend_from_slice(between);
        code.push(0xe8);
        let next = 0x1000 + code.len() as u32 + 4;
        code.extend_from_slice(&copies.wrapping_sub(next).to_le_bytes());
        code.extend_from_slice(b"\x48\x8b\x4c\x24\x28\xc3");
        code
    }

    /// je over the call; mov %rcx,0x28(%rsp)
    const JUMP: &[u8] = b"\x74\x0a";
    const KEEPS: &[u8] = b"\x48\x89\x4c\x24\x28";

    #[test]
    fn where_a_read_copies_is_found() {
        let found = Reads { at: 31, is_of_slices: false, connection: 0x68 };
        let reads = |code: &[u8], address, copies| reads(code, address, copies, None);
        assert_eq!(reads(&written(JUMP, KEEPS, 0x2000), 0x1000, 0x2000), Some(found));
        assert_eq!(reads(&written(JUMP, KEEPS, 0x3000), 0x1000, 0x2000), None, "a call of something else");
        assert_eq!(reads(&written(b"\x75\x0a", KEEPS, 0x2000), 0x1000, 0x2000), None, "jne");
        assert_eq!(reads(&written(b"\x74\x02", KEEPS, 0x2000), 0x1000, 0x2000), None, "it does not jump over the call");
        // mov %rcx,%rbx
        assert_eq!(reads(&written(b"\x74\x08", b"\x48\x89\xcb", 0x2000), 0x1000, 0x2000), None, "another address");
        let mut twice = written(JUMP, KEEPS, 0x2000);
        let next = 0x1000 + twice.len() as u32 + 5;
        twice.push(0xe8);
        twice.extend_from_slice(&0x2000_u32.wrapping_sub(next).to_le_bytes());
        assert_eq!(reads(&twice, 0x1000, 0x2000), None, "two of them");
        let mut elsewhere = written(JUMP, KEEPS, 0x2000);
        elsewhere[22] = 0x60;
        assert_eq!(reads(&elsewhere, 0x1000, 0x2000), None, "the connection is not kept where it should be");
        assert_eq!(reads(&[0x06; 40], 0x1000, 0x2000), None);
        assert_eq!(reads(&[], 0x1000, 0x2000), None);
    }

    #[test]
    fn programs_built_with_race_copy_slices() {
        let code = written(b"\x90\x90", KEEPS, 0x2000);
        let at = 31 + 2 + KEEPS.len() as u64;
        assert_eq!(
            reads(&code, 0x1000, 0x3000, Some(0x2000)),
            Some(Reads { at, is_of_slices: true, connection: 0x68 })
        );
        assert_eq!(reads(&code, 0x1000, 0x3000, Some(0x2008)), None);
    }

    #[test]
    fn a_write_is_met_once() {
        // lea -0xb0(%rsp),%r12; cmp 0x10(%r14),%r12; jbe; push %rbp
        let code = b"\x4c\x8d\xa4\x24\x50\xff\xff\xff\x4d\x3b\x66\x10\x0f\x86\xe1\x08\x00\x00\x55\x48\x89\xe5";
        assert_eq!(writes(code, 0x1000), Some(18));
        // Before 1.21: sub $0xd0,%rsp
        let older = b"\x4c\x8d\x64\x24\xb0\x4d\x3b\x66\x10\x0f\x86\x90\x06\x00\x00\x48\x81\xec\xd0\x00\x00\x00";
        assert_eq!(writes(older, 0x1000), Some(15));
        assert_eq!(writes(&code[..18], 0x1000), None);
        // mov %rcx,%rax comes first.
        assert_eq!(writes(b"\x48\x89\xc8\x55", 0x1000), None);
        assert_eq!(writes(b"\x06", 0x1000), None);
    }
}
