//! The state machine of the release of a static weight: what follows from a guard that trips, and from a canary that
//! accepts no connections. A step is a pure function of state, facts and time.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::guard_trip::GuardTrip;
use crate::route::GuardAct;

/// How long none of the endpoints of a canary may accept connections, before it is rolled back.
pub(super) const DOWN_MAX_MS: u64 = 10_000;
/// So often a hold takes the place of a rollback: a canary that comes and goes is rolled back then.
pub(super) const REFUSALS_MAX: u8 = 2;
/// In the place of a guard's name: none of the endpoints of the canary accepts connections.
pub const CANARY_DOWN: &str = "canary down";

/// Where the release of a static weight is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReleaseCourse {
    is_latched: bool,
    /// Held at 0 since this time, in milliseconds since the process started.
    down_since_ms: Option<u64>,
    /// The trip of a guard whose rollback waits for a usable endpoint of stable.
    waits: Option<Box<GuardTrip>>,
    /// The guards that have warned under this revision.
    warned: BTreeSet<String>,
    /// A guard has tripped while the variant got no requests.
    is_passed_over: bool,
    /// How often a hold has taken the place of a rollback under this revision.
    refusals: u8,
}

/// The phase of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleasePhase {
    /// No guard has tripped.
    Watching,
    /// A guard has tripped that does not act on the weight.
    Warned,
    /// Held at 0: none of its endpoints accepts connections.
    Down,
    /// Held at its weight: a rollback waits for a usable endpoint of stable.
    NoTarget,
    /// Rolled back.
    RolledBack,
}

/// What is known about a release at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReleaseFacts<'a> {
    /// The index of its variant.
    pub arm: usize,
    /// The time, in milliseconds since the process started.
    pub now_ms: u64,
    /// The guards that have tripped since the step before.
    pub trips: &'a [GuardTrip],
    /// Whether the file gives the variant requests, and no kill covers it.
    pub serves: bool,
    /// Whether a latch is in force for the revision.
    pub is_latched: bool,
    /// Whether stable has a usable endpoint.
    pub has_target: bool,
    /// The tries of its endpoints, where the last one at each did not connect; `None`: some endpoint accepts connections.
    pub down: Option<DownFacts>,
    /// What follows when the guard of errors trips; `None`: no such guard watches.
    pub errors: Option<GuardAct>,
    /// The names of the guards that count errors.
    pub error_guards: &'a [&'a str],
}

/// Endpoints of which none accepts connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct DownFacts {
    /// How many.
    pub endpoints: usize,
    /// The tries in all since one connected.
    pub tries: u64,
}

/// What a step decides.
#[derive(Clone, Debug, PartialEq)]
pub enum ReleaseDecision {
    /// A guard has tripped that does not act on the weight. Each guard once per revision.
    Warn(GuardTrip),
    /// The weight is 0 until an endpoint of the variant accepts connections.
    HoldAtZero(GuardTrip),
    /// A rollback has no target: the weight stays until stable has a usable endpoint.
    HoldForTarget(GuardTrip),
    /// The hold at 0 ends.
    Unhold,
    /// The variant gets no requests until a person resumes it, or until its upstream has another revision.
    RollBack(GuardTrip),
    /// The evidence of the variant begins anew: a guard has tripped while it got no requests, and now it gets some.
    BeginAnew,
}

/// The least tries by which a canary counts as down.
const TRIES_MIN: u64 = 3;

impl DownFacts {
    /// Whether this says that the canary is down.
    #[must_use]
    pub const fn is_down(self) -> bool {
        self.endpoints > 0 && self.tries >= TRIES_MIN
    }

    /// What was seen, in one sentence.
    pub(super) fn sentence(self) -> String {
        let of = if self.endpoints == 1 {
            "its endpoint does not".to_owned()
        } else {
            format!("none of its {} endpoints does", self.endpoints)
        };
        format!("{of} accept connections: {} tries in a row have failed", self.tries)
    }

    /// The counts by which it is decided again.
    pub(super) fn evidence(self) -> Value {
        let Self { endpoints, tries } = self;
        json!({ "test": CANARY_DOWN, "endpoints": endpoints, "tries": tries, "sentence": self.sentence() })
    }

    /// The same as a trip.
    fn trip(self, arm: usize, act: GuardAct) -> GuardTrip {
        let (guard, sentence) = (CANARY_DOWN.to_owned(), self.sentence());
        GuardTrip { arm, guard, route: None, act, sentence, evidence: self.evidence() }
    }
}

impl ReleaseCourse {
    /// The phase.
    #[must_use]
    pub fn phase(&self) -> ReleasePhase {
        if self.is_latched {
            ReleasePhase::RolledBack
        } else if self.down_since_ms.is_some() {
            ReleasePhase::Down
        } else if self.waits.is_some() {
            ReleasePhase::NoTarget
        } else if self.warned.is_empty() {
            ReleasePhase::Watching
        } else {
            ReleasePhase::Warned
        }
    }

