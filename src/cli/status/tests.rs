//! The rendered status: `golden.txt` is the rendering of a fixed document. `BLESS=1` rewrites it.

use serde_json::{Value, json};

use super::markdown::markdown;
use super::page::StatusPage;
use super::table::{Rows, table};
use crate::cli::paint::Paint;
use crate::telemetry::Size;

fn variant(name: &str, weight: f64, share: Option<f64>, requests: u64, errors: u64) -> Value {
    json!({
        "name": name, "upstream": "u", "killed": false, "weight": weight, "share": share, "share_total": share,
        "counted": requests, "requests": requests, "errors": errors,
        "error_ratio": null, "p50_ms": 1.24, "p99_ms": 104.0,
    })
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn route(name: &str, variants: &[Value]) -> Value {
    let sum = |key: &str| variants.iter().map(|one| one[key].as_u64().unwrap_or(0)).sum::<u64>();
    let ratio = sum("errors") as f64 / sum("requests").max(1) as f64;
    json!({
        "name": name, "place": "routes.toml:20", "action": "split", "requests": sum("requests"), "error_ratio": ratio,
        "killed": false, "variants": variants, "shadow": null,
    })
}

/// A proxy in trouble.
fn page() -> Value {
    let mut checkout = route(
        "checkout",
        &[variant("stable", 95.0, Some(94.8123), 1_234_567, 12), variant("canary", 5.0, Some(5.1877), 67_001, 4_020)],
    );
    checkout["experiment"] = json!({
        "variants": [{ "name": "stable", "p50_ms": 1.2, "p99_ms": 9.98 }, { "name": "canary", "p50_ms": 2.5, "p99_ms": 1204.0 }],
        "comparisons": [{ "variant": "canary", "against": "stable", "says": "fails more often" }],
    });
    let mut search = route("search", &[variant("stable", 67.0, None, 0, 0), variant("ranker-b", 33.0, None, 0, 0)]);
    search["variants"][1]["killed"] = json!(true);
    search["shadow"] = json!({ "upstream": "search-v3", "weight": 20.0, "killed": false });
    json!({
        "version": "0.1.0", "pid": 4711, "generation": 7, "hash": "00", "file": "/etc/pointsman/routes.toml",
        "phase": "running", "ready": true, "unready_because": null, "started_at": "2026-11-21T14:00:00.000Z",
        "uptime_s": 93_784, "workers": 2, "admin": "127.0.0.1:9900", "hand_over_failure": null,
        "last_reload": { "outcome": "applied", "generation": 7, "summary": ["checkout canary 1 → 5"], "cause": "watch",
            "at": "2026-11-22T15:59:04.000Z", "took_ms": 3 },
        "kill": { "all": false, "tenants": 0 },
        "listeners": [
            { "name": "http", "address": "0.0.0.0:8080", "connections": 212, "requests_in_flight": 7, "tls": null },
            { "name": "[::]:8443", "address": "[::]:8443", "connections": 1, "requests_in_flight": 0, "tls": { "certificates": [] } },
        ],
        "routes": [
            { "name": "moved", "place": "routes.toml:9", "action": "redirect", "requests": 12, "error_ratio": 0.0 },
            search,
            checkout,
        ],
        "upstreams": [
            { "name": "checkout-v1", "in_flight": 6, "connections": 24, "last_tls_failure": null, "unresolved": [],
              "usable": 2, "total": 3,
              "endpoints": [{ "address": "10.0.1.10:8080", "standing": "usable" },
                            { "address": "10.0.1.11:8080", "standing": "ejected", "ejected_because": "connect_refused",
                              "ejected_for_ms": 11_400, "ejections_in_a_row": 1 },
                            { "address": "10.0.1.12:8080", "standing": "usable" }] },
            { "name": "search-v3", "in_flight": 0, "connections": 0, "last_tls_failure": null,
              "unresolved": ["search.internal"], "endpoints": [] },
        ],
        "names": { "search.internal": { "addresses": [], "succeeded": 0, "failed": 3, "error": "no such name" } },
    })
}

/// A proxy whose guards have acted.
fn guarded() -> Value {
    let mut page = page();
    let release = |name: &str, state: &str, because: Option<&str>| {
        json!({ "name": name, "state": state, "because": because, "revision": "v2=1.4", "weight": 5.0,
            "at": "2026-11-22T15:59:04.123Z", "seq": 12, "durable": true,
            "says": "rolled back by errors: errors 3.1 × stable (1.9 to 5.2): 14 of 4210 callers, 20 of 80100 on stable",
            "unblock": format!("another `revision` of upstream v2, or `pointsman rollout resume {name} --reason TEXT`") })
    };
    page["routes"][2]["variants"][1]["latched"] = json!(true);
    page["routes"][2]["releases"] =
        json!([release("checkout:canary", "rolled_back", None), release("checkout:quiet", "watching", None)]);
    let mut held = release("search:ranker-b", "held", Some("no rollback target"));
    held["says"] =
        json!("held at its weight: guard errors wants a rollback, and stable has no usable endpoint: it fails");
    held["unblock"] = json!("it is rolled back as soon as stable has a usable endpoint");
    let mut warned = release("search:ranker-c", "warned", None);
    warned["says"] = json!("guard latency warns: slow responses 2.0 × stable");
    warned["unblock"] = json!("no request moves: read the evidence");
    page["routes"][1]["releases"] = json!([warned, held]);
    page
}

/// A proxy with kills by people, whose disk is full.
fn killed() -> Value {
    let mut page = page();
    let call = |scope: Value, durable: bool| {
        json!({ "scope": scope, "source": "call", "who": { "name": "ana", "via": "socket" }, "reason": "errors since 14:02",
            "at": "2026-11-22T15:59:04.123Z", "seq": 12, "durable": durable, "matches": true })
    };
    let mut kills = vec![
        json!({ "scope": { "tenant": "acme" }, "source": "file", "place": "routes.toml:12", "matches": true }),
        call(json!({ "variant": "search:ranker-b" }), false),
    ];
    kills.extend((0..6).map(|number| call(json!({ "route": format!("route-{number}") }), true)));
    page["kills"] = json!(kills);
    page["journal"] = json!({ "dir": "/var/lib/pointsman", "seq": 18, "durable_seq": 17, "failure": "no space left on device",
        "damage": null });
    page
}

fn rejected() -> Value {
    let mut page = page();
    page["last_reload"] = json!({
        "outcome": "rejected", "cause": "watch", "at": "2026-11-22T15:59:04.000Z", "took_ms": 3, "text": "error[unknown-key]: …",
        "diagnostics": [
            { "severity": "warning", "code": "unused", "message": "upstream `a` is not used", "labels": [], "help": null },
            { "severity": "error", "code": "unknown-key", "message": "unknown key `stabel` in `[[route]]`",
              "labels": [{ "file": "/etc/pointsman/routes.toml", "line": 18, "column": 1 }], "help": "did you mean `stable`?" },
            { "severity": "error", "code": "unknown-key", "message": "unknown key", "labels": [], "help": null },
        ],
    });
    page["kill"]["tenants"] = json!(2);
    page
}

fn drawn(page: &Value, columns: usize) -> String {
    let page = StatusPage::parse(page).expect("a status");
    table(&page, Size { columns, ..Size::USUAL }, Rows::Most, Paint::Plain)
}

#[test]
fn a_fixed_status_looks_like_this() {
    let parts = [
        ("80 columns", drawn(&page(), 80)),
        ("80 columns, rejected", drawn(&rejected(), 80)),
        ("80 columns, killed", drawn(&killed(), 80)),
        ("80 columns, guards have acted", drawn(&guarded(), 80)),
        ("56 columns", drawn(&page(), 56)),
        ("120 columns", drawn(&page(), 120)),
        ("Markdown", markdown(&StatusPage::parse(&rejected()).unwrap())),
        ("Markdown, guards have acted", markdown(&StatusPage::parse(&guarded()).unwrap())),
    ];
    let text = parts.map(|(title, text)| format!("---- {title}\n{text}")).concat();
    if std::env::var_os("BLESS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/status/golden.txt");
        std::fs::write(file, &text).unwrap();
        return;
    }
    assert_eq!(text, include_str!("golden.txt"), "BLESS=1 writes it anew");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for page in [page(), rejected(), killed(), guarded()] {
        for columns in [50, 56, 60, 72, 80, 100, 132, 200] {
            let text = drawn(&page, columns);
            let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > columns).collect();
            assert!(long.is_empty(), "{columns}: {long:?}\n{text}");
        }
    }
}

