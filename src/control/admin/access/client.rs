//! The client of an admin connection: where it comes from, which place it has, and how long it may stay.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;

/// The client of a connection. Every request of the connection carries it as an extension.
#[derive(Clone, Debug)]
pub(in crate::control::admin) struct AdminClient {
    /// Where it comes from.
    pub origin: ClientOrigin,
    /// Its place among the connections.
    pub place: PlaceKind,
    /// The life of its connection.
    pub life: ConnectionLife,
}

/// Where a client comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control::admin) enum ClientOrigin {
    /// A TCP connection.
    Tcp {
        /// The address of the client.
        peer: IpAddr,
        /// The address that it connected to.
        bound: SocketAddr,
        /// How its bytes come.
        transport: ClientTransport,
    },
    /// The Unix socket; `None` when the kernel gives no credentials.
    Socket(Option<SocketPeer>),
}

/// How the bytes of a TCP connection come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control::admin) enum ClientTransport {
    /// As they are.
    Cleartext,
    /// Over TLS.
    Tls {
        /// The common name in the verified certificate of the client.
        certificate: Option<String>,
    },
}

/// The process at the other end of the Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control::admin) struct SocketPeer {
    /// Its user.
    pub uid: u32,
    /// The name of its user, or `uid:N`.
    pub user: String,
}

/// The place of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control::admin) enum PlaceKind {
    /// For every call.
    Shared,
    /// For the calls that have places of their own: the other places are taken.
    Reserved,
}

/// The life of a connection: it ends after a limit, but not while it carries an event stream.
#[derive(Clone, Debug)]
pub(in crate::control::admin) struct ConnectionLife(watch::Sender<usize>);

/// An event stream on a connection: while it exists, the connection may live on.
#[derive(Debug)]
pub(in crate::control::admin) struct StreamHold(watch::Sender<usize>);

impl ConnectionLife {
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Holds the connection open.
    pub fn hold(&self) -> StreamHold {
        self.0.send_modify(|streams| *streams += 1);
        StreamHold(self.0.clone())
    }

    /// Waits for this time, and then until no event stream holds the connection.
    pub async fn end(&self, after: Duration) {
        let mut streams = self.0.subscribe();
        tokio::time::sleep(after).await;
        // An error means that no stream can hold it any more.
        let _ = streams.wait_for(|streams| *streams == 0).await;
    }
}

impl Drop for StreamHold {
    fn drop(&mut self) {
        self.0.send_modify(|streams| *streams -= 1);
    }
}

impl ClientTransport {
    /// The common name in the verified certificate of the client.
    pub fn certificate(&self) -> Option<&str> {
        match self {
            Self::Cleartext => None,
            Self::Tls { certificate } => certificate.as_deref(),
        }
    }
}

impl SocketPeer {
    /// How a user without a name is written.
    pub fn number(&self) -> String {
        format!("uid:{}", self.uid)
    }
}

impl ClientOrigin {
    /// Whether the client is on this machine, as far as its address says.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { peer, .. } => peer.to_canonical().is_loopback(),
            Self::Socket(_) => true,
        }
    }
}

impl std::fmt::Display for ClientOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { peer, .. } => write!(f, "{peer}"),
            Self::Socket(Some(peer)) => write!(f, "the socket, {}", peer.user),
            Self::Socket(None) => f.write_str("the socket"),
        }
    }
}
