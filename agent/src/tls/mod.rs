//! TLS libraries in watched processes: where the functions lie that plaintext passes through, and the probes on them.
//!
//! A [`Finder`] looks at what processes have mapped, on a thread of its own; [`Attachments`] keeps one set of probes per
//! file, for as long as a process uses it. Whatever fails here costs the sight of one library's plaintext and nothing
//! else.
//!
//! Go encrypts by itself: what is looked for in its programs is in [`go`], and who looks is `runtimes`, which knows them.

mod attachments;
mod code;
mod emulated;
pub(crate) mod exits;
mod finder;
mod function;
pub(crate) mod go;
mod installed;
mod library;
mod mapped;
mod rustls;
pub(crate) mod unwind;

pub use self::{attachments::Attachments, finder::Finder};
pub(crate) use self::{
    attachments::Probes,
    finder::Finding,
    function::Function,
    installed::installed,
    library::{Probed, Site},
    mapped::Mapped,
};
