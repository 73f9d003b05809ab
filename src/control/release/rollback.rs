//! What is done when a guard trips: published at once, and recorded when possible.

use std::sync::Arc;

use serde_json::{Value, json};

use super::act::ActError;
use super::check::find_release;
use super::guards_due::ReleasePlace;
use crate::control::controller::Controller;
use crate::journal::{Actor, Deed, LatchScope, Record, ReleaseDeed, ReleaseVerb, Via};
use crate::release::{CANARY_DOWN, GuardTrip, ReleaseDecision, Warning};
use crate::telemetry::guards::{GuardName, count_trip};

/// Why a release is held whose rollback has no target.
pub(super) const NO_TARGET: &str = "no rollback target";

/// What is recorded about a release.
struct Recorded {
    act: ReleaseVerb,
    because: Option<&'static str>,
    trip: Option<GuardTrip>,
}

impl Controller {
    /// Does what a step of a release has decided.
    pub(super) fn follow_decision(&mut self, place: ReleasePlace, decision: ReleaseDecision) {
        let (act, because, trip) = match decision {
            ReleaseDecision::Warn(trip) => (ReleaseVerb::Warn, None, Some(trip)),
            ReleaseDecision::HoldAtZero(trip) => (ReleaseVerb::Hold, Some(CANARY_DOWN), Some(trip)),
            ReleaseDecision::HoldForTarget(trip) => (ReleaseVerb::Hold, Some(NO_TARGET), Some(trip)),
            ReleaseDecision::Unhold => (ReleaseVerb::Unhold, Some(CANARY_DOWN), None),
            ReleaseDecision::RollBack(trip) => (ReleaseVerb::Rollback, None, Some(trip)),
            ReleaseDecision::BeginAnew => return self.begin_anew(place),
        };
        self.count_trip(place, trip.as_ref(), act);
        let changes_weight = match act {
            ReleaseVerb::Rollback | ReleaseVerb::Unhold => true,
            ReleaseVerb::Hold => because == Some(CANARY_DOWN),
            ReleaseVerb::Warn | ReleaseVerb::Resume | ReleaseVerb::Refused => false,
        };
        let Some(record) = self.record_release(place, Recorded { act, because, trip }) else { return };
        self.release.apply(&record);
        if changes_weight {
            self.publish_kills();
        }
        self.remember_warning(place, &record, act, because);
        self.announce(&record);
        self.show_release();
    }

    /// Makes the record, and hands it to the journal. What a guard decides takes effect whatever the journal says.
    fn record_release(&mut self, place: ReleasePlace, recorded: Recorded) -> Option<Arc<Record>> {
        let Recorded { act, because, trip } = recorded;
        let LatchScope { release, revision } =
            self.release.guards.routes().get(place.at)?.releases.get(place.index)?.key.clone();
        let (name, evidence) = match trip {
            Some(GuardTrip { guard, evidence, .. }) => (guard, evidence),
            None => (CANARY_DOWN.to_owned(), Value::Null),
        };
        let deed = ReleaseDeed { act, release, revision, because: because.map(str::to_owned), evidence };
        let draft = self.draft(Actor { name, via: Via::Guard }, Deed::Release(deed), None);
        match self.release.ledger.append(draft.clone()) {
            Ok(record) => Some(record),
            Err(why) => {
                tracing::error!("not recorded in the journal: {why}");
                Some(Arc::new(draft.unrecorded()))
            }
        }
    }

    /// Remembers what the admin listener shows of a warning.
    fn remember_warning(&mut self, place: ReleasePlace, record: &Record, act: ReleaseVerb, because: Option<&str>) {
        let route = self.release.guards.route_mut(place.at);
        let Some(release) = route.and_then(|route| route.releases.get_mut(place.index)) else { return };
        let warning = || Some(warning(record));
        match act {
            ReleaseVerb::Warn => release.warning = warning(),
            ReleaseVerb::Hold if because == Some(NO_TARGET) => release.waits = warning(),
            ReleaseVerb::Rollback => (release.warning, release.waits) = (None, None),
            ReleaseVerb::Hold | ReleaseVerb::Unhold | ReleaseVerb::Resume | ReleaseVerb::Refused => {}
        }
    }

