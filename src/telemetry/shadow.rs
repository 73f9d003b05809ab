//! What is counted of shadows. At any instant `sampled = in_flight + sent + Σ dropped` and `sent = Σ completed`: a copy is
//! counted when it is sampled and once more when it has ended, in one of two ways, and what lies between is read off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};
use std::time::Duration;

use super::{Counter, Gauge, Histogram, PerWorker, StatusClass};

/// Why a copy was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowDrop {
    /// `max_in_flight` copies of the route were under way.
    InFlightLimit,
    /// The bodies of all copies of the process held as many bytes as they may.
    ByteLimit,
    /// The request's body was larger than `max_body`.
    BodyTooLarge,
    /// No connection could be had.
    Connect,
    /// It was not answered within `timeout`.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Reset,
    /// The request did not come whole, or was never forwarded.
    Incomplete,
    /// The method is not one of `methods`.
    Method,
    /// `kill.all`.
    Killed,
    /// The proxy stopped.
    Shutdown,
}

impl ShadowDrop {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 10] = [
        Self::InFlightLimit,
        Self::ByteLimit,
        Self::BodyTooLarge,
        Self::Connect,
        Self::Timeout,
        Self::Reset,
        Self::Incomplete,
        Self::Method,
        Self::Killed,
        Self::Shutdown,
    ];

    /// The label's value, and the word in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InFlightLimit => "in_flight_limit",
            Self::ByteLimit => "byte_limit",
            Self::BodyTooLarge => "body_too_large",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Incomplete => "incomplete",
            Self::Method => "method",
            Self::Killed => "killed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Why a copy was answered and yet not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowUncompared {
    /// The answer to the request itself did not come whole: the client had gone, or the upstream had.
    Primary,
    /// An answer was larger than is looked at.
    TooLarge,
    /// More trials were waiting than may.
    Busy,
    /// The memory for copies had no room for an answer.
    NoRoom,
}

impl ShadowUncompared {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 4] = [Self::Primary, Self::TooLarge, Self::Busy, Self::NoRoom];

    /// The word in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary_incomplete",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::NoRoom => "no_room",
        }
    }
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowEnd {
    /// It was answered with this status.
    Completed(u16),
    /// It was dropped.
    Dropped(ShadowDrop),
}

/// What a worker counts for the shadow of one route.
#[derive(Debug, Default)]
pub struct ShadowMeter {
    sampled: Counter,
    dropped: [Counter; ShadowDrop::ALL.len()],
    completed: [Counter; StatusClass::ALL.len()],
    /// From sending a copy to the end of its answer.
    pub duration: Histogram,
    /// Copies that were answered and handed over to be compared.
    pub compared: Counter,
    /// Copies that were answered and not compared, by [`ShadowUncompared`].
    pub uncompared: [Counter; ShadowUncompared::ALL.len()],
    /// Controls that were answered, those that were not, and those that found no place.
    pub controls: [Counter; 3],
    /// By how many millionths the share of this worker lies below the one in the file.
    pub held_back: Gauge,
}

impl ShadowMeter {
    /// A request is within the share.
    pub fn sample(&self) {
        self.sampled.inc();
        // Whoever sees how it ended sees that it was sampled.
        fence(Release);
    }

    /// A copy has ended.
    pub fn end(&self, end: ShadowEnd) {
        match end {
            ShadowEnd::Completed(status) => self.completed[StatusClass::of(status) as usize].inc(),
            ShadowEnd::Dropped(reason) => self.dropped[reason as usize].inc(),
        }
    }
}

/// The meters of the shadow of one route, and what its copies share in the whole process.
#[derive(Debug)]
pub struct ShadowSeries {
    /// The route's name.
    pub route: String,
    /// The name of the upstream that gets the copies.
    pub upstream: String,
    /// Since when they count, since the Unix epoch.
    pub since: Duration,
    /// Its meters.
    pub meters: PerWorker<ShadowMeter>,
    /// The places of copies.
    pub copies: ShadowPlaces,
    /// Those of controls, which are as many.
    pub controls: ShadowPlaces,
    bytes: Arc<ShadowBytes>,
}

/// Places for what is under way in the whole process.
#[derive(Debug, Default)]
pub struct ShadowPlaces(AtomicU32);

impl ShadowPlaces {
    /// Whether one of `max` is free. The next moment it may be taken.
    #[must_use]
    pub fn has_room(&self, max: u32) -> bool {
        self.0.load(Relaxed) < max
    }

    /// Takes one of `max`, if one is free.
    #[must_use]
    pub fn try_take(&self, max: u32) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |used| (used < max).then_some(used + 1)).is_ok()
    }

    /// Gives one back.
    pub fn give_back(&self) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(1)));
    }
}

/// The figures of a shadow at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowFigures {
    /// Requests within the share.
    pub sampled: u64,
    /// Copies that have not ended.
    pub in_flight: u64,
    /// Copies that were answered.
    pub sent: u64,
    /// Those that were dropped, by [`ShadowDrop`].
    pub dropped: [u64; ShadowDrop::ALL.len()],
    /// Those that were answered, by [`StatusClass`].
    pub completed: [u64; StatusClass::ALL.len()],
}

impl ShadowSeries {
    /// The meters of the shadow of a route, which count from `since` on.
    #[must_use]
    pub fn new(route: &str, upstream: &str, since: Duration, workers: usize, bytes: &Arc<ShadowBytes>) -> Self {
        Self {
            route: route.to_owned(),
            upstream: upstream.to_owned(),
            since,
            meters: PerWorker::new(workers),
            copies: ShadowPlaces::default(),
            controls: ShadowPlaces::default(),
            bytes: Arc::clone(bytes),
        }
    }

