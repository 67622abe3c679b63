//! All that [connections](crate::conn::Connections) are told, written to a file and read back: a wrong span that was seen
//! in the field becomes a test that needs no root. `docs/recordings.md` describes the file.
//!
//! It stands between capture and connections, where the pipeline puts what it tells them; what was left out before (processes
//! that are not watched) is in no recording.

pub(crate) mod cost;
pub(crate) mod entry;
pub(crate) mod recorder;
pub(crate) mod replay;
#[cfg(test)]
mod tests;
