//! The hand-over: the new process takes the sockets, no connection is refused, no request is lost; a failure is
//! reported and changes nothing. With the real binary; the test plays systemd.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

use crate::api::{call, try_exchange};
use crate::harness::proxy::series;
use crate::harness::{ONE_ROUTE, PATIENCE, Raw, Upstream, Wire, until};
use crate::process::{BINARY, Running};

/// The binary as a service in its own folder, where it can be replaced.
struct Service {
    dir: tempfile::TempDir,
    admin: SocketAddr,
    address: SocketAddr,
    pids: Mutex<Vec<u64>>,
    process: Mutex<Running>,
}

fn rules(upstream: &Upstream, more: &str) -> String {
    format!(
        "schema = 1\n[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [access_log]\nsink = \"access.log\"\n{more}\n{}",
        ONE_ROUTE.replace("{main}", &upstream.address().to_string())
    )
}

fn binary(dir: &Path) -> PathBuf {
    dir.join("pointsman")
}

/// Replaces the running binary, as an installation does.
fn install(dir: &Path, put: impl FnOnce(&Path)) {
    let fresh = dir.join("pointsman.new");
    put(&fresh);
    std::fs::rename(fresh, binary(dir)).unwrap();
}

fn genuine(path: &Path) {
    std::os::unix::fs::symlink(BINARY, path).unwrap();
}

/// Another process writes the file: a process that another test starts would inherit a descriptor of this one for a
/// moment, and a file that is open for writing cannot be run.
fn write_elsewhere(path: &Path, text: &str) {
    let mut write = Command::new("sh");
    write.args(["-c", "printf '%s\\n' \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", text]).arg(path);
    assert!(write.status().unwrap().success());
}

fn script(text: &str) -> impl FnOnce(&Path) {
    move |path| write_elsewhere(path, &format!("#!/bin/sh\n{text}"))
}

impl Service {
    fn start(upstream: &Upstream) -> Self {
        Self::with(&rules(upstream, ""), &["--workers", "2", "--hand-over-patience", "20s"], &[])
    }

    fn with(rules: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), genuine);
        std::fs::write(dir.path().join("routes.toml"), rules).unwrap();
        let mut command = Command::new(binary(dir.path()));
        command.arg("run").args(options).envs(variables.iter().copied());
        Self::watch(dir, command)
    }

    fn watch(dir: tempfile::TempDir, mut command: Command) -> Self {
        command.current_dir(dir.path()).env_remove("POINTSMAN_LOG");
        let mut process = Running::watch(command);
        let address = process.word_after("listener").trim_start_matches("http://").parse().unwrap();
        let admin = process.word_after("admin").trim_start_matches("http://").parse().unwrap();
        let service = Self { dir, admin, address, pids: Mutex::default(), process: Mutex::new(process) };
        service.pid();
        service
    }

    fn rewrite(&self, text: &str) {
        let fresh = self.dir.path().join("routes.toml.new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.dir.path().join("routes.toml")).unwrap();
    }

    fn ask(&self, path: &str) -> Option<String> {
        let mut client = Raw { wire: Wire::new(TcpStream::connect(self.admin).ok()?) };
        client.offer(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        client.try_response().ok().map(|answer| answer.text())
    }

    fn status(&self) -> Value {
        // The previous process may have accepted it as its last connection.
        until("a status", || serde_json::from_str(&self.ask("/status")?).ok())
    }

    /// The id of the process that serves now.
    fn pid(&self) -> u64 {
        let pid = self.status()["pid"].as_u64().unwrap();
        let mut pids = self.pids.lock().unwrap();
        if pids.last() != Some(&pid) {
            pids.push(pid);
        }
        pid
    }

    fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Hands over and waits until another process serves; returns its id.
    fn hand_over(&self) -> u64 {
        let before = self.pid();
        signal(before, "USR2");
        until("another process serves", || Some(self.pid()).filter(|pid| *pid != before))
    }

    /// Attempts a hand-over that must fail, and returns the reason.
    fn hand_over_in_vain(&self) -> String {
        let (before, failed) = (self.pid(), "pointsman_hand_overs_failed_total");
        // As with `status`: the process that is about to end may have accepted it.
        let failures = || series(&until("the metrics", || self.ask("/metrics")), failed);
        let count = failures();
        self.signal("USR2");
        until("the hand-over fails", || (failures() > count).then_some(()));
        assert_eq!(self.pid(), before, "the old process serves");
        assert_eq!(self.get("/after"), 200);
        self.status()["hand_over_failure"].as_str().unwrap().to_owned()
    }

    fn get(&self, path: &str) -> u16 {
        Raw::connect(self.address).get(path, "").status
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for pid in self.pids.lock().unwrap().iter().filter(|pid| alive(**pid)) {
            signal(*pid, "KILL");
        }
    }
}

/// Hand-overs start processes that never serve; returns the id of the one with this number, from 0.
fn sleeping_successors(service: &Service) -> impl Fn(usize) -> u64 {
    let note = service.dir.path().join("successors");
    install(service.dir.path(), script(&format!("echo $$ >>{}; exec sleep 1000", note.display())));
    move |at| {
        let pid = until("a new process runs", || {
            let text = std::fs::read_to_string(&note).ok()?;
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).nth(at)?.trim().parse::<u64>().ok()
        });
        service.pids.lock().unwrap().insert(0, pid);
        pid
    }
}

