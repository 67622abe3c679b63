//! What happens within language runtimes, by uprobes.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::{globals::hooks_only, handlers::work, kernel::task};

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
