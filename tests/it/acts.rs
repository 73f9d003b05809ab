//! The commands that act: `kill`, `revive`, `token`, what they ask on a terminal, and what they are refused.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::harness::{Authority, Proxy, Pty, Raw, Setup, Upstream};
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
canary = { upstream = "v2", weight = 100 }
[[route]]
name = "api"
match = { path = "/api/*" }
stable = "v1"
canary = { upstream = "v2", weight = 20 }
[kill]
routes = ["api"]
"#;

struct Shop {
    proxy: Proxy,
    _upstreams: [Upstream; 2],
}

fn shop() -> Shop {
    shop_with(Setup::default(), SHOP)
}

fn shop_with(setup: Setup, text: &str) -> Shop {
    let upstreams = ["v1", "v2"].map(|name| Upstream::echo().named(name));
    let proxy = setup.with("v1", &upstreams[0]).with("v2", &upstreams[1]).start(text);
    Shop { proxy, _upstreams: upstreams }
}

impl Shop {
    fn dir(&self) -> &Path {
        self.proxy.dir()
    }

    /// The upstream that answers a caller.
    fn answers(&self) -> String {
        let answer = Raw::connect(self.proxy.address()).get("/", "Cookie: uid=alice\r\n");
        answer.json()["name"].as_str().unwrap().to_owned()
    }

    /// Runs a command in the folder of the proxy, where its socket is found.
    #[track_caller]
    fn check(&self, words: &[&str], code: i32) -> Finished {
        check(self.dir(), words, code)
    }
}

#[track_caller]
fn check(dir: &Path, words: &[&str], code: i32) -> Finished {
    let finished = finish(dir, words);
    assert_eq!(finished.code, code, "{words:?}\n{}\n{}", finished.stdout, finished.stderr);
    finished
}

const CANARY: [&str; 2] = ["--variant", "shop:canary"];

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

#[test]
fn a_kill_needs_no_flags_on_the_machine_itself() {
    let shop = shop();
    assert_eq!(shop.answers(), "v2");
    let killed = shop.check(&["kill", CANARY[0], CANARY[1], "--reason", "errors since 14:02"], 0);
    has(&killed.stdout, &["killed variant shop:canary: in force on 1 of 1 worker after ", " ms, "]);
    assert_eq!(shop.answers(), "v1", "the next request is decided by the kill");
    for words in [&["kill"][..], &["kill", "--list"]] {
        let list = shop.check(words, 0).stdout;
        has(&list, &["variant shop:canary", "errors since 14:02", "(socket)", "route api", "routes.toml:"]);
    }
    let kills: Value = serde_json::from_str(&shop.check(&["kill", "--json"], 0).stdout).unwrap();
    assert_eq!(kills["kills"].as_array().unwrap().len(), 2, "{kills}");
    has(&shop.check(&["status"], 0).stdout, &["KILLED  variant shop:canary, by ", "errors since 14:02"]);
    let undone = shop.check(&["revive", CANARY[0], CANARY[1], "--reason", "fixed"], 0);
    has(&undone.stdout, &["revived variant shop:canary: in force on 1 of 1 worker"]);
    assert_eq!(shop.answers(), "v2");
    let journal = shop.check(&["journal"], 0).stdout;
    has(&journal, &["kill variant shop:canary: errors since 14:02", "revive variant shop:canary: fixed", "(socket)"]);
    let last = shop.check(&["journal", "--limit", "1", "--json"], 0).stdout;
    let record: Value = serde_json::from_str(last.trim()).unwrap();
    assert_eq!((&record["what"], &record["reason"]), (&"revive".into(), &"fixed".into()));
    assert_eq!(shop.check(&["journal", "--who", "no such user"], 0).stdout, "");
    has(&shop.check(&["journal", "--since", "1h"], 0).stdout, &["kill variant shop:canary"]);
    let json: Value = serde_json::from_str(
        &shop.check(&["kill", "--tenant", "acme", "--reason", "INC-1", "--close-streams", "5s", "--json"], 0).stdout,
    )
    .unwrap();
    assert_eq!((&json["record"]["tenant"], &json["record"]["close_streams_ms"]), (&"acme".into(), &5000.into()));
}

