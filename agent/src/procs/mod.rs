//! Whose request it was: the processes of the host, what they run, the container and pod they are in, and the service
//! name that follows from it. Everything is read from `/proc`, bounded and never trusted.

pub mod blocking;
pub mod cloud;
pub mod container;
mod dns;
pub mod effort;
pub mod env;
pub mod executable;
mod facts;
pub mod fs;
pub mod host;
mod hosts;
mod instrumentation;
pub mod language;
pub mod name;
pub mod pod;
pub mod ports;
mod resource;
mod reverse;
mod seen;
pub mod selector;
pub mod survey;
mod table;

pub use dns::{AskedNames, DnsCache, DnsClient};
pub use hosts::{HostsFiles, NameSource};
pub use instrumentation::Instrumentation;
pub use resource::PodAttributes;
pub(crate) use resource::pod_service_name;
pub use reverse::ReverseDns;
pub use seen::Seen;
pub use table::{ProcessConfig, ProcessTable, Service, Watched};
