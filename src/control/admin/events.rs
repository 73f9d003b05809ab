//! `/v1/events`: records of the journal as server-sent events, from any sequence number on. A reader that is slower than
//! the memory of records gets what it missed from the files.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Frame;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::MissedTickBehavior;

use super::access::{AdminClient, Admitted, CallAccess, CallerCredentials, StreamHold};
use super::calls::AdminState;
use super::fields::SEQ_MAX;
use super::journal::{AFTER, RECORDS_MAX, records_after};
use super::kills;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::query::numbers;
use crate::journal::Record;

/// The field with the last event that a reader has seen (HTML, server-sent events).
const LAST_EVENT_ID: &str = "last-event-id";
/// Events that wait for a slow reader.
const WAITING_MAX: usize = 64;
/// How often it is checked that the reader may still read.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How many checks lie between two comments that keep the connection alive.
const CHECKS_PER_HEARTBEAT: u32 = 15;
/// How long a reader may take to read one event.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn events(
    State(state): State<AdminState>,
    Extension(client): Extension<AdminClient>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let seq = match first_seq(&state, &headers, query.as_deref()) {
        Ok(seq) => seq,
        Err(problem) => return problem.respond(ProblemForm::Document),
    };
    let Ok(permit) = Arc::clone(&state.streams).try_acquire_owned() else {
        let help = "close other event streams, or read /v1/journal";
        return ProblemKind::Busy.because("all event streams are taken", help).respond(ProblemForm::Document);
    };
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let credentials = CallerCredentials::of(&client.origin, &headers);
    let reader = StreamReader { credentials, has_session: admitted.session_ends_at.is_some() };
    let stream = EventStream { state, reader, sender, seq, _permit: permit, _hold: client.life.hold() };
    tokio::spawn(stream.run());
    let mut response = Response::new(Body::new(EventBody(receiver)));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// The sequence number after which the stream begins: that of the last event that the reader has seen, or of the query,
/// or the newest.
fn first_seq(state: &AdminState, headers: &HeaderMap, query: Option<&str>) -> Result<u64, CallProblem> {
    let [after] = numbers(query, [AFTER])?;
    let newest = state.control.release.last_seq();
    // A number that is not given yet comes from another journal: this one is read from its oldest record on.
    let known = |seq: u64| if seq > newest { 0 } else { seq };
    let Some(last) = headers.get(LAST_EVENT_ID) else { return Ok(after.map_or(newest, known)) };
    let last = last.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    last.and_then(|text| text.parse().ok()).filter(|seq| *seq <= SEQ_MAX).map(known).ok_or_else(|| {
        ProblemKind::BadQuery.because("Last-Event-ID is not a sequence number", "send the `id` of the last event")
    })
}

/// One event stream.
struct EventStream {
    state: AdminState,
    reader: StreamReader,
    sender: mpsc::Sender<Bytes>,
    /// The last sequence number that was sent.
    seq: u64,
    _permit: OwnedSemaphorePermit,
    _hold: StreamHold,
}

/// The reader of a stream, as it was admitted.
struct StreamReader {
    credentials: CallerCredentials,
    /// It came by a session: the stream ends with it, also where reading is open to all.
    has_session: bool,
}

/// Why a stream ends: the reader has gone, is too slow, or may read no more; the listener has closed; or the journal
/// cannot be read.
struct StreamEnd;

impl EventStream {
    async fn run(mut self) {
        let mut closing = self.state.closing.clone();
        tokio::select! {
            // Both ways the stream ends.
            _ = self.send_all() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    async fn send_all(&mut self) -> Result<(), StreamEnd> {
        self.send(Bytes::from_static(b"retry: 1000\n\n")).await?;
        loop {
            let mut news = self.catch_up().await?;
            self.follow(&mut news).await?;
        }
    }

    /// Sends what was missed, and returns the source of what comes next.
    async fn catch_up(&mut self) -> Result<broadcast::Receiver<Arc<Record>>, StreamEnd> {
        loop {
            let (recent, news) = self.state.control.release.follow(self.seq);
            if let Some(recent) = recent {
                self.send_records(&recent).await?;
                return Ok(news);
            }
            let missed = records_after(&self.state, self.seq, RECORDS_MAX).await.map_err(|_| StreamEnd)?;
            if missed.is_empty() {
                // The files no longer have them: go on with the oldest record in memory.
                let oldest = self.state.control.release.oldest_seq().unwrap_or(self.seq + 1);
                self.seq = self.seq.max(oldest.saturating_sub(1));
                continue;
            }
            self.send_records(&missed).await?;
        }
    }

    /// Sends records as they are made, until some were missed.
    async fn follow(&mut self, news: &mut broadcast::Receiver<Arc<Record>>) -> Result<(), StreamEnd> {
        let mut checks = tokio::time::interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = 0;
        loop {
            tokio::select! {
                record = news.recv() => match record {
                    Ok(record) => self.send_records(&[record]).await?,
                    Err(RecvError::Lagged(_)) => return Ok(()),
                    Err(RecvError::Closed) => return Err(StreamEnd),
                },
                () = self.sender.closed() => return Err(StreamEnd),
                _ = checks.tick() => {
                    self.check()?;
                    count += 1;
                    if count % CHECKS_PER_HEARTBEAT == 0 {
                        self.send(Bytes::from_static(b":\n\n")).await?;
                    }
                }
            }
        }
    }

    async fn send_records(&mut self, records: &[Arc<Record>]) -> Result<(), StreamEnd> {
        for record in records.iter().filter(|record| record.seq > self.seq).collect::<Vec<_>>() {
            self.check()?;
            let value = kills::record(record);
            let what = value["what"].as_str().unwrap_or("record");
            let event = format!("id: {}\nevent: {what}\ndata: {value}\n\n", record.seq);
            self.send(event.into()).await?;
            self.seq = record.seq;
        }
        Ok(())
    }

    /// Checks that the reader may still read: it would be admitted now, too.
    fn check(&self) -> Result<(), StreamEnd> {
        let StreamReader { credentials, has_session } = &self.reader;
        match credentials.admit(CallAccess::Read, &self.state.control, &self.state.sessions) {
            Ok(admitted) if admitted.session_ends_at.is_some() == *has_session => Ok(()),
            Ok(_) | Err(_) => Err(StreamEnd),
        }
    }

    async fn send(&self, text: Bytes) -> Result<(), StreamEnd> {
        self.sender.send_timeout(text, SEND_TIMEOUT).await.map_err(|_| StreamEnd)
    }
}

/// The body of an event stream.
struct EventBody(mpsc::Receiver<Bytes>);

impl hyper::body::Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
