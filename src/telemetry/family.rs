//! Metric families: a name, a kind, a help text and series with labels. Code that lists families passes them to a
//! [`FamilySink`], which writes text or forwards to a recorder.

use metrics::{Key, KeyName};

use super::{Counter, Histogram};

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// The value of a counter or a gauge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    Count(u64),
    Level(f64),
}

impl From<u64> for Figure {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Figure {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Figure {
    fn from(level: f64) -> Self {
        Self::Level(level)
    }
}

impl From<i64> for Figure {
    #[expect(clippy::cast_precision_loss, reason = "bytes, seconds and counts far below 2^53")]
    fn from(level: i64) -> Self {
        u64::try_from(level).map_or(Self::Level(level as f64), Self::Count)
    }
}

impl From<u8> for Figure {
    fn from(count: u8) -> Self {
        Self::Count(count.into())
    }
}

/// The durations of several writers as one histogram, with the bounds of [`Histogram`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FoldedHistogram {
    /// The count of each bucket, not cumulative; the last one has no bound.
    pub counts: [u64; Histogram::BOUNDS_US.len() + 1],
    /// The sum in microseconds.
    pub sum_us: u64,
}

impl FoldedHistogram {
    /// Sums the histograms of several writers.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut folded = Self::default();
        for (counts, sum_us) in histograms.map(Histogram::read) {
            folded.counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            folded.sum_us += sum_us;
        }
        folded
    }
}

/// The value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CountedValue {
    Figure(Figure),
    Durations(FoldedHistogram),
}

/// A family of counters in meters of one kind: name, help text, and the counter of a meter.
pub(super) type CounterFamily<M> = (&'static str, &'static str, fn(&M) -> &Counter);

/// Receives families one after the other. A family without series is left out.
pub(super) trait FamilySink {
    /// Starts a family.
    fn family(&mut self, name: impl Into<KeyName>, kind: MetricKind, help: &str);

    /// Adds a counter or gauge.
    fn sample(&mut self, labels: &[(&'static str, &str)], figure: impl Into<Figure>);

    /// Adds a histogram.
    fn histogram(&mut self, labels: &[(&'static str, &str)], folded: &FoldedHistogram);

    /// Adds a series of a recorder.
    fn counted(&mut self, key: &Key, value: &CountedValue);
}
