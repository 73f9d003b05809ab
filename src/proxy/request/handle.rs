//! Handles a request, from its head to its response. One stage a row; there is one exit.
//!
//! ```text
//! begin → admit → find → identify → decide → sample → prepare → shadow → forward → answer → record
//! ```
//! The proxy's own responses and redirects go from `find` through `identify` to `answer`. `upgrade` checks after `find`
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

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{Either, Empty};

use super::exchange::{ChosenVariant, Exchange, SplitTarget};
use super::http_proxy::HttpProxy;
use super::response_body::{BodySource, ResponseBody};
use super::{
    admit, answer, begin, decide, error_response, find, forward, identify, prepare, record, sample, shadow, upgrade,
};
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::incoming::IncomingRequest;
use crate::proxy::wire::fault::Fault;
use crate::route::{Action, RouteId, Split};

/// The body of a response: empty for a tunnel and after a panic (`CatchPanic`).
pub(crate) type Edge = Either<ResponseBody, Empty<Bytes>>;

/// Handles one request.
pub(crate) async fn handle(
    proxy: Rc<HttpProxy>,
    client: Rc<Client>,
    request: IncomingRequest,
) -> Result<Response<Edge>, Infallible> {
    let mut exchange = begin::begin(proxy, client, &request);
    let response = match run_stages(&mut exchange, request).await {
        Ok(response) if upgrade::is_mistakable(&exchange, response.status()) => {
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
            response.map(Either::Right)
        }
        None => answer::send(exchange, response).map(Either::Left),
    })
}

async fn run_stages(exchange: &mut Exchange, request: IncomingRequest) -> Result<Response<BodySource>, Fault> {
    let (mut parts, body) = request.into_parts();
    admit::admit(exchange, &mut parts)?;
    if let Some(redirect) = find::https_redirect(exchange)? {
        return Ok(answer::redirect(exchange, &redirect));
    }
    let found = find::find(exchange, &parts)?;
    let view = Rc::clone(&exchange.view);
    let route = view.snapshot.rules.route(found.route);
    upgrade::check(exchange, &parts, route)?;
    match &route.action {
        Action::Redirect(redirect) => {
            exchange.caller = identify::tenant(exchange, &parts);
            Ok(answer::redirect(exchange, redirect))
        }
        Action::Respond(respond) => {
            exchange.caller = identify::tenant(exchange, &parts);
            Ok(answer::respond(exchange, respond))
        }
        Action::Split(split) => {
            let target = SplitTarget { route, split, matched: found.matched };
            let chosen = choose(exchange, &parts, found.route, split);
            let mut body = prepare::prepare(exchange, &mut parts, body, target)?;
            shadow::shadow(exchange, &parts, &mut body, split, chosen);
            let sent = Request::from_parts(parts, body);
            let response = forward::forward(exchange, sent, chosen, &route.timeouts).await?;
            answer::answer(exchange, response, target)
        }
    }
}

/// Identifies the caller, decides which variant answers, and samples. All borrows of the request's head end here, so
/// that the future of a forwarded request does not store them.
#[inline]
fn choose(exchange: &mut Exchange, parts: &Parts, route: RouteId, split: &Split) -> ChosenVariant {
    let facts = identify::look_up(exchange, &parts.headers);
    let identified = identify::identify(exchange, parts, &facts, split);
    let chosen = decide::decide(exchange, route, split, &identified);
    let permit = sample::sample(exchange, split, &identified, &chosen);
    exchange.caller = identified.into_identity();
    exchange.routing.chosen = Some(chosen);
    exchange.mirror.permit = permit;
    chosen
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
