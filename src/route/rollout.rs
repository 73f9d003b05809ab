//! The plan of a release: `[rollout.NAME]`. Its progress is not here: the journal owns that.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{ClientTls, Freeze, Guards, RouteId, SourceLocation, VariantId, Weight};

/// `[rollout.NAME]`: a plan, with what only the compiled file knows.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// The name: of the release in the journal, and the salt of its buckets.
    pub name: String,
    /// The location in the file.
    pub place: SourceLocation,
    /// What a step of the state machine reads.
    pub plan: RolloutPlan,
    /// Who may approve, by role.
    pub approvers: Vec<ApproverRole>,
    /// Its own freeze windows; those of `[release]` hold in addition.
    pub freeze: Vec<Freeze>,
    /// The end of the last day of the plan, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
    /// The guards of all its routes together, and of each route where their scope says so. They name no variant.
    pub guards: Guards,
    /// Which of the guards judge each route on its own, by the index in `guards.all`.
    pub by_route: Vec<usize>,
    /// The guards that ask Prometheus.
    pub queries: Vec<QueryGuard>,
    /// Where the webhooks of its gates are.
    pub webhooks: Vec<WebhookTarget>,
    /// The ids of the receivers of its own notifications; those of `[notify]` get them too.
    pub notify: Vec<String>,
    /// The variants that it moves: one a route, the last of its route, in file order.
    pub members: Vec<RolloutMember>,
    /// For people.
    pub about: RolloutNotes,
}

/// A variant that a rollout moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutMember {
    /// Its route.
    pub route: RouteId,
    /// Itself.
    pub variant: VariantId,
}

/// What a plan says to people: nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutNotes {
    /// `owner`.
    pub owner: Option<String>,
    /// `ticket`.
    pub ticket: Option<String>,
    /// `zone`: the name of the time zone of its dates.
    pub zone: String,
    /// `expires` as it is written.
    pub expires: Option<String>,
    /// `change.visible`.
    pub visible: Option<bool>,
    /// `change.breaking`.
    pub breaking: Option<bool>,
    /// `change.reversible`.
    pub reversible: Option<bool>,
    /// `change.data`.
    pub data: Option<String>,
    /// `rehearsal`.
    pub rehearsal: bool,
}

/// A role that approves, with the people who fill it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApproverRole {
    /// The role, such as `tech-lead`.
    pub role: String,
    /// The names of the identities.
    pub people: Vec<String>,
}

/// What a step of the state machine reads of a plan. The journal records it with an automatic decision, so that the
/// decision can be made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutPlan {
    /// The stages, at least one, with rising weights and unique names.
    pub stages: Vec<Stage>,
    /// The ceiling, in millionths.
    pub max_weight: u32,
    /// The most distinct tenants that are exposed, before a raise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tenants: Option<u64>,
    /// The stages that other rollouts must have reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Requirement>,
    /// How long a rollback takes, in milliseconds; 0: at once.
    #[serde(default)]
    pub rollback_over_ms: u64,
    /// What follows when the evidence stays too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<Overdue>,
    /// What follows when no request comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_no_traffic: Option<Overdue>,
    /// One person may fill several roles of a stage.
    #[serde(default)]
    pub same_person: bool,
}

/// Another rollout that must have reached a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// The rollout.
    pub rollout: String,
    /// The stage.
    pub stage: String,
}

/// What follows when a stage waits for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overdue {
    /// After so much running time in the stage, in milliseconds.
    pub after_ms: u64,
    /// What follows.
    pub act: OverdueAct,
}

/// What follows when a stage waits for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverdueAct {
    /// It is held at its weight.
    Hold,
    /// It is rolled back.
    Rollback,
}

/// A stage of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The name, by which a stage is known.
    pub name: String,
    /// The weight, in millionths.
    pub weight: u32,
    /// How long the weight takes to get there, in milliseconds; 0: at once.
    #[serde(default)]
    pub ramp_ms: u64,
    /// Not entered before this moment, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// The least running time, in milliseconds, from the end of the ramp.
    #[serde(default)]
    pub min_duration_ms: u64,
    /// The least number of answered requests to the canary, from the end of the ramp. `None`: the default of
    /// [`Require`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
    /// The least number of distinct keys that were exposed in the stage. `None`: the default of [`Require`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_keys: Option<u64>,
    /// The evidence that it needs.
    #[serde(default)]
    pub require: Require,
    /// The gates that are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// The roles that approve, last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<String>,
    /// The percentage of callers that stays on stable at a weight of 100, in millionths.
    #[serde(default)]
    pub control: u32,
}

/// `require`: the evidence that a stage needs before it is left. All that is given must hold; of `non_inferior` and
/// `or_rate_below` one suffices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Require {
    /// Evidence that the ratio of the error rates is below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_inferior: Option<f64>,
    /// Or that the rate of errors is below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub or_rate_below: Option<f64>,
    /// The share of compared copies of the shadows that differ is at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_mismatch: Option<f64>,
}

/// `[[rollout.NAME.stage.gate]]`: a question to another program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// A webhook answers 2xx with `{"pass": true, "reason": "…"}`.
    Webhook {
        /// The URL, with secrets masked: the controller has the real one.
        url: String,
        /// How often it is asked, in milliseconds.
        every_ms: u64,
        /// How long an answer may take, in milliseconds.
        timeout_ms: u64,
    },
    /// A query of Prometheus has one value within bounds.
    Prometheus {
        /// The query.
        query: String,
        /// The largest value that passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
        /// The smallest value that passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// How often it is asked, in milliseconds.
        every_ms: u64,
    },
}

/// A guard that asks Prometheus. It has no stated rate of false alarms.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryGuard {
    /// The name, unique among the guards of the rollout.
    pub name: String,
    /// The location in the file.
    pub place: SourceLocation,
    /// The query.
    pub query: String,
    /// It trips above this.
    pub above: f64,
    /// When it has been above for so long.
    pub hold_for: Duration,
    /// How often it is asked.
    pub every: Duration,
    /// What follows.
    pub act: super::GuardAct,
}

/// A program that is asked over HTTP: a webhook, or Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTarget {
    /// The host: a name or an address, as written in the URL.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path with its query, from `/`.
    pub path: String,
    /// The TLS settings, for `https`.
    pub tls: Option<ClientTls>,
    /// Fields that each request carries.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// The webhook of a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookTarget {
    /// The index of the stage.
    pub stage: usize,
    /// The index of the gate in the stage.
    pub gate: usize,
    /// Where it is.
    pub target: HttpTarget,
}

impl RolloutPlan {
    /// The index of the stage with this name.
    #[must_use]
    pub fn find(&self, stage: &str) -> Option<usize> {
        self.stages.iter().position(|one| one.name == stage)
    }

    /// The ceiling.
    #[must_use]
    pub fn ceiling(&self) -> Weight {
        Weight::from_millionths(self.max_weight).unwrap_or(Weight::FULL)
    }
}

impl Stage {
    /// The weight.
    #[must_use]
    pub fn weight(&self) -> Weight {
        Weight::from_millionths(self.weight).unwrap_or(Weight::FULL)
    }
}
