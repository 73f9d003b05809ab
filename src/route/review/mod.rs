//! Explanations: `explain`, `what-if`, and replay of access logs.

mod access_explain;
mod chosen_stage;
mod describe;
mod difference;
mod endpoint_difference;
mod equivalence;
mod explain;
mod explain_query;
mod explanation;
mod failure_explain;
mod guard_words;
mod limit_difference;
mod masked;
mod miss_reasons;
mod near_misses;
mod notify_difference;
mod recorder;
mod replay;
mod rollout_difference;
mod shadow_explain;
mod upstream_difference;
mod what_if;

pub use chosen_stage::{ChosenStage, at_stages};
pub use difference::summary;
pub use explain::{ExplainRequest, explain, explain_briefly};
pub use explain_query::ExplainQuery;
pub use explanation::{ExplainedOutcome, Explanation, HeaderEdit, MatchedRoute, ServedVariant};
pub use failure_explain::FailureExplanation;
pub use recorder::ExplainStep;
pub use replay::{CopyCounts, LoggedDecision, LoggedRequest, LoggedRoute, Replay, Replayed, replay};
pub use shadow_explain::ShadowExplanation;
pub use what_if::{ConfigDiff, Flow, Moved, MovedUpstream, RouteChange, compare};
