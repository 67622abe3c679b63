//! The user side of beyla-rs: what the kernel side saw becomes spans and metrics, stage by stage. Each module imports
//! only what stands above it here (and of [`protocols`], [`conn`] only the registry).

pub mod kube;
pub mod model;
pub mod procs;
pub mod protocols;