#[test]
fn kills_that_stand_are_named() {
    let shop = shop();
    let act = |verb: &str, words: &[&str]| shop.check(&[&[verb], words, &["--reason", "INC-1"]].concat(), 0);
    for scope in [&["--all"][..], &["--route", "shop"], &CANARY] {
        let killed = act("kill", scope);
        assert!(!killed.stderr.contains("already"), "{}", killed.stderr);
    }
    has(&act("kill", &CANARY).stderr, &["variant shop:canary was already killed since 20", "Z by "]);
    // The caller stays on stable, and that is said.
    let lifted = act("revive", &CANARY);
    has(&lifted.stderr, &["still killed by: all (#", "route shop (#", ": INC-1)"]);
    assert_eq!(shop.answers(), "v1");
    let mut again = Pty::start(shop.dir(), &["kill", CANARY[0], CANARY[1]], 160);
    again.line_with("shop canary: no caller moves, already killed by all (#");
    again.until("the question", |pty| pty.glass.lines().last()?.contains("Why kill").then_some(()));
    again.press("INC-2\r");
    again.line_with("killed variant shop:canary: in force");
    assert_eq!(again.end(), 0);
    let mut revive = Pty::start(shop.dir(), &["revive", "--all", "--reason", "x", "--yes"], 160);
    revive.line_with("shop canary: no caller moves, still killed by route shop (#");
    revive.line_with("still killed by: route api (");
    assert_eq!(revive.end(), 0);
    let explained = shop.check(&["explain", "--admin", "--cookie", "uid=alice"], 0);
    has(&explained.stdout, &["kill"]);
}

#[test]
fn every_kill_that_people_made_is_lifted_by_one_command() {
    let shop = shop();
    for scope in [&["--all"][..], &["--route", "shop"], &CANARY, &["--tenant", "acme"]] {
        shop.check(&[&["kill", "--reason", "INC-1"], scope].concat(), 0);
    }
    has(&shop.check(&["revive", "--every-kill"], 64).stderr, &["a reason is missing"]);
    let mut asked = Pty::start(shop.dir(), &["revive", "--every-kill", "--reason", "over"], 160);
    asked.line_with("all, by ");
    asked.until("the question", |pty| pty.glass.lines().last()?.contains("Lift 4 kills? yes or no:").then_some(()));
    asked.press("no\r");
    asked.line_with("not revived");
    assert_eq!((asked.end(), shop.answers()), (2, "v1".to_owned()));
    let lifted = shop.check(&["revive", "--every-kill", "--reason", "over"], 0);
    has(
        &lifted.stdout,
        &["revived all: ", "revived route shop: ", "revived variant shop:canary: ", "revived tenant acme"],
    );
    has(&lifted.stderr, &["stays, by the file: route api, by "]);
    assert_eq!(shop.answers(), "v2");
    has(&shop.check(&["revive", "--every-kill", "--reason", "over"], 0).stderr, &["nothing is killed by people"]);
    check(shop.dir(), &["revive", "--every-kill", "--all", "--reason", "x"], 64);
}

#[test]
fn what_is_refused_has_a_remedy_and_an_exit_code() {
    let shop = shop();
    let reason = ["--reason", "test"];
    for (words, code, parts) in [
        (&["kill", "--variant", "shop:canry"][..], 2, &["`shop` has no variant `canry`", "did you mean"][..]),
        (&["kill", "--route", "shp"], 2, &["there is no route `shp`", "did you mean", "  routes: shop, api"]),
        (&["kill", "--variant", "shop:stable"], 2, &["stable"]),
        (&["revive", "--variant", "shop:canary"], 2, &["is not killed", "`pointsman kill` lists"]),
        (&["revive", "--route", "api"], 2, &["routes.toml:", "[kill]"]),
        (&["revive"], 64, &["a scope is missing", "--variant"]),
        (&["kill", "--all", "--route", "shop"], 64, &["cannot be used with"]),
        (&["kill", "--variant", "shop"], 64, &["ROUTE:VARIANT"]),
        (&["kill", "--variant", "canary"], 64, &["several routes have it", "shop:canary, api:canary"]),
        (&["revive", "--variant", "canary"], 64, &["shop:canary, api:canary"]),
        (&["kill", "shop:canary"], 64, &["--variant shop:canary"]),
        (&["kill", "--route", "shop", "--close-streams", "soon"], 64, &["5s"]),
    ] {
        let refused = shop.check(&[words, &reason].concat(), code);
        has(&refused.stderr, parts);
        assert!(refused.stdout.is_empty(), "{words:?}: {}", refused.stdout);
    }
    // Standard input is no terminal: a reason is not asked for.
    has(&shop.check(&["kill", "--all"], 64).stderr, &["a reason is missing", "--reason TEXT"]);
    has(&shop.check(&["kill", "--all", "--reason", " "], 64).stderr, &["others understand"]);
    let refused = shop.check(&["kill", "--route", "shp", "--reason", "x", "--json"], 2);
    let document: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(document["type"], "urn:pointsman:problem:unknown-scope");
    assert_eq!(shop.answers(), "v2", "nothing was killed");
}

