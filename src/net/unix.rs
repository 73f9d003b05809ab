//! Connections to Unix sockets of this machine.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use super::connect_error::{ConnectError, ConnectPhase};

/// Connects to the Unix socket at `path`, within this time.
///
/// # Errors
/// No such socket, no process listens behind it, or this user may not connect to it.
pub async fn unix(path: &Path, within: Duration) -> Result<UnixStream, ConnectError> {
    let connecting = tokio::time::timeout(within, UnixStream::connect(path)).await;
    connecting.map_err(|_| ConnectError::TimedOut(ConnectPhase::Tcp))?.map_err(ConnectError::Unreachable)
}
