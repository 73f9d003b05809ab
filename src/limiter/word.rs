//! The word of a count. The low 55 bits are a time in ticks of 64 ns: enough for 73 years. Above are eight bits of the key and a mark, which
//! belong to `key_table.rs`.

/// Nanoseconds of a tick.
const TICK_NS: u64 = 64;
/// Bits of the time.
pub(super) const TIME_BITS: u32 = 55;
/// The part of a word that is the time.
pub(super) const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// The longest span, 18 years: the sum of a time and a span fits into a word.
pub(super) const SPAN_MAX: u64 = TIME_MASK / 4;

/// Ticks of a time, rounded down.
pub(super) const fn ticks(ns: u64) -> u64 {
    let ticks = ns / TICK_NS;
    if ticks < SPAN_MAX { ticks } else { SPAN_MAX }
}

/// Nanoseconds of a span.
pub(super) const fn nanoseconds(ticks: u64) -> u64 {
    ticks.saturating_mul(TICK_NS)
}

/// The span that `tokens` requests take, rounded up: a rate is never exceeded.
pub(super) fn span(tokens: u32, interval_ns: u64) -> u64 {
    let ns = u128::from(tokens) * u128::from(interval_ns);
    u64::try_from(ns.div_ceil(u128::from(TICK_NS))).unwrap_or(SPAN_MAX).min(SPAN_MAX)
}
