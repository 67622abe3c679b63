//! tokio: each thread has the number of the task that it polls in a variable of its own, `CONTEXT`. Where that lies in it is told by the code
//! of the function that puts it there; what a client's connection is given to send by the place in hyper's code where it does so. Both
//! take the program's table of symbols: nothing is known of one without.

use std::{fs::File, os::unix::fs::FileExt};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use memchr::memmem;
use object::ReadCache;

use super::{
    memory::{Memory, Program},
    symbols::{self, Symbol},
};

/// Longest code of a function that is looked at.
const CODE_MAX: u64 = 64 << 10;
/// Most places where something is given to a connection.
const GIVES_MAX: usize = 32;

/// What is looked for by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// `CONTEXT`.
    Context,
    /// `set_current_task_id`.
    SetCurrent,
    /// `WAKER_VTABLE`.
    WakerTable,
    /// `AtomicWaker::wake`.
    Wake,
    /// `OwnedTasks::bind_inner`.
    Bind,
    /// A function of hyper that gives a request to a connection's task.
    Gives,
}

/// What names of interest have in them.
const PARTS: [&str; 7] = [
    "5tokio7runtime7context",
    "5tokio7runtime4task5waker",
    "5tokio7runtime4task4list",
    "5tokio4sync4task12atomic_waker",
    "5hyper6client8dispatch",
    "5hyper6client4conn",
    "10hyper_util6client6legacy",
];

/// Where a process's tokio is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokio {
    /// Where the number of the task lies that a thread polls, seen from the thread's pointer.
    pub current: u64,
    /// `WAKER_VTABLE`.
    pub waker_table: u64,
    /// Where in the file a task begins, its header being the second argument.
    pub begins: Vec<u64>,
    /// Where in the file a request was given to a connection's task, whose waker is the first argument of what is called.
    pub gives: Vec<u64>,
}

/// Looks at a process. Gives its program, too.
pub(super) fn look(memory: &Memory) -> Option<(Tokio, File)> {
    let mapping = memory.program()?;
    let file = memory.open_mapped(mapping)?;
    let cache = ReadCache::new(file.try_clone().ok()?);
    let program = Program::of(mapping, &cache)?;
    let found = symbols::find(&file, program.elf(), &PARTS, what)?;
    let all = |wanted: What| found.iter().filter(move |symbol| symbol.what == wanted);
    let code = |symbol: &Symbol<What>| code(&file, &program, symbol);

    let [context, ..] = *all(What::Context).collect::<Vec<_>>() else { return None };
    let context_at = thread_offset(&program, context.address)?;
    let current = all(What::SetCurrent).find_map(|set| stored(&code(set)?, set.address, context_at, context.size))?;
    let in_process = |address: u64| address.wrapping_add(program.bias());
    let mut gives = Vec::new();
    let waker_table = all(What::WakerTable).next();
    if let (Some(wake), Some(_)) = (all(What::Wake).next(), waker_table) {
        let leads_to = |slot: u64| memory.word(in_process(slot)) == Some(in_process(wake.address));
        for symbol in all(What::Gives) {
            let calls = calls(&code(symbol).unwrap_or_default(), symbol.address, wake.address, leads_to);
            gives.extend(calls.into_iter().filter_map(|address| program.offset_of(address)));
        }
    }
    gives.sort_unstable();
    gives.dedup();
    gives.truncate(GIVES_MAX);
    let mut begins: Vec<u64> = all(What::Bind).filter_map(|symbol| program.offset_of(symbol.address)).collect();
    begins.sort_unstable();
    begins.dedup();
    begins.truncate(GIVES_MAX);
    let waker_table = waker_table.map_or(0, |table| in_process(table.address));
    drop(found);
    let tokio = Tokio { current, waker_table, begins, gives };
    Some((tokio, file))
}

