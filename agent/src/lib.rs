//! The user side of beyla-rs: what the kernel side saw becomes spans and metrics, stage by stage. Each module imports
//! only what stands above it here (and of [`protocols`], [`conn`] only the registry).

mod api;
mod capture;
pub mod cli;
mod commands;
mod config;
mod conn;
mod disk;
mod export;
mod frameworks;
pub mod internals;
mod kernel;
mod kube;
mod model;
mod pipeline;
mod procs;
mod protocols;
mod recording;
pub mod run;
mod runtimes;
mod server;
mod store;
mod sys;
mod telemetry;
mod terminal;
mod tls;
mod trace;
mod trust;
