//! The endpoints of an upstream as configured.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::route::{EndpointRole, Protocol};

/// What makes two endpoints of an upstream the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// The address.
    pub address: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

/// An endpoint of an upstream, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointSetting {
    /// Its key.
    pub key: EndpointKey,
    /// When it gets requests.
    pub role: EndpointRole,
}

impl From<EndpointKey> for EndpointSetting {
    fn from(key: EndpointKey) -> Self {
        Self { key, role: EndpointRole::Primary }
    }
}

/// The role of each address. Of one that is listed twice, the role that sends it fewer requests.
pub(super) fn roles(settings: impl Iterator<Item = EndpointSetting>) -> HashMap<EndpointKey, EndpointRole> {
    let rank = |role: EndpointRole| match role {
        EndpointRole::Primary => 0,
        EndpointRole::Backup => 1,
        EndpointRole::Drained => 2,
    };
    let mut roles = HashMap::new();
    for EndpointSetting { key, role } in settings {
        let known = roles.entry(key).or_insert(role);
        if rank(role) > rank(*known) {
            *known = role;
        }
    }
    roles
}
