//! Acts on endpoints over sockets: what a drain, an ejection and their ends do to requests, who may, and what is recorded;
//! and the control plane's tries of endpoints that accept no connections.

use serde_json::{Value, json};

use crate::api::{Reply, bearer, call, over_socket, over_tcp, tokens};
use crate::harness::{Proxy, Raw, RefusingAddress, Upstream, until};
use crate::process::finish;

const TWO: &str = r#"
[upstream.shop]
endpoints = ["http://{one}", "http://{two}"]
[upstream.lone]
endpoints = ["http://{one}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "shop"
"#;

/// Two endpoints behind a proxy.
struct Scene {
    one: Upstream,
    two: Upstream,
    proxy: Proxy,
}

impl Scene {
    fn start() -> Self {
        Self::with(Upstream::echo())
    }

    fn with(one: Upstream) -> Self {
        let (one, two) = (one.named("one"), Upstream::echo().named("two"));
        let proxy = Proxy::with("one", &one).with("two", &two).start(TWO);
        Self { one, two, proxy }
    }

    fn path(&self, verb: &str) -> String {
        format!("/v1/upstreams/shop/endpoints/{}/{verb}", self.one.address())
    }

    /// Acts on the first endpoint.
    fn act(&self, verb: &str) -> Reply {
        self.ask(&self.path(verb), r#"{"reason": "a test"}"#)
    }

    fn ask(&self, path: &str, body: &str) -> Reply {
        over_socket(&self.proxy, &call("POST", path, "", body))
    }

    /// The state of the first endpoint.
    fn standing(&self) -> String {
        standing(&self.proxy)
    }

    /// Which endpoints answer twenty requests.
    fn answers(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..20).map(|_| get(&self.proxy)).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn standing(proxy: &Proxy) -> String {
    proxy.status()["upstreams"][0]["endpoints"][0]["standing"].as_str().unwrap().to_owned()
}

#[track_caller]
fn get(proxy: &Proxy) -> String {
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_drained_endpoint_gets_no_new_request_and_finishes_those_under_way() {
    let scene = Scene::with(Upstream::echo().held());
    let mut waiting: Option<Raw> = None;
    for number in 1..=200 {
        let mut client = scene.proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        until("the request arrives", || (scene.one.requests() + scene.two.requests() >= number).then_some(()));
        if scene.one.requests() == 1 {
            waiting = Some(client);
            break;
        }
    }
    let mut waiting = waiting.expect("one of two hundred requests reaches the first endpoint");
    let drained = scene.act("drain");
    assert_eq!(drained.status, 200, "{drained:?}");
    let outcome = drained.json();
    assert_eq!((&outcome["changed"], &outcome["usable"], &outcome["total"]), (&json!(true), &json!(1), &json!(2)));
    assert_eq!((outcome["endpoints"][0]["standing"].as_str(), scene.standing().as_str()), (Some("drained"), "drained"));
    assert_eq!(scene.answers(), ["two"]);
    assert_eq!(scene.one.requests(), 1, "no new request went there");
    scene.one.release();
    let finished = waiting.read_response();
    assert_eq!((finished.status, &finished.json()["name"]), (200, &json!("one")));

    let again = scene.act("drain");
    assert_eq!((again.status, &again.json()["changed"], &again.json()["seq"]), (200, &json!(false), &Value::Null));
    assert_eq!(scene.act("undrain").json()["changed"], true);
    assert_eq!(scene.standing(), "usable");
    until("it gets requests again", || (get(&scene.proxy) == "one").then_some(()));
}

#[test]
fn an_endpoint_ejected_by_hand_stays_so_until_it_is_admitted() {
    let scene = Scene::start();
    let ejected = scene.act("eject");
    assert_eq!((ejected.status, scene.standing().as_str()), (200, "ejected"), "{ejected:?}");
    let endpoint = &ejected.json()["endpoints"][0];
    assert_eq!((&endpoint["by_hand"], &endpoint["ejected_for_ms"]), (&json!(true), &Value::Null));
    assert_eq!(scene.answers(), ["two"]);
    let explained = over_tcp(&scene.proxy, &call("GET", "/explain?path=/", "", "")).json();
    assert_eq!(
        (&explained["endpoints"][0]["candidate"], &explained["endpoints"][1]["candidate"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(explained["endpoints"][0]["why"], "a person has ejected it");
    // A reload keeps it.
    scene.proxy.rewrite(&TWO.replace("name = \"all\"", "name = \"every\""));
    assert_eq!(scene.standing(), "ejected");
    assert_eq!(scene.act("admit").json()["changed"], true);
    assert_eq!((scene.standing().as_str(), &scene.act("admit").json()["changed"]), ("usable", &json!(false)));
    until("it gets requests again", || (get(&scene.proxy) == "one").then_some(()));
}

#[test]
fn the_last_usable_endpoint_is_kept_unless_forced() {
    let scene = Scene::start();
    assert_eq!(scene.act("drain").status, 200);
    let last = format!("/v1/upstreams/shop/endpoints/{}", scene.two.address());
    for verb in ["drain", "eject"] {
        let refused = scene.ask(&format!("{last}/{verb}"), r#"{"reason": "a test"}"#);
        assert_eq!((refused.status, refused.problem().as_str()), (409, "last-usable"), "{verb}");
        assert_eq!(refused.json()["help"].as_str().map(|help| help.contains("force")), Some(true));
    }
    assert_eq!(scene.answers(), ["two"]);
    let alone =
        scene.ask(&format!("/v1/upstreams/lone/endpoints/{}/drain", scene.one.address()), r#"{"reason": "a test"}"#);
    assert_eq!(alone.problem(), "last-usable", "another upstream with this address has a state of its own");
    let forced = scene.ask(&format!("{last}/drain"), r#"{"reason": "a test", "force": true}"#);
    assert_eq!((forced.status, &forced.json()["usable"]), (200, &json!(0)), "{forced:?}");
    assert_eq!(scene.act("undrain").status, 200);
    assert_eq!(scene.answers(), ["one"]);
}

#[test]
fn unknown_names_list_the_known_ones() {
    let scene = Scene::start();
    let body = r#"{"reason": "a test"}"#;
    let address = scene.one.address();
    let upstream = scene.ask(&format!("/v1/upstreams/shpo/endpoints/{address}/drain"), body);
    assert_eq!((upstream.status, upstream.problem().as_str()), (404, "unknown-upstream"));
    assert_eq!((&upstream.json()["known"], &upstream.json()["similar"]), (&json!(["shop", "lone"]), &json!("shop")));
    let endpoint = scene.ask("/v1/upstreams/shop/endpoints/%5B%3A%3A1%5D%3A80/drain", body);
    assert_eq!((endpoint.status, endpoint.problem().as_str()), (404, "unknown-endpoint"));
    assert_eq!(endpoint.json()["known"], json!([address.to_string(), scene.two.address().to_string()]));
    assert!(endpoint.json()["detail"].as_str().unwrap().contains("[::1]:80"), "{endpoint:?}");
    for (body, detail) in [
        ("{}", "`reason` is missing"),
        (r#"{"reason": " "}"#, "`reason` is blank"),
        (r#"{"reason": "x", "forced": true}"#, "unknown field"),
        (r#"{"reason": "x", "force": null}"#, "invalid type"),
    ] {
        let refused = scene.ask(&scene.path("drain"), body);
        assert_eq!(refused.problem(), "bad-body", "{body}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(detail), "{refused:?}");
    }
    assert_eq!(scene.standing(), "usable");
}

#[test]
fn an_act_needs_an_operator_and_is_in_the_journal() {
    let (one, two) = (Upstream::echo(), Upstream::echo());
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntokens = \"tokens.toml\"\n";
    let proxy = Proxy::with("one", &one).with("two", &two);
    let proxy = proxy.file("tokens.toml", &tokens(&[("ana", "operator", ""), ("bo", "viewer", "")]));
    let proxy = proxy.start(&format!("{admin}{TWO}"));
    let path = format!("/v1/upstreams/shop/endpoints/{}/drain", one.address());
    let act = |lines: &str| over_tcp(&proxy, &call("POST", &path, lines, r#"{"reason": "new kernel"}"#));
    assert_eq!((act("").status, act(&bearer("bo")).problem().as_str()), (401, "role-missing"));
    let done = act(&bearer("ana"));
    let seq = done.json()["seq"].as_u64().unwrap_or_else(|| panic!("{done:?}"));
    let page = format!("/v1/journal?after={}", seq - 1);
    let record = over_tcp(&proxy, &call("GET", &page, &bearer("bo"), "")).json()["records"][0].clone();
    assert_eq!(
        (&record["what"], &record["act"], &record["reason"]),
        (&json!("endpoint"), &json!("drain"), &json!("new kernel"))
    );
    assert_eq!((&record["upstream"], &record["who"]["name"]), (&json!("shop"), &json!("ana")));
    assert_eq!(record["endpoint"], one.address().to_string());
}

#[test]
fn the_command_line_lists_and_acts() {
    let scene = Scene::start();
    let run = |words: &[&str], code: i32| {
        let finished = finish(scene.proxy.dir(), words);
        assert_eq!(finished.code, code, "{words:?}\n{}\n{}", finished.stdout, finished.stderr);
        finished
    };
    let (one, two) = (scene.one.address().to_string(), scene.two.address().to_string());
    let list = run(&["upstream", "ls"], 0).stdout;
    assert!(list.contains("██  2 of 2 usable") && list.contains("lone"), "{list}");
    let done = run(&["upstream", "drain", "shop", &one, "--reason", "new kernel"], 0).stdout;
    assert!(done.contains("drain: done, 1 of 2 endpoints of shop are usable, recorded as #"), "{done}");
    let list = run(&["upstream", "ls", "shop"], 0).stdout;
    assert!(
        list.contains("█░  1 of 2 usable") && list.contains("drained  by hand") && !list.contains("lone"),
        "{list}"
    );
    let status = run(&["status"], 0).stdout;
    assert!(status.contains(&format!("shop: 1 of 2 usable; {one} drained")), "{status}");
    let refused = run(&["upstream", "eject", "shop", &two, "--reason", "x"], 2).stderr;
    assert!(refused.contains("no usable endpoint") && refused.contains("--force"), "{refused}");
    run(&["upstream", "drain", "shop", &one], 64);
    assert!(run(&["upstream", "ls", "shpo"], 2).stderr.contains("shop, lone"));
    let json: Value = serde_json::from_str(&run(&["upstream", "ls", "lone", "--json"], 0).stdout).unwrap();
    assert_eq!((json["upstreams"].as_array().unwrap().len(), &json["upstreams"][0]["name"]), (1, &json!("lone")));
    let journal = run(&["journal"], 0).stdout;
    assert!(journal.contains(&format!("drain {one} of upstream shop: new kernel")), "{journal}");
    run(&["upstream", "undrain", "shop", &one, "--reason", "done"], 0);
    assert_eq!(scene.standing(), "usable");
}

#[test]
fn an_endpoint_that_accepts_again_is_admitted_without_a_request() {
    let (deaf, two) = (RefusingAddress::new(), Upstream::echo().named("two"));
    let outlier = "[upstream.shop.outlier]\nconsecutive_failures = 1\nbase_ejection = \"1s\"\n[upstream.lone]";
    let proxy = Proxy::with("two", &two).place("one", deaf.address());
    let proxy = proxy.start(&TWO.replace("[upstream.lone]", outlier));
    until("it is ejected", || {
        assert_eq!(get(&proxy), "two", "a request never fails for it");
        (standing(&proxy) != "usable").then_some(())
    });
    let ejected = proxy.status()["upstreams"][0]["endpoints"][0].clone();
    assert_eq!(ejected["ejected_because"], "connect_refused", "{ejected}");
    until("a try ejects it anew", || {
        let ejections = proxy.status()["upstreams"][0]["endpoints"][0]["ejections_in_a_row"].as_u64();
        (ejections >= Some(2)).then_some(())
    });
    let listener = deaf.listen();
    until("it is admitted", || (standing(&proxy) == "usable").then_some(()));
    drop(listener);
}

/// One endpoint that the file drains, one backup, and one that is checked; a rate limit, and an access rule.
const ROLES: &str = r#"
[upstream.shop]
endpoints = [{ url = "http://{one}", drain = true }, "http://{two}", { url = "http://{three}", backup = true }]
slow_start = "30s"
[upstream.shop.health]
path = "/healthz"
interval = "1h"
[[route]]
name = "all"
match = { path = "/*" }
stable = "shop"
[[route.rate_limit]]
name = "few"
per = "client_ip"
rate = "2/h"
burst = 2
[[route.rate_limit]]
per = "route"
rate = 1
dry_run = true
[[route.target]]
header = { x-closed = "1" }
respond = { status = 403 }
"#;

fn roles() -> (Proxy, [Upstream; 3]) {
    let all = ["one", "two", "three"].map(|name| Upstream::echo().named(name));
    let [one, two, three] = &all;
    (Proxy::with("one", one).with("two", two).with("three", three).start(ROLES), all)
}

#[test]
fn a_drain_of_the_file_does_not_end_by_a_call() {
    let (proxy, all) = roles();
    let [one, ..] = &all;
    let act = |verb: &str| {
        let path = format!("/v1/upstreams/shop/endpoints/{}/{verb}", one.address());
        over_socket(&proxy, &call("POST", &path, "", r#"{"reason": "a test"}"#))
    };
    let refused = act("undrain");
    assert_eq!((refused.status, refused.problem().as_str()), (409, "drained-by-file"), "{refused:?}");
    assert_eq!(standing(&proxy), "drained");
    // A person drains it too, and ends that: the drain of the file stays.
    for verb in ["drain", "undrain"] {
        let done = act(verb);
        assert_eq!(done.json()["changed"], json!(true), "{verb}: {done:?}");
    }
    assert_eq!((standing(&proxy).as_str(), act("undrain").status), ("drained", 409));
}

#[test]
fn upstreams_show_roles_and_verdicts() {
    let (proxy, all) = roles();
    let shop = || over_tcp(&proxy, &call("GET", "/v1/upstreams", "", "")).json()["upstreams"][0].clone();
    let verdict = |shop: &Value, at: usize| shop["endpoints"][at]["health"]["verdict"].as_str().map(str::to_owned);
    let shown = until("both have a verdict", || {
        let shop = shop();
        [1, 2].iter().all(|at| verdict(&shop, *at).as_deref() == Some("healthy")).then_some(shop)
    });
    let column =
        |key: &str| shown["endpoints"].as_array().unwrap().iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("role"), ["drained", "primary", "backup"]);
    assert_eq!(column("standing"), ["drained", "usable", "standby"]);
    assert_eq!(column("in_rotation"), [false, true, false]);
    assert_eq!((&shown["usable"], &shown["waiting"], &shown["total"]), (&json!(1), &json!(1), &json!(3)));
    let path = format!("/v1/upstreams/shop/endpoints/{}/admit", all[1].address());
    let admitted = over_socket(&proxy, &call("POST", &path, "", r#"{"reason": "a test"}"#)).json();
    assert_eq!((&admitted["usable"], &admitted["total"]), (&json!(1), &json!(3)), "counts as the list does");
    assert_eq!((&shown["balance"], &shown["slow_start_ms"]), (&json!("least_request"), &json!(30_000)));
    assert_eq!((&shown["health"]["kind"], &shown["health"]["interval_ms"]), (&json!("http"), &json!(3_600_000)));
    assert!(shown["checks"]["good"].as_u64().is_some_and(|good| good >= 2), "{shown}");
    let metrics = proxy.metrics();
    for series in [
        "pointsman_upstream_endpoints_state{state=\"standby\",upstream=\"shop\"} 1",
        "pointsman_upstream_endpoints_state{state=\"drained\",upstream=\"shop\"} 1",
        "pointsman_health_checks_total{result=\"bad\",upstream=\"shop\"} 0",
    ] {
        assert!(metrics.contains(series), "{series}: {metrics}");
    }
}

#[test]
fn limits_and_refusals_are_counted_and_shown() {
    let (proxy, _all) = roles();
    let status = |lines: &str| proxy.connect().get("/", lines).status;
    assert_eq!([status(""), status(""), status(""), status("x-closed: 1\r\n")], [200, 200, 429, 403]);
    let page = over_tcp(&proxy, &call("GET", "/v1/limits", "", "")).json();
    let column = |key: &str| page["limits"].as_array().unwrap().iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("name"), ["few", "route"]);
    assert_eq!(column("rate"), ["2/h", "1/s"]);
    assert_eq!((column("refused"), column("dry_run")), (vec![json!(1), json!(0)], vec![json!(false), json!(true)]));
    assert_eq!((&column("keys")[0], column("keys_max")), (&json!(1), vec![json!(65_536), json!(1)]));
    let listed = |route: &str| finish(proxy.dir(), &["limit", "ls", route]);
    let (known, unknown) = (listed("all"), listed("al"));
    assert!(known.code == 0 && known.stdout.contains("few"), "{}{}", known.stdout, known.stderr);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("route `al`") && unknown.stderr.contains("limits: all"), "{}", unknown.stderr);
    let metrics = proxy.metrics();
    for series in [
        "pointsman_rate_limited_total{limit=\"few\",outcome=\"refused\",route=\"all\"} 1",
        "pointsman_rate_limit_keys{limit=\"few\",route=\"all\"} 1",
        "pointsman_denied_total{route=\"all\"} 1",
    ] {
        assert!(metrics.contains(series), "{series}: {metrics}");
    }
}
