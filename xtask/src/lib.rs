//! What the developer's verbs share: the programs behind those that are large are crates of their own beside this one
//! (`bench`, `counts`, `kernels`, `kube`, `parents`), so that the others are built in seconds.

pub mod build;
pub mod child;
pub mod deploy_tools;
pub mod http;
pub mod rows;
pub mod setup;
pub mod shell;

use std::process::ExitCode;

/// How a program of ours ends: what failed is said; 3 is where it needs root.
#[must_use]
pub fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            error.downcast_ref::<shell::NotPermitted>().map_or(ExitCode::FAILURE, |_| ExitCode::from(3))
        }
    }
}
