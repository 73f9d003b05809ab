//! One exchange: a request, its answer, and what is to be recorded of them. It lives from the request's head to the
//! response's last byte, and is recorded when it is dropped: exactly once, however it ends.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, request};
use http_body::Frame;

use super::caller::CallerIdentity;
use super::http_proxy::HttpProxy;
use super::kill_streams::{Carrier, KillScope, KillableStream};
use super::snapshot_view::SnapshotView;
use super::upgrade_state::Upgrade;
use crate::proxy::body::upload::Upload;
use crate::proxy::downstream::client::Client;
use crate::proxy::mirror::capture::PrimaryResponse;
use crate::proxy::mirror::permit::CopyPermit;
use crate::proxy::upstream::lease::{InFlightGuard, Lease};
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::{FieldSummary, filter_trailers};
use crate::proxy::wire::grpc::GrpcCall;
use crate::proxy::worker::budget::{BodyWindow, RequestMemory};
use crate::proxy::worker::response_reader::{RequestSlot, ResponseReader, UpstreamKey};
use crate::proxy::worker::trace_context::TraceContext;
use crate::route::{Counted, Decision, Reason, RequestHead, Route, RouteId, Split, UpstreamId, Values, VariantId};
use crate::telemetry::{EndedBy, Fallback, VariantMeter};

/// The state of one exchange, in groups by what writes them. `handle` writes what `identify`, `decide` and `sample`
/// return: those stages borrow the exchange together with the request's head.
pub(crate) struct Exchange {
    pub(crate) client: Rc<Client>,
    pub(crate) proxy: Rc<HttpProxy>,
    /// The snapshot that it runs under.
    pub(crate) view: Rc<SnapshotView>,
    pub(crate) progress: ExchangeProgress,
    /// The gRPC call that it is, if it is one: those are POST requests.
    pub(crate) call: Option<Box<GrpcCall>>,
    /// The trace that it belongs to, where spans are exported.
    pub(crate) trace: Option<Box<TraceContext>>,
    pub(crate) request: ReceivedRequest,
    /// Returned by `identify`.
    pub(super) caller: CallerIdentity,
    pub(super) routing: Routing,
    /// Written by `admit` for a CONNECT, by `upgrade`, and by `forward` when the upstream switches; `handle` takes the
    /// upstream's side out.
    pub(crate) upgrade: Upgrade,
    pub(super) mirror: Mirror,
    pub(super) prepared: PreparedBody,
    pub(crate) attempt: UpstreamAttempt,
    pub(crate) response: SentResponse,
}

/// How far the exchange has come, and how it ended: written by each part that takes it further or ends it.
pub(crate) struct ExchangeProgress {
    pub(crate) stage: ExchangeStage,
    /// Who ended it.
    pub(crate) ender: EndedBy,
    /// Why, in a word; before the end, that an upgrade which was asked for is not allowed.
    pub(crate) detail: &'static str,
    /// The stage in which it ended: an answer about that goes on to its own last byte.
    pub(super) ended_in: ExchangeStage,
}

/// The request as it was received: written by `begin` and `admit`. Its id is made when it is first needed.
pub(crate) struct ReceivedRequest {
    pub(crate) began: Instant,
    pub(super) began_wall: Duration,
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// The target as received.
    pub(crate) uri: Uri,
    pub(crate) host: Host,
    /// The normal path, when it differs from the target's.
    pub(super) normal_path: Option<Box<str>>,
    pub(crate) client_ip: IpAddr,
    pub(crate) trusted: bool,
    /// The client's scheme, as a trusted peer reports it.
    pub(super) forwarded_scheme: Option<&'static str>,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) trace_id: Option<Box<str>>,
    pub(crate) field_summary: FieldSummary,
    /// The request has a body.
    pub(crate) has_body: bool,
    /// Who reads the answer, on HTTP/2.
    pub(crate) reader: Option<Rc<ResponseReader>>,
    /// What it takes up of the memory: taken by `admit`, adjusted by `forward`, `answer` and the answer's body.
    pub(crate) memory: Option<RequestMemory>,
}

/// Where the request goes.
#[derive(Default)]
pub(crate) struct Routing {
    /// Written by `find`.
    pub(crate) route: Option<RouteId>,
    /// Returned by `decide`; written by `reach` when stable answers for the variant.
    pub(crate) chosen: Option<ChosenVariant>,
}

