//! One exchange: a request, its answer, and what is to be recorded of them. It lives from the request's head to the
//! response's last byte, and is recorded when it is dropped: exactly once, however it ends.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use http_body::Frame;

use super::budget::{BodyAhead, Held, Room};
use super::capture::Primary;
use super::client::Client;
use super::copies::Ticket;
use super::fault::Fault;
use super::fields::{Survey, filtered};
use super::grpc::Call;
use super::lease::{Flight, Lease};
use super::local::Local;
use super::patience::Pace;
use super::sending::Sending;
use super::stalled::{Slot, UpstreamKey};
use super::streams::Reader;
use super::trace::TraceContext;
use super::trailing::Trailing;
use super::tunnel::Side;
use super::upgrade::Asked;
use crate::route::{Counted, Decision, Reason, RouteId, TokenFault, UpstreamId, VariantId};
use crate::telemetry::{Ender, Fallback, VariantMeter};

/// The state of one exchange.
pub(super) struct Exchange {
    pub(super) client: Rc<Client>,
    pub(super) local: Rc<Local>,
    pub(super) began: Instant,
    pub(super) began_wall: Duration,
    /// When the upstream's head had come.
    pub(super) head_at: Option<Instant>,
    pub(super) method: Method,
    pub(super) version: Version,
    /// The target as received.
    pub(super) uri: Uri,
    pub(super) host: Host,
    /// The normal path, when it differs from the target's.
    pub(super) normal_path: Option<String>,
    pub(super) client_ip: IpAddr,
    pub(super) trusted: bool,
    /// The scheme by which the client came to a trusted peer, as that says.
    pub(super) forwarded_scheme: Option<&'static str>,
    pub(super) tenant: Option<Box<str>>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) trace_id: Option<Box<str>>,
    /// The trace that it belongs to, where spans are exported.
    pub(super) trace: Option<Box<TraceContext>>,
    pub(super) survey: Survey,
    /// The gRPC call that it is, if it is one: those are POST requests.
    pub(super) call: Option<Box<Call>>,
    /// The request has a body.
    pub(super) has_body: bool,
    pub(super) route: Option<RouteId>,
    pub(super) chosen: Option<Chosen>,
    pub(super) attempts: u32,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) upstream_latency: Option<Duration>,
    /// Who reads the answer, on HTTP/2.
    pub(super) reader: Option<Rc<Reader>>,
    /// What it takes up of the memory.
    pub(super) held: Option<Held>,
    pub(super) upload: Option<Rc<Upload>>,
    /// What may be sent through the tunnel that it becomes before it is read (HTTP/2).
    pub(super) ahead: Option<BodyAhead>,
    /// What it asks for besides an answer.
    pub(super) asked: Option<Box<Asked>>,
    /// The upstream's side of what it has become.
    pub(super) far: Option<Box<Side>>,
    /// It has become a tunnel.
    pub(super) opened: bool,
    pub(super) lease: Option<Lease>,
    pub(super) flight: Option<Flight>,
    pub(super) status: u16,
    pub(super) first_byte: Option<Duration>,
    pub(super) response_bytes: u64,
    pub(super) ending: Ending,
    pub(super) stage: Stage,
    /// The place of its copy, until that is made.
    pub(super) ticket: Option<Box<Ticket>>,
    /// What its copies' answers are compared with.
    pub(super) compared: Option<Rc<Primary>>,
    /// Why its token names nobody, if it has one that was looked at.
    pub(super) token: Cell<Option<TokenFault>>,
    /// The cookie identity that was issued.
    pub(super) issued: Option<Box<str>>,
}

/// The variant that was chosen, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) decision: Decision,
    /// The variant whose request it is: the decision's, also when stable answers for it.
    pub(super) variant: VariantId,
    /// Who answers: stable's upstream after a fallback.
    pub(super) upstream: UpstreamId,
    pub(super) fallback: Fallback,
    /// Hash of the sticky key, for `balance = "hash"`.
    pub(super) key: u64,
}

impl Chosen {
    pub(super) fn reason(&self) -> Reason {
        self.decision.reason
    }

