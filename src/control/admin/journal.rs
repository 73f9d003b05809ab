//! `/v1/journal`: records of the journal from a sequence number on.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::calls::AdminState;
use super::fields::SEQ_MAX;
use super::kills;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::query::{NumberParameter, numbers};
use super::response::pretty;
use crate::control::state::ControlState;
use crate::journal::Record;

/// The most records of one answer.
const LIMIT_MAX: u64 = 1_000;
/// The records of one answer without `limit`.
const LIMIT: u64 = 100;

/// The sequence number after which records are read.
pub(super) const AFTER: NumberParameter = NumberParameter { name: "after", min: 0, max: SEQ_MAX };
/// The most records of an answer.
pub(super) const LIMIT_PARAMETER: NumberParameter = NumberParameter { name: "limit", min: 1, max: LIMIT_MAX };

pub(super) async fn journal(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    match page(&state.control, query.as_deref()).await {
        Ok(response) => response,
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

async fn page(state: &Arc<ControlState>, query: Option<&str>) -> Result<Response, CallProblem> {
    let [after, limit] = numbers(query, [AFTER, LIMIT_PARAMETER])?;
    let limit = usize::try_from(limit.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let mut records = records_after(state, after.unwrap_or(0), limit).await?;
    records.truncate(limit);
    let health = state.release.health();
    Ok(pretty(
        StatusCode::OK,
        &json!({
            "seq": health.seq,
            "durable_seq": health.durable_seq,
            "next_after": records.last().map(|record| record.seq),
            "records": records.iter().map(|record| kills::record(record)).collect::<Vec<_>>(),
        }),
    ))
}

/// At most this many records after `seq`: from memory, or from the files.
pub(super) async fn records_after(
    state: &Arc<ControlState>,
    seq: u64,
    _limit: usize,
) -> Result<Vec<Arc<Record>>, CallProblem> {
    if let Some(records) = state.release.records_after(seq) {
        return Ok(records);
    }
    Err(ProblemKind::Failed.because("older records are in the files only", "read them with `pointsman journal --dir`"))
}
