//! The commands of an operator: the running proxy (`status`), reading the file again (`reload`), a first file (`init`),
//! a proxy without a file (`run --to`), and commands that other proxies have.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Proxy, Raw, Upstream, until};
use crate::process::{Finished, Running, command, finish};

const SHOP: &str = r#"
[identity]
user = ["cookie:uid"]
[upstream.v1]
endpoints = ["http://{v1}"]
[upstream.v2]
endpoints = ["http://{v2}"]
[[route]]
name = "shop"
match = { path = "/*" }
stable = "v1"
sticky = ["user"]
canary = { upstream = "v2", weight = 50 }
"#;

fn shop() -> (Proxy, [Upstream; 2]) {
    let upstreams = ["v1", "v2"].map(|name| Upstream::echo().named(name));
    let proxy = Proxy::with("v1", &upstreams[0]).with("v2", &upstreams[1]).start(SHOP);
    (proxy, upstreams)
}

/// Runs a command line, split at blanks, and checks its exit code.
#[track_caller]
fn check(dir: &Path, line: &str, code: i32) -> Finished {
    let words: Vec<&str> = line.split_whitespace().collect();
    let finished = finish(dir, &words);
    assert_eq!(finished.code, code, "`{line}`\n{}\n{}", finished.stdout, finished.stderr);
    finished
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// An address that answers every request with this.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address.to_string()
}

const BROKEN: &str =
    "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 31\r\n\r\nworker 1 has not run for 5 s\u{1b}[2";

#[test]
fn status_shows_the_running_proxy() {
    let (proxy, _upstreams) = shop();
    let (dir, admin) = (proxy.dir(), proxy.admin());
    let mut client = proxy.connect();
    (0..200).for_each(|user| drop(client.get("/", &format!("Cookie: uid=user-{user}\r\n"))));
    until("requests are counted", || (proxy.metric("pointsman_requests_in_flight") == 0.0).then_some(()));
    let text = check(dir, &format!("status --admin {admin}"), 0).stdout;
    let file = dir.join("routes.toml");
    for part in ["generation 1", "ready", "listener  http", "ROUTE", "shop", "stable", "canary", "UPSTREAM", "v2"] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    assert!(text.contains(file.to_str().unwrap()) && !text.contains('\x1b'), "{text}");
    let row = text.lines().find(|line| line.trim_start().starts_with("canary")).unwrap();
    assert!(row.contains(" 50 ") && row.contains('█') && row.contains("0 %") && !row.contains('-'), "{row}");
    let printed = json(&check(dir, &format!("status --json --admin http://{admin}/"), 0).stdout);
    assert_eq!((&printed["generation"], &printed["file"]), (&1.into(), &file.to_str().unwrap().into()));
    assert_eq!(printed["kill"], serde_json::json!({ "all": false, "tenants": 0 }));
    assert!(printed["routes"][0]["variants"][1]["p99_ms"].as_f64().unwrap() > 0.0, "{printed}");
    let report = check(dir, &format!("status --format md --admin {admin}"), 0).stdout;
    assert!(report.starts_with("# Pointsman") && report.contains("| shop | canary | 50 % |"), "{report}");
    assert!(check(dir, &format!("--color always status --admin {admin}"), 0).stdout.contains('\x1b'));
}

#[test]
fn the_variable_names_the_proxy_for_every_admin_command() {
    let (proxy, _upstreams) = shop();
    let ask = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = command(proxy.dir(), &words).env("POINTSMAN_ADMIN", proxy.admin().to_string()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    for (line, words) in [
        ("status", "generation 1"),
        ("status --health", "healthy"),
        ("reload", "no change: generation 1"),
        ("compare", "no route has a shadow"),
        // The command reads the file and does not ask the proxy.
        ("explain --path /", "routes.toml"),
    ] {
        let (code, text) = ask(line);
        assert!(code == 0 && text.contains(words), "`{line}` ends with {code}:\n{text}");
    }
    // An option comes first.
    let (code, text) = ask("status --admin 127.0.0.1:1");
    assert!(code == 1 && text.contains("http://127.0.0.1:1/status") && text.contains("--admin names"), "{code} {text}");
}

#[test]
fn an_unreachable_proxy_is_a_failure_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["status", "status --json", "status --watch", "reload", "compare"] {
        let failed = check(dir.path(), &format!("{command} --admin 127.0.0.1:1"), 1);
        for words in ["cannot ask http://127.0.0.1:1/", "--admin", "[admin] address"] {
            assert!(failed.stderr.contains(words) && failed.stdout.is_empty(), "{command}: {}", failed.stderr);
        }
    }
    for command in ["status", "reload", "compare", "explain"] {
        for wrong in ["wss://127.0.0.1:1", "ftp://x", "http://a/?b"] {
            let refused = check(dir.path(), &format!("{command} --admin {wrong}"), 64).stderr;
            assert!(refused.contains("--admin") && refused.contains("http://"), "{command} {wrong}: {refused}");
        }
        let other = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        let failed = check(dir.path(), &format!("{command} --admin {other}"), 1).stderr;
        assert!(failed.contains("is this the admin listener?"), "{command}: {failed}");
    }
    for line in ["status --watch 0", "status --watch --json", "status --health --json", "status x", "reload x"] {
        check(dir.path(), line, 64);
    }
}

