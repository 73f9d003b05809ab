//! The recorder for what the control plane counts through `metrics`. It is passed to each count as a value, so that
//! several proxies in one process, such as tests, do not share counts.
//!
//! Counters and gauges are exact. Histograms are of durations in seconds, in the buckets of [`Histogram`], with the sum
//! in whole microseconds. A series exists from its first registration, even while it is 0, until
//! [`ControlRecorder::retain`] removes it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, CounterFn as _, Gauge, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::Histogram;
use super::family::{CountedValue, Figure, FoldedHistogram, MetricKind};

/// The recorder of the control plane.
#[derive(Debug, Default)]
pub struct ControlRecorder {
    families: Mutex<RecordedFamilies>,
}

#[derive(Debug, Default)]
struct RecordedFamilies {
    /// In order of registration.
    all: Vec<RecordedFamily>,
    /// The number of the next series.
    next: u64,
}

#[derive(Debug)]
struct RecordedFamily {
    name: KeyName,
    kind: MetricKind,
    help: SharedString,
    series: HashMap<Key, Series>,
}

#[derive(Debug)]
struct Series {
    /// The order of series within a family.
    number: u64,
    handle: Handle,
}

#[derive(Clone, Debug)]
enum Handle {
    Counter(Arc<AtomicU64>),
    /// The bits of a float.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<DurationBuckets>),
}

impl Handle {
    fn new(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter(Arc::default()),
            MetricKind::Gauge => Self::Gauge(Arc::default()),
            MetricKind::Histogram => Self::Histogram(Arc::default()),
        }
    }

    fn value(&self) -> CountedValue {
        match self {
            Self::Counter(count) => CountedValue::Figure(Figure::Count(count.load(Relaxed))),
            Self::Gauge(bits) => CountedValue::Figure(Figure::Level(f64::from_bits(bits.load(Relaxed)))),
            Self::Histogram(buckets) => CountedValue::Durations(buckets.read()),
        }
    }
}

