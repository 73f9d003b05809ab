//! `/v1/rollouts` and the commands on it: releases that guards watch, one that is rolled back, and its resume.

use std::path::Path;

use serde_json::{Value, json};

use super::stream::Events;
use super::{all_tokens, bearer, call, over_socket, over_tcp, socket};
use crate::harness::{Proxy, Upstream, until};
use crate::process::{Finished, finish};

/// A route whose guards act, one whose guards warn, and one without guards.
fn shop(stable: &Upstream, canary: &Upstream) -> String {
    let (stable, canary) = (stable.address(), canary.address());
    let route = |name: &str, guard: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}/*\" }}\nstable = \"v1\"\nsticky = []\n\
             guard = \"{guard}\"\ncanary = {{ upstream = \"v2\", weight = 50 }}\n"
        )
    };
    format!(
        "[upstream.v1]\nendpoints = [\"http://{stable}\"]\n[upstream.v2]\nendpoints = [\"http://{canary}\"]\n\
         revision = \"1.4.2\"\n{}{}{}",
        route("shop", "rollback"),
        route("quiet", "warn"),
        route("bare", "off"),
    )
}

/// The command on this proxy.
fn run(proxy: &Proxy, words: &[&str]) -> Finished {
    let admin = format!("unix:{}", socket(proxy).display());
    finish(Path::new("."), &[words, &["--admin", &admin]].concat())
}

fn rollout(proxy: &Proxy, name: &str) -> Value {
    over_socket(proxy, &call("GET", &format!("/v1/rollouts/{name}"), "", "")).json()
}

#[test]
fn releases_are_listed_and_other_names_are_not_found() {
    let (stable, canary) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::start(&shop(&stable, &canary));
    let list = until("the releases are listed", || {
        let list = over_socket(&proxy, &call("GET", "/v1/rollouts", "", "")).json();
        (list["rollouts"].as_array().is_some_and(|all| all.len() == 2)).then_some(list)
    });
    let names: Vec<&str> = list["rollouts"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["quiet:canary", "shop:canary"]);
    let shown = rollout(&proxy, "shop:canary");
    assert_eq!(
        (&shown["state"], &shown["revision"], &shown["weight"]),
        (&json!("watching"), &json!("v2=1.4.2"), &json!(50.0))
    );
    assert_eq!(shown["unblock"], Value::Null);
    assert!(shown["guards"].as_array().is_some_and(|guards| guards.len() >= 4), "{shown:#}");
    for (name, similar, part) in [
        ("shop:canery", Some("shop:canary"), "did you mean `shop:canary`?"),
        ("bare:canary", None, "makes guards watch it"),
        ("shop", None, "write the name of a rollout, or ROUTE:VARIANT"),
        ("nothing", None, "write the name of a rollout, or ROUTE:VARIANT"),
    ] {
        for reply in [
            over_socket(&proxy, &call("GET", &format!("/v1/rollouts/{name}"), "", "")),
            over_socket(&proxy, &call("POST", &format!("/v1/rollouts/{name}/resume"), "", r#"{"reason": "a test"}"#)),
        ] {
            assert_eq!((reply.status, reply.problem().as_str()), (404, "unknown-rollout"), "{name}");
            let document = reply.json();
            assert_eq!(document["similar"].as_str(), similar, "{document:#}");
            assert!(document["help"].as_str().unwrap().contains(part), "{document:#}");
        }
    }
    for verb in ["hold", "rollback", "goto", "restart", "rehearse"] {
        let body = if verb == "goto" { r#"{"reason": "x", "stage": "y"}"# } else { r#"{"reason": "x"}"# };
        let reply = over_socket(&proxy, &call("POST", &format!("/v1/rollouts/shop:canary/{verb}"), "", body));
        assert_eq!((reply.status, reply.problem().as_str()), (409, "not-a-rollout"), "{verb}");
        let help = reply.json()["help"].as_str().unwrap().to_owned();
        assert!(help.contains("/v1/kill") && help.contains("[rollout.NAME]"), "{help}");
    }
    let watching = over_socket(&proxy, &call("POST", "/v1/rollouts/shop:canary/resume", "", r#"{"reason": "a test"}"#));
    assert_eq!((watching.status, watching.problem().as_str()), (409, "not-rolled-back"));
    assert_eq!(watching.json()["state"], "watching");
    for (body, kind) in
        [("{}", "bad-body"), (r#"{"reason": ""}"#, "bad-body"), (r#"{"reason": "x", "to": 1}"#, "bad-body")]
    {
        let reply = over_socket(&proxy, &call("POST", "/v1/rollouts/shop:canary/resume", "", body));
        assert_eq!((reply.status, reply.problem().as_str()), (400, kind), "{body}");
    }
}

/// A canary that answers nothing but errors, and the proxy before it, with tokens.
fn failing() -> (Proxy, [Upstream; 2]) {
    let upstreams = [Upstream::echo(), Upstream::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")];
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntokens = \"tokens.toml\"\n";
    let toml = format!("{admin}{}", shop(&upstreams[0], &upstreams[1]));
    (Proxy::workers(1).file("tokens.toml", &all_tokens()).start(&toml), upstreams)
}

/// Sends requests until the release is in this state, and returns how it stands.
fn ask_until(proxy: &Proxy, route: &str, state: &str) -> Value {
    let mut client = proxy.connect();
    until("the guard trips", || {
        (0..20).for_each(|_| drop(client.get(&format!("/{route}/x"), "")));
        Some(rollout(proxy, &format!("{route}:canary"))).filter(|shown| shown["state"] == state)
    })
}

#[test]
fn a_release_that_was_rolled_back_is_resumed_by_an_operator() {
    let (proxy, _upstreams) = failing();
    let mut events = Events::open(&proxy, "", &bearer("viewer"));
    let shown = ask_until(&proxy, "shop", "rolled_back");
    for (member, part) in [("says", "rolled back by"), ("unblock", "pointsman rollout resume shop:canary")] {
        assert!(shown[member].as_str().unwrap().contains(part), "{shown:#}");
    }
    assert!(shown["by"].is_string() && shown["at"].is_string() && shown["closest"].is_object(), "{shown:#}");
    let rolled_back = events.named("release");
    assert_eq!(
        (&rolled_back.record["act"], &rolled_back.record["release"]),
        (&json!("rollback"), &json!("shop:canary"))
    );
    assert_eq!(rolled_back.record["who"]["via"], "guard");

    let status = over_socket(&proxy, &call("GET", "/status", "", "")).json();
    let route = status["routes"].as_array().unwrap().iter().find(|route| route["name"] == "shop").unwrap();
    assert_eq!(
        (&route["releases"][0]["state"], &route["variants"][1]["latched"]),
        (&json!("rolled_back"), &json!(true))
    );
    let explained = over_socket(&proxy, &call("GET", "/explain?host=localhost&path=/shop/x", "", "")).json();
    assert_eq!(explained["releases"][0]["says"], shown["says"]);
    until("the log has the reason", || {
        drop(proxy.connect().get("/shop/x", ""));
        proxy.log_lines().iter().any(|line| line["reason"] == "latch").then_some(())
    });
    let labels = "{route=\"shop\",state=\"rolled_back\",variant=\"canary\"}";
    assert_eq!(proxy.app().status()["routes"][0]["name"], "shop");
    let metrics = over_socket(&proxy, &call("GET", "/metrics", "", "")).body;
    assert!(metrics.contains(&format!("pointsman_release_state{labels} 1\n")), "{metrics}");
    assert!(metrics.contains("pointsman_latches 1\n"), "{metrics}");

    let body = r#"{"reason": "a test"}"#;
    let resume = |token: &str, lines: &str| {
        let lines = format!("{}{lines}", bearer(token));
        over_tcp(&proxy, &call("POST", "/v1/rollouts/shop:canary/resume", &lines, body))
    };
    assert_eq!(resume("viewer", "").problem(), "role-missing");
    let stale = r#"{"reason": "late", "expect": 0}"#;
    let stale = over_tcp(&proxy, &call("POST", "/v1/rollouts/shop:canary/resume", &bearer("operator"), stale));
    assert_eq!((stale.status, stale.problem().as_str()), (409, "stale"));
    let done = resume("operator", "Idempotency-Key: one\r\n");
    assert_eq!(done.status, 200, "{done:?}");
    let done = done.json();
    assert_eq!((&done["record"]["act"], &done["record"]["reason"]), (&json!("resume"), &json!("a test")));
    assert_eq!((&done["durable"], &done["repeated"]), (&json!(true), &json!(false)), "{done:#}");
    let again = resume("operator", "Idempotency-Key: one\r\n").json();
    assert_eq!((&again["repeated"], &again["record"]["seq"]), (&json!(true), &done["record"]["seq"]), "{again:#}");
    assert_eq!(rollout(&proxy, "shop:canary")["state"], "watching");
    assert_eq!(resume("operator", "").problem(), "not-rolled-back");
}

#[test]
fn the_commands_show_a_release_and_resume_it() {
    let (proxy, _upstreams) = failing();
    ask_until(&proxy, "shop", "rolled_back");
    let listed = run(&proxy, &["rollout", "ls"]);
    assert!(
        listed.code == 0 && listed.stdout.contains("\nshop:canary   rolled back      50  ██████████ "),
        "{}",
        listed.stdout
    );
    let shown = run(&proxy, &["rollout", "show", "shop:canary"]);
    assert!(shown.stdout.starts_with("shop:canary  rolled back\nwhy "), "{}", shown.stdout);
    for guard in ["errors", "latency", "sample-ratio"] {
        assert!(shown.stdout.contains(&format!("\n{guard} ")), "{guard}: {}", shown.stdout);
    }
    let json = run(&proxy, &["rollout", "show", "shop:canary", "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["state"], "rolled_back");
    let status = run(&proxy, &["status"]);
    assert!(status.stdout.contains("ROLLED BACK  shop:canary, since "), "{}", status.stdout);
    let explained = run(&proxy, &["explain", "--host", "localhost", "--path", "/shop/x"]);
    assert!(explained.stdout.contains("release     shop:canary, since "), "{}", explained.stdout);

    let unknown = run(&proxy, &["rollout", "resume", "shop:canery", "--reason", "a test"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    for part in ["did you mean `shop:canary`?", "releases: shop:canary, quiet:canary"] {
        assert!(unknown.stderr.contains(part), "{}", unknown.stderr);
    }
    assert_eq!(run(&proxy, &["rollout", "resume", "shop:canary"]).code, 64, "a reason is missing");
    let resumed = run(&proxy, &["rollout", "resume", "shop:canary", "--reason", "a test"]);
    assert!(
        resumed.code == 0 && resumed.stdout.starts_with("resumed shop:canary: in force on 1 of 1 worker"),
        "{resumed:?}"
    );
    let again = run(&proxy, &["rollout", "resume", "shop:canary", "--reason", "a test"]);
    assert!(again.code == 2 && again.stderr.contains("is not rolled back: it is watching"), "{again:?}");
}

#[test]
fn a_guard_that_warns_moves_nothing() {
    let (proxy, _upstreams) = failing();
    let shown = ask_until(&proxy, "quiet", "warned");
    assert!(shown["says"].as_str().unwrap().contains(" warns: "), "{shown:#}");
    assert_eq!(shown["weight"], json!(50.0));
    let status = over_socket(&proxy, &call("GET", "/status", "", "")).json();
    let route = status["routes"].as_array().unwrap().iter().find(|route| route["name"] == "quiet").unwrap();
    assert_eq!(route["variants"][1]["latched"], json!(false));
    let warned = run(&proxy, &["status"]);
    assert!(warned.stdout.contains("WARNED  quiet:canary, since "), "{}", warned.stdout);
}