fn signal(pid: u64, name: &str) {
    let sent =
        Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    assert!(sent.success() || std::thread::panicking() || name == "KILL");
}

/// Whether it runs; a process that has ended and waits for its parent does not.
fn alive(pid: u64) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn ends(pid: u64) {
    until("the process ends", || (!alive(pid)).then_some(()));
}

/// Sends requests on one connection after another until it is stopped. No connection is refused; a request is lost only
/// if an idle connection was closed as it was sent (RFC 9112 section 9.3.1), never the first of a connection.
fn hammer(address: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) {
    while !stop.load(SeqCst) {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("a connection was refused: {error}"));
        let mut client = Raw { wire: Wire::new(stream) };
        for n in 0..50 {
            client.offer(format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"));
            match client.try_response() {
                Ok(answer) => {
                    assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some(&*format!("/{n}"))));
                    answered.fetch_add(1, SeqCst);
                    if answer.closes() {
                        break;
                    }
                }
                Err(broken) => panic!("request {n} of a connection was lost: {broken:?}"),
            }
        }
    }
}

/// An upstream that answers `/held` with one piece for each word of the test, and echoes other requests.
struct Held {
    upstream: Upstream,
    words: Sender<&'static str>,
    arrived: Receiver<()>,
}

fn held() -> Held {
    let (words, spoken) = channel::<&str>();
    let (arrival, arrived) = channel();
    let (spoken, arrival) = (Mutex::new(spoken), Mutex::new(arrival));
    let upstream = Upstream::script(move |mut conn| {
        while let Ok(got) = conn.request() {
            if got.target != "/held" {
                let body = got.json("echo").to_string();
                conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
                continue;
            }
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            arrival.lock().unwrap().send(()).unwrap();
            while let Ok(word) = spoken.lock().unwrap().recv() {
                conn.send(format!("{:x}\r\n{word}\r\n", word.len()));
            }
            conn.send("0\r\n\r\n");
        }
    });
    Held { upstream, words, arrived }
}

#[test]
fn no_connection_is_refused_and_no_request_is_lost() {
    let echo = Upstream::echo();
    let service = Service::start(&echo);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| hammer(service.address, &stop, &answered));
        }
        for _ in 0..3 {
            let (before, then) = (service.pid(), answered.load(SeqCst));
            until("the clients send without pause", || (answered.load(SeqCst) > then + 200).then_some(()));
            service.hand_over();
            ends(before);
        }
        let then = answered.load(SeqCst);
        until("the last one serves", || (answered.load(SeqCst) > then + 200).then_some(()));
        stop.store(true, SeqCst);
    });
    assert_eq!(
        echo.requests(),
        answered.load(SeqCst),
        "every request that reached the upstream was answered to a client"
    );
    let lines = || std::fs::read_to_string(service.dir.path().join("access.log")).unwrap().lines().count() as u64;
    until("every request is in the log once", || (lines() == answered.load(SeqCst)).then_some(()));
}

