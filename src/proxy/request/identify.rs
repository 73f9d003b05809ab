//! Identify: who the caller is. Verifies a token and looks up a country at most once, and only if the route needs it.
//! Tenant, user and sticky cookie are read from the head and from these facts.

use std::rc::Rc;

use super::caller::{CallerIdentity, IdentifiedCaller};
use super::exchange::Exchange;
use crate::route::{CallerOrigin, Claims, Country, Facts, Needs, Split, TokenFault, cookie};

/// The facts looked up about a caller; it owns what [`Facts`] borrows.
#[derive(Default)]
pub(crate) struct CallerFacts {
    claims: Option<Rc<Claims>>,
    country: Option<Country>,
    /// Why the token was rejected.
    token: Option<TokenFault>,
}

impl CallerFacts {
    /// The facts for the decision, which treats a rejected token like none.
    fn facts(&self) -> Facts<'_> {
        Facts { claims: self.claims.as_deref(), country: self.country, fault: None }
    }
}

/// Looks up the facts that the request's route needs. Counts a rejected token.
pub(crate) fn look_up(exchange: &Exchange) -> CallerFacts {
    let needs = exchange.routing.route.map(|route| exchange.view.needs(route)).unwrap_or_default();
    if needs == Needs::default() {
        return CallerFacts::default();
    }
    let mut facts = CallerFacts::default();
    if needs.claims {
        match claims(exchange) {
            Ok(claims) => facts.claims = claims,
            Err(fault) => facts.token = Some(fault),
        }
    }
    if needs.country {
        facts.country = exchange.view.snapshot.identity_providers.country(exchange.request.client_ip);
    }
    facts
}

fn claims(exchange: &Exchange) -> Result<Option<Rc<Claims>>, TokenFault> {
    let Some(tokens) = &exchange.view.snapshot.identity_providers.tokens else { return Ok(None) };
    let worker = &exchange.client.worker;
    let verified = match tokens.find(&exchange.request.head.fields) {
        Ok(None) => return Ok(None),
        Ok(Some(token)) => worker.tokens.borrow_mut().verify(tokens, token, exchange.request.began_wall),
        Err(fault) => Err(fault),
    };
    let meter = worker.meter();
    match &verified {
        Ok(_) => meter.jwt_verified.inc(),
        Err(fault) => meter.jwt_rejected[*fault as usize].inc(),
    }
    verified.map(Some)
}

/// Identifies the caller of a forwarded request. A caller without a sticky key gets a new identity if the route has a
/// sticky cookie.
pub(super) fn identify<'a>(exchange: &'a Exchange, facts: &'a CallerFacts, split: &Split) -> IdentifiedCaller<'a> {
    let head = exchange.head();
    let identity = &exchange.view.snapshot.rules.identity;
    let caller = identity.caller_from(origin(exchange), &head, facts.facts());
    let cookie = split.sticky_cookie.as_deref().and_then(|name| cookie(head.fields, name));
    let lacks = cookie.is_none() && split.sticky_cookie.is_some() && split.sticky_key(&caller, None).is_none();
    let issued = lacks.then(new_identity);
    IdentifiedCaller { head, caller, cookie, issued, token: facts.token }
}

/// Identifies the caller of a request that the proxy answers itself, for the rules about callers.
pub(crate) fn caller<'a>(exchange: &'a Exchange, facts: &'a CallerFacts) -> IdentifiedCaller<'a> {
    let head = exchange.head();
    let caller = exchange.view.snapshot.rules.identity.caller_from(origin(exchange), &head, facts.facts());
    IdentifiedCaller { head, caller, cookie: None, issued: None, token: facts.token }
}

/// Identifies the caller of a request that the proxy answers itself. Only the tenant is needed, for the log and
/// templates.
pub(crate) fn tenant(exchange: &Exchange) -> CallerIdentity {
    let identity = &exchange.view.snapshot.rules.identity;
    if identity.tenant.is_empty() {
        return CallerIdentity::default();
    }
    let facts = look_up(exchange);
    let caller = identity.caller_from(origin(exchange), &exchange.head(), facts.facts());
    CallerIdentity { tenant: caller.tenant.map(|tenant| Box::from(&*tenant)), issued: None, token: facts.token }
}

/// Where the request comes from, as `admit` determined it.
fn origin(exchange: &Exchange) -> CallerOrigin {
    CallerOrigin { client_ip: exchange.request.client_ip, trusted: exchange.request.trusted }
}

/// A new random identity, which cannot be guessed.
fn new_identity() -> Box<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
}
