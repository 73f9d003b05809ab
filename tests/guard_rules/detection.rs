//! How soon a canary that fails is found, by a release that has just begun: each request is another caller, and responses
//! come at once.

use super::fault::{Fault, Plain, assert_near};

const FAULT: Fault =
    Fault { rate: 200.0, weight: 0.05, failing: 1.0, stable_failing: 0.001, workers: 1, is_trailing: true };

#[test]
fn a_fault_is_found_as_soon_as_documented() {
    for (rate, stable_failing, failing, stated) in [
        (200.0, 0.0, 1.0, [0.29, 0.51, 0.82]),
        (200.0, 0.0, 0.5, [0.52, 1.04, 1.65]),
        (200.0, 0.0, 0.2, [1.3, 2.7, 4.1]),
        (200.0, 0.001, 1.0, [0.30, 0.52, 0.78]),
        (200.0, 0.001, 0.5, [0.54, 1.09, 1.67]),
        (200.0, 0.001, 0.2, [1.3, 2.6, 4.2]),
        (200.0, 0.001, 0.05, [5.6, 12.0, 20.0]),
        (200.0, 0.001, 0.02, [17.0, 39.0, 66.0]),
        (200.0, 0.01, 1.0, [0.32, 0.56, 0.84]),
        (200.0, 0.01, 0.5, [0.62, 1.25, 2.0]),
        (200.0, 0.01, 0.2, [1.8, 3.8, 6.3]),
        (20.0, 0.001, 1.0, [2.7, 5.2, 8.3]),
        (20.0, 0.001, 0.5, [5.3, 11.0, 17.0]),
        (20.0, 0.01, 0.2, [18.0, 38.0, 63.0]),
        (2_000.0, 0.001, 1.0, [0.05, 0.09, 0.10]),
        (2_000.0, 0.001, 0.2, [0.17, 0.31, 0.48]),
        (2_000.0, 0.01, 0.5, [0.07, 0.16, 0.25]),
    ] {
        let fault = Fault { rate, failing, stable_failing, ..FAULT };
        let delays = fault.delays(500, |_| Some(Plain::fresh()));
        assert_near(delays.quantiles([0.5, 0.9, 0.99]), stated);
    }
}

/// The 99th of a hundred delays, and failing responses, where there is less and less control.
#[test]
fn above_a_half_the_relative_test_fades_as_documented() {
    for (weight, seconds, bad) in
        [(0.5, 0.22, 30.0), (0.75, 0.40, 69.0), (0.9, 0.97, 192.0), (0.95, 1.9, 357.0), (0.99, 9.7, 1_929.0)]
    {
        let delays = Fault { weight, ..FAULT }.delays(1_000, |_| Some(Plain::whole()));
        let found = [delays.quantiles([0.99])[0], delays.bad_quantiles([0.99])[0]];
        assert_near(found, [seconds, bad]);
    }
}