#[test]
fn health_is_a_line_and_an_exit_code() {
    let (proxy, _upstreams) = shop();
    let healthy = check(proxy.dir(), &format!("status --health --admin {}", proxy.admin()), 0);
    assert_eq!(healthy.stdout, format!("healthy: http://{}\n", proxy.admin()));
    for (admin, why) in
        [(answering(BROKEN), "answers 503: worker 1 has not run"), ("127.0.0.1:1".to_owned(), "cannot ask")]
    {
        let unhealthy = check(proxy.dir(), &format!("status --health --admin {admin}"), 1);
        let said = &unhealthy.stderr;
        assert!(said.starts_with("unhealthy: ") && said.contains(why) && said.lines().count() == 1, "{said}");
        assert!(unhealthy.stdout.is_empty() && !said.contains('\x1b'), "{said:?}");
    }
}

#[test]
fn a_rejected_file_is_shown_first_until_it_is_fixed() {
    let (proxy, _upstreams) = shop();
    proxy.rewrite(&SHOP.replace("stable = \"v1\"", "stabel = \"v1\""));
    let status = format!("--color never status --admin {}", proxy.admin());
    let text = check(proxy.dir(), &status, 0).stdout;
    assert!(text.starts_with("REJECTED ") && text.contains("generation 1 stays in effect"), "{text}");
    for part in ["unknown key `stabel`", "routes.toml:", "did you mean `stable`?", "ready"] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    proxy.rewrite(&format!("{SHOP}[kill]\nvariants = [\"shop:canary\"]\n"));
    let text = check(proxy.dir(), &status, 0).stdout;
    assert!(!text.contains("REJECTED") && text.contains("KILLED  variant shop:canary, by "), "{text}");
    assert!(text.contains("generation 2") && text.contains("shop canary killed"), "{text}");
}

#[test]
fn status_is_watched_until_it_is_interrupted() {
    let (proxy, _upstreams) = shop();
    let admin = proxy.admin().to_string();
    let mut watching = Running::start(proxy.dir(), &["status", "--watch", "100ms", "--admin", &admin]);
    for _ in 0..3 {
        assert_eq!(watching.word_after("ROUTE"), "VARIANT");
    }
    watching.signal("INT");
    let (code, rest) = watching.end();
    assert_eq!(code, 0, "{rest}");
}

#[test]
fn a_reload_reports_whether_something_changed() {
    let (proxy, _upstreams) = shop();
    let reload = format!("reload --admin {}", proxy.admin());
    assert!(check(proxy.dir(), &reload, 0).stdout.starts_with("no change: generation 1 stays in effect"));
    assert_eq!(json(&check(proxy.dir(), &format!("{reload} --json"), 0).stdout)["outcome"], "unchanged");
    // The watcher may be faster: then there is nothing to reload.
    let mut weights = 1..50;
    until("a reload comes before the watcher", || {
        let weight = weights.next().unwrap();
        proxy.write(&SHOP.replace("weight = 50", &format!("weight = {weight}")));
        let printed = check(proxy.dir(), &reload, 0).stdout;
        printed
            .starts_with("reloaded: generation ")
            .then(|| assert!(printed.contains(&format!("→ {weight}")), "{printed}"))
    });
}

#[test]
fn a_rejected_reload_prints_the_diagnostics_and_ends_with_78() {
    let (proxy, _upstreams) = shop();
    proxy.write(&SHOP.replace("stable = \"v1\"", "stabel = \"v1\""));
    let reload = format!("reload --admin {}", proxy.admin());
    let rejected = check(proxy.dir(), &reload, 78);
    for part in ["error[unknown-key]", "stabel = \"v1\"", "^^^^^^", "did you mean `stable`?", "rejected: the running"] {
        assert!(rejected.stderr.contains(part), "`{part}` is missing in\n{}", rejected.stderr);
    }
    assert!(rejected.stdout.is_empty(), "{}", rejected.stdout);
    let printed = json(&check(proxy.dir(), &format!("{reload} --json"), 78).stdout);
    assert_eq!((&printed["outcome"], &printed["diagnostics"][0]["code"]), (&"rejected".into(), &"unknown-key".into()));
    let stopping = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 21\r\n\r\nthe proxy is stopping");
    let failed = check(proxy.dir(), &format!("reload --admin {stopping}"), 1).stderr;
    assert!(failed.contains("the proxy is stopping"), "{failed}");
}

