//! Calls of TLS libraries, by uprobes: where functions begin, and at the `ret` by which they return. There are no return
//! probes: the kernel would keep the return addresses by thread, last in, first out, and a program that switches stacks within
//! a function, or unwinds through it, would return to the wrong place.
//! OpenSSL's and GnuTLS's have their arguments in the same places; rustls's are those
//! of `MessageEncrypter`, the algorithms that make one, and `CommonState`. Those of Go have an order of registers of their own.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_attach_cookie, macros::uprobe, programs::ProbeContext};
use ebpf_common::policy::{TLS_ALL_FILES, TLS_BY_RECORD, TLS_DEPTH_SHIFT};

use crate::{
    globals::{HAS_COOKIES, hooks_only},
    handlers::{
        frames, go_tls, plaintext, rustls, socket_io, tls,
        tls_calls::{Begun, HANDSHAKE, READ, READ_PACKET, UNCORK},
    },
    maps::TAIL_CALLS_TLS,
};

/// Does with a piece of plaintext what is to be done next. Not for a function of its own: see `sys_exit`.
#[inline(always)]
fn go_on(ctx: &impl EbpfContext, next: Option<u32>) {
    if next == Some(socket_io::FOLLOW) {
        // It returns only if that program is not there.
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS_TLS.tail_call(ctx, 0) };
        plaintext::record_unfollowed();
    }
}

/// Called by those below that see plaintext, and by itself, never attached.
#[uprobe]
#[inline(always)]
fn tls_frames(ctx: ProbeContext) -> u32 {
    let outcome = plaintext::walks();
    if outcome == frames::MORE {
        // SAFETY: the context is this program's.
        unsafe { TAIL_CALLS_TLS.tail_call(&ctx, 0) };
    }
    plaintext::walked(outcome);
    0
}

/// The number of the file whose function was called.
#[inline(always)]
fn file(ctx: &impl EbpfContext) -> u32 {
    cookie(ctx) as u32 & !TLS_BY_RECORD
}

