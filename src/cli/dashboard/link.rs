//! The link: made by the proxy for the user of the command, with the address under which a browser reaches it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use http::{StatusCode, Uri};
use serde_json::Value;

use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions, Sent};
use crate::compare::escape_controls;

/// The call that makes a link.
const CALL: &str = "/v1/session/link";
/// Bound on each of the two questions.
const PATIENCE: Duration = Duration::from_secs(10);

/// A link for one use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DashboardLink {
    /// The whole link. It is a secret until it is used.
    pub url: String,
    /// How long it can be used.
    pub expires_in_s: u64,
    /// As whom it signs in; nothing when the proxy does not say.
    pub who: Option<String>,
}

/// The host in a link.
#[derive(Clone, Copy, Debug)]
pub enum LinkHost<'a> {
    /// That of the admin listener.
    Own,
    /// This one.
    Named(&'a str),
}

/// A proxy that makes no link: its answer.
#[derive(Debug)]
pub enum LinkOutcome {
    /// The link.
    Made(DashboardLink),
    /// The answer of a proxy that refuses.
    Refused(AdminResponse),
}

impl DashboardLink {
    /// Asks a proxy for a link.
    ///
    /// # Errors
    /// It does not answer, it is older than the dashboard, or a browser cannot reach it.
    pub async fn ask(admin: &AdminEndpoint, host: LinkHost<'_>) -> anyhow::Result<LinkOutcome> {
        // First: a link is valid for a minute.
        let status = admin.ask("/v1/status", FetchOptions::within(PATIENCE)).await?;
        if !status.status.is_success() {
            return Ok(LinkOutcome::Refused(status));
        }
        let page = status.page()?;
        let origin = origin(&status.place, &page, host)?;
        let sent = Sent::Json("{}".into(), None);
        let answer = admin.ask(CALL, FetchOptions::post(sent, PATIENCE)).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            let (place, version) = (&answer.place, escape_controls(page["version"].as_str().unwrap_or("?")));
            return Err(anyhow!(
                "the proxy at {place} has no dashboard: it runs version {version}\n  = help: `pointsman status` shows what \
                 it does; replace its binary with this one, and hand over with SIGUSR2"
            ));
        }
        if !answer.status.is_success() {
            return Ok(LinkOutcome::Refused(answer));
        }
        let link = answer.json().and_then(|body| Self::read(&origin, &body));
        link.map(LinkOutcome::Made)
            .ok_or_else(|| anyhow!("{} answers without a link: is this the admin listener?", answer.place))
    }

    /// How it can be used, in one line.
    pub fn terms(&self) -> String {
        let who = self.who.as_ref().map_or_else(|| "you".to_owned(), |who| format!("\"{who}\""));
        format!("signs in as {who}, once, within {} s; the session ends after 12 h", self.expires_in_s)
    }

    /// Reads the answer of a proxy.
    fn read(origin: &str, body: &Value) -> Option<Self> {
        let path = body["path"].as_str()?;
        // Another host in the path, or a control character, would lead elsewhere.
        let is_path =
            path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|byte| byte.is_ascii_graphic());
        let name = body["name"].as_str().or(body["as"].as_str()).filter(|name| !name.is_empty());
        is_path.then(|| Self {
            url: format!("{origin}{path}"),
            expires_in_s: body["expires_in_s"].as_u64().unwrap_or(60),
            who: name.map(|name| escape_controls(name).into_owned()),
        })
    }
}

