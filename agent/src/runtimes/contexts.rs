//! Where threads of a process have what its SDK says of them (OTEP 4947): a variable of each thread, named in the dynamic symbols of the program or of one of its libraries.
//! Looked for only where the process publishes its own context (OTEP 4719), as an SDK that does this has to.

use std::ptr;

use object::{
    Object as _, ObjectSymbol as _, ReadCache, RelocationFlags, RelocationTarget,
    elf::{R_X86_64_DTPMOD64, R_X86_64_TLSDESC, R_X86_64_TPOFF64},
};

use super::memory::{Memory, Program};

/// The variable.
const NAME: &str = "otel_thread_ctx_v1";
/// What the process's own context is called where it is mapped.
const PUBLISHED: &str = "OTEL_CTX";
/// Most libraries that a process is believed to have loaded.
const LIBRARIES_MAX: u64 = 4096;
/// What threads have of variables lies no farther from their pointer, or within what they have of a library.
const VARIABLES_MAX: u64 = 1 << 30;

/// Where the variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// Seen from the thread's pointer.
    OfThread(u64),
    /// Of a library's variables, by its number.
    OfLibrary {
        /// The library.
        library: u64,
        /// Where among its variables.
        offset: u64,
    },
}

/// Looks at a process.
pub(super) fn look(memory: &Memory, names: impl IntoIterator<Item = String>) -> Option<Variable> {
    let mut has_glibc = false;
    let mut publishes = false;
    for name in names {
        publishes |= name.contains(PUBLISHED);
        has_glibc |= name.ends_with("/libc.so.6");
    }
    if !publishes {
        return None;
    }
    let found = memory.mappings().iter().find_map(|mapping| {
        let cache = ReadCache::new(memory.open_mapped(mapping)?);
        let is_program = memory.program().is_some_and(|program| ptr::eq(program, mapping));
        of_file(memory, &Program::of(mapping, &cache)?, is_program)
    });
    // How musl lists libraries is another way.
    found.filter(|found| has_glibc || matches!(found, Variable::OfThread(_)))
}

/// By what the dynamic linker has put where the file's code looks for the variable; of a program that has it itself by how it was linked.
fn of_file(memory: &Memory, program: &Program<'_>, is_program: bool) -> Option<Variable> {
    let symbol = program.elf().dynamic_symbols().find(|symbol| symbol.name().is_ok_and(|name| name == NAME))?;
    let relocations = program.elf().dynamic_relocations().into_iter().flatten();
    for (address, relocation) in relocations {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        if relocation.target() != RelocationTarget::Symbol(symbol.index()) {
            continue;
        }
        let at = address.wrapping_add(program.bias());
        let found = match r_type {
            R_X86_64_TPOFF64 => of_thread(memory.word(at)?),
            R_X86_64_DTPMOD64 => of_library(memory.words(at)?),
            R_X86_64_TLSDESC => {
                // By which function it is found, and what that is given: the offset, or where library and offset stand.
                let [_, given] = memory.words(at)?;
                of_thread(given).or_else(|| of_library(memory.words(given)?))
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    if !is_program || symbol.is_undefined() {
        return None;
    }
    let (size, align) = program.thread_segment()?;
    let all = size.checked_next_multiple_of(align.max(1))?;
    of_thread(symbol.address().wrapping_sub(all))
}

/// On x86-64 they lie before the thread's pointer.
fn of_thread(offset: u64) -> Option<Variable> {
    (offset != 0 && offset.wrapping_neg() <= VARIABLES_MAX).then_some(Variable::OfThread(offset))
}

fn of_library([library, offset]: [u64; 2]) -> Option<Variable> {
    let is_one = (1..=LIBRARIES_MAX).contains(&library) && offset <= VARIABLES_MAX;
    is_one.then_some(Variable::OfLibrary { library, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_where_a_variable_lies_is_not_believed() {
        assert_eq!(of_thread(-8_i64 as u64), Some(Variable::OfThread(-8_i64 as u64)));
        assert_eq!([0, 8, 0x7f00_0000_0000].map(of_thread), [None; 3]);
        assert_eq!(of_library([2, 16]), Some(Variable::OfLibrary { library: 2, offset: 16 }));
        assert_eq!([[0, 16], [LIBRARIES_MAX + 1, 0], [1, u64::MAX]].map(of_library), [None; 3]);
    }
}
