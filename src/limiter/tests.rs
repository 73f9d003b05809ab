//! Tests of the limiter: the rule, the table, the leases, and the laws of all of them.

mod laws;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::route::Rate;

const SECOND: u64 = 1_000_000_000;

fn a_second(requests: u32) -> Rate {
    Rate { requests, per: Duration::from_secs(1) }
}

fn keyed() -> RateTable {
    RateTable::new(RateScope::ByKey, 7, &Arc::new(RateMemory::default()))
}

fn whole() -> RateTable {
    RateTable::new(RateScope::Whole, 7, &Arc::default())
}

fn number(table: &RateTable, n: u64) -> u64 {
    table.key(KeyKind::Value, &n.to_le_bytes())
}

#[test]
fn a_burst_then_the_rate() {
    for table in [keyed(), whole()] {
        let pace = RatePace::new(a_second(10), 5);
        let asked = |now_ns| RateQuery { key: number(&table, 1), pace: &pace, now_ns };
        let at = |now_ns| table.take(&asked(now_ns), 1);
        assert!((0..5).all(|_| at(SECOND) == Ok(1)));
        let wait = at(SECOND).expect_err("the burst is used");
        assert!(wait.abs_diff(SECOND / 10) <= 64, "{wait}");
        assert!(at(SECOND + wait - 64).is_err() && table.look(&asked(SECOND + wait - 64)).is_err());
        assert_eq!((table.look(&asked(SECOND + wait)), at(SECOND + wait)), (Ok(()), Ok(1)));
        assert_eq!(table.take(&asked(SECOND * 60), 9), Ok(5), "after a pause the whole burst is there, and no more");
    }
}

#[test]
fn the_slowest_and_the_fastest_rate() {
    let day = Rate { requests: 1, per: Duration::from_hours(24) };
    let (slow, fast) = (RatePace::new(day, 1), RatePace::new(a_second(1_000_000), 1_000_000));
    assert_eq!((slow.batch(), fast.batch(), fast.interval_ns()), (1, 10_000, 1_000));
    let table = keyed();
    let take = |pace, now_ns, want| table.take(&RateQuery { key: number(&table, 1), pace, now_ns }, want);
    assert_eq!(take(&slow, 0, 1), Ok(1));
    let wait = take(&slow, 0, 1).expect_err("one a day");
    assert!(wait.abs_diff(86_400 * SECOND) <= 64);
    assert_eq!(take(&slow, wait, 1), Ok(1));
    let other = |now_ns, want| table.take(&RateQuery { key: number(&table, 2), pace: &fast, now_ns }, want);
    assert_eq!((other(0, 2_000_000), other(0, 1).is_err()), (Ok(1_000_000), true));
    assert_eq!(other(10_048, 99), Ok(10), "in ticks of 64 ns");
    // A burst of many days does not overflow.
    let long = RatePace::new(day, u32::MAX);
    assert!(take(&long, 20 * SECOND, u32::MAX).is_ok());
}

#[test]
fn a_small_rate_is_asked_for_each_request() {
    let batch = |rate, burst| RatePace::new(a_second(rate), burst).batch();
    assert_eq!([batch(1, 1), batch(199, 500), batch(200, 500), batch(10_000, 500), batch(10_000, 3)], [1, 1, 2, 31, 1]);
    assert_eq!(RatePace::new(Rate { requests: 6_000, per: Duration::from_mins(1) }, 9_000).batch(), 1);
}

#[test]
fn a_changed_limit_keeps_the_times() {
    let table = keyed();
    let take = |pace: &RatePace, now_ns, want| table.take(&RateQuery { key: number(&table, 1), pace, now_ns }, want);
    let old = RatePace::new(a_second(1), 100);
    assert_eq!(take(&old, 0, 100), Ok(100));
    // A hundred times faster: a whole second of the new rate at most is missing.
    let new = RatePace::new(a_second(100), 100);
    table.follow(&new, 0);
    assert!(take(&new, 0, 1).is_err_and(|wait| wait <= SECOND / 100 + 64));
    assert_eq!(take(&new, SECOND / 2, 100), Ok(50));
    let lower = RatePace::new(a_second(100), 10);
    table.follow(&lower, SECOND / 2);
    assert!(take(&lower, SECOND / 2, 100).is_err());
    assert_eq!(take(&lower, SECOND / 2 + SECOND / 20, 100), Ok(5));
    assert_eq!(take(&lower, SECOND * 9, 100), Ok(10));
}

