//! Rollouts over the API and the commands: approvals, holds, moves, rollbacks and kills, and who may do which.

use serde_json::{Value, json};

use super::{bearer, call, over_socket, over_tcp, socket, tokens};
use crate::harness::{Proxy, Pty, Upstream, until};
use crate::process::{Finished, Running, finish};

/// A rollout of one route: it waits for two approvals in its stage `beta`.
fn file(upstreams: &[Upstream; 2]) -> String {
    let [stable, canary] = [&upstreams[0], &upstreams[1]].map(Upstream::address);
    format!(
        r#"
[admin]
address = "127.0.0.1:0"
tokens = "tokens.toml"
[upstream.v1]
endpoints = ["http://{stable}"]
[upstream.v2]
endpoints = ["http://{canary}"]
revision = "1.4"
[[route]]
name = "shop"
match = {{ path = "/*" }}
sticky = ["client_ip"]
stable = "v1"
canary = {{ upstream = "v2", rollout = "shop-v2" }}
[rollout.shop-v2]
owner = "team-shop"
ticket = "CHG-1"
rehearsal = true
approvers = {{ lead = ["lead", "both"], product = ["pia", "both"] }}
[[rollout.shop-v2.stage]]
name = "dark"
min_duration = "100ms"
weight = 0
[[rollout.shop-v2.stage]]
name = "beta"
weight = 20
approve = ["lead", "product"]
[[rollout.shop-v2.stage]]
name = "full"
weight = 100
min_duration = "24h"
"#
    )
}

struct Scene {
    proxy: Proxy,
    /// They end with it.
    upstreams: [Upstream; 2],
}

impl Scene {
    fn start() -> Self {
        let upstreams = [Upstream::echo(), Upstream::echo()];
        let text = file(&upstreams);
        Self::serving(upstreams, &text)
    }

    fn serving(upstreams: [Upstream; 2], text: &str) -> Self {
        let all = tokens(&[
            ("viewer", "viewer", ""),
            ("operator", "operator", ""),
            ("lead", "approver:lead", ""),
            ("pia", "approver:product", ""),
            ("stranger", "approver:lead", ""),
            ("both", "approver:lead\", \"approver:product", ""),
        ]);
        let proxy = Proxy::workers(1).file("tokens.toml", &all).start(text);
        Self { proxy, upstreams }
    }

    fn shown(&self) -> Value {
        over_socket(&self.proxy, &call("GET", "/v1/rollouts/shop-v2", "", "")).json()
    }

    /// Waits until a member is a text, and returns how the rollout stands.
    fn until(&self, member: &str, text: &str) -> Value {
        until("the rollout moves", || Some(self.shown()).filter(|shown| shown[member] == text))
    }

    fn waits_in_beta(&self) -> Value {
        let shown = self.until("doing", "awaiting_approval");
        assert_eq!(shown["stage"], "beta");
        // The record that names the approvers follows the state. An act whose preview is older than it is refused.
        until("the approvers are asked", || {
            let journal = over_socket(&self.proxy, &call("GET", "/v1/journal?limit=100", "", "")).json();
            journal["records"].as_array()?.iter().any(|record| record["act"] == "ask").then_some(())
        });
        shown
    }

    fn act(&self, token: &str, verb: &str, body: &str) -> super::Reply {
        over_tcp(&self.proxy, &call("POST", &format!("/v1/rollouts/shop-v2/{verb}"), &bearer(token), body))
    }

    #[track_caller]
    fn refused(&self, token: &str, verb: &str, body: &str) -> (u16, String) {
        let reply = self.act(token, verb, body);
        (reply.status, reply.problem())
    }

    #[track_caller]
    fn done(&self, token: &str, verb: &str, body: &str) -> Value {
        let reply = self.act(token, verb, body);
        assert_eq!(reply.status, 200, "{verb} {body}: {reply:?}");
        let answer = reply.json();
        assert_eq!((&answer["record"]["what"], &answer["record"]["act"]), (&json!("rollout"), &json!(verb)));
        assert_eq!(answer["record"]["rollout"], "shop-v2");
        answer
    }

