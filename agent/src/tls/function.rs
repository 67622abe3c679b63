//! The functions of TLS libraries that are probed: what they take, and which programs stand at them.

/// A function that plaintext passes through, or that tells what becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Object, buffer, length.
    Write,
    /// The same, and takes no more than a record holds, unless it is corked.
    WriteRecord,
    /// Object: what is written is held back, all of it.
    Cork,
    /// Object, buffer, length; returns the number of bytes.
    Read,
    /// Object, buffer, length, where to put the number of bytes; returns 1.
    ReadEx,
    /// Object, where to put a packet; returns the number of bytes in it.
    ReadPacket,
    /// Object.
    Handshake,
    /// The same, where it is not known how it returns.
    Observe,
    /// Object.
    Uncork,
    /// Object.
    Shutdown,
    /// Object.
    Free,
    /// rustls: where to put the result, object, record, its number.
    Encrypt,
    /// rustls: returns the object that encrypts.
    Encrypter,
    /// rustls: connection, plaintext.
    Decrypted,
}

impl Function {
    /// The programs to attach: one where the function begins, and one where it returns.
    #[must_use]
    pub const fn programs(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Write | Self::WriteRecord => ("tls_write", None),
            Self::Cork => ("tls_cork", None),
            Self::Read => ("tls_read", Some("tls_return")),
            Self::ReadEx => ("tls_read_ex", Some("tls_return")),
            Self::ReadPacket => ("tls_read_packet", Some("tls_return")),
            Self::Handshake => ("tls_handshake", Some("tls_return")),
            Self::Observe => ("tls_observe", None),
            Self::Uncork => ("tls_uncork", Some("tls_return")),
            Self::Shutdown => ("tls_shutdown", None),
            Self::Free => ("tls_free", None),
            Self::Encrypt => ("rustls_encrypt", None),
            Self::Encrypter => ("rustls_encrypter", Some("rustls_made")),
            Self::Decrypted => ("rustls_decrypted", None),
        }
    }

    /// How many of its arguments the program at its beginning reads.
    pub(super) const fn arguments(self) -> usize {
        match self {
            Self::Encrypter => 0,
            Self::Handshake | Self::Observe | Self::Cork | Self::Uncork | Self::Shutdown | Self::Free => 1,
            Self::Read | Self::ReadPacket | Self::Decrypted => 2,
            Self::Write | Self::WriteRecord => 3,
            Self::ReadEx | Self::Encrypt => 4,
        }
    }

    pub(super) const fn is_of_rustls(self) -> bool {
        matches!(self, Self::Encrypt | Self::Encrypter | Self::Decrypted)
    }
}
