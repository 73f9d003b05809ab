//! What a routes file *means*, as plain data, and the pure functions that decide with it.
//!
//! Nothing in this room does I/O, reads a clock or draws a random number: whatever a decision depends on is an
//! argument. The same functions route live traffic and answer `check`, `explain` and `what-if`.

mod decide;
mod listener;
mod lookup;
mod masks;
mod matching;
mod place;
mod review;
mod rule;
mod rules;
mod shadow;
#[cfg(test)]
mod tests;
mod traces;
mod unit;
mod upstream;

pub use decide::{
    ArmState, BUCKETS, Counted, Decision, EffectiveConfig, Key, Kill, Needs, Overlay, Reason, Routed, Salt, Sampled,
    Sampling, ShadowSpread, Silent, SplitState, Spread, Step, Stop, Trace, Unfit, decide, sampled,
};
pub use listener::{AccessLog, ClientAuth, Limits, ListenerSpec, LogFormat, LogSink, TlsSpec, TlsVersion};
pub use lookup::{Index, Lookup};
pub use masks::{MASKED_MIN, Masks, is_of_a_word};
pub use matching::{
    Caller, CertField, Claims, ClientIp, Country, EncodedSlash, Extractor, Facts, Head, HeaderEdits, HostPattern,
    HostTemplate, Identity, LastHop, NormalPath, Part, Passed, PathError, PathPattern, PathTemplate, Predicate,
    Segment, StickyKey, StringMatch, Template, TemplateError, TemplateFault, TenantList, TokenFault, Values,
    VerifiedCert, cookie, is_grpc, is_grpc_type, is_proxy_told, needless_escape, normal_host, normal_path,
};
pub use place::Place;
pub use review::{
    Asked, Comparison, Copied, Copies, Explanation, Flow, HeaderEdit, Led, Matched, Moved, MovedUpstream, Noted,
    Outcome, Question, Replay, Replayed, RouteChange, Seen, Served, Told, compare, explain, explain_briefly, replay,
    summary,
};
pub use rule::{
    Action, Match, Redirect, Rescue, Respond, Rewrite, Route, RouteLimits, Split, Target, Timeouts, Variant,
};
pub use rules::Rules;
pub use shadow::{Compare, MARKER, SampleBy, Shadow};
pub use traces::{OtlpProtocol, TraceExport};
pub use unit::{Bucket, Generation, KeyHash, RouteId, SegmentId, UpstreamId, VariantId, Weight};
pub use upstream::{
    Balance, ClientCert, ClientTls, Dns, EndpointHost, EndpointSpec, Protocol, ProxyProtocol, Upstream, UpstreamLimits,
};
