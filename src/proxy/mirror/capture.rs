//! Captures responses for comparison: the request's own response as it passes, or a copy's response as it is read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;
use xxhash_rust::xxh3::Xxh3;

use super::permit::MemoryPermit;
use crate::clock::Timestamp;
use crate::compare::{BODY_MAX, Ending, Failure};
use crate::fields::Fields;
use crate::shadow_compare::{CapturedResponse, ObservedResponse};

/// Limit on the bytes read of a compared response.
pub(super) const COMPARED_BYTES_MAX: u64 = 1024 * 1024;
/// Memory of a header field besides its name and value.
const FIELD_BYTES: usize = 64;

/// A response that is being captured.
pub(crate) struct ResponseCapture {
    status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    kept: BytesMut,
    length: u64,
    hasher: Box<Xxh3>,
    took: Duration,
    memory: MemoryPermit,
    /// Some part of the response found no memory.
    out_of_memory: bool,
}

impl ResponseCapture {
    /// A response whose head arrived after `took`.
    pub(crate) fn new(status: StatusCode, fields: &Fields, took: Duration, memory: MemoryPermit) -> Self {
        let (kept, hasher) = (BytesMut::new(), Box::new(Xxh3::new()));
        let bytes = fields.bytes() + fields.len() * FIELD_BYTES;
        let out_of_memory = !memory.borrow_mut().try_take(bytes as u64);
        let headers = if out_of_memory { HeaderMap::new() } else { fields.to_map() };
        Self { status, headers, trailers: None, kept, length: 0, hasher, took, memory, out_of_memory }
    }

    /// Captures a piece of the body.
    pub(crate) fn data(&mut self, piece: &Bytes) {
        self.length += piece.len() as u64;
        if self.out_of_memory || self.length > COMPARED_BYTES_MAX {
            // The response cannot be compared, so the rest of it is not needed.
            return;
        }
        self.hasher.update(piece);
        let piece = piece.slice(..piece.len().min(BODY_MAX - self.kept.len()));
        // The captured body has no gap: after the first piece that is not captured whole, nothing is captured.
        let whole = self.kept.len() as u64 + piece.len() as u64 == self.length;
        if whole && !piece.is_empty() {
            self.out_of_memory = !self.memory.borrow_mut().try_take(piece.len() as u64);
            if !self.out_of_memory {
                // A copy: a slice would keep the whole buffer that it was read into.
                self.kept.extend_from_slice(&piece);
            }
        }
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.trailers = Some(trailers.clone());
    }

    /// Whether the response cannot be compared because memory was short.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.out_of_memory
    }

    /// The captured response.
    pub(crate) fn end(self, ending: Ending) -> ObservedResponse {
        let digest = self.hasher.digest128();
        let kept = CapturedResponse {
            status: self.status,
            headers: self.headers,
            trailers: self.trailers,
            captured: vec![self.kept.freeze()],
            length: self.length,
            digest,
            ending,
        };
        ObservedResponse { outcome: Ok(Box::new(kept)), took: self.took }
    }
}

/// The response to the request itself. Copies wait for it; the response body fills it.
pub(crate) struct PrimaryResponse {
    state: RefCell<State>,
    changed: Notify,
    memory: MemoryPermit,
    /// When the request's body was complete.
    uploaded: Cell<Option<Timestamp>>,
}

enum State {
    /// No head has arrived.
    Pending,
    Receiving(Box<ResponseCapture>),
    Ended(ObservedResponse),
    /// There was no memory to capture it.
    NoMemory,
    /// It cannot be compared: the client or the proxy ended it, or it was taken.
    Lost,
}

/// The part of the response to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    Head,
    End,
}

