//! What is heard of a record of the journal. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::condition::{Condition, ConditionChange, NoticeAudience, Noticed, SentWhen};
use super::notice::{Notice, NoticeFacts, NoticeKind, NoticeLevel, one_line, shell_word};
use crate::journal::{Deed, Record, ReleaseDeed, ReleaseVerb, RolloutDeed, ScopeFields, Via};
use crate::release::RolloutVerb;
use crate::route::{KillScope, Rules};

/// What is kept of the evidence in a record, in bytes of JSON; longer evidence is left out.
const EVIDENCE_MAX: usize = 2 * 1024;
/// What is kept of a record, in bytes of JSON.
const RECORD_MAX: usize = 8 * 1024;
/// How many diagnostics of a rejected file a notice names.
const DIAGNOSTICS_MAX: usize = 3;

/// The subject of the configuration.
pub(super) const CONFIG: &str = "config";

/// What is heard of a record under these rules.
pub(super) fn noticed(record: &Record, rules: &Rules) -> Noticed {
    match &record.what {
        Deed::Rollout(deed) => of_rollout(record, deed, rules),
        Deed::Release(deed) => of_release(record, deed),
        Deed::Kill { scope, .. } => of_kill(record, scope),
        Deed::Revive { scope } => of_revive(record, scope),
        Deed::Reload { outcome, diagnostics, .. } if outcome == "rejected" => of_rejected(record, diagnostics),
        Deed::Reload { .. } | Deed::Start { .. } => config_applied(id(record), at_ms(record)),
        Deed::Refused { .. } | Deed::Endpoint { .. } | Deed::Checkpoint { .. } => Noticed::nothing(),
    }
}

/// The files are valid again; it is heard only where they were not.
pub(super) fn config_applied(id: String, at_ms: u64) -> Noticed {
    let notice = Notice::new(
        id,
        NoticeKind::ConfigApplied,
        at_ms,
        "The configuration is valid again",
        "The files are valid, and the running configuration is that of the files.",
    );
    Noticed::of(notice).ending(CONFIG).when(SentWhen::ConditionEnds)
}

/// The id of the messages of a record; empty when it is in no journal.
fn id(record: &Record) -> String {
    if record.seq == 0 { String::new() } else { format!("{}-{}", record.seq, at_ms(record)) }
}

/// When it was decided, in milliseconds since the Unix epoch.
pub(super) fn at_ms(record: &Record) -> u64 {
    let at = record.at.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond);
    at.ok().and_then(|at| u64::try_from(at).ok()).unwrap_or_default()
}

fn of(record: &Record, kind: NoticeKind, title: &str, text: &str) -> Notice {
    let notice = Notice::new(id(record), kind, at_ms(record), title, text);
    Notice { record: shown(record), ..notice }
}

/// The record without its state, without what an automatic decision about a rollout is decided again by, and without what is
/// long.
fn shown(record: &Record) -> Value {
    let mut value = serde_json::to_value(record).unwrap_or_default();
    let length = |value: &Value| value.to_string().len();
    let Some(object) = value.as_object_mut() else { return Value::Null };
    object.remove("state");
    object.remove("prev");
    object.remove("key");
    if object.get("evidence").is_some_and(|evidence| evidence["plan"].is_object()) {
        object.remove("evidence");
    }
    for long in ["evidence", "diagnostics"] {
        if object.get(long).is_some_and(|found| length(found) > EVIDENCE_MAX) {
            object.remove(long);
        }
    }
    if length(&value) <= RECORD_MAX {
        return value;
    }
    json!({ "v": record.v, "seq": record.seq, "at": record.at })
}

fn who(record: &Record) -> String {
    let name = one_line(&record.who.name, 100);
    if record.who.via == Via::Guard { format!("guard {name}") } else { name }
}

