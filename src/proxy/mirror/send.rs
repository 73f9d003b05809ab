//! Sends one mirror request: a connection, the request, and as much of the response as is needed.

use std::future::poll_fn;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Scheme;
use http_body::Body as _;

use super::capture::{COMPARED_BYTES_MAX, ResponseCapture};
use super::permit::MemoryPermit;
use crate::clock::Timestamp;
use crate::compare::{Ending, Failure};
use crate::failover::{Reached, Sender};
use crate::proxy::body::copy_body::CopyBody;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::upstream::balance::{self, EndpointSet, EndpointWish, TriedEndpoints};
use crate::proxy::upstream::connect::{self, Reuse};
use crate::proxy::upstream::connection_queue::WhenFull;
use crate::proxy::upstream::flight::InFlightGuard;
use crate::proxy::upstream::h1;
use crate::proxy::upstream::h1::connection::{Http1Connection, SendError};
use crate::proxy::upstream::h1::request_writer::OutgoingRequest;
use crate::proxy::upstream::http_version::{for_h2, name_host};
use crate::proxy::upstream::lease::{CopyLease, Lease};
use crate::proxy::upstream::pool::{ConnectTarget, UpstreamPool};
use crate::proxy::upstream::upstream_response::UpstreamResponse;
use crate::proxy::wire::field_rules::strip_hop_by_hop;
use crate::proxy::wire::head::Head;
use crate::proxy::wire::proxy_header::ProxyAddresses;
use crate::proxy::worker::Worker;
use crate::proxy::worker::send_task::SendTask;
use crate::route::{MARKER, Protocol};
use crate::shadow_compare::ObservedResponse;
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// Limit on the bytes read of a response that is not compared. Only its status counts; the connection is closed.
const RESPONSE_BYTES_MAX: u64 = 256 * 1024;
const MARKED: HeaderValue = HeaderValue::from_static("1");

/// A mirror request: a copy, or its control.
pub(crate) struct MirrorRequest<'a> {
    pub(crate) pool: &'a Rc<UpstreamPool>,
    /// Hash of the sticky key, for `balance = "hash"`.
    pub(crate) key: u64,
    /// The addresses for the PROXY header, if the upstream wants one.
    pub(crate) proxy_addresses: Option<ProxyAddresses>,
    /// Memory for the captured response, if it is compared.
    pub(crate) capture_memory: Option<MemoryPermit>,
    /// When the request was sent; the response time starts here.
    pub(crate) sent_at: Timestamp,
}

/// The result of a mirror request.
pub(crate) struct MirrorOutcome {
    pub(crate) end: ShadowEnd,
    pub(super) began: Timestamp,
    /// From `began` to the end of the response.
    pub(super) took: Duration,
    pub(crate) response: Option<ObservedResponse>,
    /// There was no memory to capture the response.
    pub(super) out_of_memory: bool,
    /// The response had no declared length and was longer than what is read of it.
    pub(super) is_unbounded: bool,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(super) response_bytes: u64,
    pub(super) head_after: Option<Duration>,
}

impl MirrorOutcome {
    /// The outcome until something else happens: a timeout.
    const fn new(began: Timestamp) -> Self {
        Self {
            end: ShadowEnd::Dropped(ShadowDrop::Timeout),
            began,
            took: Duration::ZERO,
            response: None,
            out_of_memory: false,
            is_unbounded: false,
            endpoint: None,
            response_bytes: 0,
            head_after: None,
        }
    }

    /// Takes the captured response, unless memory was short.
    fn keep(&mut self, capture: Option<ResponseCapture>, ending: Ending) {
        self.out_of_memory = capture.as_ref().is_some_and(ResponseCapture::is_out_of_memory);
        self.response = capture.filter(|capture| !capture.is_out_of_memory()).map(|capture| capture.end(ending));
    }
}

/// What is sent.
struct CopiedRequest<'a> {
    head: &'a mut Head,
    body: RequestBody,
}

