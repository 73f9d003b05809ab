//! The pages of the journal: newest records first, searched and filtered; and the same as CSV.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::context::{AskedPage, PageSubject, refused, stopping};
use super::query::{number, parameter};
use crate::control::admin::calls::AdminState;
use crate::control::admin::journal::read_after;
use crate::control::admin::kills;
use crate::control::admin::problem::CallProblem;
use crate::control::admin::response::respond;
use crate::control::dashboard::{self, JournalFilter, PageName};
use crate::control::state::ControlState;
use crate::journal::Record;

/// The records of a page.
const PAGE_RECORDS: usize = 100;
/// The records of a file of CSV.
const CSV_RECORDS: usize = 10_000;
/// So many records are read at once, from the newest on.
const CHUNK: u64 = 500;
/// So many records are looked at for a page: a search goes on from there by the link to older ones.
const SCANNED_MAX: u64 = 10_000;

/// Records that a filter lets through.
struct FoundRecords {
    /// Newest first.
    records: Vec<Value>,
    /// There may be more before this one.
    older: Option<u64>,
}

/// `/journal`.
pub(in crate::control::admin) async fn journal(State(state): State<AdminState>, request: Request) -> Response {
    let asked = AskedPage::of(state, request);
    let query = asked.uri.query().map(str::to_owned);
    asked
        .answer(move |context| {
            let filter = filter(query.as_deref())?;
            let FoundRecords { records, older } = find(&context.control, &filter, PAGE_RECORDS)?;
            let subject = PageSubject::of(PageName::Journal);
            Ok(context.framed(subject, |frame| dashboard::journal_page(frame, &records, &filter, older)))
        })
        .await
}

/// `/journal.csv`.
pub(in crate::control::admin) async fn journal_csv(State(state): State<AdminState>, request: Request) -> Response {
    let asked = AskedPage::of(state, request);
    let query = asked.uri.query().map(str::to_owned);
    let (control, headers) = (Arc::clone(&asked.state.control), asked.headers);
    let made = asked.state.pages.build(move || {
        let found = find(&control, &filter(query.as_deref())?, CSV_RECORDS)?;
        Ok::<String, CallProblem>(dashboard::journal_csv(&found.records, found.older))
    });
    match made.await {
        Some(Ok(csv)) => {
            let mut response = respond(StatusCode::OK, "text/csv; charset=utf-8", csv);
            let name = HeaderValue::from_static("attachment; filename=\"pointsman-journal.csv\"");
            response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
            response
        }
        Some(Err(problem)) => refused(&problem).respond(&headers),
        None => stopping().respond(&headers),
    }
}

fn filter(query: Option<&str>) -> Result<JournalFilter, CallProblem> {
    let (text, act) = (parameter(query, "text")?, parameter(query, "act")?);
    Ok(JournalFilter { text, act, before: number(query, "before")? })
}

/// Looks for records, from the newest on. It may read files.
fn find(control: &ControlState, filter: &JournalFilter, limit: usize) -> Result<FoundRecords, CallProblem> {
    let mut found = FoundRecords { records: Vec::new(), older: None };
    let newest = control.release.last_seq().saturating_add(1);
    let mut before = filter.before.unwrap_or(newest).min(newest);
    let last = before.saturating_sub(SCANNED_MAX);
    while before > 1 && before > last {
        let after = before.saturating_sub(CHUNK + 1);
        let records = read_after(control, after, usize::try_from(CHUNK).unwrap_or(usize::MAX))?;
        let chunk: Vec<&Arc<Record>> =
            records.iter().filter(|record| record.seq < before && record.seq > after).collect();
        for record in chunk.into_iter().rev() {
            if found.records.len() == limit {
                found.older = Some(record.seq + 1);
                return Ok(found);
            }
            let value = kills::record(record);
            if filter.admits(&value) {
                found.records.push(value);
            }
        }
        before = after + 1;
    }
    found.older = (before > 1).then_some(before);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_a_filter() {
        assert_eq!(filter(Some("text=a%20b&act=kill&before=9")).map(|filter| filter.before), Ok(Some(9)));
        assert!(filter(Some("before=x")).is_err());
    }
}
