//! Guards over sockets: a canary that fails is rolled back, or only reported; what a latch outlives and what ends it; what
//! is common to both arms rolls nothing back; further tries and rescue hide nothing.

use serde_json::Value;

use crate::api::{call, over_socket};
use crate::harness::{Proxy, Raw, Setup, Upstream, until};

/// Callers by cookie; a third of them goes to the canary. No endpoint is ejected: what is seen is the guards' work.
const SHOP: &str = r#"
[identity]
user = ["cookie:uid"]
[upstream.v1]
endpoints = ["http://{v1}"]
revision = "1.0"
outlier = { consecutive_failures = 0 }
[upstream.v2]
endpoints = ["http://{v2}"]
revision = "2.0"
outlier = { consecutive_failures = 0 }
[[route]]
name = "shop"
match = { path = "/*" }
stable = "v1"
sticky = ["user"]
guard = "rollback"
canary = { upstream = "v2", weight = 30 }
"#;
const RELEASE: &str = "shop:canary";
/// So many callers before a test asks again how the release stands.
const CALLERS_A_LOOK: u64 = 20;
/// So many callers that a canary with a weight of 30 is among them.
const CALLERS: u64 = 200;

struct Shop {
    proxy: Proxy,
    stable: Upstream,
    canary: Upstream,
    client: Raw,
    callers: u64,
}

impl Shop {
    fn start(text: &str) -> Self {
        let [stable, canary] = ["stable", "canary"].map(|name| Upstream::echo().named(name));
        let proxy = Setup::default().with("v1", &stable).with("v2", &canary).start(text);
        let client = proxy.connect();
        Self { proxy, stable, canary, client, callers: 0 }
    }

    /// Sends requests, each of a caller of its own. Returns their statuses.
    fn send(&mut self, count: u64) -> Vec<u16> {
        let request = |_| {
            self.callers += 1;
            self.client.get("/", &format!("Cookie: uid=caller-{}\r\n", self.callers)).status
        };
        (0..count).map(request).collect()
    }

    /// The release as the API shows it.
    fn release(&self) -> Value {
        let reply = over_socket(&self.proxy, &call("GET", &format!("/v1/rollouts/{RELEASE}"), "", ""));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// Sends requests until the release is in this state.
    #[track_caller]
    fn send_until(&mut self, state: &str) -> Value {
        until(&format!("the release is {state}"), || {
            self.send(CALLERS_A_LOOK);
            let release = self.release();
            (release["state"] == state).then_some(release)
        })
    }

    /// Sends requests until the canary has got some.
    #[track_caller]
    fn canary_serves(&mut self) {
        let before = self.canary.requests();
        until("the canary gets requests", || {
            self.send(CALLERS_A_LOOK);
            (self.canary.requests() > before + 5).then_some(())
        });
    }

    /// No caller gets to the canary.
    #[track_caller]
    fn canary_rests(&mut self) {
        let before = self.canary.requests();
        let statuses = self.send(CALLERS);
        assert_eq!(self.canary.requests(), before, "requests reached the canary");
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }

    fn resume(&self) -> u16 {
        let body = r#"{"reason": "it is repaired"}"#;
        let reply = over_socket(&self.proxy, &call("POST", &format!("/v1/rollouts/{RELEASE}/resume"), "", body));
        reply.status
    }

    fn trips(&self, act: &str) -> f64 {
        let text = self.proxy.metrics();
        let of =
            |line: &&str| line.starts_with("pointsman_guard_trips_total{") && line.contains(&format!("act=\"{act}\""));
        text.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap_or("0").parse::<f64>().unwrap()).sum()
    }
}

