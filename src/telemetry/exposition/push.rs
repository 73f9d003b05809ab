//! Pushes the metrics to a recorder of the embedding program: every family except those of the process goes through the
//! facade, periodically.
//!
//! Counters are incremented by their increase since the last push, gauges are set. The facade takes no histogram with
//! buckets, so each push records the increase of a bucket at the bucket's upper bound; longer durations at the last
//! bound. Sums are too large by up to the width of a bucket for each duration, and too small for durations above the
//! last bound.
//!
//! A series starts again at zero when its route or upstream is removed and added again. A push detects this when the
//! series was missing in the push before, or has a value below the pushed one. A series that is replaced between two
//! pushes and has grown beyond the pushed value is not detected: its first counts, up to that value, are missing in the
//! recorder. The facade cannot remove a series: the recorder decides how long it keeps one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};

use super::expose::families;
use super::scrape::Scrape;
use crate::telemetry::Histogram;
use crate::telemetry::family::{CountedValue, FamilySink, Figure, FoldedHistogram, MetricKind};

/// A recorder of the embedding program.
pub type SharedRecorder = Arc<dyn Recorder + Send + Sync>;

/// Pushes metrics to a recorder of the embedding program.
pub struct FigurePusher {
    recorder: SharedRecorder,
    pushed: Mutex<PushedSeries>,
}

/// The pushed values of each counter and histogram.
#[derive(Default)]
struct PushedSeries {
    /// The number of the latest push.
    push: u64,
    counters: HashMap<Key, Pushed<u64>>,
    histograms: HashMap<Key, Pushed<BucketCounts>>,
}

type BucketCounts = [u64; Histogram::BOUNDS_US.len() + 1];

/// The pushed value of one series.
struct Pushed<T> {
    value: T,
    /// The number of the push that last contained the series.
    seen_in: u64,
}

impl FigurePusher {
    /// Creates a pusher for this recorder.
    #[must_use]
    pub fn new(recorder: SharedRecorder) -> Self {
        Self { recorder, pushed: Mutex::default() }
    }

    /// Starts a push, after the one in progress. Collect the values between this call and [`Push::figures`], so that a
    /// push never follows one with newer values.
    pub fn begin(&self) -> Push<'_> {
        let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        pushed.push += 1;
        let head = FamilyHead { name: KeyName::from_const_str(""), kind: MetricKind::Gauge };
        Push { recorder: &*self.recorder, head, pushed }
    }
}

const METADATA: Metadata<'static> = Metadata::new("pointsman", Level::INFO, None);

/// A push in progress.
pub struct Push<'a> {
    recorder: &'a dyn Recorder,
    head: FamilyHead,
    pushed: MutexGuard<'a, PushedSeries>,
}

impl Push<'_> {
    /// Pushes all metrics, on the calling thread and for as long as the recorder takes.
    pub fn figures(mut self, scrape: Scrape<'_>) {
        families(&mut self, scrape);
        let PushedSeries { push, counters, histograms } = &mut *self.pushed;
        counters.retain(|_, one| one.seen_in == *push);
        histograms.retain(|_, one| one.seen_in == *push);
    }
}

/// The current family.
struct FamilyHead {
    name: KeyName,
    kind: MetricKind,
}

impl FamilySink for Push<'_> {
    fn family(&mut self, name: impl Into<KeyName>, kind: MetricKind, help: &str) {
        let name = name.into();
        let help = SharedString::from_owned(help.to_owned());
        match kind {
            MetricKind::Counter => self.recorder.describe_counter(name.clone(), None, help),
            MetricKind::Gauge => self.recorder.describe_gauge(name.clone(), None, help),
            MetricKind::Histogram => self.recorder.describe_histogram(name.clone(), None, help),
        }
        self.head = FamilyHead { name, kind };
    }

    fn sample(&mut self, labels: &[(&'static str, &str)], figure: impl Into<Figure>) {
        self.figure(&self.key(labels), figure.into());
    }

    fn histogram(&mut self, labels: &[(&'static str, &str)], folded: &FoldedHistogram) {
        self.durations(&self.key(labels), folded);
    }

    fn counted(&mut self, key: &Key, value: &CountedValue) {
        match value {
            CountedValue::Figure(figure) => self.figure(key, *figure),
            CountedValue::Durations(folded) => self.durations(key, folded),
        }
    }
}

impl Push<'_> {
    fn key(&self, labels: &[(&'static str, &str)]) -> Key {
        let label = |(name, value): &(&'static str, &str)| Label::new(*name, (*value).to_owned());
        Key::from_parts(self.head.name.clone(), labels.iter().map(label).collect::<Vec<_>>())
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge of the facade is a float")]
    fn figure(&mut self, key: &Key, figure: Figure) {
        match figure {
            Figure::Count(count) if self.head.kind == MetricKind::Counter => {
                self.count(key, count);
            }
            Figure::Count(level) => self.recorder.register_gauge(key, &METADATA).set(level as f64),
            Figure::Level(level) => self.recorder.register_gauge(key, &METADATA).set(level),
        }
    }

    fn count(&mut self, key: &Key, count: u64) {
        let counter = self.recorder.register_counter(key, &METADATA);
        let before = self.pushed.counters.get(key).map_or(0, |pushed| pushed.value);
        // Less than before: the series has started again.
        counter.increment(count.checked_sub(before).unwrap_or(count));
        let seen_in = self.pushed.push;
        store(&mut self.pushed.counters, key, Pushed { value: count, seen_in });
    }

    fn durations(&mut self, key: &Key, folded: &FoldedHistogram) {
        let histogram = self.recorder.register_histogram(key, &METADATA);
        let before = self.pushed.histograms.get(key).map_or([0; Histogram::BOUNDS_US.len() + 1], |pushed| pushed.value);
        // Less than before: the series has started again.
        let anew = folded.counts.iter().zip(before).any(|(now, before)| *now < before);
        for (at, now) in folded.counts.iter().enumerate() {
            let gained = if anew { *now } else { *now - before[at] };
            if gained > 0 {
                let bound_us = Histogram::BOUNDS_US[at.min(Histogram::BOUNDS_US.len() - 1)];
                let gained = usize::try_from(gained).unwrap_or(usize::MAX);
                histogram.record_many(Duration::from_micros(bound_us), gained);
            }
        }
        let seen_in = self.pushed.push;
        store(&mut self.pushed.histograms, key, Pushed { value: folded.counts, seen_in });
    }
}

/// Stores the pushed value of a series. Clones the key only for a new series.
fn store<T>(all: &mut HashMap<Key, Pushed<T>>, key: &Key, pushed: Pushed<T>) {
    match all.get_mut(key) {
        Some(known) => *known = pushed,
        None => drop(all.insert(key.clone(), pushed)),
    }
}
