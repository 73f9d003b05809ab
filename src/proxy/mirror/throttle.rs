//! Throttles the copies of a shadow that does not keep up. The throttle lowers the sampled share while copies fail, and
//! raises it while they succeed.

use std::cell::Cell;

/// After a failure the share is halved, at most once in this time.
const HALVE_EVERY_MS: u64 = 500;
/// Copies find no place in flight, or no memory, for this long before that is a failure.
const FULL_FOR_MS: u64 = 500;
/// Time from zero to the full share while copies succeed.
const RECOVERY_MS: f64 = 20_000.0;
/// The least part of the share that is sampled, to notice a recovery.
const FLOOR: f64 = 0.01;
/// At the least share, no copy follows another within this time. It bounds the copies of busy routes.
const PAUSE_MS: u64 = 250;
/// One request in this time is sampled although copies fail. It probes the shadows of quiet routes.
const PROBE_EVERY_MS: u64 = 1000;

/// The part of the share that is sampled. A failure halves it. It grows only after a success: copies to a shadow that
/// never responds are the most expensive, and such a shadow does not recover because time passes.
#[derive(Debug)]
pub(super) struct Throttle {
    part: Cell<f64>,
    at_ms: Cell<u64>,
    state: Cell<LastOutcome>,
    /// When a copy was last sampled.
    sampled_ms: Cell<u64>,
    halved_ms: Cell<Option<u64>>,
    /// Since when no copy has found a place in flight, or memory for its body.
    full_ms: Cell<Option<u64>>,
}

/// How the last copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastOutcome {
    Succeeding,
    Failing,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            part: Cell::new(1.0),
            at_ms: Cell::new(0),
            state: Cell::new(LastOutcome::Succeeding),
            sampled_ms: Cell::new(0),
            halved_ms: Cell::new(None),
            full_ms: Cell::new(None),
        }
    }
}

impl Throttle {
    pub(super) fn part(&self, now_ms: u64) -> f64 {
        // Each call credits the time since the last one, once.
        let since = now_ms.saturating_sub(self.at_ms.replace(now_ms));
        if self.state.get() == LastOutcome::Succeeding {
            let since = u32::try_from(since).unwrap_or(u32::MAX);
            self.part.set((self.part.get() + f64::from(since) / RECOVERY_MS).min(1.0));
        }
        self.part.get()
    }

    /// The part by which the next request is sampled, with the bounds for busy and quiet routes while copies fail.
    pub(super) fn part_of_next(&self, now_ms: u64) -> f64 {
        let (part, since) = (self.part(now_ms), now_ms.saturating_sub(self.sampled_ms.get()));
        match self.state.get() {
            // First, so that also a quiet route at the floor notices a recovery.
            LastOutcome::Failing if since >= PROBE_EVERY_MS => 1.0,
            LastOutcome::Failing if since < PAUSE_MS && part <= FLOOR => 0.0,
            LastOutcome::Failing | LastOutcome::Succeeding => part,
        }
    }

    pub(super) fn record_sample(&self, now_ms: u64) {
        self.sampled_ms.set(now_ms);
    }

    pub(super) fn record_success(&self, now_ms: u64) {
        // Before the change of state: the time of failures raises nothing.
        self.part(now_ms);
        self.state.set(LastOutcome::Succeeding);
    }

    /// Records a copy without a place in flight. The limit is made for short bursts, so only [`FULL_FOR_MS`] counts as
    /// failure.
    pub(super) fn record_full(&self, now_ms: u64) {
        let since = self.full_ms.get().unwrap_or(now_ms);
        self.full_ms.set(Some(since));
        if now_ms >= since + FULL_FOR_MS {
            self.record_failure(now_ms);
        }
    }

    /// Records a copy that got a place in flight.
    pub(super) fn record_free(&self) {
        self.full_ms.set(None);
    }

