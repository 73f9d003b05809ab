//! Hot reload: a changed file takes effect within moments, and unchanged parts are not touched.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a test may fail, and counts are whole"
)]

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::app::{App, Options, ReloadOutcome, Signals};
use pointsman::clock::Clock;

use crate::harness::{Proxy, Raw, Upstream, proxy, until};
use crate::process::command;

const BASE: &str = r#"
[upstream.v1]
endpoints = ["http://{v1}"]
[upstream.v2]
endpoints = ["http://{v2}"]
[[route]]
name = "shop"
match = { path = "/*" }
stable = "v1"
sticky = []
"#;

fn weighted(weight: u32) -> String {
    format!("{BASE}canary = {{ upstream = \"v2\", weight = {weight} }}\n")
}

fn two() -> (Upstream, Upstream) {
    (Upstream::echo().named("v1"), Upstream::echo().named("v2"))
}

#[track_caller]
fn served(client: &mut Raw) -> String {
    let answer = client.get("/", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.closes(), "the connection is kept");
    answer.json()["name"].as_str().unwrap().to_owned()
}

/// Clients that send requests without a pause, each on one connection, until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(proxy: &Proxy, clients: usize) -> Self {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let one = |_| {
            let (mut client, stop, requests) = (proxy.connect(), Arc::clone(&stop), Arc::clone(&requests));
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    served(&mut client);
                    requests.fetch_add(1, SeqCst);
                }
            })
        };
        let threads = (0..clients).map(one).collect();
        Self { stop, requests, threads }
    }

    /// Waits for this number of further responses.
    fn pass(&self, further: u64) {
        let goal = self.requests.load(SeqCst) + further;
        until("answers under load", || {
            let failed = self.threads.iter().any(std::thread::JoinHandle::is_finished);
            (failed || self.requests.load(SeqCst) >= goal).then_some(())
        });
    }

    /// Ends; a failure of a client is a panic here.
    fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("no request failed and no connection was closed");
        }
        self.requests.load(SeqCst)
    }
}

#[test]
fn a_hundred_reloads_under_load_lose_nothing_and_keep_every_connection() {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).workers(2).start(&weighted(50));
    let load = Load::on(&proxy, 4);
    load.pass(50);
    let before = proxy.metric_sum("pointsman_requests_total");
    for round in 0..100 {
        let outcome = proxy.rewrite(&weighted(if round % 2 == 0 { 10 } else { 90 }));
        assert!(!matches!(outcome, ReloadOutcome::Rejected(_)), "{outcome:?}");
        load.pass(5);
    }
    let answered = load.end();
    assert!(answered > 500, "{answered} answers");
    assert!(proxy.metric("pointsman_config_generation") >= 100.0);
    assert!(proxy.metric_sum("pointsman_requests_total") > before, "counters continue");
    assert_eq!(v1.requests() + v2.requests(), answered);
    // Without kept pools there would be a connection for each reload. A request may come a moment before the connection
    // of the last one is idle again.
    assert!(v1.accepted() <= 8 && v2.accepted() <= 8, "pools are kept: {} and {}", v1.accepted(), v2.accepted());
    proxy.settles();
    assert_eq!(proxy.metric("pointsman_connections_accepted_total"), 4.0);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let answered = answered as f64;
    assert_eq!(proxy.metric_sum("pointsman_requests_total"), answered, "counters are never reset");
}

/// A route before the split one, edited in each round and absent in every fifth.
fn beside(round: usize, weight: u32) -> String {
    let other = format!(
        "[[route]]\nname = \"other\"\nmatch = {{ path = \"/other\" }}\n\
         respond = {{ status = 200, body = \"{round}\" }}\n"
    );
    let other = if round.is_multiple_of(5) { String::new() } else { other };
    weighted(weight).replace("[[route]]\n", &format!("{other}[[route]]\n"))
}