    pub(super) fn counted(&self) -> bool {
        self.decision.counted == Counted::Yes
    }
}

/// The host that a request names.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// As received, with its port.
    pub(super) value: Option<HeaderValue>,
    /// How many of its bytes are the normal form; used unless `normal` is set.
    pub(super) bytes: usize,
    /// The normal form, when it is not a part of the value.
    pub(super) normal: Option<Box<str>>,
}

impl Host {
    /// The normal form; empty when there is no host.
    pub(super) fn normal(&self) -> &str {
        if let Some(normal) = &self.normal {
            return normal;
        }
        let text = self.value.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("");
        text.get(..self.bytes).unwrap_or(text)
    }
}

/// How far an exchange has come: where it ended, if it ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Read,
    Decide,
    Connect,
    Head,
    Body,
    /// Something else than HTTP is spoken.
    Tunnel,
    Done,
}

impl Stage {
    /// Its letter in the log.
    pub(super) const fn letter(self) -> char {
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

/// Who ended it, and why in a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) ender: Ender,
    pub(super) detail: &'static str,
    /// How far it had come: an answer about it goes on to its own last byte.
    pub(super) stage: Stage,
}

/// What is known of a request's body on its way.
#[derive(Default)]
pub(super) struct Upload {
    pub(super) bytes: Cell<u64>,
    pub(super) ended: Cell<bool>,
    /// How fast it comes.
    pub(super) pace: Pace,
    /// The answer's head has come.
    pub(super) answered: Cell<bool>,
    pub(super) failed: Cell<Option<UploadFault>>,
    /// What may be sent before it is read, until its end (HTTP/2).
    ahead: Cell<Option<BodyAhead>>,
    /// What its buffers have taken of the memory, until the answer's head has come and its end.
    room: Cell<Option<Room>>,
    /// The try to send it that is under way, on a stream of HTTP/2.
    sending: RefCell<Option<Rc<Sending>>>,
    /// Where its trailers go, when it is chunked on a connection of HTTP/1.1.
    trailing: RefCell<Option<Rc<Trailing>>>,
}

/// Why a request's body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadFault {
    /// It was refused.
    Refused(crate::telemetry::Refusal),
    /// The client went away.
    Gone,
}

impl Upload {
    /// One that may be so far ahead.
    pub(super) fn new(ahead: Option<BodyAhead>, room: Option<Room>) -> Rc<Self> {
        Rc::new(Self { ahead: Cell::new(ahead), room: Cell::new(room), ..Self::default() })
    }

    /// The answer's head has come: what has come whole has left the buffers.
    pub(super) fn head_has_come(&self) {
        if self.ended.get() {
            drop(self.room.take());
        }
    }

    /// It is sent on a stream of HTTP/2.
    pub(super) fn send(&self, sending: Rc<Sending>) {
        *self.sending.borrow_mut() = Some(sending);
        *self.trailing.borrow_mut() = None;
    }

    /// It is sent in chunks, with its trailers there.
    pub(super) fn trail(&self, trailing: &Rc<Trailing>) {
        *self.trailing.borrow_mut() = Some(Rc::clone(trailing));
    }

    /// What hyper gets of what the body gave.
    pub(super) fn divert<E>(
        &self,
        polled: Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        match &*self.trailing.borrow() {
            Some(trailing) => trailing.divert(polled),
            None => polled,
        }
    }

    /// It is pulled from.
    pub(super) fn begins(&self) {
        if let Some(sending) = &*self.sending.borrow() {
            sending.begins();
        }
    }

    /// No more of it is sent on a stream of HTTP/2.
    pub(super) fn cut(&self) {
        if let Some(sending) = self.sending.take() {
            sending.cut();
        }
    }

    /// Whether it has neither ended nor failed.
    pub(super) fn is_open(&self) -> bool {
        !self.ended.get() && self.failed.get().is_none()
    }

    /// All of it has been read.
    pub(super) fn end(&self) {
        self.ended.set(true);
        drop(self.ahead.take());
        if self.answered.get() {
            drop(self.room.take());
        }
    }
}

