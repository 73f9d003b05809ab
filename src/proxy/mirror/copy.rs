//! One copy for a shadow, from its launch to the end of its answer, in a task of its own. What it comes to is counted and
//! logged apart from its request.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Version};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::capture::{COMPARED_BYTES_MAX, Primary, PrimaryAnswer, Until};
use super::copies::{Held, Place, Ticket};
use super::copy_span::{CopyOutcome, CopySpan, leave_copy};
use super::errand::{Errand, Went};
use crate::proxy::body::copy_body::CopyBody;
use crate::proxy::downstream::client::Client;
use crate::proxy::upstream::pool::UpstreamPool;
use crate::proxy::wire::proxy_header::Ends;
use crate::proxy::worker::Worker;
use crate::route::{LogSink, RouteId};
use crate::shadow_compare::{Seen, Trial};
use crate::snapshot::Snapshot;
use crate::telemetry::{
    AccessEntry, AccessEvent, EndedBy, RequestEntry, ShadowDrop, ShadowEnd, ShadowUncompared, Termination,
};

/// A copy of a request.
pub(crate) struct ShadowCopy {
    pub(crate) ticket: Box<Ticket>,
    head: Request<()>,
    settings: Settings,
    /// Hash of the sticky key, for `balance = "hash"`.
    key: u64,
    /// Whom its connection names, where an upstream wants that.
    ends: Option<Ends>,
    comparing: Option<Comparing>,
    span: Option<Box<CopySpan>>,
    request: Rc<CopiedRequest>,
}

/// What the file says of a shadow's copies.
pub(crate) struct Settings {
    /// Who gets them.
    pub(crate) pool: Rc<UpstreamPool>,
    /// From sending a copy to the end of its answer.
    pub(crate) timeout: Duration,
    /// Copies of the route that may be under way.
    pub(crate) max_in_flight: u32,
}

/// What a copy's answer is compared with.
pub(crate) struct Comparing {
    /// The answer to the request itself.
    pub(crate) primary: Rc<Primary>,
    /// A second copy, for the request's own upstream.
    pub(crate) control: Option<Control>,
}

impl Drop for Comparing {
    /// Nobody will ask for the request's answer any more.
    fn drop(&mut self) {
        self.primary.forget();
    }
}

/// A copy for the request's own upstream, which tells how much its answers differ among themselves.
pub(crate) struct Control {
    pub(crate) head: Request<()>,
    pub(crate) span: Option<Box<CopySpan>>,
    pub(crate) pool: Rc<UpstreamPool>,
}

/// The request's data for the copy's log line and span.
pub(crate) struct CopiedRequest {
    /// The snapshot that the request ran under.
    pub(crate) snapshot: Rc<dyn AsRef<Snapshot>>,
    pub(crate) route: Option<RouteId>,
    pub(crate) request_id: HeaderValue,
    pub(crate) trace_id: Option<Box<str>>,
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) client_ip: IpAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Box<str>,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) host: Box<str>,
    pub(crate) path: Box<str>,
}

/// A copy's head, and the span that it names.
pub(crate) type Traced = (Request<()>, Option<Box<CopySpan>>);

impl ShadowCopy {
    /// The copy of a request of this client.
    pub(crate) fn new(
        request: CopiedRequest,
        client: &Client,
        ticket: Box<Ticket>,
        ((head, span), settings, comparing): (Traced, Settings, Option<Comparing>),
        key: u64,
    ) -> Box<Self> {
        let control = comparing.as_ref().and_then(|comparing| comparing.control.as_ref());
        let pools = [Some(&settings.pool), control.map(|control| &control.pool)];
        let named = pools.into_iter().flatten().any(|pool| pool.upstream.proxy_protocol.is_some());
        let ends = named.then(|| client.ends());
        Box::new(Self { ticket, head, settings, key, ends, comparing, span, request: Rc::new(request) })
    }

    /// The request has come whole.
    pub(crate) fn uploaded(&self) {
        if let Some(comparing) = &self.comparing {
            comparing.primary.uploaded(self.ticket.worker().clock.now());
        }
    }

