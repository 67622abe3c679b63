//! Fork, exec and exit, for all backends.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::handlers::{
    process,
    standby::{Hook, already_claimed},
};

#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    if already_claimed(Hook::Fork) {
        return 0;
    }
    process::forked(ctx.arg(0), ctx.arg(1));
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    if already_claimed(Hook::Exec) {
        return 0;
    }
    process::executed(ctx.arg(0));
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    if already_claimed(Hook::Exit) {
        return 0;
    }
    process::exited(ctx.arg(0));
    0
}