impl Exchange {
    /// Leaves the upstream, whatever was under way there.
    pub(super) fn leave(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.abandon(self.upload.as_ref());
        }
    }

    /// Its place among the requests.
    pub(super) fn slot(&self) -> &Slot {
        self.reader.as_ref().map_or(&self.client.slot, |reader| &reader.slot)
    }

    /// Notes of which upstream its answer holds a connection, so that it can be shed when those run short.
    pub(super) fn holds(&self, upstream: UpstreamKey) {
        self.reader.as_ref().map_or(&self.client.watched.upstream, |reader| &reader.upstream).set(upstream);
    }

    /// The last frame of an answer that ends with these trailers, which has this length if it is known. A client of
    /// HTTP/1.1 gets them behind the last chunk, if it takes any (RFC 9110 §6.5.1): for hyper there are none then.
    pub(super) fn end_with(&mut self, trailers: &HeaderMap, length: Option<u64>) -> Frame<Bytes> {
        if let Some(call) = &mut self.call {
            call.trailers(trailers);
        }
        let trailers = filtered(trailers);
        let chunked = self.version == Version::HTTP_11 && length.is_none() && self.method != Method::HEAD;
        if !(chunked && self.survey.trailers) {
            return Frame::trailers(trailers);
        }
        self.client.trailing.put(&trailers);
        Frame::data(Bytes::new())
    }

    /// Stable answers for the chosen variant from here on, since that cannot be connected to. What its copies' answers
    /// are compared with is the failure.
    pub(super) fn falls_back(&mut self, chosen: Chosen, fault: Fault) {
        self.chosen = Some(chosen);
        let Some(primary) = self.compared.take() else { return };
        match fault.facts().failure {
            Some(failure) => primary.failed(failure, self.client.worker.clock.now().duration_since(self.began)),
            None => primary.left(),
        }
    }

    /// The normal path.
    pub(super) fn path(&self) -> &str {
        self.normal_path.as_deref().unwrap_or_else(|| self.uri.path())
    }

    /// The scheme by which the client came: `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        self.forwarded_scheme.unwrap_or_else(|| self.client.scheme())
    }

    /// The route's name.
    pub(super) fn route_name(&self) -> Option<&str> {
        self.route.map(|id| self.local.snapshot.rules.route(id).name.as_str())
    }

    /// The name of the variant whose request it is.
    pub(super) fn variant_name(&self) -> Option<&str> {
        let split = self.local.snapshot.rules.route(self.route?).split()?;
        split.variants.get(usize::from(self.chosen?.variant.0)).map(|variant| variant.name.as_str())
    }

    /// The request's id, made when it is first asked for.
    pub(super) fn request_id(&mut self) -> HeaderValue {
        if let Some(id) = &self.request_id {
            return id.clone();
        }
        let millis = u64::try_from(self.began_wall.as_millis()).unwrap_or(0);
        let random = self.client.worker.random.borrow_mut().u128(..).to_le_bytes();
        let (bytes, _) = random.split_first_chunk::<10>().unwrap_or((&[0; 10], &[]));
        let id = uuid::Builder::from_unix_timestamp_millis(millis, bytes).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        let value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"));
        self.request_id = Some(value.clone());
        value
    }

    /// A tunnel has carried bytes, to the upstream and to the client. They are counted at once: it may last for days.
    pub(super) fn carried(&mut self, sent: u64, received: u64) {
        if let Some(upload) = &self.upload {
            upload.bytes.set(upload.bytes.get() + sent);
        }
        self.response_bytes += received;
        if sent + received > 0
            && let Some(meter) = self.meter()
        {
            meter.request_bytes.add(sent);
            meter.response_bytes.add(received);
        }
    }

    /// Where it is counted, when a route took it.
    pub(super) fn meter(&self) -> Option<&VariantMeter> {
        let variant = self.chosen.map_or(VariantId::STABLE, |chosen| chosen.variant);
        self.local.meter(self.route?, variant, self.client.worker.index)
    }

    /// It has been answered by somebody or something else than the upstream's whole answer.
    pub(super) fn ends(&mut self, ender: Ender, detail: &'static str) {
        self.ending = Ending { ender, detail, stage: self.stage };
    }
}
