//! What the journal has of a rollout: the last rehearsal of its rollback, and the last acts by which its steps were done.

use serde_json::Value;

use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::cli::journal::newest;
use crate::compare::escape_controls;

/// Records of a page.
const PAGE: u64 = 1_000;
/// So many pages are read, the newest first.
const PAGES_MAX: u64 = 50;

/// What the journal has of a rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Proof {
    /// The last rehearsal of a rollback on live traffic.
    pub rehearsed: Option<RehearsalProof>,
    /// The last rollback.
    pub rollback: Option<DoneAct>,
    /// The last kill.
    pub kill: Option<DoneAct>,
    /// The last revive.
    pub revive: Option<DoneAct>,
    /// The last resume.
    pub resume: Option<DoneAct>,
    /// Records that were not read, since they are too old.
    pub unread: u64,
    /// The journal could not be read.
    pub is_unknown: bool,
}

/// When an act was done, and by whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DoneAct {
    /// RFC 3339.
    pub at: String,
    /// A person, or a guard.
    pub who: String,
    pub seq: u64,
    /// The revision of the canary then; empty of a kill.
    pub revision: String,
}

/// A rollback that was rehearsed, and what was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RehearsalProof {
    pub done: DoneAct,
    /// The stage.
    pub stage: String,
    /// From the act until the last request to the canary ended, in milliseconds.
    pub last_request_ms: Option<f64>,
    /// Until no worker sent requests to the canary any more, in milliseconds.
    pub in_force_ms: Option<f64>,
    /// Until its record was on the disk, in milliseconds.
    pub durable_ms: Option<f64>,
    /// Requests to the canary that ended after it.
    pub requests_after: u64,
}

impl Proof {
    /// Takes a record; those before are newer.
    pub fn take(&mut self, record: &Value, rollout: &str) {
        if record["rollout"] != rollout {
            return;
        }
        let done = || DoneAct {
            at: text(&record["at"]),
            who: text(&record["who"]["name"]),
            seq: record["seq"].as_u64().unwrap_or(0),
            revision: text(&record["revision"]),
        };
        match (record["what"].as_str(), record["act"].as_str()) {
            (Some("kill"), _) => set(&mut self.kill, done),
            (Some("revive"), _) => set(&mut self.revive, done),
            (Some("rollout"), Some("rollback")) => set(&mut self.rollback, done),
            (Some("rollout"), Some("resume")) => set(&mut self.resume, done),
            (Some("rollout"), Some("rehearsed")) => {
                let ms = |key: &str| record["evidence"][key].as_f64().filter(|ms| ms.is_finite() && *ms >= 0.0);
                set(&mut self.rehearsed, || RehearsalProof {
                    done: done(),
                    stage: text(&record["stage"]),
                    last_request_ms: ms("last_request_ms"),
                    in_force_ms: ms("in_force_ms"),
                    durable_ms: ms("durable_ms"),
                    requests_after: record["evidence"]["requests_after"].as_u64().unwrap_or(0),
                });
            }
            _ => {}
        }
    }

    const fn is_whole(&self) -> bool {
        self.rehearsed.is_some()
            && self.rollback.is_some()
            && self.kill.is_some()
            && self.revive.is_some()
            && self.resume.is_some()
    }
}

fn set<T>(place: &mut Option<T>, value: impl FnOnce() -> T) {
    if place.is_none() {
        *place = Some(value());
    }
}

fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or_default()).into_owned()
}

/// Reads the journal of the running proxy from its end on.
///
/// # Errors
/// No answer, or a refusal.
pub(super) async fn proof(admin: &AdminEndpoint, rollout: &str) -> anyhow::Result<Proof> {
    let mut found = Proof::default();
    let Some(mut upto) = newest(admin).await else {
        return Ok(Proof { is_unknown: true, ..found });
    };
    for _ in 0..PAGES_MAX {
        if upto == 0 || found.is_whole() {
            return Ok(found);
        }
        let after = upto.saturating_sub(PAGE);
        let path = format!("/v1/journal?after={after}&limit={}", upto - after);
        let page = admin.ask(&path, FetchOptions::get()).await?.page()?;
        let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        records.iter().rev().for_each(|record| found.take(record, rollout));
        // Records before the first one of the files are gone.
        let is_first = records.first().is_none_or(|first| first["seq"].as_u64().is_some_and(|seq| seq > after + 1));
        upto = if is_first { 0 } else { after };
    }
    found.unread = upto;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_act_of_each_kind_counts() {
        let mut proof = Proof::default();
        let record = |seq: u64, what: &str, act: &str, rollout: &str| {
            json!({ "seq": seq, "at": "2026-11-30T10:00:00.000Z", "who": { "name": "ana" }, "what": what, "act": act,
                "rollout": rollout, "stage": "beta", "revision": "v2=1",
                "evidence": { "last_request_ms": 12.5, "requests_after": 7, "durable_ms": null } })
        };
        for (seq, what, act, rollout) in [
            (9, "rollout", "rollback", "other"),
            (8, "rollout", "rehearsed", "next"),
            (7, "rollout", "rollback", "next"),
            (6, "kill", "", "next"),
            (5, "rollout", "rollback", "next"),
            (4, "rollout", "enter", "next"),
        ] {
            proof.take(&record(seq, what, act, rollout), "next");
        }
        let seq = |done: &Option<DoneAct>| done.as_ref().map(|done| done.seq);
        assert_eq!((seq(&proof.rollback), seq(&proof.kill), seq(&proof.resume)), (Some(7), Some(6), None));
        let rehearsed = proof.rehearsed.clone().unwrap();
        assert_eq!((rehearsed.requests_after, rehearsed.durable_ms, rehearsed.done.seq), (7, None, 8));
        assert!(rehearsed.last_request_ms.is_some_and(|ms| (ms - 12.5).abs() < 1e-9) && !proof.is_whole());
    }
}
