//! What is counted about a rollout beside the tests of its guards.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::release::{SavedTenants, ShadowFacts};
use crate::shadow_compare::ShadowTally;
use crate::telemetry::{ExposedCallers, MergedSketch};

/// How often the copies of shadows are read, in milliseconds.
const SHADOWS_EVERY_MS: u64 = 1_000;
/// How often distinct keys are estimated, in milliseconds.
const KEYS_EVERY_MS: u64 = 500;

/// What is counted about a rollout.
#[derive(Debug, Default)]
pub(super) struct KeptRollout {
    pub answered: GrowingSum,
    shadows: StageShadows,
    /// What the workers have counted.
    exposed: Option<Arc<ExposedCallers>>,
    keys: StageKeys,
    tenants: RevisionTenants,
}

/// Distinct keys since the stage was entered: an estimate by `HyperLogLog`, with a standard error of 1.6 %.
#[derive(Clone, Copy, Debug, Default)]
struct StageKeys {
    read_ms: Option<u64>,
    count: u64,
}

/// Distinct tenants since the revision began.
#[derive(Debug, Default)]
struct RevisionTenants {
    /// The revision in effect.
    now: String,
    /// The revision that is counted.
    counted: Option<String>,
    /// What a process before has counted of it.
    before: Option<MergedSketch>,
}

/// A sum of counters that never falls: a route that is no longer there takes its counters away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GrowingSum {
    /// What went away.
    lost: u64,
    last: u64,
}

/// What was compared of the shadows of its routes since a stage was entered.
#[derive(Debug, Default)]
struct StageShadows {
    /// By route: the counts when the stage was entered.
    before: BTreeMap<String, ShadowFacts>,
    now: ShadowFacts,
    /// A stage is entered: the next counts are those of before.
    begins: bool,
    read_ms: Option<u64>,
}

impl KeptRollout {
    /// Follows a new configuration.
    pub fn follow(&mut self, exposed: Option<Arc<ExposedCallers>>, revision: String) {
        self.tenants.counted.get_or_insert_with(|| revision.clone());
        (self.exposed, self.tenants.now) = (exposed, revision);
    }

    pub fn enter_stage(&mut self) {
        self.shadows = StageShadows { begins: true, ..StageShadows::default() };
        self.keys = StageKeys::default();
        if let Some(exposed) = &self.exposed {
            exposed.begin_keys();
        }
    }

    /// The evidence begins anew. Under the same revision, tenants stay exposed.
    pub fn begin_anew(&mut self) {
        let tenants = &mut self.tenants;
        if tenants.counted.as_ref() != Some(&tenants.now) {
            (tenants.counted, tenants.before) = (Some(tenants.now.clone()), None);
            if let Some(exposed) = &self.exposed {
                exposed.begin_tenants();
            }
        }
    }

    /// Distinct keys since the stage was entered.
    pub fn keys(&mut self, now_ms: u64) -> u64 {
        let is_due = |read_ms: u64| now_ms >= read_ms.saturating_add(KEYS_EVERY_MS);
        if self.keys.read_ms.is_none_or(is_due) {
            let count = self.exposed.as_ref().map_or(0, |exposed| rounded(&exposed.keys()));
            self.keys = StageKeys { read_ms: Some(now_ms), count };
        }
        self.keys.count
    }

    fn all_tenants(&self) -> Option<MergedSketch> {
        let mut all = self.exposed.as_ref()?.tenants()?;
        if let Some(before) = &self.tenants.before {
            all.join(before);
        }
        Some(all)
    }

    /// Distinct tenants since the revision began; `None`: none was seen, or none is counted.
    pub fn tenants(&self) -> Option<u64> {
        self.all_tenants().map(|tenants| rounded(&tenants)).filter(|tenants| *tenants > 0)
    }

    /// The tenants, to be stored.
    pub fn save_tenants(&self) -> Option<SavedTenants> {
        let revision = self.tenants.counted.clone()?;
        Some(SavedTenants { revision, registers: self.all_tenants()?.to_text() })
    }

    /// Goes on with the tenants of a process before, if they are those of this revision.
    pub fn restore_tenants(&mut self, saved: &SavedTenants) {
        if self.tenants.counted.as_ref() == Some(&saved.revision) {
            self.tenants.before = MergedSketch::from_text(&saved.registers);
        }
    }