#[test]
fn without_a_proxy_every_place_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let failed = check(dir.path(), &["kill", "--all", "--reason", "test"], 1);
    has(
        &failed.stderr,
        &[
            "no proxy answers",
            "tried unix:./state/run/admin.sock: No such file or directory",
            "tried unix:/var/lib/pointsman/run/admin.sock: ",
            "tried http://127.0.0.1:9900: acting over TCP needs a token",
            "--admin",
        ],
    );
    // A socket that no process listens behind.
    let run = dir.path().join("state/run");
    fs::create_dir_all(&run).unwrap();
    drop(std::os::unix::net::UnixListener::bind(run.join("admin.sock")).unwrap());
    let failed = check(dir.path(), &["kill", "--all", "--reason", "test"], 1);
    has(&failed.stderr, &["tried unix:./state/run/admin.sock: Connection refused"]);
    let named = check(dir.path(), &["kill", "--all", "--reason", "x", "--admin", "unix:nowhere.sock"], 1);
    has(&named.stderr, &["cannot ask unix:nowhere.sock: No such file", "--admin names this address"]);
}

/// A token with this role, the file that has it, and the lines for the tokens file.
fn token(dir: &Path, name: &str, role: &str) -> String {
    let made = check(dir, &["token", "new", name, "--role", role], 0);
    let token = made.stdout.trim().to_owned();
    assert!(token.starts_with("pm_") && token.len() == 67, "{token}");
    has(&made.stderr, &["[[token]]", &format!("\"{name}\""), "shown only now"]);
    assert!(!made.stderr.contains(&token), "the token is on standard output alone");
    fs::write(dir.join(format!("{name}.token")), &made.stdout).unwrap();
    let lines = made.stderr.lines().skip_while(|line| *line != "[[token]]").take_while(|line| !line.is_empty());
    lines.chain([""]).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_token_acts_over_tcp_as_far_as_its_role_goes() {
    let dir = tempfile::tempdir().unwrap();
    let lines = token(dir.path(), "ana", "operator") + &token(dir.path(), "bo", "viewer");
    let text = format!("[admin]\naddress = \"127.0.0.1:0\"\ntokens = \"tokens.toml\"\n{SHOP}");
    let shop = shop_with(Setup::default().file("tokens.toml", &lines), &text);
    let admin = shop.proxy.admin().to_string();
    let kill = |more: &[&str]| {
        let words = [&["kill", "--variant", "shop:canary", "--reason", "test", "--admin", &admin][..], more].concat();
        finish(dir.path(), &words)
    };
    let without = kill(&[]);
    assert_eq!(without.code, 2, "{}", without.stderr);
    has(&without.stderr, &["--token-file"]);
    let viewer = kill(&["--token-file", "bo.token"]);
    assert_eq!(viewer.code, 2, "{}", viewer.stderr);
    has(&viewer.stderr, &["role"]);
    let operator = kill(&["--token-file", "ana.token"]);
    assert_eq!((operator.code, shop.answers()), (0, "v1".to_owned()), "{}", operator.stderr);
    // Reading needs a role too.
    let read = |token: Option<&str>| {
        let mut command = command(dir.path(), &["kill", "--admin", &admin]);
        let token = token.map(|name| fs::read_to_string(dir.path().join(name)).unwrap());
        let output = command.envs(token.map(|token| ("POINTSMAN_TOKEN", token))).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, text) = read(Some("bo.token"));
    assert_eq!(code, 0, "{text}");
    has(&text, &["ana (token)"]);
    let (code, text) = read(None);
    assert_eq!(code, 1, "{text}");
    has(&text, &["--token-file"]);
    let gone = kill(&["--token-file", "none.token"]);
    assert_eq!(gone.code, 1);
    has(&gone.stderr, &["cannot read the token in none.token"]);
}

#[test]
fn the_hash_of_a_token_is_that_of_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let made =
        check(dir.path(), &["token", "new", "ana", "--role", "operator", "--expires", "2027-06-30", "--json"], 0);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let file = dir.path().join("token");
    fs::write(&file, format!("{}\n", made["token"].as_str().unwrap())).unwrap();
    let mut hash = command(dir.path(), &["token", "hash"]);
    let output = hash.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), made["sha256"].as_str().unwrap());
    has(made["toml"].as_str().unwrap(), &["expires = 2027-06-30", made["sha256"].as_str().unwrap()]);
    assert!(check(dir.path(), &["token", "hash"], 1).stderr.contains("has no token"));
    let again = check(dir.path(), &["token", "new", "ana", "--role", "operator", "--json"], 0);
    assert_ne!(serde_json::from_str::<Value>(&again.stdout).unwrap()["token"], made["token"]);
    for words in [&["token"][..], &["token", "new", "ana"], &["token", "new", "a b", "--role", "operator"]] {
        check(dir.path(), words, 64);
    }
    let past = check(dir.path(), &["token", "new", "ana", "--role", "operator", "--expires", "2020-02-29"], 64);
    has(&past.stderr, &["2020-02-29 is over"]);
    has(&check(dir.path(), &["token", "new", "ana", "--role", "admin"], 64).stderr, &["operator", "viewer"]);
}

