//! `plan`: a rollout as a document.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use super::live::AdminArguments;
use super::start::DEFAULT_FILE;
use super::traffic::TrafficArguments;
use crate::config;

/// `plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
The document is Markdown, and readable as plain text: what changes, stages with dates, what each stage needs, what \
stops it, expected figures, freeze windows, rollback steps with how each was verified, and a table to sign. The file is \
not applied. Traffic, the last rehearsal and past acts are read from the running proxy; without one, and without \
--rate, the document says which figures are missing, and the exit code is 0.

EXAMPLE
  pointsman plan checkout-v2 > docs/rollouts/checkout-v2.md
  pointsman plan checkout-v2 edge.toml --start 2026-12-01T09:00
  pointsman plan checkout-v2 --rate 200 --callers 36000 --approval-delay 1h")]
pub struct PlanArguments {
    /// The rollout.
    #[arg(value_name = "ROLLOUT", help = "The rollout: NAME of its table [rollout.NAME]")]
    pub name: String,
    /// The routes file.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE, help = "The routes file")]
    pub file: PathBuf,
    /// When the release begins.
    #[arg(long, value_name = "DATE", value_parser = start_date)]
    #[arg(help = "When it begins, in the zone of the rollout: 2026-12-01 or 2026-12-01T09:00 [default: now]")]
    pub start: Option<StartDate>,
    /// How long people take to approve.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = approval_delay)]
    #[arg(help = "How long people take to approve a stage")]
    pub approval_delay: Duration,
    /// The traffic.
    #[command(flatten)]
    pub traffic: TrafficArguments,
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
}

/// When a release begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartDate {
    /// A date and time in the zone of the rollout.
    Local(DateTime),
    /// A moment.
    Moment(Timestamp),
}

impl StartDate {
    /// In milliseconds since the Unix epoch. A time that the zone skips is as much later, one that it has twice is the first
    /// of the two.
    #[must_use]
    pub fn milliseconds(self, zone: &TimeZone) -> Option<u64> {
        let moment = match self {
            Self::Moment(moment) => moment,
            Self::Local(local) => zone.to_ambiguous_timestamp(local).compatible().ok()?,
        };
        u64::try_from(moment.as_millisecond()).ok()
    }
}

/// Reads when a release begins.
///
/// # Errors
/// It is no date: how one is written.
pub fn start_date(text: &str) -> Result<StartDate, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(StartDate::Moment(moment));
    }
    let day = text.parse::<civil::Date>().ok().filter(|_| !text.contains([':', '+', 'Z']));
    let local = day.map(|day| day.to_datetime(civil::Time::midnight()));
    let local = if text.contains(['T', ' ']) { text.parse::<DateTime>().ok() } else { local };
    let local = local.filter(|local| (1970..=9000).contains(&local.year()));
    local
        .map(StartDate::Local)
        .ok_or_else(|| "write a date such as 2026-12-01, 2026-12-01T09:00 or …T08:00Z".to_owned())
}

pub(super) fn approval_delay(text: &str) -> Result<Duration, String> {
    let read = config::parse_duration(text).filter(|delay| *delay <= Duration::from_hours(24 * 31));
    read.ok_or_else(|| "write a duration of at most 31 days, such as 30m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_in_its_zone() {
        let zone = TimeZone::get("Europe/Paris").unwrap();
        let ms = |text: &str| start_date(text).ok().and_then(|start| start.milliseconds(&zone));
        let nine = ms("2026-12-01T08:00:00Z");
        assert!(nine.is_some());
        assert_eq!([ms("2026-12-01T09:00"), ms("2026-12-01 09:00:00"), ms("2026-12-01T09:00+01:00")], [nine; 3]);
        assert_eq!(ms("2026-12-01"), nine.map(|nine| nine - 9 * 3_600_000));
        assert_eq!(ms("2026-03-29T02:30"), ms("2026-03-29T03:30"), "the zone skips it");
        for wrong in ["", "tomorrow", "2026-13-01", "09:00", "2026-12-01T25:00", "1969-12-31"] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }
}
