//! One exchange on an HTTP/1.1 connection, up to the head of its response. The request's own task writes the request
//! and reads the response: no other task takes part.

use std::mem;
use std::task::{Context, Poll, ready};

use super::connection::{Http1Connection, SendError};
use super::request_writer::{OutgoingRequest, WriteError};
use super::upload_task::UploadTask;
use crate::failover::Reached;
use crate::proxy::downstream::informational::InformationalResponses;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::response_head::ExpectedResponse;

/// Begins to send a request in the form of HTTP/1.1; [`poll`] goes on. No future of its own: it would be one more to poll.
///
/// # Errors
/// The fault, and how far the attempt came. The connection is then of no more use.
pub(crate) fn begin(connection: &mut Http1Connection, request: &OutgoingRequest<'_>) -> Result<(), SendError> {
    if let Some(fault) = connection.early_fault() {
        return Err(SendError { fault, reached: Reached::Unsent });
    }
    connection.begin(ExpectedResponse::of(&request.head.method));
    Ok(())
}

/// Writes the request and reads the head of its response. Informational responses go to `informational`, if the client
/// can have them. Ready when the connection has the head. If nothing of the request was written, it is as before.
///
/// # Errors
/// As [`begin`].
pub(crate) fn poll(
    connection: &mut Http1Connection,
    cx: &mut Context<'_>,
    request: &mut OutgoingRequest<'_>,
    informational: Option<&InformationalResponses>,
) -> Poll<Result<(), SendError>> {
    if connection.writer.is_active() {
        let scratch = &connection.worker.scratch;
        match connection.writer.poll(cx, &mut connection.io.socket.borrow_mut(), request, scratch) {
            Poll::Ready(Ok(())) => connection.io.sent.set(true),
            Poll::Ready(Err(WriteError::Body)) => {
                return Poll::Ready(Err(SendError { fault: Fault::UpstreamReset, reached: Reached::Aborted }));
            }
            // After a failed write, too, a response may have arrived before the upstream closed the connection.
            Poll::Pending | Poll::Ready(Err(WriteError::Socket | WriteError::Unsent)) => {}
        }
    }
    if connection.writer.is_unsent() {
        // A TLS alert says more than the broken connection.
        connection.tls_refused = ready!(connection.io.socket.borrow_mut().poll_refused(cx));
        return Poll::Ready(Err(SendError { fault: Fault::UpstreamReset, reached: Reached::Unsent }));
    }
    ready!(connection.poll_head(cx, informational))?;
    if connection.writer.is_active() {
        let (writer, body) = (mem::take(&mut connection.writer), mem::take(request.body));
        connection.upload = Some(UploadTask::spawn(&connection.io, writer, body, &connection.worker));
    }
    Poll::Ready(Ok(()))
}
