//! The hand-over: `SIGUSR2` starts the new binary, passes it every listening socket, waits until it serves, and then
//! drains this process as `SIGTERM` does. Until the new process has confirmed that it serves, nothing here changes:
//! after an invalid file, a crash or a timeout the old process continues to serve.
//!
//! The protocol, over a pair of Unix sockets, one of which is the standard input of the new process: the old process
//! sends the sockets; the new one loads its file, starts its workers and sends *ready*; the old one sends the states of
//! endpoints that fail or are drained, and *go*; the new one accepts and sends *serving*; the old one gives the journal up, sends the kills that are not on the disk, notifies
//! systemd of the new main process and sends *farewell*. Until the old one ends, the new one sends it each kill and
//! revive.

mod channel;
mod forwarder;
mod handshake;
mod inherited_sockets;
mod new_process;
mod old_process;
mod program;
mod saved_endpoint;
mod saved_limits;

pub(super) use handshake::HandOver;
pub(super) use inherited_sockets::{InheritedSockets, SocketOwner};
pub use new_process::Succession;
pub(super) use saved_endpoint::restore_endpoints;
pub(super) use saved_limits::restore_limits;
