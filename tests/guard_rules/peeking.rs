//! A test with a fixed horizon that is read after each event, and errors that come in bursts of one cause: what the kernel and
//! the marks are for.

use fastrand::Rng;
use pointsman::stats::reaches;

use super::chance::Counted;

const ALPHA: f64 = 0.01;

/// The chance that a z-test at 1 % on the tested arm's part of the events, read after each event from the 20th on, ever
/// rejects a healthy arm with the share `share` within so many events: exact, by the distribution over the arm's events of
/// all the ways that have not been rejected.
fn peeked(share: f64, events_max: u32) -> f64 {
    let (mut ways, mut rejected) = (vec![1.0], 0.0);
    for events in 1..=events_max {
        let count = f64::from(events);
        let limit = (count * share + 2.326 * (count * share * (1.0 - share)).sqrt()).floor();
        let mut next = vec![0.0; ways.len() + 1];
        for (tested, way) in ways.iter().enumerate() {
            next[tested] += way * (1.0 - share);
            if events >= 20 && tested as f64 >= limit {
                rejected += way * share;
            } else {
                next[tested + 1] += way * share;
            }
        }
        while next.last().is_some_and(|way| *way < 1e-15) {
            next.pop();
        }
        ways = next;
    }
    rejected
}

/// Negative control.
#[test]
fn a_test_with_a_fixed_horizon_must_not_be_read_on_the_way() {
    for (share, events, stated) in [
        (0.05, 100, 0.085),
        (0.05, 500, 0.1291),
        (0.05, 2_000, 0.1627),
        (0.5, 100, 0.056),
        (0.5, 500, 0.0959),
        (0.5, 2_000, 0.1289),
    ] {
        let found = peeked(share, events);
        assert!((found - stated).abs() < 0.001, "{share}, {events} events: {found}, stated {stated}");
    }
}

/// In which part of healthy releases the kernel trips within 500 events, if errors come in bursts of this mean length, each
/// within one arm.
fn bursts(percent: u64, mean: f64) -> f64 {
    let mut counted = Counted::new(percent);
    let mut random = Rng::with_seed(1);
    let runs = 600_u32;
    let share = percent as f64 / 100.0;
    let tripped = (0..runs)
        .filter(|_| {
            let (mut tested, mut control) = (0, 0);
            while tested + control < 500 {
                let is_tested = random.f64() < share;
                loop {
                    *(if is_tested { &mut tested } else { &mut control }) += 1;
                    if is_tested && reaches(counted.ln(tested, control), ALPHA) {
                        return true;
                    }
                    if tested + control >= 500 || random.f64() < 1.0 / mean {
                        break;
                    }
                }
            }
            false
        })
        .count();
    tripped as f64 / f64::from(runs)
}

/// Negative control: the kernel wants events that are independent, which is why a caller counts once.
#[test]
fn errors_in_bursts_must_not_count_one_by_one() {
    for (percent, mean, stated) in [(5, 3.0, 0.235), (5, 10.0, 0.359), (50, 3.0, 0.281), (50, 10.0, 0.63)] {
        let found = bursts(percent, mean);
        assert!((found - stated).abs() < 0.06, "{percent} %, bursts of {mean}: {found}, stated {stated}");
    }
    for percent in [5, 50] {
        let found = bursts(percent, 1.0);
        assert!(found <= ALPHA, "{percent} %, one by one: {found}");
    }
}
