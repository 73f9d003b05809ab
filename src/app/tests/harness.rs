//! A folder with a routes file, an app on it, and a client for its admin listener.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::app::{App, Options, ReloadOutcome, Signals, Spawn, StartError};
use crate::clock::Clock;
use crate::control::WorkerParts;
use crate::drain::Phase;

/// A routes file whose canary has this weight.
pub fn file(weight: u32) -> String {
    format!(
        r#"schema = 1
[admin]
address = "127.0.0.1:0"
[[listener]]
name = "http"
address = "127.0.0.1:0"
[access_log]
sink = "off"
[upstream.v1]
endpoints = ["http://127.0.0.1:1"]
[upstream.v2]
endpoints = ["http://127.0.0.1:2"]
[[route]]
name = "api"
match = {{ path = "/*" }}
sticky = ["client_ip"]
stable = "v1"
canary = {{ upstream = "v2", weight = {weight} }}
"#
    )
}

/// A folder with `routes.toml` in it.
pub struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    pub fn new(text: &str) -> Self {
        let folder = Self { dir: tempfile::tempdir().expect("a folder") };
        folder.write("routes.toml", text);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes in place, and creates missing folders.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Options for `routes.toml`: two workers, no signals, and reloads only on request, so that a test knows which
    /// reload reads what. The system chooses the ports.
    pub fn options(&self) -> Options {
        let text = std::fs::read_to_string(self.path("routes.toml")).unwrap_or_default();
        let chosen = text.contains("[admin]\naddress = ") && !text.contains(":9900");
        assert!(chosen || !text.contains("[[listener]]"), "no test takes port 9900:\n{text}");
        Options {
            workers: NonZeroUsize::new(2),
            signals: Signals::Ignore,
            poll_interval: None,
            env: Arc::new(|_| None),
            ..Options::new(self.path("routes.toml"))
        }
    }

    pub fn start(&self) -> App {
        start(&self.options()).expect("started")
    }

    /// The same with file watching. There is no polling that a test could mistake for watching.
    pub fn watched(&self) -> App {
        start(&Options { poll_interval: Some(Duration::from_hours(1)), ..self.options() }).expect("started")
    }
}

pub fn start(options: &Options) -> Result<App, StartError> {
    App::launch(options.clone().settings(), followers(Phase::Draining))
}

/// Workers that follow the snapshots and end in phase `end`.
pub fn followers(end: Phase) -> Spawn {
    Box::new(move |parts| follower(parts, end))
}

/// Starts one of them.
pub fn follower(parts: WorkerParts, end: Phase) -> std::io::Result<JoinHandle<()>> {
    let WorkerParts { index, mut snapshots, registry, mut drained, clock, .. } = parts;
    std::thread::Builder::new().spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            snapshots.mark_changed();
            loop {
                tokio::select! {
                    () = drained.reached(end) => {
                        registry.end(index);
                        return;
                    }
                    changed = snapshots.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let (generation, edition) = {
                            let snapshot = snapshots.borrow_and_update();
                            (snapshot.generation, snapshot.edition)
                        };
                        registry.adopt(index, generation, edition);
                        registry.beat(index, clock.now());
                    }
                }
            }
        });
    })
}

/// Waits for other threads.
pub fn eventually(what: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Clock.now() + Duration::from_mins(1);
    while !is_met() {
        assert!(Clock.now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn generation(app: &App) -> u64 {
    app.status()["generation"].as_u64().expect("a number")
}

pub fn weight(app: &App) -> f64 {
    app.status()["routes"][0]["variants"][1]["weight"].as_f64().expect("a weight")
}

pub fn rejected(outcome: &ReloadOutcome) -> &str {
    match outcome {
        ReloadOutcome::Rejected(rejection) => &rejection.text,
        ReloadOutcome::Unchanged { .. } | ReloadOutcome::Applied { .. } => panic!("not rejected: {outcome:?}"),
    }
}

/// A response of the admin listener.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Sends a request with these additional header lines.
pub fn ask(app: &App, method: &str, target: &str, lines: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(app.admin()).expect("connected");
    let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !lines.iter().any(|line| line.starts_with("Host:")) {
        request.push_str("Host: localhost\r\n");
    }
    for line in lines {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub fn get(app: &App, target: &str) -> Answer {
    ask(app, "GET", target, &[])
}
