//! A cache of verified tokens: verifying a signature costs more than all other work for a request. The cache has valid
//! tokens only, by their whole text, so that a client without a valid token cannot fill it.
//!
//! The cache has two generations. An entry that is used moves into the young one. When the young one is full, it
//! replaces the old one, whose entries are dropped.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;

use super::token::{TokenVerifier, Verified};
use crate::route::{Claims, TokenFault};

/// The most tokens in one generation.
const TOKENS_MAX: usize = 1024;
/// From this size of tokens and claims on, in bytes, a generation takes no further token.
const BYTES_MAX: usize = 1024 * 1024;

/// The verified tokens of one worker.
#[derive(Debug, Default)]
pub struct TokenCache {
    /// The verifier of all entries. Another verifier may reject them, so a new one empties the cache.
    by: Option<Arc<TokenVerifier>>,
    young: HashMap<Box<[u8]>, Kept>,
    old: HashMap<Box<[u8]>, Kept>,
    /// The size of the young generation.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    claims: Rc<Claims>,
    from: Duration,
    until: Duration,
}

impl TokenCache {
    /// Returns the claims of a token that is valid at `now`, since the Unix epoch.
    ///
    /// # Errors
    /// Why the token is invalid.
    pub fn verify(
        &mut self,
        tokens: &Arc<TokenVerifier>,
        token: &[u8],
        now: Duration,
    ) -> Result<Rc<Claims>, TokenFault> {
        if !self.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, tokens)) {
            *self = Self { by: Some(Arc::clone(tokens)), ..Self::default() };
        }
        if let Some(kept) = self.young.get(token) {
            kept.check(now)?;
            return Ok(Rc::clone(&kept.claims));
        }
        let kept = if let Some(kept) = self.old.remove(token) {
            kept.check(now)?;
            kept
        } else {
            let Verified { claims, from, until } = tokens.verify(token, now)?;
            Kept { claims: Rc::new(claims), from, until }
        };
        let claims = Rc::clone(&kept.claims);
        self.keep(token, kept);
        Ok(claims)
    }

    fn keep(&mut self, token: &[u8], kept: Kept) {
        let bytes = token.len() + kept.claims.bytes();
        if self.young.len() >= TOKENS_MAX || self.bytes + bytes > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.young.insert(token.into(), kept);
        debug_assert!(self.young.len() <= TOKENS_MAX, "a full generation is replaced before the next token");
    }

    /// The number of cached tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether the cache is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Kept {
    fn check(&self, now: Duration) -> Result<(), TokenFault> {
        if self.until <= now {
            return Err(TokenFault::Expired);
        }
        if now < self.from { Err(TokenFault::NotYetValid) } else { Ok(()) }
    }
}
