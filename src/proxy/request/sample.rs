//! Sample: notes where the weights have sent the caller, and decides whether the request is copied for the route's shadow.

use super::caller::Identified;
use super::exchange::{Chosen, Exchange};
use crate::proxy::mirror::copies::Ticket;
use crate::route::{MARKER, Reason, Sampling, SamplingInput, Shadow, Split, Unfit, decide_sampling};
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// Notes the decision for the sample, and gives the ticket of the request's copy, if there is to be one.
pub(crate) fn sample(
    exchange: &Exchange,
    split: &Split,
    identified: &Identified<'_>,
    chosen: &Chosen,
) -> Option<Box<Ticket>> {
    let ticket = split.shadow.as_deref().and_then(|shadow| ticket(exchange, split, shadow, identified, chosen));
    note(exchange, chosen);
    ticket
}

/// Notes for the sample which variant the weights chose, with the caller's sticky key. An override, a kill and a caller
/// without a key leave no note: the weights did not decide, or the choice does not stick.
fn note(exchange: &Exchange, chosen: &Chosen) {
    if chosen.reason() == Reason::Weight
        && chosen.counted()
        && let Some(route) = exchange.decided.route
        && let Some(sample) = exchange.local.sample(route)
    {
        sample.decided(exchange.client.worker.index, chosen.variant, chosen.decision.key);
    }
}

/// Decides whether a request is copied. Its copy takes its place among those under way when it is sent.
fn ticket(
    exchange: &Exchange,
    split: &Split,
    shadow: &Shadow,
    identified: &Identified<'_>,
    chosen: &Chosen,
) -> Option<Box<Ticket>> {
    let (worker, route) = (&exchange.client.worker, exchange.decided.route?);
    // A request that bears the marker is a copy already: `admit` removes the marker of peers that are not trusted.
    if exchange.upgrade.requested().is_some()
        || (exchange.request.survey.told && identified.head.headers.contains_key(&MARKER))
    {
        return None;
    }
    let lane = exchange.proxy.lane(&exchange.local, route)?;
    let request = SamplingInput {
        method: &exchange.request.method,
        variant: chosen.variant,
        caller: &identified.caller,
        cookie_identity: identified.cookie_identity(),
        share: lane.share(shadow, worker),
    };
    let mut spread = lane.state.spread.get();
    let sampling = decide_sampling(&exchange.local.snapshot.overlay, split, &request, &mut spread);
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
