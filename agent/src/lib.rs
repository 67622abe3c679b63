//! The user side of beyla-rs: what the kernel side saw becomes spans and metrics, stage by stage. Each module imports
//! only what stands above it here (and of [`protocols`], [`conn`] only the registry).

pub mod capture;
pub mod cli;
pub mod config;
pub mod conn;
pub mod export;
pub mod kernel;
pub mod kube;
pub mod model;
pub mod pipeline;
pub mod procs;
pub mod protocols;
pub mod recording;
pub mod run;
pub mod runtimes;
mod server;
mod sys;
pub mod telemetry;
pub mod tls;
pub mod trace;
