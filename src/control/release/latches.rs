//! The latches of rollbacks, and the holds at 0: variants that are out of service until a person resumes them, until their
//! upstream has another revision, or until an endpoint accepts connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::journal::{Deed, LatchScope, Record, ReleaseVerb};
use crate::release::CANARY_DOWN;
use crate::route::{FoundScope, KillScope, RouteId, RouteNames, Rules, Stop, StoppedVariant, VariantId};

/// How many latches are named in the log at a start.
const LOGGED_MAX: usize = 10;

/// Latches and holds, by release and revision; each is the record that made it.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct ActiveLatches {
    latches: BTreeMap<LatchScope, Arc<Record>>,
    holds: BTreeMap<LatchScope, Arc<Record>>,
}

impl ActiveLatches {
    /// Applies a record about a release. Others change nothing.
    pub fn apply(&mut self, record: &Arc<Record>) {
        let Deed::Release(deed) = &record.what else { return };
        let key = deed.scope();
        match deed.act {
            ReleaseVerb::Rollback => {
                self.holds.remove(&key);
                self.latches.insert(key, Arc::clone(record));
            }
            // A rollback that was decided after this act stays.
            ReleaseVerb::Resume if self.latches.get(&key).is_some_and(|latch| latch.seq < record.seq) => {
                self.latches.remove(&key);
            }
            ReleaseVerb::Hold if deed.because.as_deref() == Some(CANARY_DOWN) => {
                self.holds.insert(key, Arc::clone(record));
            }
            ReleaseVerb::Unhold => drop(self.holds.remove(&key)),
            ReleaseVerb::Warn | ReleaseVerb::Hold | ReleaseVerb::Resume | ReleaseVerb::Refused => {}
        }
    }

    /// Puts in force what an intact journal says, in the place of what was known of it.
    pub fn restore(&mut self, records: Vec<Record>) {
        self.latches.clear();
        self.add(records);
    }

    /// Puts latches in force, in addition to those that are.
    pub fn add(&mut self, records: Vec<Record>) {
        records.into_iter().map(Arc::new).for_each(|record| self.apply(&record));
    }

    /// The record of the rollback of this release under this revision.
    pub fn latch(&self, key: &LatchScope) -> Option<&Arc<Record>> {
        self.latches.get(key)
    }

    /// The records of all latches.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.latches.values()
    }

    /// The latches that these rules have: under the revisions that they name.
    pub fn in_force<'a>(&'a self, rules: &'a Rules) -> impl Iterator<Item = (StoppedVariant, &'a Arc<Record>)> {
        found(&self.latches, rules, Stop::Latch)
    }

    /// The variants that are out of service under these rules.
    pub fn stopped(&self, rules: &Rules) -> Vec<StoppedVariant> {
        let all = self.in_force(rules).chain(found(&self.holds, rules, Stop::Hold));
        all.map(|(stopped, _)| stopped).collect()
    }

    /// Forgets the holds of releases that guards do not watch under these rules.
    pub fn keep_holds_of(&mut self, rules: &Rules) {
        let names = RouteNames::new(rules);
        let is_watched = |route: RouteId| rules.route(route).split().is_some_and(|split| !split.guards.is_empty());
        self.holds.retain(|key, _| find(key, rules, &names).is_some_and(|(route, _)| is_watched(route)));
    }

    /// Logs the latches from before this process started, if there are any.
    pub fn log_from_before(&self) {
        if !self.latches.is_empty() {
            let first: Vec<&str> = self.latches.keys().take(LOGGED_MAX).map(|key| key.release.as_str()).collect();
            let (count, releases) = (self.latches.len(), first.join(", "));
            tracing::warn!("{count} releases were rolled back before this start and stay at 0, among them: {releases}");
        }
    }
}

fn found<'a>(
    all: &'a BTreeMap<LatchScope, Arc<Record>>,
    rules: &'a Rules,
    stop: Stop,
) -> impl Iterator<Item = (StoppedVariant, &'a Arc<Record>)> {
    let names = RouteNames::new(rules);
    all.iter().filter_map(move |(key, record)| {
        let (route, variant) = find(key, rules, &names)?;
        Some((StoppedVariant { route, variant, stop }, record))
    })
}

/// The variant that a release is under these rules; `None` when they do not have it, or have another revision of it.
fn find(key: &LatchScope, rules: &Rules, names: &RouteNames<'_>) -> Option<(RouteId, VariantId)> {
    let (route, variant) = key.release.split_once(':')?;
    let scope = KillScope::Variant { route: route.to_owned(), variant: variant.to_owned() };
    let Ok(FoundScope::Variant(route, variant)) = names.find(&scope) else { return None };
    let split = rules.route(route).split()?;
    let is_last = usize::from(variant.0) + 1 == split.variants.len();
    if split.rollout.is_some() && is_last {
        // A rollout has latches of its own.
        return None;
    }
    let revision = rules.revision_of(split.variants.get(usize::from(variant.0))?);
    (revision == key.revision).then_some((route, variant))
}
