//! What the agent finds by itself and how it calls it: real programs, real processes, no option given.

mod capabilities;
mod containers;
mod dns;
mod fork_servers;
mod hanging_files;
mod hosts;
mod kubernetes;
mod names;
mod reload;
mod selection;
mod short_lived;
mod watching;
