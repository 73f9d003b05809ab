//! What is kept of an answer that will be compared: the request's own as it passes, or a copy's as it is read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;
use xxhash_rust::xxh3::Xxh3;

use super::permit::MemoryPermit;
use crate::compare::{BODY_MAX, Ending, Failure};
use crate::shadow_compare::{CapturedResponse, ObservedResponse};

/// Limit on the bytes read of a compared response.
pub(super) const COMPARED_BYTES_MAX: u64 = 1024 * 1024;
/// What a field of a head takes up besides its name and value.
const FIELD_BYTES: usize = 64;

/// An answer on its way.
pub(crate) struct ResponseCapture {
    status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    kept: BytesMut,
    length: u64,
    hasher: Box<Xxh3>,
    took: Duration,
    memory: MemoryPermit,
    /// There was no room for something that should have been kept.
    out_of_memory: bool,
}

impl ResponseCapture {
    /// An answer whose head came after `took`.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, took: Duration, memory: MemoryPermit) -> Self {
        let (kept, hasher) = (BytesMut::new(), Box::new(Xxh3::new()));
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum();
        let out_of_memory = !memory.borrow_mut().try_take(bytes as u64);
        let headers = if out_of_memory { HeaderMap::new() } else { headers.clone() };
        Self { status, headers, trailers: None, kept, length: 0, hasher, took, memory, out_of_memory }
    }

    /// A piece of its body.
    pub(crate) fn data(&mut self, piece: &Bytes) {
        self.length += piece.len() as u64;
        if self.out_of_memory || self.length > COMPARED_BYTES_MAX {
            // Nobody will look at it.
            return;
        }
        self.hasher.update(piece);
        let piece = piece.slice(..piece.len().min(BODY_MAX - self.kept.len()));
        // What is kept has no hole: beyond the first piece that finds no room, nothing is.
        let whole = self.kept.len() as u64 + piece.len() as u64 == self.length;
        if whole && !piece.is_empty() {
            self.out_of_memory = !self.memory.borrow_mut().try_take(piece.len() as u64);
            if !self.out_of_memory {
                // Copied: a piece would keep the whole buffer that it was read into.
                self.kept.extend_from_slice(&piece);
            }
        }
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.trailers = Some(trailers.clone());
    }

    /// Whether it cannot be compared, for want of room.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.out_of_memory
    }

    /// It has ended.
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

/// The request's own answer, as its copies wait for it.
pub(crate) struct PrimaryResponse {
    state: RefCell<State>,
    changed: Notify,
    memory: MemoryPermit,
    /// When the request had come whole, if it has a body.
    uploaded: Cell<Option<Instant>>,
}

enum State {
    /// Nothing has come.
    Pending,
    Receiving(Box<ResponseCapture>),
    Ended(ObservedResponse),
    /// There was no room to keep it.
    NoMemory,
    /// It cannot be compared: it was not the upstream that ended it, or it was taken already.
    Lost,
}

/// How far it must have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// Its head.
    Head,
    /// Its end.
    End,
}

impl PrimaryResponse {
    pub(crate) fn new(memory: MemoryPermit) -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(State::Pending), changed: Notify::new(), memory, uploaded: Cell::default() })
    }

    /// The request has come whole.
    pub(crate) fn uploaded(&self, now: Instant) {
        self.uploaded.set(Some(now));
    }

    /// Its head has come, `took` after it was asked for. As its copies go all at once, what counts begins with the
    /// request's last byte.
    pub(crate) fn head(&self, status: StatusCode, headers: &HeaderMap, took: Duration, now: Instant) {
        if matches!(*self.state.borrow(), State::Lost) {
            return;
        }
        let took = self.uploaded.get().map_or(took, |at| took.min(now.duration_since(at)));
        self.state.replace(State::Receiving(Box::new(ResponseCapture::new(
            status,
            headers,
            took,
            Rc::clone(&self.memory),
        ))));
        self.changed.notify_waiters();
    }

    /// A piece of its body passes.
    pub(crate) fn data(&self, piece: &Bytes) {
        if let State::Receiving(capture) = &mut *self.state.borrow_mut() {
            capture.data(piece);
        }
    }

    /// Its trailers pass.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        if let State::Receiving(capture) = &mut *self.state.borrow_mut() {
            capture.trailers(trailers);
        }
    }

    /// It has come whole, or was cut by its upstream.
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

    /// Its upstream did not answer.
    pub(crate) fn fail(&self, failure: Failure, took: Duration) {
        self.state.replace(State::Ended(ObservedResponse { outcome: Err(failure), took }));
        self.changed.notify_waiters();
    }

    /// Nothing more comes of it. What has not ended cannot be compared.
    pub(crate) fn close(&self) {
        if !matches!(*self.state.borrow(), State::Ended(_) | State::NoMemory) {
            self.state.replace(State::Lost);
        }
        self.changed.notify_waiters();
    }

    /// Waits until it has come so far, or nothing more will.
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

    /// The answer, once.
    pub(crate) fn take(&self) -> PrimaryResult {
        match self.state.replace(State::Lost) {
            State::Ended(seen) => PrimaryResult::Complete(seen),
            State::NoMemory => PrimaryResult::NoMemory,
            State::Pending | State::Receiving(_) | State::Lost => PrimaryResult::Lost,
        }
    }

    /// Nobody will ask for it: what was kept of it is let go, and nothing more is kept.
    pub(crate) fn forget(&self) {
        self.state.replace(State::Lost);
    }
}

/// What a copy's answer can be compared with.
pub(crate) enum PrimaryResult {
    /// All of the request's own answer.
    Complete(ObservedResponse),
    /// There was no room to keep it.
    NoMemory,
    /// It did not come whole.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::telemetry::{ShadowBytes, ShadowHeld};

    fn room(bytes: u64) -> (std::sync::Arc<ShadowBytes>, MemoryPermit) {
        let all = std::sync::Arc::new(ShadowBytes::new(bytes));
        let memory = Rc::new(RefCell::new(ShadowHeld::new(std::sync::Arc::clone(&all))));
        (all, memory)
    }

    fn receive(primary: &PrimaryResponse, body: &[u8]) {
        let mut headers = HeaderMap::new();
        headers.insert("x-field", http::HeaderValue::from_static("value"));
        primary.head(StatusCode::OK, &headers, Duration::from_secs(3), Clock.now());
        primary.data(&Bytes::copy_from_slice(body));
        primary.end(Ending::Complete);
    }

    #[test]
    fn what_finds_no_room_is_not_compared() {
        let (all, memory) = room(100);
        let primary = PrimaryResponse::new(Rc::clone(&memory));
        receive(&primary, &[b'x'; 24]);
        assert_eq!(all.used(), 100, "its head counts, too");
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
    fn what_nobody_will_ask_for_is_let_go() {
        let primary = PrimaryResponse::new(room(1000).1);
        primary.forget();
        receive(&primary, b"x");
        assert!(matches!(primary.take(), PrimaryResult::Lost));
    }

    #[test]
    fn an_answer_takes_time_from_the_last_byte_of_its_request_on() {
        let primary = PrimaryResponse::new(room(1000).1);
        let now = Clock.now();
        primary.uploaded(now);
        let later = now + Duration::from_millis(20);
        primary.head(StatusCode::OK, &HeaderMap::new(), Duration::from_secs(3), later);
        primary.end(Ending::Complete);
        let PrimaryResult::Complete(seen) = primary.take() else { panic!("it came whole") };
        assert_eq!(seen.took, Duration::from_millis(20));
    }
}
