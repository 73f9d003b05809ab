//! `/v1/journal`: records of the journal from a sequence number on, from memory or from the files.

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
use crate::journal::{self, DiskFiles, Record};

/// The most records of one answer.
pub(super) const RECORDS_MAX: usize = 1_000;
/// The records of one answer without `limit`.
const RECORDS: u64 = 100;

/// The sequence number after which records are read.
pub(super) const AFTER: NumberParameter = NumberParameter { name: "after", min: 0, max: SEQ_MAX };
/// The most records of an answer.
pub(super) const LIMIT: NumberParameter = NumberParameter { name: "limit", min: 1, max: RECORDS_MAX as u64 };

pub(super) async fn journal(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    match page(&state, query.as_deref()).await {
        Ok(response) => response,
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

async fn page(state: &AdminState, query: Option<&str>) -> Result<Response, CallProblem> {
    let [after, limit] = numbers(query, [AFTER, LIMIT])?;
    let limit = usize::try_from(limit.unwrap_or(RECORDS)).unwrap_or(RECORDS_MAX);
    let mut records = records_after(state, after.unwrap_or(0), limit).await?;
    records.truncate(limit);
    let health = state.control.release.health();
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

/// Records after `seq`: from memory, or at most `limit` from the files, on a thread that may block. Records that are older
/// than the oldest file are gone.
///
/// # Errors
/// When the files cannot be read.
pub(super) async fn records_after(state: &AdminState, seq: u64, limit: usize) -> Result<Vec<Arc<Record>>, CallProblem> {
    if let Some(records) = state.control.release.records_after(seq) {
        return Ok(records);
    }
    // The semaphore is never closed.
    let Ok(_permit) = state.file_reads.acquire().await else { return Ok(Vec::new()) };
    let control = Arc::clone(&state.control);
    match tokio::task::spawn_blocking(move || read_after(&control, seq, limit)).await {
        Ok(read) => read,
        Err(error) => Err(ProblemKind::Failed.because(error.to_string(), "see the log")),
    }
}

/// The same on a thread that may block.
///
/// # Errors
/// When the files cannot be read.
pub(super) fn read_after(control: &ControlState, seq: u64, limit: usize) -> Result<Vec<Arc<Record>>, CallProblem> {
    if let Some(records) = control.release.records_after(seq) {
        return Ok(records);
    }
    let dir = control.snapshot().rules.state.dir.clone();
    let page = journal::records_after(&DiskFiles::new(&dir), seq, limit).map_err(|error| {
        let help = "see `journal` in /status, and `pointsman journal --verify`";
        ProblemKind::Failed.because(format!("the files of the journal cannot be read: {error}"), help)
    })?;
    Ok(page.records.into_iter().map(Arc::new).collect())
}
