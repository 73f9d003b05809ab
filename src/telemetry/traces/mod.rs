//! Traces: spans in the form of OTLP, and their way to a collector. Workers write spans into a buffer of their own and
//! hand it over through a bounded channel, as they do with the access log; what does not fit is dropped and counted. One
//! thread sends them, so that a slow collector slows nobody.

mod collector;
mod export;
mod proto;
mod sender;
mod span;

pub use collector::CollectorTls;
pub use export::{PreparedExport, TraceExporter};
pub use sender::{SpanBuffer, SpanCounts, SpanSender};
pub use span::{SpanAttributes, SpanKind, SpanStatus, TraceSpan};
