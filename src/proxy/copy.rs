//! One copy for a shadow, from its launch to the end of its answer, in a task of its own. What it comes to is counted and
//! logged apart from its request.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::balance;
use super::body::{Cut, RequestBody};
use super::connect::{self, Reuse};
use super::copies::Ticket;
use super::exchange::Exchange;
use super::lease::{Flight, Lease};
use super::local::Local;
use super::prepare::{for_h1, for_h2};
use super::proxy_header::Ends;
use crate::route::{Protocol, RouteId, Shadow};
use crate::telemetry::{AccessEntry, Ender, Event, ShadowDrop, ShadowEnd, Termination};

/// So much of an answer is read; beyond, its status is what counts, and the connection is closed.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// A copy of a request.
pub(super) struct ShadowCopy {
    pub(super) ticket: Box<Ticket>,
    head: Request<()>,
    timeout: Duration,
    /// Hash of the sticky key, for `balance = "hash"`.
    key: u64,
    /// Whom its connection names, where the upstream wants that.
    ends: Option<Ends>,
    told: Told,
}

/// What its line in the log tells.
struct Told {
    local: Rc<Local>,
    route: Option<RouteId>,
    request_id: HeaderValue,
    trace_id: Option<Box<str>>,
    tenant: Option<Box<str>>,
    client_ip: IpAddr,
    peer: SocketAddr,
    listener: Box<str>,
    method: Method,
    host: Box<str>,
    path: Box<str>,
    endpoint: Option<SocketAddr>,
    body_bytes: u64,
    answer_bytes: u64,
    head_after: Option<Duration>,
}

impl ShadowCopy {
    /// The copy of the request of `exchange`.
    pub(super) fn new(
        exchange: &mut Exchange,
        ticket: Box<Ticket>,
        (head, shadow): (Request<()>, &Shadow),
        key: u64,
    ) -> Box<Self> {
        let request_id = exchange.request_id();
        let client = &exchange.client;
        let ends = ticket.lane().pool.upstream.proxy_protocol.map(|_| client.ends());
        let told = Told {
            local: Rc::clone(&exchange.local),
            route: exchange.route,
            request_id,
            trace_id: exchange.trace_id.clone(),
            tenant: exchange.tenant.clone(),
            client_ip: exchange.client_ip,
            peer: client.peer,
            listener: client.listener.spec.name.as_str().into(),
            method: exchange.method.clone(),
            host: exchange.host.normal().into(),
            path: exchange.path().into(),
            endpoint: None,
            body_bytes: 0,
            answer_bytes: 0,
            head_after: None,
        };
        Box::new(Self { ticket, head, timeout: shadow.timeout, key, ends, told })
    }

    async fn run(mut self: Box<Self>, body: CopyBody) {
        let worker = Rc::clone(self.ticket.worker());
        let began = worker.clock.now();
        self.told.body_bytes = body.bytes();
        let (patience, head) = (self.timeout, std::mem::take(&mut self.head));
        let request = head.map(|()| RequestBody::Copy(Box::new(body)));
        let sent = tokio::time::timeout(patience, self.send(request, began)).await;
        let end = sent.unwrap_or(ShadowEnd::Dropped(ShadowDrop::Timeout));
        self.ticket.ends(end);
        let took = worker.clock.now().duration_since(began);
        if matches!(end, ShadowEnd::Completed(_)) {
            self.ticket.lane().meter(&worker).duration.record(took);
        }
        self.log(worker.wall_at(began), took);
    }

    async fn send(&mut self, mut request: Request<RequestBody>, began: Instant) -> ShadowEnd {
        let (worker, pool) = (Rc::clone(self.ticket.worker()), Rc::clone(&self.ticket.lane().pool));
        let picked = balance::pick(&pool, &worker.random, || self.key);
        let Some(endpoint) = picked else { return ShadowEnd::Dropped(ShadowDrop::Connect) };
        self.told.endpoint = Some(endpoint.endpoint.address);
        let _flight = Flight::new(&worker, &pool, &endpoint);
        let own = self.ends.take().map(|ends| Rc::new(endpoint.naming(ends)));
        let endpoint = own.as_ref().unwrap_or(&endpoint);
        let mut reuse = Reuse::Allowed;
        loop {
            let leased = connect::lease(&worker, (&pool, endpoint), reuse).await;
            let Ok((mut lease, reused)) = leased else { return ShadowEnd::Dropped(ShadowDrop::Connect) };
            let answered = match &mut lease {
                Lease::Whole { connection, .. } => {
                    // What asks for a tunnel is not copied.
                    if for_h1(&mut request, None).is_err() {
                        return ShadowEnd::Dropped(ShadowDrop::Connect);
                    }
                    connection.sender.try_send_request(request).await
                }
                Lease::Stream(stream) => {
                    let tls = endpoint.protocol() == Protocol::Https;
                    for_h2(&mut request, if tls { Scheme::HTTPS } else { Scheme::HTTP });
                    stream.sender.try_send_request(request).await
                }
            };
            match answered.map_err(|mut error| error.take_message()) {
                Ok(response) => {
                    self.told.head_after = Some(worker.clock.now().duration_since(began));
                    return self.read(response, lease).await;
                }
                // It never left: the connection had gone already.
                Err(Some(unsent)) if reused => (request, reuse) = (unsent, Reuse::GivenUp),
                Err(_) => return ShadowEnd::Dropped(ShadowDrop::Reset),
            }
        }
    }

