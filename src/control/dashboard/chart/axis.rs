//! The axis of values of a chart: round steps (1, 2, 5 × 10^k), and where a value stands between the ends.

use super::super::figures::short;

/// What the figures of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisUnit {
    /// Percent.
    Percent,
    /// Milliseconds.
    Millis,
    /// Decimal logarithms.
    Log10,
}

/// A round value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisTick {
    /// Where it stands: 0 at the lower end, 1 at the upper one.
    pub part: f64,
    /// The figure with its unit.
    pub label: String,
}

/// An axis of values.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueAxis {
    low: f64,
    high: f64,
    scale: AxisScale,
    /// Its round values, from the lower end up.
    pub ticks: Vec<AxisTick>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AxisScale {
    Linear,
    Logarithmic,
}

/// The most round values that an axis shows.
const TICKS_MAX: u32 = 5;
/// The least value of a logarithmic axis.
const LOG_LEAST: f64 = 1e-3;
/// The largest value of a logarithmic axis.
const LOG_LARGEST: f64 = 1e12;

impl ValueAxis {
    /// From zero to a round value at or above `high`.
    pub fn from_zero(high: f64, unit: AxisUnit) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        let step = nice_step(high, TICKS_MAX - 1);
        let mut axis = Self::between(0.0, (high / step - 1e-9).ceil() * step, unit);
        axis.label_steps(step, unit);
        axis
    }

    /// With exactly these ends.
    pub fn between(low: f64, high: f64, unit: AxisUnit) -> Self {
        let low = if low.is_finite() { low } else { 0.0 };
        let high = if high.is_finite() && high > low { high } else { low + 1.0 };
        let mut axis = Self { low, high, scale: AxisScale::Linear, ticks: Vec::new() };
        axis.label_steps(nice_step(high - low, TICKS_MAX), unit);
        axis
    }

    /// A logarithmic one, from a round value at or below `low` to one at or above `high`.
    pub fn logarithmic(low: f64, high: f64, unit: AxisUnit) -> Self {
        let low = if low.is_finite() { low.clamp(LOG_LEAST, LOG_LARGEST) } else { LOG_LEAST };
        let high = if high.is_finite() { high.clamp(low, LOG_LARGEST) } else { low };
        let round = rounds_between(low, high);
        let (low, high) = match (round.first(), round.last()) {
            (Some(first), Some(last)) => (*first, *last),
            (None, _) | (_, None) => (low, low * 10.0),
        };
        let mut axis = Self { low, high, scale: AxisScale::Logarithmic, ticks: Vec::new() };
        axis.ticks = shown_of(&round)
            .into_iter()
            .map(|value| AxisTick { part: axis.part(value), label: unit.of(value) })
            .collect();
        axis
    }

    /// Where a value stands: 0 at the lower end, 1 at the upper one. Values beyond an end stand at the end.
    pub fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            AxisScale::Linear => (value - self.low) / (self.high - self.low),
            AxisScale::Logarithmic => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The lower end.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The upper end.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Puts a tick at each multiple of a step.
    fn label_steps(&mut self, step: f64, unit: AxisUnit) {
        let first = (self.low / step - 1e-9).ceil();
        let values = (0..=TICKS_MAX + 1).map(|at| (first + f64::from(at)) * step);
        let inside = values.take_while(|value| *value <= self.high + step * 1e-6);
        self.ticks = inside
            .map(|value| AxisTick { part: self.part(value), label: unit.in_steps(value, step, self.high) })
            .collect();
    }
}

impl AxisUnit {
    /// A figure with its unit.
    pub fn of(self, value: f64) -> String {
        let figure = |value: f64| short(value).replace('-', "\u{2212}");
        match self {
            Self::Percent => format!("{}\u{a0}%", figure(value)),
            Self::Millis if value >= 1_000.0 => format!("{}\u{a0}s", figure(value / 1e3)),
            Self::Millis => format!("{}\u{a0}ms", figure(value)),
            Self::Log10 => figure(value),
        }
    }

    /// The figure of a tick: all ticks of an axis have the same decimals and the same unit.
    fn in_steps(self, value: f64, step: f64, high: f64) -> String {
        let (factor, unit) = match self {
            Self::Percent => (1.0, "\u{a0}%"),
            Self::Millis if high >= 2_000.0 => (1e-3, "\u{a0}s"),
            Self::Millis => (1.0, "\u{a0}ms"),
            Self::Log10 => (1.0, ""),
        };
        if value.abs() < step * 1e-6 {
            return format!("0{unit}");
        }
        let decimals = decimals_of(step * factor);
        format!("{:.decimals$}{unit}", value * factor).replace('-', "\u{2212}")
    }
}

/// The least of 1, 2, 5 × 10^k of which at most `most` cover the range.
pub fn nice_step(range: f64, most: u32) -> f64 {
    let least = range / f64::from(most.max(1));
    if !least.is_normal() || least < 0.0 {
        return 1.0;
    }
    let decade = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|digit| digit * decade);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(decade * 10.0)
}

/// The values 1, 2, 5 × 10^k from the last one at or below `low` to the first one at or above `high`.
fn rounds_between(low: f64, high: f64) -> Vec<f64> {
    let decade = low.log10().floor();
    let mut round: Vec<f64> = Vec::new();
    for at in 0..24 {
        for digit in [1.0, 2.0, 5.0] {
            let value = digit * 10_f64.powf(decade + f64::from(at));
            if value <= low * (1.0 + 1e-9) {
                round.clear();
            }
            round.push(value);
            if value >= high * (1.0 - 1e-9) && round.len() > 1 {
                return round;
            }
        }
    }
    round
}

