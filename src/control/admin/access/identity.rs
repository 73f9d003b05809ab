//! Identities that can have a session, and the session of one.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::client::SocketPeer;

/// An identity that can have a session. It is decided anew at each use what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control::admin) enum AdminIdentity {
    /// A token of the file.
    Token(TokenIdentity),
    /// A client certificate: it has the roles of the token with its name.
    Certificate(TokenIdentity),
    /// A user of the Unix socket.
    User(SocketPeer),
}

/// A token by its name. When the file has another token with this name, the identity is gone.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::control::admin) struct TokenIdentity {
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
}

/// A session that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control::admin) struct LiveSession {
    pub identity: AdminIdentity,
    /// When it ends, since the Unix epoch.
    pub ends_at: Duration,
}

impl std::fmt::Debug for TokenIdentity {
    /// Without the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TokenIdentity").field(&self.name).finish()
    }
}

/// SHA-256 of a secret.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sha256
}
