//! Identity providers: all that can tell more about a caller than the request itself. Without any, nothing is asked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::geo::GeoDatabase;
use super::token::TokenVerifier;
use crate::route::{Claims, ClientIp, Country, ExplainRequest, Facts, Identity, TokenFault};

/// Who can tell more about a caller.
#[derive(Clone, Debug, Default)]
pub struct IdentityProviders {
    /// `identity.jwt`.
    pub tokens: Option<Arc<TokenVerifier>>,
    /// `identity.geo`.
    pub geo: Option<Arc<GeoDatabase>>,
}

/// What was found out about one caller: owns what [`Facts`] borrows.
#[derive(Clone, Debug, Default)]
pub struct IdentityFacts {
    /// The claims of the token.
    pub claims: Option<Claims>,
    /// Why the token names nobody, if there is one and it does not hold.
    pub fault: Option<TokenFault>,
    /// The country.
    pub country: Option<Country>,
}

impl IdentityFacts {
    /// It as facts.
    #[must_use]
    pub const fn facts(&self) -> Facts<'_> {
        Facts { claims: self.claims.as_ref(), country: self.country, fault: self.fault }
    }
}

impl IdentityProviders {
    /// Those that the files tell of now; whoever stayed the same is the very same object, so that what others keep of
    /// him holds.
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

    /// All that can be found out about the caller of a request, at this time since the Unix epoch: for explanations.
    #[must_use]
    pub fn lookup(&self, identity: &Identity, asked: &ExplainRequest<'_>, now: Duration) -> IdentityFacts {
        let (claims, fault) = match self.claims(asked.headers, now) {
            Ok(claims) => (claims, None),
            Err(fault) => (None, Some(fault)),
        };
        let country = self.country(ClientIp::find(identity, asked.peer, asked.headers));
        IdentityFacts { claims, fault, country }
    }

    fn claims(&self, headers: &HeaderMap, now: Duration) -> Result<Option<Claims>, TokenFault> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let Some(token) = tokens.find(headers)? else { return Ok(None) };
        tokens.verify(token, now).map(|verified| Some(verified.claims))
    }

    /// The country of an address.
    #[must_use]
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        self.geo.as_ref()?.country(address)
    }
}
