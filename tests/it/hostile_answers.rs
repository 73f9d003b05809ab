//! Hostile answers of an HTTP/1.1 upstream, through the whole proxy, to clients of HTTP/1.1 and of HTTP/2: each has one
//! outcome, at the client and in the log; it costs no other request anything; and no byte is read twice.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::harness::arrival::Ends;
use crate::harness::wire::all;
use crate::harness::{PATIENCE, Proxy, Upstream, until};

mod chunks;
mod client;
mod fields;
mod framing;
pub(crate) mod row;
mod sequences;
mod stage;
mod status_lines;

use client::{Client, Received, Version};
use row::{Connection, Outcome, Row, Seen};
use stage::Stage;

/// One route with a limit that ends a proxy that waits in vain.
const ROUTE: &str = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
retry = { attempts = 0 }
timeout = { request = "20s", idle = "20s" }
"#;

/// Whether the upstream's connection was used before the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    First,
    Again,
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    [status_lines::rows(), fields::rows(), framing::rows(), chunks::rows(), sequences::rows()].concat()
}

/// Plays a row, then sends another request: `/last` leaves no connection in the pool.
#[track_caller]
fn play(stage: &Stage, client: &mut Client<'_>, at: usize, row: &Row, used: Use) {
    let what = format!("{at} {}, {used:?}", row.name);
    let (case, next) = match used {
        Use::First => (format!("/case/{at}/first"), format!("/next/{at}")),
        Use::Again => (format!("/case/{at}/again"), format!("/last/{at}")),
    };
    let cue = stage.play(row);
    let received = client.exchange(row.method, &case, || cue.give(Seen::Head));
    cue.give(Seen::Answer);
    let what = format!("{what}, {:?}", stage.receipts(&case));
    check_response(&what, row, &received, client);
    cue.finished(&what);
    let receipts = stage.receipts(&case);
    // RFC 9112 §9.3.1: a request without a body and with an idempotent method, on a connection that was used before.
    let again = used == Use::Again && row.is_silent() && row.method != "POST";
    assert_eq!(receipts.len(), if again { 2 } else { 1 }, "{what}: {receipts:?}");
    assert_eq!(receipts[0].earlier > 0, used == Use::Again, "{what}: {receipts:?}");
    let after = client.exchange("GET", &next, || {});
    assert_eq!((after.status, String::from_utf8_lossy(&after.body)), (200, next.as_str().into()), "{what}: {after:?}");
    assert!(after.complete && after.trailers.is_empty() && after.early.is_empty(), "{what}: {after:?}");
    assert!(!after.fields.iter().any(|(name, _)| name.starts_with('x')), "{what}: {after:?}");
    let nexts = stage.receipts(&next);
    assert_eq!(nexts.len(), 1, "{what}: {nexts:?}");
    let kept = nexts[0].connection == receipts[receipts.len() - 1].connection;
    assert_eq!(kept, row.connection == Connection::Kept, "{what}: {receipts:?}, then {nexts:?}");
}

#[track_caller]
fn check_response(what: &str, row: &Row, received: &Received, client: &Client<'_>) {
    let status = match row.outcome {
        Outcome::Complete(status) => status,
        Outcome::Cut => 200,
        Outcome::Refused => 502,
    };
    let head = String::from_utf8_lossy(&received.body[..received.body.len().min(200)]).into_owned();
    assert_eq!(received.status, status, "{what}: {:?} {head:?}", received.fields);
    assert_eq!(received.complete, row.outcome != Outcome::Cut, "{what}: {head:?}");
    match row.outcome {
        Outcome::Complete(_) => assert!(received.body == row.body, "{what}: {head:?}"),
        Outcome::Cut => assert!(row.body.starts_with(&received.body), "{what}: {head:?}"),
        Outcome::Refused => {
            let status = all(&received.fields, "proxy-status");
            assert!(status.len() == 1 && status[0].starts_with("pointsman; error="), "{what}: {status:?}");
            let evil = received.body.windows(4).any(|four| four == b"evil");
            assert!(!evil, "{what}: {head:?}");
        }
    }
    let trailers: Vec<_> = received.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(trailers, row.trailers, "{what}");
    if client.reads_informational() {
        assert_eq!(received.early, row.early, "{what}");
    }
    let absent = row.absent.iter().filter(|name| !all(&received.fields, name).is_empty());
    assert_eq!(absent.count(), 0, "{what}: {:?}", received.fields);
}