#[test]
fn keys_are_apart_and_the_address_is_no_value() {
    let (table, pace) = (keyed(), RatePace::new(a_second(1), 1));
    let keys = [table.key(KeyKind::Value, b"a"), table.key(KeyKind::Value, b"b"), table.key(KeyKind::Address, b"a")];
    let take = |key| table.take(&RateQuery { key, pace: &pace, now_ns: 0 }, 1);
    assert_eq!(keys.map(|key| take(key).is_ok()), [true; 3]);
    assert_eq!(keys.map(|key| take(key).is_ok()), [false; 3]);
    assert_eq!((table.keys(0), table.keys(2 * SECOND), table.evicted()), (3, 0, 0));
}

#[test]
fn a_table_grows_with_its_keys_and_evicts_beyond_the_most() {
    let memory = Arc::new(RateMemory::default());
    let table = RateTable::new(RateScope::ByKey, 7, &memory);
    let pace = RatePace::new(Rate { requests: 1, per: Duration::from_mins(1) }, 1);
    let take = |n, now_ns| table.take(&RateQuery { key: number(&table, n), pace: &pace, now_ns }, 1).is_ok();
    assert!((0..300).all(|n| take(n, 0)) && memory.used() == 0, "small");
    let most = KEYS_MAX as u64;
    assert!((300..most).all(|n| take(n, 0)));
    assert!(memory.used() <= 5 << 19, "{} bytes", memory.used());
    assert!((0..most).all(|n| !take(n, 1)), "all keep their counts");
    assert_eq!((table.keys(1), table.evicted()), (KEYS_MAX, 0));
    assert!(take(most, 1));
    assert_eq!((table.keys(1), table.evicted()), (KEYS_MAX, 1), "the next one evicts one");
    let forgotten =
        (0..most).filter(|n| table.look(&RateQuery { key: number(&table, *n), pace: &pace, now_ns: 1 }).is_ok());
    assert_eq!(forgotten.count(), 1);
    // Those whose time is over make room without loss.
    assert!((most..most + 20_000).all(|n| take(n, 61 * SECOND)));
    assert_eq!(table.evicted(), 1);
    drop(table);
    assert_eq!(memory.used(), 0);
}

#[test]
fn without_memory_a_table_stays_small() {
    let table = RateTable::new(RateScope::ByKey, 7, &Arc::new(RateMemory::new(1 << 18)));
    let pace = RatePace::new(Rate { requests: 1, per: Duration::from_mins(1) }, 1);
    let key = |n| RateQuery { key: number(&table, n), pace: &pace, now_ns: 0 };
    assert!((0..20_000).all(|n| table.take(&key(n), 1).is_ok()));
    let keys = table.keys(0);
    assert!((7_000..=8_704).contains(&keys), "{keys}");
    assert_eq!(table.evicted(), 20_000 - keys as u64);
}

#[test]
fn another_process_takes_the_counts_over() {
    for (old, new) in [(keyed(), keyed()), (whole(), whole())] {
        let pace = RatePace::new(a_second(1), 10);
        let take = |table: &RateTable, n, now_ns, want| {
            table.take(&RateQuery { key: number(table, n), pace: &pace, now_ns }, want)
        };
        assert_eq!(take(&old, 1, 500 * SECOND, 4), Ok(4));
        new.restore(99, &old.saved(500 * SECOND), SECOND);
        assert_eq!((new.seed(), new.keys(SECOND)), (99, 1));
        let other = RateTable::new(RateScope::ByKey, 99, &Arc::default());
        assert_eq!(number(&new, 5), number(&other, 5), "the keys of the old process");
    }
    let (old, new, pace) = (keyed(), keyed(), RatePace::new(a_second(1), 10));
    let asked = |now_ns| RateQuery { key: number(&old, 1), pace: &pace, now_ns };
    assert_eq!(old.take(&asked(500 * SECOND), 4), Ok(4));
    new.restore(old.seed(), &old.saved(501 * SECOND), SECOND);
    assert_eq!(new.take(&asked(SECOND), 10), Ok(7), "three are used still");
}

