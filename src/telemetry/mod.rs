//! Everything that tells: meters (written by the data plane, read by the control plane), the access log, and the
//! one place that names metrics.

mod access;
mod line;
mod meter;
mod series;
mod writer;

pub use access::{AccessEntry, Ender, LogBuffer, Termination};
pub use meter::{Counter, Gauge, Histogram};
pub use series::{
    Fallback, Labels, ListenerMeter, PerWorker, ReasonLabel, Refusal, Registry, StatusClass, UpstreamMeter,
    UpstreamSeries, VariantMeter, VariantSeries, WorkerMeter,
};
pub use writer::{LogSender, LogWriter};