/// The share of the canary in 240 requests without a key, with a reload after every 10.
fn dealt(workers: usize, weight: impl Fn(usize) -> u32) -> usize {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).workers(workers).start(&beside(0, weight(0)));
    let mut clients: Vec<Raw> = (0..2 * workers).map(|_| proxy.connect()).collect();
    let mut hits = 0;
    for round in 1..=24 {
        for n in 0..10 {
            let turn = (10 * round + n) % clients.len();
            hits += usize::from(served(&mut clients[turn]) == "v2");
        }
        let outcome = proxy.rewrite(&beside(round, weight(round)));
        assert!(!matches!(outcome, ReloadOutcome::Rejected(_)), "{outcome:?}");
    }
    assert!(proxy.metric("pointsman_config_generation") >= 24.0, "the reloads were applied");
    hits
}

#[test]
fn reloads_do_not_disturb_the_shares_of_a_split_without_keys() {
    // The routes next to it change.
    assert!((10..=14).contains(&dealt(1, |_| 5)), "12 of 240 are 5 %");
    // Each worker deals for itself: the shares of three are a little less even.
    assert!((9..=15).contains(&dealt(3, |_| 5)), "12 of 240 are 5 %");
    // Its own weight changes.
    assert!((14..=22).contains(&dealt(1, |round| if round < 12 { 5 } else { 10 })), "6 of 120, then 12 of 120");
}

#[test]
fn a_saved_file_takes_effect_without_the_poll() {
    let (v1, v2) = two();
    // Without the poll, which would hide a change that the watch missed.
    let setup =
        Proxy::with("v1", &v1).with("v2", &v2).tuned(|options| options.poll_interval = Some(Duration::from_hours(1)));
    let proxy = setup.start(&weighted(0));
    let mut client = proxy.connect();
    for weight in [100, 0, 100] {
        let expected = if weight == 100 { "v2" } else { "v1" };
        proxy.write(&weighted(weight));
        until("the new weight is in effect", || (served(&mut client) == expected).then_some(()));
    }
    assert_eq!(v1.accepted(), 1);
    assert_eq!(v2.accepted(), 1);
}

#[test]
fn the_first_request_after_a_reload_was_answered_is_decided_by_it() {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).workers(2).start(&weighted(0));
    let mut clients = [proxy.connect(), proxy.connect(), proxy.connect()];
    for round in 0..20 {
        let (weight, expected) = if round % 2 == 0 { (100, "v2") } else { (0, "v1") };
        proxy.rewrite(&weighted(weight));
        for client in &mut clients {
            assert_eq!(served(client), expected, "round {round}");
        }
    }
}

/// Upstreams whose responses wait until the test releases them.
struct Gate {
    upstream: Upstream,
    arrived: Receiver<()>,
    open: Sender<()>,
}

fn gate(before: &'static str, after: &'static str) -> Gate {
    let (arrival, arrived) = channel();
    let (open, opened) = channel();
    let (arrival, opened) = (Mutex::new(arrival), Mutex::new(opened));
    let upstream = Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            conn.send(before);
            arrival.lock().unwrap().send(()).unwrap();
            if opened.lock().unwrap().recv().is_err() || !conn.send(after) {
                return;
            }
        }
    });
    Gate { upstream, arrived, open }
}

