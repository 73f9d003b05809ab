//! Observability: meters (written by the data plane, read by the control plane), the access log, traces, and the one
//! place that names metrics.

mod access;
pub mod control;
mod distinct;
mod explained;
mod exposed_callers;
pub mod exposition;
mod family;
mod grpc;
pub mod guards;
mod ink;
mod latencies;
mod line;
mod log;
mod log_buffer;
mod meter;
mod process;
mod recorder;
mod sample;
mod screen;
mod series;
mod shadow;
mod short;
mod status_class;
mod tls;
mod traces;
mod unavailable;
mod upstream_tls;
mod window;
mod writer;

pub use access::{AccessEntry, AccessEvent, EndedBy, RequestEntry, Termination, TlsEntry, TryEntry};
pub use distinct::{DistinctSketch, MergedSketch};
pub use explained::explained;
pub use exposed_callers::ExposedCallers;
pub use grpc::{GrpcCounters, GrpcStatus};
pub use ink::Ink;
pub use latencies::{Latencies, LatencyCounts};
pub use log::{FILTER_VARIABLE, init_tracing};
pub use log_buffer::LogBuffer;
pub use meter::{Counter, Gauge, Histogram, PerWorker};
pub use process::{Process, memory_bytes};
pub use recorder::{ControlRecorder, CountedFamilies};
pub use sample::{DrawUnit, FIRSTS, Sample, SampleCounts, SampleMemory};
pub use screen::{Medium, Screen, Size, WRAP, columns};
pub use series::{
    Fallback, Labels, LimitMeter, ListenerMeter, MeterRegistry, NO_VARIANT, REST_BEAT, ReasonLabel, Refusal,
    RefusalMeter, UpstreamMeter, UpstreamSeries, VariantMeter, VariantSeries, WorkerMeter,
};
pub use shadow::{
    ShadowBytes, ShadowDrop, ShadowEnd, ShadowFigures, ShadowHeld, ShadowMeter, ShadowPlaces, ShadowSeries,
    ShadowUncompared,
};
pub use status_class::StatusClass;
pub use tls::{HandshakeFailure, TlsMeter};
pub use traces::{
    CollectorTls, PreparedExport, SpanAttributes, SpanBuffer, SpanCounts, SpanKind, SpanSender, SpanStatus,
    TraceExporter, TraceSpan,
};
pub use unavailable::UnavailableCause;
pub use upstream_tls::{FailureNovelty, LastTlsFailure, TlsFailure, TlsFailureLog};
pub use window::{
    EventQueues, FailureRun, GuardMemory, GuardTicket, GuardWatch, HeadWait, KeyTable, LOST_AFTER, ReportedSignals,
    RunView, StableAnswers, TableMemory, WatchView, WatchedCallers, WatchedEvent, WatchedKind,
};
pub use writer::{LogSender, LogWriter, openable};