#[test]
fn a_long_stream_finishes_on_the_old_process() {
    let held = held();
    let service = Service::start(&held.upstream);
    let mut client = Raw::connect(service.address);
    client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv_timeout(PATIENCE).unwrap();
    let old = service.pid();
    held.words.send("before, ").unwrap();
    service.hand_over();
    assert_eq!(service.get("/new"), 200, "the new process serves");
    assert!(alive(old), "the old one has a request to finish");
    signal(old, "USR2");
    held.words.send("after").unwrap();
    drop(held.words);
    assert_eq!(client.read_response().text(), "before, after");
    ends(old);
    assert_ne!(service.pid(), old);
}

#[test]
fn an_invalid_file_leaves_the_old_process_serving() {
    let echo = Upstream::echo();
    let service = Service::start(&echo);
    service.rewrite(&rules(&echo, "nonsense = 1"));
    let why = service.hand_over_in_vain();
    assert!(why.contains("nonsense") && why.contains("exit status: 78"), "{why}");
    service.rewrite(&rules(&echo, ""));
    service.hand_over();
    assert_eq!(service.get("/"), 200);
}

#[test]
fn the_counts_of_rate_limits_go_to_the_new_process() {
    let echo = Upstream::echo();
    let limits = "[[route.rate_limit]]\nper = \"header:x-key\"\nrate = \"1/h\"\nburst = 3\n\
                  [[route.rate_limit]]\nname = \"all\"\nper = \"route\"\nrate = \"1/h\"\nburst = 5\n";
    let text = format!("{}{limits}", rules(&echo, ""));
    let service = Service::with(&text, &["--workers", "2"], &[]);
    let get = |key: &str| Raw::connect(service.address).get("/", &format!("X-Key: {key}\r\n")).status;
    assert_eq!([get("a"), get("a"), get("a"), get("a"), get("b")], [200, 200, 200, 429, 200]);
    // Until it drains, the old process accepts too, and counts for itself.
    let hand_over = || {
        let old = service.pid();
        service.hand_over();
        ends(old);
    };
    hand_over();
    assert_eq!([get("a"), get("b"), get("b")], [429, 200, 429], "of three by this key, of five in all");
    hand_over();
    assert_eq!([get("a"), get("b")], [429, 429], "and to the next one");
}

#[test]
fn a_broken_binary_leaves_the_old_process_serving() {
    let echo = Upstream::echo();
    let service = Service::with(&rules(&echo, ""), &["--hand-over-patience", "300ms"], &[]);
    let check = |put: Box<dyn FnOnce(&Path)>, expected: &str| {
        install(service.dir.path(), put);
        let why = service.hand_over_in_vain();
        assert!(why.contains(expected), "expected `{expected}`: {why}");
    };
    check(Box::new(script("exit 3")), "exit status: 3");
    check(Box::new(script("kill -SEGV $$")), "signal: 11");
    check(Box::new(script("exec sleep 1000")), "does not serve after 0.3 s");
    check(Box::new(script("echo '\"serving\"' >&0; exec sleep 1000")), "out of turn");
    check(Box::new(script("echo nonsense >&0; exec sleep 1000")), "cannot be understood");
    check(Box::new(|path| write_elsewhere(path, "no binary")), "cannot be started");
    std::fs::remove_file(binary(service.dir.path())).unwrap();
    assert!(service.hand_over_in_vain().contains("cannot be started"));
}

#[test]
fn listeners_come_and_go_with_the_new_file() {
    let echo = Upstream::echo();
    let second = "[[listener]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\n";
    let service = Service::with(&rules(&echo, second), &["--workers", "2"], &[]);
    let of = |name: &str| -> Option<SocketAddr> {
        let status = service.status();
        let all = status["listeners"].as_array().unwrap();
        let one = all.iter().find(|listener| listener["name"] == name)?;
        Some(one["address"].as_str().unwrap().parse().unwrap())
    };
    let gone = of("second").unwrap();
    // Another file, so that the old process does not reload it first.
    let third = second.replace("second", "third").replace("127.0.0.1:0", "127.0.0.2:0");
    std::fs::write(service.dir.path().join("next.toml"), rules(&echo, &third)).unwrap();
    install(service.dir.path(), |path| {
        let run = format!("exec {BINARY} run next.toml --workers 2");
        script(&run)(path);
    });
    service.hand_over();
    // Until the old process has stopped, it may answer too.
    until("the new process answers", || of("second").is_none().then_some(()));
    assert_eq!(of("http"), Some(service.address), "a listener that stays keeps its socket");
    let new = of("third").unwrap();
    assert_eq!(Raw::connect(new).get("/", "").status, 200);
    until("the removed address refuses connections", || TcpStream::connect(gone).is_err().then_some(()));
}

