//! What the admin listener sees of release control. The controller writes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use super::foresight::Foresight;
use crate::control::route_traffic::MeasuredTraffic;
use crate::journal::{Actor, Record};
use crate::release::{ReleaseStanding, RolloutStanding};
use crate::route::{KillScope, Rules, SourceLocation};

/// The records that are kept in memory, for readers that follow.
const RECENT_MAX: usize = 1_000;

/// Kills in force, the newest records of the journal, and its health.
#[derive(Debug)]
pub struct ReleaseView {
    data: Mutex<ViewData>,
    news: broadcast::Sender<Arc<Record>>,
    has_rollouts: AtomicBool,
    is_judging: AtomicBool,
    is_settling: AtomicBool,
    /// Rung when guards begin to wait.
    began_judging: Notify,
}

#[derive(Debug, Default)]
struct ViewData {
    kills: Vec<KillInForce>,
    /// By name.
    releases: BTreeMap<String, ReleaseStanding>,
    /// By name.
    rollouts: BTreeMap<String, RolloutStanding>,
    /// By route.
    traffic: BTreeMap<String, MeasuredTraffic>,
    foresight: Arc<Foresight>,
    recent: VecDeque<Arc<Record>>,
    /// Records up to this number are not in memory.
    before: u64,
    health: JournalHealth,
}

/// A kill in force.
#[derive(Clone, Debug, PartialEq)]
pub struct KillInForce {
    /// Its scope.
    pub scope: KillScope,
    /// Who made it.
    pub source: KillSource,
    /// Whether the running configuration has the route or variant. A kill of a missing one stays, and takes effect when
    /// the route comes back.
    pub matches: bool,
}

/// Who made a kill.
#[derive(Clone, Debug, PartialEq)]
pub enum KillSource {
    /// `[kill]` of the file.
    File(SourceLocation),
    /// A person, by the admin API.
    Call {
        /// Who.
        who: Actor,
        /// Why.
        reason: String,
        /// When: RFC 3339.
        at: String,
        /// The sequence number of its record.
        seq: u64,
        /// Whether the record is on the disk.
        durable: bool,
        /// The time limit for streams that the call set.
        close_streams: Option<Duration>,
    },
}

/// The health of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalHealth {
    /// The folder.
    pub dir: String,
    /// The last sequence number that was decided.
    pub seq: u64,
    /// The last sequence number that is on the disk.
    pub durable_seq: u64,
    /// Why the journal cannot be written now.
    pub failure: Option<String>,
    /// What was wrong with the files at the start, such as a broken chain.
    pub damage: Option<String>,
}

impl Default for ReleaseView {
    fn default() -> Self {
        Self {
            data: Mutex::default(),
            news: broadcast::channel(RECENT_MAX).0,
            has_rollouts: AtomicBool::new(false),
            is_judging: AtomicBool::new(false),
            is_settling: AtomicBool::new(false),
            began_judging: Notify::new(),
        }
    }
}

impl ReleaseView {
    /// The kills in force: those of the file first.
    #[must_use]
    pub fn kills(&self) -> Vec<KillInForce> {
        self.lock().kills.clone()
    }

    /// How the releases stand that guards watch or that are rolled back, sorted by name.
    #[must_use]
    pub fn releases(&self) -> Vec<ReleaseStanding> {
        self.lock().releases.values().cloned().collect()
    }

    /// How a release stands, by its name `route:variant`; `None`: no guard watches it, and it is not rolled back.
    #[must_use]
    pub fn release(&self, name: &str) -> Option<ReleaseStanding> {
        self.lock().releases.get(name).cloned()
    }

    /// How the rollouts stand, sorted by name.
    #[must_use]
    pub fn rollouts(&self) -> Vec<RolloutStanding> {
        self.lock().rollouts.values().cloned().collect()
    }

    /// How a rollout stands.
    #[must_use]
    pub fn rollout(&self, name: &str) -> Option<RolloutStanding> {
        self.lock().rollouts.get(name).cloned()
    }

    /// What `read` says of each rollout, sorted by name. It is called under the lock.
    pub(in crate::control) fn read_rollouts<T>(&self, read: impl Fn(&RolloutStanding) -> T) -> Vec<T> {
        self.lock().rollouts.values().map(read).collect()
    }

    /// What `read` says of a release, by its name `route:variant`. It is called under the lock.
    pub(in crate::control) fn read_release<T>(
        &self,
        name: &str,
        read: impl FnOnce(&ReleaseStanding) -> T,
    ) -> Option<T> {
        self.lock().releases.get(name).map(read)
    }

    /// The traffic of a route of a rollout; `None` before it was read.
    #[must_use]
    pub fn traffic(&self, route: &str) -> Option<MeasuredTraffic> {
        self.lock().traffic.get(route).cloned()
    }

    /// Sets the traffic of the routes of rollouts: of these and no others.
    pub(in crate::control) fn set_traffic(&self, traffic: BTreeMap<String, MeasuredTraffic>) {
        self.lock().traffic = traffic;
    }

    /// Whether the rules in effect have rollouts: they are stepped, also without traffic.
    pub(in crate::control) fn has_rollouts(&self) -> bool {
        self.has_rollouts.load(Relaxed)
    }

