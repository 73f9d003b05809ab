//! One copy of a request for a shadow, from its launch to the end of its response. It runs in a task of its own, and is
//! counted and logged apart from its request.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Version};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::capture::{COMPARED_BYTES_MAX, PrimaryResponse, PrimaryResult, WaitFor};
use super::copy_span::{CopyOutcome, CopySpan, record_copy};
use super::permit::{CopyPermit, InFlightPermit, MemoryPermit};
use super::send::{MirrorOutcome, MirrorRequest};
use crate::proxy::body::copy_body::CopyBody;
use crate::proxy::downstream::client::Client;
use crate::proxy::upstream::pool::UpstreamPool;
use crate::proxy::wire::head::Head;
use crate::proxy::wire::proxy_header::ProxyAddresses;
use crate::proxy::worker::Worker;
use crate::proxy::worker::request_id::RequestId;
use crate::route::{LogSink, RouteId};
use crate::shadow_compare::{ComparisonJob, ObservedResponse};
use crate::snapshot::Snapshot;
use crate::telemetry::{
    AccessEntry, AccessEvent, EndedBy, RequestEntry, ShadowDrop, ShadowEnd, ShadowUncompared, Termination,
};

/// A copy of a request.
pub(crate) struct ShadowCopy {
    pub(crate) permit: Box<CopyPermit>,
    pub(crate) request: CopyRequest,
    pub(crate) settings: CopySettings,
    /// The addresses for the PROXY header, where an upstream wants one.
    pub(crate) proxy_addresses: Option<ProxyAddresses>,
    pub(crate) comparison: Option<ComparisonPlan>,
    pub(crate) context: Rc<LogContext>,
}

/// A copied request without its body, and the upstream that gets it: the shadow's, or the request's own for a control.
pub(crate) struct CopyRequest {
    pub(crate) head: Head,
    /// The span that the head names as its parent.
    pub(crate) span: Option<Box<CopySpan>>,
    pub(crate) pool: Rc<UpstreamPool>,
}

/// How a copy and its control are sent.
#[derive(Clone, Copy)]
pub(crate) struct CopySettings {
    /// From sending a copy to the end of its response.
    pub(crate) timeout: Duration,
    /// Limit on the route's copies in flight.
    pub(crate) max_in_flight: u32,
    /// Hash of the sticky key, for `balance = "hash"`.
    pub(crate) key: u64,
}

/// The responses that a copy's response is compared with.
pub(crate) struct ComparisonPlan {
    /// The response to the request itself.
    pub(crate) primary: Rc<PrimaryResponse>,
    /// A second copy, for the request's own upstream. It shows how much the upstream's responses differ among
    /// themselves.
    pub(crate) control: Option<CopyRequest>,
}

impl Drop for ComparisonPlan {
    /// Without a comparison, the primary response need not be captured.
    fn drop(&mut self) {
        self.primary.forget();
    }
}

/// The request's data for the copy's log line and span.
pub(crate) struct LogContext {
    /// The snapshot of the request.
    pub(crate) snapshot: Rc<dyn AsRef<Snapshot>>,
    pub(crate) route: Option<RouteId>,
    pub(crate) request_id: RequestId,
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

/// The addresses for the PROXY header, if the upstream of the copy or of its control wants one.
pub(crate) fn proxy_addresses(
    client: &Client,
    copy: &CopyRequest,
    comparison: Option<&ComparisonPlan>,
) -> Option<ProxyAddresses> {
    let control = comparison.and_then(|comparison| comparison.control.as_ref());
    let wanted = [Some(copy), control].into_iter().flatten().any(|copy| copy.pool.upstream.proxy_protocol.is_some());
    wanted.then(|| client.proxy_addresses())
}

impl ShadowCopy {
    /// Notes that the request's body is complete.
    pub(crate) fn uploaded(&self) {
        if let Some(comparison) = &self.comparison {
            comparison.primary.uploaded(self.permit.worker().clock.now());
        }
    }

