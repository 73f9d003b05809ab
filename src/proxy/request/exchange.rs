//! One exchange: a request, its response, and the data for metrics and log. It lives from the request's head to the
//! last byte of the response, and is recorded exactly once: when it is dropped.

use std::cell::Cell;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::caller::CallerIdentity;
use super::http_proxy::HttpProxy;
use super::judged::Judged;
use super::kill_streams::{Carrier, KillableStream, StreamScope};
use super::screening::Screening;
use super::sending::SendingBody;
use super::snapshot_view::SnapshotView;
use super::try_failure::TryFailure;
use super::upgrade_state::Upgrade;
use crate::clock::Timestamp;
use crate::compare::Failure;
use crate::failover::{FailureCause, GiveUpReason};
use crate::proxy::body::upload::Upload;
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_host::ClientHost;
use crate::proxy::mirror::capture::PrimaryResponse;
use crate::proxy::mirror::permit::CopyPermit;
use crate::proxy::upstream::flight::InFlightGuard;
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::EndpointPool;
use crate::proxy::upstream::upstream_response::UpstreamResponse;
use crate::proxy::wire::field_rules::{FieldSummary, filter_trailers};
use crate::proxy::wire::grpc::GrpcCall;
use crate::proxy::wire::head::Head;
use crate::proxy::worker::budget::{BodyWindow, RequestMemory};
use crate::proxy::worker::request_id::RequestId;
use crate::proxy::worker::response_reader::{RequestSlot, ResponseReader, UpstreamKey};
use crate::proxy::worker::trace_context::TraceContext;
use crate::route::{Counted, Decision, Reason, RequestHead, Route, RouteId, Split, UpstreamId, Values, VariantId};
use crate::telemetry::{EndedBy, Fallback, TryEntry, VariantMeter};

/// The state of one exchange, in groups by the stage that writes them. `handle` writes the results of `identify`,
/// `decide` and `sample`, because these stages borrow the exchange together with the request's head.
pub(crate) struct Exchange {
    pub(crate) client: Rc<Client>,
    pub(crate) proxy: Rc<HttpProxy>,
    /// The snapshot of the request.
    pub(crate) view: Rc<SnapshotView>,
    pub(crate) progress: ExchangeProgress,
    /// The gRPC call, for POST requests with a gRPC content type.
    pub(crate) call: Option<Box<GrpcCall>>,
    /// The trace context, if spans are exported.
    pub(crate) trace: Option<Box<TraceContext>>,
    pub(crate) request: ReceivedRequest,
    /// Returned by `identify`.
    pub(super) caller: CallerIdentity,
    pub(super) routing: Routing,
    /// Written by `judge.rs`.
    pub(super) judged: Judged,
    /// Written by `admit` for a CONNECT, by `upgrade`, and by `forward` when the upstream switches protocols. `handle`
    /// takes the upstream's end of the tunnel.
    pub(crate) upgrade: Upgrade,
    pub(super) mirror: Mirror,
    pub(super) prepared: PreparedBody,
    pub(crate) attempt: UpstreamAttempt,
    /// The response of the upstream: written by `forward`. `answer` takes its head, and its body is read from here.
    /// It lies here because it is large: no function returns it.
    pub(crate) upstream_response: UpstreamResponse,
    /// The body that the client gets.
    pub(super) sending: SendingBody,
    pub(crate) response: SentResponse,
}

/// The current stage of the exchange, and how it ended. Any part that ends it writes this.
pub(crate) struct ExchangeProgress {
    pub(crate) stage: ExchangeStage,
    /// The side that ended it.
    pub(crate) ender: EndedBy,
    /// Why it ended; before its end, the reason why an upgrade is not passed on.
    pub(crate) detail: &'static str,
    /// The stage in which it ended. `stage` continues to the last byte of the error response.
    pub(super) ended_in: ExchangeStage,
    /// Which rule about callers answers, if one does.
    pub(super) screening: Screening,
}

