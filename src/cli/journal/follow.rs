//! Records as they are made: the event stream of the proxy, connected again when it breaks.

use std::time::Duration;

use anyhow::bail;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::sse::EventReader;
use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions, ProblemDocument};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};

/// Bound on the time to the first byte of an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The proxy sends a comment every 15 s: a connection that is silent for longer is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Between two attempts to connect again.
const PAUSE: Duration = Duration::from_secs(1);
/// Bound on the text of a refusal.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Why following has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FollowEnd {
    /// The records have no reader any more.
    Unread,
    /// The proxy refuses: the token is not known any more, or may not read.
    Refused(String),
}

impl FollowEnd {
    /// Says why, where nothing else does, and how the command ends.
    pub(super) fn exit(self, terminal: Terminal) -> Exit {
        match self {
            Self::Unread => Exit::Ok,
            Self::Refused(why) => {
                out::print_error(&format!("{}: {why}", terminal.stderr.red("refused")));
                Exit::Refused
            }
        }
    }
}

/// Passes each record after `after` to `each`, until it returns false. A proxy that does not answer at first is an
/// error; one that does not answer later is waited for, unless it refuses.
pub(super) async fn follow(
    admin: &AdminEndpoint,
    after: Option<u64>,
    each: &mut dyn FnMut(&Value) -> anyhow::Result<bool>,
) -> anyhow::Result<FollowEnd> {
    let mut last = after;
    let mut is_known = false;
    let mut is_silent = false;
    loop {
        match stream(admin, &mut last, each).await {
            Ok(StreamEnd::Unread) => return Ok(FollowEnd::Unread),
            Ok(StreamEnd::Refused(why)) => return Ok(FollowEnd::Refused(why)),
            Ok(StreamEnd::Broken) => is_silent = false,
            Err(error) if !is_known => return Err(error),
            Err(error) if !is_silent => {
                out::print_error(&format!("no answer, trying again every second: {error:#}"));
                is_silent = true;
            }
            Err(_) => {}
        }
        is_known = true;
        sleep(PAUSE).await;
    }
}

/// How a stream ended.
enum StreamEnd {
    /// The records have no reader any more.
    Unread,
    /// The connection ended.
    Broken,
    /// The proxy does not let this user read.
    Refused(String),
}

async fn stream(
    admin: &AdminEndpoint,
    last: &mut Option<u64>,
    each: &mut dyn FnMut(&Value) -> anyhow::Result<bool>,
) -> anyhow::Result<StreamEnd> {
    let path = last.map_or_else(|| "/v1/events".to_owned(), |seq| format!("/v1/events?after={seq}"));
    let (place, response) = admin.open(&path, FetchOptions::within(PATIENCE)).await?;
    let status = response.status();
    let mut body = response.into_body();
    if status != StatusCode::OK {
        let mut read = Vec::new();
        while let Ok(Some(Ok(frame))) = timeout(PATIENCE, body.frame()).await {
            read.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
            if read.len() > REFUSAL_BYTES_MAX {
                break;
            }
        }
        let answer = AdminResponse { place, status, body: read.into() };
        let why = ProblemDocument::read(&answer).map_or_else(|| answer.line(), |problem| problem.text());
        let why = format!("{} answers {status}: {why}", answer.place);
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(StreamEnd::Refused(why));
        }
        bail!("{why}");
    }
    let mut reader = EventReader::default();
    while let Ok(Some(Ok(frame))) = timeout(SILENCE_MAX, body.frame()).await {
        let Some(data) = frame.data_ref() else { continue };
        for event in reader.take(data)? {
            let Ok(record) = serde_json::from_str::<Value>(&event.data) else { continue };
            if !each(&record)? {
                return Ok(StreamEnd::Unread);
            }
            *last = event.id.and_then(|id| id.parse().ok()).or(record["seq"].as_u64()).or(*last);
        }
    }
    Ok(StreamEnd::Broken)
}
