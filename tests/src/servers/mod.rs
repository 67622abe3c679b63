//! Servers of databases and brokers, each with nothing in it, at a port of its own, and gone with its guard.

pub mod kafka;
pub mod mariadb;
pub mod memcached;
pub mod mosquitto;
pub mod nats;
pub mod rabbitmq;
pub mod redis;

use std::{
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
};

use crate::wait::poll;

/// Waits until something listens at a port.
fn listens(what: &str, port: u16) {
    poll(&format!("{what} listens"), || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
}

/// Runs a command to its end, and gives what it has printed.
///
/// # Panics
/// If it fails.
pub fn done(command: &mut Command) -> String {
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(said.status.success(), "{command:?}: {said:?}");
    String::from_utf8(said.stdout).expect("it prints text")
}

/// Writes a file.
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
