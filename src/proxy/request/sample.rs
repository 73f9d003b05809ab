//! Sample: records the decision for the release statistics, and decides whether the request is copied for the route's
//! shadow.

use super::caller::IdentifiedCaller;
use super::exchange::{ChosenVariant, Exchange};
use crate::proxy::mirror::permit::CopyPermit;
use crate::route::{MARKER, Reason, Sampling, SamplingInput, Shadow, Split, Unfit, decide_sampling};
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// Records the decision; returns the permit of the request's copy if it is copied.
pub(crate) fn sample(
    exchange: &Exchange,
    split: &Split,
    identified: &IdentifiedCaller<'_>,
    chosen: &ChosenVariant,
) -> Option<Box<CopyPermit>> {
    let permit = split.shadow.as_deref().and_then(|shadow| permit(exchange, split, shadow, identified, chosen));
    record_decision(exchange, chosen);
    permit
}

/// Records which variant the weights chose, with the caller's sticky key. Overrides, kills and callers without a key
/// are not counted: the weights did not decide, or the choice is not sticky.
fn record_decision(exchange: &Exchange, chosen: &ChosenVariant) {
    if chosen.reason() == Reason::Weight
        && chosen.counted()
        && let Some(route) = exchange.routing.route
        && let Some(sample) = exchange.view.sample(route)
    {
        sample.decided(exchange.client.worker.index, chosen.variant, chosen.decision.key);
    }
}

/// Decides whether a request is copied. The copy takes its place in flight when it is sent.
fn permit(
    exchange: &Exchange,
    split: &Split,
    shadow: &Shadow,
    identified: &IdentifiedCaller<'_>,
    chosen: &ChosenVariant,
) -> Option<Box<CopyPermit>> {
    let (worker, route) = (&exchange.client.worker, exchange.routing.route?);
    // A request with the marker is a copy. `admit` removes the marker of untrusted peers.
    if exchange.upgrade.requested().is_some()
        || (exchange.request.field_summary.trusted_only && identified.head.fields.contains(&MARKER))
    {
        return None;
    }
    let policy = exchange.proxy.mirror(&exchange.view, route)?;
    let request = SamplingInput {
        route,
        method: &exchange.request.head.method,
        variant: chosen.variant,
        caller: &identified.caller,
        cookie_identity: identified.cookie_identity(),
        share: policy.share(shadow, worker),
    };
    let mut spread = policy.state.spread.get();
    let sampling = decide_sampling(&exchange.view.snapshot.overlay, split, &request, &mut spread);
    policy.state.spread.set(spread);
    match sampling {
        Sampling::Out => None,
        Sampling::Dropped(unfit) => {
            let reason = match unfit {
                Unfit::Method => ShadowDrop::Method,
                Unfit::Killed(_) => ShadowDrop::Killed,
            };
            policy.meter(worker).sample();
            policy.meter(worker).end(ShadowEnd::Dropped(reason));
            None
        }
        Sampling::In => policy.sample(worker, shadow.max_in_flight).map(Box::new),
    }
}
