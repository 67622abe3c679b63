//! What the code of Go's runtime says of where it keeps things, and where in a function a probe costs least.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Most registers with a number that are remembered.
const KNOWN_MAX: usize = 16;
/// Instructions at the beginning of a function among which a place for a probe is looked for.
const BEGINNING: usize = 8;

fn decoded(code: &[u8], address: u64) -> Decoder<'_> {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
}

/// Where the goroutine lies that a thread runs (`g`), seen from the thread's pointer, by the code of a function that puts one there.
/// `word` reads a word at an address: in programs that are linked to be loaded anywhere the number is one.
pub(super) fn slot_of_g(code: &[u8], address: u64, word: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let mut known: Vec<(Register, u64)> = Vec::new();
    for instruction in decoded(code, address) {
        if let Some(at) = of_thread(&instruction, &known) {
            return Some(at);
        }
        if instruction.op_count() == 0 || instruction.op0_kind() != OpKind::Register {
            continue;
        }
        let register = instruction.op0_register().full_register();
        let value = match instruction.mnemonic() {
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Memory && instruction.is_ip_rel_memory_operand() => {
                word(instruction.ip_rel_memory_address())
            }
            Mnemonic::Mov => instruction.try_immediate(1).ok(),
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push => continue,
            _ => None,
        };
        known.retain(|(other, _)| *other != register);
        if known.len() < KNOWN_MAX {
            known.extend(value.map(|value| (register, value)));
        }
    }
    None
}

/// Where the thread's own memory lies that an instruction names, if that is known.
fn of_thread(instruction: &Instruction, known: &[(Register, u64)]) -> Option<u64> {
    let has_memory = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    if !has_memory || instruction.memory_segment() != Register::FS || instruction.memory_index() != Register::None {
        return None;
    }
    let displacement = instruction.memory_displacement64();
    match instruction.memory_base() {
        Register::None => Some(displacement),
        base => {
            let (_, value) = known.iter().find(|(register, _)| *register == base.full_register())?;
            Some(value.wrapping_add(displacement))
        }
    }
}

