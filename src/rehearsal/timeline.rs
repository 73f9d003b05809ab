//! When a healthy release enters and leaves its stages, when people approve at once and gates pass.

use super::course::{Course, STEP_MS_MAX, Seen, enters};
use super::expected::{ExpectedCounts, whole};
use super::scene::Scene;
use crate::release::{BlockKind, RolloutDecision, RolloutPhase, RolloutVerb};
use crate::route::Require;

/// A plan that takes longer does not come to its end, in milliseconds.
const DAYS_MAX: u64 = 366 * 86_400_000;
/// A stage that lasts so long without a date that ends it does not come to its end, in milliseconds.
const STAGE_MS_MAX: u64 = 30 * 86_400_000;

/// When a healthy release enters and leaves its stages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// When it begins, in milliseconds since the Unix epoch.
    pub begins_ms: u64,
    /// Its stages, as far as it comes.
    pub stages: Vec<StageTimes>,
    /// When it is complete, in milliseconds since the Unix epoch.
    pub complete_ms: Option<u64>,
    /// Why it does not come to its end, in one sentence.
    pub stuck: Option<String>,
}

/// When a stage is entered and left, and what the canary gets in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageTimes {
    /// The name of the stage.
    pub name: String,
    /// When it is entered, in milliseconds since the Unix epoch.
    pub enters_ms: u64,
    /// When its ramp ends, in milliseconds since the Unix epoch; `None` without a ramp.
    pub ramp_ends_ms: Option<u64>,
    /// When it is left, in milliseconds since the Unix epoch.
    pub leaves_ms: Option<u64>,
    /// For how long a freeze window stops it, in milliseconds.
    pub frozen_ms: u64,
    /// Requests to the canary in the stage.
    pub requests: u64,
    /// Distinct callers of the canary since the release began, at the end of the stage.
    pub callers: u64,
}

/// When a healthy release enters and leaves its stages: a run of the state machine without guards, in which gates pass, people
/// approve after the delay of the scene, and evidence is what it is on average.
#[must_use]
pub fn timeline(scene: &Scene<'_>) -> Timeline {
    let mut run = TimelineRun::new(scene);
    loop {
        let elapsed_ms = run.next();
        if !run.go_on(elapsed_ms) {
            return run.timeline;
        }
    }
}

struct TimelineRun<'a> {
    course: Course<'a>,
    counts: ExpectedCounts,
    timeline: Timeline,
    /// The requests when the stage was entered.
    before: f64,
    /// When anything was decided last, in milliseconds since the release began.
    decided_ms: u64,
}

impl<'a> TimelineRun<'a> {
    fn new(scene: &Scene<'a>) -> Self {
        Self {
            course: Course::new(*scene),
            counts: ExpectedCounts::new(scene),
            timeline: Timeline { begins_ms: scene.begins_ms, ..Timeline::default() },
            before: 0.0,
            decided_ms: 0,
        }
    }

    /// The time of the next step.
    fn next(&self) -> u64 {
        let due = self.course.next_due();
        // Nothing counts while a window is in force: its end is the next thing.
        if self.course.is_frozen() { due } else { due.min(STEP_MS_MAX) }
    }

    /// Moves on; `false`: it has come to its end.
    fn go_on(&mut self, elapsed_ms: u64) -> bool {
        self.counts.pass(elapsed_ms, self.course.share());
        if let Some(stage) = self.timeline.stages.last_mut().filter(|_| self.course.is_frozen()) {
            stage.frozen_ms += elapsed_ms;
        }
        let require = self.course.stage().map_or_else(Require::default, |stage| stage.require);
        let had_ramp = self.course.state.ramp.is_some();
        let seen = Seen { evidence: self.counts.evidence(&require), trips: Vec::new() };
        let decisions = self.course.move_on(elapsed_ms, seen);
        if had_ramp && self.course.state.ramp.is_none() {
            let now = self.course.wall_ms();
            if let Some(stage) = self.timeline.stages.last_mut() {
                stage.ramp_ends_ms.get_or_insert(now);
            }
        }
        self.fill();
        for decision in &decisions {
            self.decided_ms = self.course.now_ms();
            if !self.follow(decision) {
                return false;
            }
        }
        self.is_on_its_way()
    }

    /// The figures of the stage where it is.
    fn fill(&mut self) {
        let (requests, callers) = (whole(self.counts.requests - self.before), self.counts.callers());
        if let Some(stage) = self.timeline.stages.last_mut() {
            (stage.requests, stage.callers) = (requests, callers);
        }
    }

    fn follow(&mut self, decision: &RolloutDecision) -> bool {
        let now = self.course.wall_ms();
        if enters(decision.act) {
            if let Some(stage) = self.timeline.stages.last_mut() {
                stage.leaves_ms = Some(now);
            }
            let name = decision.state.stage.clone();
            self.timeline.stages.push(StageTimes { name, enters_ms: now, ..StageTimes::default() });
            self.before = self.counts.requests;
            self.counts.enter_stage();
        }
        if decision.act == RolloutVerb::Complete {
            if let Some(stage) = self.timeline.stages.last_mut() {
                stage.leaves_ms = Some(now);
            }
            self.timeline.complete_ms = Some(now);
            return false;
        }
        true
    }

    /// Whether it waits for what does not come by itself.
    fn waits_in_vain(&self) -> bool {
        self.course.blocks.iter().any(|block| match block.kind {
            BlockKind::Requests | BlockKind::Evidence => self.counts.is_silent(),
            BlockKind::Expired | BlockKind::MaxWeight => true,
            BlockKind::Duration
            | BlockKind::Shadow
            | BlockKind::Webhook
            | BlockKind::Prometheus
            | BlockKind::NotBefore
            | BlockKind::Freeze
            | BlockKind::Tenants
            | BlockKind::Requires
            | BlockKind::Endpoints
            | BlockKind::Stable
            | BlockKind::Config
            | BlockKind::Journal
            | BlockKind::Approval
            | BlockKind::Stopped => false,
        })
    }

    /// Whether it can come to its end.
    fn is_on_its_way(&mut self) -> bool {
        let stopped = match &self.course.state.phase {
            RolloutPhase::Held(held) => Some(format!("it is held ({}): {}", held.cause.name(), held.sentence)),
            RolloutPhase::RolledBack(back) => Some(format!("it is rolled back by {}: {}", back.by, back.sentence)),
            RolloutPhase::Killed => Some("a kill covers it".to_owned()),
            RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Complete => None,
        };
        let waits_for_date = self.course.blocks.iter().any(|block| block.until_ms.is_some());
        let waited_ms = self.course.now_ms() - self.decided_ms;
        let is_endless =
            self.course.now_ms() > DAYS_MAX || (!waits_for_date && (waited_ms > STAGE_MS_MAX || self.waits_in_vain()));
        let endless = || {
            let block = self.course.blocks.first();
            block.map_or_else(|| "it does not go on".to_owned(), |block| block.says.clone())
        };
        self.timeline.stuck = stopped.or_else(|| is_endless.then(endless));
        self.timeline.stuck.is_none()
    }
}
