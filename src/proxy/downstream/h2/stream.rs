//! One stream: its request is handled, then its response is sent as the client's window opens. A client that keeps its
//! window closed would hold the stream for ever: flow control stalls the stream, not the socket, so the write deadline
//! of the connection does not apply. Such a stream is dropped, which resets it.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response};
use http_body::Body;

use super::tunnel::StreamOpener;
use crate::fields::Fields;
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::ClientResponse;
use crate::proxy::wire::h2_fields::h2_fields;
use crate::proxy::worker::deadline::CoarseTimer;
use crate::proxy::worker::response_reader::ResponseReader;
use crate::telemetry::Refusal;

/// A stream under way.
pub(super) struct Stream<F, B> {
    respond: SendResponse<Bytes>,
    /// What the stream becomes if the response to a CONNECT is a success.
    opener: Option<StreamOpener>,
    state: StreamState<F, B>,
    /// The deadline of the reader.
    timer: Option<CoarseTimer>,
}

enum StreamState<F, B> {
    /// The request is handled. Boxed, so that a stream that waits for its reader does not carry its size.
    Handling(Pin<Box<F>>),
    Sending(Sending<B>),
}

/// A body that is sent.
struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// A piece that waits for the window.
    held: Option<Piece>,
}

struct Piece {
    data: Bytes,
    is_last: bool,
}

/// What follows the head of a response.
enum AfterHead<B> {
    Body(Sending<B>),
    /// The stream has ended, or is a tunnel.
    Nothing,
}

impl<F, B> Stream<F, B>
where
    F: Future<Output = Result<ClientResponse<B>, Infallible>>,
    B: Body<Data = Bytes> + Unpin,
{
    /// A stream whose request is handled by `handling`.
    pub(super) fn new(respond: SendResponse<Bytes>, opener: Option<StreamOpener>, handling: Pin<Box<F>>) -> Self {
        Self { respond, opener, state: StreamState::Handling(handling), timer: None }
    }

    /// Goes on as far as it can. Ready at its end, when it is to be dropped.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, client: &Rc<Client>, reader: &Rc<ResponseReader>) -> Poll<()> {
        if self.poll_response(cx, client, reader).is_ready() || reader.is_killed() || reader.refusal().is_some() {
            return Poll::Ready(());
        }
        self.poll_reader(cx, client, reader)
    }

    fn poll_response(&mut self, cx: &mut Context<'_>, client: &Rc<Client>, reader: &Rc<ResponseReader>) -> Poll<()> {
        if let StreamState::Handling(handling) = &mut self.state {
            client.reader.replace(Some(Rc::clone(reader)));
            let polled = handling.as_mut().poll(cx);
            client.reader.take();
            let Poll::Ready(Ok(response)) = polled else {
                // A client that resets the stream cancels the request. An error is the end too.
                return self.respond.poll_reset(cx).map(drop);
            };
            match self.send_head(response, client) {
                AfterHead::Body(sending) => self.state = StreamState::Sending(sending),
                AfterHead::Nothing => return Poll::Ready(()),
            }
        }
        match &mut self.state {
            StreamState::Sending(sending) => sending.poll(cx),
            StreamState::Handling(_) => Poll::Pending,
        }
    }

    /// Sends the head of the response.
    fn send_head(&mut self, response: ClientResponse<B>, client: &Client) -> AfterHead<B> {
        let ClientResponse { status, mut fields, body } = response;
        strip_connection_fields(&mut fields);
        let opener = self.opener.take().filter(|_| status.is_success());
        let has_date = fields.contains(DATE);
        let length = if opener.is_some() {
            fields.remove(CONTENT_LENGTH);
            None
        } else {
            body.size_hint().exact().filter(|_| !body.is_end_stream() && !fields.contains(CONTENT_LENGTH))
        };
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = h2_fields(&fields);
        client.worker.take_back_fields(fields);
        if !has_date {
            head.headers_mut().insert(DATE, client.worker.http_date());
        }
        if let Some(length) = length {
            head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let is_last = opener.is_none() && body.is_end_stream();
        let stream = match self.respond.send_response(head, is_last) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "the head of a response was not sent");
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                return AfterHead::Nothing;
            }
        };
        match opener {
            Some(opener) => opener.open(stream),
            None if is_last => {}
            None => return AfterHead::Body(Sending { stream, body, held: None }),
        }
        AfterHead::Nothing
    }

    /// Ready when the reader has not made progress in time.
    fn poll_reader(&mut self, cx: &mut Context<'_>, client: &Rc<Client>, reader: &Rc<ResponseReader>) -> Poll<()> {
        let worker = &client.worker;
        let Some(due_ms) = reader.due_ms.get() else {
            self.timer = None;
            worker.stalled_readers.remove(reader);
            return Poll::Pending;
        };
        // The response waits only for its reader: it no longer occupies a request slot.
        client.free_slot(&reader.slot);
        if reader.place.get().is_none() {
            worker.stalled_readers.add(reader);
        }
        match &mut *reader.task.borrow_mut() {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        loop {
            let now_ms = worker.now_ms();
            if now_ms >= due_ms {
                reader.abort(worker.meter(), Refusal::ReaderStalled);
                return Poll::Ready(());
            }
            let left = Duration::from_millis(due_ms - now_ms);
            ready!(self.timer.get_or_insert_with(|| CoarseTimer::new(worker, left)).poll(cx));
            self.timer = None;
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// Sends what there is. A piece is polled when the one before it was passed to h2, and passed when the window is
    /// open: h2 holds at most one piece more than the window and its send buffer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.held.is_some() {
                while self.stream.capacity() == 0 {
                    match ready!(self.stream.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        // The client has reset the stream, or its connection has ended.
                        Some(Err(_)) | None => return Poll::Ready(()),
                    }
                }
                let Some(Piece { data, is_last }) = self.held.take() else { continue };
                if self.stream.send_data(data, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return self.stream.poll_reset(cx).map(drop);
            };
            match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    let is_last = self.body.is_end_stream();
                    if data.is_empty() && is_last {
                        return self.end();
                    }
                    if !data.is_empty() {
                        // One byte: a stream that waits holds no more of the connection's window. h2 asks for the
                        // rest when it has the piece.
                        self.stream.reserve_capacity(1);
                        self.held = Some(Piece { data, is_last });
                    }
                }
                Some(Ok(Err(frame))) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        // An error means that the stream has ended.
                        let _ = self.stream.send_trailers(trailers);
                        return Poll::Ready(());
                    }
                }
                Some(Err(_)) => {
                    // A body that broke off must not be taken for a whole one.
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
                None => return self.end(),
            }
        }
    }

    fn end(&mut self) -> Poll<()> {
        // An error means that the stream has ended.
        let _ = self.stream.send_data(Bytes::new(), true);
        Poll::Ready(())
    }
}

