//! The loop of an HTTP/1.1 connection: wait for a head, call the service, poll its future, write the response, and
//! again. All of it runs in the connection's own task.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Method, Version};
use tokio::io::AsyncWrite as _;
use tower::Service;

use super::body::ReceivedBody;
use super::input::{ClientInput, NoHead, Polled};
use super::received::ReceivedHead;
use super::response_head::ResponseForm;
use super::response_writer::{ResponseFault, ResponseWriter};
use crate::net::Socket;
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::{ClientRequest, ClientResponse, IncomingBody, ResponseContent};
use crate::proxy::wire::head::Head;
use crate::proxy::wire::scan::Framing;
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::telemetry::Refusal;

/// A connection that is ready at once for more requests than this lets the others of its worker go first.
const REQUESTS_A_TURN: usize = 16;
/// Most bytes that are read and dropped before the connection closes, so that the client reads the response instead of a
/// reset; and how long that reading may take.
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// The first bytes of a connection.
pub(in crate::proxy::downstream) enum FirstBytes {
    /// Bytes that were read already.
    Read(Vec<u8>),
    /// All bytes are refused: the client gets one response.
    Refused(Refusal),
}

/// Serves a connection until it ends.
///
/// # Errors
/// The connection broke, or a response was not written to its end.
pub(in crate::proxy::downstream) async fn serve<S, B>(
    client: &Rc<Client>,
    service: &RefCell<S>,
    socket: Socket,
    opening: FirstBytes,
) -> io::Result<()>
where
    S: Service<ClientRequest, Response = ClientResponse<B>, Error = Infallible>,
    B: ResponseContent,
{
    let (first, mut refusal) = match opening {
        FirstBytes::Read(first) => (first, None),
        FirstBytes::Refused(refusal) => (Vec::new(), Some(refusal)),
    };
    let input = ClientInput::new(socket, client, first);
    loop {
        // Boxed, so that its memory is freed while the connection hibernates.
        let mut connection = Box::new(Connection::new(client, service, &input));
        if let Some(refusal) = refusal.take() {
            connection.refuse(refusal);
        }
        let turn = poll_fn(|cx| connection.poll(cx)).await;
        match turn {
            Turn::Hibernates => {
                drop(connection);
                client.described.take();
            }
            Turn::Closes => {
                connection.close().await;
                return Ok(());
            }
            Turn::Switches => {
                drop(connection);
                let (Some(successor), Some((socket, first))) = (client.successor.take(), input.into_socket()) else {
                    return Ok(());
                };
                successor(socket, first).await;
                return Ok(());
            }
            Turn::Drops(ended) => {
                // The tunnel of a switched connection does not begin.
                drop(client.successor.take());
                if connection.would_look_whole() {
                    input.reset();
                }
                drop(connection);
                input.close();
                return ended;
            }
        }
        if !wake(client, &input).await {
            return Ok(());
        }
    }
}

/// Hibernates until bytes arrive (true), or the connection has to close (false).
async fn wake(client: &Client, input: &ClientInput) -> bool {
    poll_fn(|cx| {
        client.deadlines.register(cx);
        match client.deadlines.take_wakeup() {
            Wakeup::Nothing | Wakeup::Hibernate => {}
            Wakeup::Drain => client.closing.set(true),
            Wakeup::Expired | Wakeup::Close | Wakeup::Cut => return Poll::Ready(false),
        }
        input.poll_ready(cx).map(|ready| ready.is_ok())
    })
    .await
}

/// How a turn of the connection ended.
enum Turn {
    /// It is idle, and all responses are flushed: it releases its buffers.
    Hibernates,
    /// It closes in order: the client reads all that was written.
    Closes,
    /// It carries another protocol from now on.
    Switches,
    /// It closes at once.
    Drops(io::Result<()>),
}

/// What the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It waits for the next head.
    Head,
    /// The service has a request.
    Call,
    /// It writes the response.
    Response,
    /// The last response is written, and the rest of its request is still being read.
    Upload,
}

struct Connection<'a, S: Service<ClientRequest>, B> {
    client: &'a Rc<Client>,
    service: &'a RefCell<S>,
    input: &'a Rc<ClientInput>,
    step: Step,
    /// The current request. The box is used for all requests.
    call: Pin<Box<Option<S::Future>>>,
    writer: ResponseWriter<B>,
    /// The connection closes after the current response.
    is_last: bool,
    /// Time has passed since the last head was read.
    has_waited: bool,
}

