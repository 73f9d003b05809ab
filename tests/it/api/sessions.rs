//! Sessions of the dashboard: links for one use, signing in and out, and acts by a cookie.

use std::time::Duration;

use pointsman::clock::Clock;
use serde_json::{Value, json};

use super::stream::Events;
use super::{Reply, SHOP, all_tokens, bearer, call, over_socket, over_tcp, tokens, with_tokens};
use crate::harness::{Authority, Proxy, Raw, until};

/// What a browser sends with an act of a page of this address.
const OWN: &str = "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n";
const KILL: &str = r#"{"route": "shop", "reason": "p99 rises"}"#;

/// The secret in the link that a caller gets.
#[track_caller]
fn link(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer["expires_in_s"], 60);
    answer["path"].as_str().unwrap().strip_prefix("/sign-in#link=").unwrap().to_owned()
}

fn socket_link(proxy: &Proxy) -> String {
    link(&over_socket(proxy, &call("POST", "/v1/session/link", "", "{}")))
}

fn begin(proxy: &Proxy, body: &Value) -> Reply {
    over_tcp(proxy, &call("POST", "/v1/session", OWN, &body.to_string()))
}

/// The cookie that a response sets, as a browser sends it.
#[track_caller]
fn cookie(reply: &Reply) -> String {
    let field =
        reply.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{reply:?}"));
    let (pair, attributes) = field.split_once("; ").unwrap();
    assert!(pair.starts_with("pointsman_session="), "{field}");
    assert!(attributes.starts_with("HttpOnly; SameSite=Strict; Path=/; Max-Age="), "{field}");
    format!("Cookie: {pair}\r\n")
}

#[track_caller]
fn signed_in(proxy: &Proxy, token: &str) -> String {
    let reply = begin(proxy, &json!({ "token": token }));
    assert_eq!(reply.status, 200, "{reply:?}");
    cookie(&reply)
}

fn session(proxy: &Proxy, lines: &str) -> Reply {
    over_tcp(proxy, &call("GET", "/v1/session", lines, ""))
}

fn reload(proxy: &Proxy, file: &str, text: &str) {
    std::fs::write(proxy.dir().join(file), text).unwrap();
    assert_ne!(proxy.app().reload().name(), "rejected");
}

