//! Acts with `expect`, and their fields.

use serde_json::Value;

use super::{Reply, SHOP, bearer, call, over_socket, over_tcp, with_tokens};
use crate::harness::Proxy;

fn kill(proxy: &Proxy, lines: &str, body: &str) -> Reply {
    over_socket(proxy, &call("POST", "/v1/kill", lines, body))
}

#[test]
fn expect_shows_what_others_did_before_a_restart_too() {
    let state = tempfile::tempdir().unwrap();
    let file = format!("[state]\ndir = \"{}\"\n[admin]\naddress = \"127.0.0.1:0\"\n", state.path().display());
    let kill = |body: &str| {
        let proxy = Proxy::start(&format!("{file}{SHOP}"));
        let stream = std::os::unix::net::UnixStream::connect(state.path().join("run/admin.sock")).unwrap();
        let reply = super::exchange(stream, &call("POST", "/v1/kill", "", body));
        proxy.stop();
        reply
    };
    let first = kill(r#"{"route": "shop", "reason": "p99 rises"}"#);
    assert_eq!(first.json()["durable"], true, "{first:?}");
    let seq = first.json()["record"]["seq"].as_u64().unwrap();
    let outdated = kill(&format!(r#"{{"tenant": "acme", "reason": "a test", "expect": {}}}"#, seq - 1));
    assert_eq!(outdated.problem(), "stale");
    let answer = outdated.json();
    assert_eq!((&answer["records"][0]["seq"], &answer["records"][0]["reason"]), (&seq.into(), &"p99 rises".into()));
    assert_eq!(answer["records_complete"], true);
    let beyond = kill(r#"{"tenant": "acme", "reason": "a test", "expect": 9999}"#);
    assert_eq!((beyond.status, beyond.problem().as_str()), (409, "stale"));
    assert!(beyond.json()["detail"].as_str().unwrap().contains("the last record of this journal is"), "{beyond:?}");
}

#[test]
fn more_than_twenty_newer_records_are_not_complete() {
    let proxy = Proxy::start(SHOP);
    let seq = |reply: &Reply| reply.json()["record"]["seq"].as_u64().unwrap();
    let tenant = |tenant: usize, expect: &str| {
        kill(&proxy, "", &format!(r#"{{"tenant": "t{tenant}", "reason": "a test"{expect}}}"#))
    };
    let first = seq(&tenant(0, ""));
    let last = (1..22).fold(first, |_, one| seq(&tenant(one, "")));
    let stale = tenant(99, &format!(r#", "expect": {first}"#)).json();
    let records = stale["records"].as_array().unwrap();
    assert_eq!((records.len(), &stale["records_complete"]), (20, &Value::from(false)));
    assert_eq!(records[19]["seq"], last);
    assert!(stale["help"].as_str().unwrap().contains(&format!("/v1/journal?after={first}")), "{stale}");
    let fresh = tenant(99, &format!(r#", "expect": {last}"#));
    assert_eq!(fresh.status, 200, "{fresh:?}");
}

#[test]
fn keys_and_reasons_are_one_and_visible() {
    let proxy = Proxy::start(SHOP);
    let body = r#"{"route": "shop", "reason": "x"}"#;
    assert_eq!(kill(&proxy, "Idempotency-Key: a\r\nIdempotency-Key: a\r\n", body).problem(), "bad-idempotency-key");
    let blank = kill(&proxy, "", "{\"route\": \"shop\", \"reason\": \"\u{200b}\u{a0}\"}");
    assert_eq!(blank.problem(), "bad-body");
}

#[test]
fn with_tokens_an_unknown_path_lists_nothing() {
    let proxy = with_tokens();
    for lines in [String::new(), bearer("viewer")] {
        let reply = over_tcp(&proxy, &call("GET", "/nothing", &lines, ""));
        assert_eq!((reply.status, reply.body.as_str()), (404, "there is no /nothing here\n"));
    }
}