    async fn run(mut self: Box<Self>, body: CopyBody) {
        let worker = Rc::clone(self.ticket.worker());
        let mut comparing = self.comparing.take();
        if let Some(comparing) = &comparing {
            // Copies come after the request. It is under way for as long as this waits.
            comparing.primary.comes(Until::Head).await;
        }
        if worker.snapshot().overlay.kill().all {
            return self.ticket.ends(ShadowEnd::Dropped(ShadowDrop::Killed));
        }
        if !self.ticket.take_place(self.settings.max_in_flight) {
            return self.ticket.ends(ShadowEnd::Dropped(ShadowDrop::InFlightLimit));
        }
        let control = comparing.as_mut().and_then(|comparing| comparing.control.take());
        let control = control.and_then(|control| self.control(control, body.clone()));
        if control.is_some() && worker.random.borrow_mut().bool() {
            // It goes first.
            yield_now().await;
        }
        let pool = Rc::clone(&self.settings.pool);
        let keeps = comparing.as_ref().map(|_| self.ticket.held());
        let (bytes, began) = (body.bytes(), worker.clock.now());
        let errand = Errand { pool: &pool, key: self.key, ends: self.ends, keeps: keeps.cloned(), asked: began };
        let went = errand.go(&worker, (std::mem::take(&mut self.head), body), self.settings.timeout).await;
        let took = worker.clock.now().duration_since(began);
        let at = worker.wall_at(began);
        if matches!(went.end, ShadowEnd::Completed(_)) {
            self.ticket.lane().meter(&worker).duration.record(took);
        }
        self.request.log(&worker, (&self.ticket.lane().series.upstream, &went), (at, took, bytes));
        if let Some(span) = &self.span {
            self.request.leave(&worker, (span, &pool, &went), (at, took));
        }
        // What follows is no copy any more, and takes nobody's place.
        self.ticket.ends(went.end);
        self.ticket.finish();
        if went.endless {
            self.ticket.is_trouble();
        }
        if let Some(comparing) = comparing {
            self.compare(&comparing, went, control).await;
        }
    }

    /// Sends the control on its way, beside the copy, if there is a place for it.
    fn control(&self, control: Control, body: CopyBody) -> Option<JoinHandle<Option<Went>>> {
        let lane = self.ticket.lane();
        let Some(place) = lane.place_for_control(self.settings.max_in_flight) else {
            lane.meter(self.ticket.worker()).controls[2].inc();
            return None;
        };
        let controlled = Controlled {
            control,
            place,
            held: Rc::clone(self.ticket.held()),
            request: Rc::clone(&self.request),
            worker: Rc::clone(self.ticket.worker()),
        };
        Some(spawn_local(controlled.run((self.key, self.ends), self.settings.timeout, body)))
    }