    async fn run(mut self: Box<Self>, body: CopyBody) {
        let worker = Rc::clone(self.permit.worker());
        let mut comparison = self.comparison.take();
        if let Some(comparison) = &comparison {
            // A compared copy follows its request. The wait ends with the request at the latest.
            comparison.primary.wait(WaitFor::Head).await;
        }
        // After the wait: the kill switch may have been set meanwhile.
        if self.context.is_killed(&worker.snapshot()) {
            return self.permit.set_end(ShadowEnd::Dropped(ShadowDrop::Killed));
        }
        if !self.permit.try_start(self.settings.max_in_flight) {
            return self.permit.set_end(ShadowEnd::Dropped(ShadowDrop::InFlightLimit));
        }
        let control = comparison.as_mut().and_then(|comparison| comparison.control.take());
        let control = control.and_then(|control| self.launch_control(control, body.clone()));
        if control.is_some() && worker.random.borrow_mut().bool() {
            // In half of the cases the control goes first, so that the order favours neither.
            yield_now().await;
        }
        let bytes = body.bytes();
        let mirror_request = MirrorRequest {
            pool: &self.request.pool,
            key: self.settings.key,
            proxy_addresses: self.proxy_addresses,
            capture_memory: comparison.as_ref().map(|_| Rc::clone(self.permit.memory())),
            sent_at: worker.clock.now(),
        };
        let outcome = mirror_request.send_within(&worker, &mut self.request.head, body, self.settings.timeout).await;
        if matches!(outcome.end, ShadowEnd::Completed(_)) {
            self.permit.policy().meter(&worker).duration.record(outcome.took);
        }
        self.context.log(&worker, &self.permit.policy().series.upstream, &outcome, bytes);
        if let Some(span) = &self.request.span {
            self.context.record_span(&worker, span, &self.request.pool, &outcome);
        }
        // The comparison below is not part of the copy: the copy ends here and frees its place in flight.
        self.permit.set_end(outcome.end);
        self.permit.finish();
        if outcome.is_unbounded {
            self.permit.throttle();
        }
        if let Some(comparison) = comparison {
            self.compare(&comparison, outcome, control).await;
        }
    }

    /// Starts the control beside the copy, unless too many are in flight.
    fn launch_control(&self, control: CopyRequest, body: CopyBody) -> Option<JoinHandle<MirrorOutcome>> {
        let policy = self.permit.policy();
        let Some(in_flight) = policy.try_control_permit(self.settings.max_in_flight) else {
            policy.meter(self.permit.worker()).controls[2].inc();
            return None;
        };
        let control = ControlCopy {
            request: control,
            settings: self.settings,
            proxy_addresses: self.proxy_addresses,
            in_flight,
            memory: Rc::clone(self.permit.memory()),
            context: Rc::clone(&self.context),
            worker: Rc::clone(self.permit.worker()),
        };
        Some(spawn_local(control.run(body)))
    }

    /// Sends the responses to the comparison, when the primary response is complete.
    async fn compare(
        &mut self,
        comparison: &ComparisonPlan,
        outcome: MirrorOutcome,
        control: Option<JoinHandle<MirrorOutcome>>,
    ) {
        let worker = Rc::clone(self.permit.worker());
        let control = match control {
            // A control whose task failed counts as missing.
            Some(control) => control.await.ok().and_then(|outcome| outcome.response),
            None => None,
        };
        let meter = self.permit.policy().series.meters.of(worker.index);
        let leave_out = |why: ShadowUncompared| meter.uncompared[why as usize].inc();
        // The primary response may be endless: the wait has the limit of a copy.
        let _ = tokio::time::timeout(self.settings.timeout, comparison.primary.wait(WaitFor::End)).await;
        let (primary, route) = match (comparison.primary.take(), self.context.route) {
            (PrimaryResult::Complete(primary), Some(route)) => (primary, route),
            (PrimaryResult::NoMemory, _) => return leave_out(ShadowUncompared::NoRoom),
            (PrimaryResult::Complete(_) | PrimaryResult::Lost, _) => return leave_out(ShadowUncompared::Primary),
        };
        let Some(candidate) = outcome.response else { return leave_out(ShadowUncompared::NoRoom) };
        if is_too_large(&primary) && is_too_large(&candidate) {
            return leave_out(ShadowUncompared::TooLarge);
        }
        let control = control.filter(|control| !(is_too_large(&primary) && is_too_large(control)));
        let snapshot = self.context.snapshot();
        let job = ComparisonJob {
            rules: Arc::clone(&snapshot.rules),
            generation: snapshot.generation,
            route,
            at: worker.wall_at(worker.clock.now()),
            request_id: self.context.request_id.as_str().into(),
            primary,
            candidate,
            control,
            held: self.permit.take_memory(),
        };
        if worker.comparison_jobs.try_send(Box::new(job)) {
            self.permit.policy().series.meters.of(worker.index).compared.inc();
        } else {
            self.permit.policy().series.meters.of(worker.index).uncompared[ShadowUncompared::Busy as usize].inc();
        }
    }
}

/// A control in flight.
struct ControlCopy {
    request: CopyRequest,
    settings: CopySettings,
    proxy_addresses: Option<ProxyAddresses>,
    in_flight: InFlightPermit,
    memory: MemoryPermit,
    context: Rc<LogContext>,
    worker: Rc<Worker>,
}

impl ControlCopy {
    async fn run(self, body: CopyBody) -> MirrorOutcome {
        let Self { request, settings, proxy_addresses, in_flight, memory, context, worker } = self;
        let CopyRequest { mut head, span, pool } = request;
        let sent_at = worker.clock.now();
        let mirror_request =
            MirrorRequest { pool: &pool, key: settings.key, proxy_addresses, capture_memory: Some(memory), sent_at };
        let outcome = mirror_request.send_within(&worker, &mut head, body, settings.timeout).await;
        if let Some(span) = &span {
            context.record_span(&worker, span, &pool, &outcome);
        }
        let completed = matches!(outcome.end, ShadowEnd::Completed(_));
        in_flight.policy().meter(&worker).controls[usize::from(!completed)].inc();
        outcome
    }
}

impl LogContext {
    fn snapshot(&self) -> &Snapshot {
        (*self.snapshot).as_ref()
    }

