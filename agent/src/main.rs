//! The `beyla-rs` command.

use std::{io::Write, process::ExitCode};

use beyla_rs::{
    cli::{self, Exit},
    run,
};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => run::run(command),
        Err(error) => {
            // If nobody reads the message, the status still says it.
            let _unread = match error.exit {
                Exit::Ok => std::io::stdout().write_all(error.message.as_bytes()),
                _ => std::io::stderr().write_all(error.message.as_bytes()),
            };
            error.exit.into()
        }
    }
}
