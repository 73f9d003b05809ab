//! The whole proxy: requests go through it while it is reloaded, are logged, counted and drained.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::harness::{Folder, eventually, file, generation, get};
use crate::app::{App, Stopped, workers};
use crate::control::{WorkerParts, with_overlay};
use crate::route::{Kill, Overlay, RouteId, Stop, VariantId, Weight};
use crate::snapshot::SnapshotStore;
use crate::telemetry::MeterRegistry;

/// An upstream that answers every request with its name, on persistent connections. Responses to `/long` never end.
pub(super) fn upstream(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                    if line.starts_with("GET ") {
                        length = if line.starts_with("GET /long ") { 1_000 } else { name.len() };
                    }
                    if line == "\r\n" {
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

/// A client that keeps its connection.
pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    pub(super) fn connect(app: &App) -> Self {
        Self(BufReader::new(TcpStream::connect(app.listeners()[0].1).expect("connected")))
    }

    pub(super) fn get(&mut self, path: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).expect("sent");
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            assert!(self.0.read_line(&mut head).expect("answered") > 0, "the connection is kept: {head:?}");
            if let Some(value) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        (head, String::from_utf8(body).expect("text"))
    }

    /// Sends a request and reads the first byte of the answer.
    pub(super) fn begin(&mut self, path: &str) {
        self.0
            .get_mut()
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").as_bytes())
            .expect("sent");
        let mut begun = [0; 1];
        self.0.read_exact(&mut begun).expect("the answer begins");
    }

    /// Reads until this text.
    pub(super) fn begins_with(&mut self, text: &str) {
        let mut seen = String::new();
        while !seen.ends_with(text) {
            let mut one = [0; 1];
            self.0.read_exact(&mut one).expect("more of the answer");
            seen.push(char::from(one[0]));
        }
    }

    /// Reads to the end of the connection. The way a closed connection ends depends on the system.
    pub(super) fn is_closed(&mut self) {
        let _ = self.0.read_to_end(&mut Vec::new());
    }
}

/// An app with one worker that follows another store than the controller's, so that overlays can be published to it.
fn followed(folder: &Folder) -> (App, SnapshotStore) {
    let (give, stores) = channel();
    let spawn = workers();
    let settings = crate::app::Options { workers: NonZeroUsize::new(1), ..folder.options() }.settings();
    let app = App::launch(
        settings,
        Box::new(move |parts| {
            let (published, store) =
                (parts.snapshots.clone(), SnapshotStore::new((**parts.snapshots.borrow()).clone()));
            let parts = WorkerParts { snapshots: store.follow(), ..parts };
            give.send((published, store)).expect("the test waits for it");
            spawn(parts)
        }),
    );
    let app = app.expect("started");
    let (published, store) = stores.recv().expect("a worker");
    // With the listeners.
    store.publish((**published.borrow()).clone());
    (app, store)
}

fn publish(store: &SnapshotStore, overlay: Overlay) {
    store.publish(with_overlay(&store.load(), overlay, &MeterRegistry::new(1), Duration::ZERO));
}

