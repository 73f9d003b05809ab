//! A request's way, from its head to its answer. One stage a row; a stage never calls another stage; there is one exit.
//!
//! ```text
//! begin → admit → match → decide → prepare → shadow → forward → answer → record
//! ```
//! An upgrade is asked for after the match, and opened in the place of the answer's last step.
//! Recording happens when the exchange is dropped: at the response's last byte, or wherever it ends before.

use std::rc::Rc;

use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;

use super::body::Source;
use super::client::Client;
use super::exchange::Exchange;
use super::fault::Fault;
use super::stack::Edge;
use super::{admit, answer, begin, choose, error_response, forward, prepare, shadow, upgrade};
use crate::route::Action;

/// Handles one request.
pub(super) async fn handle(client: Rc<Client>, request: Request<Incoming>) -> Response<Edge> {
    let mut exchange = begin::begin(client, &request);
    let response = match line(&mut exchange, request).await {
        Ok(response) if upgrade::is_mistakable(&exchange, response.status()) => {
            error_response::answer(&mut exchange, Fault::NoUpgrade)
        }
        Ok(response) => response,
        Err(fault) => {
            exchange.far = None;
            error_response::answer(&mut exchange, fault)
        }
    };
    match exchange.far.take() {
        Some(far) => upgrade::open(exchange, far, response).map(Either::Right),
        None => answer::send(exchange, response).map(Either::Left),
    }
}

async fn line(exchange: &mut Exchange, request: Request<Incoming>) -> Result<Response<Source>, Fault> {
    let (mut parts, body) = request.into_parts();
    admit::admit(exchange, &mut parts)?;
    if let Some(redirect) = choose::way_to_https(exchange)? {
        return Ok(answer::redirect(exchange, &redirect));
    }
    let found = choose::find(exchange, &parts)?;
    let local = Rc::clone(&exchange.local);
    let route = local.snapshot.rules.route(found.route);
    upgrade::ask(exchange, &parts, route)?;
    match &route.action {
        Action::Redirect(redirect) => {
            choose::know(exchange, &parts);
            Ok(answer::redirect(exchange, redirect))
        }
        Action::Respond(respond) => {
            choose::know(exchange, &parts);
            Ok(answer::respond(exchange, respond))
        }
        Action::Split(split) => {
            let chosen = choose::decide(exchange, &parts, (found.route, split));
            let mut body = prepare::prepare(exchange, (&mut parts, body), (route, split), found.matched)?;
            shadow::shadow(exchange, (&parts, &mut body), split, chosen);
            let incoming = forward::forward(exchange, Request::from_parts(parts, body), (route, chosen)).await?;
            answer::answer(exchange, incoming, (route, split))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a function gives takes up so much.
    fn bytes_of<A, B, T>(_: impl Fn(A, B) -> T) -> usize {
        size_of::<T>()
    }

    #[test]
    fn a_request_under_way_is_small() {
        // What few requests need (a tunnel, a connection to open) is boxed: all would pay for it.
        let bytes = bytes_of(handle);
        assert!(bytes <= 5120, "{bytes} bytes");
    }
}