#[test]
fn a_terminal_is_asked_for_the_reason_and_for_a_yes() {
    let shop = shop();
    let terminal = |words: &[&str]| Pty::start(shop.dir(), words, 120);
    // One route: only the reason.
    let mut kill = terminal(&["kill", CANARY[0], CANARY[1]]);
    kill.line_with("shop canary: 100 % of the callers");
    kill.until("the question", |pty| pty.glass.lines().last()?.contains("Why kill variant shop:canary?").then_some(()));
    kill.press("errors\r");
    kill.line_with("killed variant shop:canary: in force on 1 of 1 worker");
    assert_eq!((kill.end(), shop.answers()), (0, "v1".to_owned()));
    // What comes back is shown.
    let mut revive = terminal(&["revive", CANARY[0], CANARY[1], "--reason", "fixed"]);
    revive.line_with("shop canary: 100 % of the callers come back to it");
    revive.line_with("revived variant shop:canary");
    assert_eq!((revive.end(), shop.answers()), (0, "v2".to_owned()));
    // More than one route: a no, and nothing, change nothing.
    for answer in ["no\r", "\r", "\x04"] {
        let mut kill = terminal(&["kill", "--all", "--reason", "INC-1"]);
        kill.until("the question", |pty| pty.glass.lines().last()?.contains("Kill all? yes or no:").then_some(()));
        kill.press(answer);
        kill.line_with("not killed");
        assert_eq!((kill.end(), shop.answers()), (2, "v2".to_owned()), "{answer:?}");
    }
    let mut kill = terminal(&["kill", "--all", "--reason", "INC-1"]);
    kill.until("the question", |pty| pty.glass.lines().last()?.contains("Kill all? yes or no:").then_some(()));
    kill.press("yes\r");
    kill.line_with("killed all: in force");
    assert_eq!((kill.end(), shop.answers()), (0, "v1".to_owned()));
    // No question with --yes.
    let mut revive = terminal(&["revive", "--all", "--reason", "INC-1", "--yes"]);
    revive.line_with("revived all: in force");
    assert_eq!((revive.end(), shop.answers()), (0, "v2".to_owned()));
    // An empty reason is none.
    let mut kill = terminal(&["kill", "--route", "shop"]);
    kill.until("the question", |pty| pty.glass.lines().last()?.contains("Why kill route shop?").then_some(()));
    kill.press("\r");
    kill.line_with("a reason is missing");
    assert_eq!((kill.end(), shop.answers()), (64, "v2".to_owned()));
}