/// The addresses that code names, each once.
pub(super) fn addresses(code: &[u8], address: u64) -> Vec<u64> {
    let named = decoded(code, address).into_iter().filter(Instruction::is_ip_rel_memory_operand);
    let mut found: Vec<u64> = named.map(|instruction| instruction.ip_rel_memory_address()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The addresses that code gives to functions that it calls, as the first argument. `called`: to that one only.
pub(super) fn given_as_first(code: &[u8], address: u64, called: Option<u64>) -> Vec<u64> {
    let mut found = Vec::new();
    let mut given = None;
    for instruction in decoded(code, address) {
        let is_meant = called.is_none_or(|called| instruction.near_branch_target() == called);
        if instruction.flow_control() == FlowControl::Call && is_meant {
            found.extend(given.filter(|given| !found.contains(given)));
        }
        if instruction.flow_control() != FlowControl::Next {
            given = None;
        } else if instruction.op0_kind() == OpKind::Register
            && instruction.op0_register().full_register() == Register::RAX
            && !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push)
        {
            let is_address = instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand();
            given = is_address.then(|| instruction.ip_rel_memory_address());
        }
    }
    found
}

/// Where in a function's code a probe is placed so that arguments are still in their registers: at an instruction that the kernel emulates
/// rather than steps over, behind the check of the stack's size where there is one; a function whose stack has to grow begins anew.
/// `None` where the code is none of a function of Go.
pub(super) fn site(code: &[u8], address: u64) -> Option<u64> {
    let mut branch = None;
    for instruction in decoded(code, address).into_iter().take(BEGINNING) {
        if instruction.is_invalid() {
            return None;
        }
        let at = instruction.ip() - address;
        match instruction.mnemonic() {
            Mnemonic::Push => return Some(at),
            // Of the stack's end, against that which the goroutine has.
            Mnemonic::Cmp | Mnemonic::Nop => {}
            Mnemonic::Lea if instruction.memory_base() == Register::RSP => {}
            _ if branch.is_none() && instruction.flow_control() == FlowControl::ConditionalBranch => branch = Some(at),
            _ => return Some(branch.unwrap_or(0)),
        }
    }
    Some(branch.unwrap_or(0))
}

/// Where a function that gives a pointer and an error returns without an error: the two registers of the error are set to zero, and
/// nothing else happens until the `ret`.
pub(super) fn returns_without_error(code: &[u8], address: u64) -> Vec<u64> {
    let mut found = Vec::new();
    // Of the error's type and value, whether they are known to be none.
    let mut is_none = [false; 2];
    for instruction in decoded(code, address) {
        if instruction.flow_control() == FlowControl::Return {
            if is_none == [true; 2] && !instruction.is_invalid() {
                found.push(instruction.ip() - address);
            }
            is_none = [false; 2];
            continue;
        }
        if instruction.flow_control() != FlowControl::Next {
            is_none = [false; 2];
            continue;
        }
        for (register, is_none) in [Register::RBX, Register::RCX].into_iter().zip(&mut is_none) {
            if instruction.op0_kind() == OpKind::Register && instruction.op0_register().full_register() == register {
                *is_none = instruction.mnemonic() == Mnemonic::Xor
                    && instruction.op1_kind() == OpKind::Register
                    && instruction.op1_register() == instruction.op0_register();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_goroutine_lies_is_told_by_code() {
        // mov %rsi,%r14; mov %r14,%fs:-8
        let at_once = [0x49, 0x89, 0xf6, 0x64, 0x4c, 0x89, 0x34, 0x25, 0xf8, 0xff, 0xff, 0xff];
        assert_eq!(slot_of_g(&at_once, 0x1000, |_| None), Some((-8_i64).cast_unsigned()));
        // mov $-8,%rcx; mov %r14,%fs:(%rcx)
        let by_number = [0x48, 0xc7, 0xc1, 0xf8, 0xff, 0xff, 0xff, 0x64, 0x4c, 0x89, 0x31];
        assert_eq!(slot_of_g(&by_number, 0x1000, |_| None), Some((-8_i64).cast_unsigned()));
        // mov 0x10(%rip),%rcx; mov %r14,%fs:(%rcx)
        let by_word = [0x48, 0x8b, 0x0d, 0x10, 0, 0, 0, 0x64, 0x4c, 0x89, 0x31];
        let word = |at| (at == 0x1017).then_some((-80_i64).cast_unsigned());
        assert_eq!(slot_of_g(&by_word, 0x1000, word), Some((-80_i64).cast_unsigned()));
        assert_eq!(slot_of_g(&by_word, 0x1000, |_| None), None);
        // mov %r14,(%rcx)
        assert_eq!(slot_of_g(&[0x4c, 0x89, 0x31], 0x1000, |_| None), None);
    }

    #[test]
    fn probes_stand_behind_the_check_of_the_stack() {
        // cmp 0x10(%r14),%rsp; jbe; push %rbp
        let small = [0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0, 1, 0, 0, 0x55, 0x48, 0x89, 0xe5];
        assert_eq!(site(&small, 0x1000), Some(10));
        // lea -0x1a8(%rsp),%r12; cmp 0x10(%r14),%r12; jbe; push %rbp
        let large =
            [0x4c, 0x8d, 0xa4, 0x24, 0x58, 0xfe, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0, 1, 0, 0, 0x55];
        assert_eq!(site(&large, 0x1000), Some(18));
        // Before Go 1.21: cmp; jbe; sub $0x20,%rsp
        let older = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x48, 0x83, 0xec, 0x20];
        assert_eq!(site(&older, 0x1000), Some(4));
        // mov %rax,%rcx: one that has no frame.
        assert_eq!(site(&[0x48, 0x89, 0xc1], 0x1000), Some(0));
        // An instruction that there is not.
        assert_eq!(site(&[0x06], 0x1000), None);
    }

    #[test]
    fn addresses_are_named_once() {
        // lea 0x10(%rip),%rax; mov 0x9(%rip),%rcx; mov %rax,0x100(%rip)
        let code = [0x48, 0x8d, 0x05, 0x10, 0, 0, 0, 0x48, 0x8b, 0x0d, 9, 0, 0, 0, 0x48, 0x89, 0x05, 0, 1, 0, 0];
        assert_eq!(addresses(&code, 0x1000), [0x1017, 0x1115]);
    }

    #[test]
    fn returns_without_an_error_are_told_by_both_of_its_words() {
        // lea 0(%rip),%rbx; mov %rax,%rcx; xor %eax,%eax; add $0x30,%rsp; pop %rbp; ret
        let mut code = b"\x48\x8d\x1d\x00\x00\x00\x00\x48\x89\xc1\x31\xc0\x48\x83\xc4\x30\x5d\xc3".to_vec();
        let first = code.len() as u64;
        // xor %ebx,%ebx; xor %ecx,%ecx; add $0x30,%rsp; pop %rbp; ret
        code.extend_from_slice(b"\x31\xdb\x31\xc9\x48\x83\xc4\x30\x5d\xc3");
        // xor %ebx,%ebx; xor %ecx,%ecx; mov %rax,%rcx; ret
        code.extend_from_slice(b"\x31\xdb\x31\xc9\x48\x89\xc1\xc3");
        // xor %ebx,%ebx; xor %ecx,%ecx; call; ret
        code.extend_from_slice(b"\x31\xdb\x31\xc9\xe8\x00\x00\x00\x00\xc3");
        assert_eq!(returns_without_error(&code, 0x1000), [first + 9]);
        assert!(returns_without_error(&[0x06, 0xc3], 0x1000).is_empty());
    }

    #[test]
    fn what_is_given_to_a_function_is_in_the_first_register() {
        // lea 0x10(%rip),%rax; mov $1,%ebx; call; lea 0x10(%rip),%rax; mov %rcx,%rax; call; lea 0x10(%rip),%rcx; call
        let code = b"\x48\x8d\x05\x10\x00\x00\x00\xbb\x01\x00\x00\x00\xe8\x00\x00\x00\x00\
            \x48\x8d\x05\x10\x00\x00\x00\x48\x89\xc8\xe8\x00\x00\x00\x00\
            \x48\x8d\x0d\x10\x00\x00\x00\xe8\x00\x00\x00\x00";
        assert_eq!(given_as_first(code, 0x1000, None), [0x1017]);
        assert_eq!(given_as_first(code, 0x1000, Some(0x1011)), [0x1017]);
        assert!(given_as_first(code, 0x1000, Some(0x1012)).is_empty());
    }
}