impl<'a, S, B> Connection<'a, S, B>
where
    S: Service<ClientRequest, Response = ClientResponse<B>, Error = Infallible>,
    B: ResponseContent,
{
    fn new(client: &'a Rc<Client>, service: &'a RefCell<S>, input: &'a Rc<ClientInput>) -> Self {
        let (call, writer) = (Box::pin(None), ResponseWriter::new());
        Self { client, service, input, step: Step::Head, call, writer, is_last: false, has_waited: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let (client, now_ms) = (self.client, self.client.worker.now_ms());
        client.deadlines.register(cx);
        match client.deadlines.take_wakeup() {
            Wakeup::Nothing => {}
            Wakeup::Hibernate if client.is_quiet() => return Poll::Ready(Turn::Hibernates),
            // A request or its response is under way: look again later.
            Wakeup::Hibernate => client.deadlines.hibernate_later(now_ms),
            Wakeup::Expired if client.deadlines.write_expired(now_ms) => return Poll::Ready(self.stall()),
            Wakeup::Expired => {
                if let Some(turn) = self.expire(cx) {
                    return Poll::Ready(turn);
                }
            }
            Wakeup::Drain => client.closing.set(true),
            Wakeup::Close if self.step == Step::Head => return Poll::Ready(Turn::Closes),
            Wakeup::Close => self.is_last = true,
            Wakeup::Cut => {
                client.cut.set(true);
                return Poll::Ready(Turn::Drops(Ok(())));
            }
        }
        self.input.set_polled(Polled::Now);
        let turn = self.poll_requests(cx);
        self.input.set_polled(Polled::Later);
        if turn.is_pending() && client.killed.get() {
            // The client is not reading, so the body is not polled, which would end the response.
            return Poll::Ready(Turn::Drops(Ok(())));
        }
        turn
    }

    /// Serves requests, until one of them has to wait.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        for _ in 0..REQUESTS_A_TURN {
            if self.step == Step::Head
                && let Some(turn) = ready!(self.poll_head(cx))
            {
                return Poll::Ready(turn);
            }
            if self.step == Step::Call
                && let Err(error) = ready!(self.poll_call(cx))
            {
                return Poll::Ready(Turn::Drops(Err(error)));
            }
            if self.step == Step::Response
                && let Some(turn) = ready!(self.poll_response(cx))
            {
                return Poll::Ready(turn);
            }
            if self.step == Step::Upload {
                return self.poll_upload();
            }
        }
        // A client that sends many requests at once gets the first responses before the last ones are made.
        if let Poll::Ready(Err(error)) = self.writer.poll_flush(cx, self.input, self.client) {
            return Poll::Ready(Turn::Drops(Err(error)));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for a head, and calls the service with it. Responses that are ready at once leave together. Others leave
    /// before: the write fails if the client has gone meanwhile, and its next request then goes nowhere.
    #[inline]
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<Turn>> {
        let client = self.client;
        if self.has_waited {
            if let Err(error) = ready!(self.writer.poll_flush(cx, self.input, client)) {
                return Poll::Ready(Some(Turn::Drops(Err(error))));
            }
            self.has_waited = false;
        }
        let next = match self.input.next_head() {
            Ok(Some(head)) => Ok(head),
            Err(refusal) => Err(NoHead::Refused(refusal)),
            Ok(None) => {
                if let Err(error) = ready!(self.writer.poll_flush(cx, self.input, client)) {
                    return Poll::Ready(Some(Turn::Drops(Err(error))));
                }
                ready!(self.input.poll_head(cx))
            }
        };
        Poll::Ready(match next {
            Ok(received) => {
                self.call(received);
                None
            }
            Err(NoHead::Refused(refusal)) => {
                self.refuse(refusal);
                None
            }
            Err(NoHead::End) => Some(Turn::Closes),
            Err(NoHead::Broken(error)) => Some(Turn::Drops(Err(error))),
        })
    }

    /// Calls the service.
    #[inline]
    fn call(&mut self, received: ReceivedHead) {
        let ReceivedHead { head, framing, persistent, expects_continue, accepts_trailers } = received;
        let body = match framing {
            Framing::Length(0) | Framing::Switch => IncomingBody::Empty,
            Framing::Length(_) | Framing::Chunked => {
                self.input.open_body(framing);
                if expects_continue {
                    self.input.expect_continue();
                }
                let length = if let Framing::Length(length) = framing { Some(length) } else { None };
                IncomingBody::Http1(ReceivedBody::new(self.input, length))
            }
        };
        let form =
            ResponseForm { version: head.version, is_head: head.method == Method::HEAD, accepts_trailers, persistent };
        self.pass(ClientRequest { head, body, connect: None }, form);
    }

    /// Refuses the next head. It takes the same way as any request: it gets a response, is counted and logged.
    fn refuse(&mut self, refusal: Refusal) {
        let number = self.client.heads.get();
        self.client.refused_head.set(Some((number, refusal)));
        self.input.refuse();
        let form =
            ResponseForm { version: Version::HTTP_11, is_head: false, accepts_trailers: false, persistent: false };
        self.pass(ClientRequest { head: Head::refused(), body: IncomingBody::Empty, connect: None }, form);
    }

    #[inline]
    fn pass(&mut self, request: ClientRequest, form: ResponseForm) {
        debug_assert!(self.call.is_none(), "one request after another");
        self.client.heads.set(self.client.heads.get() + 1);
        self.writer.form = form;
        // The body before it may have been asked for when its response had begun.
        let _ = self.input.take_continue();
        let mut service = self.service.borrow_mut();
        debug_assert!(is_ready(&mut *service), "a service of requests is always ready");
        self.call.set(Some(service.call(request)));
        self.step = Step::Call;
    }

    /// Polls the current request for its response.
    #[inline]
    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let client = self.client;
        let Some(call) = self.call.as_mut().as_pin_mut() else { return Poll::Pending };
        let polled = call.poll(cx);
        if let Some(early) = client.informational.take() {
            self.writer.add_early(&early, client);
        }
        let Poll::Ready(Ok(response)) = polled else {
            if self.input.take_continue() {
                self.writer.add_continue(client);
            }
            // Also the responses to earlier requests.
            if let Poll::Ready(written) = self.writer.poll_flush(cx, self.input, client) {
                written?;
            }
            self.has_waited = true;
            self.input.watch(cx)?;
            return Poll::Pending;
        };
        self.call.set(None);
        if self.is_last {
            self.writer.form.persistent = false;
        }
        self.writer.begin(response, client);
        self.step = Step::Response;
        Poll::Ready(Ok(()))
    }

    /// Writes the response. Returns how the turn ends, if the connection does not wait for another head.
    #[inline]
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Option<Turn>> {
        let client = self.client;
        // A response that has begun cannot be split by others.
        drop(client.informational.take());
        match self.writer.poll_body(cx, self.input, client) {
            Poll::Pending => {
                self.has_waited = true;
                return match self.input.watch(cx) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Some(Turn::Drops(Err(error)))),
                };
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(ResponseFault::Broken(error))) => return Poll::Ready(Some(Turn::Drops(Err(error)))),
            Poll::Ready(Err(ResponseFault::Body)) => {
                let error = io::Error::other("the response's body ended early");
                return Poll::Ready(Some(Turn::Drops(Err(error))));
            }
        }
        // The bytes of an unread body must never be read as the next request.
        self.is_last |= !self.writer.form.persistent || self.input.is_body_open();
        if !self.is_last && !self.writer.switches() {
            self.step = Step::Head;
            return Poll::Ready(None);
        }
        if let Err(error) = ready!(self.writer.poll_flush(cx, self.input, client)) {
            return Poll::Ready(Some(Turn::Drops(Err(error))));
        }
        if self.writer.switches() {
            return Poll::Ready(Some(Turn::Switches));
        }
        self.step = Step::Upload;
        Poll::Ready(None)
    }

    /// Whether an end of the connection would be the end of the current response, which is not written completely.
    fn would_look_whole(&self) -> bool {
        self.step == Step::Response && self.writer.ends_with_connection()
    }

    /// Waits until the rest of the request is read, or given up.
    fn poll_upload(&self) -> Poll<Turn> {
        // The end or the drop of the body wakes the connection.
        if self.input.is_body_awaited() { Poll::Pending } else { Poll::Ready(Turn::Closes) }
    }

    /// Handles the read deadline: an idle connection ends, an incomplete head or body is refused.
    #[cold]
    fn expire(&mut self, cx: &mut Context<'_>) -> Option<Turn> {
        // Otherwise every sweep would wake the connection again.
        self.client.deadlines.clear_read();
        if self.step == Step::Head {
            if self.input.is_between() {
                return Some(Turn::Closes);
            }
            self.refuse(Refusal::HeaderTimeout);
        } else if self.input.is_body_open() {
            self.input.expire_body(cx);
        } else if self.client.finished.get() {
            // The client has closed its writing direction and reads nothing either.
            return Some(Turn::Drops(Err(io::ErrorKind::TimedOut.into())));
        }
        None
    }

    /// Closes the connection of a client that does not read its responses, which frees their memory.
    #[cold]
    fn stall(&self) -> Turn {
        let client = self.client;
        let refusal = if client.deadlines.is_shed() { Refusal::ReaderShed } else { Refusal::ReaderStalled };
        client.worker.meter().refuse(refusal);
        Turn::Drops(Ok(()))
    }

    /// Closes the connection in order (RFC 9112 §9.6): a close with unread bytes would send a reset, which can destroy
    /// the response on its way.
    async fn close(&mut self) {
        let (client, input) = (self.client, self.input);
        let mut lingered = None;
        poll_fn(|cx| {
            client.deadlines.register(cx);
            match client.deadlines.take_wakeup() {
                Wakeup::Nothing | Wakeup::Hibernate | Wakeup::Drain => {}
                Wakeup::Expired | Wakeup::Close | Wakeup::Cut => return Poll::Ready(()),
            }
            let mut bytes = if let Some(bytes) = lingered {
                bytes
            } else {
                let flushed = ready!(self.writer.poll_flush(cx, input, client));
                let shut = flushed.is_err() || ready!(Pin::new(&mut *input.socket()).poll_shutdown(cx)).is_err();
                if shut || !input.has_more() {
                    return Poll::Ready(());
                }
                client.deadlines.read_within(client.worker.now_ms(), LINGER);
                0
            };
            while bytes < LINGER_BYTES_MAX {
                match input.poll_discard(cx) {
                    Poll::Ready(Ok(more @ 1..)) => bytes += more,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {
                        lingered = Some(bytes);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Whether the service is ready for a request.
fn is_ready<S: Service<ClientRequest>>(service: &mut S) -> bool {
    matches!(service.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}