/// The request as received: written by `begin` and `admit`. Its id is created at the first use.
pub(crate) struct ReceivedRequest {
    pub(crate) began: Timestamp,
    pub(super) began_wall: Duration,
    /// The head. `prepare` turns it into the one that the upstream gets.
    pub(crate) head: Head,
    /// Written by `admit`. Only a request of HTTP/1.0 may have none.
    pub(crate) host: Option<Rc<ClientHost>>,
    /// The normalized path, if it differs from the target's.
    pub(super) normal_path: Option<Box<str>>,
    pub(crate) client_ip: IpAddr,
    pub(crate) trusted: bool,
    /// The client's scheme, as reported by a trusted peer.
    pub(super) forwarded_scheme: Option<&'static str>,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) trace_id: Option<Box<str>>,
    pub(crate) field_summary: FieldSummary,
    pub(crate) has_body: bool,
    /// The reader of the response, on HTTP/2.
    pub(crate) reader: Option<Rc<ResponseReader>>,
    /// The memory of the request: reserved by `admit`, adjusted by `forward`, `answer` and the response body.
    pub(crate) memory: Option<RequestMemory>,
}

/// Most failed tries in a line of the access log.
const TRIES_LOGGED_MAX: usize = 16;
/// What a failure costs for `peak_ewma`, on a route without a time limit.
const FAILURE_COST: Duration = Duration::from_mins(1);

/// The route and variant of the request.
#[derive(Default)]
pub(crate) struct Routing {
    /// Written by `find`.
    pub(crate) route: Option<RouteId>,
    /// Returned by `decide`; replaced by `upstream_connector` when stable answers for the variant.
    pub(crate) chosen: Option<ChosenVariant>,
}

/// The split route that matched a request.
#[derive(Clone, Copy)]
pub(crate) struct SplitTarget<'a> {
    pub(crate) route: &'a Route,
    pub(crate) split: &'a Split,
    /// Bytes of the path that the prefix of the route's pattern covers; all bytes for exact and regex patterns.
    pub(super) matched: usize,
}

#[derive(Default)]
pub(crate) struct Mirror {
    /// The permit of its copy: returned by `sample`, taken by `shadow`.
    pub(crate) permit: Option<Box<CopyPermit>>,
    /// The request's own response, for the comparison with its copies: written by `shadow`, taken when stable answers
    /// for the variant, and by `record`.
    pub(crate) primary: Option<Rc<PrimaryResponse>>,
}

/// The body that is sent to the upstream: written by `prepare`, and by `upgrade` for a tunnel.
#[derive(Default)]
pub(crate) struct PreparedBody {
    pub(crate) upload: Option<Rc<Upload>>,
    /// The flow-control window of a tunnel (HTTP/2).
    pub(crate) ahead: Option<BodyWindow>,
}

/// The current or last attempt to get a response: written by `forward` and `upstream_connector`. `forward`, `answer`,
/// the response body or `record` release the lease and the flight, whichever is done with the upstream first.
#[derive(Default)]
pub(crate) struct UpstreamAttempt {
    /// Number of attempts so far.
    pub(crate) number: u32,
    pub(crate) endpoint: Option<Rc<EndpointPool>>,
    /// The connection or stream, until the response is complete.
    pub(crate) lease: Option<Lease>,
    pub(crate) flight: Option<InFlightGuard>,
    /// The attempt has waited for a connection, since the upstream's limit was reached.
    pub(crate) waited: Cell<bool>,
    /// No endpoint of stable was usable: it tries one that is ejected.
    pub(super) is_last_resort: bool,
    /// The tries before this one, and why there is none after it; nothing while the first one is under way.
    pub(super) failed: Option<Box<FailedTries>>,
    /// When the response head arrived.
    pub(super) head_at: Option<Timestamp>,
    /// Time from sending the request to the response head.
    pub(super) latency: Option<Duration>,
}

