//! The metrics of this process.

use crate::telemetry::Process;
use crate::telemetry::family::{FamilySink, MetricKind};

pub(super) fn expose(out: &mut impl FamilySink, process: &Process) {
    out.family("process_cpu_seconds_total", MetricKind::Counter, "User and system CPU time.");
    out.sample(&[], process.cpu.as_secs_f64());
    out.family("process_resident_memory_bytes", MetricKind::Gauge, "Resident memory.");
    out.sample(&[], process.resident_bytes);
    out.family("process_virtual_memory_bytes", MetricKind::Gauge, "Virtual memory.");
    out.sample(&[], process.virtual_bytes);
    out.family("process_open_fds", MetricKind::Gauge, "Open file descriptors.");
    out.sample(&[], process.open_files);
    if let Some(max) = process.open_files_max {
        out.family("process_max_fds", MetricKind::Gauge, "Limit of open file descriptors.");
        out.sample(&[], max);
    }
    out.family("process_start_time_seconds", MetricKind::Gauge, "When the process started, since the Unix epoch.");
    out.sample(&[], process.started_at.as_secs_f64());
    out.family("process_threads", MetricKind::Gauge, "Threads.");
    out.sample(&[], process.threads);
}
