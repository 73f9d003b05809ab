//! Who may do what. A client comes over TCP or the Unix socket; each row of the table of calls has an access; one pure
//! decision joins them with what the files say. A browser has a session, which adds nothing to what its identity may do.
//! Failed tokens slow down the address that sent them.

mod approvers;
mod client;
mod cookie;
mod credentials;
mod decision;
mod failures;
mod gate;
mod identity;
mod sessions;
mod users;

pub(super) use client::{
    AdminClient, ClientOrigin, ClientTransport, ConnectionLife, PlaceKind, SocketPeer, StreamHold,
};
pub(super) use cookie::{SessionCookie, clear_cookie, set_cookie};
pub(super) use credentials::CallerCredentials;
pub(super) use decision::{Admitted, CallAccess};
pub(super) use failures::TokenFailures;
pub(super) use gate::{AccessGate, CallPlaces, GatedRow, check_access};
pub(super) use identity::AdminIdentity;
pub(super) use sessions::{LINK_LIFE, PassKey, Sessions};
pub(super) use users::{group_id, user_name};
