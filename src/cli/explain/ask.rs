//! Where explanations come from: the routing code for a file, the admin listener for a running proxy. Both return
//! the same object.

use std::fmt::Write;

use anyhow::{Context, bail};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::draw::draw;
use crate::cli::admin::{AdminPlace, AdminResponse, FetchOptions, Purpose};
use crate::cli::args::{AdminArguments, DEFAULT_FILE, ExplainArguments};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, load, out};
use crate::clock::Clock;
use crate::compare::escape_controls;
use crate::route::{ExplainQuery, ExplainRequest};
use crate::telemetry::explained;

/// Explains one request.
pub fn explain(arguments: &ExplainArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let answer = if let Some(admin) = &arguments.admin {
        ask_proxy(admin.as_ref(), arguments)?
    } else {
        let file = arguments.file.as_ref().or(arguments.file_option.as_ref());
        let file = file.cloned().unwrap_or_else(|| DEFAULT_FILE.into());
        let Some(loaded) = load::load_quietly(&file, terminal.stderr) else { return Ok(Exit::BadFile) };
        let mut query = query(arguments)?;
        if let Some(why) = query.missing_host(&loaded.rules) {
            out::print_error(&format!("{}: {why}; add --host", terminal.stderr.red("error")));
            return Ok(Exit::Usage);
        }
        query.set_peer(&loaded.rules.identity).map_err(anyhow::Error::msg)?;
        let chosen = match query.overlay(loaded.effective()) {
            Ok(chosen) => chosen,
            Err(why) => {
                out::print_error(&format!("{}: {why}", terminal.stderr.red("error")));
                return Ok(Exit::Usage);
            }
        };
        let mut config = loaded.effective();
        config.overlay = chosen.as_ref().unwrap_or(config.overlay);
        let request = query.request(&loaded.rules).map_err(anyhow::Error::msg)?;
        let found = loaded.identity_providers.lookup(&loaded.rules.identity, &request, Clock.wall());
        explained(config, &ExplainRequest { facts: found.facts(), ..request })
    };
    if arguments.json {
        out::print_json(&answer)?;
    } else {
        out::print(&draw(&answer, terminal.stdout))?;
    }
    Ok(Exit::Ok)
}

fn query(arguments: &ExplainArguments) -> anyhow::Result<ExplainQuery> {
    let mut query = ExplainQuery {
        method: Method::from_bytes(arguments.method.as_bytes()).context("--method is not a valid method")?,
        host: arguments.host.clone(),
        path_and_query: arguments.path.clone(),
        client_ip: arguments.client_ip,
        peer: arguments.peer,
        listener: arguments.listener.clone(),
        rollouts: arguments.rollouts.clone(),
        ..ExplainQuery::default()
    };
    for (name, value) in &arguments.headers {
        query.fields.append(&HeaderName::try_from(name)?, &HeaderValue::try_from(value)?);
    }
    for (name, value) in &arguments.cookies {
        query.fields.append(&header::COOKIE, &HeaderValue::try_from(format!("{name}={value}"))?);
    }
    for part in &arguments.client_cert {
        query.add_certificate_field(part).map_err(|why| anyhow::anyhow!("--client-cert: {why}"))?;
    }
    Ok(query)
}

fn ask_proxy(place: Option<&AdminPlace>, arguments: &ExplainArguments) -> anyhow::Result<Value> {
    let admin = AdminArguments { admin: place.cloned(), credentials: arguments.credentials.clone() };
    let admin = admin.find(Purpose::Read)?;
    explanation_of(&admin.ask_blocking(&path(arguments), FetchOptions::get())?)
}

/// The explanation in an answer; an error if something else than the admin listener answers.
fn explanation_of(answer: &AdminResponse) -> anyhow::Result<Value> {
    let admin = &answer.place;
    let explanation = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    if answer.status.is_success() && explanation["outcome"].is_string() {
        return Ok(explanation);
    }
    if answer.status == StatusCode::BAD_REQUEST {
        let why = explanation["error"].as_str().map_or_else(|| answer.line(), |why| escape_controls(why).into_owned());
        bail!("{admin} answers {}: {why}", answer.status);
    }
    bail!("{admin} answers {} without an explanation: is this the admin listener?", answer.status)
}

