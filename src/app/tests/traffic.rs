//! The whole proxy: requests go through it while it is reloaded, are logged, counted and drained.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;

use super::harness::{Folder, eventually, file, get};
use crate::app::{App, Stopped};

/// An upstream that answers every request with its name, on connections that it keeps.
fn upstream(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                    if line == "\r\n" {
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
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
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(app: &App) -> Self {
        Self(BufReader::new(TcpStream::connect(app.listeners()[0].1).expect("connected")))
    }

    fn get(&mut self, path: &str) -> (String, String) {
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
}

#[test]
fn goes_on_through_reloads_and_drains() {
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
