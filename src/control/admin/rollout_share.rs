//! Which share of the requests the variants of a rollout get, as counted since the weights changed.

use std::collections::BTreeMap;

use super::format::ratio;
use crate::control::measure::VariantCounts;
use crate::control::state::ControlState;

/// The shares of all rollouts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MeasuredShares(BTreeMap<String, CountedRequests>);

/// Decided requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CountedRequests {
    /// To the variants of a rollout.
    own: u64,
    /// To all variants of its routes.
    all: u64,
}

impl MeasuredShares {
    /// Measures them.
    pub fn of(state: &ControlState) -> Self {
        let snapshot = state.snapshot();
        if snapshot.rules.rollouts.is_empty() {
            return Self::default();
        }
        let baselines = state.lock().baselines.clone();
        let mut shares = BTreeMap::new();
        for (route, entities) in snapshot.rules.routes.iter().zip(&*snapshot.routes) {
            let Some(split) = route.split() else { continue };
            let Some(rollout) = split.rollout else { continue };
            let series = split.variants.iter().zip(&*entities.series);
            let since = series.map(|(variant, series)| {
                baselines.since(&route.name, &variant.name, &VariantCounts::of(series)).counted
            });
            let counts: Vec<u64> = since.collect();
            let name = &snapshot.rules.rollout(rollout).name;
            let share: &mut CountedRequests = shares.entry(name.clone()).or_default();
            share.own += counts.last().copied().unwrap_or(0);
            share.all += counts.iter().sum::<u64>();
        }
        Self(shares)
    }

    /// The share of a rollout, 0 to 1; `None` before the first request.
    pub fn of_rollout(&self, name: &str) -> Option<f64> {
        let CountedRequests { own, all } = self.0.get(name)?;
        ratio(*own, *all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_needs_a_request() {
        let counted = [("a", CountedRequests { own: 5, all: 20 }), ("b", CountedRequests::default())];
        let shares = MeasuredShares(counted.map(|(name, counts)| (name.to_owned(), counts)).into());
        assert!(shares.of_rollout("a").is_some_and(|share| (share - 0.25).abs() < 1e-9));
        assert_eq!((shares.of_rollout("b"), shares.of_rollout("c")), (None, None));
    }
}
