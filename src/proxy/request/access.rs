//! Access: whether a rule of the route answers the caller at once. Kills and weights have no part in it.

use super::caller::IdentifiedCaller;
use super::exchange::Exchange;
use super::screening::Screening;
use crate::route::{Respond, Route, RouteId, access as access_by_rules};

/// The answer for a caller that a rule of the route closes out, and which rule it is.
#[inline]
pub(crate) fn access<'r>(
    exchange: &Exchange,
    id: RouteId,
    route: &'r Route,
    identified: &IdentifiedCaller<'_>,
) -> Option<(Screening, &'r Respond)> {
    if route.access.is_empty() {
        return None;
    }
    let segments = &exchange.view.snapshot.rules.segments;
    let (at, respond) = access_by_rules(&route.access, &identified.head, &identified.caller, segments)?;
    exchange.view.refusals(id).of(exchange.client.worker.index).denied.inc();
    Some((Screening::Access(u16::try_from(at).unwrap_or(u16::MAX)), respond))
}
