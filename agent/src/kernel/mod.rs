//! What this kernel offers: structure offsets from its BTF, and which of the agent's features it supports.

pub mod btf;
pub mod capabilities;
pub mod release;
pub mod tick;
