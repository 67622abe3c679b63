//! What the bytes of a function tell: whether a probe can be put there.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use thiserror::Error;

/// Instructions at the beginning of a function that must be as compilers write them.
const LOOKED_AT: usize = 8;

/// Why a function's code is not as expected.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum Unexpected {
    /// No code at all.
    #[error("there is no code")]
    Empty,
    /// Bytes that are no instruction.
    #[error("its code cannot be decoded at byte {at}")]
    Undecodable {
        /// Offset in the function.
        at: u64,
    },
    /// An instruction that no function begins with.
    #[error("its code has an instruction at byte {at} that no function begins with")]
    NotAFunction {
        /// Offset in the function.
        at: u64,
    },
}

/// Checks the first instructions of the function whose code (or the first part of it) is `code`, `size` bytes in all.
///
/// # Errors
/// What is not as expected.
pub(super) fn check(code: &[u8], size: u64) -> Result<(), Unexpected> {
    if code.is_empty() {
        return Err(Unexpected::Empty);
    }
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    for _ in 0..LOOKED_AT {
        let at = decoder.ip();
        if at >= size || at >= code.len() as u64 {
            return Ok(());
        }
        decoder.decode_out(&mut instruction);
        if instruction.code() == Code::INVALID {
            // Cut short by what was read, not by what is there.
            let cut = (code.len() as u64) < size && at + 15 > code.len() as u64;
            return if cut { Ok(()) } else { Err(Unexpected::Undecodable { at }) };
        }
        if instruction.next_ip() > size || is_trap(&instruction) {
            return Err(Unexpected::NotAFunction { at });
        }
        if instruction.flow_control() != FlowControl::Next && instruction.flow_control() != FlowControl::Call {
            // What follows may be data, or unreachable.
            if matches!(instruction.flow_control(), FlowControl::ConditionalBranch) {
                continue;
            }
            return Ok(());
        }
    }
    Ok(())
}

fn is_trap(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Int3 | Mnemonic::Int | Mnemonic::Int1 | Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 | Mnemonic::Hlt
    ) || instruction.is_privileged()
}

/// The first instruction.
pub(super) fn first(code: &[u8]) -> Vec<u8> {
    let len = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).decode().len();
    code.get(..len).unwrap_or(code).to_vec()
}

/// Whether the function at `address` with this code calls, or jumps to, the function at `other`.
pub(super) fn goes_to(code: &[u8], address: u64, other: u64) -> bool {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::UnconditionalBranch)
            && instruction.near_branch_target() == other
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_beginnings_pass() {
        // endbr64; push rbp; mov rbp, rsp; sub rsp, 0x20; ret
        let code = b"\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x48\x83\xec\x20\xc3";
        assert_eq!(check(code, code.len() as u64), Ok(()));
        // jmp to another function, then padding that is no code
        assert_eq!(check(b"\xe9\x00\x01\x00\x00\x06\x06", 7), Ok(()));
    }

    #[test]
    fn what_is_no_function_is_refused() {
        assert_eq!(check(b"", 0), Err(Unexpected::Empty));
        // `push es` is no instruction in 64-bit code.
        assert_eq!(check(b"\x55\x06\x06\x06", 4), Err(Unexpected::Undecodable { at: 1 }));
        assert_eq!(check(b"\xcc\x55", 2), Err(Unexpected::NotAFunction { at: 0 }));
        assert_eq!(check(b"\x55\x0f\x0b", 3), Err(Unexpected::NotAFunction { at: 1 }));
        // The symbol's size ends within an instruction.
        assert_eq!(check(b"\x48\x83\xec\x20\xc3", 2), Err(Unexpected::NotAFunction { at: 0 }));
    }

    #[test]
    fn a_tail_call_is_seen() {
        // nop; jmp +0x10
        let code = b"\x90\xe9\x10\x00\x00\x00";
        assert!(goes_to(code, 0x1000, 0x1016));
        assert!(!goes_to(code, 0x1000, 0x1017));
    }
}