#[test]
fn a_link_of_the_socket_signs_a_browser_in_once() {
    let proxy = Proxy::start(SHOP);
    let anonymous = session(&proxy, "").json();
    let expected = json!({ "read": true, "reload": true, "operate": false, "approve": [] });
    assert_eq!((&anonymous["name"], &anonymous["via"]), (&Value::Null, &json!("loopback")));
    assert_eq!((&anonymous["may"], &anonymous["has_session"]), (&expected, &json!(false)));
    let refused = over_tcp(&proxy, &call("POST", "/v1/session/link", OWN, "{}"));
    assert_eq!((refused.status, refused.problem().as_str()), (403, "no-link"), "it has no identity");

    let secret = socket_link(&proxy);
    let begun = begin(&proxy, &json!({ "link": secret }));
    let own = begun.json();
    assert_eq!((&own["via"], &own["has_session"]), (&json!("socket"), &json!(true)), "{own:#}");
    assert_eq!((&own["may"]["operate"], &own["roles"]), (&json!(true), &json!(["operator"])));
    assert!(own["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{own:#}");
    let cookie = cookie(&begun);
    assert_eq!(session(&proxy, &cookie).json(), own, "the same as of the call that begins it");
    let again = begin(&proxy, &json!({ "link": secret }));
    assert_eq!((again.status, again.problem().as_str()), (401, "link-unknown"));
    let chained = over_tcp(&proxy, &call("POST", "/v1/session/link", &format!("{cookie}{OWN}"), "{}"));
    assert_eq!(chained.problem(), "no-link", "a session begins no other one");
    for body in [json!({}), json!({ "link": secret, "token": "x" }), json!({ "link": null }), json!({ "name": "x" })] {
        assert_eq!(begin(&proxy, &body).problem(), "bad-body", "{body}");
    }
    let none = begin(&proxy, &json!({ "token": "operator" }));
    assert_eq!((none.status, none.problem().as_str()), (401, "token-unknown"), "no tokens are configured");
}

#[test]
fn a_session_acts_from_a_page_of_this_address_only() {
    let proxy = Proxy::start(SHOP);
    let begun = begin(&proxy, &json!({ "link": socket_link(&proxy) }));
    let (cookie, name) = (cookie(&begun), begun.json()["name"].clone());
    let kill = |lines: &str| over_tcp(&proxy, &call("POST", "/v1/kill", &format!("{cookie}{lines}"), KILL));
    for lines in [
        "",
        "Referer: http://localhost/\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: http://localhost:3000\r\n",
        "Origin: null\r\n",
    ] {
        let refused = kill(lines);
        assert_eq!((refused.status, refused.problem().as_str()), (403, "other-site"), "{lines:?}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(kill(&format!("{OWN}{form}")).problem(), "media-type");
    let killed = kill(OWN);
    assert_eq!(killed.status, 200, "{killed:?}");
    assert_eq!(killed.json()["record"]["who"], json!({ "name": name, "via": "socket" }));
    let by_get = over_tcp(&proxy, &call("GET", "/v1/revive", &cookie, ""));
    assert_eq!(by_get.status, 405);
    let without = over_tcp(&proxy, &call("POST", "/v1/kill", OWN, KILL));
    assert_eq!(without.problem(), "socket-only");
    let over_the_socket = over_socket(&proxy, &call("GET", "/v1/session", &cookie, "")).json();
    assert_eq!(over_the_socket["has_session"], false, "no browser connects there");
}

#[test]
fn a_session_of_a_token_follows_the_file() {
    let proxy = with_tokens();
    let ask = |lines: &str| over_tcp(&proxy, &call("GET", "/v1/kill", lines, ""));
    let (operator, lead) = (signed_in(&proxy, "operator"), signed_in(&proxy, " lead "));
    let shown = session(&proxy, &lead).json();
    assert_eq!((&shown["name"], &shown["via"]), (&json!("lead"), &json!("token")));
    assert_eq!((&shown["roles"], &shown["may"]["operate"]), (&json!(["approver:lead"]), &json!(false)));
    let kill = |cookie: &str| over_tcp(&proxy, &call("POST", "/v1/kill", &format!("{cookie}{OWN}"), KILL));
    assert_eq!(kill(&lead).problem(), "role-missing");
    assert_eq!(kill(&operator).json()["record"]["who"], json!({ "name": "operator", "via": "token" }));

    for token in ["wrong", "expired", "", "flags", "metrics"] {
        let refused = begin(&proxy, &json!({ "token": token }));
        assert!(matches!(refused.status, 401 | 403) && !refused.head.contains("set-cookie"), "{token}: {refused:?}");
    }
    let of_token = over_tcp(&proxy, &call("POST", "/v1/session/link", &bearer("viewer"), "{}"));
    let viewer = cookie(&begin(&proxy, &json!({ "link": link(&of_token) })));
    assert_eq!(session(&proxy, &viewer).json()["name"], "viewer");

    let wrong = ask(&format!("{operator}{}", bearer("wrong")));
    assert_eq!((wrong.status, wrong.problem().as_str()), (401, "token-unknown"), "the token decides");
    let two = format!("{}; {}", operator.trim_end(), lead.trim_end().strip_prefix("Cookie: ").unwrap());
    for garbage in [
        format!("{two}\r\n"),
        format!("{operator}{lead}"),
        "Cookie: pointsman_session=\r\n".to_owned(),
        "Cookie: pointsman_session=é\"<img>\r\n".to_owned(),
        format!("Cookie: pointsman_session={}\r\n", "a".repeat(4_096)),
        format!("Cookie: pointsman_session={}\r\n", "a".repeat(64)),
    ] {
        let refused = ask(&garbage);
        assert_eq!((refused.status, refused.problem().as_str()), (401, "session-ended"), "{garbage}");
    }
    let other_name = ask("Cookie: theme=dark\r\n");
    assert_eq!(other_name.problem(), "token-missing");

    let rows = [("operator", "viewer", ""), ("lead", "metrics", "")];
    reload(&proxy, "tokens.toml", &tokens(&rows));
    assert_eq!((ask(&operator).status, kill(&operator).problem().as_str()), (200, "role-missing"), "it lost its role");
    for cookie in [&lead, &viewer] {
        assert_eq!(ask(cookie).problem(), "session-ended", "it may not read, or is gone");
    }
    reload(&proxy, "tokens.toml", &all_tokens());
    assert_eq!(ask(&viewer).problem(), "session-ended", "what has ended does not come back");
    assert_eq!(kill(&operator).status, 200);
}

#[test]
fn a_session_ends_when_it_is_ended_or_replaced() {
    let proxy = with_tokens();
    let first = signed_in(&proxy, "operator");
    let replaced = over_tcp(&proxy, &call("POST", "/v1/session", &format!("{first}{OWN}"), r#"{"token": "viewer"}"#));
    let second = cookie(&replaced);
    assert_eq!(session(&proxy, &first).problem(), "session-ended", "a browser has one");
    let end = |lines: &str, body: &str| over_tcp(&proxy, &call("POST", "/v1/session/end", lines, body));
    assert_eq!(end(&format!("{second}Sec-Fetch-Site: cross-site\r\n"), "{}").problem(), "other-site");
    assert_eq!(end(&second, r#"{"all": true}"#).problem(), "bad-body");
    assert_eq!(session(&proxy, &second).json()["name"], "viewer");
    let ended = end(&format!("{second}{OWN}"), "{}");
    assert_eq!((ended.status, &ended.json()["ended"]), (200, &json!(true)));
    assert_eq!(cookie(&ended), "Cookie: pointsman_session=\r\n");
    assert_eq!(session(&proxy, &second).problem(), "session-ended");
    assert_eq!(end(&second, "{}").json()["ended"], false);
}

#[test]
fn an_event_stream_ends_with_its_session() {
    let proxy = with_tokens();
    let (ended, removed) = (signed_in(&proxy, "viewer"), signed_in(&proxy, "lead"));
    let mut streams = [&ended, &removed].map(|cookie| Events::open(&proxy, "", cookie));
    let operator = signed_in(&proxy, "operator");
    let killed = over_tcp(&proxy, &call("POST", "/v1/kill", &format!("{operator}{OWN}"), KILL)).json();
    for stream in &mut streams {
        assert_eq!(stream.named("kill").record, killed["record"]);
    }
    let [mut first, mut second] = streams;
    assert_eq!(over_tcp(&proxy, &call("POST", "/v1/session/end", &ended, "{}")).status, 200);
    while first.next().is_some() {}
    reload(&proxy, "tokens.toml", &tokens(&[("operator", "operator", "")]));
    while second.next().is_some() {}
}

#[test]
fn an_event_stream_ends_with_its_session_where_reading_is_open() {
    let proxy = Proxy::start(SHOP);
    let own = cookie(&begin(&proxy, &json!({ "link": socket_link(&proxy) })));
    let mut stream = Events::open(&proxy, "", &own);
    let mut anonymous = Events::open(&proxy, "", "Cookie: pointsman_session=x\r\n");
    assert_eq!(over_tcp(&proxy, &call("POST", "/v1/session/end", &own, "{}")).status, 200);
    while stream.next().is_some() {}
    assert_eq!(over_socket(&proxy, &call("POST", "/v1/kill", "", KILL)).status, 200);
    anonymous.named("kill");
    let kill = over_tcp(&proxy, &call("POST", "/v1/kill", &format!("{own}{OWN}"), KILL));
    assert_eq!((kill.status, kill.problem().as_str()), (401, "session-ended"), "it asks to sign in again");
}

/// Sends the form for signing in; the status, and where it leads.
fn sent_form(proxy: &Proxy, path: &str, lines: &str, body: &str) -> (Reply, String) {
    let media = "Content-Type: application/x-www-form-urlencoded\r\n";
    let reply = over_tcp(proxy, &call("POST", path, &format!("{media}{lines}"), body));
    let to = reply.head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default().to_owned();
    (reply, to)
}

#[test]
fn a_browser_without_script_signs_in_and_out_by_forms() {
    let proxy = with_tokens();
    let (reply, to) = sent_form(&proxy, "/sign-in", OWN, "token=operator&to=%2Frollouts%2Fshop-v2");
    assert_eq!((reply.status, to.as_str()), (303, "/rollouts/shop-v2"), "{reply:?}");
    let own = cookie(&reply);
    assert_eq!(session(&proxy, &own).json()["name"], "operator");
    for evil in ["//evil.example", "%2F%2Fevil.example", "/%5Cevil.example", "https://evil.example", "/%0D%0Ax:y", ""] {
        let (reply, to) = sent_form(&proxy, "/sign-in", "", &format!("token=viewer&to={evil}"));
        assert_eq!((reply.status, to.as_str()), (303, "/"), "{evil}");
    }
    let (wrong, to) = sent_form(&proxy, "/sign-in", "", "token=wrong&to=/journal?act%3Dkill");
    assert_eq!((wrong.status, to.as_str()), (303, "/sign-in?to=/journal%3Fact%3Dkill&problem=token"));
    assert!(!wrong.head.contains("set-cookie"), "{wrong:?}");
    let null = "Origin: null\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(
        sent_form(&proxy, "/sign-in", null, "token=viewer").0.status,
        303,
        "a form of a page without a referrer"
    );
    for (lines, body, status) in [
        ("Sec-Fetch-Site: cross-site\r\n", "token=viewer", 403),
        ("Origin: https://evil.example\r\n", "token=viewer", 403),
        ("Host: evil.example\r\n", "token=viewer", 403),
        ("", "token=flags", 403),
        ("", "token=a&token=b", 400),
    ] {
        let (refused, _) = sent_form(&proxy, "/sign-in", lines, body);
        assert_eq!(refused.status, status, "{lines}{body}: {refused:?}");
        assert!(
            refused.head.contains("content-type: text/html") && !refused.head.contains("set-cookie"),
            "{refused:?}"
        );
    }
    let (out, to) = sent_form(&proxy, "/sign-out", &format!("{own}{OWN}"), "");
    assert_eq!((out.status, to.as_str(), cookie(&out).as_str()), (303, "/sign-in", "Cookie: pointsman_session=\r\n"));
    assert_eq!(session(&proxy, &own).problem(), "session-ended");
}

#[test]
fn wrong_tokens_and_links_of_an_address_slow_down() {
    let proxy = with_tokens();
    for proof in ["token", "link", "token", "link", "link"] {
        assert_eq!(begin(&proxy, &json!({ proof: "wrong" })).status, 401);
    }
    let waits = |proof: &str| {
        let start = Clock.now();
        let status = begin(&proxy, &json!({ "token": proof })).status;
        (status, Clock.now() - start >= Duration::from_secs(1))
    };
    assert_eq!(waits("wrong"), (401, true));
    until("a valid token does not wait", || (waits("viewer") == (200, false)).then_some(()));
}

#[test]
fn a_refused_page_is_html_that_leads_to_signing_in() {
    let proxy = with_tokens();
    let browser = "Accept: text/html,*/*;q=0.8\r\n";
    let page = over_tcp(&proxy, &call("GET", "/?filter=%3Ca%3E", browser, ""));
    assert_eq!(page.status, 303, "{page:?}");
    assert!(page.head.contains("content-type: text/html"), "{page:?}");
    assert!(page.head.contains("referrer-policy: same-origin"), "{page:?}");
    assert!(page.head.contains("location: /sign-in?to=/%3Ffilter%3D%253Ca%253E\r\n"), "{page:?}");
    let foreign = over_tcp(&proxy, &call("GET", "/", &format!("Host: edge.example\r\n{browser}"), ""));
    assert_eq!(foreign.status, 403);
    assert!(foreign.body.contains("hosts = [&quot;edge.example&quot;]"), "{foreign:?}");
    let text = over_tcp(&proxy, &call("GET", "/", "", ""));
    assert!(text.status == 401 && text.head.contains("content-type: text/plain"), "{text:?}");
}

#[test]
fn over_tls_the_cookie_is_for_tls_alone() {
    let authority = Authority::new("ca");
    let folder = tempfile::tempdir().unwrap();
    authority.leaf(&["admin.test"]).write(folder.path(), "admin");
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let at = folder.path().display();
    let admin = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\nhosts = [\"admin.test\"]\ntokens = \"tokens.toml\"\n[admin.tls]\n\
         certificates = [{{ cert = \"{at}/admin.crt\", key = \"{at}/admin.key\" }}]\n\
         client_auth = {{ mode = \"request\", ca = \"{at}/ca.pem\" }}\n"
    );
    let proxy = Proxy::workers(1).file("tokens.toml", &all_tokens()).start(&format!("{admin}{SHOP}"));
    let ask = |certificate: Option<&str>, head: &str, body: &str| {
        let own = certificate.map(|name| authority.client(name, Vec::new()));
        let client = authority.trusting_client().alpn("http/1.1");
        let client = match &own {
            Some(own) => client.presenting(own).make(),
            None => client.make(),
        };
        let mut client = Raw::secured(proxy.admin(), &client, "admin.test");
        let own = "Host: admin.test\r\nOrigin: https://admin.test\r\nContent-Type: application/json\r\n";
        client.send(format!("{head}{own}Content-Length: {}\r\n\r\n{body}", body.len())).read_response()
    };
    let begun = ask(None, "POST /v1/session HTTP/1.1\r\n", r#"{"token": "viewer"}"#);
    let field = begun.field("set-cookie").unwrap().to_owned();
    let pair = field.strip_suffix("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200; Secure").unwrap();
    assert!(pair.starts_with("__Host-pointsman_session="), "{field}");
    let shown = |certificate, pair: &str| {
        ask(certificate, &format!("GET /v1/session HTTP/1.1\r\nCookie: {pair}\r\n"), "").json()
    };
    assert_eq!(shown(None, pair)["name"], "viewer");
    let plain = shown(None, pair.strip_prefix("__Host-").unwrap());
    assert_eq!(plain["type"], "urn:pointsman:problem:token-missing", "the name without the prefix does not count");
    // The session that a person began decides, not the certificate that the browser adds by itself.
    let both = shown(Some("operator"), pair);
    assert_eq!((&both["name"], &both["via"], &both["has_session"]), (&json!("viewer"), &json!("token"), &json!(true)));

    let made = ask(Some("operator"), "POST /v1/session/link HTTP/1.1\r\n", "{}").json();
    let secret = made["path"].as_str().unwrap().strip_prefix("/sign-in#link=").unwrap();
    let linked = ask(None, "POST /v1/session HTTP/1.1\r\n", &json!({ "link": secret }).to_string()).json();
    assert_eq!((&linked["name"], &linked["via"]), (&json!("operator"), &json!("certificate")), "{linked:#}");
    assert_eq!(linked["may"]["operate"], true);
}
