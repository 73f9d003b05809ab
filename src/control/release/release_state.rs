//! The state of release control: what is killed, and the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::answer::WaitingCaller;
use super::kills::ActiveKills;
use super::ledger::Ledger;
use crate::journal::Record;
use crate::route::KillScope;

/// How many acts wait for workers and disk at once. A kill beyond is in force, and answered without waiting.
pub(super) const WAITING_MAX: usize = 256;
/// Release control: what is killed, and the journal.
pub(in crate::control) struct Release {
    pub kills: ActiveKills,
    pub ledger: Ledger,
    /// Revives that wait for the disk, by the number of their record.
    pub(super) revives: BTreeMap<u64, WaitingRevive>,
    pub(super) places: Arc<Semaphore>,
}

/// A revive that waits for the disk.
pub(in crate::control) struct WaitingRevive {
    pub record: Arc<Record>,
    pub scope: KillScope,
    pub caller: WaitingCaller,
}

impl Release {
    /// Release control with these kills and this journal.
    pub fn new(kills: ActiveKills, ledger: Ledger) -> Self {
        Self { kills, ledger, revives: BTreeMap::new(), places: Arc::new(Semaphore::new(WAITING_MAX)) }
    }
}
