//! One release in virtual time: the state machine, the guards and the requests, once without the fault and once with it.

use super::bench::GuardBench;
use super::course::{Course, Seen, enters};
use super::crowd::Crowd;
use super::expected::{distinct, whole};
use super::fault::{FaultStart, ReleaseFault};
use super::random::Random;
use super::scene::Scene;
use crate::release::{
    BlockKind, RolloutDecision, RolloutPhase, RolloutTrip, RolloutVerb, StageEvidence, TripAct, keys_needed,
};
use crate::route::Stage;

/// While nothing is wrong, the guards are asked this often, in milliseconds.
const CALM_MS: u64 = 5_000;
/// While a freeze window is in force.
const FROZEN_MS: u64 = 10_000;
/// After a fault has begun: as often as in a proxy, for a minute; then more rarely.
const ALERT_MS: u64 = 100;
/// So long, in milliseconds.
const ALERT_FOR_MS: u64 = 60_000;
/// Later, for ten minutes.
const LATER_MS: u64 = 1_000;
/// So long, in milliseconds.
const LATER_FOR_MS: u64 = 600_000;
/// A weight that rises is published once a second.
const PUBLISH_MS: u64 = 1_000;
/// No release lasts longer, in milliseconds.
const PLAY_MS_MAX: u64 = 400 * 86_400_000;
/// A stage that lasts so long without a date that ends it has no end, in milliseconds.
const STAGE_MS_MAX: u64 = 14 * 86_400_000;
/// A stage whose canary has too few callers for its requirements has no end after so long, in milliseconds: the callers stay
/// the same. Until then a fault can be found.
const TOO_FEW_MS: u64 = 2 * 3_600_000;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal<'a> {
    /// The rollout with its traffic.
    pub scene: Scene<'a>,
    /// What is wrong with the canary; `None`: healthy releases alone.
    pub fault: Option<&'a ReleaseFault>,
    /// The same seed gives the same runs.
    pub seed: u64,
}

/// What came of one release.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayedRun {
    /// Without the fault.
    pub healthy: HealthyRun,
    /// With it; `None`: the release was over before, or there is none.
    pub faulty: Option<FaultyRun>,
}

/// What came of a healthy release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthyRun {
    /// How long it took until it was complete, in milliseconds.
    pub complete_ms: Option<u64>,
    /// What stopped it.
    pub stop: Option<ReleaseStop>,
    /// Why it did not go on, when neither is there.
    pub stuck: Option<String>,
}

/// What came of a release with the fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultyRun {
    /// How long the release had lasted when the fault began, in milliseconds.
    pub began_ms: u64,
    /// What stopped it.
    pub stop: Option<ReleaseStop>,
    /// How long that took from the begin of the fault on, in milliseconds.
    pub found_ms: Option<u64>,
    /// The requests that the fault hurt, until the canary got none or the release was over.
    pub requests: u64,
    /// Their callers.
    pub callers: u64,
    /// The guards that only warned.
    pub warned: Vec<String>,
}

/// What stopped a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseStop {
    /// The guard, or what else it was.
    pub by: String,
    /// It is a guard that counts requests: the fault was found. Else it was a false alarm, or something else.
    pub finds: bool,
    /// It holds, and does not roll back.
    pub holds: bool,
    /// The stage.
    pub stage: String,
    /// When, in milliseconds since the release began.
    pub at_ms: u64,
}

/// Plays one release; the number chooses its random numbers.
#[must_use]
pub fn play(rehearsal: &Rehearsal<'_>, run: u32) -> PlayedRun {
    let mut release = ReleasePlay::new(rehearsal.scene, Random::new(rehearsal.seed, run));
    let mut faulty = None;
    let mut fault = rehearsal.fault;
    loop {
        if let Some(begun) = fault.filter(|fault| release.is_due(fault)) {
            fault = None;
            faulty = Some(release.clone().play_fault(begun));
        }
        if let Some(healthy) = release.over() {
            return PlayedRun { healthy, faulty };
        }
        release.move_on(release.calm_ms());
    }
}

/// Plays one release with the fault alone; `None`: it was over before the fault began, or there is none.
#[must_use]
pub fn play_fault_alone(rehearsal: &Rehearsal<'_>, run: u32) -> Option<FaultyRun> {
    let mut release = ReleasePlay::new(rehearsal.scene, Random::new(rehearsal.seed, run));
    let fault = rehearsal.fault?;
    while !release.is_due(fault) {
        if release.over().is_some() {
            return None;
        }
        release.move_on(release.calm_ms());
    }
    Some(release.play_fault(fault))
}

