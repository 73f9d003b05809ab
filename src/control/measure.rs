//! Measured shares: the part of a route's weighted requests that each variant got, in total and since the weights
//! changed.
//!
//! Only requests that were decided by weight count (reason `weight`, and `stable` on the stable variant). Requests that
//! matched a target, hit a kill or had no sticky key say nothing about the weights.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::route::{EffectiveConfig, RouteId, RoutePairs};
use crate::snapshot::{RouteState, Snapshot};
use crate::stats::Failures;
use crate::telemetry::{Counter, Histogram, ReasonLabel, StatusClass, VariantMeter, VariantSeries};

/// The counts of one variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VariantCounts {
    /// All requests.
    pub requests: u64,
    /// Requests in the random sample.
    pub counted: u64,
    /// Failed requests: 5xx, aborted by the upstream, a gRPC status that blames the server, or answered by stable
    /// because the variant was unreachable.
    pub errors: u64,
    /// Requests of the random sample that were decided by weight, and how many of them failed.
    pub sample: Failures,
}

impl VariantCounts {
    /// Reads a series.
    #[must_use]
    pub fn of(series: &VariantSeries) -> Self {
        let mut sum = Self::default();
        series.meters.used().for_each(|meter| sum.add(meter));
        sum
    }

    fn add(&mut self, meter: &VariantMeter) {
        let unkeyed = meter.unkeyed.value();
        let mut counted = 0;
        for (reason, classes) in meter.requests.iter().enumerate() {
            let requests: u64 = classes.iter().map(Counter::value).sum();
            let name = ReasonLabel::name(reason);
            // A request that stable answered as fallback counts as failed, whatever the response.
            let failed =
                if name.ends_with("+fallback") { requests } else { classes[StatusClass::ServerError as usize].value() };
            self.requests += requests;
            self.errors += failed;
            match name {
                "weight" | "weight+fallback" => {
                    counted += requests;
                    self.sample.requests += requests;
                    self.sample.failed += failed;
                }
                "stable" | "stable+fallback" => counted += requests,
                _ => {}
            }
        }
        self.counted += counted.saturating_sub(unkeyed);
        let [outside, inside] = [&meter.failed_late[0], &meter.failed_late[1]].map(Counter::value);
        self.errors += outside + inside;
        self.sample.failed += inside;
    }

    /// The difference to earlier counts.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let sampled = self.sample.requests.saturating_sub(before.sample.requests);
        let failed = self.sample.failed.saturating_sub(before.sample.failed);
        Self {
            requests: self.requests.saturating_sub(before.requests),
            counted: self.counted.saturating_sub(before.counted),
            errors: self.errors.saturating_sub(before.errors),
            // The counters are read one after the other while workers count, so `failed` may be ahead.
            sample: Failures { requests: sampled, failed: failed.min(sampled) },
        }
    }
}

/// The durations of a variant's responses since the start, in the buckets of the metrics.
#[derive(Clone, Debug, Default)]
pub struct Durations([u64; Histogram::BOUNDS_US.len() + 1]);

impl Durations {
    /// The number of buckets.
    pub const BUCKETS: usize = Histogram::BOUNDS_US.len() + 1;

    /// Durations with these counts, by bucket.
    #[must_use]
    pub const fn new(counts: [u64; Self::BUCKETS]) -> Self {
        Self(counts)
    }

    /// The counts, by bucket.
    #[must_use]
    pub const fn counts(&self) -> &[u64; Self::BUCKETS] {
        &self.0
    }

    /// Reads a series.
    #[must_use]
    pub fn of(series: &VariantSeries) -> Self {
        let mut sum = Self::default();
        for meter in series.meters.used() {
            sum.0.iter_mut().zip(meter.duration.read().0).for_each(|(sum, count)| *sum += count);
        }
        sum
    }

    /// The quantile for this share in milliseconds, interpolated linearly within a bucket; `None` without responses.
    /// Durations above the last bound count as the last bound.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        debug_assert!((0.0..=1.0).contains(&share), "a share is between 0 and 1");
        let rank = share * float(self.0.iter().sum());
        let (mut below, mut from) = (0.0, 0.0);
        for (at, count) in self.0.iter().enumerate() {
            let to = Histogram::BOUNDS_US.get(at).map_or(from, |bound| float(*bound));
            let count = float(*count);
            if count > 0.0 && below + count >= rank {
                let us = from + (to - from) * ((rank - below) / count).clamp(0.0, 1.0);
                return Some((us / 10.0).round() / 100.0);
            }
            below += count;
            from = to;
        }
        None
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// The shares of a route's variants; `None` for each when nothing was counted.
#[must_use]
pub fn shares(counted: &[u64]) -> Vec<Option<f64>> {
    let all: u64 = counted.iter().sum();
    let share = |one: &u64| (all > 0).then(|| float(*one) / float(all));
    counted.iter().map(share).collect()
}

/// The counts at the last change of a route's weights, by route name and variant. A route without an entry started at
/// zero.
#[derive(Clone, Debug, Default)]
pub struct Baselines(HashMap<String, HashMap<String, VariantCounts>>);

impl Baselines {
    /// Stores the counts of routes whose weights differ from the old ones, and removes routes that no longer exist.
    /// `states` belong to the new rules.
    pub fn follow(&mut self, old: EffectiveConfig<'_>, new: EffectiveConfig<'_>, states: &[Arc<RouteState>]) {
        let pairs = RoutePairs::new(old.rules, new.rules);
        let mut kept = HashMap::new();
        for ((id, before), state) in pairs.all().zip(states) {
            let route = new.rules.route(id);
            let unchanged = before.is_some_and(|before| {
                has_same_split(old, before, new, id) || assignment(old, before) == assignment(new, id)
            });
            if unchanged {
                if self.0.is_empty() {
                    continue;
                }
                kept.extend(self.0.remove_entry(&route.name));
            } else {
                let now = counts_of(state);
                if !now.is_empty() {
                    kept.insert(route.name.clone(), now);
                }
            }
        }
        self.0 = kept;
    }

