//! Outgoing connections: the only place that opens them. [`connector`] is a [`tower::Service`] from a [`Destination`]
//! to a [`Socket`]. Upstream pools, the span exporter and the command line use it. [`unix`] connects to a Unix socket.
//! [`ConnectionSlots`] bounds the connections of an upstream.

mod connect_error;
mod connection_slots;
mod connector;
mod destination;
mod plain_socket;
mod release_requests;
mod socket;
mod unix;
mod vectored;

pub use connect_error::{ConnectError, ConnectPhase};
pub use connection_slots::{ConnectionSlots, FreeConnection, Joined, SlotRequest};
pub use connector::{Connected, connector, tcp, tls};
pub use destination::Destination;
pub use release_requests::ReleaseRequests;
pub use socket::{Socket, UnreadInput, is_refusal, tls_error};
pub use unix::unix;
pub(crate) use vectored::write_merged;