/// A release under way.
#[derive(Clone)]
pub(super) struct ReleasePlay<'a> {
    scene: Scene<'a>,
    course: Course<'a>,
    bench: GuardBench<'a>,
    random: Random,
    /// Running time, in milliseconds: freeze windows do not count.
    running_ms: u64,
    published_ms: u64,
    /// When anything was decided last, or the fault began, in milliseconds since the release began.
    decided_ms: u64,
    /// The canary's requests when the stage was entered.
    before: u64,
    stop: Option<ReleaseStop>,
    warned: Vec<String>,
}

impl<'a> ReleasePlay<'a> {
    pub fn new(scene: Scene<'a>, mut random: Random) -> Self {
        let bench = GuardBench::new(&scene, &mut random);
        let mut release = Self {
            scene,
            course: Course::new(scene),
            bench,
            random,
            running_ms: 0,
            published_ms: 0,
            decided_ms: 0,
            before: 0,
            stop: None,
            warned: Vec::new(),
        };
        release.move_on(0);
        release
    }

    /// The stage where it is.
    pub fn stage(&self) -> Option<&'a Stage> {
        self.course.stage()
    }

    /// The same release with a fault from now on, and other random numbers.
    pub fn with_fault(&self, fault: &'a ReleaseFault, random: Random) -> Self {
        let mut faulty = Self { random, ..self.clone() };
        faulty.bench.begin_fault(fault);
        faulty
    }

    /// The requests.
    pub const fn crowd(&self) -> &Crowd {
        &self.bench.crowd
    }

    /// Moves on whatever the guards find, with the weight of a stage; when the plan leaves the stage, that weight stays.
    pub fn stay(&mut self, stage: &str, elapsed_ms: u64) -> Vec<RolloutTrip> {
        let now_ms = self.course.now_ms() + elapsed_ms;
        let trips = self.bench.pass(elapsed_ms, now_ms, &mut self.random);
        let seen = Seen { evidence: self.evidence(), trips: Vec::new() };
        self.course.move_on(elapsed_ms, seen);
        if self.course.state.stage == stage {
            self.dial(now_ms);
        }
        trips
    }

    /// The time of the next step of a healthy release.
    pub fn calm_ms(&self) -> u64 {
        let longest = if self.course.is_frozen() { FROZEN_MS } else { CALM_MS };
        self.course.next_due().min(longest)
    }

    /// Whether a fault begins now.
    fn is_due(&self, fault: &ReleaseFault) -> bool {
        let plan = &self.scene.rollout.plan;
        let at = plan.find(&self.course.state.stage).filter(|_| !self.course.state.passed.is_empty());
        match &fault.from {
            FaultStart::FirstWeight => self.course.share() > 0.0 || self.course.state.ramp.is_some(),
            FaultStart::Stage(stage) => at.is_some() && at >= plan.find(stage),
            FaultStart::After(ms) => self.running_ms >= *ms,
        }
    }

    /// Moves on by a time.
    pub fn move_on(&mut self, elapsed_ms: u64) {
        if !self.course.is_frozen() {
            self.running_ms += elapsed_ms;
        }
        let now_ms = self.course.now_ms() + elapsed_ms;
        let trips = if elapsed_ms > 0 { self.bench.pass(elapsed_ms, now_ms, &mut self.random) } else { Vec::new() };
        self.note_warnings(&trips);
        let seen = Seen { evidence: self.evidence(), trips };
        let decisions = self.course.move_on(elapsed_ms, seen);
        for decision in &decisions {
            self.follow(decision, now_ms);
        }
        self.dial(now_ms);
    }

    fn note_warnings(&mut self, trips: &[RolloutTrip]) {
        let warnings = trips.iter().filter(|trip| trip.act == TripAct::Warn);
        for trip in warnings {
            if !self.warned.contains(&trip.guard) {
                self.warned.push(trip.guard.clone());
            }
        }
    }

    /// What is known of the stage. The tests are computed when the time of the stage is over.
    fn evidence(&mut self) -> StageEvidence {
        let answered = self.bench.crowd.answered;
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let keys = distinct(self.bench.crowd.canary_callers() as f64, (answered - self.before) as f64);
        let counted = StageEvidence { answered, keys: whole(keys), ..StageEvidence::default() };
        let Some(stage) = self.course.stage() else { return counted };
        let names_rate = stage.require.non_inferior.is_some() || stage.require.or_rate_below.is_some();
        let is_over = self.course.state.progress.run_ms + CALM_MS >= stage.min_duration_ms;
        if names_rate && is_over && self.course.state.ramp.is_none() {
            let judged = self.bench.judged(&stage.require);
            return StageEvidence { answered: counted.answered, keys: counted.keys, ..judged };
        }
        counted
    }

    fn follow(&mut self, decision: &RolloutDecision, now_ms: u64) {
        self.decided_ms = now_ms;
        if decision.begins_anew {
            self.bench.begin_anew(now_ms);
        }
        if enters(decision.act) || decision.begins_anew {
            self.bench.enter_stage(now_ms);
            self.before = self.bench.crowd.answered;
        }
        let holds = match decision.act {
            RolloutVerb::Hold => true,
            RolloutVerb::Rollback => false,
            RolloutVerb::Begin
            | RolloutVerb::Enter
            | RolloutVerb::Raise
            | RolloutVerb::Lower
            | RolloutVerb::Complete
            | RolloutVerb::Warn
            | RolloutVerb::Unhold
            | RolloutVerb::Killed
            | RolloutVerb::Revived
            | RolloutVerb::Ask
            | RolloutVerb::Approve
            | RolloutVerb::Resume
            | RolloutVerb::Goto
            | RolloutVerb::Restart
            | RolloutVerb::Rehearsed
            | RolloutVerb::Archive
            | RolloutVerb::Refused => return,
        };
        let other = match &decision.state.phase {
            RolloutPhase::Held(held) => held.cause.name().to_owned(),
            RolloutPhase::RolledBack(back) => back.by.clone(),
            RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Killed | RolloutPhase::Complete => {
                String::new()
            }
        };
        let by = decision.guard.as_ref().map_or(other, |trip| trip.guard.clone());
        let counts =
            |name: &str| self.scene.rollout.guards.all.iter().any(|one| one.name == name && one.signal.is_some());
        let finds = decision.guard.as_ref().is_some_and(|trip| counts(&trip.guard));
        let stop = ReleaseStop { by, finds, holds, stage: decision.state.stage.clone(), at_ms: now_ms };
        self.stop.get_or_insert(stop);
    }

    /// The guards follow the weight if it has changed.
    fn dial(&mut self, now_ms: u64) {
        let is_rising = self.course.state.ramp.is_some();
        if !is_rising || now_ms >= self.published_ms + PUBLISH_MS {
            self.bench.set_share(self.course.share(), now_ms);
            self.published_ms = now_ms;
        }
    }

    /// What came of it, if it is over.
    pub fn over(&self) -> Option<HealthyRun> {
        let over = HealthyRun { stop: self.stop.clone(), ..HealthyRun::default() };
        if self.stop.is_some() {
            return Some(over);
        }
        if self.course.state.phase == RolloutPhase::Complete {
            return Some(HealthyRun { complete_ms: Some(self.course.now_ms()), ..over });
        }
        let waits_for_date = self.course.blocks.iter().any(|block| block.until_ms.is_some());
        let waited_ms = self.course.now_ms() - self.decided_ms;
        let is_late = waited_ms > STAGE_MS_MAX || self.lacks_callers(waited_ms);
        let is_endless = self.course.now_ms() > PLAY_MS_MAX || (is_late && !waits_for_date);
        let says = || self.course.blocks.first().map_or_else(String::new, |block| block.says.clone());
        is_endless.then(|| HealthyRun { stuck: Some(says()), ..over })
    }

    /// Whether the stage waits for more callers of the canary than it has with a weight that no longer rises.
    fn lacks_callers(&self, waited_ms: u64) -> bool {
        let waits =
            self.course.blocks.iter().any(|block| matches!(block.kind, BlockKind::Requests | BlockKind::Evidence));
        let Some(stage) = self.stage().filter(|_| waits && self.course.state.ramp.is_none()) else { return false };
        let callers = self.bench.crowd.canary_callers() as u64;
        callers == 0 || (callers < keys_needed(stage) && waited_ms > TOO_FEW_MS)
    }

    /// Goes on with the fault, until it is found and no request gets the canary, or the release is over.
    fn play_fault(mut self, fault: &'a ReleaseFault) -> FaultyRun {
        let began_ms = self.course.now_ms();
        // What waits for callers has its time anew: the guards may find the fault with fewer.
        self.decided_ms = began_ms;
        self.bench.begin_fault(fault);
        self.warned.clear();
        loop {
            let since_ms = self.course.now_ms() - began_ms;
            let is_at_rest = self.stop.as_ref().is_some_and(|stop| stop.holds) || self.course.share() <= 0.0;
            if (self.stop.is_some() && is_at_rest) || (self.stop.is_none() && self.over().is_some()) {
                let found_ms = self.stop.as_ref().map(|stop| stop.at_ms - began_ms);
                let crowd = &self.bench.crowd;
                let (requests, callers) = (crowd.hurt, crowd.hurt_callers());
                return FaultyRun { began_ms, stop: self.stop, found_ms, requests, callers, warned: self.warned };
            }
            let step_ms = match since_ms {
                0..ALERT_FOR_MS => ALERT_MS,
                ALERT_FOR_MS..LATER_FOR_MS => LATER_MS,
                _ => self.calm_ms(),
            };
            self.move_on(step_ms.min(self.course.next_due()));
        }
    }
}
