//! Tokens (RFC 7519): where a request carries one, and whether it holds. A token that does not hold names nobody; it
//! never fails the request.
//!
//! Only what its own file of keys allows can verify a token: the algorithm must be an allowed one with a public key, the
//! key must be of that algorithm, and whatever the token's head says about where else keys could be found is not heard
//! (RFC 8725 §3).

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::base64url::decode;
use super::claims::flatten;
use super::keys::{Algorithms, KeySet};
use crate::route::{Claims, TokenFault, cookie};

/// The largest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Where a request carries its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenLocation {
    /// In a header, with or without `Bearer` before it; in `Authorization` only with it.
    Header(HeaderName),
    /// In a cookie.
    Cookie(String),
}

/// Which tokens are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenPolicy {
    /// Signed with one of these.
    pub algorithms: Algorithms,
    /// Issued by one of these; by anybody whose key is known when empty.
    pub issuers: Vec<String>,
    /// For one of these; for anybody when empty.
    pub audiences: Vec<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Finds and verifies tokens.
#[derive(Debug, PartialEq)]
pub struct TokenVerifier {
    location: TokenLocation,
    keys: KeySet,
    policy: TokenPolicy,
}

/// What a token that holds says.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its claims.
    pub claims: Claims,
    /// Since the Unix epoch: it holds from here.
    pub from: Duration,
    /// And up to here.
    pub until: Duration,
}

/// What matters of a token's head.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl TokenVerifier {
    /// Tokens at this place, verified by these keys.
    #[must_use]
    pub const fn new(location: TokenLocation, keys: KeySet, policy: TokenPolicy) -> Self {
        Self { location, keys, policy }
    }

    /// The token of a request, if it has one.
    ///
    /// # Errors
    /// When there are several that differ, or it is too large to be looked at.
    pub fn find<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a [u8]>, TokenFault> {
        let found = match &self.location {
            TokenLocation::Cookie(name) => cookie(headers, name).map(str::as_bytes),
            TokenLocation::Header(name) => {
                let mut lines = headers.get_all(name).iter();
                let Some(first) = lines.next() else { return Ok(None) };
                if lines.any(|line| line != first) {
                    return Err(TokenFault::Malformed);
                }
                match (bearer(first.as_bytes()), name == http::header::AUTHORIZATION) {
                    (Some(token), _) => Some(token),
                    // Another scheme is no token.
                    (None, true) => None,
                    (None, false) => Some(first.as_bytes().trim_ascii()),
                }
            }
        };
        match found.filter(|token| !token.is_empty()) {
            Some(token) if token.len() > TOKEN_BYTES_MAX => Err(TokenFault::Oversized),
            found => Ok(found),
        }
    }

    /// What a token says, if it holds at this time since the Unix epoch.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(&self, token: &[u8], now: Duration) -> Result<Verified, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::Oversized);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(head), Some(content), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed);
        };
        self.signed(token, head, signature)?;
        let content = decode(content).ok_or(TokenFault::Malformed)?;
        let content: Map<String, Value> = serde_json::from_slice(&content).map_err(|_| TokenFault::Malformed)?;
        self.holds(&content, now)
    }

    /// Whether the key that the head leads to has signed all before the signature.
    fn signed(&self, token: &[u8], head: &[u8], signature: &[u8]) -> Result<(), TokenFault> {
        let head = decode(head).ok_or(TokenFault::Malformed)?;
        let head: Head<'_> = serde_json::from_slice(&head).map_err(|_| TokenFault::Malformed)?;
        let algorithm = self.policy.algorithms.find(&head.alg).ok_or(TokenFault::Algorithm)?;
        if head.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        let key = self.keys.find(algorithm, head.kid.as_deref()).ok_or(TokenFault::UnknownKey)?;
        let message = &token[..token.len() - signature.len() - 1];
        // Read strictly here, since a signature that can be written in two ways makes two tokens of one.
        decode(signature).ok_or(TokenFault::Malformed)?;
        let signature = std::str::from_utf8(signature).map_err(|_| TokenFault::Malformed)?;
        match jsonwebtoken::crypto::verify(signature, message, key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenFault::Signature),
        }
    }

    fn holds(&self, content: &Map<String, Value>, now: Duration) -> Result<Verified, TokenFault> {
        let leeway = self.policy.leeway;
        let until = content.get("exp").ok_or(TokenFault::NoExpiry)?;
        let until = time(until).ok_or(TokenFault::Malformed)?.saturating_add(leeway);
        if until <= now {
            return Err(TokenFault::Expired);
        }
        let from = match content.get("nbf") {
            Some(from) => time(from).ok_or(TokenFault::Malformed)?.saturating_sub(leeway),
            None => Duration::ZERO,
        };
        if now < from {
            return Err(TokenFault::NotYetValid);
        }
        let is_one =
            |known: &[String], value: &Value| value.as_str().is_some_and(|text| known.iter().any(|k| k == text));
        let issuers = &self.policy.issuers;
        if !issuers.is_empty() && !content.get("iss").is_some_and(|issuer| is_one(issuers, issuer)) {
            return Err(TokenFault::Issuer);
        }
        let audiences = &self.policy.audiences;
        let fits = |value: &Value| match value {
            Value::Array(all) => all.iter().any(|one| is_one(audiences, one)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                is_one(audiences, value)
            }
        };
        if !audiences.is_empty() && !content.get("aud").is_some_and(fits) {
            return Err(TokenFault::Audience);
        }
        let claims = flatten(content).ok_or(TokenFault::Crowded)?;
        Ok(Verified { claims, from, until })
    }
}

/// What follows `Bearer` and a space (RFC 6750 §2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ")).then(|| rest.trim_ascii())
}

/// A moment since the Unix epoch: seconds, whole or not (RFC 7519 §2).
fn time(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