/// The failed tries of a request, for the access log.
#[derive(Default)]
pub(crate) struct FailedTries {
    /// The tries that another one followed, in order.
    pub(super) tries: Vec<TryEntry>,
    /// Why no other try followed the last one; empty if it succeeded.
    pub(super) end: &'static str,
    /// The first try was an error of the variant: the evidence has it, whatever a later one gives.
    is_first_error: bool,
}

impl UpstreamAttempt {
    /// The address of the endpoint.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().map(|endpoint| endpoint.endpoint.address)
    }

    /// Records that the current try failed and another one follows.
    #[cold]
    pub(super) fn record_failed_try(&mut self, failure: &TryFailure) {
        let Some(endpoint) = self.address() else { return };
        let (is_first, why) = (self.failed.is_none(), failure.why);
        let failed = self.failed.get_or_insert_default();
        failed.is_first_error |= is_first && failure.is_error();
        if failed.tries.len() < TRIES_LOGGED_MAX {
            failed.tries.push(TryEntry { endpoint, why });
        }
    }

    /// Records why no other try follows.
    #[cold]
    pub(super) fn record_last_try(&mut self, why: GiveUpReason) {
        self.failed.get_or_insert_default().end = why.name();
    }

    /// The failed tries that another one followed.
    pub(super) fn failed_tries(&self) -> &[TryEntry] {
        self.failed.as_ref().map_or(&[], |failed| &failed.tries)
    }

    /// Whether the first try was an error of the variant.
    pub(super) fn has_first_error(&self) -> bool {
        self.failed.as_ref().is_some_and(|failed| failed.is_first_error)
    }

    /// Why no other try followed; empty if the last one succeeded.
    pub(super) fn retry_end(&self) -> &'static str {
        self.failed.as_ref().map_or("", |failed| failed.end)
    }

    /// The upstream whose connection the attempt holds; 0 is none.
    pub(super) fn upstream_key(&self) -> UpstreamKey {
        self.lease.as_ref().and(self.flight.as_ref()).map_or(0, |flight| flight.upstream().key())
    }
}

/// The response as sent: written by `answer` and the response body, or by `upgrade` and the tunnel.
#[derive(Default)]
pub(crate) struct SentResponse {
    /// 0 when no response was sent.
    pub(crate) status: u16,
    pub(super) first_byte: Option<Duration>,
    pub(crate) bytes: u64,
}

/// The variant that was chosen, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChosenVariant {
    pub(super) decision: Decision,
    /// The variant of the decision, even if stable answers for it.
    pub(crate) variant: VariantId,
    /// The upstream that answers: stable's after a fallback.
    pub(crate) upstream: UpstreamId,
    pub(super) fallback: Fallback,
    /// Hash of the sticky key, for `balance = "hash"`.
    pub(crate) key: u64,
}

impl ChosenVariant {
    pub(crate) fn reason(&self) -> Reason {
        self.decision.reason
    }

    pub(crate) fn counted(&self) -> bool {
        self.decision.counted == Counted::Yes
    }
}

impl ReceivedRequest {
    /// The host as received, with its port.
    pub(crate) fn received_host(&self) -> Option<&str> {
        self.host.as_deref().map(ClientHost::received)
    }

    /// The request's id, created at the first use.
    #[inline]
    pub(super) fn id(&mut self, client: &Client) -> &RequestId {
        let wall = self.began_wall;
        self.request_id.get_or_insert_with(|| {
            let millis = wall.as_secs() * 1000 + u64::from(wall.subsec_millis());
            RequestId::new(millis, client.worker.random.borrow_mut().u128(..))
        })
    }

    /// The normalized host; empty when there is none.
    #[inline]
    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().map_or("", ClientHost::normal)
    }
}

/// The stage of an exchange; the log has the stage in which it ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeStage {
    Read,
    Decide,
    Connect,
    Head,
    Body,
    /// An upgraded connection or stream.
    Tunnel,
    Done,
}