/// Compares the access log with the rows.
#[track_caller]
fn check_log(proxy: &Proxy, rows: &[Row]) {
    let lines: BTreeMap<String, serde_json::Value> = proxy
        .logged(4 * rows.len())
        .into_iter()
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line))
        .collect();
    assert_eq!(lines.len(), 4 * rows.len(), "each request has a line");
    for (at, row) in rows.iter().enumerate() {
        let (status, termination) = match row.outcome {
            Outcome::Complete(status) => (status, "--"),
            Outcome::Cut => (200, "UB"),
            Outcome::Refused => (502, "UH"),
        };
        for used in ["first", "again"] {
            let line = &lines[&format!("/case/{at}/{used}")];
            let found = (line["status"].as_u64(), line["termination"].as_str(), line["detail"].as_str().unwrap_or(""));
            // TLS is recognized by the first bytes of a connection.
            let spoke = row.detail == "upstream_speaks_tls" && used == "again" && found.2 == "upstream_protocol";
            let detail = if spoke { found.2 } else { row.detail };
            assert_eq!(found, (Some(status.into()), Some(termination), detail), "{at} {}: {line}", row.name);
        }
        for next in ["next", "last"] {
            let line = &lines[&format!("/{next}/{at}")];
            assert_eq!(line["termination"], "--", "after {at} {}: {line}", row.name);
        }
    }
}

/// Plays every row on a new connection to the upstream, and on one that was used before.
#[track_caller]
fn play_all(version: Version) {
    let rows = rows();
    assert_eq!(rows.len(), 213, "rows");
    let stage = Stage::new();
    let proxy = Proxy::with("main", &stage.upstream).start(ROUTE);
    let mut client = Client::connect(&proxy, version);
    let mut failed = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let mut both = || [Use::First, Use::Again].map(|used| play(&stage, &mut client, at, row, used));
        // Every row is played, also after one that fails: the list says more than its first entry.
        if catch_unwind(AssertUnwindSafe(&mut both)).is_err() {
            failed.push(row.name);
            client = Client::connect(&proxy, version);
            client.exchange("GET", "/last/after-a-failure", || {});
        }
    }
    assert!(failed.is_empty(), "{} of {} rows failed: {failed:#?}", failed.len(), rows.len());
    drop(client);
    proxy.settles();
    check_log(&proxy, &rows);
    let silent = rows.iter().filter(|row| row.is_silent() && row.method != "POST").count();
    assert_eq!(stage.received(), 4 * rows.len() + silent, "requests that were received");
    assert_eq!(proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"), silent as f64);
    until("the upstream's connections end", || (stage.upstream.open() == 0).then_some(()));
    until("all memory is released", || (proxy.metric("pointsman_held_bytes") == 0.0).then_some(()));
}

/// An upstream may send a response as soon as it accepts. The first request of the connection may get it; what the
/// upstream sends for that request then is no response to the next one.
#[track_caller]
fn greet(version: Version) {
    let greeting = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ngreeting";
    let (sent, answered) = channel();
    let sent = Mutex::new(sent);
    let upstream = Upstream::script(move |mut conn| {
        conn.send(greeting);
        while let Ok(got) = conn.request() {
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", got.target.len(), got.target));
            Ends::of(&conn.wire.writer()).delivered();
            let _ = sent.lock().unwrap().send(got.target);
        }
    });
    let proxy = Proxy::with("main", &upstream).start(ROUTE);
    let mut client = Client::connect(&proxy, version);
    for i in 0..50 {
        let (method, path) = (["GET", "HEAD"][i % 2], format!("/{i}"));
        let received = client.exchange(method, &path, || {});
        assert!(received.complete, "{method} {path}: {received:?}");
        let text = String::from_utf8_lossy(&received.body);
        let fits = match received.status {
            200 => text == "greeting" || text == path || (method == "HEAD" && text.is_empty()),
            status => status == 502,
        };
        assert!(fits, "{method} {path}: {received:?}");
        // What it sends for this request has arrived before the next one.
        while received.status == 200 && answered.recv_timeout(PATIENCE).expect("it answers") != path {}
    }
    drop(client);
    proxy.settles();
    let mut targets: Vec<String> = upstream.got().into_iter().map(|got| got.target).collect();
    targets.sort_unstable();
    let received = targets.len();
    targets.dedup();
    assert_eq!(targets.len(), received, "a request was sent twice");
    until("the upstream's connections end", || (upstream.open() <= 1).then_some(()));
}

#[test]
fn a_response_before_the_request_harms_no_http1_client() {
    greet(Version::Http1);
}

#[test]
fn a_response_before_the_request_harms_no_http2_client() {
    greet(Version::Http2);
}

#[test]
fn hostile_answers_harm_no_http1_client() {
    play_all(Version::Http1);
}

#[test]
fn hostile_answers_harm_no_http2_client() {
    play_all(Version::Http2);
}
