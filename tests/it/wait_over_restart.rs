//! `rollout wait` with the real binary: a proxy that is killed with signal 9 and started again is waited for.

use crate::harness::{Raw, Upstream};
use crate::process::Running;

fn file(upstreams: [&Upstream; 2]) -> String {
    let [stable, canary] = upstreams.map(Upstream::address);
    format!(
        r#"schema = 1
[[listener]]
name = "http"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[access_log]
sink = "off"
[upstream.v1]
endpoints = ["http://{stable}"]
[upstream.v2]
endpoints = ["http://{canary}"]
revision = "2"
[[route]]
name = "shop"
match = {{ path = "/*" }}
sticky = []
stable = "v1"
canary = {{ upstream = "v2", rollout = "shop-v2" }}
[[rollout.shop-v2.stage]]
name = "few"
weight = 20
min_requests = 5
[[rollout.shop-v2.stage]]
name = "all"
weight = 100
min_requests = 5
"#
    )
}

#[test]
fn a_proxy_that_is_killed_and_starts_again_is_waited_for() {
    let [stable, canary] = ["stable", "canary"].map(|name| Upstream::echo().named(name));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("routes.toml"), file([&stable, &canary])).unwrap();
    let start = || {
        let mut process = Running::start(dir.path(), &["run", "--workers", "1"]);
        let address: std::net::SocketAddr =
            process.word_after("listener").trim_start_matches("http://").parse().unwrap();
        process.word_after("admin");
        (process, address)
    };
    let (proxy, _) = start();
    let mut wait = Running::start(dir.path(), &["rollout", "wait", "shop-v2", "--until", "complete"]);
    wait.line_with("shop-v2: few at 20 %");
    // Dropping the process kills it with signal 9.
    drop(proxy);
    wait.line_with("no answer, trying again every second");
    let (_proxy, address) = start();
    let waited = std::thread::spawn(move || wait.end());
    let mut client = Raw::connect(address);
    while !waited.is_finished() {
        assert_eq!(client.get("/", "").status, 200);
    }
    let (code, said) = waited.join().unwrap();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("shop-v2 is complete"), "{said}");
}