#[test]
fn a_rejected_file_stands_on_top_and_in_red() {
    let page = StatusPage::parse(&rejected()).unwrap();
    let text = table(&page, Size::USUAL, Rows::Most, Paint::Colour);
    assert!(text.starts_with("\x1b[1m\x1b[31mREJECTED 4 min ago"), "{text:?}");
    for red in ["KILLED", "no address: search.internal", "6.00 %", "killed", "└ fails more often than stable"] {
        let line = text.lines().find(|line| line.contains(red)).unwrap_or_else(|| panic!("{red} is not in {text}"));
        assert!(line.contains("\x1b[31m"), "{red} is not red: {line:?}");
    }
}

#[test]
fn many_routes_are_cut_to_those_with_most_requests() {
    let mut many = page();
    let routes: Vec<Value> =
        (0..5_000).map(|at| route(&format!("route-{at}"), &[variant("stable", 100.0, None, at, 0)])).collect();
    let upstreams: Vec<Value> = (0..5_000)
        .map(|at| json!({ "name": format!("u-{at}"), "endpoints": [{ "address": "10.0.0.1:1" }], "unresolved": [] }))
        .collect();
    many["routes"] = json!(routes);
    many["upstreams"] = json!(upstreams);
    let parsed = StatusPage::parse(&many).unwrap();
    for rows in [24, 40, 60] {
        let text = table(&parsed, Size { columns: 80, rows }, Rows::Most, Paint::Plain);
        assert!(text.lines().count() <= rows, "{rows}:\n{text}");
        assert!(text.contains("route-4999 ") && !text.contains("route-0 "), "{text}");
        assert!(text.contains("more routes: --all shows them") && text.contains("more upstreams"), "{text}");
    }
    let all = table(&parsed, Size::USUAL, Rows::All, Paint::Plain);
    assert!(all.contains("route-0 ") && all.contains("u-4999") && !all.contains("--all"), "it is whole");
}

