//! HTTP/2 (RFC 9113), and what runs over it.

mod hpack;