#[test]
fn events_are_followed_from_a_record_on() {
    let shop = shop();
    let act = |verb: &str, reason: &str| shop.check(&[verb, CANARY[0], CANARY[1], "--reason", reason], 0);
    act("kill", "first");
    let mut events = Running::start(shop.dir(), &["events", "--follow", "--after", "0"]);
    let first: Value = serde_json::from_str(&events.line_with("\"kill\"")).unwrap();
    assert_eq!(first["reason"], "first");
    act("revive", "second");
    let second: Value = serde_json::from_str(&events.line_with("\"revive\"")).unwrap();
    assert_eq!(second["seq"].as_u64(), first["seq"].as_u64().map(|seq| seq + 1));
    let mut journal = Running::start(shop.dir(), &["journal", "--follow"]);
    journal.line_with("revive variant shop:canary: second");
    act("kill", "third");
    journal.line_with("kill variant shop:canary: third");
    for follower in [events, journal] {
        follower.signal("INT");
        assert_eq!(follower.end().0, 0);
    }
    let after = second["seq"].to_string();
    let rest = shop.check(&["events", "--after", &after], 0).stdout;
    assert!(rest.lines().count() == 1 && rest.contains("third"), "{rest}");
    has(&shop.check(&["events"], 64).stderr, &["--follow"]);
}

#[test]
fn a_reload_goes_over_the_socket_and_announces_that_it_waits() {
    let shop = shop();
    has(&shop.check(&["reload"], 0).stdout, &["no change: generation 1"]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut reload = Running::start(shop.dir(), &["reload", "--admin", &address]);
    has(&reload.line_with("waiting for "), &[&format!("http://{address}, up to 90 s")]);
}

#[test]
fn a_file_is_checked_against_what_runs() {
    let shop = shop();
    let dir = tempfile::tempdir().unwrap();
    let edited = fs::read_to_string(shop.dir().join("routes.toml")).unwrap().replace("weight = 100", "weight = 10");
    fs::write(dir.path().join("routes.toml"), &edited).unwrap();
    let socket = format!("unix:{}", shop.dir().join("state/run/admin.sock").display());
    let checked = check(dir.path(), &["check", "--against", &socket], 0);
    has(&checked.stdout, &["against generation 1 of unix:", "changed route shop", "90 % of its callers move"]);
    assert_eq!(shop.answers(), "v2", "nothing was applied");
    let json: Value =
        serde_json::from_str(&check(dir.path(), &["check", "--against", &socket, "--json"], 0).stdout).unwrap();
    assert_eq!(json["valid"], true);
    fs::write(dir.path().join("routes.toml"), edited.replace("stable =", "stabel =")).unwrap();
    let rejected = check(dir.path(), &["check", "--against", &socket], 78);
    has(&rejected.stderr, &["error[unknown-key]", "did you mean `stable`?", "would reject it"]);
    assert!(rejected.stdout.is_empty(), "{}", rejected.stdout);
    // Found as by the other commands.
    let here = shop.check(&["check", "--against"], 0);
    has(&here.stdout, &["against generation 1 of unix:./state/run/admin.sock", "nothing changes"]);
    has(&shop.check(&["check", "--against", "routes.toml"], 64).stderr, &["that is a file"]);
    check(dir.path(), &["check", "--against", &socket, "--format", "sarif"], 64);
    has(&check(dir.path(), &["check", "none.toml", "--against", &socket], 1).stderr, &["cannot read none.toml"]);
    fs::write(dir.path().join("large.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    has(&check(dir.path(), &["check", "large.toml", "--against", &socket], 1).stderr, &["larger than 1 MiB"]);
}

/// Answers one connection after the other with these texts, and sends the requests as they came.
fn scripted(answers: Vec<String>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).unwrap();
            sender.send(String::from_utf8_lossy(&head[..length]).into_owned()).unwrap();
            // A reader that has gone is its own affair.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, requests)
}

/// A field of the head of a request.
fn field<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in\n{request}"))
}

#[test]
fn an_act_whose_connection_breaks_is_sent_again_with_its_key() {
    let body = r#"{"record":{"seq":7},"in_force_ms":1.5,"workers_in_force":2,"workers":2,"durable":false,"not_durable_because":"no space left on device","repeated":false}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (address, requests) = scripted(vec![String::new(), answer]);
    let dir = tempfile::tempdir().unwrap();
    let killed = check(dir.path(), &["kill", "--all", "--reason", "INC-1", "--admin", &address], 5);
    has(&killed.stdout, &["killed all: in force on 2 of 2 workers after 1.5 ms, #7, not yet recorded"]);
    has(&killed.stderr, &["NOT RECORDED: the kill is in force, but a restart forgets it: no space left on device"]);
    let (first, second) = (requests.recv().unwrap(), requests.recv().unwrap());
    assert!(first.starts_with("POST /v1/kill HTTP/1.1\r\n"), "{first}");
    assert_eq!(field(&first, "idempotency-key"), field(&second, "idempotency-key"));
    assert_eq!(field(&first, "content-type"), "application/json");
}

#[test]
fn a_broken_event_stream_continues_after_the_last_record() {
    let event = |seq: u64| {
        let record = format!(
            r#"{{"seq":{seq},"at":"2026-11-29T14:00:00.000Z","who":{{"name":"ana","via":"socket"}},"what":"kill","all":true,"reason":"r"}}"#
        );
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\nid: {seq}\ndata: {record}\n\n")
    };
    let (address, requests) = scripted(vec![event(41), event(42), String::new()]);
    let dir = tempfile::tempdir().unwrap();
    let mut events =
        Running::start(dir.path(), &["events", "--follow", "--after", "40", "--table", "--admin", &address]);
    has(&events.line_with("    41  "), &["2026-11-29 14:00:00Z  ana (socket)", "kill all: r"]);
    events.line_with("    42  ");
    for after in [40, 41, 42] {
        let request = requests.recv().unwrap();
        assert!(request.starts_with(&format!("GET /v1/events?after={after} HTTP/1.1\r\n")), "{request}");
    }
    events.line_with("no answer, trying again every second");
    events.signal("INT");
    assert_eq!(events.end().0, 0);
}

#[test]
fn an_admin_listener_with_tls_is_trusted_by_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new("ours"), Authority::new("other"));
    authority.leaf(&["127.0.0.1"]).write(dir.path(), "admin");
    fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    fs::write(dir.path().join("other.pem"), &other.pem).unwrap();
    let lines = token(dir.path(), "ana", "operator");
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let setup = Setup::default()
        .file("tokens.toml", &lines)
        .file("admin.crt", &read("admin.crt"))
        .file("admin.key", &read("admin.key"));
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntokens = \"tokens.toml\"\ntls = { certificates = [{ cert = \"admin.crt\", key = \"admin.key\" }] }\n";
    let shop = shop_with(setup, &format!("{admin}{SHOP}"));
    let url = format!("https://{}", shop.proxy.admin());
    let kill = |ca: &str, code| {
        let words = ["kill", "--all", "--reason", "x", "--admin", &url, "--token-file", "ana.token", "--ca", ca];
        check(dir.path(), &words, code)
    };
    has(&kill("other.pem", 1).stderr, &["the TLS handshake failed"]);
    has(&kill("none.pem", 1).stderr, &["cannot read none.pem"]);
    has(&kill("ca.pem", 0).stdout, &["killed all: in force on 1 of 1 worker"]);
    assert_eq!(shop.answers(), "v1");
}