impl PrimaryResponse {
    pub(crate) fn new(memory: MemoryPermit) -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(State::Pending), changed: Notify::new(), memory, uploaded: Cell::default() })
    }

    /// Notes that the request's body is complete.
    pub(crate) fn uploaded(&self, now: Timestamp) {
        self.uploaded.set(Some(now));
    }

    /// Starts the capture. The head arrived `took` after the request was sent. A copy is sent with its whole body at
    /// once, so for a fair comparison the time starts at the last byte of the request.
    pub(crate) fn head(&self, status: StatusCode, fields: &Fields, took: Duration, now: Timestamp) {
        if matches!(*self.state.borrow(), State::Lost) {
            return;
        }
        let took = self.uploaded.get().map_or(took, |at| took.min(now.duration_since(at)));
        self.state.replace(State::Receiving(Box::new(ResponseCapture::new(
            status,
            fields,
            took,
            Rc::clone(&self.memory),
        ))));
        self.changed.notify_waiters();
    }

    pub(crate) fn data(&self, piece: &Bytes) {
        if let State::Receiving(capture) = &mut *self.state.borrow_mut() {
            capture.data(piece);
        }
    }

    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        if let State::Receiving(capture) = &mut *self.state.borrow_mut() {
            capture.trailers(trailers);
        }
    }

    /// Ends the capture: the response is complete, or the upstream cut it.
    pub(crate) fn end(&self, ending: Ending) {
        let ended = match self.state.replace(State::Lost) {
            State::Receiving(capture) if capture.is_out_of_memory() => State::NoMemory,
            State::Receiving(capture) => State::Ended(capture.end(ending)),
            State::Pending => State::Lost,
            other @ (State::Ended(_) | State::NoMemory | State::Lost) => other,
        };
        self.state.replace(ended);
        self.changed.notify_waiters();
    }

    /// Records that the upstream did not respond.
    pub(crate) fn fail(&self, failure: Failure, took: Duration) {
        self.state.replace(State::Ended(ObservedResponse { outcome: Err(failure), took }));
        self.changed.notify_waiters();
    }

    /// Ends the exchange. A response that has not ended cannot be compared.
    pub(crate) fn close(&self) {
        if !matches!(*self.state.borrow(), State::Ended(_) | State::NoMemory) {
            self.state.replace(State::Lost);
        }
        self.changed.notify_waiters();
    }

    /// Waits until this part has arrived, or can no longer arrive.
    pub(crate) async fn wait(&self, until: WaitFor) {
        loop {
            let changed = self.changed.notified();
            let there = match &*self.state.borrow() {
                State::Pending => false,
                State::Receiving(_) => until == WaitFor::Head,
                State::Ended(_) | State::NoMemory | State::Lost => true,
            };
            if there {
                return;
            }
            changed.await;
        }
    }

    /// Takes the result; a second call returns `Lost`.
    pub(crate) fn take(&self) -> PrimaryResult {
        match self.state.replace(State::Lost) {
            State::Ended(seen) => PrimaryResult::Complete(seen),
            State::NoMemory => PrimaryResult::NoMemory,
            State::Pending | State::Receiving(_) | State::Lost => PrimaryResult::Lost,
        }
    }

    /// Drops the capture: no copy needs it.
    pub(crate) fn forget(&self) {
        self.state.replace(State::Lost);
    }
}

/// The result of capturing the primary response.
pub(crate) enum PrimaryResult {
    Complete(ObservedResponse),
    /// There was no memory to capture it.
    NoMemory,
    /// It did not arrive completely.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WorkerClock;
    use crate::telemetry::{ShadowBytes, ShadowHeld};

    fn room(bytes: u64) -> (std::sync::Arc<ShadowBytes>, MemoryPermit) {
        let all = std::sync::Arc::new(ShadowBytes::new(bytes));
        let memory = Rc::new(RefCell::new(ShadowHeld::new(std::sync::Arc::clone(&all))));
        (all, memory)
    }

    fn receive(primary: &PrimaryResponse, body: &[u8]) {
        let mut fields = Fields::new();
        fields.append(&http::HeaderName::from_static("x-field"), &http::HeaderValue::from_static("value"));
        primary.head(StatusCode::OK, &fields, Duration::from_secs(3), WorkerClock::of_test().now());
        primary.data(&Bytes::copy_from_slice(body));
        primary.end(Ending::Complete);
    }

    #[test]
    fn a_response_without_memory_is_not_compared() {
        let (all, memory) = room(100);
        let primary = PrimaryResponse::new(Rc::clone(&memory));
        receive(&primary, &[b'x'; 24]);
        assert_eq!(all.used(), 100, "the head counts too");
        assert!(matches!(primary.take(), PrimaryResult::Complete(_)));
        let other = PrimaryResponse::new(memory);
        receive(&other, b"");
        assert!(matches!(other.take(), PrimaryResult::NoMemory), "not even for its head");
        let (_, memory) = room(80);
        let third = PrimaryResponse::new(memory);
        receive(&third, &[b'x'; 24]);
        third.close();
        assert!(matches!(third.take(), PrimaryResult::NoMemory));
    }

    #[test]
    fn a_forgotten_response_is_not_captured() {
        let primary = PrimaryResponse::new(room(1000).1);
        primary.forget();
        receive(&primary, b"x");
        assert!(matches!(primary.take(), PrimaryResult::Lost));
    }

    #[test]
    fn response_time_starts_at_the_last_byte_of_the_request() {
        let primary = PrimaryResponse::new(room(1000).1);
        let now = WorkerClock::of_test().now();
        primary.uploaded(now);
        let later = now + Duration::from_millis(20);
        primary.head(StatusCode::OK, &Fields::new(), Duration::from_secs(3), later);
        primary.end(Ending::Complete);
        let PrimaryResult::Complete(seen) = primary.take() else { panic!("a complete response") };
        assert_eq!(seen.took, Duration::from_millis(20));
    }
}
