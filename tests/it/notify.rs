//! Notifications over sockets, as people and programs see them: the list of receivers, test messages, metrics and status.
//! What is sent is tested in the room.

use serde_json::{Value, json};

use crate::api::{Reply, call, over_socket, over_tcp, socket};
use crate::harness::{Proxy, Upstream, until};
use crate::process::{Finished, finish};

/// Two receivers: the second one refuses all.
const FILE: &str = r#"
[upstream.v1]
endpoints = ["http://127.0.0.1:1"]
[[route]]
name = "shop"
match = { path = "/*" }
stable = "v1"
[notify]
to = ["webhook:http://{hook}/path?key=s3cret", "slack:http://ana:s3cret@{chat}/services/s3cret"]
secret = "s3cret-s3cret-s3cret"
"#;

struct Scene {
    hook: Upstream,
    chat: Upstream,
    proxy: Proxy,
}

impl Scene {
    fn start() -> Self {
        let (hook, chat) = (Upstream::echo(), Upstream::echo().status(503));
        let proxy = Proxy::with("hook", &hook).with("chat", &chat).start(FILE);
        Self { hook, chat, proxy }
    }

    /// The names of both receivers.
    fn names(&self) -> [String; 2] {
        [format!("webhook:{}", self.hook.address()), format!("slack:{}", self.chat.address())]
    }

    fn page(&self) -> Value {
        over_tcp(&self.proxy, &call("GET", "/v1/notify", "", "")).json()
    }

    fn test(&self, body: &str) -> Reply {
        over_socket(&self.proxy, &call("POST", "/v1/notify/test", "", body))
    }

    /// The command on this proxy.
    fn run(&self, words: &[&str]) -> Finished {
        run(&self.proxy, words)
    }
}

fn run(proxy: &Proxy, words: &[&str]) -> Finished {
    let admin = format!("unix:{}", socket(proxy).display());
    finish(proxy.dir(), &[words, &["--admin", &admin]].concat())
}

#[test]
fn a_test_message_goes_to_each_receiver_and_shows_what_it_answers() {
    let scene = Scene::start();
    let [hook, chat] = scene.names();
    let all = scene.test("{}").json();
    assert_eq!(all["arrived"], json!(false), "{all:#}");
    let [first, second] = [&all["receivers"][0], &all["receivers"][1]];
    assert_eq!((&first["receiver"], &first["arrived"], &first["status"]), (&json!(hook), &json!(true), &json!(200)));
    assert_eq!((&second["receiver"], &second["status"]), (&json!(chat), &json!(503)), "{all:#}");
    assert!(second["error"].as_str().is_some_and(|why| why.contains("503")), "{all:#}");
    let got = scene.hook.got();
    assert_eq!((got.len(), got[0].method.as_str(), got[0].target.as_str()), (1, "POST", "/path?key=s3cret"));
    for field in ["idempotency-key", "x-pointsman-signature", "x-pointsman-timestamp"] {
        assert!(got[0].field(field).is_some(), "{field}: {got:?}");
    }
    assert_eq!(scene.chat.got()[0].field("authorization"), Some("Basic YW5hOnMzY3JldA=="));

    let one = scene.run(&["notify", "test", &hook]);
    assert!(one.code == 0 && one.stdout.starts_with(&format!("✓ {hook}  200 ")), "{one:?}");
    let both = scene.run(&["notify", "test"]);
    assert!(both.code == 1 && both.stdout.contains(&format!("✗ {chat}")), "{both:?}");
    let printed = scene.run(&["notify", "test", &hook, "--json"]).stdout;
    let printed: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(printed["arrived"], json!(true), "{printed:#}");
    let unknown = scene.run(&["notify", "test", &format!("{hook}0")]);
    assert!(unknown.code == 2 && unknown.stderr.contains(&format!("did you mean `{hook}`?")), "{unknown:?}");
    for (body, status, problem) in [
        (r#"{"receiver": "webhook:elsewhere"}"#, 404, "unknown-receiver"),
        (r#"{"receiver": " "}"#, 400, "bad-body"),
        (r#"{"receiver": null}"#, 400, "bad-body"),
        (r#"{"url": "http://127.0.0.1/"}"#, 400, "bad-body"),
    ] {
        let reply = scene.test(body);
        assert_eq!((reply.status, reply.problem().as_str()), (status, problem), "{body}");
    }
}

#[test]
fn without_receivers_there_is_nothing_to_test() {
    let proxy = Proxy::start(crate::api::SHOP);
    let refused = over_socket(&proxy, &call("POST", "/v1/notify/test", "", "{}"));
    assert_eq!((refused.status, refused.problem().as_str()), (409, "no-receivers"));
    let refused = run(&proxy, &["notify", "test"]);
    assert!(refused.code == 2 && refused.stderr.contains("add `[notify]`"), "{refused:?}");
    let listed = run(&proxy, &["notify", "ls"]);
    assert!(listed.code == 0 && listed.stdout.contains("add `[notify]`"), "{listed:?}");
}

#[test]
fn what_waits_and_why_is_shown_everywhere_without_credentials() {
    let scene = Scene::start();
    let [hook, chat] = scene.names();
    let names = |page: &Value| {
        let all = page["receivers"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| (one["name"].clone(), one["kind"].clone(), one["for_all"].clone())).collect::<Vec<_>>()
    };
    let expected = [(json!(hook), json!("webhook"), json!(true)), (json!(chat), json!("slack"), json!(true))];
    assert_eq!(names(&scene.page()), expected);

    let killed = scene.run(&["kill", "--all", "--reason", "a test", "--yes"]);
    assert_eq!(killed.code, 0, "{killed:?}");
    let page = until("one receiver has the message, the other one does not", || {
        let page = scene.page();
        let [first, second] = [&page["receivers"][0], &page["receivers"][1]];
        let is_there = first["sent"].as_u64() >= Some(1) && second["error"].is_string();
        is_there.then_some(page)
    });
    let second = &page["receivers"][1];
    assert!(second["pending"].as_u64() >= Some(1) && second["oldest"].is_string(), "{page:#}");
    let metrics = scene.proxy.metrics();
    for line in [
        format!("pointsman_notifications_total{{outcome=\"sent\",receiver=\"{hook}\"}} 1\n"),
        format!("pointsman_notifications_total{{outcome=\"dropped\",receiver=\"{chat}\"}} 0\n"),
        format!("pointsman_notifications_pending{{receiver=\"{hook}\"}} 0\n"),
        format!("pointsman_notifications_pending{{receiver=\"{chat}\"}} 1\n"),
    ] {
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    assert!(scene.proxy.metric(&format!("pointsman_notifications_oldest_seconds{{receiver=\"{chat}\"}}")) > 0.0);
    let listed = scene.run(&["notify", "ls"]).stdout;
    assert!(listed.lines().any(|line| line.starts_with(&chat) && line.contains("503")), "{listed}");
    let status = scene.run(&["status"]).stdout;
    assert!(status.contains(&format!("receiver {chat}: ")), "{status}");
    let config = over_tcp(&scene.proxy, &call("GET", "/v1/config", "", "")).body;
    let journal = over_tcp(&scene.proxy, &call("GET", "/v1/journal", "", "")).body;
    for shown in [page.to_string(), metrics, listed, status, config, journal, scene.proxy.status().to_string()] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
