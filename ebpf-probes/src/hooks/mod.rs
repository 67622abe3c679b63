//! Entry points: each translates what the kernel hands over and calls one handler. Program names say where they attach.

mod call;
mod process;
mod runtimes;
mod sock;
mod syscall;
mod tls;
