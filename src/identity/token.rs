//! Tokens (RFC 7519): finds the token of a request and verifies it. An invalid token gives no claims; it never fails
//! the request.
//!
//! A token is verified with the configured keys only: its algorithm must be allowed and asymmetric, the key must be of
//! that algorithm, and references to other keys in the header of the token are ignored (RFC 8725 §3).

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::base64url::decode;
use super::claims::flatten;
use super::keys::{Algorithms, KeySet};
use crate::fields::Fields;
use crate::route::{Claims, TokenFault, cookie};

/// The largest token that is verified, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Where a request carries its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenLocation {
    /// In a header, with or without `Bearer` before it; in `Authorization` only with it.
    Header(HeaderName),
    /// In a cookie.
    Cookie(String),
}

/// Which tokens are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenPolicy {
    /// The accepted signature algorithms.
    pub algorithms: Algorithms,
    /// The accepted issuers (`iss`); any if empty.
    pub issuers: Vec<String>,
    /// The accepted audiences (`aud`); any if empty.
    pub audiences: Vec<String>,
    /// The tolerated difference between the clocks.
    pub leeway: Duration,
}

/// Finds and verifies tokens.
#[derive(Debug, PartialEq)]
pub struct TokenVerifier {
    location: TokenLocation,
    keys: KeySet,
    policy: TokenPolicy,
}

/// The content of a valid token.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its claims.
    pub claims: Claims,
    /// The start of its validity, since the Unix epoch.
    pub from: Duration,
    /// The end of its validity, since the Unix epoch; exclusive.
    pub until: Duration,
}

/// The fields of the JOSE header that matter.
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
    /// Verifies tokens at this location with these keys.
    #[must_use]
    pub const fn new(location: TokenLocation, keys: KeySet, policy: TokenPolicy) -> Self {
        Self { location, keys, policy }
    }

    /// Finds the token of a request.
    ///
    /// # Errors
    /// There are several tokens that differ, or the token is too large.
    pub fn find<'a>(&self, fields: &'a Fields) -> Result<Option<&'a [u8]>, TokenFault> {
        let found = match &self.location {
            TokenLocation::Cookie(name) => cookie(fields, name).map(str::as_bytes),
            TokenLocation::Header(name) => {
                let mut lines = fields.get_all(name);
                let Some(first) = lines.next() else { return Ok(None) };
                if lines.any(|line| line != first) {
                    return Err(TokenFault::Malformed);
                }
                match (bearer(first), name == http::header::AUTHORIZATION) {
                    (Some(token), _) => Some(token),
                    // Another scheme, such as `Basic`.
                    (None, true) => None,
                    (None, false) => Some(first.trim_ascii()),
                }
            }
        };
        match found.filter(|token| !token.is_empty()) {
            Some(token) if token.len() > TOKEN_BYTES_MAX => Err(TokenFault::Oversized),
            found => Ok(found),
        }
    }

    /// Verifies a token at `now`, since the Unix epoch.
    ///
    /// # Errors
    /// Why the token is invalid.
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
        self.check_signature(token, head, signature)?;
        let content = decode(content).ok_or(TokenFault::Malformed)?;
        let content: Map<String, Value> = serde_json::from_slice(&content).map_err(|_| TokenFault::Malformed)?;
        self.check_content(&content, now)
    }

    /// Checks the signature over header and content with the key that the header selects.
    fn check_signature(&self, token: &[u8], head: &[u8], signature: &[u8]) -> Result<(), TokenFault> {
        let head = decode(head).ok_or(TokenFault::Malformed)?;
        let head: Head<'_> = serde_json::from_slice(&head).map_err(|_| TokenFault::Malformed)?;
        let algorithm = self.policy.algorithms.find(&head.alg).ok_or(TokenFault::Algorithm)?;
        if head.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        let key = self.keys.find(algorithm, head.kid.as_deref()).ok_or(TokenFault::UnknownKey)?;
        let message = &token[..token.len() - signature.len() - 1];
        // Strict decoding: the library would accept several encodings of one signature, and so several forms of a
        // token.
        decode(signature).ok_or(TokenFault::Malformed)?;
        let signature = std::str::from_utf8(signature).map_err(|_| TokenFault::Malformed)?;
        match jsonwebtoken::crypto::verify(signature, message, key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenFault::Signature),
        }
    }

    /// Checks the times, the issuer and the audience.
    fn check_content(&self, content: &Map<String, Value>, now: Duration) -> Result<Verified, TokenFault> {
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
        let is_listed =
            |known: &[String], value: &Value| value.as_str().is_some_and(|text| known.iter().any(|k| k == text));
        let issuers = &self.policy.issuers;
        if !issuers.is_empty() && !content.get("iss").is_some_and(|issuer| is_listed(issuers, issuer)) {
            return Err(TokenFault::Issuer);
        }
        let audiences = &self.policy.audiences;
        let fits = |value: &Value| match value {
            Value::Array(all) => all.iter().any(|one| is_listed(audiences, one)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                is_listed(audiences, value)
            }
        };
        if !audiences.is_empty() && !content.get("aud").is_some_and(fits) {
            return Err(TokenFault::Audience);
        }
        let claims = flatten(content).ok_or(TokenFault::Crowded)?;
        Ok(Verified { claims, from, until })
    }
}

/// The part after `Bearer` and a space (RFC 6750 §2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ")).then(|| rest.trim_ascii())
}

/// A `NumericDate` (RFC 7519 §2): seconds since the Unix epoch, with or without a fraction.
fn time(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