#[test]
fn every_address_of_the_admin_listener_is_handed_over() {
    let echo = Upstream::echo();
    let one = "[admin]\naddress = \"127.0.0.1:0\"";
    let both = one.replace("\"127.0.0.1:0\"", "[\"127.0.0.1:0\", \"127.0.0.2:0\"]");
    let service = Service::with(&rules(&echo, "").replace(one, &both), &["--workers", "2"], &[]);
    let second = |service: &Service| -> Option<SocketAddr> { service.status()["admin"][1].as_str()?.parse().ok() };
    let other = second(&service).unwrap();
    let new = service.hand_over();
    assert_eq!(second(&service), Some(other), "both keep their sockets");
    let pid = || {
        // The previous process may have accepted it as its last connection.
        let mut client = Raw { wire: Wire::new(TcpStream::connect(other).unwrap()) };
        client.offer("GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        client.try_response().ok()?.json()["pid"].as_u64().filter(|pid| *pid == new)
    };
    assert_eq!(until("the new process answers at the other address", pid), new);
    // Another file, so that the old process does not reload it first.
    std::fs::write(service.dir.path().join("next.toml"), rules(&echo, "")).unwrap();
    install(service.dir.path(), |path| {
        let run = format!("exec {BINARY} run next.toml --workers 2");
        script(&run)(path);
    });
    let last = service.hand_over();
    // As above: only the answer of the last process counts.
    let listed = until("the last process answers", || Some(service.status()).filter(|status| status["pid"] == last));
    assert_eq!(listed["admin"].as_array().map(Vec::len), Some(1), "{listed}");
    until("the removed address refuses connections", || TcpStream::connect(other).is_err().then_some(()));
}

#[test]
fn an_edit_during_a_hand_over_applies_at_once_and_restarts_it() {
    let echo = Upstream::echo();
    let service = Service::with(&rules(&echo, ""), &["--workers", "2", "--hand-over-patience", "5m"], &[]);
    let successor = sleeping_successors(&service);
    let generation = || service.status()["generation"].as_u64();
    let old = service.pid();
    signal(old, "USR2");
    let first = successor(0);
    service.rewrite(&rules(&echo, "[kill]\nall = true"));
    until("the edit is in effect", || (generation() == Some(2)).then_some(()));
    ends(first);
    let second = successor(1);
    assert_eq!(service.status()["hand_over_failure"], Value::Null, "it continues");
    service.rewrite(&rules(&echo, ""));
    until("the next edit is in effect", || (generation() == Some(3)).then_some(()));
    ends(second);
    let why = until("it is given up", || Some(service.status()["hand_over_failure"].as_str()?.to_owned()));
    assert!(why.contains("edited"), "{why}");
    assert_eq!((service.pid(), service.get("/")), (old, 200));
}

#[test]
fn a_rejected_edit_does_not_affect_the_hand_over() {
    let echo = Upstream::echo();
    let service = Service::with(&rules(&echo, ""), &["--workers", "2", "--hand-over-patience", "5m"], &[]);
    let successor = sleeping_successors(&service);
    signal(service.pid(), "USR2");
    let first = successor(0);
    // No machine has this address, so no new process has bound it.
    service.rewrite(&rules(&echo, "[[listener]]\nname = \"more\"\naddress = \"192.0.2.1:0\""));
    until("the edit is rejected", || (service.status()["last_reload"]["outcome"] == "rejected").then_some(()));
    assert!(alive(first), "the new process is not ended for a rejected edit");
    // The first valid edit restarts the hand-over.
    service.rewrite(&rules(&echo, "[kill]\nall = true"));
    until("the next edit is in effect", || (service.status()["generation"] == 2).then_some(()));
    ends(first);
    let second = successor(1);
    assert!(alive(second));
    assert_eq!(service.status()["hand_over_failure"], Value::Null);
}

#[test]
fn an_edit_can_use_an_address_that_the_new_process_has_bound() {
    let echo = Upstream::echo();
    let service = Service::with(&rules(&echo, ""), &["--workers", "2", "--hand-over-patience", "5m"], &[]);
    let successor = sleeping_successors(&service);
    signal(service.pid(), "USR2");
    let first = successor(0);
    // Plays the new process, which has read the edited file first.
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("[[listener]]\nname = \"more\"\naddress = \"{}\"", bound.local_addr().unwrap());
    service.rewrite(&rules(&echo, &more));
    service.process.lock().unwrap().line_with("an address is in use");
    let status = service.status();
    assert_eq!(status["generation"], 1);
    assert_ne!(status["last_reload"]["outcome"], "rejected");
    assert!(alive(first), "the hand-over continues");
    // An urgent edit does not wait for it.
    service.rewrite(&rules(&echo, "[kill]\nall = true"));
    until("the urgent edit is in effect", || (service.status()["generation"] == 2).then_some(()));
    let second = successor(1);
    service.rewrite(&rules(&echo, &more));
    service.process.lock().unwrap().line_with("an address is in use");
    drop(bound);
    signal(second, "KILL");
    until("the edit is in effect when the hand-over has ended", || (service.status()["generation"] == 3).then_some(()));
    assert_ne!(service.status()["last_reload"]["outcome"], "rejected");
    until("the failure is noted", || service.status()["hand_over_failure"].is_string().then_some(()));
}

#[test]
fn a_stop_during_a_hand_over_stops_both() {
    let echo = Upstream::echo();
    let service = Service::start(&echo);
    let note = service.dir.path().join("successor");
    install(service.dir.path(), script(&format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", note.display())));
    let old = service.pid();
    signal(old, "USR2");
    let text = until("the new process runs", || std::fs::read_to_string(&note).ok());
    let new: u64 = text.trim().parse().unwrap();
    signal(old, "USR2");
    assert_eq!(service.get("/"), 200, "asked twice, and it serves");
    signal(old, "TERM");
    ends(old);
    ends(new);
}

#[test]
fn a_stop_of_the_service_does_not_cut_requests_of_the_old_process() {
    let held = held();
    let service = Service::start(&held.upstream);
    let mut client = Raw::connect(service.address);
    client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv_timeout(PATIENCE).unwrap();
    let old = service.pid();
    let new = service.hand_over();
    // As systemd does: every process of the control group gets the signal.
    signal(old, "TERM");
    signal(new, "TERM");
    ends(new);
    held.words.send("whole").unwrap();
    drop(held.words);
    assert_eq!(client.read_response().text(), "whole");
    ends(old);
}

/// Rules whose canary gets every caller.
fn canary_rules(stable: &Upstream, canary: &Upstream, more: &str) -> String {
    let route = format!(
        "[upstream.canary]\nendpoints = [\"http://{}\"]\n[[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\n\
         sticky = [\"client_ip\"]\nstable = \"main\"\ncanary = {{ upstream = \"canary\", weight = 100 }}\n",
        canary.address()
    );
    let text = rules(stable, more);
    let (upstreams, _) = text.split_once("[[route]]").unwrap();
    format!("{upstreams}{route}")
}

/// Kills or revives over the socket; the record is on the disk before this returns.
fn act(service: &Service, path: &str, body: &str) -> Value {
    let done = act_at_once(service, path, body);
    let late = "the disk has not taken the record within";
    let is_late = done["not_durable_because"].as_str().is_some_and(|why| why.contains(late));
    assert!(done["durable"] == true || is_late, "{done}");
    // A busy disk takes longer than the answer.
    until("the record is on the disk", || {
        let journal = std::fs::read_to_string(service.dir.path().join("state/journal.jsonl")).ok()?;
        let seq = format!("\"seq\":{},", done["record"]["seq"]);
        journal.lines().any(|line| line.contains(&seq)).then_some(())
    });
    done
}

/// Kills or revives over the socket.
fn act_at_once(service: &Service, path: &str, body: &str) -> Value {
    let socket = service.dir.path().join("state/run/admin.sock");
    let request = call("POST", path, "", body);
    until("the act is done", || {
        // Around the farewell, the old process refuses and the new one binds the socket.
        let reply = try_exchange(UnixStream::connect(&socket).ok()?, &request).filter(|reply| reply.status == 200)?;
        serde_json::from_str(&reply.body).ok()
    })
}

fn name_served(service: &Service) -> String {
    Raw::connect(service.address).get("/", "").json()["name"].as_str().unwrap().to_owned()
}

#[test]
fn kills_go_on_in_the_new_process() {
    let (stable, canary) = (Upstream::echo().named("stable"), Upstream::echo().named("canary"));
    let service = Service::with(&canary_rules(&stable, &canary, ""), &["--workers", "2"], &[]);
    assert_eq!(name_served(&service), "canary");
    act(&service, "/v1/kill", r#"{"route": "all", "reason": "it fails"}"#);
    assert_eq!(name_served(&service), "stable");
    let old = service.pid();
    service.hand_over();
    assert_eq!(name_served(&service), "stable", "from its first request on");
    ends(old);
    act(&service, "/v1/kill", r#"{"variant": "all:canary", "reason": "it still fails"}"#);
    act(&service, "/v1/revive", r#"{"route": "all", "reason": "one is enough"}"#);
    service.hand_over();
    assert_eq!(name_served(&service), "stable");
    act(&service, "/v1/revive", r#"{"variant": "all:canary", "reason": "it is repaired"}"#);
    assert_eq!(name_served(&service), "canary");
    let journal = std::fs::read_to_string(service.dir.path().join("state/journal.jsonl")).unwrap();
    let seqs: Vec<u64> =
        journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "one journal without gaps:\n{journal}");
}

#[test]
fn a_kill_in_the_new_process_closes_streams_of_the_old_one() {
    let (held, stable) = (held(), Upstream::echo().named("stable"));
    // The drain alone would let it go on for longer than a test waits.
    let options = ["--workers", "2", "--drain-deadline", "10m"];
    let service = Service::with(&canary_rules(&stable, &held.upstream, ""), &options, &[]);
    let mut client = Raw::connect(service.address);
    client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv_timeout(PATIENCE).unwrap();
    held.words.send("before").unwrap();
    let old = service.pid();
    service.hand_over();
    assert!(alive(old), "the old one has a stream");
    act(&service, "/v1/kill", r#"{"route": "all", "reason": "it fails", "close_streams": "1ms"}"#);
    // Its last stream ends, and with it the process.
    assert!(client.try_response().is_err(), "the stream is cut");
    ends(old);
    drop(held.words);
}

#[test]
fn a_kill_reaches_the_first_of_three_processes() {
    let (held, stable) = (held(), Upstream::echo().named("stable"));
    let options = ["--workers", "2", "--drain-deadline", "10m"];
    let service = Service::with(&canary_rules(&stable, &held.upstream, ""), &options, &[]);
    let stream = || {
        let mut client = Raw::connect(service.address);
        client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
        client
    };
    let mut first_client = stream();
    held.arrived.recv_timeout(PATIENCE).unwrap();
    let first = service.pid();
    let second = service.hand_over();
    // The first process may accept the last connections of its backlog.
    let mut clients = Vec::new();
    until("the second process has a stream", || {
        clients.push(stream());
        held.arrived.recv_timeout(PATIENCE).unwrap();
        let status = service.status();
        (status["pid"] == second && status["listeners"][0]["requests_in_flight"] != 0).then_some(())
    });
    // The first process may answer for a moment: it is not the one to be replaced.
    signal(second, "USR2");
    until("the third process serves", || Some(service.pid()).filter(|pid| *pid != first && *pid != second));
    assert!(alive(first) && alive(second), "each has a stream");
    act(&service, "/v1/kill", r#"{"route": "all", "reason": "it fails", "close_streams": "1ms"}"#);
    assert!(first_client.try_response().is_err(), "the stream of the first process is cut");
    assert!(clients.iter_mut().all(|client| client.try_response().is_err()), "and that of the second");
    ends(first);
    ends(second);
    drop(held.words);
}

#[test]
fn a_kill_that_no_disk_has_goes_on_in_the_new_process() {
    let (stable, canary) = (Upstream::echo().named("stable"), Upstream::echo().named("canary"));
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), genuine);
    std::fs::write(dir.path().join("routes.toml"), canary_rules(&stable, &canary, "")).unwrap();
    let in_the_way = dir.path().join("state/lock");
    std::fs::create_dir_all(in_the_way.join("in-the-way")).unwrap();
    let mut command = Command::new(binary(dir.path()));
    command.args(["run", "--workers", "2"]);
    let service = Service::watch(dir, command);
    let killed = act_at_once(&service, "/v1/kill", r#"{"route": "all", "reason": "it fails"}"#);
    assert_eq!(killed["durable"], false, "{killed}");
    let old = service.pid();
    service.hand_over();
    ends(old);
    // The kill arrives with the farewell.
    until("the kill is in force", || (name_served(&service) == "stable").then_some(()));
    std::fs::remove_dir_all(in_the_way).unwrap();
    until("the kill is on the disk", || (service.status()["kills"][0]["durable"] == true).then_some(()));
    act(&service, "/v1/revive", r#"{"route": "all", "reason": "it is repaired"}"#);
    assert_eq!(name_served(&service), "canary");
}

#[test]
fn every_kill_in_the_moment_of_a_hand_over_is_durable() {
    let (stable, canary) = (Upstream::echo().named("stable"), Upstream::echo().named("canary"));
    let service = Service::with(&canary_rules(&stable, &canary, ""), &["--workers", "2"], &[]);
    let stop = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let kills = scope.spawn(|| {
            let tenants = (0_u32..).take_while(|_| !stop.load(SeqCst));
            tenants
                .map(|n| act(&service, "/v1/kill", &format!(r#"{{"tenant": "t{n}", "reason": "it fails"}}"#)))
                .count()
        });
        for _ in 0..2 {
            let old = service.pid();
            service.hand_over();
            ends(old);
        }
        stop.store(true, SeqCst);
        kills.join().unwrap()
    });
    assert_eq!(service.status()["kills"].as_array().map(Vec::len), Some(count), "none is lost");
}

#[test]
fn a_failed_hand_over_leaves_the_journal_with_the_old_process() {
    let (stable, canary) = (Upstream::echo().named("stable"), Upstream::echo().named("canary"));
    let service = Service::with(&canary_rules(&stable, &canary, ""), &["--workers", "2"], &[]);
    act(&service, "/v1/kill", r#"{"route": "all", "reason": "it fails"}"#);
    install(service.dir.path(), script("exit 3"));
    assert!(service.hand_over_in_vain().contains("exit status: 3"));
    // A new process with another state folder would not know the kill.
    std::fs::write(service.dir.path().join("next.toml"), canary_rules(&stable, &canary, "[state]\ndir = \"other\"\n"))
        .unwrap();
    install(service.dir.path(), script(&format!("exec {BINARY} run next.toml --workers 2")));
    let why = service.hand_over_in_vain();
    assert!(why.contains("restart the proxy to use the other folder"), "{why}");
    assert_eq!(name_served(&service), "stable");
    act(&service, "/v1/revive", r#"{"route": "all", "reason": "it is repaired"}"#);
    assert_eq!(name_served(&service), "canary");
}

/// Systemd's end of `NOTIFY_SOCKET`.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path, _dir: dir }
    }

    fn receive(&self) -> String {
        let mut text = [0; 4096];
        let bytes = self.socket.recv(&mut text).expect("a notification");
        String::from_utf8_lossy(&text[..bytes]).into_owned()
    }

    /// The next notification that is not from the watchdog.
    #[track_caller]
    fn expects(&self, start: &str) -> String {
        let text = std::iter::repeat_with(|| self.receive()).find(|text| text != "WATCHDOG=1").unwrap();
        assert!(text.starts_with(start), "expected {start}: {text}");
        text
    }
}

#[test]
fn systemd_gets_every_notification() {
    let (echo, systemd) = (Upstream::echo(), Systemd::new());
    let socket = systemd.path.to_str().unwrap();
    let variables = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "300000")];
    let service = Service::with(&rules(&echo, ""), &["--workers", "2"], &variables);
    let old = service.pid();
    systemd.expects(&format!("MAINPID={old}"));
    systemd.expects("READY=1\nSTATUS=serving generation 1");
    for _ in 0..3 {
        assert_eq!(systemd.receive(), "WATCHDOG=1");
    }
    service.signal("HUP");
    let text = systemd.expects("RELOADING=1\nMONOTONIC_USEC=");
    assert!(text["RELOADING=1\nMONOTONIC_USEC=".len()..].parse::<u64>().unwrap() > 0);
    systemd.expects("READY=1\nSTATUS=serving generation");
    let new = service.hand_over();
    systemd.expects(&format!("MAINPID={new}"));
    systemd.expects(&format!("MAINPID={new}"));
    systemd.expects("READY=1\nSTATUS=serving generation 1");
    ends(old);
    assert_eq!(systemd.receive(), "WATCHDOG=1", "the new process is watched");
    service.signal("TERM");
    systemd.expects("STOPPING=1");
    ends(new);
}

#[test]
fn systemd_sockets_are_used_and_outlive_the_process() {
    let echo = Upstream::echo();
    let by_address = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = by_address.local_addr().unwrap();
    let text = rules(&echo, "").replacen("127.0.0.1:0", &address.to_string(), 1);
    let start = || {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), genuine);
        std::fs::write(dir.path().join("routes.toml"), &text).unwrap();
        let mut command = Command::new("sh");
        let run = "exec 3<&0 </dev/null; export LISTEN_PID=$$; exec ./pointsman run";
        command.args(["-c", run]).stdin(OwnedFd::from(by_address.try_clone().unwrap()));
        command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "pointsman.socket")]);
        Service::watch(dir, command)
    };
    let service = start();
    assert_eq!(service.address, address);
    assert_eq!(service.get("/"), 200);
    let new = service.hand_over();
    assert_eq!(service.get("/"), 200, "the new process has it too");
    signal(new, "TERM");
    ends(new);
    // No process serves, and no connection is refused: systemd listens.
    let mut early = Raw::connect(address);
    early.send("GET /early HTTP/1.1\r\nHost: test\r\n\r\n");
    let _again = start();
    assert_eq!(early.read_response().status, 200);
}

#[test]
fn drains_and_ejections_by_hand_are_handed_over() {
    let upstreams = [Upstream::echo(), Upstream::echo(), Upstream::echo()];
    let all: Vec<String> = upstreams.iter().map(|one| format!("\"http://{}\"", one.address())).collect();
    let more = format!("[upstream.pool]\nendpoints = [{}]\n", all.join(", "));
    let service = Service::with(&rules(&upstreams[0], &more), &["--workers", "1", "--hand-over-patience", "20s"], &[]);
    let socket = service.dir.path().join("state/run/admin.sock");
    let act = |upstream: &Upstream, verb: &str| {
        let path = format!("/v1/upstreams/pool/endpoints/{}/{verb}", upstream.address());
        let request = call("POST", &path, "", r#"{"reason": "a test"}"#);
        let reply = try_exchange(UnixStream::connect(&socket).unwrap(), &request).unwrap();
        assert_eq!((reply.status, &reply.json()["changed"]), (200, &Value::Bool(true)), "{reply:?}");
    };
    act(&upstreams[0], "drain");
    act(&upstreams[1], "eject");
    let standings = || {
        let status = service.status();
        let pool = status["upstreams"].as_array().unwrap().iter().find(|one| one["name"] == "pool").cloned().unwrap();
        let word = |one: &Value| one["standing"].as_str().unwrap().to_owned();
        pool["endpoints"].as_array().unwrap().iter().map(word).collect::<Vec<_>>()
    };
    let expected = ["drained", "ejected", "usable"];
    assert_eq!(standings(), expected);
    service.hand_over();
    assert_eq!(standings(), expected, "the new process has them");
    service.hand_over();
    assert_eq!(standings(), expected, "and the one after it");
}

#[test]
fn a_systemd_socket_survives_a_rejected_edit() {
    let echo = Upstream::echo();
    let (spare, taken) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, blocked] = [&spare, &taken].map(|socket| socket.local_addr().unwrap());
    let listener =
        |name: &str, address: SocketAddr| format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), genuine);
    std::fs::write(dir.path().join("routes.toml"), rules(&echo, "")).unwrap();
    let mut command = Command::new("sh");
    let run = "exec 3<&0 </dev/null; export LISTEN_PID=$$; exec ./pointsman run";
    command.args(["-c", run]).stdin(OwnedFd::from(spare));
    command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "spare")]);
    let service = Service::watch(dir, command);
    service.rewrite(&rules(&echo, &(listener("more", address) + &listener("bad", blocked))));
    until("it is rejected", || (service.status()["last_reload"]["outcome"] == "rejected").then_some(()));
    service.rewrite(&rules(&echo, &listener("more", address)));
    until("it is applied", || (service.status()["generation"] == 2).then_some(()));
    let mut client = Raw::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
}