#[test]
fn init_writes_a_valid_file_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = dir.join("routes.toml");
    let said = check(dir, "init", 0).stdout;
    assert!(said.contains("wrote routes.toml") && said.contains("pointsman check\n"), "{said}");
    let checked = check(dir, "check", 0);
    assert!(checked.stdout.starts_with("routes.toml: 1 route, 1 upstream") && checked.stderr.is_empty());
    let before = fs::read_to_string(&file).unwrap();
    for line in ["init", "init --to 3001", "init routes.toml"] {
        let refused = check(dir, line, 1).stderr;
        assert!(refused.contains("overwrites nothing") && refused.contains("init FILE"), "{refused}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(check(dir, "init -", 0).stdout, before);
    assert_eq!(check(dir, "init --stdout", 0).stdout, before);
    let line = "init edge.toml --to app:3000 --canary https://next.example=12.5 --listen 0.0.0.0:80";
    let said = check(dir, line, 0).stdout;
    assert!(said.contains("pointsman run edge.toml"), "{said}");
    let checked = check(dir, "check edge.toml", 0);
    assert!(checked.stdout.starts_with("edge.toml: 1 route, 2 upstreams") && checked.stderr.is_empty());
    let text = fs::read_to_string(dir.join("edge.toml")).unwrap();
    for part in ["\"http://app:3000\"", "\"https://next.example\"", "weight = 12.5", "\"0.0.0.0:80\"", "Edit first"] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    assert!(check(dir, "init nowhere/routes.toml", 1).stderr.contains("cannot write nowhere/routes.toml"));
    for line in ["init --to ftp://x", "init --to 1 --canary 2", "init --canary 2=5", "init --listen here", "init a b"] {
        check(dir, line, 64);
    }
}

/// A process that took over, ended with the test.
struct Successor(u64);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_proxy_without_a_file_splits_reloads_and_hands_over() {
    let dir = tempfile::tempdir().unwrap();
    let upstreams = ["v1", "v2"].map(|name| Upstream::echo().named(name));
    let (to, canary) = (upstreams[0].address().to_string(), format!("{}=50", upstreams[1].address()));
    let words = ["run", "--to", &to, "--canary", &canary, "--listen", ":0", "--admin-listen", ":0", "--workers", "1"];
    let mut proxy = Running::start(dir.path(), &words);
    let address = proxy.word_after("listener").trim_start_matches("http://").parse().unwrap();
    let admin = proxy.word_after("admin");
    assert_eq!(proxy.word_after("to"), format!("http://{to},"));
    let mut client = Raw::connect(address);
    // Callers without a cookie get one, and the variant that belongs to it.
    for _ in 0..100 {
        let answer = client.get("/", "");
        let cookie = answer.field("set-cookie").and_then(|text| text.split(';').next()).unwrap().to_owned();
        assert!(cookie.starts_with("pm_id="), "{cookie}");
        let again = client.get("/", &format!("Cookie: {cookie}\r\n"));
        assert_eq!((again.status, &again.json()["name"]), (200, &answer.json()["name"]));
    }
    let counts = upstreams.each_ref().map(Upstream::requests);
    assert!(counts.iter().sum::<u64>() == 200 && counts.iter().all(|count| *count > 40), "{counts:?}");
    let printed = check(dir.path(), &format!("reload --admin {admin}"), 0).stdout;
    assert!(printed.contains("no change") && printed.contains("there is no file to read again"), "{printed}");
    let text = check(dir.path(), &format!("status --admin {admin}"), 0).stdout;
    assert!(text.contains("no file") && text.contains("canary"), "{text}");
    let pid = || {
        let finished = finish(dir.path(), &["status", "--json", "--admin", &admin]);
        serde_json::from_str::<Value>(&finished.stdout).ok()?["pid"].as_u64()
    };
    let before = pid();
    proxy.signal("USR2");
    let after = until("another process serves", || pid().filter(|pid| Some(*pid) != before));
    let successor = Successor(after);
    assert_eq!(Raw::connect(address).get("/", "").status, 200);
    drop(client);
    // Both write to the same pipes, which are read to their end.
    drop(successor);
    let (code, rest) = proxy.end();
    assert_eq!(code, 0, "{rest}");
}

#[test]
fn a_proxy_without_a_file_reads_the_system_roots() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["run", "--to", "https://127.0.0.1:1", "--listen", ":0", "--admin-listen", ":0", "--workers", "1"];
    let mut proxy = Running::start(dir.path(), &words);
    let admin = proxy.word_after("admin");
    let page = check(dir.path(), &format!("status --json --admin {admin}"), 0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&page).unwrap()["file"], Value::Null);
    let reloaded = check(dir.path(), &format!("reload --admin {admin}"), 0).stdout;
    assert!(reloaded.contains("there is no file to read again"), "{reloaded}");
    proxy.signal("TERM");
    assert_eq!(proxy.end().0, 0);
}

