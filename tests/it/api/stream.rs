//! `/v1/events` and `/v1/journal`: records in their order, from any one on.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{SHOP, bearer, call, over_socket, over_tcp, tokens, with_tokens};
use crate::harness::{PATIENCE, Proxy};

/// A reader of an event stream.
pub(super) struct Events(BufReader<TcpStream>);

/// An event: its id, its name and its record.
pub(super) struct Event {
    id: u64,
    name: String,
    pub record: Value,
}

impl Events {
    #[track_caller]
    pub fn open(proxy: &Proxy, query: &str, lines: &str) -> Self {
        let mut stream = TcpStream::connect(proxy.admin()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut events = Self(BufReader::new(stream));
        let head = events.line().unwrap();
        assert!(head.contains(" 200 "), "{head}");
        while events.line().unwrap() != "" {}
        events
    }

    /// The next line, of the head or of the chunks; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).unwrap();
        (count > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; `None` when the stream ends.
    pub fn next(&mut self) -> Option<Event> {
        let (mut id, mut name) = (0, String::new());
        loop {
            let line = self.line()?;
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.parse().unwrap();
            } else if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                return Some(Event { id, name, record: serde_json::from_str(text).unwrap() });
            } else if line == "0" {
                return None;
            }
        }
    }

    /// The next event with this name.
    #[track_caller]
    pub fn named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().unwrap();
            assert_eq!(event.record["seq"], event.id);
            assert_eq!(event.record["what"], event.name.as_str());
            if event.name == name {
                return event;
            }
        }
    }
}

#[track_caller]
fn act(proxy: &Proxy, path: &str, body: &str) -> Value {
    let reply = over_socket(proxy, &call("POST", path, "", body));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn events_come_as_they_are_made_and_again_from_any_number_on() {
    let proxy = Proxy::start(SHOP);
    let mut live = Events::open(&proxy, "", "");
    let kill = act(&proxy, "/v1/kill", r#"{"route": "shop", "reason": "p99 rises"}"#);
    let event = live.named("kill");
    assert_eq!(event.record, kill["record"]);
    let revive = act(&proxy, "/v1/revive", r#"{"route": "shop", "reason": "fixed"}"#);
    assert_eq!(live.named("revive").record, revive["record"]);

    let mut again = Events::open(&proxy, "?after=0", "");
    assert_eq!((again.named("kill").id, again.named("revive").id), (event.id, event.id + 1));
    let mut rest = Events::open(&proxy, "?after=0", &format!("Last-Event-ID: {}\r\n", event.id));
    assert_eq!(rest.next().unwrap().id, event.id + 1, "the last event that was seen comes before the query");

    let page = over_tcp(&proxy, &call("GET", &format!("/v1/journal?after={}&limit=1", event.id - 1), "", "")).json();
    assert_eq!(page["records"], serde_json::json!([kill["record"]]));
    assert_eq!((&page["next_after"], &page["seq"]), (&event.id.into(), &(event.id + 1).into()));
    for bad in ["?after=x", "?limit=0", "?limit=1001", "?before=1", "?after=1&after=1"] {
        assert_eq!(
            over_tcp(&proxy, &call("GET", &format!("/v1/journal{bad}"), "", "")).problem(),
            "bad-query",
            "{bad}"
        );
    }
    let bad = over_tcp(&proxy, &call("GET", "/v1/events", "Last-Event-ID: x\r\n", ""));
    assert_eq!(bad.problem(), "bad-query");
}

#[test]
fn a_stream_ends_with_its_token() {
    let proxy = with_tokens();
    let mut events = Events::open(&proxy, "", &bearer("viewer"));
    std::fs::write(proxy.dir().join("tokens.toml"), tokens(&[("operator", "operator", "")])).unwrap();
    assert_ne!(proxy.app().reload().name(), "rejected");
    while events.next().is_some() {}
}

#[test]
fn streams_have_a_limit_and_end_with_the_proxy() {
    let proxy = Proxy::start(SHOP);
    let mut streams: Vec<Events> = (0..128).map(|_| Events::open(&proxy, "", "")).collect();
    let refused = over_tcp(&proxy, &call("GET", "/v1/events", "", ""));
    assert_eq!((refused.status, refused.problem().as_str()), (503, "busy"));
    let last = streams.pop().unwrap();
    drop(last);
    // The place is free once the proxy has noticed it.
    crate::harness::until("a place is free", || {
        let mut stream = TcpStream::connect(proxy.admin()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.contains(" 200 ").then_some(())
    });
    proxy.stop();
    for mut stream in streams {
        while stream.0.read_line(&mut String::new()).is_ok_and(|count| count > 0) {}
    }
}

#[test]
fn a_stream_without_a_token_ends_when_tokens_are_configured() {
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let proxy =
        Proxy::workers(1).file("tokens.toml", &tokens(&[("viewer", "viewer", "")])).start(&format!("{admin}{SHOP}"));
    let mut anonymous = Events::open(&proxy, "", "");
    let mut early = Events::open(&proxy, "", &bearer("viewer"));
    proxy.write(&format!("{admin}tokens = \"tokens.toml\"\n{SHOP}"));
    assert_ne!(proxy.app().reload().name(), "rejected");
    while anonymous.next().is_some() {}
    act(&proxy, "/v1/kill", r#"{"route": "shop", "reason": "p99 rises"}"#);
    early.named("kill");
}

#[test]
fn a_number_that_is_not_given_yet_begins_at_the_oldest_record() {
    let proxy = Proxy::start(SHOP);
    let kill = act(&proxy, "/v1/kill", r#"{"route": "shop", "reason": "p99 rises"}"#);
    for (query, lines) in [("?after=9999", ""), ("", "Last-Event-ID: 9999\r\n")] {
        assert_eq!(Events::open(&proxy, query, lines).named("kill").record, kill["record"]);
    }
}
