//! What this kernel offers: structure offsets from its BTF, and which of the agent's features it supports.

pub(crate) mod btf;
pub(crate) mod capabilities;
pub(crate) mod namespaces;
pub(crate) mod release;
pub(crate) mod tick;
