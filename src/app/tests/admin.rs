//! The admin listener through real sockets.

use super::harness::{Folder, ask, file, get};
use crate::route::Reason;
use crate::telemetry::{Fallback, ReasonLabel, StatusClass};

#[test]
fn known_paths_are_answered_and_others_get_the_index() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    for (target, part) in [
        ("/", "GET  /metrics"),
        ("/healthz", "ok\n"),
        ("/readyz", "ok\n"),
        ("/metrics", "# TYPE pointsman_build_info gauge\n"),
        ("/status", "\"generation\": 1"),
        ("/explain?path=/x", "\"variant\""),
    ] {
        let answer = get(&app, target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert!(answer.body.contains(part), "{target}: {answer:?}");
        assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    }
    let unknown = get(&app, "/nothing");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("POST /reload"), "{unknown:?}");
    let post = ask(&app, "POST", "/metrics", &["Content-Length: 0"]);
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"), "{post:?}");
    let read = get(&app, "/reload");
    assert_eq!(read.status, 405);
    assert!(read.head.contains("allow: post"), "{read:?}");
    assert_eq!(ask(&app, "HEAD", "/healthz", &[]).body, "");
    assert_eq!(get(&app, "/explain?color=red").status, 400);
}

#[test]
fn reload_answers_with_the_requested_media_type() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let post = |accept: &str| ask(&app, "POST", "/reload", &["Content-Length: 0", &format!("Accept: {accept}")]);
    assert_eq!(post("*/*").json()["outcome"], "unchanged");
    folder.write("routes.toml", &file(6));
    let applied = post("application/json");
    assert_eq!(applied.status, 200);
    folder.write("routes.toml", &file(7).replace("stable", "stabel"));
    let json = post("application/json");
    assert_eq!(json.status, 422);
    assert!(json.json()["diagnostics"].as_array().is_some_and(|list| !list.is_empty()), "{json:?}");
    let text = post("text/plain");
    assert_eq!(text.status, 422);
    assert!(text.body.contains("stabel") && text.body.contains("routes.toml"), "{text:?}");
}

#[test]
fn requests_of_other_sites_are_rejected() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    assert_eq!(ask(&app, "GET", "/status", &["Host: evil.example"]).status, 403);
    let cross = ask(&app, "POST", "/reload", &["Content-Length: 0", "Origin: https://evil.example"]);
    assert_eq!(cross.status, 403);
}

#[test]
fn shares_are_measured() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let count = |variant: usize, reason: Reason, times: u64| {
        let snapshot = app.state.snapshot();
        let meter = snapshot.routes[0].series[variant].meters.of(0);
        let label = ReasonLabel::of(reason, Fallback::No).index();
        meter.requests[label][StatusClass::Success as usize].add(times);
    };
    let shares = || {
        let variants = get(&app, "/status").json()["routes"][0]["variants"].clone();
        [0, 1].map(|i: usize| (variants[i]["share"].as_f64(), variants[i]["share_total"].as_f64()))
    };
    assert_eq!(shares(), [(None, None), (None, None)]);
    count(0, Reason::Stable, 90);
    count(1, Reason::Weight, 10);
    count(1, Reason::Target, 1_000);
    assert_eq!(
        shares(),
        [(Some(90.0), Some(90.0)), (Some(10.0), Some(10.0))],
        "requests that matched a target are not counted"
    );
    folder.write("routes.toml", &file(50));
    assert_eq!(app.reload().name(), "applied");
    assert_eq!(shares(), [(None, Some(90.0)), (None, Some(10.0))]);
    count(0, Reason::Stable, 50);
    count(1, Reason::Weight, 50);
    assert_eq!(shares(), [(Some(50.0), Some(70.0)), (Some(50.0), Some(30.0))]);
    let metrics = get(&app, "/metrics").body;
    let line = "pointsman_requests_total{reason=\"weight\",route=\"api\",status_class=\"2xx\",variant=\"canary\"} 60\n";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("pointsman_variant_weight_ratio{route=\"api\",variant=\"canary\"} 0.5\n"), "{metrics}");
}
