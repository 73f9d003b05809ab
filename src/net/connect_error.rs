//! The reasons why a connection attempt fails.

use std::{error, fmt, io};

/// Why a connection attempt failed.
#[derive(Debug)]
pub enum ConnectError {
    /// The address refuses the connection or is unreachable, or its name cannot be resolved.
    Unreachable(io::Error),
    /// The connection broke before the PROXY header was sent.
    ProxyHeader(io::Error),
    /// The TLS handshake failed. `tls::Handshake` classifies the error and explains it.
    Tls(io::Error),
    /// The time limit ended this phase.
    TimedOut(ConnectPhase),
}

/// A phase of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectPhase {
    /// Connecting, and sending the PROXY header.
    Tcp,
    /// The TLS handshake.
    Tls,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The system's message, such as "Connection refused", needs no prefix.
            Self::Unreachable(error) => error.fmt(f),
            Self::ProxyHeader(error) => write!(f, "cannot send the PROXY header: {error}"),
            Self::Tls(error) => write!(f, "the TLS handshake failed: {error}"),
            Self::TimedOut(ConnectPhase::Tcp) => f.write_str("cannot connect in time"),
            Self::TimedOut(ConnectPhase::Tls) => f.write_str("the TLS handshake does not end in time"),
        }
    }
}

impl error::Error for ConnectError {}
