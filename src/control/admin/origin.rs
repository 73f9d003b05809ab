//! Rejects requests that a web page makes a browser send.
//!
//! A page can make a browser send requests to addresses of the user's own machine and network. Two ways are closed: DNS
//! rebinding, a name that resolves to such an address (its `Host` is neither an address, nor `localhost`, nor in
//! `[admin] hosts`), and cross-site requests by a form or `fetch` (they carry `Origin` or `Sec-Fetch-Site`). `Host` is
//! checked on loopback for every call, elsewhere for acting calls and pages only: a name of Kubernetes or of the DNS is
//! usual there. A session acts only where the browser says which page sends the request. No browser connects to the Unix
//! socket.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::access::{AdminClient, ClientOrigin};
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::response::text;
use super::row_form::RowForms;
use crate::control::state::ControlState;

/// The field by which a browser says which page sends a request (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the check of a request needs.
#[derive(Clone)]
pub(super) struct OriginCheck {
    pub control: Arc<ControlState>,
    pub forms: RowForms,
}

/// Rejects a request that was sent by a page of another site.
pub(super) async fn reject_foreign_origins(
    State(state): State<OriginCheck>,
    Extension(client): Extension<AdminClient>,
    request: Request,
    next: Next,
) -> Response {
    let (snapshot, form) = (state.control.snapshot(), state.forms.problem_form(&request));
    let asked = AskedAs { form, method: request.method() };
    match check(&client.origin, &snapshot.rules.admin.hosts, asked, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::warn!(client = %client.origin, "admin request rejected: {}", problem.detail);
            match form {
                ProblemForm::Document | ProblemForm::Page => problem.respond(form),
                ProblemForm::Text => text(StatusCode::FORBIDDEN, &format!("{}\n{}", problem.detail, problem.help)),
            }
        }
    }
}

/// Checks that the browser says which page sends an acting call with the cookie of a session.
/// [`reject_foreign_origins`] has checked what it says.
///
/// # Errors
/// When the call acts, and nothing is said.
pub(super) fn check_session_act(method: &Method, headers: &HeaderMap) -> Result<(), CallProblem> {
    if reads(method) || headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
        return Ok(());
    }
    let help = "act from a page of this address in a newer browser, or by the commands, or with a token";
    let detail = "an acting call with a session needs `Origin` or `Sec-Fetch-Site`, which browsers send";
    Err(ProblemKind::OtherSite.because(detail, help))
}

/// What a request asks for.
#[derive(Clone, Copy)]
struct AskedAs<'a> {
    form: ProblemForm,
    method: &'a Method,
}

fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Checks a request of this client. `hosts` are further names that are served.
fn check(client: &ClientOrigin, hosts: &[String], asked: AskedAs<'_>, headers: &HeaderMap) -> Result<(), CallProblem> {
    let ClientOrigin::Tcp { bound, .. } = client else { return Ok(()) };
    let reads = reads(asked.method);
    let mut written = headers.get_all(header::HOST).iter();
    let host = written.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = if written.next().is_some() { "" } else { host };
    let (name, is_address) = host_name(host);
    let is_served = is_address || hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !is_served && (bound.ip().to_canonical().is_loopback() || !reads || asked.form == ProblemForm::Page) {
        return Err(foreign_host(name));
    }
    let is_own = |origin: &str| {
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(host))
    };
    let all = |name: HeaderName| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    let other_site = all(SEC_FETCH_SITE).any(|site| !matches!(site, "same-origin" | "none"));
    // With `Referrer-Policy: no-referrer`, a form of this very page has no other Origin than `null`.
    let is_own_form = |origin: &str| origin == "null" && all(SEC_FETCH_SITE).next() == Some("same-origin");
    let other_origin = all(header::ORIGIN).any(|origin| !is_own(origin) && !is_own_form(origin));
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
    use crate::control::admin::access::ClientTransport;

    fn outcome_for(
        form: ProblemForm,
        bound: &str,
        method: &Method,
        headers: &[(&'static str, &str)],
    ) -> Result<(), CallProblem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        let bound = bound.parse().expect("an address");
        let transport = ClientTransport::Cleartext;
        let client = ClientOrigin::Tcp { peer: IpAddr::from([127, 0, 0, 1]), bound, transport };
        super::check(&client, &["edge.example".to_owned()], AskedAs { form, method }, &map)
    }

    fn outcome(bound: &str, method: &Method, headers: &[(&'static str, &str)]) -> Result<(), CallProblem> {
        outcome_for(ProblemForm::Document, bound, method, headers)
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
    fn a_page_is_for_the_hosts_of_the_file_everywhere() {
        let page = |bound, host| {
            outcome_for(ProblemForm::Page, bound, &Method::GET, &[("host", host)]).map_err(|problem| problem.kind)
        };
        for bound in ["127.0.0.1:9900", "10.0.0.1:9900"] {
            assert_eq!(page(bound, "evil.example"), Err(ProblemKind::HostNotServed), "{bound}");
            assert_eq!(page(bound, "edge.example:9900"), Ok(()), "{bound}");
            assert_eq!(page(bound, "10.0.0.1:9900"), Ok(()), "{bound}");
        }
    }

    #[test]
    fn a_form_of_this_very_page_has_no_origin() {
        let post = |headers: &[(&'static str, &str)]| {
            let headers = [&[("host", "localhost")], headers].concat();
            outcome("127.0.0.1:9900", &Method::POST, &headers).map_err(|problem| problem.kind)
        };
        assert_eq!(post(&[("origin", "null"), ("sec-fetch-site", "same-origin")]), Ok(()));
        let site = Err(ProblemKind::OtherSite);
        for headers in [
            &[("origin", "null")][..],
            &[("origin", "null"), ("sec-fetch-site", "none")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
            &[("origin", "http://localhost"), ("origin", "https://evil.example")],
        ] {
            assert_eq!(post(headers), site, "{headers:?}");
        }
    }

    #[test]
    fn a_session_acts_only_where_the_browser_names_the_page() {
        let act = |method: &Method, name: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = name {
                headers.insert(name, "same-origin".parse().expect("a value"));
            }
            check_session_act(method, &headers).map_err(|problem| problem.kind)
        };
        assert_eq!(act(&Method::POST, None), Err(ProblemKind::OtherSite));
        assert_eq!(act(&Method::POST, Some("referer")), Err(ProblemKind::OtherSite));
        for name in ["origin", "sec-fetch-site"] {
            assert_eq!(act(&Method::POST, Some(name)), Ok(()), "{name}");
        }
        assert_eq!((act(&Method::GET, None), act(&Method::HEAD, None)), (Ok(()), Ok(())));
    }

    #[test]
    fn the_refusal_of_a_host_has_the_line_to_add() {
        let help = |host| outcome("127.0.0.1:1", &Method::GET, &[("host", host)]).expect_err("refused").help;
        assert!(help("Edge2.example:9900").ends_with("hosts = [\"edge2.example\"]"), "{}", help("Edge2.example:9900"));
        assert!(!help("\"] tokens = \"").contains("hosts ="), "no line is made of something that is no name");
    }

    #[test]
    fn the_socket_has_no_browsers() {
        let (client, asked) = (ClientOrigin::Socket(None), AskedAs { form: ProblemForm::Page, method: &Method::POST });
        assert!(super::check(&client, &[], asked, &HeaderMap::new()).is_ok());
    }
}