    /// The command on this proxy.
    fn run(&self, words: &[&str]) -> Finished {
        let admin = format!("unix:{}", socket(&self.proxy).display());
        finish(std::path::Path::new("."), &[words, &["--admin", &admin]].concat())
    }
}

#[test]
fn each_role_is_filled_by_a_person_who_may() {
    let scene = Scene::start();
    let shown = scene.waits_in_beta();
    for (member, value) in [
        ("kind", json!("rollout")),
        ("state", json!("running")),
        ("weight", json!(20.0)),
        ("variants", json!(["shop:canary"])),
        ("owner", json!("team-shop")),
        ("ticket", json!("CHG-1")),
        ("needs_person", json!(true)),
        ("expired", json!(false)),
    ] {
        assert_eq!(shown[member], value, "{member}: {shown:#}");
    }
    assert_eq!(shown["blocks"][0]["kind"], "approval", "{shown:#}");
    let roles: Vec<&str> = shown["awaited"].as_array().unwrap().iter().filter_map(|one| one["role"].as_str()).collect();
    assert_eq!(roles, ["lead", "product"]);
    assert!(shown["guards"].as_array().is_some_and(|guards| !guards.is_empty()), "{shown:#}");

    let approve = |token: &str, body: &str| scene.refused(token, "approve", body);
    let (forbidden, conflict) = (|kind: &str| (403, kind.to_owned()), |kind: &str| (409, kind.to_owned()));
    for token in ["operator", "viewer"] {
        assert_eq!(approve(token, "{}"), forbidden("role-missing"), "{token}");
    }
    let own = over_socket(&scene.proxy, &call("POST", "/v1/rollouts/shop-v2/approve", "", "{}"));
    assert_eq!((own.status, own.problem().as_str()), (403, "not-approver"), "the user of the proxy");
    assert_eq!(approve("stranger", "{}"), forbidden("not-approver"), "its name is not listed");
    assert_eq!(approve("lead", r#"{"as": "product"}"#), forbidden("not-approver"), "it has another role");
    assert_eq!(approve("lead", r#"{"stage": "beta"}"#), (400, "bad-body".to_owned()));
    assert_eq!(approve("lead", r#"{"expect": 0}"#), conflict("stale"));
    for verb in ["hold", "resume", "rollback", "restart", "rehearse"] {
        assert_eq!(scene.refused("lead", verb, r#"{"reason": "x"}"#), forbidden("role-missing"), "{verb}");
    }

    let first = scene.done("both", "approve", r#"{"as": "product"}"#);
    assert_eq!((&first["record"]["role"], &first["record"]["who"]["name"]), (&json!("product"), &json!("both")));
    assert_eq!(first["record"]["reason"], Value::Null, "an approval needs no reason");
    assert_eq!(approve("both", r#"{"as": "lead"}"#), forbidden("same-person"));
    assert_eq!(approve("pia", "{}"), conflict("already-approved"));
    let shown = scene.waits_in_beta();
    assert_eq!(shown["stages"][1]["approved"][0]["by"], "both", "{shown:#}");
    scene.done("lead", "approve", r#"{"reason": "CHG-1 is signed"}"#);
    let full = scene.until("stage", "full");
    assert_eq!((&full["weight"], &full["doing"]), (&json!(100.0), &json!("baking")), "{full:#}");
    assert_eq!(full["blocks"][0]["kind"], "duration");
    assert_eq!(approve("lead", "{}").0, 409, "no approval is asked");
}

#[test]
fn operators_hold_move_roll_back_and_begin_anew() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let reason = r#"{"reason": "a test"}"#;
    assert_eq!(scene.refused("operator", "resume", reason), (409, "wrong-state".to_owned()), "it runs");
    assert_eq!(scene.refused("operator", "hold", "{}"), (400, "bad-body".to_owned()));
    scene.done("operator", "hold", reason);
    let held = scene.shown();
    assert_eq!((&held["state"], &held["because"], &held["by"]), (&json!("held"), &json!("person"), &json!("operator")));
    assert_eq!((&held["weight"], &held["needs_person"]), (&json!(20.0), &json!(true)), "{held:#}");
    scene.done("operator", "resume", reason);
    scene.waits_in_beta();

    let unknown = scene.act("operator", "goto", r#"{"reason": "x", "stage": "dar"}"#);
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "unknown-stage"));
    assert_eq!(unknown.json()["similar"], "dark", "{unknown:?}");
    assert_eq!(scene.refused("operator", "goto", reason), (400, "bad-body".to_owned()), "no stage");
    let up = scene.act("operator", "goto", r#"{"reason": "x", "stage": "full"}"#);
    assert_eq!((up.status, up.problem().as_str()), (409, "blocked"), "{up:?}");
    assert!(up.json()["blocks"].as_array().is_some_and(|blocks| !blocks.is_empty()), "{up:?}");

    scene.done("operator", "rollback", reason);
    let back = scene.shown();
    assert_eq!((&back["state"], &back["weight"]), (&json!("rolled_back"), &json!(0.0)), "{back:#}");
    let status = over_socket(&scene.proxy, &call("GET", "/v1/status", "", "")).json();
    let canary = &status["routes"][0]["variants"][1];
    assert_eq!(
        (&canary["rollout"], &canary["stage"], &canary["latched"]),
        (&json!("shop-v2"), &json!("beta"), &json!(true)),
        "{canary:#}"
    );
    assert_eq!(
        (&status["routes"][0]["rollout"], &status["rollouts"][0]["name"]),
        (&json!("shop-v2"), &json!("shop-v2"))
    );
    assert_eq!(status["routes"][0]["releases"], json!([]), "the rollout is shown in their place");
    let explained = over_socket(&scene.proxy, &call("GET", "/explain?host=localhost&path=/x", "", "")).json();
    assert_eq!(explained["rollout"]["stage"], "beta");
    let metrics = over_socket(&scene.proxy, &call("GET", "/metrics", "", "")).body;
    for line in [
        "pointsman_rollout_state{rollout=\"shop-v2\",state=\"rolled_back\"} 1\n",
        "pointsman_rollout_stage{rollout=\"shop-v2\",stage=\"beta\"} 2\n",
        "pointsman_rollout_weight_ratio{rollout=\"shop-v2\"} 0\n",
        "pointsman_rollout_expired{rollout=\"shop-v2\"} 0\n",
        "pointsman_gate_blocked{kind=\"stopped\",rollout=\"shop-v2\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    scene.done("operator", "resume", reason);
    assert_eq!(scene.waits_in_beta()["weight"], 20.0);
    scene.done("operator", "restart", reason);
    scene.waits_in_beta();
}

#[test]
fn an_edit_is_compared_with_where_the_rollout_is() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let text = std::fs::read_to_string(scene.proxy.dir().join("routes.toml")).expect("the file");
    let check = |toml: &str| {
        let body = json!({ "toml": toml }).to_string();
        over_tcp(&scene.proxy, &call("POST", "/v1/config/check", &bearer("operator"), &body)).json()
    };
    let moves = |page: &Value| page["what_if"]["changed"].as_array().map(Vec::len);
    // It is at 20 %, and the file begins at 0.
    let same = check(&format!("# a comment\n{text}"));
    assert_eq!((&same["valid"], moves(&same)), (&json!(true), Some(0)), "{same:#}");
    let lowered = check(&text.replace("owner = \"team-shop\"", "max_weight = 5"));
    assert_eq!(lowered["what_if"]["changed"][0]["moved_percent"], 15.0, "{lowered:#}");
    let without = check(&text.replace("name = \"beta\"", "name = \"other\""));
    assert_eq!((&without["valid"], moves(&without)), (&json!(false), None), "{without:#}");
    assert_eq!(without["diagnostics"][0]["code"], "rollout-plan", "{without:#}");
    assert!(
        without["text"].as_str().is_some_and(|text| text.contains("pointsman rollout goto shop-v2")),
        "{without:#}"
    );
    // Rolled back, it stays at 0.
    scene.done("operator", "rollback", r#"{"reason": "a test"}"#);
    let latched = check(&text.replace("owner = \"team-shop\"", "max_weight = 50"));
    assert_eq!(moves(&latched), Some(0), "{latched:#}");
}

#[test]
fn a_rollback_is_rehearsed_by_an_operator() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let reason = r#"{"reason": "a drill"}"#;
    assert_eq!(scene.refused("lead", "rehearse", reason), (403, "role-missing".to_owned()));
    let live = ["rehearse", "--live", "shop-v2", "--reason", "a drill", "--yes"];
    let done = scene.run(&live);
    assert_eq!(done.code, 0, "{done:?}");
    for words in ["rolled back, as a rehearsal shop-v2", "no worker sends to the canary any more after", "go on with"] {
        assert!(done.stdout.contains(words), "{words}: {done:?}");
    }
    let shown = scene.until("state", "rolled_back");
    assert!(shown["says"].as_str().is_some_and(|says| says.contains("as a rehearsal: a drill")), "{shown:#}");
    let again = scene.run(&live);
    assert_eq!((again.code, again.stderr.contains("refused")), (2, true), "{again:?}");
    let journal = over_socket(&scene.proxy, &call("GET", "/v1/journal?limit=100", "", "")).json();
    let records = journal["records"].as_array().expect("records");
    let measured = records.iter().find(|record| record["act"] == "rehearsed").expect("it is recorded");
    assert!(measured["evidence"]["in_force_ms"].is_number() && measured["reason"] == "a drill", "{measured:#}");
    scene.done("operator", "resume", reason);
    scene.waits_in_beta();
}

#[test]
fn a_rehearsal_waits_for_the_requests_that_are_under_way() {
    let upstreams = [Upstream::echo(), Upstream::echo().held()];
    // Each request is a caller of its own.
    let text = file(&upstreams).replace("sticky = [\"client_ip\"]", "sticky = []");
    let scene = Scene::serving(upstreams, &text);
    scene.waits_in_beta();
    let canary = &scene.upstreams[1];
    let mut waiting = Vec::new();
    while canary.requests() == 0 {
        let mut client = scene.proxy.connect();
        waiting.push(std::thread::spawn(move || client.get("/x", "").status));
        std::thread::yield_now();
    }
    assert_eq!(scene.act("operator", "rehearse", r#"{"reason": "a drill"}"#).status, 200);
    let measured = || {
        let journal = over_socket(&scene.proxy, &call("GET", "/v1/journal?limit=100", "", "")).json();
        let records = journal["records"].as_array().expect("records").clone();
        records.into_iter().find(|record| record["act"] == "rehearsed")
    };
    let begun = pointsman::clock::Clock.now();
    while begun.elapsed() < std::time::Duration::from_millis(1_500) {
        assert_eq!(measured(), None, "a request is under way");
    }
    canary.release();
    for request in waiting {
        assert_eq!(request.join().expect("answered"), 200);
    }
    let evidence = until("it is measured", measured)["evidence"].clone();
    assert!(evidence["requests_after"].as_u64() >= Some(1) && evidence["still_open"] == 0, "{evidence:#}");
    assert!(evidence["last_request_ms"].as_f64() >= Some(1_500.0), "{evidence:#}");
}

#[test]
fn a_key_makes_an_act_once() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let hold = |key: &str, body: &str| {
        let lines = format!("{}Idempotency-Key: {key}\r\n", bearer("operator"));
        over_tcp(&scene.proxy, &call("POST", "/v1/rollouts/shop-v2/hold", &lines, body))
    };
    let body = r#"{"reason": "a test"}"#;
    let (first, again) = (hold("one", body).json(), hold("one", body).json());
    assert_eq!((&first["repeated"], &again["repeated"]), (&json!(false), &json!(true)), "{again:#}");
    assert_eq!(first["record"]["seq"], again["record"]["seq"]);
    assert_eq!(hold("one", r#"{"reason": "another"}"#).problem(), "key-reused");
}

#[test]
fn a_killed_rollout_is_revived_and_resumed() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let post = |path: &str, body: &str| over_tcp(&scene.proxy, &call("POST", path, &bearer("operator"), body));
    let unknown = post("/v1/kill", r#"{"rollout": "shop-v3", "reason": "x"}"#);
    assert_eq!((unknown.problem().as_str(), &unknown.json()["similar"]), ("unknown-scope", &json!("shop-v2")));
    let kill = r#"{"rollout": "shop-v2", "reason": "INC-1"}"#;
    let killed = post("/v1/kill", kill).json();
    assert_eq!((&killed["killed"], &killed["record"]["rollout"]), (&json!(true), &json!("shop-v2")), "{killed:#}");
    let shown = scene.until("state", "killed");
    assert_eq!(shown["weight"], 0.0, "{shown:#}");
    let both = r#"{"rollout": "shop-v2", "reason": "fixed", "resume": true}"#;
    let revived = post("/v1/revive", both).json();
    assert_eq!(revived["record"]["what"], "revive", "{revived:#}");
    assert_eq!(revived["resume_problem"], Value::Null, "{revived:#}");
    assert_eq!(revived["resumed"]["record"]["act"], "resume", "{revived:#}");
    assert_eq!(scene.waits_in_beta()["weight"], 20.0);

    // A revive alone holds it at 0.
    post("/v1/kill", kill);
    scene.until("state", "killed");
    assert_eq!(post("/v1/revive", r#"{"rollout": "shop-v2", "reason": "fixed"}"#).status, 200);
    let held = scene.until("state", "held");
    assert_eq!((&held["because"], &held["weight"]), (&json!("revived"), &json!(0.0)), "{held:#}");
    let no_rollout = post("/v1/revive", r#"{"tenant": "acme", "reason": "x", "resume": true}"#);
    assert_eq!((no_rollout.status, no_rollout.problem().as_str()), (409, "not-a-rollout"));
}

#[test]
fn a_rollout_is_shown_again_and_again() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let admin = format!("unix:{}", socket(&scene.proxy).display());
    let words = ["rollout", "show", "shop-v2", "--watch", "100ms", "--admin", &admin];
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut watching = Running::start(dir.path(), &words);
    for _ in 0..2 {
        watching.line_with("shop-v2  ◆ awaiting approval");
    }
    scene.done("operator", "hold", r#"{"reason": "a test"}"#);
    watching.line_with("held: person");
    watching.signal("INT");
    assert_eq!(watching.end().0, 0);
    let unknown = scene.run(&["rollout", "show", "shop-v3", "--watch"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("did you mean `shop-v2`?"), "{unknown:?}");
}

#[test]
fn a_refusal_names_who_is_refused_and_what_stands_in_the_way_once() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let stranger = scene.act("stranger", "approve", r#"{"as": "lead"}"#).json();
    assert_eq!(stranger["detail"], "`stranger` may not approve `shop-v2` as lead");
    assert!(stranger["help"].as_str().is_some_and(|help| help.ends_with("`approver:lead` too")), "{stranger:#}");
    let moved = scene.run(&["rollout", "goto", "shop-v2", "full", "--reason", "x"]);
    assert_eq!((moved.code, moved.stderr.matches("it awaits the approval").count()), (2, 1), "{moved:?}");
}

#[test]
fn the_commands_show_and_move_a_rollout() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let listed = scene.run(&["rollout", "ls"]).stdout;
    for part in
        ["\nshop-v2  ◆ awaiting approval      20", "dark ● beta ◐ full ○", "waits for lead (lead, both), product"]
    {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let shown = scene.run(&["rollout", "show", "shop-v2"]).stdout;
    for part in [
        "shop-v2  ◆ awaiting approval\nwhy ",
        "\n◐ beta       20 %  ",
        "asks lead, product",
        "\nIN THE WAY\napproval: ",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let status = scene.run(&["status"]).stdout;
    assert!(status.contains("ROLLOUT  shop-v2  ◆ awaiting approval  beta (2 of 3)  20 % set"), "{status}");

    let refused = scene.run(&["rollout", "approve", "shop-v2", "--as", "lead"]);
    assert!(refused.code == 2 && refused.stderr.contains("with a token of that name"), "{refused:?}");
    let unknown = scene.run(&["rollout", "hold", "shop-v3", "--reason", "x"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("did you mean `shop-v2`?"), "{unknown:?}");
    assert!(unknown.stderr.contains("rollouts: shop-v2"), "{unknown:?}");
    assert_eq!(scene.run(&["rollout", "hold", "shop-v2"]).code, 64, "a reason is missing");
    let held = scene.run(&["rollout", "hold", "shop-v2", "--reason", "a test"]);
    assert!(held.code == 0 && held.stdout.starts_with("held shop-v2: in force on 1 of 1 worker"), "{held:?}");
    let waited = scene.run(&["rollout", "wait", "shop-v2", "--until", "full"]);
    assert!(waited.code == 3 && waited.stdout.contains("shop-v2: beta at 20 %, held: person"), "{waited:?}");
    let resumed = scene.run(&["rollout", "resume", "shop-v2", "--reason", "a test"]);
    assert!(resumed.code == 0 && resumed.stdout.starts_with("resumed shop-v2: "), "{resumed:?}");

    let reached = scene.run(&["rollout", "wait", "shop-v2", "--until", "beta", "--timeout", "1m", "--json"]);
    let lines: Vec<Value> = reached.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(reached.code == 0 && lines.last().is_some_and(|line| line["end"] == "reached"), "{reached:?}");
    assert_eq!((&lines[0]["name"], &lines[0]["stage"]), (&json!("shop-v2"), &json!("beta")));
    let late = scene.run(&["rollout", "wait", "shop-v2", "--timeout", "100ms"]);
    assert!(late.code == 4 && late.stderr.contains("has not reached complete in time"), "{late:?}");
    let no_stage = scene.run(&["rollout", "wait", "shop-v2", "--until", "bta"]);
    assert!(no_stage.code == 64 && no_stage.stderr.contains("its stages: dark, beta, full"), "{no_stage:?}");
    assert_eq!(scene.run(&["rollout", "wait", "shop-v3"]).code, 1);

    let up = scene.run(&["rollout", "goto", "shop-v2", "full", "--reason", "x"]);
    assert!(up.code == 2 && up.stderr.contains("approval: "), "{up:?}");
    let back = scene.run(&["rollout", "rollback", "shop-v2", "--reason", "a test"]);
    assert!(back.code == 0 && back.stdout.starts_with("rolled back shop-v2: "), "{back:?}");
    assert_eq!(scene.run(&["rollout", "wait", "shop-v2"]).code, 2);
    let killed = scene.run(&["kill", "--rollout", "shop-v2", "--reason", "a test"]);
    assert!(killed.code == 0 && killed.stdout.starts_with("killed rollout shop-v2: "), "{killed:?}");
    let revived = scene.run(&["revive", "--rollout", "shop-v2", "--reason", "a test", "--resume"]);
    assert!(revived.stdout.contains("revived rollout shop-v2: "), "{revived:?}");
}

#[test]
fn on_a_terminal_a_command_shows_what_it_does_and_asks() {
    let scene = Scene::start();
    scene.waits_in_beta();
    let terminal = |words: &[&str]| Pty::start(scene.proxy.dir(), words, 160);
    let asked = |pty: &mut Pty, question: &str| {
        pty.until("the question", |pty| pty.glass.lines().last()?.contains(question).then_some(()));
    };
    let mut back = terminal(&["rollout", "rollback", "shop-v2"]);
    back.line_with("go from shop:canary to stable");
    back.line_with("stable is v1: 1 of 1 endpoints usable");
    asked(&mut back, "Why roll back shop-v2? A reason, for the journal:");
    back.press("INC-1\r");
    back.line_with("rolled back shop-v2: in force on 1 of 1 worker");
    assert_eq!((back.end(), &scene.shown()["state"]), (0, &json!("rolled_back")));
    let mut resume = terminal(&["rollout", "resume", "shop-v2", "--reason", "fixed"]);
    resume.line_with("its 20 % of the callers go to it again, and its guards begin without evidence");
    asked(&mut resume, "Resume shop-v2? yes or no:");
    resume.press("no\r");
    resume.line_with("not resumed");
    assert_eq!((resume.end(), &scene.shown()["state"]), (2, &json!("rolled_back")));
    let mut resume = terminal(&["rollout", "resume", "shop-v2", "--reason", "fixed", "--yes"]);
    resume.line_with("resumed shop-v2: in force on 1 of 1 worker");
    assert_eq!(resume.end(), 0);
}
