//! Freeze windows: times in which no release goes on. A window stops promotion, never a rollback.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// A freeze window.
#[derive(Clone, Debug, PartialEq)]
pub struct Freeze {
    /// As it is written, such as `fri 16:00 - mon 08:00`.
    pub text: String,
    /// The zone of its times.
    pub zone: TimeZone,
    /// When it is in force.
    pub span: FreezeSpan,
}

/// When a freeze window is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeSpan {
    /// Each day between these times; over midnight when the end is not after the begin.
    Daily {
        /// The first moment.
        from: Time,
        /// The first moment after it.
        to: Time,
    },
    /// Each week between these times; over Sunday when the end is not after the begin.
    Weekly {
        /// The first moment.
        from: (Weekday, Time),
        /// The first moment after it.
        to: (Weekday, Time),
    },
    /// Once, in milliseconds since the Unix epoch. The last day of a window of dates is in it.
    Dates {
        /// The first moment.
        from_ms: u64,
        /// The first moment after it.
        to_ms: u64,
    },
}

/// A freeze window that is in force now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen<'a> {
    /// The window, as it is written.
    pub text: &'a str,
    /// The first moment at which none is in force, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// So many windows that follow each other without a gap are looked at: more than that is a freeze without an end in sight.
const JOINED_MAX: usize = 64;
/// The longest time between the begins of a weekly window, in days, with those that a change of the zone's offset moves.
const LOOK_DAYS: i64 = 9;

/// The window in force, with the end of all windows that overlap it or follow it without a gap.
#[must_use]
pub fn frozen<'a>(windows: &[&'a Freeze], now_ms: u64) -> Option<Frozen<'a>> {
    let latest = |at: u64| {
        let ends = windows.iter().filter_map(move |one| Some(Frozen { text: &one.text, until_ms: one.until(at)? }));
        ends.max_by_key(|one| one.until_ms)
    };
    let Frozen { text, mut until_ms } = latest(now_ms)?;
    for _ in 0..JOINED_MAX {
        let Some(Frozen { until_ms: later, .. }) = latest(until_ms) else { break };
        debug_assert!(later > until_ms, "a window ends after any moment in it");
        until_ms = later;
    }
    Some(Frozen { text, until_ms })
}

/// A window of one day or week, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
struct Occurrence {
    from_ms: u64,
    to_ms: u64,
}

impl Freeze {
    /// The end of the window, if it is in force: the first moment after it, in milliseconds since the Unix epoch. A time
    /// that the zone skips is as much later, one that it has twice is the first of the two.
    #[must_use]
    pub fn until(&self, now_ms: u64) -> Option<u64> {
        let here = self.around(now_ms).into_iter().filter(|one| one.from_ms <= now_ms && now_ms < one.to_ms);
        here.map(|one| one.to_ms).max()
    }

    /// When the window begins next, after this moment, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn next(&self, now_ms: u64) -> Option<u64> {
        self.around(now_ms).into_iter().map(|one| one.from_ms).filter(|from| *from > now_ms).min()
    }

    /// The windows near a moment.
    fn around(&self, now_ms: u64) -> Vec<Occurrence> {
        match self.span {
            FreezeSpan::Dates { from_ms, to_ms } => vec![Occurrence { from_ms, to_ms }],
            FreezeSpan::Daily { from, to } => {
                self.near(now_ms, |_| true, DayTimes { from, to, days: i64::from(to <= from) })
            }
            FreezeSpan::Weekly { from: (first, from), to: (last, to) } => {
                let days = i64::from(first.until(last));
                let days = if days == 0 && to <= from { 7 } else { days };
                self.near(now_ms, |day| day.weekday() == first, DayTimes { from, to, days })
            }
        }
    }

    /// The windows that begin on such days near a moment.
    fn near(&self, now_ms: u64, begins: impl Fn(Date) -> bool, times: DayTimes) -> Vec<Occurrence> {
        let Some(now) = i64::try_from(now_ms).ok().and_then(|now| Timestamp::from_millisecond(now).ok()) else {
            return Vec::new();
        };
        let today = self.zone.to_datetime(now).date();
        let near = (-LOOK_DAYS..=LOOK_DAYS).filter_map(|away| today.checked_add(days(away)).ok());
        let each = near.filter(|day| begins(*day)).filter_map(|day| {
            let from_ms = self.moment(day, times.from)?;
            let to_ms = self.moment(day.checked_add(days(times.days)).ok()?, times.to)?;
            Some(Occurrence { from_ms, to_ms })
        });
        each.collect()
    }

    fn moment(&self, day: Date, time: Time) -> Option<u64> {
        let at = self.zone.to_timestamp(day.to_datetime(time)).ok()?;
        // What was before the epoch has begun at it.
        Some(u64::try_from(at.as_millisecond()).unwrap_or(0))
    }
}

/// The times of a window: its end is so many days after its begin.
#[derive(Clone, Copy, Debug)]
struct DayTimes {
    from: Time,
    to: Time,
    days: i64,
}

