//! Ten thousand releases, and what each kind of them comes to.

use std::collections::{BTreeMap, BTreeSet};

use pointsman::release::{BlockKind, RolloutVerb};

use super::release::{Release, ReleaseOutcome};
use super::release_plan::ReleaseKind;

const RELEASES: u64 = 10_000;

/// Says which release failed.
struct Playing {
    seed: u64,
    kind: ReleaseKind,
}

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the release that failed: Release::new({}, ReleaseKind::{:?}).run()", self.seed, self.kind);
        }
    }
}

fn play(seed: u64, kind: ReleaseKind) -> ReleaseOutcome {
    let playing = Playing { seed, kind };
    let outcome = Release::new(seed, kind).run();
    drop(playing);
    outcome
}

/// What releases of a kind came to.
#[derive(Debug, Default)]
struct Sum {
    releases: u64,
    phases: BTreeMap<&'static str, u64>,
    rolled_back: u64,
    by_errors: u64,
    hurt_most: f64,
}

#[test]
fn ten_thousand_releases_keep_the_laws() {
    let mut sums: BTreeMap<ReleaseKind, Sum> = BTreeMap::new();
    let mut acts: BTreeMap<RolloutVerb, u64> = BTreeMap::new();
    let mut blocks: BTreeSet<BlockKind> = BTreeSet::new();
    let (mut crashes, mut refused, mut replayed, mut steps) = (0, 0, 0, 0);
    for seed in 0..RELEASES {
        let kind = ReleaseKind::ALL[usize::try_from(seed).expect("a number") % ReleaseKind::ALL.len()];
        let outcome = play(seed, kind);
        let sum = sums.entry(kind).or_default();
        sum.releases += 1;
        *sum.phases.entry(outcome.phase).or_default() += 1;
        let by_guard =
            outcome.rolled_back_by.iter().any(|by| ["errors", "latency", "canary down"].contains(&by.as_str()));
        sum.rolled_back += u64::from(!outcome.rolled_back_by.is_empty());
        sum.by_errors += u64::from(by_guard);
        sum.hurt_most = sum.hurt_most.max(outcome.hurt);
        outcome.acts.iter().for_each(|(act, count)| *acts.entry(*act).or_default() += count);
        blocks.extend(outcome.blocks);
        (crashes, refused) = (crashes + outcome.crashes, refused + outcome.refused);
        (replayed, steps) = (replayed + outcome.replayed, steps + outcome.steps);
    }
    println!("{steps} steps, {crashes} crashes, {refused} refusals, {replayed} replayed\n{acts:?}\n{sums:#?}");
    for (kind, sum) in &sums {
        let share = sum.by_errors as f64 / sum.releases as f64;
        if kind.is_healthy() {
            assert!(share <= 0.005, "{kind:?}: false rollbacks: {sum:?}");
        } else {
            assert!(share >= 0.99, "{kind:?}: bad releases: {sum:?}");
        }
    }
    let complete = |kind| sums[&kind].phases.get("complete").copied().unwrap_or(0) as f64 / sums[&kind].releases as f64;
    assert!(complete(ReleaseKind::Healthy) >= 0.99, "{:?}", sums[&ReleaseKind::Healthy]);
    assert!(complete(ReleaseKind::CommonIncident) >= 0.3, "{:?}", sums[&ReleaseKind::CommonIncident]);
    assert!(complete(ReleaseKind::NoTraffic) < 0.1, "{:?}", sums[&ReleaseKind::NoTraffic]);
    assert!(crashes > 1_000 && refused > 1_000 && replayed > 5_000, "{crashes} {refused} {replayed}");
    let missing: Vec<RolloutVerb> = ACTS.into_iter().filter(|act| !acts.contains_key(act)).collect();
    assert!(missing.is_empty(), "{missing:?} did not happen");
    let all = BlockKind::ALL.into_iter().filter(|kind| !NOT_MET.contains(kind) && !blocks.contains(kind));
    assert_eq!(all.collect::<Vec<_>>(), [], "these were in the way of none");
}

/// All that a step or a person decides.
const ACTS: [RolloutVerb; 16] = [
    RolloutVerb::Begin,
    RolloutVerb::Enter,
    RolloutVerb::Raise,
    RolloutVerb::Lower,
    RolloutVerb::Complete,
    RolloutVerb::Warn,
    RolloutVerb::Hold,
    RolloutVerb::Unhold,
    RolloutVerb::Rollback,
    RolloutVerb::Killed,
    RolloutVerb::Revived,
    RolloutVerb::Ask,
    RolloutVerb::Approve,
    RolloutVerb::Resume,
    RolloutVerb::Goto,
    RolloutVerb::Restart,
];

/// What no simulated plan has.
const NOT_MET: [BlockKind; 5] =
    [BlockKind::Shadow, BlockKind::Prometheus, BlockKind::NotBefore, BlockKind::Expired, BlockKind::Tenants];

#[test]
fn the_same_seed_is_the_same_release() {
    for kind in ReleaseKind::ALL {
        let (one, other) = (play(7, kind), play(7, kind));
        assert_eq!((one.acts, one.steps, one.phase), (other.acts, other.steps, other.phase));
    }
}
