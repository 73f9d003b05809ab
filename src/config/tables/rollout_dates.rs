//! Dates of a rollout: `expires` and `not_before`, in its zone.

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::Clock;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::document::Value;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;

/// How long before its end a plan is warned of.
const SOON: Duration = Duration::from_hours(14 * 24);

/// The end of a plan.
pub(super) struct Expiry {
    /// The end of its last day, in milliseconds since the Unix epoch.
    pub(super) ms: u64,
    /// As it is written.
    pub(super) text: String,
}

/// The first moment of a day, in milliseconds since the Unix epoch; 0 for days before it.
pub(super) fn start_of(date: Date, zone: &TimeZone) -> Option<u64> {
    let start = date.to_zoned(zone.clone()).ok()?;
    Some(u64::try_from(start.timestamp().as_millisecond()).unwrap_or(0))
}

/// `expires`: the last day of a plan. A plan that has ended is refused by `check` alone: a date never stops a start or a
/// reload.
pub(super) fn expires(context: &mut Context<'_>, reader: &Reader<'_>, zone: &TimeZone) -> Option<Expiry> {
    const HELP: &str = "write `expires = 2026-12-31`, without quotes and without a time: the end of that day counts";
    let item = reader.get("expires")?;
    let written = written(context, &item, HELP)?;
    let date = written.parse::<Date>().ok().filter(|_| written.len() == 10);
    let end = date.and_then(|date| start_of(date.tomorrow().ok()?, zone));
    let Some(ms) = end else {
        context.report(Finding::error("bad-date", item.span(), "this is not a date").help(HELP));
        return None;
    };
    let now = Clock.wall();
    let left = Duration::from_millis(ms).checked_sub(now).unwrap_or_default();
    if left.is_zero() {
        let message = format!("this rollout has expired at the end of {written}");
        let help = "it goes on to no further stage: write a later date, or remove the rollout";
        context.report(Finding::warning("rollout-expired", item.span(), message).help(help).fails_check());
    } else if left <= SOON {
        let days = left.as_secs().div_ceil(86_400);
        let days = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
        let message = format!("this rollout expires within {days}, at the end of {written}");
        let help = "from then on it goes on to no further stage, and `check` refuses the file";
        context.report(Finding::warning("rollout-expires", item.span(), message).help(help));
    }
    Some(Expiry { ms, text: written })
}

/// `not_before`: a moment, in milliseconds since the Unix epoch.
pub(super) fn not_before(context: &mut Context<'_>, reader: &Reader<'_>, zone: &TimeZone) -> Option<u64> {
    const HELP: &str = "write `not_before = 2026-12-07T09:00:00`, without quotes, in the `zone` of the rollout";
    let item = reader.get("not_before")?;
    let written = written(context, &item, HELP)?;
    match moment(&written, zone) {
        Ok(ms) => Some(ms),
        Err(MomentFault::NoDate) => {
            context.report(Finding::error("bad-date", item.span(), "this is not a date with a time").help(HELP));
            None
        }
        Err(MomentFault::Gap { after }) => {
            let name = zone.iana_name().unwrap_or("this zone");
            let message = format!("this time does not exist in {name}: the clocks go forward over it");
            let finding = Finding::error("bad-date", item.span(), message);
            context.report(finding.help(format!("write `{after}`, or a time with an offset, such as `{written}Z`")));
            None
        }
    }
}

/// Why a text is no moment.
#[derive(Debug, PartialEq, Eq)]
enum MomentFault {
    /// It is no date.
    NoDate,
    /// The clocks go forward over it; the same time after that.
    Gap { after: DateTime },
}

/// A moment, in milliseconds since the Unix epoch: with an offset, or in the zone. Of a time that the clocks show twice
/// it is the second. A date alone is its first moment.
fn moment(written: &str, zone: &TimeZone) -> Result<u64, MomentFault> {
    // A time alone is no date; it has no `-` before its offset.
    if !written.get(..10).is_some_and(|date| date.contains('-')) {
        return Err(MomentFault::NoDate);
    }
    if let (10, Ok(date)) = (written.len(), written.parse::<Date>()) {
        return start_of(date, zone).ok_or(MomentFault::NoDate);
    }
    let since_epoch = |at: jiff::Timestamp| u64::try_from(at.as_millisecond()).unwrap_or(0);
    if let Ok(at) = written.parse::<jiff::Timestamp>() {
        return Ok(since_epoch(at));
    }
    let local = written.parse::<DateTime>().map_err(|_| MomentFault::NoDate)?;
    let found = zone.to_ambiguous_zoned(local);
    if let AmbiguousOffset::Gap { before, .. } = found.offset() {
        // The time by the offset before the change, as the clocks then show it.
        let after = before.to_timestamp(local).map_err(|_| MomentFault::NoDate)?;
        return Err(MomentFault::Gap { after: zone.to_datetime(after) });
    }
    let at = found.later().map_err(|_| MomentFault::NoDate)?;
    Ok(since_epoch(at.timestamp()))
}

/// The text of a date.
fn written(context: &mut Context<'_>, item: &Item<'_>, help: &'static str) -> Option<String> {
    if !matches!(item.node.value, Value::Datetime) {
        item.mismatch_with_help(context, "a date", help);
        return None;
    }
    Some(context.files.text(item.span()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        for (written, expected) in [
            ("1970-01-01T01:00:01", Ok(1_000)),
            ("1970-01-01 01:00:01", Ok(1_000)),
            ("1970-01-01T00:00:01Z", Ok(1_000)),
            ("1970-01-02", Ok(82_800_000)),
            // Summer time ends on 2026-10-25 at 03:00: 02:30 comes twice, and the second counts.
            ("2026-10-25T02:30:00", Ok(1_792_891_800_000)),
            ("07:32:00", Err(MomentFault::NoDate)),
            ("2026-02-30T00:00:00", Err(MomentFault::NoDate)),
            ("", Err(MomentFault::NoDate)),
        ] {
            assert_eq!(moment(written, &paris), expected, "{written}");
        }
        let after = "2026-03-29T03:30:00".parse().unwrap();
        assert_eq!(moment("2026-03-29T02:30:00", &paris), Err(MomentFault::Gap { after }));
    }
}
