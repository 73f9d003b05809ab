//! Notifications over sockets: each event once a receiver, although that is down and the proxy starts anew meanwhile.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::brake::{act, done, kill, revive, start};
use super::guards::Switch;
use super::harness::{Folder, eventually, get};
use super::rollouts::{PLAN, on, text, until};
use super::traffic::{Client, upstream};
use crate::app::{App, PersonAct};
use crate::release::{PersonVerb, RolloutPhase, RolloutStanding};
use crate::route::KillScope;

/// A receiver that keeps what it got. Its address is taken before it listens: until then it refuses connections.
struct Hook {
    address: SocketAddr,
    socket: Option<Socket>,
    got: Arc<Mutex<Vec<Message>>>,
}

/// A message: its key, and its body.
#[derive(Clone, Debug)]
struct Message {
    key: String,
    body: Value,
}

impl Hook {
    fn down() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("bound");
        let address = socket.local_addr().expect("an address").as_socket().expect("of the Internet");
        Self { address, socket: Some(socket), got: Arc::default() }
    }

    fn up() -> Self {
        let mut hook = Self::down();
        hook.listen();
        hook
    }

    fn listen(&mut self) {
        let socket = self.socket.take().expect("it is down");
        socket.listen(64).expect("listening");
        let (listener, got) = (TcpListener::from(socket), Arc::clone(&self.got));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let message = receive(stream);
                got.lock().expect("no panic").extend(message);
            }
        });
    }

    fn got(&self) -> Vec<Message> {
        self.got.lock().expect("no panic").clone()
    }

    /// The events of what it got, in order.
    fn events(&self) -> Vec<String> {
        self.got().iter().map(event).collect()
    }

    /// What it got, each key once: a process that ends before it knows that a message has arrived sends it again.
    fn once(&self) -> Vec<Message> {
        let mut once: Vec<Message> = Vec::new();
        for message in self.got() {
            match once.iter().find(|one| one.key == message.key) {
                Some(known) => assert_eq!(known.body, message.body, "the same key has the same body"),
                None => once.push(message),
            }
        }
        once
    }

    /// Waits until it has got this.
    fn waits_for(&self, event: &str) {
        eventually(&format!("{event} arrives"), || self.events().iter().any(|one| one == event));
    }
}

fn event(message: &Message) -> String {
    message.body["event"].as_str().expect("an event").to_owned()
}

/// Reads a message and takes it.
fn receive(stream: TcpStream) -> Option<Message> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut key) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).ok()? > 0 && line != "\r\n" {
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
        if let Some(value) = line.strip_prefix("idempotency-key: ") {
            key = value.trim().to_owned();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    Some(Message { key, body: serde_json::from_slice(&body).ok()? })
}

/// A folder with the rollout of `PLAN`, which goes to these receivers: of everything, and of the rollout.
fn folder(upstreams: [SocketAddr; 2], all: &Hook, own: &Hook) -> Folder {
    let plan = PLAN
        .replace("[rollout.next]\n", &format!("[rollout.next]\nnotify = [\"webhook:http://{}/own\"]\n", own.address));
    let notify = format!("[notify]\nto = [\"webhook:http://{}/all\"]\n", all.address);
    Folder::new(&(text(&plan, upstreams) + &notify))
}

/// Waits until the proxy knows that all has arrived: what it does not know is sent again after a start.
fn settled(app: &App, hook: &Hook) {
    eventually("nothing waits", || {
        let answer = get(app, "/v1/notify").json();
        let receivers = answer["receivers"].as_array().expect("a list").clone();
        let name = format!("webhook:{}", hook.address);
        let own = receivers.iter().find(|one| one["name"] == name.as_str()).expect("it is one of them");
        own["pending"] == 0
    });
}

fn approve(app: &App, who: &str, role: &str) {
    let mut act = act(on(PersonVerb::Approve { role: Some(role.to_owned()) }, &[role]));
    who.clone_into(&mut act.who.name);
    assert!(app.act(act).expect("approved").durable);
}

#[test]
fn each_event_of_a_rollout_is_heard_of_once_although_a_receiver_is_down_over_a_restart() {
    let (mut all, own) = (Hook::down(), Hook::up());
    let canary = Switch::failing();
    canary.mend();
    let folder = folder([upstream("one"), canary.address], &all, &own);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "approvers are asked", |one| one.doing == "awaiting_approval");
    own.waits_for("ask");
    settled(&app, &own);
    drop(app);
    // The receiver of everything has been down the whole time.
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it goes on", |one| one.doing == "awaiting_approval");
    approve(&app, "ana", "lead");
    approve(&app, "cy", "product");
    let is_complete = |one: &RolloutStanding| one.phase == RolloutPhase::Complete;
    until(&app, &mut client, "it is complete", is_complete);
    done(&app, act(on(PersonVerb::Rollback, &[])));
    own.waits_for("rollback");
    settled(&app, &own);
    drop(app);
    all.listen();
    let app = start(&folder);
    all.waits_for("rollback");
    let expected = ["begin", "enter", "enter", "ask", "enter", "complete", "rollback"];
    let (got, got_own) = (all.once(), own.once());
    let events = |got: &[Message]| got.iter().map(event).collect::<Vec<_>>();
    assert_eq!(
        (events(&got), events(&got_own)),
        (expected.map(str::to_owned).into(), expected.map(str::to_owned).into())
    );
    let keys = |got: &[Message]| got.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&got), keys(&got_own), "the same id at each receiver and in each process");
    assert!(got.iter().all(|one| one.body["id"] == one.key.as_str() && one.body["rollout"] == "next"));
    let asked = got.iter().find(|one| one.body["event"] == "ask").expect("asked");
    assert_eq!(asked.body["approvers"]["lead"], serde_json::json!(["ana", "bo"]));
    settled(&app, &all);
    drop(app);
    let outbox = std::fs::read_to_string(folder.path("state/outbox.json")).expect("an outbox");
    assert!(outbox.contains("\"queues\":[]"), "nothing waits: {outbox}");
}

