//! Calls of TLS libraries, by uprobes. OpenSSL's and GnuTLS's have their arguments in the same places; rustls's are those
//! of `MessageEncrypter`, the algorithms that make one, and `CommonState`.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_attach_cookie,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use ebpf_common::policy::TLS_ALL_FILES;

use crate::{
    globals::{HAS_COOKIES, hooks_only},
    handlers::{
        rustls,
        tls::{self, HANDSHAKE, READ},
    },
};

/// The number of the file whose function was called.
#[inline(always)]
fn file(ctx: &impl EbpfContext) -> u32 {
    if HAS_COOKIES.load() == 0 {
        return TLS_ALL_FILES;
    }
    // SAFETY: the helper only returns a number.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) as u32 }
}

/// `SSL_write`, `SSL_write_ex`, `SSL_write_ex2`, `gnutls_record_send`: object, buffer, length.
#[uprobe]
fn tls_write(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let (Some(object), Some(buffer), Some(len)) = (ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(2)) {
        tls::writes(object, buffer, len as u32, || file(&ctx));
    }
    0
}

/// `SSL_read`, `gnutls_record_recv`: object, buffer, length; returns how many bytes it read.
#[uprobe]
fn tls_read(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let (Some(object), Some(buffer)) = (ctx.arg(0), ctx.arg(1)) {
        tls::begins(object, buffer, 0, READ, || file(&ctx));
    }
    0
}

/// `SSL_read_ex`: object, buffer, length, where to put how many bytes it read; returns 1 if it did.
#[uprobe]
fn tls_read_ex(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let (Some(object), Some(buffer), Some(count_at)) = (ctx.arg(0), ctx.arg(1), ctx.arg(3)) {
        tls::begins(object, buffer, count_at, READ, || file(&ctx));
    }
    0
}

/// `SSL_do_handshake`, `gnutls_handshake`: object.
#[uprobe]
fn tls_handshake(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(object) = ctx.arg(0) {
        tls::begins(object, 0, 0, HANDSHAKE, || file(&ctx));
    }
    0
}

/// The return of a read or a handshake.
#[uretprobe]
fn tls_return(ctx: RetProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    tls::ends(ctx.ret());
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
fn rustls_encrypt(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let (Some(object), Some(message), Some(sequence)) = (ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        rustls::encrypts(object, message, sequence, || file(&ctx));
    }
    0
}

/// The return of `Tls13AeadAlgorithm::encrypter`, `Tls12AeadAlgorithm::encrypter`: object.
#[uretprobe]
fn rustls_encrypter(ctx: RetProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    rustls::makes(ctx.ret(), || file(&ctx));
    0
}

/// `CommonState::take_received_plaintext`: object, payload.
#[uprobe]
fn rustls_decrypted(ctx: ProbeContext) -> u32 {
    if hooks_only() {
        return 0;
    }
    if let Some(payload) = ctx.arg(1) {
        rustls::decrypted(payload);
    }
    0
}
