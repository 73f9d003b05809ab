//! Guards over sockets: a bad canary is rolled back, its latch holds through reloads and restarts, and a person ends it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;

use super::brake::{act, canary, done, kill, revive, start};
use super::harness::{Folder, eventually, file};
use super::traffic::{Client, upstream};
use crate::app::{ActError, App, PersonAct, ReloadOutcome};
use crate::control::{EndpointAct, EndpointVerb, Event, HealthEvent};
use crate::journal::{Actor, Deed, Record, ReleaseVerb, Via};
use crate::release::{HoldCause, ReleaseStanding, ReleaseState};

/// An upstream that answers `two` with 200, or `bad` with 500.
pub(super) struct Switch {
    pub(super) address: SocketAddr,
    fails: Arc<AtomicBool>,
}

impl Switch {
    pub(super) fn failing() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let fails = Arc::new(AtomicBool::new(true));
        serve(listener, Arc::clone(&fails));
        Self { address, fails }
    }

    pub(super) fn mend(&self) {
        self.fails.store(false, SeqCst);
    }
}

fn serve(listener: TcpListener, fails: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let fails = Arc::clone(&fails);
            std::thread::spawn(move || answer(stream, &fails));
        }
    });
}

fn answer(stream: TcpStream, fails: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if line == "\r\n" {
            let (status, body) = if fails.load(SeqCst) { ("500 Bad", "bad") } else { ("200 OK", "two") };
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\n{body}");
            if reader.get_mut().write_all(text.as_bytes()).is_err() {
                return;
            }
        }
        line.clear();
    }
}

/// An address that refuses connections until it listens. It is taken: no other socket can have it meanwhile.
pub(super) struct Refusing {
    socket: Socket,
    pub(super) address: SocketAddr,
}

impl Refusing {
    pub(super) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("bound");
        let address = socket.local_addr().expect("an address").as_socket().expect("of the Internet");
        Self { socket, address }
    }

    pub(super) fn listen(self) {
        self.socket.listen(64).expect("listening");
        serve(self.socket.into(), Arc::new(AtomicBool::new(false)));
    }
}

/// A routes file in which each request is a caller of its own.
pub(super) fn text(weight: u32, guard: &str, upstreams: [SocketAddr; 2]) -> String {
    let [stable, canary] = upstreams.map(|one| format!("{one}\""));
    let text = file(weight).replace("127.0.0.1:1\"", &stable).replace("127.0.0.1:2\"", &canary);
    text.replace("sticky = [\"client_ip\"]", &format!("sticky = []\nguard = \"{guard}\""))
}

pub(super) fn standing(app: &App) -> ReleaseStanding {
    let all = app.releases();
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().expect("one")
}

/// Sends requests until the release is in this state.
pub(super) fn until(
    app: &App,
    client: &mut Client,
    what: &str,
    is_it: impl Fn(&ReleaseState) -> bool,
) -> ReleaseStanding {
    eventually(what, || {
        client.get("/a");
        is_it(&standing(app).state)
    });
    standing(app)
}

const fn is_rolled_back(state: &ReleaseState) -> bool {
    matches!(state, ReleaseState::RolledBack(_))
}

fn all_from_stable(client: &mut Client) {
    for n in 0..40 {
        assert_eq!(client.get("/a").1, "one", "request {n}");
    }
}

pub(super) fn serves_canary(client: &mut Client) {
    eventually("the canary serves", || client.get("/a").1 == "two");
}

fn resume() -> PersonAct {
    PersonAct::Resume { release: "api:canary".to_owned() }
}

/// What was decided about releases, as the journal on the disk has it.
fn deeds(folder: &Folder) -> Vec<(ReleaseVerb, Record)> {
    let text = std::fs::read_to_string(folder.path("state/journal.jsonl")).expect("a journal");
    let records = text.lines().map(|line| serde_json::from_str::<Record>(line).expect("a record"));
    let deed = |record: Record| match &record.what {
        Deed::Release(deed) => Some((deed.act, record)),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Rollout(_)
        | Deed::Checkpoint { .. } => None,
    };
    records.filter_map(deed).collect()
}

