//! Meters of shadows. At any instant `sampled = in_flight + sent + Σ dropped` and `sent = Σ completed`: a copy is
//! counted when it is sampled and once more when it ends, in one of two ways; the difference is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};
use std::time::Duration;

use super::{Counter, Gauge, Histogram, PerWorker, StatusClass};

/// Why a copy was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowDrop {
    /// The route had `max_in_flight` copies in flight.
    InFlightLimit,
    /// The bodies of all copies had reached the memory limit.
    ByteLimit,
    /// The request's body was larger than `max_body`.
    BodyTooLarge,
    /// No connection could be established.
    Connect,
    /// No response within `timeout`.
    Timeout,
    /// The connection was reset, or the response was not HTTP.
    Reset,
    /// The request was incomplete, or was never forwarded.
    Incomplete,
    /// The method is not one of `methods`.
    Method,
    /// `kill.all`, or a kill of the shadow.
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

    /// The label's value, and the name in the log.
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

/// Why a copy with a response was not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowUncompared {
    /// The response to the request itself was incomplete: the client or the upstream closed the connection.
    Primary,
    /// A response was larger than the comparison reads.
    TooLarge,
    /// The queue of comparisons was full.
    Busy,
    /// The memory limit of copies left no room for a response.
    NoRoom,
}

impl ShadowUncompared {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 4] = [Self::Primary, Self::TooLarge, Self::Busy, Self::NoRoom];

    /// The name in the report.
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

/// The outcome of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowEnd {
    /// It got a response with this status.
    Completed(u16),
    /// It was dropped.
    Dropped(ShadowDrop),
}

/// The meters of one worker for the shadow of one route.
#[derive(Debug, Default)]
pub struct ShadowMeter {
    sampled: Counter,
    dropped: [Counter; ShadowDrop::ALL.len()],
    completed: [Counter; StatusClass::ALL.len()],
    /// From sending a copy to the end of its response.
    pub duration: Histogram,
    /// Copies whose responses were passed on to be compared.
    pub compared: Counter,
    /// Copies whose responses were not compared, by [`ShadowUncompared`].
    pub uncompared: [Counter; ShadowUncompared::ALL.len()],
    /// Controls with a response, without one, and without a permit.
    pub controls: [Counter; 3],
    /// How far the share of this worker is below the configured one, in millionths.
    pub held_back: Gauge,
}

impl ShadowMeter {
    /// Counts a sampled request.
    pub fn sample(&self) {
        self.sampled.inc();
        // A reader that sees the end of a copy must also see that it was sampled.
        fence(Release);
    }

    /// Counts the end of a copy.
    pub fn end(&self, end: ShadowEnd) {
        match end {
            ShadowEnd::Completed(status) => self.completed[StatusClass::of(status) as usize].inc(),
            ShadowEnd::Dropped(reason) => self.dropped[reason as usize].inc(),
        }
    }
}

/// The meters of the shadow of one route, and the limits that its copies share across workers.
#[derive(Debug)]
pub struct ShadowSeries {
    /// The route's name.
    pub route: String,
    /// The name of the upstream that gets the copies.
    pub upstream: String,
    /// When counting started, since the Unix epoch.
    pub since: Duration,
    /// Its meters.
    pub meters: PerWorker<ShadowMeter>,
    /// Permits of copies in flight.
    pub copies: ShadowPlaces,
    /// Permits of controls in flight; the same number.
    pub controls: ShadowPlaces,
    bytes: Arc<ShadowBytes>,
}

/// Permits for concurrent copies, across all workers.
#[derive(Debug, Default)]
pub struct ShadowPlaces(AtomicU32);

impl ShadowPlaces {
    /// Whether fewer than `max` permits are in use. Another worker may acquire the last one in the next moment.
    #[must_use]
    pub fn has_room(&self, max: u32) -> bool {
        self.0.load(Relaxed) < max
    }

    /// Acquires one of `max` permits, if one is free.
    #[must_use]
    pub fn try_take(&self, max: u32) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |used| (used < max).then_some(used + 1)).is_ok()
    }

    /// Releases a permit.
    pub fn give_back(&self) {
        let before = self.0.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(1)));
        debug_assert!(before.is_ok_and(|used| used > 0), "only an acquired permit is released");
    }
}

/// The counts of a shadow at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowFigures {
    /// Sampled requests.
    pub sampled: u64,
    /// Copies in flight.
    pub in_flight: u64,
    /// Copies with a response.
    pub sent: u64,
    /// Dropped copies, by [`ShadowDrop`].
    pub dropped: [u64; ShadowDrop::ALL.len()],
    /// Copies with a response, by [`StatusClass`].
    pub completed: [u64; StatusClass::ALL.len()],
}

impl ShadowSeries {
    /// Creates the meters of the shadow of a route, which count from `since` on.
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

    /// The memory limit of all copies.
    #[must_use]
    pub fn bytes(&self) -> &Arc<ShadowBytes> {
        &self.bytes
    }

    /// The current share of copies for `weight` in the file, both 0 to 1: lower while the upstream has trouble. The
    /// mean over the workers that have copied a request.
    #[must_use]
    pub fn weight_actual(&self, weight: f64) -> f64 {
        let (sum, workers) = self
            .meters
            .used()
            .fold((0, 0_i32), |(sum, workers), meter| (sum + meter.held_back.value().max(0), workers + 1));
        let millionths = i32::try_from(sum).unwrap_or(i32::MAX);
        (weight - f64::from(millionths) / 1e6 / f64::from(workers.max(1))).max(0.0)
    }

    /// Reads the counts, which add up.
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
        // Ends are read before samples, so that no end is counted without its sample.
        fence(Acquire);
        figures.sampled = self.meters.used().map(|meter| meter.sampled.value()).sum();
        figures.sent = figures.completed.iter().sum();
        let ended = figures.sent + figures.dropped.iter().sum::<u64>();
        figures.in_flight = figures.sampled.saturating_sub(ended);
        figures
    }
}

/// The memory limit for the bodies of all copies.
#[derive(Debug)]
pub struct ShadowBytes {
    used: AtomicU64,
    max: u64,
}

impl ShadowBytes {
    /// A limit of `max` bytes.
    #[must_use]
    pub const fn new(max: u64) -> Self {
        Self { used: AtomicU64::new(0), max }
    }

    /// Acquires this many bytes, if they are available.
    #[must_use]
    pub fn try_take(&self, bytes: u64) -> bool {
        let max = self.max;
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        self.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Releases this many bytes.
    pub fn give_back(&self, bytes: u64) {
        let before = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
        debug_assert!(before.is_ok_and(|used| used >= bytes), "only acquired bytes are released");
    }

    /// The used bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The limit in bytes.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }
}

/// Acquired bytes of the limit; released on drop.
#[derive(Debug)]
pub struct ShadowHeld {
    of: Arc<ShadowBytes>,
    bytes: u64,
}

impl ShadowHeld {
    /// No bytes yet.
    #[must_use]
    pub const fn new(of: Arc<ShadowBytes>) -> Self {
        Self { of, bytes: 0 }
    }

    /// Acquires more bytes, if they are available.
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
        // A reload may have lowered the configured share.
        assert!(series.weight_actual(0.1).abs() < 1e-9);
    }

    #[test]
    fn permits_and_bytes_are_bounded() {
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