/// What a name stands for, in the older or the newer way to write names.
fn what(name: &[u8]) -> Option<What> {
    let has = |part: &str| memmem::find(name, part.as_bytes()).is_some();
    // What is destroyed bears the name of what it is.
    if has("drop_in_place") {
        return None;
    }
    if has("5tokio7runtime7context7CONTEXT") {
        return Some(What::Context);
    }
    if has("5tokio7runtime7context19set_current_task_id") {
        return Some(What::SetCurrent);
    }
    if has("5tokio7runtime4task5waker12WAKER_VTABLE") {
        return Some(What::WakerTable);
    }
    if has("5tokio4sync4task12atomic_waker") && has("11AtomicWaker4wake") {
        return Some(What::Wake);
    }
    if has("5tokio7runtime4task4list") && has("OwnedTasks") && has("10bind_inner") {
        return Some(What::Bind);
    }
    let is_sender = has("5hyper6client8dispatch") && (has("8try_send") || has("4send"));
    // Where the compiler has put those into what calls them.
    let calls_it = (has("5hyper6client4conn") || has("10hyper_util6client6legacy"))
        && (has("12send_request") || has("16try_send_request"));
    (is_sender || calls_it).then_some(What::Gives)
}

/// Where a program's variable of each thread lies, seen from the thread's pointer: what the program was started with lies right before it.
fn thread_offset(program: &Program<'_>, address: u64) -> Option<u64> {
    let (size, align) = program.thread_segment()?;
    let size = size.checked_next_multiple_of(align.max(1))?;
    (address < size).then(|| address.wrapping_sub(size))
}

/// The code of a function.
fn code(file: &File, program: &Program<'_>, symbol: &Symbol<What>) -> Option<Vec<u8>> {
    let offset = program.offset_of(symbol.address)?;
    let mut code = vec![0; usize::try_from(symbol.size.min(CODE_MAX)).ok()?];
    file.read_exact_at(&mut code, offset).ok()?;
    Some(code)
}

/// Registers that a function that is called gives back as they were.
const KEPT: [Register; 6] = [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// What a register is known to hold.
#[derive(Clone, Copy, Default)]
struct Known {
    register: Register,
    /// The thread's pointer is in it.
    is_pointer: bool,
    value: u64,
}

/// Where a function puts the one number that it puts into the thread's variable at `context` (from the thread's pointer).
fn stored(code: &[u8], address: u64, context: u64, size: u64) -> Option<u64> {
    let mut known: Vec<Known> = Vec::new();
    let mut found = None;
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        let (to, memory) = (instruction.op0_kind(), memory_of(&instruction, &known));
        let is_store = to == OpKind::Memory
            && instruction.op_count() == 2
            && instruction.op1_kind() == OpKind::Register
            && instruction.op1_register().size() == 8
            && matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Xchg);
        if is_store
            && let Some(at) = memory
            && at.wrapping_sub(context) < size
        {
            if found.is_some_and(|found| found != at) {
                return None;
            }
            found = Some(at);
        }
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            known.retain(|known| KEPT.contains(&known.register));
        }
        if to != OpKind::Register || instruction.op_count() == 0 {
            continue;
        }
        let register = instruction.op0_register().full_register();
        let value = match instruction.mnemonic() {
            Mnemonic::Mov if is_thread_pointer(&instruction) => Some((true, 0)),
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
                let from = instruction.op1_register().full_register();
                known.iter().find(|known| known.register == from).map(|known| (known.is_pointer, known.value))
            }
            Mnemonic::Mov => instruction.try_immediate(1).ok().map(|value| (false, value)),
            Mnemonic::Lea => memory.map(|at| (true, at)),
            // They only look at it.
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push => continue,
            _ => None,
        };
        known.retain(|known| known.register != register);
        known.extend(value.map(|(is_pointer, value)| Known { register, is_pointer, value }));
    }
    found
}

/// `mov %fs:0, …`.
fn is_thread_pointer(instruction: &Instruction) -> bool {
    instruction.op1_kind() == OpKind::Memory
        && instruction.memory_segment() == Register::FS
        && instruction.memory_base() == Register::None
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == 0
}

/// Where the memory lies that an instruction names, seen from the thread's pointer, if that is known.
fn memory_of(instruction: &Instruction, known: &[Known]) -> Option<u64> {
    if instruction.memory_index() != Register::None || instruction.is_ip_rel_memory_operand() {
        return None;
    }
    let of_thread = instruction.memory_segment() == Register::FS && instruction.mnemonic() != Mnemonic::Lea;
    let base = instruction.memory_base();
    if base == Register::None {
        return of_thread.then(|| instruction.memory_displacement64());
    }
    let known = known.iter().find(|known| known.register == base)?;
    // The segment adds the pointer to a number, and nothing to the pointer.
    (known.is_pointer != of_thread).then(|| known.value.wrapping_add(instruction.memory_displacement64()))
}

