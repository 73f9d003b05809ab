//! A request's body on its way, as both sides see it: the one that pulls it from the client, and the exchange.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http_body::Frame;

use super::pace::Pace;
use crate::proxy::worker::budget::{BodyAhead, Room};
use crate::proxy::worker::sending::Sending;
use crate::proxy::worker::trailing::Trailing;

/// What is known of a request's body on its way.
#[derive(Default)]
pub(crate) struct Upload {
    pub(crate) bytes: Cell<u64>,
    pub(crate) ended: Cell<bool>,
    /// How fast it comes.
    pub(crate) pace: Pace,
    /// The answer's head has come.
    pub(crate) answered: Cell<bool>,
    pub(crate) failed: Cell<Option<UploadFault>>,
    /// What may be sent before it is read, until its end (HTTP/2).
    ahead: Cell<Option<BodyAhead>>,
    /// What its buffers have taken of the memory, until the answer's head has come and its end.
    room: Cell<Option<Room>>,
    /// The try to send it that is under way, on a stream of HTTP/2.
    sending: RefCell<Option<Rc<Sending>>>,
    /// Where its trailers go, when it is chunked on a connection of HTTP/1.1.
    trailing: RefCell<Option<Rc<Trailing>>>,
}

/// Why a request's body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadFault {
    /// It was refused.
    Refused(crate::telemetry::Refusal),
    /// The client went away.
    Gone,
}

impl Upload {
    /// One that may be so far ahead.
    pub(crate) fn new(ahead: Option<BodyAhead>, room: Option<Room>) -> Rc<Self> {
        Rc::new(Self { ahead: Cell::new(ahead), room: Cell::new(room), ..Self::default() })
    }

    /// The answer's head has come: what has come whole has left the buffers.
    pub(crate) fn head_has_come(&self) {
        if self.ended.get() {
            drop(self.room.take());
        }
    }

    /// It is sent on a stream of HTTP/2.
    pub(crate) fn send(&self, sending: Rc<Sending>) {
        *self.sending.borrow_mut() = Some(sending);
        *self.trailing.borrow_mut() = None;
    }

    /// It is sent in chunks, with its trailers there.
    pub(crate) fn trail(&self, trailing: &Rc<Trailing>) {
        *self.trailing.borrow_mut() = Some(Rc::clone(trailing));
    }

    /// What hyper gets of what the body gave.
    pub(crate) fn divert<E>(
        &self,
        polled: Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        match &*self.trailing.borrow() {
            Some(trailing) => trailing.divert(polled),
            None => polled,
        }
    }

    /// It is pulled from.
    pub(crate) fn begins(&self) {
        if let Some(sending) = &*self.sending.borrow() {
            sending.begins();
        }
    }

    /// No more of it is sent on a stream of HTTP/2.
    pub(crate) fn cut(&self) {
        if let Some(sending) = self.sending.take() {
            sending.cut();
        }
    }

    /// Whether it has neither ended nor failed.
    pub(crate) fn is_open(&self) -> bool {
        !self.ended.get() && self.failed.get().is_none()
    }

    /// All of it has been read.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        drop(self.ahead.take());
        if self.answered.get() {
            drop(self.room.take());
        }
    }
}
