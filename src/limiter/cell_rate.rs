//! The rule that changes a count: the generic cell rate algorithm (GCRA).

use super::pace::RatePace;
use super::word::{SPAN_MAX, nanoseconds};

/// Takes up to `want` tokens of a count at `now`. Returns the time of the count after it, and how many were taken.
///
/// # Errors
/// The ticks until one is there.
pub(super) fn step(time: u64, now: u64, pace: &RatePace, want: u32) -> Result<(u64, u32), u64> {
    debug_assert!(want > 0 && now <= SPAN_MAX, "a request takes a token, at a time in ticks");
    let full = now + pace.tolerance();
    // After a change of the rate, or a time that went backwards, the time may be later than that.
    let used = time.clamp(now, full);
    let left = full - used;
    let there = nanoseconds(left) / pace.interval_ns();
    let taken = u32::try_from(there).unwrap_or(u32::MAX).min(want);
    if taken == 0 {
        return Err(pace.span(1).min(pace.tolerance()) - left);
    }
    let after = (used + pace.span(taken)).min(full);
    debug_assert!(after > now, "what was taken is in the count");
    Ok((after, taken))
}
