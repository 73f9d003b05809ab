//! Upstreams: connection pools, load balancing, and HTTP/1.1 and HTTP/2 connections to endpoints.

pub(super) mod balance;
mod balancer_state;
pub(super) mod connect;
pub(super) mod connection_queue;
mod endpoint_queue;
pub(super) mod flight;
pub(crate) mod h1;
mod h2_connection;
mod h2_io;
pub(super) mod h2_peer;
pub(super) mod http_version;
pub(super) mod lease;
mod load_report;
mod open_connection;
pub(super) mod pool;
mod pool_tick;
pub(super) mod tls;
pub(super) mod tunnel_end;
pub(super) mod upgrade_request;
pub(super) mod upstream_head;
pub(super) mod upstream_response;
mod websocket;
