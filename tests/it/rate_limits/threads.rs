//! The counts of a limit under real threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use std::sync::Arc;
use std::time::Duration;

use pointsman::limiter::{KeyKind, RatePace, RateQuery, RateScope, RateTable};
use pointsman::route::Rate;

const THREADS: usize = 4;

fn number(table: &RateTable, n: u64) -> u64 {
    table.key(KeyKind::Value, &n.to_le_bytes())
}

/// Each thread takes of all keys, in an order of its own; returns what passed by key.
fn all_at_once(table: &RateTable, pace: &RatePace, keys: usize, tries: u32) -> Vec<u32> {
    let passed: Vec<AtomicU32> = (0..keys).map(|_| AtomicU32::new(0)).collect();
    let begin = Barrier::new(THREADS);
    thread::scope(|scope| {
        for worker in 0..THREADS {
            let (passed, begin) = (&passed, &begin);
            scope.spawn(move || {
                begin.wait();
                for at in 0..keys * tries as usize {
                    // The same keys at about the same time: they race for the slots.
                    let n = if worker % 2 == 0 { at % keys } else { keys - 1 - at % keys };
                    let asked = RateQuery { key: number(table, n as u64), pace, now_ns: 9 };
                    if let Ok(taken) = table.take(&asked, 1) {
                        passed[n].fetch_add(taken, Relaxed);
                    }
                }
            });
        }
    });
    passed.into_iter().map(AtomicU32::into_inner).collect()
}

#[test]
fn workers_that_race_for_a_key_share_one_count() {
    let pace = RatePace::new(Rate { requests: 1, per: Duration::from_hours(1) }, 5);
    for round in 0..20 {
        let table = RateTable::new(RateScope::ByKey, round, &Arc::default());
        let passed = all_at_once(&table, &pace, 500, 3);
        assert!(passed.iter().all(|passed| *passed == 5), "round {round}: {passed:?}");
        assert_eq!((table.keys(9), table.evicted()), (500, 0));
    }
}

#[test]
fn a_table_that_grows_under_its_workers_loses_no_count() {
    let (table, pace) = (
        RateTable::new(RateScope::ByKey, 7, &Arc::default()),
        RatePace::new(Rate { requests: 1, per: Duration::from_hours(1) }, 3),
    );
    let passed = all_at_once(&table, &pace, 12_000, 2);
    assert!(passed.iter().all(|passed| *passed == 3));
    assert_eq!((table.keys(9), table.evicted()), (12_000, 0));
}

#[test]
fn workers_share_the_one_word_of_a_route() {
    let (table, pace) = (
        RateTable::new(RateScope::Whole, 7, &Arc::default()),
        RatePace::new(Rate { requests: 1, per: Duration::from_hours(1) }, 5_000),
    );
    let passed: u32 = all_at_once(&table, &pace, 100, 100).iter().sum();
    assert_eq!(passed, 5_000);
}