    /// Hands over what is to be compared, when the request's own answer has come whole.
    async fn compare(&mut self, comparing: &Comparing, went: Went, control: Option<JoinHandle<Option<Went>>>) {
        let worker = Rc::clone(self.ticket.worker());
        let control = match control {
            Some(control) => control.await.ok().flatten().and_then(|went| went.seen),
            None => None,
        };
        let meter = self.ticket.lane().series.meters.of(worker.index);
        let leave_out = |why: ShadowUncompared| meter.uncompared[why as usize].inc();
        let _ = tokio::time::timeout(self.settings.timeout, comparing.primary.comes(Until::End)).await;
        let (primary, route) = match (comparing.primary.take(), self.request.route) {
            (PrimaryAnswer::Whole(primary), Some(route)) => (primary, route),
            (PrimaryAnswer::NoRoom, _) => return leave_out(ShadowUncompared::NoRoom),
            (PrimaryAnswer::Whole(_) | PrimaryAnswer::Lost, _) => return leave_out(ShadowUncompared::Primary),
        };
        let Some(candidate) = went.seen else { return leave_out(ShadowUncompared::NoRoom) };
        if is_too_large(&primary) && is_too_large(&candidate) {
            return leave_out(ShadowUncompared::TooLarge);
        }
        let control = control.filter(|control| !(is_too_large(&primary) && is_too_large(control)));
        let snapshot = self.request.snapshot();
        let trial = Trial {
            rules: Arc::clone(&snapshot.rules),
            generation: snapshot.generation,
            route,
            at: worker.wall_at(worker.clock.now()),
            request_id: self.request.request_id.to_str().unwrap_or("-").into(),
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
}

/// A control on its way.
struct Controlled {
    control: Control,
    place: Place,
    held: Held,
    request: Rc<CopiedRequest>,
    worker: Rc<Worker>,
}

impl Controlled {
    /// Sends it. What came is nothing where there was no room to keep it.
    async fn run(self, (key, ends): (u64, Option<Ends>), timeout: Duration, body: CopyBody) -> Option<Went> {
        let Self { control, place, held, request, worker } = self;
        let began = worker.clock.now();
        let errand = Errand { pool: &control.pool, key, ends, keeps: Some(held), asked: began };
        let went = errand.go(&worker, (control.head, body), timeout).await;
        if let Some(span) = &control.span {
            let took = worker.clock.now().duration_since(began);
            request.leave(&worker, (span, &control.pool, &went), (worker.wall_at(began), took));
        }
        let completed = matches!(went.end, ShadowEnd::Completed(_));
        place.lane().meter(&worker).controls[usize::from(!completed)].inc();
        Some(went)
    }
}

impl CopiedRequest {
    fn snapshot(&self) -> &Snapshot {
        (*self.snapshot).as_ref()
    }

    /// Leaves the span of one of the copies.
    fn leave(
        &self,
        worker: &Worker,
        (span, pool, went): (&CopySpan, &UpstreamPool, &Went),
        (from, took): (Duration, Duration),
    ) {
        let outcome = CopyOutcome {
            method: &self.method,
            path: &self.path,
            generation: self.snapshot().generation.0,
            pool,
            endpoint: went.endpoint,
            end: went.end,
            from,
            took,
        };
        leave_copy(worker, span, &outcome);
    }

    /// The line of a copy that was sent, or tried to be.
    fn log(&self, worker: &Worker, (upstream, went): (&str, &Went), (at, took, bytes): (Duration, Duration, u64)) {
        let snapshot = self.snapshot();
        let rules = &snapshot.rules;
        if rules.access_log.sink == LogSink::Off {
            return;
        }
        let (status, dropped) = match went.end {
            ShadowEnd::Completed(status) => (status, None),
            ShadowEnd::Dropped(reason) => (0, Some(reason)),
        };
        let sample = rules.access_log.sample;
        if dropped.is_none() && status < 500 && sample < 1.0 && worker.random.borrow_mut().f64() >= sample {
            return;
        }
        let request = RequestEntry {
            at,
            request_id: self.request_id.to_str().unwrap_or("-"),
            client_ip: self.client_ip,
            peer: self.peer,
            method: self.method.as_str(),
            host: &self.host,
            path: &self.path,
            version: self.version,
            listener: &self.listener,
            route: self.route.map(|route| rules.route(route).name.as_str()),
            tenant: self.tenant.as_deref(),
            generation: snapshot.generation.0,
            trace_id: self.trace_id.as_deref(),
        };
        let entry = AccessEntry {
            status,
            request_bytes: bytes,
            response_bytes: went.answer_bytes,
            total: took,
            upstream_latency: went.head_after,
            upstream: Some(upstream),
            endpoint: went.endpoint,
            attempts: 1,
            termination: Termination {
                ender: if dropped.is_some() { EndedBy::Upstream } else { EndedBy::Done },
                stage: if dropped.is_some() { 'H' } else { '-' },
            },
            detail: dropped.map_or("", ShadowDrop::name),
            event: Some(AccessEvent::Shadow),
            ..AccessEntry::of(request)
        };
        worker.log(|log| log.push(&rules.access_log, &entry));
    }
}

/// Whether an answer is larger than is looked at: nobody knows all of it. It differs from one that is not, for sure; two
/// of them cannot be compared.
fn is_too_large(seen: &Seen) -> bool {
    seen.outcome.as_ref().is_ok_and(|kept| kept.length > COMPARED_BYTES_MAX)
}

/// Sends a copy on its way.
pub(crate) fn launch(mut copy: Box<ShadowCopy>, body: CopyBody) {
    // What else ends it than itself is the end of this worker.
    copy.ticket.ends(ShadowEnd::Dropped(ShadowDrop::Shutdown));
    spawn_local(copy.run(body));
}