fn reason(record: &Record) -> String {
    record.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn of_rollout(record: &Record, deed: &RolloutDeed, rules: &Rules) -> Noticed {
    let Ok(verb) = serde_json::from_value::<RolloutVerb>(Value::String(deed.act.clone())) else {
        return Noticed::nothing();
    };
    let name = &deed.rollout;
    let change = rollout_change(deed, verb);
    let audience = NoticeAudience::Rollout(name.clone());
    let Some((kind, title)) = rollout_title(record, deed, verb) else {
        return Noticed { change, ..Noticed::nothing() }.to(audience);
    };
    let approvers = if verb == RolloutVerb::Ask { approvers(deed, rules) } else { BTreeMap::new() };
    let mut text = deed.because.clone();
    for (role, people) in &approvers {
        text.push_str("; ");
        text.push_str(role);
        text.push_str(": ");
        text.push_str(&people.join(", "));
    }
    let facts = NoticeFacts {
        rollout: Some(one_line(name, 200)),
        stage: Some(one_line(&deed.stage, 200)),
        revision: Some(one_line(&deed.revision, 400)),
        who: Some(who(record)),
        from: Some(deed.from),
        to: Some(deed.to),
        approvers,
        ..NoticeFacts::default()
    };
    let notice = of(record, kind, &title, &text).with_facts(facts).with_todo(rollout_todo(deed, verb));
    let notice = if is_rehearsal(record, deed) { Notice { level: NoticeLevel::Info, ..notice } } else { notice };
    Noticed { change, ..Noticed::of(notice) }.to(audience)
}

/// Whether a guard was tripped by hand.
fn is_rehearsal(record: &Record, deed: &RolloutDeed) -> bool {
    let by = deed.state.pointer("/phase/by").and_then(Value::as_str);
    record.who.name == crate::release::REHEARSAL || by == Some(crate::release::REHEARSAL)
}

/// What a person reads first; `None` where no one hears of it.
fn rollout_title(record: &Record, deed: &RolloutDeed, verb: RolloutVerb) -> Option<(NoticeKind, String)> {
    let RolloutDeed { rollout: name, stage, .. } = deed;
    let by = if record.who.via == Via::Process { String::new() } else { format!(" by {}", who(record)) };
    Some(match verb {
        RolloutVerb::Begin => (NoticeKind::Begin, format!("{name}: revision {} begins", deed.revision)),
        RolloutVerb::Enter => (NoticeKind::Enter, format!("{name}: stage {stage} is entered, {} %", deed.to)),
        RolloutVerb::Ask => (NoticeKind::Ask, format!("{name}: stage {stage} waits for approval")),
        RolloutVerb::Warn => (NoticeKind::Warn, format!("{name}: {} has tripped, and only warns", who(record))),
        RolloutVerb::Rollback if is_rehearsal(record, deed) => {
            (NoticeKind::Rollback, format!("{name} is rolled back, as a rehearsal"))
        }
        RolloutVerb::Rollback => (NoticeKind::Rollback, format!("{name} is rolled back{by}, in stage {stage}")),
        RolloutVerb::Hold => (NoticeKind::Hold, format!("{name} is held{by}, in stage {stage}: {}", cause(deed))),
        RolloutVerb::Unhold => (NoticeKind::Unhold, format!("{name} goes on: its hold has ended")),
        RolloutVerb::Resume => (NoticeKind::Resume, format!("{name} is resumed{by}, in stage {stage}")),
        RolloutVerb::Goto => (NoticeKind::Goto, format!("{name} is moved{by} to stage {stage}")),
        RolloutVerb::Restart => (NoticeKind::Restart, format!("{name} is begun anew{by}")),
        RolloutVerb::Rehearsed => (NoticeKind::Rehearsed, format!("{name}: a rollback was rehearsed")),
        RolloutVerb::Killed => (NoticeKind::Kill, format!("{name} is stopped by a kill")),
        RolloutVerb::Revived => (NoticeKind::Revive, format!("{name}: the kill has ended, and it is held at 0")),
        RolloutVerb::Complete => (NoticeKind::Complete, format!("{name} is complete, at {} %", deed.to)),
        RolloutVerb::Raise
        | RolloutVerb::Lower
        | RolloutVerb::Approve
        | RolloutVerb::Archive
        | RolloutVerb::Refused => return None,
    })
}

/// Why it is held, in a word.
fn cause(deed: &RolloutDeed) -> String {
    let cause = deed.state.pointer("/phase/cause").and_then(Value::as_str).unwrap_or("held");
    cause.replace('_', " ")
}

fn rollout_change(deed: &RolloutDeed, verb: RolloutVerb) -> Option<ConditionChange> {
    let subject = format!("rollout:{}", deed.rollout);
    if verb == RolloutVerb::Archive {
        return Some(ConditionChange { subject, now: None, keep: None });
    }
    let phase = deed.state.pointer("/phase/is").and_then(Value::as_str)?;
    let is_phase = match phase {
        "held" => Some(Condition::Held),
        "killed" => Some(Condition::Killed),
        "rolled_back" => Some(Condition::RolledBack),
        _ => None,
    };
    let now = match verb {
        // They are about what is there already: its alert says how it began.
        RolloutVerb::Approve | RolloutVerb::Warn | RolloutVerb::Raise | RolloutVerb::Lower => {
            return Some(ConditionChange { subject, now: None, keep: is_phase.or(Some(Condition::ApprovalAwaited)) });
        }
        RolloutVerb::Ask => is_phase.or(Some(Condition::ApprovalAwaited)),
        RolloutVerb::Begin
        | RolloutVerb::Enter
        | RolloutVerb::Complete
        | RolloutVerb::Hold
        | RolloutVerb::Unhold
        | RolloutVerb::Rollback
        | RolloutVerb::Killed
        | RolloutVerb::Revived
        | RolloutVerb::Resume
        | RolloutVerb::Goto
        | RolloutVerb::Restart
        | RolloutVerb::Rehearsed
        | RolloutVerb::Archive
        | RolloutVerb::Refused => is_phase,
    };
    Some(ConditionChange { subject, now, keep: None })
}

/// Who may approve what the stage asks for, by role.
fn approvers(deed: &RolloutDeed, rules: &Rules) -> BTreeMap<String, Vec<String>> {
    let rollout = rules.find_rollout(&deed.rollout).map(|id| rules.rollout(id));
    let stage = rollout.and_then(|one| one.plan.stages.iter().find(|stage| stage.name == deed.stage));
    let asked = stage.map(|stage| stage.approve.as_slice()).unwrap_or_default();
    let all = rollout.map(|one| one.approvers.as_slice()).unwrap_or_default();
    let of = all.iter().filter(|one| asked.contains(&one.role));
    of.map(|one| (one_line(&one.role, 100), one.people.iter().map(|name| one_line(name, 100)).collect())).collect()
}

fn rollout_todo(deed: &RolloutDeed, verb: RolloutVerb) -> Vec<String> {
    let name = shell_word(&deed.rollout);
    let show = format!("pointsman rollout show {name}");
    let act = |act: &str| format!("pointsman rollout {act} {name} --reason TEXT");
    match verb {
        RolloutVerb::Ask => vec![show, format!("pointsman rollout approve {name}")],
        RolloutVerb::Hold => {
            let cause = cause(deed);
            let ends_by_itself = matches!(cause.as_str(), "canary down" | "requires" | "no rollback target");
            match cause.as_str() {
                "plan changed" | "damaged" => vec![show, format!("pointsman rollout goto {name} STAGE --reason TEXT")],
                _ if ends_by_itself => vec![show],
                _ => vec![show, act("resume")],
            }
        }
        RolloutVerb::Rollback | RolloutVerb::Revived => vec![show, act("resume")],
        RolloutVerb::Warn => vec![show, act("hold"), act("rollback")],
        RolloutVerb::Killed => vec![show, format!("pointsman revive --rollout {name} --reason TEXT")],
        RolloutVerb::Begin
        | RolloutVerb::Enter
        | RolloutVerb::Raise
        | RolloutVerb::Lower
        | RolloutVerb::Complete
        | RolloutVerb::Unhold
        | RolloutVerb::Approve
        | RolloutVerb::Resume
        | RolloutVerb::Goto
        | RolloutVerb::Restart
        | RolloutVerb::Rehearsed
        | RolloutVerb::Archive
        | RolloutVerb::Refused => vec![show],
    }
}

fn of_release(record: &Record, deed: &ReleaseDeed) -> Noticed {
    let release = &deed.release;
    let (route, variant) = release.split_once(':').unwrap_or((release, ""));
    let subject = format!("release:{release}");
    let saw = deed.sentence().or(deed.because.as_deref()).unwrap_or_default();
    let resume = format!("pointsman rollout resume {} --reason TEXT", shell_word(release));
    let why = deed.because.as_deref().unwrap_or("canary down");
    let (kind, title, text) = match deed.act {
        ReleaseVerb::Warn => (NoticeKind::Warn, format!("{release}: {} has tripped, and only warns", who(record)), saw),
        ReleaseVerb::Rollback => (NoticeKind::Rollback, format!("{release} is rolled back by {}", who(record)), saw),
        ReleaseVerb::Hold => (NoticeKind::Hold, format!("{release} is held: {why}"), saw),
        ReleaseVerb::Unhold => {
            (NoticeKind::Unhold, format!("{release} goes on"), "an endpoint accepts connections: no longer held")
        }
        ReleaseVerb::Resume => {
            let why = record.reason.as_deref().unwrap_or("evidence begins anew");
            (NoticeKind::Resume, format!("{release} is resumed by {}", who(record)), why)
        }
        ReleaseVerb::Refused => return Noticed::nothing(),
    };
    let facts = NoticeFacts {
        route: Some(one_line(route, 200)),
        variant: Some(one_line(variant, 200)),
        revision: Some(deed.revision.clone()),
        who: Some(who(record)),
        ..NoticeFacts::default()
    };
    let todo = match deed.act {
        ReleaseVerb::Rollback => vec![resume],
        ReleaseVerb::Warn | ReleaseVerb::Hold | ReleaseVerb::Unhold | ReleaseVerb::Resume | ReleaseVerb::Refused => {
            Vec::new()
        }
    };
    let status = std::iter::once("pointsman status".to_owned());
    let notice = of(record, kind, &title, text).with_facts(facts).with_todo(status.chain(todo));
    match deed.act {
        ReleaseVerb::Rollback => Noticed::of(notice).with(&subject, Condition::RolledBack),
        ReleaseVerb::Hold => Noticed::of(notice).with(&subject, Condition::Held),
        ReleaseVerb::Unhold | ReleaseVerb::Resume => Noticed::of(notice).ending(&subject),
        ReleaseVerb::Warn | ReleaseVerb::Refused => Noticed::of(notice),
    }
}

fn of_kill(record: &Record, scope: &ScopeFields) -> Noticed {
    let Some(scope) = scope.scope() else { return Noticed::nothing() };
    let text = format!("{} has killed it{}", who(record), reason(record));
    let notice = of(record, NoticeKind::Kill, &format!("Killed: {scope}"), &text);
    let todo = [format!("pointsman revive {} --reason TEXT", flag(&scope))];
    let notice = notice.with_facts(facts_of(record, &scope)).with_todo(todo);
    Noticed::of(notice).with(&format!("kill:{scope}"), Condition::Killed)
}

fn of_revive(record: &Record, scope: &ScopeFields) -> Noticed {
    let Some(scope) = scope.scope() else { return Noticed::nothing() };
    let mut text = format!("{} has revived it{}", who(record), reason(record));
    let mut todo = vec!["pointsman status".to_owned()];
    if let KillScope::Rollout(name) = &scope {
        text.push_str(". The rollout is held at 0 until it is resumed");
        todo.push(format!("pointsman rollout resume {} --reason TEXT", shell_word(name)));
    }
    let notice = of(record, NoticeKind::Revive, &format!("Revived: {scope}"), &text);
    let notice = notice.with_facts(facts_of(record, &scope)).with_todo(todo);
    Noticed::of(notice).ending(&format!("kill:{scope}"))
}

fn facts_of(record: &Record, scope: &KillScope) -> NoticeFacts {
    NoticeFacts { scope: Some(one_line(&scope.to_string(), 300)), who: Some(who(record)), ..NoticeFacts::default() }
}

/// A scope as an argument.
fn flag(scope: &KillScope) -> String {
    match scope {
        KillScope::All => "--all".to_owned(),
        KillScope::Route(name) => format!("--route {}", shell_word(name)),
        KillScope::Variant { route, variant } => format!("--variant {}", shell_word(&format!("{route}:{variant}"))),
        KillScope::Rollout(name) => format!("--rollout {}", shell_word(name)),
        KillScope::Tenant(name) => format!("--tenant {}", shell_word(name)),
        KillScope::Shadow(name) => format!("--shadow {}", shell_word(name)),
    }
}

fn of_rejected(record: &Record, diagnostics: &Value) -> Noticed {
    let all = diagnostics.as_array().map(Vec::as_slice).unwrap_or_default();
    let message = |one: &Value| one["message"].as_str().map(|text| one_line(text, 300));
    let first: Vec<String> = all.iter().filter_map(message).take(DIAGNOSTICS_MAX).collect();
    let text = format!("The running configuration stays in effect. {}", first.join("; "));
    let notice = of(record, NoticeKind::ConfigRejected, "The configuration is rejected", &text);
    let facts = NoticeFacts { who: Some(who(record)), ..NoticeFacts::default() };
    let notice = notice.with_facts(facts).with_todo(["pointsman check".to_owned()]);
    Noticed::of(notice).with(CONFIG, Condition::ConfigRejected).when(SentWhen::ConditionIsNews)
}
