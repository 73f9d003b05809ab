//! Who may do what. A client comes over TCP or the Unix socket; each row of the table of calls has an access; one pure
//! decision joins them with what the files say. Failed tokens slow down the address that sent them.

mod approvers;
mod client;
mod decision;
mod failures;
mod gate;
mod users;

pub(super) use approvers::approvers;
pub(super) use client::{AdminClient, ClientOrigin, ConnectionLife, PlaceKind, SocketPeer, StreamHold};
pub(super) use decision::{Admitted, CallAccess, CallAttempt};
pub(super) use failures::TokenFailures;
pub(super) use gate::{AccessGate, CallPlaces, check_access, own_uid};
pub(super) use users::{group_id, user_name};
