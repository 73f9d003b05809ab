//! An HTTP/2 connection. Its task drives h2 and the requests of all streams: a turn lets h2 read, begins the requests
//! that came, polls the streams that are ready, and lets h2 write what they have sent, in one go.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use http_body::Body;
use tower::Service;

use super::body::{StreamBody, content_length};
use super::head_gate::HeadGate;
use super::stream::Stream;
use super::streams::Streams;
use super::tunnel;
use super::turn::ConnectionTurn;
use crate::net::Socket;
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::{ClientRequest, ClientResponse, ExtendedConnect, IncomingBody};
use crate::proxy::downstream::h2_io::H2Io;
use crate::proxy::wire::head::Head;
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::telemetry::Refusal;

/// The largest payload of a frame that the client may send.
pub(in super::super) const FRAME_BYTES: u32 = 16 * 1024;
/// Send buffer of one stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Most resets that a client may cause before its connection is closed (CVE-2023-44487, CVE-2025-8671).
const PENDING_RESETS: usize = 20;
/// Most streams that the proxy resets because of a client's errors.
pub(in super::super) const LOCAL_RESETS: usize = 50;
/// How long an idle connection may stay open after GOAWAY.
const LEAVE: Duration = Duration::from_secs(2);

/// A connection.
struct Connection<'a, S, F, B> {
    client: &'a Rc<Client>,
    service: &'a RefCell<S>,
    protocol: Protocol,
    streams: Streams<F, B>,
    gate: Rc<HeadGate>,
    turn: Arc<ConnectionTurn>,
    /// h2's waker.
    waker: Waker,
    /// GOAWAY was sent, or will be after the handshake.
    leaving: bool,
}

enum Protocol {
    Handshake(Handshake<H2Io, Bytes>),
    Serving(h2::server::Connection<H2Io, Bytes>),
}

/// Serves a connection, of which `first` was read already.
///
/// # Errors
/// The connection broke, or the client violated the protocol or a limit.
pub(in super::super) async fn serve<S, B>(
    client: &Rc<Client>,
    service: &RefCell<S>,
    stream: Socket,
    first: Vec<u8>,
) -> Result<(), h2::Error>
where
    S: Service<ClientRequest, Response = ClientResponse<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    let gate = Rc::new(HeadGate::new());
    let io = H2Io::new(stream, Rc::clone(client), Rc::clone(&gate), &first);
    drop(first);
    let turn = ConnectionTurn::new();
    let mut connection = Connection {
        client,
        service,
        protocol: Protocol::Handshake(settings(client).handshake(io)),
        streams: Streams::new(&turn),
        gate,
        waker: Waker::from(Arc::clone(&turn)),
        turn,
        leaving: false,
    };
    // A turn has limits of its own. Those of the runtime are for tasks with one request, not with a hundred.
    let ended = tokio::task::unconstrained(poll_fn(|cx| connection.poll(cx))).await;
    connection.streams.clear(client);
    ended
}

/// The settings of the proxy's side.
fn settings(client: &Client) -> Builder {
    let (limits, window) = (&client.listener.spec.limits, client.receive_window());
    let mut settings = Builder::new();
    settings
        .enable_connect_protocol()
        .initial_connection_window_size(window.connection_bytes())
        .initial_window_size(window.stream_bytes())
        .max_concurrent_streams(limits.h2_streams)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(limits.header_bytes)
        .max_local_error_reset_streams(Some(LOCAL_RESETS))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    settings
}

