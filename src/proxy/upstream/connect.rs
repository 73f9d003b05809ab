//! Connections to upstreams: an idle one if there is one, else a new one within the upstream's limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use hyper_util::rt::TokioTimer;
use tower::{ServiceBuilder, ServiceExt as _};

use super::h1::connection::Http1Connection;
use super::h2_io::UpstreamH2Io;
use super::h2_peer::H2PeerState;
use super::lease::{H2Stream, Lease};
use super::open_connection::{ConnectionGuard, OpenConnection};
use super::pool::{ConnectTarget, EndpointPool, Http2Connection, UpstreamPool};
use super::tls;
use crate::net::{self, ConnectError, ConnectPhase, Destination};
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

/// Which pooled connections may be used.
#[derive(Clone, Debug)]
pub(crate) enum Reuse {
    /// Any.
    Allowed,
    /// Any but this one.
    Except(Rc<H2PeerState>),
    /// None: too many of them were closed by the upstream.
    Never,
}

/// A connection to the target, and whether it was used before.
pub(crate) async fn lease(
    worker: &Rc<Worker>,
    target: ConnectTarget<'_>,
    reuse: Reuse,
) -> Result<(Lease, bool), Fault> {
    let endpoint = target.endpoint;
    let protocol = endpoint.protocol();
    if protocol != Protocol::H2c
        && !matches!(reuse, Reuse::Never)
        && let Some(connection) = endpoint.pop()
    {
        return Ok((Lease::Whole { connection, endpoint: Rc::clone(endpoint) }, true));
    }
    if protocol == Protocol::Http1 {
        return Ok((open(worker, target, worker.clock.now()).await?, false));
    }
    if let Some(connection) = shared(endpoint, &reuse) {
        return Ok((connection, true));
    }
    if worker.now_ms() < endpoint.full_until_ms.get() {
        return Err(Fault::UpstreamConnections);
    }
    // Boxed, so that requests on pooled connections do not carry the size of this future.
    Box::pin(wait_for_shared(worker, target, reuse)).await
}

/// A stream of a connection that this request opens, or that an earlier request is opening. The waiting requests share
/// the result, a failure too: else each would open a connection after the one before failed, and the last would wait
/// for the sum of all time limits.
async fn wait_for_shared(worker: &Rc<Worker>, target: ConnectTarget<'_>, reuse: Reuse) -> Result<(Lease, bool), Fault> {
    let ConnectTarget { upstream, endpoint } = target;
    let began = worker.clock.now();
    let mut opening = None;
    if !endpoint.agreed_on_h1.get() {
        let (failures, _) = endpoint.failed.get();
        let line = tokio::time::timeout(upstream.upstream.connect_timeout, endpoint.opening.lock());
        opening = Some(line.await.map_err(|_| Fault::ConnectTimeout)?);
        if let Some(connection) = shared(endpoint, &reuse) {
            return Ok((connection, true));
        }
        if let (since, Some(fault)) = endpoint.failed.get()
            && since != failures
        {
            return Err(fault);
        }
    }
    // The endpoint may have chosen HTTP/1.1 meanwhile. Then each request opens its own connection, without the lock.
    let opening = opening.filter(|_| !endpoint.agreed_on_h1.get());
    let opened = open(worker, target, began).await;
    if let (Some(_), Err(fault)) = (&opening, &opened) {
        let (failures, _) = endpoint.failed.get();
        endpoint.failed.set((failures.wrapping_add(1), Some(*fault)));
    }
    drop(opening);
    opened.map(|lease| (lease, false))
}

/// Time left until a connection must be usable.
fn time_left(worker: &Worker, upstream: &UpstreamPool, began: Instant) -> Duration {
    upstream.upstream.connect_timeout.saturating_sub(worker.clock.now().duration_since(began))
}

/// A stream of an open HTTP/2 connection.
fn shared(endpoint: &EndpointPool, reuse: &Reuse) -> Option<Lease> {
    let except = match reuse {
        Reuse::Allowed => None,
        Reuse::Except(peer) => Some(peer),
        Reuse::Never => return None,
    };
    endpoint.multiplexed(except).map(|connection| Lease::Stream(H2Stream::new(connection)))
}

/// Opens a connection with the endpoint's protocol. The time limit runs from `began`.
async fn open(worker: &Rc<Worker>, target: ConnectTarget<'_>, began: Instant) -> Result<Lease, Fault> {
    let ConnectTarget { upstream, endpoint } = target;
    let connection = connect(worker, target, began).await?;
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
        let handshaken = handshake_h2(worker, upstream, connection, began).await;
        if handshaken.as_ref().is_err_and(|fault| *fault == Fault::TlsAlert) {
            tls::record_refusal(worker, target);
        }
        if handshaken.as_ref().is_err_and(|fault| *fault == Fault::UpstreamConnections) {
            endpoint.full_until_ms.set(worker.now_ms() + FULL_MS);
        }
        let connection = handshaken?;
        endpoint.multiplexed.borrow_mut().push(connection.clone());
        Ok(Lease::Stream(H2Stream::new(connection)))
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
    upstream: &Rc<UpstreamPool>,
    OpenConnection { socket, guard }: OpenConnection,
    began: Instant,
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
        Ok(true) => Ok(Http2Connection::new(sender, peer, worker.now_ms())),
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

async fn connect(worker: &Rc<Worker>, target: ConnectTarget<'_>, began: Instant) -> Result<OpenConnection, Fault> {
    let ConnectTarget { upstream, endpoint } = target;
    let meter = upstream.meter(worker.index);
    let limit = i64::from(upstream.upstream.limits.connections);
    let is_full = || upstream.sum(|meter| meter.connections.value()) >= limit;
    if is_full() {
        // Connections that the upstream closed while they were idle still count until they are noticed.
        upstream.drop_stale();
    }
    if is_full() {
        meter.over_connections.inc();
        return Err(Fault::UpstreamConnections);
    }
    // Counted before it is open, so that a burst cannot exceed the limit. Tower's concurrency limit would count
    // attempts; this limit is on open connections, and its count is the sum of all workers' meters.
    let guard = ConnectionGuard::new(worker.index, upstream.series());
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
    Ok(OpenConnection { socket, guard })
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
