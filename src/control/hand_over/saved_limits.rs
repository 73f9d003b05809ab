//! The counts of rate limits in a hand-over: no caller starts anew with the new process. Times are relative, since the clocks
//! differ.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::limiter::SavedRate;
use crate::snapshot::Snapshot;

/// The most keys that are passed on, of all limits together: about 8 MiB. What small limits do not use, the others
/// share; beyond its share, the keys of a limit that have used least start anew.
const KEYS_MAX: usize = 262_144;
/// The most keys of a part, which is one datagram of at most 64 KiB: 32 digits a key, and the names.
const PART_KEYS_MAX: usize = 1_900;
/// Hexadecimal digits of a number.
const DIGITS: usize = 16;

/// Some of the counts of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct SavedLimit {
    /// The name of its route.
    route: String,
    /// What it counts by, as in the file.
    per: String,
    /// Its name.
    name: String,
    /// The seed of its keys.
    seed: u64,
    /// For each key, the key and the nanoseconds that are left, in 16 hexadecimal digits each.
    keys: String,
}

/// The counts that have used something, in parts that fit in a datagram.
pub(super) fn saved_limits(snapshot: &Snapshot, now_ns: u64) -> Vec<SavedLimit> {
    let routes = snapshot.rules.routes.iter().zip(&*snapshot.routes);
    let all: Vec<_> = routes
        .flat_map(|(route, entity)| {
            route.rate_limits.iter().zip(&entity.limits).map(move |(spec, limit)| (route, spec, limit))
        })
        .collect();
    let share = share(all.iter().map(|(.., limit)| limit.table.keys(now_ns)).collect());
    let mut parts = Vec::new();
    for (route, spec, limit) in all {
        let mut rates = limit.table.saved(now_ns);
        if rates.len() > share {
            rates.sort_unstable_by_key(|rate| std::cmp::Reverse(rate.left_ns));
            rates.truncate(share);
        }
        for some in rates.chunks(PART_KEYS_MAX) {
            parts.push(SavedLimit {
                route: route.name.clone(),
                per: spec.per.to_string(),
                name: spec.name.clone(),
                seed: limit.table.seed(),
                keys: digits(some),
            });
        }
    }
    parts
}

/// The most keys of one limit, so that all together have at most `KEYS_MAX`.
fn share(mut keys: Vec<usize>) -> usize {
    keys.sort_unstable();
    let (mut left, limits) = (KEYS_MAX, keys.len());
    for (at, own) in keys.into_iter().enumerate() {
        let share = left / (limits - at);
        if own > share {
            return share;
        }
        left -= own;
    }
    KEYS_MAX
}

/// Gives the limits the counts that the process before had. What is not in the configuration is ignored.
pub(in crate::control) fn restore_limits(snapshot: &Snapshot, saved: &[SavedLimit], now_ns: u64) {
    let mut parts: HashMap<[&str; 3], Vec<&SavedLimit>> = HashMap::new();
    for part in saved {
        parts.entry([&part.route, &part.per, &part.name]).or_default().push(part);
    }
    for (route, entity) in snapshot.rules.routes.iter().zip(&*snapshot.routes) {
        for (spec, limit) in route.rate_limits.iter().zip(&entity.limits) {
            let per = spec.per.to_string();
            let Some(own) = parts.get(&[&*route.name, &*per, &*spec.name]) else { continue };
            for part in own {
                limit.table.restore(part.seed, &rates(&part.keys), now_ns);
            }
            // The process before may have had another rate.
            limit.table.follow(&limit.pace, now_ns);
        }
    }
}

fn digits(rates: &[SavedRate]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(rates.len() * 2 * DIGITS);
    for SavedRate { key, left_ns } in rates {
        // Writing to a string cannot fail.
        let _ = write!(text, "{key:016x}{left_ns:016x}");
    }
    text
}

/// The counts of a text; what is no number is left out.
fn rates(text: &str) -> Vec<SavedRate> {
    let number = |digits: Option<&str>| u64::from_str_radix(digits?, 16).ok();
    let one = |at: usize| {
        let key = number(text.get(at..at + DIGITS))?;
        let left_ns = number(text.get(at + DIGITS..at + 2 * DIGITS))?;
        Some(SavedRate { key, left_ns })
    };
    (0..text.len()).step_by(2 * DIGITS).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_as_they_were() {
        let all: Vec<SavedRate> =
            [(1, 2), (u64::MAX, u64::MAX), (0, 0)].map(|(key, left_ns)| SavedRate { key, left_ns }).into();
        assert_eq!(rates(&digits(&all)), all);
    }

    #[test]
    fn what_small_limits_do_not_use_the_others_share() {
        assert_eq!((share(vec![]), share(vec![65_536; 4])), (KEYS_MAX, KEYS_MAX), "all fit");
        let idle = [vec![65_536; 4], vec![0; 1_000]].concat();
        assert_eq!(share(idle), KEYS_MAX, "idle limits take nothing");
        for many in [vec![65_536; 8], [vec![65_536; 10], vec![100; 40], vec![30_000; 3]].concat()] {
            let (share, passed) = (share(many.clone()), |share: usize| many.iter().map(|keys| share.min(*keys)).sum());
            let (now, more): (usize, usize) = (passed(share), passed(share + 1));
            assert!(now <= KEYS_MAX && more > KEYS_MAX, "{share}: {now}, {more}");
        }
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        for text in ["", "1", "zz", "0123456789abcdef", "0123456789abcdefé", "+123456789abcdef0123456789abcdeg"] {
            assert_eq!(rates(text), [], "{text}");
        }
        assert_eq!(rates("00000000000000010000000000000002zz"), [SavedRate { key: 1, left_ns: 2 }]);
    }

    #[test]
    fn a_part_fits_in_a_datagram() {
        let rate = SavedRate { key: u64::MAX, left_ns: u64::MAX };
        let (name, keys) = ("n".repeat(63), digits(&vec![rate; PART_KEYS_MAX]));
        let part = SavedLimit { route: name.clone(), per: format!("header:{name}"), name, seed: u64::MAX, keys };
        assert!(serde_json::to_vec(&part).expect("JSON").len() < 64 * 1024);
    }
}
