//! A connection to an admin listener, and whether a token may be sent over it: only over TLS, a Unix socket, or inside
//! this machine or its private networks.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::Uri;
use rustix::process::geteuid;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;

use super::place::AdminPlace;
use crate::net::{self, ConnectError, Destination};
use crate::tls;

/// The message when a time limit is exceeded.
pub(super) const LATE: &str = "it does not answer in time";

/// A stream of bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection.
pub(super) struct Dialled {
    pub(super) stream: Box<dyn Duplex>,
    /// Why a token must not be sent over it.
    pub(super) exposed: Option<String>,
}

/// Whose socket is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrustedOwner {
    /// Any user's: a person or the system named it.
    Any,
    /// That of this user or of root: it was found in the working directory, where any user may have put it.
    Ours,
}

/// Connects to a place within this time. `ca` is the file of the authorities that `https://` trusts instead of those of
/// the system.
pub(super) async fn dial(
    place: &AdminPlace,
    owner: TrustedOwner,
    ca: Option<&Path>,
    within: Duration,
) -> anyhow::Result<Dialled> {
    match place {
        AdminPlace::Socket(path) => {
            let stream = net::unix(path, within).await.map_err(in_words)?;
            if owner == TrustedOwner::Ours {
                let uid = stream.peer_cred().context("the system does not say who listens")?.uid();
                let is_ours = uid == 0 || uid == geteuid().as_raw();
                anyhow::ensure!(is_ours, "user {uid} listens behind it, neither you nor root: name it by --admin");
            }
            Ok(Dialled { stream: Box::new(stream), exposed: None })
        }
        AdminPlace::Url(base) => {
            let uri: Uri = format!("{base}/").parse()?;
            let Some(authority) = uri.authority() else { bail!("the URL names no host") };
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            let is_tls = uri.scheme_str() == Some("https");
            let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
            let mut destination = Destination::host(host, port);
            if is_tls {
                let name = ServerName::try_from(host.to_owned()).context("the host is no name of a certificate")?;
                destination = destination.with_tls(Arc::new(tls_config(ca)?), name);
            }
            let socket = net::connector(within).oneshot(destination).await.map_err(in_words)?;
            let exposed = if is_tls { None } else { exposure(socket.peer_address()?.ip()) };
            Ok(Dialled { stream: Box::new(socket), exposed })
        }
    }
}

fn in_words(error: ConnectError) -> anyhow::Error {
    match error {
        ConnectError::Unreachable(_) | ConnectError::ProxyHeader(_) | ConnectError::Tls(_) => error.into(),
        ConnectError::TimedOut(_) => anyhow!(LATE),
    }
}

/// The settings of a client that trusts the authorities in `ca`, else those of the system.
fn tls_config(ca: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    let roots = match ca {
        None => tls::system_roots().map_err(|error| anyhow!("the system {error}"))?,
        Some(file) => {
            let file: PathBuf = file.to_owned();
            let shown = file.display();
            let pem = std::fs::read(&file).with_context(|| format!("cannot read {shown}"))?;
            let read = tls::certificates(&pem).map_err(|error| anyhow!("{shown} {error}"))?;
            read.iter().map(|der| der.to_vec()).collect()
        }
    };
    let config = tls::client(&roots, None).map_err(|error| anyhow!("the list of authorities {error}"))?;
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Why a token must not be sent to this address without TLS.
fn exposure(ip: IpAddr) -> Option<String> {
    let is_near = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    (!is_near).then(|| format!("{ip} is a public address, and the connection is not encrypted: use https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_sent_in_clear_to_a_public_address() {
        for ip in ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.1", "172.16.0.1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"]
        {
            assert_eq!(exposure(ip.parse().unwrap()), None, "{ip}");
        }
        for ip in ["8.8.8.8", "2001:db8::1", "172.32.0.1", "::ffff:8.8.8.8"] {
            assert!(exposure(ip.parse().unwrap()).unwrap().contains("use https://"), "{ip}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_connected_to_and_its_failures_have_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let place = AdminPlace::Socket(path.clone());
        let within = Duration::from_secs(10);
        let gone = dial(&place, TrustedOwner::Any, None, within).await.err().unwrap().to_string();
        assert!(gone.contains("No such file"), "{gone}");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let dialled = dial(&place, TrustedOwner::Ours, None, within).await.ok().unwrap();
        assert_eq!(dialled.exposed, None);
        drop(listener);
        let stale = dial(&place, TrustedOwner::Any, None, within).await.err().unwrap().to_string();
        assert!(stale.contains("Connection refused"), "{stale}");
    }
}