    /// Whether guards wait for the end of something, so that they judge without new traffic.
    pub(in crate::control) fn is_judging(&self) -> bool {
        self.is_judging.load(Relaxed)
    }

    /// Guards wait for the end of something from now on.
    pub(in crate::control) fn begin_judging(&self) {
        if !self.is_judging.swap(true, Relaxed) {
            self.began_judging.notify_one();
        }
    }

    /// Whether some route has counts that are judged.
    pub(in crate::control) fn is_settling(&self) -> bool {
        self.is_settling.load(Relaxed)
    }

    /// Some route has counts that are judged, from now on.
    pub(in crate::control) fn begin_settling(&self) {
        if !self.is_settling.swap(true, Relaxed) {
            self.began_judging.notify_one();
        }
    }

    /// No route has counts that are judged, from now on.
    pub(in crate::control) fn end_settling(&self) {
        self.is_settling.store(false, Relaxed);
    }

    /// Waits until guards wait for the end of something.
    pub(in crate::control) async fn judging_begins(&self) {
        self.began_judging.notified().await;
    }

    /// Guards wait for nothing from now on.
    pub(in crate::control) fn end_judging(&self) {
        self.is_judging.store(false, Relaxed);
    }

    /// The rules in effect are these.
    pub(in crate::control) fn follow_rules(&self, rules: &Rules) {
        self.has_rollouts.store(!rules.rollouts.is_empty(), Relaxed);
    }

    /// Sets the rollouts: these and no others.
    pub(in crate::control) fn set_rollouts(&self, rollouts: Vec<RolloutStanding>) {
        self.lock().rollouts = rollouts.into_iter().map(|one| (one.name.clone(), one)).collect();
    }

    /// What is known for what an edit would do.
    #[must_use]
    pub fn foresight(&self) -> Arc<Foresight> {
        Arc::clone(&self.lock().foresight)
    }

    /// Sets what is known for what an edit would do.
    pub(in crate::control) fn set_foresight(&self, foresight: Foresight) {
        self.lock().foresight = Arc::new(foresight);
    }

    /// The newest records after `seq`, at most `limit`, oldest first.
    pub(in crate::control) fn newest_after(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        let data = self.lock();
        let newer = data.recent.iter().filter(|record| record.seq > seq);
        let skipped = newer.clone().count().saturating_sub(limit);
        newer.skip(skipped).cloned().collect()
    }

    /// The health of the journal.
    #[must_use]
    pub fn health(&self) -> JournalHealth {
        self.lock().health.clone()
    }

    /// The records after `seq` that are in memory; `None` when older ones are on the disk only.
    #[must_use]
    pub fn records_after(&self, seq: u64) -> Option<Vec<Arc<Record>>> {
        self.lock().records_after(seq)
    }

    /// The sequence number of the newest record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        let data = self.lock();
        data.recent.back().map_or(data.health.seq, |record| record.seq.max(data.health.seq))
    }

    /// The sequence number of the oldest record in memory.
    #[must_use]
    pub fn oldest_seq(&self) -> Option<u64> {
        self.lock().recent.front().map(|record| record.seq)
    }

    /// The records after `seq` that are in memory (`None`: older ones are on the disk only), and all later ones as they
    /// are made.
    pub fn follow(&self, seq: u64) -> (Option<Vec<Arc<Record>>>, broadcast::Receiver<Arc<Record>>) {
        let data = self.lock();
        (data.records_after(seq), self.news.subscribe())
    }

    /// Adds a record; its number is higher than those before.
    pub(in crate::control) fn add(&self, record: Arc<Record>) {
        let mut data = self.lock();
        if data.recent.len() == RECENT_MAX {
            data.before = data.recent.pop_front().map_or(0, |record| record.seq);
        }
        data.recent.push_back(Arc::clone(&record));
        // An error means that no reader follows.
        let _ = self.news.send(record);
    }

    /// Begins after this record of the files: it and those before are not in memory.
    pub(in crate::control) fn begin_after(&self, seq: u64) {
        let mut data = self.lock();
        data.recent.clear();
        data.before = seq;
    }

    /// Sets the kills in force.
    pub(in crate::control) fn set_kills(&self, kills: Vec<KillInForce>) {
        self.lock().kills = kills;
    }

    /// Sets the releases: these and no others.
    pub(in crate::control) fn set_releases(&self, releases: Vec<ReleaseStanding>) {
        self.lock().releases = releases.into_iter().map(|one| (one.name(), one)).collect();
    }

    /// Replaces the standings of some releases.
    pub(in crate::control) fn update_releases(&self, releases: Vec<ReleaseStanding>) {
        self.lock().releases.extend(releases.into_iter().map(|one| (one.name(), one)));
    }

    /// Removes some releases.
    pub(in crate::control) fn remove_releases(&self, names: &[String]) {
        let mut data = self.lock();
        for name in names {
            data.releases.remove(name);
        }
    }

    /// Sets the health of the journal.
    pub(in crate::control) fn set_health(&self, health: JournalHealth) {
        self.lock().health = health;
    }

    fn lock(&self) -> MutexGuard<'_, ViewData> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ViewData {
    fn records_after(&self, seq: u64) -> Option<Vec<Arc<Record>>> {
        (seq >= self.before).then(|| self.recent.iter().filter(|record| record.seq > seq).cloned().collect())
    }
}
