//! What is kept of an answer that will be compared: the request's own as it passes, or a copy's as it is read.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;
use xxhash_rust::xxh3::Xxh3;

use super::copies::Held;
use crate::compare::{Ending, Failure};
use crate::dark::{Kept, Seen};

/// So much of a body is kept; of the rest, its length and digest.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Pieces below this are copied: a small one would keep a whole read buffer.
const SHARED_FROM_BYTES: usize = 4096;

/// An answer on its way.
pub(super) struct Capture {
    status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    pieces: Vec<Bytes>,
    kept: usize,
    length: u64,
    hasher: Box<Xxh3>,
    took: Duration,
    held: Held,
}

impl Capture {
    /// An answer whose head came after `took`.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, took: Duration, held: Held) -> Self {
        let (pieces, hasher) = (Vec::new(), Box::new(Xxh3::new()));
        Self { status, headers: headers.clone(), trailers: None, pieces, kept: 0, length: 0, hasher, took, held }
    }

    /// A piece of its body.
    pub(super) fn data(&mut self, piece: &Bytes) {
        self.length += piece.len() as u64;
        self.hasher.update(piece);
        let piece = piece.slice(..piece.len().min(KEPT_BYTES_MAX - self.kept));
        // What is kept has no hole: beyond the first piece that finds no room, nothing is.
        let whole = self.kept as u64 + piece.len() as u64 == self.length;
        if whole && !piece.is_empty() && self.held.borrow_mut().try_take(piece.len() as u64) {
            self.kept += piece.len();
            self.pieces.push(if piece.len() >= SHARED_FROM_BYTES { piece } else { Bytes::copy_from_slice(&piece) });
        }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.trailers = Some(trailers.clone());
    }

    /// It has ended.
    pub(super) fn end(self, ending: Ending) -> Seen {
        let digest = self.hasher.digest128();
        let kept = Kept {
            status: self.status,
            headers: self.headers,
            trailers: self.trailers,
            captured: self.pieces,
            length: self.length,
            digest,
            ending,
        };
        Seen { outcome: Ok(Box::new(kept)), took: self.took }
    }
}

/// The request's own answer, as its copies wait for it.
pub(super) struct Primary {
    state: RefCell<State>,
    changed: Notify,
    held: Held,
}

enum State {
    /// Nothing has come.
    Awaited,
    Passing(Box<Capture>),
    Ended(Seen),
    /// It cannot be compared: it was not the upstream that ended it, or it was taken already.
    Lost,
}

/// How far it must have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Its head.
    Head,
    /// Its end.
    End,
}

impl Primary {
    pub(super) fn new(held: Held) -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(State::Awaited), changed: Notify::new(), held })
    }

    /// Its head has come.
    pub(super) fn head(&self, status: StatusCode, headers: &HeaderMap, took: Duration) {
        self.state.replace(State::Passing(Box::new(Capture::new(status, headers, took, Rc::clone(&self.held)))));
        self.changed.notify_waiters();
    }

    /// A piece of its body passes.
    pub(super) fn data(&self, piece: &Bytes) {
        if let State::Passing(capture) = &mut *self.state.borrow_mut() {
            capture.data(piece);
        }
    }

    /// Its trailers pass.
    pub(super) fn trailers(&self, trailers: &HeaderMap) {
        if let State::Passing(capture) = &mut *self.state.borrow_mut() {
            capture.trailers(trailers);
        }
    }

    /// It has come whole, or was cut by its upstream.
    pub(super) fn end(&self, ending: Ending) {
        let ended = match self.state.replace(State::Lost) {
            State::Passing(capture) => State::Ended(capture.end(ending)),
            State::Awaited => State::Lost,
            other @ (State::Ended(_) | State::Lost) => other,
        };
        self.state.replace(ended);
        self.changed.notify_waiters();
    }

    /// Its upstream did not answer.
    pub(super) fn failed(&self, failure: Failure, took: Duration) {
        self.state.replace(State::Ended(Seen { outcome: Err(failure), took }));
        self.changed.notify_waiters();
    }

    /// Nothing more comes of it. What has not ended cannot be compared.
    pub(super) fn left(&self) {
        if !matches!(*self.state.borrow(), State::Ended(_)) {
            self.state.replace(State::Lost);
        }
        self.changed.notify_waiters();
    }

    /// Waits until it has come so far, or nothing more will.
    pub(super) async fn comes(&self, until: Until) {
        loop {
            let changed = self.changed.notified();
            let there = match &*self.state.borrow() {
                State::Awaited => false,
                State::Passing(_) => until == Until::Head,
                State::Ended(_) | State::Lost => true,
            };
            if there {
                return;
            }
            changed.await;
        }
    }

    /// The answer, once.
    pub(super) fn take(&self) -> Option<Seen> {
        match self.state.replace(State::Lost) {
            State::Ended(seen) => Some(seen),
            State::Awaited | State::Passing(_) | State::Lost => None,
        }
    }
}
