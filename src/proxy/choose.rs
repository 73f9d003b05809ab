//! Match and decide: which route, and which of its variants. The rules are those of the `route` room; here they meet a
//! live request.

use std::rc::Rc;

use http::request::Parts;
use xxhash_rust::xxh3::xxh3_64;

use super::admit::head;
use super::exchange::{Chosen, Exchange};
use super::fault::Fault;
use super::shadow;
use super::witness;
use crate::route::{
    Balance, Caller, Lookup, Reason, Redirect, RouteId, Routed, Silent, Split, UpstreamId, VariantId, cookie,
    decide as decide_by_rules,
};
use crate::telemetry::{Fallback, Refusal};

/// Where a listener sends requests that did not come by `https`. What a trusted proxy took by `https` did.
pub(super) fn way_to_https(exchange: &Exchange) -> Result<Option<Redirect>, Fault> {
    let Some(redirect) = &exchange.client.listener.spec.redirect else { return Ok(None) };
    if exchange.scheme() == "https" {
        return Ok(None);
    }
    if exchange.host.normal().is_empty() {
        return Err(Fault::Refused(Refusal::BadHost));
    }
    Ok(Some(redirect.clone()))
}

/// Finds the route of a request.
pub(super) fn find(exchange: &mut Exchange, parts: &Parts) -> Result<Lookup, Fault> {
    let rules = &exchange.local.snapshot.rules;
    let found = rules.index.find(&rules.routes, &head(exchange, parts));
    exchange.route = found.map(|found| found.route);
    found.ok_or(Fault::Refused(Refusal::NoRoute))
}

/// Decides which variant answers a request.
pub(super) fn decide(exchange: &mut Exchange, parts: &Parts, (route, split): (RouteId, &Split)) -> Chosen {
    let local = Rc::clone(&exchange.local);
    let rules = &local.snapshot.rules;
    let (chosen, tenant, issued, ticket) = {
        let exchange = &*exchange;
        let head = head(exchange, parts);
        let known_of = witness::hear(exchange, head.headers);
        let mut caller = rules.identity.caller(exchange.client.peer.ip(), &head, known_of.facts());
        caller.client_ip = exchange.client_ip;
        let known = split.sticky_cookie.as_deref().and_then(|name| cookie(head.headers, name));
        let issued = (known.is_none() && split.sticky_cookie.is_some() && split.sticky_key(&caller, None).is_none())
            .then(new_identity);
        let identity = known.or(issued.as_deref());
        let spread = exchange.local.spread(route);
        let mut sequence = spread.get();
        let request = Routed { route, split, head: &head, caller: &caller, cookie_identity: identity };
        let decision = decide_by_rules(rules, &local.snapshot.overlay, &request, &mut sequence, &mut Silent);
        spread.set(sequence);
        let chosen = endure(exchange, split, decision, || key(split, &caller, identity));
        let shadow = split.shadow.as_deref();
        let ticket = shadow.and_then(|own| shadow::sample(exchange, (split, own), &chosen, (&head, &caller, identity)));
        (chosen, caller.tenant.map(|tenant| Box::from(&*tenant)), issued, ticket)
    };
    exchange.ticket = ticket;
    sample(exchange, &chosen);
    exchange.chosen = Some(chosen);
    exchange.tenant = tenant;
    exchange.issued = issued;
    chosen
}

/// Finds out whose a request is that is answered here: the tenant is logged, and stands in templates.
pub(super) fn know(exchange: &mut Exchange, parts: &Parts) {
    let local = Rc::clone(&exchange.local);
    let identity = &local.snapshot.rules.identity;
    if identity.tenant.is_empty() {
        return;
    }
    let tenant: Option<Box<str>> = {
        let exchange = &*exchange;
        let head = head(exchange, parts);
        let known_of = witness::hear(exchange, head.headers);
        let caller = identity.caller(exchange.client.peer.ip(), &head, known_of.facts());
        caller.tenant.map(|tenant| Box::from(&*tenant))
    };
    exchange.tenant = tenant;
}

/// A chosen variant without any usable endpoint falls back to stable's upstream; stable never to another.
fn endure(exchange: &Exchange, split: &Split, decision: crate::route::Decision, key: impl FnOnce() -> u64) -> Chosen {
    let upstream =
        |id: VariantId| split.variants.get(usize::from(id.0)).map_or(UpstreamId(0), |variant| variant.upstream);
    let (variant, stable) = (decision.variant, upstream(VariantId::STABLE));
    let (mut upstream, mut fallback) = (upstream(variant), Fallback::No);
    if variant != VariantId::STABLE && !exchange.local.usable(upstream) {
        (upstream, fallback) = (stable, Fallback::Yes);
    }
    let upstreams = &exchange.local.snapshot.rules.upstreams;
    // Stable may have to answer although it was not chosen.
    let hashes = [upstream, stable].iter().any(|id| upstreams[id.0 as usize].balance == Balance::Hash);
    Chosen { decision, variant, upstream, fallback, key: if hashes { key() } else { 0 } }
}

/// Who was sent where by weight is noted for the sample, with the key that stuck. Callers that were picked by hand,
/// killed or without a key say nothing about the weights.
fn sample(exchange: &Exchange, chosen: &Chosen) {
    if chosen.reason() == Reason::Weight
        && chosen.counted()
        && let Some(route) = exchange.route
        && let Some(sample) = exchange.local.sample(route)
    {
        sample.decided(exchange.client.worker.index, chosen.variant, chosen.decision.key);
    }
}

/// The hash of the sticky key, else of the client's address.
fn key(split: &Split, caller: &Caller<'_>, identity: Option<&str>) -> u64 {
    match split.sticky_key(caller, identity) {
        Some(key) => key.with_text(|text| xxh3_64(text.as_bytes())),
        None => xxh3_64(caller.client_ip.to_string().as_bytes()),
    }
}

/// A random identity for a caller that has none: nobody can guess somebody else's.
fn new_identity() -> Box<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
}
