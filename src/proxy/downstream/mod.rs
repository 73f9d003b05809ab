//! Connections from clients: accept, PROXY header, TLS, then HTTP with a given service.

pub(super) mod acceptor;
pub(super) mod catch_panic;
pub(super) mod client;
mod client_slot;
pub(super) mod connection;
mod h1_io;
mod h2_executor;
mod h2_io;
mod handshake;
pub(super) mod incoming;
pub(super) mod informational;
pub(super) mod proxy_protocol;
mod tls_session;
