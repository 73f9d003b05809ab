//! Upstreams: pools of connections, the choice among endpoints, and what is spoken with them.

pub(super) mod balance;
pub(super) mod connect;
pub(super) mod h2_peer;
pub(super) mod http_version;
pub(super) mod lease;
mod open_connection;
pub(super) mod pool;
pub(super) mod side;
mod turns;
pub(super) mod upgrade_request;
mod upstream_h2_io;
mod upstream_io;
pub(super) mod upstream_tls;
mod websocket;
