//! The calls about the configuration: checked edits, reloads with a name and a reason.

use serde_json::Value;

use super::{SHOP, bearer, call, over_socket, over_tcp, with_tokens};
use crate::harness::{Proxy, until};

/// An include before the tables that each file has.
const OWN_TABLES: &str = r#"
schema = 1
include = "part-*.toml"
[[listener]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[access_log]
sink = "off"
"#;

fn check(proxy: &Proxy, toml: &str) -> Value {
    let body = serde_json::json!({ "toml": toml }).to_string();
    let reply = over_socket(proxy, &call("POST", "/v1/config/check", "", &body));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn an_edit_is_checked_against_what_runs_and_not_applied() {
    let proxy = Proxy::start(SHOP);
    let running = std::fs::read_to_string(proxy.dir().join("routes.toml")).unwrap();
    let same = check(&proxy, &running);
    assert_eq!((&same["valid"], &same["summary"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(same["what_if"]["changed"], serde_json::json!([]));

    let edited = check(&proxy, &running.replace("weight = 25", "weight = 35"));
    assert_eq!(edited["what_if"]["changed"][0]["moved_percent"], 10.0, "{edited}");
    let bad = check(&proxy, &running.replace("weight = 25", "weight = 101"));
    assert_eq!((&bad["valid"], &bad["what_if"]), (&false.into(), &Value::Null));
    assert!(bad["text"].as_str().unwrap().contains("101"), "{bad}");
    assert_eq!(bad["diagnostics"][0]["severity"], "error");

    let text = over_socket(&proxy, &call("POST", "/v1/config/check", "Content-Type: text/plain\r\n", &running));
    assert_eq!(text.json()["valid"], true);
    let missing = over_socket(&proxy, &call("POST", "/v1/config/check", "", "{}"));
    assert_eq!(missing.problem(), "bad-body");

    let config = over_tcp(&proxy, &call("GET", "/v1/config", "", "")).json();
    assert_eq!(config["generation"], 1, "nothing was applied");
    assert!(config["files"][0].as_str().unwrap().ends_with("routes.toml"), "{config}");
}

#[test]
fn kills_by_people_are_on_both_sides_of_a_check() {
    let proxy = Proxy::start(SHOP);
    let running = std::fs::read_to_string(proxy.dir().join("routes.toml")).unwrap();
    let body = r#"{"route": "shop", "reason": "a test"}"#;
    assert_eq!(over_socket(&proxy, &call("POST", "/v1/kill", "", body)).status, 200);
    let same = check(&proxy, &running);
    assert_eq!((&same["summary"], &same["what_if"]["changed"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn a_reload_is_recorded_with_who_asked_and_why() {
    let proxy = with_tokens();
    let file = proxy.dir().join("routes.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // The watcher reads a broken file too: what is asked for is recorded in any case.
    std::fs::write(&file, text.replace("weight = 25", "weight = 101")).unwrap();
    let body = r#"{"reason": "new weights"}"#;
    let reply = over_tcp(&proxy, &call("POST", "/v1/config/reload", &bearer("operator"), body));
    assert_eq!((reply.status, reply.problem().as_str()), (422, "rejected"));
    let answer = reply.json();
    assert_eq!((&answer["outcome"], &answer["diagnostics"][0]["severity"]), (&"rejected".into(), &"error".into()));
    let record = until("the record", || {
        let page = over_tcp(&proxy, &call("GET", "/v1/journal", &bearer("viewer"), "")).json();
        let records = page["records"].as_array().unwrap().clone();
        records.into_iter().find(|record| record["reason"] == "new weights")
    });
    assert_eq!(record["seq"], answer["seq"]);
    assert_eq!(record["who"], serde_json::json!({ "name": "operator", "via": "token" }));
    assert_eq!((&record["what"], &record["outcome"]), (&"reload".into(), &"rejected".into()));
    let blank = over_tcp(&proxy, &call("POST", "/v1/config/reload", &bearer("operator"), r#"{"reason": " "}"#));
    assert_eq!(blank.problem(), "bad-body");
}

#[test]
fn a_check_opens_only_files_that_are_applied() {
    let proxy = Proxy::workers(1)
        .file("part-1.toml", "[upstream.more]\nendpoints = [\"http://127.0.0.1:3\"]\n")
        .file("tenants.txt", "acme\n")
        .file("secret.key", "private words of a key\n")
        .start(&format!("{OWN_TABLES}[kill]\ntenants = {{ file = \"tenants.txt\" }}\n{SHOP}"));
    let running = std::fs::read_to_string(proxy.dir().join("routes.toml")).unwrap();
    assert_eq!(check(&proxy, &running)["valid"], true);
    let include = |pattern: &str| running.replace("part-*.toml", pattern);
    assert_eq!(check(&proxy, &include("part-1.toml"))["valid"], true, "a file of an applied pattern");
    std::fs::write(proxy.dir().join("part-2.toml"), "[upstream.new]\nendpoints = [\"http://127.0.0.1:4\"]\n").unwrap();
    assert_eq!(check(&proxy, &running)["valid"], true, "a new file of an applied pattern");
    let absolute = proxy.dir().join("secret.key");
    for pattern in ["secret.key", "*.key", "tenants.txt", "part-1.toml/../secret.key", absolute.to_str().unwrap()] {
        let found = check(&proxy, &include(pattern));
        assert_eq!(found["valid"], false, "{pattern}");
        let text = found.to_string();
        assert!(text.contains("opens no other files"), "{pattern}: {text}");
        assert!(!text.contains("private") && !text.contains("acme"), "{pattern}: {text}");
    }
    let there = check(&proxy, &include("secret.key"))["diagnostics"][0]["message"].to_string();
    let missing = check(&proxy, &include("absent.key"))["diagnostics"][0]["message"].to_string();
    assert_eq!(there.replace("secret", "absent"), missing, "nothing says whether a file exists");
    let tenants = check(&proxy, &running.replace("\"tenants.txt\"", "\"secret.key\"")).to_string();
    assert!(tenants.contains("opens no other files"), "{tenants}");
}