/// The round values of a logarithmic axis that are shown: all when they are few, else the decades, and the ends where
/// these are not too near.
fn shown_of(round: &[f64]) -> Vec<f64> {
    let (first, last) = (round.first().copied().unwrap_or(1.0), round.last().copied().unwrap_or(1.0));
    let near = (last / first).powf(0.12);
    let is_end = |value: f64| {
        let is_inner = |end: f64| value.to_bits() == end.to_bits();
        let decades = round.iter().filter(|decade| is_decade(**decade));
        let mut distances = decades.map(|decade| (value / decade).max(decade / value));
        (is_inner(first) || is_inner(last)) && distances.all(|distance| distance > near)
    };
    let few = round.len() <= 5;
    let shown: Vec<f64> = round.iter().copied().filter(|value| few || is_decade(*value) || is_end(*value)).collect();
    let every = shown.len().div_ceil(7).max(1);
    shown.into_iter().step_by(every).collect()
}

fn is_decade(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

/// How many decimals a step has.
fn decimals_of(step: f64) -> usize {
    let mut rest = step;
    let mut decimals = 0;
    while decimals < 9 && (rest - rest.round()).abs() > 1e-6 * rest.abs() {
        rest *= 10.0;
        decimals += 1;
    }
    decimals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges of all sizes, by a generator with a fixed start.
    fn ranges() -> impl Iterator<Item = [f64; 2]> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut part = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX)
        };
        std::iter::repeat_with(move || {
            let size = 10_f64.powf(part() * 14.0 - 5.0);
            let low = (part() - 0.5) * 4.0 * size;
            [low, low + size * (part() + 1e-3)]
        })
        .take(5_000)
    }

    #[test]
    fn steps_are_round_and_as_small_as_fits() {
        for [low, high] in ranges() {
            for most in 1..9 {
                let step = nice_step(high - low, most);
                let digit = step / 10_f64.powf(step.log10().floor() + 1e-9);
                assert!([1.0, 2.0, 5.0, 10.0].iter().any(|one| (digit - one).abs() < 1e-6), "{step}: {digit}");
                let count = (high - low) / step;
                assert!(count <= f64::from(most) * (1.0 + 1e-6) && count > f64::from(most) / 2.6, "{count} of {most}");
            }
        }
        for (range, step) in
            [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (-3.0, 1.0), (0.0, 1.0), (10.0, 2.0), (0.01, 0.002)]
        {
            assert!((nice_step(range, 5) - step).abs() < 1e-9, "{range}");
        }
    }

    #[test]
    fn ticks_rise_in_equal_steps_within_the_ends() {
        for [low, high] in ranges() {
            let zero = ValueAxis::from_zero(high, AxisUnit::Percent);
            assert!(zero.high() >= high * (1.0 - 1e-9) && zero.low() == 0.0 && zero.ticks.len() >= 2);
            assert!((zero.ticks[zero.ticks.len() - 1].part - 1.0).abs() < 1e-6, "a tick at the upper end: {zero:?}");
            for axis in [zero, ValueAxis::between(low, high, AxisUnit::Log10)] {
                let parts: Vec<f64> = axis.ticks.iter().map(|tick| tick.part).collect();
                assert!((2..=7).contains(&parts.len()), "{axis:?}");
                let steps: Vec<f64> = parts.windows(2).map(|two| two[1] - two[0]).collect();
                assert!(steps.iter().all(|step| (step - steps[0]).abs() < 1e-6 && *step > 0.0), "{axis:?}");
                assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)), "{axis:?}");
            }
        }
    }

    #[test]
    fn a_place_rises_with_the_value_and_stays_within_the_axis() {
        for [low, high] in ranges() {
            let logarithmic = ValueAxis::logarithmic(low.abs().min(1e9), high.abs().min(1e12), AxisUnit::Millis);
            assert!((2..=7).contains(&logarithmic.ticks.len()), "{logarithmic:?}");
            for axis in [logarithmic, ValueAxis::between(low, high, AxisUnit::Millis)] {
                let mut before = 0.0;
                for at in -2..=22 {
                    let part = axis.part(axis.low() + (axis.high() - axis.low()) * f64::from(at) / 20.0);
                    assert!((0.0..=1.0).contains(&part) && part >= before, "{part} after {before} of {axis:?}");
                    before = part;
                }
            }
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN] {
            assert!((0.0..=1.0).contains(&ValueAxis::from_zero(1.0, AxisUnit::Percent).part(value)));
            let axis = ValueAxis::logarithmic(value, value, AxisUnit::Millis);
            assert!(
                (0.0..=1.0).contains(&axis.part(value)) && axis.high() > axis.low() && axis.high() < 1e30,
                "{axis:?}"
            );
            assert!(ValueAxis::between(value, value, AxisUnit::Log10).ticks.len() < 9);
        }
    }

    #[test]
    fn the_figures_of_an_axis_have_one_unit_and_the_decimals_of_the_step() {
        let labels = |axis: ValueAxis| axis.ticks.into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ");
        let percent = labels(ValueAxis::from_zero(0.9, AxisUnit::Percent));
        assert_eq!(percent.replace('\u{a0}', ""), "0% 0.5% 1.0%");
        assert_eq!(labels(ValueAxis::from_zero(100.0, AxisUnit::Percent)).replace('\u{a0}', ""), "0% 50% 100%");
        assert_eq!(labels(ValueAxis::from_zero(3_600.0, AxisUnit::Millis)).replace('\u{a0}', ""), "0s 1s 2s 3s 4s");
        assert_eq!(labels(ValueAxis::between(-1.0, 3.28, AxisUnit::Log10)), "\u{2212}1 0 1 2 3");
        let logarithmic = labels(ValueAxis::logarithmic(3.0, 4_100.0, AxisUnit::Millis)).replace('\u{a0}', "");
        assert_eq!(logarithmic, "2ms 10ms 100ms 1s 5s");
    }
}
