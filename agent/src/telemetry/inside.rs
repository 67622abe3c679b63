//! What happened to a request below its protocol, as attributes of its span.

use super::{attributes::Attributes, seconds, semconv};
use crate::{
    config::InsideAttributes,
    model::{exchange::Inside, net::ConnectionInfo, span::Value},
};

/// Pushes what is known, and wanted. Nothing is pushed for what did not happen.
pub(super) fn push(inside: &Inside, connection: &ConnectionInfo, wanted: &InsideAttributes, out: &mut Attributes) {
    let &InsideAttributes { queue_duration, connect_duration, tls_handshake_duration, retransmits, rtt } = wanted;
    let &Inside { queued_us, rtt_us, retransmits: retransmitted, first_sent_ns } = inside;
    let micros = |us: u32| Value::Double(f64::from(us) / 1e6);
    if let Some(us) = queued_us.filter(|_| queue_duration) {
        out.push(semconv::BEYLA_QUEUE_DURATION, micros(us));
    }
    if let Some(first_sent_ns) = first_sent_ns.filter(|_| connection.origin.is_beginning) {
        if let Some(ns) = connection.connect_ns.filter(|_| connect_duration) {
            out.push(semconv::BEYLA_CONNECT_DURATION, Value::Double(seconds(ns)));
        }
        // That of the plaintext is the connection's only where it is known which one carries it.
        let shaken = first_sent_ns.get().checked_sub(connection.met_ns);
        if let Some(ns) = shaken.filter(|_| tls_handshake_duration && connection.tls) {
            out.push(semconv::BEYLA_TLS_HANDSHAKE_DURATION, Value::Double(seconds(ns)));
        }
    }
    if let Some(segments) = retransmitted.filter(|&segments| retransmits && segments > 0) {
        out.push(semconv::BEYLA_TCP_RETRANSMITS, Value::Int(segments.into()));
    }
    if let Some(us) = rtt_us.filter(|_| rtt) {
        out.push(semconv::BEYLA_TCP_RTT, micros(us.get()));
    }
}
