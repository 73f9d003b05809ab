//! Connections to upstreams: an idle one if there is one, else a new one within the upstream's limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::TokioTimer;
use tower::{ServiceBuilder, ServiceExt as _};

use super::connection_queue::{self, Turn, Waits, WhenFull};
pub(crate) use super::endpoint_queue::Reuse;
use super::h1::connection::Http1Connection;
use super::h2_connection::{Freed, H2Stream, Http2Connection, OpenStreams};
use super::h2_io::UpstreamH2Io;
use super::lease::Lease;
use super::open_connection::{ConnectionGuard, OpenConnection};
use super::pool::{ConnectTarget, EndpointPool, UpstreamPool};
use super::tls;
use crate::clock::Timestamp;
use crate::net::{self, ConnectError, ConnectPhase, Destination, Socket};
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::response_head::HeadLimits;
use crate::proxy::worker::Worker;
use crate::proxy::worker::send_task::StreamExecutor;
use crate::route::{Protocol, UpstreamLimits};

/// The overhead that HTTP/2 counts for each field of a head, besides its name and value (RFC 9113 §6.5.2).
const FIELD_BYTES: u32 = 32;
/// How long the proxy opens no connection to an endpoint that accepts no streams.
const FULL_MS: u64 = 1000;
/// Send buffer of one stream, for a request's body.
const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// A connection to the target, and whether it was used before.
pub(crate) async fn lease(
    worker: &Rc<Worker>,
    target: ConnectTarget<'_>,
    reuse: Reuse,
    when_full: WhenFull<'_>,
) -> Result<(Lease, bool), Fault> {
    let endpoint = target.endpoint;
    if let Some(lease) = pooled(endpoint, &reuse, when_full) {
        return Ok((lease, true));
    }
    // Boxed, so that requests on pooled connections do not carry the size of these futures.
    if endpoint.protocol() == Protocol::Http1 {
        return Box::pin(open_or_wait(worker, target, reuse, when_full)).await;
    }
    if worker.now_ms() < endpoint.full_until_ms.get() {
        return Err(Fault::UpstreamConnections);
    }
    Box::pin(wait_for_shared(worker, target, reuse, when_full)).await
}

/// A connection of the pool, or a stream of one, if there is one.
#[inline]
pub(crate) fn pooled(endpoint: &Rc<EndpointPool>, reuse: &Reuse, when_full: WhenFull<'_>) -> Option<Lease> {
    let protocol = endpoint.protocol();
    if protocol != Protocol::H2c
        && reuse.allows_connection()
        && let Some(connection) = endpoint.pop()
    {
        return Some(Lease::Whole { connection, endpoint: Rc::clone(endpoint) });
    }
    when_full.note(Waits::No);
    if protocol == Protocol::Http1 {
        return None;
    }
    endpoint.multiplexed(reuse).map(|connection| Lease::Stream(H2Stream::new(connection)))
}

/// Takes a place under the upstream's limit on connections.
fn take_slot(worker: &Worker, ConnectTarget { upstream, .. }: ConnectTarget<'_>) -> Option<ConnectionGuard> {
    let take = || ConnectionGuard::take(worker, upstream.series(), upstream.upstream.limits.connections);
    take().or_else(|| {
        // Connections that the upstream closed while they were idle still count until they are noticed.
        upstream.drop_stale();
        take()
    })
}

/// A connection for this request only, or the next one that becomes free.
async fn open_or_wait(
    worker: &Rc<Worker>,
    target: ConnectTarget<'_>,
    reuse: Reuse,
    when_full: WhenFull<'_>,
) -> Result<(Lease, bool), Fault> {
    let began = worker.clock.now();
    match take_slot(worker, target) {
        Some(guard) => Ok((open(worker, target, guard, began).await?, false)),
        None => wait_and_open(worker, target, reuse, when_full, began).await,
    }
}

