//! Tests of notifications.

mod alerts;
mod bodies;
mod outbox;
mod records;
mod sockets;

use std::time::Duration;

use serde_json::{Value, json};

use super::outbox::NotifyOutbox;
use super::queue::{OutboxTime, SendOutcome, SendVerdict};
use crate::config::load_text;
use crate::journal::{Actor, Deed, Record, RolloutDeed, ScopeFields, Via, rfc3339};
use crate::route::{HttpTarget, KillScope, Notify, Receiver, ReceiverKind, Rules};

/// When the first record of a test was decided, in milliseconds since the Unix epoch.
const BEGIN_MS: u64 = 1_796_000_000_000;

const FILE: &str = r#"schema = 1
[[listener]]
name = "http"
address = "127.0.0.1:0"
[upstream.v1]
endpoints = ["http://127.0.0.1:1"]
[upstream.v2]
endpoints = ["http://127.0.0.1:2"]
revision = "1"
[[route]]
name = "api"
match = { path = "/*" }
sticky = ["client_ip"]
stable = "v1"
canary = { upstream = "v2", rollout = "next" }
[rollout.next]
approvers = { lead = ["ana", "bo"], product = ["cy"] }
[[rollout.next.stage]]
name = "few"
weight = 20
min_requests = 5
approve = ["lead", "product"]
[[rollout.next.stage]]
name = "all"
weight = 100
min_requests = 5
"#;

fn receiver(kind: ReceiverKind, id: &str, port: u16) -> Receiver {
    let target = HttpTarget {
        host: "127.0.0.1".to_owned(),
        port,
        path: "/hook".to_owned(),
        tls: None,
        headers: Vec::new(),
        timeout: Duration::from_mins(1),
    };
    Receiver { id: id.to_owned(), name: format!("{}:{id}", kind.name()), kind, target }
}

/// Rules with a rollout: `hook` and `am` get everything, `chat` only the rollout.
fn rules() -> Rules {
    let mut rules = load_text("routes.toml", FILE, &|_| None).map(|loaded| loaded.rules).expect("a valid file");
    rules.notify = Notify {
        receivers: vec![
            receiver(ReceiverKind::Webhook, "hook", 1),
            receiver(ReceiverKind::Slack, "chat", 2),
            receiver(ReceiverKind::Alertmanager, "am", 3),
        ],
        to: vec!["hook".to_owned(), "am".to_owned()],
        secret: None,
    };
    rules.rollouts[0].notify = vec!["chat".to_owned()];
    rules
}

fn outbox(rules: &Rules) -> NotifyOutbox {
    let mut outbox = NotifyOutbox::default();
    outbox.follow(rules, at(0));
    outbox
}

/// So many milliseconds after the beginning.
fn at(ms: u64) -> OutboxTime {
    OutboxTime { wall_ms: BEGIN_MS + ms, uptime_ms: ms }
}

fn record(seq: u64, name: &str, via: Via, what: Deed) -> Record {
    Record {
        v: what.version(),
        seq,
        at: rfc3339(Duration::from_millis(BEGIN_MS + seq)),
        who: Actor { name: name.to_owned(), via },
        what,
        reason: None,
        key: None,
        config: "c0ffee".to_owned(),
        generation: 7,
        prev: "0".repeat(64),
    }
}

/// A decision about the rollout that leads to this phase.
fn rollout(seq: u64, act: &str, phase: Value) -> Record {
    let mut deed = RolloutDeed {
        act: act.to_owned(),
        rollout: "next".to_owned(),
        revision: "v2=1".to_owned(),
        stage: "few".to_owned(),
        from: 0.0,
        to: 20.0,
        raises: false,
        because: format!("because {seq}"),
        role: None,
        routes: vec!["api".to_owned()],
        evidence: json!({ "facts": [1.5] }),
        state: json!({ "stage": "few", "reached": 200_000 }),
    };
    deed.state["phase"] = phase;
    record(seq, "pointsman", Via::Process, Deed::Rollout(deed))
}

fn running() -> Value {
    json!({ "is": "running" })
}

fn kill(seq: u64, scope: &KillScope) -> Record {
    let what = Deed::Kill { scope: ScopeFields::from(scope), close_streams_ms: None };
    Record { reason: Some("it fails".to_owned()), ..record(seq, "ana", Via::Socket, what) }
}

fn revive(seq: u64, scope: &KillScope) -> Record {
    record(seq, "ana", Via::Socket, Deed::Revive { scope: ScopeFields::from(scope) })
}

const fn outcome(verdict: SendVerdict) -> SendOutcome {
    SendOutcome { verdict, status: Some(200), retry_after_ms: None }
}

fn arrived() -> SendOutcome {
    outcome(SendVerdict::Arrived)
}

fn failed() -> SendOutcome {
    outcome(SendVerdict::Failed("it is down".to_owned()))
}

fn refused() -> SendOutcome {
    outcome(SendVerdict::Refused("it does not take it".to_owned()))
}

/// The ids of the messages that are due, by receiver.
fn due(outbox: &mut NotifyOutbox, now: OutboxTime) -> Vec<String> {
    let sends = outbox.take_due(&rules(), now);
    let id = |notice: &std::sync::Arc<super::notice::Notice>| notice.id.clone();
    sends
        .iter()
        .map(|one| format!("{} {}", one.receiver, one.notice.as_ref().map_or("alerts".to_owned(), id)))
        .collect()
}
