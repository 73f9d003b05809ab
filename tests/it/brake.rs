//! Kill and revive over sockets, with the real binary: under load, through kill -9, with a broken file on the disk, and
//! on a folder that another process holds.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use pointsman::clock::Clock;
use serde_json::{Value, json};

use crate::api::{Reply, call, exchange};
use crate::harness::{Raw, Upstream, until};
use crate::process::{BINARY, Running};

/// Two upstreams, a shadow, and a route whose canary gets every caller.
struct Shop {
    stable: Upstream,
    canary: Upstream,
    dark: Upstream,
    dir: tempfile::TempDir,
}

/// A process that serves a shop.
struct Serving<'a> {
    shop: &'a Shop,
    _process: Running,
    address: SocketAddr,
}

impl Shop {
    fn new() -> Self {
        let [stable, canary, dark] = ["stable", "canary", "dark"].map(|name| Upstream::echo().named(name));
        let dir = tempfile::tempdir().unwrap();
        let shop = Self { stable, canary, dark, dir };
        shop.write(&shop.text());
        shop
    }

    fn text(&self) -> String {
        let [stable, canary, dark] = [&self.stable, &self.canary, &self.dark].map(|one| one.address().to_string());
        format!(
            r#"schema = 1
[[listener]]
name = "http"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[access_log]
sink = "off"
[identity]
tenant = ["query:tenant"]
[upstream.v1]
endpoints = ["http://{stable}"]
[upstream.v2]
endpoints = ["http://{canary}"]
[upstream.dark]
endpoints = ["http://{dark}"]
[[route]]
name = "shop"
match = {{ path = "/*" }}
sticky = ["client_ip"]
stable = "v1"
canary = {{ upstream = "v2", weight = 100 }}
[route.shadow]
upstream = "dark"
weight = 100
from = ["stable", "canary"]
"#
        )
    }

    fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("routes.toml"), text).unwrap();
    }

    fn start(&self) -> Serving<'_> {
        let mut process = Running::start(self.dir.path(), &["run", "--workers", "2"]);
        let address = process.word_after("listener").trim_start_matches("http://").parse().unwrap();
        process.word_after("admin");
        Serving { shop: self, _process: process, address }
    }
}

impl Serving<'_> {
    fn served(&self, path: &str) -> String {
        let answer = Raw::connect(self.address).get(path, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["name"].as_str().unwrap().to_owned()
    }

    fn kill(&self, scope: &Value) -> Reply {
        post(self.shop.dir.path(), "/v1/kill", scope)
    }

    fn revive(&self, scope: &Value) -> Reply {
        post(self.shop.dir.path(), "/v1/revive", scope)
    }

    fn status(&self) -> Value {
        let socket = self.shop.dir.path().join("state/run/admin.sock");
        exchange(UnixStream::connect(socket).unwrap(), &call("GET", "/v1/status", "", "")).json()
    }
}

/// An acting call over the socket of a state folder.
fn post(dir: &Path, path: &str, scope: &Value) -> Reply {
    let mut body = scope.clone();
    body["reason"] = json!("it fails");
    let socket = UnixStream::connect(dir.join("state/run/admin.sock")).unwrap();
    exchange(socket, &call("POST", path, "", &body.to_string()))
}

/// An act that is done, and in force on all workers.
#[track_caller]
fn done(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    let value = reply.json();
    assert_eq!(value["workers_in_force"], 2, "{value}");
    assert!(value["in_force_ms"].is_number(), "{value}");
    value
}

#[test]
fn every_scope_is_killed_and_revived() {
    let shop = Shop::new();
    let serving = shop.start();
    for scope in
        [json!({"all": true}), json!({"route": "shop"}), json!({"variant": "shop:canary"}), json!({"tenant": "acme"})]
    {
        assert_eq!(serving.served("/?tenant=acme"), "canary", "{scope}");
        done(&serving.kill(&scope));
        assert_eq!(serving.served("/?tenant=acme"), "stable", "{scope}");
        done(&serving.revive(&scope));
    }
    let copies = || shop.dark.requests();
    let before = copies();
    serving.served("/copied");
    until("a request is copied", || (copies() > before).then_some(()));
    let shadow = json!({"shadow": "shop"});
    done(&serving.kill(&shadow));
    until("copies in flight have ended", || {
        (serving.status()["routes"][0]["shadow"]["killed"] == json!(true)).then_some(())
    });
    let before = copies();
    for _ in 0..20 {
        assert_eq!(serving.served("/not-copied"), "canary", "the variants are not killed");
    }
    done(&serving.revive(&shadow));
    serving.served("/again");
    until("a request is copied again", || (copies() > before).then_some(()));
    let targets: Vec<String> = shop.dark.got().into_iter().map(|got| got.target).collect();
    assert!(!targets.contains(&"/not-copied".to_owned()), "{targets:?}");
}

