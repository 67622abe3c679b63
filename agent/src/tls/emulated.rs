//! Where a probe costs less than at a function's first instruction, or at its `ret`.
//!
//! A hit is a trap. Most instructions the kernel then carries out elsewhere, by a single step, which is a second one (and in a
//! virtual machine, where the host looks at single steps, a dear one). A few it carries out itself: `push` of a register,
//! direct jumps, conditional or not. Of those, the first behind a function's beginning will do where it is met exactly once in
//! each call, with the arguments still in their registers; and the jump by which the stack protector leaves for good, where nothing but
//! the rest of the way out comes behind it. How far the stack pointer is from the return address is known from the code between.
//!
//! Calls are left alone: the kernel carries them out too, but before 6.18 it forgets the shadow stack of those who have one.

use std::ops::Range;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::exits::Followed;

/// Most instructions between the two.
const BETWEEN_MAX: usize = 24;

/// Where arguments are passed.
const ARGUMENTS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];

/// An instruction to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its address.
    pub(super) at: u64,
    /// How far the stack pointer is there from where the return address lies.
    pub(super) depth: u32,
    /// The addresses of the code that the choice rests on.
    pub(super) range: Range<u64>,
}

/// What stands for the beginning of the function at `begin`, which reads so many `arguments`.
pub(super) fn entry(followed: &Followed, begin: u64, arguments: usize) -> Option<Chosen> {
    let mut uses = InstructionInfoFactory::new();
    let (mut at, mut depth) = (begin, 0);
    for _ in 0..BETWEEN_MAX {
        if at != begin && followed.targets.contains(&at) {
            return None;
        }
        let instruction = followed.instructions.get(&at)?;
        if is_emulated(instruction) {
            return Some(Chosen { at, depth, range: begin..instruction.next_ip() });
        }
        let is_touched = ARGUMENTS.iter().take(arguments).any(|&register| writes(&mut uses, instruction, register));
        if instruction.flow_control() != FlowControl::Next || is_touched {
            return None;
        }
        depth = depth.checked_sub_signed(moves_stack(&mut uses, instruction)?)?;
        at = instruction.next_ip();
    }
    None
}

/// What stands for the `ret` at `end`.
pub(super) fn exit(followed: &Followed, end: u64) -> Option<Chosen> {
    let mut uses = InstructionInfoFactory::new();
    let last = followed.instructions.get(&end)?.next_ip();
    let (mut at, mut depth) = (end, 0);
    for _ in 0..BETWEEN_MAX {
        let before = falls_to(followed, at)?;
        if before.mnemonic() == Mnemonic::Jne && is_emulated(before) && protects(followed, before.ip()) {
            return Some(Chosen { at: before.ip(), depth, range: before.ip()..last });
        }
        if before.flow_control() != FlowControl::Next || writes(&mut uses, before, Register::RAX) {
            return None;
        }
        depth = depth.checked_add_signed(moves_stack(&mut uses, before)?)?;
        at = before.ip();
    }
    None
}

/// The instruction that all ways to the one at `at` lead through last.
fn falls_to(followed: &Followed, at: u64) -> Option<&Instruction> {
    if followed.targets.contains(&at) {
        return None;
    }
    let mut before = followed
        .instructions
        .range(at.checked_sub(15)?..at)
        .map(|(_, instruction)| instruction)
        .filter(|instruction| instruction.next_ip() == at);
    // Not where the bytes were read in two ways.
    before.next().filter(|_| before.next().is_none())
}

/// Whether the jump at `jump` leaves for good if the word behind the function's variables has changed (stack protector): it is
/// compared to the thread's own, which is at `%fs:0x28`.
fn protects(followed: &Followed, jump: u64) -> bool {
    let Some(compares) = falls_to(followed, jump) else { return false };
    let with_thread = |instruction: &Instruction| {
        instruction.op1_kind() == OpKind::Memory
            && instruction.op0_kind() == OpKind::Register
            && instruction.memory_segment() == Register::FS
            && instruction.memory_base() == Register::None
            && instruction.memory_index() == Register::None
            && instruction.memory_displacement64() == 0x28
    };
    match compares.mnemonic() {
        Mnemonic::Sub | Mnemonic::Xor | Mnemonic::Cmp if with_thread(compares) => true,
        Mnemonic::Cmp => falls_to(followed, compares.ip()).is_some_and(|loads| {
            loads.mnemonic() == Mnemonic::Mov
                && with_thread(loads)
                && [compares.op0_register(), compares.op1_register()].contains(&loads.op0_register())
        }),
        _ => false,
    }
}

/// Whether the kernel carries it out itself (`arch/x86/kernel/uprobes.c`). Prefixes are left alone.
fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::ConditionalBranch => {
            instruction.is_jcc_short() && instruction.len() == 2 || instruction.is_jcc_near() && instruction.len() == 6
        }
        FlowControl::UnconditionalBranch => {
            instruction.is_jmp_short() && instruction.len() == 2 || instruction.is_jmp_near() && instruction.len() == 5
        }
        _ => pushes(instruction) && instruction.len() <= 2,
    }
}

/// `push` of a register of 64 bits, in its short form.
fn pushes(instruction: &Instruction) -> bool {
    instruction.code() == iced_x86::Code::Push_r64
}

