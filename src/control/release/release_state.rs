//! The state of release control: what is killed and what is rolled back, what guards watch, and the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::answer::WaitingCaller;
use super::folder::FolderSettings;
use super::kills::ActiveKills;
use super::latches::ActiveLatches;
use super::ledger::{Ledger, Written};
use super::tick_schedule::TickSchedule;
use crate::control::guard::Keeper;
use crate::journal::Record;
use crate::route::{KillScope, Overlay, Rules};

/// How many acts wait for workers and disk at once. A kill beyond is in force, and answered without waiting.
pub(super) const WAITING_MAX: usize = 256;

/// Release control: what is killed and what is rolled back, what guards watch, and the journal.
pub(in crate::control) struct Release {
    pub kills: ActiveKills,
    pub latches: ActiveLatches,
    /// What guards watch.
    pub guards: Keeper,
    /// When the parts of a tick are due.
    pub(super) schedule: TickSchedule,
    pub ledger: Ledger,
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
        self.kills.union(rules).with_stopped(rules, &self.latches.stopped(rules))
    }

    /// Applies a record: a kill, a revive, or what was decided about a release. Others change nothing.
    pub fn apply(&mut self, record: &Arc<Record>) {
        self.kills.apply(record);
        self.latches.apply(record);
    }

    /// Release control with the kills of the file, before the journal of this folder is read.
    pub fn new(kills: ActiveKills, folder: FolderSettings, patience: Duration) -> Self {
        let ledger = Ledger::of_another_process(0, "the journal is not read yet".to_owned());
        let known = ledger.written();
        Self {
            kills,
            latches: ActiveLatches::default(),
            guards: Keeper::default(),
            schedule: TickSchedule::default(),
            ledger,
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
