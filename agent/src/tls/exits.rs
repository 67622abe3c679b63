//! Where a function leads to, and where it returns: found by following its code from its beginning, jumps to parts of it that lie elsewhere and to
//! functions that it ends in (tail calls) included. A probe is put only where an instruction was reached that way: bytes
//! that merely look like one may be data.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction};
use thiserror::Error;

/// Bounds of what is followed: instructions, stretches of code, returns.
const INSTRUCTIONS_MAX: usize = 20_000;
const STRETCHES_MAX: usize = 16;
const RETURNS_MAX: usize = 48;

/// A stretch of code that belongs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its address.
    pub(crate) address: u64,
    /// Its bytes.
    pub(crate) code: Vec<u8>,
}

/// Why not all returns of a function are known.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A jump to where a register or memory says: to one of several parts of the function, or to another function.
    #[error("it jumps to an address that only its run tells")]
    Indirect,
    /// A jump to where no function is known to be.
    #[error("it jumps to where no function is known to be")]
    Nowhere,
    /// Bytes that are no instruction.
    #[error("its code cannot be decoded")]
    Undecodable,
    /// A return that takes more off the stack than its address, or leaves to another level of privilege.
    #[error("it returns in an unusual way")]
    Unusual,
    /// It is too large.
    #[error("it is too large to be followed")]
    TooLarge,
    /// It never returns.
    #[error("no return was found in it")]
    Never,
}

/// What following a function's code has led to.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The instructions, by their addresses.
    pub(crate) instructions: BTreeMap<u64, Instruction>,
    /// The addresses that jumps lead to, and that of its beginning.
    pub(crate) targets: BTreeSet<u64>,
    /// The addresses of the `ret` instructions by which it returns.
    pub(crate) returns: Vec<u64>,
    stretches: Vec<Stretch>,
}