/// Waits for a connection that becomes free, or opens one in the place of one that ends. The time limit runs from
/// `began`.
async fn wait_and_open(
    worker: &Rc<Worker>,
    target: ConnectTarget<'_>,
    reuse: Reuse,
    when_full: WhenFull<'_>,
    began: Timestamp,
) -> Result<(Lease, bool), Fault> {
    let left = time_left(worker, target.upstream, began);
    let guard = match connection_queue::wait(worker, target, reuse.clone(), when_full, left).await? {
        Turn::Freed(freed) => return Ok((freed_lease(freed, target), true)),
        Turn::Open(guard) => guard,
    };
    let opened = if target.endpoint.protocol() == Protocol::Http1 || target.endpoint.agreed_on_h1.get() {
        open(worker, target, guard, began).await.map(|lease| (lease, false))
    } else {
        match line_up(worker, target, &reuse, began).await {
            // The slot goes to the next request.
            Ok(Line::Shared(lease)) => Ok((lease, true)),
            Ok(Line::Open(line)) => open_alone(worker, target, guard, line, began).await,
            Err(fault) => Err(fault),
        }
    };
    // The endpoint had only the rest of the time: that it was not enough is no failure of it.
    opened.map_err(|fault| if is_timeout(fault) { Fault::UpstreamConnections } else { fault })
}

/// Whether a connection was not open in time.
const fn is_timeout(fault: Fault) -> bool {
    matches!(fault, Fault::ConnectTimeout | Fault::TlsTimeout)
}

fn freed_lease(freed: Freed, target: ConnectTarget<'_>) -> Lease {
    match freed {
        Freed::Connection(connection) => Lease::Whole { connection, endpoint: Rc::clone(target.endpoint) },
        Freed::Stream(stream) => Lease::Stream(stream),
    }
}

/// A stream of a connection that this request opens, or that an earlier request is opening. The waiting requests share
/// the result, a failure too: else each would open a connection after the one before failed, and the last would wait
/// for the sum of all time limits.
async fn wait_for_shared(
    worker: &Rc<Worker>,
    target: ConnectTarget<'_>,
    reuse: Reuse,
    when_full: WhenFull<'_>,
) -> Result<(Lease, bool), Fault> {
    let began = worker.clock.now();
    let line = match line_up(worker, target, &reuse, began).await? {
        Line::Shared(lease) => return Ok((lease, true)),
        Line::Open(line) => line,
    };
    if let Some(guard) = take_slot(worker, target) {
        return open_alone(worker, target, guard, line, began).await;
    }
    // The queue has its own order: a request in it must not keep others from free streams.
    drop(line);
    wait_and_open(worker, target, reuse, when_full, began).await
}

/// The lock of the request that opens an HTTP/2 connection. None if the endpoint speaks HTTP/1.1.
type OpeningLock<'a> = Option<tokio::sync::MutexGuard<'a, ()>>;

/// What the requests get that wait while one opens a connection.
enum Line<'a> {
    /// A stream of the connection that was opened meanwhile.
    Shared(Lease),
    /// This one opens a connection.
    Open(OpeningLock<'a>),
}

/// Waits while another request opens a connection to this endpoint.
async fn line_up<'a>(
    worker: &Worker,
    target: ConnectTarget<'a>,
    reuse: &Reuse,
    began: Timestamp,
) -> Result<Line<'a>, Fault> {
    let ConnectTarget { upstream, endpoint } = target;
    if endpoint.agreed_on_h1.get() {
        return Ok(Line::Open(None));
    }
    let (failures, _) = endpoint.failed.get();
    let line = tokio::time::timeout(time_left(worker, upstream, began), endpoint.opening.lock());
    let opening = line.await.map_err(|_| Fault::ConnectTimeout)?;
    if let Some(connection) = endpoint.multiplexed(reuse) {
        return Ok(Line::Shared(Lease::Stream(H2Stream::new(connection))));
    }
    if let (since, Some(fault)) = endpoint.failed.get()
        && since != failures
    {
        return Err(fault);
    }
    // The endpoint may have chosen HTTP/1.1 meanwhile. Then each request opens its own connection, without the lock.
    Ok(Line::Open((!endpoint.agreed_on_h1.get()).then_some(opening)))
}