#[test]
fn a_proxy_without_a_file_refuses_contradicting_arguments() {
    let dir = tempfile::tempdir().unwrap();
    for (line, words) in [
        ("run --to", "--to"),
        ("run --to ftp://x", "http, https or h2c"),
        ("run --to 80800", "1 to 65535"),
        ("run --to http://x/y", "no path"),
        ("run --to 1 --canary 2", "2=5"),
        ("run --to 1 --canary 2=101", "0 to 100"),
        ("run --canary 2=5", "--to"),
        ("run --listen 127.0.0.1:1", "[[listener]]"),
        ("run --admin-listen 127.0.0.1:1", "[admin]"),
        ("run --to 1 --listen there", "IP:PORT"),
        ("run routes.toml --to 1", "cannot be used with"),
    ] {
        let refused = check(dir.path(), line, 64).stderr;
        assert!(refused.contains(words), "`{line}`: {refused}");
    }
    // An argument that only the rules of routes refuse is a diagnostic, and a bad configuration.
    let refused = check(dir.path(), "run --to 1 --listen :0 --admin-listen 8.8.8.8:1", 78).stderr;
    assert!(refused.contains("error[public-admin]") && refused.contains("--> (run --to):"), "{refused}");
}

#[test]
fn commands_of_other_proxies_lead_to_ours() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("routes.toml"), check(dir, "init -", 0).stdout).unwrap();
    let version = check(dir, "--version", 0).stdout;
    assert!(version.starts_with("pointsman ") && version.lines().count() == 1, "{version}");
    for line in ["version", "-V", "check -V", "status --version", "version -V", "validate -V"] {
        assert_eq!(check(dir, line, 0).stdout, version, "{line}");
    }
    assert_eq!(check(dir, "validate", 0).stdout, check(dir, "check", 0).stdout);
    for (line, words) in [
        ("test", "pointsman check"),
        ("lint routes.toml", "pointsman check"),
        ("start", "pointsman run"),
        ("serve --port 80", "pointsman run"),
        ("drain shop", "pointsman upstream drain"),
        ("rollback", "pointsman kill --variant"),
        ("enable", "pointsman revive"),
        ("audit", "pointsman journal"),
        ("promote", "edit `weight`"),
        ("config", "pointsman init"),
        ("logs -f", "[access_log] sink"),
        ("metrics", "pointsman status"),
        ("UNDO", "pointsman kill --variant"),
        ("help undo", "pointsman kill --variant"),
    ] {
        let refused = check(dir, line, 64);
        let word = line.trim_start_matches("help ").split(' ').next().unwrap();
        assert!(refused.stderr.contains(&format!("there is no command `{word}`")), "{line}: {}", refused.stderr);
        assert!(refused.stderr.contains(words) && refused.stdout.is_empty(), "{line}: {}", refused.stderr);
    }
    // A scope without its option is refused with the option.
    for (line, option) in
        [("kill shop:canary", "--variant shop:canary"), ("kill all", "--all"), ("revive shop", "--route")]
    {
        assert!(check(dir, line, 64).stderr.contains(option), "{line}");
    }
    // A typo is still a typo.
    assert!(check(dir, "chekc", 64).stderr.contains("'check'"));
    let alone = check(dir, "", 64).stderr;
    for words in ["Usage: pointsman", "status", "EXIT CODES"] {
        assert!(alone.contains(words), "{alone}");
    }
    assert_eq!(check(dir, "help", 0).stdout, check(dir, "--help", 0).stdout);
    for line in ["help status", "status -h", "version -h"] {
        assert!(check(dir, line, 0).stdout.contains("EXAMPLE"), "{line}");
    }
}
