//! The tools of the integration tests: a proxy in this process, scripted upstreams, and strict clients.

pub mod alone;
pub mod arrival;
pub mod certs;
pub mod fleet;
pub mod frames;
pub mod glass;
pub mod h2_client;
pub mod h2c;
pub mod issuer;
pub mod mmdb;
pub mod ports;
pub mod proxy;
pub mod pty;
pub mod raw;
pub mod unreachable;
pub mod until;
pub mod upstream;
pub mod wire;

pub use certs::{Authority, Pair};
pub use fleet::{Fleet, Reply};
pub use h2_client::H2;
pub use proxy::{ONE_ROUTE, Proxy, Setup};
pub use pty::Pty;
pub use raw::{Answer, Raw};
pub use unreachable::{FullBacklog, RefusingAddress};
pub use until::{PATIENCE, until};
pub use upstream::{Conn, Upstream};
pub use wire::{Broken, Wire, connect_from, field};