    /// Whether a kill of `now`, the current snapshot, stops the copy. Other rules have the route in another place, or not
    /// at all; then only `kill.all` counts.
    fn is_killed(&self, now: &Snapshot) -> bool {
        if now.overlay.kill().all {
            return true;
        }
        let (then, Some(route)) = (&self.snapshot().rules, self.route) else { return false };
        let is_same = Arc::ptr_eq(then, &now.rules);
        let found = if is_same { Some(route) } else { now.rules.find_route(&then.route(route).name, route) };
        found.is_some_and(|route| now.overlay.shadow_kill(route).is_some())
    }

    /// Records the span of a copy or a control.
    fn record_span(&self, worker: &Worker, span: &CopySpan, pool: &UpstreamPool, outcome: &MirrorOutcome) {
        let copy = CopyOutcome {
            method: &self.method,
            path: &self.path,
            generation: self.snapshot().generation.0,
            pool,
            endpoint: outcome.endpoint,
            end: outcome.end,
            from: worker.wall_at(outcome.began),
            took: outcome.took,
        };
        record_copy(worker, span, &copy);
    }

    /// Logs a copy that was sent, or that failed to connect. `bytes` is the size of its body.
    fn log(&self, worker: &Worker, upstream: &str, outcome: &MirrorOutcome, bytes: u64) {
        let snapshot = self.snapshot();
        let rules = &snapshot.rules;
        if rules.access_log.sink == LogSink::Off {
            return;
        }
        let (status, dropped) = match outcome.end {
            ShadowEnd::Completed(status) => (status, None),
            ShadowEnd::Dropped(reason) => (0, Some(reason)),
        };
        let sample = rules.access_log.sample;
        // Copies that fail, also with a 5xx, are always logged; of the others, a sample.
        if dropped.is_none() && status < 500 && sample < 1.0 && worker.random.borrow_mut().f64() >= sample {
            return;
        }
        let request = RequestEntry {
            at: worker.wall_at(outcome.began),
            request_id: self.request_id.as_str(),
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
            response_bytes: outcome.response_bytes,
            total: outcome.took,
            upstream_latency: outcome.head_after,
            upstream: Some(upstream),
            endpoint: outcome.endpoint,
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

/// Whether a response is larger than what is read of it. It certainly differs from a smaller response; two such
/// responses cannot be compared.
fn is_too_large(response: &ObservedResponse) -> bool {
    response.outcome.as_ref().is_ok_and(|kept| kept.length > COMPARED_BYTES_MAX)
}

/// Starts the task of a copy.
pub(crate) fn launch(mut copy: Box<ShadowCopy>, body: CopyBody) {
    // If the task does not set an end of its own, it was dropped with the worker.
    copy.permit.set_end(ShadowEnd::Dropped(ShadowDrop::Shutdown));
    spawn_local(copy.run(body));
}
