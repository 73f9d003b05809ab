//! What is found out about a caller before a request is decided: only what may matter to its route, and at most once.

use std::rc::Rc;

use http::HeaderMap;

use super::exchange::Exchange;
use crate::route::{Claims, Country, Facts, Needs};

/// What was found out: owns what [`Facts`] borrows.
#[derive(Default)]
pub(super) struct Heard {
    claims: Option<Rc<Claims>>,
    country: Option<Country>,
}

impl Heard {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts { claims: self.claims.as_deref(), country: self.country, fault: None }
    }
}

/// Finds out what the request's route needs to know. A token that does not hold is counted and noted, and names nobody.
pub(super) fn hear(exchange: &Exchange, headers: &HeaderMap) -> Heard {
    let needs = exchange.route.map(|route| exchange.local.needs(route)).unwrap_or_default();
    if needs == Needs::default() {
        return Heard::default();
    }
    let claims = if needs.claims { claims(exchange, headers) } else { None };
    let country = if needs.country { exchange.local.snapshot.witnesses.country(exchange.client_ip) } else { None };
    Heard { claims, country }
}

fn claims(exchange: &Exchange, headers: &HeaderMap) -> Option<Rc<Claims>> {
    let tokens = exchange.local.snapshot.witnesses.tokens.as_ref()?;
    let worker = &exchange.client.worker;
    let verified = match tokens.find(headers) {
        Ok(None) => return None,
        Ok(Some(token)) => worker.tokens.borrow_mut().verify(tokens, token, exchange.began_wall),
        Err(fault) => Err(fault),
    };
    let meter = worker.meter();
    match verified {
        Ok(claims) => {
            meter.jwt_verified.inc();
            Some(claims)
        }
        Err(fault) => {
            meter.jwt_rejected[fault as usize].inc();
            exchange.token.set(Some(fault));
            None
        }
    }
}