#[test]
fn a_canary_that_fails_is_rolled_back_and_its_latch_holds_until_a_person_resumes_it() {
    let (one, two) = (upstream("one"), Switch::failing());
    let text = text(50, "rollback", [one, two.address]);
    let folder = Folder::new(&text);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    assert_eq!(standing(&app).state, ReleaseState::Watching);
    let stopped = until(&app, &mut client, "a rollback", is_rolled_back);
    let ReleaseState::RolledBack(rollback) = &stopped.state else { panic!("{stopped:?}") };
    assert!(!rollback.by.is_empty() && !rollback.sentence.is_empty(), "{rollback:?}");
    assert_eq!(stopped.revision, "v2");
    two.mend();
    all_from_stable(&mut client);
    // Neither another weight, nor another order, nor a kill that comes and goes ends it.
    folder.write("routes.toml", &text.replace("weight = 50", "weight = 60"));
    let ReloadOutcome::Applied { summary, .. } = app.reload() else { panic!("not applied") };
    assert!(summary.iter().any(|line| line.contains("api:canary stays at 0")), "{summary:?}");
    let before =
        "[[route]]\nname = \"first\"\nmatch = { path = \"/first/*\" }\nstable = \"v1\"\n[[route]]\nname = \"api\"";
    folder.write("routes.toml", &text.replace("[[route]]\nname = \"api\"", before));
    assert_eq!(app.reload().name(), "applied");
    done(&app, kill(canary()));
    done(&app, revive(canary()));
    all_from_stable(&mut client);
    eventually(
        "the record is on the disk",
        || matches!(&standing(&app).state, ReleaseState::RolledBack(rollback) if rollback.durable),
    );
    drop(app);
    // A restart.
    let app = start(&folder);
    let mut client = Client::connect(&app);
    all_from_stable(&mut client);
    assert!(is_rolled_back(&standing(&app).state), "{:?}", standing(&app));
    // Another revision is another release; the latch of the first one stays.
    let revised = text.replace("[upstream.v2]\n", "[upstream.v2]\nrevision = \"2\"\n");
    folder.write("routes.toml", &revised);
    assert_eq!(app.reload().name(), "applied");
    serves_canary(&mut client);
    assert_eq!((standing(&app).state, standing(&app).revision.as_str()), (ReleaseState::Watching, "v2=2"));
    folder.write("routes.toml", &text);
    assert_eq!(app.reload().name(), "applied");
    all_from_stable(&mut client);
    // A person ends it.
    let resumed = done(&app, act(resume()));
    assert!(resumed.durable, "{resumed:?}");
    serves_canary(&mut client);
    let again = app.act(act(resume())).expect_err("it is not rolled back any more");
    assert_eq!(again, ActError::NotRolledBack { release: "api:canary".to_owned(), state: "watching" });
    drop(app);
    let app = start(&folder);
    serves_canary(&mut Client::connect(&app));
    drop(app);
    let deeds = deeds(&folder);
    let acts: Vec<ReleaseVerb> = deeds.iter().map(|(act, _)| *act).collect();
    assert_eq!(acts, [ReleaseVerb::Rollback, ReleaseVerb::Resume], "{deeds:?}");
    assert_eq!(deeds[0].1.who.via, Via::Guard);
    let Deed::Release(deed) = &deeds[0].1.what else { panic!("{deeds:?}") };
    assert!(deed.evidence.get("sentence").is_some(), "{deed:?}");
}

