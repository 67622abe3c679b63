//! Tests of the whole protocol. Header blocks are written by other implementations (`httlib-hpack`, `h2`).

mod exports;
mod losses;
mod midlife;
mod pieces;
mod real;
mod recognise;
pub(super) mod samples;
mod sentences;
mod wire;
