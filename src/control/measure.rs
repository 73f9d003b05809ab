//! Measured shares: what part of a route's weighted requests each variant got, in total and since the weights changed.
//!
//! Only requests that were decided by weight are counted (reason `weight`, and `stable` on the stable variant): callers
//! that were picked by hand, killed or without a sticky key say nothing about the weights.

use std::collections::HashMap;
use std::sync::Arc;

use crate::route::{Route, Rules, Weight};
use crate::telemetry::{ReasonLabel, StatusClass, VariantMeter, VariantSeries};

/// What a variant counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All its requests.
    pub requests: u64,
    /// Those that belong to the random sample.
    pub counted: u64,
    /// Those that were answered by 5xx.
    pub errors: u64,
}

impl Tally {
    /// Reads a series.
    #[must_use]
    pub fn of(series: &VariantSeries) -> Self {
        series.meters.used().map(Self::of_meter).fold(Self::default(), |sum, one| Self {
            requests: sum.requests + one.requests,
            counted: sum.counted + one.counted,
            errors: sum.errors + one.errors,
        })
    }

    fn of_meter(meter: &VariantMeter) -> Self {
        let mut tally = Self::default();
        for (reason, classes) in meter.requests.iter().enumerate() {
            let requests: u64 = classes.iter().map(crate::telemetry::Counter::value).sum();
            tally.requests += requests;
            if matches!(ReasonLabel::name(reason), "weight" | "weight+fallback" | "stable" | "stable+fallback") {
                tally.counted += requests;
            }
            tally.errors += classes[StatusClass::ServerError as usize].value();
        }
        tally.counted = tally.counted.saturating_sub(meter.unkeyed.value());
        tally
    }
}

/// The shares of a route's variants; nothing when nobody was counted.
#[must_use]
pub fn shares(counted: &[u64]) -> Vec<Option<f64>> {
    let all: u64 = counted.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a share is for people")]
    let share = |one: &u64| (all > 0).then(|| *one as f64 / all as f64);
    counted.iter().map(share).collect()
}

/// Counts at the time when a route's weights were last changed, by the route's name. A route that has none began at
/// zero.
#[derive(Clone, Debug, Default)]
pub struct Baselines(HashMap<String, HashMap<String, u64>>);

impl Baselines {
    /// Notes the counts of routes whose weights differ from the old rules', and forgets routes that are gone. `series`
    /// are those of the new rules.
    pub fn follow(&mut self, old: &Rules, new: &Rules, series: &[Box<[Arc<VariantSeries>]>]) {
        let before: HashMap<&str, &Route> = old.routes.iter().map(|route| (route.name.as_str(), route)).collect();
        let mut kept = HashMap::new();
        for (route, series) in new.routes.iter().zip(series) {
            let unchanged = before.get(route.name.as_str()).is_some_and(|old| weights(old) == weights(route));
            if unchanged {
                if let Some(same) = self.0.remove(&route.name) {
                    kept.insert(route.name.clone(), same);
                }
            } else {
                let now = series.iter().map(|series| (series.labels.variant.clone(), Tally::of(series).counted));
                let now: HashMap<String, u64> = now.filter(|(_, counted)| *counted > 0).collect();
                if !now.is_empty() {
                    kept.insert(route.name.clone(), now);
                }
            }
        }
        self.0 = kept;
    }

    /// What a variant had counted when the weights were last changed.
    #[must_use]
    pub fn of(&self, route: &str, variant: &str) -> u64 {
        self.0.get(route).and_then(|route| route.get(variant)).copied().unwrap_or(0)
    }
}

/// What decides about the shares of a route.
fn weights(route: &Route) -> Option<Vec<(&str, Weight, bool)>> {
    let split = route.split()?;
    let weights = split.variants.iter().map(|variant| (variant.name.as_str(), variant.weight, variant.killed));
    Some(weights.collect())
}