#[test]
fn a_canary_that_fails_is_rolled_back_until_it_is_resumed_or_replaced() {
    let mut shop = Shop::start(SHOP);
    shop.send(CALLERS);
    assert_eq!(shop.release()["state"], "watching");
    shop.canary.answer_with(500);
    let release = shop.send_until("rolled_back");
    assert_eq!((&release["route"], &release["variant"]), (&"shop".into(), &"canary".into()));
    assert!(release["revision"].as_str().unwrap().contains("v2=2.0"), "{release:#}");
    for (field, needed) in
        [("by", ""), ("at", "T"), ("says", "rolled back by"), ("unblock", "rollout resume shop:canary")]
    {
        assert!(release[field].as_str().is_some_and(|text| text.contains(needed) && !text.is_empty()), "{release:#}");
    }
    assert!(release["guards"].as_array().is_some_and(|guards| guards.len() >= 3), "{release:#}");
    shop.canary_rests();
    assert_eq!(shop.trips("rollback"), 1.0);

    // Another weight in the file is no reason to try it again.
    shop.proxy.rewrite(&SHOP.replace("weight = 30", "weight = 60"));
    shop.canary_rests();
    assert_eq!(shop.release()["state"], "rolled_back");

    // A person resumes it: it serves, and when it still fails it is rolled back by new evidence.
    shop.canary.answer_with(200);
    assert_eq!(shop.resume(), 200);
    shop.canary_serves();
    assert_eq!(shop.release()["state"], "watching");
    assert_eq!(shop.resume(), 409, "there is no latch to end");
    shop.canary.answer_with(503);
    shop.send_until("rolled_back");
    shop.canary_rests();
    assert_eq!(shop.trips("rollback"), 2.0);

    // Another revision is another release.
    shop.canary.answer_with(200);
    shop.proxy.rewrite(&SHOP.replace("2.0", "2.1"));
    shop.canary_serves();
    let release = shop.release();
    assert_eq!(release["state"], "watching", "{release:#}");
    assert!(release["revision"].as_str().unwrap().contains("v2=2.1"), "{release:#}");
    // The old one comes back rolled back.
    shop.proxy.rewrite(SHOP);
    shop.canary_rests();
    assert_eq!(shop.release()["state"], "rolled_back");
}

#[test]
fn a_guard_that_warns_moves_no_caller() {
    let mut shop = Shop::start(&SHOP.replace("\"rollback\"", "\"warn\""));
    shop.send(CALLERS);
    shop.canary.answer_with(500);
    let release = shop.send_until("warned");
    assert!(release["says"].as_str().is_some_and(|says| says.contains("warns")), "{release:#}");
    shop.canary_serves();
    assert_eq!((shop.trips("warn") >= 1.0, shop.trips("rollback")), (true, 0.0));
    assert_eq!(shop.resume(), 409);
}

#[test]
fn a_route_without_guards_has_no_release() {
    let mut shop = Shop::start(&SHOP.replace("\"rollback\"", "\"off\""));
    shop.canary.answer_with(500);
    shop.send(2 * CALLERS);
    let reply = over_socket(&shop.proxy, &call("GET", "/v1/rollouts", "", ""));
    assert_eq!(reply.json()["rollouts"].as_array().map(Vec::len), Some(0), "{reply:?}");
    shop.canary_serves();
}

#[test]
fn an_incident_common_to_both_arms_rolls_nothing_back() {
    let mut shop = Shop::start(SHOP);
    shop.send(CALLERS);
    shop.stable.answer_with(500);
    shop.canary.answer_with(500);
    let (before, began) = (shop.canary.requests(), pointsman::clock::Clock.now());
    // Several slots, and more failures of the canary than any of its guards would need.
    while shop.canary.requests() < before + 300 || began.elapsed().as_secs() < 3 {
        shop.send(CALLERS_A_LOOK);
        let release = shop.release();
        assert_eq!(release["state"], "watching", "{release:#}");
    }
    shop.canary_serves();
    // It is found at once where the incident was the canary's alone.
    shop.stable.answer_with(200);
    shop.send_until("rolled_back");
}

#[test]
fn rescue_and_further_tries_hide_nothing() {
    for (name, text) in [
        ("rescue", SHOP.replace("weight = 30 }", "weight = 30, rescue = { on = [\"5xx\"] } }")),
        ("retry", SHOP.replace("sticky =", "retry = { attempts = 2, on = [\"5xx\"] }\nsticky =")),
    ] {
        let mut shop = Shop::start(&text);
        shop.send(CALLERS);
        shop.canary.answer_with(500);
        let release = shop.send_until("rolled_back");
        assert!(release["says"].is_string(), "{name}: {release:#}");
        shop.canary_rests();
    }
}
