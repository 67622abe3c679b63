//! The kernel side: programs that tell which bytes moved over which connection of a watched process.
//!
//! `hooks` are the entry points and only translate; `handlers` hold the logic; `kernel` reads kernel structures; `maps`
//! and `globals` are all the state there is, of the types in `state`. Each knows those behind it in this list only. Nothing here knows OpenTelemetry, and nothing writes to a process.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(unsafe_code, reason = "kernel programs are made of helper calls; the verifier proves each memory access")
)]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "map helpers take addresses; by value it would be a copy more"
)]
#![allow(unreachable_pub, reason = "a program has no users; `pub` marks what other modules here may use")]

#[cfg(target_arch = "bpf")]
mod globals;
#[cfg(target_arch = "bpf")]
mod handlers;
#[cfg(target_arch = "bpf")]
mod hooks;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod state;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The kernel lends many helpers only to programs under a licence compatible with the GPL.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
