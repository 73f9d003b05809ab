//! The wait before another try.

use std::time::Duration;

/// The longest wait before the first repeated try.
const FIRST_MS: u64 = 25;
/// The longest wait before any.
const LAST_MS: u64 = 250;

/// The wait before the `nth` repeated try, from 1: full jitter from 25 ms, doubling up to 250 ms. `draw` is from 0 to 1.
#[must_use]
pub fn back_off(nth: u32, draw: f64) -> Duration {
    debug_assert!((0.0..=1.0).contains(&draw), "a share");
    let doublings = nth.saturating_sub(1).min(8);
    let longest = FIRST_MS.saturating_mul(1 << doublings).min(LAST_MS);
    Duration::from_millis(longest).mul_f64(draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let longest = |nth| back_off(nth, 1.0).as_millis();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 100].map(longest), [25, 25, 50, 100, 200, 250, 250, 250]);
        assert_eq!(back_off(3, 0.0), Duration::ZERO);
        assert_eq!(back_off(3, 0.5), Duration::from_millis(50));
    }
}
