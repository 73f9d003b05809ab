//! Decides again from the counts that a record of the journal has.

use serde::Deserialize as _;
use serde_json::Value;

use super::evidence_record::EvidenceRecord;
use super::state::{CANARY_DOWN, DownFacts};

/// What the counts of a record say.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedTrip {
    /// Whether the guard trips.
    pub trips: bool,
    /// The decimal logarithm of the evidence; `None` for a test without one.
    pub evidence_log10: Option<f64>,
    /// That of the record.
    pub recorded_log10: Option<f64>,
}

/// Decides again from the evidence of a record.
///
/// # Errors
/// What is missing in it, or malformed.
pub fn replay(evidence: &Value) -> Result<ReplayedTrip, String> {
    if evidence.get("test").and_then(Value::as_str) == Some(CANARY_DOWN) {
        let down = DownFacts::deserialize(evidence).map_err(|error| format!("the evidence: {error}"))?;
        return Ok(ReplayedTrip { trips: down.is_down(), evidence_log10: None, recorded_log10: None });
    }
    let record = EvidenceRecord::deserialize(evidence).map_err(|error| format!("the evidence: {error}"))?;
    let verdict = record.verdict()?;
    Ok(ReplayedTrip {
        trips: verdict.trips,
        evidence_log10: verdict.evidence_log10,
        recorded_log10: record.evidence_log10,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_canary_that_is_down_is_decided_again() {
        let trips = |evidence: &Value| replay(evidence).map(|replayed| replayed.trips);
        assert_eq!(trips(&json!({ "test": "canary down", "endpoints": 2, "tries": 3, "sentence": "x" })), Ok(true));
        assert_eq!(trips(&json!({ "test": "canary down", "endpoints": 2, "tries": 2 })), Ok(false));
        assert_eq!(trips(&json!({ "test": "canary down", "endpoints": 0, "tries": 9 })), Ok(false));
        assert!(trips(&json!({ "test": "canary down", "tries": 9 })).is_err());
        assert!(trips(&json!({ "sentence": "x" })).is_err());
    }
}