fn days(count: i64) -> Span {
    Span::new().days(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn daily(name: &str, from: &str, to: &str) -> Freeze {
        let span = FreezeSpan::Daily { from: from.parse().unwrap(), to: to.parse().unwrap() };
        Freeze { text: format!("daily {from} - {to}"), zone: zone(name), span }
    }

    fn weekly(name: &str, from: (Weekday, &str), to: (Weekday, &str)) -> Freeze {
        let at = |(day, time): (Weekday, &str)| (day, time.parse::<Time>().unwrap());
        Freeze { text: "weekly".to_owned(), zone: zone(name), span: FreezeSpan::Weekly { from: at(from), to: at(to) } }
    }

    #[test]
    fn a_daily_window_holds_each_day_and_over_midnight() {
        let lunch = daily("Europe/Paris", "11:30", "14:00");
        assert_eq!(lunch.until(ms("2026-12-02T10:30:00Z")), Some(ms("2026-12-02T13:00:00Z")));
        assert_eq!(lunch.until(ms("2026-12-02T10:29:59Z")), None);
        assert_eq!(lunch.until(ms("2026-12-02T13:00:00Z")), None, "the end is not in it");
        assert_eq!(lunch.next(ms("2026-12-02T10:29:59Z")), Some(ms("2026-12-02T10:30:00Z")));
        assert_eq!(lunch.next(ms("2026-12-02T10:30:00Z")), Some(ms("2026-12-03T10:30:00Z")));
        let night = daily("UTC", "22:00", "06:00");
        assert_eq!(night.until(ms("2026-12-02T23:00:00Z")), Some(ms("2026-12-03T06:00:00Z")));
        assert_eq!(night.until(ms("2026-12-03T05:59:59Z")), Some(ms("2026-12-03T06:00:00Z")));
        assert_eq!(night.until(ms("2026-12-03T06:00:00Z")), None);
        let always = daily("UTC", "00:00", "00:00");
        assert!(always.until(ms("2026-12-03T06:00:00Z")).is_some());
    }

    #[test]
    fn a_weekly_window_holds_over_the_weekend() {
        let weekend = weekly("Europe/Paris", (Weekday::Friday, "16:00"), (Weekday::Monday, "08:00"));
        let end = Some(ms("2026-12-07T07:00:00Z"));
        for inside in ["2026-12-04T15:00:00Z", "2026-12-05T12:00:00Z", "2026-12-06T23:59:59Z", "2026-12-07T06:59:59Z"] {
            assert_eq!(weekend.until(ms(inside)), end, "{inside}");
        }
        for outside in ["2026-12-04T14:59:59Z", "2026-12-07T07:00:00Z", "2026-12-09T12:00:00Z"] {
            assert_eq!(weekend.until(ms(outside)), None, "{outside}");
        }
        assert_eq!(weekend.next(ms("2026-12-07T07:00:00Z")), Some(ms("2026-12-11T15:00:00Z")));
        let hours = weekly("UTC", (Weekday::Monday, "08:00"), (Weekday::Monday, "10:00"));
        assert_eq!(hours.until(ms("2026-12-07T09:00:00Z")), Some(ms("2026-12-07T10:00:00Z")));
        assert_eq!(hours.until(ms("2026-12-08T09:00:00Z")), None);
        let almost_a_week = weekly("UTC", (Weekday::Monday, "10:00"), (Weekday::Monday, "08:00"));
        assert_eq!(almost_a_week.until(ms("2026-12-09T09:00:00Z")), Some(ms("2026-12-14T08:00:00Z")));
        assert_eq!(almost_a_week.until(ms("2026-12-07T09:00:00Z")), None);
    }

    #[test]
    fn a_time_that_a_zone_skips_or_has_twice_is_resolved() {
        // On 2026-03-29 Paris goes from 02:00 to 03:00, on 2026-10-25 from 03:00 to 02:00.
        let short = daily("Europe/Paris", "02:15", "02:45");
        assert_eq!(short.until(ms("2026-03-29T01:20:00Z")), Some(ms("2026-03-29T01:45:00Z")), "03:15 to 03:45");
        assert_eq!(short.until(ms("2026-10-25T00:20:00Z")), Some(ms("2026-10-25T00:45:00Z")), "the first of the two");
        assert_eq!(short.until(ms("2026-10-25T01:20:00Z")), None);
        let night = daily("Europe/Paris", "22:00", "06:00");
        assert_eq!(night.until(ms("2026-03-28T22:00:00Z")), Some(ms("2026-03-29T04:00:00Z")), "one hour less");
        assert_eq!(night.until(ms("2026-10-24T22:00:00Z")), Some(ms("2026-10-25T05:00:00Z")), "one hour more");
        // Lord Howe moves its clocks by half an hour, and Samoa has no 2011-12-30.
        let half = daily("Australia/Lord_Howe", "02:10", "02:20");
        assert_eq!(half.until(ms("2026-10-03T15:45:00Z")), Some(ms("2026-10-03T15:50:00Z")));
        let skipped = daily("Pacific/Apia", "00:00", "12:00");
        assert!(skipped.until(ms("2011-12-30T10:00:00Z")).is_some());
    }

    #[test]
    fn windows_that_touch_are_one() {
        let dates = |from: &str, to: &str| {
            let span = FreezeSpan::Dates { from_ms: ms(from), to_ms: ms(to) };
            Freeze { text: from.to_owned(), zone: TimeZone::UTC, span }
        };
        let holidays = dates("2026-12-19T00:00:00Z", "2027-01-04T00:00:00Z");
        let weekend = weekly("UTC", (Weekday::Friday, "16:00"), (Weekday::Monday, "08:00"));
        let windows = [&holidays, &weekend];
        let friday = frozen(&windows, ms("2026-12-18T17:00:00Z")).unwrap();
        assert_eq!(friday, Frozen { text: "weekly", until_ms: ms("2027-01-04T08:00:00Z") });
        assert_eq!(frozen(&windows, ms("2027-01-04T08:00:00Z")), None);
        assert_eq!(frozen(&[], 0), None);
        let always = daily("UTC", "00:00", "00:00");
        assert!(
            frozen(&[&always], ms("2026-12-18T17:00:00Z")).is_some_and(|one| one.until_ms > ms("2027-01-18T17:00:00Z"))
        );
    }

    #[test]
    fn no_clock_panics() {
        let all = [
            daily("Europe/Paris", "22:00", "06:00"),
            weekly("America/New_York", (Weekday::Friday, "16:00"), (Weekday::Monday, "08:00")),
        ];
        for one in &all {
            for now in
                [0, 1, DAY, u64::MAX, u64::MAX / 2, 253_402_207_200_000, 253_402_300_799_999, i64::MAX.cast_unsigned()]
            {
                let _ = (one.until(now), one.next(now));
            }
        }
        assert_eq!(all[0].until(0), Some(5 * HOUR), "what began before the epoch");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn a_window_is_in_force_by_the_clock_on_the_wall(
            zone_at in 0..5_usize,
            now in 1_700_000_000_000..2_000_000_000_000_u64,
            from in 0..1_440_i16,
            to in 0..1_440_i16,
        ) {
            let name =
                ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"][zone_at];
            let (from, to) = (time(from), time(to));
            let freeze = Freeze { text: String::new(), zone: zone(name), span: FreezeSpan::Daily { from, to } };
            let local = freeze.zone.to_datetime(Timestamp::from_millisecond(now.cast_signed()).unwrap()).time();
            let by_the_wall = if from < to { from <= local && local < to } else { local >= from || local < to };
            // On the days of a change the wall shows some times twice, and others never.
            let changes = (now - 2 * DAY..now + 2 * DAY).step_by(3_600_000).any(|at| offset(&freeze, at) != offset(&freeze, at + HOUR));
            if !changes {
                prop_assert_eq!(freeze.until(now).is_some(), by_the_wall);
            }
            if let Some(until) = freeze.until(now) {
                prop_assert!(until > now && until <= now + 2 * DAY);
                prop_assert_eq!(freeze.until(until - 1).is_some(), true, "in force to its end");
                let after = freeze.until(until);
                prop_assert!(after.is_none_or(|next| next > until));
            }
            let next = freeze.next(now).unwrap();
            prop_assert!(next > now && next <= now + 2 * DAY);
            prop_assert!(freeze.until(next).is_some() || from == to || changes);
            // No moment between is in force, but for a window that is under way.
            if freeze.until(now).is_none() {
                prop_assert!(freeze.until(next - 1).is_none());
            }
        }

        #[test]
        fn a_week_has_its_window_once(
            zone_at in 0..4_usize,
            now in 1_700_000_000_000..2_000_000_000_000_u64,
            first in 1..=7_i8,
            last in 1..=7_i8,
            from in 0..1_440_i16,
            to in 0..1_440_i16,
        ) {
            let name = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"][zone_at];
            let day = |number| Weekday::from_monday_one_offset(number).unwrap();
            let span = FreezeSpan::Weekly { from: (day(first), time(from)), to: (day(last), time(to)) };
            let freeze = Freeze { text: String::new(), zone: zone(name), span };
            let next = freeze.next(now).unwrap();
            prop_assert!(next > now && next <= now + 8 * DAY);
            if let Some(until) = freeze.until(now) {
                prop_assert!(until > now && until <= now + 8 * DAY);
                prop_assert!(freeze.until(until - 1).is_some());
            }
        }
    }

    fn time(minutes: i16) -> Time {
        let (hour, minute) = (minutes / 60, minutes % 60);
        Time::new(hour.try_into().unwrap(), minute.try_into().unwrap(), 0, 0).unwrap()
    }

    fn offset(freeze: &Freeze, at: u64) -> i32 {
        freeze.zone.to_offset(Timestamp::from_millisecond(at.cast_signed()).unwrap()).seconds()
    }
}