#[test]
fn the_journal_is_read_and_verified_in_its_files() {
    let shop = shop();
    shop.check(&["kill", CANARY[0], CANARY[1], "--reason", "errors"], 0);
    shop.check(&["revive", CANARY[0], CANARY[1], "--reason", "fixed"], 0);
    let whole = shop.check(&["journal", "--verify"], 0).stdout;
    has(&whole, &["journal.jsonl", "the chain is whole: "]);
    let state = shop.dir().join("state");
    let elsewhere = tempfile::tempdir().unwrap();
    let of = |more: &[&str], code| {
        check(elsewhere.path(), &[&["journal", "--dir", state.to_str().unwrap()], more].concat(), code)
    };
    assert_eq!(of(&["--verify"], 0).stdout, whole, "as by the running proxy");
    has(&of(&[], 0).stdout, &["kill variant shop:canary: errors", "revive variant shop:canary: fixed"]);
    assert_eq!(of(&["--limit", "1", "--json"], 0).stdout.lines().count(), 1);
    // One changed letter.
    let file = state.join("journal.jsonl");
    let changed = fs::read_to_string(&file).unwrap().replace("\"errors\"", "\"eRrors\"");
    fs::write(&file, changed).unwrap();
    let broken = of(&["--verify"], 1);
    has(&broken.stderr, &["broken: journal.jsonl:", "the chain is broken: "]);
    let json: Value = serde_json::from_str(&of(&["--verify", "--json"], 1).stdout).unwrap();
    assert!(json["intact"] == false && json["problems"][0]["line"].as_u64() > Some(1), "{json}");
    let none = check(elsewhere.path(), &["journal", "--verify", "--dir", "."], 1);
    has(&none.stderr, &["there is no journal in ."]);
    check(elsewhere.path(), &["journal", "--verify", "--follow"], 64);
}
