//! Connections from clients: accept, PROXY header, TLS, then HTTP with a given service.

pub(super) mod acceptor;
pub(super) mod catch_panic;
pub(super) mod client;
pub(super) mod client_host;
pub(super) mod client_request;
mod client_slot;
pub(super) mod connection;
pub(super) mod h1;
pub(super) mod h2;
mod h2_io;
mod handshake;
pub(super) mod informational;
pub(super) mod proxy_protocol;
mod tls_session;
