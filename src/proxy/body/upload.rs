//! The state of a request's body, shared by the body, which pulls from the client, and the exchange.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::pace::Pace;
use crate::proxy::worker::budget::{BodyWindow, UploadMemory};
use crate::proxy::worker::send_task::SendTask;

/// The state of a request's body.
#[derive(Default)]
pub(crate) struct Upload {
    pub(crate) bytes: Cell<u64>,
    pub(crate) ended: Cell<bool>,
    /// The rate of the body.
    pub(crate) pace: Pace,
    /// The response's head has arrived.
    pub(crate) answered: Cell<bool>,
    pub(crate) failed: Cell<Option<UploadFault>>,
    /// The receive window of the stream, until the body's end (HTTP/2).
    ahead: Cell<Option<BodyWindow>>,
    /// The memory of its buffers, until both the response's head and the body's end have arrived.
    room: Cell<Option<UploadMemory>>,
    /// The task that sends it on an HTTP/2 stream.
    send_task: RefCell<Option<Rc<SendTask>>>,
}

/// Why a request's body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadFault {
    /// The proxy refused it.
    Refused(crate::telemetry::Refusal),
    /// The client closed the connection or the stream.
    Gone,
}

impl Upload {
    /// The state of a body with this window and memory.
    pub(crate) fn new(ahead: Option<BodyWindow>, room: Option<UploadMemory>) -> Rc<Self> {
        Rc::new(Self { ahead: Cell::new(ahead), room: Cell::new(room), ..Self::default() })
    }

    /// The response's head has arrived: a complete body has left the buffers, and its memory is released.
    pub(crate) fn response_started(&self) {
        if self.ended.get() {
            drop(self.room.take());
        }
    }

    /// The body is sent on an HTTP/2 stream.
    pub(crate) fn set_send_task(&self, send_task: Rc<SendTask>) {
        *self.send_task.borrow_mut() = Some(send_task);
    }

    /// Notes that the body is polled. Only the first poll of an attempt has an effect.
    pub(crate) fn mark_started(&self) {
        if let Some(send_task) = &*self.send_task.borrow() {
            send_task.start();
        }
    }

    /// Aborts the body on an HTTP/2 stream.
    pub(crate) fn cut(&self) {
        if let Some(send_task) = self.send_task.take() {
            send_task.cancel();
        }
    }

    /// Whether the body has neither ended nor failed.
    pub(crate) fn is_open(&self) -> bool {
        !self.ended.get() && self.failed.get().is_none()
    }

    /// The whole body was read.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        // The client can send nothing more on this stream.
        drop(self.ahead.take());
        if self.answered.get() {
            drop(self.room.take());
        }
    }
}
