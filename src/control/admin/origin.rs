//! Rejects requests that a web page makes a browser send.
//!
//! A page can make a browser send requests to addresses of the user's own machine and network. Two ways are closed: DNS
//! rebinding, a name that resolves to such an address (its `Host` is neither an address, nor `localhost`, nor in
//! `[admin] hosts`), and cross-site requests by a form or `fetch` (they carry `Origin` or `Sec-Fetch-Site`). `Host` is
//! checked on loopback for every call, elsewhere for acting calls only: a name of Kubernetes or of the DNS is usual
//! there. No browser connects to the Unix socket.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};

use super::access::{AdminClient, ClientOrigin};
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::response::text;
use crate::control::state::ControlState;

/// Rejects a request that was sent by a page of another site.
pub(super) async fn reject_foreign_origins(
    State(control): State<Arc<ControlState>>,
    Extension(client): Extension<AdminClient>,
    request: Request,
    next: Next,
) -> Response {
    let snapshot = control.snapshot();
    match check(&client.origin, &snapshot.rules.admin.hosts, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::warn!(client = %client.origin, "admin request rejected: {}", problem.detail);
            match ProblemForm::of(request.uri().path()) {
                ProblemForm::Document => problem.respond(ProblemForm::Document),
                ProblemForm::Text => text(StatusCode::FORBIDDEN, &format!("{}\n{}", problem.detail, problem.help)),
            }
        }
    }
}

/// Checks a request of this client. `hosts` are further names that are served.
fn check(client: &ClientOrigin, hosts: &[String], method: &Method, headers: &HeaderMap) -> Result<(), CallProblem> {
    let ClientOrigin::Tcp { bound, .. } = client else { return Ok(()) };
    let reads = method == Method::GET || method == Method::HEAD;
    let mut written = headers.get_all(header::HOST).iter();
    let host = written.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = if written.next().is_some() { "" } else { host };
    let (name, is_address) = host_name(host);
    let is_served = is_address || hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !is_served && (bound.ip().to_canonical().is_loopback() || !reads) {
        return Err(foreign_host(name));
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_own = |origin: &str| {
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(host))
    };
    let other_origin = text("origin").is_some_and(|origin| !is_own(origin));
    let other_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if !reads && (other_origin || other_site) {
        let help = "act by the commands, or from a page of this address";
        return Err(ProblemKind::OtherSite.because("requests of other sites are refused", help));
    }
    Ok(())
}

fn foreign_host(name: &str) -> CallProblem {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let help = if is_name && name.len() <= 253 {
        format!("if this name is yours, add to [admin] of the routes file: hosts = [\"{}\"]", name.to_ascii_lowercase())
    } else {
        "send the address or `localhost` as Host".to_owned()
    };
    ProblemKind::HostNotServed.because("this Host is not served here: use the address or localhost", help)
}

/// The name of a `Host` without its port, and whether it is an address or `localhost`.
fn host_name(host: &str) -> (&str, bool) {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    (name, bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(bound: &str, method: &Method, headers: &[(&'static str, &str)]) -> Result<(), CallProblem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        let bound = bound.parse().expect("an address");
        let client = ClientOrigin::Tcp { peer: IpAddr::from([127, 0, 0, 1]), bound, certificate: None };
        super::check(&client, &["edge.example".to_owned()], method, &map)
    }

    fn check(bound: &str, method: &Method, headers: &[(&'static str, &str)], expected: Result<(), ProblemKind>) {
        let found = outcome(bound, method, headers).map_err(|problem| problem.kind);
        assert_eq!(found, expected, "{bound} {method} {headers:?}");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let (get, post) = (&Method::GET, &Method::POST);
        let (host, site) = (Err(ProblemKind::HostNotServed), Err(ProblemKind::OtherSite));
        for ours in ["127.0.0.1:9900", "localhost:9900", "LOCALHOST", "[::1]:9900", "[::1]", "10.0.0.1", "edge.example"]
        {
            check("127.0.0.1:9900", get, &[("host", ours)], Ok(()));
            check("127.0.0.1:9900", post, &[("host", ours)], Ok(()));
        }
        for error in ["evil.example", "evil.example:9900", "localhost.evil.example", "", "a:b:c", "127.0.0.1.evil"] {
            check("127.0.0.1:9900", get, &[("host", error)], host);
            check("10.0.0.1:9900", post, &[("host", error)], host);
            check("10.0.0.1:9900", get, &[("host", error)], Ok(()));
        }
        check("127.0.0.1:9900", get, &[], host);
        check("127.0.0.1:9900", get, &[("host", "localhost"), ("host", "localhost")], host);
        check("10.0.0.1:9900", get, &[("host", "pointsman.monitoring.svc:9900")], Ok(()));
        check("10.0.0.1:9900", post, &[("host", "EDGE.example:9900")], Ok(()));
        let local = ("host", "localhost:9900");
        check("127.0.0.1:9900", post, &[local, ("origin", "https://evil.example")], site);
        check("127.0.0.1:9900", post, &[local, ("origin", "null")], site);
        check("127.0.0.1:9900", post, &[local, ("origin", "http://localhost:9900")], Ok(()));
        check("127.0.0.1:9900", post, &[local, ("origin", "https://localhost:9900")], Ok(()));
        check("127.0.0.1:9900", post, &[local, ("sec-fetch-site", "cross-site")], site);
        check("127.0.0.1:9900", post, &[local, ("sec-fetch-site", "same-site")], site);
        check("127.0.0.1:9900", post, &[local, ("sec-fetch-site", "same-origin")], Ok(()));
        check("127.0.0.1:9900", get, &[local, ("sec-fetch-site", "cross-site")], Ok(()));
    }

    #[test]
    fn the_refusal_of_a_host_has_the_line_to_add() {
        let help = |host| outcome("127.0.0.1:1", &Method::GET, &[("host", host)]).expect_err("refused").help;
        assert!(help("Edge2.example:9900").ends_with("hosts = [\"edge2.example\"]"), "{}", help("Edge2.example:9900"));
        assert!(!help("\"] tokens = \"").contains("hosts ="), "no line is made of something that is no name");
    }

    #[test]
    fn the_socket_has_no_browsers() {
        let client = ClientOrigin::Socket(None);
        assert!(super::check(&client, &[], &Method::POST, &HeaderMap::new()).is_ok());
    }
}