#[test]
fn a_small_terminal_shows_the_first_route() {
    let variants: Vec<Value> = (0..7).map(|at| variant(&format!("v{at}"), 10.0, None, at, 0)).collect();
    let mut small = page();
    small["routes"] = json!([route("large", &variants), route("other", &variants[..1])]);
    small["routes"][0]["experiment"]["comparisons"] =
        json!([{ "variant": "v1", "against": "v0", "says": "fails more often" }]);
    let page = StatusPage::parse(&small).unwrap();
    for rows in [1, 12, 22, 24] {
        for which in [Rows::Most, Rows::Watched] {
            let text = table(&page, Size { columns: 80, rows }, which, Paint::Plain);
            assert!(text.contains("large ") && text.contains(" v0 ") && text.contains(" v1 "), "{rows}:\n{text}");
            let left_out = text.lines().find(|line| line.starts_with("… and ")).unwrap_or_else(|| panic!("{text}"));
            assert!(left_out.contains("rows of this route, 1 more route"), "{left_out}");
            assert_eq!(left_out.contains("--"), which == Rows::Most, "--watch takes neither option: {left_out}");
        }
    }
    let all = table(&page, Size { columns: 80, rows: 24 }, Rows::All, Paint::Plain);
    assert!(all.contains(" v6 ") && all.contains("other ") && !all.contains("… and"), "{all}");
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let before = StatusPage::parse(&page()).unwrap();
    let mut later = page();
    later["uptime_s"] = json!(93_786);
    later["routes"][2]["requests"] = json!(1_301_768);
    later["routes"][2]["variants"][1]["requests"] = json!(67_201);
    later["routes"][2]["variants"][1]["errors"] = json!(4_120);
    let mut now = StatusPage::parse(&later).unwrap();
    now.since(&before, 2.0);
    let canary = &now.routes[2].variants[1].traffic;
    assert_eq!((canary.requests, canary.errors, canary.rate), (200, 100, Some(100.0)));
    let text = table(&now, Size::USUAL, Rows::Most, Paint::Plain);
    assert!(text.contains("REQ/S") && text.contains("50.0 %"), "{text}");
    // Another process begins at zero.
    later["pid"] = json!(4712);
    let mut other = StatusPage::parse(&later).unwrap();
    other.since(&before, 2.0);
    assert_eq!(other.routes[2].variants[1].traffic.rate, None);
}

#[test]
fn stopping_waiting_and_foreign_text_are_shown() {
    let mut stopping = page();
    stopping["phase"] = json!("draining");
    stopping["ready"] = json!(false);
    stopping["unready_because"] = json!("the proxy is stopping");
    assert!(drawn(&stopping, 80).contains("STOPPING (draining)"));
    let mut waiting = page();
    waiting["ready"] = json!(false);
    waiting["unready_because"] = json!("the name a has no address yet");
    assert!(drawn(&waiting, 80).contains("NOT READY: the name a has no address yet"));
    let mut bare = page();
    bare["file"] = Value::Null;
    bare["routes"][0]["name"] = json!("a\u{1b}[2J");
    let text = drawn(&bare, 80);
    assert!(text.contains("no file") && !text.contains('\u{1b}'), "{text}");
    assert!(StatusPage::parse(&json!({ "status": "ok" })).is_none());
}

#[test]
fn a_missing_socket_is_on_top() {
    let mut page = page();
    page["admin_socket"] = json!({ "path": "/x/run/admin.sock", "trouble": "permission denied" });
    let line = "no admin socket: permission denied; act over TCP with a token";
    assert!(drawn(&page, 100).contains(line), "{}", drawn(&page, 100));
    page["admin_socket"]["trouble"] = Value::Null;
    assert!(!drawn(&page, 100).contains("no admin socket"));
}
