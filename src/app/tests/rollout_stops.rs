//! What stops a rollout, and what does not come back by itself: gates after a start, a canary that is down, damage, a revision
//! that was rolled back before, routes that join.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::brake::{act, done, start};
use super::guards::{Refusing, Switch};
use super::harness::{Folder, eventually, rejected, weight};
use super::rollouts::{PLAN, acts, all_replay, on, standing, text, until};
use super::traffic::{Client, upstream};
use crate::release::{BlockKind, HeldCause, PersonVerb, RolloutPhase, RolloutStanding};

/// A webhook that passes once it is opened.
struct Webhook {
    address: SocketAddr,
    passes: Arc<AtomicBool>,
}

impl Webhook {
    fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let passes = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&passes);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let mut reader = BufReader::new(stream);
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                // A client that has gone gets no answer.
                let _ = std::io::Read::read_exact(&mut reader, &mut body);
                let answer = format!("{{\"pass\": {}, \"reason\": \"the tests\"}}", now.load(SeqCst));
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
                let _ = write!(reader.get_mut(), "{head}{}\r\n\r\n{answer}", answer.len());
            }
        });
        Self { address, passes }
    }

    fn open(&self) {
        self.passes.store(true, SeqCst);
    }

    /// A plan whose first stage asks it.
    fn plan(&self) -> String {
        let gate = format!(
            "[[rollout.next.stage.gate]]\nwebhook = {{ url = \"http://{}/gate\", every = \"1s\", timeout = \"5s\" }}\n",
            self.address
        );
        PLAN.replacen(
            "[[rollout.next.stage]]\nname = \"half\"",
            &format!("{gate}[[rollout.next.stage]]\nname = \"half\""),
            1,
        )
    }
}

fn is_blocked_by(one: &RolloutStanding, kind: BlockKind, part: &str) -> bool {
    one.blocks.iter().any(|block| block.kind == kind && block.says.contains(part))
}

fn is_held(one: &RolloutStanding, cause: HeldCause) -> bool {
    matches!(&one.phase, RolloutPhase::Held(held) if held.cause == cause)
}

fn all_from_stable(client: &mut Client) {
    for n in 0..40 {
        assert_eq!(client.get("/a").1, "one", "request {n}");
    }
}

#[test]
fn a_gate_is_asked_again_after_a_start_and_after_an_edit() {
    let (first, second) = (Webhook::closed(), Webhook::closed());
    let upstreams = [upstream("one"), upstream("two")];
    let folder = Folder::new(&text(&first.plan(), upstreams));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "the gate blocks", |one| is_blocked_by(one, BlockKind::Webhook, "the tests"));
    drop(app);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it is asked after a start", |one| is_blocked_by(one, BlockKind::Webhook, "the tests"));
    // Another program: the answer of the first one does not count.
    folder.write("routes.toml", &text(&second.plan(), upstreams));
    assert_eq!(app.reload().name(), "applied");
    first.open();
    until(&app, &mut client, "the other one blocks", |one| is_blocked_by(one, BlockKind::Webhook, "the tests"));
    assert_eq!(standing(&app).stage, "few");
    second.open();
    until(&app, &mut client, "it passes", |one| one.stage == "half");
    drop(app);
    all_replay(&folder);
}

#[test]
fn a_canary_that_accepts_no_connections_is_held_and_comes_back_by_itself() {
    let two = Refusing::new();
    let folder = Folder::new(&text(PLAN, [upstream("one"), two.address]));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let held = until(&app, &mut client, "it is held", |one| is_held(one, HeldCause::CanaryDown));
    assert_eq!(held.weight.to_bits(), 0.0_f64.to_bits());
    all_from_stable(&mut client);
    two.listen();
    // No request goes there: the proxy itself finds out.
    eventually("the hold ends", || standing(&app).phase == RolloutPhase::Running);
    eventually("the canary serves", || client.get("/a").1 == "two");
    drop(app);
    all_replay(&folder);
}

#[test]
fn a_revision_that_was_rolled_back_stays_so_when_it_comes_back() {
    let (one, two) = (upstream("one"), Switch::failing());
    let first = text(PLAN, [one, two.address]);
    let folder = Folder::new(&first);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "a rollback", |one| matches!(one.phase, RolloutPhase::RolledBack(_)));
    two.mend();
    folder.write("routes.toml", &first.replace("revision = \"1\"", "revision = \"2\""));
    assert_eq!(app.reload().name(), "applied");
    until(&app, &mut client, "another revision runs", |one| one.phase == RolloutPhase::Running);
    folder.write("routes.toml", &first);
    assert_eq!(app.reload().name(), "applied");
    let back =
        until(&app, &mut client, "the first one stays at 0", |one| matches!(one.phase, RolloutPhase::RolledBack(_)));
    assert!(back.says.contains("was rolled back before"), "{}", back.says);
    all_from_stable(&mut client);
    done(&app, act(on(PersonVerb::Resume, &[])));
    until(&app, &mut client, "a person resumes it", |one| one.phase == RolloutPhase::Running);
    drop(app);
    all_replay(&folder);
}

