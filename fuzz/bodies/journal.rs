//! Properties of any journal: nothing panics, fold and verification agree on what is intact, and what is intact folds to
//! what a plain replay of its records says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pointsman::journal::{
    Actor, Deed, Folded, LatchScope, Record, ReleaseDeed, ReleaseVerb, RolloutDeed, SavedState, ScopeFields, fold,
    hash, verify_bytes,
};
use pointsman::route::KillScope;

/// How many latches are kept, and how many rollouts.
const LATCHES_MAX: usize = 1_000;

/// What is out of service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stopped {
    Killed(KillScope),
    Latched(LatchScope),
}

/// Any bytes as a journal; then its records, made into a chain that is intact.
pub fn any(bytes: &[u8]) {
    let found = read(bytes);
    if let Ok(saved) = SavedState::parse(bytes) {
        let again = saved.to_bytes().and_then(|bytes| SavedState::parse(&bytes));
        assert_eq!(again.as_ref(), Ok(&saved), "a saved state is read as it was written");
        let folded = fold(b"", Some(saved.clone()), Duration::ZERO);
        assert!(folded.damage.is_some(), "a journal without records does not belong to a saved state");
        let saved_rollouts = saved.rollouts.clone();
        let saved = killed(&saved.kills).into_iter().chain(newest(latched(&saved.latches)));
        assert_eq!(stops(&folded), saved.collect(), "what the saved state has is in force");
        assert!(no_more(&stands(&folded), &stands_of(&saved_rollouts)), "and rollouts stand no higher");
    }
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut records: Vec<Record> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    records.retain(is_sound);
    let text = chain(&mut records);
    let folded = read(&text);
    assert_eq!(folded.damage, None, "the chain is intact: {:?}", String::from_utf8_lossy(&text));
    assert_eq!(stops(&folded), replay(&records), "the fold is a replay");
    let (stood, expected) = (stands(&folded), replay_rollouts(&records));
    assert!(stood == expected || stood.len() >= LATCHES_MAX, "of rollouts too: {stood:?}, {expected:?}");
    assert!(found.keys.len() <= 1_000 && folded.keys.len() <= 1_000, "keys are limited");
    // A crash cuts the text anywhere: what is complete counts.
    let half = fold(&text[..text.len() / 2], None, Duration::ZERO);
    let complete = usize::try_from(half.last_seq).unwrap_or(usize::MAX);
    assert_eq!(half.damage, None, "a cut is no damage");
    assert!(complete <= text.len(), "numbers are those of records");
}

/// Folds and verifies.
fn read(text: &[u8]) -> Folded {
    let folded = fold(text, None, Duration::ZERO);
    let verified = verify_bytes(text);
    assert_eq!(folded.damage.is_none(), verified.is_intact(), "fold and verification agree: {folded:?} {verified:?}");
    if let (Some(damage), Some(problem)) = (&folded.damage, verified.problems.first()) {
        assert_eq!(damage, &problem.damage, "they find the same first");
    }
    assert!(folded.latches.len() <= LATCHES_MAX, "latches are limited");
    assert!(folded.rollouts.len() <= LATCHES_MAX, "rollouts are limited");
    // A saved state that is ahead of the journal: that ends too early.
    let kill = Deed::Kill { scope: ScopeFields::from(&KillScope::Tenant("saved".to_owned())), close_streams_ms: None };
    let seq = folded.last_seq + 1;
    let rollback = ReleaseDeed {
        act: ReleaseVerb::Rollback,
        release: "saved:v2".to_owned(),
        revision: "up=1".to_owned(),
        because: None,
        evidence: serde_json::Value::Null,
    };
    let saved = |what: Deed| Record {
        v: what.version(),
        seq,
        at: String::new(),
        who: Actor::process(),
        what,
        reason: None,
        key: None,
        config: String::new(),
        generation: 1,
        prev: String::new(),
    };
    let state = SavedState::new(seq, "", vec![saved(kill)], vec![saved(Deed::Release(rollback.clone()))]);
    let rollout = RolloutDeed {
        act: "rollback".to_owned(),
        rollout: "saved".to_owned(),
        revision: "up=1".to_owned(),
        stage: "beta".to_owned(),
        from: 10.0,
        to: 0.0,
        raises: false,
        because: String::new(),
        role: None,
        routes: Vec::new(),
        evidence: serde_json::Value::Null,
        state: serde_json::json!({ "phase": { "is": "rolled_back" } }),
    };
    let state = state.with_rollouts(vec![saved(Deed::Rollout(rollout))]);
    let least = fold(text, Some(state), Duration::ZERO);
    assert!(least.damage.is_some(), "the journal ends before the saved state");
    let (lower, known) = (stands(&least), stands(&folded));
    assert!(no_more(&lower, &known), "more damage raises no rollout: {lower:?}, {known:?}");
    let is_all =
        known.keys().all(|name| lower.contains_key(name)) && lower.get("saved").is_some_and(|one| one.is_stopped);
    assert!(is_all || known.len() >= LATCHES_MAX, "none is lost: {lower:?}, {known:?}");
    let (least, before) = (stops(&least), stops(&folded));
    let is_full = folded.latches.len() >= LATCHES_MAX;
    assert!(is_full || least.is_superset(&before), "more damage leaves no fewer kills and latches");
    let saved = [Stopped::Killed(KillScope::Tenant("saved".to_owned())), Stopped::Latched(rollback.scope())];
    assert!(saved.iter().all(|stopped| least.contains(stopped)), "what was saved is in force");
    folded
}

