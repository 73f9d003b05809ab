//! The way of spans from a worker to the exporter: a buffer of the worker, and a channel that never blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use super::proto::Message;
use super::span::{SpanAttributes, TraceSpan};

/// Bound of the queue, in buffers.
pub(super) const QUEUED_BUFFERS_MAX: usize = 1_024;
/// Bound of the queue, in bytes.
const QUEUED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Counts of spans by outcome.
#[derive(Debug, Default)]
pub struct SpanCounts {
    pub(super) exported: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl SpanCounts {
    /// By outcome: `dropped` (the exporter was too slow), `exported`, `failed` (the collector did not accept them).
    #[must_use]
    pub fn by_outcome(&self) -> [(&'static str, u64); 3] {
        [
            ("dropped", self.dropped.load(Relaxed)),
            ("exported", self.exported.load(Relaxed)),
            ("failed", self.failed.load(Relaxed)),
        ]
    }
}

/// A batch of spans.
#[derive(Debug)]
pub(super) struct Batch {
    pub bytes: Vec<u8>,
    pub spans: u64,
}

/// Sends spans to the exporter. One for each worker.
#[derive(Clone, Debug)]
pub struct SpanSender {
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) queued_bytes: Arc<AtomicUsize>,
    pub(super) counts: Arc<SpanCounts>,
}

impl SpanSender {
    /// Sends the spans in the buffer; never blocks. What does not fit is dropped and counted.
    pub fn hand_over(&self, buffer: &mut SpanBuffer) {
        if buffer.spans == 0 {
            return;
        }
        let capacity = buffer.message.0.len();
        let bytes = std::mem::replace(&mut buffer.message.0, Vec::with_capacity(capacity));
        let (spans, len) = (std::mem::take(&mut buffer.spans), bytes.len());
        let fits = self.queued_bytes.fetch_add(len, Relaxed).saturating_add(len) <= QUEUED_BYTES_MAX;
        if !fits || self.batches.try_send(Batch { bytes, spans }).is_err() {
            self.queued_bytes.fetch_sub(len, Relaxed);
            self.counts.dropped.fetch_add(spans, Relaxed);
        }
    }
}

/// The spans of a worker that have not been sent.
#[derive(Debug, Default)]
pub struct SpanBuffer {
    message: Message,
    spans: u64,
}

impl SpanBuffer {
    /// Adds a span.
    pub fn push(&mut self, span: &TraceSpan<'_>, attributes: impl FnOnce(&mut SpanAttributes<'_>)) {
        span.write(&mut self.message, attributes);
        self.spans += 1;
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.message.0.len()
    }
}
