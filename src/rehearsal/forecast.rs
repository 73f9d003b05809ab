//! How long each guard takes to find a fault, at the weight of each stage.

use super::fault::{FaultEffect, ReleaseFault};
use super::play::ReleasePlay;
use super::random::Random;
use super::report::RunQuantiles;
use super::scene::Scene;
use crate::route::{Guard, Stage};

/// The faults that are forecast.
const FAULTS: [&str; 4] = ["errors=2x", "errors=5x", "errors=100%", "slow=p99*2"];
/// With this share of errors where stable has none: so many times of none is none.
const FAULTS_WITHOUT_ERRORS: [&str; 4] = ["errors=1%", "errors=5%", "errors=100%", "slow=p99*2"];
/// How many plays a fault has in a stage.
const RUNS: u32 = 15;
/// No play is longer, in milliseconds.
const PLAY_MS_MAX: u64 = 3_600_000;
/// So many healthy releases are tried when guards stop them.
const HEALTHY_TRIES: u32 = 3;
/// A healthy release has so many steps at most: two weeks.
const HEALTHY_STEPS_MAX: u32 = 250_000;

/// What the guards would find in a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageForecast {
    /// The name of the stage.
    pub stage: String,
    /// Its guards, each with each fault.
    pub guards: Vec<GuardForecast>,
}

/// What a guard would find in a stage whose canary has a fault.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardForecast {
    /// The name of the guard.
    pub guard: String,
    /// The fault, as in [`ReleaseFault::text`](super::ReleaseFault).
    pub fault: String,
    /// How many releases were played.
    pub runs: u32,
    /// In how many the guard found the fault within the time of the stage, at most an hour.
    pub found: u32,
    /// Half of the plays found it within this time after the fault began, in milliseconds; `None`: fewer did.
    pub median_ms: Option<u64>,
    /// Nine in ten.
    pub p90_ms: Option<u64>,
    /// The median number of requests that the fault hurt until it was found, or until the play was over.
    pub requests: u64,
    /// The median number of distinct callers that it hurt.
    pub callers: u64,
}

/// What each guard would find in each stage with a weight, if the canary had the fault from the moment on when it enters the
/// stage, for at most an hour: short plays, which with the same seed give the same figures. Before, the release is healthy, with
/// the evidence of its earlier stages: stages that a healthy release does not enter within two weeks are not there. A run of
/// failures counts as the guard of errors.
#[must_use]
pub fn forecast(scene: &Scene<'_>, seed: u64) -> Vec<StageForecast> {
    let texts = if scene.errors() > 0.0 { FAULTS } else { FAULTS_WITHOUT_ERRORS };
    let faults: Vec<ReleaseFault> = texts.iter().filter_map(|text| ReleaseFault::parse(text).ok()).collect();
    let entered = entered(scene, seed);
    let stages = entered.iter().filter_map(|release| Some(StageEntry { scene, stage: release.stage()?, release }));
    stages
        .map(|entry| {
            let each = faults.iter().flat_map(|fault| forecast_fault(&entry, fault, seed));
            StageForecast { stage: entry.stage.name.clone(), guards: each.collect() }
        })
        .collect()
}

/// A healthy release that has entered a stage.
#[derive(Clone, Copy)]
struct StageEntry<'a, 'b> {
    scene: &'b Scene<'a>,
    stage: &'a Stage,
    release: &'b ReleasePlay<'a>,
}

/// A healthy release when it enters its stages with a weight: of some, the one that comes farthest.
fn entered<'a>(scene: &Scene<'a>, seed: u64) -> Vec<ReleasePlay<'a>> {
    let all = scene.rollout.plan.stages.iter().filter(|stage| stage.weight > 0).count();
    let mut farthest = Vec::new();
    for attempt in 0..HEALTHY_TRIES {
        let entered = entered_by_one(scene, all, Random::new(seed, RUNS + attempt));
        if entered.len() > farthest.len() {
            farthest = entered;
        }
        if farthest.len() == all {
            break;
        }
    }
    farthest
}

fn entered_by_one<'a>(scene: &Scene<'a>, all: usize, random: Random) -> Vec<ReleasePlay<'a>> {
    let mut release = ReleasePlay::new(*scene, random);
    let mut entered: Vec<ReleasePlay<'a>> = Vec::new();
    for _ in 0..HEALTHY_STEPS_MAX {
        let before = entered.last().and_then(ReleasePlay::stage).map(|stage| &stage.name);
        if release.stage().is_some_and(|stage| stage.weight > 0 && before != Some(&stage.name)) {
            entered.push(release.clone());
        }
        if entered.len() == all || release.over().is_some() {
            break;
        }
        release.move_on(release.calm_ms());
    }
    debug_assert!(entered.len() <= all, "each stage is entered once");
    entered
}

