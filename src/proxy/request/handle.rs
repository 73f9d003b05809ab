//! A request's way, from its head to its answer. One stage a row; there is one exit.
//!
//! ```text
//! begin → admit → find → identify → decide → sample → prepare → shadow → forward → answer → record
//! ``` A redirect and a response of the proxy's own go from `find` by `identify` to `answer`. `upgrade` notes after
//! `find` that one is asked for, and opens it in the place of the answer's last step. A fault is answered by
//! `error_response`.
//!
//! A stage is the file of its name, and is called from here alone: a stage never calls another stage (`tests/tidy`
//! holds this). What several stages use lies below them: the `Exchange`, the `IdentifiedCaller` caller, the forms of a
//! request (`http_version`, `upgrade_request`), the way to an endpoint (`reach`), spans (`trace`).
//!
//! Recording happens when the exchange is dropped: at the response's last byte, or wherever it ends before. A tunnel is
//! recorded when it opens, too.

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

/// A response's body: empty for a tunnel and for the answer to a panic (`CatchPanic`).
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
            // An upstream may have switched before the fault: it is left.
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
    upgrade::ask(exchange, &parts, route)?;
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
            let response = forward::forward(exchange, sent, chosen, route.timeouts.request).await?;
            answer::answer(exchange, response, target)
        }
    }
}

/// Identifies the caller, decides which variant answers, and samples. All borrows of the request's head end with this
/// function: a request that is being forwarded does not keep them.
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

    /// What a function gives takes up so much.
    fn bytes_of<A, B, C, T>(_: impl Fn(A, B, C) -> T) -> usize {
        size_of::<T>()
    }

    #[test]
    fn a_request_under_way_is_small() {
        // What few requests need (a tunnel, a connection to open) is boxed: all would pay for it.
        let bytes = bytes_of(handle);
        assert!(bytes <= 5120, "{bytes} bytes");
    }
}
