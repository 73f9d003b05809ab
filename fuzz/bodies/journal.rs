//! Properties of any journal: nothing panics, fold and verification agree on what is intact, and what is intact folds to
//! what a plain replay of its records says.

use std::collections::BTreeSet;
use std::time::Duration;

use pointsman::journal::{Actor, Deed, Folded, Record, SavedState, ScopeFields, fold, hash, verify_bytes};
use pointsman::route::KillScope;

/// Any bytes as a journal; then its records, made into a chain that is intact.
pub fn any(bytes: &[u8]) {
    let found = read(bytes);
    if let Ok(saved) = SavedState::parse(bytes) {
        let again = saved.to_bytes().and_then(|bytes| SavedState::parse(&bytes));
        assert_eq!(again.as_ref(), Ok(&saved), "a saved state is read as it was written");
        let folded = fold(b"", Some(saved.clone()), Duration::ZERO);
        assert!(folded.damage.is_some(), "a journal without records does not belong to a saved state");
        assert_eq!(scopes(&folded), killed(&saved.kills), "the kills of the saved state are in force");
    }
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut records: Vec<Record> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    records.retain(is_sound);
    let text = chain(&mut records);
    let folded = read(&text);
    assert_eq!(folded.damage, None, "the chain is intact: {:?}", String::from_utf8_lossy(&text));
    assert_eq!(scopes(&folded), replay(&records), "the fold is a replay");
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
    // A saved state that is ahead of the journal: that ends too early.
    let kill = Deed::Kill { scope: ScopeFields::from(&KillScope::Tenant("saved".to_owned())), close_streams_ms: None };
    let seq = folded.last_seq + 1;
    let saved = Record {
        v: 1,
        seq,
        at: String::new(),
        who: Actor::process(),
        what: kill,
        reason: None,
        key: None,
        config: String::new(),
        generation: 1,
        prev: String::new(),
    };
    let least = fold(text, Some(SavedState::new(seq, "", vec![saved])), Duration::ZERO);
    assert!(least.damage.is_some(), "the journal ends before the saved state");
    assert!(scopes(&least).is_superset(&scopes(&folded)), "more damage leaves no fewer kills");
    assert!(scopes(&least).contains(&KillScope::Tenant("saved".to_owned())), "what was saved is in force");
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

fn replay(records: &[Record]) -> BTreeSet<KillScope> {
    let mut kills = BTreeSet::new();
    let scope = |fields: &ScopeFields| fields.scope().unwrap_or_else(|| panic!("{fields:?} is not one scope"));
    for record in records {
        match &record.what {
            Deed::Kill { scope: fields, .. } => drop(kills.insert(scope(fields))),
            Deed::Revive { scope: fields } => drop(kills.remove(&scope(fields))),
            Deed::Checkpoint { kills: all, .. } => kills = killed(all),
            Deed::Start { .. } | Deed::Reload { .. } | Deed::Refused { .. } | Deed::Endpoint { .. } => {}
        }
    }
    kills
}

fn killed(records: &[Record]) -> BTreeSet<KillScope> {
    let scope = |record: &Record| match &record.what {
        Deed::Kill { scope, .. } => scope.scope(),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Checkpoint { .. } => None,
    };
    records.iter().filter_map(scope).collect()
}

fn scopes(folded: &Folded) -> BTreeSet<KillScope> {
    killed(&folded.kills)
}
