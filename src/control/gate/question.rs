//! What other programs are asked, and what they answer.

use std::time::Duration;

use crate::route::HttpTarget;

/// A question that is asked again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which one.
    pub id: QuestionId,
    /// What is asked.
    pub asked: Asked,
    /// How often it is asked; the first time at once.
    pub every: Duration,
}

/// Which gate or guard asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuestionId {
    /// The gate with this index of a stage.
    Gate { rollout: String, stage: String, gate: usize },
    /// A guard.
    Guard { rollout: String, guard: String },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A webhook, with this body: a JSON object.
    Webhook { target: HttpTarget, body: String },
    /// Prometheus.
    Prometheus { target: HttpTarget, query: String },
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Replied {
    /// Which one.
    pub id: QuestionId,
    /// What it says.
    pub reply: Reply,
    /// When it was asked, in milliseconds since the process started.
    pub asked_ms: u64,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The webhook answered, in a form that says something; the reason is shortened and without control characters.
    Webhook { pass: bool, reason: String },
    /// The query has this one value, which is finite.
    Value(f64),
    /// It did not answer, or not in a form that says anything: why, in one line without credentials.
    Failed(String),
}

impl Question {
    /// Whether an answer to the other question is one to this: at most the weight differs, which moves with a ramp.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let is_same = match (&self.asked, &other.asked) {
            (Asked::Webhook { target, body }, Asked::Webhook { target: other_target, body: other_body }) => {
                target == other_target && (body == other_body || without_weight(body) == without_weight(other_body))
            }
            (Asked::Prometheus { .. }, Asked::Prometheus { .. }) => self.asked == other.asked,
            (Asked::Webhook { .. }, Asked::Prometheus { .. }) | (Asked::Prometheus { .. }, Asked::Webhook { .. }) => {
                false
            }
        };
        is_same && self.id == other.id && self.every == other.every
    }
}

/// What the body of a webhook says beside the weight.
fn without_weight(body: &str) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| body.into());
    if let Some(object) = value.as_object_mut() {
        object.remove("weight");
    }
    value
}