    /// What all copies of the process may hold.
    #[must_use]
    pub fn bytes(&self) -> &Arc<ShadowBytes> {
        &self.bytes
    }

    /// The share of requests that is copied now, of `weight` in the file, both 0 to 1: less while the upstream has
    /// trouble. The mean over the workers that have copied anything.
    #[must_use]
    pub fn weight_actual(&self, weight: f64) -> f64 {
        let (sum, workers) = self
            .meters
            .used()
            .fold((0, 0_i32), |(sum, workers), meter| (sum + meter.held_back.value().max(0), workers + 1));
        let millionths = i32::try_from(sum).unwrap_or(i32::MAX);
        (weight - f64::from(millionths) / 1e6 / f64::from(workers.max(1))).max(0.0)
    }

    /// The figures, which add up.
    #[must_use]
    pub fn read(&self) -> ShadowFigures {
        let mut figures = ShadowFigures::default();
        for meter in self.meters.used() {
            for (sum, counter) in figures.dropped.iter_mut().zip(&meter.dropped) {
                *sum += counter.value();
            }
            for (sum, counter) in figures.completed.iter_mut().zip(&meter.completed) {
                *sum += counter.value();
            }
        }
        fence(Acquire);
        figures.sampled = self.meters.used().map(|meter| meter.sampled.value()).sum();
        figures.sent = figures.completed.iter().sum();
        let ended = figures.sent + figures.dropped.iter().sum::<u64>();
        figures.in_flight = figures.sampled.saturating_sub(ended);
        figures
    }
}

/// How many bytes the bodies of all copies of the process hold together.
#[derive(Debug)]
pub struct ShadowBytes {
    used: AtomicU64,
    max: u64,
}

impl ShadowBytes {
    /// At most so many.
    #[must_use]
    pub const fn new(max: u64) -> Self {
        Self { used: AtomicU64::new(0), max }
    }

    /// Takes so many, if there are as many.
    #[must_use]
    pub fn try_take(&self, bytes: u64) -> bool {
        let max = self.max;
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        self.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives so many back.
    pub fn give_back(&self, bytes: u64) {
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    /// How many are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// How many there may be.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }
}

/// Bytes that were taken of those; given back when dropped.
#[derive(Debug)]
pub struct ShadowHeld {
    of: Arc<ShadowBytes>,
    bytes: u64,
}

impl ShadowHeld {
    /// None yet.
    #[must_use]
    pub const fn new(of: Arc<ShadowBytes>) -> Self {
        Self { of, bytes: 0 }
    }

    /// Takes more, if there is as much.
    #[must_use]
    pub fn try_take(&mut self, bytes: u64) -> bool {
        let taken = self.of.try_take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for ShadowHeld {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_at_every_instant() {
        let series = Arc::new(ShadowSeries::new("r", "u", Duration::ZERO, 2, &Arc::new(ShadowBytes::new(10))));
        let writers: Vec<_> = (0..2)
            .map(|worker| {
                let series = Arc::clone(&series);
                std::thread::spawn(move || {
                    let mut random = fastrand::Rng::with_seed(worker as u64);
                    for _ in 0..20_000 {
                        let meter = series.meters.of(worker);
                        meter.sample();
                        meter.end(match random.u8(0..12) {
                            at @ 0..10 => ShadowEnd::Dropped(ShadowDrop::ALL[usize::from(at)]),
                            10 => ShadowEnd::Completed(200),
                            _ => ShadowEnd::Completed(503),
                        });
                    }
                })
            })
            .collect();
        let check = || {
            let figures = series.read();
            let dropped: u64 = figures.dropped.iter().sum();
            assert_eq!(figures.sampled, figures.in_flight + figures.sent + dropped);
            assert_eq!(figures.sent, figures.completed.iter().sum::<u64>());
            assert!(figures.in_flight <= 40_000, "{figures:?}");
            figures
        };
        while writers.iter().any(|writer| !writer.is_finished()) {
            check();
        }
        for writer in writers {
            writer.join().unwrap();
        }
        let last = check();
        assert_eq!((last.sampled, last.in_flight), (40_000, 0));
    }

    #[test]
    fn the_actual_weight_is_what_the_workers_copy() {
        let series = ShadowSeries::new("r", "u", Duration::ZERO, 2, &Arc::new(ShadowBytes::new(10)));
        assert!((series.weight_actual(0.5) - 0.5).abs() < 1e-9);
        series.meters.of(0).held_back.add(400_000);
        assert!((series.weight_actual(0.5) - 0.1).abs() < 1e-9);
        series.meters.of(1).held_back.add(0);
        assert!((series.weight_actual(0.5) - 0.3).abs() < 1e-9);
        // The file's share may have become less since.
        assert!(series.weight_actual(0.1).abs() < 1e-9);
    }

    #[test]
    fn places_and_bytes_are_bounded() {
        let bytes = Arc::new(ShadowBytes::new(10));
        let series = ShadowSeries::new("r", "u", Duration::ZERO, 1, &bytes);
        let copies = &series.copies;
        assert!(copies.try_take(2) && copies.try_take(2) && !copies.try_take(2) && !copies.has_room(2));
        copies.give_back();
        assert!(copies.has_room(2) && copies.try_take(2) && !copies.try_take(2) && series.controls.has_room(1));
        assert!(bytes.try_take(10) && !bytes.try_take(1) && !bytes.try_take(u64::MAX));
        bytes.give_back(4);
        assert_eq!((series.bytes().used(), series.bytes().try_take(4)), (6, true));
    }
}