/// Where a function calls, or ends in, another one: directly, or by a word in memory of which `leads_to` says that it is that one's address.
fn calls(code: &[u8], address: u64, other: u64, leads_to: impl Fn(u64) -> bool) -> Vec<u64> {
    let goes_there = |instruction: &Instruction| match instruction.flow_control() {
        FlowControl::Call | FlowControl::UnconditionalBranch => instruction.near_branch_target() == other,
        FlowControl::IndirectCall | FlowControl::IndirectBranch => {
            instruction.is_ip_rel_memory_operand() && leads_to(instruction.ip_rel_memory_address())
        }
        _ => false,
    };
    let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    decoder.into_iter().filter(goes_there).map(|instruction| instruction.ip()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `set_current_task_id` of tokio 1.54.1, as rustc 1.95 compiles it for a program.
    const SET_CURRENT: &[u8] = &[
        0x41, 0x56, 0x53, 0x50, 0x48, 0x89, 0xfb, 0x64, 0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x00, 0x00, 0x48, 0x8d,
        0x80, 0x60, 0xfe, 0xff, 0xff, 0x0f, 0xb6, 0x48, 0x48, 0x83, 0xf9, 0x01, 0x74, 0x24, 0x83, 0xf9, 0x02, 0x75,
        0x04, 0x31, 0xc9, 0xeb, 0x23, 0x48, 0x8d, 0x35, 0x40, 0x4f, 0xff, 0xff, 0x48, 0x89, 0xc7, 0x49, 0x89, 0xc6,
        0xff, 0x15, 0x3c, 0x9e, 0x08, 0x00, 0x4c, 0x89, 0xf0, 0x41, 0xc6, 0x46, 0x48, 0x01, 0x48, 0x8b, 0x48, 0x30,
        0x48, 0x89, 0x58, 0x30, 0x48, 0x89, 0xc8, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0x41, 0x5e, 0xc3,
    ];
    /// Where `CONTEXT` is in that program, and how long it is.
    const CONTEXT: (u64, u64) = ((-0x1a0_i64).cast_unsigned(), 80);

    fn stored_in(code: &[u8]) -> Option<i64> {
        stored(code, 0x33_6150, CONTEXT.0, CONTEXT.1).map(u64::cast_signed)
    }

    #[test]
    fn the_code_that_puts_a_tasks_number_into_its_place_tells_where_that_is() {
        assert_eq!(stored_in(SET_CURRENT), Some(-0x1a0 + 0x30));
        // mov %rdi,%fs:-0x170; ret
        let at_once = [0x64, 0x48, 0x89, 0x3c, 0x25, 0x90, 0xfe, 0xff, 0xff, 0xc3];
        assert_eq!(stored_in(&at_once), Some(-0x170));
        // mov $-0x1a0,%rax; mov %rdi,%fs:0x30(%rax); ret
        let by_number = [0x48, 0xc7, 0xc0, 0x60, 0xfe, 0xff, 0xff, 0x64, 0x48, 0x89, 0x78, 0x30, 0xc3];
        assert_eq!(stored_in(&by_number), Some(-0x170));
    }

    #[test]
    fn code_that_does_otherwise_tells_nothing() {
        // mov %rdi,%fs:-8; ret: another variable
        assert_eq!(stored_in(&[0x64, 0x48, 0x89, 0x3c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0xc3]), None);
        // mov %rdi,%fs:-0x170; mov %rdi,%fs:-0x168; ret: two places
        let twice = [
            0x64, 0x48, 0x89, 0x3c, 0x25, 0x90, 0xfe, 0xff, 0xff, 0x64, 0x48, 0x89, 0x3c, 0x25, 0x98, 0xfe, 0xff, 0xff,
            0xc3,
        ];
        assert_eq!(stored_in(&twice), None);
        // mov %rdi,0x30(%rax); ret: nothing is known of the register
        assert_eq!(stored_in(&[0x48, 0x89, 0x78, 0x30, 0xc3]), None);
        // It is not kept across a call.
        let mut called = SET_CURRENT.to_vec();
        // mov %r14,%rax → mov %rcx,%rax
        let kept = memmem::find(&called, &[0x4c, 0x89, 0xf0]).unwrap();
        called.splice(kept..kept + 3, [0x48, 0x89, 0xc8]);
        assert_eq!(stored_in(&called), None);
        for len in 0..SET_CURRENT.len() {
            let found = stored_in(SET_CURRENT.get(..len).unwrap());
            assert!(found.is_none_or(|at| at == -0x170), "{len}");
        }
    }

    #[test]
    fn calls_are_found_directly_and_by_a_word_in_memory() {
        // call +0; call *0x10(%rip); jmp *0x20(%rip); call *0x10(%rip) of another; ret
        let code = [
            0xe8, 0x00, 0x00, 0x00, 0x00, 0xff, 0x15, 0x10, 0x00, 0x00, 0x00, 0xff, 0x25, 0x20, 0x00, 0x00, 0x00, 0xff,
            0x15, 0x30, 0x00, 0x00, 0x00, 0xc3,
        ];
        assert_eq!(calls(&code, 0x1000, 0x1005, |slot| [0x101b, 0x1031].contains(&slot)), [0x1000, 0x1005, 0x100b]);
        assert!(calls(&code, 0x1000, 0x2000, |_| false).is_empty());
    }

    #[test]
    fn names_of_both_kinds_are_known() {
        for (name, expected) in [
            (
                "_ZN5tokio7runtime7context7CONTEXT29_$u7b$$u7b$constant$u7d$$u7d$28_$u7b$$u7b$closure$u7d$$u7d$23__RUST_STD_INTERNAL_VAL17hb8d7c994e74fd6a8E",
                Some(What::Context),
            ),
            (
                "_RNvNCNKNvNtNtCs5GVVQvN5eZe_5tokio7runtime7context7CONTEXT0s_023___RUST_STD_INTERNAL_VAL",
                Some(What::Context),
            ),
            ("_ZN5tokio7runtime7context19set_current_task_id17h6756ec0cb3d250d0E", Some(What::SetCurrent)),
            ("_RNvNtNtCs5GVVQvN5eZe_5tokio7runtime7context19set_current_task_id", Some(What::SetCurrent)),
            ("_ZN5tokio7runtime4task5waker12WAKER_VTABLE17h0d5306443569a930E", Some(What::WakerTable)),
            ("_ZN5tokio4sync4task12atomic_waker11AtomicWaker4wake17h0d5306443569a930E", Some(What::Wake)),
            ("_RNvMNtNtNtCs5GVVQvN5eZe_5tokio4sync4task12atomic_wakerNtB2_11AtomicWaker4wake", Some(What::Wake)),
            ("_ZN12futures_core4task10__internal12atomic_waker11AtomicWaker4wake17h7921fce0304014f3E", None),
            ("_ZN5tokio7runtime4task4list19OwnedTasks$LT$S$GT$10bind_inner17h22a6f5bbc4c98184E", Some(What::Bind)),
            ("_ZN5hyper6client8dispatch19Sender$LT$T$C$U$GT$8try_send17h317bc4efe8f8c01dE", Some(What::Gives)),
            ("_ZN5hyper6client8dispatch28UnboundedSender$LT$T$C$U$GT$4send17h82f7183055021074E", Some(What::Gives)),
            (
                "_RNvMs0_NtNtCs8_5hyper6client8dispatchINtB5_6SenderINtNtNtCs9_4http7request7RequestpEpE8try_sendCs1_4main",
                Some(What::Gives),
            ),
            ("_RINvNtCs4_4core3ptr13drop_in_placeINtNtNtCs8_5hyper6client8dispatch6SenderpE4sendECs1_4main", None),
            ("_ZN4core3ptr13drop_in_place$LT$hyper..client..dispatch..Sender$GT$17h5a40590787fc89f6E", None),
            ("_ZN5tokio4sync4mpsc9unbounded24UnboundedSender$LT$T$GT$4send17h5a40590787fc89f6E", None),
        ] {
            assert_eq!(what(name.as_bytes()), expected, "{name}");
        }
    }
}