/// What a guard found in a play.
#[derive(Clone, Debug)]
struct Found {
    ms: Option<u64>,
    requests: u64,
    callers: u64,
}

fn forecast_fault(entry: &StageEntry<'_, '_>, fault: &ReleaseFault, seed: u64) -> Vec<GuardForecast> {
    let guards = concerned(entry, fault);
    if guards.is_empty() {
        return Vec::new();
    }
    let plays: Vec<Vec<Found>> =
        (0..RUNS).map(|run| play_stage(entry, fault, &guards, Random::new(seed, run))).collect();
    let one = |(at, guard): (usize, &&Guard)| {
        let found: Vec<&Found> = plays.iter().map(|play| &play[at]).collect();
        let times: Vec<u64> = found.iter().filter_map(|one| one.ms).collect();
        // Plays in which it is not found take longer than all others.
        let all = RunQuantiles::of(found.iter().map(|one| one.ms.unwrap_or(u64::MAX)));
        let known = |ms: Option<u64>| ms.filter(|ms| *ms < u64::MAX);
        GuardForecast {
            guard: guard.name.clone(),
            fault: fault.text.clone(),
            runs: RUNS,
            found: u32::try_from(times.len()).unwrap_or(u32::MAX),
            median_ms: known(all.median),
            p90_ms: known(all.p90),
            requests: RunQuantiles::of(found.iter().map(|one| one.requests)).median.unwrap_or(0),
            callers: RunQuantiles::of(found.iter().map(|one| one.callers)).median.unwrap_or(0),
        }
    };
    guards.iter().enumerate().map(one).collect()
}

/// The guards that count what the fault does, and that judge at the weight of the stage.
fn concerned<'a>(entry: &StageEntry<'a, '_>, fault: &ReleaseFault) -> Vec<&'a Guard> {
    let (guards, plan) = (&entry.scene.rollout.guards, &entry.scene.rollout.plan);
    let weight = entry.stage.weight.min(1_000_000_u32.saturating_sub(entry.stage.control)).min(plan.max_weight);
    let (is_near_full, has_control) = (weight >= 900_000, weight < 1_000_000);
    let shows = |effect: &FaultEffect, guard: &Guard| {
        guard.signal.and_then(|at| guards.signals.get(at)).is_some_and(|signal| effect.shows_in(signal))
    };
    let relative = |guard: &Guard| matches!(guard.test, crate::route::GuardTest::WorseThanStable(_));
    let all = guards.all.iter().filter(|guard| fault.effects.iter().any(|effect| shows(effect, guard)));
    all.filter(|guard| (!guard.near_full || is_near_full) && (!relative(guard) || has_control)).collect()
}

/// Plays a stage whose canary has the fault; each guard goes on after the trip of another one.
fn play_stage(entry: &StageEntry<'_, '_>, fault: &ReleaseFault, guards: &[&Guard], random: Random) -> Vec<Found> {
    let mut release = entry.release.with_fault(fault, random);
    let length_ms = entry.stage.min_duration_ms.clamp(600_000, PLAY_MS_MAX);
    let mut found: Vec<Option<Found>> = vec![None; guards.len()];
    let mut since_ms = 0;
    while since_ms < length_ms && found.iter().any(Option::is_none) {
        let step_ms = match since_ms {
            0..60_000 => 100,
            60_000..600_000 => 1_000,
            _ => 5_000,
        };
        since_ms += step_ms;
        let trips = release.stay(&entry.stage.name, step_ms);
        for trip in trips {
            let at = guards.iter().position(|guard| guard.name == trip.guard);
            if let Some(place) = at.and_then(|at| found.get_mut(at)) {
                place.get_or_insert(Found::of(&release, Some(since_ms)));
            }
        }
    }
    found.into_iter().map(|one| one.unwrap_or_else(|| Found::of(&release, None))).collect()
}

impl Found {
    fn of(release: &ReleasePlay<'_>, ms: Option<u64>) -> Self {
        let crowd = release.crowd();
        Self { ms, requests: crowd.hurt, callers: crowd.hurt_callers() }
    }
}
