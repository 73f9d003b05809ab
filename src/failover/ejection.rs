//! The rules of ejection: how long, and up to how many endpoints.

use std::time::Duration;

use super::cause::{FailureCause, FailureKind};

/// The longest ejection, unless the base is longer.
const LONGEST_MS: u64 = 300_000;
/// The deviation of an ejection's length to both sides, so that replicas do not try in step.
const JITTER: f64 = 0.1;

/// The endpoints of an upstream that are not drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All of them.
    pub total: usize,
    /// The ejected ones.
    pub ejected: usize,
    /// Those of them that answer badly.
    pub bad: usize,
}

impl Census {
    /// The same as if an endpoint were not ejected that is, by `cause`.
    pub(super) fn without(self, cause: Option<FailureCause>) -> Self {
        let Some(cause) = cause else { return self };
        debug_assert!(self.ejected > 0, "the endpoint is one of the ejected ones");
        let bad = self.bad.saturating_sub(usize::from(cause.is_capped()));
        Self { ejected: self.ejected.saturating_sub(1), bad, ..self }
    }
}

/// Why a failing endpoint is not ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptReason {
    /// It is the only endpoint.
    Alone,
    /// All others are ejected.
    LastUsable,
    /// As many endpoints are ejected as `max_ejected_percent` allows.
    Cap,
}

impl KeptReason {
    /// The reason as text, for logs and pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "it is the only endpoint",
            Self::LastUsable => "it is the last usable endpoint",
            Self::Cap => "max_ejected_percent is reached",
        }
    }
}

/// Why one more endpoint of `kind` may not be ejected; `None`: it may. The caps hold after adding.
pub(super) fn kept(kind: FailureKind, census: Census, max_percent: u32) -> Option<KeptReason> {
    debug_assert!(census.ejected <= census.total && census.bad <= census.ejected, "parts of the whole");
    if census.total < 2 {
        return Some(KeptReason::Alone);
    }
    if census.ejected + 1 >= census.total {
        return Some(KeptReason::LastUsable);
    }
    let most = (census.total * max_percent.min(100) as usize / 100).max(1);
    (kind == FailureKind::BadAnswer && census.bad + 1 > most).then_some(KeptReason::Cap)
}

/// The length of the `nth` ejection in a row, from 1, in milliseconds. `draw` is from 0 to 1.
pub(super) fn length_ms(base: Duration, nth: u32, draw: f64) -> u64 {
    debug_assert!(nth > 0, "counted from 1");
    let base_ms = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
    let doubled = base_ms.saturating_mul(1 << nth.saturating_sub(1).min(32));
    let length = Duration::from_millis(doubled.min(LONGEST_MS.max(base_ms)));
    let jittered = length.mul_f64(1.0 - JITTER + 2.0 * JITTER * draw.clamp(0.0, 1.0));
    u64::try_from(jittered.as_millis()).unwrap_or(u64::MAX)
}

/// The ejections in a row that still count after `quiet_ms` without one: each base time of quiet halves the next.
pub(super) fn in_row(in_row: u32, quiet_ms: u64, base: Duration) -> u32 {
    let base_ms = u64::try_from(base.as_millis()).unwrap_or(u64::MAX).max(1);
    match u32::try_from(quiet_ms / base_ms).unwrap_or(u32::MAX) {
        0 => in_row,
        // From the number whose length is the longest: halving a higher one would not shorten the ejection.
        halvings => in_row.min(longest_nth(base_ms)).saturating_sub(halvings),
    }
}

/// The first number of ejections in a row whose length is the longest.
const fn longest_nth(base_ms: u64) -> u32 {
    LONGEST_MS.div_ceil(base_ms).next_power_of_two().trailing_zeros() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_after_adding() {
        use FailureKind::{BadAnswer, NotAccepting};
        let kept = |kind, total, ejected, bad, percent| kept(kind, Census { total, ejected, bad }, percent);
        for kind in [BadAnswer, NotAccepting] {
            assert_eq!(kept(kind, 0, 0, 0, 100), Some(KeptReason::Alone));
            assert_eq!(kept(kind, 1, 0, 0, 100), Some(KeptReason::Alone));
            assert_eq!(kept(kind, 2, 1, 0, 100), Some(KeptReason::LastUsable));
            assert_eq!(kept(kind, 2, 0, 0, 1), None, "at least one where there are two");
        }
        assert_eq!(kept(BadAnswer, 4, 1, 1, 50), None);
        assert_eq!(kept(BadAnswer, 4, 2, 2, 50), Some(KeptReason::Cap));
        assert_eq!(kept(BadAnswer, 4, 2, 0, 50), None, "those that do not accept are outside this cap");
        assert_eq!(kept(NotAccepting, 4, 2, 2, 50), None);
        assert_eq!(kept(NotAccepting, 4, 3, 1, 50), Some(KeptReason::LastUsable));
        assert_eq!(kept(BadAnswer, 3, 1, 1, 50), Some(KeptReason::Cap), "rounded down");
    }

    #[test]
    fn an_ejection_doubles_with_each_in_a_row() {
        let base = Duration::from_secs(30);
        assert_eq!(
            [1, 2, 3, 4, 5, 60].map(|nth| length_ms(base, nth, 0.5)),
            [30_000, 60_000, 120_000, 240_000, 300_000, 300_000]
        );
        assert_eq!((length_ms(base, 1, 0.0), length_ms(base, 1, 1.0)), (27_000, 33_000));
        assert_eq!(length_ms(Duration::from_mins(10), 3, 0.5), 600_000, "a longer base is not cut");
    }

    #[test]
    fn quiet_halves_it() {
        let base = Duration::from_secs(30);
        assert_eq!([0, 29_999, 30_000, 90_000, u64::MAX].map(|quiet| in_row(3, quiet, base)), [3, 3, 2, 0, 0]);
        assert_eq!([0, 30_000, 120_000].map(|quiet| in_row(60, quiet, base)), [60, 4, 1], "from the longest one");
        let first_longest = [1_000, 30_000, 150_000, 300_000, 600_000].map(longest_nth);
        assert_eq!(first_longest, [10, 5, 2, 1, 1]);
    }
}