    /// What was compared since the stage was entered.
    pub fn shadows(&mut self, now_ms: u64, read: impl FnOnce() -> Vec<ShadowTally>) -> ShadowFacts {
        let shadows = &mut self.shadows;
        if shadows.read_ms.is_none_or(|read_ms| now_ms >= read_ms.saturating_add(SHADOWS_EVERY_MS)) {
            shadows.read_ms = Some(now_ms);
            shadows.follow(read());
        }
        shadows.now
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate is not negative, and finite")]
fn rounded(sketch: &MergedSketch) -> u64 {
    sketch.estimate().round() as u64
}

impl GrowingSum {
    /// The sum, for counters that have this sum now.
    pub fn follow(&mut self, now: u64) -> u64 {
        self.lost = self.lost.saturating_add(self.last.saturating_sub(now));
        self.last = now;
        self.lost.saturating_add(now)
    }
}

impl StageShadows {
    fn follow(&mut self, tallies: Vec<ShadowTally>) {
        let begins = std::mem::take(&mut self.begins);
        self.now = ShadowFacts::default();
        for ShadowTally { route, compared, different } in tallies {
            let all = ShadowFacts { compared, different };
            let before = self.before.entry(route).or_insert(if begins { all } else { ShadowFacts::default() });
            // It counts anew: another revision of the shadow, for example.
            if before.compared > compared || before.different > different {
                *before = ShadowFacts::default();
            }
            self.now.compared += compared - before.compared;
            self.now.different += different - before.different;
        }
        debug_assert!(self.now.different <= self.now.compared, "a copy that differs was compared");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(route: &str, compared: u64, different: u64) -> ShadowTally {
        ShadowTally { route: route.to_owned(), compared, different }
    }

    #[test]
    fn tenants_stay_over_stages_and_restarts_and_go_with_the_revision() {
        let hash = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.rotate_left(17);
        let exposed = || Some(Arc::new(ExposedCallers::of_tenants(1)));
        let begun = |revision: &str| {
            let mut rollout = KeptRollout::default();
            rollout.follow(exposed(), revision.to_owned());
            rollout
        };
        let mut rollout = begun("v2=1");
        assert_eq!(rollout.tenants(), None);
        let add = |rollout: &KeptRollout, tenants: std::ops::Range<u64>| {
            let exposed = rollout.exposed.as_ref().unwrap();
            tenants.for_each(|tenant| exposed.add_tenant(0, hash(tenant)));
        };
        add(&rollout, 0..20);
        rollout.begin_anew();
        rollout.enter_stage();
        let near = |rollout: &KeptRollout, count: u64| rollout.tenants().is_some_and(|some| some.abs_diff(count) <= 2);
        assert!(near(&rollout, 20), "{:?}", rollout.tenants());
        // A process after it.
        let saved = rollout.save_tenants().unwrap();
        let mut next = begun("v2=1");
        next.restore_tenants(&saved);
        add(&next, 10..30);
        assert!(near(&next, 30), "{:?}", next.tenants());
        let mut other = begun("v2=2");
        other.restore_tenants(&saved);
        assert_eq!(other.tenants(), None, "another revision");
        next.follow(next.exposed.clone(), "v2=2".to_owned());
        assert!(near(&next, 30), "until its evidence begins anew");
        next.begin_anew();
        assert_eq!(next.tenants(), None);
        let mut broken = begun("v2=1");
        broken.restore_tenants(&SavedTenants { registers: "?".to_owned(), ..saved });
        assert_eq!(broken.tenants(), None);
    }

    #[test]
    fn a_sum_never_falls() {
        let mut sum = GrowingSum::default();
        assert_eq!([5, 9, 2, 4, 0, 1].map(|now| sum.follow(now)), [5, 9, 9, 11, 11, 12]);
    }

    #[test]
    fn copies_count_from_the_entry_of_the_stage() {
        let mut rollout = KeptRollout::default();
        rollout.enter_stage();
        let facts = |compared, different| ShadowFacts { compared, different };
        assert_eq!(rollout.shadows(0, || vec![tally("a", 100, 7)]), facts(0, 0));
        assert_eq!(rollout.shadows(999, || panic!("once a second")), facts(0, 0));
        assert_eq!(rollout.shadows(1_000, || vec![tally("a", 150, 8), tally("b", 10, 1)]), facts(60, 2));
        assert_eq!(rollout.shadows(2_000, || vec![tally("a", 20, 3)]), facts(20, 3), "another revision");
        rollout.enter_stage();
        assert_eq!(rollout.shadows(2_100, || vec![tally("a", 30, 3)]), facts(0, 0));
        assert_eq!(rollout.shadows(3_100, Vec::new), facts(0, 0), "no data");
    }
}
