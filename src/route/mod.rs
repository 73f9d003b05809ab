//! What a routes file *means*, as plain data, and the pure functions that decide with it.
//!
//! Nothing in this room does I/O, reads a clock or draws a random number: whatever a decision depends on is an
//! argument. The same functions route live traffic and answer `check`, `explain` and `what-if`.

mod bucket;
mod caller;
mod candidate;

mod conflict;
mod cookie;
mod copied;
mod covered;
mod decision;
mod describe;
mod difference;
mod edges;
mod explain;
mod facts;
mod forwarded;
mod grpc;
mod headers;
mod host;
mod index;
mod key;
mod lacking;
mod listener;
mod masks;
mod nearly;
mod needs;
mod overlay;
mod path;
mod predicate;
mod query;
mod question;
mod regexes;
mod replay;
mod rule;
mod rules;
mod sameness;
mod segment;
mod shadow;
mod table;
mod teller;
mod template;
#[cfg(test)]
mod tests;
mod traces;
mod tree;
mod unit;
mod untrusted;
mod upstream;
mod verified_cert;
mod what_if;

pub use bucket::{BUCKETS, Salt};
pub use caller::{Caller, ClientIp, Extractor, HostTemplate, Identity, PathTemplate, StickyKey};

pub use cookie::cookie;
pub use copied::Copied;
pub use decision::{Counted, Decision, Reason, Routed, Silent, Spread, Step, Trace, decide};
pub use difference::summary;
pub use explain::{Asked, Explanation, HeaderEdit, Matched, Outcome, Served, Told, explain, explain_briefly};
pub use facts::{Claims, Country, Facts, Needs, TokenFault};
pub use forwarded::{LastHop, Passed};
pub use grpc::{is_grpc, is_grpc_type};
pub use headers::HeaderEdits;
pub use host::{HostPattern, normal_host};
pub use index::{Index, Lookup};
pub use key::Key;
pub use listener::{AccessLog, ClientAuth, Limits, ListenerSpec, LogFormat, LogSink, TlsSpec, TlsVersion};
pub use masks::{MASKED_MIN, Masks, is_of_a_word};
pub use overlay::{ArmState, EffectiveConfig, Kill, Overlay, SplitState, Stop};
pub use path::{EncodedSlash, NormalPath, PathError, PathPattern, needless_escape, normal_path};
pub use predicate::{Head, Predicate, StringMatch};
pub use question::Question;
pub use replay::{Copies, Led, Noted, Replay, Replayed, Seen, replay};
pub use rule::{
    Action, Match, Place, Redirect, Rescue, Respond, Rewrite, Route, RouteLimits, Split, Target, Timeouts, Variant,
};
pub use rules::Rules;
pub use segment::{Segment, TenantList};
pub use shadow::{Compare, MARKER, SampleBy, Sampled, Sampling, Shadow, ShadowSpread, Unfit, sampled};
pub use template::{Part, Template, TemplateError, TemplateFault, Values};
pub use traces::{OtlpProtocol, TraceExport};
pub use unit::{Bucket, Generation, KeyHash, RouteId, SegmentId, UpstreamId, VariantId, Weight};
pub use untrusted::is_proxy_told;
pub use upstream::{
    Balance, ClientCert, ClientTls, Dns, EndpointHost, EndpointSpec, Protocol, ProxyProtocol, Upstream, UpstreamLimits,
};
pub use verified_cert::{CertField, VerifiedCert};
pub use what_if::{Comparison, Flow, Moved, MovedUpstream, RouteChange, compare};
