//! Rejects requests that a web page makes a browser send.
//!
//! A page can make a browser send requests to addresses of the user's own machine. Two ways are closed: DNS rebinding,
//! a name that resolves to a loopback address (its `Host` is neither an address nor `localhost`), and cross-site
//! requests by a form or `fetch` (they carry `Origin` or `Sec-Fetch-Site`).

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};

use super::response::text;

/// The client address of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdminClient(pub IpAddr);

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OriginError {
    /// `Host` is a name that is not served here.
    Host,
    /// It was sent by a page of another site.
    Origin,
}

impl OriginError {
    const fn message(self) -> &'static str {
        match self {
            Self::Host => "this Host is not served here: use the address or localhost",
            Self::Origin => "requests of other sites are refused",
        }
    }
}

/// Rejects a request that was sent by a page of another site.
pub(super) async fn reject_foreign_origins(
    State(bound): State<SocketAddr>,
    Extension(AdminClient(peer)): Extension<AdminClient>,
    request: Request,
    next: Next,
) -> Response {
    match admit(bound, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            tracing::warn!(%peer, "admin request rejected: {}", error.message());
            text(StatusCode::FORBIDDEN, error.message())
        }
    }
}

/// Checks a request to a listener that is bound to `bound`.
fn admit(bound: SocketAddr, method: &Method, headers: &HeaderMap) -> Result<(), OriginError> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if bound.ip().is_loopback() && !is_ours(host) {
        return Err(OriginError::Host);
    }
    let reads = method == Method::GET || method == Method::HEAD;
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let other_origin = text("origin").is_some_and(|origin| origin.strip_prefix("http://") != Some(host));
    let other_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if !reads && (other_origin || other_site) {
        return Err(OriginError::Origin);
    }
    Ok(())
}

/// An address or `localhost`, with or without a port.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bound: &str, method: &Method, headers: &[(&'static str, &str)], expected: Result<(), OriginError>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        assert_eq!(admit(bound.parse().expect("an address"), method, &map), expected, "{bound} {method} {headers:?}");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let (get, post) = (&Method::GET, &Method::POST);
        for ours in ["127.0.0.1:9900", "localhost:9900", "LOCALHOST", "[::1]:9900", "[::1]", "10.0.0.1"] {
            check("127.0.0.1:9900", get, &[("host", ours)], Ok(()));
            check("127.0.0.1:9900", post, &[("host", ours)], Ok(()));
        }
        for error in ["evil.example", "evil.example:9900", "localhost.evil.example", "", "a:b:c", "127.0.0.1.evil"] {
            check("127.0.0.1:9900", get, &[("host", error)], Err(OriginError::Host));
        }
        check("127.0.0.1:9900", get, &[], Err(OriginError::Host));
        check("0.0.0.0:9900", get, &[("host", "pointsman.monitoring.svc:9900")], Ok(()));
        let local = ("host", "localhost:9900");
        check("127.0.0.1:9900", post, &[local, ("origin", "https://evil.example")], Err(OriginError::Origin));
        check("127.0.0.1:9900", post, &[local, ("origin", "null")], Err(OriginError::Origin));
        check("127.0.0.1:9900", post, &[local, ("origin", "http://localhost:9900")], Ok(()));
        check("127.0.0.1:9900", post, &[local, ("sec-fetch-site", "cross-site")], Err(OriginError::Origin));
        check("127.0.0.1:9900", post, &[local, ("sec-fetch-site", "same-site")], Err(OriginError::Origin));
        check("127.0.0.1:9900", post, &[local, ("sec-fetch-site", "same-origin")], Ok(()));
        check("127.0.0.1:9900", get, &[local, ("sec-fetch-site", "cross-site")], Ok(()));
    }
}
