//! The logic, fed by all backends alike.

pub mod beginnings;
pub mod capture;
pub mod counters;
pub mod dns;
pub mod emit;
pub mod frames;
pub mod go;
pub mod go_tls;
pub mod held;
pub mod losses;
pub mod meet;
pub mod messages;
pub mod plaintext;
pub mod process;
pub mod rustls;
pub mod scratch;
pub mod shares;
pub mod socket_io;
pub mod socket_state;
pub mod sockets;
pub mod standby;
mod threads;
pub mod tls;
pub mod tls_calls;
mod tls_threads;
pub mod tokio;
pub mod work;
