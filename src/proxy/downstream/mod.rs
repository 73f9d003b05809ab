//! Connections from clients: accept, PROXY header, TLS, then HTTP with a given service.

pub(super) mod acceptor;
pub(super) mod catch_panic;
pub(super) mod client;
pub(super) mod connection;
pub(super) mod early;
mod h1_io;
mod h2_io;
mod handshake;
pub(super) mod incoming;
mod presence;
mod secured;
mod streams;
pub(super) mod vouched;
