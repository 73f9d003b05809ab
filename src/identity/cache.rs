//! Tokens that were verified a moment ago: a signature costs more than everything else that is done for a request. Only
//! tokens that hold are kept, whole, so that nobody who holds none can fill it.
//!
//! Two halves: what is used moves into the young one; when that is full, it becomes the old one, which is forgotten.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;

use super::token::{TokenVerifier, Verified};
use crate::route::{Claims, TokenFault};

/// Tokens in one half.
const TOKENS_MAX: usize = 1024;
/// Bytes of tokens and claims in one half.
const BYTES_MAX: usize = 1024 * 1024;

/// A worker's verified tokens.
#[derive(Debug, Default)]
pub struct TokenCache {
    /// Who verified them: others may see it otherwise.
    by: Option<Arc<TokenVerifier>>,
    young: HashMap<Box<[u8]>, Kept>,
    old: HashMap<Box<[u8]>, Kept>,
    /// Of the young half.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    claims: Rc<Claims>,
    from: Duration,
    until: Duration,
}

impl TokenCache {
    /// What a token says at this time, verified now or before.
    ///
    /// # Errors
    /// Why it does not hold.
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
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
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
