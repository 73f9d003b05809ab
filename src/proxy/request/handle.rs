//! Handles a request, from its head to its response. One stage a row; there is one exit.
//!
//! ```text
//! begin → admit → find → identify → access → limit → decide → sample → prepare → shadow → forward → answer → record
//! ```
//! The proxy's own responses and redirects go from `find` through `identify`, `access` and `limit` to `answer`. `upgrade` checks after `find`
//! whether the request asks for an upgrade, and opens the tunnel in place of the last step of `answer`. A fault becomes
//! a response in `error_response`.
//!
//! A stage is the file of its name. Only this file calls stages; a stage never calls another stage (`tests/tidy` checks
//! this). Code that several stages use is below them: the `Exchange`, the `IdentifiedCaller`, the forms of a request
//! (`http_version`, `upgrade_request`), `upstream_connector`, and spans (`trace`).
//!
//! An exchange is recorded when it is dropped: at the last byte of the response, or wherever it ends before. A tunnel
//! is also recorded when it opens.

use std::convert::Infallible;
use std::rc::Rc;

use super::exchange::{ChosenVariant, Exchange, SplitTarget};
use super::http_proxy::HttpProxy;
use super::response_body::Edge;
use super::{
    access, admit, answer, begin, decide, error_response, find, forward, identify, limit, prepare, record, sample,
    shadow, upgrade,
};
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::{ClientRequest, ClientResponse, ExtendedConnect, IncomingBody};
use crate::proxy::wire::fault::Fault;
use crate::route::{Action, Respond, Route, RouteId};

/// Handles one request.
pub(crate) async fn handle(
    proxy: Rc<HttpProxy>,
    client: Rc<Client>,
    request: ClientRequest,
) -> Result<ClientResponse<Edge>, Infallible> {
    let ClientRequest { head, body, connect } = request;
    let mut exchange = begin::begin(proxy, client, head, &body);
    let response = match run_stages(&mut exchange, body, connect).await {
        Ok(response) if upgrade::is_mistakable(&exchange, response.status) => {
            error_response::answer(&mut exchange, Fault::NoUpgrade)
        }
        Ok(response) => response,
        Err(fault) => {
            // The fault may come after the upstream switched protocols: then its connection is closed here.
            drop(exchange.upgrade.take_upstream());
            error_response::answer(&mut exchange, fault)
        }
    };
    Ok(match exchange.upgrade.take_upstream() {
        Some(upstream) => {
            let (response, stream) = upgrade::switch(&mut exchange, response);
            record::open_tunnel(&mut exchange);
            upgrade::open(exchange, upstream, stream);
            response
        }
        None => answer::send(exchange, response),
    })
}

/// Runs the stages. The body of the response is in the exchange.
async fn run_stages(
    exchange: &mut Exchange,
    body: IncomingBody,
    connect: Option<Box<ExtendedConnect>>,
) -> Result<ClientResponse<()>, Fault> {
    admit::admit(exchange, connect)?;
    if let Some(redirect) = find::https_redirect(exchange)? {
        return Ok(answer::redirect(exchange, &redirect));
    }
    let found = find::find(exchange)?;
    let view = Rc::clone(&exchange.view);
    let route = view.snapshot.rules.route(found.route);
    limit::shed(exchange, found.route, route)?;
    upgrade::check(exchange, route)?;
    match &route.action {
        Action::Redirect(redirect) => Ok(match screen(exchange, found.route, route)? {
            Some(closed_out) => answer::close_out(exchange, closed_out),
            None => answer::redirect(exchange, redirect),
        }),
        Action::Respond(respond) => Ok(match screen(exchange, found.route, route)? {
            Some(closed_out) => answer::close_out(exchange, closed_out),
            None => answer::respond(exchange, respond),
        }),
        Action::Split(split) => {
            let target = SplitTarget { route, split, matched: found.matched };
            let chosen = match choose(exchange, found.route, target)? {
                Choice::Variant(chosen) => chosen,
                Choice::ClosedOut(respond) => return Ok(answer::close_out(exchange, respond)),
            };
            let mut body = prepare::prepare(exchange, body, target)?;
            shadow::shadow(exchange, &mut body, split, chosen);
            forward::forward(exchange, body, chosen, &route.timeouts).await?;
            answer::answer(exchange, target)
        }
    }
}

/// What follows for a request of a split.
enum Choice<'r> {
    Variant(ChosenVariant),
    /// An access rule answers.
    ClosedOut(&'r Respond),
}

/// Identifies the caller of a route that the proxy answers itself. Returns the response of an access rule, if one answers.
#[inline]
fn screen<'r>(exchange: &mut Exchange, id: RouteId, route: &'r Route) -> Result<Option<&'r Respond>, Fault> {
    if route.access.is_empty() && route.rate_limits.is_empty() {
        exchange.caller = identify::tenant(exchange);
        return Ok(None);
    }
    let facts = identify::look_up(exchange);
    let identified = identify::caller(exchange, &facts);
    let closed_out = access::access(exchange, id, route, &identified);
    let limited = if closed_out.is_some() { Ok(()) } else { limit::limit(exchange, id, &identified) };
    exchange.caller = identified.into_identity();
    limited?;
    Ok(closed_out.map(|(rule, respond)| {
        exchange.progress.screening = rule;
        respond
    }))
}

/// Identifies the caller, decides which variant answers, and samples. All borrows of the request's head end here, so
/// that the future of a forwarded request does not store them.
#[inline]
fn choose<'r>(exchange: &mut Exchange, id: RouteId, target: SplitTarget<'r>) -> Result<Choice<'r>, Fault> {
    let SplitTarget { route, split, .. } = target;
    let facts = identify::look_up(exchange);
    let identified = identify::identify(exchange, &facts, split);
    if let Some((rule, respond)) = access::access(exchange, id, route, &identified) {
        exchange.caller = identified.into_identity();
        exchange.progress.screening = rule;
        return Ok(Choice::ClosedOut(respond));
    }
    if let Err(refused) = limit::limit(exchange, id, &identified) {
        exchange.caller = identified.into_identity();
        return Err(refused);
    }
    let chosen = decide::decide(exchange, id, split, &identified);
    let permit = sample::sample(exchange, split, &identified, &chosen);
    exchange.caller = identified.into_identity();
    exchange.routing.chosen = Some(chosen);
    exchange.mirror.permit = permit;
    Ok(Choice::Variant(chosen))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the value that a function returns.
    fn bytes_of<A, B, C, T>(_: impl Fn(A, B, C) -> T) -> usize {
        size_of::<T>()
    }

    #[test]
    fn a_request_under_way_is_small() {
        // Rarely used state (a tunnel, connecting) is boxed, because every request in flight has this size.
        let bytes = bytes_of(handle);
        assert!(bytes <= 5120, "{bytes} bytes");
    }
}