/// Durations in buckets. Any number of writers.
#[derive(Debug, Default)]
struct DurationBuckets {
    counts: [AtomicU64; Histogram::BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl DurationBuckets {
    fn read(&self) -> FoldedHistogram {
        FoldedHistogram {
            counts: std::array::from_fn(|at| self.counts[at].load(Relaxed)),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

impl HistogramFn for DurationBuckets {
    fn record(&self, seconds: f64) {
        self.record_many(seconds, 1);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, which is meant")]
    fn record_many(&self, seconds: f64, count: usize) {
        let (us, count) = ((seconds * 1e6).round() as u64, count as u64);
        let at = Histogram::BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(Histogram::BOUNDS_US.len());
        self.counts[at].increment(count);
        self.sum_us.increment(us.saturating_mul(count));
    }
}

/// The values of a recorder at one moment.
#[derive(Clone, Debug, Default)]
pub struct CountedFamilies(Vec<CountedFamily>);

/// A family of them.
#[derive(Clone, Debug)]
pub(super) struct CountedFamily {
    pub name: KeyName,
    pub kind: MetricKind,
    pub help: SharedString,
    pub series: Vec<(Key, CountedValue)>,
}

impl CountedFamilies {
    /// Removes a family and returns it.
    pub(super) fn take(&mut self, name: &str) -> Option<CountedFamily> {
        let at = self.0.iter().position(|family| family.name.as_str() == name)?;
        Some(self.0.remove(at))
    }

    /// The families that were not taken.
    pub(super) fn into_rest(self) -> Vec<CountedFamily> {
        self.0
    }
}

impl ControlRecorder {
    /// Reads all values.
    #[must_use]
    pub fn read(&self) -> CountedFamilies {
        let family = |family: &RecordedFamily| {
            let mut series: Vec<_> = family.series.iter().collect();
            series.sort_by_key(|(_, one)| one.number);
            let series = series.into_iter().map(|(key, one)| (key.clone(), one.handle.value())).collect();
            CountedFamily { name: family.name.clone(), kind: family.kind, help: family.help.clone(), series }
        };
        CountedFamilies(self.families().all.iter().map(family).collect())
    }

    /// The value of this counter; 0 if it does not exist.
    pub(super) fn count(&self, key: &Key) -> u64 {
        let families = self.families();
        let family = families.all.iter().find(|family| family.name.as_str() == key.name());
        match family.and_then(|family| family.series.get(key)).map(|series| &series.handle) {
            Some(Handle::Counter(count)) => count.load(Relaxed),
            Some(Handle::Gauge(_) | Handle::Histogram(_)) | None => 0,
        }
    }

    /// Removes the series of a family that are not wanted.
    pub(super) fn retain(&self, family: &str, wanted: impl Fn(&Key) -> bool) {
        let mut families = self.families();
        let family = families.all.iter_mut().filter(|one| one.name.as_str() == family);
        family.for_each(|family| family.series.retain(|key, _| wanted(key)));
    }

    fn families(&self) -> MutexGuard<'_, RecordedFamilies> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &KeyName, kind: MetricKind, help: SharedString) {
        self.families().family(name, kind).help = help;
    }

    /// The handle of a series. Its variant differs from `kind` if the family was registered with another kind.
    fn handle(&self, key: &Key, kind: MetricKind) -> Handle {
        let mut families = self.families();
        let number = families.next;
        let family = families.family(&key.name_shared(), kind);
        if let Some(series) = family.series.get(key) {
            return series.handle.clone();
        }
        let handle = Handle::new(family.kind);
        family.series.insert(key.to_retained(), Series { number, handle: handle.clone() });
        families.next += 1;
        handle
    }
}

impl RecordedFamilies {
    /// The family of this name, which keeps the kind that it was registered with.
    fn family(&mut self, name: &KeyName, kind: MetricKind) -> &mut RecordedFamily {
        let known = self.all.iter().position(|family| family.name == *name);
        let at = known.unwrap_or_else(|| {
            let (name, help) = (name.to_retained(), SharedString::const_str(""));
            self.all.push(RecordedFamily { name, kind, help, series: HashMap::new() });
            self.all.len() - 1
        });
        &mut self.all[at]
    }
}

impl Recorder for ControlRecorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, MetricKind::Counter, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, MetricKind::Gauge, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, MetricKind::Histogram, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.handle(key, MetricKind::Counter) {
            Handle::Counter(count) => Counter::from_arc(count),
            Handle::Gauge(_) | Handle::Histogram(_) => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.handle(key, MetricKind::Gauge) {
            Handle::Gauge(bits) => Gauge::from_arc(bits),
            Handle::Counter(_) | Handle::Histogram(_) => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        match self.handle(key, MetricKind::Histogram) {
            Handle::Histogram(buckets) => metrics::Histogram::from_arc(buckets),
            Handle::Counter(_) | Handle::Gauge(_) => metrics::Histogram::noop(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_macros, reason = "the macros are tested here")]
mod tests {
    use metrics::{counter, describe_counter, gauge, histogram, set_default_local_recorder};
    use proptest::prelude::*;

    use super::*;

    fn series(recorder: &ControlRecorder, family: &str) -> Vec<(String, CountedValue)> {
        let label = |key: &Key| key.labels().map(|label| label.value().to_owned()).collect::<Vec<_>>().join(",");
        let family = recorder.read().take(family).expect("a family");
        family.series.into_iter().map(|(key, value)| (label(&key), value)).collect()
    }

    fn figure(figure: impl Into<Figure>) -> CountedValue {
        CountedValue::Figure(figure.into())
    }

    #[test]
    fn values_are_read_in_the_order_of_registration() {
        let recorder = ControlRecorder::default();
        let here = set_default_local_recorder(&recorder);
        describe_counter!("b_total", "Of b.");
        counter!("b_total", "x" => "z").increment(2);
        counter!("b_total", "x" => "a".to_owned()).increment(0);
        counter!("b_total", "x" => "z").increment(1);
        gauge!("a").set(1.5);
        drop(here);
        counter!("b_total", "x" => "z").increment(100);
        let expected = [("z".to_owned(), figure(3_u64)), ("a".to_owned(), figure(0_u64))];
        assert_eq!(series(&recorder, "b_total"), expected);
        assert_eq!(series(&recorder, "a"), [(String::new(), figure(1.5))]);
        let mut counted = recorder.read();
        assert_eq!(counted.take("b_total").map(|family| family.help.to_string()), Some("Of b.".to_owned()));
        assert_eq!(counted.into_rest().len(), 1, "a taken family is not among the rest");
    }

    #[test]
    fn recorders_of_two_threads_are_independent() {
        let one = |n: u64| {
            std::thread::spawn(move || {
                let recorder = ControlRecorder::default();
                let _here = set_default_local_recorder(&recorder);
                (0..n).for_each(|_| counter!("a_total").increment(1));
                recorder.count(&Key::from_static_name("a_total"))
            })
        };
        assert_eq!([one(3), one(5)].map(|thread| thread.join().expect("counted")), [3, 5]);
    }

    #[test]
    fn removed_series_are_gone_and_start_at_zero() {
        let recorder = ControlRecorder::default();
        let _here = set_default_local_recorder(&recorder);
        for name in ["a", "b"] {
            counter!("x_total", "name" => name).increment(1);
            counter!("y_total", "name" => name).increment(1);
        }
        recorder.retain("x_total", |key| key.labels().any(|label| label.value() == "b"));
        assert_eq!(series(&recorder, "x_total"), [("b".to_owned(), figure(1_u64))]);
        assert_eq!(series(&recorder, "y_total").len(), 2, "other families keep theirs");
        counter!("x_total", "name" => "a").increment(7);
        assert_eq!(series(&recorder, "x_total")[1], ("a".to_owned(), figure(7_u64)));
    }

    #[test]
    fn a_family_keeps_its_kind() {
        let recorder = ControlRecorder::default();
        let _here = set_default_local_recorder(&recorder);
        counter!("a_total").increment(1);
        gauge!("a_total").set(9.0);
        histogram!("a_total").record(9.0);
        assert_eq!(series(&recorder, "a_total"), [(String::new(), figure(1_u64))]);
    }

    proptest! {
        #[test]
        fn durations_fall_into_the_buckets_of_workers_and_sum_up_exactly(
            all in prop::collection::vec(0_u64..40_000_000, 0..50)
        ) {
            let (recorder, ours) = (ControlRecorder::default(), Histogram::default());
            let _here = set_default_local_recorder(&recorder);
            let theirs = histogram!("a_seconds");
            for us in &all {
                let took = std::time::Duration::from_micros(*us);
                ours.record(took);
                theirs.record(took);
            }
            let folded = FoldedHistogram::of([&ours].into_iter());
            prop_assert_eq!(series(&recorder, "a_seconds"), [(String::new(), CountedValue::Durations(folded))]);
        }
    }
}
