//! The rule for an arm that fails altogether: a run of failures is no matter of chance, and needs no test.
//!
//! A run is a sequence of failures of the arm, in order of arrival over all workers, without a success in between. One
//! caller alone makes no run. Neither does an incident that is common to both arms: with 70 % of all requests failing, 600
//! requests have a run of 20 in 13 % of cases, with 90 % in all; that stable, meanwhile, has 20 answers or more of which at
//! most 10 % failed, has a probability of at most 2.4·10⁻¹⁰ for each start of a run.

use super::Failures;

/// The failures that make a run.
const FAILURES_MIN: u32 = 20;
/// The callers that must be in it.
const KEYS_MIN: usize = 5;
/// The largest part of the failures that may be those of one caller, in percent.
const KEY_PERCENT_MAX: usize = 40;
/// The answers of stable that must fall into its span.
const STABLE_MIN: u64 = 20;
/// At most one of so many of them may have failed.
const STABLE_ONE_IN: u64 = 10;

/// What a run of failures says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunVerdict {
    /// Nothing yet: it is too short, or too few callers are in it.
    No,
    /// The arm fails, but stable has not shown yet that it does not: the run goes on.
    Waits,
    /// The arm fails and stable does not.
    Trips,
}

/// Judges a run of `length` failures. `keys` has a part of the key of each of its last failures, at least of the last 20
/// (where requests have no key: another number each); `stable` counts stable's answers since the run began.
#[must_use]
pub fn judge_run(length: u32, keys: &[u32], stable: Failures) -> RunVerdict {
    debug_assert!(stable.failed <= stable.requests, "a failure is an answer");
    if length < FAILURES_MIN || !is_of_many(keys) {
        RunVerdict::No
    } else if stable.requests >= STABLE_MIN && stable.failed.saturating_mul(STABLE_ONE_IN) <= stable.requests {
        RunVerdict::Trips
    } else {
        RunVerdict::Waits
    }
}

/// Whether at least five callers are in it, and none has more than 40 %.
fn is_of_many(keys: &[u32]) -> bool {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let callers = sorted.chunk_by(|one, next| one == next);
    let most = callers.clone().map(<[u32]>::len).max().unwrap_or(0);
    callers.count() >= KEYS_MIN && most * 100 <= keys.len() * KEY_PERCENT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many failures of `keys` callers in turn.
    fn in_turn(length: u32, keys: u32) -> Vec<u32> {
        (0..length).map(|n| n % keys).collect()
    }

    fn stable(requests: u64, failed: u64) -> Failures {
        Failures { requests, failed }
    }

    #[test]
    fn a_run_of_many_callers_trips_while_stable_is_healthy() {
        for (length, keys, stable, why, verdict) in [
            (20, in_turn(20, 5), stable(20, 2), "at every bound", RunVerdict::Trips),
            (20, in_turn(20, 20), stable(400, 0), "a caller each", RunVerdict::Trips),
            (5_000, in_turn(64, 30), stable(90_000, 9_000), "the last 64 are known", RunVerdict::Trips),
            (900, in_turn(64, 50), stable(u64::MAX, 0), "many answers", RunVerdict::Trips),
            (19, in_turn(19, 19), stable(400, 0), "19 failures", RunVerdict::No),
            (20, in_turn(20, 4), stable(400, 0), "four callers", RunVerdict::No),
            (5_000, in_turn(64, 1), stable(400, 0), "one caller", RunVerdict::No),
            (20, Vec::new(), stable(400, 0), "no caller is known", RunVerdict::No),
            (20, in_turn(20, 5), stable(19, 0), "19 answers of stable", RunVerdict::Waits),
            (20, in_turn(20, 5), stable(0, 0), "no answer of stable", RunVerdict::Waits),
            (20, in_turn(20, 5), stable(20, 3), "15 % of stable fail", RunVerdict::Waits),
            (900, in_turn(64, 50), stable(1_000, 101), "10.1 % of stable fail", RunVerdict::Waits),
        ] {
            assert_eq!(judge_run(length, &keys, stable), verdict, "{why}");
        }
    }

    #[test]
    fn no_caller_has_more_than_40_percent() {
        // 8 of 20 are 40 %.
        let mut keys = in_turn(12, 6);
        keys.extend([9; 8]);
        assert_eq!(judge_run(20, &keys, stable(20, 0)), RunVerdict::Trips);
        keys[0] = 9;
        assert_eq!(judge_run(20, &keys, stable(20, 0)), RunVerdict::No, "9 of 20 are 45 %");
    }

    /// The chance of a run of 20 failures among 600 answers, of which each fails with probability `rate`: exact.
    fn run_chance(rate: f64) -> f64 {
        let (mut lengths, mut found) = ([0.0; 20], 0.0);
        lengths[0] = 1.0;
        for _ in 0..600 {
            let mut next = [0.0; 20];
            next[0] = lengths.iter().sum::<f64>() * (1.0 - rate);
            next[1..].iter_mut().zip(lengths).for_each(|(to, from)| *to = from * rate);
            found += lengths[19] * rate;
            lengths = next;
        }
        found
    }

    /// The chance that at most `most` of `requests` fail, each with probability `rate`: exact.
    fn at_most(most: u32, requests: u32, rate: f64) -> f64 {
        let mut counts = vec![0.0; most as usize + 1];
        counts[0] = 1.0;
        for _ in 0..requests {
            for at in (0..counts.len()).rev() {
                let below = if at == 0 { 0.0 } else { counts[at - 1] };
                counts[at] = counts[at] * (1.0 - rate) + below * rate;
            }
        }
        counts.iter().sum()
    }

    /// Negative control: the run alone.
    #[test]
    fn without_a_rule_for_stable_a_common_incident_would_trip() {
        for (rate, stated) in [(0.7, 0.13), (0.9, 1.0)] {
            let chance = run_chance(rate);
            assert!((chance - stated).abs() < 0.006, "{rate}: {chance}, stated {stated}");
        }
        assert!(run_chance(0.5) < 0.001);
    }

    #[test]
    fn with_the_rule_for_stable_a_common_incident_does_not() {
        // At a weight of 5 % stable has 380 answers while the variant has 20, at 50 % it has 20.
        let worst = |answers: u32| {
            let joint = |rate: f64| rate.powi(20) * at_most(answers / 10, answers, rate);
            (1..1_000).map(|n| joint(f64::from(n) / 1_000.0)).fold(0.0, f64::max)
        };
        let (five, half) = (worst(380), worst(20));
        assert!(five < 2e-18 && half < 2.4e-10, "{five} and {half}");
    }
}