/// What the probe was put there with: the file's number, and how far the stack pointer is from the return address.
#[inline(always)]
fn cookie(ctx: &impl EbpfContext) -> u64 {
    if HAS_COOKIES.load() == 0 {
        return TLS_ALL_FILES.into();
    }
    // SAFETY: the helper only returns a number.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

/// `SSL_write`, `SSL_write_ex`, `SSL_write_ex2`, `gnutls_record_send`, `_send2`, `_send_range`: object, buffer, length.
#[uprobe]
#[inline(always)]
fn tls_write(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let (Some(object), Some(buffer), Some(len)) = (ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(2)) {
        let by_record = cookie(&ctx) as u32 & TLS_BY_RECORD != 0;
        go_on(&ctx, tls::writes(object, buffer, len as u32, by_record, || file(&ctx)));
    }
    0
}

/// A call of which the end will be seen.
#[inline(always)]
fn begins(ctx: &ProbeContext, kind: u32, buffer: Option<u64>, count_at: Option<u64>) {
    if let (Some(object), Some(buffer), Some(count_at)) = (ctx.arg(0), buffer, count_at) {
        tls::begins(Begun { at: return_address(ctx), object, buffer, count_at, kind }, || file(ctx));
    }
}

/// Where the return address of a function lies: where the stack ends at its beginning and at its `ret`, and as far above as the
/// probe says elsewhere.
#[inline(always)]
fn return_address(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe is the registers.
    unsafe { (*ctx.regs).rsp }.wrapping_add(cookie(ctx) >> TLS_DEPTH_SHIFT)
}

/// What a function returns, at its return.
#[inline(always)]
fn result(ctx: &ProbeContext) -> u64 {
    // SAFETY: as above.
    unsafe { (*ctx.regs).rax }
}

/// `SSL_read`, `gnutls_record_recv`: object, buffer, length; returns how many bytes it read.
#[uprobe]
fn tls_read(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    begins(&ctx, READ, ctx.arg(1), Some(0));
    0
}

/// `SSL_read_ex`: object, buffer, length, where to put how many bytes it read; returns 1 if it did.
#[uprobe]
fn tls_read_ex(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    begins(&ctx, READ, ctx.arg(1), ctx.arg(3));
    0
}

/// `gnutls_record_recv_packet`: object, where to put the packet; returns how many bytes it holds.
#[uprobe]
fn tls_read_packet(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    begins(&ctx, READ_PACKET, Some(0), ctx.arg(1));
    0
}

/// `SSL_do_handshake`, `gnutls_handshake`: object.
#[uprobe]
fn tls_handshake(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    begins(&ctx, HANDSHAKE, Some(0), Some(0));
    0
}

/// The same where not all ways out of the function are known: object.
#[uprobe]
fn tls_observe(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(object) = ctx.arg(0) {
        tls::observes(object, return_address(&ctx), || file(&ctx));
    }
    0
}

/// `gnutls_record_cork`: object.
#[uprobe]
fn tls_cork(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(object) = ctx.arg(0) {
        tls::corks(object, || file(&ctx));
    }
    0
}

/// `gnutls_record_uncork`: object.
#[uprobe]
fn tls_uncork(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    begins(&ctx, UNCORK, Some(0), Some(0));
    0
}

/// At a `ret` of one of these.
#[uprobe]
#[inline(always)]
fn tls_return(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    go_on(&ctx, tls::ends(result(&ctx), return_address(&ctx)));
    0
}

/// `SSL_shutdown`, `gnutls_bye`: object.
#[uprobe]
fn tls_shutdown(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(object) = ctx.arg(0) {
        tls::shuts_down(object);
    }
    0
}

/// `SSL_free`, `gnutls_deinit`: object.
#[uprobe]
fn tls_free(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(object) = ctx.arg(0) {
        tls::frees(object);
    }
    0
}

/// `MessageEncrypter::encrypt`: where to put the result, object, record, its number.
#[uprobe]
#[inline(always)]
fn rustls_encrypt(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let (Some(object), Some(message), Some(sequence)) = (ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        go_on(&ctx, rustls::encrypts(object, message, sequence, || file(&ctx)));
    }
    0
}

/// `Tls13AeadAlgorithm::encrypter`, `Tls12AeadAlgorithm::encrypter`; they return an object.
#[uprobe]
fn rustls_encrypter(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    tls::begins_encrypter(return_address(&ctx));
    0
}

/// At a `ret` of one of these.
#[uprobe]
fn rustls_made(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if tls::ends_encrypter(return_address(&ctx)) {
        rustls::makes(result(&ctx), || file(&ctx));
    }
    0
}

/// `CommonState::take_received_plaintext`: object, payload.
#[uprobe]
#[inline(always)]
fn rustls_decrypted(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(payload) = ctx.arg(1) {
        go_on(&ctx, rustls::decrypted(payload));
    }
    0
}

/// `(*Conn).writeRecordLocked` of Go's `crypto/tls`: connection, kind, bytes and how many, in Go's own order of registers.
#[uprobe]
#[inline(always)]
fn go_tls_write(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: the registers of the thread that has come by.
    let (object, kind, address, len) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rbx, (*ctx.regs).rcx, (*ctx.regs).rdi) };
    go_on(&ctx, go_tls::writes(object, kind as u8, address, len));
    0
}

/// Where `(*Conn).Read` of Go's `crypto/tls` copies.
#[uprobe]
#[inline(always)]
fn go_tls_read(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    // SAFETY: as above.
    let (stack, arguments) = unsafe { ((*ctx.regs).rsp, [(*ctx.regs).rbx, (*ctx.regs).rcx, (*ctx.regs).rdi]) };
    go_on(&ctx, go_tls::reads(stack, arguments));
    0
}
