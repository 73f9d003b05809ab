//! Begin: what is known of an exchange before anything is asked of it.

use std::rc::Rc;

use http::header::HeaderMap;
use http::{Method, Request};
use http_body::Body;
use hyper::body::Incoming;

use super::caller::CallerIdentity;
use super::client::Client;
use super::exchange::{Ending, Exchange, Host, Stage};
use super::fields::Survey;
use super::grpc::Call;
use super::trace::TraceContext;
use super::upgrade_request::Upgrade;
use crate::telemetry::Ender;

/// Begins an exchange.
pub(super) fn begin(client: Rc<Client>, request: &Request<Incoming>) -> Box<Exchange> {
    let worker = Rc::clone(&client.worker);
    client.begin_request();
    worker.meter().requests_begun.inc();
    let headers = request.headers();
    let survey = Survey::of(headers);
    let began = worker.clock.now();
    let reader = client.reader.borrow().clone();
    reader.as_ref().map_or(&client.slot, |reader| &reader.slot).take(&client);
    let local = worker.local();
    let trace = local.snapshot.rules.traces.as_ref();
    let trace = trace.map(|_| Box::new(TraceContext::new(headers, &mut worker.random.borrow_mut())));
    let trace_id = match &trace {
        Some(trace) => Some(trace.text()),
        None if survey.traced => trace_id(headers),
        None => None,
    };
    Box::new(Exchange {
        local,
        began,
        began_wall: worker.wall_at(began),
        head_at: None,
        method: request.method().clone(),
        version: request.version(),
        uri: request.uri().clone(),
        host: Host::default(),
        normal_path: None,
        client_ip: client.peer.ip(),
        trusted: false,
        forwarded_scheme: None,
        request_id: None,
        trace_id,
        trace,
        call: (survey.grpc && request.method() == Method::POST).then(|| Box::new(Call::new(headers, began))),
        survey,
        has_body: !request.body().is_end_stream(),
        caller: CallerIdentity::default(),
        route: None,
        chosen: None,
        attempts: 0,
        endpoint: None,
        upstream_latency: None,
        reader,
        held: None,
        upload: None,
        ahead: None,
        upgrade: Upgrade::default(),
        lease: None,
        flight: None,
        status: 0,
        first_byte: None,
        response_bytes: 0,
        ending: Ending { ender: Ender::Done, detail: "", stage: Stage::Read },
        stage: Stage::Read,
        ticket: None,
        compared: None,
        client,
    })
}

/// The trace id of a W3C `traceparent`: version, 32 hex digits, span, flags.
fn trace_id(headers: &HeaderMap) -> Option<Box<str>> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let id = text.get(3..35)?;
    let fine = text.as_bytes().get(35) == Some(&b'-') && id.bytes().all(|b| b.is_ascii_hexdigit());
    (fine && id.bytes().any(|b| b != b'0')).then(|| id.into())
}
