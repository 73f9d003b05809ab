//! `/explain`: shows what routing would do with a request, under the current snapshot.

use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::candidates::{VariantRole, candidates};
use super::query::form_decoded;
use super::{release_json, rollout_json, rollout_list};
use crate::control::state::ControlState;
use crate::route::{ExplainQuery, ExplainRequest};
use crate::telemetry::explained;

/// Explains the request in the query, with the endpoints that may get it now.
///
/// # Errors
/// When the query is invalid, with a message.
pub(super) fn explain(state: &ControlState, query: Option<&str>) -> Result<Value, String> {
    let (snapshot, now) = (state.snapshot(), state.clock.wall());
    let mut query = parse(query.unwrap_or_default())?;
    query.set_peer(&snapshot.rules.identity)?;
    let chosen = query.overlay(snapshot.effective())?;
    let asked = query.request(&snapshot.rules)?;
    let found = snapshot.identity_providers.lookup(&snapshot.rules.identity, &asked, now);
    let mut config = snapshot.effective();
    config.overlay = chosen.as_ref().unwrap_or(config.overlay);
    let mut value = explained(config, &ExplainRequest { facts: found.facts(), ..asked });
    value["generation"] = json!(snapshot.generation.0);
    let route = value["route"]["name"].as_str().unwrap_or_default().to_owned();
    let mut releases = state.release.releases();
    releases.retain(|one| !rollout_list::is_member(&snapshot.rules, one));
    let releases = release_json::of_route(&releases, &route);
    value["releases"] = json!(releases);
    let routes = &snapshot.rules.routes;
    let split = routes.iter().find(|one| one.name == route).and_then(|one| one.split());
    if let Some(rollout) = split.and_then(|split| split.rollout).map(|id| &snapshot.rules.rollout(id).name) {
        value["rollout"] = state.release.rollout(rollout).map_or(Value::Null, |one| rollout_json::rollout(&one, None));
    }
    let is_stable = value["variant"] == "stable";
    let all = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
    if let Some((_, upstream)) = all.into_iter().find(|(spec, _)| value["upstream"] == spec.name) {
        let role = if is_stable { VariantRole::Stable } else { VariantRole::Other };
        value["endpoints"] = json!(candidates(&upstream.endpoints, role, state.uptime_ms()));
    }
    Ok(value)
}

/// Parses the request from the query.
fn parse(query: &str) -> Result<ExplainQuery, String> {
    let mut parsed = ExplainQuery::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(&mut parsed, name, form_decoded(value)?)?;
    }
    Ok(parsed)
}

fn set(query: &mut ExplainQuery, name: &str, value: String) -> Result<(), String> {
    let address = |value: &str| value.parse().map_err(|_| format!("{value:?} is no address"));
    match name {
        "host" => query.host = Some(value),
        "path" if value.is_empty() => {}
        "path" if !value.starts_with('/') => return Err(format!("{value:?} is no path: it begins with a slash")),
        "path" => query.path_and_query = value,
        "method" => query.method = value.parse().map_err(|_| format!("{value:?} is no method"))?,
        "client_ip" => query.client_ip = Some(address(&value)?),
        "peer" => query.peer = Some(address(&value)?),
        "header" => {
            let (name, text) = value.split_once(':').ok_or_else(|| format!("header={value:?} is not K:V"))?;
            let blank = [' ', '\t'];
            add(query, name.trim_matches(blank), text.trim_matches(blank))?;
        }
        "cookie" if value.contains('=') => add(query, header::COOKIE.as_str(), &value)?,
        "cookie" => return Err(format!("cookie={value:?} is not K=V")),
        "client_cert" => query.add_certificate_field(&value)?,
        "listener" => query.listener = Some(value),
        "rollout" => query.rollouts.push(value),
        other => {
            let known = "host, path, method, header, cookie, client_ip, client_cert, listener, peer and rollout";
            return Err(format!("{other:?} is not known: use {known}"));
        }
    }
    Ok(())
}

fn add(query: &mut ExplainQuery, name: &str, value: &str) -> Result<(), String> {
    let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header name"))?;
    let value: HeaderValue = value.parse().map_err(|_| format!("{value:?} is no header value"))?;
    query.fields.append(&name, &value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::Method;

    use super::*;

    #[test]
    fn a_query_describes_a_request() {
        let query = "host=shop.example.com&path=%2Fa%20b%3Fq%3D1&method=POST&header=X-A:%20b+c&header=x-a:d\
                     &cookie=uid%3Dx&client_ip=::1";
        let query = parse(query).expect("a query");
        assert_eq!((query.host.as_deref(), query.path_and_query.as_str()), (Some("shop.example.com"), "/a b?q=1"));
        assert_eq!(query.method, Method::POST);
        assert_eq!(query.client_ip, Some("::1".parse::<IpAddr>().expect("an address")));
        let values: Vec<&[u8]> = query.fields.get_all("x-a").collect();
        assert_eq!(values, [&b"b c"[..], b"d"]);
        assert_eq!(query.fields.get_text("cookie"), Some("uid=x"));
    }

    #[test]
    fn an_invalid_query_gets_a_message() {
        for (query, part) in [
            ("hots=x", "\"hots\" is not known"),
            ("method=a%20b", "is no method"),
            ("client_ip=x", "is no address"),
            ("path=x", "begins with a slash"),
            ("header=x", "is not K:V"),
            ("header=a%20b:c", "is no header name"),
            ("header=a:%0d%0ab", "is no header value"),
            ("cookie=x", "is not K=V"),
            ("host=%zz", "is not percent-encoded"),
            ("host=%f", "is not percent-encoded"),
            ("host=%ff", "is not UTF-8"),
        ] {
            let error = parse(query).expect_err(query);
            assert!(error.contains(part), "{query}: {error}");
        }
    }
}
