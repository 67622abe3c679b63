//! Unix sockets by their path, or by `@` and the name of an abstract one.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            fs::FileTypeExt as _,
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::Path,
};

/// The name of an abstract socket.
pub(super) fn abstract_name(path: &Path) -> Option<&[u8]> {
    path.as_os_str().as_bytes().strip_prefix(b"@")
}

pub(super) fn address(path: &Path) -> io::Result<SocketAddr> {
    match abstract_name(path) {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

/// Listens there. A socket that an agent has left which was killed is taken over; what is no socket, and one that somebody listens
/// at, stay what they are.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let address = address(path)?;
    let is_left_over = abstract_name(path).is_none()
        && std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect_addr(&address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_left_over {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
