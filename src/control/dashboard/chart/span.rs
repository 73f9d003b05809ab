//! The span of time of a chart: the moments of its points, and its round times.

use jiff::Timestamp;

use super::super::figures::span as length;

/// Steps between round times, in seconds.
const STEPS: [i64; 21] = [
    5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    2_592_000, 7_776_000, 31_536_000,
];
const DAY: i64 = 86_400;
/// The most round times on a wide chart.
const WIDE_MAX: i64 = 7;
/// The same with seconds, which take more room.
const LONG_MAX: i64 = 4;
/// The most round times on a narrow chart.
const NARROW_MAX: i64 = 3;

/// The points of a chart in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChartSpan {
    begin: i64,
    step: i64,
    points: usize,
}

/// Where a round time is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TickRoom {
    /// On charts of any width.
    Any,
    /// On wide charts.
    Wide,
}

/// A round time.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeTick {
    /// Where it stands: 0 at the begin, 1 at the end.
    pub part: f64,
    /// `14:05`, or the date at midnight.
    pub label: String,
    /// Where it is shown.
    pub room: TickRoom,
}

impl ChartSpan {
    /// `points` points of `step` seconds from `begin` on; `None`: no such moments.
    pub fn new(begin: Timestamp, step: i64, points: usize) -> Option<Self> {
        let span = Self { begin: begin.as_second(), step, points };
        let is_sound = (1..=DAY).contains(&step) && (1..=100_000).contains(&points);
        (is_sound && Timestamp::from_second(span.end_of(points)).is_ok()).then_some(span)
    }

    /// How many points it has.
    pub fn points(&self) -> usize {
        self.points
    }

    /// The time of one point, such as `10 s`.
    pub fn step_words(&self) -> String {
        length(self.step.unsigned_abs().saturating_mul(1_000))
    }

    /// The time of all points.
    pub fn length_words(&self) -> String {
        length((self.end_of(self.points) - self.begin).unsigned_abs().saturating_mul(1_000))
    }

    /// Where the end of a point stands, from 0 to 1.
    pub fn part(&self, point: usize) -> f64 {
        let index = |at: usize| u32::try_from(at).map_or(f64::from(u32::MAX), f64::from);
        (index(point) + 1.0) / index(self.points.max(1))
    }

    /// `2026-12-01 13:03:10 to 14:03:10 UTC`.
    pub fn words(&self) -> String {
        let (begin, end) = (self.begin, self.end_of(self.points));
        let last = if begin.div_euclid(DAY) == end.div_euclid(DAY) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        format!("{} to {}\u{a0}UTC", written(begin, "%Y-%m-%d %H:%M:%S"), written(end, last))
    }

    /// The moment at which a point ends, `14:03:10 UTC`; with its date when the span has several.
    pub fn moment(&self, point: usize) -> String {
        let end = self.end_of(self.points);
        let format = if self.begin.div_euclid(DAY) == end.div_euclid(DAY) { "%H:%M:%S" } else { "%-d %b %H:%M:%S" };
        format!("{}\u{a0}UTC", written(self.end_of(point + 1), format).replace(' ', "\u{a0}"))
    }

    /// Its round times.
    pub fn ticks(&self) -> Vec<TimeTick> {
        let end = self.end_of(self.points);
        let first_of = |most: i64, multiple: i64| {
            STEPS.into_iter().find(|step| step % multiple == 0 && self.rounds(*step) <= most)
        };
        let step = first_of(WIDE_MAX, 1).filter(|step| *step >= 60).or_else(|| first_of(LONG_MAX, 1));
        let Some(step) = step else { return Vec::new() };
        let narrow = first_of(NARROW_MAX, step).filter(|narrow| self.rounds(*narrow) > 1);
        let narrow =
            narrow.unwrap_or_else(|| step * (self.rounds(step) + NARROW_MAX - 1).div_euclid(NARROW_MAX).max(1));
        let first = self.begin.div_euclid(step) + i64::from(self.begin.rem_euclid(step) > 0);
        let times = (first..=end.div_euclid(step)).map(|at| at * step);
        times
            .map(|time| TimeTick {
                part: ratio(time - self.begin, end - self.begin),
                label: label_of(time, step),
                room: if time % narrow == 0 { TickRoom::Any } else { TickRoom::Wide },
            })
            .collect()
    }

