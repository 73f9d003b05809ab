//! The compiled configuration as plain data, and the pure functions that decide with it.
//!
//! This room does no I/O, reads no clock and draws no random numbers: every input of a decision is an argument. The
//! same functions route live traffic and implement `check`, `explain` and `what-if`.

mod access_rule;
mod admin;
mod admin_token;
mod decide;
mod file_kills;
mod freeze;
mod guard;
mod health_check;
mod ids;
mod kill_scope;
mod listener;
mod lookup;
mod masks;
mod matching;
mod rate_limit;
mod receiver;
mod respond;
mod retry_policy;
mod review;
mod rollout;
mod route_pairs;
mod rule;
mod rules;
mod shadow;
mod source_location;
#[cfg(test)]
mod tests;
mod traces;
mod upstream;

pub use access_rule::{AccessRule, AccessVerdict, access};
pub use admin::{AdminSpec, StateSpec};
pub use admin_token::{AdminRole, AdminRoles, AdminToken, TokenList};
pub use decide::{
    ArmState, BUCKETS, CalledKill, Counted, Decision, EffectiveConfig, Key, Kill, Needs, NoTrace, Overlay, Reason,
    Routed, Salt, Sampling, SamplingInput, ShadowSpread, SplitState, Spread, Step, Stop, StoppedVariant, StreamPlace,
    Trace, Unfit, VariantWeight, decide, decide_sampling,
};
pub use file_kills::{FileKills, KilledTenants};
pub use freeze::{Freeze, FreezeSpan, Frozen, frozen};
pub use guard::{Guard, GuardAct, GuardTest, Guards, SIGNALS_MAX, Signal, SlowThreshold, StatusRange, TryOutcome};
pub use health_check::{GrpcProbe, HealthCheck, HealthProbe, HttpProbe};
pub use ids::{Bucket, Edition, Generation, KeyHash, RolloutId, RouteId, SegmentId, UpstreamId, VariantId, Weight};
pub use kill_scope::{FoundScope, KillScope, RouteNames, ScopeFault};
pub use listener::{AccessLog, ClientAuth, Limits, ListenerSpec, LogFormat, LogSink, TlsSpec, TlsVersion};
pub use lookup::{Index, Lookup};
pub use masks::{MASKED_MIN, Masks, is_word_byte};
pub use matching::{
    Caller, CallerOrigin, CertField, Claims, ClientIp, Country, EncodedSlash, Extractor, Facts, ForwardingFields,
    HeaderEdits, HostPattern, HostTemplate, Identity, LastHop, NormalPath, Part, PathError, PathPattern, PathTemplate,
    Predicate, RequestHead, RequestPlace, Segment, StickyKey, StringMatch, Template, TemplateError, TemplateFault,
    TenantList, TokenFault, Values, VerifiedCert, cookie, is_grpc, is_grpc_type, is_normal_path, needless_escape,
    needs_trusted_peer, normal_host, normal_path,
};
pub use rate_limit::{LoadPriority, Rate, RateKey, RateLimit, RateLimitMode, RateValue};
pub use receiver::{Notify, NotifySecret, Receiver, ReceiverKind};
pub use respond::Respond;
pub use retry_policy::{GRPC_STATUSES, Rescue, RetryCondition, RetryConditions, RetryMethods, RetryPolicy};
pub use review::{
    ChosenStage, ConfigDiff, CopyCounts, ExplainQuery, ExplainRequest, ExplainStep, ExplainedOutcome, Explanation,
    FailureExplanation, Flow, HeaderEdit, LoggedDecision, LoggedRequest, LoggedRoute, MatchedRoute, Moved,
    MovedUpstream, Replay, Replayed, RouteChange, ServedVariant, ShadowExplanation, at_stages, compare, explain,
    explain_briefly, replay, summary,
};
pub use rollout::{
    ApproverRole, Gate, HttpTarget, Overdue, OverdueAct, QueryGuard, Require, Requirement, Rollout, RolloutMember,
    RolloutNotes, RolloutPlan, Stage, WebhookTarget,
};
pub use route_pairs::{RouteMoves, RoutePairs};
pub use rule::{Action, Match, Redirect, Rewrite, Route, RouteLimits, RouteSpec, Split, Target, Timeouts, Variant};
pub use rules::Rules;
pub use shadow::{Compare, MARKER, SampleBy, Shadow};
pub use source_location::{RouteLine, SourceLocation};
pub use traces::{OtlpProtocol, TraceExport};
pub use upstream::{
    Balance, ClientCert, ClientTls, Dns, EndpointHost, EndpointRole, EndpointSpec, OutlierSettings, Protocol,
    ProxyProtocol, RetryBudgetSettings, Upstream, UpstreamLimits,
};