/// Opens a connection while those that want a stream of it wait.
async fn open_alone(
    worker: &Rc<Worker>,
    target: ConnectTarget<'_>,
    guard: ConnectionGuard,
    line: OpeningLock<'_>,
    began: Timestamp,
) -> Result<(Lease, bool), Fault> {
    let opened = open(worker, target, guard, began).await;
    if let (Some(_), Err(fault)) = (&line, &opened) {
        let (failures, _) = target.endpoint.failed.get();
        target.endpoint.failed.set((failures.wrapping_add(1), Some(*fault)));
    }
    drop(line);
    opened.map(|lease| (lease, false))
}

/// Time left until a connection must be usable.
fn time_left(worker: &Worker, upstream: &UpstreamPool, began: Timestamp) -> Duration {
    upstream.upstream.connect_timeout.saturating_sub(worker.clock.now().duration_since(began))
}

/// Opens a connection with the endpoint's protocol. The time limit runs from `began`.
async fn open(
    worker: &Rc<Worker>,
    target: ConnectTarget<'_>,
    guard: ConnectionGuard,
    began: Timestamp,
) -> Result<Lease, Fault> {
    let ConnectTarget { upstream, endpoint } = target;
    let connection = OpenConnection { socket: connect(worker, target, began).await?, guard };
    let multiplexes = match endpoint.protocol() {
        Protocol::Http1 => false,
        Protocol::H2c => true,
        Protocol::Https => {
            let multiplexes = connection.socket.agreed_on(b"h2");
            endpoint.agreed_on_h1.set(!multiplexes);
            multiplexes
        }
    };
    if multiplexes {
        let handshaken = handshake_h2(worker, target, connection, began).await;
        if handshaken.as_ref().is_err_and(|fault| *fault == Fault::TlsAlert) {
            tls::record_refusal(worker, target);
        }
        if handshaken.as_ref().is_err_and(|fault| *fault == Fault::UpstreamConnections) {
            endpoint.full_until_ms.set(worker.now_ms() + FULL_MS);
        }
        let connection = handshaken?;
        endpoint.multiplexed.borrow_mut().push(connection.clone());
        let stream = H2Stream::new(connection.clone());
        connection.serve_waiting();
        Ok(Lease::Stream(stream))
    } else {
        let limits = &upstream.upstream.limits;
        let limits =
            HeadLimits { bytes: limits.response_header_bytes as usize, fields: limits.response_headers as usize };
        let connection = Http1Connection::new(connection, limits, worker);
        Ok(Lease::Whole { connection, endpoint: Rc::clone(endpoint) })
    }
}

