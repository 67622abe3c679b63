//! Everything the kernel side and the user side must agree on, and nothing else: event layouts, limits, map values
//! and the table of kernel offsets.
#![no_std]

pub mod capture;
pub mod events;
pub mod limits;
pub mod offsets;
pub mod policy;
pub mod work;
