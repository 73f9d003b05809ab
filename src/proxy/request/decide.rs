//! Decide: the variant that answers, by the rules of the `route` room, and its upstream.

use xxhash_rust::xxh3::xxh3_64;

use super::caller::IdentifiedCaller;
use super::exchange::{ChosenVariant, Exchange};
use crate::route::{
    Balance, Counted, Decision, KeyHash, NoTrace, RouteId, Routed, Split, UpstreamId, VariantId,
    decide as decide_by_rules,
};
use crate::telemetry::Fallback;

/// Decides which variant answers a request. If the variant's upstream has no endpoint, stable answers for it.
pub(crate) fn decide(
    exchange: &Exchange,
    route: RouteId,
    split: &Split,
    identified: &IdentifiedCaller<'_>,
) -> ChosenVariant {
    let (snapshot, spread) = (&exchange.view.snapshot, exchange.view.spread(route));
    let request = Routed {
        route,
        split,
        head: &identified.head,
        caller: &identified.caller,
        cookie_identity: identified.cookie_identity(),
    };
    let mut sequence = spread.get();
    let decision = decide_by_rules(&snapshot.rules, &snapshot.overlay, &request, &mut sequence, &mut NoTrace);
    spread.set(sequence);
    let chosen = fall_back_to_stable(exchange, split, decision, || key(split, identified));
    if split.rollout.is_some() {
        count_exposed(exchange, route, split, identified, &chosen);
    }
    chosen
}

/// Counts the key and the tenant that the canary of a rollout gets.
fn count_exposed(
    exchange: &Exchange,
    route: RouteId,
    split: &Split,
    identified: &IdentifiedCaller<'_>,
    chosen: &ChosenVariant,
) {
    let is_canary = chosen.variant != VariantId::STABLE && usize::from(chosen.variant.0) + 1 == split.variants.len();
    if !is_canary || chosen.fallback == Fallback::Yes {
        return;
    }
    let Some(exposed) = exchange.view.exposed(route) else { return };
    let worker = &exchange.client.worker;
    if chosen.decision.counted == Counted::Yes {
        // Without sticky keys each request is a caller.
        let random = || KeyHash::of(worker.random.borrow_mut().u64(..));
        exposed.add_key(worker.index, chosen.decision.key.unwrap_or_else(random));
    }
    if exposed.counts_tenants()
        && let Some(tenant) = &identified.caller.tenant
    {
        exposed.add_tenant(worker.index, xxh3_64(tenant.as_bytes()));
    }
}

/// Replaces the upstream of a variant without any endpoint by stable's. Stable has no fallback.
fn fall_back_to_stable(
    exchange: &Exchange,
    split: &Split,
    decision: Decision,
    key: impl FnOnce() -> u64,
) -> ChosenVariant {
    let upstream =
        |id: VariantId| split.variants.get(usize::from(id.0)).map_or(UpstreamId(0), |variant| variant.upstream);
    let (variant, stable) = (decision.variant, upstream(VariantId::STABLE));
    let (mut upstream, mut fallback) = (upstream(variant), Fallback::No);
    if variant != VariantId::STABLE && !exchange.view.usable(upstream) {
        (upstream, fallback) = (stable, Fallback::Yes);
    }
    let upstreams = &exchange.view.snapshot.rules.upstreams;
    // The hash is also needed if stable answers later, after failed connections.
    let hashes = [upstream, stable].iter().any(|id| upstreams[id.0 as usize].balance == Balance::Hash);
    ChosenVariant { decision, variant, upstream, fallback, key: if hashes { key() } else { 0 } }
}

/// The hash of the sticky key, or of the client's address without one.
fn key(split: &Split, identified: &IdentifiedCaller<'_>) -> u64 {
    match split.sticky_key(&identified.caller, identified.cookie_identity()) {
        Some(key) => key.with_text(|text| xxh3_64(text.as_bytes())),
        None => xxh3_64(identified.caller.client_ip.to_string().as_bytes()),
    }
}
