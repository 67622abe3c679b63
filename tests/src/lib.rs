//! What the end-to-end tests share: the agent and the programs that it watches, each of which ends with its guard; a
//! client whose every byte the test chooses; an OTLP receiver; and words to assert with.

pub mod agent;
pub mod client;
pub mod flaky;
pub mod kernel;
pub mod kubernetes;
pub mod need;
pub mod own_tls;
pub mod parents;
pub mod program;
pub mod prometheus;
pub mod queues;
pub mod receiver;
pub mod screen;
pub mod seen;
pub mod servers;
pub mod wait;

/// Far more than anything here takes on a busy machine.
pub const LONG: std::time::Duration = std::time::Duration::from_secs(30);
