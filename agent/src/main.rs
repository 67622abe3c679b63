//! The `beyla-rs` command.
fn main() {}