    pub(super) fn record_failure(&self, now_ms: u64) {
        // First credits the time of successes until now.
        let part = self.part(now_ms);
        self.state.set(LastOutcome::Failing);
        // When a shadow stops, all copies in flight fail together: they count as one failure.
        let recently = self.halved_ms.get().is_some_and(|halved| now_ms < halved + HALVE_EVERY_MS);
        if !recently {
            self.halved_ms.set(Some(now_ms));
            self.part.set((part / 2.0).max(FLOOR));
            debug_assert!((FLOOR..=1.0).contains(&self.part.get()), "the part stays between the floor and the whole");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    #[test]
    fn a_short_shortage_of_places_is_no_failure() {
        let throttle = Throttle::default();
        throttle.record_full(1000);
        throttle.record_full(1499);
        throttle.record_free();
        throttle.record_full(1500);
        throttle.record_full(1999);
        assert!((throttle.part(1999) - 1.0).abs() < 1e-9);
        throttle.record_full(2000);
        assert!((throttle.part(2000) - 0.5).abs() < 1e-9, "no copy found a place for half a second");
    }

    #[test]
    fn a_throttle_halves_and_recovers_when_a_copy_succeeds() {
        let throttle = Throttle::default();
        assert!((throttle.part(0) - 1.0).abs() < 1e-9);
        throttle.record_failure(1000);
        throttle.record_failure(1100);
        assert!((throttle.part(1100) - 0.5).abs() < 1e-9, "halved once");
        assert!((throttle.part(60_000) - 0.5).abs() < 1e-9, "time alone does not recover");
        throttle.record_success(60_000);
        assert!((throttle.part(60_500) - 0.525).abs() < 1e-9);
        throttle.record_failure(60_500);
        assert!((throttle.part(70_000) - 0.2625).abs() < 1e-9, "a failure ends the recovery");
        throttle.record_success(70_000);
        assert!((throttle.part(84_750) - 1.0).abs() < 1e-9, "the whole share again after the recovery");
    }

    /// Sends one request every `every_ms` during the period; `end` records each copy after 100 ms. Returns the number
    /// of copies.
    fn sampled_copies(throttle: &Throttle, period_ms: Range<u64>, every_ms: usize, end: fn(&Throttle, u64)) -> u32 {
        let (mut copies, mut due) = (0, std::collections::VecDeque::new());
        let mut drawn = 0.0;
        for now_ms in period_ms.step_by(every_ms) {
            while due.pop_front_if(|at| *at <= now_ms).is_some() {
                end(throttle, now_ms);
            }
            drawn += throttle.part_of_next(now_ms);
            if drawn >= 1.0 {
                drawn -= 1.0;
                throttle.record_sample(now_ms);
                copies += 1;
                due.push_back(now_ms + 100);
            }
        }
        copies
    }

    #[test]
    fn a_shadow_that_never_responds_gets_few_copies() {
        let throttle = Throttle::default();
        sampled_copies(&throttle, 0..5_000, 1, Throttle::record_failure);
        assert!((throttle.part(5_000) - FLOOR).abs() < 1e-9);
        let copies = sampled_copies(&throttle, 5_000..65_000, 1, Throttle::record_failure);
        assert!((120..=240).contains(&copies), "{copies} copies of 60 000 requests in a minute");
        assert!((throttle.part(65_000) - FLOOR).abs() < 1e-9);
        sampled_copies(&throttle, 65_000..86_000, 1, Throttle::record_success);
        assert!((throttle.part(86_000) - 1.0).abs() < 1e-9, "the whole share 21 seconds after the first response");
    }

    #[test]
    fn a_shadow_with_few_requests_is_probed_every_second() {
        let throttle = Throttle::default();
        sampled_copies(&throttle, 0..10_000, 200, Throttle::record_failure);
        assert!((throttle.part(10_000) - FLOOR).abs() < 1e-9);
        let copies = sampled_copies(&throttle, 10_000..70_000, 200, Throttle::record_failure);
        assert!((55..=70).contains(&copies), "{copies} copies of 300 requests");
        sampled_copies(&throttle, 70_000..92_000, 200, Throttle::record_success);
        assert!((throttle.part(92_000) - 1.0).abs() < 1e-9, "the whole share 22 seconds after the first response");
    }

    #[test]
    fn one_failure_in_twenty_throttles_little_and_one_success_in_twenty_much() {
        for (failures, at_least, at_most) in [(1_u64, 0.02, 0.6), (19, FLOOR, 0.03)] {
            let throttle = Throttle::default();
            for at in 0..6_000 {
                throttle.part(at * 10);
                if at % 20 < failures { throttle.record_failure(at * 10) } else { throttle.record_success(at * 10) }
            }
            let part = throttle.part(60_000);
            assert!((at_least..=at_most).contains(&part), "{failures} of 20 fail: {part}");
        }
    }
}