    /// How many multiples of a step lie in it.
    fn rounds(&self, step: i64) -> i64 {
        self.end_of(self.points).div_euclid(step) - (self.begin - 1).div_euclid(step)
    }

    /// The second at which so many points end.
    fn end_of(&self, points: usize) -> i64 {
        let points = i64::try_from(points).unwrap_or(i64::MAX);
        self.begin.saturating_add(points.saturating_mul(self.step))
    }
}

fn label_of(time: i64, step: i64) -> String {
    let format = match (time.rem_euclid(DAY), step) {
        (0, 60..) => "%-d\u{a0}%b",
        (_, ..60) => "%H:%M:%S",
        (_, 60..) => "%H:%M",
    };
    written(time, format)
}

fn written(second: i64, format: &str) -> String {
    Timestamp::from_second(second).map_or_else(|_| "–".to_owned(), |time| time.strftime(format).to_string())
}

#[expect(clippy::cast_precision_loss, reason = "places on a chart")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(begin: &str, step: i64, points: usize) -> ChartSpan {
        ChartSpan::new(begin.parse().unwrap(), step, points).unwrap()
    }

    #[test]
    fn times_are_round_and_few() {
        for points in [1, 2, 3, 7, 20, 60, 133, 300] {
            for step in [1, 2, 10, 20, 60, 290, 3_600, 86_400] {
                for begin in ["2026-12-01T13:03:10Z", "2026-02-28T23:59:59Z", "1969-12-31T00:00:00Z"] {
                    let span = span(begin, step, points);
                    let ticks = span.ticks();
                    let narrow = ticks.iter().filter(|tick| tick.room == TickRoom::Any).count();
                    assert!(ticks.len() <= 7 && narrow <= 3, "{span:?}: {ticks:?}");
                    assert!(ticks.is_empty() || narrow > 0, "{span:?}: {ticks:?}");
                    // At least one where the span is longer than the smallest step.
                    assert!(!ticks.is_empty() || step * i64::try_from(points).unwrap() < 5, "{span:?}");
                    assert!(ticks.windows(2).all(|two| two[0].part < two[1].part), "{ticks:?}");
                    assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&tick.part)), "{ticks:?}");
                }
            }
        }
    }

    #[test]
    fn times_are_absolute() {
        let hour = span("2026-12-01T13:03:10Z", 10, 360);
        assert_eq!(hour.words(), "2026-12-01 13:03:10 to 14:03:10\u{a0}UTC");
        assert_eq!(hour.moment(359), "14:03:10\u{a0}UTC");
        assert_eq!((hour.step_words().as_str(), hour.length_words().as_str()), ("10\u{a0}s", "1\u{a0}h"));
        let labels: Vec<String> = hour.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["13:10", "13:20", "13:30", "13:40", "13:50", "14:00"]);
        let day = span("2026-11-30T14:03:10Z", 290, 298);
        let labels: Vec<String> = day.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["18:00", "1\u{a0}Dec", "06:00", "12:00"]);
        assert!(day.words().ends_with("2026-12-01 14:03:30\u{a0}UTC"), "{}", day.words());
        let short = span("2026-12-01T13:03:12Z", 1, 9);
        let labels: Vec<String> = short.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["13:03:15", "13:03:20"]);
    }

    #[test]
    fn what_is_no_span_is_none() {
        for (step, points) in [(0, 1), (-10, 1), (10, 0), (i64::MAX, 1), (10, usize::MAX)] {
            assert_eq!(ChartSpan::new(Timestamp::UNIX_EPOCH, step, points), None, "{step} {points}");
        }
        assert_eq!(ChartSpan::new(Timestamp::MAX, 10, 1), None);
        assert!(ChartSpan::new(Timestamp::MIN, 10, 1).is_some_and(|span| span.ticks().len() < 8));
    }
}