    /// The next state, and what is to be done.
    #[must_use]
    pub fn step(&self, facts: &ReleaseFacts<'_>) -> (Self, Vec<ReleaseDecision>) {
        let (mut next, mut decisions) = (self.clone(), Vec::new());
        if facts.is_latched {
            next = Self { is_latched: true, ..Self::default() };
        } else if self.is_latched {
            // A person has resumed it: evidence begins anew.
            next = Self::default();
        }
        if facts.serves && std::mem::take(&mut next.is_passed_over) {
            decisions.push(ReleaseDecision::BeginAnew);
        }
        let mut refused = None;
        for trip in facts.trips {
            if next.is_refusal(trip, facts) {
                if next.down_since_ms.is_none() && refused.is_none() {
                    next.refusals += 1;
                }
                // The hold takes the place of the rollback, and evidence begins anew.
                (refused, next.is_passed_over) = (Some(trip), true);
            } else {
                next.follow_trip(trip, facts, &mut decisions);
            }
        }
        next.follow_canary(refused, facts, &mut decisions);
        if facts.serves
            && facts.has_target
            && let Some(trip) = next.waits.take()
        {
            next.roll_back(*trip, &mut decisions);
        }
        debug_assert!(!next.is_latched || next.down_since_ms.is_none(), "a latch takes the place of a hold");
        debug_assert!(!next.is_latched || next.waits.is_none(), "a latch is the rollback that was wanted");
        (next, decisions)
    }

    /// Whether the errors of a trip are connections that the canary refuses, so that it is held, not rolled back: with many
    /// requests a guard trips before there are enough tries to call the canary down.
    fn is_refusal(&self, trip: &GuardTrip, facts: &ReleaseFacts<'_>) -> bool {
        let may_hold = self.down_since_ms.is_some() || self.refusals < REFUSALS_MAX;
        !self.is_latched
            && may_hold
            && facts.serves
            && facts.has_target
            && facts.down.is_some()
            && (trip.act, facts.errors) == (GuardAct::Rollback, Some(GuardAct::Rollback))
            && facts.error_guards.contains(&trip.guard.as_str())
    }

    fn follow_trip(&mut self, trip: &GuardTrip, facts: &ReleaseFacts<'_>, decisions: &mut Vec<ReleaseDecision>) {
        if self.is_latched {
            return;
        }
        if !facts.serves {
            self.is_passed_over = true;
            return;
        }
        match trip.act {
            GuardAct::Warn | GuardAct::Hold => self.warn(trip.clone(), decisions),
            // The first one that wants a rollback is the one that is named.
            GuardAct::Rollback if self.waits.is_some() => {}
            GuardAct::Rollback if facts.has_target => self.roll_back(trip.clone(), decisions),
            GuardAct::Rollback => {
                decisions.push(ReleaseDecision::HoldForTarget(trip.clone()));
                self.waits = Some(Box::new(trip.clone()));
            }
        }
    }

    /// Holds a canary at 0 while none of its endpoints accepts connections, and rolls it back when that lasts.
    fn follow_canary(
        &mut self,
        refused: Option<&GuardTrip>,
        facts: &ReleaseFacts<'_>,
        decisions: &mut Vec<ReleaseDecision>,
    ) {
        let act = facts.errors.filter(|_| facts.serves && !self.is_latched);
        let is_held = self.down_since_ms.is_some();
        let down = facts.down.filter(|down| is_held || refused.is_some() || down.is_down());
        match (down.zip(act), self.down_since_ms) {
            (Some((down, GuardAct::Rollback)), None) if facts.has_target => {
                self.down_since_ms = Some(facts.now_ms);
                let trip = refused.cloned().unwrap_or_else(|| down.trip(facts.arm, GuardAct::Rollback));
                decisions.push(ReleaseDecision::HoldAtZero(trip));
            }
            (Some((down, GuardAct::Rollback)), Some(since_ms)) => {
                if facts.has_target && facts.now_ms.saturating_sub(since_ms) >= DOWN_MAX_MS {
                    self.roll_back(down.trip(facts.arm, GuardAct::Rollback), decisions);
                }
            }
            (Some((down, act @ (GuardAct::Warn | GuardAct::Hold))), None) => {
                self.warn(down.trip(facts.arm, act), decisions);
            }
            (Some((_, GuardAct::Warn | GuardAct::Hold)) | None, Some(_)) => {
                self.down_since_ms = None;
                decisions.push(ReleaseDecision::Unhold);
            }
            (Some((_, GuardAct::Rollback)) | None, None) => {}
        }
    }

    fn warn(&mut self, trip: GuardTrip, decisions: &mut Vec<ReleaseDecision>) {
        let is_new = self.warned.insert(trip.guard.clone());
        // A guard trips once until its evidence begins anew; that a canary is down is found at each step.
        if is_new || trip.guard != CANARY_DOWN {
            decisions.push(ReleaseDecision::Warn(trip));
        }
    }

    fn roll_back(&mut self, trip: GuardTrip, decisions: &mut Vec<ReleaseDecision>) {
        *self = Self { is_latched: true, ..Self::default() };
        decisions.push(ReleaseDecision::RollBack(trip));
    }
}
