//! The keys of a JWK set (RFC 7517): public keys that verify signatures, each with the algorithms that it supports.
//!
//! Keys for other purposes (encryption, unsupported curves, unknown key types) are skipped, as the RFC requires. Shared
//! secrets are not accepted: everyone who can read the file could sign tokens.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::provider_file_error::ProviderFileError;

/// The most keys of a set.
const KEYS_MAX: usize = 1000;
/// The accepted sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The algorithms that a token may be signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Algorithms {
    /// The names of all supported algorithms.
    pub const NAMES: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

    /// The algorithms with these names.
    #[must_use]
    pub fn named(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(names.into_iter().filter_map(|name| algorithm(name.as_ref())).collect())
    }

    /// The algorithm of this name, if the list contains it.
    pub(super) fn find(&self, name: &str) -> Option<Algorithm> {
        algorithm(name).filter(|algorithm| self.0.contains(algorithm))
    }
}

impl Default for Algorithms {
    fn default() -> Self {
        Self::named(Self::NAMES)
    }
}

/// The algorithm of this name. Algorithms with a shared secret (`HS256`) are not supported.
fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// The keys of a JWK set.
#[derive(Debug)]
pub struct KeySet {
    all: Vec<Key>,
    /// The hash of the whole file.
    hash: u128,
}

/// Two sets are equal if their files are.
impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    verifies: DecodingKey,
}

impl KeySet {
    /// Reads a JWK set; returns its keys, and warnings.
    ///
    /// # Errors
    /// The text is not a JWK set, or has no usable key.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<ProviderFileError>), ProviderFileError> {
        let bad = |what: String| ProviderFileError::new("bad-jwks", what);
        let whole: Value = serde_json::from_slice(text).map_err(|error| bad(format!("is not JSON: {error}")))?;
        let Some(all) = whole.get("keys").and_then(Value::as_array) else {
            return Err(bad("is not a JWK set: it has no list `keys`".to_owned()));
        };
        if all.len() > KEYS_MAX {
            return Err(bad(format!("has {} keys; at most {KEYS_MAX} are read", all.len())));
        }
        let (mut keys, mut warnings) = (Vec::new(), Vec::new());
        for (number, one) in (1..).zip(all) {
            if ["d", "k"].iter().any(|part| one.get(part).is_some()) {
                warnings.push(ProviderFileError::new(
                    "secret-key",
                    format!("contains the secret part of key {number}: remove it from this file"),
                ));
            }
            // The library reports a key that it cannot parse as one of an unknown type.
            let read = serde_json::from_value::<Jwk>(one.clone()).ok();
            let Some(jwk) = read.filter(|jwk| !matches!(jwk.algorithm, AlgorithmParameters::Other(_))) else {
                let problem = |name| {
                    format!("is loaded without key {number}{name}: a member of the key is missing or not a string")
                };
                warnings.extend(unreadable(one).map(|name| bad(problem(name))));
                continue;
            };
            let named = one.get("alg").and_then(Value::as_str);
            if let Some(key) =
                Key::of(&jwk, named).map_err(|why| bad(format!("has a bad key: number {number} {why}")))?
            {
                keys.push(key);
            }
        }
        for (at, key) in keys.iter().enumerate() {
            let same = |other: &&Key| other.id == key.id && other.algorithms.iter().any(|a| key.algorithms.contains(a));
            if let (Some(id), Some(_)) = (&key.id, keys[..at].iter().find(same)) {
                return Err(bad(format!("has two keys with the kid {id:?}")));
            }
        }
        if keys.is_empty() {
            return Err(bad("has no RSA, P-256, P-384 or Ed25519 public key for signatures".to_owned()));
        }
        Ok((Self { all: keys, hash: xxh3_128(text) }, warnings))
    }

    /// The key for the algorithm and the key ID of a token: the key with that ID, or else the only candidate. If the
    /// token has no ID, every key of the algorithm is a candidate; otherwise only keys without an ID are.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&DecodingKey> {
        let supporting = || self.all.iter().filter(|key| key.algorithms.contains(&algorithm));
        if let Some(id) = id
            && let Some(named) = supporting().find(|key| key.id.as_deref() == Some(id))
        {
            return Some(&named.verifies);
        }
        let mut candidates = supporting().filter(|key| id.is_none() || key.id.is_none());
        let first = candidates.next()?;
        candidates.next().is_none().then_some(&first.verifies)
    }
}

impl Key {
    /// Converts a JWK; `algorithm_name` is its `alg`. Returns `None` if the key does not verify signatures, or not by a
    /// supported algorithm.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum of the library is non-exhaustive")]
    fn of(jwk: &Jwk, algorithm_name: Option<&str>) -> Result<Option<Self>, String> {
        let common = &jwk.common;
        let is_for_other_use = matches!(&common.public_key_use, Some(used) if *used != PublicKeyUse::Signature)
            || matches!(&common.key_operations, Some(all) if !all.contains(&KeyOperations::Verify));
        if is_for_other_use {
            return Ok(None);
        }
        let all: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            // Other curves, shared secrets and unknown key types.
            _ => return Ok(None),
        };
        // From the text: the library does not know every name.
        let only = algorithm_name.map(algorithm);
        let algorithms: Vec<Algorithm> =
            all.iter().filter(|one| only.is_none_or(|only| only == Some(**one))).copied().collect();
        if algorithms.is_empty() {
            return Ok(None);
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("cannot be read: {error}"))?;
        check_size(&jwk.algorithm, key.kind())?;
        Ok(Some(Self { id: common.key_id.clone(), algorithms, verifies: key }))
    }
}

/// The key ID, for messages, of a key that cannot be parsed although it has a supported type and is for signatures;
/// otherwise `None`.
fn unreadable(one: &Value) -> Option<String> {
    let part = |name: &str| one.get(name).and_then(Value::as_str);
    let known = match part("kty")? {
        "RSA" => true,
        "EC" => matches!(part("crv"), None | Some("P-256" | "P-384")),
        "OKP" => matches!(part("crv"), None | Some("Ed25519")),
        _ => false,
    };
    let is_for_other_use = part("use").is_some_and(|used| used != "sig");
    (known && !is_for_other_use).then(|| part("kid").map(|kid| format!(" (kid {kid:?})")).unwrap_or_default())
}

/// Checks the size of a key: RSA by its modulus, elliptic curves by their uncompressed point.
fn check_size(kind: &AlgorithmParameters, key: &DecodingKeyKind) -> Result<(), String> {
    let bytes = match (kind, key) {
        (_, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            let modulus = &n[n.iter().take_while(|byte| **byte == 0).count()..];
            let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            let (min, max) = (RSA_BITS.start(), RSA_BITS.end());
            let fits = RSA_BITS.contains(&bits);
            return if fits { Ok(()) } else { Err(format!("has {bits} bits; RSA keys have {min} to {max}")) };
        }
        (AlgorithmParameters::EllipticCurve(key), _) if key.curve == EllipticCurve::P256 => 65,
        (AlgorithmParameters::EllipticCurve(_), _) => 97,
        _ => 32,
    };
    let DecodingKeyKind::SecretOrDer(point) = key else { return Ok(()) };
    if point.len() == bytes { Ok(()) } else { Err("is not a point of its curve".to_owned()) }
}