    fn count_trip(&self, place: ReleasePlace, trip: Option<&GuardTrip>, act: ReleaseVerb) {
        let word = match act {
            ReleaseVerb::Warn => "warn",
            ReleaseVerb::Hold => "hold",
            ReleaseVerb::Rollback => "rollback",
            ReleaseVerb::Unhold | ReleaseVerb::Resume | ReleaseVerb::Refused => return,
        };
        let route = self.release.guards.routes().get(place.at);
        let Some((route, release)) = route.and_then(|route| Some((route, route.releases.get(place.index)?))) else {
            return;
        };
        let variant = release.key.release.split_once(':').map_or("", |(_, variant)| variant);
        if let Some(trip) = trip {
            let of = GuardName { route: &route.name, variant, guard: &trip.guard };
            count_trip(&self.state.counts.recorder, of, word);
        }
    }

    fn begin_anew(&mut self, place: ReleasePlace) {
        let now_ms = self.state.uptime_ms();
        let route = self.release.guards.routes().get(place.at);
        let variant = route.and_then(|route| route.releases.get(place.index)).map(|release| release.variant);
        if let Some(variant) = variant {
            self.release.guards.resume(place.at, variant, now_ms);
        }
    }

    /// The record of the rollback of a release, under its revision in effect.
    ///
    /// # Errors
    /// There is no such release, or it is not rolled back.
    pub(super) fn find_latched(&self, release: &str) -> Result<Arc<Record>, ActError> {
        let key = find_release(release, &self.store.load().rules)?;
        self.release.latches.latch(&key).cloned().ok_or_else(|| {
            let state = self.state.release.release(release).map_or("not watched by a guard", |one| one.state.name());
            ActError::NotRolledBack { release: release.to_owned(), state }
        })
    }

    /// What a person decides who resumes a release: its latch ends, and evidence begins anew.
    pub(super) fn resume_of(&self, release: String) -> ReleaseDeed {
        let key = find_release(&release, &self.store.load().rules);
        let revision = key.map(|key| key.revision).unwrap_or_default();
        let ends = self.find_latched(&release).map(|latch| latch.seq).unwrap_or_default();
        let evidence = json!({ "ends": ends, "sentence": "evidence begins anew: alpha is spent again" });
        ReleaseDeed { act: ReleaseVerb::Resume, release, revision, because: None, evidence }
    }

    /// A person has resumed a release: its evidence begins anew. Other records change nothing.
    pub(super) fn begin_evidence_anew(&mut self, record: &Record) {
        let Deed::Release(deed) = &record.what else { return };
        let now_ms = self.state.uptime_ms();
        if deed.act == ReleaseVerb::Resume && self.release.guards.begin_anew(&deed.scope(), now_ms) {
            // After a start, evidence from before the resume must not come back.
            self.save_evidence();
        }
    }

    /// A resume was not on the disk in time: should it get there after all, this rollback follows.
    pub(super) fn latch_again(&mut self, resumed: &ReleaseDeed, by: &str, seq: u64) {
        let key = resumed.scope();
        // A later rollback outlives the resume by itself.
        let Some(latch) = self.release.latches.latch(&key).filter(|latch| latch.seq < seq) else { return };
        let (what, who) = (latch.what.clone(), latch.who.clone());
        let reason = format!("the resume by {by} (record {seq}) was not on the disk in time, and is taken back");
        let draft = self.draft(who, what, Some(reason));
        if let Ok(record) = self.release.ledger.append(draft) {
            self.release.apply(&record);
            self.announce(&record);
        }
    }
}

/// What the admin listener shows of a record.
fn warning(record: &Record) -> Warning {
    let sentence = match &record.what {
        Deed::Release(deed) => deed.sentence().unwrap_or_default().to_owned(),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Rollout(_)
        | Deed::Checkpoint { .. } => String::new(),
    };
    let seq = Some(record.seq).filter(|seq| *seq > 0);
    Warning { guard: record.who.name.clone(), sentence, at: record.at.clone(), seq }
}