impl ExchangeStage {
    /// The letter in the access log.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Read => 'R',
            Self::Decide => 'D',
            Self::Connect => 'C',
            Self::Head => 'H',
            Self::Body => 'B',
            Self::Tunnel => 'T',
            Self::Done => '-',
        }
    }
}

impl Exchange {
    /// Releases the upstream connection or stream; a response in flight is cancelled.
    pub(crate) fn release_upstream(&mut self) {
        if let Some(lease) = self.attempt.lease.take() {
            lease.abandon(self.prepared.upload.as_ref());
        }
    }

    /// Drops the response of the upstream. What is left of it is not read.
    #[cold]
    pub(super) fn forget_upstream_response(&mut self) {
        let UpstreamResponse { head, .. } = mem::take(&mut self.upstream_response);
        self.client.worker.take_back_fields(head.fields);
    }

    /// Records that the endpoint has responded well.
    #[inline]
    pub(super) fn succeed(&self) {
        if let Some(flight) = &self.attempt.flight {
            flight.succeed();
        }
    }

    /// Charges a failure to the endpoint.
    #[cold]
    pub(super) fn charge(&self, cause: FailureCause) {
        if let Some(flight) = &self.attempt.flight {
            flight.fail(cause);
            self.observe_failure();
        }
    }

    /// For `peak_ewma`, a failure costs as much as the longest wait, however fast it is.
    #[cold]
    pub(super) fn observe_failure(&self) {
        if let Some(flight) = &self.attempt.flight {
            let route = self.routing.route.map(|id| self.view.snapshot.rules.route(id));
            flight.observe(route.and_then(|route| route.timeouts.request).unwrap_or(FAILURE_COST));
        }
    }

    /// Charges a body that ended early. One broken connection is one failure, however many streams it had.
    #[cold]
    pub(super) fn charge_broken_body(&self) {
        let is_first = match &self.attempt.lease {
            Some(Lease::Stream(stream)) if stream.sender.is_closed() => stream.peer.charge_end(),
            Some(_) | None => true,
        };
        if is_first {
            self.charge(FailureCause::Body);
        }
    }

    /// The connection or stream that carries the response.
    pub(crate) fn carrier(&self) -> Carrier {
        match &self.request.reader {
            Some(reader) => Carrier::Stream(Rc::clone(reader)),
            None => Carrier::Connection(Rc::clone(&self.client)),
        }
    }

    /// The slot of the request under the request limits.
    pub(crate) fn slot(&self) -> &RequestSlot {
        self.request.reader.as_ref().map_or(&self.client.slot, |reader| &reader.slot)
    }

    /// Sets the upstream whose connection the response holds, so that it can be shed when connections run short.
    pub(crate) fn set_held_upstream(&self, upstream: UpstreamKey) {
        self.request.reader.as_ref().map_or(&self.client.deadlines.upstream, |reader| &reader.upstream).set(upstream);
    }

    /// The last frame of a response with trailers. The connection sends them if the client accepts them.
    pub(super) fn last_frame(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        if let Some(call) = &mut self.call {
            call.trailers(&trailers);
        }
        Frame::trailers(filter_trailers(trailers))
    }

    /// Switches to stable, because the chosen variant has failed. Copies are compared with that failure, not with
    /// stable's response; without one they are compared with nothing.
    pub(super) fn fall_back(&mut self, chosen: ChosenVariant, failure: Option<Failure>) {
        self.routing.chosen = Some(chosen);
        let Some(primary) = self.mirror.primary.take() else { return };
        match failure {
            Some(failure) => primary.fail(failure, self.client.worker.clock.now().duration_since(self.request.began)),
            None => primary.close(),
        }
    }