impl MirrorRequest<'_> {
    /// Sends the request and reads the response, within a time limit. Takes the fields of the head.
    pub(crate) async fn send_within(
        mut self,
        worker: &Rc<Worker>,
        head: &mut Head,
        body: CopyBody,
        timeout: Duration,
    ) -> MirrorOutcome {
        // The marker comes last, so that the order of the request's own fields stays.
        head.fields.insert(&MARKER, &MARKED);
        let body = RequestBody::Copy(Box::new(body));
        let mut outcome = MirrorOutcome::new(self.sent_at);
        // At the timeout `send` is dropped, and with it its `CopyLease`, which aborts the connection or the stream.
        let request = CopiedRequest { head: &mut *head, body };
        let sent = tokio::time::timeout(timeout, self.send(worker, request, &mut outcome)).await;
        worker.take_back_fields(mem::take(&mut head.fields));
        if let Ok(end) = sent {
            outcome.end = end;
        }
        let now = worker.clock.now();
        outcome.took = now.duration_since(outcome.began);
        let failure = match outcome.end {
            ShadowEnd::Completed(_) => None,
            ShadowEnd::Dropped(ShadowDrop::Timeout) => Some(Failure::Timeout),
            ShadowEnd::Dropped(ShadowDrop::Connect) => Some(Failure::Connect),
            ShadowEnd::Dropped(_) => Some(Failure::Reset),
        };
        if let (Some(failure), Some(_)) = (failure, &self.capture_memory)
            && !outcome.out_of_memory
        {
            let took = now.duration_since(self.sent_at);
            outcome.response.get_or_insert(ObservedResponse { outcome: Err(failure), took });
        }
        outcome
    }

    async fn send(
        &mut self,
        worker: &Rc<Worker>,
        request: CopiedRequest<'_>,
        outcome: &mut MirrorOutcome,
    ) -> ShadowEnd {
        let CopiedRequest { head, mut body } = request;
        // The outcome of a copy says nothing about the health of its endpoint: none is recorded.
        let tried = TriedEndpoints::default();
        let wish = EndpointWish { tried: &tried, sender: Sender::Copy, from: EndpointSet::Usable };
        let picked = balance::pick(self.pool, worker, wish, || self.key);
        let Some(picked) = picked else { return ShadowEnd::Dropped(ShadowDrop::Connect) };
        let endpoint = Rc::clone(&self.pool.endpoints[picked.at]);
        outcome.endpoint = Some(endpoint.endpoint.address);
        // Counted until this function ends, also by a timeout.
        let _flight = InFlightGuard::new(worker, self.pool, picked);
        name_host(head, endpoint.endpoint.address);
        let proxy_addresses = self.proxy_addresses.take().filter(|_| self.pool.upstream.proxy_protocol.is_some());
        let own = proxy_addresses.map(|addresses| Rc::new(endpoint.with_proxy_addresses(addresses)));
        let pool = own.as_ref().unwrap_or(&endpoint);
        let mut reuse = Reuse::Allowed;
        loop {
            let target = ConnectTarget { upstream: self.pool, endpoint: pool };
            let (lease, reused) = match connect::lease(worker, target, reuse, WhenFull::Fail).await {
                Ok(leased) => leased,
                Err(fault) => {
                    self.pool.record_connect_failure(&endpoint, fault, worker);
                    return ShadowEnd::Dropped(ShadowDrop::Connect);
                }
            };
            endpoint.record_connect_success(self.pool, worker);
            // The time to connect is not part of the response time.
            self.sent_at = worker.clock.now();
            let mut borrowed = CopyLease::new(lease, watch(worker, &mut body));
            let sent = match borrowed.lease() {
                Some(Lease::Whole { connection, .. }) => {
                    let request = OutgoingRequest { head, body: &mut body };
                    send_whole(connection, request).await.map_err(|error| error.reached)
                }
                Some(Lease::Stream(stream)) => {
                    let tls = endpoint.protocol() == Protocol::Https;
                    let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
                    let Ok(request) = for_h2(head, mem::take(&mut body), scheme) else {
                        return ShadowEnd::Dropped(ShadowDrop::Connect);
                    };
                    let sent = stream.sender.try_send_request(request).await;
                    let on_stream = |response| UpstreamResponse::on_stream(response, worker.spare_fields());
                    sent.map(on_stream).map_err(|mut error| match error.take_message() {
                        Some(unsent) => {
                            body = unsent.into_body();
                            Reached::Unsent
                        }
                        None => Reached::Unanswered,
                    })
                }
                None => return ShadowEnd::Dropped(ShadowDrop::Connect),
            };
            match sent {
                Ok(response) => return self.read(worker, response, borrowed, outcome).await,
                // The pooled connection had closed before the request was written: try another one.
                Err(Reached::Unsent) if reused => reuse = Reuse::Never,
                Err(_) => return ShadowEnd::Dropped(ShadowDrop::Reset),
            }
        }
    }

    async fn read(
        &mut self,
        worker: &Worker,
        response: UpstreamResponse,
        mut borrowed: CopyLease,
        outcome: &mut MirrorOutcome,
    ) -> ShadowEnd {
        let took = worker.clock.now().duration_since(self.sent_at);
        outcome.head_after = Some(took);
        let UpstreamResponse { mut head, mut body, .. } = response;
        let end = ShadowEnd::Completed(head.status.as_u16());
        let memory = self.capture_memory.as_ref().map(Rc::clone);
        let mut capture = memory.map(|memory| {
            strip_hop_by_hop(&mut head.fields);
            ResponseCapture::new(head.status, &head.fields, took, memory)
        });
        worker.take_back_fields(head.fields);
        let bytes_max = if capture.is_some() { COMPARED_BYTES_MAX } else { RESPONSE_BYTES_MAX };
        let declared = body.size_hint().exact();
        if capture.is_none() && declared.is_some_and(|length| length > bytes_max) {
            // Only the status is needed, and it has arrived.
            return end;
        }
        while let Some(frame) = poll_fn(|cx| body.poll_frame(borrowed.lease(), cx)).await {
            let Ok(frame) = frame else { return ShadowEnd::Dropped(ShadowDrop::Reset) };
            if let (Some(capture), Some(data)) = (&mut capture, frame.data_ref()) {
                capture.data(data);
            }
            if let (Some(capture), Some(trailers)) = (&mut capture, frame.trailers_ref()) {
                capture.trailers(trailers);
            }
            outcome.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if outcome.response_bytes > bytes_max {
                outcome.is_unbounded = declared.is_none();
                // The response ends here by our choice, so it counts as complete. Its length says that it is too large.
                outcome.keep(capture, Ending::Complete);
                return end;
            }
        }
        outcome.keep(capture, Ending::Complete);
        borrowed.release(worker.now_ms());
        end
    }
}

/// Sends a request on an HTTP/1.1 connection, and reads the head of its response.
async fn send_whole(
    connection: &mut Http1Connection,
    mut request: OutgoingRequest<'_>,
) -> Result<UpstreamResponse, SendError> {
    h1::send::begin(connection, &request)?;
    poll_fn(|cx| h1::send::poll(connection, cx, &mut request, None)).await?;
    let mut response = UpstreamResponse::default();
    response.set_connection(connection)?;
    Ok(response)
}

/// Tracks how far the body of this attempt is sent.
fn watch(worker: &Worker, body: &mut RequestBody) -> Rc<SendTask> {
    let send_task = SendTask::new(&worker.last_started);
    if body.is_end_stream() {
        send_task.end();
    }
    if let Some(body) = body.copy_mut() {
        body.send_task = Some(Rc::clone(&send_task));
    }
    send_task
}