/// The split route that matched a request.
#[derive(Clone, Copy)]
pub(crate) struct SplitTarget<'a> {
    pub(crate) route: &'a Route,
    pub(crate) split: &'a Split,
    /// Bytes of the path that the route's prefix matched.
    pub(super) matched: usize,
}

/// The request's copies.
#[derive(Default)]
pub(crate) struct Mirror {
    /// The place of its copy: returned by `sample`, taken by `shadow`.
    pub(crate) permit: Option<Box<CopyPermit>>,
    /// What its copies' answers are compared with: written by `shadow`, taken when stable answers for the variant and
    /// by `record`.
    pub(crate) compared: Option<Rc<PrimaryResponse>>,
}

/// The body that is sent to the upstream: written by `prepare`, and by `upgrade` for a tunnel.
#[derive(Default)]
pub(crate) struct PreparedBody {
    pub(crate) upload: Option<Rc<Upload>>,
    /// What may be sent through the tunnel that it becomes before it is read (HTTP/2).
    pub(crate) ahead: Option<BodyWindow>,
}

/// The attempt to get an answer that is under way, or was the last: written by `forward` and `reach`. The part that
/// ends the use of the upstream takes the lease and the flight: `forward`, `answer`, the answer's body or `record`.
#[derive(Default)]
pub(crate) struct UpstreamAttempt {
    /// Attempts so far.
    pub(crate) number: u32,
    pub(crate) endpoint: Option<SocketAddr>,
    /// The connection or stream, until the answer has come whole.
    pub(crate) lease: Option<Lease>,
    pub(crate) flight: Option<InFlightGuard>,
    /// When the answer's head had come.
    pub(super) head_at: Option<Instant>,
    /// How long that took.
    pub(super) latency: Option<Duration>,
}

impl UpstreamAttempt {
    /// The key of the upstream whose connection it holds.
    pub(super) fn upstream_key(&self) -> UpstreamKey {
        self.lease.as_ref().and(self.flight.as_ref()).map_or(0, |flight| flight.upstream().key())
    }
}

/// The response as it was sent: written by `answer` and its body, or by `upgrade` and the tunnel.
#[derive(Default)]
pub(crate) struct SentResponse {
    /// 0 when none was sent.
    pub(crate) status: u16,
    pub(super) first_byte: Option<Duration>,
    pub(crate) bytes: u64,
}

/// The variant that was chosen, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChosenVariant {
    pub(super) decision: Decision,
    /// The variant whose request it is: the decision's, also when stable answers for it.
    pub(crate) variant: VariantId,
    /// Who answers: stable's upstream after a fallback.
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

/// The host that a request names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// As received, with its port.
    pub(crate) value: Option<HeaderValue>,
    /// How many of its bytes are the normal form; used unless `normal` is set.
    pub(crate) bytes: usize,
    /// The normal form, when it is not a part of the value.
    pub(crate) normal: Option<Box<str>>,
}

impl Host {
    /// The normal form; empty when there is no host.
    pub(crate) fn normal(&self) -> &str {
        if let Some(normal) = &self.normal {
            return normal;
        }
        let text = self.value.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("");
        text.get(..self.bytes).unwrap_or(text)
    }
}

/// How far an exchange has come: where it ended, if it ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeStage {
    Read,
    Decide,
    Connect,
    Head,
    Body,
    /// Something else than HTTP is spoken.
    Tunnel,
    Done,
}

impl ExchangeStage {
    /// Its letter in the log.
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
    /// Leaves the upstream, whatever was under way there.
    pub(crate) fn release_upstream(&mut self) {
        if let Some(lease) = self.attempt.lease.take() {
            lease.abandon(self.prepared.upload.as_ref());
        }
    }

    /// The connection or stream that carries the response.
    pub(crate) fn carrier(&self) -> Carrier {
        match &self.request.reader {
            Some(reader) => Carrier::Stream(Rc::clone(reader)),
            None => Carrier::Connection(Rc::clone(&self.client)),
        }
    }

    /// Its place among the requests.
    pub(crate) fn slot(&self) -> &RequestSlot {
        self.request.reader.as_ref().map_or(&self.client.slot, |reader| &reader.slot)
    }

    /// Notes of which upstream its answer holds a connection, so that it can be shed when those run short.
    pub(crate) fn set_held_upstream(&self, upstream: UpstreamKey) {
        self.request.reader.as_ref().map_or(&self.client.deadlines.upstream, |reader| &reader.upstream).set(upstream);
    }

