//! What happens within language runtimes, by uprobes.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::{
    globals::hooks_only,
    handlers::{go, tokio, work},
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

/// Where `PyContext_CopyCurrent` of Python returns: the copy, or 0.
#[uprobe]
fn python_context(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: the registers of the thread that has come by.
    let copy = unsafe { (*ctx.regs).rax };
    work::copies(task::current_tgid(), copy);
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

/// `(*persistConn).roundTrip` of Go's `net/http`: the connection, in the first register of Go's own order; the goroutine is in `r14`.
#[uprobe]
fn go_calls(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: the registers of the thread that has come by.
    let (g, connection) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rax) };
    let _none_that_is_known = go::calls(task::current_tgid(), g, connection);
    0
}

/// `(*http2ClientConn).roundTrip` of Go's `net/http`.
#[uprobe]
fn go_calls2(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: as above.
    let g = unsafe { (*ctx.regs).r14 };
    let _none_that_is_known = go::calls2(task::current_tgid(), g);
    0
}

/// `(*http2serverConn).runHandler` of Go's `net/http`: connection, writer.
#[uprobe]
fn go_handles2(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: as above.
    let (g, connection, writer) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rax, (*ctx.regs).rbx) };
    let _none_that_is_known = go::handles2(task::current_tgid(), g, connection, writer);
    0
}

/// `(*Server).handleStream` of grpc-go: server, transport (an interface), stream.
#[uprobe]
fn go_handles_grpc(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: as above.
    let (g, transport, stream) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rcx, (*ctx.regs).rdi) };
    let _none_that_is_known = go::handles_grpc(task::current_tgid(), g, transport, stream);
    0
}

/// Where `(*http2Client).NewStream` of grpc-go returns without an error: a stream.
#[uprobe]
fn go_asks(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: as above.
    let (g, stream) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rax) };
    let _none_that_is_known = go::asks(task::current_tgid(), g, stream);
    0
}
