//! How far two responses were compared: the levels below one that differs are not compared.

use super::job::ObservedResponse;
use crate::compare::{Comparison, DifferenceKind, Ending, ResponseField};
use crate::stats::{HasLevel, Level};

impl HasLevel for ResponseField {
    fn level(&self) -> Level {
        match (&*self.path, self.kind) {
            ("transport", _) => Level::Outcome,
            ("status" | "trailer:grpc-status", DifferenceKind::Status) => Level::Status,
            (path, _) if path.starts_with("header:") || path.starts_with("trailer:") => Level::Head,
            (_, _) => Level::Body,
        }
    }
}

/// The last level that was compared. A level that differs ends the comparison, also if its difference is ignored.
pub(super) fn compared_level(primary: &ObservedResponse, other: &ObservedResponse, comparison: &Comparison) -> Level {
    let (Ok(primary), Ok(other)) = (&primary.outcome, &other.outcome) else { return Level::Outcome };
    let of_status = |field: &ResponseField| field.level() == Level::Status;
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

    use super::*;
    use crate::compare::{Criteria, Failure, Pattern};
    use crate::shadow_compare::CapturedResponse;

    fn failed() -> ObservedResponse {
        ObservedResponse { outcome: Err(Failure::Reset), took: std::time::Duration::ZERO }
    }

    fn answered(status: u16, headers: &[(&'static str, &'static str)], body: &'static [u8]) -> ObservedResponse {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let kept = CapturedResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: pairs.collect::<HeaderMap>(),
            trailers: None,
            captured: vec![Bytes::from_static(body)],
            length: body.len() as u64,
            digest: xxhash_rust::xxh3::xxh3_128(body),
            ending: Ending::Complete,
        };
        ObservedResponse { outcome: Ok(Box::new(kept)), ..failed() }
    }

    fn cut(mut seen: ObservedResponse) -> ObservedResponse {
        seen.outcome.as_mut().unwrap().ending = Ending::Cut;
        seen
    }

    /// The last level that was compared, and the levels of the differences.
    fn compare(primary: &ObservedResponse, other: &ObservedResponse, criteria: &Criteria) -> (Level, Vec<Level>) {
        let (a, b) = (primary.body(), other.body());
        let comparison = criteria.compare(&primary.compared(&a), &other.compared(&b));
        (compared_level(primary, other, &comparison), comparison.fields().iter().map(HasLevel::level).collect())
    }

    /// The responses differ on every level: exactly the levels that are not listed were not compared.
    #[test]
    fn the_last_level_is_the_last_compared_one() {
        let one = || answered(200, &[("x-a", "1"), ("grpc-status", "0")], b"{\"a\":1}");
        let two = || answered(200, &[("x-a", "2"), ("grpc-status", "0")], b"{\"a\":2}");
        let error = || answered(503, &[("x-a", "2"), ("grpc-status", "0")], b"{\"a\":2}");
        let grpc = || answered(200, &[("x-a", "2"), ("grpc-status", "14")], b"{\"a\":2}");
        let none = Criteria::default();
        for (a, b, level, found) in [
            (one(), two(), Level::Body, vec![Level::Head, Level::Body]),
            (one(), error(), Level::Status, vec![Level::Status]),
            (one(), grpc(), Level::Status, vec![Level::Status]),
            (one(), failed(), Level::Outcome, vec![Level::Outcome]),
            (failed(), two(), Level::Outcome, vec![Level::Outcome]),
            (failed(), failed(), Level::Outcome, vec![]),
            (one(), cut(two()), Level::Outcome, vec![Level::Outcome]),
            (cut(one()), cut(two()), Level::Head, vec![Level::Head]),
        ] {
            assert_eq!(compare(&a, &b, &none), (level, found), "{a:?} {b:?}");
        }
        // Also if the difference that ends it is ignored.
        let ignoring = ["status", "transport"].map(|text| Pattern::parse(text).unwrap());
        let criteria = Criteria::new(&ignoring, &[], &[], &[]);
        assert_eq!(compare(&one(), &error(), &criteria), (Level::Status, vec![]));
        assert_eq!(compare(&one(), &failed(), &criteria), (Level::Outcome, vec![]));
        let ignoring = Criteria::new(&[Pattern::parse("trailer:grpc-status").unwrap()], &[], &[], &[]);
        let (level, found) = compare(&one(), &grpc(), &ignoring);
        assert_eq!((level, found.last()), (Level::Body, Some(&Level::Body)), "it does not end there");
    }
}
