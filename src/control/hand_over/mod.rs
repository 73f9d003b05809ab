//! The hand-over: `SIGUSR2` starts the new binary, gives it every listening socket, waits until it serves, and drains
//! this process as `SIGTERM` does. Until the new process has said that it serves, nothing here has changed: a file that
//! does not hold, a crash or a silence leaves the old process serving.
//!
//! The talk, over a pair of Unix sockets of which the new process finds one end as its standard input: the old process
//! sends the sockets; the new one reads its file, starts its workers and says that it is *ready*; the old one says
//! *go*; the new one accepts and says that it is *serving*; the old one tells systemd who the main process is, and
//! says *farewell*.

mod channel;
mod handshake;
mod inherited_sockets;
mod new_process;
mod old_process;
mod program;

pub(super) use inherited_sockets::{InheritedSockets, SocketOwner};
pub use new_process::Succession;
