//! Everything that tells: meters (written by the data plane, read by the control plane), the access log, and the
//! one place that names metrics.

mod access;
mod meter;
mod series;

pub use access::{AccessEntry, Ender, LogBuffer, Termination};
pub use meter::{Counter, Gauge, Histogram};
pub use series::{
    Fallback, PerWorker, ReasonLabel,
    Labels, Registry, Refusal, StatusClass, UpstreamMeter, UpstreamSeries, VariantMeter, VariantSeries, WorkerMeter,
};
