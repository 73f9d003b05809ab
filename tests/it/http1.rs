//! HTTP/1.1 and 1.0 in and out, as they should be: what passes, and what it becomes.

use crate::harness::{Proxy, Upstream};

#[test]
fn a_request_passes() {
    let echo = Upstream::echo().named("one");
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    let answer = client.get("/a/b?c=d", "X-Mine: 1\r\n");
    assert_eq!(answer.status, 200);
    let got = answer.json();
    assert_eq!(got["name"], "one");
    assert_eq!(got["target"], "/a/b?c=d");
    assert_eq!(answer.echoed("x-mine"), ["1"]);
    let answer = client.post("/upload", "", b"hello");
    assert_eq!(answer.json()["body"], "hello");
    drop(client);
    proxy.settles();
    let lines = proxy.logged(2);
    assert_eq!(lines[0]["status"], 200);
    assert_eq!(lines[0]["termination"], "--");
    assert_eq!(proxy.metric_sum("pointsman_requests_total"), 2.0);
}
