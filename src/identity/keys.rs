//! Keys out of a JWK set (RFC 7517): public ones that verify signatures, each for the algorithms that fit it.
//!
//! What is for something else (encryption, curves that are not supported, key types that are not known) is passed over,
//! as the RFC wants it. A shared secret is never a key here: whoever could read it could sign.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::provider_file_error::ProviderFileError;

/// How many keys there may be.
const KEYS_MAX: usize = 1000;
/// Bits of an RSA key.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The algorithms that a token may be signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Algorithms {
    /// All that are supported, by name.
    pub const NAMES: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

    /// Those of these names.
    #[must_use]
    pub fn named(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(names.into_iter().filter_map(|name| algorithm(name.as_ref())).collect())
    }

    /// The algorithm of this name, if it is among them.
    pub(super) fn find(&self, name: &str) -> Option<Algorithm> {
        algorithm(name).filter(|algorithm| self.0.contains(algorithm))
    }
}

impl Default for Algorithms {
    fn default() -> Self {
        Self::named(Self::NAMES)
    }
}

/// The algorithm of this name, unless it is with a shared secret.
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

/// The keys of a file.
#[derive(Debug)]
pub struct KeySet {
    all: Vec<Key>,
    /// Of the file's text.
    hash: u128,
}

/// Keys of the same text are the same.
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
    /// The keys of a JWK set, and what is odd about it.
    ///
    /// # Errors
    /// When it is none, or holds no key that verifies anything.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<ProviderFileError>), ProviderFileError> {
        let bad = |what: String| ProviderFileError::new("bad-jwks", what);
        let whole: Value = serde_json::from_slice(text).map_err(|error| bad(format!("is not JSON: {error}")))?;
        let Some(all) = whole.get("keys").and_then(Value::as_array) else {
            return Err(bad("is no JWK set: it has no list `keys`".to_owned()));
        };
        if all.len() > KEYS_MAX {
            return Err(bad(format!("has {} keys; at most {KEYS_MAX} are read", all.len())));
        }
        let (mut keys, mut odd) = (Vec::new(), Vec::new());
        for (number, one) in (1..).zip(all) {
            if ["d", "k"].iter().any(|part| one.get(part).is_some()) {
                odd.push(ProviderFileError::new(
                    "secret-key",
                    format!("tells the secret part of key {number}: keep it elsewhere"),
                ));
            }
            // The library takes what it cannot read for a kind that it does not know.
            let read = serde_json::from_value::<Jwk>(one.clone()).ok();
            let Some(jwk) = read.filter(|jwk| !matches!(jwk.algorithm, AlgorithmParameters::Other(_))) else {
                let told = |name| format!("is read without key {number}{name}: a part of it is missing or no text");
                odd.extend(unread(one).map(|name| bad(told(name))));
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
            return Err(bad("has no public key of RSA, P-256, P-384 or Ed25519 that verifies signatures".to_owned()));
        }
        Ok((Self { all: keys, hash: xxh3_128(text) }, odd))
    }

    /// The one key that fits an algorithm and the id that a token names, if it names one: a key of that id, else the
    /// only one that could be meant.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&DecodingKey> {
        let fitting = || self.all.iter().filter(|key| key.algorithms.contains(&algorithm));
        if let Some(id) = id
            && let Some(named) = fitting().find(|key| key.id.as_deref() == Some(id))
        {
            return Some(&named.verifies);
        }
        let mut meant = fitting().filter(|key| id.is_none() || key.id.is_none());
        let first = meant.next()?;
        meant.next().is_none().then_some(&first.verifies)
    }
}

impl Key {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library says that there may be more kinds")]
    /// The key, if it verifies signatures by the algorithm that it names, if it names one; else why it cannot be one.
    fn of(jwk: &Jwk, named: Option<&str>) -> Result<Option<Self>, String> {
        let common = &jwk.common;
        let elsewhere = matches!(&common.public_key_use, Some(used) if *used != PublicKeyUse::Signature)
            || matches!(&common.key_operations, Some(all) if !all.contains(&KeyOperations::Verify));
        if elsewhere {
            return Ok(None);
        }
        let all: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            // Other curves, secrets, and kinds that are not known.
            _ => return Ok(None),
        };
        // As it is written: the library does not know all names.
        let only = named.map(algorithm);
        let algorithms: Vec<Algorithm> =
            all.iter().filter(|one| only.is_none_or(|only| only == Some(**one))).copied().collect();
        if algorithms.is_empty() {
            return Ok(None);
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("cannot be read: {error}"))?;
        sized(&jwk.algorithm, key.kind())?;
        Ok(Some(Self { id: common.key_id.clone(), algorithms, verifies: key }))
    }
}

/// How a key that cannot be read is called, if it should have been one that verifies: of a kind that is supported, and not
/// for something else.
fn unread(one: &Value) -> Option<String> {
    let part = |name: &str| one.get(name).and_then(Value::as_str);
    let known = match part("kty")? {
        "RSA" => true,
        "EC" => matches!(part("crv"), None | Some("P-256" | "P-384")),
        "OKP" => matches!(part("crv"), None | Some("Ed25519")),
        _ => false,
    };
    let elsewhere = part("use").is_some_and(|used| used != "sig");
    (known && !elsewhere).then(|| part("kid").map(|kid| format!(" (kid {kid:?})")).unwrap_or_default())
}

/// Whether the parts of a key have the size that its kind has.
fn sized(kind: &AlgorithmParameters, key: &DecodingKeyKind) -> Result<(), String> {
    let bytes = match (kind, key) {
        (_, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            let modulus = &n[n.iter().take_while(|byte| **byte == 0).count()..];
            let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
            let fits = RSA_BITS.contains(&bits);
            return if fits { Ok(()) } else { Err(format!("has {bits} bits; RSA keys have {least} to {most}")) };
        }
        (AlgorithmParameters::EllipticCurve(key), _) if key.curve == EllipticCurve::P256 => 65,
        (AlgorithmParameters::EllipticCurve(_), _) => 97,
        _ => 32,
    };
    let DecodingKeyKind::SecretOrDer(point) = key else { return Ok(()) };
    if point.len() == bytes { Ok(()) } else { Err("is not a point of its curve".to_owned()) }
}