async fn handshake_h2(
    worker: &Rc<Worker>,
    ConnectTarget { upstream, endpoint }: ConnectTarget<'_>,
    OpenConnection { socket, guard }: OpenConnection,
    began: Timestamp,
) -> Result<Http2Connection, Fault> {
    let mut builder = http2::Builder::new(StreamExecutor::new(&worker.last_started));
    builder
        .timer(TokioTimer::new())
        .initial_connection_window_size(worker.budget.window_bytes())
        .initial_stream_window_size(worker.budget.stream_window_bytes())
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .max_header_list_size(header_list_bytes(&upstream.upstream.limits))
        .keep_alive_interval(std::time::Duration::from_secs(20))
        .keep_alive_timeout(std::time::Duration::from_secs(10));
    let (io, peer) = UpstreamH2Io::new(socket, worker);
    let (sender, mut connection) = builder.handshake(io).await.map_err(|_| Fault::UpstreamProtocol)?;
    let last_started = Rc::clone(&worker.last_started);
    tokio::task::spawn_local(async move {
        let _guard = guard;
        let ended = poll_fn(|cx| {
            last_started.forget();
            Pin::new(&mut connection).poll(cx)
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "upstream connection ended with an error");
        }
    });
    // The limit on streams is known only after the upstream's SETTINGS.
    match tokio::time::timeout(time_left(worker, upstream, began), peer.settings_received()).await {
        // RFC 9113 §6.5.2: a server sets 0 to accept no requests for a while.
        Ok(true) if peer.streams_max() == 0 => Err(Fault::UpstreamConnections),
        Ok(true) => {
            let streams = OpenStreams::new(&endpoint.queue, worker.index, upstream.series());
            Ok(Http2Connection::new(sender, peer, streams, worker.now_ms()))
        }
        Ok(false) if peer.is_tls_refusal() => Err(Fault::TlsAlert),
        Ok(false) if peer.has_received() => Err(Fault::UpstreamProtocol),
        Ok(false) => Err(Fault::UpstreamReset),
        Err(_) => Err(Fault::ConnectTimeout),
    }
}

/// The largest head of a response that h2 reads. It is above the configured limits, which are checked later and in the
/// measure of HTTP/1.1; a larger head resets its stream.
fn header_list_bytes(limits: &UpstreamLimits) -> u32 {
    2 * limits.response_header_bytes + FIELD_BYTES * limits.response_headers
}

/// Connects to the endpoint. The connection has its place under the upstream's limit already, so that a burst cannot
/// exceed it. Tower's concurrency limit would count attempts of one worker; this limit is on all open connections.
async fn connect(worker: &Rc<Worker>, target: ConnectTarget<'_>, began: Timestamp) -> Result<Socket, Fault> {
    let ConnectTarget { upstream, endpoint } = target;
    let meter = upstream.meter(worker.index);
    let left = time_left(worker, upstream, began);
    let connector = ServiceBuilder::new()
        .layer(net::tls(left))
        // Counted between the two layers: the TCP connection is open even if its TLS handshake fails.
        .map_response(|connected| {
            meter.connects.inc();
            connected
        })
        .service(net::tcp(left));
    let socket = match connector.oneshot(destination(target)).await {
        Ok(socket) => socket,
        Err(error) => {
            meter.connect_failures.inc();
            return Err(connect_fault(worker, target, &error));
        }
    };
    if endpoint.endpoint.tls.is_some() {
        meter.tls_handshakes.inc();
    }
    Ok(socket)
}

fn destination(ConnectTarget { upstream, endpoint }: ConnectTarget<'_>) -> Destination {
    let mut destination = Destination::address(endpoint.endpoint.address);
    if let (Some(version), Some(ends)) = (upstream.upstream.proxy_protocol, endpoint.proxy_addresses) {
        destination = destination.with_proxy_header(ends.header(version));
    }
    match &endpoint.endpoint.tls {
        Some(dial) => destination.with_tls(Arc::clone(dial.config()), dial.name().clone()),
        None => destination,
    }
}

fn connect_fault(worker: &Worker, target: ConnectTarget<'_>, error: &ConnectError) -> Fault {
    let ConnectTarget { upstream, endpoint } = target;
    match error {
        ConnectError::Unreachable(error) | ConnectError::ProxyHeader(error) => {
            let (name, address) = (&endpoint.endpoint.name, endpoint.endpoint.address);
            tracing::debug!(upstream = upstream.upstream.name, endpoint = %name, %address, %error, "cannot connect");
            Fault::ConnectRefused
        }
        ConnectError::TimedOut(ConnectPhase::Tcp) => Fault::ConnectTimeout,
        ConnectError::Tls(error) => tls::handshake_failed(worker, target, error),
        ConnectError::TimedOut(ConnectPhase::Tls) => tls::handshake_timed_out(worker, target),
    }
}