#[test]
fn a_request_ends_with_the_generation_that_it_began_with() {
    let gate = gate("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst", "-last");
    let echo = Upstream::echo().named("new");
    let setup = Proxy::with("slow", &gate.upstream).with("new", &echo);
    let proxy = setup.start(
        "[upstream.slow]\nendpoints = [\"http://{slow}\"]\n[[route]]\nname = \"old\"\nmatch = { path = \"/*\" }\n\
         stable = \"slow\"\nheaders = { response = { set = { x-route = \"{route}\" } } }\n",
    );
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    gate.arrived.recv().unwrap();
    // Route and upstream of the request under way are gone now.
    proxy.rewrite(
        "[upstream.new]\nendpoints = [\"http://{new}\"]\n[[route]]\nname = \"young\"\nmatch = { path = \"/*\" }\n\
         stable = \"new\"\n",
    );
    assert_eq!(proxy.connect().get("/", "").json()["name"], "new");
    gate.open.send(()).unwrap();
    let answer = client.read_response();
    assert_eq!((answer.text().as_str(), answer.field("x-route")), ("first-last", Some("old")));
    assert_eq!(client.get("/", "").json()["name"], "new", "the same connection goes on under the new rules");
    let lines = proxy.logged(3);
    let logged = |route: &str| {
        let of = |line: &&serde_json::Value| line["route"] == route;
        lines.iter().filter(of).map(|line| line["generation"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(logged("old"), [1]);
    assert!(logged("young").iter().all(|generation| *generation >= 2) && logged("young").len() == 2);
}

fn listeners(names: &[&str], limits: &str) -> String {
    let one =
        |name| format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n[listener.limits]\n{limits}\n");
    names.iter().map(one).collect::<String>() + &weighted(0)
}

#[test]
fn a_listener_is_added_and_removed_under_traffic() {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).workers(2).start(&listeners(&["one"], ""));
    let load = Load::on(&proxy, 2);
    load.pass(20);
    for _ in 0..5 {
        proxy.rewrite(&listeners(&["one", "two"], ""));
        let address = proxy.listener("two").expect("the new listener");
        let mut clients: Vec<Raw> = (0..4).map(|_| Raw::connect(address)).collect();
        for client in &mut clients {
            assert_eq!(served(client), "v1");
        }
        proxy.rewrite(&listeners(&["one"], ""));
        assert_eq!(proxy.listener("two"), None);
        // Connections that exist get `Connection: close` with their next response, or are closed when idle.
        for client in &mut clients[..2] {
            client.offer("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            // No response at all if this thread was too slow and the connection was closed as idle.
            if let Ok(answer) = client.try_response() {
                assert_eq!((answer.status, answer.closes()), (200, true), "{answer:?}");
            }
            client.ends();
        }
        clients[2..].iter_mut().for_each(Raw::ends);
        let refused = std::net::TcpStream::connect(address).is_err();
        assert!(refused, "the listener refuses connections");
        load.pass(20);
    }
    load.end();
}

#[test]
fn a_request_on_a_removed_listener_is_finished() {
    let gate = gate("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n", "5\r\n-last\r\n0\r\n\r\n");
    let setup = Proxy::with("slow", &gate.upstream);
    let rest = "[upstream.slow]\nendpoints = [\"http://{slow}\"]\n[[route]]\nname = \"all\"\nmatch = { path = \"/*\" }\n\
                stable = \"slow\"\n";
    let with = |names: &[&str]| {
        let one = |name| format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n");
        names.iter().map(one).collect::<String>() + rest
    };
    let proxy = setup.start(&with(&["one", "two"]));
    let mut client = Raw::connect(proxy.listener("two").unwrap());
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    gate.arrived.recv().unwrap();
    proxy.rewrite(&with(&["one"]));
    gate.open.send(()).unwrap();
    assert_eq!(client.read_response().text(), "first-last");
    client.ends();
}

#[test]
fn changed_limits_keep_the_socket_and_its_connections() {
    let (v1, v2) = two();
    let setup = Proxy::with("v1", &v1).with("v2", &v2);
    let proxy = setup.start(&listeners(&["one"], ""));
    let address = proxy.address();
    let mut old = proxy.connect();
    assert_eq!(served(&mut old), "v1");
    proxy.rewrite(&listeners(&["one"], "uri_bytes = \"256B\""));
    assert_eq!(proxy.address(), address);
    let long = format!("/{}", "x".repeat(300));
    assert_eq!(served(&mut old), "v1");
    assert_eq!(proxy.connect().get(&long, "").status, 414, "the new limit holds for new connections");
    assert_eq!(served(&mut old), "v1");
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).start(&weighted(100));
    let mut client = proxy.connect();
    assert_eq!(served(&mut client), "v2");
    let applied_at = proxy.metric("pointsman_config_last_reload_timestamp_seconds");
    assert_eq!(proxy.metric("pointsman_config_last_reload_success"), 1.0);

    let bad = weighted(0).replace("stable = \"v1\"", "stabel = \"v1\"\nstable = \"v9\"");
    let ReloadOutcome::Rejected(rejection) = proxy.rewrite(&bad) else { panic!("it was taken") };
    for words in ["stabel", "did you mean", "v9", "routes.toml:"] {
        assert!(rejection.text.contains(words), "{words} is missing: {}", rejection.text);
    }
    assert_eq!(served(&mut client), "v2");
    assert_eq!(proxy.metric("pointsman_config_last_reload_success"), 0.0);
    assert_eq!(proxy.metric("pointsman_config_last_reload_timestamp_seconds"), applied_at);
    assert!(proxy.metric("pointsman_config_reloads_total{outcome=\"rejected\"}") >= 1.0);
    let status = proxy.status();
    assert_eq!((&status["generation"], &status["ready"]), (&1.into(), &true.into()));
    assert_eq!(status["last_reload"]["outcome"], "rejected");
    assert_eq!(status["last_reload"]["text"], rejection.text.as_str());

    for nonsense in [&b""[..], b"\xff\xfe\x00", b"schema = 2", &vec![b'x'; 100_000]] {
        std::fs::write(proxy.dir().join("routes.toml"), nonsense).unwrap();
        assert!(matches!(proxy.app().reload(), ReloadOutcome::Rejected(_)));
        assert_eq!(served(&mut client), "v2");
    }
    std::fs::remove_file(proxy.dir().join("routes.toml")).unwrap();
    assert!(matches!(proxy.app().reload(), ReloadOutcome::Rejected(_)), "a missing file");
    assert_eq!(served(&mut client), "v2");

    proxy.write(&weighted(0));
    until("a fixed file is applied", || (served(&mut client) == "v1").then_some(()));
    until("the last reload succeeded", || (proxy.metric("pointsman_config_last_reload_success") == 1.0).then_some(()));
}

#[test]
fn a_bad_file_is_logged() {
    let (v1, v2) = two();
    let dir = tempfile::tempdir().unwrap();
    let (path, log) = (dir.path().join("routes.toml"), dir.path().join("log"));
    std::fs::write(&path, whole(&weighted(0), &v1, &v2)).unwrap();
    let mut process = command(dir.path(), &["run", "--workers", "1"])
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut logged = |words: &[&str]| {
        let text = std::fs::read_to_string(&log).unwrap();
        let died = process.try_wait().unwrap().is_some();
        assert!(!died, "the process has ended: {text}");
        words.iter().all(|word| text.contains(word)).then_some(())
    };
    // Its own log reports that it runs before the file is changed.
    until("it starts", || logged(&["started"]));
    std::fs::write(&path, whole(&weighted(1), &v1, &v2)).unwrap();
    until("a good file is logged", || logged(&["reloaded"]));
    std::fs::write(&path, whole(&weighted(1), &v1, &v2).replace("stable =", "stabel =")).unwrap();
    until("a bad file is logged", || logged(&["rejected", "stabel", "did you mean"]));
    std::fs::write(&path, whole(&weighted(1), &v1, &v2)).unwrap();
    until("and the next good file, too", || logged(&["the files are valid again"]));
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn an_access_log_that_cannot_be_opened_rejects_the_reload() {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).start(&weighted(0));
    let text = format!("{}[access_log]\nsink = \"/nowhere/at/all.log\"\n", weighted(100));
    let ReloadOutcome::Rejected(rejection) = proxy.rewrite(&text) else { panic!("it cannot be opened") };
    assert!(rejection.text.contains("/nowhere/at/all.log` cannot be opened"), "{}", rejection.text);
    assert_eq!(served(&mut proxy.connect()), "v1", "nor do the new weights hold");
}

#[test]
fn the_same_file_again_is_unchanged() {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).start(&weighted(100));
    for _ in 0..3 {
        assert!(matches!(proxy.rewrite(&weighted(100)), ReloadOutcome::Unchanged { .. }));
    }
    assert_eq!(proxy.metric("pointsman_config_generation"), 1.0);
    assert!(proxy.metric("pointsman_config_reloads_total{outcome=\"unchanged\"}") >= 3.0);
}

#[test]
fn a_taken_port_rejects_the_whole_reload() {
    let (v1, v2) = two();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Proxy::with("v1", &v1).with("v2", &v2).place("taken", taken.local_addr().unwrap());
    let with = |more: &str, weight| {
        format!("[[listener]]\nname = \"one\"\naddress = \"127.0.0.1:0\"\n{more}{}", weighted(weight))
    };
    let proxy = setup.start(&with("", 0));
    let mut client = proxy.connect();
    let fresh = "[[listener]]\nname = \"fresh\"\naddress = \"127.0.0.1:0\"\n";
    let text = with(&format!("{fresh}[[listener]]\nname = \"late\"\naddress = \"{{taken}}\"\n"), 100);
    let ReloadOutcome::Rejected(rejection) = proxy.rewrite(&text) else { panic!("it was taken") };
    assert!(rejection.text.contains("late") && rejection.text.contains("in use"), "{}", rejection.text);
    assert_eq!(served(&mut client), "v1", "nor do the new weights hold");
    assert_eq!((proxy.listener("fresh"), proxy.listener("late")), (None, None), "nothing else was opened");
    drop(taken);
    assert!(!matches!(proxy.app().reload(), ReloadOutcome::Rejected(_)), "the port is free now");
    assert_eq!(served(&mut client), "v2");
    assert!(proxy.listener("late").is_some());
}

#[test]
fn a_file_that_is_still_being_written_is_not_applied() {
    // A writer that pauses for longer than changes settle would prove nothing: such a try is repeated.
    until("a file is written without a long pause", write_slowly);
}

/// Writes a file in small pieces and checks that no part of it is applied, if that took less than a second.
fn write_slowly() -> Option<()> {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).start(&weighted(0));
    let mut client = proxy.connect();
    let full = std::fs::read_to_string(proxy.dir().join("routes.toml")).unwrap() + "\n#\n";
    let full = full.replace("weight = 0", "weight = 100");
    // The first half is valid by itself and would serve only stable: a proxy that applied it would have generation 2
    // then.
    let half = full.find("canary").unwrap();
    let began = Clock.now();
    let mut file = std::fs::File::create(proxy.dir().join("routes.toml")).unwrap();
    for piece in [&full[..half], &full[half..half + 9], &full[half + 9..]] {
        for bytes in piece.as_bytes().chunks(piece.len().div_ceil(7)) {
            file.write_all(bytes).unwrap();
            // A slow writer is the stimulus here; nothing waits for it.
            std::thread::sleep(Duration::from_millis(15));
            let served = served(&mut client);
            if began.elapsed() > Duration::from_millis(950) {
                return None;
            }
            assert_eq!(served, "v1");
        }
    }
    drop(file);
    until("the whole file is in effect", || (served(&mut client) == "v2").then_some(()));
    assert_eq!(proxy.metric("pointsman_config_generation"), 2.0, "there was no generation between");
    assert_eq!(proxy.metric("pointsman_config_reloads_total{outcome=\"rejected\"}"), 0.0);
    Some(())
}

