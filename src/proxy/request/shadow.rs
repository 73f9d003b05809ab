//! Shadow: a request that is answered as ever, and copied to another upstream beside. Nothing here is waited for: what
//! cannot be had at once drops the copy, with its reason.
//!
//! The head is cloned, and each piece of the body is shared with the copy as it passes. A copy is sent when its request
//! has come whole, so that none is ever cut short, and then by a task of its own: it outlives the client.

use std::rc::Rc;

use http::{HeaderValue, Request, request};
use http_body::Body as _;

use super::exchange::{Chosen, Exchange};
use super::trace;
use crate::proxy::body::copy_body::CopyBody;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::mirror::capture::Primary;
use crate::proxy::mirror::copies::Ticket;
use crate::proxy::mirror::copy::{self, Comparing, Control, CopiedRequest, Settings, ShadowCopy};
use crate::proxy::mirror::copy_span::CopyKind;
use crate::proxy::mirror::draft::Draft;
use crate::proxy::wire::raw_query::RawQuery;
use crate::route::{Compare, Split};
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// What a copy takes of the memory for copies besides its head and body, about.
const COPY_BYTES: u64 = 2048;

/// Makes the copy of a request that is about to be forwarded.
pub(crate) fn shadow(
    exchange: &mut Exchange,
    (parts, body): (&request::Parts, &mut RequestBody),
    split: &Split,
    chosen: Chosen,
) {
    let Some(mut ticket) = exchange.mirror.ticket.take() else { return };
    let Some(shadow) = &split.shadow else { return };
    if body.size_hint().exact().is_some_and(|bytes| bytes > shadow.max_body_bytes) {
        return ticket.ends(ShadowEnd::Dropped(ShadowDrop::BodyTooLarge));
    }
    if !ticket.take(COPY_BYTES + 2 * u64::from(exchange.request.survey.bytes)) {
        return ticket.ends(ShadowEnd::Dropped(ShadowDrop::ByteLimit));
    }
    let request_id = exchange.request_id();
    let comparing = shadow.compare.as_ref().map(|compare| comparing(exchange, (parts, compare), &ticket, chosen));
    exchange.mirror.compared = comparing.as_ref().map(|comparing| Rc::clone(&comparing.primary));
    let mut head = head_of(parts);
    let headers = head.headers_mut();
    let span = trace::copy(exchange, headers, CopyKind::Candidate);
    if let Some(host) = &shadow.host {
        headers.insert(http::header::HOST, host.clone());
    }
    shadow.headers.apply(headers, &exchange.values(&request_id));
    let pool = Rc::clone(exchange.proxy.shadow_upstream(&exchange.local, shadow.upstream));
    let settings = Settings { pool, timeout: shadow.timeout, max_in_flight: shadow.max_in_flight };
    let request = copied(exchange, request_id);
    let copy = ShadowCopy::new(request, &exchange.client, ticket, ((head, span), settings, comparing), chosen.key);
    match body {
        RequestBody::Client(body) => {
            body.tee = Some(Box::new(Draft::new(copy, body.size_hint().exact(), shadow.max_body_bytes)));
        }
        RequestBody::Empty | RequestBody::Try(_) | RequestBody::Copy(_) => copy::launch(copy, CopyBody::default()),
    }
}

/// The request's data for the copy's log line and span.
fn copied(exchange: &Exchange, request_id: HeaderValue) -> CopiedRequest {
    let client = &exchange.client;
    let local = Rc::clone(&exchange.local);
    CopiedRequest {
        snapshot: local,
        route: exchange.decided.route,
        request_id,
        trace_id: exchange.request.trace_id.clone(),
        tenant: exchange.caller.tenant.clone(),
        client_ip: exchange.request.client_ip,
        peer: client.peer,
        listener: client.listener.spec.name.as_str().into(),
        method: exchange.request.method.clone(),
        version: exchange.request.version,
        host: exchange.request.host.normal().into(),
        path: exchange.path().into(),
    }
}

/// What it takes to compare the copy's answer with the request's own; for some, with a control's.
fn comparing(
    exchange: &mut Exchange,
    (parts, compare): (&request::Parts, &Compare),
    ticket: &Ticket,
    chosen: Chosen,
) -> Comparing {
    let state = &ticket.lane().state;
    let mut spread = state.control.get();
    let controls = compare.controls(&mut spread);
    state.control.set(spread);
    let control = controls.then(|| {
        let mut head = head_of(parts);
        let span = trace::copy(exchange, head.headers_mut(), CopyKind::Control);
        Control { head, span, pool: Rc::clone(exchange.proxy.shadow_upstream(&exchange.local, chosen.upstream)) }
    });
    Comparing { primary: Primary::new(Rc::clone(ticket.held())), control }
}

fn head_of(parts: &request::Parts) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = parts.method.clone();
    *head.uri_mut() = parts.uri.clone();
    *head.version_mut() = parts.version;
    head.headers_mut().clone_from(&parts.headers);
    if let Some(query) = parts.extensions.get::<RawQuery>() {
        head.extensions_mut().insert(query.clone());
    }
    head
}
