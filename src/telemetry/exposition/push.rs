//! Figures for a recorder of the embedding program: every family but those of the process is passed on through the
//! facade, again and again.
//!
//! Counters are set (`absolute`), gauges too. The facade takes no histogram that is in buckets already, so that what a
//! bucket has gained since the last time is recorded at its upper bound, and what is longer than the last bound at that.
//! Counts are exact; sums are too large by up to the width of a bucket for each duration, and too small for those that are
//! longer than the last bound. The facade cannot say that a series is gone: the recorder decides how long it keeps one that
//! is not set any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};

use super::expose::families;
use super::scrape::Scrape;
use crate::telemetry::Histogram;
use crate::telemetry::family::{CountedValue, FamilySink, Figure, FoldedHistogram, MetricKind};

/// A recorder of the embedding program.
pub type SharedRecorder = Arc<dyn Recorder + Send + Sync>;

/// Passes figures on to a recorder of the embedding program.
pub struct FigurePusher {
    recorder: SharedRecorder,
    pushed: Mutex<HashMap<Key, PushedHistogram>>,
}

/// What of a histogram's series has been passed on.
struct PushedHistogram {
    counts: [u64; Histogram::BOUNDS_US.len() + 1],
    round: Round,
}

/// Whether a series was there when figures were last passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    This,
    Before,
}

impl FigurePusher {
    /// Passes figures on to this recorder.
    #[must_use]
    pub fn new(recorder: SharedRecorder) -> Self {
        Self { recorder, pushed: Mutex::default() }
    }

    /// Passes all figures on as they are now, on the thread that calls it and for as long as the recorder takes.
    pub fn push(&self, scrape: Scrape<'_>) {
        let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        pushed.values_mut().for_each(|one| one.round = Round::Before);
        let head = FamilyHead { name: KeyName::from_const_str(""), kind: MetricKind::Gauge };
        families(&mut Pushing { recorder: &*self.recorder, head, pushed: &mut pushed }, scrape);
        pushed.retain(|_, one| one.round == Round::This);
    }
}

const METADATA: Metadata<'static> = Metadata::new("pointsman", Level::INFO, None);

/// Figures on their way.
struct Pushing<'a> {
    recorder: &'a dyn Recorder,
    head: FamilyHead,
    pushed: &'a mut HashMap<Key, PushedHistogram>,
}

/// The family that is passed on.
struct FamilyHead {
    name: KeyName,
    kind: MetricKind,
}

impl FamilySink for Pushing<'_> {
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

impl Pushing<'_> {
    fn key(&self, labels: &[(&'static str, &str)]) -> Key {
        let label = |(name, value): &(&'static str, &str)| Label::new(*name, (*value).to_owned());
        Key::from_parts(self.head.name.clone(), labels.iter().map(label).collect::<Vec<_>>())
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge of the facade is a float")]
    fn figure(&self, key: &Key, figure: Figure) {
        match figure {
            Figure::Count(count) if self.head.kind == MetricKind::Counter => {
                self.recorder.register_counter(key, &METADATA).absolute(count);
            }
            Figure::Count(level) => self.recorder.register_gauge(key, &METADATA).set(level as f64),
            Figure::Level(level) => self.recorder.register_gauge(key, &METADATA).set(level),
        }
    }

    fn durations(&mut self, key: &Key, folded: &FoldedHistogram) {
        let histogram = self.recorder.register_histogram(key, &METADATA);
        let counts = self.pushed.get(key).map_or([0; Histogram::BOUNDS_US.len() + 1], |pushed| pushed.counts);
        // Less than before: the series was gone in between, and has begun anew.
        let anew = folded.counts.iter().zip(counts).any(|(now, before)| *now < before);
        for (at, now) in folded.counts.iter().enumerate() {
            let gained = if anew { *now } else { *now - counts[at] };
            if gained > 0 {
                let bound_us = Histogram::BOUNDS_US[at.min(Histogram::BOUNDS_US.len() - 1)];
                let gained = usize::try_from(gained).unwrap_or(usize::MAX);
                histogram.record_many(Duration::from_micros(bound_us), gained);
            }
        }
        let pushed = PushedHistogram { counts: folded.counts, round: Round::This };
        match self.pushed.get_mut(key) {
            Some(known) => *known = pushed,
            None => drop(self.pushed.insert(key.clone(), pushed)),
        }
    }
}
