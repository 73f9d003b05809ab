//! Names: the last addresses are kept, and new ones are published under the same generation.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Folder, eventually, file, generation, get, start};
use crate::app::{App, Resolve};
use crate::control::{DnsAnswer, LookupResult};

/// Answers with the addresses that a test sets.
#[derive(Default)]
struct FakeDns(Mutex<HashMap<String, LookupResult>>);

impl FakeDns {
    fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().expect("an address"));
        let answered = DnsAnswer::new(addresses, Duration::ZERO).map_err(|_| "no such name".to_owned());
        self.0.lock().expect("whole").insert(name.to_owned(), answered);
    }
}

impl Resolve for FakeDns {
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>> {
        let answered = self.0.lock().expect("whole").get(name).cloned();
        Box::pin(std::future::ready(answered.unwrap_or_else(|| Err("unknown".to_owned()))))
    }
}

fn addresses(app: &App, upstream: usize) -> Vec<String> {
    let status = app.status();
    let endpoints = status["upstreams"][upstream]["endpoints"].as_array().expect("a list").clone();
    endpoints.iter().map(|endpoint| endpoint["address"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn addresses_follow_lookups_and_the_last_ones_are_kept() {
    let dns = Arc::new(FakeDns::default());
    dns.set("v1.internal", &["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    let folder = Folder::new(&file(5).replace("http://127.0.0.1:1", "http://v1.internal:81"));
    let mut options = folder.options();
    options.resolver = Arc::clone(&dns) as Arc<dyn Resolve>;
    let app = start(&options).expect("started");
    assert_eq!(addresses(&app, 0), ["10.0.0.1:81", "10.0.0.2:81"], "sorted, without duplicates");
    assert_eq!(app.status()["upstreams"][0]["endpoints"][0]["name"], "v1.internal:81");
    let before = app.state.snapshot();

    dns.set("v1.internal", &["10.0.0.3"]);
    eventually("the new address", || addresses(&app, 0) == ["10.0.0.3:81"]);
    assert_eq!(generation(&app), 1);
    let after = app.state.snapshot();
    assert!(Arc::ptr_eq(&before.upstreams[1], &after.upstreams[1]), "the other upstream is unchanged");

    dns.set("v1.internal", &[]);
    eventually("a failure is seen", || app.status()["names"]["v1.internal"]["error"] == "no such name");
    assert_eq!(addresses(&app, 0), ["10.0.0.3:81"], "the last addresses are kept");
    let metrics = get(&app, "/metrics").body;
    assert!(metrics.contains("pointsman_dns_resolutions_total{name=\"v1.internal\",outcome=\"failed\"}"), "{metrics}");
    dns.set("v1.internal", &["10.0.0.4"]);
    eventually("it answers again", || addresses(&app, 0) == ["10.0.0.4:81"]);
    assert!(app.status()["names"]["v1.internal"]["error"].is_null());
}

#[test]
fn lookups_are_counted_while_their_name_is_in_use() {
    let dns = Arc::new(FakeDns::default());
    dns.set("v1.internal", &["10.0.0.1"]);
    let folder = Folder::new(&file(5).replace("http://127.0.0.1:1", "http://v1.internal:81"));
    let mut options = folder.options();
    options.resolver = Arc::clone(&dns) as Arc<dyn Resolve>;
    let app = start(&options).expect("started");
    dns.set("v1.internal", &[]);
    let lookups = || app.status()["names"]["v1.internal"].clone();
    eventually("a lookup fails", || lookups()["failed"].as_u64() >= Some(1));
    assert!(lookups()["succeeded"].as_u64() >= Some(1), "the first answer is counted: {}", lookups());
    let metrics = get(&app, "/metrics").body;
    for outcome in ["failed", "succeeded"] {
        let line = format!("pointsman_dns_resolutions_total{{name=\"v1.internal\",outcome=\"{outcome}\"}} ");
        let count = metrics.lines().find_map(|text| text.strip_prefix(&line)).and_then(|count| count.parse().ok());
        assert!(count >= Some(1_u64), "{outcome}: {metrics}");
    }
    folder.write("routes.toml", &file(5));
    assert_eq!(app.reload().name(), "applied");
    let metrics = get(&app, "/metrics").body;
    assert!(!metrics.contains("v1.internal") && !metrics.contains("pointsman_dns_resolutions_total"), "{metrics}");
}

#[test]
fn a_name_that_does_not_resolve_does_not_prevent_the_start() {
    let dns = Arc::new(FakeDns::default());
    let folder = Folder::new(&file(5).replace("http://127.0.0.1:1", "http://late.internal:81"));
    let mut options = folder.options();
    options.resolver = Arc::clone(&dns) as Arc<dyn Resolve>;
    let app = start(&options).expect("started");
    assert!(addresses(&app, 0).is_empty());
    dns.set("late.internal", &["10.0.0.9"]);
    eventually("it resolves", || addresses(&app, 0) == ["10.0.0.9:81"]);
}

#[test]
fn a_new_name_is_resolved_before_it_is_used() {
    let dns = Arc::new(FakeDns::default());
    dns.set("new.internal", &["10.0.0.7"]);
    let folder = Folder::new(&file(5));
    let mut options = folder.options();
    options.resolver = Arc::clone(&dns) as Arc<dyn Resolve>;
    let app = start(&options).expect("started");
    folder.write("routes.toml", &file(5).replace("http://127.0.0.1:2", "http://new.internal:82"));
    let outcome = app.reload();
    assert_eq!(outcome.name(), "applied");
    assert_eq!(addresses(&app, 1), ["10.0.0.7:82"]);
}
