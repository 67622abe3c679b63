//! What language runtimes keep in the memory of watched processes, and where: read once from outside, so that the kernel side can read
//! on the thread itself which task it carries on. Nothing is ever written there.

mod contexts;
mod finder;
mod go;
mod java;
mod memory;
mod puma;
mod python;
mod symbols;
mod tokio;

pub(crate) use self::{
    contexts::Variable,
    finder::{Answer, Finder, Found, Look},
    go::{Doer, Does, Go, Statistics as GoStatistics, Tls, texts},
    java::Java,
    python::{Asyncio, Tasks},
    tokio::Tokio,
};
