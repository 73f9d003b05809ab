//! The admin listener, its socket, and the state folder, as plain data.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{TlsSpec, TokenList};

/// `[admin]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSpec {
    /// The addresses to listen on; at least one. Public ones only with `tls` and `tokens`.
    pub addresses: Vec<SocketAddr>,
    /// The TLS settings of these addresses; `None` for cleartext.
    pub tls: Option<TlsSpec>,
    /// The path of the Unix socket; `None` if it is off. By default [`StateSpec::socket`].
    pub socket: Option<PathBuf>,
    /// The group that may use the socket.
    pub socket_group: Option<String>,
    /// Further users that may act by the socket, besides root and the proxy's own user.
    pub socket_operators: Vec<String>,
    /// Names that are accepted in `Host`, lower case and without a port; IP addresses and `localhost` always are.
    pub hosts: Vec<String>,
    /// The tokens; `None` if `tokens` is not set.
    pub tokens: Option<TokenList>,
    /// The Grafana that pages of the dashboard link to: its URL, or that of a dashboard in it, without `/` at the end of its
    /// path; `None`: there are no links.
    pub grafana: Option<String>,
}

/// `[state]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSpec {
    /// The folder of the journal, the snapshot, the lock and the admin socket.
    pub dir: PathBuf,
}

impl StateSpec {
    /// The path of the admin socket, unless `admin.socket` names another one.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run").join("admin.sock")
    }
}