    /// Stores the counts of the routes whose weights, kills or latches differ between two snapshots of the same rules.
    pub fn follow_overlay(&mut self, old: &Snapshot, new: &Snapshot) {
        debug_assert!(Arc::ptr_eq(&old.rules, &new.rules), "an overlay keeps the rules");
        let changed = old.overlay.changed().iter().chain(new.overlay.changed()).map(|(route, _)| *route);
        let changed: BTreeSet<RouteId> = changed.collect();
        let differs = |route: &RouteId| assignment(old.effective(), *route) != assignment(new.effective(), *route);
        for route in changed.into_iter().filter(differs) {
            let state = &new.routes[route.0 as usize];
            self.0.insert(new.rules.route(route).name.clone(), counts_of(state));
        }
    }

    /// The counts of a variant since the weights last changed.
    #[must_use]
    pub fn since(&self, route: &str, variant: &str, now: &VariantCounts) -> VariantCounts {
        let before = self.0.get(route).and_then(|route| route.get(variant));
        before.map_or_else(|| now.clone(), |before| now.since(before))
    }
}

/// The counts of a route's variants that have any.
fn counts_of(state: &RouteState) -> HashMap<String, VariantCounts> {
    let now = state.series.iter().map(|series| (series.labels.variant.clone(), VariantCounts::of(series)));
    now.filter(|(_, counts)| counts.requests > 0).collect()
}

/// Whether a route is shared and has the same weights, kills and latches: a cheap comparison for most routes of a reload.
pub(super) fn has_same_split(old: EffectiveConfig<'_>, was: RouteId, new: EffectiveConfig<'_>, is: RouteId) -> bool {
    old.rules.route(was).is_shared_with(new.rules.route(is)) && old.overlay.split(was) == new.overlay.split(is)
}

/// Everything that decides which caller gets which variant by weight. When it changes, earlier measurements no longer
/// apply.
pub(super) fn assignment(config: EffectiveConfig<'_>, route: RouteId) -> Option<impl PartialEq> {
    let split = config.rules.route(route).split()?;
    let arms = split.variants.iter().zip(config.overlay.split(route).arms());
    let weights = arms.map(|(variant, arm)| (variant.name.as_str(), arm.weight, arm.killed, arm.latched));
    let key = (&split.salt, split.sticky.as_slice(), split.sticky_cookie.as_deref());
    Some((weights.collect::<Vec<_>>(), key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Reason;
    use crate::telemetry::{Fallback, Labels, PerWorker};
    fn series() -> VariantSeries {
        let labels = Labels { route: "r".into(), variant: "v".into() };
        VariantSeries { labels, meters: PerWorker::new(2) }
    }

    #[test]
    fn durations_are_found_in_their_bucket() {
        let series = series();
        assert_eq!(Durations::of(&series).quantile_ms(0.5), None);
        for ms in [1, 1, 20, 20, 20, 20, 20, 20] {
            series.meters.of(0).duration.record(std::time::Duration::from_millis(ms));
        }
        series.meters.of(1).duration.record(std::time::Duration::from_secs(99));
        let durations = Durations::of(&series);
        let median = durations.quantile_ms(0.5).unwrap();
        assert!((10.0..25.0).contains(&median), "{median}");
        assert_eq!(durations.quantile_ms(0.99), Some(30_000.0));
    }

    #[test]
    fn failures_of_every_kind_count_and_the_sample_is_counted_separately() {
        let series = series();
        let meter = series.meters.of(0);
        let at = |reason, fallback| ReasonLabel::of(reason, fallback).index();
        meter.requests[at(Reason::Weight, Fallback::No)][StatusClass::Success as usize].add(90);
        meter.requests[at(Reason::Weight, Fallback::No)][StatusClass::ServerError as usize].add(4);
        meter.requests[at(Reason::Weight, Fallback::Yes)][StatusClass::Success as usize].add(6);
        meter.requests[at(Reason::Target, Fallback::No)][StatusClass::ServerError as usize].add(10);
        meter.requests[at(Reason::Stable, Fallback::No)][StatusClass::Success as usize].add(5);
        meter.unkeyed.add(5);
        series.meters.of(1).failed_late[1].add(3);
        series.meters.of(1).failed_late[0].add(2);
        let counts = VariantCounts::of(&series);
        assert_eq!((counts.requests, counts.counted, counts.errors), (115, 100, 25));
        assert_eq!(counts.sample, Failures { requests: 100, failed: 13 });
        let before = counts.clone();
        meter.requests[at(Reason::Weight, Fallback::No)][StatusClass::Success as usize].add(1);
        let since = VariantCounts::of(&series).since(&before);
        assert_eq!((since.requests, since.errors, since.sample.requests), (1, 0, 1));
    }
}
