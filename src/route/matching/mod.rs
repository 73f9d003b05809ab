//! What is read of a request, and what can be asked of it: hosts, paths, fields, predicates, who its caller is, and
//! templates, which write what was read.

mod caller;
mod cookie;
mod facts;
mod forwarded;
mod grpc;
mod head;
mod headers;
mod host;
mod identity;
mod path;
mod predicate;
mod query;
mod template;
mod tenant_list;
mod untrusted;
mod verified_cert;

pub use caller::{Caller, ClientIp};
pub use cookie::cookie;
pub(super) use cookie::cookie_bytes;
pub use facts::{Claims, Country, Facts, TokenFault};
pub use forwarded::{ForwardingFields, LastHop};
pub use grpc::{is_grpc, is_grpc_type};
pub use head::RequestHead;
pub use headers::HeaderEdits;
pub use host::{HostPattern, normal_host};
pub(super) use identity::net_contains;
pub use identity::{Extractor, HostTemplate, Identity, PathTemplate, StickyKey};
pub(super) use path::whole;
pub use path::{EncodedSlash, NormalPath, PathError, PathPattern, needless_escape, normal_path};
pub(super) use predicate::all_match;
pub use predicate::{Predicate, Segment, StringMatch};
pub(super) use query::parameters;
pub use template::{Part, Template, TemplateError, TemplateFault, Values};
pub use tenant_list::TenantList;
pub use untrusted::needs_trusted_peer;
pub(super) use untrusted::{dropped, dropped_identity};
pub use verified_cert::{CertField, VerifiedCert};
