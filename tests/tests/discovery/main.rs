//! What the agent finds by itself and how it calls it: real programs, real processes, no option given.

mod containers;
mod names;
mod reload;
mod selection;
mod watching;