#[test]
fn a_guard_that_warns_changes_no_weight_and_is_recorded_once() {
    let (one, two) = (upstream("one"), Switch::failing());
    let folder = Folder::new(&text(50, "warn", [one, two.address]));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let warned = until(&app, &mut client, "a warning", |state| matches!(state, ReleaseState::Warned(_)));
    assert_eq!(warned.weight.to_bits(), 50.0_f64.to_bits());
    eventually("the canary is still chosen", || client.get("/a").1 == "bad");
    let ReleaseState::Warned(warning) = warned.state else { panic!("{warned:?}") };
    let refused = app.act(act(resume())).expect_err("it is not rolled back");
    assert_eq!(refused, ActError::NotRolledBack { release: "api:canary".to_owned(), state: "warned" });
    drop(app);
    let deeds = deeds(&folder);
    let of_guard = deeds.iter().filter(|(act, record)| *act == ReleaseVerb::Warn && record.who.name == warning.guard);
    assert_eq!(of_guard.count(), 1, "{deeds:?}");
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let folder = Folder::new(&text(50, "rollback", [upstream("one"), upstream("two")]));
    let app = start(&folder);
    for (release, part) in [
        ("apu:canary", "there is no route `apu`"),
        ("api:canari", "route `api` has no variant `canari`"),
        ("api:stable", "`api:stable` is no release"),
        ("api", "`api` is no release"),
    ] {
        let refused = app.act(act(PersonAct::Resume { release: release.to_owned() })).expect_err("refused");
        let ActError::Unknown { message, .. } = refused else { panic!("{refused:?}") };
        assert!(message.contains(part), "{release}: {message}");
    }
}

fn act_on_stable(app: &App, verb: EndpointVerb) {
    let endpoint = app.state.snapshot().upstreams[0].endpoints[0].address.to_string();
    let who = Actor { name: "ana".to_owned(), via: Via::Socket };
    let act = EndpointAct { who, upstream: "v1".to_owned(), endpoint, verb, reason: "a test".to_owned(), force: true };
    let (reply, replied) = oneshot::channel();
    app.send(Event::Health(HealthEvent::Act(Box::new(act), reply)));
    replied.blocking_recv().expect("answered").expect("done");
}

#[test]
fn a_rollback_waits_while_stable_has_no_usable_endpoint() {
    let (one, two) = (upstream("one"), Switch::failing());
    let folder = Folder::new(&text(100, "rollback", [one, two.address]));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    act_on_stable(&app, EndpointVerb::Drain);
    let is_held = |state: &ReleaseState| matches!(state, ReleaseState::Held(HoldCause::NoRollbackTarget(_)));
    let held = until(&app, &mut client, "a rollback without a target", is_held);
    assert_eq!(held.weight.to_bits(), 100.0_f64.to_bits());
    assert_eq!(client.get("/a").1, "bad", "the weight is kept");
    act_on_stable(&app, EndpointVerb::Undrain);
    until(&app, &mut client, "the rollback", is_rolled_back);
    all_from_stable(&mut client);
    drop(app);
    let acts: Vec<ReleaseVerb> = deeds(&folder).iter().map(|(act, _)| *act).collect();
    assert_eq!(acts, [ReleaseVerb::Hold, ReleaseVerb::Rollback]);
}

#[test]
fn a_canary_that_is_down_is_held_at_zero_and_comes_back() {
    let (one, two) = (upstream("one"), Refusing::new());
    let folder = Folder::new(&text(50, "rollback", [one, two.address]));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let is_down = |state: &ReleaseState| *state == ReleaseState::Held(HoldCause::CanaryDown);
    until(&app, &mut client, "a hold", is_down);
    two.listen();
    until(&app, &mut client, "the end of the hold", |state| *state == ReleaseState::Watching);
    serves_canary(&mut client);
    drop(app);
    let deeds = deeds(&folder);
    let acts: Vec<ReleaseVerb> = deeds.iter().map(|(act, _)| *act).collect();
    assert_eq!(acts, [ReleaseVerb::Hold, ReleaseVerb::Unhold], "{deeds:?}");
}

#[test]
fn a_canary_that_is_down_keeps_its_weight_where_guards_warn() {
    let (one, two) = (upstream("one"), Refusing::new());
    let folder = Folder::new(&text(50, "warn", [one, two.address]));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let warned = until(&app, &mut client, "a warning", |state| matches!(state, ReleaseState::Warned(_)));
    assert_eq!(warned.weight.to_bits(), 50.0_f64.to_bits());
    all_from_stable(&mut client);
    drop(app);
    assert!(deeds(&folder).iter().all(|(act, _)| *act == ReleaseVerb::Warn));
}