#[test]
fn a_file_that_is_written_continuously_is_followed() {
    let (v1, v2) = two();
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).start(&weighted(0));
    let mut client = proxy.connect();
    let file = proxy.dir().join("routes.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut writes = 0;
    for (rename, weight, expected) in [(true, 100, "v2"), (false, 0, "v1"), (true, 100, "v2"), (false, 0, "v1")] {
        let text = text.replace("weight = 0", &format!("weight = {weight}"));
        until("the new weight is in effect while the file is being written", || {
            // The stimulus, with a pause that is shorter than the settle time.
            writes += 1;
            let text = format!("{text}# {writes}\n");
            if rename {
                let fresh = proxy.dir().join("routes.toml.new");
                std::fs::write(&fresh, text).unwrap();
                std::fs::rename(&fresh, &file).unwrap();
            } else {
                std::fs::write(&file, text).unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
            (served(&mut client) == expected).then_some(())
        });
    }
}

/// Starts from a file that the test has prepared, with addresses in it.
fn launch(path: &Path) -> App {
    let mut options = Options::new(path);
    options.workers = std::num::NonZeroUsize::new(1);
    options.signals = Signals::Ignore;
    proxy::start(options).unwrap_or_else(|error| panic!("{error}"))
}

fn whole(body: &str, v1: &Upstream, v2: &Upstream) -> String {
    let edges =
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[access_log]\nsink = \"off\"\n";
    let text = format!("schema = 1\n{edges}{body}");
    text.replace("{v1}", &v1.address().to_string()).replace("{v2}", &v2.address().to_string())
}

#[test]
fn a_config_map_is_followed_through_its_links() {
    let (v1, v2) = two();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let lay = |version: &str, weight| {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("routes.toml"), whole(&weighted(weight), &v1, &v2)).unwrap();
    };
    lay("..2026_1", 0);
    symlink("..2026_1", at("..data")).unwrap();
    symlink("..data/routes.toml", at("routes.toml")).unwrap();
    let app = launch(&at("routes.toml"));
    let mut client = Raw::connect(app.listeners()[0].1);
    assert_eq!(served(&mut client), "v1");
    for (n, weight) in [(2, 100), (3, 0), (4, 100)] {
        let (version, old) = (format!("..2026_{n}"), format!("..2026_{}", n - 1));
        lay(&version, weight);
        symlink(&version, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        std::fs::remove_dir_all(at(&old)).unwrap();
        let expected = if weight == 100 { "v2" } else { "v1" };
        until("the swapped links are followed", || (served(&mut client) == expected).then_some(()));
    }
}

#[test]
fn writes_in_place_and_renames_are_both_noticed() {
    let (v1, v2) = two();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.toml");
    std::fs::write(&path, whole(&weighted(0), &v1, &v2)).unwrap();
    let app = launch(&path);
    let mut client = Raw::connect(app.listeners()[0].1);
    std::fs::write(&path, whole(&weighted(100), &v1, &v2)).unwrap();
    until("a write in place", || (served(&mut client) == "v2").then_some(()));
    std::fs::write(dir.path().join("routes.toml~"), whole(&weighted(0), &v1, &v2)).unwrap();
    std::fs::rename(dir.path().join("routes.toml~"), &path).unwrap();
    until("a rename over it", || (served(&mut client) == "v1").then_some(()));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, whole(&weighted(100), &v1, &v2)).unwrap();
    until("a removal and a new file", || (served(&mut client) == "v2").then_some(()));
}

