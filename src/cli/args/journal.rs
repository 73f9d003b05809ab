//! Commands that read the journal: `journal`, `events`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::live::AdminArguments;
use crate::config;

/// `journal`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line, each read alone")]
#[command(after_help = "\
A record of the journal is a decision: a kill, a revive, a rollback by a guard, a reload, a start. Each contains the hash \
of the one before: --verify finds a record that was changed, removed or added later. --replay makes the decisions of \
guards and rollouts again, from what their records have: each must follow from it. The exit code is 1 when one does not, or when \
the chain is broken.

EXAMPLE
  pointsman journal                           # the newest 50 records
  pointsman journal --since 2h --who ana
  pointsman journal --rollout checkout-v2     # decisions about a rollout
  pointsman journal --follow                  # and those to come, until Ctrl-C
  pointsman journal --json | jq -c 'select(.what == \"kill\")'
  pointsman journal --verify --dir /var/lib/pointsman
  pointsman journal --replay --since 24h      # decide again by the records")]
pub struct JournalArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The oldest time.
    #[arg(long, value_name = "TIME", value_parser = Since::read)]
    #[arg(help = "Only records since then: 2h or '2h ago', a date such as 2026-11-29, or 2026-11-29T14:00")]
    pub since: Option<Since>,
    /// The actor.
    #[arg(long, value_name = "NAME", help = "Only records of this user or token")]
    pub who: Option<String>,
    /// The rollout.
    #[arg(long, value_name = "NAME", help = "Only records about this rollout or ROUTE:VARIANT")]
    pub rollout: Option<String>,
    /// The number of records.
    #[arg(long, value_name = "N", help = "The newest N of these records [default: 50; with --since all]")]
    pub limit: Option<usize>,
    /// Those to come.
    #[arg(long, conflicts_with_all = ["dir", "verify", "replay"], help = "Print further records as they are made, until Ctrl-C")]
    pub follow: bool,
    /// The files.
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    #[arg(help = "Read the files in this state directory instead of asking a proxy")]
    pub dir: Option<PathBuf>,
    /// Verify the chain.
    #[arg(long, conflicts_with_all = ["since", "who", "rollout", "limit"])]
    #[arg(help = "Verify the chain of the files: of --dir, or of the running proxy's directory")]
    pub verify: bool,
    /// Replay decisions.
    #[arg(long, conflicts_with_all = ["verify", "limit"])]
    #[arg(help = "Compute the decisions of guards and rollouts again: of --dir, or of the running proxy's directory")]
    pub replay: bool,
    /// JSON lines.
    #[arg(long, help = "Print each record as a line of JSON")]
    pub json: bool,
}

/// `events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each event is a record of the journal, as a line of JSON. A broken connection is made again, and continues with the \
record after the last one.

EXAMPLE
  pointsman events --follow                   # from now on, until Ctrl-C
  pointsman events --after 4711               # the records after that one
  pointsman events --follow --table")]
pub struct EventsArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// Those to come.
    #[arg(long, required_unless_present = "after", help = "Print further records as they are made, until Ctrl-C")]
    pub follow: bool,
    /// The first record is the one after this.
    #[arg(long, value_name = "SEQ", help = "Begin after the record with this sequence number [default: now]")]
    pub after: Option<u64>,
    /// For people.
    #[arg(long, help = "Print a table instead of JSON")]
    pub table: bool,
    /// As without `--table`.
    #[arg(long, conflicts_with = "table", help = "Print each record as a line of JSON; the default")]
    pub json: bool,
}

/// A time in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// A moment.
    At(Timestamp),
}

impl Since {
    /// Reads `2h`, `2h ago`, `2026-11-29`, `2026-11-29T14:00` (of this machine's time zone) or RFC 3339.
    ///
    /// # Errors
    /// It is none of these.
    pub fn read(text: &str) -> Result<Self, String> {
        let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
        if let Some(ago) = config::parse_duration(ago) {
            return Ok(Self::Ago(ago));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        let civil = text
            .parse::<DateTime>()
            .or_else(|_| text.parse::<Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight())));
        let zoned = civil.and_then(|civil| civil.to_zoned(TimeZone::system()));
        zoned
            .map(|zoned| Self::At(zoned.timestamp()))
            .map_err(|_| "write 2h, 2026-11-29 or 2026-11-29T14:00".to_owned())
    }

    /// The moment, seen from `now`.
    #[must_use]
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
                now.checked_sub(ago).unwrap_or(Timestamp::MIN)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_the_past() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let moment = |text: &str| Since::read(text).unwrap().moment(now).to_string();
        for text in ["2h", "2h ago", "2hago"] {
            assert_eq!(moment(text), "2026-11-29T10:00:00Z", "{text}");
        }
        assert_eq!(moment("1h30m"), "2026-11-29T10:30:00Z");
        assert_eq!(moment("2026-11-28T00:00:00Z"), "2026-11-28T00:00:00Z");
        assert_eq!(moment("2026-11-28T02:00:00+02:00"), "2026-11-28T00:00:00Z");
        // In the zone of this machine.
        for civil in ["2026-11-28", "2026-11-28T14:00", "2026-11-28 14:00:00"] {
            assert!(moment(civil).starts_with("2026-11-2"), "{civil}");
        }
        for wrong in ["", "soon", "2026-13-01", "ago", "an hour ago"] {
            assert!(Since::read(wrong).unwrap_err().contains("2h"), "{wrong}");
        }
    }
}