#[test]
fn a_kill_is_heard_of_once_and_by_the_receivers_of_its_rollout_too() {
    let (all, own) = (Hook::up(), Hook::up());
    let folder = folder([upstream("one"), upstream("two")], &all, &own);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it runs", |one| one.phase == RolloutPhase::Running);
    let scope = KillScope::Rollout("next".to_owned());
    done(&app, kill(scope.clone()));
    own.waits_for("kill");
    all.waits_for("kill");
    done(&app, revive(scope));
    own.waits_for("revive");
    all.waits_for("revive");
    done(&app, act(PersonAct::Rollout { rollout: "next".to_owned(), verb: PersonVerb::Resume, roles: Vec::new() }));
    all.waits_for("resume");
    let of =
        |hook: &Hook| hook.once().iter().map(event).filter(|one| one == "kill" || one == "revive").collect::<Vec<_>>();
    assert_eq!(
        (of(&all), of(&own)),
        (vec!["kill".to_owned(), "revive".to_owned()], vec!["kill".to_owned(), "revive".to_owned()])
    );
    assert_eq!(all.got().iter().find(|one| one.body["event"] == "kill").expect("killed").body["scope"], "rollout next");
}

#[test]
fn a_rejected_file_is_heard_of_and_so_is_its_end() {
    let (all, own) = (Hook::up(), Hook::up());
    let folder = folder([upstream("one"), upstream("two")], &all, &own);
    let text = std::fs::read_to_string(folder.path("routes.toml")).expect("the file");
    let app = start(&folder);
    folder.write("routes.toml", &text.replace("weight = 50", "weight = 5000"));
    assert_eq!(app.reload().name(), "rejected");
    all.waits_for("config_rejected");
    folder.write("routes.toml", &text);
    assert_eq!(app.reload().name(), "unchanged");
    all.waits_for("config_applied");
    assert!(!own.events().iter().any(|one| one.starts_with("config")), "{:?}", own.events());
}

#[test]
fn the_alert_of_a_rollout_that_leaves_the_file_while_the_proxy_is_stopped_ends() {
    let (hook, upstreams) = (Hook::up(), [upstream("one"), upstream("two")]);
    let notify = format!("[notify]\nto = [\"alertmanager:http://{}\"]\n", hook.address);
    let with = text(PLAN, upstreams) + &notify;
    let folder = Folder::new(&with);
    let active = |app: &App, count: u64| {
        eventually("alerts stand so", || get(app, "/v1/notify").json()["receivers"][0]["alerts"] == count);
    };
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it runs", |one| one.phase == RolloutPhase::Running);
    done(&app, act(on(PersonVerb::Rollback, &[])));
    active(&app, 1);
    drop(app);
    let without = text("", upstreams).replace("rollout = \"next\" }", "weight = 5 }") + &notify;
    folder.write("routes.toml", &without);
    let app = start(&folder);
    active(&app, 0);
    drop(app);
    let outbox = std::fs::read_to_string(folder.path("state/outbox.json")).expect("an outbox");
    assert!(!outbox.contains("\"ends_ms\":null"), "no alert is there: {outbox}");
}
