//! How far two answers were compared: what lies below a level that differs was not looked at.

use super::trial::Seen;
use crate::compare::{Comparison, Ending, Field, Kind};
use crate::release::{Level, Placed};

impl Placed for Field {
    fn level(&self) -> Level {
        match (&*self.path, self.kind) {
            ("transport", _) => Level::Outcome,
            ("status" | "trailer:grpc-status", Kind::Status) => Level::Status,
            (path, _) if path.starts_with("header:") || path.starts_with("trailer:") => Level::Head,
            (_, _) => Level::Body,
        }
    }
}

/// The last level that was compared. One that differs ends it also where its difference is ignored.
pub(super) fn reached(primary: &Seen, other: &Seen, comparison: &Comparison) -> Level {
    let (Ok(primary), Ok(other)) = (&primary.outcome, &other.outcome) else { return Level::Outcome };
    let of_status = |field: &Field| field.level() == Level::Status;
    if primary.ending != other.ending {
        Level::Outcome
    } else if primary.status != other.status
        || comparison.differences.iter().any(|difference| of_status(&difference.field))
    {
        Level::Status
    } else if primary.ending == Ending::Cut || comparison.unread.is_some() {
        Level::Head
    } else {
        Level::Body
    }
}
