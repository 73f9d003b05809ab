//! The cryptography provider of all TLS connections.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The provider: aws-lc-rs, with the hybrid post-quantum key exchange (X25519MLKEM768) first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let Some(suite) = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13() else {
        return String::new();
    };
    let mut text = String::with_capacity(64);
    for byte in suite.common.hash_provider.hash(bytes).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
