//! Strata are summed over workers, and an event is weighed with the exposures of the last ten seconds. A stratum per worker
//! and tick often has no exposure of the canary, and then no event of it counts.

use super::fault::{Fault, Plain, assert_near};

/// The median and the 99th of a hundred delays, in seconds.
fn delays(fault: Fault) -> [f64; 2] {
    fault.delays(300, |_| Some(Plain::whole())).quantiles([0.5, 0.99])
}

const DOWN: Fault =
    Fault { rate: 200.0, weight: 0.05, failing: 1.0, stable_failing: 0.001, workers: 1, is_trailing: false };

#[test]
fn with_a_stratum_per_worker_more_workers_find_a_fault_later() {
    for (rate, workers, stated) in
        [(200.0, 1, [0.30, 0.75]), (200.0, 4, [0.44, 1.17]), (200.0, 16, [1.12, 2.40]), (20.0, 4, [25.0, 49.0])]
    {
        let found = delays(Fault { rate, workers, ..DOWN });
        assert_near(found, stated);
    }
}

#[test]
fn with_the_last_ten_seconds_the_number_of_workers_does_not_matter() {
    for (rate, workers, stated) in
        [(200.0, 1, [0.30, 0.78]), (200.0, 16, [0.30, 0.78]), (20.0, 1, [2.7, 8.3]), (20.0, 16, [2.7, 8.3])]
    {
        let found = delays(Fault { rate, workers, is_trailing: true, ..DOWN });
        assert_near(found, stated);
    }
}
