//! What happens within language runtimes, by uprobes.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::{
    globals::hooks_only,
    handlers::{tokio, work},
    kernel::task,
};

/// `Task.__init__` of Python's asyncio: object.
#[uprobe]
fn asyncio_task(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(object) = ctx.arg(0) {
        work::begins(task::current_tgid(), object);
    }
    0
}

/// `OwnedTasks::bind_inner` of tokio: the list of a runtime's tasks, and the header of a new one.
#[uprobe]
fn tokio_task(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(header) = ctx.arg(1) {
        let _no_task = tokio::begins(task::current_tgid(), header);
    }
    0
}

/// Where hyper has put a request into a connection's channel, and calls `AtomicWaker::wake`: the waker.
#[uprobe]
fn tokio_gives(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(waker) = ctx.arg(0) {
        let _no_reader = tokio::gives(task::current_tgid(), waker);
    }
    0
}
