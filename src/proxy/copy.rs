//! One copy for a shadow, from its launch to the end of its answer, in a task of its own. What it comes to is counted and
//! logged apart from its request.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::balance;
use super::body::RequestBody;
use super::capture::{Capture, Primary, Until};
use super::connect::{self, Reuse};
use super::copies::{Held, Ticket};
use super::copy_body::CopyBody;
use super::exchange::Exchange;
use super::fields::strip_hop_by_hop;
use super::lease::{Borrowed, Flight, Lease};
use super::local::Local;
use super::pool::UpstreamPool;
use super::prepare::{for_h1, for_h2, name_host};
use super::proxy_header::Ends;
use super::record::protocol;
use super::sending::Sending;
use super::trace::{self, CopyOutcome, CopySpan};
use super::worker::Worker;
use crate::compare::{Ending, Failure};
use crate::dark::{Seen, Trial};
use crate::route::{MARKER, Protocol, RouteId};
use crate::telemetry::{AccessEntry, Ender, Event, ShadowDrop, ShadowEnd, ShadowUncompared, Termination};

/// So much of an answer is read; beyond, its status is what counts, and the connection is closed.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// So much of one that is compared.
const COMPARED_BYTES_MAX: u64 = 1024 * 1024;
const MARKED: HeaderValue = HeaderValue::from_static("1");

/// A copy of a request.
pub(super) struct ShadowCopy {
    pub(super) ticket: Box<Ticket>,
    head: Request<()>,
    timeout: Duration,
    /// Hash of the sticky key, for `balance = "hash"`.
    key: u64,
    /// Whom its connection names, where the upstream wants that.
    ends: Option<Ends>,
    comparing: Option<Comparing>,
    span: Option<Box<CopySpan>>,
    told: Told,
}

/// What a copy's answer is compared with.
pub(super) struct Comparing {
    /// The answer to the request itself.
    pub(super) primary: Rc<Primary>,
    /// A second copy, for the request's own upstream.
    pub(super) control: Option<Control>,
}

/// A copy for the request's own upstream, which tells how much its answers differ among themselves.
pub(super) struct Control {
    pub(super) head: Request<()>,
    pub(super) span: Option<Box<CopySpan>>,
    pub(super) pool: Rc<UpstreamPool>,
}

/// One of the two copies that a comparison sends.
struct Errand<'a> {
    pool: &'a Rc<UpstreamPool>,
    key: u64,
    ends: Option<Ends>,
    began: Instant,
    /// Whether what comes is kept.
    keeps: Option<Held>,
}

/// What one came to.
struct Went {
    end: ShadowEnd,
    seen: Option<Seen>,
    endpoint: Option<SocketAddr>,
    answer_bytes: u64,
    head_after: Option<Duration>,
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
    version: Version,
    host: Box<str>,
    path: Box<str>,
    endpoint: Option<SocketAddr>,
    body_bytes: u64,
    answer_bytes: u64,
    head_after: Option<Duration>,
}

/// A copy's head, and the span that it names.
pub(super) type Traced = (Request<()>, Option<Box<CopySpan>>);