/// Scheme, host and port under which a browser reaches the admin listener that answers at this place.
fn origin(place: &str, status: &Value, host: LinkHost<'_>) -> anyhow::Result<String> {
    if !place.starts_with("unix:") {
        let uri: Uri = place.parse()?;
        let (scheme, authority) = (uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |at| at.as_str()));
        ensure!(
            matches!(uri.path(), "" | "/"),
            "{place} has a path, and the dashboard has none\n  = help: forward its port instead, such as \
             `kubectl port-forward POD 9900`, and give --admin 127.0.0.1:9900"
        );
        return Ok(match host {
            LinkHost::Own => format!("{scheme}://{authority}"),
            LinkHost::Named(name) => {
                let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{scheme}://{name}{port}")
            }
        });
    }
    let scheme = if status["admin_tls"] == true { "https" } else { "http" };
    let addresses = status["admin"].as_array().into_iter().flatten();
    let addresses: Vec<SocketAddr> = addresses.filter_map(|one| one.as_str()?.parse().ok()).map(reachable).collect();
    let address = match host {
        // Another machine does not reach a loopback address.
        LinkHost::Named(_) => addresses.iter().find(|one| !one.ip().is_loopback()).or(addresses.first()),
        LinkHost::Own => addresses.iter().find(|one| one.ip().is_loopback()).or(addresses.first()),
    };
    let address = address.ok_or_else(|| {
        anyhow!(
            "{place} answers, but the admin listener has no TCP address, which a browser needs\n  = help: write `address = \
             \"127.0.0.1:9900\"` in `[admin]` of the routes file"
        )
    })?;
    Ok(match host {
        LinkHost::Own => format!("{scheme}://{address}"),
        LinkHost::Named(name) => format!("{scheme}://{name}:{}", address.port()),
    })
}

/// An address that this machine can connect to: a listener on all addresses is reached by the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_browser_reaches_the_listener_at_an_address_of_this_machine() {
        let own = |admin: &[&str]| origin("unix:/x", &json!({ "admin": admin }), LinkHost::Own).unwrap();
        for (admin, expected) in [
            (&["127.0.0.1:9900"][..], "http://127.0.0.1:9900"),
            (&["0.0.0.0:9900"], "http://127.0.0.1:9900"),
            (&["[::]:9900"], "http://[::1]:9900"),
            (&["[::ffff:10.0.0.7]:9900"], "http://10.0.0.7:9900"),
            (&["10.0.0.7:9900", "127.0.0.1:9901"], "http://127.0.0.1:9901"),
            (&["nonsense", "10.0.0.7:9900"], "http://10.0.0.7:9900"),
        ] {
            assert_eq!(own(admin), expected, "{admin:?}");
        }
        let tls = json!({ "admin": ["10.0.0.7:9900"], "admin_tls": true });
        assert_eq!(origin("unix:/x", &tls, LinkHost::Own).unwrap(), "https://10.0.0.7:9900");
        assert_eq!(origin("unix:/x", &tls, LinkHost::Named("edge")).unwrap(), "https://edge:9900");
        let two = json!({ "admin": ["127.0.0.1:9901", "10.0.0.7:9900"] });
        assert_eq!(origin("unix:/x", &two, LinkHost::Named("edge")).unwrap(), "http://edge:9900");
    }

    #[test]
    fn a_proxy_that_was_named_by_a_url_is_reached_by_it() {
        let at = |place: &str, host| origin(place, &json!({ "admin": ["10.0.0.7:9900"] }), host);
        assert_eq!(at("https://edge.internal", LinkHost::Own).unwrap(), "https://edge.internal");
        assert_eq!(at("http://127.0.0.1:8001", LinkHost::Named("edge")).unwrap(), "http://edge:8001");
        assert_eq!(at("https://edge", LinkHost::Named("[::1]")).unwrap(), "https://[::1]");
        let behind = at("http://kube/pods/a:9900/proxy", LinkHost::Own).unwrap_err().to_string();
        assert!(behind.contains("port-forward"), "{behind}");
    }

    #[test]
    fn a_listener_without_a_tcp_address_has_a_help() {
        for page in [json!({}), json!({ "admin": [] }), json!({ "admin": null })] {
            let error = origin("unix:/x", &page, LinkHost::Own).unwrap_err().to_string();
            assert!(error.contains("no TCP address") && error.contains("in `[admin]`"), "{error}");
        }
    }

    #[test]
    fn an_answer_is_a_path_on_the_listener_itself() {
        let read = |body: &Value| DashboardLink::read("http://a", body);
        let made = read(&json!({ "path": "/sign-in#link=abc", "expires_in_s": 60, "name": "ana" })).unwrap();
        assert_eq!(
            (made.url.as_str(), made.expires_in_s, made.who.as_deref()),
            ("http://a/sign-in#link=abc", 60, Some("ana"))
        );
        for path in ["//evil/x", "https://evil", "", "/a\u{1b}[2J", "/a b"] {
            assert_eq!(read(&json!({ "path": path })), None, "{path:?}");
        }
        assert_eq!(read(&json!({})), None);
    }
}