/// Removes the fields that HTTP/2 forbids (RFC 9113 §8.2.2).
fn strip_connection_fields(fields: &mut Fields) {
    let mut named = Vec::new();
    fields.retain(|name, value| {
        // The lengths first: nearly all fields end here.
        match name.len() {
            2 => name != b"te",
            7 => name != b"upgrade",
            10 if name == b"connection" => {
                let options = value.split(|byte| *byte == b',');
                named.extend(options.map(|option| option.trim_ascii().to_ascii_lowercase()));
                false
            }
            10 => name != b"keep-alive",
            16 => name != b"proxy-connection",
            17 => name != b"transfer-encoding",
            _ => true,
        }
    });
    if !named.is_empty() {
        fields.retain(|name, _| !named.iter().any(|option| option == name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_connections_are_stripped() {
        let mut fields = Fields::new();
        for (name, value) in [
            (&b"connection"[..], &b"close, X-Hop"[..]),
            (b"x-hop", b"1"),
            (b"keep-alive", b"timeout=5"),
            (b"te", b"trailers"),
            (b"upgrade", b"h2c"),
            (b"transfer-encoding", b"chunked"),
            (b"proxy-connection", b"close"),
            (b"x-kept", b"close"),
            (b"content-type", b"text/plain"),
        ] {
            fields.append_valid(name, value);
        }
        strip_connection_fields(&mut fields);
        assert_eq!(fields.names().collect::<Vec<_>>(), [&b"x-kept"[..], b"content-type"]);
    }
}
