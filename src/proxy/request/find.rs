//! Find: the route that matches a request, by the rules of the `route` room; before that, the listener's redirect.

use std::cell::LazyCell;

use super::exchange::Exchange;
use crate::proxy::wire::fault::Fault;
use crate::route::{Lookup, Redirect, RequestPlace};
use crate::telemetry::Refusal;

/// The listener's redirect to `https`, unless the request came by `https`, to this proxy or to a trusted one before it.
pub(super) fn https_redirect(exchange: &Exchange) -> Result<Option<Redirect>, Fault> {
    let Some(redirect) = &exchange.client.listener.spec.redirect else { return Ok(None) };
    if exchange.scheme() == "https" {
        return Ok(None);
    }
    if exchange.request.host().is_empty() {
        return Err(Fault::Refused(Refusal::BadHost));
    }
    Ok(Some(redirect.clone()))
}

pub(crate) fn find(exchange: &mut Exchange) -> Result<Lookup, Fault> {
    let rules = &exchange.view.snapshot.rules;
    let (host, path) = (exchange.request.host(), exchange.path_bytes());
    // The head is made for a route with conditions only.
    let found = rules.index.find_at(&rules.routes, RequestPlace { host, path }, &LazyCell::new(|| exchange.head()));
    exchange.routing.route = found.map(|found| found.route);
    found.ok_or(Fault::Refused(Refusal::NoRoute))
}
