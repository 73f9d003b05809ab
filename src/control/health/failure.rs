//! Why an active check is bad, in words for people.

use std::io;

use super::check_target::CheckTarget;
use crate::tls::Handshake;

/// Why a check is bad, in a few words.
pub(super) type CheckFailure = String;

/// The reason of a failed TLS handshake.
pub(super) fn tls_words(target: &CheckTarget, error: &io::Error) -> CheckFailure {
    let handshake = Handshake {
        server: &target.authority,
        own_certificate: target.settings.own_certificate(),
        owner: "the upstream",
        protocols: "HTTP/2 or HTTP/1.1",
    };
    handshake.describe(error).1
}

/// An error of a connection, without the number of the system's error.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of the standard library, which grows")]
pub(super) fn io_words(error: &io::Error) -> CheckFailure {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "connection reset"
        }
        io::ErrorKind::UnexpectedEof => "closes the connection before it answers",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::TimedOut => "connection timed out",
        _ => return error.to_string(),
    };
    words.to_owned()
}