impl ShadowCopy {
    /// The copy of the request of `exchange`.
    pub(super) fn new(
        exchange: &mut Exchange,
        ticket: Box<Ticket>,
        ((head, span), timeout, comparing): (Traced, Duration, Option<Comparing>),
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
            version: exchange.version,
            host: exchange.host.normal().into(),
            path: exchange.path().into(),
            endpoint: None,
            body_bytes: 0,
            answer_bytes: 0,
            head_after: None,
        };
        Box::new(Self { ticket, head, timeout, key, ends, comparing, span, told })
    }

    async fn run(mut self: Box<Self>, body: CopyBody) {
        let worker = Rc::clone(self.ticket.worker());
        self.told.body_bytes = body.bytes();
        let mut comparing = self.comparing.take();
        let mut control = comparing.as_mut().and_then(|comparing| comparing.control.take());
        if let Some(comparing) = &comparing {
            // Copies come after the request; they do not wait longer for it than for anything else.
            let _ = tokio::time::timeout(self.timeout, comparing.primary.comes(Until::Head)).await;
        }
        let mut controlled = None;
        if worker.random.borrow_mut().bool()
            && let Some(control) = control.take()
        {
            controlled = self.control(control, body.clone()).await;
        }
        let began = worker.clock.now();
        let at = worker.wall_at(began);
        let pool = Rc::clone(&self.ticket.lane().pool);
        let keeps = comparing.as_ref().map(|_| Rc::clone(self.ticket.held()));
        let errand = Errand { pool: &pool, key: self.key, ends: self.ends.take(), began, keeps };
        let head = std::mem::take(&mut self.head);
        let went = errand.go(&worker, (head, body.clone()), self.timeout).await;
        let took = worker.clock.now().duration_since(began);
        self.ticket.ends(went.end);
        self.told.endpoint = went.endpoint;
        (self.told.answer_bytes, self.told.head_after) = (went.answer_bytes, went.head_after);
        if matches!(went.end, ShadowEnd::Completed(_)) {
            self.ticket.lane().meter(&worker).duration.record(took);
        }
        self.log(at, took);
        if let Some(span) = &self.span {
            self.leave(span, (&pool, &went), (at, took));
        }
        if let Some(control) = control.take() {
            controlled = self.control(control, body).await;
        }
        if let (Some(comparing), Some(candidate)) = (comparing, went.seen) {
            self.compare(&comparing, candidate, controlled).await;
        }
    }

    async fn control(&self, control: Control, body: CopyBody) -> Option<Seen> {
        let worker = self.ticket.worker();
        let keeps = Some(Rc::clone(self.ticket.held()));
        let began = worker.clock.now();
        let at = worker.wall_at(began);
        let errand = Errand { pool: &control.pool, key: self.key, ends: None, began, keeps };
        let went = errand.go(worker, (control.head, body), self.timeout).await;
        if let Some(span) = &control.span {
            let took = worker.clock.now().duration_since(began);
            self.leave(span, (&control.pool, &went), (at, took));
        }
        let completed = matches!(went.end, ShadowEnd::Completed(_));
        self.ticket.lane().meter(worker).controls[usize::from(!completed)].inc();
        went.seen
    }

    /// Hands over what is to be compared, when the request's own answer has come whole.
    async fn compare(&mut self, comparing: &Comparing, candidate: Seen, control: Option<Seen>) {
        let worker = Rc::clone(self.ticket.worker());
        let meter = self.ticket.lane().series.meters.of(worker.index);
        let leave_out = |why: ShadowUncompared| meter.uncompared[why as usize].inc();
        let _ = tokio::time::timeout(self.timeout, comparing.primary.comes(Until::End)).await;
        let (Some(primary), Some(route)) = (comparing.primary.take(), self.told.route) else {
            return leave_out(ShadowUncompared::Primary);
        };
        if is_too_large(&primary) && is_too_large(&candidate) {
            return leave_out(ShadowUncompared::TooLarge);
        }
        let control = control.filter(|control| !(is_too_large(&primary) && is_too_large(control)));
        let trial = Trial {
            rules: Arc::clone(&self.told.local.snapshot.rules),
            generation: self.told.local.snapshot.generation,
            route,
            at: worker.wall_at(worker.clock.now()),
            request_id: self.told.request_id.to_str().unwrap_or("-").into(),
            primary,
            candidate,
            control,
            held: self.ticket.give(),
        };
        if worker.trials.try_send(Box::new(trial)) {
            self.ticket.lane().series.meters.of(worker.index).compared.inc();
        } else {
            self.ticket.lane().series.meters.of(worker.index).uncompared[ShadowUncompared::Busy as usize].inc();
        }
    }

    /// Leaves the span of one of the copies.
    fn leave(&self, span: &CopySpan, (pool, went): (&UpstreamPool, &Went), (from, took): (Duration, Duration)) {
        let told = &self.told;
        let endpoint = went.endpoint;
        let outcome = CopyOutcome {
            method: &told.method,
            path: &told.path,
            generation: told.local.snapshot.generation.0,
            pool,
            endpoint,
            end: went.end,
            from,
            took,
        };
        trace::leave_copy(self.ticket.worker(), span, &outcome);
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
            protocol: protocol(told.version),
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
            token: None,
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

impl Errand<'_> {
    /// Sends a copy, and reads what is answered.
    async fn go(mut self, worker: &Rc<Worker>, (head, body): (Request<()>, CopyBody), patience: Duration) -> Went {
        let request = head.map(|()| RequestBody::Copy(Box::new(body)));
        let mut went = Went { end: DROPPED_LATE, seen: None, endpoint: None, answer_bytes: 0, head_after: None };
        let sent = tokio::time::timeout(patience, self.send(worker, request, &mut went)).await;
        if let Ok(end) = sent {
            went.end = end;
        }
        let failure = match went.end {
            ShadowEnd::Completed(_) => None,
            ShadowEnd::Dropped(ShadowDrop::Timeout) => Some(Failure::Timeout),
            ShadowEnd::Dropped(ShadowDrop::Connect) => Some(Failure::Connect),
            ShadowEnd::Dropped(_) => Some(Failure::Reset),
        };
        if let (Some(failure), Some(_)) = (failure, &self.keeps) {
            let took = worker.clock.now().duration_since(self.began);
            went.seen.get_or_insert(Seen { outcome: Err(failure), took });
        }
        went
    }

    async fn send(&mut self, worker: &Rc<Worker>, mut request: Request<RequestBody>, went: &mut Went) -> ShadowEnd {
        let picked = balance::pick(self.pool, &worker.random, || self.key);
        let Some(endpoint) = picked else { return ShadowEnd::Dropped(ShadowDrop::Connect) };
        went.endpoint = Some(endpoint.endpoint.address);
        let _flight = Flight::new(worker, self.pool, &endpoint);
        name_host(&mut request, endpoint.endpoint.address);
        let own = self.ends.take().map(|ends| Rc::new(endpoint.naming(ends)));
        let endpoint = own.as_ref().unwrap_or(&endpoint);
        let mut reuse = Reuse::Allowed;
        loop {
            let leased = connect::lease(worker, (self.pool, endpoint), reuse).await;
            let Ok((lease, reused)) = leased else { return ShadowEnd::Dropped(ShadowDrop::Connect) };
            let mut borrowed = Borrowed::new(lease, watch(worker, &mut request));
            let answered = match borrowed.lease() {
                Some(Lease::Whole { connection, .. }) => {
                    // What asks for a tunnel is not copied.
                    if for_h1(&mut request, None).is_err() {
                        return ShadowEnd::Dropped(ShadowDrop::Connect);
                    }
                    mark(&mut request);
                    connection.sender.try_send_request(request).await
                }
                Some(Lease::Stream(stream)) => {
                    let tls = endpoint.protocol() == Protocol::Https;
                    for_h2(&mut request, if tls { Scheme::HTTPS } else { Scheme::HTTP });
                    mark(&mut request);
                    stream.sender.try_send_request(request).await
                }
                None => return ShadowEnd::Dropped(ShadowDrop::Connect),
            };
            match answered.map_err(|mut error| error.take_message()) {
                Ok(response) => return self.read(worker, (response, borrowed), went).await,
                // It never left: the connection had gone already.
                Err(Some(unsent)) if reused => (request, reuse) = (unsent, Reuse::GivenUp),
                Err(_) => return ShadowEnd::Dropped(ShadowDrop::Reset),
            }
        }
    }

    async fn read(
        &mut self,
        worker: &Worker,
        (response, mut borrowed): (Response<Incoming>, Borrowed),
        went: &mut Went,
    ) -> ShadowEnd {
        let took = worker.clock.now().duration_since(self.began);
        went.head_after = Some(took);
        let end = ShadowEnd::Completed(response.status().as_u16());
        let (parts, mut body) = response.into_parts();
        let held = self.keeps.as_ref().map(Rc::clone);
        let mut capture = held.map(|held| {
            let mut headers = parts.headers;
            strip_hop_by_hop(&mut headers);
            Capture::new(parts.status, &headers, took, held)
        });
        let most = if capture.is_some() { COMPARED_BYTES_MAX } else { ANSWER_BYTES_MAX };
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return ShadowEnd::Dropped(ShadowDrop::Reset) };
            if let (Some(capture), Some(data)) = (&mut capture, frame.data_ref()) {
                capture.data(data);
            }
            if let (Some(capture), Some(trailers)) = (&mut capture, frame.trailers_ref()) {
                capture.trailers(trailers);
            }
            went.answer_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if went.answer_bytes > most {
                // It is left, not cut: that its body is longer than what is looked at is what is known of it.
                went.seen = capture.map(|capture| capture.end(Ending::Complete));
                return end;
            }
        }
        if !borrowed.lease().is_some_and(|lease| lease.has_ended(&body)) {
            return ShadowEnd::Dropped(ShadowDrop::Reset);
        }
        went.seen = capture.map(|capture| capture.end(Ending::Complete));
        borrowed.give_back(worker.now_ms());
        end
    }
}

/// Says that it is a copy. Behind all other fields, so that these stand as those of the request itself do.
fn mark(request: &mut Request<RequestBody>) {
    request.headers_mut().insert(MARKER, MARKED);
}

/// How far the body of this try will have come.
fn watch(worker: &Worker, request: &mut Request<RequestBody>) -> Rc<Sending> {
    let sending = Sending::new(&worker.last_begun);
    if request.body().is_end_stream() {
        sending.end();
    }
    if let RequestBody::Copy(body) = request.body_mut() {
        body.sending = Some(Rc::clone(&sending));
    }
    sending
}

/// What nothing else is known of.
const DROPPED_LATE: ShadowEnd = ShadowEnd::Dropped(ShadowDrop::Timeout);

/// Whether an answer is larger than is looked at: nobody knows all of it. It differs from one that is not, for sure; two
/// of them cannot be compared.
fn is_too_large(seen: &Seen) -> bool {
    seen.outcome.as_ref().is_ok_and(|kept| kept.length > COMPARED_BYTES_MAX)
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
