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
mod explanation;
mod facts;
mod forwarded;
mod grpc;
mod head;
mod headers;
mod host;
mod identity;
mod index;
mod key;
mod lacking;
mod listener;
mod masks;
mod nearly;
mod needs;
mod overlay;
mod path;
mod place;
mod predicate;
mod query;
mod question;
mod regexes;
mod replay;
mod rule;
mod rules;
mod sameness;
mod sampling;
mod shadow;
mod spread;
mod table;
mod teller;
mod template;
mod tenants;
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
pub use caller::{Caller, ClientIp};
pub use cookie::cookie;
pub use copied::Copied;
pub use decision::{Counted, Decision, Reason, Routed, Silent, Step, Trace, decide};
pub use difference::summary;
pub use explain::{Asked, explain, explain_briefly};
pub use explanation::{Explanation, HeaderEdit, Matched, Outcome, Served};
pub use facts::{Claims, Country, Facts, Needs, TokenFault};
pub use forwarded::{LastHop, Passed};
pub use grpc::{is_grpc, is_grpc_type};
pub use head::Head;
pub use headers::HeaderEdits;
pub use host::{HostPattern, normal_host};
pub use identity::{Extractor, HostTemplate, Identity, PathTemplate, StickyKey};
pub use index::Index;
pub use key::Key;
pub use listener::{AccessLog, ClientAuth, Limits, ListenerSpec, LogFormat, LogSink, TlsSpec, TlsVersion};
pub use masks::{MASKED_MIN, Masks, is_of_a_word};
pub use overlay::{ArmState, EffectiveConfig, Kill, Overlay, SplitState, Stop};
pub use path::{EncodedSlash, NormalPath, PathError, PathPattern, needless_escape, normal_path};
pub use place::Place;
pub use predicate::{Predicate, Segment, StringMatch};
pub use question::Question;
pub use replay::{Copies, Led, Noted, Replay, Replayed, Seen, replay};
pub use rule::{
    Action, Match, Redirect, Rescue, Respond, Rewrite, Route, RouteLimits, Split, Target, Timeouts, Variant,
};
pub use rules::Rules;
pub use sampling::{Sampled, Sampling, Unfit, sampled};
pub use shadow::{Compare, MARKER, SampleBy, Shadow};
pub use spread::{ShadowSpread, Spread};
pub use table::Lookup;
pub use teller::Told;
pub use template::{Part, Template, TemplateError, TemplateFault, Values};
pub use tenants::TenantList;
pub use traces::{OtlpProtocol, TraceExport};
pub use unit::{Bucket, Generation, KeyHash, RouteId, SegmentId, UpstreamId, VariantId, Weight};
pub use untrusted::is_proxy_told;
pub use upstream::{
    Balance, ClientCert, ClientTls, Dns, EndpointHost, EndpointSpec, Protocol, ProxyProtocol, Upstream, UpstreamLimits,
};
pub use verified_cert::{CertField, VerifiedCert};
pub use what_if::{Comparison, Flow, Moved, MovedUpstream, RouteChange, compare};