#[test]
fn an_overlay_takes_effect_without_a_reload() {
    let (one, two) = (upstream("one"), upstream("two"));
    let text = file(100).replace("127.0.0.1:1\"", &format!("{one}\"")).replace("127.0.0.1:2\"", &format!("{two}\""));
    let (app, store) = followed(&Folder::new(&text));
    let first = store.load();
    let files = first.overlay.clone();
    let canary = VariantId(1);
    let state = files.split(RouteId(0)).clone();
    let mut client = Client::connect(&app);
    let mut becomes = |overlay: Overlay, expected: &str| {
        publish(&store, overlay);
        eventually(expected, || client.get("/a").1 == expected);
    };
    let stopped = |stop| {
        let mut state = state.clone();
        state.stop(canary, stop);
        files.with([(RouteId(0), state)])
    };
    becomes(files.clone(), "two");
    becomes(files.with_kill(Kill { all: true, ..Kill::default() }), "one");
    becomes(files.clone(), "two");
    becomes(files.with([(RouteId(0), state.with_weight(canary, Weight::ZERO).expect("a weight"))]), "one");
    becomes(files.clone(), "two");
    becomes(stopped(Stop::Latch), "one");
    becomes(files.clone(), "two");
    becomes(stopped(Stop::Kill), "one");
    assert!(Arc::ptr_eq(&first.rules, &store.load().rules) && generation(&app) == 1, "the files are not loaded again");
    let metrics = get(&app, "/metrics").body;
    for reason in ["kill", "latch", "stable"] {
        let series = format!("{{reason=\"{reason}\",route=\"api\",status_class=\"2xx\",variant=\"stable\"}}");
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
}

#[test]
fn a_kill_by_overlay_closes_streams_that_were_open_before() {
    let (one, two) = (upstream("one"), upstream("two"));
    let text = file(100).replace("127.0.0.1:1\"", &format!("{one}\"")).replace("127.0.0.1:2\"", &format!("{two}\""));
    let (app, store) = followed(&Folder::new(&text));
    let mut client = Client::connect(&app);
    client.0.get_mut().write_all(b"GET /long HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").expect("sent");
    let mut begun = [0; 1];
    client.0.read_exact(&mut begun).expect("the answer begins");
    let overlay = store.load().overlay.clone();
    let mut state = overlay.split(RouteId(0)).clone();
    state.stop(VariantId(1), Stop::Kill);
    let kill = Kill { close_streams: Some(Duration::from_millis(1)), ..Kill::default() };
    publish(&store, overlay.with([(RouteId(0), state)]).with_kill(kill));
    let mut rest = Vec::new();
    // The way a closed connection ends depends on the system.
    let _ = client.0.read_to_end(&mut rest);
    assert!(rest.ends_with(b"two"), "{rest:?}");
    eventually("the stream is counted", || get(&app, "/metrics").body.contains("pointsman_killed_streams_total 1\n"));
}

#[test]
fn requests_are_served_through_reloads_and_a_drain() {
    let (one, two) = (upstream("one"), upstream("two"));
    let text = |weight| {
        file(weight)
            .replace("127.0.0.1:1\"", &format!("{one}\""))
            .replace("127.0.0.1:2\"", &format!("{two}\""))
            .replace("sink = \"off\"", &format!("sink = \"{}\"", "LOG"))
    };
    let folder = Folder::new("");
    let log = folder.path("access.log");
    let write = |weight: u32| folder.write("routes.toml", &text(weight).replace("LOG", &log.display().to_string()));
    write(0);
    let mut options = folder.options();
    options.workers = NonZeroUsize::new(1);
    let app = App::start(options).expect("started");
    let mut client = Client::connect(&app);
    assert_eq!(client.get("/a").1, "one");
    for round in 0..20 {
        let (weight, expected) = if round % 2 == 0 { (100, "two") } else { (0, "one") };
        write(weight);
        assert_ne!(app.reload().name(), "rejected");
        assert_eq!(client.get("/b").1, expected, "decided by the new rules on the old connection");
    }
    let metrics = get(&app, "/metrics").body;
    let count =
        "pointsman_requests_total{reason=\"weight\",route=\"api\",status_class=\"2xx\",variant=\"canary\"} 10\n";
    assert!(metrics.contains(count), "{metrics}");
    assert!(metrics.contains("pointsman_connections_accepted_total 1\n"), "{metrics}");
    assert_eq!(get(&app, "/healthz").body, "ok\n");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("21 lines of log", || lines().lines().count() == 21);
    let last: serde_json::Value = serde_json::from_str(lines().lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["route"], &last["variant"], &last["path"]), (&"api".into(), &"stable".into(), &"/b".into()));
    app.stop();
    assert_eq!(app.wait(), Stopped::Drained);
}