/// By how much it raises the stack pointer, where that is certain.
fn moves_stack(uses: &mut InstructionInfoFactory, instruction: &Instruction) -> Option<i32> {
    if !writes(uses, instruction, Register::RSP) {
        return Some(0);
    }
    let by = || {
        let is_of_stack = instruction.op0_register() == Register::RSP && instruction.op1_kind() != OpKind::Register;
        i32::try_from(instruction.immediate(1).cast_signed()).ok().filter(|_| is_of_stack)
    };
    match instruction.mnemonic() {
        Mnemonic::Pop if instruction.op0_register().is_gpr64() && instruction.op0_register() != Register::RSP => {
            Some(8)
        }
        Mnemonic::Add if instruction.op1_kind() != OpKind::Memory => by(),
        Mnemonic::Sub if instruction.op1_kind() != OpKind::Memory => by().and_then(i32::checked_neg),
        _ => None,
    }
}

fn writes(uses: &mut InstructionInfoFactory, instruction: &Instruction, register: Register) -> bool {
    uses.info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register
            && matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::exits::{Stretch, follow},
        *,
    };

    /// What is chosen in a function at 0x1000, as offset and depth: for its beginning, and for its one `ret`.
    fn of(code: &[u8], arguments: usize) -> [Option<(u64, u32)>; 2] {
        let followed = follow(Stretch { address: 0x1000, code: code.to_vec() }, |_| None).unwrap();
        let end = followed.returns.first().copied().unwrap();
        let short = |chosen: Chosen| (chosen.at - 0x1000, chosen.depth);
        [entry(&followed, 0x1000, arguments).map(short), exit(&followed, end).map(short)]
    }

    /// `mov 8(%rsp),%rdx`, `sub %fs:0x28,%rdx`, `jne` over `add $0x18,%rsp` and `ret` to `ud2`.
    const END: &[u8] = b"\x48\x8b\x54\x24\x08\x64\x48\x2b\x14\x25\x28\x00\x00\x00\x75\x05\x48\x83\xc4\x18\xc3\x0f\x0b";

    fn with_end(begin: &[u8]) -> Vec<u8> {
        [begin, END].concat()
    }

    #[test]
    fn what_compilers_write_has_both() {
        // sub $0x18,%rsp; test %edx,%edx; js +0; call
        let read = with_end(b"\x48\x83\xec\x18\x85\xd2\x78\x00\xe8\x00\x00\x00\x00");
        assert_eq!(of(&read, 3), [Some((6, 0x18)), Some((27, 0x18))]);
        // endbr64; push %rbp; mov %rsp,%rbp; pop %rbp; ret
        assert_eq!(of(b"\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x5d\xc3", 3), [Some((4, 0)), None]);
        // push %r12, jump to what follows; mov %fs:0x28,%rcx; cmp 8(%rsp),%rcx; jne; pop %r12; ret; ud2
        let clang =
            b"\x41\x54\xeb\x00\x64\x48\x8b\x0c\x25\x28\x00\x00\x00\x48\x3b\x4c\x24\x08\x75\x03\x41\x5c\xc3\x0f\x0b";
        assert_eq!(of(clang, 3), [Some((0, 0)), Some((18, 8))]);
    }

    #[test]
    fn no_argument_may_be_gone() {
        // mov %edx,%ecx or mov %ecx,%edx; push %rbx; ret
        assert_eq!(of(b"\x89\xd1\x53\xc3", 3)[0], Some((2, 0)));
        assert_eq!(of(b"\x89\xd1\x53\xc3", 4)[0], None);
        assert_eq!(of(b"\x89\xca\x53\xc3", 3)[0], None);
        // and $-16,%rsp: nobody knows how far.
        assert_eq!(of(b"\x48\x83\xe4\xf0\x53\xc3", 3)[0], None);
    }

    #[test]
    fn what_is_not_met_once_in_each_call_does_not_stand_for_its_beginning() {
        // test %edi,%edi; push %rbx; pop %rbx; jne to one of these; ret
        assert_eq!(of(b"\x85\xff\x53\x5b\x75\xfa\xc3", 1)[0], Some((2, 0)), "to its beginning");
        assert_eq!(of(b"\x85\xff\x53\x5b\x75\xfc\xc3", 1)[0], None, "to the push");
        assert_eq!(of(b"\x90\x85\xff\x53\x5b\x75\xfa\xc3", 1)[0], None, "to what comes before it");
        // call; a jump of 66 prefix or through memory is none that the kernel carries out.
        assert_eq!(of(b"\xe8\x00\x00\x00\x00\x53\xc3", 0)[0], None);
        assert_eq!(of(b"\xff\x37\xc3", 1)[0], None, "push (%rdi)");
    }

    #[test]
    fn what_may_not_be_the_end_does_not_stand_for_it() {
        let with = |index: usize, byte: u8| {
            let mut code = END.to_vec();
            code[index] = byte;
            of(&code, 0)[1]
        };
        assert_eq!(with(0, 0x48), Some((14, 0x18)));
        assert_eq!(with(14, 0x74), None, "je");
        assert_eq!(with(10, 0x30), None, "another word than the protector's");
        assert_eq!(with(5, 0x65), None, "another segment");
        assert_eq!(with(18, 0xe4), None, "and $0x18,%rsp");
        // Something sets the result behind it: mov %ebx,%eax.
        let mut code = END.to_vec();
        code.splice(16..16, [0x89, 0xd8]);
        code[15] = 7;
        assert_eq!(of(&code, 0)[1], None);
        // Something jumps past it: js to the add.
        let code = with_end(b"\x78\x10");
        assert_eq!(of(&code, 0)[1], None);
        // Or to the jump itself, with other flags.
        let code = with_end(b"\x78\x0e");
        assert_eq!(of(&code, 0)[1], None);
    }
}
