//! Upstreams: pools of connections, the choice among endpoints, and what is spoken with them.

pub(super) mod balance;
mod balancer_state;
pub(super) mod connect;
mod h1_io;
mod h2_io;
pub(super) mod h2_peer;
pub(super) mod http_version;
pub(super) mod lease;
mod open_connection;
pub(super) mod pool;
pub(super) mod tls;
pub(super) mod tunnel_end;
pub(super) mod upgrade_request;
mod websocket;
