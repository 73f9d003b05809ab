//! What is known about a rollout at a step. The journal records it with an automatic decision, so that the decision can be
//! made again.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::route::GuardAct;

/// What is known about a rollout at a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutFacts {
    /// The name of the rollout, for the commands in sentences.
    #[serde(default)]
    pub rollout: String,
    /// The time, in milliseconds since the process started.
    pub now_ms: u64,
    /// The time, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Milliseconds since the step before, by the monotonic clock; 0 at the first.
    pub elapsed_ms: u64,
    /// The revisions under the rules in effect.
    pub revision: String,
    /// See above.
    pub stable: String,
    /// The guards that have tripped since the step before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trips: Vec<RolloutTrip>,
    /// What kills cover.
    pub kill: KillFacts,
    /// The endpoints of its canaries and of stable.
    pub endpoints: EndpointFacts,
    /// The freeze window in force, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<FreezeFact>,
    /// The plan has expired: as it is written, such as `2026-12-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<String>,
    /// A newer file is rejected and waits: what to mend, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_config: Option<String>,
    /// Why the journal cannot be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// The estimate of distinct tenants that were exposed since stage 0; `None`: no tenant was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<u64>,
    /// The requirements that are not met, each in one line, such as `cart-v2 is at stage internal, beta is required`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
    /// What was counted and judged about the stage.
    pub evidence: StageEvidence,
    /// By the index of the gate in the stage where it is: the last answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateAnswer>,
}

/// A guard that has tripped about a rollout, on any of its routes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutTrip {
    /// The name of the guard.
    pub guard: String,
    /// The route, where the guard judges each route on its own, or a canary that is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What follows.
    pub act: TripAct,
    /// The guard counts errors: a canary that refuses connections is held, not rolled back.
    #[serde(default)]
    pub counts_errors: bool,
    /// What it saw, in one sentence.
    pub sentence: String,
    /// The counts by which the trip is decided again.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub evidence: Value,
}

/// What follows from a trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TripAct {
    /// It is shown, logged and counted.
    Warn,
    /// The rollout is held at its weight.
    Hold,
    /// The rollout is rolled back.
    Rollback,
}

impl From<GuardAct> for TripAct {
    fn from(act: GuardAct) -> Self {
        match act {
            GuardAct::Warn => Self::Warn,
            GuardAct::Hold => Self::Hold,
            GuardAct::Rollback => Self::Rollback,
        }
    }
}

/// What kills cover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillFacts {
    /// The rollout, or a route or variant of it.
    pub own: bool,
    /// Everything: stage time stops.
    pub all: bool,
    /// What lifts it, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lift: Option<String>,
    /// What it covers, by whom and why, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl KillFacts {
    /// What covers the rollout, in one line.
    #[must_use]
    pub fn says(&self) -> &str {
        self.by.as_deref().unwrap_or("a kill covers it, or a route or variant of it")
    }
}

/// The endpoints of the canaries and of stable, over all routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFacts {
    /// Each stable has a usable endpoint.
    pub has_target: bool,
    /// Each canary has a usable endpoint.
    pub canary_usable: bool,
    /// Endpoints of canaries that are ejected, unhealthy or fail, such as `10.0.0.7:8080`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ejected: Vec<String>,
    /// Why a stable is in trouble, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_trouble: Option<String>,
    /// A canary of which no endpoint accepts connections: its route, the endpoints, and the failed tries in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<CanaryDown>,
}

/// A canary of which no endpoint accepts connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryDown {
    /// The route.
    pub route: String,
    /// How many endpoints.
    pub endpoints: usize,
    /// The failed tries in all since one connected.
    pub tries: u64,
    /// What follows when the guard of errors trips; `None`: no such guard watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<TripAct>,
}

/// A freeze window in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeFact {
    /// As it is written.
    pub text: String,
    /// Its end, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// What was counted and judged about a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageEvidence {
    /// Answered requests to the canary since the process started.
    pub answered: u64,
    /// Distinct keys that the canary got since the stage was entered, as estimated.
    pub keys: u64,
    /// Stable's rate of errors, 0 to 1; `None`: no request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_rate: Option<f64>,
    /// The test of `non_inferior`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_inferior: Option<PromotionTest>,
    /// The test of `or_rate_below`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_below: Option<PromotionTest>,
    /// Copies of the shadows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowFacts>,
}

/// The evidence of a test that lets a stage go on: it passes at [`PROMOTION_LOG10`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromotionTest {
    /// The bound.
    pub bound: f64,
    /// The decimal logarithm of the evidence.
    pub evidence_log10: f64,
    /// The counts by which it is computed again.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub counts: Value,
}

/// The decimal logarithm of 1/0.05, at which a [`PromotionTest`] passes.
pub const PROMOTION_LOG10: f64 = 1.301_029_995_663_981_2;

/// Copies of the shadows since the stage was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowFacts {
    /// Pairs of responses that were compared.
    pub compared: u64,
    /// Pairs that differ.
    pub different: u64,
}

/// The last answer of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// What it says.
    pub verdict: GateVerdict,
    /// Why, in one line: what the webhook wrote, the value, or what failed.
    pub sentence: String,
    /// When it was asked, in milliseconds since the process started; an answer older than three times its interval does
    /// not pass.
    pub asked_ms: u64,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Go on.
    Pass,
    /// Do not.
    Block,
    /// It was not asked yet.
    NotAsked,
    /// It did not answer, or not in a form that says anything: no success.
    Failed,
}
