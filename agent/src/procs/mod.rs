//! Whose request it was: the processes of the host, what they run, the container and pod they are in, and the service
//! name that follows from it. Everything is read from `/proc`, bounded and never trusted.

pub(crate) mod blocking;
pub(crate) mod cloud;
pub(crate) mod container;
mod dns;
pub(crate) mod effort;
pub(crate) mod env;
pub(crate) mod executable;
mod facts;
pub(crate) mod fs;
pub(crate) mod host;
mod hosts;
mod instrumentation;
pub(crate) mod language;
pub(crate) mod name;
pub(crate) mod pod;
pub(crate) mod ports;
mod resource;
mod reverse;
mod seen;
pub(crate) mod selector;
pub(crate) mod survey;
mod table;
mod usage;

pub(crate) use dns::{AskedNames, DnsCache, DnsClient};
pub(crate) use hosts::{HostsFiles, NameSource};
pub(crate) use resource::PodAttributes;
pub(crate) use resource::pod_service_name;
pub(crate) use reverse::{Remembered, ReverseDns};
pub(crate) use seen::Seen;
pub(crate) use table::{ProcessConfig, ProcessTable, Service, Watched};
pub(crate) use usage::Usage;
