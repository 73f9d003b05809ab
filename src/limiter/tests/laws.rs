//! The laws of a limit, over random histories of several workers.

use proptest::prelude::*;

use super::*;

/// A request of a worker some time after the one before, for one of few keys.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    after_ns: u64,
    worker: usize,
    key: u64,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let gap = prop_oneof![4 => 0..3_000_000_u64, 2 => 0..200_000_000_u64, 1 => 0..3 * SECOND];
    let one = (gap, 0..3_usize, 0..3_u64).prop_map(|(after_ns, worker, key)| Arrival { after_ns, worker, key });
    proptest::collection::vec(one, 1..300)
}

fn paces() -> impl Strategy<Value = RatePace> {
    let per = prop_oneof![Just(1_u64), Just(60), Just(86_400)];
    (1..3_000_u32, per, 1..200_u32)
        .prop_map(|(requests, per, burst)| RatePace::new(Rate { requests, per: Duration::from_secs(per) }, burst))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// In any window of t, at most `burst + rate · t` requests pass, and a batch for each worker; at least one of a key
    /// that waited as long as it was asked to.
    #[test]
    fn no_window_has_more_than_the_limit(arrivals in arrivals(), pace in paces()) {
        let (table, mut leases) = (keyed(), [(); 3].map(|()| Leases::default()));
        let (mut now_ns, mut passed) = (SECOND, [const { Vec::new() }; 3]);
        for Arrival { after_ns, worker, key } in arrivals {
            now_ns += after_ns;
            let asked = RateQuery { key: number(&table, key), pace: &pace, now_ns };
            let looked = leases[worker].look(&table, &asked);
            let taken = leases[worker].take(&table, &asked);
            // A batch that lapsed goes back first: then there is more than the look saw.
            prop_assert!(looked.is_err() || taken.is_ok());
            match taken {
                Ok(()) => passed[usize::try_from(key).unwrap()].push(now_ns),
                Err(wait) => {
                    prop_assert!(wait > 0);
                    let later = RateQuery { now_ns: now_ns + wait, ..asked };
                    prop_assert!(table.look(&later).is_ok(), "the wait is right");
                }
            }
        }
        for times in passed {
            for (from, start) in times.iter().enumerate() {
                for (to, end) in times.iter().enumerate().skip(from) {
                    let refilled = (end - start) / pace.interval_ns();
                    let most = u64::from(pace.burst()) + refilled + 1 + 3 * u64::from(pace.batch() - 1);
                    prop_assert!((to - from + 1) as u64 <= most, "{} in {} ns", to - from + 1, end - start);
                }
            }
        }
    }

    /// After a pause of the burst's time, the whole burst is there, whatever was before.
    #[test]
    fn a_pause_gives_the_burst_back(arrivals in arrivals(), pace in paces()) {
        let table = keyed();
        let mut now_ns = SECOND;
        for Arrival { after_ns, key, .. } in arrivals {
            now_ns += after_ns;
            let _ = table.take(&RateQuery { key: number(&table, key), pace: &pace, now_ns }, 1);
        }
        now_ns += pace.interval_ns() * u64::from(pace.burst()) + 64;
        for key in 0..3 {
            let asked = RateQuery { key: number(&table, key), pace: &pace, now_ns };
            prop_assert_eq!(table.take(&asked, u32::MAX), Ok(pace.burst()));
        }
    }

    /// A time that goes backwards lets nothing more through, and locks no key out for longer than the burst's time.
    #[test]
    fn a_time_that_goes_backwards_does_no_harm(times in proptest::collection::vec(0..20 * SECOND, 1..200), pace in paces()) {
        let table = whole();
        let asked = |now_ns| RateQuery { key: 1, pace: &pace, now_ns };
        let passed = times.iter().filter(|at| table.take(&asked(**at), 1).is_ok()).count() as u64;
        let last = times.iter().max().copied().unwrap_or(0);
        prop_assert!(passed <= u64::from(pace.burst()) + last / pace.interval_ns() + 1);
        let whole_ns = pace.interval_ns() * u64::from(pace.burst()) + 128;
        prop_assert_eq!(table.take(&asked(last + whole_ns), u32::MAX), Ok(pace.burst()));
    }
}
