//! The state of release control: what is killed and what is rolled back, what guards watch, and the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::answer::WaitingCaller;
use super::folder::FolderSettings;
use super::foresight::{ForeseenRollout, Foresight};
use super::kills::ActiveKills;
use super::latches::ActiveLatches;
use super::ledger::{Ledger, Written};
use super::rollouts::{ActiveRollout, ActiveRollouts};
use super::saved_progress::{SavedProgress, SavedRollout};
use super::tick_schedule::TickSchedule;
use crate::control::guard::Keeper;
use crate::control::notify::Notifier;
use crate::control::route_traffic::TrafficHistory;
use crate::journal::{Deed, Record, ReleaseVerb};
use crate::release::RolloutVerb;
use crate::route::{KillScope, Overlay, Rules};

/// How many acts wait for workers and disk at once. A kill beyond is in force, and answered without waiting.
pub(super) const WAITING_MAX: usize = 256;

/// Release control: what is killed and what is rolled back, what guards watch, and the journal.
pub(in crate::control) struct Release {
    pub kills: ActiveKills,
    pub latches: ActiveLatches,
    /// The rollouts.
    pub rollouts: ActiveRollouts,
    /// The evidence of guards, as it was saved last.
    pub(super) saved_guards: Value,
    /// How far the rollouts were when that was saved last.
    pub(super) saved_rollouts: BTreeMap<String, SavedRollout>,
    /// What guards watch.
    pub guards: Keeper,
    /// The routes that were judged since their standings were shown, by their indexes.
    pub(super) unshown: BTreeSet<usize>,
    /// What was read of the traffic of their routes.
    pub traffic: TrafficHistory,
    /// When the parts of a tick are due.
    pub(super) schedule: TickSchedule,
    pub ledger: Ledger,
    /// Who hears of what was decided.
    pub notifier: Notifier,
    /// The state folder.
    pub folder: FolderSettings,
    /// What was wrong with the journal at the start.
    pub damage: Option<String>,
    /// How far the journal was written when that was last looked at.
    pub known: Written,
    /// Revives and resumes that wait for the disk, by the number of their record.
    pub(super) revives: BTreeMap<u64, WaitingRevive>,
    /// Records that those who follow see after the revives before them, by their number.
    pub(super) unseen: BTreeMap<u64, Arc<Record>>,
    /// An attempt to take the state folder is under way.
    pub(super) is_folder_awaited: bool,
    /// How long the answer to an act waits for workers and disk.
    pub(super) patience: Duration,
    pub(super) places: Arc<Semaphore>,
}

/// A revive or a resume that waits for the disk.
pub(in crate::control) struct WaitingRevive {
    pub record: Arc<Record>,
    /// The scope of the kill that it lifts; of a resume the variant.
    pub scope: KillScope,
    pub caller: WaitingCaller,
    /// Those who have made the same call again meanwhile.
    pub repeats: Vec<WaitingCaller>,
}

impl Release {
    /// The overlay in force under these rules, which are those of the file: its weights and kills, the kills by people,
    /// latches and holds.
    pub fn overlay(&self, rules: &Rules) -> Overlay {
        let overlay = self.kills.union(rules).with_stopped(rules, &self.latches.stopped(rules));
        self.rollouts.over(&overlay, rules)
    }

    /// What is known for what an edit would do.
    pub fn foresight(&self) -> Foresight {
        let of = |(name, active): (&String, &ActiveRollout)| {
            let waiting = active.waiting.as_ref().map(|waiting| waiting.decision.state.clone());
            (name.clone(), ForeseenRollout { state: active.state.clone(), waiting })
        };
        Foresight::new(self.rollouts.iter().map(of).collect(), self.latches.clone())
    }

    /// Applies a record: a kill, a revive, or what was decided about a release. Others change nothing.
    pub fn apply(&mut self, record: &Arc<Record>) {
        self.kills.apply(record);
        self.latches.apply(record);
        self.rollouts.apply(record);
    }

    /// Release control with the kills of the file, before the journal of this folder is read.
    pub fn new(kills: ActiveKills, folder: FolderSettings, patience: Duration) -> Self {
        let ledger = Ledger::of_another_process(0, "the journal is not read yet".to_owned());
        let known = ledger.written();
        Self {
            kills,
            latches: ActiveLatches::default(),
            rollouts: ActiveRollouts::default(),
            saved_guards: Value::Null,
            saved_rollouts: BTreeMap::new(),
            guards: Keeper::default(),
            unshown: BTreeSet::new(),
            traffic: TrafficHistory::default(),
            schedule: TickSchedule::default(),
            ledger,
            notifier: Notifier::default(),
            folder,
            damage: None,
            known,
            revives: BTreeMap::new(),
            unseen: BTreeMap::new(),
            is_folder_awaited: false,
            patience,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }
}

impl Release {
    /// What outlives the process as JSON, when it has changed since the last call.
    pub(super) fn save_progress(&mut self) -> Option<Vec<u8>> {
        let guards = self.guards.save();
        let rollouts = self.rollouts.to_saved();
        if guards.is_none() && rollouts == self.saved_rollouts {
            return None;
        }
        if let Some(guards) = guards {
            self.saved_guards = serde_json::from_slice(&guards).unwrap_or_default();
        }
        self.saved_rollouts.clone_from(&rollouts);
        // It has string keys and finite numbers only: this cannot fail.
        serde_json::to_vec(&SavedProgress::new(self.saved_guards.clone(), rollouts, self.last_applied())).ok()
    }

    /// The number of the last record whose effect is in force: those that wait for the disk are not.
    fn last_applied(&self) -> u64 {
        let waiting = self.rollouts.waiting().chain(self.revives.keys().copied()).min();
        waiting.map_or_else(|| self.ledger.seq(), |seq| seq.saturating_sub(1))
    }

    /// Goes on with how far a process before had come with the rollouts; anything else is not read.
    pub(super) fn restore_rollouts(&mut self, saved: &[u8]) {
        if let Ok(saved) = SavedProgress::read(saved) {
            self.rollouts.restore_progress(&saved.rollouts);
        }
    }

    /// Goes on with what a process before has saved.
    ///
    /// # Errors
    /// It is not JSON of this form.
    pub(super) fn restore_progress(&mut self, saved: &[u8]) -> Result<(), String> {
        let SavedProgress { guards, rollouts, .. } = SavedProgress::read(saved)?;
        self.rollouts.restore_progress(&rollouts);
        let text = serde_json::to_vec(&guards).map_err(|error| error.to_string())?;
        self.saved_guards = guards;
        self.guards.restore(&text)
    }

    /// A process before has ended between these records and the next time that it saved evidence: what begins anew by
    /// them begins anew.
    pub(super) fn begin_anew_after(&mut self, records: &[Record], now_ms: u64) {
        for record in records {
            if let Deed::Release(deed) = &record.what
                && deed.act == ReleaseVerb::Resume
            {
                self.guards.begin_anew(&deed.scope(), now_ms);
            }
            if let Deed::Rollout(deed) = &record.what
                && let Ok(act) = serde_json::from_value::<RolloutVerb>(deed.act.clone().into())
            {
                if act.may_begin_anew() {
                    self.guards.begin_rollout_anew(&deed.rollout, now_ms);
                    self.rollouts.queries.begin_anew(&deed.rollout);
                }
                if act.may_begin_anew() || act.enters() {
                    self.guards.enter_stage(&deed.rollout, now_ms);
                }
            }
        }
    }
}
