//! What many releases came to.

use std::collections::BTreeMap;

use super::play::{FaultyRun, PlayedRun};

/// What many releases came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RehearsalReport {
    /// How many were played.
    pub runs: u32,
    /// The healthy ones.
    pub healthy: HealthyReport,
    /// Those with the fault; `None`: there is none.
    pub faulty: Option<FaultyReport>,
}

/// What healthy releases came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthyReport {
    /// How many were rolled back.
    pub rolled_back: u32,
    /// How many were held.
    pub held: u32,
    /// By what: how often.
    pub by: BTreeMap<String, u32>,
    /// How long the others took, in milliseconds.
    pub complete_ms: RunQuantiles,
    /// How many neither came to their end nor were stopped, and why the first of them.
    pub stuck: u32,
    /// See above.
    pub because: Option<String>,
}

/// What releases with the fault came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultyReport {
    /// How many had the fault: the others were stopped or complete before it began.
    pub begun: u32,
    /// In how many it was found.
    pub found: u32,
    /// In how many by a rollback; the others were held.
    pub rolled_back: u32,
    /// After what time, in milliseconds.
    pub found_ms: RunQuantiles,
    /// Requests that it hurt, in those where it was found.
    pub requests: RunQuantiles,
    /// Callers that it hurt, in those where it was found.
    pub callers: RunQuantiles,
    /// Requests that it hurt, in those where it was not found.
    pub unfound_requests: RunQuantiles,
    /// By guard: in how many it was the one that found it.
    pub by: BTreeMap<String, u32>,
    /// By what else stopped it, such as a sample ratio or a time without traffic: in how many.
    pub others: BTreeMap<String, u32>,
    /// By stage: in how many it was found there.
    pub stages: BTreeMap<String, u32>,
    /// By guard that only warns: in how many it did.
    pub warned: BTreeMap<String, u32>,
}

/// Some quantiles; `None`: there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunQuantiles {
    /// Half are at most this.
    pub median: Option<u64>,
    /// Nine in ten are at most this.
    pub p90: Option<u64>,
    /// The largest.
    pub max: Option<u64>,
}

impl RunQuantiles {
    /// Those of some values.
    #[must_use]
    pub fn of(values: impl Iterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = values.collect();
        sorted.sort_unstable();
        let at = |part: usize| sorted.get((sorted.len() * part).div_ceil(10).saturating_sub(1)).copied();
        Self { median: at(5), p90: at(9), max: sorted.last().copied() }
    }
}

impl RehearsalReport {
    /// The report of some releases, in any order.
    #[must_use]
    pub fn of(runs: &[PlayedRun]) -> Self {
        let faulty: Vec<_> = runs.iter().filter_map(|run| run.faulty.as_ref()).collect();
        let count = |runs: usize| u32::try_from(runs).unwrap_or(u32::MAX);
        let report = Self { runs: count(runs.len()), healthy: HealthyReport::of(runs), faulty: None };
        if faulty.is_empty() {
            return report;
        }
        let is_found = |run: &FaultyRun| run.stop.as_ref().is_some_and(|stop| stop.finds);
        let found: Vec<_> = faulty.iter().filter(|run| is_found(run)).collect();
        let unfound = || faulty.iter().filter(|run| !is_found(run));
        let stops = || found.iter().filter_map(|run| run.stop.as_ref());
        // Where it is not found that takes longer than all others.
        let times = faulty.iter().map(|run| run.found_ms.filter(|_| is_found(run)).unwrap_or(u64::MAX));
        let times = RunQuantiles::of(times);
        let known = |ms: Option<u64>| ms.filter(|ms| *ms < u64::MAX);
        debug_assert!(found.len() <= faulty.len() && faulty.len() <= runs.len(), "parts of all");
        let faulty = FaultyReport {
            begun: count(faulty.len()),
            found: count(found.len()),
            rolled_back: count(stops().filter(|stop| !stop.holds).count()),
            found_ms: RunQuantiles { median: known(times.median), p90: known(times.p90), max: known(times.max) },
            requests: RunQuantiles::of(found.iter().map(|run| run.requests)),
            callers: RunQuantiles::of(found.iter().map(|run| run.callers)),
            unfound_requests: RunQuantiles::of(unfound().map(|run| run.requests)),
            by: counted(stops().map(|stop| &stop.by)),
            others: counted(unfound().filter_map(|run| run.stop.as_ref()).map(|stop| &stop.by)),
            stages: counted(stops().map(|stop| &stop.stage)),
            warned: counted(faulty.iter().flat_map(|run| &run.warned)),
        };
        Self { faulty: Some(faulty), ..report }
    }
}

impl HealthyReport {
    fn of(runs: &[PlayedRun]) -> Self {
        let all = || runs.iter().map(|run| &run.healthy);
        let stops = || all().filter_map(|run| run.stop.as_ref());
        let count = |runs: usize| u32::try_from(runs).unwrap_or(u32::MAX);
        let stuck: Vec<&String> = all().filter_map(|run| run.stuck.as_ref()).collect();
        Self {
            rolled_back: count(stops().filter(|stop| !stop.holds).count()),
            held: count(stops().filter(|stop| stop.holds).count()),
            by: counted(stops().map(|stop| &stop.by)),
            complete_ms: RunQuantiles::of(all().filter_map(|run| run.complete_ms)),
            stuck: count(stuck.len()),
            because: stuck.first().map(|why| (*why).clone()),
        }
    }
}

fn counted<'a>(names: impl Iterator<Item = &'a String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.clone()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::play::{HealthyRun, ReleaseStop};
    use super::*;

    #[test]
    fn a_fault_is_found_by_guards_that_count_requests() {
        let run = |stop: Option<(&str, bool)>, ms: u64| {
            let stop = stop.map(|(by, finds)| ReleaseStop { by: by.to_owned(), finds, ..ReleaseStop::default() });
            let found_ms = stop.as_ref().map(|_| ms);
            PlayedRun {
                healthy: HealthyRun::default(),
                faulty: Some(FaultyRun { stop, found_ms, ..FaultyRun::default() }),
            }
        };
        let errors = Some(("errors", true));
        let runs =
            [run(errors, 10), run(errors, 20), run(errors, 30), run(Some(("sample-ratio", false)), 1), run(None, 0)];
        let report = RehearsalReport::of(&runs).faulty.unwrap();
        assert_eq!((report.begun, report.found, report.others.get("sample-ratio")), (5, 3, Some(&1)));
        assert_eq!((report.found_ms.median, report.found_ms.p90, report.found_ms.max), (Some(30), None, None));
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        let of = |values: &[u64]| {
            let RunQuantiles { median, p90, max } = RunQuantiles::of(values.iter().copied());
            [median, p90, max].map(|value| value.unwrap_or(0))
        };
        assert_eq!(of(&[]), [0, 0, 0]);
        assert_eq!(of(&[7]), [7, 7, 7]);
        assert_eq!(of(&[10, 2, 4, 6, 8, 12, 14, 16, 18, 20]), [10, 18, 20]);
        assert_eq!(of(&[3, 1, 2]), [2, 3, 3]);
    }
}
