//! Issuers of tokens: a key of each kind, the JWK set with its public half, and tokens of any shape.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto, encode};
use serde_json::{Value, json};

/// An issuer that signs tokens.
pub struct Issuer {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: String,
    /// The public half of an Ed25519 key.
    point: Option<Vec<u8>>,
}

impl Issuer {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others that are asked for are RSA")]
    /// An issuer with a new key for this algorithm.
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        let mut point = None;
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&pkcs8(&rcgen::PKCS_ECDSA_P256_SHA256)),
            Algorithm::ES384 => EncodingKey::from_ec_der(&pkcs8(&rcgen::PKCS_ECDSA_P384_SHA384)),
            Algorithm::EdDSA => {
                let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
                point = Some(pair.public_key_raw().to_vec());
                EncodingKey::from_ed_der(&pair.serialize_der())
            }
            _ => {
                let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
                // Version, algorithm and lengths of PKCS #8 come before the RSA key itself.
                EncodingKey::from_rsa_der(&pair.unwrap().serialize_der()[26..])
            }
        };
        Self { key, algorithm, kid: kid.to_owned(), point }
    }

    /// Another issuer with the same key and another algorithm.
    pub fn by(&self, algorithm: Algorithm) -> Self {
        Self { key: self.key.clone(), algorithm, kid: self.kid.clone(), point: None }
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        if let Some(point) = &self.point {
            return json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(point), "kid": self.kid });
        }
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    }

    /// A JWK set with only this key.
    pub fn jwks(&self) -> String {
        jwks(&[self.jwk()])
    }

    /// A token with these claims. It expires in an hour unless the claims have `exp`.
    pub fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        encode(&header, &lasting(claims), &self.key).unwrap()
    }

    /// A token with this header and a correct signature.
    pub fn token_with(&self, head: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64url(head), base64url(&lasting(claims)));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn pkcs8(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    rcgen::KeyPair::generate_for(algorithm).unwrap().serialize_der()
}

fn lasting(claims: &Value) -> Value {
    let mut claims = claims.clone();
    if claims.get("exp").is_none() {
        claims["exp"] = json!(now() + 3600);
    } else if claims["exp"].is_null() {
        claims.as_object_mut().unwrap().remove("exp");
    }
    claims
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    pointsman::clock::Clock.wall().as_secs()
}

/// A JWK set.
pub fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// JSON as a part of a token.
pub fn base64url(value: &Value) -> String {
    encoded(value.to_string().as_bytes())
}

/// Bytes in the encoding of tokens.
pub fn encoded(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            text.push(char::from(LETTERS[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}
