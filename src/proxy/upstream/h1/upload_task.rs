//! Writes the rest of a request whose response came early. The response's body is read when the client takes it, but
//! some clients take it only after they have sent the whole request: without a task of its own, such a request would
//! stand still.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::connection::SharedSocket;
use super::request_writer::{RequestWriter, WriteError};
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::worker::Worker;

/// The task; aborted when dropped.
pub(super) struct UploadTask(JoinHandle<Result<(), WriteError>>);

impl UploadTask {
    /// Writes the rest of `body` to the socket.
    pub(super) fn spawn(
        io: &Rc<SharedSocket>,
        mut writer: RequestWriter,
        mut body: RequestBody,
        worker: &Rc<Worker>,
    ) -> Self {
        let (io, worker) = (Rc::clone(io), Rc::clone(worker));
        Self(tokio::task::spawn_local(async move {
            let written =
                poll_fn(|cx| writer.poll_body(cx, &mut io.socket.borrow_mut(), &mut body, &worker.scratch)).await;
            io.sent.set(written.is_ok());
            written
        }))
    }

    /// Ready when the body is written, or failed. An aborted task counts as a failed socket.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        Pin::new(&mut self.0).poll(cx).map(|ended| ended.unwrap_or(Err(WriteError::Socket)))
    }
}

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