    async fn read(&mut self, response: Response<Incoming>, lease: Lease) -> ShadowEnd {
        let end = ShadowEnd::Completed(response.status().as_u16());
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return ShadowEnd::Dropped(ShadowDrop::Reset) };
            self.told.answer_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if self.told.answer_bytes > ANSWER_BYTES_MAX {
                return end;
            }
        }
        if !lease.has_ended(&body) {
            return ShadowEnd::Dropped(ShadowDrop::Reset);
        }
        lease.finish(None, self.ticket.worker().now_ms());
        end
    }

    fn log(&self, at: Duration, took: Duration) {
        let (worker, told) = (self.ticket.worker(), &self.told);
        let rules = &told.local.snapshot.rules;
        if !told.local.logs() {
            return;
        }
        let (status, dropped) = match self.ticket.end() {
            ShadowEnd::Completed(status) => (status, None),
            ShadowEnd::Dropped(reason) => (0, Some(reason)),
        };
        let sample = rules.access_log.sample;
        if dropped.is_none() && status < 500 && sample < 1.0 && worker.random.borrow_mut().f64() >= sample {
            return;
        }
        let route = told.route.map(|route| rules.route(route).name.as_str());
        let entry = AccessEntry {
            at,
            request_id: told.request_id.to_str().unwrap_or("-"),
            client_ip: told.client_ip,
            peer: told.peer,
            sender: None,
            method: told.method.as_str(),
            host: &told.host,
            path: &told.path,
            protocol: "HTTP/1.1",
            listener: &told.listener,
            tls: None,
            status,
            request_bytes: told.body_bytes,
            response_bytes: told.answer_bytes,
            total: took,
            first_byte: None,
            upstream_latency: told.head_after,
            route,
            variant: None,
            reason: None,
            bucket: None,
            tenant: told.tenant.as_deref(),
            generation: told.local.snapshot.generation.0,
            upstream: Some(&self.ticket.lane().series.upstream),
            endpoint: told.endpoint,
            attempts: 1,
            termination: Termination {
                ender: if dropped.is_some() { Ender::Upstream } else { Ender::Done },
                stage: if dropped.is_some() { 'H' } else { '-' },
            },
            detail: dropped.map_or("", ShadowDrop::name),
            grpc_status: None,
            event: Some(Event::Shadow),
            trace_id: told.trace_id.as_deref(),
        };
        worker.log(|log| log.push(rules.access_log.format, &entry));
    }
}

/// Sends a copy on its way.
pub(super) fn launch(mut copy: Box<ShadowCopy>, body: CopyBody) {
    if copy.ticket.worker().local().snapshot.rules.kill.all {
        copy.ticket.ends(ShadowEnd::Dropped(ShadowDrop::Killed));
        return;
    }
    // What else ends it than itself is the end of this worker.
    copy.ticket.ends(ShadowEnd::Dropped(ShadowDrop::Shutdown));
    tokio::task::spawn_local(copy.run(body));
}

/// The body of a copy: what its request's body was made of.
#[derive(Debug, Default)]
pub(super) struct CopyBody {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// The length, where the request told it.
    length: Option<u64>,
}

impl CopyBody {
    /// A body of these pieces.
    pub(super) fn new(pieces: Vec<Bytes>, trailers: Option<HeaderMap>, length: Option<u64>) -> Self {
        Self { pieces: pieces.into(), trailers, length }
    }

    fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let piece = self.pieces.pop_front().map(Frame::data);
        piece.or_else(|| self.trailers.take().map(Frame::trailers))
    }
}

impl Body for CopyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(self.get_mut().next().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        // An empty body without a length is one still: it has to be ended.
        self.pieces.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(_) => SizeHint::with_exact(self.bytes()),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