#[test]
fn a_worker_takes_batches_that_lapse() {
    let (table, pace, mut leases) = (keyed(), RatePace::new(a_second(1_000), 1_000), Leases::default());
    let asked = |now_ns| RateQuery { key: number(&table, 1), pace: &pace, now_ns };
    let left = |now_ns| table.saved(now_ns).first().map_or(0, |rate| rate.left_ns);
    leases.take(&table, &asked(0)).expect("the first");
    let ten = left(0);
    assert!(ten.abs_diff(SECOND / 100) <= 64, "a batch of ten");
    assert!((1..10).all(|_| leases.take(&table, &asked(0)).is_ok()));
    assert_eq!(left(0), ten, "the others are of the batch");
    leases.take(&table, &asked(0)).expect("a second batch");
    assert!(left(0) > ten);
    // The table is used up by others; nine are left in the batch, and lapse.
    assert_eq!(table.take(&asked(0), 2_000), Ok(980));
    assert!(leases.look(&table, &asked(1)).is_ok() && table.look(&asked(1)).is_err());
    let late = asked(SECOND);
    assert_eq!(table.take(&late, 2_000), Ok(1_000));
    leases.take(&table, &late).expect("what lapsed went back to the table");
    assert_eq!(table.take(&late, 9), Err(table.look(&late).expect_err("nine went back, and are a batch again")));
}

#[test]
fn a_token_comes_back_when_another_limit_refuses() {
    let (table, mut leases) = (keyed(), Leases::default());
    for pace in [RatePace::new(a_second(10), 1), RatePace::new(a_second(1_000), 160)] {
        let asked = RateQuery { key: number(&table, u64::from(pace.burst())), pace: &pace, now_ns: SECOND };
        for _ in 0..100 {
            leases.take(&table, &asked).expect("it is always there");
            leases.give_back(&table, &asked);
        }
        let more = (0..500).take_while(|_| leases.take(&table, &asked).is_ok()).count();
        assert_eq!(more, pace.burst() as usize);
    }
}

#[test]
fn a_batch_of_another_pace_is_not_used() {
    let (table, mut leases) = (keyed(), Leases::default());
    let asked = |pace, now_ns| RateQuery { key: number(&table, 1), pace, now_ns };
    let (fast, slow) = (RatePace::new(a_second(10_000), 10_000), RatePace::new(a_second(200), 32));
    leases.take(&table, &asked(&fast, SECOND)).expect("a batch of a hundred");
    assert_eq!(table.take(&asked(&fast, SECOND), 20_000), Ok(9_900));
    table.follow(&slow, SECOND);
    assert!(leases.look(&table, &asked(&slow, SECOND)).is_err(), "what is left was taken at another pace");
    assert!(leases.take(&table, &asked(&slow, SECOND)).is_err(), "and does not come back as tokens of this one");
    leases.give_back(&table, &asked(&slow, SECOND));
    assert_eq!(table.take(&asked(&slow, SECOND), 9), Ok(1), "the one token goes to the table");
}

#[test]
fn a_worker_leaves_a_small_burst_to_the_others() {
    let (table, pace) = (keyed(), RatePace::new(a_second(1_000), 10));
    let asked = RateQuery { key: number(&table, 1), pace: &pace, now_ns: SECOND };
    let mut workers = [(); 10].map(|()| Leases::default());
    assert!(workers.iter_mut().all(|leases| leases.take(&table, &asked).is_ok()));
}

#[test]
fn more_keys_than_leases_lose_nothing() {
    let (table, pace, mut leases) = (keyed(), RatePace::new(a_second(500), 500), Leases::default());
    let keys = 4_096;
    let mut passed = vec![0_u32; keys];
    for _ in 0..600 {
        for (n, passed) in passed.iter_mut().enumerate().take(64 * 9).step_by(9) {
            let asked = RateQuery { key: number(&table, n as u64), pace: &pace, now_ns: 3 };
            *passed += u32::from(leases.take(&table, &asked).is_ok());
        }
    }
    assert!(passed.iter().step_by(9).take(64).all(|passed| *passed == 500));
    for (n, passed) in passed.iter_mut().enumerate() {
        let asked = RateQuery { key: number(&table, (n + 10_000) as u64), pace: &pace, now_ns: 3 };
        *passed = u32::from(leases.take(&table, &asked).is_ok());
    }
    assert!(passed.iter().all(|passed| *passed == 1), "with or without a batch");
}
