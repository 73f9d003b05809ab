//! How a release stands: its state, and each guard with its evidence, counts and estimate, for output.

use std::time::Duration;

use crate::route::GuardAct;
use crate::stats::Estimate;

/// How a release stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseStanding {
    /// The route.
    pub route: String,
    /// The variant.
    pub variant: String,
    /// `upstream=revision`; without a revision the upstream alone.
    pub revision: String,
    /// The weight that is set, in percent.
    pub weight: f64,
    /// The state.
    pub state: ReleaseState,
    /// Its guards.
    pub guards: Vec<GuardStanding>,
}

/// The state of a release.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ReleaseState {
    /// Guards watch, and none has tripped.
    #[default]
    Watching,
    /// A guard has tripped that does not act on the weight.
    Warned(Warning),
    /// Held: at 0, or at its weight where a rollback has no target.
    Held(HoldCause),
    /// Rolled back: at 0 until a person resumes it, or until its upstream has another revision.
    RolledBack(Rollback),
}

/// A guard that has tripped without an act on the weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The guard.
    pub guard: String,
    /// What it saw, in one sentence.
    pub sentence: String,
    /// When: RFC 3339.
    pub at: String,
    /// The number of its record in the journal; `None` when there is none.
    pub seq: Option<u64>,
}

/// Why a release is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldCause {
    /// At 0: none of its endpoints could be reached at the last try.
    CanaryDown,
    /// At its weight: a guard wants a rollback, and stable has no usable endpoint.
    NoRollbackTarget(Warning),
}

/// A rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The guard, or the person.
    pub by: String,
    /// What the guard saw, in one sentence.
    pub sentence: String,
    /// When: RFC 3339.
    pub at: String,
    /// The number of its record in the journal; `None` when there is none.
    pub seq: Option<u64>,
    /// Whether the record is on the disk.
    pub durable: bool,
}

/// How a guard stands.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardStanding {
    /// The name.
    pub name: String,
    /// What it tests, such as `errors: at most 1.1 × stable`.
    pub test: String,
    /// What follows when it trips.
    pub act: GuardAct,
    /// The probability of a false alarm per revision; `None`: it has no stated one.
    pub alpha: Option<f64>,
    /// The state.
    pub state: GuardState,
    /// The decimal logarithm of the evidence E; 0: none.
    pub evidence_log10: f64,
    /// The decimal logarithm at which it trips: `log10(1/alpha)`.
    pub threshold_log10: f64,
    /// The callers of the variant: exposed, and with an event.
    pub tested: ArmCounts,
    /// Those of stable.
    pub stable: ArmCounts,
    /// The ratio of the rates with its interval; `None` without events.
    pub estimate: Option<Estimate>,
    /// The time from which a response is slow, for a guard of slow responses.
    pub slow_after: Option<Duration>,
    /// In one sentence, such as `errors 3.1 × stable (1.9 to 5.2): 14 of 4210 callers, 20 of 80100 on stable`.
    pub sentence: String,
}

/// The state of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// It watches.
    Watching,
    /// There is no exposure yet.
    NoData,
    /// There are too few callers to say anything.
    TooFew,
    /// Stable has too few responses for a threshold.
    WaitsForThreshold,
    /// The variant has had a weight for less than the warm-up.
    WarmingUp,
    /// More than half of stable's responses are slow: a new threshold is taken.
    ThresholdVoid,
    /// The weight is below 90: it does not judge yet.
    NotNearFull,
    /// Its tables found no memory.
    NoMemory,
    /// It has lost its marks or its sample: it goes on with the next revision.
    Stands,
    /// It has tripped.
    Tripped,
}

/// The callers of a variant, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArmCounts {
    /// Exposures: a caller counts once a second.
    pub exposures: u64,
    /// Callers with an event.
    pub events: u64,
}

impl ReleaseStanding {
    /// The name of the release: `route:variant`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.route, self.variant)
    }
}

impl ReleaseState {
    /// The words of the states in output.
    pub const NAMES: [&'static str; 4] = ["watching", "warned", "held", "rolled_back"];

    /// The words of the states in metrics.
    pub const LABELS: [&'static str; 5] = ["canary_down", "no_rollback_target", "rolled_back", "warned", "watching"];

    /// The word of the state in metrics: one of [`LABELS`](Self::LABELS).
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Warned(_) => "warned",
            Self::Held(HoldCause::CanaryDown) => "canary_down",
            Self::Held(HoldCause::NoRollbackTarget(_)) => "no_rollback_target",
            Self::RolledBack(_) => "rolled_back",
        }
    }

    /// The word in output.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Warned(_) => "warned",
            Self::Held(_) => "held",
            Self::RolledBack(_) => "rolled_back",
        }
    }
}

impl HoldCause {
    /// The words in output and in the journal.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CanaryDown => "canary down",
            Self::NoRollbackTarget(_) => "no rollback target",
        }
    }
}

impl GuardState {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Watching,
        Self::NoData,
        Self::TooFew,
        Self::WaitsForThreshold,
        Self::WarmingUp,
        Self::ThresholdVoid,
        Self::NotNearFull,
        Self::NoMemory,
        Self::Stands,
        Self::Tripped,
    ];

    /// Whether a guard in this state has evidence to show.
    #[must_use]
    pub const fn judges(self) -> bool {
        match self {
            Self::NoData | Self::NotNearFull | Self::WaitsForThreshold | Self::NoMemory => false,
            Self::Watching | Self::TooFew | Self::WarmingUp | Self::ThresholdVoid | Self::Stands | Self::Tripped => {
                true
            }
        }
    }

    /// The word in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::NoData => "no_data",
            Self::TooFew => "too_few",
            Self::WaitsForThreshold => "waits_for_threshold",
            Self::WarmingUp => "warming_up",
            Self::ThresholdVoid => "threshold_void",
            Self::NotNearFull => "not_near_full",
            Self::NoMemory => "no_memory",
            Self::Stands => "stands",
            Self::Tripped => "tripped",
        }
    }

    /// The words in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::NoData => "no data",
            Self::TooFew => "too few",
            Self::WaitsForThreshold => "waits for a threshold",
            Self::WarmingUp => "warming up",
            Self::ThresholdVoid => "threshold void",
            Self::NotNearFull => "not near 100 %",
            Self::NoMemory => "no memory",
            Self::Stands => "stands",
            Self::Tripped => "tripped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_words() {
        let [guard, sentence, at] = ["errors", "", ""].map(str::to_owned);
        let warning = Warning { guard, sentence, at, seq: None };
        let Warning { guard: by, sentence, at, .. } = warning.clone();
        let states = [
            ReleaseState::Watching,
            ReleaseState::Warned(warning.clone()),
            ReleaseState::Held(HoldCause::CanaryDown),
            ReleaseState::Held(HoldCause::NoRollbackTarget(warning)),
            ReleaseState::RolledBack(Rollback { by, sentence, at, seq: None, durable: false }),
        ];
        let mut labels: Vec<&str> = states.iter().map(ReleaseState::label).collect();
        labels.sort_unstable();
        assert_eq!(labels, ReleaseState::LABELS);
        assert!(states.iter().all(|state| ReleaseState::NAMES.contains(&state.name())));
        let is_word = |label: &str| label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(GuardState::ALL.iter().all(|state| is_word(state.label())));
    }
}
