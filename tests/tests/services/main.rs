//! Services and clients of many makers that speak HTTP/2, gRPC and TLS: requests sent = spans, each with its name,
//! status, peer and duration, on every backend.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod go;
mod java;
mod midlife;
mod nghttp2;
mod node;
mod orders;
mod python;
mod rust;
mod web;