/// Follows the function `of`. `containing` gives the stretch of code around an address.
///
/// # Errors
/// Why not all of it is known.
pub(crate) fn follow(of: Stretch, mut containing: impl FnMut(u64) -> Option<Stretch>) -> Result<Followed, Unknown> {
    let mut open = vec![of.address];
    let mut targets = BTreeSet::from([of.address]);
    let mut stretches = vec![of];
    let mut instructions = BTreeMap::new();
    let mut returns = Vec::new();
    while let Some(at) = open.pop() {
        if instructions.contains_key(&at) {
            continue;
        }
        let known = stretches.iter().position(|stretch| stretch.offset(at).is_some());
        let index = match known {
            Some(index) => index,
            None if stretches.len() >= STRETCHES_MAX => return Err(Unknown::TooLarge),
            None => {
                stretches.push(containing(at).filter(|new| new.offset(at).is_some()).ok_or(Unknown::Nowhere)?);
                stretches.len() - 1
            }
        };
        let Some(stretch) = stretches.get(index) else { return Err(Unknown::Nowhere) };
        let Some(code) = stretch.offset(at).and_then(|offset| stretch.code.get(offset..)) else {
            return Err(Unknown::Nowhere);
        };
        let mut decoder = Decoder::with_ip(64, code, at, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        // It may run off the end of the stretch, behind a call of a function that does not return.
        while decoder.can_decode() && !instructions.contains_key(&decoder.ip()) {
            if instructions.len() >= INSTRUCTIONS_MAX {
                return Err(Unknown::TooLarge);
            }
            decoder.decode_out(&mut instruction);
            instructions.insert(instruction.ip(), instruction);
            match instruction.flow_control() {
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {}
                FlowControl::ConditionalBranch => {
                    targets.insert(instruction.near_branch_target());
                    open.push(instruction.near_branch_target());
                }
                FlowControl::UnconditionalBranch if instruction.near_branch_target() != 0 => {
                    targets.insert(instruction.near_branch_target());
                    open.push(instruction.near_branch_target());
                    break;
                }
                FlowControl::Return if instruction.code() == Code::Retnq => {
                    returns.push(instruction.ip());
                    if returns.len() > RETURNS_MAX {
                        return Err(Unknown::TooLarge);
                    }
                    break;
                }
                FlowControl::Return => return Err(Unknown::Unusual),
                // `ud2`, `int3`: nothing comes after it. A system call goes on.
                FlowControl::Exception if instruction.code() != Code::INVALID => break,
                FlowControl::Interrupt => break,
                FlowControl::Exception | FlowControl::XbeginXabortXend => return Err(Unknown::Undecodable),
                FlowControl::IndirectBranch | FlowControl::UnconditionalBranch => return Err(Unknown::Indirect),
            }
        }
    }
    if returns.is_empty() { Err(Unknown::Never) } else { Ok(Followed { instructions, targets, returns, stretches }) }
}

impl Followed {
    /// The bytes of a range of addresses.
    pub(crate) fn code(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let len = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        self.stretches.iter().find_map(|stretch| {
            let offset = stretch.offset(range.start)?;
            stretch.code.get(offset..offset.checked_add(len)?).map(<[u8]>::to_vec)
        })
    }

    /// The addresses of an instruction's bytes.
    pub(crate) fn range(&self, address: u64) -> Option<Range<u64>> {
        self.instructions.get(&address).map(|instruction| address..instruction.next_ip())
    }
}

impl Stretch {
    fn offset(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        (offset < self.code.len()).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &[u8]) -> Result<Vec<u64>, Unknown> {
        follow(Stretch { address: 0x1000, code: code.to_vec() }, |_| None).map(|followed| followed.returns)
    }

    #[test]
    fn every_way_out_is_found_and_nothing_that_only_looks_like_one() {
        // test edi,edi; js +2; xor eax,eax; ret; or eax,-1; ret
        assert_eq!(of(b"\x85\xff\x78\x03\x31\xc0\xc3\x83\xc8\xff\xc3").map(sorted), Ok(vec![0x1006, 0x100a]));
        // mov eax,0xc3c3c3c3; ret; then data
        assert_eq!(of(b"\xb8\xc3\xc3\xc3\xc3\xc3\xc3\xc3"), Ok(vec![0x1005]));
        // endbr64; repz ret
        let found = follow(Stretch { address: 0, code: b"\xf3\x0f\x1e\xfa\xf3\xc3".to_vec() }, |_| None).unwrap();
        assert_eq!(found.returns, [4]);
        assert_eq!(found.code(&found.range(4).unwrap()).unwrap(), b"\xf3\xc3");
        // A call of a function that does not return, at the end.
        assert_eq!(of(b"\x85\xff\x75\x01\xc3\xe8\x00\x01\x00\x00"), Ok(vec![0x1004]));
    }

    fn sorted(mut all: Vec<u64>) -> Vec<u64> {
        all.sort_unstable();
        all
    }

    #[test]
    fn jumps_out_of_the_function_are_followed() {
        // js to a part that lies elsewhere; ret. There: or eax,-1; jmp back to the ret. A tail call to a third.
        let start =
            Stretch { address: 0x1000, code: b"\x0f\x88\xfa\x0f\x00\x00\x75\x01\xc3\xe9\xf2\x1f\x00\x00".to_vec() };
        let cold = Stretch {
            address: 0x1ff0,
            code: b"\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x83\xc8\xff\xe9\x00\xf0\xff\xff"
                .to_vec(),
        };
        let third = Stretch { address: 0x3000, code: b"\x90\xc3\xc3".to_vec() };
        let found = follow(start, |at| [&cold, &third].into_iter().find(|it| it.offset(at).is_some()).cloned());
        assert_eq!(found.map(|all| sorted(all.returns)), Ok(vec![0x1008, 0x3001]));
    }

    #[test]
    fn what_is_not_certain_is_said() {
        assert_eq!(of(b"\xff\xe0"), Err(Unknown::Indirect), "jmp rax");
        assert_eq!(of(b"\xff\x25\x00\x00\x00\x00"), Err(Unknown::Indirect), "jmp to an entry of a table");
        assert_eq!(of(b"\xe9\x00\x10\x00\x00"), Err(Unknown::Nowhere));
        assert_eq!(of(b"\xc2\x08\x00"), Err(Unknown::Unusual), "ret 8");
        assert_eq!(of(b"\x06"), Err(Unknown::Undecodable));
        assert_eq!(of(b"\x0f\x0b"), Err(Unknown::Never), "ud2");
        assert_eq!(of(b"\xeb\xfe"), Err(Unknown::Never), "for ever");
    }
}