    /// The head for matching and deciding.
    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.request.head.method,
            host: self.request.host(),
            path: self.path(),
            query: self.request.head.query(),
            fields: &self.request.head.fields,
            client_cert: self.client.certificate(),
            listener: &self.client.listener.spec.name,
        }
    }

    /// The values of placeholders.
    pub(crate) fn values<'a>(&'a self, request_id: &'a RequestId) -> Values<'a> {
        Values {
            variant: self.variant_name().unwrap_or(""),
            route: self.route_name().unwrap_or(""),
            client_ip: Some(self.request.client_ip),
            tenant: self.caller.tenant.as_deref(),
            request_id: request_id.as_str(),
            host: self.request.host(),
            path: self.path(),
            query: self.request.head.query(),
            scheme: self.scheme(),
        }
    }

    /// The normalized path.
    pub(crate) fn path(&self) -> &str {
        self.request.normal_path.as_deref().unwrap_or_else(|| self.request.head.path())
    }

    /// The bytes of the normalized path. They need no check, as [`path`](Self::path) does.
    #[inline]
    pub(super) fn path_bytes(&self) -> &[u8] {
        match &self.request.normal_path {
            Some(path) => path.as_bytes(),
            None => self.request.head.path_bytes(),
        }
    }

    /// The scheme that the client used: `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        self.request.forwarded_scheme.unwrap_or_else(|| self.client.scheme())
    }

    /// Registers the exchange so that a kill can close it; `None` when stable answers.
    #[inline]
    pub(super) fn killable(&self, carrier: impl FnOnce() -> Carrier) -> Option<KillableStream> {
        let (route, chosen) = (self.routing.route?, self.routing.chosen?);
        let variant = chosen.variant;
        if variant == VariantId::STABLE || chosen.fallback == Fallback::Yes {
            return None;
        }
        let scope = StreamScope { view: Rc::clone(&self.view), route, variant, tenant: self.caller.tenant.clone() };
        Some(self.proxy.killable_streams.register(&self.client.worker, scope, carrier()))
    }

    /// The route's name.
    pub(super) fn route_name(&self) -> Option<&str> {
        self.routing.route.map(|id| self.view.snapshot.rules.route(id).name.as_str())
    }

    /// The name of the variant whose request it is.
    pub(super) fn variant_name(&self) -> Option<&str> {
        let split = self.view.snapshot.rules.route(self.routing.route?).split()?;
        split.variants.get(usize::from(self.routing.chosen?.variant.0)).map(|variant| variant.name.as_str())
    }

    /// The request id, created at the first use.
    pub(crate) fn request_id(&mut self) -> RequestId {
        self.request.id(&self.client).clone()
    }

    /// Counts the bytes of a tunnel in both directions. They are counted as they pass, because a tunnel may last for
    /// days.
    pub(super) fn count_tunnel_bytes(&mut self, sent: u64, received: u64) {
        if let Some(upload) = &self.prepared.upload {
            upload.bytes.set(upload.bytes.get() + sent);
        }
        self.response.bytes += received;
        if sent + received > 0
            && let Some(meter) = self.meter()
        {
            meter.request_bytes.add(sent);
            meter.response_bytes.add(received);
        }
    }

    /// The meter of the route's variant, if a route matched.
    pub(crate) fn meter(&self) -> Option<&VariantMeter> {
        let (route, worker) = (self.routing.route?, self.client.worker.index);
        match self.routing.chosen {
            Some(chosen) => self.view.meter(route, chosen.variant, worker),
            None => self.view.undecided_meter(route, worker),
        }
    }

    /// Records that the exchange ended, by which side and why.
    pub(crate) fn record_end(&mut self, ender: EndedBy, detail: &'static str) {
        self.progress = ExchangeProgress { ender, detail, ended_in: self.progress.stage, ..self.progress };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_small() {
        // One is allocated per request. Up to this size the allocator uses its class of 1024 bytes, above it 1280.
        assert!(size_of::<Exchange>() <= 1024, "{} bytes", size_of::<Exchange>());
    }
}
