//! The identity providers of a configuration, and the facts that they have about a caller.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::geo::GeoDatabase;
use super::token::TokenVerifier;
use crate::fields::Fields;
use crate::route::{Claims, ClientIp, Country, ExplainRequest, Facts, Identity, TokenFault};

/// The sources of facts about a caller that are not in the request itself.
#[derive(Clone, Debug, Default)]
pub struct IdentityProviders {
    /// `identity.jwt`.
    pub tokens: Option<Arc<TokenVerifier>>,
    /// `identity.geo`.
    pub geo: Option<Arc<GeoDatabase>>,
}

/// The facts about one caller. Owns what [`Facts`] borrows.
#[derive(Clone, Debug, Default)]
pub struct IdentityFacts {
    /// The claims of a valid token.
    pub claims: Option<Claims>,
    /// Why the token is invalid, if the request has an invalid one.
    pub fault: Option<TokenFault>,
    /// The country.
    pub country: Option<Country>,
}

impl IdentityFacts {
    /// Borrows the facts, for a decision.
    #[must_use]
    pub const fn facts(&self) -> Facts<'_> {
        Facts { claims: self.claims.as_ref(), country: self.country, fault: self.fault }
    }
}

impl IdentityProviders {
    /// The providers of `next`. A provider that did not change keeps its old object, so that caches of its results stay
    /// valid.
    #[must_use]
    pub fn reuse_unchanged(self, next: Self) -> Self {
        let tokens = match (self.tokens, next.tokens) {
            (Some(old), Some(new)) if *old == *new => Some(old),
            (_, new) => new,
        };
        let geo = match (self.geo, next.geo) {
            (Some(old), Some(new)) if *old == *new => Some(old),
            (_, new) => new,
        };
        Self { tokens, geo }
    }

    /// All facts about the caller of a request at `now`, since the Unix epoch. Used by explanations; the request path
    /// looks up only what a route needs.
    #[must_use]
    pub fn lookup(&self, identity: &Identity, request: &ExplainRequest<'_>, now: Duration) -> IdentityFacts {
        let (claims, fault) = match self.claims(request.fields, now) {
            Ok(claims) => (claims, None),
            Err(fault) => (None, Some(fault)),
        };
        let country = self.country(ClientIp::find(identity, request.peer, request.fields));
        IdentityFacts { claims, fault, country }
    }

    fn claims(&self, fields: &Fields, now: Duration) -> Result<Option<Claims>, TokenFault> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let Some(token) = tokens.find(fields)? else { return Ok(None) };
        tokens.verify(token, now).map(|verified| Some(verified.claims))
    }

    /// The country of an address; `None` without a database.
    #[must_use]
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        self.geo.as_ref()?.country(address)
    }
}
