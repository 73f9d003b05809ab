//! The values in the text of a fault.

/// The largest number of times.
const TIMES_MAX: f64 = 1e6;

/// How many requests have what a fault does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultAmount {
    /// So many times as on stable.
    Times(f64),
    /// This part of them, 0 to 1.
    Share(f64),
}

/// How slow the canary is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slowness {
    /// Each response takes so many times as long.
    Times(f64),
    /// This part of the responses is slow, 0 to 1.
    Share(f64),
}

impl FaultAmount {
    /// The part of the requests, where stable has `base`.
    pub(super) fn of(self, base: f64) -> f64 {
        match self {
            Self::Times(times) => (base * times).min(1.0),
            Self::Share(share) => share,
        }
    }
}

/// `3x`, `*3` or `5%`.
pub(super) fn amount(text: &str) -> Option<FaultAmount> {
    times(text).map(FaultAmount::Times).or_else(|| share(text).map(FaultAmount::Share))
}

/// `p99*2`, `2x` or `20%`.
pub(super) fn slowness(text: &str) -> Option<Slowness> {
    let times = times(text.strip_prefix("p99").unwrap_or(text));
    times.map(Slowness::Times).or_else(|| share(text).map(Slowness::Share))
}

/// More than 1 times: less is no fault.
fn times(text: &str) -> Option<f64> {
    let number = text.strip_suffix(['x', 'X', '×']).or_else(|| text.strip_prefix('*'))?;
    number.trim().parse().ok().filter(|times: &f64| *times > 1.0 && *times <= TIMES_MAX)
}

/// A percentage above 0, at most 100.
pub(super) fn share(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (percent > 0.0 && percent <= 100.0).then_some(percent / 100.0)
}

/// `250ms`, `5s`, `1h30m`, `2d`, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let units = &rest[digits..];
        let end = units.find(|letter: char| letter.is_ascii_digit()).unwrap_or(units.len());
        let unit = match &units[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        rest = &units[end..];
    }
    (!text.is_empty()).then_some(sum)
}
