//! The values of points as codes: whole numbers in which 0 is a value that is not known, and a larger value has a larger
//! code.
//!
//! | value | unit | error |
//! |---|---|---|
//! | counts | 1 | none up to 4 294 967 294 in a point; larger ones are that many |
//! | weights | 0.0001 % | none: weights have as many decimals |
//! | times | 0.01 ms, as 12 significant bits | none up to 40.95 ms, 1/4096 above |
//! | evidence | 0.01 of its decimal logarithm | 0.005 within ±320; beyond, it is ±320 |

/// A value that is not known.
pub(super) const UNKNOWN: u32 = 0;

/// Units of a weight in a percent.
const WEIGHT_UNITS: f64 = 1e4;
/// Units of a time in a millisecond.
const TIME_UNITS: f64 = 100.0;
/// The longest time, in units.
const TIME_MAX: f64 = 1e8;
/// The bits of a time that are kept, but for the first.
const TIME_BITS: u32 = 11;
/// Units of evidence in one of its logarithm.
const EVIDENCE_UNITS: f64 = 100.0;
/// The largest evidence, in units; the smallest is its negative.
const EVIDENCE_MAX: u32 = 32_000;

/// The code of a count.
pub(super) fn count_code(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(u32::MAX - 1) + 1
}

/// The code of a weight in percent.
pub(super) fn weight_code(percent: f64) -> u32 {
    whole(percent * WEIGHT_UNITS, f64::from(u32::MAX - 1)) + 1
}

/// The weight of a code, in percent.
pub(super) fn weight_of(code: u32) -> Option<f64> {
    code.checked_sub(1).map(|units| f64::from(units) / WEIGHT_UNITS)
}

/// The code of a time in milliseconds.
pub(super) fn time_code(ms: f64) -> u32 {
    let units = whole(ms * TIME_UNITS, TIME_MAX);
    let shift = (u32::BITS - units.leading_zeros()).saturating_sub(TIME_BITS + 1);
    let half = (1 << shift) >> 1;
    // A number that is rounded up to one bit more is the first one of the next shift.
    (shift << TIME_BITS) + ((units + half) >> shift) + 1
}

/// The time of a code, in units of 0.01 ms.
pub(super) fn time_units(code: u32) -> Option<u32> {
    let code = code.checked_sub(1)?;
    let shift = (code >> TIME_BITS).saturating_sub(1);
    Some((code - (shift << TIME_BITS)) << shift)
}

/// Units of time in milliseconds.
pub(super) fn time_ms(units: f64) -> f64 {
    units.round() / TIME_UNITS
}

/// The code of evidence, by its decimal logarithm.
pub(super) fn evidence_code(log10: f64) -> u32 {
    let above = log10 * EVIDENCE_UNITS + f64::from(EVIDENCE_MAX);
    whole(above, f64::from(2 * EVIDENCE_MAX)) + 1
}

/// The decimal logarithm of the evidence of a code.
pub(super) fn evidence_of(code: u32) -> Option<f64> {
    code.checked_sub(1).map(|units| (f64::from(units) - f64::from(EVIDENCE_MAX)) / EVIDENCE_UNITS)
}

/// To the nearest whole number from 0 to `max`; 0 for what is no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are those of the type")]
fn whole(value: f64, max: f64) -> u32 {
    debug_assert!((0.0..=f64::from(u32::MAX)).contains(&max), "a bound of the type");
    value.round().clamp(0.0, max) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time_of(code: u32) -> Option<f64> {
        time_units(code).map(|units| time_ms(f64::from(units)))
    }

    #[test]
    fn nothing_known_has_a_code_of_its_own() {
        assert_eq!((weight_of(UNKNOWN), time_of(UNKNOWN), evidence_of(UNKNOWN)), (None, None, None));
        assert_eq!((weight_code(0.0), time_code(0.0), count_code(0)), (1, 1, 1));
        assert_eq!((time_code(f64::NAN), weight_code(-1.0)), (1, 1));
    }

    #[test]
    fn values_beyond_their_range_are_its_ends() {
        assert_eq!((count_code(u64::MAX), count_code(4_294_967_294)), (u32::MAX, u32::MAX));
        assert_eq!((evidence_of(evidence_code(1e9)), evidence_of(evidence_code(-1e9))), (Some(320.0), Some(-320.0)));
        assert!(u16::try_from(time_code(f64::MAX)).is_ok(), "a time has two bytes");
    }

    proptest! {
        #[test]
        fn weights_are_exact(millionths in 0..=1_000_000_u32) {
            let percent = f64::from(millionths) / 1e4;
            prop_assert_eq!(weight_of(weight_code(percent)), Some(percent));
        }

        #[test]
        fn times_are_within_their_error_and_keep_their_order(one in 0..3_000_000_u32, other in 0..3_000_000_u32) {
            let [a, b] = [one, other].map(|units| f64::from(units) / 100.0);
            let back = time_of(time_code(a)).unwrap();
            prop_assert!((back - a).abs() <= if a < 40.96 { 1e-9 } else { a / 4096.0 + 1e-9 }, "{} {}", a, back);
            prop_assert!(a > b || time_code(a) <= time_code(b));
        }

        #[test]
        fn evidence_is_within_its_error_and_keeps_its_order(a in -320.0..320.0_f64, b in -320.0..320.0_f64) {
            prop_assert!((evidence_of(evidence_code(a)).unwrap() - a).abs() <= 0.005 + 1e-9);
            prop_assert!(a > b || evidence_code(a) <= evidence_code(b));
        }
    }
}