#[test]
fn a_kill_counts_from_the_first_request_after_kill_nine() {
    let shop = Shop::new();
    let mut serving = shop.start();
    for round in 0..3 {
        let killed = done(&serving.kill(&json!({"variant": "shop:canary"})));
        // The disk of a busy machine may take more than the second that an answer waits.
        until("it is durable", || {
            (serving.status()["journal"]["durable_seq"] == killed["record"]["seq"]).then_some(())
        });
        // Dropping the process kills it with signal 9.
        drop(serving);
        serving = shop.start();
        assert_eq!(serving.served("/"), "stable", "round {round}");
        let kills = serving.status()["kills"].clone();
        assert_eq!(kills[0]["seq"], killed["record"]["seq"], "{kills}");
        done(&serving.revive(&json!({"variant": "shop:canary"})));
        assert_eq!(serving.served("/"), "canary", "round {round}");
    }
}

#[test]
fn a_broken_file_on_the_disk_keeps_no_kill_from_working() {
    let shop = Shop::new();
    let serving = shop.start();
    shop.write("schema = 1\n[[route]\nthis is no TOML");
    until("the edit is rejected", || (serving.status()["last_reload"]["outcome"] == "rejected").then_some(()));
    done(&serving.kill(&json!({"route": "shop"})));
    assert_eq!(serving.served("/"), "stable");
    std::fs::remove_file(shop.dir.path().join("routes.toml")).unwrap();
    done(&serving.kill(&json!({"all": true})));
    done(&serving.revive(&json!({"all": true})));
    assert_eq!(serving.served("/"), "stable", "the kill of the route is still in force");
    shop.write(&shop.text());
    until("the file is back", || (serving.status()["last_reload"]["outcome"] != "rejected").then_some(()));
    assert_eq!(serving.served("/"), "stable", "no reload lifts a kill");
    done(&serving.revive(&json!({"route": "shop"})));
    assert_eq!(serving.served("/"), "canary");
}

#[test]
fn no_request_that_begins_after_the_answer_reaches_the_canary() {
    let shop = Shop::new();
    let serving = shop.start();
    let (is_done, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_done.load(SeqCst) {
                    let mut client = Raw::connect(serving.address);
                    for _ in 0..50 {
                        assert_eq!(client.get("/", "").status, 200);
                        answered.fetch_add(1, SeqCst);
                    }
                }
            });
        }
        for _ in 0..10 {
            let then = answered.load(SeqCst);
            until("the clients send", || (answered.load(SeqCst) > then + 100).then_some(()));
            let began = Clock.now();
            let killed = done(&serving.kill(&json!({"variant": "shop:canary"})));
            assert_eq!(serving.served("/after"), "stable");
            let took_ms = began.elapsed().as_secs_f64() * 1e3;
            assert!(killed["in_force_ms"].as_f64().unwrap() <= took_ms, "{killed}");
            done(&serving.revive(&json!({"variant": "shop:canary"})));
            assert_eq!(serving.served("/revived"), "canary");
        }
        is_done.store(true, SeqCst);
    });
}

/// A process whose log cannot be written, started by this shell command: kills are in force.
#[track_caller]
fn kills_without_a_log(run: &str) -> Value {
    let shop = Shop::new();
    let mut command = Command::new("sh");
    command.args(["-c", run, BINARY]).current_dir(shop.dir.path());
    let _process = Running::watch(command);
    let socket = shop.dir.path().join("state/run/admin.sock");
    let stream = until("the socket is open", || UnixStream::connect(&socket).ok());
    let status = exchange(stream, &call("GET", "/v1/status", "", "")).json();
    let address: SocketAddr = status["listeners"][0]["address"].as_str().unwrap().parse().unwrap();
    let served = || Raw::connect(address).get("/", "").json()["name"].as_str().unwrap().to_owned();
    assert_eq!(served(), "canary");
    let killed = done(&post(shop.dir.path(), "/v1/kill", &json!({ "route": "shop" })));
    assert_eq!(served(), "stable");
    killed
}

#[test]
fn a_kill_works_while_the_log_cannot_be_written() {
    kills_without_a_log("exec \"$0\" run --workers 2 2>/dev/full");
}

#[test]
fn a_limit_for_file_sizes_ends_nothing() {
    let killed = kills_without_a_log("ulimit -f 0; exec \"$0\" run --workers 2 2>log");
    assert_eq!(killed["durable"], false, "{killed}");
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let shop = Shop::new();
    let serving = shop.start();
    let mut second = Running::start(shop.dir.path(), &["run", "--workers", "1"]);
    let line = second.line_with("waiting for at most 30 s");
    assert!(line.contains("uses the state folder"), "{line}");
    let killed = done(&serving.kill(&json!({"route": "shop"})));
    until("it is durable", || (serving.status()["journal"]["durable_seq"] == killed["record"]["seq"]).then_some(()));
    // The first one is killed, and the second one goes on with its kills.
    drop(serving);
    let address: SocketAddr = second.word_after("listener").trim_start_matches("http://").parse().unwrap();
    let answer = Raw::connect(address).get("/", "");
    assert_eq!(answer.json()["name"], "stable");
}
