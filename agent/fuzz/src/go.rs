//! What programs of Go say of themselves.

#[path = "../../src/procs/executable/build_info.rs"]
mod build_info;
#[path = "../../src/runtimes/go/pclntab.rs"]
mod pclntab;

/// Release and path of a program by what its linker has written into it.
#[must_use]
pub fn build_info(bytes: &[u8]) -> Option<(String, String)> {
    build_info::parse(bytes).map(|info| (info.release.to_string(), info.path.to_string()))
}

/// How many functions of these names a table has.
#[must_use]
pub fn functions(table: &[u8]) -> usize {
    let read = |at: u64, into: &mut [u8]| -> Option<()> {
        let at = usize::try_from(at).ok()?;
        into.copy_from_slice(table.get(at..at.checked_add(into.len())?)?);
        Some(())
    };
    let Ok(table) = pclntab::Table::open(read, table.len() as u64) else { return 0 };
    let _first = (table.first(), table.is_relative());
    table.find(&["main.main", "runtime.main"]).iter().flatten().count()
}
