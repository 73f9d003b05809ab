//! Marks are common to all who count: where each replica has its own, an erring caller counts once in each. And all evidence
//! is summed before it is read: who may pick a part of it trips more often.

use fastrand::Rng;
use pointsman::stats::reaches;

use super::chance::Counted;

const ALPHA: f64 = 0.005;
const EVENTS: usize = 1_000;

/// In which part of healthy releases 1 000 events trip, if each erring caller is counted by so many replicas.
fn trips(replicas: usize) -> f64 {
    let mut counted = Counted::new(5);
    let mut random = Rng::with_seed(9);
    let runs = 1_000_u32;
    let tripped = (0..runs)
        .filter(|_| {
            let (mut tested, mut control) = (0, 0);
            (0..EVENTS / replicas).any(|_| {
                let is_tested = random.f64() < 0.05;
                (0..replicas).any(|_| {
                    *(if is_tested { &mut tested } else { &mut control }) += 1;
                    is_tested && reaches(counted.ln(tested, control), ALPHA)
                })
            })
        })
        .count();
    tripped as f64 / f64::from(runs)
}

#[test]
fn marks_are_common_to_all_who_count() {
    let found = [1, 2, 3, 5].map(trips);
    assert!(found[0] <= 0.005, "{found:?}");
    for (found, stated) in found.into_iter().zip([0.001, 0.03, 0.127, 0.242]).skip(1) {
        assert!((found - stated).abs() < 0.3 * stated, "{found}, stated {stated}");
    }
}

/// In which part of releases at the bound (θ = 1.1) 1 000 events of five replicas trip: by their sum, and by any sum that may
/// leave out two of them.
fn sums() -> [f64; 2] {
    let mut counted = Counted::new(5);
    let mut random = Rng::with_seed(19);
    let runs = 1_500_u32;
    let mut trips = [0_u32; 2];
    for _ in 0..runs {
        let mut counts = [[0_usize; 2]; 5];
        let mut tripped = [false; 2];
        for _ in 0..EVENTS {
            let is_tested = random.f64() < 0.05 * 1.1 / (0.95 + 0.05 * 1.1);
            counts[random.usize(..5)][usize::from(!is_tested)] += 1;
            if !is_tested {
                continue;
            }
            let sum = [0, 1].map(|kind: usize| counts.iter().map(|count| count[kind]).sum::<usize>());
            let mut trips = |out: [usize; 2]| reaches(counted.ln(sum[0] - out[0], sum[1] - out[1]), ALPHA);
            tripped[0] |= trips([0, 0]);
            tripped[1] |= tripped[0]
                || (0..5).any(|one| {
                    trips(counts[one])
                        || (0..one).any(|two: usize| trips([0, 1].map(|kind| counts[one][kind] + counts[two][kind])))
                });
        }
        trips.iter_mut().zip(tripped).for_each(|(trips, tripped)| *trips += u32::from(tripped));
    }
    trips.map(|trips| f64::from(trips) / f64::from(runs))
}

/// Stated: 0.2 and 1.3 %.
#[test]
fn all_evidence_is_summed_before_it_is_read() {
    let [sum, picked] = sums();
    assert!(sum <= 0.005 && picked > 0.008, "{sum} and {picked}");
}