/// The query as path and query.
fn path(arguments: &ExplainArguments) -> String {
    let mut pairs = vec![("method", arguments.method.clone())];
    pairs.extend(arguments.host.iter().map(|host| ("host", host.clone())));
    pairs.push(("path", arguments.path.clone()));
    pairs.extend(arguments.headers.iter().map(|(name, value)| ("header", format!("{name}:{value}"))));
    pairs.extend(arguments.cookies.iter().map(|(name, value)| ("cookie", format!("{name}={value}"))));
    pairs.extend(arguments.client_ip.map(|address| ("client_ip", address.to_string())));
    pairs.extend(arguments.client_cert.iter().map(|part| ("client_cert", part.clone())));
    pairs.extend(arguments.listener.iter().map(|name| ("listener", name.clone())));
    pairs.extend(arguments.peer.map(|address| ("peer", address.to_string())));
    pairs.extend(arguments.rollouts.iter().map(|text| ("rollout", text.clone())));
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("/explain?{}", query.join("&"))
}

/// Percent-encodes everything that is not unreserved (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::CredentialArguments;

    fn arguments() -> ExplainArguments {
        ExplainArguments {
            file: None,
            file_option: None,
            admin: None,
            credentials: CredentialArguments::default(),
            method: "GET".to_owned(),
            host: Some("shop.example.com".to_owned()),
            path: "/a?b=c&d".to_owned(),
            headers: vec![("x-a".to_owned(), "1 2".to_owned())],
            cookies: vec![("uid".to_owned(), "al=ice".to_owned()), ("b".to_owned(), "2".to_owned())],
            client_ip: Some("203.0.113.9".parse().unwrap()),
            client_cert: vec!["cn:till 7".to_owned()],
            peer: None,
            listener: Some("edge".to_owned()),
            rollouts: vec!["v2=beta".to_owned()],
            json: false,
        }
    }

    #[test]
    fn a_question_survives_a_url() {
        let admin = AdminPlace::named("127.0.0.1:9900").unwrap();
        assert_eq!(
            admin.uri(&path(&arguments())).unwrap().to_string(),
            "http://127.0.0.1:9900/explain?method=GET&host=shop.example.com&path=%2Fa%3Fb%3Dc%26d\
             &header=x-a%3A1%202&cookie=uid%3Dal%3Dice&cookie=b%3D2&client_ip=203.0.113.9\
             &client_cert=cn%3Atill%207&listener=edge&rollout=v2%3Dbeta"
        );
    }

    #[test]
    fn what_is_no_admin_listener_is_asked_about() {
        let answer = |status, body: &'static str| {
            let place = "http://a:1".to_owned();
            AdminResponse { place, status, body: body.into() }
        };
        let refused = |answer| explanation_of(&answer).unwrap_err().to_string();
        for other in [
            answer(StatusCode::OK, "<html>"),
            answer(StatusCode::OK, "{}"),
            answer(StatusCode::NOT_FOUND, "no route"),
            answer(StatusCode::BAD_GATEWAY, "{\"outcome\":\"serve\"}"),
        ] {
            assert!(refused(other).ends_with("is this the admin listener?"));
        }
        assert!(refused(answer(StatusCode::BAD_REQUEST, "no such key")).contains("no such key"));
        let refusal = answer(StatusCode::BAD_REQUEST, "{\n  \"error\": \"no host \\u001b\"\n}");
        assert_eq!(refused(refusal), "http://a:1 answers 400 Bad Request: no host \\u{1b}");
        assert!(explanation_of(&answer(StatusCode::OK, "{\"outcome\":\"no_route\"}")).is_ok());
    }

    #[test]
    fn a_query_has_all_that_was_given() {
        let query = query(&arguments()).unwrap();
        assert_eq!(query.fields.get_text("x-a"), Some("1 2"));
        assert_eq!(query.fields.get_all("cookie").collect::<Vec<_>>(), [&b"uid=al=ice"[..], b"b=2"]);
        assert_eq!(query.client_ip, Some("203.0.113.9".parse().unwrap()));
    }
}