#[test]
fn what_a_person_holds_another_revision_does_not_start() {
    let first = text(PLAN, [upstream("one"), upstream("two")]);
    let folder = Folder::new(&first);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it runs", |one| one.stage == "half");
    done(&app, act(on(PersonVerb::Hold, &[])));
    folder.write("routes.toml", &first.replace("revision = \"1\"", "revision = \"2\""));
    assert_eq!(app.reload().name(), "applied");
    all_from_stable(&mut client);
    until(&app, &mut client, "it is held", |one| one.revision == "v2=2" && is_held(one, HeldCause::Person));
    all_from_stable(&mut client);
    done(&app, act(on(PersonVerb::Resume, &[])));
    until(&app, &mut client, "it begins", |one| one.phase == RolloutPhase::Running);
}

#[test]
fn a_damaged_journal_holds_another_revision_too() {
    let first = text(PLAN, [upstream("one"), upstream("two")]);
    let folder = Folder::new(&first);
    let app = start(&folder);
    until(&app, &mut Client::connect(&app), "it waits", |one| one.doing == "awaiting_approval");
    drop(app);
    let path = folder.path("state/journal.jsonl");
    let whole = std::fs::read_to_string(&path).expect("a journal");
    let damaged: Vec<String> = whole.lines().map(|line| line.replacen("\"enter\"", "\"entre\"", 1)).collect();
    std::fs::write(&path, damaged.join("\n") + "\n").expect("written");
    folder.write("routes.toml", &first.replace("revision = \"1\"", "revision = \"2\""));
    let app = start(&folder);
    let held = standing(&app);
    assert!(is_held(&held, HeldCause::Damaged), "{held:?}");
    let mut client = Client::connect(&app);
    all_from_stable(&mut client);
    // A person who says that it may begin.
    let up =
        app.act(act(on(PersonVerb::Goto { stage: "all".to_owned() }, &[]))).expect_err("it goes up stage by stage");
    assert!(format!("{up:?}").contains("restart"), "{up:?}");
    done(&app, act(on(PersonVerb::Restart, &[])));
    until(&app, &mut client, "it begins", |one| one.phase == RolloutPhase::Running);
}

/// The same file with a second route of the rollout.
fn with_another_route(text: &str) -> String {
    text.replace(
        "[rollout.next]\n",
        "[[route]]\nname = \"other\"\nmatch = { path = \"/other/*\" }\nsticky = []\nstable = \"v1\"\n\
         canary = { upstream = \"v2\", rollout = \"next\" }\n[rollout.next]\n",
    )
}

#[test]
fn a_route_that_joins_a_rollout_under_way_is_rejected() {
    let first = text(PLAN, [upstream("one"), upstream("two")]);
    let folder = Folder::new(&first);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it runs", |one| one.stage == "half");
    folder.write("routes.toml", &with_another_route(&first));
    let outcome = app.reload();
    let message = rejected(&outcome);
    assert!(message.contains("route other") && message.contains("rollout restart next"), "{message}");
    done(&app, act(on(PersonVerb::Restart, &[])));
    assert_eq!(app.reload().name(), "applied");
    until(&app, &mut client, "both go on", |one| one.stage == "half" && one.variants.len() == 2);
}

#[test]
fn a_route_that_joins_between_two_starts_gets_nothing_before_a_person_says_so() {
    let first = text(PLAN, [upstream("one"), upstream("two")]);
    let folder = Folder::new(&first);
    let app = start(&folder);
    until(&app, &mut Client::connect(&app), "it waits", |one| one.doing == "awaiting_approval");
    drop(app);
    // The same file: it goes on.
    let app = start(&folder);
    assert_eq!((standing(&app).phase, weight(&app).to_bits()), (RolloutPhase::Running, 50.0_f64.to_bits()));
    drop(app);
    folder.write("routes.toml", &with_another_route(&first));
    let app = start(&folder);
    let held = standing(&app);
    assert!(is_held(&held, HeldCause::PlanChanged) && held.says.contains("route `other` has joined"), "{held:?}");
    let mut client = Client::connect(&app);
    for path in ["/a", "/other/a"] {
        (0..40).for_each(|_| assert_eq!(client.get(path).1, "one", "{path}"));
    }
    done(&app, act(on(PersonVerb::Goto { stage: "half".to_owned() }, &[])));
    eventually("both serve the canary", || client.get("/a").1 == "two" && client.get("/other/a").1 == "two");
    drop(app);
    // Its records know the route now.
    let app = start(&folder);
    assert_eq!(standing(&app).phase, RolloutPhase::Running);
}

#[test]
fn a_rollout_that_comes_back_to_the_file_rises_by_a_record() {
    let first = text(PLAN, [upstream("one"), upstream("two")]);
    let folder = Folder::new(&first);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it waits", |one| one.doing == "awaiting_approval");
    let by_hand = first.replace("rollout = \"next\" }", "weight = 0 }");
    folder.write("routes.toml", by_hand.split("\n[rollout.next]").next().expect("a part"));
    assert_eq!(app.reload().name(), "applied");
    drop(app);
    folder.write("routes.toml", &first);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it has its weight again", |one| one.stage == "half" && one.weight > 49.0);
    assert_eq!(weight(&app).to_bits(), 50.0_f64.to_bits());
    drop(app);
    let acts = acts(&folder);
    let archived = acts.iter().position(|act| act == "archive").expect("archived");
    assert!(acts[archived..].contains(&"raise".to_owned()), "{acts:?}");
}
