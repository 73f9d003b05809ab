//! The share of α of each field in a table, in the order in which fields get a row (α spending).
//!
//! The share of a field is fixed when it gets its row: the field is confirmed when its E reaches the inverse of its
//! share of α. The shares of all possible fields sum to less than 1, so the probability that a report ever names a
//! field that is only noise is at most α, regardless of when fields appear and how often the report is read.
//!
//! | field | share | E at α = 0.01 | pairs until a field that always differs is confirmed |
//! |---|---|---|---|
//! | each of the first 100 | 1 / 108 | 10 800 | 16 |
//! | each one up to the 1 024th, as many as a table holds | 1 / 16 000 | 1 600 000 | 24 |
//! | the n-th, beyond | 16 / (n (n − 1)) | 6 600 000 for the first of them, 2.5 · 10⁹ for the 20 000th | 26, 35 |

use super::evidence::float;

/// The number of fields in a route's table.
pub const FIELDS_MAX: usize = 1_024;
/// The number of fields with the largest share.
const FIRST: u64 = 100;

/// The share of the field that is the `number`-th to get a row, from 1.
pub(super) fn share(number: u64) -> f64 {
    debug_assert!(number > 0, "fields are numbered from 1");
    if number <= FIRST {
        1.0 / 108.0
    } else if number <= FIELDS_MAX as u64 {
        1.0 / 16_000.0
    } else {
        16.0 / (float(number) * (float(number) - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pairs;
    use super::*;

    const ALPHA: f64 = 0.01;

    #[test]
    fn the_shares_sum_to_at_most_one() {
        let spent: f64 = (1..=1_000_000).map(share).sum();
        assert!(spent > 0.999 && spent < 1.0, "{spent}");
        // What is beyond a million telescopes to 16 / 1 000 000.
        assert!(spent + 16.0 / 1e6 < 1.0, "{spent}");
        assert!((1..2_000).all(|number| share(number + 1) <= share(number)));
    }

    /// The chance that a field which is noise, with a fair coin for each of `pairs` pairs, is ever confirmed. Exact.
    fn false_alarm(share: f64, pairs: u64) -> f64 {
        let (mut ways, mut alarm) = (vec![1.0], 0.0);
        for number in 1..=pairs {
            let mut next = vec![0.0; ways.len() + 1];
            for (raw_only, way) in (1..).zip(ways) {
                let at = usize::try_from(raw_only).unwrap();
                next[at - 1] += way * 0.5;
                if (Pairs { raw_only, noise_only: number - raw_only }).ln() >= -(ALPHA * share).ln() {
                    alarm += way * 0.5;
                } else {
                    next[at] += way * 0.5;
                }
            }
            ways = next;
        }
        alarm
    }

    #[test]
    fn fields_that_come_one_after_another_do_not_add_up() {
        // A threshold that grows with the table gives 0.8 %, 1.2 %, 2.2 % and 3.1 % for the first four.
        let mut quiet = 1.0;
        let [first, second] = [1, 101].map(|number| false_alarm(share(number), 400));
        for number in 1..=1_024 {
            quiet *= 1.0 - if number <= 100 { first } else { second };
            if [1, 2, 10, 40, 100, 1_024].contains(&number) {
                assert!(1.0 - quiet < ALPHA, "{number} fields: {}", 1.0 - quiet);
            }
        }
        assert!(1.0 - quiet > ALPHA / 4.0, "nor is more than needed kept back: {}", 1.0 - quiet);
    }

    #[test]
    fn a_field_that_always_differs_is_confirmed_after_16_pairs() {
        let needed = |number| {
            let enough =
                |raw_only: &u64| Pairs { raw_only: *raw_only, noise_only: 0 }.ln() >= -(ALPHA * share(number)).ln();
            (1..100).find(enough).unwrap()
        };
        let found = [1, 100, 101, 1_024, 1_025, 20_000].map(needed);
        assert_eq!(found, [16, 16, 24, 24, 26, 35]);
    }
}
