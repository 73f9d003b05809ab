//! Shadow: a request that is answered as ever, and copied to another upstream beside. Nothing here is waited for: what
//! cannot be had at once drops the copy, with its reason.
//!
//! The head is cloned, and each piece of the body is shared with the copy as it passes. A copy is sent when its request
//! has come whole, so that none is ever cut short, and then by a task of its own: it outlives the client.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Request, request};
use http_body::Body as _;

use super::capture::Primary;
use super::copies::Ticket;
use super::copy::{self, Comparing, Control, Settings, ShadowCopy};
use super::copy_body::{CopyBody, Pieces};
use super::exchange::{Chosen, Exchange};
use super::prepare::values;
use super::raw_query::RawQuery;
use super::request_body::RequestBody;
use super::trace::{self, CopyKind};
use crate::route::{Caller, Compare, Head, MARKER, Sampled, Sampling, Shadow, Split, Unfit, sampled};
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// What a copy takes of the memory for copies besides its head and body, about.
const COPY_BYTES: u64 = 2048;

/// Decides whether a request is copied. Its copy takes its place among those under way when it is sent.
pub(super) fn sample(
    exchange: &Exchange,
    (split, shadow): (&Split, &Shadow),
    chosen: &Chosen,
    (head, caller, cookie_identity): (&Head<'_>, &Caller<'_>, Option<&str>),
) -> Option<Box<Ticket>> {
    let (worker, route) = (&exchange.client.worker, exchange.route?);
    // What somebody has marked who is trusted is a copy itself.
    if exchange.asked.is_some() || (exchange.survey.told && head.headers.contains_key(&MARKER)) {
        return None;
    }
    let lane = exchange.local.lane(route, worker)?;
    let share = lane.share(shadow, worker);
    let request = Sampled { method: &exchange.method, variant: chosen.variant, caller, cookie_identity, share };
    let mut spread = lane.state.spread.get();
    let sampling = sampled(&exchange.local.snapshot.overlay, split, &request, &mut spread);
    lane.state.spread.set(spread);
    match sampling {
        Sampling::Out => None,
        Sampling::Dropped(unfit) => {
            let reason = match unfit {
                Unfit::Method => ShadowDrop::Method,
                Unfit::Killed => ShadowDrop::Killed,
            };
            lane.meter(worker).sample();
            lane.meter(worker).end(ShadowEnd::Dropped(reason));
            None
        }
        Sampling::In => lane.enter(worker, shadow.max_in_flight).map(Box::new),
    }
}

/// Makes the copy of a request that is about to be forwarded.
pub(super) fn shadow(
    exchange: &mut Exchange,
    (parts, body): (&request::Parts, &mut RequestBody),
    split: &Split,
    chosen: Chosen,
) {
    let Some(mut ticket) = exchange.ticket.take() else { return };
    let Some(shadow) = &split.shadow else { return };
    if body.size_hint().exact().is_some_and(|bytes| bytes > shadow.max_body_bytes) {
        return ticket.ends(ShadowEnd::Dropped(ShadowDrop::BodyTooLarge));
    }
    if !ticket.take(COPY_BYTES + 2 * exchange.survey.bytes as u64) {
        return ticket.ends(ShadowEnd::Dropped(ShadowDrop::ByteLimit));
    }
    let request_id = exchange.request_id();
    let comparing = shadow.compare.as_ref().map(|compare| comparing(exchange, (parts, compare), &ticket, chosen));
    exchange.compared = comparing.as_ref().map(|comparing| Rc::clone(&comparing.primary));
    let mut head = head_of(parts);
    let headers = head.headers_mut();
    let span = trace::copy(exchange, headers, CopyKind::Candidate);
    if let Some(host) = &shadow.host {
        headers.insert(http::header::HOST, host.clone());
    }
    shadow.headers.apply(headers, &values(exchange, &request_id));
    let settings = Settings { upstream: shadow.upstream, timeout: shadow.timeout, max_in_flight: shadow.max_in_flight };
    let copy = ShadowCopy::new(exchange, ticket, ((head, span), settings, comparing), chosen.key);
    match body {
        RequestBody::Client(body) => {
            let length = body.size_hint().exact();
            body.tee =
                Some(Box::new(Draft { copy, pieces: Pieces::default(), bytes: 0, length, max: shadow.max_body_bytes }));
        }
        RequestBody::Empty | RequestBody::Try(_) | RequestBody::Copy(_) => copy::launch(copy, CopyBody::default()),
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
        Control { head, span, pool: Rc::clone(exchange.local.shadow_upstream(chosen.upstream, ticket.worker())) }
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

/// A copy whose body is on its way.
pub(super) struct Draft {
    copy: Box<ShadowCopy>,
    pieces: Pieces,
    bytes: u64,
    length: Option<u64>,
    max: u64,
}

impl Draft {
    /// A piece of the body passes. Nothing when there is no copy any more.
    pub(super) fn push(mut self: Box<Self>, piece: &Bytes) -> Option<Box<Self>> {
        let bytes = piece.len() as u64;
        self.bytes += bytes;
        let dropped = if self.bytes > self.max {
            ShadowDrop::BodyTooLarge
        } else if self.copy.ticket.take(Pieces::cost(piece)) {
            self.pieces.push(piece);
            return Some(self);
        } else {
            ShadowDrop::ByteLimit
        };
        self.copy.ticket.ends(ShadowEnd::Dropped(dropped));
        None
    }

    /// The body has come whole.
    pub(super) fn finish(self, trailers: Option<HeaderMap>) {
        let Self { copy, pieces, length, .. } = self;
        copy.uploaded();
        copy::launch(copy, CopyBody::new(pieces.all(), trailers, length));
    }
}