    /// The last frame of an answer that ends with these trailers, which has this length if it is known. A client of
    /// HTTP/1.1 gets them behind the last chunk, if it takes any (RFC 9110 §6.5.1): for hyper there are none then.
    pub(super) fn last_frame(&mut self, trailers: &HeaderMap, length: Option<u64>) -> Frame<Bytes> {
        if let Some(call) = &mut self.call {
            call.trailers(trailers);
        }
        let trailers = filter_trailers(trailers);
        let chunked =
            self.request.version == Version::HTTP_11 && length.is_none() && self.request.method != Method::HEAD;
        if !(chunked && self.request.field_summary.trailers) {
            return Frame::trailers(trailers);
        }
        self.client.trailing.set(&trailers);
        Frame::data(Bytes::new())
    }

    /// Stable answers for the chosen variant from here on, since that cannot be connected to. What its copies' answers
    /// are compared with is the failure.
    pub(super) fn fall_back(&mut self, chosen: ChosenVariant, fault: Fault) {
        self.routing.chosen = Some(chosen);
        let Some(primary) = self.mirror.compared.take() else { return };
        match fault.row().failure {
            Some(failure) => primary.fail(failure, self.client.worker.clock.now().duration_since(self.request.began)),
            None => primary.close(),
        }
    }

    /// What matching and deciding look at, of an admitted request.
    pub(crate) fn head<'a>(&'a self, parts: &'a request::Parts) -> RequestHead<'a> {
        RequestHead {
            method: &parts.method,
            host: self.request.host.normal(),
            path: self.path(),
            query: self.request.uri.query(),
            headers: &parts.headers,
            client_cert: self.client.certificate(),
            listener: &self.client.listener.spec.name,
        }
    }

    /// What placeholders stand for.
    pub(crate) fn values<'a>(&'a self, request_id: &'a HeaderValue) -> Values<'a> {
        Values {
            variant: self.variant_name().unwrap_or(""),
            route: self.route_name().unwrap_or(""),
            client_ip: Some(self.request.client_ip),
            tenant: self.caller.tenant.as_deref(),
            request_id: request_id.to_str().unwrap_or(""),
            host: self.request.host.normal(),
            path: self.path(),
            query: self.request.uri.query(),
            scheme: self.scheme(),
        }
    }

    /// The normal path.
    pub(crate) fn path(&self) -> &str {
        self.request.normal_path.as_deref().unwrap_or_else(|| self.request.uri.path())
    }

    /// The scheme by which the client came: `http` or `https`.
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
        let scope = KillScope { view: Rc::clone(&self.view), route, variant, tenant: self.caller.tenant.clone() };
        Some(self.proxy.killable_streams.open(&self.client.worker, scope, carrier()))
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

    /// The request's id, made when it is first asked for.
    pub(crate) fn request_id(&mut self) -> HeaderValue {
        if let Some(id) = &self.request.request_id {
            return id.clone();
        }
        let millis = u64::try_from(self.request.began_wall.as_millis()).unwrap_or(0);
        let random = self.client.worker.random.borrow_mut().u128(..).to_le_bytes();
        let (bytes, _) = random.split_first_chunk::<10>().unwrap_or((&[0; 10], &[]));
        let id = uuid::Builder::from_unix_timestamp_millis(millis, bytes).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        let value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"));
        self.request.request_id = Some(value.clone());
        value
    }

    /// A tunnel has carried bytes, to the upstream and to the client. They are counted at once: it may last for days.
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

    /// Where it is counted, when a route took it.
    pub(crate) fn meter(&self) -> Option<&VariantMeter> {
        let variant = self.routing.chosen.map_or(VariantId::STABLE, |chosen| chosen.variant);
        self.view.meter(self.routing.route?, variant, self.client.worker.index)
    }

    /// It has been answered by somebody or something else than the upstream's whole answer.
    pub(crate) fn record_end(&mut self, ender: EndedBy, detail: &'static str) {
        self.progress = ExchangeProgress { ender, detail, ended_in: self.progress.stage, ..self.progress };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_small() {
        // One is allocated for each request: the allocator gives 768 bytes up to here, else 896.
        assert!(size_of::<Exchange>() <= 752, "{} bytes", size_of::<Exchange>());
    }
}
