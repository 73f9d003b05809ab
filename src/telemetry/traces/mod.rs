//! Traces: OTLP spans, and their export to a collector. Workers write spans into their own buffer and send it through a
//! bounded channel, as with the access log; what does not fit is dropped and counted. One thread exports them, so that
//! a slow collector slows no worker.

mod collector;
mod export;
mod proto;
mod sender;
mod span;

pub use collector::CollectorTls;
pub use export::{PreparedExport, TraceExporter};
pub use sender::{SpanBuffer, SpanCounts, SpanSender};
pub use span::{SpanAttributes, SpanKind, SpanStatus, TraceSpan};