impl<S, B> Connection<'_, S, S::Future, B>
where
    S: Service<ClientRequest, Response = ClientResponse<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    /// One turn.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.client.deadlines.register(cx);
        if self.follow_wakeup().is_ready() {
            return Poll::Ready(Ok(()));
        }
        // The drain may also have begun before the protocol was known.
        if self.client.closing.get() {
            self.leave();
        }
        self.turn.begin(cx);
        self.gate.begin_turn();
        self.streams.begin_turn();
        let polled = self.poll_all();
        self.turn.end();
        if self.gate.is_closed() {
            // h2 has not read to the end: it does not wait for the socket.
            self.turn.poll_h2_again();
        }
        if polled.is_pending() && (self.turn.is_h2_ready() || self.streams.is_any_ready()) {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Polls h2 and the streams until none is ready, or the turn has done enough.
    fn poll_all(&mut self) -> Poll<Result<(), h2::Error>> {
        loop {
            if self.turn.take_h2_ready()
                && let ended @ Poll::Ready(_) = self.poll_h2()
            {
                return ended;
            }
            if !self.streams.is_any_ready() && !self.turn.is_h2_ready() {
                return Poll::Pending;
            }
            self.streams.poll_ready(self.client);
            if !self.streams.may_poll() {
                // What they have sent is written now.
                self.turn.take_h2_ready();
                return self.poll_h2();
            }
        }
    }

    /// Handles the reason for which the connection was woken. Ready when it ends.
    fn follow_wakeup(&mut self) -> Poll<()> {
        let (client, now_ms) = (self.client, self.client.worker.now_ms());
        match client.deadlines.take_wakeup() {
            Wakeup::Nothing => {}
            Wakeup::Hibernate => self.streams.shrink(),
            Wakeup::Expired if client.deadlines.write_expired(now_ms) => {
                // The client does not read: the end of the connection frees the memory of its responses.
                let is_shed = client.deadlines.is_shed();
                client.worker.meter().refuse(if is_shed { Refusal::ReaderShed } else { Refusal::ReaderStalled });
                return Poll::Ready(());
            }
            Wakeup::Expired if client.deadlines.head_expired(now_ms) => {
                client.worker.meter().refuse(Refusal::HeaderTimeout);
                return Poll::Ready(());
            }
            Wakeup::Expired => {
                client.deadlines.clear_read();
                if client.in_flight.get() == 0 {
                    // The client got GOAWAY and did not close.
                    if self.leaving {
                        return Poll::Ready(());
                    }
                    client.deadlines.read_within(now_ms, LEAVE);
                    self.leave();
                }
            }
            Wakeup::Drain | Wakeup::Close => client.closing.set(true),
            Wakeup::Cut => {
                client.cut.set(true);
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Sends GOAWAY, twice (RFC 9113 §6.8): the streams under way are served to their end.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true)
            && let Protocol::Serving(connection) = &mut self.protocol
        {
            connection.graceful_shutdown();
            self.turn.poll_h2_again();
        }
    }

    /// Lets h2 read and write, and begins the requests that came. Ready at the end of the connection.
    fn poll_h2(&mut self) -> Poll<Result<(), h2::Error>> {
        let mut cx = Context::from_waker(&self.waker);
        if let Protocol::Handshake(handshake) = &mut self.protocol {
            let mut connection = std::task::ready!(Pin::new(handshake).poll(&mut cx))?;
            if self.leaving {
                connection.graceful_shutdown();
            }
            self.protocol = Protocol::Serving(connection);
        }
        loop {
            let is_open = self.gate.open();
            let Protocol::Serving(connection) = &mut self.protocol else { return Poll::Pending };
            let mut cx = Context::from_waker(&self.waker);
            match connection.poll_accept(&mut cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                // h2 has read a block that is no head, or the turn has read enough.
                Poll::Pending if !is_open || !self.gate.is_closed() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// Begins a request.
    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (parts, receiving) = request.into_parts();
        let head = Head::of_parts(&parts, self.client.worker.spare_fields());
        self.gate.count_head(head.fields.len(), head.fields.bytes() + head.fields.prelude().len());
        let mut opener = None;
        let (body, connect) = if parts.method == Method::CONNECT {
            if content_length(&head.fields).is_some_and(|length| length > 0) {
                return respond.send_reset(Reason::INTERNAL_ERROR);
            }
            let (opens, stream) = tunnel::opening(receiving);
            opener = Some(opens);
            let protocol = parts.extensions.get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().into());
            let connect = protocol.map(|protocol| Box::new(ExtendedConnect { protocol, stream }));
            (IncomingBody::Empty, connect)
        } else if receiving.is_end_stream() {
            (IncomingBody::Empty, None)
        } else {
            (IncomingBody::Stream(StreamBody::new(receiving, &head.fields)), None)
        };
        let mut service = self.service.borrow_mut();
        debug_assert!(
            matches!(service.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))),
            "a service of requests is always ready"
        );
        // The box comes first: the future is then made in it, not copied into it.
        let place = Box::new_uninit();
        let handling = Box::into_pin(Box::write(place, service.call(ClientRequest { head, body, connect })));
        drop(service);
        self.streams.add(Stream::new(respond, opener, handling));
    }
}
