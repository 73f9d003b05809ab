//! Shadow: copies a request to another upstream. The request never waits for its copy: if the copy cannot get memory or
//! a place in flight at once, it is dropped with that reason.
//!
//! The head is cloned; the pieces of the body are shared with the copy as they pass. A copy is sent when its request is
//! complete, so it is never cut short, and by a task of its own, so it outlives the client.

use std::rc::Rc;

use http_body::Body as _;

use super::exchange::{ChosenVariant, Exchange};
use super::trace;
use crate::proxy::body::copy_body::CopyBody;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::mirror::capture::PrimaryResponse;
use crate::proxy::mirror::copy::{self, ComparisonPlan, CopyRequest, CopySettings, LogContext, ShadowCopy};
use crate::proxy::mirror::copy_span::CopyKind;
use crate::proxy::mirror::pending_copy::PendingCopy;
use crate::proxy::mirror::permit::CopyPermit;
use crate::proxy::wire::head::Head;
use crate::proxy::worker::request_id::RequestId;
use crate::route::{Compare, Split};
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// Estimated memory of a copy besides its head and body.
const COPY_BYTES: u64 = 2048;

/// Creates the copy of a request that is about to be forwarded.
pub(crate) fn shadow(exchange: &mut Exchange, body: &mut RequestBody, split: &Split, chosen: ChosenVariant) {
    let Some(mut permit) = exchange.mirror.permit.take() else { return };
    let Some(shadow) = &split.shadow else { return };
    if body.size_hint().exact().is_some_and(|bytes| bytes > shadow.max_body_bytes) {
        return permit.set_end(ShadowEnd::Dropped(ShadowDrop::BodyTooLarge));
    }
    if !permit.try_reserve(COPY_BYTES + 2 * u64::from(exchange.request.field_summary.bytes)) {
        return permit.set_end(ShadowEnd::Dropped(ShadowDrop::ByteLimit));
    }
    let request_id = exchange.request_id();
    let comparison = shadow.compare.as_ref().map(|compare| comparison_plan(exchange, compare, &permit, chosen));
    exchange.mirror.primary = comparison.as_ref().map(|comparison| Rc::clone(&comparison.primary));
    let mut head = copied(exchange);
    let span = trace::start_copy(exchange, &mut head.fields, CopyKind::Candidate);
    if let Some(host) = &shadow.host {
        head.fields.insert(&http::header::HOST, host);
    }
    shadow.headers.apply(&mut head.fields, &exchange.values(&request_id));
    let pool = Rc::clone(exchange.proxy.shadow_upstream(&exchange.view, shadow.upstream));
    let settings = CopySettings { timeout: shadow.timeout, max_in_flight: shadow.max_in_flight, key: chosen.key };
    let request = CopyRequest { head, span, pool };
    let copy = Box::new(ShadowCopy {
        permit,
        settings,
        proxy_addresses: copy::proxy_addresses(&exchange.client, &request, comparison.as_ref()),
        request,
        comparison,
        context: Rc::new(log_context(exchange, request_id)),
    });
    match body {
        RequestBody::Client(body) => {
            body.tee = Some(Box::new(PendingCopy::new(copy, body.size_hint().exact(), shadow.max_body_bytes)));
        }
        RequestBody::Empty | RequestBody::Attempt(_) | RequestBody::Copy(_) | RequestBody::Returned(_) => {
            copy::launch(copy, CopyBody::default());
        }
    }
}

/// The head, in memory that the worker has to spare.
fn copied(exchange: &Exchange) -> Head {
    let Head { method, version, target, fields: own } = &exchange.request.head;
    let mut fields = exchange.client.worker.spare_fields();
    fields.clone_from(own);
    Head { method: method.clone(), version: *version, target: target.clone(), fields }
}

/// The request's data for the copy's log line and span.
fn log_context(exchange: &Exchange, request_id: RequestId) -> LogContext {
    let client = &exchange.client;
    let view = Rc::clone(&exchange.view);
    LogContext {
        snapshot: view,
        route: exchange.routing.route,
        request_id,
        trace_id: exchange.request.trace_id.clone(),
        tenant: exchange.caller.tenant.clone(),
        client_ip: exchange.request.client_ip,
        peer: client.peer,
        listener: client.listener.spec.name.as_str().into(),
        method: exchange.request.head.method.clone(),
        version: exchange.request.head.version,
        host: exchange.request.host().into(),
        path: exchange.path().into(),
    }
}

/// The plan for the comparison of a copy; some have a control.
fn comparison_plan(
    exchange: &mut Exchange,
    compare: &Compare,
    permit: &CopyPermit,
    chosen: ChosenVariant,
) -> ComparisonPlan {
    let state = &permit.policy().state;
    let mut spread = state.control.get();
    let controls = compare.controls(&mut spread);
    state.control.set(spread);
    let control = controls.then(|| {
        let mut head = copied(exchange);
        let span = trace::start_copy(exchange, &mut head.fields, CopyKind::Control);
        CopyRequest { head, span, pool: Rc::clone(exchange.proxy.shadow_upstream(&exchange.view, chosen.upstream)) }
    });
    ComparisonPlan { primary: PrimaryResponse::new(Rc::clone(permit.memory())), control }
}