/// Whether a record would be accepted at the beginning of a journal.
fn is_sound(record: &Record) -> bool {
    let seq = if matches!(record.what, Deed::Checkpoint { .. }) { record.seq } else { 1 };
    let alone = Record { seq, prev: String::new(), ..record.clone() };
    verify_bytes(&[json(&alone), b"\n".to_vec()].concat()).is_intact()
}

/// Gives the records numbers and hashes.
fn chain(records: &mut [Record]) -> Vec<u8> {
    let (mut text, mut seq, mut prev) = (Vec::new(), 0, String::new());
    for record in records {
        seq += u64::from(!matches!(record.what, Deed::Checkpoint { .. }));
        (record.seq, record.prev) = (seq, prev);
        let line = json(record);
        prev = hash(&line);
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    text
}

fn json(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_else(|error| panic!("a record that was read can be written: {error}"))
}

fn replay(records: &[Record]) -> BTreeSet<Stopped> {
    let (mut kills, mut latches) = (BTreeSet::new(), BTreeMap::new());
    for record in records {
        match &record.what {
            Deed::Kill { scope, .. } => drop(kills.insert(Stopped::Killed(scope_of(scope)))),
            Deed::Revive { scope } => drop(kills.remove(&Stopped::Killed(scope_of(scope)))),
            Deed::Release(deed) if deed.act == ReleaseVerb::Rollback => {
                latches.insert(deed.scope(), record.seq);
                latches = newest_of(latches);
            }
            Deed::Release(deed) if deed.act == ReleaseVerb::Resume => drop(latches.remove(&deed.scope())),
            Deed::Checkpoint { kills: all, latches: rolled_back, .. } => {
                kills = killed(all);
                latches = newest_of(latched(rolled_back));
            }
            Deed::Start { .. }
            | Deed::Reload { .. }
            | Deed::Refused { .. }
            | Deed::Endpoint { .. }
            | Deed::Release(_)
            | Deed::Rollout(_) => {}
        }
    }
    kills.into_iter().chain(newest(latches)).collect()
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq)]
struct Stands {
    seq: u64,
    to: f64,
    is_stopped: bool,
}

fn stand(record: &Record) -> Option<(String, Stands)> {
    let Deed::Rollout(deed) = &record.what else { return None };
    let is_stopped = deed.state["phase"]["is"] == "rolled_back";
    let stands = Stands { seq: record.seq, to: deed.to, is_stopped };
    (!deed.state.is_null()).then(|| (deed.rollout.clone(), stands))
}

/// Where rollouts stand by these records; of two states of one the later.
fn stands_of(records: &[Record]) -> BTreeMap<String, Stands> {
    let mut all: BTreeMap<String, Stands> = BTreeMap::new();
    for (name, stands) in records.iter().filter_map(stand) {
        if all.get(&name).is_none_or(|known| stands.seq > known.seq) {
            all.insert(name, stands);
        }
    }
    all
}

fn stands(folded: &Folded) -> BTreeMap<String, Stands> {
    stands_of(&folded.rollouts)
}

fn replay_rollouts(records: &[Record]) -> BTreeMap<String, Stands> {
    let mut all = BTreeMap::new();
    for record in records {
        if let Deed::Checkpoint { rollouts, .. } = &record.what {
            all = stands_of(rollouts);
        }
        // Behind a checkpoint with a later record of a rollout, that one stays.
        if let Some((name, stands)) = stand(record) {
            let is_newer = all.get(&name).is_none_or(|known| stands.seq > known.seq);
            if is_newer {
                all.insert(name, stands);
            }
        }
    }
    all
}

/// Whether no rollout that both know serves more by the first, and none that was rolled back is no longer.
fn no_more(lower: &BTreeMap<String, Stands>, known: &BTreeMap<String, Stands>) -> bool {
    let is_more = |(name, before): (&String, &Stands)| {
        lower.get(name).is_some_and(|now| {
            (before.is_stopped && !now.is_stopped) || (now.is_stopped == before.is_stopped && now.to > before.to)
        })
    };
    !known.iter().any(is_more)
}

fn scope_of(fields: &ScopeFields) -> KillScope {
    fields.scope().unwrap_or_else(|| panic!("{fields:?} is not one scope"))
}

fn killed(records: &[Record]) -> BTreeSet<Stopped> {
    let scope = |record: &Record| match &record.what {
        Deed::Kill { scope, .. } => scope.scope().map(Stopped::Killed),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Release(_)
        | Deed::Rollout(_)
        | Deed::Checkpoint { .. } => None,
    };
    records.iter().filter_map(scope).collect()
}

/// The latches of these rollbacks, each with the highest of its numbers.
fn latched(records: &[Record]) -> BTreeMap<LatchScope, u64> {
    let mut latches = BTreeMap::new();
    for record in records {
        if let Some(scope) = record.what.latched() {
            let seq = latches.entry(scope).or_insert(record.seq);
            *seq = record.seq.max(*seq);
        }
    }
    latches
}

/// The newest of these latches, as many as are kept.
fn newest_of(mut latches: BTreeMap<LatchScope, u64>) -> BTreeMap<LatchScope, u64> {
    while latches.len() > LATCHES_MAX {
        let oldest = latches.iter().min_by_key(|(_, seq)| **seq).map(|(scope, _)| scope.clone());
        oldest.and_then(|scope| latches.remove(&scope));
    }
    latches
}

fn newest(latches: BTreeMap<LatchScope, u64>) -> impl Iterator<Item = Stopped> {
    newest_of(latches).into_keys().map(Stopped::Latched)
}

fn stops(folded: &Folded) -> BTreeSet<Stopped> {
    killed(&folded.kills).into_iter().chain(newest(latched(&folded.latches))).collect()
}