#[test]
fn tenant_files_and_includes_are_watched_too() {
    let (v1, v2) = two();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("routes.d")).unwrap();
    std::fs::write(at("tenants.txt"), "globex\n").unwrap();
    let body = r#"
[identity]
tenant = ["query:tenant"]
[upstream.v1]
endpoints = ["http://{v1}"]
[upstream.v2]
endpoints = ["http://{v2}"]
[segment.early]
tenant = { file = "tenants.txt" }
"#;
    let text = whole(body, &v1, &v2).replace("schema = 1", "schema = 1\ninclude = [\"routes.d/*.toml\"]");
    std::fs::write(at("routes.toml"), text).unwrap();
    let shop = "[[route]]\nname = \"shop\"\nmatch = { path = \"/*\" }\nstable = \"v1\"\n\
                canary = { upstream = \"v2\", weight = 0 }\n[[route.target]]\nsegment = \"early\"\nserve = \"canary\"\n";
    std::fs::write(at("routes.d/shop.toml"), shop).unwrap();
    let app = launch(&at("routes.toml"));
    let mut client = Raw::connect(app.listeners()[0].1);
    let mut of = |tenant: &str| client.get(&format!("/?tenant={tenant}"), "").json()["name"].clone();
    assert_eq!((of("globex"), of("acme")), ("v2".into(), "v1".into()));
    std::fs::write(at("tenants.txt"), "globex\nacme\n").unwrap();
    until("a longer list of tenants", || (of("acme") == "v2").then_some(()));
    std::fs::write(at("routes.d/shop.toml"), shop.replace("serve = \"canary\"", "serve = \"stable\"")).unwrap();
    until("a changed include", || (of("acme") == "v1").then_some(()));
    let more = "[[route]]\nname = \"more\"\nmatch = { path = \"/more\" }\nrespond = { status = 418 }\n";
    std::fs::write(at("routes.d/more.toml"), more).unwrap();
    let mut client = Raw::connect(app.listeners()[0].1);
    until("a new file of the glob", || (client.get("/more", "").status == 418).then_some(()));
    std::fs::remove_file(at("routes.d/more.toml")).unwrap();
    until("a file of the glob that was removed", || (client.get("/more", "").status == 200).then_some(()));
}
