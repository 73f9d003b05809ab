//! `dashboard`: the link that it prints, as people and scripts see it. The proxy is a socket with given answers.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::process::{Finished, command, finish};

const LINK: &str = r#"{"path": "/sign-in#link=s3cret", "expires_in_s": 60}"#;

/// A folder whose admin socket gives these answers: to `/v1/status`, and to the call for a link.
struct Scene(tempfile::TempDir);

/// The answer to the call for a link.
#[derive(Clone, Copy)]
struct Made {
    code: u16,
    text: &'static str,
}

impl Scene {
    fn new(status: &Value, code: u16, text: &'static str) -> Self {
        let made = Made { code, text };
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("state/run");
        fs::create_dir_all(&run).unwrap();
        let listener = UnixListener::bind(run.join("admin.sock")).unwrap();
        let status = status.to_string();
        // It ends with the process of the tests.
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &status, made);
            }
        });
        Self(dir)
    }

    fn run(&self, words: &[&str]) -> Finished {
        finish(self.0.path(), &[&["dashboard"], words].concat())
    }
}

fn answer(mut stream: UnixStream, status: &str, made: Made) {
    let mut lines = BufReader::new(&stream);
    let (mut first, mut field, mut length) = (String::new(), String::new(), 0);
    lines.read_line(&mut first).unwrap();
    while lines.read_line(&mut field).unwrap() > 2 {
        if let Some(value) = field.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        field.clear();
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).unwrap();
    let (code, text) = match first.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/v1/status", _] => (200, status),
        ["POST", "/v1/session/link", _] if body == b"{}" => (made.code, made.text),
        _ => (500, "unexpected"),
    };
    let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
}

fn proxy() -> Value {
    json!({ "version": "0.1.0", "admin": ["0.0.0.0:9900"], "admin_tls": false })
}

#[test]
fn the_link_alone_is_on_standard_output() {
    let scene = Scene::new(&proxy(), 200, LINK);
    let printed = scene.run(&[]);
    assert_eq!(
        (printed.code, printed.stdout.as_str()),
        (0, "http://127.0.0.1:9900/sign-in#link=s3cret\n"),
        "{printed:?}"
    );
    assert!(printed.stderr.contains("once, within 60 s") && !printed.stderr.contains("s3cret"), "{printed:?}");
    let named = scene.run(&["--host", "edge-1.internal"]);
    assert_eq!(named.stdout, "http://edge-1.internal:9900/sign-in#link=s3cret\n");
    let value: Value = serde_json::from_str(&scene.run(&["--json"]).stdout).unwrap();
    assert_eq!(value["url"], "http://127.0.0.1:9900/sign-in#link=s3cret");
    assert_eq!((&value["expires_in_s"], &value["opened"]), (&json!(60), &json!(false)));
    let secured = json!({ "version": "0.1.0", "admin": ["[::]:9900"], "admin_tls": true });
    let printed = Scene::new(&secured, 200, LINK).run(&[]);
    assert_eq!(printed.stdout, "https://[::1]:9900/sign-in#link=s3cret\n");
}

#[test]
fn a_proxy_that_makes_no_link_says_what_to_do() {
    let older = Scene::new(&proxy(), 404, "there is no /v1/session/link here\n").run(&[]);
    assert!(older.code == 1 && older.stdout.is_empty(), "{older:?}");
    assert!(older.stderr.contains("it runs version 0.1.0") && older.stderr.contains("= help: "), "{older:?}");
    let problem = r#"{"type": "urn:pointsman:problem:user-not-listed", "title": "t", "status": 403,
        "detail": "the user `bo` is not listed", "help": "add \"bo\" to `socket_operators`"}"#;
    let refused = Scene::new(&proxy(), 403, problem);
    let printed = refused.run(&[]);
    assert!(printed.code == 2 && printed.stdout.is_empty(), "{printed:?}");
    assert!(printed.stderr.contains("the user `bo` is not listed\n  = help: add \"bo\""), "{printed:?}");
    let document: Value = serde_json::from_str(&refused.run(&["--json"]).stdout).unwrap();
    assert_eq!(document["status"], 403);
    let bare = Scene::new(&json!({ "version": "0.1.0", "admin": [] }), 200, LINK).run(&[]);
    assert!(bare.code == 1 && bare.stderr.contains("no TCP address"), "{bare:?}");
    let elsewhere = Scene::new(&proxy(), 200, r#"{"path": "//evil.example/"}"#).run(&[]);
    assert!(elsewhere.code == 1 && elsewhere.stderr.contains("without a link"), "{elsewhere:?}");
}

#[test]
fn without_a_proxy_it_prints_what_it_tried() {
    let dir = tempfile::tempdir().unwrap();
    let printed = finish(dir.path(), &["dashboard", "--admin", "unix:gone.sock"]);
    assert!(printed.code == 1 && printed.stderr.contains("cannot ask unix:gone.sock: No such file"), "{printed:?}");
    let printed = finish(dir.path(), &["dashboard", "--host", "edge:9900"]);
    assert!(printed.code == 64 && printed.stderr.contains("without a port"), "{printed:?}");
}

/// Runs `dashboard --open` where the program that opens a URL is this script.
fn open(scene: &Scene, script: &str, screen: &str) -> Finished {
    let opener = scene.0.path().join("xdg-open");
    fs::write(&opener, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = command(scene.0.path(), &["dashboard", "--open"]);
    command.env("PATH", scene.0.path()).env("DISPLAY", screen).env_remove("WAYLAND_DISPLAY");
    let output = command.output().unwrap();
    Finished {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_browser_opens_it_or_it_is_printed() {
    let scene = Scene::new(&proxy(), 200, LINK);
    let seen = |dir: &Path| fs::read_to_string(dir.join("opened")).unwrap_or_default();
    let opened = open(&scene, "echo \"$1\" > opened", ":0");
    assert!(opened.code == 0 && opened.stdout.is_empty(), "{opened:?}");
    assert!(opened.stderr.starts_with("opened in the browser: "), "{opened:?}");
    assert_eq!(seen(scene.0.path()), "http://127.0.0.1:9900/sign-in#link=s3cret\n");
    for (script, screen, why) in [("exit 3", ":0", "exit status: 3"), ("echo > opened", "", "no screen")] {
        fs::write(scene.0.path().join("opened"), "").unwrap();
        let printed = open(&scene, script, screen);
        assert_eq!((printed.code, printed.stdout.as_str()), (0, "http://127.0.0.1:9900/sign-in#link=s3cret\n"));
        assert!(printed.stderr.contains(why) && seen(scene.0.path()).is_empty(), "{printed:?}");
    }
}
