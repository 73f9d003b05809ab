//! The kills: those of the file, and those by people over them. What is in force is their union.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::view::{KillInForce, KillSource};
use crate::journal::{Deed, Record};
use crate::route::{CalledKill, FileKills, KillScope, Overlay, RouteNames, Rules, SourceLocation};

/// The most tenants that are killed by people.
pub(in crate::control) const CALLED_KILLS_MAX: usize = 10_000;

/// How many tenants of the file are listed: it may kill 100 000.
const LISTED_TENANTS_MAX: usize = 100;

/// How many kills are named in the log at a start.
const LOGGED_MAX: usize = 10;

/// The kills, each with its source.
#[derive(Debug)]
pub(in crate::control) struct ActiveKills {
    /// The overlay of the file alone.
    file_overlay: Overlay,
    /// What the file kills, with the places.
    by_file: FileKills,
    /// The same for people.
    file_list: Vec<KillInForce>,
    /// What people killed; each with the record of its kill.
    by_people: BTreeMap<KillScope, Arc<Record>>,
}

impl ActiveKills {
    /// The kills of a file alone.
    pub fn of_file(overlay: Overlay, by_file: FileKills) -> Self {
        let file_list = listed(&by_file);
        Self { file_overlay: overlay, by_file, file_list, by_people: BTreeMap::new() }
    }

    /// Follows a new file. Kills by people stay: only a revive lifts them.
    pub fn follow_file(&mut self, overlay: Overlay, by_file: FileKills) {
        self.file_list = listed(&by_file);
        (self.file_overlay, self.by_file) = (overlay, by_file);
    }

    /// The overlay of the file alone.
    pub const fn file_overlay(&self) -> &Overlay {
        &self.file_overlay
    }

    /// Applies a record: a kill or a revive. Others change nothing.
    pub fn apply(&mut self, record: &Arc<Record>) {
        match &record.what {
            Deed::Kill { scope, .. } => {
                if let Some(scope) = scope.scope() {
                    self.by_people.insert(scope, Arc::clone(record));
                }
            }
            Deed::Revive { scope } => {
                // A kill that was decided after this revive stays.
                if let Some(scope) = scope.scope()
                    && self.killed_by_people(&scope).is_some_and(|kill| kill.seq < record.seq)
                {
                    self.by_people.remove(&scope);
                }
            }
            Deed::Start { .. }
            | Deed::Reload { .. }
            | Deed::Refused { .. }
            | Deed::Endpoint { .. }
            | Deed::Rollout(_)
            | Deed::Release(_)
            | Deed::Checkpoint { .. } => {}
        }
    }

    /// Puts in force what an intact journal says, in the place of what was known of it.
    pub fn restore(&mut self, records: Vec<Record>) {
        self.by_people.clear();
        self.add(records);
    }

    /// Puts kills in force, in addition to those that are.
    pub fn add(&mut self, records: Vec<Record>) {
        records.into_iter().map(Arc::new).for_each(|record| self.apply(&record));
    }

    /// The time limit for streams of the kill of exactly this scope by a person.
    pub fn close_streams_ms(&self, scope: &KillScope) -> Option<u64> {
        let after = close_streams(self.by_people.get(scope)?)?;
        u64::try_from(after.as_millis()).ok()
    }

    /// The record of the kill of exactly this scope by a person.
    pub fn killed_by_people(&self, scope: &KillScope) -> Option<&Arc<Record>> {
        self.by_people.get(scope)
    }

    /// Whether people or the file kill exactly this scope.
    pub fn is_killed(&self, scope: &KillScope) -> bool {
        self.by_people.contains_key(scope) || self.by_file.place_of(scope).is_some()
    }

    /// Logs what people killed before this process started, if anything.
    pub fn log_from_before(&self) {
        if !self.by_people.is_empty() {
            let first: Vec<String> = self.by_people.keys().take(LOGGED_MAX).map(ToString::to_string).collect();
            let (count, scopes) = (self.by_people.len(), first.join(", "));
            tracing::warn!("{count} kills from before are in force, among them: {scopes}");
        }
    }

    /// Where the file kills exactly this scope.
    pub fn place_in_file(&self, scope: &KillScope) -> Option<&SourceLocation> {
        self.by_file.place_of(scope)
    }

    /// The records of the kills by people.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.by_people.values()
    }

    /// Whether this scope may not be killed in addition. Scopes that the rules have are always accepted: only tenants are
    /// without number.
    pub fn is_full_for(&self, scope: &KillScope) -> bool {
        let is_tenant = |scope: &KillScope| matches!(scope, KillScope::Tenant(_));
        is_tenant(scope)
            && !self.by_people.contains_key(scope)
            && self.by_people.keys().filter(|killed| is_tenant(killed)).count() >= CALLED_KILLS_MAX
    }

    /// The overlay in force: the file's kills and those by people.
    pub fn union(&self, rules: &Rules) -> Overlay {
        let called = self.by_people.iter();
        let called: Vec<CalledKill> = called
            .map(|(scope, record)| CalledKill { scope: scope.clone(), close_streams: close_streams(record) })
            .collect();
        self.file_overlay.with_called_kills(rules, &called)
    }

    /// How many kills the file makes, and how many people made.
    pub fn counts(&self) -> KillCounts {
        let tenants = self.by_file.tenants().map_or(0, |tenants| tenants.names.len());
        KillCounts { by_file: self.by_file.iter().count() + tenants, by_people: self.by_people.len() }
    }

    /// The list for people: those of the file first, then by age.
    pub fn list(&self, rules: &Rules, durable_seq: u64) -> Vec<KillInForce> {
        let names = RouteNames::new(rules);
        let mut by_age: Vec<_> = self.by_people.iter().collect();
        by_age.sort_by_key(|(_, record)| record.seq);
        let by_people = by_age.into_iter().map(|(scope, record)| KillInForce {
            scope: scope.clone(),
            source: source(record, durable_seq),
            matches: names.find(scope).is_ok(),
        });
        self.file_list.iter().cloned().chain(by_people).collect()
    }
}

/// What the file kills; of its tenants the first by name.
fn listed(by_file: &FileKills) -> Vec<KillInForce> {
    let in_file = |scope: KillScope, place: &SourceLocation| {
        let source = KillSource::File(place.clone());
        KillInForce { scope, source, matches: true }
    };
    let mut list: Vec<_> = by_file.iter().map(|(scope, place)| in_file(scope.clone(), place)).collect();
    if let Some(tenants) = by_file.tenants() {
        let mut names: Vec<&str> = tenants.names.iter().collect();
        names.sort_unstable();
        let first = names.into_iter().take(LISTED_TENANTS_MAX);
        list.extend(first.map(|name| in_file(KillScope::Tenant(name.to_owned()), &tenants.place)));
    }
    list
}

/// The number of kills by source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) struct KillCounts {
    pub by_file: usize,
    pub by_people: usize,
}

fn close_streams(record: &Record) -> Option<Duration> {
    match &record.what {
        Deed::Kill { close_streams_ms, .. } => close_streams_ms.map(Duration::from_millis),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Rollout(_)
        | Deed::Release(_)
        | Deed::Checkpoint { .. } => None,
    }
}

fn source(record: &Record, durable_seq: u64) -> KillSource {
    KillSource::Call {
        who: record.who.clone(),
        reason: record.reason.clone().unwrap_or_default(),
        at: record.at.clone(),
        seq: record.seq,
        durable: record.seq <= durable_seq,
        close_streams: close_streams(record),
    }
}
