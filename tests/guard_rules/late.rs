//! A regression that begins late, after a healthy half of an hour: by restarts it is found as if it had begun with the
//! release, and by one test from the beginning much later.

use fastrand::Rng;
use pointsman::stats::{Evidence, Kernel, reaches, with_restarts};

use super::chance::{Counted, binomial, poisson, quantile, stratum};
use super::fault::{Delays, Detector, Fault, assert_near};

const ALPHA: f64 = 0.005;
const WINDOW_SECONDS: f64 = 60.0;
/// The length of the healthy time.
const WINDOWS: u32 = 30;

/// Which tests are live.
#[derive(Clone, Copy, Debug)]
enum Tests {
    /// That of the beginning, with its whole weight.
    One,
    /// That of the beginning and the last three restarts.
    Restarts,
}

/// The evidence of a release and its windows.
struct Live {
    kernel: Kernel,
    tests: Tests,
    /// Each with the window with which it began.
    running: Vec<(u32, Evidence)>,
    window: u32,
}

impl Live {
    fn new(tests: Tests) -> Self {
        Self { kernel: Kernel::new(1.1).unwrap(), tests, running: vec![(0, Evidence::default())], window: 0 }
    }

    fn begin_window(&mut self) {
        self.window += 1;
        if matches!(self.tests, Tests::Restarts) {
            self.running.push((self.window, Evidence::default()));
            if self.running.len() > 4 {
                self.running.remove(1);
            }
        }
    }
}

impl Detector for Live {
    fn add(&mut self, exposures: [u64; 2], events: [u64; 2]) -> bool {
        let stratum = stratum(exposures, events);
        self.running.iter_mut().for_each(|(_, evidence)| self.kernel.add(evidence, &stratum));
        let logs: Vec<_> = self.running.iter().map(|(k, evidence)| (*k, self.kernel.ln(evidence))).collect();
        let ln = match self.tests {
            Tests::One => logs[0].1,
            Tests::Restarts => with_restarts(&logs),
        };
        reaches(ln, ALPHA)
    }

    fn tick(&mut self, number: u64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "600")]
        let ticks = (WINDOW_SECONDS * 10.0) as u64;
        if number.is_multiple_of(ticks) {
            self.begin_window();
        }
    }
}

/// How long a fault lasts that begins after half of an hour; without the runs that trip before.
fn delays(tests: Tests, fault: Fault) -> Delays {
    fault.delays(300, |random| {
        let mut live = Live::new(tests);
        for window in 0..WINDOWS {
            if window > 0 {
                live.begin_window();
            }
            for _ in 0..poisson(random, fault.rate * fault.stable_failing * WINDOW_SECONDS) {
                let tested = binomial(random, 1, fault.weight);
                if live.add([95, 5], [1 - tested, tested]) {
                    return None;
                }
            }
        }
        Some(live)
    })
}

/// Two hundred requests a second, 5 % canary, 0.1 % of stable's requests fail.
fn fault(failing: f64) -> Fault {
    Fault { rate: 200.0, weight: 0.05, failing, stable_failing: 0.001, workers: 1, is_trailing: true }
}

#[test]
fn restarts_find_a_late_fault_as_soon_as_documented() {
    for (failing, stated) in
        [(1.0, [0.57, 0.95, 1.25]), (0.5, [1.1, 1.8, 2.3]), (0.2, [2.8, 4.8, 7.0]), (0.05, [12.0, 22.0, 30.0])]
    {
        assert_near(delays(Tests::Restarts, fault(failing)).quantiles([0.5, 0.9, 0.99]), stated);
    }
}

/// Negative control.
#[test]
fn one_test_finds_a_late_fault_much_later() {
    assert_near(delays(Tests::One, fault(1.0)).quantiles([0.5, 0.9, 0.99]), [2.1, 3.0, 3.7]);
    assert_near(delays(Tests::One, fault(0.02)).quantiles([0.5, 0.9, 0.99]), [111.0, 162.0, 211.0]);
}

/// After how many events, median and 80 %, a canary of 5 % with this ratio is found that was healthy for 500 events; a
/// window has 25 events.
fn events_to_trip(tests: Tests, theta: f64) -> [f64; 2] {
    let mut counted = Counted::new(5);
    let mut random = Rng::with_seed(7);
    let mut found: Vec<f64> = (0..300)
        .map(|_| {
            // The window with which each test began, and the events of tested arm and control in it.
            let mut live = vec![(0_u32, [0_usize; 2])];
            (1..=2_000_u32)
                .find(|event| {
                    let chance = if *event <= 500 { 0.05 } else { 0.05 * theta / (0.95 + 0.05 * theta) };
                    let tested = random.f64() < chance;
                    for (_, counts) in &mut live {
                        counts[usize::from(!tested)] += 1;
                    }
                    let trips = *event > 500 && tested && {
                        let logs: Vec<_> =
                            live.iter().map(|(k, counts)| (*k, counted.ln(counts[0], counts[1]))).collect();
                        match tests {
                            // α is 1 %.
                            Tests::One => reaches(logs[0].1, 0.01),
                            Tests::Restarts => reaches(with_restarts(&logs), 0.01),
                        }
                    };
                    if event.is_multiple_of(25) {
                        live.push((event / 25, [0; 2]));
                        if live.len() > 4 {
                            live.remove(1);
                        }
                    }
                    trips
                })
                .map_or(f64::INFINITY, |event| f64::from(event) - 500.0)
        })
        .collect();
    found.sort_unstable_by(f64::total_cmp);
    [quantile(&found, 0.5), quantile(&found, 0.8)]
}

#[test]
fn after_500_healthy_events_restarts_find_a_fault_in_a_part_of_the_events() {
    for (theta, one) in [(3.0, [337.0, 464.0]), (10.0, [82.0, 105.0]), (50.0, [34.0, 40.0])] {
        let (found, restarts) = (events_to_trip(Tests::One, theta), events_to_trip(Tests::Restarts, theta));
        assert_near(found, one);
        if theta > 5.0 {
            assert!(restarts[0] < 0.5 * found[0] && restarts[1] < 0.5 * found[1], "{theta}: {restarts:?}, {found:?}");
        }
    }
}
