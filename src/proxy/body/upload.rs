//! A request's body on its way, as both sides see it: the one that pulls it from the client, and the exchange.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http_body::Frame;

use super::pace::Pace;
use crate::proxy::worker::budget::{BodyWindow, UploadMemory};
use crate::proxy::worker::send_task::SendTask;
use crate::proxy::worker::trailer_writer::TrailerWriter;

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
    ahead: Cell<Option<BodyWindow>>,
    /// What its buffers have taken of the memory, until the answer's head has come and its end.
    room: Cell<Option<UploadMemory>>,
    /// The try to send it that is under way, on a stream of HTTP/2.
    send_task: RefCell<Option<Rc<SendTask>>>,
    /// Where its trailers go, when it is chunked on a connection of HTTP/1.1.
    trailing: RefCell<Option<Rc<TrailerWriter>>>,
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
    pub(crate) fn new(ahead: Option<BodyWindow>, room: Option<UploadMemory>) -> Rc<Self> {
        Rc::new(Self { ahead: Cell::new(ahead), room: Cell::new(room), ..Self::default() })
    }

    /// The answer's head has come: what has come whole has left the buffers.
    pub(crate) fn response_started(&self) {
        if self.ended.get() {
            drop(self.room.take());
        }
    }

    /// It is sent on a stream of HTTP/2.
    pub(crate) fn set_send_task(&self, send_task: Rc<SendTask>) {
        *self.send_task.borrow_mut() = Some(send_task);
        *self.trailing.borrow_mut() = None;
    }

    /// It is sent in chunks, with its trailers there.
    pub(crate) fn set_trailers(&self, trailing: &Rc<TrailerWriter>) {
        *self.trailing.borrow_mut() = Some(Rc::clone(trailing));
    }

    /// What hyper gets of what the body gave.
    pub(crate) fn divert<E>(
        &self,
        polled: Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        match &*self.trailing.borrow() {
            Some(trailing) => trailing.take_trailers(polled),
            None => polled,
        }
    }

    /// It is pulled from.
    pub(crate) fn mark_started(&self) {
        if let Some(send_task) = &*self.send_task.borrow() {
            send_task.start();
        }
    }

    /// No more of it is sent on a stream of HTTP/2.
    pub(crate) fn cut(&self) {
        if let Some(send_task) = self.send_task.take() {
            send_task.cancel();
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
