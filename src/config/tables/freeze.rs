//! `freeze`: windows such as `fri 16:00 - mon 08:00`, `daily 11:30 - 14:00` or `2026-12-20 - 2027-01-03 Europe/Paris`.

use std::borrow::Cow;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use super::{rollout_dates, zone};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{KeySpec, Shape, optional};
use crate::config::toml::suggest::nearest;
use crate::config::toml::value;
use crate::route::{Freeze, FreezeSpan};

/// The most windows of one list.
const WINDOWS_MAX: usize = 64;

/// `freeze`.
pub(super) const FREEZE: KeySpec = optional(
    "freeze",
    Shape::OneOrMore(&Shape::Text),
    "Times in which no rollout goes on: `[DAY|daily] HH:MM - [DAY] HH:MM [ZONE]`, such as `fri 16:00 - mon 08:00`, or \
     `YYYY-MM-DD - YYYY-MM-DD [ZONE]`, the last day included. They stop promotion, never a rollback.",
);

/// Help for a text that is no window.
const EXAMPLES: &str = "write `fri 16:00 - mon 08:00`, `daily 11:30 - 14:00` or `2026-12-20 - 2027-01-03`; a time zone may \
                        follow, such as `Europe/Paris`";

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// What is wrong with a window: a message, and a help.
type Fault = (String, Cow<'static, str>);

/// Compiles the windows of `freeze`. `usual` is the zone of windows without one.
pub(super) fn freezes(context: &mut Context<'_>, reader: &Reader<'_>, usual: &TimeZone) -> Vec<Freeze> {
    let items = reader.get("freeze").map(|item| item.one_or_more()).unwrap_or_default();
    if items.len() > WINDOWS_MAX {
        let message = format!("`freeze` has at most {WINDOWS_MAX} windows");
        context.report(Finding::error("too-many", reader.place("freeze"), message));
        return Vec::new();
    }
    let one = |item: &Item<'_>| item.text(context).and_then(|text| freeze(context, &text, usual));
    items.iter().filter_map(one).collect()
}

fn freeze(context: &mut Context<'_>, text: &SpannedString<'_>, usual: &TimeZone) -> Option<Freeze> {
    let (window, zone_name) = split_zone(text);
    let zone = match zone_name {
        None => usual.clone(),
        Some(name) => {
            let begin = text.rfind(name).unwrap_or(0);
            let at = value::inside(context, text, begin, name.len());
            zone::zone(context, name, at)?
        }
    };
    match span(window, &zone) {
        Ok(span) => {
            warn_of_a_day(context, text, &span);
            Some(Freeze { text: text.shown().to_owned(), zone, span })
        }
        Err((message, help)) => {
            context.report(Finding::error("bad-freeze", text.span, message).help(help));
            None
        }
    }
}

/// Warns of a window such as `fri 16:00 - 16:00`: it lasts a day, which is perhaps a mistake.
fn warn_of_a_day(context: &mut Context<'_>, text: &SpannedString<'_>, span: &FreezeSpan) {
    let FreezeSpan::Weekly { from: (first, begin), to: (last, end) } = span else { return };
    if begin != end || *last != first.next() || text.contains("24:00") || two_days(text) {
        return;
    }
    let name = DAYS.iter().find(|(_, day)| day == last).map_or("", |(name, _)| name);
    let until = format!("{name} {:02}:{:02}", end.hour(), end.minute());
    let message = format!("this window lasts 24 hours: until {until}");
    let help = format!("write the day of its end, such as `- {until}`, when that is meant");
    context.report(Finding::warning("whole-day", text.span, message).help(help));
}

/// Whether a window names the day of its end.
fn two_days(text: &str) -> bool {
    text.split_whitespace().filter(|word| day(word).is_ok()).count() > 1
}

/// A window, and the name of its zone: the last word, if it is neither a day, nor a time, nor a date.
fn split_zone(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    let Some((window, last)) = text.rsplit_once(char::is_whitespace) else { return (text, None) };
    let is_zone = last.contains('/') || (last.starts_with(|c: char| c.is_ascii_alphabetic()) && day(last).is_err());
    // A word in the place of a day is a mistake of its own: `fri 16:00 - monday`.
    let is_complete = window.trim_end().ends_with(|c: char| c.is_ascii_digit());
    if is_zone && is_complete { (window.trim_end(), Some(last)) } else { (text, None) }
}

/// When a window is in force.
fn span(window: &str, zone: &TimeZone) -> Result<FreezeSpan, Fault> {
    let words: Vec<&str> = window.split_whitespace().collect();
    let not_a_window = || (format!("`{window}` is not a freeze window"), EXAMPLES.into());
    let dash = words.iter().position(|word| *word == "-").ok_or_else(not_a_window)?;
    let (from, to) = (&words[..dash], &words[dash + 1..]);
    match (from, to) {
        ([from], [to]) if is_date(from) || is_date(to) => dates(date(from)?, date(to)?, zone),
        ([_] | [_, _], [_] | [_, _]) => times(from, to),
        _ => Err(not_a_window()),
    }
}

fn is_date(word: &str) -> bool {
    word.len() > 5 && word.matches('-').count() == 2
}

fn date(word: &str) -> Result<Date, Fault> {
    let help = || "write dates as `2026-12-20`, year first".into();
    let parsed = word.parse::<Date>().ok().filter(|_| word.len() == 10);
    parsed.ok_or_else(|| (format!("`{word}` is not a date"), help()))
}

/// A window of dates, the last day included.
fn dates(from: Date, to: Date, zone: &TimeZone) -> Result<FreezeSpan, Fault> {
    if to < from {
        return Err((format!("this window ends on {to}, before it begins"), "write the earlier date first".into()));
    }
    let too_far = || (format!("{to} is too far away"), "write a date of this century".into());
    let begin = rollout_dates::start_of(from, zone).ok_or_else(too_far)?;
    let end = to.tomorrow().ok().and_then(|after| rollout_dates::start_of(after, zone)).ok_or_else(too_far)?;
    Ok(FreezeSpan::Dates { from_ms: begin, to_ms: end })
}

/// A window of each day or of each week.
fn times(from: &[&str], to: &[&str]) -> Result<FreezeSpan, Fault> {
    let (from_day, from_time) = day_and_time(from)?;
    let (to_day, to_time) = day_and_time(to)?;
    if from_time.is_next_day {
        return Err(("a window cannot begin at 24:00".to_owned(), "write `00:00` of the next day".into()));
    }
    let (begin, end) = (from_time.time, to_time.time);
    match (from_day, to_day) {
        (Some(Day::Week(from)), to) => {
            let over_midnight = to_time.is_next_day || to.is_none() && end <= begin;
            let last = match to {
                Some(Day::Week(day)) => day,
                Some(Day::Each) => return Err(mixed()),
                None => from,
            };
            let last = if over_midnight { last.next() } else { last };
            if from == last && begin == end {
                return Err(equal());
            }
            Ok(FreezeSpan::Weekly { from: (from, begin), to: (last, end) })
        }
        (None | Some(Day::Each), None | Some(Day::Each)) => {
            if begin == end {
                return Err(equal());
            }
            Ok(FreezeSpan::Daily { from: begin, to: end })
        }
        (None | Some(Day::Each), Some(Day::Week(_))) => Err(mixed()),
    }
}

fn equal() -> Fault {
    let help = "write two different times; to stop a rollout for longer, use `pointsman rollout hold`";
    ("the two ends of this window are equal, so it would be always or never in force".to_owned(), help.into())
}

fn mixed() -> Fault {
    let help = "write a day on both sides, such as `fri 16:00 - mon 08:00`, or on none, such as `daily 11:30 - 14:00`";
    ("a window of each day has no day of the week".to_owned(), help.into())
}

/// The day before a time.
enum Day {
    /// `daily`.
    Each,
    /// Such as `fri`.
    Week(Weekday),
}

/// A time of the day; 24:00 is 00:00 of the next day.
struct TimeOfDay {
    time: Time,
    is_next_day: bool,
}

fn day_and_time(words: &[&str]) -> Result<(Option<Day>, TimeOfDay), Fault> {
    match words {
        [time] => Ok((None, time_of(time)?)),
        [day_name, time] => Ok((Some(day(day_name)?), time_of(time)?)),
        _ => Err(("this is not a day and a time".to_owned(), EXAMPLES.into())),
    }
}

fn day(word: &str) -> Result<Day, Fault> {
    let lower = word.to_ascii_lowercase();
    if lower == "daily" {
        return Ok(Day::Each);
    }
    if let Some((_, day)) = DAYS.iter().find(|(name, _)| *name == lower) {
        return Ok(Day::Week(*day));
    }
    let names = DAYS.iter().map(|(name, _)| *name).chain(["daily"]);
    let begins = names.clone().find(|name| *name != "daily" && lower.starts_with(name));
    let help = match begins.or_else(|| nearest(word, names)) {
        Some(name) => format!("did you mean `{name}`?").into(),
        None => "the days are `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, and `daily`".into(),
    };
    Err((format!("`{word}` is not a day"), help))
}

fn time_of(word: &str) -> Result<TimeOfDay, Fault> {
    let parsed = || {
        let (hour, minute) = word.split_once(':')?;
        let number = |text: &str| text.parse::<i8>().ok().filter(|_| text.len() == 2 && !text.starts_with(['+', '-']));
        let (hour, minute) = (number(hour)?, number(minute)?);
        let is_next_day = hour == 24 && minute == 0;
        let time = Time::new(if is_next_day { 0 } else { hour }, minute, 0, 0).ok()?;
        Some(TimeOfDay { time, is_next_day })
    };
    parsed().ok_or_else(|| (format!("`{word}` is not a time"), "write times as `08:00`, from 00:00 to 24:00".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<FreezeSpan, String> {
        let (window, name) = split_zone(text);
        let zone = name.map_or(TimeZone::UTC, |name| zone::find(name).unwrap());
        span(window, &zone).map_err(|(message, help)| format!("{message}; {help}"))
    }

    fn at(hour: i8, minute: i8) -> Time {
        Time::new(hour, minute, 0, 0).unwrap()
    }

    #[test]
    fn windows() {
        let weekly = |from, to| Ok(FreezeSpan::Weekly { from, to });
        let daily = |from, to| Ok(FreezeSpan::Daily { from, to });
        for (text, expected) in [
            ("fri 16:00 - mon 08:00", weekly((Weekday::Friday, at(16, 0)), (Weekday::Monday, at(8, 0)))),
            ("FRI 16:00 - Mon 08:00 Europe/Paris", weekly((Weekday::Friday, at(16, 0)), (Weekday::Monday, at(8, 0)))),
            ("sat 00:00 - sun 24:00", weekly((Weekday::Saturday, at(0, 0)), (Weekday::Monday, at(0, 0)))),
            ("wed 12:00 - 13:00", weekly((Weekday::Wednesday, at(12, 0)), (Weekday::Wednesday, at(13, 0)))),
            ("wed 22:00 - 02:00", weekly((Weekday::Wednesday, at(22, 0)), (Weekday::Thursday, at(2, 0)))),
            ("daily 11:30 - 14:00", daily(at(11, 30), at(14, 0))),
            ("22:00 - 06:00 UTC", daily(at(22, 0), at(6, 0))),
            ("daily 18:00 - 24:00", daily(at(18, 0), at(0, 0))),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn windows_of_dates_include_the_last_day() {
        let day = 86_400_000;
        let dates = |from_ms, to_ms| Ok(FreezeSpan::Dates { from_ms, to_ms });
        assert_eq!(parsed("1970-01-02 - 1970-01-02"), dates(day, 2 * day));
        // The last Sunday of March 2026 has 23 hours in Paris, and that of October 25.
        let length = |text: &str| match parsed(text) {
            Ok(FreezeSpan::Dates { from_ms, to_ms }) => (to_ms - from_ms) / 3_600_000,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(length("2026-03-29 - 2026-03-29 Europe/Paris"), 23);
        assert_eq!(length("2026-10-25 - 2026-10-25 Europe/Paris"), 25);
    }

    proptest::proptest! {
        #[test]
        fn no_text_ends_the_process(text in "[a-z0-9: -]{0,30}|\\PC{0,20}") {
            let (window, name) = split_zone(&text);
            let found = span(window, &name.and_then(zone::find).unwrap_or(TimeZone::UTC));
            let is_empty = match found {
                Ok(FreezeSpan::Daily { from, to }) => from == to,
                Ok(FreezeSpan::Weekly { from, to }) => from == to,
                Ok(FreezeSpan::Dates { from_ms, to_ms }) => from_ms >= to_ms && to_ms > 0,
                Err(_) => false,
            };
            proptest::prop_assert!(!is_empty, "{}", text);
        }
    }

    #[test]
    fn what_is_no_window_gets_help() {
        for (text, part) in [
            ("", "is not a freeze window"),
            ("fri", "is not a freeze window"),
            ("fri 16:00", "is not a freeze window"),
            ("fri 16:00 – mon 08:00", "is not a freeze window"),
            ("fri 16:00 - mon 08:00 - tue 09:00", "is not a freeze window"),
            ("friday 16:00 - mon 08:00", "did you mean `fri`?"),
            ("fry 16:00 - mon 08:00", "did you mean `fri`?"),
            ("fri 4pm - mon 08:00", "`4pm` is not a time"),
            ("fri 16:60 - mon 08:00", "`16:60` is not a time"),
            ("fri 24:00 - mon 08:00", "cannot begin at 24:00"),
            ("fri 8:00 - mon 08:00", "`8:00` is not a time"),
            ("fri 16:00 - fri 16:00", "are equal"),
            ("daily 16:00 - 16:00", "are equal"),
            ("daily 00:00 - 24:00", "are equal"),
            ("daily 16:00 - mon 08:00", "a day on both sides"),
            ("2026-12-20 - 2026-12-19", "before it begins"),
            ("2026-02-30 - 2026-03-01", "`2026-02-30` is not a date"),
            ("20-12-2026 - 03-01-2027", "year first"),
        ] {
            let found = parsed(text).unwrap_err();
            assert!(found.contains(part), "{text}: {found}");
        }
    }
}
